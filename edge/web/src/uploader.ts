// The uploader: fingerprint, create, sign in batches, send parts in parallel, complete, master. Everything that may fail in passing is
// tried again with patience; after a reload only the missing parts are sent, because the service knows which have arrived.

import { Problem, ask, insist, key, online, sleep, backoff } from "./api";
import { full } from "./allowance";
import { fingerprint } from "./fingerprint";
import { type UploadRecord, dropHandle, dropUpload, handleOf, keepHandle, keepUpload, keepUploads, uploadRecords } from "./storage";
import { type FileLimits, refusal, tooLong } from "./admission";
import { size } from "./text";

export type State =
  | "new" // being looked at
  | "waiting" // its turn comes
  | "sending"
  | "paused"
  | "finishing" // all parts sent
  | "stored" // there; not mastered yet
  | "queued" // asked to be mastered
  | "made" // a master exists
  | "lost" // the browser no longer has the file: choose it again
  | "elsewhere" // another tab sends it
  | "failed";

interface Upload {
  id: string;
  state: "uploading" | "completing" | "stored" | "aborted" | "gone";
  part_bytes: number;
  parts: number;
  bytes: number;
  master?: string;
}

/** One file and how far it is. */
export class Item {
  readonly local = key();
  file: File | null = null;
  handle: FileSystemFileHandle | null = null;
  record: UploadRecord | null = null;
  print = "";
  state: State = "new";
  /** Bytes the service has, and those under way. */
  sent = 0;
  speed = 0;
  /** What is the matter, for a person. */
  said = "";
  /** Whether trying again may help. */
  again = false;
  upload = "";
  master = "";
  settings: unknown = undefined;
  /** May be mastered now; what has no room yet waits in the queue, uploaded. */
  granted = false;
  /** Needs nothing but itself: its settings may travel with the upload. */
  direct = false;
  /** The service has counted it as a track. */
  counted = false;
  /** When it may be mastered, ms; 0: now. */
  starts = 0;
  batch = "";
  position: number | undefined;
  stop = new AbortController();
  /** Paused: parts under way are sent to their end, no other is begun. */
  halted = false;
  /** Whether `send` is at work on it. */
  busy = false;
  watch: ((item: Item) => void) | null = null;
  /** Bytes of parts under way, by part. */
  readonly flying = new Map<number, number>();
  arrived = 0;
  marked = { at: 0, sent: 0 };

  constructor(
    readonly name: string,
    readonly bytes: number,
  ) {}

  changed(): void {
    this.watch?.(this);
  }

  say(state: State, said = "", again = false): void {
    this.state = state;
    this.said = said;
    this.again = again;
    if (state !== "sending") this.speed = 0;
    this.changed();
  }

  /** Seconds to go; null where nobody can know. */
  get eta(): number | null {
    return this.speed > 0 ? (this.bytes - this.sent) / this.speed : null;
  }
}

const FILES_AT_A_TIME = 3;
const PARTS_AT_A_TIME = 4;
const SIGNED_AT_A_TIME = 16;
const TRIES = 12;

export interface Options {
  mostBytes: number;
  /** Whether the uploads are to survive a reload; a reference is chosen anew. */
  remember?: boolean;
  /** Tells of items that came, went, or may be mastered. */
  changed: () => void;
  /** Twice a second while something is sent. */
  ticked?: () => void;
  /** The service had no room for another track. */
  full?: (problem: Problem) => void;
}

let asked: Promise<FileLimits | null> | null = null;

/** What the service takes, asked once; null where it does not say: then it judges after the upload. */
function limitsHere(): Promise<FileLimits | null> {
  asked ??= ask<FileLimits>("/limits").catch(() => {
    asked = null;
    return null;
  });
  return asked;
}

/** Thrown where sending stops because its owner paused it. */
const HALTED = new Error("paused");

/** The queue of one tab. */
export class Uploader {
  readonly items: Item[] = [];
  private running = 0;
  private looking = 0;
  private readonly unlock = new Map<Item, () => void>();
  private readonly channel: BroadcastChannel | null;
  private ticker = 0;

