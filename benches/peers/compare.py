"""Times whole programs on one track and measures what they made. Called by benches/peers/run, in its virtual environment.

CPU seconds are user + system of a program and everything it waited for; memory is the largest process of them (wait4). The programs
take turns (A B C, A B C …), so that a slow minute of the machine meets all of them; figures are medians."""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy
import scipy.signal
import soundfile

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = 240
FFMPEG = ["ffmpeg", "-y", "-v", "error", "-nostdin"]
MATCHERING = (
    "import sys, matchering; "
    "matchering.process(target=sys.argv[1], reference=sys.argv[2], results=[matchering.pcm16(sys.argv[3])])"
)


def make_track(path, reverse=False, filters="anull"):
    """The licensed excerpts one after the other, again and again, until the track is long enough."""
    excerpts = sorted((ROOT / "tests" / "data").glob("*.flac"), reverse=reverse)
    inputs = [word for excerpt in excerpts for word in ("-i", str(excerpt))]
    joined = f"concat=n={len(excerpts)}:v=0:a=1,aloop=loop=-1:size=2147483647,{filters}"
    subprocess.run([*FFMPEG, *inputs, "-filter_complex", joined, "-t", str(SECONDS), "-c:a", "pcm_s16le", str(path)], check=True)


def programs(track, reference, out, lufs, ceiling):
    """Name → (command, what it writes)."""
    loopmaster = [str(ROOT / "target" / "release" / "loopmaster"), "master", str(track), "-o", str(out), "--force", "--quiet",
                  "--format", "wav16", "--loudness", str(lufs), "--insist", "--ceiling", str(ceiling)]
    mastered = lambda: next(out.glob(f"{track.stem}*(master)*.wav"))
    wav = lambda name: (lambda: out / f"{name}.wav")
    return {
        "loopmaster": (loopmaster, mastered),
        "loopmaster, 1 thread": ([*loopmaster, "--threads", "1"], mastered),
        "matchering": ([sys.executable, "-c", MATCHERING, str(track), str(reference), str(out / "matchering.wav")], wav("matchering")),
        "ffmpeg loudnorm": (["bash", str(HERE / "loudnorm.sh"), str(track), str(out / "loudnorm.wav"), str(lufs), str(ceiling)],
                            wav("loudnorm")),
        "ffmpeg copy": ([*FFMPEG, "-i", str(track), "-c:a", "pcm_s16le", str(out / "copy.wav")], wav("copy")),
    }


def timed(command):
    """(CPU s, wall s, MiB) of one run."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        if process.returncode != 0:
            said.seek(0)
            sys.exit(f"{' '.join(command)}\nended with {process.returncode}:\n{said.read().decode(errors='replace')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def loudness(path):
    """Integrated loudness by ffmpeg's meter."""
    said = subprocess.run(["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-i", str(path), "-af", "ebur128=framelog=verbose", "-f",
                           "null", "-"], capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1])


def true_peak(path, factor=16, taps=48):
    """dBTP by windowed-sinc interpolation, scipy's arithmetic: shares nothing with the meters of any program here."""
    kernel = scipy.signal.firwin(factor * taps + 1, 1 / factor, window=("kaiser", 9.0)).astype("float32") * factor
    peak = 0.0
    with soundfile.SoundFile(path) as file:
        for block in file.blocks(blocksize=1 << 18, overlap=2 * taps, dtype="float32", always_2d=True):
            for channel in block.T:
                dense = numpy.abs(scipy.signal.upfirdn(kernel, channel, up=factor))
                # Where the kernel hangs over an edge of the block it would see a step that is not in the music.
                peak = max(peak, float(dense[factor * taps : factor * len(channel)].max(initial=0.0)))
    return 20 * numpy.log10(peak)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return re.sub(r"\((R|TM)\)|@.*|CPU|Processor", "", model).strip(), os.cpu_count()


