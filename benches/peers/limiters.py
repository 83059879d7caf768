"""Loudness stages side by side: equal loudness, equal ceiling, by measures that none of them optimises.

  benches/peers/run limiters --mixes MIXES [--loudness -9] [--seconds 30] [--who ours,clip,apsyclip] [--json out.json]
  benches/peers/run limiters --mixes MIXES --controls         the measures themselves, on pairs whose order is known
  benches/peers/run limiters --tones                          sustained tones: products against the masking threshold

ours, fast, finest  loopmaster master --only loudness --insist --ceiling -1 [--limiter fast | finest]
clip                control: the samples cut off at the ceiling. A figure by which it wins proves nothing
apsyclip            ffmpeg apsyclip at twice the rate, alimiter behind it
masked              masked.py: a clipper that puts its error where the music masks it
matchering          its limiter, scaled until the true peak is -1.05 dBTP

The gain of the peers is found by iteration, to 0.03 LU. Figures:

visqol        ViSQOL in audio mode (best 4.73), mono, 10 s from the middle
noise         noise-to-mask ratio of ITU-R BS.1387 (total NMR of the FFT ear model), dB: written from the recommendation
noise99       99th percentile of the same by frames, dB
peak          true peak, dBTP; loudness LUFS
ride          spread of the 400 ms gain, dB
residue       share of the master that no linear filter makes of the mix, dB
onset         change of the crest at the stronger half of the onsets, dB
product       tones: highest level of what is no partial over the masking threshold of the ear model, dB
"""

import argparse
import contextlib
import io
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import scipy.signal
import soundfile

from masked import masked
from references import aligned, audio_files, blocks, excerpt, loudness, onset, program, residue, true_peak

CEILING = 10 ** (-1 / 20)
HARD = 10 ** (-1.08 / 20)
FIGURES = ("visqol", "noise", "noise99", "peak", "loudness", "ride", "residue", "onset")


class Ear:
    """The FFT ear model of ITU-R BS.1387-1, basic version: excitation of 109 bands of a quarter Bark, 80 Hz to 18 kHz, at 48 kHz."""

    RATE, POINTS, STEP, LEVEL = 48000, 2048, 1024, 92.0

    def __init__(self):
        bark = lambda f: 7 * numpy.arcsinh(f / 650)
        hertz = lambda z: 650 * numpy.sinh(z / 7)
        low, high = bark(80.0), bark(18000.0)
        edges = numpy.append(numpy.arange(low, high, 0.25), high)
        self.centre = hertz((edges[:-1] + edges[1:]) / 2)
        self.z = bark(self.centre)
        f = numpy.fft.rfftfreq(self.POINTS, 1 / self.RATE)
        k = numpy.maximum(f, 1.0) / 1000
        weight = -0.6 * 3.64 * k**-0.8 + 6.5 * numpy.exp(-0.6 * (k - 3.3) ** 2) - 1e-3 * k**3.6
        # A sine at full scale reads LEVEL: its bin holds a quarter of the window's sum squared.
        self.window = numpy.hanning(self.POINTS + 1)[:-1]
        self.scale = 10 ** ((self.LEVEL + weight) / 10) / (self.window.sum() ** 2 / 4)
        width = f[1]
        lo, hi = (f - width / 2)[None, :], (f + width / 2)[None, :]
        a, b = hertz(edges[:-1])[:, None], hertz(edges[1:])[:, None]
        self.group = numpy.maximum(numpy.minimum(hi, b) - numpy.maximum(lo, a), 0) / width
        self.noise = 10 ** (0.4 * 0.364 * (self.centre / 1000) ** -0.8)
        position = numpy.arange(len(self.centre)) * 0.25
        self.offset = 10 ** (numpy.where(position <= 12, 3.0, 0.25 * position) / 10)
        tau = 0.008 + 100 / self.centre * (0.030 - 0.008)
        self.fall = numpy.exp(-self.STEP / self.RATE / tau)
        self.norm = self.spread(numpy.ones((1, len(self.centre))))[0]

    def spread(self, power):
        """`[frame][band]`: level-dependent slopes, added by the power law 0.4."""
        dz = self.z[None, :] - self.z[:, None]
        out = numpy.zeros_like(power)
        for at in range(0, len(power), 256):
            part = power[at : at + 256]
            upper = numpy.minimum(-24 - 230 / self.centre[None, :] + 0.2 * 10 * numpy.log10(numpy.maximum(part, 1e-12)), -1.0)
            slope = numpy.where(dz[None] >= 0, upper[:, :, None] * dz[None], 27 * dz[None])
            shape = 10 ** (slope / 10)
            shape *= (part / shape.sum(axis=2))[:, :, None]
            out[at : at + 256] = (shape**0.4).sum(axis=1) ** 2.5
        return out

    def spectra(self, signal):
        """`[frame][bin]` weighted power."""
        frames = numpy.lib.stride_tricks.sliding_window_view(signal, self.POINTS)[:: self.STEP]
        return numpy.abs(numpy.fft.rfft(frames * self.window, axis=1)) ** 2 * self.scale

    def mask(self, spectra):
        """`[frame][band]` what is just not heard."""
        excitation = self.spread(spectra @ self.group.T + self.noise) / self.norm
        held = excitation.copy()
        state = numpy.zeros(held.shape[1])
        for n in range(len(held)):
            state = self.fall * state + (1 - self.fall) * held[n]
            held[n] = numpy.maximum(state, held[n])
        return held / self.offset

    def noise_to_mask(self, mix, master):
        """(total, 99th percentile by frames) in dB, of two aligned signals at the model's rate; channels together."""
        ratios = []
        for a, b in zip(mix.T, master.T):
            a, b = self.spectra(a), self.spectra(b)
            noise = (numpy.sqrt(a) - numpy.sqrt(b)) ** 2 @ self.group.T
            loud = a.sum(axis=1) > 1e-4 * a.sum(axis=1).max()
            ratios.append((noise / self.mask(a)).mean(axis=1)[loud])
        ratios = numpy.concatenate(ratios)
        return 10 * math.log10(ratios.mean() + 1e-12), 10 * math.log10(numpy.percentile(ratios, 99) + 1e-12)