  constructor(private readonly options: Options) {
    this.channel = typeof BroadcastChannel === "function" ? new BroadcastChannel("lm") : null;
    this.channel?.addEventListener("message", (event: MessageEvent<{ print?: string; sent?: number }>) => {
      const item = this.items.find((it) => it.state === "elsewhere" && it.print === event.data.print);
      if (item && typeof event.data.sent === "number") {
        item.sent = Math.min(item.bytes, event.data.sent);
        item.changed();
      }
    });
  }

  /** Takes a file in. */
  add(file: File, handle: FileSystemFileHandle | null = null): Item {
    const item = new Item(file.name, file.size);
    item.file = file;
    item.handle = handle;
    const no = refusal(file, this.options.mostBytes);
    this.items.push(item);
    if (no !== null) item.say("failed", no);
    this.turn();
    this.options.changed();
    return item;
  }

  /** What an earlier visit left behind. */
  async recall(): Promise<Item[]> {
    const records = uploadRecords();
    const back: Item[] = [];
    for (const record of records) {
      if (this.items.some((item) => item.print === record.fingerprint)) continue;
      const item = new Item(record.name, record.bytes);
      item.record = record;
      item.print = record.fingerprint;
      item.upload = record.id;
      item.settings = record.settings;
      item.say("lost", "");
      this.items.push(item);
      back.push(item);
      void this.reopen(item);
    }
    this.options.changed();
    return back;
  }

  /** Finds out what has become of an upload of an earlier visit, and opens its file again where that needs no click. */
  private async reopen(item: Item): Promise<void> {
    const upload = await this.lookUp(item);
    if (upload === null) {
      this.forget(item);
      return item.say("failed", "This upload has expired. Choose the file to start over.");
    }
    if (upload.state === "stored" || upload.state === "completing") {
      item.sent = item.bytes;
      return this.arrive(item, upload);
    }
    if (!(await this.alone(item))) return;
    item.handle = await handleOf(item.upload);
    item.sent = await this.arrivedOf(item, upload);
    const permission = item.handle === null ? "none" : await allowed(item.handle, false);
    if (permission === "granted" && (await this.open(item))) return;
    const there = item.sent > 0 ? ` ${size(item.sent)} of ${size(item.bytes)} are already here.` : "";
    item.say("lost", `${item.handle === null ? "Choose the file again" : "Press Continue"} to resume.${there}`);
  }

  /** Bytes of an unfinished upload that the service has. */
  private async arrivedOf(item: Item, upload: Upload): Promise<number> {
    const there = await ask<{ parts: { bytes: number }[] }>(`/uploads/${upload.id}/parts`).catch(() => ({ parts: [] }));
    return Math.min(item.bytes, there.parts.reduce((sum, part) => sum + part.bytes, 0));
  }

  /** The upload of a record; null once it is over. Waits for the service as long as it takes. */
  private async lookUp(item: Item): Promise<Upload | null> {
    try {
      const upload = await insist<Upload>(`/uploads/${item.upload}`, {}, (problem) => this.waits(item, problem), Infinity);
      return upload.state === "aborted" || upload.state === "gone" ? null : upload;
    } catch {
      return null;
    }
  }

  /** Opens the file of a handle, in a click. */
  async open(item: Item): Promise<boolean> {
    if (item.handle === null || (await allowed(item.handle, true)) !== "granted") return false;
    try {
      return this.take(item, await item.handle.getFile());
    } catch {
      item.handle = null;
      item.say("lost", "The file is not where it was. Choose it again.");
      return false;
    }
  }

  /** Gives a lost item its file back, if it is the same one. */
  async take(item: Item, file: File): Promise<boolean> {
    if (file.size !== item.bytes || (await fingerprint(file)) !== item.print) {
      item.say("lost", `That is not the same file. Choose the ${item.name} (${size(item.bytes)}) you started with.`);
      return false;
    }
    item.file = file;
    item.say("waiting");
    this.turn();
    return true;
  }

