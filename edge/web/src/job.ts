// The page of a master: moves the stages on as they happen, then the player, the curves, another style, sharing.

import { insist } from "./api";
import { announce, offerNotice, ring } from "./attention";
import { watch, type Summary } from "./events";
import { keepFresh } from "./fresh";
import { UNDO_MS } from "./periods";
import { PlayerElement } from "./player/element";
import { several } from "./several";
import { complain, explain, icon, refresh, toast } from "./site";
import { keepLatest } from "./storage";
import { clock, count } from "./text";
import { enliven, wished } from "./wishes";

const STAGES = ["decode", "analyse", "plan", "render", "encode", "deliver"];

class Job extends HTMLElement {
  private stop: (() => void) | null = null;
  private asking = false;

  connectedCallback(): void {
    const id = this.dataset.id ?? "";
    const state = this.dataset.state ?? "";
    if (id && !("shared" in this.dataset)) {
      keepLatest(`/m/${id}`, this.querySelector("h1")?.textContent ?? "");
      if (state === "waiting" || state === "running") {
        this.stop = watch((master) => this.moved(master, id));
        offerNotice(this.querySelector("[data-hint] + form"));
      } else if (this.querySelector("[data-version]")) this.stop = watch((master) => this.versionMoved(master));
    }
    this.seekers();
    this.reruns();
    const directions = this.querySelector<HTMLFormElement>("form[data-several]");
    const full = this.querySelector<HTMLFormElement>("form.wishes[data-rerun]");
    if (directions && full) several(directions, full);
    this.shares();
    this.deletion(id);
  }

  disconnectedCallback(): void {
    this.stop?.();
  }

  /** Another version of the song goes on; when it is there, it can be compared. */
  private versionMoved(master: Summary): void {
    const line = this.querySelector(`[data-version="${CSS.escape(master.id)}"]`);
    if (!line) return;
    if (master.state !== "waiting" && master.state !== "running") {
      this.stop?.();
      void refresh();
      return;
    }
    const how = line.querySelector("[data-how]");
    if (how) how.textContent = master.state === "running" ? (master.stage ?? "running") : "waiting";
  }

  private moved(master: Summary, id: string): void {
    if (master.id !== id) return this.versionMoved(master);
    if (master.state !== "waiting" && master.state !== "running") {
      this.stop?.();
      ring(null);
      announce(this.querySelector("h1")?.textContent ?? "", master.state === "done" ? "The master is ready." : "This one could not be mastered.");
      document.title = `${master.state === "done" ? "✓" : "✗"} ${document.title.replace(/^[✓✗] /u, "")}`;
      void refresh();
      return;
    }
    const now = STAGES.indexOf(master.stage ?? "");
    ring(master.state === "running" ? (Math.max(now, 0) + 0.5) / STAGES.length : 0);
    if (now >= STAGES.indexOf("encode")) void this.listenEarly(id);
    for (const line of this.querySelectorAll<HTMLElement>("[data-stage]")) {
      const at = STAGES.indexOf(line.dataset.stage ?? "");
      const how = master.state === "running" && now >= 0 ? (at < now ? "done" : at === now ? "now" : "todo") : "todo";
      line.className = how;
      line.toggleAttribute("aria-current", how === "now");
      if (how === "now") line.setAttribute("aria-current", "step");
      const words = line.querySelector(".visually-hidden");
      if (words) words.textContent = how === "done" ? " done" : how === "now" ? " under way" : " to come";
    }
    const said = this.querySelector("[data-said]");
    const words = master.state === "running" ? "Working" : master.waits_for === "album" ? "Waits until the other songs of the album have been heard" : (master.queue_position ?? 0) > 0 ? `${count(master.queue_position ?? 0, "track")} before yours` : "Next in line";
    if (said && said.textContent?.trim() !== words) said.textContent = words;
  }

  /** Shows the player as soon as an excerpt can be heard, before the files are ready. */
  private async listenEarly(id: string): Promise<void> {
    if (this.asking || this.querySelector("lm-player")) return;
    this.asking = true;
    try {
      const { result } = await insist<{ result?: { preview?: unknown } }>(`/masters/${id}`, {}, undefined, 2);
      if (result?.preview && this.isConnected) await refresh();
    } catch {
      // It is heard when it is done.
    }
    this.asking = false;
  }

