"""Reference mastering beside Matchering: how near a mix, Matchering's master of it and ours come to a record.

  benches/peers/run references --mixes MIXES --records RECORDS [--near] [--seconds 40] [--cache figures.json] [--json out.json]

Every mix is mastered towards every record. Ours: `--reference RECORD --strength 100`, and `--reference-amount` where --amount is given as
four numbers; Matchering writes 24 bits. None of the figures is computed by either program.

third, octave    rms distance of the long-term band spectra (channel powers added), mean difference removed, dB; bands 55 dB under the
                 record's loudest are left out: a lossy record is empty there
mid, side        the same of (L + R)/2 and (L - R)/2 in third octaves
width            difference of the overall side/mid ratio, dB
low              difference of the correlation of left and right below 120 Hz
plr, crest       difference of true peak minus loudness, and of sample peak over RMS, dB
loudness         difference of integrated loudness, LU
again            our master mastered once more (--twice); moved: how far its third octaves go from the first
residue          share of the master that no linear filter makes of the mix, dB: 1 - coherence, weighted by the master's K-weighted power
onset            change of the crest at the stronger half of the onsets, dB
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import scipy.signal
import soundfile

ROOT = Path(__file__).resolve().parent.parent.parent
THIRDS = [1000 * 2.0 ** (k / 3) for k in range(-15, 13)]
OCTAVES = [1000 * 2.0**k for k in range(-5, 5)]
DISTANCES = ("third", "octave", "mid", "side")
DIFFERENCES = ("width", "low", "plr", "crest", "loudness")
NEAR = 6.0
MATCHERING = (
    "import sys, matchering; "
    "matchering.process(target=sys.argv[1], reference=sys.argv[2], results=[matchering.pcm24(sys.argv[3])])"
)


def decibels(power):
    return 10 * math.log10(max(float(power), 1e-24))


def k_weighting(rate):
    """The two stages of BS.1770-5 at any rate, as second-order sections."""
    def shelf():
        f, q, gain = 1681.974450955533, 0.7071752369554196, 3.999843853973347
        k, high = math.tan(math.pi * f / rate), 10 ** (gain / 20)
        band, d = high**0.4996667741545416, 1 + k / q + k * k
        return [(high + band * k / q + k * k) / d, 2 * (k * k - high) / d, (high - band * k / q + k * k) / d,
                1, 2 * (k * k - 1) / d, (1 - k / q + k * k) / d]

    def high_pass():
        f, q = 38.13547087602444, 0.5003270373238773
        k = math.tan(math.pi * f / rate)
        d = 1 + k / q + k * k
        return [1, -2, 1, 1, 2 * (k * k - 1) / d, (1 - k / q + k * k) / d]
    return numpy.array([shelf(), high_pass()])


def blocks(audio, rate, length, hop):
    """K-weighted power of blocks of `length` s every `hop` s."""
    power = (scipy.signal.sosfilt(k_weighting(rate), audio, axis=0) ** 2).sum(axis=1)
    total = numpy.r_[0, numpy.cumsum(power)]
    n, h = int(length * rate), int(hop * rate)
    starts = numpy.arange(0, max(1, len(power) - n + 1), h)
    return (total[numpy.minimum(starts + n, len(power))] - total[starts]) / n


def true_peak(audio):
    """dBTP by 8-fold interpolation around the samples that could matter."""
    most = numpy.abs(audio).max()
    peak, hot = most, numpy.flatnonzero(numpy.abs(audio).max(axis=1) > 0.62 * most)
    cuts = numpy.flatnonzero(numpy.diff(hot) > 1024)
    for a, b in zip(numpy.r_[hot[0], hot[cuts + 1]], numpy.r_[hot[cuts], hot[-1]]):
        for i in range(a, b + 1, 65536):
            u, v = max(0, i - 256), min(len(audio), min(b + 1, i + 65536) + 256)
            if numpy.abs(audio[u:v]).max() < 0.8 * peak:
                continue
            dense = scipy.signal.resample_poly(audio[u:v], 8, 1, axis=0, window=("kaiser", 8.0))
            peak = max(peak, float(numpy.abs(dense[512 if u else 0 : len(dense) - 512 if v < len(audio) else None]).max()))
    return 20 * math.log10(peak)


def loudness(audio, rate):
    """Integrated loudness, LUFS."""
    power = blocks(audio, rate, 0.4, 0.1)
    power = power[power > 10 ** ((-70 + 0.691) / 10)]
    power = power[power > 0.1 * power.mean()] if len(power) else numpy.array([1e-12])
    return -0.691 + decibels(power.mean())


def spectrum(signal, rate):
    n = min(1 << round(math.log2(rate / 44100 * 16384)), len(signal))
    return scipy.signal.welch(signal, rate, "hann", n, axis=0, scaling="spectrum")


def bands(f, power, centres, half):
    levels = []
    for centre in centres:
        inside = (f >= centre * 2.0**-half) & (f < centre * 2.0**half)
        levels.append(decibels(power[inside].sum()) if inside.any() else math.nan)
    return levels


def features(path):
    audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    if audio.shape[1] == 1:
        audio = numpy.repeat(audio, 2, axis=1)
    mid, side = audio.mean(axis=1), (audio[:, 0] - audio[:, 1]) / 2
    f, power = spectrum(audio, rate)
    _, pm = spectrum(mid, rate)
    _, ps = spectrum(side, rate)
    low = scipy.signal.sosfilt(scipy.signal.butter(4, 120, "low", fs=rate, output="sos"), audio, axis=0)
    energy = math.sqrt((low[:, 0] @ low[:, 0]) * (low[:, 1] @ low[:, 1]))
    peak, rms = numpy.abs(audio).max(), math.sqrt((audio**2).mean())
    lufs, dbtp = loudness(audio, rate), true_peak(audio)
    return {
        "third": bands(f, power.sum(axis=1), THIRDS, 1 / 6), "octave": bands(f, power.sum(axis=1), OCTAVES, 1 / 2),
        "mid": bands(f, pm, THIRDS, 1 / 6), "side": bands(f, ps, THIRDS, 1 / 6),
        "width": decibels((side @ side) / (mid @ mid + 1e-20)), "low": float(low[:, 0] @ low[:, 1] / energy) if energy > 0 else 0.0,
        "loudness": lufs, "dbtp": dbtp, "plr": dbtp - lufs, "crest": 20 * math.log10(peak / rms),
    }


def distance(a, b):
    a, b = numpy.array(a), numpy.array(b)
    d = (a - b)[numpy.isfinite(a - b) & (b > numpy.nanmax(b) - 55)]
    return float(numpy.sqrt(((d - d.mean()) ** 2).mean()))


def distances(a, record):
    row = {key: distance(a[key], record[key]) for key in DISTANCES}
    row.update({key: abs(a[key] - record[key]) for key in DIFFERENCES})
    return {**row, "dbtp": a["dbtp"]}


def aligned(mix, master, rate):
    """Both cut so that they line up."""
    n = min(len(mix), len(master))
    a, b = mix[:n].mean(axis=1), master[:n].mean(axis=1)
    w, most = min(n, 1 << 19), rate // 2
    o = (n - w) // 2
    c = scipy.signal.fftconvolve(b[o : o + w], a[o : o + w][::-1])
    z = w - 1
    lag = int(numpy.argmax(numpy.abs(c[max(0, z - most) : z + most + 1]))) - min(z, most)
    return (mix[: n - lag], master[lag:n]) if lag >= 0 else (mix[-lag:n], master[: n + lag])


def residue(mix, master, rate):
    a, b = (scipy.signal.sosfilt(k_weighting(rate), x, axis=0).mean(axis=1) for x in (mix, master))
    f, c = scipy.signal.coherence(a, b, rate, nperseg=8192)
    _, p = scipy.signal.welch(b, rate, nperseg=8192)
    k = (f > 30) & (f < 16000)
    return decibels(((1 - c) * p)[k].sum() / p[k].sum())


def onset(mix, master, rate):
    """Change of (peak from -6 to +20 ms) over (RMS from +30 to +150 ms) at the stronger half of the mix's onsets."""
    _, t, s = scipy.signal.stft(mix.mean(axis=1), rate, nperseg=1024, noverlap=768)
    flux = numpy.maximum(numpy.diff(numpy.log10(numpy.abs(s) + 1e-4), axis=1), 0).sum(axis=0)
    flux = (flux - flux.mean()) / (flux.std() + 1e-9)
    rows = []
    for i in scipy.signal.find_peaks(flux, height=1.5, distance=int(0.12 * rate / 256))[0]:
        o = int(t[i + 1] * rate)
        a, b, c, e = (o + int(x * rate) for x in (-0.006, 0.020, 0.03, 0.15))
        if a < 0 or e >= len(mix):
            continue
        crest = []
        for x in (mix, master):
            peak, tail = numpy.abs(x[a:b]).max(), math.sqrt((x[c:e] ** 2).mean())
            crest.append(20 * math.log10(peak / tail) if peak > 1e-4 and tail > 1e-5 else math.nan)
        if crest[0] >= 3 and math.isfinite(crest[1]):
            rows.append((crest[0], crest[1] - crest[0]))
    if len(rows) < 4:
        return math.nan
    rows = numpy.array(rows)
    return float(rows[rows[:, 0] >= numpy.median(rows[:, 0]), 1].mean())