  /** The lost item that a chosen file belongs to. */
  lostLike(file: File): Item | undefined {
    return this.items.find((item) => item.state === "lost" && item.name === file.name && item.bytes === file.size);
  }

  pause(item: Item): void {
    if (item.state !== "sending" && item.state !== "waiting") return;
    item.halted = true;
    item.say("paused");
    this.turn();
  }

  resume(item: Item): void {
    if (item.state !== "paused" && item.state !== "failed") return;
    item.halted = false;
    // The parts that were under way are still being sent: the others follow them.
    if (item.busy) return item.say("sending");
    item.stop = new AbortController();
    item.say(item.print === "" ? "new" : "waiting");
    this.turn();
  }

  /** Takes a line away; an unfinished upload is given up on the service, too. */
  remove(item: Item): void {
    item.stop.abort(new DOMException("removed", "AbortError"));
    const at = this.items.indexOf(item);
    if (at >= 0) this.items.splice(at, 1);
    if (item.upload !== "" && item.state !== "made" && item.state !== "elsewhere") {
      void insist(`/uploads/${item.upload}`, { method: "DELETE" }, undefined, 5).catch(() => undefined);
    }
    this.forget(item);
    this.unlock.get(item)?.();
    this.turn();
    this.options.changed();
  }

  /** Nothing of it needs to survive any more. */
  private forget(item: Item): void {
    if (item.upload !== "") {
      dropUpload(item.upload);
      void dropHandle(item.upload);
    }
  }

  /** Starts what may start. */
  private turn(): void {
    while (this.looking < 2) {
      const item = this.items.find((it) => it.state === "new" && it.said === "");
      if (!item) break;
      this.looking += 1;
      item.said = "Looking at the file";
      void this.look(item).finally(() => {
        this.looking -= 1;
        this.turn();
      });
    }
    while (this.running < FILES_AT_A_TIME) {
      const item = this.items.find((it) => it.state === "waiting");
      if (!item) break;
      this.running += 1;
      item.say("sending");
      void this.send(item).finally(() => {
        this.running -= 1;
        this.turn();
        this.options.changed();
      });
    }
    this.tick();
  }

  /** Fingerprint, duplicates, other tabs, an upload begun earlier. */
  private async look(item: Item): Promise<void> {
    if (item.file === null) return;
    try {
      item.print = await fingerprint(item.file);
    } catch {
      return item.say("failed", "The file cannot be read. Is it still there?", true);
    }
    if (this.items.some((other) => other !== item && other.print === item.print)) {
      item.print = "";
      return item.say("failed", "This file is already in the list.");
    }
    const limits = await limitsHere();
    const long = limits && (await tooLong(item.file, limits).catch(() => null));
    if (long) {
      item.print = "";
      return item.say("failed", long);
    }
    if (!(await this.alone(item))) return;
    const record = uploadRecords().find((it) => it.fingerprint === item.print);
    if (record) {
      item.record = record;
      item.upload = record.id;
      item.settings ??= record.settings;
    }
    if (this.items.includes(item) && item.state === "new") item.say("waiting");
  }

