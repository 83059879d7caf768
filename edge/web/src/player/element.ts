// <lm-player>: hear mix, master and other versions at the same level, on the same sample, and find out blind whether you hear a
// difference.

import { LitElement, html, nothing } from "lit";
import { Problem } from "../api";
import { renewed } from "../fresh";
import { clock, decibel } from "../text";
import { Abx, verdict } from "./abx";
import { Engine, type Excerpt, type Loop, type Side, type Voices } from "./engine";
import { type Peaks, fetchPeaks } from "./peaks";
import { Session } from "./session";
import { type Version, named, open } from "./versions";
import { type Shown, Wave } from "./wave";

const icon = (name: string) => html`<svg class="icon" aria-hidden="true"><use href="#i-${name}"></use></svg>`;

export class PlayerElement extends LitElement {
  private engine: Engine | null = null;
  private wave: Wave | null = null;
  private abx: Abx | null = null;
  private hearing: Side = "master";
  /** What was heard before that. */
  private heardBefore: Side = "mix";
  /** The other versions, while they are compared. */
  private others: Version[] = [];
  private opening = false;
  private peaks: Peaks | null = null;
  private matched = true;
  private said = "";
  private revealed = "";
  private plain: Element | null = null;
  private broken = false;
  private frame = 0;
  private dragging = false;
  private marks: Shown["marks"] = [];
  private played = false;
  private session: Session | null = null;
  private readonly keys = (event: KeyboardEvent): void => this.key(event);
  private readonly resized = new ResizeObserver(() => this.paint());

  private get seconds(): number {
    return Number(this.dataset.seconds) || 0;
  }

  private get louder(): number {
    return Number(this.dataset.louder) || 0;
  }

  private get voices(): Voices {
    const ending = this.excerpt ? "-excerpt" : "";
    const renew = (side: Side) => async (): Promise<string | undefined> => (await renewed()).get(`preview ${side}${ending}`);
    return new Map([
      ["mix", { url: this.dataset.mix ?? "", louder: 0, renew: renew("mix") }],
      ["master", { url: this.dataset.master ?? "", louder: this.louder, renew: renew("master") }],
      ...this.others.map(({ id, voice }) => [id, voice] as const),
    ]);
  }

  /** What can be heard, in the order of the buttons. */
  private get sides(): Side[] {
    return ["mix", "master", ...this.others.map(({ id }) => id)];
  }

  private get excerpt(): Excerpt | null {
    const [start, seconds] = (this.dataset.excerpt ?? "").split(" ").map(Number);
    return start !== undefined && seconds ? { start, seconds } : null;
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    this.plain ??= this.querySelector(".plain");
    const can = new Audio().canPlayType('audio/ogg; codecs="opus"') !== "";
    if (!this.dataset.mix || !this.dataset.master || typeof AudioContext !== "function" || !can) {
      if (!can) this.plain?.insertAdjacentHTML("beforeend", `<p class="muted">This browser cannot play Ogg Opus side by side; a newer one can.</p>`);
      this.broken = true;
      return;
    }
    this.plain?.remove();
    // The first thing to hear is where the song is at its loudest.
    this.startAt ??= Number(this.dataset.start) || 0;
    super.connectedCallback();
    document.addEventListener("keydown", this.keys);
    this.mark();
  }