def change(mix, master):
    """What the master did to the mix itself."""
    a, rate = soundfile.read(mix, dtype="float64", always_2d=True)
    b, other = soundfile.read(master, dtype="float64", always_2d=True)
    if rate != other:
        return {"residue": math.nan, "onset": math.nan}
    a, b = (numpy.repeat(x, 2, axis=1) if x.shape[1] == 1 else x for x in (a, b))
    a, b = aligned(a, b, rate)
    return {"residue": residue(a, b, rate), "onset": onset(a, b, rate)}


class Figures:
    """What was measured before: records, mixes and Matchering do not change."""

    def __init__(self, path):
        self.path = path
        self.known = json.loads(path.read_text()) if path and path.exists() else {}

    def of(self, key, make):
        if key not in self.known:
            self.known[key] = make()
            if self.path:
                self.path.write_text(json.dumps(self.known))
        return self.known[key]


def program():
    return os.environ.get("LM") or str(ROOT / "target" / "release" / "loopmaster")


def ours(mix, record, options, folder):
    command = [program(), "master", str(mix), "-o", str(folder), "--reference", str(record), *options,
               "--format", "wav24", "--json", "--force"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    made = list(folder.glob("*(master)*.wav"))
    if done.returncode != 0 or not made:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-200:])
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return made[0], next((e for e in events if e.get("event") == "done"), {})


