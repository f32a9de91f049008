"""A shard once more, with what a network makes of its pictures: decode, forward, encode, each while the others go on."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from generative.ahead import batches_of, in_order
from generative.drawable import MIN_SIDE
from reid.fit import check_size, resize
from shards.codec import EncodedSample, decode_fields
from shards.manifest import ShardEntry
from shards.meta import Meta
from shards.remote import is_url
from shards.stream import read_shard

THREADS = 4
"""That decode, and as many that encode."""
BATCHES_AHEAD = 2
"""Decoded, and done, before they are asked for."""

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecodedSample:
    """A sample on its way."""

    key: str
    members: dict[str, bytes]
    """All of them, as they lie in the shard."""
    meta: Meta
    image: np.ndarray
    """(h, w, 3) uint8, RGB, as it is stored."""
    picture: np.ndarray
    """(H, W, 3) uint8, the same as the network is given it."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as it is stored."""
        return self.image.shape[:2]


def decode_picture(raw: tuple[str, dict[str, bytes]], size: tuple[int, int], *, shard: str) -> DecodedSample:
    """A key and its members, the picture resized to size (H, W). Raises ShardError naming shard and key of one that is damaged or
    smaller than MIN_SIDE."""
    key, members = raw
    values = decode_fields(key, members, ["image", "meta"], shard=shard)
    image = values["image"]
    check_size(image, MIN_SIDE, shard=shard, key=key)
    return DecodedSample(key=key, members=members, meta=values["meta"], image=image, picture=resize(image, size))


def rewrite_shard(
    place: str,
    entry: ShardEntry,
    *,
    decode: Callable[[tuple[str, dict[str, bytes]]], DecodedSample],
    forward: Callable[[list[DecodedSample]], list[Made]],
    encode: Callable[[Made], EncodedSample],
    batch_size: int,
    device: torch.device,
) -> Iterator[EncodedSample]:
    """The samples of one shard of the set at `place`, in their order, as `encode` gives them.

    forward: what `encode` is given of each sample of a batch. All three run in threads. Raises what they raise, and as
    `read_shard` does.
    """
    ahead = BATCHES_AHEAD * batch_size
    decoded = in_order(decode, read_shard(place, entry), threads=THREADS, ahead=ahead)
    # A second thread has the next batch on a GPU before the first has fetched what was made of this one.
    num_forward = 2 if device.type == "cuda" else 1
    batches = in_order(forward, batches_of(decoded, batch_size), threads=num_forward, ahead=num_forward)
    made = (one for batch in batches for one in batch)
    return in_order(encode, made, threads=THREADS, ahead=ahead)


def check_other_folder(place: str, out: Path) -> None:
    """Raise ValueError where a set would be written into its own folder."""
    if not is_url(place) and os.path.realpath(place) == os.path.realpath(out):
        raise ValueError(f"a set is not written anew in its own folder, got {out} for both: give another --out")
