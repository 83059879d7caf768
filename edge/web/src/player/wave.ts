// Mix and master as bars on a canvas: both at their real level, the one that is heard in full colour. A canvas of our own and no library:
// two signals over one another, findings and a loop are drawn in a hundred lines, and nothing but a playhead moves.

import { type Peaks, bars } from "./peaks";

export interface Shown {
  position: number;
  seconds: number;
  side: "mix" | "master" | null;
  loop: { from: number; to: number } | null;
  marks: { at: number; label: string; bad: boolean }[];
}

export class Wave {
  private mix: Peaks | null = null;
  private master: Peaks | null = null;
  private drawn: { width: number; height: number; mix: Float32Array | null; master: Float32Array | null } | null = null;
  private colours: Record<string, string> = {};

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.look();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.look());
  }

  /** Reads the page's colours. */
  look(): void {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["mix", "master", "text", "muted", "bad", "line", "ground"]) this.colours[name] = style.getPropertyValue(`--${name}`).trim() || "#888";
  }

  set(mix: Peaks | null, master: Peaks | null): void {
    this.mix = mix;
    this.master = master;
    this.drawn = null;
  }

  draw(shown: Shown): void {
    const { canvas } = this;
    const ratio = Math.min(devicePixelRatio || 1, 3);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (width === 0) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      this.drawn = null;
    }
    const pen = canvas.getContext("2d");
    if (!pen) return;
    const pitch = 3;
    const count = Math.max(1, Math.floor(width / pitch));
    this.drawn ??= { width, height, mix: this.mix && bars(this.mix, count, shown.seconds), master: this.master && bars(this.master, count, shown.seconds) };
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const top = shown.marks.length > 0 ? 18 : 4;
    const middle = top + (height - top - 4) / 2;
    const half = (height - top - 4) / 2;
    const x = (seconds: number): number => (shown.seconds > 0 ? (seconds / shown.seconds) * width : 0);
    if (shown.loop) {
      pen.fillStyle = this.colours.line!;
      pen.fillRect(x(shown.loop.from), top, Math.max(2, x(shown.loop.to) - x(shown.loop.from)), height - top);
    }
    const played = x(shown.position);
    const paint = (values: Float32Array | null, colour: string, heard: boolean): void => {
      if (!values) return;
      pen.fillStyle = colour;
      for (let n = 0; n < count; n += 1) {
        const tall = Math.max(1, (values[n] ?? 0) * half);
        pen.globalAlpha = (heard ? 1 : 0.45) * (n * pitch < played ? 1 : heard ? 0.62 : 0.8);
        pen.fillRect(n * pitch, middle - tall, pitch - 1, 2 * tall);
      }
      pen.globalAlpha = 1;
    };
    const { mix, master } = this.drawn;
    // The taller one behind, so that both are seen.
    const sum = (values: Float32Array | null): number => values?.reduce((all, value) => all + value, 0) ?? 0;
    const layers: ["mix" | "master", Float32Array | null][] = sum(mix) > sum(master) ? [["mix", mix], ["master", master]] : [["master", master], ["mix", mix]];
    for (const [side, values] of layers) paint(values, this.colours[side]!, shown.side === null || shown.side === side);
    if (!mix && !master) {
      pen.fillStyle = this.colours.line!;
      pen.fillRect(0, middle - 1, width, 2);
    }
    pen.font = "600 11px system-ui, sans-serif";
    pen.textAlign = "center";
    for (const mark of shown.marks) {
      const at = Math.max(6, Math.min(width - 6, x(mark.at)));
      pen.fillStyle = pen.strokeStyle = this.colours[mark.bad ? "bad" : "text"]!;
      pen.fillText(mark.label, at, 11);
      pen.setLineDash([1, 3]);
      pen.beginPath();
      pen.moveTo(Math.round(at) + 0.5, 15);
      pen.lineTo(Math.round(at) + 0.5, height);
      pen.stroke();
      pen.setLineDash([]);
    }
    pen.fillStyle = this.colours.text!;
    pen.fillRect(Math.round(Math.min(played, width - 2)), top, 2, height - top);
  }
}
