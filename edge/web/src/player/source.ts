// A preview on the server, read in pieces: stretches of ten seconds are found in the file by its own time stamps and decoded alone, so
// that half an hour of music never stands in memory.

import { Problem } from "../api";
import { type Header, PREROLL, RATE, type Page, header, pages, stretch } from "./ogg";

const HEAD = 64 * 1024;
const CHUNK = 256 * 1024;
const PROBE = 24 * 1024;

/** A file of which ranges can be had; where the server sends the whole, the whole is kept. */
export class Remote {
  private whole: Uint8Array | null = null;
  size = 0;

  /** `renew`: a new address, where the one given has had its time. */
  constructor(
    private url: string,
    private readonly renew: () => Promise<string | undefined> = () => Promise.resolve(undefined),
  ) {}

  async read(from: number, to: number): Promise<Uint8Array> {
    if (this.whole) return this.whole.subarray(from, to);
    let response = await this.ask(from, to);
    if (response.status === 403) {
      const url = await this.renew().catch(() => undefined);
      if (url && url !== this.url) {
        this.url = url;
        response = await this.ask(from, to);
      }
    }
    if (response.status === 416) return new Uint8Array();
    if (!response.ok) throw new Problem(response.status, "storage.preview", "The preview cannot be fetched right now. Try again in a moment.");
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (response.status === 206) {
      const total = Number(response.headers.get("content-range")?.split("/")[1]);
      // Hidden by CORS: a short answer is the end, anything else is not known yet.
      if (Number.isFinite(total) && total > 0) this.size = total;
      else if (bytes.length < to - from) this.size = from + bytes.length;
      return bytes;
    }
    this.whole = bytes;
    this.size = bytes.length;
    return bytes.subarray(from, to);
  }

  private ask(from: number, to: number): Promise<Response> {
    return fetch(this.url, { headers: { range: `bytes=${from}-${to - 1}` } }).catch(() => {
      throw new Problem(0, "net.unreachable", "The preview cannot be fetched. Are you online?");
    });
  }
}

interface Anchor {
  granule: number;
  byte: number;
}

/** An Ogg Opus file as a timeline of samples at 48 kHz. */
export class Preview {
  /** Ends of pages that were seen, in order. */
  private readonly anchors: Anchor[] = [];
  private opening: Promise<Header> | null = null;

  constructor(
    private readonly remote: Remote,
    /** Length, for the first guess. */
    private readonly samples: number,
  ) {}

  private open(): Promise<Header> {
    this.opening ??= (async () => {
      for (let length = HEAD; length <= 16 * HEAD; length *= 4) {
        const bytes = await this.remote.read(0, length);
        const found = header(bytes);
        if (found) {
          this.anchors.push({ granule: 0, byte: found.end });
          this.learn(pages(bytes, found.end), 0);
          return found;
        }
        if (bytes.length < length) break;
      }
      throw new Problem(0, "preview.unreadable", "This preview cannot be read.");
    })();
    this.opening.catch(() => (this.opening = null));
    return this.opening;
  }

  private learn(found: Page[], offset: number): void {
    for (const page of found) {
      if (page.granule <= 0) continue;
      const byte = offset + page.at + page.size;
      const after = this.anchors.findIndex((anchor) => anchor.granule >= page.granule);
      if (after >= 0 && this.anchors[after]?.granule === page.granule) continue;
      this.anchors.splice(after < 0 ? this.anchors.length : after, 0, { granule: page.granule, byte });
    }
  }

  /** The last known page end at or before a granule, and the next one after it. */
  private around(granule: number): [Anchor, Anchor | undefined] {
    const after = this.anchors.findIndex((anchor) => anchor.granule > granule);
    const last = after < 0 ? this.anchors.length - 1 : after - 1;
    return [this.anchors[Math.max(0, last)]!, after < 0 ? undefined : this.anchors[after]];
  }

  /** A small file that decodes to the samples from `start` on, `length` of them or up to the end. */
  async stretch(start: number, length: number): Promise<Uint8Array<ArrayBuffer> | null> {
    const head = await this.open();
    const first = Math.max(0, start + head.preSkip - PREROLL);
    const last = start + length + head.preSkip;
    // Interpolation search, as players do: three or four small reads for any place in any file.
    for (let tries = 0; tries < 12; tries += 1) {
      const [low, high] = this.around(first);
      const end: Anchor = high ?? { granule: this.samples + head.preSkip, byte: this.remote.size };
      if (end.byte === 0 || end.byte - low.byte <= CHUNK || first - low.granule < 2 * RATE) break;
      const share = Math.max(0, Math.min(1, (first - low.granule) / Math.max(1, end.granule - low.granule)));
      const guess = Math.max(low.byte, Math.floor(low.byte + share * (end.byte - low.byte) - PROBE * (1 + tries / 2)));
      const known = this.anchors.length;
      this.learn(pages(await this.remote.read(guess, guess + 2 * PROBE)), guess);
      if (this.anchors.length === known) break;
    }
    const [from] = this.around(first);
    const audio: Page[] = [];
    let held = new Uint8Array();
    let at = from.byte;
    for (;;) {
      const more = await this.remote.read(at, at + CHUNK);
      const joined = new Uint8Array(held.length + more.length);
      joined.set(held);
      joined.set(more, held.length);
      const origin = at - held.length;
      const found = pages(joined);
      this.learn(found, origin);
      audio.push(...found);
      at += more.length;
      const used = found.at(-1);
      held = used ? joined.slice(used.at + used.size) : joined;
      if (more.length < CHUNK || (used && used.granule >= last) || audio.length > 100_000) break;
    }
    // What lies before the stretch by more than the preroll is not decoded.
    let before = from.granule;
    while (audio.length > 1 && audio[0] && audio[0].granule > 0 && audio[0].granule <= first && !audio[1]?.continued) before = audio.shift()!.granule;
    const until = audio.findIndex((page) => page.granule >= last);
    return stretch(head, until < 0 ? audio : audio.slice(0, until + 1), before, start);
  }
}
