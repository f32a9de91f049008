"""Small sets of samples with every field, for the tests and for the processes that the tests start."""

import argparse
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import shards
from shards import Meta, Sample
from shards.build import build_set
from shards.codec import EncodedSample, encode_sample
from shards.console import main, progress_bar
from shards.manifest import Manifest
from shards.meta import Split
from shards.workers import Report, worker_number

HEIGHT, WIDTH = 48, 24
NUM_SHARDS, SAMPLES_PER_SHARD = 4, 6


def rendered(index: int) -> dict:
    """Provenance with the least a rendered sample must tell."""
    return {
        "seed": 0,
        "index": index,
        "intrinsics": np.diag([900.0, 900.0, 1.0]),
        "world_to_camera": np.eye(4),
        "body": {"betas": [0.5, -1.25]},
        "outfit": {"top": "coat"},
        "background": {"kind": "wall"},
        "licences": ["CC0-1.0"],
    }


def tiny_iuv(rng: np.random.Generator) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8: surfaces in bands, some carried pixels, background around."""
    iuv = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    iuv[6:42, 6:18] = rng.integers(0, 256, (36, 12, 3))
    iuv[6:42, 6:18, 0] = 1 + np.arange(36)[:, None] % 24
    iuv[20:24, 2:6] = 0, 255, 0
    return iuv


def tiny_sample(index: int, key: str | None = None) -> Sample:
    """Sample `index`, every field but parts in it; a pure function of `index`."""
    rng = np.random.default_rng((7, index))
    ramp = np.linspace(0, 200, HEIGHT, dtype=np.uint8)[:, None, None]
    image = np.broadcast_to(ramp, (HEIGHT, WIDTH, 3)) + rng.integers(0, 50, 3, dtype=np.uint8)
    keypoints = np.concatenate([rng.uniform(0, WIDTH, (17, 2)).round(2), rng.integers(0, 3, (17, 1))], axis=1)
    return Sample(
        key=key or f"{index:06d}",
        image=image,
        meta=Meta(
            origin="rendered",
            dataset="tiny",
            identity=None if index % 5 == 4 else f"tiny/{index % 5}",
            camera_id=index % 3,
            split=("train", "query", "gallery")[index % 3],
            keypoints=keypoints,
            uv_layout="open-body",
            rendered=rendered(index),
        ),
        texture=np.full((256, 256, 3), rng.integers(0, 255, 3), np.uint8),
        aligned=image[::-1].copy(),
        iuv=tiny_iuv(rng),
    )


@dataclass(frozen=True, kw_only=True)
class MakeTiny:
    """`make_shard` of a tiny set, with switches for what can go wrong."""

    samples_per_shard: int = SAMPLES_PER_SHARD
    nap_s: float = 0.0
    fails_at: int | None = None
    dies_at: int | None = None
    refuses: tuple[int, ...] = ()
    same_keys: bool = False
    splits: tuple[Split | None, ...] = ()
    """Of the samples of each shard; by default a shard holds all."""

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        if index in self.refuses:
            raise AssertionError(f"shard {index} was there and must not be made")
        splits = self.splits[index : index + 1]
        index = 0 if self.same_keys else index
        for i in range(index * self.samples_per_shard, (index + 1) * self.samples_per_shard):
            time.sleep(self.nap_s)
            if i == self.fails_at:
                raise ValueError("this background has no pixels")
            if i == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            sample = tiny_sample(i)
            yield encode_sample(replace(sample, meta=replace(sample.meta, split=splits[0])) if splits else sample)


def build_tiny(folder: Path, make_shard: MakeTiny | None = None, *, seed: int = 0, **options) -> Manifest | None:
    """`build_set` of a tiny set."""
    wanted = Manifest(
        name="tiny",
        num_shards=options.pop("num_shards", NUM_SHARDS),
        config={"seed": seed, "camera": {"height_m": 3.0}},
        licences=("CC0-1.0",),
    )
    return build_set(folder, wanted, make_shard or MakeTiny(), **options)


def tell_number(task: int, report: Report) -> int:
    """A task for `run_tasks`: who does it."""
    return worker_number()


def hashes(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file in a folder, hidden ones too."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def environment(**extra: str) -> dict[str, str]:
    """Environment of a command: the packages of this checkout, installed or not."""
    root = str(Path(shards.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **extra}


def build_command(out: Path, *options: str) -> list[str]:
    """The command line that `command` serves."""
    return [sys.executable, __file__, str(out), *options]


def command() -> None:
    """Build a set from the command line, slowly enough to be interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--nap", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with progress_bar("tiny", NUM_SHARDS * SAMPLES_PER_SHARD) as progress:
        make_shard = MakeTiny(nap_s=arguments.nap)
        build_tiny(arguments.out, make_shard, seed=arguments.seed, num_workers=2, progress=progress)


if __name__ == "__main__":
    main(command)
