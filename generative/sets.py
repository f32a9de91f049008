"""What tells sets apart, where their shards begin, and which samples stand for all."""

import hashlib
from collections.abc import Sequence

import numpy as np

from reid.dataset import Samples
from shards.manifest import Manifest


def shard_rows(manifest: Manifest, index: int) -> range:
    """Numbers, in the set's `Table`, of the samples of shard `index` of a complete set."""
    sizes = [entry.num_samples for entry in manifest.shards]
    return range(sum(sizes[:index]), sum(sizes[: index + 1]))


def spread(count: int, num: int) -> list[int]:
    """Numbers of up to `num` of `count` samples, in order and spread evenly, from the first on; of two or more to the last."""
    return np.linspace(0, count - 1, min(num, count)).astype(int).tolist()


def contents_hash(manifest: Manifest) -> str:
    """SHA-256 of the shards of a complete set, hexadecimal: the same wherever it lies and however it was made."""
    return hashlib.sha256("\n".join(entry.sha256 for entry in manifest.shards).encode()).hexdigest()


def contents_of(sets: Sequence[Samples]) -> str:
    """SHA-256 of what the sets that a run learns from hold, hexadecimal."""
    hashes = [",".join(contents_hash(table.manifest) for table in one.tables) for one in sets]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
