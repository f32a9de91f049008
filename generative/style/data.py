"""The sets that style is learned from: pictures, whoever they show."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from generative.drawable import MIN_SIDE
from generative.sets import contents_hash
from generative.style.config import StyleConfig
from reid.dataset import Samples, gather_samples, rows_in_split
from reid.fit import InputConfig
from shards.table import Table


def open_looks(config: StyleConfig) -> tuple[Samples, Samples]:
    """The pictures of the source and those of the target, of the split "train", or of no split in sets that have none.

    Raises ValueError where a side has no set, a set stands on both, or one has no samples to learn from; FileNotFoundError;
    ShardError for a set that is not complete.
    """
    if not config.source or not config.target:
        raise ValueError("a look is learned from two sides: name the sets to be restyled under --data, and --target")
    sides = tuple(_open(places, config) for places in (config.source, config.target))
    hashes = [{contents_hash(table.manifest): table for table in side.tables} for side in sides]
    for both in hashes[0].keys() & hashes[1].keys():
        raise ValueError(
            f"the source and the target are two looks, and {hashes[0][both].folder} stands on both sides: leave it out of one"
        )
    return sides


def _open(places: Sequence[str], config: StyleConfig) -> Samples:
    tables = tuple(Table(place) for place in places)
    rows = [rows_in_split(table, np.ones(len(table), bool), p) for table, p in zip(tables, places, strict=True)]
    size = {"height": config.networks.height, "width": config.networks.width}
    input = InputConfig(**size, min_side=MIN_SIDE)
    samples = gather_samples(places, tables, rows, input, config.data.max_bad_samples)
    return replace(samples, classes=np.zeros(len(samples), np.int64), class_names=("anybody",))