def matchering(mix, record, folder):
    made = folder / "matchering.wav"
    done = subprocess.run([sys.executable, "-c", MATCHERING, str(mix), str(record), str(made)], capture_output=True, text=True, check=False)
    if not made.exists():
        raise RuntimeError(f"matchering: {done.stderr.strip()[-200:]}")
    return made


def measure(mix, record, figures, options, who, twice):
    pair = f"{mix.stem}:{record.stem}"
    theirs = figures.of(f"record:{record.stem}", lambda: features(record))
    own = figures.of(f"mix:{mix.stem}", lambda: features(mix))
    row = {"pair": pair, "mix": distances(own, theirs)}

    def peer():
        with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as folder:
            made = matchering(mix, record, Path(folder))
            return {**features(made), **change(mix, made)}
    if "matchering" in who:
        made = figures.of(f"matchering:{pair}", peer)
        row["matchering"] = {**distances(made, theirs), "residue": made["residue"], "onset": made["onset"]}
    if "ours" in who:
        with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as folder:
            made, event = ours(mix, record, options, Path(folder))
            row["ours"] = {**distances(features(made), theirs), **change(mix, made), "wall": event.get("wall_seconds")}
            if twice:
                with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as second:
                    again, _ = ours(made, record, options, Path(second))
                    a, b = features(made), features(again)
                    row["again"] = {**distances(b, theirs), "moved": distance(b["third"], a["third"])}
    return row


def mean(rows, who, key):
    values = [row[who][key] for row in rows if who in row and row[who].get(key) is not None and math.isfinite(row[who][key])]
    return sum(values) / len(values) if values else math.nan


def report(rows, title):
    keys = (*DISTANCES, *DIFFERENCES, "residue", "onset")
    lines = [f"**{title}: {len(rows)} pairs**", "", "| mean distance to the record | " + " | ".join(keys) + " | over 0 dBTP | further than the mix |",
             "|" + "---|" * (len(keys) + 3)]
    for who in ("mix", "matchering", "ours", "again"):
        if not any(who in row for row in rows):
            continue
        figures = ["–" if math.isnan(v) else f"{v:.2f}" for v in (mean(rows, who, key) for key in keys)]
        over = sum(row[who]["dbtp"] > 0 for row in rows if who in row)
        worse = sum(row[who]["third"] > row["mix"]["third"] for row in rows if who in row)
        lines.append(f"| {who} | " + " | ".join(figures) + f" | {over} | {worse} |")
    both = [row for row in rows if "ours" in row and "matchering" in row]
    if both:
        nearer = (f"{key} {sum(row['ours'][key] < row['matchering'][key] for row in both)}" for key in (*DISTANCES, *DIFFERENCES))
        lines += ["", f"Ours is nearer than Matchering, of {len(both)}: " + ", ".join(nearer) + "."]
    return "\n".join(lines)


