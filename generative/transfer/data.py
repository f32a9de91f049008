"""The sets that pose transfer is taught with: of people whose identity is known, and of poses, whoever shows them."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from generative.drawable import MIN_JOINTS, MIN_SIDE
from generative.poses import ADDED_BY
from reid.dataset import DataConfig, Samples, are_known, are_nobody, gather_samples, rows_in_split
from reid.fit import InputConfig
from shards.errors import ShardError
from shards.table import Table

logger = logging.getLogger(__name__)


def open_people(places: Sequence[str], config: DataConfig, size: int) -> Samples:
    """The samples of known people, of the split "train", or of no split in sets that have none, with their keypoints.

    The same identity in two sets is the same class. Raises ValueError where there is no set, or one without identities or
    without samples to train on; FileNotFoundError; and ShardError for a set that is not complete, or without keypoints.
    """
    return _open(places, config, size, known=True)


def open_poses(places: Sequence[str], config: DataConfig, size: int) -> Samples:
    """As `open_people`, but samples need no identity: one of nobody known is a class of its own. Junk and distractors are left out."""
    return _open(places, config, size, known=False)


def _open(places: Sequence[str], config: DataConfig, size: int, *, known: bool) -> Samples:
    if not places:
        raise ValueError("nothing to train on: name at least one set of known people with keypoints under data")
    tables = [Table(place) for place in places]
    rows = [_rows(table, place, known=known) for table, place in zip(tables, places, strict=True)]
    input = InputConfig(height=size, width=size, min_side=MIN_SIDE)
    samples = gather_samples(places, tables, rows, input, config.max_bad_samples)
    identities = np.array(samples.class_names)[samples.classes]
    class_names, classes = np.unique(np.where(are_known(identities), identities, samples.keys), return_inverse=True)
    return replace(
        samples,
        labels=frozenset({"keypoints"}),
        classes=classes.astype(np.int64),
        class_names=tuple(class_names.tolist()),
    )


def _rows(table: Table, place: str, *, known: bool) -> np.ndarray:
    """Numbers (n,) int64 of the samples to train on."""
    if not known:
        return _posed(table, rows_to_take_poses_from(table, place), place)
    usable = are_known(table.identities)
    if not usable.any():
        raise ValueError(
            f"{place}: no sample has an identity, and pictures are drawn of known people; name a labelled set, and this one "
            "under poses"
        )
    return _posed(table, rows_in_split(table, usable, place), place)


def rows_to_take_poses_from(table: Table, place: str) -> np.ndarray:
    """Numbers (n,) int64 of the samples of the split "train", or of no split in a set that has none, but junk and distractors,
    in which an annotator may find anything. Raises ValueError where there are none."""
    return rows_in_split(table, ~are_nobody(table.identities), place)


def _posed(table: Table, rows: np.ndarray, place: str) -> np.ndarray:
    """Those of the samples that have a pose: of others, as annotators find nobody in some pictures, the skeleton would be black."""
    known = []
    for row in rows.tolist():
        sample = table.read(row, ["meta"])
        if sample["meta"].keypoints is None:
            raise ShardError(
                f"{place} has no keypoints in meta.json, which skeletons are drawn from; add them: {ADDED_BY}",
                shard=table.locate(row)[0],
                key=sample["key"],
                field="keypoints",
            )
        known.append(sum(v > 0 for *_, v in sample["meta"].keypoints))
    posed = rows[np.array(known) >= MIN_JOINTS]
    if not len(posed):
        raise ValueError(f"{place}: no sample has {MIN_JOINTS} of the 17 keypoints (v > 0), which a pose needs")
    if len(posed) < len(rows):
        logger.warning(
            "%s: %s of %s samples are left out: fewer than %d keypoints are known",
            place,
            f"{len(rows) - len(posed):,}",
            f"{len(rows):,}",
            MIN_JOINTS,
        )
    return posed
