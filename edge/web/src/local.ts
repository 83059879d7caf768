// The waveform of a file that lies on this machine, before the service has seen it. What would take long or much memory has none until
// the service's own arrives.

import { Head } from "./header";
import type { Peaks } from "./player/peaks";

/** Points of a picture. */
const POINTS = 1600;
/** Bytes read at once; a slice costs a few milliseconds. */
const SLICE = 2 << 20;
/** Larger files get a first picture from this many places … */
const GLANCE = 8 << 20;
const PLACES = 320;
/** … and files larger than this no better one. */
const WHOLE = 192 << 20;
/** What the browser's decoder is given: it holds all samples at once. */
const MOST_FRAMES = 26_000_000;
const MOST_BYTES = 16 << 20;

interface Pcm {
  from: number;
  frames: number;
  rate: number;
  channels: number;
  bytes: number;
  little: boolean;
  float: boolean;
}

/** Where the samples of a WAV or AIFF file are; null where it is neither, or packed. */
export async function pcmOf(file: Blob): Promise<Pcm | null> {
  const head = await Head.of(file);
  const { kind, view } = head;
  if (!kind) return null;
  const wave = kind === "wave";
  let [rate, channels, bytes, float, little] = [0, 0, 0, false, wave];
  for (const chunk of head.chunks()) {
    const { name, body, size } = chunk;
    if (wave && name === "fmt " && head.has(body, 16)) {
      const plain = view.getUint16(body, true);
      const tag = plain === 0xfffe && size >= 26 && head.has(body, 26) ? view.getUint16(body + 24, true) : plain;
      if (tag !== 1 && tag !== 3) return null;
      [channels, rate, bytes, float] = [view.getUint16(body + 2, true), view.getUint32(body + 4, true), Math.ceil(view.getUint16(body + 14, true) / 8), tag === 3];
    }
    if (!wave && name === "COMM" && head.has(body, 18)) {
      const packed = size >= 22 ? head.word(body + 18) : "NONE";
      if (!["NONE", "sowt", "fl32", "FL32"].includes(packed)) return null;
      little = packed === "sowt";
      float = packed.toLowerCase() === "fl32";
      channels = view.getInt16(body);
      bytes = Math.ceil(view.getInt16(body + 6) / 8);
      rate = head.hertz(body);
    }
    if (name === (wave ? "data" : "SSND")) {
      const from = wave ? body : body + 8 + view.getUint32(body);
      const long = wave ? head.samples(chunk) : Math.min(size, file.size - from);
      const frames = Math.floor(long / (bytes * channels || 1));
      return rate > 0 && channels > 0 && channels <= 8 && bytes >= 2 && bytes <= 4 && (!float || bytes === 4) && frames > 0 ? { from, frames, rate, channels, bytes, little, float } : null;
    }
  }
  return null;
}

async function ofPcm(file: Blob, pcm: Pcm, gone: AbortSignal, show: (peaks: Peaks) => void): Promise<Peaks | null> {
  const { frames, channels, bytes, little, float, rate } = pcm;
  const points = Math.min(POINTS, frames);
  const frame = bytes * channels;
  const each = frames / points;
  let values = new Float32Array(points);
  const look = (data: ArrayBuffer, first: number): void => {
    const view = new DataView(data);
    const count = Math.floor(data.byteLength / frame);
    for (let n = 0; n < count; n += 1) {
      let most = 0;
      for (let c = 0; c < channels; c += 1) {
        const at = n * frame + c * bytes;
        const value = float ? view.getFloat32(at, little) : bytes === 2 ? view.getInt16(at, little) / 32768 : bytes === 4 ? view.getInt32(at, little) / 2147483648 : ((view.getInt8(at + (little ? 2 : 0)) << 8) | view.getUint8(at + 1)) / 32768;
        const tall = value < 0 ? -value : value;
        if (tall > most) most = tall;
      }
      const point = Math.min(points - 1, Math.floor((first + n) / each));
      if (most > values[point]!) values[point] = Math.min(1, most);
    }
  };
  const peaks = (): Peaks => ({ values, seconds: frames / rate });
  const slice = async (first: number, count: number): Promise<void> => look(await file.slice(pcm.from + first * frame, pcm.from + (first + count) * frame).arrayBuffer(), first);
  if (frames * frame > GLANCE) {
    // A glance at places all over the file, many at once; where there is nothing between two of them the picture stays as at the first.
    const stride = Math.max(1, Math.floor(points / PLACES));
    const places = Array.from({ length: Math.ceil(points / stride) }, (_, n) => n * stride);
    const some = Math.min(2048, Math.ceil(each * stride));
    for (let n = 0; n < places.length && !gone.aborted; n += 16) await Promise.all(places.slice(n, n + 16).map((point) => slice(Math.floor(point * each), some)));
    for (let n = 0; n < points; n += 1) values[n] = Math.max(...values.subarray(n - (n % stride), Math.min(points, n - (n % stride) + stride)));
    if (gone.aborted) return null;
    show(peaks());
    if (frames * frame > WHOLE) return peaks();
    values = new Float32Array(points);
  }
  const step = Math.max(1, Math.floor(SLICE / frame));
  for (let first = 0; first < frames && !gone.aborted; first += step) await slice(first, Math.min(step, frames - first));
  return gone.aborted ? null : peaks();
}

