// The waveform of the player: the side that is heard is a filled shape, the other an outline, and switching lets one become the other.
// A canvas of our own and no library: two signals, findings, a loop and a zoom are drawn in a hundred lines.

import type { Peaks } from "./peaks";
import { type Shape, between, colour, outline, shapeOf, sharp } from "./shape";

export interface Mark {
  at: number;
  label: string;
  /** A few words, where there is room. */
  words: string;
  bad: boolean;
}

export interface Shown {
  position: number;
  seconds: number;
  /** What is heard; null: a secret. */
  side: "mix" | "master" | null;
  /** Whether anything was heard yet: before that nothing is drawn as played. */
  played: boolean;
  loop: { from: number; to: number } | null;
  marks: Mark[];
}

const MORPH = 150;
const ZOOMS = [1, 2, 4, 8, 16, 32];
const still = typeof matchMedia === "function" ? matchMedia("(prefers-reduced-motion: reduce)") : null;

export class Wave {
  private mix: Peaks | null = null;
  private master: Peaks | null = null;
  private shapes: { name: string; mix: Shape | null; master: Shape | null } | null = null;
  private level = 0;
  private from = 0;
  private seconds = 0;
  /** 0 is the mix, 1 the master. */
  private blend = 1;
  private turned = 0;
  private frame = 0;
  private last: Shown | null = null;

