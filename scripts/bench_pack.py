"""How fast real pictures are packed, on one core, and how that compares with writing the same files into plain tars.

    python scripts/bench_pack.py [--json] [--pictures 20000] [--rounds 7] [--folder /dev/shm]

The pictures are 128 x 64 JPEGs in Market-1501's layout, copies of a few dozen. The peers, Python's tarfile and
webdataset.TarWriter, read the same files and write the same bytes under the same keys, with neither checks nor hashes. All
take turns in every round, so that ratios hold on a machine that does other work too.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
import webdataset
from bench_figures import Figure, hardware
from PIL import Image

from shards.codec import encode_jpeg
from shards.console import main, write_json, write_text
from shards.convert.layouts import LAYOUTS, Listing, list_pictures
from shards.convert.market import FOLDERS
from shards.convert.pack import PackShards
from shards.manifest import shard_name
from shards.writer import write_shard

NUM_DIFFERENT = 48
SAMPLES_PER_SHARD = 1000
LAYOUT = "market1501"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Measure the packing of real pictures."""

    pictures: int = 20000
    """Files of the data set that is packed."""
    rounds: int = 7
    """Rounds that count."""
    folder: Path | None = None
    """Where data set and shards lie meanwhile; by default where temporary files do."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if self.pictures < len(FOLDERS) or self.rounds < 1:
            raise ValueError(f"needs pictures >= {len(FOLDERS)} and rounds >= 1, got {self.pictures} and {self.rounds}")

    def run(self) -> int:
        """Returns the exit code, 0 whether targets are met or not."""
        before = hardware()
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            src, out = Path(folder) / "pictures", Path(folder) / "shards"
            num_bytes = make_pictures(src, self.pictures)
            figures = measure(src, out, self.rounds)
        figures.append(Figure.of("size of a picture", "bytes", [num_bytes / self.pictures], more_is_better=False))
        after = os.getloadavg()[0]
        config = {**asdict(self), "folder": None if self.folder is None else str(self.folder)}
        if self.json:
            results = [asdict(figure) for figure in figures]
            write_json({"hardware": before, "load_after": after, "config": config, "results": results})
        else:
            write_text("\n".join([*(f"{key}: {value}" for key, value in before.items()), f"load after: {after:.2f}"]))
            write_text(f"config: {config}\n")
            write_text("\n".join(figure.line() for figure in figures))
        return 0


def make_pictures(src: Path, num: int) -> int:
    """Write a data set of smooth, noisy pictures; returns its size, bytes."""
    rng = np.random.default_rng(0)
    jpegs = []
    for _ in range(NUM_DIFFERENT):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8))
        smooth = np.array(coarse.resize((64, 128), Image.Resampling.BICUBIC)).astype(int)
        noisy = (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        jpegs.append(encode_jpeg(noisy, quality=92, chroma="420"))
    num_bytes = 0
    for folder in FOLDERS:
        (src / folder).mkdir(parents=True)
    for i in range(num):
        data = jpegs[i % NUM_DIFFERENT]
        folder = list(FOLDERS)[i % len(FOLDERS)]
        (src / folder / f"{i // 20 + 1:04d}_c{i % 6 + 1}s1_{i:06d}_01.jpg").write_bytes(data)
        num_bytes += len(data)
    return num_bytes


def measure(src: Path, out: Path, rounds: int) -> list[Figure]:
    """All in turns, the first round left out."""
    listing = list_pictures(LAYOUT, src)
    num = len(listing.pictures)
    ways: dict[str, Callable[[], object]] = {
        "list": lambda: list_pictures(LAYOUT, src),
        "pack": lambda: pack_here(src, out, listing),
        "tarfile": lambda: with_tarfile(src, out, listing),
        "webdataset": lambda: with_webdataset(src, out, listing),
        "command": lambda: whole_command(src, out),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            start = time.perf_counter()
            way()
            if number:
                times[name].append(time.perf_counter() - start)

    def ratios(peer: str) -> list[float]:
        return [theirs / ours for theirs, ours in zip(times[peer], times["pack"], strict=True)]

    def rates(name: str) -> list[float]:
        return [num / time_s for time_s in times[name]]

    return [
        Figure.of("pack, one core, listing apart", "pictures/s", rates("pack"), target=3000),
        Figure.of("  listing", "pictures/s", rates("list")),
        Figure.of("  python -m shards pack, start and all", "pictures/s", rates("command"), target=3000),
        Figure.of("peer: tarfile", "pictures/s", rates("tarfile")),
        Figure.of("peer: webdataset.TarWriter", "pictures/s", rates("webdataset")),
        Figure.of("pack over tarfile", "x", ratios("tarfile"), target=1),
        Figure.of("pack over webdataset.TarWriter", "x", ratios("webdataset"), target=1),
    ]


def make_shard(src: Path, listing: Listing) -> PackShards:
    return PackShards(
        src=src,
        dataset=listing.dataset,
        pictures=listing.pictures,
        samples_per_shard=SAMPLES_PER_SHARD,
        read=LAYOUTS[LAYOUT].read,
    )


def pack_here(src: Path, out: Path, listing: Listing) -> None:
    """What a worker does, in this process."""
    make = make_shard(src, listing)
    for index in range(num_shards(listing)):
        write_shard(out / shard_name("pack", index), make(index), index=index)


def num_shards(listing: Listing) -> int:
    return -(-len(listing.pictures) // SAMPLES_PER_SHARD)


def plain_members(src: Path, listing: Listing, index: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Key, picture and JSON of a shard: what the peers write, made in the plainest way."""
    first = index * SAMPLES_PER_SHARD
    for i, picture in enumerate(listing.pictures[first : first + SAMPLES_PER_SHARD], start=first):
        path = src / picture.file
        values = {**picture._asdict(), "origin": "real", "dataset": listing.dataset}
        yield f"{i:08d}_{path.stem}", path.read_bytes(), json.dumps(values, sort_keys=True).encode()


def with_tarfile(src: Path, out: Path, listing: Listing) -> None:
    for index in range(num_shards(listing)):
        with tarfile.open(out / shard_name("tarfile", index), "w") as archive:
            for key, jpeg, text in plain_members(src, listing, index):
                for extension, data in (("image.jpg", jpeg), ("meta.json", text)):
                    member = tarfile.TarInfo(f"{key}.{extension}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def with_webdataset(src: Path, out: Path, listing: Listing) -> None:
    for index in range(num_shards(listing)):
        with webdataset.TarWriter(str(out / shard_name("webdataset", index)), encoder=False) as writer:
            for key, jpeg, text in plain_members(src, listing, index):
                writer.write({"__key__": key, "image.jpg": jpeg, "meta.json": text})


def whole_command(src: Path, out: Path) -> None:
    command = [sys.executable, "-m", "shards", "pack", LAYOUT, str(src), str(out)]
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, env=environment, capture_output=True, check=True)


def cli() -> int:
    """Parse the command line and measure; returns the exit code."""
    return tyro.cli(Bench, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
