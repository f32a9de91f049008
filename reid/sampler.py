"""Which samples make a batch: P identities x K images, or all shuffled."""

import logging
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)

_STAGE = 1
"""Sets these draws apart from those of other stages with the same seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How batches are put together."""

    batch_size: int = 64
    """Images of a batch, over all processes together, so that learning rates do not depend on the number of GPUs."""
    images_per_identity: int | None = 4
    """K of P x K sampling, with P = batch_size / K; None shuffles all images."""

    def __post_init__(self) -> None:
        per = self.images_per_identity
        if self.batch_size < 1 or (per is not None and (per < 1 or self.batch_size % per)):
            raise ValueError(
                "batch_size must be >= 1 and a multiple of images_per_identity, "
                f"got batch_size {self.batch_size} and images_per_identity {per}"
            )


def epoch_batches(classes: np.ndarray, config: SamplerConfig, seed: int, epoch: int) -> np.ndarray:
    """Samples of every batch of an epoch, a pure function of its arguments.

    classes (N,) int64 of the samples. Returns (steps, batch_size) int64 indices into it; every sample comes at least once.
    With P x K no identity comes twice in a batch: each one's images are shuffled and dealt into groups of K, the last
    filled up with others of them, and the steps are as few as hold all groups, P different identities in each. Identities
    are drawn with a probability in proportion to the groups that they have left; those that could otherwise not be placed
    any more come first, and when fewer than P have any left, others drawn at random fill the batch.

    Raises ValueError for fewer identities than P, or fewer samples than a batch.
    """
    rng = np.random.default_rng((_STAGE, seed, epoch))
    if config.images_per_identity is None:
        if len(classes) < config.batch_size:
            raise ValueError(f"a batch of {config.batch_size} needs as many samples, got {len(classes)}")
        steps = -(-len(classes) // config.batch_size)
        return np.resize(rng.permutation(len(classes)), (steps, config.batch_size))
    return _identity_batches(classes, config.batch_size, config.images_per_identity, epoch, rng)


def _identity_batches(
    classes: np.ndarray, batch_size: int, per_identity: int, epoch: int, rng: np.random.Generator
) -> np.ndarray:
    _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    num_identities = batch_size // per_identity
    if len(counts) < num_identities:
        raise ValueError(
            f"a batch of {batch_size} with {per_identity} images of each identity needs {num_identities} identities, "
            f"the sets have {len(counts)}: use a smaller batch_size"
        )
    if epoch == 0 and (num_short := int((counts < per_identity).sum())):
        logger.warning(
            "%d of %d identities have fewer than %d images: theirs come several times in a batch",
            num_short,
            len(counts),
            per_identity,
        )
    order = rng.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]  # each identity's images in a row, shuffled
    starts = np.cumsum(counts) - counts
    num_groups = -(-counts // per_identity)
    chosen, left = _schedule(num_groups, num_identities, rng)
    # Of an identity whose groups have all come, any image begins a group more.
    first = np.where(left > 0, (num_groups[chosen] - left) * per_identity, rng.integers(0, counts[chosen]))
    places = (first[..., None] + np.arange(per_identity)) % counts[chosen][..., None]
    return order[starts[chosen][..., None] + places].reshape(len(chosen), batch_size)


def _schedule(num_groups: np.ndarray, num_identities: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """num_groups (C,) of each identity -> those of every step (steps, P), and how many groups each had left then."""
    left = num_groups.copy()
    steps = max(-(-int(left.sum()) // num_identities), int(left.max()))
    chosen = np.empty((steps, num_identities), np.int64)
    left_then = np.empty_like(chosen)
    for step in range(steps):
        # The smallest of exponential variables of these rates are a draw without replacement in proportion to the rates
        # (Efraimidis and Spirakis 2006); identities without groups come after all others.
        wait = rng.exponential(size=len(left))
        urgency = np.where(left > 0, wait / np.maximum(left, 1), 1e9 + wait)
        urgency[left >= steps - step] = -1.0
        chosen[step] = rng.permutation(np.argpartition(urgency, num_identities - 1)[:num_identities])
        left_then[step] = left[chosen[step]]
        left[chosen[step]] = np.maximum(left_then[step] - 1, 0)
    return chosen, left_then


def slice_of_process(rows: np.ndarray, rank: int, num_processes: int) -> np.ndarray:
    """The columns of rows (steps, batch_size) that process `rank` trains on. Raises ValueError where they do not divide."""
    size = share_of_process(rows.shape[1], num_processes)
    return rows[:, rank * size : (rank + 1) * size]


def share_of_process(batch_size: int, num_processes: int) -> int:
    """Samples of a batch that each process trains on. Raises ValueError where they do not divide."""
    if batch_size % num_processes:
        raise ValueError(f"batch_size must be a multiple of the {num_processes} processes, got {batch_size}")
    return batch_size // num_processes
