"""The sets that pose transfer is taught with: of people whose identity is known, and of poses, whoever shows them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from generative.drawable import check_size
from generative.poses import ADDED_BY
from reid.batch import ORIGINS
from reid.dataset import DataConfig, Samples, are_known, rows_in_split
from reid.fit import InputConfig
from shards.errors import ShardError
from shards.table import Table


class PosedSamples(Samples):
    """Samples of which every one can be drawn, and drawn after."""

    __slots__ = ()

    def stored(self, index: int) -> dict[str, Any]:
        """As of `Samples`; raises ShardError, too, for a picture that is too small and for keypoints of which none is known."""
        values = super().stored(index)
        check_size(values["image"], key=values["key"])
        keypoints = values["meta"].keypoints
        if keypoints is not None and not any(v > 0 for *_, v in keypoints):
            raise ShardError(
                "none of the 17 is known (v > 0 for none), which leaves no pose to draw; leave the sample out",
                key=values["key"],
                field="keypoints",
            )
        return values


def open_people(places: Sequence[str], config: DataConfig, size: int) -> Samples:
    """The samples of known people, of the split "train", or of no split in sets that have none, with their keypoints.

    The same identity in two sets is the same class. Raises ValueError where there is no set, or one without identities or
    without samples to train on; FileNotFoundError; and ShardError for a set that is not complete, or without keypoints.
    """
    return _open(places, config, size, known=True)


def open_poses(places: Sequence[str], config: DataConfig, size: int) -> Samples:
    """As `open_people`, but samples need no identity: one of nobody known is a class of its own."""
    return _open(places, config, size, known=False)


def _open(places: Sequence[str], config: DataConfig, size: int, *, known: bool) -> Samples:
    if not places:
        raise ValueError("nothing to train on: name at least one set of known people with keypoints under data")
    tables = [Table(place) for place in places]
    rows = [_rows(table, place, known=known) for table, place in zip(tables, places, strict=True)]
    for table, chosen, place in zip(tables, rows, places, strict=True):
        _check_keypoints(table, int(chosen[0]), place)
    keys = np.concatenate(
        [np.char.add(f"{p.rstrip('/')}/", table.keys[r]) for table, r, p in zip(tables, rows, places, strict=True)]
    )
    identities, origins, camera_ids = (
        np.concatenate([getattr(table, name)[r] for table, r in zip(tables, rows, strict=True)])
        for name in ("identities", "origins", "camera_ids")
    )
    class_names, classes = np.unique(np.where(are_known(identities), identities, keys), return_inverse=True)
    return PosedSamples(
        tables=tuple(tables),
        table_of=np.repeat(np.arange(len(tables)), [len(r) for r in rows]),
        index_in=np.concatenate(rows),
        keys=keys,
        classes=classes.astype(np.int64),
        origins=np.array([ORIGINS.index(origin) for origin in origins]),
        camera_ids=camera_ids,
        class_names=tuple(class_names.tolist()),
        input=InputConfig(height=size, width=size),
        labels=frozenset({"keypoints"}),
        may_lack_iuv=False,
        uv_layout=None,
        max_bad_samples=config.max_bad_samples,
        bad=torch.zeros(len(keys), dtype=torch.bool).share_memory_(),
    )


def _rows(table: Table, place: str, *, known: bool) -> np.ndarray:
    """Numbers (n,) int64 of the samples to train on."""
    usable = are_known(table.identities) if known else np.ones(len(table), bool)
    if not usable.any():
        raise ValueError(
            f"{place}: no sample has an identity, and pictures are drawn of known people; name a labelled set, and this one "
            "under poses"
        )
    return rows_in_split(table, usable, place)


def _check_keypoints(table: Table, row: int, place: str) -> None:
    """A sample stands for its set, so that a set without any is refused before the others are read."""
    if table.read(row, ["meta"])["meta"].keypoints is None:
        raise ShardError(
            f"{place} has no keypoints in meta.json, which skeletons are drawn from; add them: {ADDED_BY}",
            key=str(table.keys[row]),
            field="keypoints",
        )
