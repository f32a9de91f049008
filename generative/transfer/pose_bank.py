"""Poses drawn from a set with keypoints: by a seed and the name of whoever is to take them, so that nothing else decides."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import simplejpeg

from generative.poses import ADDED_BY
from shards.codec import decode_meta
from shards.errors import ShardError
from shards.table import Table

MAX_DRAWS = 1000
"""Samples looked at for the poses of one picture, before the set counts as one without enough of them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pose:
    """How somebody stands."""

    key: str
    """Of the sample that shows it."""
    points: np.ndarray
    """(17, 3) float64: x and y as shares of the picture's width and height, and v as in `Meta`."""
    annotator: Mapping[str, str] | None
    """What `Meta.annotators` says of the keypoints."""

    def scaled(self, height: int, width: int) -> np.ndarray:
        """(17, 3) float64, x and y in pixels of a picture of this size."""
        return self.points * [width, height, 1]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PoseBank:
    """A set to take poses from. Can be sent to worker processes."""

    table: Table
    rows: np.ndarray
    """(N,) int64 numbers of the samples to take them from."""
    seed: int
    min_joints: int
    """Known joints that a pose must have to be drawn."""

    def draw(self, key: str, num: int, *, own: bool) -> list[Pose]:
        """`num` different samples' poses for the picture `key`, a pure function of (seed, key) and the set.

        own: whether that picture is itself in the set, so that its own pose is none. Raises ValueError where too few samples, or
        too few of `MAX_DRAWS`, have enough joints.
        """
        digest = hashlib.sha256(f"{self.seed}/{key}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "little"))
        tried: set[int] = set()
        poses: list[Pose] = []
        while len(poses) < num and len(tried) < min(len(self.rows), MAX_DRAWS):
            i = int(self.rows[rng.integers(len(self.rows))])
            if i in tried:
                continue
            tried.add(i)
            pose = None if own and self.table.keys[i] == key else self._read(i)
            if pose is not None:
                poses.append(pose)
        if len(poses) < num:
            raise ValueError(
                f"sample {key} needs {num} poses with {self.min_joints} known joints or more, and {len(poses)} of {len(tried):,} "
                f"samples of {self.table.folder} have them: take another source of poses, a smaller --min-joints, or add "
                f"keypoints with {ADDED_BY}"
            )
        return poses

    def _read(self, i: int) -> Pose | None:
        """None for a sample without enough joints."""
        shard, key = self.table.locate(i)
        meta = decode_meta(self.table.read_members(i, ("meta.json",))["meta.json"], shard=shard, key=key)
        if meta.keypoints is None or sum(v > 0 for *_, v in meta.keypoints) < self.min_joints:
            return None
        jpeg = self.table.read_members(i, ("image.jpg",))["image.jpg"]
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
        except ValueError as error:
            raise ShardError(f"broken JPEG: {error}", shard=shard, key=key, field="image") from error
        return Pose(
            key=key,
            points=np.array(meta.keypoints) / [width, height, 1],
            annotator=(meta.annotators or {}).get("keypoints"),
        )
