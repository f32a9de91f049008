"""Batches of two looks: pictures of the source and pictures of the target, drawn apart from each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from generative.style.config import StyleConfig
from reid.batch import StoredBatch
from reid.dataset import Samples
from reid.loader import Loader
from reid.sampler import slice_of_process

_STAGE = 8
"""Sets these draws apart from those of other stages with the same seed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StyleBatch:
    """Pictures that have nothing to do with each other but their number. All on the device."""

    source: Tensor
    """(B, 3, H, W) float32 in -1..1: x."""
    target: Tensor
    """(B, 3, H, W) float32 in -1..1: y."""
    keys: tuple[str, ...]
    """(2 B,) of x and of y, for messages."""


def draw_order(num_samples: int, steps: int, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """(steps, batch_size) int64: all samples in random order, and over again in another where the steps need more."""
    num_passes = -(-steps * batch_size // num_samples)
    order = np.concatenate([rng.permutation(num_samples) for _ in range(num_passes)])
    return order[: steps * batch_size].reshape(steps, batch_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class StyleBatches:
    """What one process of a run is given: its slice of every batch. Together they are given the same, however many."""

    config: StyleConfig
    sides: Sequence[Samples]
    """Source and target."""
    loaders: Sequence[Loader]
    """Of both."""
    process: int = 0
    num_processes: int = 1

    @cached_property
    def num_steps(self) -> int:
        """Of an epoch, in which every picture of the larger side comes."""
        return -(-max(map(len, self.sides)) // self.config.optimise.batch_size)

    def since(self, epoch: int, step: int = 0) -> Iterator[tuple[int, int, StyleBatch]]:
        """Epoch, step in it, and batch, from there to the end of the run."""
        for now in range(epoch, self.config.optimise.epochs):
            first = step if now == epoch else 0
            for number, batch in enumerate(self._batches(now, slice(first, None)), start=first):
                yield now, number, batch

    def first(self) -> StyleBatch:
        """That of step 0, on this process."""
        return next(self._batches(0, slice(1)))

    def _batches(self, epoch: int, steps: slice) -> Iterator[StyleBatch]:
        halves = (self._half(which, epoch, steps) for which in range(len(self.sides)))
        for (source, source_keys), (target, target_keys) in zip(*halves, strict=True):
            yield StyleBatch(source=source, target=target, keys=source_keys + target_keys)

    def _half(self, which: int, epoch: int, steps: slice) -> Iterator[tuple[Tensor, tuple[str, ...]]]:
        rng = np.random.default_rng((_STAGE, which, self.config.seed, epoch))
        order = draw_order(len(self.sides[which]), self.num_steps, self.config.optimise.batch_size, rng)
        flips = rng.random(order.shape) < self.config.data.flip
        order, flips = (slice_of_process(part[steps], self.process, self.num_processes) for part in (order, flips))
        for stored, flip in zip(self.loaders[which].batches(order), flips, strict=True):
            yield as_pictures(stored, torch.from_numpy(flip)), stored.keys


def as_pictures(stored: StoredBatch, flip: Tensor) -> Tensor:
    """(B, 3, H, W) float32 in -1..1, mirrored where flip (B,) bool, on the CPU, says so."""
    images = stored.images.permute(0, 3, 1, 2).float() / 127.5 - 1
    flip = flip.pin_memory().to(images.device, non_blocking=True) if images.is_cuda else flip
    return torch.where(flip[:, None, None, None], images.flip(3), images)
