// The other versions of a song, to be heard beside the one the page is about.

import { ask } from "../api";
import { type File, addresses, addressesOf } from "../fresh";
import { type Peaks, fetchPeaks } from "./peaks";
import type { Voice } from "./engine";

/** A version as the page names it. */
export interface Named {
  id: string;
  /** Its style. */
  name: string;
  /** Its loudness, as it is written. */
  lufs: string;
}

/** A version that can be heard. */
export interface Version extends Named {
  voice: Voice;
  peaks: Peaks | null;
}

interface Told {
  result?: { preview?: { mix_gain_db?: number | null } };
  artifacts?: File[];
}

/** What the page names in its `data-versions`. */
export function named(text: string | undefined): Named[] {
  try {
    return JSON.parse(text ?? "[]") as Named[];
  } catch {
    return [];
  }
}

/** Everything that is needed to hear a version; null where it has no preview any more. */
export async function open({ id, name, lufs }: Named): Promise<Version | null> {
  const { result, artifacts } = await ask<Told>(`/masters/${id}`);
  const files = addresses(artifacts);
  const url = files.get("preview master");
  const louder = result?.preview?.mix_gain_db;
  // Without it the level could not be matched, and the louder one would seem the better.
  if (!url || typeof louder !== "number") return null;
  const peaks = files.get("waveform master");
  const renew = async (): Promise<string | undefined> => (await addressesOf(`/masters/${id}`)).get("preview master");
  return { id, name, lufs, voice: { url, louder, renew }, peaks: peaks ? await fetchPeaks(peaks) : null };
}
