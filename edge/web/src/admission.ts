// A certain "no" before anything travels; the edge and the decoder judge again, with the same words.

import { Head } from "./header";

const ENDINGS = /\.(aac|aifc?|aiff|alac|bwf|caf|flac|m4[ab]|mka|mkv|mp3|mp4|og[ag]|opus|rf64|wave?)$/i;

export function refusal(file: { name: string; size: number; type: string }, most: number): string | null {
  if (file.size === 0) return "0 bytes; export it again.";
  if (file.size > most) return "Too large; export FLAC, or fewer bits per sample.";
  const type = file.type.split(";")[0]?.trim().toLowerCase() ?? "";
  const audio = type === "" || /^(audio|video)\//.test(type) || /^application\/(octet-stream|ogg|mp4|x-flac|flac|x-matroska)$/.test(type);
  if (!audio && !ENDINGS.test(file.name)) return `This is ${type}, not audio; choose a WAV, AIFF, FLAC, MP3, M4A or OGG file.`;
  return null;
}

/** What the service takes, as it says itself (`GET /v1/limits`). */
export interface FileLimits {
  file_bytes: number;
  seconds: number;
  decoded_bytes: number;
}

/** Rate and length of a track. */
export interface Length {
  rate: number;
  frames: number;
}

/** What the header of a WAV, AIFF or FLAC file says; null where that is not certain. */
export async function lengthOf(file: Blob): Promise<Length | null> {
  const head = await Head.of(file);
  const { view } = head;
  if (head.word(0) === "fLaC" && head.has(8, 18)) {
    // STREAMINFO: 20 bits of rate, 3 of channels, 5 of word length, 36 of frames.
    const bits = view.getBigUint64(18);
    const frames = Number(bits & 0xf_ffff_ffffn);
    return frames === 0 ? null : { rate: Number(bits >> 44n), frames };
  }
  const { kind } = head;
  if (!kind) return null;
  let rate = 0;
  let frame = 0;
  for (const chunk of head.chunks()) {
    const { name, body } = chunk;
    if (kind === "wave" && name === "fmt " && head.has(body, 16)) {
      rate = view.getUint32(body + 4, true);
      frame = view.getUint16(body + 12, true);
    }
    if (kind === "wave" && name === "data") return rate > 0 && frame > 0 ? { rate, frames: Math.floor(head.samples(chunk) / frame) } : null;
    if (kind === "aiff" && name === "COMM" && head.has(body, 18)) {
      const hertz = head.hertz(body);
      return hertz > 0 ? { rate: hertz, frames: view.getUint32(body + 2) } : null;
    }
  }
  return null;
}

const minutes = (seconds: number): string => {
  const whole = Math.floor(seconds / 60);
  return whole >= 120 && whole % 60 === 0 ? `${whole / 60} hours` : `${Math.max(whole, 1)} minutes`;
};

/** A track that the service has no room for, in words; null where it has, or where nobody can tell yet. */
export async function tooLong(file: Blob, limits: FileLimits): Promise<string | null> {
  const length = await lengthOf(file);
  if (!length) return null;
  const seconds = length.frames / length.rate;
  // Two channels of four bytes; slow files are raised to 44.1 kHz.
  const most = Math.min(limits.seconds, limits.decoded_bytes / 8 / Math.max(length.rate, 44_100));
  if (seconds <= most) return null;
  const rate = `${length.rate / 1000}\u202fkHz`;
  const long = `It is ${minutes(seconds)} long at ${rate}, and ${minutes(most)} are the most here`;
  return most < limits.seconds ? `${long}; lower the sample rate, or split it.` : `${long}; split it.`;
}