  private mark(): void {
    const findings = [...document.querySelectorAll<HTMLElement>(".findings li[data-at]")];
    this.marks = findings.map((line) => {
      // The strong word says how grave it is, and the first clause what it is.
      const words = (line.querySelector("p")?.textContent ?? "").replace(/^[^.]*\.\s*/, "").split(/[.,:;(]\s/)[0] ?? "";
      return { at: Number(line.dataset.at), label: line.dataset.number ?? "", words, bad: line.classList.contains("problem") };
    });
  }

  override disconnectedCallback(): void {
    if (this.broken) return;
    super.disconnectedCallback();
    document.removeEventListener("keydown", this.keys);
    // Moved into a page that was drawn again, it plays on.
    queueMicrotask(() => {
      if (this.isConnected) return;
      cancelAnimationFrame(this.frame);
      this.resized.disconnect();
      this.engine?.close();
      this.engine = null;
      this.session?.close();
      this.session = null;
    });
  }

  /** Stands where a newer player of the same master stands, and plays on with what that one has. False: nobody has listened yet. */
  replaces(newer: HTMLElement): boolean {
    if ((!this.engine && this.others.length === 0) || newer.dataset.id !== this.dataset.id) return false;
    newer.replaceWith(this);
    for (const name of Object.keys(this.dataset)) if (!(name in newer.dataset)) delete this.dataset[name];
    Object.assign(this.dataset, newer.dataset);
    this.engine?.replace(this.voices, this.excerpt);
    this.mark();
    this.drawPeaks();
    this.requestUpdate();
    return true;
  }

  protected override firstUpdated(): void {
    const canvas = this.querySelector("canvas");
    if (!canvas) return;
    this.wave = new Wave(canvas);
    this.resized.observe(canvas);
    this.drawPeaks();
  }

  private drawPeaks(): void {
    this.paint();
    const { mixPeaks, masterPeaks } = this.dataset;
    void Promise.all([mixPeaks ? fetchPeaks(mixPeaks) : null, masterPeaks ? fetchPeaks(masterPeaks) : null]).then(([mix, master]) => {
      this.peaks = master;
      this.wave?.set(mix, this.shape(this.hearing));
      this.paint();
    });
  }

  /** The waveform of a side; a secret shows the page's own. */
  private shape(side: Side): Peaks | null {
    return this.others.find(({ id }) => id === side)?.peaks ?? this.peaks;
  }

  /** Fetches the other versions and puts them beside this one, or takes them away again. */
  private async compare(): Promise<void> {
    if (this.opening) return;
    this.abx = null;
    if (this.others.length > 0) {
      this.others = [];
      this.listen(this.hearing === "mix" ? "mix" : "master");
    } else {
      this.opening = true;
      this.said = "";
      this.requestUpdate();
      try {
        const found = await Promise.all(named(this.dataset.versions).map(open));
        this.others = found.filter((version) => version !== null);
        if (this.others.length === 0) this.said = "The other versions are not here any more. Reload the page.";
      } catch (error) {
        this.said = error instanceof Problem ? error.message : "The other versions cannot be fetched right now. Try again in a moment.";
      }
      this.opening = false;
    }
    this.engine?.replace(this.voices, this.excerpt);
    this.requestUpdate();
  }

  private nameOf(side: Side): string {
    if (side === "mix") return "Mix";
    const version = this.others.find(({ id }) => id === side);
    return version?.name ?? (this.others.length > 0 ? (this.dataset.name ?? "Master") : "Master");
  }

  private lufsOf(side: Side): string {
    return this.others.find(({ id }) => id === side)?.lufs ?? (side === "master" ? (this.dataset.lufs ?? "") : "");
  }

  /** The keys of headphones and lock screens; from the first sound on. */
  private media(): void {
    if (!this.played || !("mediaSession" in navigator)) return;
    this.session ??= new Session({
      play: () => void this.toggle(true),
      pause: () => void this.toggle(false),
      seek: (to) => this.seek(to),
      other: () => this.listen(this.sides[(this.sides.indexOf(this.hearing) + 1) % this.sides.length] ?? "master"),
      position: () => this.position,
      seconds: this.seconds,
    });
    const side = this.hearing === "x" ? `${this.abx?.pair.map((side) => this.nameOf(side)).join(" or ") ?? "Blind"}?` : this.nameOf(this.hearing);
    this.session.tell(this.dataset.title || "LoopMastering", side, this.engine?.running ?? false);
  }

  /** The clock is written by hand many times a second, so Lit leaves it alone. */
  protected override updated(): void {
    this.media();
    this.times();
  }

  private paint(): void {
    this.wave?.draw({ position: this.position, seconds: this.seconds, side: this.hearing === "x" ? null : this.hearing === "mix" ? "mix" : "master", played: this.played, loop: this.engine?.loop ?? null, marks: this.marks });
  }

  private get position(): number {
    return this.engine?.position ?? this.startAt ?? 0;
  }

  private startAt: number | null = null;

  /** The engine, made in the first click: browsers give sound to nobody else. */
  private ready(): Engine {
    if (this.engine) return this.engine;
    const engine = new Engine(this.voices, this.seconds, this.excerpt);
    engine.failed = (error) => this.fail(error);
    engine.ended = () => this.requestUpdate();
    engine.matched = this.matched;
    engine.side = this.hearing === "x" ? "mix" : this.hearing;
    engine.listen(engine.side);
    void engine.seek(this.startAt ?? 0);
    this.engine = engine;
    return engine;
  }

  /** Where stretches cannot be decoded the browser's own players are better than none. */
  private fail(error: unknown): void {
    if (error instanceof Problem) this.said = error.message;
    else if (this.plain) {
      this.said = "This browser cannot decode the previews in pieces; here are its own players.";
      this.after(this.plain);
    } else this.said = "This browser cannot decode the previews.";
    this.requestUpdate();
  }

  play(): void {
    void this.toggle(true);
  }

  focusPlay(): void {
    void this.updateComplete.then(() => this.querySelector<HTMLButtonElement>(".play")?.focus());
  }

  private async toggle(on?: boolean): Promise<void> {
    const engine = this.ready();
    this.said = "";
    if (on ?? !engine.running) {
      this.played = true;
      const playing = engine.play();
      this.requestUpdate();
      this.tick();
      await playing.catch((error: unknown) => this.fail(error));
    } else engine.pause();
    this.requestUpdate();
  }

  private tick(): void {
    cancelAnimationFrame(this.frame);
    const step = (): void => {
      this.paint();
      this.times();
      if (this.engine?.running) this.frame = requestAnimationFrame(step);
      else this.requestUpdate();
    };
    this.frame = requestAnimationFrame(step);
  }

  /** The clock and the slider, without drawing the rest again. */
  private times(): void {
    const at = this.position;
    const now = this.querySelector(".now");
    const text = clock(at);
    if (now && now.textContent !== text) now.textContent = text;
    const slider = this.querySelector<HTMLInputElement>(".seek");
    if (slider && !this.dragging) slider.value = String(at);
    slider?.setAttribute("aria-valuetext", `${text} of ${clock(this.seconds)}`);
    this.toggleAttribute("data-waiting", this.engine?.waiting ?? false);
  }

  /** Jumps, and plays from there if it was playing. */
  seek(to: number): void {
    if (this.engine) void this.engine.seek(to);
    else this.startAt = to;
    this.paint();
    this.times();
  }

  private zoom(by: number): void {
    this.wave?.zoom(by, this.position);
    this.paint();
    this.requestUpdate();
  }

  /** Pressing and dragging on the waveform moves; over a finding its words are shown. */
  private point(event: PointerEvent): void {
    const wave = this.wave;
    const tip = this.querySelector<HTMLElement>(".tip");
    if (!wave || !tip) return;
    if (event.type === "pointerdown" && event.button === 0) {
      (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
      this.dragging = true;
    }
    if (event.type === "pointerup" || event.type === "pointercancel") this.dragging = false;
    if (this.dragging) this.seek(wave.timeAt(event.clientX));
    const mark = event.type === "pointerleave" || this.dragging ? undefined : wave.markAt(event.clientX);
    tip.hidden = event.type === "pointerleave";
    tip.textContent = mark ? `${clock(mark.at)} ${mark.words}` : clock(wave.timeAt(event.clientX));
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const at = Math.max(0, Math.min(event.clientX - box.left, box.width - tip.offsetWidth));
    tip.style.transform = `translateX(${Math.round(at)}px)`;
  }

  private wheel(event: WheelEvent): void {
    if (!event.ctrlKey || !this.wave) return;
    event.preventDefault();
    this.wave.zoom(event.deltaY < 0 ? 1 : -1, this.wave.timeAt(event.clientX));
    this.paint();
    this.requestUpdate();
  }

  /** Hears a side, or `x`, the secret of the blind test. */
  listen(side: Side): void {
    if (side !== this.hearing && this.hearing !== "x") this.heardBefore = this.hearing;
    this.hearing = side;
    const real = side === "x" ? (this.abx?.x ?? "mix") : side;
    this.wave?.turn(this.shape(side));
    if (this.engine) this.engine.listen(real);
    else if (side === "x") this.ready().listen(real);
    this.requestUpdate();
    this.paint();
  }

  private match(on: boolean): void {
    this.matched = on;
    this.engine?.match(on);
    this.requestUpdate();
  }

  private loop(edge?: "from" | "to"): void {
    const engine = this.ready();
    const at = engine.position;
    let loop: Loop | null = null;
    if (edge === undefined) loop = engine.loop ? null : { from: at, to: Math.min(this.seconds, at + 8) };
    else {
      const now = engine.loop ?? { from: 0, to: this.seconds };
      loop = edge === "from" ? { from: at, to: Math.max(now.to, at + 0.5) } : { from: Math.min(now.from, at - 0.5), to: at };
    }
    void engine.setLoop(loop).then(() => this.paint());
    this.requestUpdate();
  }

  private blind(): void {
    // The two that were heard last, in the order of their buttons.
    const heard = [...new Set([this.hearing, this.heardBefore, "mix", "master"])].filter((side) => this.sides.includes(side)).slice(0, 2);
    const [a = "mix", b = "master"] = this.sides.filter((side) => heard.includes(side));
    this.abx = this.abx ? null : new Abx(undefined, [a, b]);
    this.revealed = "";
    if (this.abx) {
      this.match(true);
      this.listen("x");
    } else this.listen("master");
    this.requestUpdate();
  }

  private answer(side: Side): void {
    if (!this.abx) return;
    const right = this.abx.answer(side);
    this.revealed = right ? "Right." : "Wrong.";
    this.listen("x");
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const inside = this.contains(target);
    const act: Record<string, () => void> = {
      " ": () => void this.toggle(),
      a: () => this.listen("mix"),
      b: () => this.listen("master"),
      ...Object.fromEntries(this.sides.map((side, n) => [String(n + 1), () => this.listen(side)])),
      ArrowLeft: () => this.seek(this.position - (event.shiftKey ? 1 : 5)),
      ArrowRight: () => this.seek(this.position + (event.shiftKey ? 1 : 5)),
      l: () => this.loop(),
      m: () => this.match(!this.matched),
      "+": () => this.zoom(1),
      "-": () => this.zoom(-1),
      "[": () => this.loop("from"),
      "]": () => this.loop("to"),
    };
    if (this.abx) act.x = () => this.listen("x");
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Space presses the button or opens the details it stands on; arrows belong to lists and tabs elsewhere.
    if (name === " " && target.closest("button, a, summary, input, label")) return;
    if (name.startsWith("Arrow") && !inside && target !== document.body && target.id !== "main") return;
    const does = act[name];
    if (!does) return;
    event.preventDefault();
    does();
  }

  protected override render() {
    const running = this.engine?.running ?? false;
    const looping = this.engine?.loop ?? null;
    const demo = this.dataset.demo !== undefined;
    const comparing = this.others.length > 0;
    const choice = (side: Side, letter: string, name: string) =>
      html`<button type="button" class="side ${side === "mix" || side === "x" ? side : "master"}" aria-pressed=${this.hearing === side ? "true" : "false"} @click=${() => this.listen(side)}><kbd>${letter}</kbd> <span>${name}${comparing && this.lufsOf(side) ? html` <small>${this.lufsOf(side)}<span class="visually-hidden"> LUFS</span></small>` : nothing}</span></button>`;
    const quieter = this.louder > 0 ? "master" : "mix";
    const versions = named(this.dataset.versions).length;
    const picked = this.others.find(({ id }) => id === this.hearing);
    return html`
      <div class="waves" ?hidden=${demo} @pointerdown=${this.point} @pointermove=${this.point} @pointerup=${this.point} @pointercancel=${this.point} @pointerleave=${this.point} @wheel=${this.wheel}>
        <canvas aria-hidden="true"></canvas>
        <span class="tip" aria-hidden="true" hidden></span>
        <input class="seek" type="range" min="0" max=${this.seconds} step="0.05" .value=${String(this.position)} aria-label="Position in the song" aria-valuetext="${clock(this.position)} of ${clock(this.seconds)}"
          @input=${(event: Event) => { this.dragging = true; this.seek(Number((event.target as HTMLInputElement).value)); }}
          @change=${() => (this.dragging = false)} />
      </div>
      <div class="controls">
       <div class="bar ${comparing ? "comparing" : ""}">
        <button type="button" class="play" aria-label=${running ? "Pause" : "Play"} @click=${() => void this.toggle()}>${icon(running ? "pause" : "play")}</button>
        <span class="clock"><span class="now"></span><span class="muted whole"> / ${clock(this.seconds)}</span></span>
        <div class="sides" role="group" aria-label="What you hear">
          ${this.sides.map((side, n) => choice(side, comparing ? String(n + 1) : (["A", "B"][n] ?? ""), this.nameOf(side)))}${this.abx ? choice("x", "X", "?") : nothing}
        </div>
        ${picked ? html`<a class="button primary take" href="/m/${picked.id}">${icon("verified")}<span>Pick this one<span class="visually-hidden">, ${picked.name}</span></span></a>` : this.dataset.take ? html`<a class="button primary take" href="#take" data-artifact=${this.dataset.take} data-kind="master" data-name=${this.dataset.takeName ?? "The master"}>${icon("download")}<span>Download<span class="visually-hidden"> the master, ${this.dataset.takeSize}</span></span></a>` : nothing}
       </div>
        <label class="check match"><input type="checkbox" .checked=${this.matched} ?disabled=${this.abx !== null} @change=${(event: Event) => this.match((event.target as HTMLInputElement).checked)} />
          <span>Levels matched ${comparing ? html`<span class="muted">all to the quietest</span>` : Math.abs(this.louder) >= 0.05 ? html`<span class="muted">${quieter} ${decibel(-Math.abs(this.louder))}</span>` : nothing}</span></label>
        ${versions > 0 ? html`<button type="button" class="button" aria-pressed=${comparing ? "true" : "false"} ?disabled=${this.opening} @click=${() => void this.compare()}>Compare ${versions + 1} versions</button>` : nothing}
        ${demo ? nothing : html`
          <span class="zoom" role="group" aria-label="Zoom"><button type="button" class="quiet" aria-label="Zoom out" ?disabled=${(this.wave?.zoomed ?? 1) === 1} @click=${() => this.zoom(-1)}>${icon("minus")}</button><button type="button" class="quiet" aria-label="Zoom in" @click=${() => this.zoom(1)}>${icon("plus")}</button></span>
          <button type="button" class="button" aria-pressed=${looping ? "true" : "false"} @click=${() => this.loop()}>${icon("loop")} Loop${looping ? html` <span class="muted">${clock(looping.from)}–${clock(looping.to)}</span>` : nothing}</button>
          <button type="button" class="button" aria-pressed=${this.abx ? "true" : "false"} @click=${() => this.blind()}>${icon("listen")} Blind test</button>`}
      </div>
      ${this.abx ? this.test(this.abx) : nothing}
      <p class="said bad" role="alert">${this.said}</p>
      ${demo ? nothing : html`<p class="hint muted"><span><kbd>space</kbd> play</span>${comparing ? html`<span><kbd>1</kbd>–<kbd>${this.sides.length}</kbd> what you hear</span>` : html`<span><kbd>A</kbd> mix</span><span><kbd>B</kbd> master</span>`}<span><kbd>←</kbd> <kbd>→</kbd> 5 s</span><span><kbd>L</kbd> loop</span><span><kbd>[</kbd> <kbd>]</kbd> loop in, out</span><span><kbd>M</kbd> match</span><span><kbd>+</kbd> <kbd>−</kbd> zoom</span></p>`}`;
  }

  private test(abx: Abx) {
    const comparing = this.others.length > 0;
    const letter = (side: Side): string => (comparing ? String(this.sides.indexOf(side) + 1) : side === "mix" ? "A" : "B");
    const name = (side: Side): string => (side === "mix" || !comparing ? `the ${side}` : `${this.nameOf(side)} ${this.lufsOf(side)}`.trim());
    const [a, b] = abx.pair;
    return html`
      <section class="abx" aria-label="Blind test">
        <p>X is ${name(a)} or ${name(b)}, picked at random each time. Listen to ${letter(a)}, ${letter(b)} and X as long as you like; then say which one X is.</p>
        <p class="answers">
          ${abx.pair.map((side) => html`<button type="button" class="button" @click=${() => this.answer(side)}>X is ${letter(side)}, ${name(side)}</button>`)}
        </p>
        <p role="status">${this.revealed ? html`<strong>${this.revealed}</strong> ` : nothing}${abx.answered > 0 ? verdict(abx.right, abx.answered) : "No answers yet."}</p>
      </section>`;
  }
}

customElements.define("lm-player", PlayerElement);