/** What only the browser's decoder can read: mono of 8 kHz is enough for a picture. */
async function ofOther(file: Blob, frames: number | null): Promise<Peaks | null> {
  if (frames === null ? file.size > MOST_BYTES : frames > MOST_FRAMES) return null;
  const buffer = await new OfflineAudioContext(1, 1, 8000).decodeAudioData(await file.arrayBuffer());
  const points = Math.min(POINTS, buffer.length);
  const values = new Float32Array(points);
  for (let c = 0; c < buffer.numberOfChannels; c += 1) {
    const data = buffer.getChannelData(c);
    for (let n = 0; n < data.length; n += 1) {
      const point = Math.min(points - 1, Math.floor((n * points) / data.length));
      const tall = Math.abs(data[n]!);
      if (tall > values[point]!) values[point] = Math.min(1, tall);
    }
  }
  return { values, seconds: buffer.duration };
}

let queue: Promise<unknown> = Promise.resolve();

/** The waveform of a file, one file after the other; null where there is none to be had. `show`: what there is to see before that. */
export function localPeaks(file: Blob, frames: () => Promise<number | null>, gone: AbortSignal, show: (peaks: Peaks) => void = () => undefined): Promise<Peaks | null> {
  const next = queue.then(async () => {
    if (gone.aborted) return null;
    const pcm = await pcmOf(file);
    return pcm ? ofPcm(file, pcm, gone, show) : ofOther(file, await frames());
  }).catch(() => null);
  queue = next;
  return next;
}

/** One file of this machine is heard at a time. */
let audio: HTMLAudioElement | null = null;
let heard: { file: File; changed: () => void; url: string } | null = null;

/** Where a file stands that is being heard, s; null where it is not. */
export const listening = (file: File | null): { at: number; seconds: number; paused: boolean } | null =>
  audio && heard && heard.file === file ? { at: audio.currentTime, seconds: audio.duration || 0, paused: audio.paused } : null;

/** Plays a file from a share of its length, or pauses it. False: this browser cannot play it. */
export async function listen(file: File, changed: () => void, share?: number): Promise<boolean> {
  audio ??= Object.assign(new Audio(), { ontimeupdate: () => heard?.changed(), onpause: () => heard?.changed(), onended: () => hush() });
  if (heard?.file === file) {
    if (share !== undefined && audio.duration) audio.currentTime = share * audio.duration;
    else if (!audio.paused) return audio.pause(), true;
  } else {
    hush();
    heard = { file, changed, url: URL.createObjectURL(file) };
    audio.src = heard.url;
    if (share !== undefined) audio.addEventListener("loadedmetadata", () => audio && (audio.currentTime = share * audio.duration), { once: true });
  }
  try {
    await audio.play();
    changed();
    return true;
  } catch (error) {
    if ((error as DOMException).name === "AbortError") return true;
    hush();
    return false;
  }
}

/** Ends what is heard. */
export function hush(file?: File | null): void {
  if (!heard || !audio || (file !== undefined && heard.file !== file)) return;
  const { url, changed } = heard;
  heard = null;
  audio.pause();
  audio.removeAttribute("src");
  URL.revokeObjectURL(url);
  changed();
}
