"""What a source of keypoints is, and which of its files goes with which sample."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import simplejpeg

from shards.convert.pack import sample_key
from shards.semantics import KEYPOINTS

NUM_KEYPOINTS = len(KEYPOINTS)
PIXEL_CENTRE = 0.5
"""Added to the coordinates of programs whose pixels have their centres at whole numbers."""
_PACKED = re.compile(r"[0-9]{8}_(.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A sample's picture as it lies in the shard."""

    key: str
    jpeg: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        with self._named():
            height, width, *_ = simplejpeg.decode_jpeg_header(self.jpeg)
        return height, width

    def decode(self) -> np.ndarray:
        """(h, w, 3) uint8, RGB. Raises ValueError, as `size`, for one that is damaged."""
        with self._named():
            return simplejpeg.decode_jpeg(self.jpeg, colorspace="RGB")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"the picture of sample {self.key} does not decode: {error}") from error


class PoseSource(Protocol):
    """Finds one person's keypoints in pictures. Is pickled to worker processes."""

    name: str
    """What `Meta.annotators` calls it."""
    hash: str
    """SHA-256, hexadecimal, of what fixes its answers: files, or a model and its settings."""

    def find(self, pictures: Iterable[Picture]) -> Iterator[np.ndarray | None]:
        """For each picture, in order: (17, 3) float64, x and y in its pixels with centres at +0.5, and v, 2 seen, 1 hidden,
        0 unknown; None where nobody was found. Raises ValueError naming file, entry and rule of what is wrong."""


def match_names(keys: Iterable[str], files: Iterable[str], *, skip_missing: bool, where: str) -> dict[str, str]:
    """Sample's key -> file, by name: a file is called as the sample's key, or as the picture that `shards pack` made the sample of
    (`00000007_0002_c1s1` of 0002_c1s1.jpg). Folders, and all from the first dot of a name on, do not count.

    where: what the files are, for messages. Raises ValueError where two files go with one sample or one file with two, where no
    file goes with any sample, and, unless `skip_missing`, for a sample without a file.
    """
    by_stem, by_packed = defaultdict(list), defaultdict(list)
    for file in sorted(files):
        stem = Path(file).name.partition(".")[0]
        by_stem[stem].append(file)
        by_packed[_PACKED.fullmatch(sample_key(0, f"{stem}."))[1]].append(file)
    found: dict[str, str] = {}
    missing = []
    for key in keys:
        packed = _PACKED.fullmatch(key)
        candidates = by_stem.get(key) or (by_packed.get(packed[1]) if packed else None) or []
        if len(candidates) > 1:
            raise ValueError(f"{where}: {candidates[0]} and {candidates[1]} both go with sample {key}; remove one")
        if candidates:
            found[key] = candidates[0]
        else:
            missing.append(key)
    for file, count in Counter(found.values()).items():
        if count > 1:
            first, second = [key for key in found if found[key] == file][:2]
            raise ValueError(f"{where}: {file} goes with samples {first} and {second}; name it after its sample's key")
    if missing and (not found or not skip_missing):
        raise ValueError(
            f"{where} tells of {len(found):,} samples and not of {len(missing):,}, the first {missing[0]}: a file has the name of "
            "the sample's key or of its picture" + ("; --skip-missing gives the rest no person" if found else "")
        )
    return found


def read_triplets(values: Any, where: str) -> np.ndarray:
    """(17, 3) float64 of a flat list of 51 numbers, pixel centres moved to +0.5. Raises ValueError, naming `where`."""
    is_right = (
        isinstance(values, list)
        and len(values) == 3 * NUM_KEYPOINTS
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )
    if not is_right:
        got = f"a list of {len(values)}" if isinstance(values, list) else type(values).__name__
        raise ValueError(
            f"{where}: keypoints must be a flat list of {3 * NUM_KEYPOINTS} finite numbers, x, y and v of each of COCO's "
            f"{NUM_KEYPOINTS}, got {got}"
        )
    points = np.array(values, np.float64).reshape(NUM_KEYPOINTS, 3)
    points[:, :2] += PIXEL_CENTRE
    return points


def seen_at(points: np.ndarray, threshold: float) -> np.ndarray | None:
    """points (17, 3) with a confidence as the third -> the same with v, 2 where that is above 0 and at least `threshold`, else
    0; None where that leaves no joint."""
    is_seen = (points[:, 2] > 0) & (points[:, 2] >= threshold)
    return np.column_stack([points[:, :2], 2.0 * is_seen]) if is_seen.any() else None


def check_threshold(threshold: float) -> None:
    """Raise ValueError unless it can be compared with a confidence."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in 0..1, got {threshold}")
