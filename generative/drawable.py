"""What a picture must be for a network to draw anybody from it."""

import numpy as np

from shards.errors import ShardError

MIN_SIDE = 32
"""Pixels of a picture's shorter side."""
MIN_JOINTS = 8
"""Of the 17, those that must be known for a skeleton to be a pose."""


def check_size(image: np.ndarray, *, shard: str, key: str) -> None:
    """image (H, W, 3). Raises ShardError, naming the sample, for one that is smaller than MIN_SIDE."""
    if min(image.shape[:2]) < MIN_SIDE:
        raise ShardError(
            f"must be at least {MIN_SIDE} pixels high and wide, got {image.shape[0]} x {image.shape[1]}; "
            f"pack the set without such pictures: --min-side {MIN_SIDE}",
            shard=shard,
            key=key,
            field="image",
        )