def version(command):
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.split("\n")[0].strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", type=Path, help="a mix; without it the excerpts of tests/data, looped to 240 s")
    parser.add_argument("--reference", type=Path, help="a finished record for Matchering; without it one made from the same excerpts")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--lufs", type=float, default=-14.0)
    parser.add_argument("--ceiling", type=float, default=-1.0)
    parser.add_argument("--keep", action="store_true", help="keep the figures in benches/runs")
    asked = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="loopmaster-peers-") as folder:
        out = Path(folder)
        track, reference = asked.track, asked.reference
        if track is None:
            track = out / "track.wav"
            make_track(track)
        if reference is None:
            # Denser and louder than the mix, as a finished record is.
            reference = out / "reference.wav"
            make_track(reference, reverse=True, filters="acompressor=threshold=0.1:ratio=2:makeup=2,volume=4dB,alimiter=limit=0.8")
        seconds = soundfile.info(track).duration
        running = programs(track.resolve(), reference.resolve(), out, asked.lufs, asked.ceiling)

        figures = {name: [] for name in running}
        written = {}
        for turn in range(asked.runs):
            for name, (command, makes) in running.items():
                print(f"\rrun {turn + 1} of {asked.runs}: {name:<24}", end="", file=sys.stderr, flush=True)
                figures[name].append(timed(command))
                if turn == 0 and name not in written:
                    path = makes()
                    written[name] = (loudness(path), true_peak(path))
        print(file=sys.stderr)

        rows = {}
        for name, runs in figures.items():
            cpu, wall, memory = (statistics.median(run[i] for run in runs) for i in range(3))
            lufs, dbtp = written[name]
            rows[name] = {"cpu_s": cpu, "wall_s": wall, "mib": memory, "lufs": lufs, "dbtp": dbtp}
        report = table(rows, seconds, asked) + "\n\n" + conditions(running, track, reference, folder, asked)
    print(report)
    if asked.keep:
        cpu, _ = machine()
        slug = re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")
        place = ROOT / "benches" / "runs" / f"{date.today()}-{slug}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "peers.md").write_text(report + "\n")
        (place / "peers.json").write_text(json.dumps({"seconds": seconds, "programs": rows}, indent=2) + "\n")
        print(f"\nkept in {place.relative_to(ROOT)}", file=sys.stderr)


def table(rows, seconds, asked):
    base = rows["loopmaster"]
    lines = [
        "| program | CPU s | × loopmaster | wall s | × loopmaster | × real time per CPU s | peak MiB | LUFS | off target | dBTP |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        # A copy has no target; Matchering aims at its reference, not at a number.
        off = "" if name in ("ffmpeg copy", "matchering") else f"{row['lufs'] - asked.lufs:+.1f}"
        lines.append(
            f"| {name} | {row['cpu_s']:.2f} | {row['cpu_s'] / base['cpu_s']:.2f} | {row['wall_s']:.2f} "
            f"| {row['wall_s'] / base['wall_s']:.2f} | {seconds / row['cpu_s']:.0f} | {row['mib']:.0f} "
            f"| {row['lufs']:.1f} | {off} | {row['dbtp']:+.2f} |"
        )
    return "\n".join(lines)


def conditions(running, track, reference, folder, asked):
    cpu, cores = machine()
    names = {str(track.resolve()): "TRACK", str(reference.resolve()): "REFERENCE", folder: "OUT", str(ROOT): ".", sys.executable: "python3"}
    lines = [
        f"{date.today()}, {cpu}, {cores} cores, load {os.getloadavg()[0]:.1f}, {platform.system()} {platform.release().split('-')[0]}; "
        f"{version(['ffmpeg', '-version'])[:24].strip()}, matchering 2.0.6 on Python {platform.python_version()}, "
        f"LoopMastering {version(['git', 'describe', '--always', '--dirty'])}.",
        f"Target {asked.lufs:g} LUFS, ceiling {asked.ceiling:g} dBTP; medians of {asked.runs} runs taking turns; all write 16-bit WAV.",
        "LUFS by ffmpeg's ebur128, dBTP by 16× interpolation in scipy, both on the written files.",
        "",
        "```",
    ]
    for command, _ in running.values():
        line = " ".join(f'"{word}"' if " " in word else word for word in command)
        for long, short in names.items():
            line = line.replace(long, short)
        lines.append(line)
    return "\n".join([*lines, "```"])


if __name__ == "__main__":
    main()
