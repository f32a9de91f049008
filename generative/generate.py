"""One shard of generated pictures: read, draw, encode, each while the others go on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generative.ahead import in_order
from generative.pose_bank import Pose, PoseBank
from generative.rewrite import MIN_SIDE, own_device
from generative.skeleton import draw_skeletons
from generative.transfer.guider import load_guider
from generative.transfer.run import TransferRun, load_transfer
from reid.checkpoint import which_checkpoint
from reid.fit import resize
from shards.build import file_sha256
from shards.codec import EncodedSample, encode_sample
from shards.errors import ShardError
from shards.meta import Meta
from shards.schema import Sample
from shards.table import Table

LOOK_AHEAD = 3
"""Batches that are read before they are drawn, and as many that wait to be encoded."""
NUM_THREADS = 4
"""That read and encode."""
MAX_KEY = 80
_HASH_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A network that tells the people apart, to leave out pictures in which it does not see them."""

    folder: Path
    """Run of `python -m reid train`."""
    hash: str
    """SHA-256 of its checkpoint."""
    people: tuple[str, ...]
    """Identities that it is asked about, all among its classes."""
    least: float
    """Probability of the right one for a picture to be kept."""


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
    in_bf16: bool
    quality: int
    filter: Filter | None

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        artist = Artist.load(self)
        num = max(1, self.batch_size // self.per_image)
        batches = [self.rows[index][i : i + num].tolist() for i in range(0, len(self.rows[index]), num)]
        num_kept = 0
        threads = {"threads": NUM_THREADS, "ahead": LOOK_AHEAD}
        wanted = in_order(lambda rows: self._read(rows, artist.size), batches, **threads)
        for samples in in_order(self._encode, map(artist.draw, wanted), **threads):
            num_kept += len(samples)
            yield from samples
        if not num_kept:
            raise ValueError(
                f"no generated picture of {len(self.rows[index])} of {self.data.folder} has a confidence of "
                f"{self.filter.least:g} or more: lower --min-confidence"
            )

    def _read(self, rows: Sequence[int], size: int) -> "Wanted":
        """What to draw of the samples `rows`, for a generator of size x size pictures."""
        sources, pictures = [], []
        for i in rows:
            values = self.data.read(i, ("image", "meta"))
            key, image = values["key"], values["image"]
            if min(image.shape[:2]) < MIN_SIDE:
                raise ShardError(
                    f"must be at least {MIN_SIDE} pixels high and wide, got {image.shape[0]} x {image.shape[1]}; leave it out",
                    key=key,
                    field="image",
                )
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


class Artist:
    """The networks, on this process's device."""

    def __init__(self, run: TransferRun, filter: Filter | None, device: torch.device, *, in_bf16: bool):
        self.size = run.config.networks.size
        """Height and width of the pictures that it is given and draws."""
        self._generator = run.generator.to(device, memory_format=torch.channels_last)
        self._device, self._in_bf16 = device, in_bf16
        if device.type == "cuda":
            torch.cuda.set_device(device)  # page-locked memory is that of the current one
            torch.backends.cudnn.deterministic = True  # or the last bits may be others each time
        self._guider = None if filter is None else load_guider(filter.folder, "ce", filter.people).to(device)
        self._classes = {} if filter is None else {name: i for i, name in enumerate(filter.people)}

    @classmethod
    def load(cls, plan: GenerateShard) -> "Artist":
        """Raises ValueError where a checkpoint has become another since the set was begun."""
        run = load_transfer(plan.run)
        hashes = [(plan.run, run.hash, plan.run_hash)]
        if plan.filter is not None:
            folder = plan.filter.folder
            hashes.append((folder, file_sha256(which_checkpoint(folder)), plan.filter.hash))
        for folder, found, wanted in hashes:
            if found != wanted:
                raise ValueError(f"the checkpoint in {folder} has changed while it was in use: run the command anew")
        return cls(run, plan.filter, own_device(), in_bf16=plan.in_bf16)

    @torch.inference_mode()
    def draw(self, wanted: Wanted) -> Drawn:
        """Tell the device to draw, without waiting for it."""
        appearance = self._to_device(wanted.appearance).permute(0, 3, 1, 2).float() / 127.5 - 1
        per_image = len(wanted.keypoints) // len(wanted.sources)
        keypoints = self._to_device(wanted.keypoints)
        skeletons = draw_skeletons(keypoints, (self.size, self.size), self.size).float() / 127.5 - 1
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bf16):
            pictures = self._generator(appearance.repeat_interleave(per_image, 0), skeletons).float()
        confidences = None if self._guider is None else self._confidences(pictures, wanted.sources, per_image)
        pictures = ((pictures + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        return Drawn(sources=wanted.sources, pictures=pictures, confidences=confidences)

    def _confidences(self, pictures: Tensor, sources: Sequence[Source], per_image: int) -> Tensor:
        """(B,) float32: the probability of the right identity, the mean over the network's classifiers."""
        people = torch.tensor([self._classes[source.meta.identity] for source in sources])
        classes = self._guider.classes[self._to_device(people)].repeat_interleave(per_image)
        chances = torch.stack([logits.softmax(1) for logits in self._guider.logits(pictures)]).mean(0)
        return chances.gather(1, classes[:, None])[:, 0]

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Without waiting for the device: from page-locked memory."""
        if self._device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def generated_key(source_key: str, number: int) -> str:
    """Key of the picture of `source_key` in its pose `number`: SOURCE_p0. Where that is too long, the source's key is cut short
    and ends in 12 digits of its SHA-256."""
    end = f"_p{number}"
    if len(source_key) + len(end) > MAX_KEY:
        digits = hashlib.sha256(source_key.encode()).hexdigest()[:_HASH_DIGITS]
        source_key = f"{source_key[: MAX_KEY - len(end) - _HASH_DIGITS - 1]}-{digits}"
    return source_key + end
