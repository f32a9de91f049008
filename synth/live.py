"""Training batches rendered as they are asked for: an endless iterable, no shard and no file in between.

    for batch in LiveBatches(config=LiveConfig(batch_size=64), sources=Sources(backgrounds=ProceduralBackgrounds())):
        ...  # batch.image, batch.texture, batch.iuv, batch.keypoints, batch.aligned, batch.uv_layout

Batch number `step` depends on (config, step) and on nothing else: steps can be taken in any order, by several processes,
and again after an interruption.

Without a pool the samples are those of the PIT set of the same config, in its order and without end, as they were before
compression. With one (`LiveConfig.pool_looks`), which is how a GPU is kept busy, people, places and sensors are drawn
from `synth.pool` and put together anew in every batch, all of it on the device and without waiting for it.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from synth.anatomy import anatomy_of
from synth.compose import Batch, choose_parts, draw_choice
from synth.generate import PitConfig, draw_group
from synth.pool import Pool, draw_pool
from synth.sources import Sources


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveConfig:
    """What fixes the content of live batches."""

    pit: PitConfig = field(default_factory=PitConfig)
    """The set that samples, or the pool's parts, are taken from, its device too; num_samples has no meaning here."""
    batch_size: int = 64
    """Samples of a batch."""
    pool_looks: int = 0
    """Looks on the device at a time, each with pit.samples_per_texture bodies; 0 for no pool."""
    looks_per_batch: int = 16
    """With a pool: different looks in a batch, each as often."""
    steps_per_pool: int = 0
    """With a pool: after so many steps it is replaced by one of the next looks, drawn meanwhile; 0 to keep the first."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.pool_looks < 0 or self.steps_per_pool < 0:
            raise ValueError(
                "needs batch_size >= 1, pool_looks >= 0 and steps_per_pool >= 0, "
                f"got {self.batch_size}, {self.pool_looks} and {self.steps_per_pool}"
            )
        if self.pool_looks and not 1 <= self.looks_per_batch <= self.pool_looks:
            raise ValueError(
                f"looks_per_batch must lie in 1..pool_looks = {self.pool_looks}, got {self.looks_per_batch}"
            )
        if self.pool_looks and self.batch_size % self.looks_per_batch:
            raise ValueError(
                f"batch_size must be a multiple of looks_per_batch, got {self.batch_size} and {self.looks_per_batch}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveBatches:
    """An endless iterable of `Batch`; `batch(step)` gives any one of them."""

    config: LiveConfig
    sources: Sources
    num_workers: int = 0
    """Processes that prepare pools, the next one ahead of its time; 0 prepares each here, when it is needed. The batches
    do not depend on them."""

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Batches first, first + 1 and so on."""
        step = first
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Batch:
        """Batch number `step` >= 0, whatever was drawn before."""
        if step < 0:
            raise ValueError(f"steps count from 0, got {step}")
        if self.config.pool_looks == 0:
            return self._next_of_set(step)
        number = step // self.config.steps_per_pool if self.config.steps_per_pool else 0
        pool, seed = self._pools.get(number), self.config.pit.seed
        choice = choose_parts(pool, seed, step, self.config.batch_size, self.config.looks_per_batch)
        return draw_choice(self.config.pit, pool, choice)

    @functools.cached_property
    def _pools(self) -> "_Pools":
        return _Pools(live=self)

    def _next_of_set(self, step: int) -> Batch:
        pit, size = self.config.pit, self.config.batch_size
        per, first, stop = pit.samples_per_texture, step * size, (step + 1) * size
        numbers = range(first // per, (stop - 1) // per + 1)
        ranges = [range(max(first, k * per), min(stop, (k + 1) * per)) for k in numbers]
        groups = [draw_group(pit, k, indices, self.sources) for k, indices in zip(numbers, ranges, strict=True)]
        counts = [len(indices) for indices in ranges]
        arrays = {
            "image": np.concatenate([group.pictures.images for group in groups]),
            "aligned": np.concatenate([group.aligned for group in groups]),
            "iuv": np.concatenate([group.pictures.iuv for group in groups]),
            "keypoints": np.concatenate([group.pictures.keypoints for group in groups]).astype(np.float32),
            "texture": np.stack([group.look.texture for group in groups]).repeat(counts, 0),
            "look": np.repeat(numbers, counts),
        }
        on_device = {name: torch.from_numpy(array).to(pit.device) for name, array in arrays.items()}
        return Batch(**on_device, uv_layout=anatomy_of(pit.body).body.uv_layout)


class _Pools:
    """The pool in use and, where worker processes draw them, the next one on its way."""

    def __init__(self, live: LiveBatches) -> None:
        self._live = live
        self._drawn: dict[int, Future[Pool]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-pool")
        # With its number: which device of a kind is the current one, is another matter in another thread.
        self._device = torch.empty(0, device=live.config.pit.device).device

    def get(self, number: int) -> Pool:
        live = self._live
        # Only a thread that does nothing but wait for others can stand beside a training loop.
        ahead = [number + 1] if live.config.steps_per_pool and live.num_workers else []
        self._drawn = {one: self._drawn[one] for one in (number, *ahead) if one in self._drawn}
        for one in (number, *ahead):
            if one not in self._drawn:
                self._drawn[one] = self._thread.submit(self._draw, one) if live.num_workers else self._here(one)
        return self._drawn[number].result()

    def _here(self, number: int) -> Future[Pool]:
        drawn: Future[Pool] = Future()
        drawn.set_result(self._draw(number))
        return drawn

    def _draw(self, number: int) -> Pool:
        live, count = self._live, self._live.config.pool_looks
        looks = range(number * count, (number + 1) * count)
        return draw_pool(live.config.pit, live.sources, looks, self._device, num_workers=live.num_workers)
