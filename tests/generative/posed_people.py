"""Small people with keypoints, for the tests of poses and of what is made from them.

A person is a block of colour before grey; the keypoints, where a set has them, are those of somebody who stands, moved and
bent a little from sample to sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards import Meta, Sample
from shards.codec import EncodedSample, encode_sample
from shards.manifest import MANIFEST, Manifest, shard_name
from shards.meta import Origin
from shards.writer import write_shard

STANDING = (
    (16, 9), (17, 8), (15, 8), (19, 9), (13, 9),
    (21, 16), (11, 16), (24, 25), (8, 25), (25, 33), (7, 33),
    (19, 33), (13, 33), (20, 45), (12, 45), (20, 57), (12, 57),
)  # fmt: skip
"""(x, y) of COCO's 17 joints of a person who faces the camera, in a picture 64 high and 32 wide."""


def standing(*, height: int = 64, width: int = 32, v: float = 2.0) -> np.ndarray:
    """(17, 3) float32: that person in a picture of another size."""
    points = np.array(STANDING, np.float32) * np.array([width / 32, height / 64], np.float32)
    return np.concatenate([points, np.full((17, 1), v, np.float32)], 1)


@dataclass(frozen=True, kw_only=True)
class PosedPeople:
    """What a tiny set holds."""

    identities: tuple[str | None, ...] = ("tiny/0000", "tiny/0001", "tiny/0002")
    images_each: int = 2
    split: str | None = "train"
    sizes: tuple[tuple[int, int], ...] = ((64, 32),)
    """Height and width of the pictures, in turn."""
    has_keypoints: bool = True
    unposed: tuple[int, ...] = ()
    """Samples whose keypoints are all unknown."""
    name: str = "tiny"
    long_keys: bool = False
    origin: Origin = "real"
    num_shards: int = 2
    licences: tuple[str, ...] = ("CC0-1.0",)
    annotators: dict | None = None
    """What every sample's meta says."""
    seed: int = 0

    @property
    def num_samples(self) -> int:
        return len(self.identities) * self.images_each

    def samples(self, shard: int) -> Iterator[EncodedSample]:
        per_shard = -(-self.num_samples // self.num_shards)
        for index in range(shard * per_shard, min((shard + 1) * per_shard, self.num_samples)):
            yield encode_sample(self.sample(index))

    def sample(self, index: int) -> Sample:
        """Sample `index`, a pure function of it."""
        rng = np.random.default_rng((self.seed, index))
        person = index // self.images_each
        height, width = self.sizes[index % len(self.sizes)]
        colour = np.random.default_rng((99, person)).integers(0, 256, 3)
        image = rng.integers(110, 130, (height, width, 3)).astype(np.uint8)
        image[height // 8 : -height // 8, width // 4 : -width // 4] = colour
        points = standing(height=height, width=width) + rng.normal(0, 1, (17, 3)) * [1, 1, 0]
        if index in self.unposed:
            points[:, 2] = 0
        name = f"{person:04d}_c{index % 2 + 1}s1_{index:06d}_00"
        key = f"{index:08d}_{name}" + ("x" * (80 - 9 - len(name)) if self.long_keys else "")
        return Sample(
            key=key,
            image=image,
            texture=np.full((256, 256, 3), colour, np.uint8),
            meta=Meta(
                origin=self.origin,
                dataset=self.name,
                identity=self.identities[person],
                camera_id=index % 2,
                sequence=1,
                frame=index,
                split=self.split,
                keypoints=points if self.has_keypoints else None,
                uv_layout="makehuman",
                annotators=self.annotators,
            ),
        )


def build_posed(folder: Path, people: PosedPeople | None = None) -> Path:
    """Write the set, in this process; returns its folder."""
    people = people or PosedPeople()
    folder.mkdir(parents=True)
    entries = [
        write_shard(folder / shard_name(people.name, i), people.samples(i), index=i) for i in range(people.num_shards)
    ]
    manifest = Manifest(
        name=people.name,
        num_shards=people.num_shards,
        config={"seed": people.seed},
        licences=people.licences,
        complete=True,
        shards=tuple(entries),
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder


def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sets be built without worker processes, which take seconds to start."""

    def run_tasks(function: Any, tasks: list, *, num_workers: int, on_progress: Any = None) -> Iterator[tuple]:
        for task in tasks:
            yield task, function(task, lambda done: None)

    monkeypatch.setattr("shards.build.run_tasks", run_tasks)
