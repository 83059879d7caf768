import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { lengthOf, refusal, tooLong } from "../src/admission";
import { fingerprint } from "../src/fingerprint";
import { localPeaks, pcmOf } from "../src/local";
import { PREROLL, header, pageAt, pages, stretch } from "../src/player/ogg";
import { settingsOf } from "../src/settings";
import { isRecord } from "../src/storage";

const file = (bytes: Uint8Array<ArrayBuffer>, name = "a.wav", lastModified = 5): File => new File([bytes], name, { lastModified });

test("a fingerprint sees name, size, time, beginning and end", async () => {
  const bytes = new Uint8Array(3 << 20);
  const first = await fingerprint(file(bytes));
  assert.match(first, /^[0-9a-f]{64}$/);
  assert.equal(await fingerprint(file(bytes.slice())), first);
  const changed = async (at: number): Promise<string> => {
    const other = bytes.slice();
    other[at] = 1;
    return fingerprint(file(other));
  };
  assert.notEqual(await changed(0), first);
  assert.notEqual(await changed(bytes.length - 1), first);
  assert.notEqual(await fingerprint(file(bytes, "b.wav")), first);
  assert.notEqual(await fingerprint(file(bytes, "a.wav", 6)), first);
  assert.equal(await changed(3 << 19), first, "the middle is not read");
  for (const size of [0, 1, 1 << 20, (1 << 20) + 1]) assert.match(await fingerprint(file(bytes.slice(0, size))), /^[0-9a-f]{64}$/);
});

test("what cannot be music is refused before it travels", () => {
  const no = (name: string, size: number, type: string): string | null => refusal({ name, size, type }, 1000);
  assert.match(no("a.wav", 0, "audio/wav") ?? "", /0 bytes/);
  assert.match(no("a.wav", 1001, "audio/wav") ?? "", /Too large/);
  assert.match(no("a.pdf", 9, "application/pdf") ?? "", /not audio/);
  for (const [name, type] of [["a.wav", "audio/x-wav; codecs=1"], ["a.m4a", "video/mp4"], ["a", ""], ["a.caf", "text/plain"]] as const) assert.equal(no(name, 9, type), null);
});

/** A WAV header for so many bytes of samples; the file is as long as it says, or as given. */
const wave = (rate: number, frame: number, data: number, size = data, name = "RIFF"): Blob => {
  const head = new DataView(new ArrayBuffer(44));
  const word = (at: number, text: string): void => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  word(0, name);
  word(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 2, true);
  head.setUint32(24, rate, true);
  head.setUint16(32, frame, true);
  word(36, "data");
  head.setUint32(40, Math.min(data, 0xffff_ffff), true);
  const blob = new Blob([head.buffer]);
  // A long file without its bytes.
  return Object.defineProperty(blob, "size", { value: 44 + size }) as Blob;
};

test("a track that is too long is told before it travels", async () => {
  const limits = { file_bytes: 4 << 30, seconds: 7200, decoded_bytes: 805_306_368 };
  assert.deepEqual(await lengthOf(wave(192_000, 6, 6 * 192_000 * 600)), { rate: 192_000, frames: 192_000 * 600 });
  assert.match((await tooLong(wave(192_000, 6, 6 * 192_000 * 600), limits)) ?? "", /10 minutes long at 192.kHz, and 8 minutes are the most here; lower the sample rate/);
  assert.equal(await tooLong(wave(44_100, 4, 4 * 44_100 * 600), limits), null);
  // 22.05 kHz is raised: 40 minutes take as much as at 44.1 kHz.
  assert.match((await tooLong(wave(22_050, 4, 4 * 22_050 * 2400), limits)) ?? "", /40 minutes long at 22.05.kHz, and 38 minutes/);
  const roomy = { ...limits, decoded_bytes: 2 ** 40 };
  assert.match((await tooLong(wave(44_100, 4, 4 * 44_100 * 7260), roomy)) ?? "", /121 minutes long at 44.1.kHz, and 2 hours are the most here; split it\.$/);
  // RF64 and streams do not say how long they are: the file does.
  assert.deepEqual(await lengthOf(wave(96_000, 8, 0xffff_ffff, 8 * 96_000 * 60, "RF64")), { rate: 96_000, frames: 96_000 * 60 });
  // A header that lies about more than is there is no reason to refuse.
  assert.deepEqual(await lengthOf(wave(96_000, 8, 0xffff_fff0, 8 * 96_000)), { rate: 96_000, frames: 96_000 });
  const flac = new DataView(new ArrayBuffer(42));
  [...[0x66, 0x4c, 0x61, 0x43, 0x80, 0, 0, 34]].forEach((byte, at) => flac.setUint8(at, byte));
  flac.setBigUint64(18, (96_000n << 44n) | (1n << 41n) | (23n << 36n) | 345_600_000n);
  assert.deepEqual(await lengthOf(new Blob([flac.buffer])), { rate: 96_000, frames: 345_600_000 });
  const aiff = new DataView(new ArrayBuffer(38));
  [..."FORM....AIFFCOMM"].forEach((c, at) => aiff.setUint8(at, c.charCodeAt(0)));
  aiff.setUint32(16, 18);
  aiff.setUint32(22, 44_100 * 60);
  aiff.setUint16(28, 16_383 + 15);
  aiff.setBigUint64(30, 44_100n << 48n);
  assert.deepEqual(await lengthOf(new Blob([aiff.buffer])), { rate: 44_100, frames: 44_100 * 60 });
  for (const odd of ["", "RIFF", "RIFF....WAVE", "RIFF....WAVEdata\0\0\0\0", "fLaC", "FORM....AIFF", "ID3\u0004 and so on"]) assert.equal(await lengthOf(new Blob([odd])), null);
});