  constructor(private readonly canvas: HTMLCanvasElement) {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => requestAnimationFrame(() => this.last && this.draw(this.last)));
  }

  set(mix: Peaks | null, master: Peaks | null): void {
    this.mix = mix;
    this.master = master;
    this.shapes = null;
  }

  /** Another master beside the same mix. */
  turn(master: Peaks | null): void {
    if (master === this.master) return;
    this.master = master;
    this.shapes = null;
  }

  /** The stretch of the song that is seen, s. */
  get view(): { from: number; to: number } {
    const width = this.seconds / (ZOOMS[this.level] ?? 1);
    return { from: this.from, to: this.from + width };
  }

  get zoomed(): number {
    return ZOOMS[this.level] ?? 1;
  }

  /** Shows less or more of the song, around a place that stays where it is. */
  zoom(by: number, around: number): void {
    const { from, to } = this.view;
    const share = Math.max(0, Math.min(1, (around - from) / Math.max(to - from, 1e-9)));
    this.level = Math.max(0, Math.min(ZOOMS.length - 1, this.level + by));
    this.look(around - (this.seconds / this.zoomed) * share);
  }

  private look(from: number): void {
    this.from = Math.max(0, Math.min(from, this.seconds - this.seconds / this.zoomed));
  }

  /** The time at a place of the screen. */
  timeAt(clientX: number): number {
    const box = this.canvas.getBoundingClientRect();
    const { from, to } = this.view;
    return Math.max(0, Math.min(this.seconds, from + ((clientX - box.left) / Math.max(box.width, 1)) * (to - from)));
  }

  /** The mark within a few pixels of a place of the screen. */
  markAt(clientX: number): Mark | undefined {
    const at = this.timeAt(clientX);
    const { from, to } = this.view;
    const near = ((to - from) / Math.max(this.canvas.clientWidth, 1)) * 10;
    return this.last?.marks.find((mark) => Math.abs(mark.at - at) <= near);
  }

  private morph(target: number): void {
    const now = performance.now();
    const passed = this.turned === 0 ? 0 : now - this.turned;
    this.turned = now;
    const step = still?.matches ? 1 : passed / MORPH;
    this.blend = this.blend < target ? Math.min(target, this.blend + step) : Math.max(target, this.blend - step);
    if (this.blend === target) this.turned = 0;
    else {
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => this.last && this.draw(this.last));
    }
  }

  draw(shown: Shown): void {
    if (this.last === null) this.blend = shown.side === "mix" ? 0 : 1;
    this.last = shown;
    this.seconds = shown.seconds;
    const drawn = sharp(this.canvas);
    if (!drawn) return;
    const { pen, width, height } = drawn;
    // The view follows the music, a page at a time.
    const { from, to } = this.view;
    if (shown.played && (shown.position < from || shown.position > to)) this.look(shown.position - (to - from) * 0.05);
    const view = this.view;
    const columns = Math.max(16, Math.floor(width / 2));
    const name = `${columns} ${view.from.toFixed(3)} ${view.to.toFixed(3)} ${shown.seconds}`;
    if (this.shapes?.name !== name) {
      const shape = (peaks: Peaks | null): Shape | null => peaks && shapeOf(peaks, columns, shown.seconds, view.from, view.to);
      this.shapes = { name, mix: shape(this.mix), master: shape(this.master) };
    }
    this.morph(shown.side === null ? 0.5 : shown.side === "mix" ? 0 : 1);

    const top = shown.marks.length > 0 ? 22 : 4;
    const [middle, half] = [top + (height - top - 4) / 2, (height - top - 4) / 2];
    const x = (seconds: number): number => ((seconds - view.from) / Math.max(view.to - view.from, 1e-9)) * width;
    if (shown.loop) {
      pen.fillStyle = colour("line");
      pen.fillRect(x(shown.loop.from), top, Math.max(2, x(shown.loop.to) - x(shown.loop.from)), height - top);
    }
    const at = x(shown.position);
    const { mix, master } = this.shapes;
    if (!mix && !master) {
      pen.fillStyle = colour("line");
      pen.fillRect(0, middle - 1, width, 2);
    }
    const heard = mix && master ? (this.blend === 0 ? mix : this.blend === 1 ? master : between(mix, master, this.blend)) : (mix ?? master);
    if (heard) {
      const body = outline(heard.body, width, middle, half);
      const peak = outline(heard.peak, width, middle, half);
      // Both colours over each other while one becomes the other; a secret has none.
      const coats: [string, number][] = shown.side === null ? [["muted", 1]] : [["mix", 1 - this.blend], ["master", this.blend]];
      for (const [coat, share] of coats) {
        if (share === 0) continue;
        pen.fillStyle = pen.strokeStyle = colour(coat);
        for (const [start, end, strength] of shown.played ? [[0, at, 1], [at, width, 0.5]] as const : [[0, width, 0.65]] as const) {
          if (end <= start) continue;
          pen.save();
          pen.beginPath();
          pen.rect(start, 0, end - start, height);
          pen.clip();
          pen.globalAlpha = strength * share;
          pen.fill(body);
          pen.globalAlpha = 0.4 * share;
          pen.lineWidth = 1;
          pen.stroke(peak);
          pen.restore();
        }
      }
      const other = shown.side === "mix" ? master : shown.side === "master" ? mix : null;
      if (other && mix && master) {
        pen.strokeStyle = colour(shown.side === "mix" ? "master" : "mix");
        pen.lineWidth = 1.25;
        pen.stroke(outline(other.body, width, middle, half));
      }
    }
    this.marks(pen, shown.marks, x, width, height);
    if (at >= -2 && at <= width + 2) {
      pen.fillStyle = colour("text");
      pen.fillRect(Math.round(Math.max(0, Math.min(at, width - 2))), top - 4, 2, height - top + 4);
    }
  }

  /** Findings as ticks; their words where the next one leaves room. */
  private marks(pen: CanvasRenderingContext2D, marks: Mark[], x: (seconds: number) => number, width: number, height: number): void {
    pen.font = "600 11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const seen = marks.map((mark) => ({ mark, at: x(mark.at) })).filter(({ at }) => at >= 0 && at <= width).sort((a, b) => a.at - b.at);
    seen.forEach(({ mark, at }, n) => {
      pen.fillStyle = pen.strokeStyle = colour(mark.bad ? "bad" : "text");
      pen.globalAlpha = 0.6;
      pen.setLineDash([1, 3]);
      pen.beginPath();
      pen.moveTo(Math.round(at) + 0.5, 18);
      pen.lineTo(Math.round(at) + 0.5, height);
      pen.stroke();
      pen.setLineDash([]);
      pen.globalAlpha = 1;
      const room = (seen[n + 1]?.at ?? width) - at - 8;
      const long = `${mark.label} ${mark.words}`;
      const text = pen.measureText(long).width <= room ? long : mark.label;
      pen.textAlign = "left";
      pen.fillText(text, Math.min(at, width - pen.measureText(text).width), 9);
    });
  }
}