EAR = Ear()


def at_rate(audio, rate, wanted):
    g = math.gcd(rate, wanted)
    return audio if rate == wanted else scipy.signal.resample_poly(audio, wanted // g, rate // g, axis=0)


def level_matched(mix, master):
    return master * (float((mix * master).sum()) / max(float((master * master).sum()), 1e-20))


class Visqol:
    api = None

    @classmethod
    def of(cls, mix, master, rate, seconds=10):
        if cls.api is None:
            from visqol import VisqolApi
            cls.api = VisqolApi()
            cls.api.create(mode="audio")
        n = len(mix)
        start = max(0, n // 2 - seconds * rate // 2)
        pair = [at_rate(x[start : start + seconds * rate].mean(axis=1), rate, 48000) for x in (mix, master)]
        pair[1] = pair[1] * math.sqrt((pair[0] ** 2).sum() / max((pair[1] ** 2).sum(), 1e-20))
        loud = 0.5 / max(max(numpy.abs(x).max() for x in pair), 1e-9)
        with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as room, contextlib.redirect_stdout(io.StringIO()):
            paths = [str(Path(room) / name) for name in ("a.wav", "b.wav")]
            for path, x in zip(paths, pair):
                soundfile.write(path, x * loud, 48000)
            return float(cls.api.measure(*paths).moslqo)


def ride(mix, master, rate):
    a, b = (10 * numpy.log10(blocks(x, rate, 0.4, 0.1) + 1e-12) for x in (mix, master))
    return float((b - a)[a > a.max() - 40].std())


def figures(mix, master, rate, only=FIGURES):
    a, b = aligned(mix, master, rate)
    row = {"peak": true_peak(master), "loudness": loudness(master, rate)}
    if "noise" in only:
        row["noise"], row["noise99"] = EAR.noise_to_mask(*(at_rate(x, rate, EAR.RATE) for x in (a, level_matched(a, b))))
    if "visqol" in only:
        row["visqol"] = Visqol.of(a, b, rate)
    if "ride" in only:
        row["ride"] = ride(a, b, rate)
    if "residue" in only:
        row["residue"] = residue(a, b, rate)
    if "onset" in only:
        row["onset"] = onset(a, b, rate)
    return row


def clip(audio, rate):
    return numpy.clip(audio, -HARD, HARD)


def apsyclip(audio, rate):
    chain = (f"aresample={2 * rate},apsyclip=clip={CEILING:.5f}:adaptive=0.5:iterations=12:level=0,"
             f"alimiter=limit={CEILING:.5f}:level=disabled:attack=2:release=30,aresample={rate}")
    with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as room:
        before, after = Path(room) / "a.wav", Path(room) / "b.wav"
        soundfile.write(before, numpy.r_[audio, numpy.zeros((rate // 10, audio.shape[1]))], rate, "FLOAT")
        subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", before, "-af", chain, "-c:a", "pcm_f32le", after], check=True)
        return soundfile.read(after, dtype="float64", always_2d=True)[0]


def matchering(audio, rate):
    import matchering as peer
    from matchering.limiter import limit
    out = limit(audio, peer.Config())
    return out * 10 ** ((-1.05 - true_peak(out)) / 20)


PEERS = {"clip": clip, "apsyclip": apsyclip, "matchering": matchering, "masked": masked}


def solved(peer, audio, rate, target):
    """The peer's output at the gain that lands at `target` LUFS, as near as it comes."""
    start = gain = target - loudness(audio, rate)
    best, low, high = (math.inf, None), None, None
    for step in range(10):
        out = peer(audio * 10 ** (gain / 20), rate)
        miss = loudness(out, rate) - target
        if abs(miss) < abs(best[0]):
            best = (miss, out)
        if abs(miss) < 0.03 or gain - start > 20:
            break
        if miss < 0:
            low = (gain, miss)
        else:
            high = (gain, miss)
        if low and high:
            middle = step % 3 == 2
            gain = (low[0] + high[0]) / 2 if middle else low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])
        else:
            gain -= 1.6 * miss
    return best[1]


def ours(audio, rate, target, *options):
    with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as room:
        mix = Path(room) / "mix.wav"
        soundfile.write(mix, audio, rate, "FLOAT")
        command = [program(), "master", mix, "-o", room, f"--loudness={target}", "--insist", "--ceiling=-1", "--only", "loudness",
                   "--format", "wav32f", "--json", *options]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
        made = list(Path(room).glob("*(master)*.wav"))
        if not made:
            raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-200:])
        return soundfile.read(made[0], dtype="float64", always_2d=True)[0]


def made_by(who, audio, rate, target):
    if who in PEERS:
        return solved(PEERS[who], audio, rate, target)
    options = {"ours": ()}.get(who, ("--limiter", who))
    return ours(audio, rate, target, *options)


def lossy(audio, rate, bits):
    with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as room:
        a, b, c = (str(Path(room) / name) for name in ("a.wav", "b.mp3", "c.wav"))
        soundfile.write(a, audio * 0.5, rate, "FLOAT")
        for command in ((a, "-b:a", f"{bits}k", b), (b, "-c:a", "pcm_f32le", c)):
            subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", *command], check=True)
        return soundfile.read(c, dtype="float64", always_2d=True)[0] * 2


def controls(mixes, target, seconds, folder):
    """The measures on pairs whose order is known: as it is, hard clip at the target, 6 dB harder; MP3 at 320 and at 128 kbit/s."""
    keys = ("visqol", "noise", "noise99")
    totals = {}
    for path in mixes:
        mix, rate = read(excerpt(path, seconds, folder))
        rows = {name: figures(mix, out, rate, keys) for name, out in (
            ("unclipped", mix * 0.5), ("hard", solved(clip, mix, rate, target)), ("harder", solved(clip, mix, rate, target + 3)),
            ("mp3-320", lossy(mix, rate, 320)), ("mp3-128", lossy(mix, rate, 128)))}
        for key in keys:
            better = (lambda a, b: a >= b) if key == "visqol" else (lambda a, b: a <= b)
            for a, b in (("unclipped", "hard"), ("hard", "harder"), ("unclipped", "mp3-320"), ("mp3-320", "mp3-128")):
                right = totals.setdefault((key, a, b), [0, 0])
                right[0] += better(rows[a][key], rows[b][key])
                right[1] += 1
        print(path.stem, {name: {key: round(row[key], 2) for key in keys} for name, row in rows.items()}, file=sys.stderr, flush=True)
    for (key, a, b), (right, of) in totals.items():
        print(f"{key}: {a} better than {b} on {right} of {of}")


def tones(rate=48000):
    """name -> (stereo signal at a peak of 1, partials in Hz, highest frequency that is judged, in Hz)."""
    t = numpy.arange(8 * rate) / rate
    note = lambda f, partials, level: sum(level[i] * numpy.sin(2 * math.pi * f * p * t + i) for i, p in enumerate(partials))
    # Notes of 2 s at -8, 0, -4, 0 dB: only the loud ones meet the ceiling.
    step = numpy.repeat(10 ** (numpy.array([-8, 0, -4, 0]) / 20), 2 * rate)
    envelope = scipy.signal.fftconvolve(step, numpy.hanning(rate // 10) / numpy.hanning(rate // 10).sum(), "same")
    chord, organ = (220.0, 277.18, 329.63), (1, 2, 3, 4, 6, 8)
    rng = numpy.random.default_rng(1)
    hats = numpy.zeros_like(t)
    for at in range(0, len(t), rate // 8):
        n = min(rate // 20, len(t) - at)
        hats[at : at + n] = rng.standard_normal(n) * numpy.exp(-numpy.arange(n) / (0.01 * rate))
    hats = scipy.signal.sosfilt(scipy.signal.butter(6, 7000, "high", fs=rate, output="sos"), hats)
    voice = [(p, 1 / p * (1 + 2 * math.exp(-((150 * p - 700) / 200) ** 2))) for p in range(1, 12)]
    made = {
        "sine 220": (note(220, [1], [1]), [220.0], 16000), "sine 1000": (note(1000, [1], [1]), [1000.0], 16000),
        "chord": (sum(note(f, [1, 2], [1, 0.2]) for f in chord), [f * p for f in chord for p in (1, 2)], 16000),
        "organ": (note(130.81, organ, [1, 0.8, 0.6, 0.5, 0.3, 0.2]), [130.81 * p for p in organ], 16000),
        "808 under hats": (note(49, [1, 2], [1, 0.1]) + 0.25 * hats / numpy.abs(hats).max(), [49.0, 98.0], 700),
        "voice": (note(150, [p for p, _ in voice], [a for _, a in voice]), [150.0 * p for p, _ in voice], 16000),
    }
    out = {}
    for name, (x, partials, most) in made.items():
        x = x * envelope
        out[name] = (numpy.repeat((x / numpy.abs(x).max())[:, None], 2, axis=1), partials, most)
    return out, rate


def product(signal, partials, most, rate):
    """Highest level of what is no partial over the threshold that the partials make, dB; inside the notes."""
    points = 16384
    window = scipy.signal.windows.blackmanharris(points)
    f = numpy.fft.rfftfreq(points, 1 / rate)
    partial = numpy.zeros(len(f), bool)
    for hz in partials:
        partial |= numpy.abs(f - hz) < max(25.0, 0.02 * hz)
    k = numpy.maximum(f, 1.0) / 1000
    weight = -0.6 * 3.64 * k**-0.8 + 6.5 * numpy.exp(-0.6 * (k - 3.3) ** 2) - 1e-3 * k**3.6
    # Energies of a band: the window's own width is divided out.
    scale = 10 ** ((EAR.LEVEL + weight) / 10) * 2 / (window**2).sum() / points * 2
    edges = 650 * numpy.sinh((7 * numpy.arcsinh(EAR.centre[0] / 650) - 0.125 + 0.25 * numpy.arange(len(EAR.centre) + 1)) / 7)
    band = numpy.clip(numpy.searchsorted(edges, f) - 1, 0, len(EAR.centre) - 1)
    judged = (EAR.centre < most)
    worst = -120.0
    for note in (1, 3):
        for at in numpy.arange(note * 2.0 + 0.4, note * 2.0 + 1.5, 0.3):
            frame = signal[int(at * rate) : int(at * rate) + points].mean(axis=1)
            power = numpy.abs(numpy.fft.rfft(frame * window)) ** 2 * scale
            inside = (f > 30) & (f < 18000)
            tone, rest = (numpy.bincount(band, power * keep * inside, len(EAR.centre)) for keep in (partial, ~partial))
            mask = (EAR.spread((tone + EAR.noise)[None, :])[0] / EAR.norm) / EAR.offset
            worst = max(worst, float((10 * numpy.log10(numpy.maximum(rest, 1e-12) / mask))[judged].max()))
    return worst


def sustained(who, over=4.0):
    """`over` dB over the ceiling by a bare clip; all at the loudness that has."""
    cases, rate = tones()
    rows = []
    for name, (x, partials, most) in cases.items():
        x = x * HARD
        row = {"case": name, "mix": product(x, partials, most, rate)}
        driven = clip(x * 10 ** (over / 20), rate)
        target = loudness(driven, rate)
        row["clip"] = product(driven, partials, most, rate)
        for one in who:
            if one != "clip":
                try:
                    row[one] = product(made_by(one, x, rate, target), partials, most, rate)
                except RuntimeError as error:
                    print(name, one, error, file=sys.stderr)
        rows.append(row)
        print({k: round(v, 1) if isinstance(v, float) else v for k, v in row.items()}, file=sys.stderr, flush=True)
    return rows


def read(path):
    audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return (numpy.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio), rate


def report(rows, target):
    who = list(dict.fromkeys(row["who"] for row in rows))
    lines = ["| stage | excerpts | on target | " + " | ".join(f"{k}" for k in FIGURES) + " | worst visqol | highest peak |", "|" + "---|" * (len(FIGURES) + 5)]
    for one in who:
        mine = [row for row in rows if row["who"] == one]
        hit = [row for row in mine if abs(row["loudness"] - target) <= 0.3]
        mean = lambda key: numpy.nanmean([row[key] for row in hit]) if hit else math.nan
        lines.append(f"| {one} | {len(mine)} | {len(hit)} | " + " | ".join(f"{mean(k):.3f}" if k == "visqol" else f"{mean(k):.2f}" for k in FIGURES)
                     + f" | {min((r['visqol'] for r in hit), default=math.nan):.3f} | {max((r['peak'] for r in hit), default=math.nan):.2f} |")
    of = {(row["song"], row["who"]): row for row in rows}
    songs = list(dict.fromkeys(row["song"] for row in rows))
    for peer in who[1:]:
        both = [(of[s, who[0]], of[s, peer]) for s in songs if (s, peer) in of and (s, who[0]) in of]
        lower = {key: sum(a[key] < b[key] for a, b in both) for key in ("noise", "noise99", "peak")}
        lines.append(f"\n{who[0]} better than {peer}, of {len(both)}: visqol {sum(a['visqol'] > b['visqol'] for a, b in both)}, "
                     + ", ".join(f"{key} {n}" for key, n in lower.items()))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixes", type=Path, help="a folder of mixes (WAV, FLAC)")
    parser.add_argument("--only-mixes", type=lambda text: text.split(","), default=[], help="names without extension, separated by commas")
    parser.add_argument("--loudness", type=float, default=-9.0)
    parser.add_argument("--seconds", type=int, default=30, help="only the loudest so many seconds of each")
    parser.add_argument("--who", type=lambda text: text.split(","), default=["ours", "clip", "masked", "apsyclip", "matchering"])
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--tones", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()

    if asked.tones:
        rows = sustained(asked.who)
        names = list(dict.fromkeys(key for row in rows for key in row if key != "case"))
        print("| product over the threshold, dB | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
        for row in rows:
            print(f"| {row['case']} | " + " | ".join(f"{row[name]:.1f}" if name in row else "–" for name in names) + " |")
        return
    if not asked.mixes:
        parser.error("--mixes is missing")
    mixes, rows = audio_files(asked.mixes, asked.only_mixes), []
    with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as folder:
        if asked.controls:
            return controls(mixes, asked.loudness, asked.seconds, Path(folder))
        for path in mixes:
            mix, rate = read(excerpt(path, asked.seconds, Path(folder)))
            for who in asked.who:
                try:
                    row = {"song": path.stem, "who": who, **figures(mix, made_by(who, mix, rate, asked.loudness), rate)}
                except RuntimeError as error:
                    print(f"{path.stem} {who}: {error}", file=sys.stderr, flush=True)
                    continue
                rows.append(row)
                print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, file=sys.stderr, flush=True)
                if asked.json:
                    asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(report(rows, asked.loudness))


if __name__ == "__main__":
    main()