def excerpt(path, seconds, folder):
    """The loudest part of a file, on a grid of 5 s."""
    made = folder / path.parent.name / f"{path.stem}.wav"
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path) as file:
        step = 5 * file.samplerate
        powers = [float((block.astype("float64") ** 2).sum()) for block in file.blocks(blocksize=step, dtype="float32", always_2d=True)]
        count = max(1, seconds // 5)
        first = max(range(max(1, len(powers) - count + 1)), key=lambda i: sum(powers[i : i + count]))
        file.seek(first * step)
        soundfile.write(made, file.read(count * step, dtype="float32", always_2d=True), file.samplerate, file.subtype)
    return made


def audio_files(folder, names):
    found = sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".flac"))
    return [path for path in found if not names or path.stem in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixes", type=Path, required=True, help="a folder of mixes (WAV, FLAC)")
    parser.add_argument("--records", type=Path, required=True, help="a folder of finished records")
    parser.add_argument("--only-mixes", type=lambda text: text.split(","), default=[], help="names without extension, separated by commas")
    parser.add_argument("--only-records", type=lambda text: text.split(","), default=[])
    parser.add_argument("--near", action="store_true", help=f"only pairs whose mix lies within {NEAR:g} dB of the record")
    parser.add_argument("--pairs", type=lambda text: text.split(","), default=[], help="mix:record, separated by commas")
    parser.add_argument("--every", type=int, default=1, help="only every n-th pair")
    parser.add_argument("--strength", type=int, default=100, help="--strength of ours: 100 is the whole of the record, 50 the default")
    parser.add_argument("--amount", help="--reference-amount of ours, T,D,W,L")
    parser.add_argument("--options", default="", help="more options of ours")
    parser.add_argument("--who", type=lambda text: text.split(","), default=["matchering", "ours"])
    parser.add_argument("--twice", action="store_true", help="master our result once more towards the same record")
    parser.add_argument("--cache", type=Path, help="figures that do not change: mixes, records, Matchering")
    parser.add_argument("--seconds", type=int, help="only the loudest so many seconds of each file")
    parser.add_argument("--excerpts", type=Path, help="where the excerpts of --seconds are kept; without it they go away")
    parser.add_argument("--json", type=Path, help="all figures of all pairs")
    asked = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as folder:
        run(asked, asked.excerpts or Path(folder))


def run(asked, folder):
    figures = Figures(asked.cache)
    options = ["--strength", str(asked.strength), *(["--reference-amount", asked.amount] if asked.amount else []), *asked.options.split()]
    pairs = [(m, r) for m in audio_files(asked.mixes, asked.only_mixes) for r in audio_files(asked.records, asked.only_records)]
    if asked.pairs:
        pairs = [(m, r) for m, r in pairs if f"{m.stem}:{r.stem}" in asked.pairs]
    if asked.seconds:
        pairs = [(excerpt(m, asked.seconds, folder), excerpt(r, asked.seconds, folder)) for m, r in pairs]
    rows = []
    for mix, record in pairs[:: asked.every]:
        own = distances(figures.of(f"mix:{mix.stem}", lambda: features(mix)), figures.of(f"record:{record.stem}", lambda: features(record)))
        if asked.near and own["third"] > NEAR:
            continue
        try:
            row = measure(mix, record, figures, options, asked.who, asked.twice)
        except RuntimeError as error:
            print(f"{mix.stem}:{record.stem}: {error}", file=sys.stderr, flush=True)
            continue
        rows.append(row)
        said = (f"{who} {row[who]['third']:.2f}/{row[who]['octave']:.2f} w {row[who]['width']:.2f} plr {row[who]['plr']:.2f}"
                for who in ("mix", "matchering", "ours", "again") if who in row)
        print(row["pair"], *said, sep="; ", file=sys.stderr, flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    near = [row for row in rows if row["mix"]["third"] <= NEAR]
    if near and len(near) < len(rows):
        print(report(near, f"near pairs (mix within {NEAR:g} dB of the record)"), end="\n\n")
    print(report(rows, "all pairs"))


if __name__ == "__main__":
    main()
