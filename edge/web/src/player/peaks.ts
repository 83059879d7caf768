// audiowaveform's .dat: pairs of least and greatest sample, 8 or 16 bits.

export interface Peaks {
  /** Greatest magnitude of each point, 0–1. */
  values: Float32Array;
  seconds: number;
  /** Sums of squares, once somebody has needed them. */
  sums?: Float64Array;
}

export function parse(buffer: ArrayBuffer): Peaks | null {
  if (buffer.byteLength < 20) return null;
  const view = new DataView(buffer);
  const version = view.getInt32(0, true);
  if (version !== 1 && version !== 2) return null;
  const eight = (view.getUint32(4, true) & 1) === 1;
  const [rate, per, points] = [view.getInt32(8, true), view.getInt32(12, true), view.getUint32(16, true)];
  const channels = version === 2 ? view.getInt32(20, true) : 1;
  const from = version === 2 ? 24 : 20;
  if (rate <= 0 || per <= 0 || channels < 1 || channels > 8) return null;
  const width = eight ? 1 : 2;
  const have = Math.min(points, Math.floor((buffer.byteLength - from) / (2 * width * channels)));
  const values = new Float32Array(have);
  const full = eight ? 128 : 32768;
  for (let n = 0; n < have; n += 1) {
    let most = 0;
    for (let c = 0; c < 2 * channels; c += 1) {
      const at = from + (n * 2 * channels + c) * width;
      most = Math.max(most, Math.abs(eight ? view.getInt8(at) : view.getInt16(at, true)));
    }
    values[n] = Math.min(1, most / full);
  }
  return { values, seconds: (points * per) / rate };
}

export async function fetchPeaks(url: string): Promise<Peaks | null> {
  try {
    const response = await fetch(url);
    return response.ok ? parse(await response.arrayBuffer()) : null;
  } catch {
    return null;
  }
}
