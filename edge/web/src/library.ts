// The library and the page of a batch: live states, selection by keyboard, deletion with undo, ZIP, order.

import { insist } from "./api";
import { announce, offerNotice, ring } from "./attention";
import { watch, type Summary } from "./events";
import { UNDO_MS } from "./periods";
import { addressesOf } from "./fresh";
import { fetchPeaks } from "./player/peaks";
import { strip } from "./player/shape";
import { explain, icon, refresh, take, toast } from "./site";
import { clock, count } from "./text";

const WORDS: Record<string, [string, string]> = { waiting: ["clock", "Waiting"], running: ["loop", "Working"], done: ["verified", "Done"], failed: ["warning", "Failed"], cancelled: ["wrong", "Stopped"] };

class LibraryElement extends HTMLElement {
  private stop: (() => void) | null = null;
  private refreshing = 0;
  private anchor = -1;
  /** Whether everything of the batch has ended. */
  private over = true;

  connectedCallback(): void {
    this.selection();
    this.keyboard();
    this.searching();
    this.order();
    this.zip();
    this.waves();
    const bar = this.querySelector<HTMLProgressElement>("[data-meter] progress");
    this.over = !bar || bar.value >= bar.max;
    if (!this.over) offerNotice(this.querySelector("[data-meter]")?.nextElementSibling ?? null);
    this.stop = watch((master, first) => this.moved(master, first));
  }

  disconnectedCallback(): void {
    this.stop?.();
    clearTimeout(this.refreshing);
  }

  private rows(): HTMLTableRowElement[] {
    return [...this.querySelectorAll<HTMLTableRowElement>("tbody tr[data-id]")];
  }

  /** A change: the state at once, the rest of the row from the edge in a moment. */
  private moved(master: Summary, first: boolean): void {
    const row = this.querySelector<HTMLTableRowElement>(`tr[data-id="${CSS.escape(master.id)}"]`);
    if (!row) {
      const belongs = this.dataset.batch === undefined ? !location.search : master.batch === this.dataset.batch;
      if (!first && belongs && !master.deleted) this.again();
      return;
    }
    if (master.deleted) return this.again();
    const ended = row.dataset.state !== master.state && master.state !== "waiting" && master.state !== "running";
    row.dataset.state = master.state;
    const cell = row.querySelector("[data-live]");
    const [symbol, word] = WORDS[master.state] ?? ["info", master.state];
    if (cell) {
      cell.className = `state ${master.state}`;
      const said = master.state === "running" && master.stage ? master.stage[0]?.toUpperCase() + master.stage.slice(1) : word;
      if (cell.textContent !== said) cell.innerHTML = icon(symbol) + said;
    }
    const write = (place: string, text: string): void => {
      const figure = row.querySelector(place);
      if (figure) figure.textContent = text;
    };
    if (master.seconds != null) write("[data-length]", clock(Math.round(master.seconds)));
    if (master.lufs != null) write("[data-lufs]", `${master.lufs.toFixed(1).replace("-", "−")}\u202fLUFS`);
    this.meter();
    if (ended) this.again();
  }

  /** How many are done, counted in the rows that have just changed. */
  private meter(): void {
    const bar = this.querySelector<HTMLProgressElement>("[data-meter] progress");
    const said = this.querySelector("[data-meter-said]");
    if (!bar || !said) return;
    const states = this.rows().map((row) => row.dataset.state);
    const done = states.filter((state) => state === "done" || state === "cancelled").length;
    bar.value = states.filter((state) => state !== "waiting" && state !== "running").length;
    const words = `${done} of ${bar.max} done`;
    if (said.textContent !== words) said.textContent = words;
    const over = bar.value >= bar.max;
    ring(over ? null : bar.value / bar.max);
    if (over && !this.over) announce(this.querySelector("h1")?.textContent ?? "", words);
    this.over = over;
  }

  /** Not while somebody is at work in the table. */
  private again(): void {
    if (this.refreshing !== 0) return;
    this.refreshing = setTimeout(() => {
      this.refreshing = 0;
      if (this.chosen().length > 0 || this.querySelector("details[open]") || this.contains(document.activeElement)) this.again();
      else void refresh();
    }, 1200) as unknown as number;
  }

  private chosen(): HTMLInputElement[] {
    return [...this.querySelectorAll<HTMLInputElement>("input[name=id]:checked")];
  }

