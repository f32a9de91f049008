"""The batches of a run in their order: identity-labelled ones and rendered pairs, augmented, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from reid.augment import augment, draw_parameters
from reid.batch import Batch, StoredBatch
from reid.config import TrainConfig
from reid.dataset import Samples
from reid.loader import Loader
from reid.pairs import Pairs, interleave
from reid.sampler import epoch_batches, slice_of_process


@dataclass(frozen=True, kw_only=True, eq=False)
class Batches:
    """What one process of a run is given: its slice of every batch. Together they are given the same, however many."""

    config: TrainConfig
    train_set: Samples
    loader: Loader
    """Of `train_set`."""
    pairs: Pairs | None
    """This process's part of the rendered pairs; None for none."""
    process: int = 0
    num_processes: int = 1

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Of every step of an epoch, which is one pass over the identity-labelled samples: "reid" or "pairs"; as many of
        the latter as come before the next pass would begin."""
        num_reid = len(self._first_rows)
        if self.pairs is None:
            return ("reid",) * num_reid
        kinds: list[str] = []
        for step in count():
            kind = interleave(self.config.data.pairs_ratio, step)
            if kind == "reid" and kinds.count("reid") == num_reid:
                return tuple(kinds)
            kinds.append(kind)

    @cached_property
    def _first_rows(self) -> np.ndarray:
        """This process's samples in the steps of the first epoch; every epoch has as many. Made once, for it warns."""
        return self._rows(0)

    def _rows(self, epoch: int) -> np.ndarray:
        rows = epoch_batches(self.train_set.classes, self.config.sampler, self.config.seed, epoch)
        return slice_of_process(rows, self.process, self.num_processes)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[int, Batch]]:
        """Steps of an epoch from number `first` on, and their batches."""
        done = {kind: self.kinds[:first].count(kind) for kind in ("reid", "pairs")}
        rows = self._rows(epoch) if epoch else self._first_rows
        sources = {"reid": self.loader.batches(rows[done["reid"] :])}
        if self.pairs is not None:
            sources["pairs"] = self.pairs(epoch * self.kinds.count("pairs") + done["pairs"])
        for step in range(first, len(self.kinds)):
            kind = self.kinds[step]
            yield step, self._augmented(next(sources[kind]), kind, epoch * len(self.kinds) + step)

    def _augmented(self, stored: StoredBatch, kind: str, step: int) -> Batch:
        config = self.config
        size = config.sampler.batch_size
        if len(stored.keys) != size // self.num_processes:
            raise ValueError(
                f"a batch of pairs must have sampler.batch-size / processes = {size // self.num_processes} pictures, the "
                f"source gives {len(stored.keys)}"
            )
        drawn = draw_parameters(config.augment, config.input, size, seed=config.seed, step=step, stage=kind)
        return augment(stored, config.input, drawn.of_process(self.process, self.num_processes))
