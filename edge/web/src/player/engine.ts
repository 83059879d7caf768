// Two previews as one player: both run all the time, started on the same sample; which one is heard is a matter of gain. Stretches of
// ten seconds are decoded around the playhead and follow each other without a gap.

import { RATE } from "./ogg";
import { Preview, Remote } from "./source";

export type Side = "mix" | "master";
const SIDES: Side[] = ["mix", "master"];
const STRETCH = 10;
const AHEAD = 12;
const FADE = 0.015;

interface Scheduled {
  index: number;
  until: number;
  nodes: AudioBufferSourceNode[];
}

export interface Loop {
  from: number;
  to: number;
}

/** The part of a song that its previews hold while the whole is still being made. */
export interface Excerpt {
  start: number;
  seconds: number;
}

export class Engine {
  readonly context: AudioContext;
  private readonly gains: Record<Side, GainNode>;
  private previews: Record<Side, Preview>;
  private whole: Promise<void> = Promise.resolve();
  private arrived: () => void = () => undefined;
  private readonly decoded = new Map<string, Promise<AudioBuffer | null>>();
  private queue: Scheduled[] = [];
  private playing = false;
  /** Context time at which the song stood at `anchor`. */
  private started = 0;
  private anchor = 0;
  private timer = 0;
  private generation = 0;
  side: Side = "master";
  matched = true;
  loop: Loop | null = null;
  failed: ((error: unknown) => void) | null = null;
  ended: (() => void) | null = null;
  waiting = false;

  /** `louder`: how much louder the master is than the mix, dB. */
  constructor(
    urls: Record<Side, string>,
    readonly seconds: number,
    private louder: number,
    private excerpt: Excerpt | null = null,
    /** A new address for a preview, by its role. */
    private readonly renew: (role: string) => Promise<string | undefined> = () => Promise.resolve(undefined),
  ) {
    if (excerpt) this.whole = new Promise((resolve) => (this.arrived = resolve));
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    this.gains = { mix: this.context.createGain(), master: this.context.createGain() };
    this.previews = this.opened(urls);
    for (const side of SIDES) {
      this.gains[side].gain.value = 0;
      this.gains[side].connect(this.context.destination);
    }
    this.balance(0);
  }

  private opened(urls: Record<Side, string>): Record<Side, Preview> {
    const samples = (this.excerpt?.seconds ?? this.seconds) * RATE;
    const ending = this.excerpt ? "-excerpt" : "";
    const preview = (side: Side): Preview => new Preview(new Remote(urls[side], () => this.renew(side + ending)), samples);
    return { mix: preview("mix"), master: preview("master") };
  }

  /** The whole song is there, or another part of it; what is scheduled plays on. */
  replace(urls: Record<Side, string>, louder: number, excerpt: Excerpt | null): void {
    this.excerpt = excerpt;
    this.louder = louder;
    this.previews = this.opened(urls);
    this.decoded.clear();
    this.balance();
    if (!excerpt) this.arrived();
  }

  /** The gain of a side when it is heard: the louder one is turned down, nothing is ever turned up. */
  level(side: Side): number {
    const db = !this.matched ? 0 : side === "master" ? Math.min(0, -this.louder) : Math.min(0, this.louder);
    return 10 ** (db / 20);
  }

  private balance(fade = FADE): void {
    const now = this.context.currentTime;
    for (const side of SIDES) {
      const gain = this.gains[side].gain;
      const to = side === this.side ? this.level(side) : 0;
      gain.cancelScheduledValues(now);
      if (fade === 0) gain.value = to;
      else {
        gain.setValueAtTime(gain.value, now);
        gain.linearRampToValueAtTime(to, now + fade);
      }
    }
  }

  listen(side: Side): void {
    this.side = side;
    this.balance();
  }

  match(on: boolean): void {
    this.matched = on;
    this.balance();
  }

  get position(): number {
    if (!this.playing || this.waiting) return this.anchor;
    const at = this.anchor + Math.max(0, this.context.currentTime - this.started);
    return this.loop && at >= this.loop.to ? this.loop.from + ((at - this.loop.from) % (this.loop.to - this.loop.from)) : Math.min(at, this.seconds);
  }

  get running(): boolean {
    return this.playing;
  }

  async play(): Promise<void> {
    if (this.playing) return;
    if (this.anchor >= this.seconds - 0.05) this.anchor = this.loop?.from ?? 0;
    this.playing = true;
    await this.context.resume();
    await this.begin();
  }

  pause(): void {
    this.anchor = this.position;
    this.playing = false;
    this.waiting = false;
    this.silence();
  }