  private selection(): void {
    const form = this.querySelector<HTMLFormElement>("form[data-selection]");
    if (!form) return;
    const bar = form.querySelector<HTMLElement>("[data-bar]");
    const all = form.querySelector<HTMLInputElement>("[data-all]");
    const show = (): void => {
      const chosen = this.chosen().length;
      const total = this.rows().length;
      bar?.classList.toggle("empty", chosen === 0);
      const said = bar?.querySelector("[data-count]");
      if (said) said.textContent = chosen === 0 ? "Select songs to download or delete several at once." : `${count(chosen, "song")} selected`;
      for (const button of bar?.querySelectorAll<HTMLButtonElement>("button") ?? []) button.disabled = chosen === 0;
      if (all) {
        all.checked = chosen > 0 && chosen === total;
        all.indeterminate = chosen > 0 && chosen < total;
      }
      for (const row of this.rows()) row.classList.toggle("selected", row.querySelector<HTMLInputElement>("input[name=id]")?.checked ?? false);
    };
    form.addEventListener("change", (event) => {
      if (event.target === all) for (const box of form.querySelectorAll<HTMLInputElement>("input[name=id]")) box.checked = all?.checked ?? false;
      show();
    });
    // Shift selects a stretch.
    form.addEventListener("click", (event) => {
      const row = (event.target as Element).closest<HTMLTableRowElement>("tr[data-id]");
      const box = row?.querySelector<HTMLInputElement>("input[name=id]");
      if (!row || !box || event.target !== box) return;
      const rows = this.rows();
      const at = rows.indexOf(row);
      if ((event as MouseEvent).shiftKey && this.anchor >= 0) for (const other of rows.slice(Math.min(at, this.anchor), Math.max(at, this.anchor) + 1)) other.querySelector<HTMLInputElement>("input[name=id]")!.checked = box.checked;
      this.anchor = at;
      show();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const what = ((event as SubmitEvent).submitter as HTMLElement | null)?.dataset.act;
      const ids = this.chosen().map((box) => box.value);
      if (ids.length === 0) return;
      if (what === "zip") void take({ zip: { masters: ids } });
      else void this.take(ids);
    });
    show();
  }

  private async take(ids: string[]): Promise<void> {
    const rows = this.rows().filter((row) => ids.includes(row.dataset.id ?? ""));
    try {
      const keep_mix = this.querySelector<HTMLInputElement>("form[data-selection] [name=keep_mix]")?.checked ?? false;
      await insist("/masters/delete", { method: "POST", body: { ids, keep_mix } }, undefined, 3);
    } catch (error) {
      return toast(explain(error));
    }
    for (const row of rows) {
      row.hidden = true;
      const box = row.querySelector<HTMLInputElement>("input[name=id]");
      if (box) box.checked = false;
    }
    this.querySelector("form[data-selection]")?.dispatchEvent(new Event("change"));
    this.rows().find((row) => !row.hidden)?.querySelector<HTMLElement>("a")?.focus();
    toast(`${count(ids.length, "song")} deleted.`, {
      name: "Undo",
      seconds: UNDO_MS / 1000,
      act: () => {
        void insist("/masters/restore", { method: "POST", body: { ids } }, undefined, 3).then(() => {
          for (const row of rows) row.hidden = false;
          rows[0]?.querySelector<HTMLElement>("a")?.focus();
        }, (error: unknown) => toast(explain(error)));
      },
    });
  }

  /** Arrows move, space selects, Home and End jump, Delete deletes, Return opens (the link has the focus). */
  private keyboard(): void {
    this.querySelector("tbody")?.addEventListener("keydown", (event) => {
      const row = (event.target as Element).closest<HTMLTableRowElement>("tr[data-id]");
      if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
      const rows = this.rows().filter((one) => !one.hidden);
      const at = rows.indexOf(row);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
      if (to !== undefined) {
        event.preventDefault();
        const next = rows[Math.max(0, Math.min(rows.length - 1, to))];
        if (event.shiftKey && next) this.tick(next, true);
        next?.querySelector<HTMLElement>("th.title a")?.focus();
      } else if (event.key === " " && (event.target as Element).matches("a")) {
        event.preventDefault();
        this.tick(row);
      } else if (event.key === "Delete") {
        event.preventDefault();
        const ids = this.chosen().map((box) => box.value);
        void this.take(ids.length > 0 ? ids : [row.dataset.id ?? ""]);
      }
    });
  }

