"""One shard of generated pictures: read, draw, encode, each while the others go on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generative.ahead import in_order
from generative.device import Autocast
from generative.drawable import MIN_SIDE
from generative.transfer.artist import Artist, Filter, own_artist
from generative.transfer.pose_bank import Pose, PoseBank
from reid.fit import check_size, resize
from reid.models.texture_decoder import to_pixels
from shards.codec import EncodedSample, encode_sample
from shards.meta import Meta
from shards.schema import MAX_KEY_LENGTH, Sample
from shards.table import Table

LOOK_AHEAD = 3
"""Batches that are read before they are drawn, and as many that wait to be encoded."""
NUM_THREADS = 4
"""That read and encode."""
_HASH_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GenerateShard:
    """`make_shard` of a generated set: the pictures `rows[index]` of `data`, each in `per_image` poses."""

    run: Path
    """Of `python -m generative train pose-transfer`."""
    run_hash: str
    """SHA-256 of its checkpoint."""
    data: Table
    rows: tuple[np.ndarray, ...]
    """Numbers of the samples of each shard."""
    bank: PoseBank
    is_own: bool
    """Whether poses come from `data` itself."""
    per_image: int
    size: tuple[int, int] | None
    """Height and width of what is written; None: as the source."""
    batch_size: int
    """Pictures that are drawn together."""
    precision: Autocast
    quality: int
    filter: Filter | None

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        artist = own_artist(self.run, self.run_hash, self.filter, self.precision)
        num = max(1, self.batch_size // self.per_image)
        batches = [self.rows[index][i : i + num].tolist() for i in range(0, len(self.rows[index]), num)]
        num_kept = 0
        threads = {"threads": NUM_THREADS, "ahead": LOOK_AHEAD}
        wanted = in_order(lambda rows: self._read(rows, artist.size), batches, **threads)
        for samples in in_order(self._encode, (draw(artist, one) for one in wanted), **threads):
            num_kept += len(samples)
            yield from samples
        if not num_kept:
            raise ValueError(
                f"no generated picture of {len(self.rows[index])} of {self.data.folder} has a confidence of "
                f"{self.filter.least:g} or more, and a shard must not be empty: lower --min-confidence, or pack the set with more samples "
                "per shard"
            )

    def _read(self, rows: Sequence[int], size: int) -> "Wanted":
        """What to draw of the samples `rows`, for a generator of size x size pictures."""
        sources, pictures = [], []
        for i in rows:
            values = self.data.read(i, ("image", "meta"))
            (shard, key), image = self.data.locate(i), values["image"]
            check_size(image, MIN_SIDE, shard=shard, key=key)
            poses = self.bank.draw(key, self.per_image, own=self.is_own)
            sources.append(Source(key=key, meta=values["meta"], size=self.size or image.shape[:2], poses=tuple(poses)))
            pictures.append(resize(image, (size, size)))
        points = [pose.scaled(size, size) for source in sources for pose in source.poses]
        return Wanted(
            sources=tuple(sources),
            appearance=torch.from_numpy(np.stack(pictures)),
            keypoints=torch.from_numpy(np.stack(points).astype(np.float32)),
        )

    def _encode(self, drawn: "Drawn") -> list[EncodedSample]:
        """The samples to be kept of a batch; waits until it is drawn."""
        pictures = drawn.pictures.cpu().numpy()
        keeps = [True] * len(pictures)
        if drawn.confidences is not None:
            keeps = (drawn.confidences.cpu() >= self.filter.least).tolist()
        return [
            self._sample(source, number, resize(pictures[place], source.size))
            for i, source in enumerate(drawn.sources)
            for number in range(self.per_image)
            if keeps[place := i * self.per_image + number]
        ]

    def _sample(self, source: "Source", number: int, picture: np.ndarray) -> EncodedSample:
        pose, meta = source.poses[number], source.meta
        sample = Sample(
            key=generated_key(source.key, number),
            image=picture,
            meta=Meta(
                origin="generated",
                dataset=meta.dataset,
                identity=meta.identity,
                camera_id=meta.camera_id,
                split=meta.split,
                keypoints=pose.scaled(*source.size),
                generated={"source_key": source.key, "pose_key": pose.key, "model_hash": self.run_hash},
                annotators=None if pose.annotator is None else {"keypoints": pose.annotator},
            ),
        )
        return encode_sample(sample, quality=self.quality)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Somebody to be drawn."""

    key: str
    meta: Meta
    size: tuple[int, int]
    """Height and width of the pictures to be written."""
    poses: tuple[Pose, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wanted:
    """R people in N poses each, to be drawn S x S pixels large."""

    sources: tuple[Source, ...]
    """(R,)."""
    appearance: Tensor
    """(R, S, S, 3) uint8, RGB."""
    keypoints: Tensor
    """(R * N, 17, 3) float32, in pixels; a person's poses lie together."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """What a device has drawn, or has been told to."""

    sources: tuple[Source, ...]
    pictures: Tensor
    """(R * N, S, S, 3) uint8, RGB."""
    confidences: Tensor | None
    """(R * N,) float32, of the filter."""


def draw(artist: Artist, wanted: Wanted) -> Drawn:
    """Tell the device to draw, without waiting for it."""
    skeletons = artist.skeletons(wanted.keypoints)
    pictures = artist.draw(wanted.appearance, skeletons)
    identities = [source.meta.identity for source in wanted.sources for _ in source.poses]
    confidences = artist.confidences(pictures, identities)
    return Drawn(sources=wanted.sources, pictures=to_pixels(pictures), confidences=confidences)


def generated_key(source_key: str, number: int) -> str:
    """Key of the picture of `source_key` in its pose `number`: SOURCE_p0. Where that is too long, the source's key is cut short
    and ends in 12 digits of its SHA-256."""
    end = f"_p{number}"
    if len(source_key) + len(end) > MAX_KEY_LENGTH:
        digits = hashlib.sha256(source_key.encode()).hexdigest()[:_HASH_DIGITS]
        source_key = f"{source_key[: MAX_KEY_LENGTH - len(end) - _HASH_DIGITS - 1]}-{digits}"
    return source_key + end