  /** Times in the text move the player. */
  private seekers(): void {
    for (const place of this.querySelectorAll<HTMLElement>("[data-seek]")) {
      const at = Number(place.dataset.seek);
      const button = document.createElement("button");
      button.type = "button";
      button.className = "at";
      button.textContent = clock(at);
      button.setAttribute("aria-label", `Listen at ${clock(at)}`);
      button.addEventListener("click", () => {
        const player = this.querySelector<PlayerElement>("lm-player");
        player?.seek(Math.max(0, at - 1));
        player?.play();
        player?.scrollIntoView({ block: "nearest" });
      });
      place.replaceWith(button);
    }
  }

  private reruns(): void {
    for (const form of this.querySelectorAll<HTMLFormElement>("form[data-rerun]")) {
      if (form.classList.contains("wishes")) enliven(form);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const picked = (event as SubmitEvent).submitter as HTMLButtonElement | null;
        const full = this.querySelector<HTMLFormElement>("form.wishes[data-rerun]");
        if (!full) return;
        if (picked?.name === "style") {
          const radio = full.querySelector<HTMLInputElement>(`input[name=style][value="${picked.value}"]`);
          if (radio) radio.checked = true;
        }
        // A wish in words: its fields as the form has them, to be seen there.
        for (const [name, value] of new URLSearchParams(picked?.dataset.set ?? "")) {
          const field = full.querySelector<HTMLInputElement | HTMLSelectElement>(name === "style" ? `[name=style][value="${CSS.escape(value)}"]` : `[name="${CSS.escape(name)}"]`);
          if (field instanceof HTMLInputElement && field.type === "radio") field.checked = true;
          else if (field) field.value = value;
        }
        full.dispatchEvent(new Event("input"));
        const settings = wished(full);
        if (!settings) return;
        if (picked) picked.disabled = true;
        // Left out, the reference stays the same; null is none.
        const dropped = this.querySelector<HTMLInputElement>("[data-same-reference]")?.checked === false;
        void insist<{ id: string }>(`/masters/${form.dataset.rerun}/rerun`, { method: "POST", body: { settings, ...(dropped ? { reference_upload: null } : {}) } }, undefined, 5).then(
          (made) => location.assign(`/m/${made.id}`),
          (error: unknown) => {
            if (picked) picked.disabled = false;
            complain(form, explain(error));
          },
        );
      });
    }
  }

  private shares(): void {
    const form = this.querySelector<HTMLFormElement>("form[data-share]");
    const list = this.querySelector("[data-shares]");
    form?.addEventListener("submit", (event) => {
      event.preventDefault();
      void insist<{ id: string; url: string }>(`/masters/${form.dataset.share}/shares`, { method: "POST" }, undefined, 3).then(
        ({ id, url }) => {
          const line = document.createElement("li");
          line.innerHTML = `<a></a><form method="post" data-api="DELETE /v1/shares/${encodeURIComponent(id)}" data-then="remove"><button class="quiet">Turn off</button></form>`;
          const link = line.querySelector("a") as HTMLAnchorElement;
          const address = new URL(url, location.origin);
          link.href = link.textContent = address.href;
          list?.append(line);
          void navigator.clipboard?.writeText(address.href).then(() => toast("The link is copied."), () => undefined);
        },
        (error: unknown) => complain(form, explain(error)),
      );
    });
  }

  private deletion(id: string): void {
    const form = this.querySelector<HTMLFormElement>("form[data-delete]");
    form?.addEventListener("submit", (event) => {
      event.preventDefault();
      const keep_mix = form.querySelector<HTMLInputElement>("[name=keep_mix]")?.checked ?? false;
      void insist<{ undo_until?: string }>("/masters/delete", { method: "POST", body: { ids: [id], keep_mix } }, undefined, 3).then(
        () => {
          this.stop?.();
          const box = document.createElement("div");
          box.className = "column nothing";
          box.innerHTML = `<h1>Deleted</h1><p class="lead">${keep_mix ? `The masters go in ${UNDO_MS / 1000} seconds; the mix stays in your library.` : `Its files and the mix go in ${UNDO_MS / 1000} seconds.`}</p><p><button class="button primary" type="button">Undo</button> <a class="button" href="/library">Library</a></p>`;
          this.replaceChildren(box);
          const undo = box.querySelector("button") as HTMLButtonElement;
          undo.focus();
          const over = setTimeout(() => undo.remove(), UNDO_MS);
          undo.addEventListener("click", () => {
            clearTimeout(over);
            void insist("/masters/restore", { method: "POST", body: { ids: [id] } }, undefined, 3).then(() => refresh(), (error: unknown) => toast(explain(error)));
          });
        },
        (error: unknown) => toast(explain(error)),
      );
    });
  }
}