test("records of other hands are not believed", () => {
  const record = { id: "upl_1a", fingerprint: "f", name: "a.wav", bytes: 1, modified: 1, at: 1 };
  assert.ok(isRecord(record));
  for (const odd of [null, 1, "x", [], {}, { ...record, id: "../x" }, { ...record, bytes: -1 }, { ...record, bytes: "1" }, { ...record, at: Number.NaN }, { ...record, name: "" }, { ...record, name: "x".repeat(600) }]) assert.equal(isRecord(odd), false);
});

const form = (fields: [string, string][]): FormData => {
  const data = new FormData();
  for (const [name, value] of fields) data.append(name, value);
  return data;
};

test("a form becomes the settings the API takes", () => {
  const plain = settingsOf(form([["format", "wav24"]]));
  assert.deepEqual(plain, { style: "balanced", strength: { overall: 50 }, loudness: "style", formats: ["wav24"] });
  const full = settingsOf(form([["style", "warm"], ["strength", "70"], ["tone", "20"], ["loudness_strength", "90"], ["loudness", "custom"], ["lufs", "−9,5"], ["ceiling", "-1.5"], ["rate", "48000"], ["phase", "linear"], ["insist", "on"], ["format", "wav24"], ["format", "mp3-320"]]));
  assert.deepEqual(full, { style: "warm", strength: { overall: 70, tone: 20, loudness: 90 }, loudness: { lufs: -9.5 }, formats: ["wav24", "mp3-320"], ceiling: -1.5, rate: { hz: 48000 }, phase: "linear", insist: true });
  assert.equal(plain.tags, undefined);
  assert.deepEqual(settingsOf(form([["title", " Nächt, eins "], ["artist", ""], ["isrc", "dea122600001"], ["format", "wav24"]])).tags, { title: "Nächt, eins", isrc: "dea122600001" });
  assert.throws(() => settingsOf(form([["isrc", "DE-A12"], ["format", "wav24"]])), { field: "isrc" });
  assert.deepEqual(settingsOf(form([["loudness", "spotify"], ["format", "wav24"]])).loudness, { destination: "spotify" });
  for (const odd of [[["format", "wav24"], ["loudness", "custom"], ["lufs", ""]], [["format", "wav24"], ["ceiling", "3"]], [["format", "wav24"], ["tone", "x"]], []] as [string, string][][]) assert.throws(() => settingsOf(form(odd)));
});

const opus = new Uint8Array(readFileSync("public/demo/master.opus"));

test("an Opus file is read page by page, and a stretch of it is a file of its own", () => {
  const head = header(opus);
  assert.ok(head && head.channels === 2 && head.preSkip > 0 && head.end > 0);
  const audio = pages(opus, head.end);
  const last = audio.at(-1);
  assert.ok(last && last.at + last.size === opus.length, "to the very end");
  for (let n = 1; n < audio.length; n += 1) assert.ok(audio[n]!.granule > audio[n - 1]!.granule);

  const start = 100_000;
  const first = start + head.preSkip - PREROLL;
  const from = audio.findIndex((page) => page.granule > first);
  const cut = stretch(head, audio.slice(from, from + 3), audio[from - 1]!.granule, start);
  assert.ok(cut);
  const again = header(cut);
  assert.equal(again?.preSkip, start + head.preSkip - audio[from - 1]!.granule);
  const inside = pages(cut, again?.end);
  assert.equal(inside.length, 3, "every checksum is right");
  assert.equal(inside[0]?.granule, audio[from]!.granule - audio[from - 1]!.granule);
});

