// One line of the upload queue. Draws itself again only when its own file moved, so that three hundred of them cost nothing.

import { LitElement, html, nothing } from "lit";
import { lengthOf } from "./admission";
import { hush, listen, listening, localPeaks } from "./local";
import type { Peaks } from "./player/peaks";
import { strip } from "./player/shape";
import type { Item } from "./uploader";
import { moment } from "./sentence";
import { clock, size } from "./text";

const icon = (name: string) => html`<svg class="icon" aria-hidden="true"><use href="#i-${name}"></use></svg>`;

/** Rows that moved. A few are drawn a frame, so that a change of all three hundred at once does not stop the page. */
const moved = new Set<Track>();
const A_FRAME = 12;

function drawSome(): void {
  let drawn = 0;
  for (const row of moved) {
    moved.delete(row);
    row.requestUpdate();
    if ((drawn += 1) === A_FRAME) break;
  }
  if (moved.size > 0) soon();
}

/** Frames do not come to a hidden tab. */
const soon = (): unknown => (document.hidden ? setTimeout(drawSome, 100) : requestAnimationFrame(drawSome));

function draw(row: Track): void {
  moved.add(row);
  if (moved.size === 1) soon();
}

export class Track extends LitElement {
  static override properties = { album: { type: Boolean } };
  declare album: boolean;
  item!: Item;
  /** How the master is doing, once there is one. */
  progress = "";
  /** How much of the way to the master is done, 0–1. */
  share = 0;
  private peaks: Peaks | null = null;
  private deaf = false;
  private readonly gone = new AbortController();

  constructor() {
    super();
    this.album = false;
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.item.watch = () => draw(this);
    seen.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    // Moved to another place of the list it is there again at once.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.gone.abort();
      hush(this.item.file);
    });
  }

  /** Draws the waveform of the file, once the row is seen. */
  look(): void {
    const { file } = this.item;
    if (!file || this.peaks) return;
    const show = (peaks: Peaks | null): void => {
      if (!peaks) return;
      this.peaks = peaks;
      this.requestUpdate();
    };
    void localPeaks(file, async () => (await lengthOf(file))?.frames ?? null, this.gone.signal, show).then(show);
  }

  private async play(share?: number): Promise<void> {
    const { file } = this.item;
    if (file && !(await listen(file, () => draw(this), share))) this.deaf = true;
    this.requestUpdate();
  }

  protected override updated(): void {
    const canvas = this.querySelector("canvas");
    if (!canvas || !this.peaks) return;
    const it = this.item;
    const sent = it.bytes > 0 ? it.sent / it.bytes : 0;
    if (this.share > 0) strip(canvas, this.peaks, "mix", { share: this.share, name: "master" });
    else strip(canvas, this.peaks, "rule", { share: it.state === "new" || it.state === "failed" ? 0 : sent, name: "mix" });
    canvas.dataset.drawn = "";
    const heard = listening(it.file);
    const head = this.querySelector<HTMLElement>(".needle");
    if (head && heard && heard.seconds > 0) head.style.left = `${((100 * heard.at) / heard.seconds).toFixed(2)}%`;
  }

  private act(what: string): void {
    this.dispatchEvent(new CustomEvent("act", { detail: what, bubbles: true }));
  }

  private words() {
    const it = this.item;
    if (it.said !== "" && it.state !== "new") return it.said;
    switch (it.state) {
      case "new": return it.said || "Waiting";
      case "waiting": return "Waiting";
      case "paused": return it.busy ? "Pausing after the parts under way" : `Paused at ${size(it.sent)}`;
      case "finishing": return "Checking";
      case "stored": return it.settings === undefined ? "Uploaded" : it.starts > 0 ? `Uploaded, starts ${it.starts === Infinity ? "when there is room" : `at about ${moment(it.starts)}`}` : "Uploaded, in line for mastering";
      case "queued": return "In line for mastering";
      case "made": return this.progress || "In the queue";
      default: return "";
    }
  }

  protected override render() {
    const it = this.item;
    const percent = it.bytes > 0 ? Math.floor((100 * it.sent) / it.bytes) : 0;
    const moving = it.state === "sending" || it.state === "paused" || it.state === "elsewhere" || (it.state === "lost" && it.sent > 0);
    const button = (what: string, symbol: string, text: string) =>
      html`<button class="quiet" type="button" @click=${() => this.act(what)}>${icon(symbol)}<span>${text}<span class="visually-hidden"> ${it.name}</span></span></button>`;
    this.className = `track ${it.state}${moving ? "" : " still"}${this.peaks ? " drawn" : ""}`;
    const heard = listening(it.file);
    const playing = heard !== null && !heard.paused;
    return html`
      <span class="grip" ?hidden=${!this.album} draggable=${this.album ? "true" : "false"} aria-hidden="true">${icon("grip")}</span>
      ${this.peaks && !this.deaf
        ? html`<button class="quiet hear" type="button" aria-label="${playing ? "Pause" : "Play"} ${it.name}" @click=${() => void this.play()}>${icon(playing ? "pause" : "play")}</button>`
        : nothing}
      ${this.peaks
        ? html`<span class="picture"><canvas aria-hidden="true" @click=${(event: MouseEvent) => void this.play(event.offsetX / Math.max((event.target as HTMLElement).clientWidth, 1))}></canvas><i class="needle" ?hidden=${heard === null || heard.seconds === 0}></i></span>`
        : nothing}
      <span class="name" dir="auto">${it.state === "made" ? html`<a href="/m/${it.master}">${it.name}</a>` : it.name}</span>
      ${moving
        ? html`<progress max="100" .value=${percent} aria-label="Sent of ${it.name}"></progress><span class="percent">${percent}${"\u202f"}%</span>`
        : html`<span class="size muted">${size(it.bytes)}</span>`}
      ${it.state === "sending" && it.said === ""
        ? html`<span class="speed muted">${it.speed > 0 ? html`${size(it.speed)}/s${it.eta === null ? nothing : html` <span class="eta">${clock(Math.ceil(it.eta))} left</span>`}` : "Starting"}</span>`
        : html`<span class=${it.state === "failed" ? "why bad" : "why muted"} role=${it.state === "failed" ? "alert" : nothing}>${it.state === "failed" ? icon("warning") : nothing}${this.words()}</span>`}
      <span class="acts">
        ${this.album ? html`${button("up", "up", "Up")}${button("down", "down", "Down")}` : nothing}
        ${it.state === "sending" || it.state === "waiting" ? button("pause", "pause", "Pause") : nothing}
        ${it.state === "paused" ? button("resume", "play", "Resume") : nothing}
        ${it.state === "failed" && it.again ? button("resume", "retry", "Retry") : nothing}
        ${it.state === "lost" ? (it.handle ? button("open", "play", "Continue") : button("choose", "play", "Choose the file")) : nothing}
        ${it.state === "made" ? nothing : button("remove", "x", "Remove")}
      </span>`;
  }
}

/** Pictures are made for the rows that somebody looks at. */
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    const row = entry.target as Track;
    if (row.item.file) seen.unobserve(row);
    row.look();
  }
});

customElements.define("lm-track", Track);