/** The engine's drawings, put into the page so that they take its colours; as tabs. */
class Plots extends HTMLElement {
  connectedCallback(): void {
    const figures = [...this.querySelectorAll<HTMLElement>("[data-src]")];
    if (figures.length === 0) return;
    for (const figure of figures) void this.load(figure);
    if (figures.length < 2) return;
    const tabs = document.createElement("div");
    tabs.className = "tabs";
    tabs.setAttribute("role", "tablist");
    tabs.setAttribute("aria-label", "Curves");
    figures.forEach((figure, n) => {
      const id = `plot-${figure.dataset.plot}`;
      figure.id = id;
      figure.setAttribute("role", "tabpanel");
      figure.setAttribute("aria-labelledby", `tab-${id}`);
      const tab = document.createElement("button");
      tab.type = "button";
      tab.id = `tab-${id}`;
      tab.textContent = figure.dataset.name ?? "";
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", id);
      tab.addEventListener("click", () => show(n, false));
      tab.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        show((n + by + figures.length) % figures.length, true);
      });
      tabs.append(tab);
    });
    const show = (wanted: number, focus: boolean): void => {
      figures.forEach((figure, n) => (figure.hidden = n !== wanted));
      [...tabs.children].forEach((tab, n) => {
        tab.setAttribute("aria-selected", String(n === wanted));
        (tab as HTMLElement).tabIndex = n === wanted ? 0 : -1;
      });
      if (focus) (tabs.children[wanted] as HTMLElement).focus();
    };
    this.prepend(tabs);
    show(0, false);
  }

  private async load(panel: HTMLElement): Promise<void> {
    const figure = panel.querySelector("figure") ?? panel;
    try {
      const response = await fetch(panel.dataset.src ?? "");
      if (!response.ok) throw new Error(String(response.status));
      const svg = harmless(await response.text());
      if (!svg) throw new Error("not a drawing");
      figure.append(svg);
      // The drawing has the lines of the decades; the words are the page's.
      if (panel.dataset.plot === "spectrum") figure.insertAdjacentHTML("beforeend", '<p class="hz" aria-hidden="true"><span>100 Hz</span><span>1 kHz</span><span>10 kHz</span></p>');
    } catch {
      const line = document.createElement("p");
      line.className = "muted";
      line.innerHTML = `${icon("info")} This curve cannot be fetched at present; reload the page.`;
      figure.append(line);
    }
  }
}

const DRAWN = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "tspan", "title", "desc", "polyline", "polygon", "clippath", "defs", "ellipse"]);

/** Our own drawing, and still: only shapes and words of it come in. */
export function harmless(text: string): Element | null {
  const from = text.indexOf("<svg");
  if (from < 0) return null;
  // The style of a file that stands alone: the policy of the page would refuse it, and say so in the console.
  let source = text.slice(from).replace(/<style\b[\s\S]*?<\/style>/gi, "");
  if (!/^<svg[^>]*\sxmlns=/.test(source)) source = source.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"');
  const whole = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
  if (whole.nodeName.toLowerCase() !== "svg") return null;
  // A file that stands alone has a frame around the drawing.
  const svg = whole.querySelector("svg.plot") ?? whole;
  for (const name of ["x", "y", "height"]) svg.removeAttribute(name);
  for (const element of [svg, ...svg.querySelectorAll("*")]) {
    if (!DRAWN.has(element.nodeName.toLowerCase())) element.remove();
    for (const attribute of [...element.attributes]) {
      const name = attribute.name.toLowerCase();
      if (name.startsWith("on") || name === "style" || name.endsWith("href") || /url\s*\((?!#)|javascript:/i.test(attribute.value)) element.removeAttribute(attribute.name);
    }
  }
  return document.importNode(svg, true);
}

keepFresh();
customElements.define("lm-job", Job);
customElements.define("lm-plots", Plots);