test("pages are found from anywhere, and noise is no page", () => {
  const audio = pages(opus, 0);
  const middle = audio[Math.floor(audio.length / 2)]!;
  const found = pages(opus.subarray(middle.at + 5));
  assert.equal(found[0]?.granule, audio[audio.indexOf(middle) + 1]?.granule);
  const broken = opus.slice(0, middle.at + middle.size);
  broken[middle.at + 40]! ^= 1;
  assert.ok(!pages(broken).some((page) => page.granule === middle.granule));
  assert.equal(pageAt(new Uint8Array(10), 0), null);
  assert.deepEqual(pages(new Uint8Array(5000).fill(0x4f)), []);
  assert.equal(header(new Uint8Array(5000)), null);
  assert.equal(header(opus.slice(0, 30)), null);
});

/** PCM with one loud sample, in each of the forms that come out of a sequencer. */
const pcm = (kind: "wav16" | "wav24" | "wav32f" | "aiff" | "sowt", frames: number, loud: number): Blob => {
  const bytes = { wav16: 2, wav24: 3, wav32f: 4, aiff: 3, sowt: 2 }[kind];
  const big = kind === "aiff" || kind === "sowt";
  const data = new DataView(new ArrayBuffer(frames * bytes * 2));
  const at = loud * bytes * 2 + bytes; // the right channel
  if (bytes === 2) data.setInt16(at, -16_384, true);
  else if (bytes === 4) data.setFloat32(at, 0.5, true);
  else [0x00, 0x00, 0xc0].forEach((byte, n) => data.setUint8(at + (big ? 2 - n : n), byte));
  const head = new DataView(new ArrayBuffer(big ? 12 + 8 + 22 + 16 : 44));
  const word = (to: number, text: string): void => [...text].forEach((c, i) => head.setUint8(to + i, c.charCodeAt(0)));
  if (big) {
    word(0, "FORM");
    word(8, "AIFC");
    word(12, "COMM");
    head.setUint32(16, 22);
    head.setInt16(20, 2);
    head.setUint32(22, frames);
    head.setInt16(26, bytes * 8);
    head.setUint16(28, 16_383 + 15);
    head.setBigUint64(30, 44_100n << 48n);
    word(38, kind === "sowt" ? "sowt" : "NONE");
    word(42, "SSND");
    head.setUint32(46, data.byteLength + 8);
  } else {
    word(0, "RIFF");
    word(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, kind === "wav32f" ? 3 : 1, true);
    head.setUint16(22, 2, true);
    head.setUint32(24, 44_100, true);
    head.setUint16(32, bytes * 2, true);
    head.setUint16(34, bytes * 8, true);
    word(36, "data");
    head.setUint32(40, data.byteLength, true);
  }
  return new Blob([head.buffer, data.buffer]);
};

test("a file on this machine is drawn from its samples", async () => {
  for (const kind of ["wav16", "wav24", "wav32f", "aiff", "sowt"] as const) {
    const frames = 44_100 * 4;
    const peaks = await localPeaks(pcm(kind, frames, frames / 2), () => Promise.resolve(null), new AbortController().signal);
    assert.ok(peaks, kind);
    assert.equal(peaks.seconds, 4);
    const loudest = peaks.values.indexOf(Math.max(...peaks.values));
    assert.ok(Math.abs(loudest / peaks.values.length - 0.5) < 0.01 && Math.abs(peaks.values[loudest]! - 0.5) < 1e-4, `${kind}: ${loudest} ${peaks.values[loudest]}`);
    assert.equal(peaks.values.filter((tall) => tall > 0).length, 1);
  }
  for (const odd of ["", "RIFF....WAVEdata\0\0\0\0", "FORM....AIFFSSND", "RIFF....WAVEfmt \x10\0\0\0\x55\0"]) assert.equal(await pcmOf(new Blob([odd])), null);
  // What no decoder here can read has no picture, and stops no other.
  assert.equal(await localPeaks(new Blob(["nothing to hear"]), () => Promise.resolve(null), new AbortController().signal), null);
});
