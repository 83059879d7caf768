// The waveform as every page draws it: a smooth filled body that is as tall as the music is dense (the energy of its envelope, so that
// choruses show in loud songs), and its peaks as a hairline around it.

import type { Peaks } from "./peaks";

export interface Shape {
  /** Height of the body at each column, 0–1. */
  body: Float32Array;
  /** Height of the peaks. */
  peak: Float32Array;
}

/** How much of the song the body looks at around a column, s: the ear's short-term loudness takes longer, a beat is shorter. */
const AROUND = 0.4;

/** Columns of a stretch of the song. */
export function shapeOf(peaks: Peaks, columns: number, seconds = peaks.seconds, from = 0, to = seconds): Shape {
  const { values } = peaks;
  const a_second = values.length / Math.max(peaks.seconds, 1e-9);
  const sums = (peaks.sums ??= running(values));
  const [body, peak] = [new Float32Array(columns), new Float32Array(columns)];
  const width = (to - from) / columns;
  for (let n = 0; n < columns; n += 1) {
    const [start, end] = [(from + n * width) * a_second, (from + (n + 1) * width) * a_second];
    const [first, last] = [Math.floor(start), Math.max(Math.floor(start) + 1, Math.floor(end))];
    let most = 0;
    for (let k = first; k < last && k < values.length; k += 1) most = Math.max(most, values[k] ?? 0);
    peak[n] = most;
    const half = Math.max((end - start) / 2, (AROUND / 2) * a_second, 0.5);
    const middle = (start + end) / 2;
    const [low, high] = [Math.max(0, Math.round(middle - half)), Math.min(values.length, Math.max(Math.round(middle + half), Math.round(middle - half) + 1))];
    body[n] = high > low ? Math.min(most || 1, Math.sqrt(((sums[high] ?? 0) - (sums[low] ?? 0)) / (high - low))) : 0;
  }
  return { body, peak };
}

/** Sums of squares up to each value. */
function running(values: Float32Array): Float64Array {
  const sums = new Float64Array(values.length + 1);
  for (let n = 0; n < values.length; n += 1) sums[n + 1] = (sums[n] ?? 0) + (values[n] ?? 0) ** 2;
  return sums;
}

/** A shape between two others; both have the same columns. */
export function between(a: Shape, b: Shape, share: number): Shape {
  const mix = (from: Float32Array, to: Float32Array): Float32Array => from.map((value, n) => value + ((to[n] ?? 0) - value) * share);
  return { body: mix(a.body, b.body), peak: mix(a.peak, b.peak) };
}

/** Quiet passages are seen, loud ones keep their differences. */
const tallness = (height: number): number => height ** 0.8;

/** The outline of heights around a middle line, smooth. */
export function outline(heights: Float32Array, width: number, middle: number, half: number): Path2D {
  const path = new Path2D();
  const step = width / Math.max(heights.length - 1, 1);
  const tall = (n: number): number => Math.max(0.75, tallness(heights[n] ?? 0) * half);
  path.moveTo(0, middle - tall(0));
  for (const sign of [-1, 1]) {
    const at = (n: number): number => (sign < 0 ? n : heights.length - 1 - n);
    if (sign > 0) path.lineTo(width, middle + tall(heights.length - 1));
    for (let n = 0; n + 1 < heights.length; n += 1) {
      const [here, next] = [at(n), at(n + 1)];
      const [y, z] = [middle + sign * tall(here), middle + sign * tall(next)];
      path.quadraticCurveTo(here * step, y, ((here + next) / 2) * step, (y + z) / 2);
    }
    path.lineTo(sign < 0 ? width : 0, middle + sign * tall(at(heights.length - 1)));
  }
  path.closePath();
  return path;
}

/** Makes the canvas as sharp as the screen; null where nothing of it can be seen. */
export function sharp(canvas: HTMLCanvasElement): { pen: CanvasRenderingContext2D; width: number; height: number; fresh: boolean } | null {
  const ratio = Math.min(devicePixelRatio || 1, 3);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const pen = width > 0 && height > 0 ? canvas.getContext("2d") : null;
  if (!pen) return null;
  const fresh = canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio);
  if (fresh) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, fresh };
}

const dark = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;
let colours: Record<string, string> = {};
dark?.addEventListener("change", () => {
  colours = {};
  for (const canvas of document.querySelectorAll("canvas")) again.get(canvas)?.();
});

/** How a small waveform is drawn once more: in other light, at another width. */
const again = new WeakMap<Element, () => void>();
const widths = typeof ResizeObserver === "function" ? new ResizeObserver((entries) => entries.forEach(({ target }) => again.get(target)?.())) : null;

/** A colour of the page. */
export function colour(name: string): string {
  return (colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888");
}

/** A small waveform in one colour; `filled`: how much of it in another, 0–1. */
export function strip(canvas: HTMLCanvasElement, peaks: Peaks, name: string, filled?: { share: number; name: string }): void {
  if (!again.has(canvas)) widths?.observe(canvas);
  const draw = (): void => paintStrip(canvas, peaks, name, filled);
  again.set(canvas, draw);
  draw();
}

function paintStrip(canvas: HTMLCanvasElement, peaks: Peaks, name: string, filled?: { share: number; name: string }): void {
  const drawn = sharp(canvas);
  if (!drawn) return;
  const { pen, width, height } = drawn;
  const shape = shapeOf(peaks, Math.max(8, Math.floor(width / 2)));
  // A small picture shows the form of a song; how loud it is stands beside it.
  const most = Math.max(0.05, ...shape.peak);
  for (const heights of [shape.body, shape.peak]) heights.forEach((tall, n) => (heights[n] = tall / most));
  const [body, peak] = [outline(shape.body, width, height / 2, height / 2 - 1), outline(shape.peak, width, height / 2, height / 2 - 1)];
  const paint = (of: string, from: number, to: number): void => {
    if (to <= from) return;
    pen.save();
    pen.beginPath();
    pen.rect(from, 0, to - from, height);
    pen.clip();
    pen.fillStyle = pen.strokeStyle = colour(of);
    pen.fill(body);
    pen.globalAlpha = 0.35;
    pen.lineWidth = 1;
    pen.stroke(peak);
    pen.restore();
  };
  const edge = filled ? width * Math.max(0, Math.min(1, filled.share)) : 0;
  if (filled) paint(filled.name, 0, edge);
  paint(name, edge, width);
}
