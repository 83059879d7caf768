// <lm-upload>: the drop zone that becomes the queue, and the one button.

import { Problem, ask, insist } from "./api";
import { watch, type Summary } from "./events";
import { ring } from "./attention";
import { type Room, full, noRoom, roomHere } from "./allowance";
import { sentence } from "./sentence";
import { complain, explain, signedIn } from "./site";
import { dropLatest, keepLatest, latest } from "./storage";
import { count, stem } from "./text";
import { Track } from "./track";
import { type Item, Uploader } from "./uploader";
import { enliven, wished } from "./wishes";
import type { Settings } from "./settings";

interface Made {
  items: Summary[];
  batch?: string;
}

interface Picked {
  file: File;
  handle: FileSystemFileHandle | null;
}

const STAGES = ["decode", "analyse", "plan", "render", "encode", "deliver"];

const next = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

class UploadElement extends HTMLElement {
  private uploader!: Uploader;
  private list!: HTMLOListElement;
  private readonly rows = new Map<Item, Track>();
  private form!: HTMLFormElement;
  private wishes: Settings | null = null;
  private reference: { name: string; item: Item } | null = null;
  private batch = "";
  private album = false;
  private asking = false;
  private stopWatching: (() => void) | null = null;
  private picking: Item | null = null;
  private settleTimer = 0;
  private followed = "";
  private room: Room | null = null;
  private measuring: Promise<void> | null = null;
  private measuredAt = 0;
  private fullUntil = 0;

  connectedCallback(): void {
    if (this.list) return;
    this.form = this.querySelector("form.wishes") as HTMLFormElement;
    this.uploader = new Uploader({ mostBytes: Number(this.dataset.mostBytes) || 4 * 2 ** 30, changed: () => this.settle(), full: (problem) => this.refused(problem), ticked: () => this.fill() });
    const queue = this.querySelector("[data-queue]") as HTMLElement;
    queue.innerHTML = `<div class="titled"><h2>Your tracks</h2><p class="muted" data-sum role="status"></p></div><div class="notice limit" data-limit hidden><span role="status"></span><a class="button" href="/sign-in?next=/" hidden></a><a class="button" data-made hidden>See those under way</a></div><div class="together" data-together hidden>
      <label class="check"><input type="checkbox" data-album><span>One album, in this order <span class="muted">drag, or use the arrows</span></span></label>
      <label class="field" data-album-name hidden><span>Name of the album</span><input maxlength="200" value="" autocomplete="off"></label></div>`;
    this.list = document.createElement("ol");
    this.list.className = "tracks";
    queue.append(this.list);
    enliven(this.form);
    this.listen();
    this.offerLatest();
    // Those that waited for room begin by themselves as long as the page is open.
    setInterval(() => this.uploader.items.some((item) => item.starts > 0) && void this.measure(), 60_000);
    void this.uploader.recall().then((items) => this.show(items));
    addEventListener("beforeunload", (event) => {
      if (this.uploader.items.some((item) => item.state === "sending" || item.state === "finishing")) event.preventDefault();
    });
  }

