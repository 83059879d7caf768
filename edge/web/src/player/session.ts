// The keys of a keyboard, of headphones and of a lock screen. Browsers give them to media elements only, so one that plays silence stands
// for the two previews; on phones it also keeps the sound on when the switch at the side says silent.

export interface Controls {
  play: () => void;
  pause: () => void;
  seek: (to: number) => void;
  /** To the other side: what a "next track" key is for here. */
  other: () => void;
  position: () => number;
  seconds: number;
}

/** Ten seconds of nothing, mono, 8 kHz, 8 bits. */
function silence(): Blob {
  const frames = 80_000;
  const head = new DataView(new ArrayBuffer(44));
  const word = (at: number, text: string): void => [...text].forEach((letter, n) => head.setUint8(at + n, letter.charCodeAt(0)));
  word(0, "RIFF");
  head.setUint32(4, 36 + frames, true);
  word(8, "WAVEfmt ");
  [[16, 16], [24, 8000], [28, 8000], [40, frames]].forEach(([at, value]) => head.setUint32(at!, value!, true));
  [[20, 1], [22, 1], [32, 1], [34, 8]].forEach(([at, value]) => head.setUint16(at!, value!, true));
  word(36, "data");
  return new Blob([head.buffer, new Uint8Array(frames).fill(128)], { type: "audio/wav" });
}

export class Session {
  private readonly audio = new Audio();
  private readonly url = URL.createObjectURL(silence());

  constructor(private readonly controls: Controls) {
    this.audio.src = this.url;
    this.audio.loop = true;
    const on = (action: MediaSessionAction, does: (details: MediaSessionActionDetails) => void): void => {
      try {
        navigator.mediaSession.setActionHandler(action, does);
      } catch {
        // Not every browser knows every key.
      }
    };
    on("play", () => controls.play());
    on("pause", () => controls.pause());
    on("stop", () => controls.pause());
    on("seekbackward", ({ seekOffset }) => controls.seek(controls.position() - (seekOffset ?? 10)));
    on("seekforward", ({ seekOffset }) => controls.seek(controls.position() + (seekOffset ?? 10)));
    on("seekto", ({ seekTime }) => seekTime !== undefined && controls.seek(seekTime));
    on("previoustrack", () => controls.other());
    on("nexttrack", () => controls.other());
  }

  /** Says what is heard and how far it is. */
  tell(title: string, side: string, playing: boolean): void {
    const session = navigator.mediaSession;
    if (session.metadata?.title !== title || session.metadata.artist !== side) {
      session.metadata = new MediaMetadata({ title, artist: side, album: "LoopMastering", artwork: [{ src: "/icon-512.png", sizes: "512x512", type: "image/png" }] });
    }
    session.playbackState = playing ? "playing" : "paused";
    if (playing) void this.audio.play().catch(() => undefined);
    else this.audio.pause();
    const { seconds } = this.controls;
    if (seconds > 0) session.setPositionState({ duration: seconds, position: Math.max(0, Math.min(this.controls.position(), seconds)), playbackRate: 1 });
  }

  close(): void {
    this.audio.pause();
    URL.revokeObjectURL(this.url);
    navigator.mediaSession.metadata = null;
    navigator.mediaSession.playbackState = "none";
  }
}
