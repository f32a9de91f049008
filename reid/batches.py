"""The batches of a run in their order: identity-labelled ones and rendered pairs, augmented, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

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
    train_set: Samples | None
    """With the labels that the model asks for; None for a run on pairs alone."""
    loader: Loader | None
    """Of `train_set`."""
    pairs: Pairs | None
    """This process's part of the rendered pairs; None for none."""
    uv_layout: str | None = None
    """Of the textures that are learned, where shards tell it."""
    pair_steps: int = 0
    """Steps of an epoch where there are pairs alone."""
    process: int = 0
    num_processes: int = 1

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Of every step of an epoch, which is one pass over the identity-labelled samples: "reid" or "pairs"; as many of
        the latter as come before the next pass would begin. Of pairs alone it is one pass over these."""
        if self.train_set is None:
            return ("pairs",) * self.pair_steps
        num_reid = len(self._first_rows)
        if self.pairs is None:
            return ("reid",) * num_reid
        kinds: list[str] = []
        while num_reid >= 0:
            kinds.append(interleave(self.config.data.pairs_ratio, len(kinds)))
            num_reid -= kinds[-1] == "reid"
        return tuple(kinds[:-1])

    def since(self, epoch: int, step: int = 0) -> Iterator[tuple[int, int, Batch]]:
        """Epoch, step in it, and batch, from there to the end of the run."""
        source = None
        for now in range(epoch, self.config.optimise.epochs):
            first = step if now == epoch else 0
            num_pairs = self.kinds[:first].count("pairs")
            labelled = iter(()) if self.loader is None else self.loader.batches(self._rows(now)[first - num_pairs :])
            if self.pairs is not None and source is None:
                source = self.pairs(now * self.kinds.count("pairs") + num_pairs)
            for number in range(first, len(self.kinds)):
                kind = self.kinds[number]
                stored = next(source if kind == "pairs" else labelled)
                yield now, number, self._augmented(stored, kind, now * len(self.kinds) + number)

    @cached_property
    def _first_rows(self) -> np.ndarray:
        """This process's samples in the steps of the first epoch; every epoch has as many. Made once, for it warns."""
        return self._rows_of(0)

    def _rows(self, epoch: int) -> np.ndarray:
        return self._rows_of(epoch) if epoch else self._first_rows

    def _rows_of(self, epoch: int) -> np.ndarray:
        rows = epoch_batches(self.train_set.classes, self.config.sampler, self.config.seed, epoch)
        return slice_of_process(rows, self.process, self.num_processes)

    def _augmented(self, stored: StoredBatch, kind: str, step: int) -> Batch:
        config = self.config
        size = config.sampler.batch_size
        if len(stored.keys) != size // self.num_processes:
            raise ValueError(
                f"a batch of pairs must have sampler.batch-size / processes = {size // self.num_processes} pictures, the "
                f"source gives {len(stored.keys)}"
            )
        own = None if self.train_set is None else self.train_set.uv_layout
        if stored.uv_layout is not None and own not in (None, stored.uv_layout):
            data = config.data
            raise ValueError(
                f"textures of one uv layout can be learned at a time: {', '.join((*data.real, *data.rendered, *data.generated))} "
                f"have {own}, the pairs ({', '.join(data.pairs) or 'live'}) have {stored.uv_layout}"
            )
        drawn = draw_parameters(config.augment, config.input, size, seed=config.seed, step=step, stage=kind)
        mine = drawn.of_process(self.process, self.num_processes)
        return augment(stored, config.input, mine, mirror_texture=config.augment.mirror_texture)
