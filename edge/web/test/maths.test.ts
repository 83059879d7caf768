import assert from "node:assert/strict";
import { test } from "node:test";
import { Abx, byChance, verdict } from "../src/player/abx";
import { parse } from "../src/player/peaks";
import { between, shapeOf } from "../src/player/shape";
import { backoff } from "../src/api";
import { clock, decibel, size, stem, typed } from "../src/text";

test("the chance of guessing right is the binomial tail", () => {
  assert.equal(byChance(0, 10), 1);
  assert.equal(byChance(10, 10), 1 / 1024);
  // 9 or 10 of 10: (10 + 1) / 1024; 12 or more of 16: 2517 / 65536, the classic threshold.
  assert.equal(byChance(9, 10), 11 / 1024);
  assert.equal(byChance(12, 16), 2517 / 65536);
  assert.ok(byChance(60, 100) > 0.0284 && byChance(60, 100) < 0.0285);
});

test("a verdict says what the numbers mean", () => {
  assert.match(verdict(3, 3), /After ten/);
  assert.match(verdict(10, 10), /You hear the difference\..*less than 0\.1/);
  assert.match(verdict(5, 10), /guessing/);
});

test("X is drawn anew for each answer", () => {
  const drawn = [0.2, 0.8, 0.2, 0.9];
  const abx = new Abx(() => drawn.shift() ?? 0);
  assert.equal(abx.x, "mix");
  assert.equal(abx.answer("mix"), true);
  assert.equal(abx.x, "master");
  assert.equal(abx.answer("mix"), false);
  assert.deepEqual([abx.answered, abx.right], [2, 1]);
});

test("waveform files are read, and what is none is refused", () => {
  const file = new ArrayBuffer(24 + 8);
  const view = new DataView(file);
  view.setInt32(0, 2, true);
  view.setUint32(4, 1, true);
  view.setInt32(8, 44_100, true);
  view.setInt32(12, 256, true);
  view.setUint32(16, 4, true);
  view.setInt32(20, 1, true);
  [-128, 10, -5, 64, 0, 0, -32, 127].forEach((value, n) => view.setInt8(24 + n, value));
  const peaks = parse(file);
  assert.deepEqual([...(peaks?.values ?? [])], [1, 0.5, 0, 127 / 128]);
  assert.equal(peaks?.seconds, 1024 / 44_100);
  assert.deepEqual([...shapeOf(peaks!, 2).peak], [1, 127 / 128]);
  assert.deepEqual([...shapeOf(peaks!, 4, peaks!.seconds * 2).peak].slice(2), [0, 0], "nothing is drawn where nothing is");
  assert.deepEqual([...shapeOf(peaks!, 2, peaks!.seconds, peaks!.seconds / 2).peak], [0, 127 / 128], "half of it, zoomed");
  for (const odd of [new ArrayBuffer(3), new ArrayBuffer(64)]) assert.equal(parse(odd), null);
  view.setUint32(16, 4_000_000_000, true);
  assert.equal(parse(file)?.values.length, 4, "a length that lies costs no memory");
});

test("figures read as a person writes them", () => {
  assert.deepEqual([clock(187.4), clock(3750), clock(Number.NaN)], ["3:07", "1:02:30", "0:00"]);
  assert.deepEqual([size(48_200_000), size(1_500)], ["48\u202fMB", "1.5\u202fkB"]);
  assert.equal(decibel(-6.28), "−6.3\u202fdB");
  assert.deepEqual([stem("a.b.wav"), stem(".wav"), stem("song")], ["a.b", ".wav", "song"]);
  assert.deepEqual([typed("−9,5"), typed(" -14 "), typed("1e9"), typed("x"), typed("")], [-9.5, -14, null, null, null]);
});

test("patience grows and has an end", () => {
  assert.equal(backoff(0, () => 1), 500);
  assert.equal(backoff(3, () => 1), 4000);
  assert.ok(backoff(50, () => 1) === 30_000 && backoff(50, () => 0) === 15_000);
});

test("the body of a waveform shows a chorus where the peaks do not", () => {
  // Ten seconds of a loud song: every beat reaches the top, the second half is dense.
  const values = new Float32Array(1000).map((_, n) => (n % 50 === 0 ? 1 : n < 500 ? 0.2 : 0.7));
  const { body, peak } = shapeOf({ values, seconds: 10 }, 20);
  assert.ok([...peak].every((tall) => tall === 1));
  assert.ok((body[15] ?? 0) > 2 * (body[4] ?? 0), `${body[4]} ${body[15]}`);
  for (let n = 0; n < 20; n += 1) assert.ok((body[n] ?? 0) <= (peak[n] ?? 0));
  const half = between({ body, peak }, { body: body.map(() => 0), peak }, 0.5);
  assert.equal(half.body[3], (body[3] ?? 0) / 2);
});
