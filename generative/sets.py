"""What passes that make one shard of each shard of a set need to know of it."""

import hashlib

from shards.manifest import Manifest


def shard_rows(manifest: Manifest, index: int) -> range:
    """Numbers, in the set's `Table`, of the samples of shard `index` of a complete set."""
    sizes = [entry.num_samples for entry in manifest.shards]
    return range(sum(sizes[:index]), sum(sizes[: index + 1]))


def contents_hash(manifest: Manifest) -> str:
    """SHA-256 of the shards of a complete set, hexadecimal: the same wherever it lies and however it was made."""
    return hashlib.sha256("\n".join(entry.sha256 for entry in manifest.shards).encode()).hexdigest()