  /** Whether this tab may send the file. Another tab that does keeps a lock; when it lets go we look at what became of it. */
  private async alone(item: Item): Promise<boolean> {
    if (!("locks" in navigator) || this.unlock.has(item)) return true;
    const name = `lm:${item.print}`;
    const hold = (): Promise<void> => new Promise((resolve) => this.unlock.set(item, () => (this.unlock.delete(item), resolve())));
    const got = await new Promise<boolean>((resolve) => {
      void navigator.locks.request(name, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock === null ? undefined : hold();
      });
    });
    if (got) return true;
    item.say("elsewhere", "Another tab is sending this file.");
    void navigator.locks.request(name, { signal: item.stop.signal }, () => {
      const held = hold();
      void this.inherit(item);
      return held;
    }).catch(() => undefined);
    return false;
  }

  /** The other tab is done or gone. */
  private async inherit(item: Item): Promise<void> {
    const record = uploadRecords().find((it) => it.fingerprint === item.print);
    if (!record) {
      item.sent = item.bytes;
      return item.say("failed", "The other tab has finished with this file.");
    }
    item.upload = record.id;
    item.settings ??= record.settings;
    if (item.file === null) return this.reopen(item);
    item.say("waiting");
    this.turn();
  }

  private waits(item: Item, problem: Problem | null): void {
    if (problem === null) item.said = "";
    else item.said = !navigator.onLine || problem.status === 0 ? "You are offline. The upload resumes when you are back." : problem.code === "rate.exceeded" ? problem.message : problem.status === 429 ? "Busy right now. Retrying…" : "The service does not answer. Retrying…";
    item.changed();
  }

  private async send(item: Item): Promise<void> {
    const signal = item.stop.signal;
    item.busy = true;
    const patience = (problem: Problem | null): void => this.waits(item, problem);
    try {
      let upload = item.upload === "" ? null : await this.lookUp(item);
      if (upload === null) {
        if (item.upload !== "") this.forget(item);
        item.arrived = item.sent = 0;
        upload = await this.create(item, signal, patience);
        item.upload = upload.id;
        this.record(item);
        if (item.handle && this.options.remember !== false) void keepHandle(item.upload, item.handle);
      }
      if (upload.state === "uploading") {
        const parts = await this.parts(item, upload, signal);
        item.say("finishing");
        upload = await this.complete(item, parts, signal);
      }
      this.arrive(item, upload);
    } catch (error) {
      if (signal.aborted || error === HALTED) return; // removed or paused; whoever did it has said so
      const problem = error instanceof Problem ? error : new Problem(0, "page.unexpected", String(error));
      item.say("failed", problem.message, problem.passing || problem.status === 0 || problem.status === 403);
    } finally {
      item.busy = false;
      item.flying.clear();
      item.changed();
    }
  }

  /** Makes the upload; with its settings where there is room to master it as soon as it arrives. */
  private async create(item: Item, signal: AbortSignal, patience: (problem: Problem | null) => void): Promise<Upload> {
    const settings = item.granted && item.direct ? item.settings : undefined;
    const body = { name: item.name, bytes: item.bytes, type: item.file?.type ?? "", fingerprint: item.print, ...(settings === undefined ? {} : { settings }), ...(item.batch === "" ? {} : { batch: item.batch, position: item.position }) };
    try {
      const upload = await insist<Upload>("/uploads", { method: "POST", signal, body, final: full }, patience, Infinity);
      item.counted = settings !== undefined;
      return upload;
    } catch (error) {
      if (settings === undefined || !(error instanceof Problem) || !full(error)) throw error;
      item.granted = false;
      this.options.full?.(error);
      return this.create(item, signal, patience);
    }
  }

  private recordOf(item: Item): UploadRecord {
    const record: UploadRecord = { id: item.upload, fingerprint: item.print, name: item.name.slice(0, 400), bytes: item.bytes, modified: item.file?.lastModified ?? 0, at: item.record?.at ?? Date.now() };
    if (item.settings !== undefined) record.settings = item.settings;
    item.record = record;
    return record;
  }

  private record(item: Item): void {
    const record = this.recordOf(item);
    if (this.options.remember !== false) keepUpload(record);
  }

  /** Sends the parts the service does not have; the ETags of all of them. */
  private async parts(item: Item, upload: Upload, signal: AbortSignal): Promise<{ number: number; etag: string }[]> {
    const file = item.file;
    if (file === null) throw new Problem(0, "page.no_file", "Choose the file again.");
    const size = (number: number): number => Math.min(upload.part_bytes, item.bytes - (number - 1) * upload.part_bytes);
    const tags = new Map<number, string>();
    const there = await insist<{ parts: { number: number; etag: string; bytes: number }[] }>(`/uploads/${upload.id}/parts`, { signal }, (problem) => this.waits(item, problem), Infinity);
    for (const part of there.parts) if (part.bytes === size(part.number)) tags.set(part.number, part.etag);
    const count = (): void => {
      item.arrived = [...tags.keys()].reduce((sum, number) => sum + size(number), 0);
      item.sent = item.arrived + [...item.flying.values()].reduce((sum, bytes) => sum + bytes, 0);
    };
    count();
    item.marked = { at: performance.now(), sent: item.sent };
    const todo = Array.from({ length: upload.parts }, (_, n) => n + 1).filter((number) => !tags.has(number));
    // The first lane that fails stops the others, which would go on sending for nothing.
    const lanes = new AbortController();
    const stop = (): void => lanes.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    const urls = new Signer(upload.id, () => todo.slice(0, SIGNED_AT_A_TIME), lanes.signal, (problem) => this.waits(item, problem));
    const lane = async (): Promise<void> => {
      for (let number = item.halted ? undefined : todo.shift(); number !== undefined; number = item.halted ? undefined : todo.shift()) {
        const from = (number - 1) * upload.part_bytes;
        const etag = await this.part(item, urls, number, file.slice(from, from + size(number)), lanes.signal, count);
        item.flying.delete(number);
        tags.set(number, etag);
        count();
      }
    };
    try {
      while (todo.length > 0) {
        if (item.halted) throw HALTED;
        await Promise.all(Array.from({ length: Math.min(PARTS_AT_A_TIME, todo.length) }, lane));
      }
      if (item.halted) throw HALTED;
    } catch (error) {
      lanes.abort(error);
      throw error;
    } finally {
      signal.removeEventListener("abort", stop);
    }
    return [...tags].sort(([a], [b]) => a - b).map(([number, etag]) => ({ number, etag }));
  }

  private async part(item: Item, urls: Signer, number: number, bytes: Blob, signal: AbortSignal, count: () => void): Promise<string> {
    for (let attempt = 0; ; attempt += 1) {
      const url = await urls.of(number);
      try {
        const etag = await put(url, bytes, signal, (sent) => {
          // Bytes move: whatever was the matter is over.
          if (sent > 0 && item.said !== "") this.waits(item, null);
          item.flying.set(number, sent);
          count();
        });
        if (attempt > 0) this.waits(item, null);
        return etag;
      } catch (error) {
        item.flying.delete(number);
        count();
        if (signal.aborted || !(error instanceof Problem)) throw error;
        if (item.halted) throw HALTED;
        // 403: the signature has expired, or the clock is off; a fresh one helps, but not for ever.
        if (error.status === 403) urls.drop(number);
        else if (!error.passing) throw error;
        if (attempt >= TRIES && navigator.onLine) throw error;
        if (error.status !== 403 || attempt > 0) {
          this.waits(item, error);
          await online(signal);
          await sleep(backoff(attempt), signal);
        }
      }
    }
  }

  private async complete(item: Item, parts: { number: number; etag: string }[], signal: AbortSignal): Promise<Upload> {
    return insist<Upload>(`/uploads/${item.upload}/complete`, { method: "POST", body: { parts }, signal }, (problem) => this.waits(item, problem), Infinity);
  }

  private arrive(item: Item, upload: Upload): void {
    item.sent = item.bytes;
    // All of it is there: the file is not opened again.
    void dropHandle(item.upload);
    if (upload.master !== undefined && upload.master !== null) this.made(item, upload.master);
    else item.say("stored");
    this.options.changed();
  }

  /** A master exists: nothing of the upload needs to survive here. */
  made(item: Item, master: string): void {
    item.master = master;
    item.counted = true;
    item.say("made");
    this.forget(item);
    this.unlock.get(item)?.();
  }

  /** The settings everything is to be mastered with; what is not created yet takes them along, so that it needs no tab any more. */
  wish(items: Item[], settings: unknown): void {
    for (const item of items) Object.assign(item, { settings, direct: true });
    // All in one writing: a hundred small ones would each read and write the whole list.
    keepUploads(items.filter((item) => item.upload !== "" && item.state !== "made").map((item) => this.recordOf(item)));
  }

  /** Measures speeds twice a second while something is sent. */
  private tick(): void {
    if (this.ticker !== 0) return;
    this.ticker = setInterval(() => {
      const now = performance.now();
      let busy = false;
      for (const item of this.items) {
        if (item.state !== "sending") continue;
        busy = true;
        const seconds = (now - item.marked.at) / 1000;
        if (seconds > 0.2) {
          const speed = Math.max(0, item.sent - item.marked.sent) / seconds;
          item.speed = item.speed === 0 ? speed : item.speed * 0.7 + speed * 0.3;
          item.marked = { at: now, sent: item.sent };
        }
        this.channel?.postMessage({ print: item.print, sent: item.sent });
        item.changed();
      }
      this.options.ticked?.();
      if (!busy) {
        clearInterval(this.ticker);
        this.ticker = 0;
      }
    }, 500) as unknown as number;
  }
}

