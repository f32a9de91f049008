"""Keypoints of a source into a set: the same samples in the same order, byte for byte but for `meta.json`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from generative.poses.source import NUM_KEYPOINTS, Picture, PoseSource
from generative.rewrite import check_other_folder
from generative.sets import contents_hash, shard_rows
from shards.build import build_set
from shards.codec import EncodedSample, decode_meta, encode_meta
from shards.errors import ShardError
from shards.manifest import Manifest
from shards.table import Table

NOBODY = np.zeros((NUM_KEYPOINTS, 3))
"""Keypoints of a picture in which nobody was found."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WritePoses:
    """`make_shard` of a set with keypoints: shard `index` of `table` with those that `source` finds."""

    table: Table
    source: PoseSource
    replace: bool
    """Whether keypoints that are there already are written over."""

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        table, rows = self.table, shard_rows(self.table.manifest, index)
        pictures = (self._picture(i) for i in rows)
        for i, points in zip(rows, self.source.find(pictures), strict=True):
            (shard, key), members = table.locate(i), table.read_members(i)
            meta = decode_meta(members["meta.json"], shard=shard, key=key)
            picture = Picture(key=key, jpeg=members["image.jpg"])
            meta = replace(
                meta,
                keypoints=NOBODY if points is None else within(points, picture.size),
                annotators={
                    **(meta.annotators or {}),
                    "keypoints": {"name": self.source.name, "hash": self.source.hash},
                },
            )
            yield EncodedSample(key=key, members={**members, "meta.json": encode_meta(meta)}, meta=meta)

    def _picture(self, i: int) -> Picture:
        """Raises ShardError for a sample whose keypoints would be written over, before the source looks at it."""
        (shard, key), members = self.table.locate(i), self.table.read_members(i, ("image.jpg", "meta.json"))
        if not self.replace and decode_meta(members["meta.json"], shard=shard, key=key).keypoints is not None:
            raise ShardError(
                "is there already; --replace writes over it, or use the set as it is",
                shard=shard,
                key=key,
                field="meta.keypoints",
            )
        return Picture(key=key, jpeg=members["image.jpg"])


def within(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """points (17, 3) of a picture of (height, width) `size`, with v = 0 where one lies outside, as `Meta.keypoints` wants it."""
    x, y = points[:, 0], points[:, 1]
    is_inside = (x >= 0) & (x <= size[1]) & (y >= 0) & (y <= size[0])
    return np.column_stack([points[:, :2], points[:, 2] * is_inside])


def write_poses(
    table: Table,
    source: PoseSource,
    out: Path,
    *,
    settings: dict[str, Any],
    replace: bool = False,
    num_workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write a set with the keypoints of `source`; running again goes on where an earlier run stopped.

    settings: what of `source` fixes its answers besides its hash, for the manifest. Raises as `build_set` and `source.find` do, and
    ShardError for a sample that has keypoints already, unless `replace`.
    """
    check_other_folder(str(table.folder), out)
    wanted = Manifest(
        name=table.manifest.name,
        num_shards=table.manifest.num_shards,
        config={
            "command": "poses",
            "data": contents_hash(table.manifest),
            "source": {"name": source.name, "hash": source.hash},
            **settings,
            "replace": replace,
        },
        licences=table.manifest.licences,
    )
    make_shard = WritePoses(table=table, source=source, replace=replace)
    return build_set(out, wanted, make_shard, num_workers=num_workers, overwrite=overwrite, progress=progress)


def count_nobody(folder: Path) -> int:
    """Samples of a set whose keypoints are all unknown."""
    table = Table(folder)
    metas = (table.read(i, ("meta",))["meta"] for i in range(len(table)))
    return sum(meta.keypoints is not None and not any(v for *_, v in meta.keypoints) for meta in metas)
