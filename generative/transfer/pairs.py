"""Batches of pairs: the picture of somebody, another of the same person, and the second one's skeleton."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from generative.transfer.config import TransferConfig
from generative.transfer.skeleton import draw_skeletons
from reid.augment import move_keypoints
from reid.batch import StoredBatch
from reid.dataset import Samples
from reid.fit import InputConfig
from reid.loader import Loader
from reid.sampler import slice_of_process

_STAGE = 7
"""Sets these draws apart from those of other stages with the same seed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Which samples meet in the steps of an epoch, and how."""

    targets: np.ndarray
    """(steps, B) int64: samples whose picture is to be drawn."""
    appearances: np.ndarray
    """(steps, B) int64: another sample of the same person, or where there is none, the target itself."""
    flips: np.ndarray
    """(steps, B) bool: whether both pictures are mirrored."""

    def of_process(self, rank: int, num_processes: int, first: int = 0) -> "Pairs":
        """The part of process `rank`, from step `first` on. Raises ValueError where batches cannot be divided so."""
        parts = (self.targets, self.appearances, self.flips)
        return Pairs(
            **{
                name: slice_of_process(part[first:], rank, num_processes)
                for name, part in zip(self.__dataclass_fields__, parts, strict=True)
            }
        )


def draw_pairs(classes: np.ndarray, steps: int, batch_size: int, flip: float, rng: np.random.Generator) -> Pairs:
    """Pairs for every step. classes (N,) int64 of the samples.

    Targets are all samples in random order, over again where the steps need more; a target's appearance is any other
    sample of its class, whatever camera saw it.
    """
    targets = np.resize(rng.permutation(len(classes)), (steps, batch_size))
    _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    order = np.argsort(classes, kind="stable")
    starts = np.cumsum(counts) - counts
    places = np.empty_like(order)  # of each sample among those of its class
    places[order] = np.arange(len(order)) - starts[classes[order]]
    own = classes[targets]
    others = counts[own] - 1
    ahead = np.where(others > 0, 1 + (rng.random(targets.shape) * others).astype(np.int64), 0)
    appearances = order[starts[own] + (places[targets] + ahead) % counts[own]]
    return Pairs(targets=targets, appearances=appearances, flips=rng.random(targets.shape) < flip)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransferBatch:
    """Triplets of eq. 1: known people first, those of the source of poses after them. All on the device."""

    appearance: Tensor
    """(B, 3, S, S) float32 in -1..1: x."""
    skeleton: Tensor
    """(B, 3, S, S) float32 in -1..1: s."""
    target: Tensor
    """(B, 3, S, S) float32 in -1..1: y, who is x in the pose s."""
    identities: Tensor
    """(L,) int64, classes of the known people, who are the first L <= B of the batch."""
    keys: tuple[str, ...]
    """(B,) of the targets, for messages."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairBatches:
    """What one process of a run is given: its slice of every batch. Together they are given the same, however many."""

    config: TransferConfig
    sets: Sequence[Samples]
    """The known people, and where there is one the source of poses."""
    loaders: Sequence[Loader]
    """Of `sets`."""
    process: int = 0
    num_processes: int = 1

    @cached_property
    def num_steps(self) -> int:
        """Of an epoch, in which every picture of a known person is drawn."""
        return -(-len(self.sets[0]) // self.config.optimise.batch_size)

    def since(self, epoch: int, step: int = 0) -> Iterator[tuple[int, int, TransferBatch]]:
        """Epoch, step in it, and batch, from there to the end of the run."""
        for now in range(epoch, self.config.optimise.epochs):
            first = step if now == epoch else 0
            parts = [self._batches(which, self._pairs(which, now, first)) for which in range(len(self.sets))]
            for number, batches in enumerate(zip(*parts, strict=True), start=first):
                yield now, number, _joined(batches)

    def first(self) -> TransferBatch:
        """That of step 0, on this process."""
        pairs = [self._pairs(which, 0, 0) for which in range(len(self.sets))]
        heads = [Pairs(targets=p.targets[:1], appearances=p.appearances[:1], flips=p.flips[:1]) for p in pairs]
        return _joined([next(iter(self._batches(which, head))) for which, head in enumerate(heads)])

    def _pairs(self, which: int, epoch: int, first: int) -> Pairs:
        rng = np.random.default_rng((_STAGE, which, self.config.seed, epoch))
        size, flip = self.config.optimise.batch_size, self.config.data.flip
        pairs = draw_pairs(self.sets[which].classes, self.num_steps, size, flip, rng)
        return pairs.of_process(self.process, self.num_processes, first)

    def _batches(self, which: int, pairs: Pairs) -> Iterator[TransferBatch]:
        rows = np.concatenate([pairs.targets, pairs.appearances], axis=1)
        is_same = pairs.targets == pairs.appearances
        for stored, flip, same in zip(self.loaders[which].batches(rows), pairs.flips, is_same, strict=True):
            yield make_triplets(stored, torch.from_numpy(flip), torch.from_numpy(same))


def make_triplets(stored: StoredBatch, flip: Tensor, is_same: Tensor) -> TransferBatch:
    """Targets and then their appearances, square and with keypoints, as triplets.

    flip (B,) bool: what is mirrored; is_same (B,) bool: pairs of a picture with itself, of which the appearance alone is
    mirrored: else a generator would learn to copy, and somebody in the mirrored pose is a pair as good as one from elsewhere
    but for clothes that differ left and right. Both lie on the CPU.
    """
    device, count, size = stored.images.device, len(flip), stored.images.shape[1]
    both = torch.cat([flip, flip ^ is_same])
    flip, both = (
        each.pin_memory().to(device, non_blocking=True) if stored.images.is_cuda else each for each in (flip, both)
    )
    images = stored.images.permute(0, 3, 1, 2).float() / 127.5 - 1
    images = torch.where(both[:, None, None, None], images.flip(3), images)
    keypoints = move_keypoints(
        stored.labels["keypoints"][:count],
        None,
        torch.zeros((count, 2), dtype=torch.int64, device=device),
        flip,
        InputConfig(height=size, width=size),
    )
    return TransferBatch(
        appearance=images[count:],
        skeleton=draw_skeletons(keypoints, (size, size), size).float() / 127.5 - 1,
        target=images[:count],
        identities=stored.identities[:count],
        keys=stored.keys[:count],
    )


def _joined(batches: Sequence[TransferBatch]) -> TransferBatch:
    """One batch of all, with the identities of the first."""
    if len(batches) == 1:
        return batches[0]
    return TransferBatch(
        **{name: torch.cat([getattr(one, name) for one in batches]) for name in ("appearance", "skeleton", "target")},
        identities=batches[0].identities,
        keys=tuple(key for one in batches for key in one.keys),
    )