/** Addresses for parts, asked for many at a time and again when they were refused. */
class Signer {
  private readonly known = new Map<number, string>();
  private asking: Promise<void> | null = null;

  constructor(
    private readonly upload: string,
    private readonly next: () => number[],
    private readonly signal: AbortSignal,
    private readonly waits: (problem: Problem | null) => void,
  ) {}

  async of(number: number): Promise<string> {
    for (;;) {
      const url = this.known.get(number);
      if (url !== undefined) return url;
      this.asking ??= this.ask(number).finally(() => (this.asking = null));
      await this.asking;
    }
  }

  drop(number: number): void {
    // The neighbours were signed at the same time and are as old.
    this.known.delete(number);
    for (const other of [...this.known.keys()]) this.known.delete(other);
  }

  private async ask(number: number): Promise<void> {
    const numbers = [...new Set([number, ...this.next()])].filter((n) => !this.known.has(n)).slice(0, SIGNED_AT_A_TIME);
    const { urls } = await insist<{ urls: Record<string, string> }>(`/uploads/${this.upload}/parts`, { method: "POST", body: { numbers }, signal: this.signal }, this.waits, Infinity);
    for (const [n, url] of Object.entries(urls)) this.known.set(Number(n), url);
    if (!this.known.has(number)) throw new Problem(502, "net.unsigned", "The service gave no address for a part.");
  }
}

