"""Small sets of shards with identities that a colour tells apart, for the tests of this package.

    build_people(folder, People(num_identities=8, labels=frozenset({"iuv"})))

A person is a block of three stripes, whose colours are the identity's, before a background that is the camera's, with a
little noise. Half of the identities are to train on, the others are query (first picture of each camera) and gallery.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.batch import StoredBatch
from shards import Meta, Sample, ShardError
from shards.codec import EncodedSample, encode_sample
from shards.manifest import MANIFEST, Manifest, shard_name
from shards.meta import Origin
from shards.schema import EXTENSIONS, Field
from shards.table import Table
from shards.writer import write_shard


@dataclass(frozen=True, kw_only=True)
class People:
    """What a tiny set holds; `make_shard` of it."""

    num_identities: int = 8
    images_per_camera: int = 3
    num_cameras: int = 2
    height: int = 64
    width: int = 32
    origin: Origin = "real"
    dataset: str = "tiny"
    """First half of the identities' names, DATASET/0003."""
    splits: bool = True
    """Whether samples have splits: the first half of the identities is for training, the others are query and gallery."""
    labels: frozenset[Field] = frozenset()
    """Of iuv, parts, texture and aligned."""
    unlabelled: tuple[int, ...] = ()
    """Samples without these labels."""
    undetected: tuple[int, ...] = ()
    """Samples whose iuv and parts show nobody, as where an annotator found none."""
    uv_layout: str = "makehuman"
    """Of textures."""
    known: bool = True
    """Whether samples have identities."""
    extra: tuple[str | None, ...] = ()
    """Identities of a sample each at the end, of split train or gallery: None, or such as "tiny/-1"."""
    num_shards: int = 2
    seed: int = 0

    @property
    def num_samples(self) -> int:
        return self.num_identities * self.num_cameras * self.images_per_camera + len(self.extra)

    def __call__(self, shard: int) -> Iterator[EncodedSample]:
        for index in range(shard, self.num_samples, self.num_shards):
            yield encode_sample(self.sample(index))

    def sample(self, index: int) -> Sample:
        """Sample `index`, a pure function of it."""
        rng = np.random.default_rng((self.seed, index))
        per_identity = self.num_cameras * self.images_per_camera
        person, camera, number = (
            int(i) for i in np.unravel_index(index, (10**6, self.num_cameras, self.images_per_camera))
        )
        regular = index < self.num_identities * per_identity
        identity = f"{self.dataset}/{person:04d}" if regular else self.extra[index - self.num_identities * per_identity]
        split = None
        if self.splits:
            split = "train" if not regular or person < self.num_identities // 2 else ("gallery" if number else "query")
        labels = self.labels if index not in self.unlabelled else ()
        arrays = self._arrays(rng, person, camera)
        if index in self.undetected:
            arrays |= {field: np.zeros_like(arrays[field]) for field in ("iuv", "parts")}
        arrays = {field: array for field, array in arrays.items() if field in ("image", *labels)}
        return Sample(
            key=f"{index:06d}",
            meta=Meta(
                origin=self.origin,
                dataset=self.dataset,
                identity=identity if self.known else None,
                camera_id=camera,
                sequence=0,
                frame=number,
                split=split,
                uv_layout=self.uv_layout if "texture" in labels else None,
                rendered=rendered(self.seed, index) if self.origin == "rendered" else None,
                generated=GENERATED if self.origin == "generated" else None,
            ),
            **arrays,
        )

    def _arrays(self, rng: np.random.Generator, person: int, camera: int) -> dict[str, np.ndarray]:
        height, width = self.height, self.width
        colours = np.random.default_rng((99, person)).integers(0, 256, (3, 3))
        wall = np.random.default_rng((98, camera)).integers(90, 160, 3)
        top, bottom, left, right = height // 8, height - height // 8, width // 4, width - width // 4
        left, right = (int(x) + int(rng.integers(-width // 16, width // 16 + 1)) for x in (left, right))
        stripe = np.arange(bottom - top) * 3 // (bottom - top)
        image = np.tile(wall, (height, width, 1))
        image[top:bottom, left:right] = colours[stripe][:, None]
        image = (image + rng.integers(-12, 13, image.shape)).clip(0, 255).astype(np.uint8)
        iuv = np.zeros((height, width, 3), np.uint8)
        across = np.linspace(0, 255, right - left).astype(np.uint8)
        iuv[top:bottom, left:right, 0] = np.array([24, 2, 9])[stripe][:, None]
        iuv[top:bottom, left:right, 1] = across
        iuv[top:bottom, left:right, 2] = np.linspace(0, 255, bottom - top).astype(np.uint8)[:, None]
        iuv[height // 2 : height // 2 + 4, :left] = 0, 255, 0
        parts = np.zeros((height, width), np.uint8)
        parts[top:bottom, left:right] = np.array([1, 2, 5])[stripe][:, None]
        texture = colours[np.arange(256) * 3 // 256][:, None].repeat(256, 1).astype(np.uint8)
        return {"image": image, "iuv": iuv, "parts": parts, "texture": texture, "aligned": image[:, ::-1].copy()}


GENERATED = {"source_key": None, "pose_key": None, "model_hash": "0"}


def rendered(seed: int, index: int) -> dict:
    """Provenance with the least a rendered sample must tell."""
    return {
        "seed": seed,
        "index": index,
        "intrinsics": np.diag([900.0, 900.0, 1.0]),
        "world_to_camera": np.eye(4),
        **{name: {} for name in ("body", "outfit", "background")},
        "licences": ["CC0-1.0"],
    }


def build_people(folder: Path, people: People | None = None) -> str:
    """Write the set, in this process; returns its folder as a configuration names it."""
    people = people or People()
    folder.mkdir(parents=True)
    name = people.dataset
    entries = [write_shard(folder / shard_name(name, i), people(i), index=i) for i in range(people.num_shards)]
    manifest = Manifest(
        name=name,
        num_shards=people.num_shards,
        config={"seed": people.seed},
        licences=("CC0-1.0",),
        complete=True,
        shards=tuple(entries),
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return str(folder)


def error_of(batches: Callable[[], Iterable[StoredBatch]]) -> ShardError:
    """What reading them raises, without its traceback: that would keep the worker processes until the garbage collector
    comes, which ends them slowly."""
    try:
        for _ in batches():
            pass
    except ShardError as error:
        return error.with_traceback(None)
    raise AssertionError("nothing was raised")


def damage(folder: Path, keys: list[str]) -> None:
    """Break the picture of these samples of a set, and nothing else."""
    table = Table(folder)
    (start,) = (i for i, extension in enumerate(EXTENSIONS) if extension == "image.jpg")
    for key in keys:
        i = table.keys.tolist().index(key)
        with open(folder / table.manifest.shards[table._shard_of[i]].name, "r+b") as file:
            file.seek(int(table._offsets[i, start]) + 30)
            file.write(b"\xff" * 16)
    table.close()
