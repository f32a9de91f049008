"""Pairs to score a run of pose transfer on: a picture of somebody, and another of the same person, whose pose is to be drawn."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from generative.drawable import MIN_JOINTS, MIN_SIDE
from generative.poses import ADDED_BY
from generative.transfer.pairs import draw_pairs
from reid.config import Precision
from reid.dataset import are_known
from reid.fit import check_size, resize, resize_labels
from shards.errors import ShardError
from shards.semantics import person_mask
from shards.table import Table

_STAGE = 10
"""Sets these draws apart from those of other stages with the same seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """Which pairs are scored."""

    num_pairs: int | None = None
    """Pairs, drawn at random; None: one for each picture that can be a target. Distances between distributions need
    thousands."""
    seed: int = 0
    """Of the pairs that are drawn."""
    min_joints: int = MIN_JOINTS
    """Of the 17 joints, those that a target must know, as of `augment`; other pictures are no targets."""
    batch_size: int = 32
    """Pictures drawn at a time."""
    precision: Precision = "auto"
    """Mixed precision of the generator, as of `augment`."""

    def __post_init__(self) -> None:
        if self.num_pairs is not None and self.num_pairs < 2:
            raise ValueError(f"distances between sets of pictures need num_pairs >= 2, got {self.num_pairs}")
        if self.batch_size < 1 or self.seed < 0:
            raise ValueError(f"needs batch_size >= 1 and seed >= 0, got {self.batch_size} and {self.seed}")
        if not 1 <= self.min_joints <= 17:
            raise ValueError(f"min_joints must lie in 1..17, got {self.min_joints}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoredPair:
    """What the generator is given, and the truth."""

    source_key: str
    target_key: str
    appearance: np.ndarray
    """(S, S, 3) uint8."""
    keypoints: np.ndarray
    """(17, 3) float32, in pixels of S x S."""
    source: np.ndarray
    """(H, W, 3) uint8, of the size that is compared, as `target`."""
    target: np.ndarray
    mask: np.ndarray | None
    """(H, W) bool: where the person is in the true picture, where that is known."""


def known_rows(table: Table) -> np.ndarray:
    """Numbers (M,) int64 of the pictures of known people: of query and gallery, or of all in a set that has neither.

    Raises ValueError where there are none.
    """
    known, held_out = are_known(table.identities), np.isin(table.splits, ("query", "gallery"))
    rows = np.flatnonzero(known & held_out if held_out.any() else known)
    if not len(rows):
        raise ValueError(f"{table.folder}: no sample has an identity, and pairs are of one person; name a labelled set")
    return rows


def choose_pairs(
    classes: np.ndarray, is_posed: np.ndarray, config: ScoreConfig, place: str
) -> tuple[np.ndarray, np.ndarray]:
    """Targets in ascending order, and another picture of the person of each, both (N,) int64.

    classes (M,) int64, of the pictures; is_posed (M,) bool, whether they may be targets. Raises ValueError for fewer than two.
    """
    rng = np.random.default_rng((_STAGE, config.seed))
    pairs = draw_pairs(classes, 1, len(classes), 0.0, rng)
    targets, sources = pairs.targets[0], pairs.appearances[0]
    usable = is_posed[targets] & (targets != sources)
    targets, sources = targets[usable][: config.num_pairs], sources[usable][: config.num_pairs]
    if len(targets) < 2:
        raise ValueError(
            f"{place} gives {len(targets)} pairs, and scores need 2: people must have two pictures or more, with "
            f"{config.min_joints} known joints or more"
        )
    order = np.argsort(targets)
    return targets[order], sources[order]


def num_targets(classes: np.ndarray, is_posed: np.ndarray) -> int:
    """Pictures that can be targets: posed, and not the only one of their person."""
    _, person, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return int((is_posed & (counts[person] > 1)).sum())


def read_real(table: Table, i: int, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Picture `i`, resized to (H, W, 3) uint8, and how many of its joints are known. Raises ShardError for one without keypoints,
    or smaller than MIN_SIDE."""
    values, (shard, key) = table.read(i, ("image", "meta")), table.locate(i)
    if values["meta"].keypoints is None:
        raise ShardError(
            f"{table.folder} has no keypoints in meta.json, which say in which pose to draw; add them: {ADDED_BY}",
            shard=shard,
            key=key,
            field="keypoints",
        )
    check_size(values["image"], MIN_SIDE, shard=shard, key=key)
    return resize(values["image"], size), sum(v > 0 for *_, v in values["meta"].keypoints)


def read_pair(table: Table, target: int, source: int, side: int, size: tuple[int, int]) -> ScoredPair:
    """A pair, by its numbers in the table; side: of the pictures that the generator is given. Raises ShardError where nobody is
    in the true picture."""
    truth = table.read(target, ("image", "meta", "iuv", "parts"))
    given = table.read(source, ("image",))
    height, width = truth["image"].shape[:2]
    points = np.array(truth["meta"].keypoints) * [side / width, side / height, 1]
    return ScoredPair(
        source_key=given["key"],
        target_key=truth["key"],
        appearance=resize(given["image"], (side, side)),
        keypoints=points.astype(np.float32),
        source=resize(given["image"], size),
        target=resize(truth["image"], size),
        mask=_mask(truth, size, shard=table.locate(target)[0]),
    )


def _mask(values: dict[str, Any], size: tuple[int, int], *, shard: str) -> np.ndarray | None:
    """(H, W) bool, of iuv or of parts; None for a sample that has neither."""
    field = "iuv" if values["iuv"] is not None else "parts"
    if values[field] is None:
        return None
    labels = resize_labels(values[field], size)
    mask = person_mask(labels) if field == "iuv" else labels > 0
    if not mask.any():
        raise ShardError(
            "shows nobody, so there is no person to be compared: annotate the set anew with an annotator that sees the person, or "
            "score on a set without this sample",
            shard=shard,
            key=values["key"],
            field=field,
        )
    return mask