/** One part to the object storage; fetch cannot tell how far a request body is. */
function put(url: string, bytes: Blob, signal: AbortSignal, progress: (sent: number) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.timeout = 10 * 60_000;
    const stop = (): void => request.abort();
    if (signal.aborted) return reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
    const end = (how: () => void): void => {
      signal.removeEventListener("abort", stop);
      how();
    };
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onload = () =>
      end(() => {
        const taken = request.status >= 200 && request.status < 300;
        // Refusals need not show it, and asking for what is not shown is an error in the console.
        const etag = taken && request.getResponseHeader("etag");
        if (etag) return resolve(etag);
        const status = taken ? 502 : request.status;
        reject(new Problem(status, `storage.${status}`, status === 403 ? "The storage refused a part; its clock and ours may differ." : `The storage did not take a part (${status}).`));
      });
    request.onerror = request.ontimeout = () => end(() => reject(new Problem(0, "net.unreachable", "The storage cannot be reached.")));
    request.onabort = () => end(() => reject((signal.reason as Error | undefined) ?? new DOMException("aborted", "AbortError")));
    request.send(bytes);
  });
}

interface Permitting {
  queryPermission?: (of: { mode: "read" }) => Promise<PermissionState>;
  requestPermission?: (of: { mode: "read" }) => Promise<PermissionState>;
}

async function allowed(handle: FileSystemFileHandle, asking: boolean): Promise<PermissionState> {
  const it = handle as FileSystemFileHandle & Permitting;
  try {
    const now = (await it.queryPermission?.({ mode: "read" })) ?? "granted";
    return now === "prompt" && asking && it.requestPermission ? await it.requestPermission({ mode: "read" }) : now;
  } catch {
    return "denied";
  }
}
