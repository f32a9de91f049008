"""What a network draws of a set's people on average: what it says of one of them is worth what it differs from that."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from generative.ahead import batches_of, in_order
from generative.annotators.opened import OpenAnnotator
from generative.rewrite import THREADS, DecodedSample, decode_picture
from generative.sets import spread
from shards.manifest import Manifest
from shards.schema import TEXTURE_SIZE
from shards.stream import read_shard

NUM_SAMPLES, NUM_SHARDS = 128, 8
"""Samples whose textures are averaged, and shards that they are taken from, spread evenly."""
BATCH_SIZE = 16
"""Pictures at once, at most."""


def with_mean_texture(
    annotator: OpenAnnotator, place: str, source: Manifest, *, batch_size: int = BATCH_SIZE
) -> OpenAnnotator:
    """The annotator with the mean of what it draws all over the set at `place`, whose manifest is `source`; as it is where it
    draws no textures. Raises ShardError for a picture that is damaged or too small."""
    if annotator.label != "texture":
        return annotator
    size = annotator.input.height, annotator.input.width

    def decode(raw: tuple[str, str, dict[str, bytes]]) -> DecodedSample:
        return decode_picture(raw[1:], size, shard=raw[0])

    samples = in_order(decode, _spread(place, source), threads=THREADS, ahead=2 * BATCH_SIZE)
    total, count = torch.zeros(TEXTURE_SIZE, TEXTURE_SIZE, 3, device=annotator.device), 0
    for batch in batches_of(samples, min(batch_size, BATCH_SIZE)):
        drawn = annotator.annotate(torch.from_numpy(np.stack([one.picture for one in batch])))
        total += drawn.values.sum(0)
        count += len(batch)
    return replace(annotator, mean_texture=total / count)


def _spread(place: str, source: Manifest) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    """Shard, key and members."""
    indices = spread(source.num_shards, NUM_SHARDS)
    for index in indices:
        entry = source.shards[index]
        rows = set(spread(entry.num_samples, NUM_SAMPLES // len(indices)))
        for row, (key, members) in enumerate(read_shard(place, entry)):
            if row in rows:
                yield f"{place.rstrip('/')}/{entry.name}", key, members
