"""How fast people are drawn, on one core and with two workers, and how that compares with pyrender.

    python scripts/bench_synth.py [--json] [--rounds 7] [--only raster shade stages set scenes start peer]
    python scripts/bench_synth.py --device cuda [--batch-size 512]

Every figure is a median over rounds after a warm-up, with the lowest and highest round. A machine that does other work
meanwhile shows in them and in the load average.
"""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from bench_device import device_hardware, live_stages
from bench_draw import BATCH, against_pyrender, raster_alone, raster_and_shade, standing_groups
from bench_figures import Figure, hardware
from bench_scenes import scenes_on_disk
from bench_stages import stages

from shards.build import build_set
from shards.console import main, write_json, write_text
from shards.manifest import Manifest
from synth.background import ProceduralBackgrounds
from synth.generate import PitConfig, PitShards, Sources

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "LP_NUM_THREADS": "0",  # Mesa draws in the calling thread: the peer has one core too
}

Part = Literal["raster", "shade", "stages", "set", "scenes", "start", "peer"]
PARTS: tuple[Part, ...] = ("raster", "shade", "stages", "set", "scenes", "start", "peer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Measure the rendering of people."""

    rounds: int = 7
    """Rounds of what takes well under a second; what takes seconds has three, or fewer if this is less."""
    outfits: int = 6
    """Outfits of ten poses each in every round."""
    set_samples: int = 600
    """Samples per worker of the sets written to disk, in three shards."""
    only: tuple[Part, ...] = PARTS
    """What to measure."""
    device: Literal["cpu", "cuda"] | None = None
    """Measure live batches that stay on this device instead, stage by stage."""
    batch_size: int = 512
    """Samples of such a batch, a multiple of 16."""
    size: tuple[int, int] = (256, 128)
    """Height and width of its pictures."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if self.batch_size < 16 or self.batch_size % 16:
            raise ValueError(f"batch_size must be a multiple of 16, got {self.batch_size}")
        if min(self.rounds, self.outfits) < 1 or self.set_samples < 30:
            raise ValueError(
                "needs rounds >= 1, outfits >= 1 and set_samples >= 30, "
                f"got {self.rounds}, {self.outfits} and {self.set_samples}"
            )

    def run(self) -> int:
        """Returns the exit code, 0 whether targets are met or not."""
        if self.device is not None:
            return self.report(
                device_hardware(self.device), live_stages(self.device, self.batch_size, self.size, self.rounds)
            )
        torch.set_num_threads(1)
        few = min(self.rounds, 3)
        before = hardware()
        groups = standing_groups(self.outfits) if {"raster", "shade", "peer"} & set(self.only) else []
        figures: list[Figure] = []
        for part in self.only:
            sys.stderr.write(f"measuring: {part}\n")
            match part:
                case "raster":
                    figures += raster_alone(groups, self.rounds)
                case "shade":
                    figures += raster_and_shade(groups, self.rounds)
                case "stages":
                    figures += stages(BATCH * self.outfits, self.rounds)
                case "set":
                    figures += sets_on_disk(self.set_samples, few)
                case "scenes":
                    figures += scenes_on_disk(few)
                case "start":
                    figures += first_sample(few)
                case "peer":
                    figures += against_pyrender(groups, self.rounds)
        return self.report(before, figures)

    def report(self, before: dict[str, Any], figures: list[Figure]) -> int:
        """Write figures and what they hold for; returns the exit code."""
        after = os.getloadavg()[0]
        if self.json:
            results = [asdict(figure) for figure in figures]
            write_json({"hardware": before, "load_after": after, "config": asdict(self), "results": results})
        else:
            write_text("\n".join([*(f"{key}: {value}" for key, value in before.items()), f"load after: {after:.2f}"]))
            write_text(f"config: {asdict(self)}\n")
            write_text("\n".join(figure.line() for figure in figures))
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRun:
    """One set written to disk. peak_bytes: of the largest worker; cpu_rate: samples per second of a worker's own time,
    which tells the speed of a core that is shared with others."""

    rate: float
    cpu_rate: float
    peak_bytes: int
    sample_bytes: float


def sets_on_disk(num_samples: int, rounds: int) -> list[Figure]:
    """PIT sets by one and by two workers, alternately."""
    one, two = [], []
    for _ in range(rounds):
        one.append(one_set(num_samples, num_samples // 3, 1))
        two.append(one_set(2 * num_samples, num_samples // 3, 2))
    ratios = [b.rate / a.rate for a, b in zip(one, two, strict=True)]
    peaks = [run.peak_bytes / 1e9 for run in one + two]
    return [
        Figure.of("PIT set on disk, 1 worker", "samples/s", [run.rate for run in one], target=150),
        Figure.of("PIT set on disk, 2 workers", "samples/s", [run.rate for run in two]),
        Figure.of("2 workers over 1", "x", ratios, target=1.8),
        Figure.of("1 worker, per second of its CPU time", "samples/s", [run.cpu_rate for run in one], target=150),
        Figure.of("2 workers, per second of their CPU time", "samples/s", [run.cpu_rate for run in two]),
        Figure.of("peak memory of a worker", "GB", peaks, target=1.5, more_is_better=False),
        Figure.of("size of a sample", "MB", [run.sample_bytes / 1e6 for run in one], more_is_better=False),
    ]


def one_set(num_samples: int, samples_per_shard: int, num_workers: int) -> SetRun:
    """Speed while between a tenth and nine tenths of the samples were made.

    The start of the workers, and the time when one has nothing left to do, are thereby left out.
    """
    marks: list[tuple[float, float, int]] = []
    peaks = [0]

    def watch(done: int, found: int) -> None:
        workers = [child.pid for child in multiprocessing.active_children()]
        if 0.1 * num_samples <= done <= 0.9 * num_samples:
            marks.append((time.perf_counter(), sum(map(cpu_seconds, workers)), done))
        peaks.extend(map(peak_bytes, workers))

    config = PitConfig(num_samples=num_samples)
    sources = Sources(backgrounds=ProceduralBackgrounds())
    make_shard = PitShards(config=config, samples_per_shard=samples_per_shard, sources=sources)
    num_shards = -(-num_samples // samples_per_shard)
    wanted = Manifest(name="bench", num_shards=num_shards, config=asdict(config), licences=())
    with tempfile.TemporaryDirectory() as folder:
        manifest = build_set(Path(folder), wanted, make_shard, num_workers=num_workers, progress=watch)
    if len({done for *_, done in marks}) < 2:
        raise ValueError(f"{num_samples} samples are made too fast to be timed; give more --set-samples")
    # A count is told at most ten times a second: time runs from when it is first heard.
    first, last = marks[0], next(mark for mark in marks if mark[2] == marks[-1][2])
    time_s, cpu_s, made = (b - a for a, b in zip(first, last, strict=True))
    return SetRun(
        rate=made / time_s,
        cpu_rate=made / cpu_s,
        peak_bytes=max(peaks),
        sample_bytes=sum(entry.num_bytes for entry in manifest.shards) / num_samples,
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; raises OSError where /proc is missing."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Largest resident size of a process so far; 0 where the system does not tell or the process is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def first_sample(rounds: int) -> list[Figure]:
    """From the start of `python -m synth pit` to the first sample on disk; after an install kernels are compiled."""
    again = [start_to_first_sample(None) for _ in range(rounds + 1)][1:]
    fresh = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            fresh.append(start_to_first_sample(cache))
    return [
        Figure.of("start to first sample, after installing", "s", fresh, target=15, more_is_better=False),
        Figure.of("start to first sample, later", "s", again, target=15, more_is_better=False),
    ]


def start_to_first_sample(cache: str | None) -> float:
    """Seconds; cache: an empty folder for compiled kernels, or None for the usual one."""
    root = str(Path(__file__).parents[1])
    extra = {} if cache is None else {"NUMBA_CACHE_DIR": cache}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **extra}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pit"
        command = [sys.executable, "-m", "synth", "pit", "--out", str(out), "--samples-per-shard", "1"]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            while not (out / "pit-000000.tar").exists():
                if process.poll() is not None:
                    raise ValueError(f"the command failed: {process.stderr.read()}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def cli() -> int:
    """Parse the command line and measure; returns the exit code."""
    return tyro.cli(Bench, description=__doc__).run()


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # Libraries read these when they are loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    main(cli)