  private listen(): void {
    const input = this.querySelector<HTMLInputElement>("#files");
    const drop = this.querySelector<HTMLElement>(".drop");
    input?.addEventListener("change", () => {
      const files = [...(input.files ?? [])];
      input.value = "";
      if (this.picking) {
        const item = this.picking;
        this.picking = null;
        if (files[0]) void this.uploader.take(item, files[0]);
      } else void this.take(files.map((file) => ({ file, handle: null })));
    });
    // Where the browser can hand out handles it is asked for them: they survive a restart.
    const picker = (window as { showOpenFilePicker?: (of: object) => Promise<FileSystemFileHandle[]> }).showOpenFilePicker;
    if (picker) {
      this.querySelector("label.button[for=files]")?.addEventListener("click", (event) => {
        event.preventDefault();
        void picker({ multiple: true }).then(
          async (handles) => this.take(await Promise.all(handles.map(async (handle) => ({ file: await handle.getFile(), handle })))),
          (error: unknown) => {
            if ((error as DOMException).name !== "AbortError") input?.click();
          },
        );
      });
    }
    const over = (on: boolean): void => drop?.classList.toggle("over", on) as unknown as void;
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      over(true);
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) over(false);
    });
    document.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      over(false);
      void dropped(event.dataTransfer).then((picked) => this.take(picked));
    });
    this.list.addEventListener("act", (event) => this.act(event as CustomEvent<string>));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.go();
    });
    this.querySelector<HTMLInputElement>("[data-album]")?.addEventListener("change", (event) => {
      this.album = (event.target as HTMLInputElement).checked;
      this.querySelector("[data-album-name]")?.toggleAttribute("hidden", !this.album);
      for (const row of this.rows.values()) row.album = this.album;
      this.settle();
    });
    this.order();
    // Files that an installed LoopMastering is opened with.
    (window as { launchQueue?: { setConsumer(take: (launch: { files?: FileSystemFileHandle[] }) => void): void } }).launchQueue?.setConsumer(({ files }) => {
      void Promise.all((files ?? []).map(async (handle) => ({ file: await handle.getFile(), handle }))).then((picked) => this.take(picked));
    });
    const reference = this.querySelector<HTMLInputElement>("#reference");
    reference?.addEventListener("change", () => {
      const file = reference.files?.[0];
      reference.value = "";
      if (file) this.refer(file);
    });
  }

  /** Takes files in, some at a time, so that three hundred do not stop the page. */
  private async take(picked: Picked[]): Promise<void> {
    const fresh: Picked[] = [];
    for (const one of picked) {
      const lost = this.uploader.lostLike(one.file);
      if (lost && (await this.uploader.take(lost, one.file))) continue;
      fresh.push(one);
    }
    if (fresh.length === 0) return;
    await Promise.all([this.measure(), fresh.length > 1 && this.batch === "" ? this.begin(fresh.length) : null]);
    for (let at = 0; at < fresh.length; at += 10) {
      const items = fresh.slice(at, at + 10).map(({ file, handle }) => {
        const item = this.uploader.add(file, handle);
        item.batch = this.batch;
        item.position = this.batch === "" ? undefined : this.uploader.items.length - 1;
        if (this.wishes && !this.album) this.uploader.wish([item], this.wishes);
        return item;
      });
      this.show(items);
      this.grant();
      await next();
    }
    if (this.rows.size === fresh.length) this.querySelector(".queue h2")?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  /** Several tracks belong together from the start; where the service is away they simply do not. */
  private async begin(tracks: number): Promise<void> {
    try {
      const name = `${count(tracks, "track")}, ${new Date().toLocaleDateString("en-GB", { day: "numeric", month: "long" })}`;
      this.batch = (await ask<{ id: string }>("/batches", { method: "POST", body: { name, album: false, tracks } })).id;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }

  private show(items: Item[]): void {
    for (const item of items) {
      const row = document.createElement("lm-track") as Track;
      row.item = item;
      row.album = this.album;
      const line = document.createElement("li");
      line.append(row);
      this.list.append(line);
      this.rows.set(item, row);
    }
    this.settle();
  }

  private offerLatest(): void {
    const last = latest();
    if (!last) return;
    const line = document.createElement("p");
    line.className = "notice latest";
    const link = document.createElement("a");
    link.href = last.path;
    link.textContent = last.title || (last.path.startsWith("/b/") ? "your last batch" : "your last master");
    const close = document.createElement("button");
    close.className = "quiet";
    close.type = "button";
    close.textContent = "Hide";
    close.addEventListener("click", () => {
      dropLatest();
      line.remove();
    });
    line.append("Back to ", link, close);
    this.prepend(line);
  }

  private act(event: CustomEvent<string>): void {
    const row = event.target as Track;
    const item = row.item;
    switch (event.detail) {
      case "pause": return this.uploader.pause(item);
      case "resume": return this.uploader.resume(item);
      case "open": return void this.uploader.open(item).then((open) => open || this.choose(item));
      case "choose": return this.choose(item);
      case "up": case "down": return this.move(row, event.detail === "up" ? -1 : 1);
      case "remove": {
        const line = row.closest("li");
        const neighbour = line?.nextElementSibling ?? line?.previousElementSibling;
        this.uploader.remove(item);
        this.rows.delete(item);
        line?.remove();
        (neighbour?.querySelector("button") ?? this.querySelector<HTMLElement>("#files"))?.focus();
        return this.settle();
      }
    }
  }

  private choose(item: Item): void {
    this.picking = item;
    this.querySelector<HTMLInputElement>("#files")?.click();
  }

  private move(row: Track, by: -1 | 1): void {
    const line = row.closest("li");
    const other = by < 0 ? line?.previousElementSibling : line?.nextElementSibling;
    if (!line || !other) return;
    if (by < 0) other.before(line);
    else other.after(line);
    row.querySelector<HTMLButtonElement>(`.acts button:nth-of-type(${by < 0 ? 1 : 2})`)?.focus();
    this.tell(`${row.item.name} is now number ${[...this.list.children].indexOf(line) + 1}`);
  }

  /** Dragging rows by their handle. */
  private order(): void {
    let dragged: HTMLElement | null = null;
    this.list.addEventListener("dragstart", (event) => {
      dragged = (event.target as Element).closest("li");
      dragged?.classList.add("dragged");
      event.dataTransfer?.setData("text/plain", "");
    });
    this.list.addEventListener("dragover", (event) => {
      const over = (event.target as Element).closest("li");
      if (!dragged || !over || over === dragged) return;
      event.preventDefault();
      const box = over.getBoundingClientRect();
      if (event.clientY < box.top + box.height / 2) over.before(dragged);
      else over.after(dragged);
    });
    this.list.addEventListener("dragend", () => {
      dragged?.classList.remove("dragged");
      dragged = null;
    });
  }

  /** The items in the order they are shown. */
  private ordered(): Item[] {
    return [...this.list.children].map((line) => (line.firstElementChild as Track).item);
  }

  private tell(text: string): void {
    const line = this.querySelector("[data-sum]");
    if (line) line.textContent = text;
  }

  private refer(file: File): void {
    // One record at a time: the next takes the place of the one before.
    this.querySelector<HTMLButtonElement>("[data-reference] .chosen button")?.click();
    const uploader = new Uploader({ mostBytes: Number(this.dataset.mostBytes) || 4 * 2 ** 30, remember: false, changed: () => this.settle() });
    const item = uploader.add(file);
    this.reference = { name: file.name, item };
    const box = this.querySelector<HTMLElement>("[data-reference]");
    if (!box) return;
    const [label, input] = [box.querySelector("label"), box.querySelector("input")];
    const shown = document.createElement("span");
    shown.className = "chosen";
    const say = (): void => {
      const share = item.bytes > 0 ? Math.floor((100 * item.sent) / item.bytes) : 0;
      const words = shown.firstElementChild as HTMLElement;
      words.textContent = item.state === "failed" ? `${file.name}: ${item.said}` : item.state === "stored" ? file.name : `${file.name} ${share} %`;
      words.className = item.state === "failed" ? "bad" : "";
    };
    shown.append(document.createElement("span"));
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet";
    remove.textContent = "Remove";
    remove.addEventListener("click", () => {
      uploader.remove(item);
      this.reference = null;
      shown.remove();
      label?.removeAttribute("hidden");
      input?.removeAttribute("hidden");
      input?.focus();
      this.settle();
    });
    shown.append(remove);
    // What is not seen takes no focus either.
    label?.setAttribute("hidden", "");
    input?.setAttribute("hidden", "");
    box.append(shown);
    item.watch = say;
    say();
  }

  /** Looks at everything and does what is next; at most a few times a second. */
  private settle(): void {
    if (this.settleTimer !== 0) return;
    this.settleTimer = setTimeout(() => {
      this.settleTimer = 0;
      this.draw();
      void this.ask();
    }, 60) as unknown as number;
  }

  /** How much of all files has been sent, in the page's icon. */
  private fill(): void {
    const { items } = this.uploader;
    const sum = (of: "sent" | "bytes"): number => items.reduce((all, item) => all + item[of], 0);
    ring(items.some((item) => item.state === "sending") ? sum("sent") / Math.max(1, sum("bytes")) : null);
  }

  /** Asks how many tracks fit; at most one question at a time. */
  private measure(): Promise<void> {
    this.measuring ??= roomHere().then((room) => {
      this.measuring = null;
      this.measuredAt = Date.now();
      this.room = room;
      // Those that were let begin and that the service has not counted yet.
      if (room) room.left = Date.now() < this.fullUntil ? 0 : Math.max(0, room.left - this.uploader.items.filter((item) => item.granted && !item.counted).length);
      this.settle();
    });
    return this.measuring;
  }

  /** The service had no room after all: somebody else at this address, or another tab. */
  private refused(problem: Problem): void {
    const wait = Math.min(Math.max(problem.retryAfter, 20) * 1000, this.room?.each ?? 600_000);
    this.fullUntil = Date.now() + wait;
    if (this.room) this.room.left = 0;
    this.grant();
    setTimeout(() => void this.measure(), wait + 500);
  }

  /** Lets as many begin as fit, in the order in which they stand; the others are told when. */
  private grant(): void {
    const items = this.ordered().filter((item) => !item.counted && !item.granted && item.state !== "failed" && item.state !== "made");
    const left = this.room?.left ?? Infinity;
    const each = this.room?.each ?? 0;
    const whole = this.album && items.length > left;
    items.forEach((item, n) => {
      const missing = whole ? items.length - left : n + 1 - left;
      const starts = missing <= 0 ? 0 : whole && items.length > (this.room?.limit ?? Infinity) ? Infinity : Math.max(Date.now() + missing * each, this.fullUntil);
      if (starts === 0 && item.settings !== undefined) {
        item.granted = true;
        if (this.room) this.room.left -= 1;
      }
      // A minute more or less is not worth drawing three hundred rows again.
      if (starts === item.starts || (starts > 0 && item.starts > 0 && Math.abs(starts - item.starts) < 90_000)) return;
      item.starts = starts;
      item.changed();
    });
  }

  /** Says at the queue what fits, and what an account would change. */
  private limits(items: Item[]): void {
    const box = this.querySelector<HTMLElement>("[data-limit]");
    const [words, link, made] = [box?.querySelector("span"), box?.querySelector<HTMLAnchorElement>("a[href]"), box?.querySelector<HTMLAnchorElement>("[data-made]")];
    if (!box || !words || !link || !made) return;
    const open = items.filter((item) => item.state !== "failed");
    const later = open.filter((item) => item.starts > 0 && item.state !== "made");
    const beyond = later.length > 0 && this.room !== null;
    const under = open.some((item) => item.state === "made") && this.path();
    box.toggleAttribute("hidden", !beyond && !(under && items.some((item) => item.state === "failed")));
    document.querySelector(".quota")?.toggleAttribute("hidden", items.length > 0);
    const text = beyond && this.room ? noRoom(open.length, later.length, this.room, Math.max(...later.map((item) => item.starts)), this.album, !signedIn()) : "";
    if (words.textContent !== text) words.textContent = text;
    link.hidden = signedIn() || !beyond;
    link.textContent = `Sign in to master all ${open.length}`;
    made.hidden = !under;
    if (under) made.href = under;
  }

  private draw(): void {
    const items = this.uploader.items;
    this.grant();
    const open = items.filter((item) => item.state !== "failed" && item.state !== "made");
    const wishing = open.filter((item) => item.settings === undefined);
    this.querySelector("[data-queue]")?.toggleAttribute("hidden", items.length === 0);
    this.classList.toggle("filled", items.length > 0);
    this.querySelector("[data-together]")?.toggleAttribute("hidden", items.length < 2 || this.wishes !== null);
    const go = this.querySelector<HTMLElement>("[data-go]");
    const button = go?.querySelector("button");
    go?.toggleAttribute("hidden", wishing.length === 0);
    if (button) button.textContent = this.album ? `Master the album` : wishing.length === 1 ? "Master this track" : `Master ${count(wishing.length, "track")}`;
    this.limits(items);
    const note = this.querySelector("[data-go-note]");
    if (note) note.textContent = open.some((item) => item.state === "sending") ? "No need to wait for the upload." : "";
    const sent = items.filter((item) => ["stored", "queued", "made"].includes(item.state)).length;
    const made = items.filter((item) => item.state === "made").length;
    const failed = items.filter((item) => item.state === "failed").length;
    this.tell([`${sent} of ${items.length} uploaded`, made > 0 ? `${made} sent to mastering` : "", failed > 0 ? `${failed} ${failed === 1 ? "needs" : "need"} your attention` : ""].filter(Boolean).join(", "));
    if (items.length === 0) this.tell("");
    this.fill();
  }

  /** The one button. */
  private async go(): Promise<void> {
    const settings = wished(this.form);
    if (!settings) return;
    if (this.reference?.item.state === "failed") return complain(this.form, "The reference could not be used. Remove it or add another.");
    this.wishes = settings;
    const items = this.ordered().filter((item) => item.state !== "failed" && item.state !== "made");
    // An album waits for all of its tracks, and a reference for itself: then the service is asked here and not with the upload.
    if (!this.album && !this.reference) this.uploader.wish(items, settings);
    else for (const item of items) item.settings = settings;
    for (const item of items) item.changed();
    this.grant();
    this.follow();
    this.settle();
    await this.ask();
  }

  /** Asks for masters of what has arrived. */
  private async ask(): Promise<void> {
    if (this.asking) return;
    const items = this.ordered();
    const wanted = items.filter((item) => item.settings !== undefined && item.state !== "failed" && item.state !== "made");
    const stored = wanted.filter((item) => item.state === "stored");
    // What an earlier visit left has not been looked at yet.
    if (stored.length > 0 && Date.now() - this.measuredAt > 300_000) return this.measure();
    const ready = stored.filter((item) => item.granted);
    const reference = this.reference?.item;
    if (reference && reference.state !== "stored") return;
    if (ready.length === 0 || (this.album && ready.length < wanted.length)) return this.depart();
    this.asking = true;
    // Those of an earlier visit may wish something else.
    const settings = ready[0]?.settings;
    const same = ready.filter((item) => JSON.stringify(item.settings) === JSON.stringify(settings)).slice(0, this.album ? undefined : 50);
    try {
      for (const item of same) item.say("queued");
      const name = this.querySelector<HTMLInputElement>("[data-album-name] input")?.value.trim() || "Untitled album";
      const made = await insist<Made>("/masters", {
        method: "POST",
        body: { uploads: same.map((item) => item.upload), settings, ...(reference ? { reference_upload: reference.upload } : {}), ...(this.album ? { batch: { name, album: true } } : {}) },
        final: full,
      }, (problem) => problem && complain(this.form, problem.message), Infinity);
      complain(this.form, "");
      if (made.batch) this.batch = made.batch;
      same.forEach((item, n) => {
        const master = made.items[n];
        if (master) this.uploader.made(item, master.id);
      });
    } catch (error) {
      for (const item of same) item.say("stored");
      if (error instanceof Problem && full(error)) {
        for (const item of same) item.granted = false;
        this.refused(error);
        return this.settle();
      }
      for (const item of same) item.granted = false;
      for (const item of same) item.settings = undefined;
      this.wishes = null;
      complain(this.form, explain(error));
    } finally {
      this.asking = false;
    }
    this.settle();
    this.depart();
  }

  /** Once everything is on its way, its page is the place to be. */
  private depart(): void {
    const items = this.uploader.items;
    const made = items.filter((item) => item.state === "made");
    if (made.length === 0 || this.followed === "gone") return;
    const rest = items.filter((item) => item.state !== "made");
    const single = made.length === 1 && items.length === 1;
    const path = this.path();
    if (path !== "/library") keepLatest(path, single ? stem(made[0]?.name ?? "") : "");
    if (rest.length > 0) return;
    this.followed = "gone";
    this.stopWatching?.();
    location.assign(path);
  }

  /** The page of what is under way. */
  private path(): string {
    const { items } = this.uploader;
    const made = items.filter((item) => item.state === "made");
    return made.length === 1 && items.length === 1 ? `/m/${made[0]?.master}` : this.batch !== "" ? `/b/${this.batch}` : "/library";
  }

  /** Shows in the queue how the masters are doing while other files are still sent. */
  private follow(): void {
    this.stopWatching ??= watch((master) => {
      for (const [item, row] of this.rows) {
        if (item.master !== master.id) continue;
        row.progress = master.state === "running" ? `Mastering: ${master.stage ?? ""}` : master.state === "done" ? "Done" : master.state === "failed" ? (master.error ? sentence(master.error.code) : "Could not be mastered") : "In the queue";
        const stage = STAGES.indexOf(master.stage ?? "");
        row.share = master.state === "done" ? 1 : master.state === "running" ? (Math.max(stage, 0) + 0.5) / STAGES.length : 0;
        row.requestUpdate();
      }
    });
  }
}

/** The files of a drop, those in folders included, with handles where the browser gives them. */
async function dropped(transfer: DataTransfer): Promise<Picked[]> {
  type Handling = DataTransferItem & { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> };
  // All of it must be asked for before the first wait: the browser empties the transfer after the event.
  const asked = [...transfer.items].filter((item) => item.kind === "file").map((item) => ({
    file: item.getAsFile(),
    handle: (item as Handling).getAsFileSystemHandle?.() ?? Promise.resolve(null),
    entry: item.webkitGetAsEntry?.() ?? null,
  }));
  const picked: Picked[] = [];
  for (const one of asked) {
    const handle = await one.handle.catch(() => null);
    if (one.entry?.isDirectory) picked.push(...(await inFolder(one.entry as FileSystemDirectoryEntry)));
    else if (one.file) picked.push({ file: one.file, handle: handle?.kind === "file" ? (handle as FileSystemFileHandle) : null });
  }
  return picked;
}

const SOUNDS = /\.(wav|wave|aiff?|aifc|flac|mp3|m4a|ogg|oga|opus|caf|rf64|bwf)$/i;

async function inFolder(folder: FileSystemDirectoryEntry, depth = 0): Promise<Picked[]> {
  const picked: Picked[] = [];
  const reader = folder.createReader();
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (entries.length === 0) break;
    for (const entry of entries) {
      if (entry.isDirectory && depth < 4) picked.push(...(await inFolder(entry as FileSystemDirectoryEntry, depth + 1)));
      else if (entry.isFile && SOUNDS.test(entry.name)) {
        const file = await new Promise<File | null>((resolve) => (entry as FileSystemFileEntry).file(resolve, () => resolve(null)));
        if (file) picked.push({ file, handle: null });
      }
    }
  }
  return picked.sort((a, b) => a.file.name.localeCompare(b.file.name, undefined, { numeric: true }));
}

customElements.define("lm-upload", UploadElement);
