// Figures as a person would write them; the same rules as the pages made by the edge.

const THIN = "\u202f";

export function size(bytes: number): string {
  if (bytes < 1e3) return `${Math.round(bytes)}${THIN}bytes`;
  const [value, unit] = bytes < 1e6 ? [bytes / 1e3, "kB"] : bytes < 1e9 ? [bytes / 1e6, "MB"] : [bytes / 1e9, "GB"];
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)}${THIN}${unit}`;
}

export function clock(seconds: number): string {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds + 1e-6)) : 0;
  const two = (n: number): string => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export const decibel = (db: number): string => `${db.toFixed(1).replace("-0.0", "0.0").replace("-", "−")}${THIN}dB`;

export const count = (n: number, one: string): string => `${n} ${one}${n === 1 ? "" : "s"}`;

/** What a person calls the file: without its ending. */
export const stem = (name: string): string => name.replace(/\.[^.]{1,5}$/, "") || name;

/** A number as people type it, with a comma or the typographic minus; null where there is none. */
export function typed(text: string): number | null {
  const plain = text.trim().replace("−", "-").replace("–", "-").replace(",", ".");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)$/.test(plain)) return null;
  return Number(plain);
}
