// The chunks at the head of a WAV or AIFF file: what admission and the waveform at the drop both read.

/** Where headers stand: tags ahead of them that are larger are not looked through. */
const HEAD = 256 << 10;

export interface Chunk {
  name: string;
  /** Where its bytes begin. */
  body: number;
  size: number;
}

/** The head of a file. */
export class Head {
  private constructor(
    private readonly file: Blob,
    readonly view: DataView,
  ) {}

  static async of(file: Blob): Promise<Head> {
    return new Head(file, new DataView(await file.slice(0, HEAD).arrayBuffer()));
  }

  word(at: number): string {
    return this.has(at, 4) ? String.fromCharCode(...new Uint8Array(this.view.buffer, at, 4)) : "";
  }

  has(at: number, bytes: number): boolean {
    return at + bytes <= this.view.byteLength;
  }

  get kind(): "wave" | "aiff" | null {
    if (/^(RIFF|RF64|BW64)$/.test(this.word(0)) && this.word(8) === "WAVE") return "wave";
    return this.word(0) === "FORM" && /^AIF[FC]$/.test(this.word(8)) ? "aiff" : null;
  }

  *chunks(): Generator<Chunk> {
    const little = this.kind === "wave";
    for (let at = 12; this.has(at, 8); ) {
      const size = this.view.getUint32(at + 4, little);
      yield { name: this.word(at), body: at + 8, size };
      at += 8 + size + (size % 2);
    }
  }

  /** Bytes of a WAV file's samples. Long files and those that were written as a stream say nothing useful: then it is what the file has. */
  samples({ body, size }: Chunk): number {
    const there = this.file.size - body;
    return size === 0xffff_ffff || size === 0 ? there : Math.min(size, there);
  }

  /** The rate in the COMM of an AIFF file, an 80-bit float: a whole number of hertz lies in its upper bits. */
  hertz(body: number): number {
    const exponent = (this.view.getUint16(body + 8) & 0x7fff) - 16_383;
    return Math.round(Number(this.view.getBigUint64(body + 10)) * 2 ** (exponent - 63));
  }
}
