"""The sets that style is learned from: pictures, whoever they show."""

from collections.abc import Sequence

import numpy as np
import torch

from generative.sets import contents_hash
from generative.style.config import StyleConfig
from reid.batch import ORIGINS
from reid.dataset import Samples, rows_in_split
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
    count = sum(map(len, rows))

    def of_all(name: str) -> np.ndarray:
        return np.concatenate([getattr(table, name)[r] for table, r in zip(tables, rows, strict=True)])

    return Samples(
        tables=tables,
        table_of=np.repeat(np.arange(len(tables)), [len(r) for r in rows]),
        index_in=np.concatenate(rows),
        keys=np.concatenate(
            [np.char.add(f"{p.rstrip('/')}/", table.keys[r]) for table, r, p in zip(tables, rows, places, strict=True)]
        ),
        classes=np.zeros(count, np.int64),
        origins=np.array([ORIGINS.index(origin) for origin in of_all("origins")]),
        camera_ids=of_all("camera_ids"),
        class_names=("anybody",),
        input=InputConfig(height=config.networks.height, width=config.networks.width),
        labels=frozenset(),
        may_lack_iuv=False,
        uv_layout=None,
        max_bad_samples=config.data.max_bad_samples,
        bad=torch.zeros(count, dtype=torch.bool).share_memory_(),
    )
