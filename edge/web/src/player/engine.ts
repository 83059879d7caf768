// Previews as one player: mix, master and other versions run all the time, started on the same sample; which one is heard is a matter of
// gain. Stretches of ten seconds are decoded around the playhead and follow each other without a gap.

import { RATE } from "./ogg";
import { Preview, Remote } from "./source";

/** `mix`, `master`, or the id of another version. */
export type Side = string;

/** What can be heard. */
export interface Voice {
  url: string;
  /** How much louder it is than the mix, dB. */
  louder: number;
  /** A new address, where this one has had its time. */
  renew: () => Promise<string | undefined>;
}

export type Voices = Map<Side, Voice>;

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
  private readonly gains = new Map<Side, GainNode>();
  private readonly previews = new Map<Side, Preview>();
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

  constructor(
    private voices: Voices,
    readonly seconds: number,
    private excerpt: Excerpt | null = null,
  ) {
    if (excerpt) this.whole = new Promise((resolve) => (this.arrived = resolve));
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    this.open();
    this.balance(0);
  }

  private open(): void {
    const samples = (this.excerpt?.seconds ?? this.seconds) * RATE;
    this.previews.clear();
    for (const [side, { url, renew }] of this.voices) {
      this.previews.set(side, new Preview(new Remote(url, renew), samples));
      if (this.gains.has(side)) continue;
      const gain = this.context.createGain();
      gain.gain.value = 0;
      gain.connect(this.context.destination);
      this.gains.set(side, gain);
    }
    this.decoded.clear();
  }

  /** The whole song is there, or another part of it, or there are other voices; what is scheduled plays on. */
  replace(voices: Voices, excerpt: Excerpt | null): void {
    const more = [...voices.keys()].some((side) => !this.voices.has(side));
    this.excerpt = excerpt;
    this.voices = voices;
    this.open();
    this.balance();
    if (!excerpt) this.arrived();
    // A voice that joins begins with the others.
    if (more) void this.seek(this.position);
  }

  /** The gain of a side when it is heard: all come down to the quietest, nothing is ever turned up. */
  level(side: Side): number {
    const quietest = Math.min(...[...this.voices.values()].map(({ louder }) => louder));
    const db = this.matched ? quietest - (this.voices.get(side)?.louder ?? 0) : 0;
    return 10 ** (db / 20);
  }

  private balance(fade = FADE): void {
    const now = this.context.currentTime;
    for (const [side, { gain }] of this.gains) {
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
      const stretch = this.previews.get(side)?.stretch((start - (part?.start ?? 0)) * RATE, STRETCH * RATE) ?? Promise.resolve(null);
      buffer = stretch.then((bytes) => (bytes ? this.context.decodeAudioData(bytes.buffer) : null));
      buffer.catch(() => this.decoded.delete(name));
      this.decoded.set(name, buffer);
      if (this.decoded.size > 6 * this.voices.size) {
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

  private stretchOf(index: number): Promise<[Side, AudioBuffer | null][]> {
    return Promise.all([...this.voices.keys()].map(async (side): Promise<[Side, AudioBuffer | null]> => [side, await this.buffer(side, index)]));
  }

  /** Keeps some seconds scheduled ahead, all sides on the same sample. */
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
      for (const [side, buffer] of buffers) {
        const gain = this.gains.get(side);
        if (!buffer || !gain) continue;
        const node = this.context.createBufferSource();
        node.buffer = buffer;
        node.connect(gain);
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