  private tick(row: HTMLTableRowElement, on?: boolean): void {
    const box = row.querySelector<HTMLInputElement>("input[name=id]");
    if (!box) return;
    box.checked = on ?? !box.checked;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** Searching and sorting as one types, by the edge's own page. */
  private searching(): void {
    const form = this.querySelector<HTMLFormElement>("form.search");
    if (!form) return;
    form.querySelector("[data-plain]")?.remove();
    let timer = 0;
    const go = (): void => {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (typeof value === "string" && value !== "") query.set(name, value);
      if (query.get("sort") === "newest") query.delete("sort");
      history.replaceState(null, "", `/library${query.size > 0 ? `?${query}` : ""}`);
      void refresh().then(() => {
        const q = document.querySelector<HTMLInputElement>("#q");
        q?.setSelectionRange(q.value.length, q.value.length);
      });
    };
    form.addEventListener("change", (event) => event.target instanceof HTMLSelectElement && go());
    form.addEventListener("input", (event) => {
      if (!(event.target instanceof HTMLInputElement)) return;
      clearTimeout(timer);
      timer = setTimeout(go, 350) as unknown as number;
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(timer);
      go();
    });
  }

  /** The order of a batch: arrows in the rows, or dragging. */
  private order(): void {
    const field = this.querySelector<HTMLInputElement>("[data-order]");
    const body = this.querySelector("tbody");
    if (!field || !body) return;
    const keep = (): void => {
      field.value = this.rows().map((row) => row.dataset.id).join(" ");
      void insist(`/batches/${this.dataset.batch}`, { method: "PATCH", body: { order: field.value.split(" ") } }, undefined, 3).catch((error: unknown) => toast(explain(error)));
    };
    for (const button of this.querySelectorAll<HTMLButtonElement>("[data-move]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        const row = button.closest("tr");
        const other = button.dataset.move === "up" ? row?.previousElementSibling : row?.nextElementSibling;
        if (!row || !other) return;
        if (button.dataset.move === "up") other.before(row);
        else other.after(row);
        button.focus();
        keep();
      });
    }
    let dragged: HTMLTableRowElement | null = null;
    for (const row of this.rows()) row.draggable = true;
    body.addEventListener("dragstart", (event) => {
      dragged = (event.target as Element).closest("tr");
      dragged?.classList.add("dragged");
    });
    body.addEventListener("dragover", (event) => {
      const over = (event.target as Element).closest("tr");
      if (!dragged || !over || over === dragged) return;
      event.preventDefault();
      const box = over.getBoundingClientRect();
      if (event.clientY < box.top + box.height / 2) over.before(dragged);
      else over.after(dragged);
    });
    body.addEventListener("dragend", () => {
      dragged?.classList.remove("dragged");
      dragged = null;
      keep();
    });
  }

  private zip(): void {
    const form = this.querySelector<HTMLFormElement>("form[data-zip]");
    form?.addEventListener("submit", (event) => {
      event.preventDefault();
      void take({ zip: { batch: form.dataset.zip ?? "" } });
    });
  }

  /** The small waveform of a row, once the row is seen. */
  private waves(): void {
    const waiting: HTMLCanvasElement[] = [];
    let busy = 0;
    const next = (): void => {
      const place = busy < 3 ? waiting.shift() : undefined;
      if (!place) return;
      busy += 1;
      void wave(place).finally(() => {
        busy -= 1;
        next();
      });
      next();
    };
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        waiting.push(entry.target as HTMLCanvasElement);
      }
      next();
    });
    for (const place of this.querySelectorAll("canvas[data-wave]")) seen.observe(place);
  }
}

/** Draws a row's waveform; a row without one stays as it is. */
async function wave(place: HTMLCanvasElement): Promise<void> {
  const url = await addressesOf(`/masters/${place.dataset.wave}`).then((addresses) => addresses.get("waveform master"), () => undefined);
  const peaks = url ? await fetchPeaks(url) : null;
  if (!peaks) return;
  strip(place, peaks, "master");
  place.dataset.drawn = "";
}

customElements.define("lm-library", LibraryElement);