  async seek(to: number): Promise<void> {
    this.anchor = Math.max(0, Math.min(to, this.seconds));
    this.silence();
    if (this.playing) await this.begin();
  }

  async setLoop(loop: Loop | null): Promise<void> {
    const at = this.position;
    this.loop = loop && loop.to - loop.from >= 0.25 ? loop : null;
    if (this.playing) await this.seek(this.loop && (at < this.loop.from || at >= this.loop.to) ? this.loop.from : at);
  }

  private silence(): void {
    this.generation += 1;
    clearTimeout(this.timer);
    for (const { nodes } of this.queue) for (const node of nodes) {
      node.onended = null;
      try {
        node.stop();
      } catch {
        // It had not begun.
      }
    }
    this.queue = [];
  }

  /** One stretch of one side, decoded once. Only those around the playhead are kept. */
  private buffer(side: Side, index: number): Promise<AudioBuffer | null> {
    const start = index * STRETCH;
    const part = this.excerpt;
    // What lies outside waits for the whole song, or for a part that holds it.
    if (part && (start < part.start || start >= part.start + part.seconds)) return this.whole.then(() => this.buffer(side, index));
    const name = `${side} ${index}`;
    let buffer = this.decoded.get(name);
    if (!buffer) {
      buffer = this.previews[side].stretch((start - (part?.start ?? 0)) * RATE, STRETCH * RATE).then((bytes) => (bytes ? this.context.decodeAudioData(bytes.buffer) : null));
      buffer.catch(() => this.decoded.delete(name));
      this.decoded.set(name, buffer);
      if (this.decoded.size > 12) {
        const oldest = [...this.decoded.keys()].find((key) => Math.abs(Number(key.split(" ")[1]) - index) > 1);
        if (oldest) this.decoded.delete(oldest);
      }
    }
    return buffer;
  }

  private async begin(): Promise<void> {
    const generation = ++this.generation;
    const from = this.anchor;
    this.waiting = true;
    try {
      await this.stretchOf(Math.floor(from / STRETCH));
      if (generation !== this.generation || !this.playing) return;
      // A whole sample, so that no resampling happens at the start.
      this.started = Math.ceil((this.context.currentTime + 0.05) * RATE) / RATE;
      this.waiting = false;
      await this.fill(generation, from, this.started);
    } catch (error) {
      if (generation !== this.generation) return;
      this.pause();
      this.failed?.(error);
    }
  }

  private async stretchOf(index: number): Promise<Record<Side, AudioBuffer | null>> {
    const [mix, master] = await Promise.all([this.buffer("mix", index), this.buffer("master", index)]);
    return { mix: mix ?? null, master: master ?? null };
  }

  /** Keeps some seconds scheduled ahead, both sides on the same sample. */
  private async fill(generation: number, position: number, at: number): Promise<void> {
    let [song, when] = [position, at];
    for (;;) {
      if (generation !== this.generation || !this.playing) return;
      if (when - this.context.currentTime > AHEAD) {
        await new Promise((resolve) => (this.timer = setTimeout(resolve, 1000) as unknown as number));
        continue;
      }
      const end = this.loop ? this.loop.to : this.seconds;
      if (song >= end - 1 / RATE) {
        if (this.loop) {
          song = this.loop.from;
          continue;
        }
        this.timer = setTimeout(() => {
          if (generation !== this.generation) return;
          this.pause();
          this.anchor = this.seconds;
          this.ended?.();
        }, Math.max(0, (when - this.context.currentTime) * 1000)) as unknown as number;
        return;
      }
      const index = Math.floor(song / STRETCH + 1e-9);
      const buffers = await this.stretchOf(index);
      if (generation !== this.generation || !this.playing) return;
      if (when < this.context.currentTime) {
        // The network was slower than the music: wait where we are and go on together.
        this.anchor = song;
        return void this.begin();
      }
      const offset = Math.round((song - index * STRETCH) * RATE) / RATE;
      const length = Math.min((index + 1) * STRETCH, end) - song;
      const nodes: AudioBufferSourceNode[] = [];
      for (const side of SIDES) {
        const buffer = buffers[side];
        if (!buffer) continue;
        const node = this.context.createBufferSource();
        node.buffer = buffer;
        node.connect(this.gains[side]);
        node.start(when, offset, length);
        nodes.push(node);
      }
      this.queue.push({ index, until: when + length, nodes });
      this.queue = this.queue.filter((scheduled) => scheduled.until > this.context.currentTime - 1);
      song += length;
      when += length;
      if (song < this.seconds) void this.stretchOf(Math.floor(song / STRETCH + 1e-9)).catch(() => undefined);
    }
  }

  close(): void {
    this.pause();
    void this.context.close();
  }
}
