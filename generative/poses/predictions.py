"""Files that OpenPifPaf wrote: NAME.jpg.predictions.json for each picture, a list of the people in it.

An entry has "keypoints", 17 x (x, y, v) in a flat list, "bbox", "score" and "category_id". v is a confidence in 0..1, and 0
where the joint was not found; pixels have their centres at whole numbers. So writes `json_data` of openpifpaf 0.13's
annotations, whose mirror image of x is width - 1 - x.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from generative.poses.source import Picture, check_threshold, match_names, read_triplets, seen_at
from shards.build import file_sha256

SUFFIX = ".predictions.json"
NAME = "openpifpaf"
PERSON = 1
"""`category_id` of people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionFiles:
    """A folder of such files, matched to samples: a `PoseSource`."""

    files: Mapping[str, str]
    """Sample's key -> file; a sample without one shows nobody."""
    threshold: float
    """A joint of less confidence is unknown."""
    hash: str
    name: str = NAME

    def find(self, pictures: Iterable[Picture]) -> Iterator[np.ndarray | None]:
        for picture in pictures:
            file = self.files.get(picture.key)
            yield None if file is None else best_person(Path(file), self.threshold)


def open_predictions(folder: Path, keys: Iterable[str], *, threshold: float, skip_missing: bool) -> PredictionFiles:
    """The predictions below a folder, of samples `keys`. Raises FileNotFoundError, and ValueError as `match_names`."""
    check_threshold(threshold)
    files = sorted(folder.rglob(f"*{SUFFIX}"))
    if not files:
        raise FileNotFoundError(
            f"no *{SUFFIX} in {folder}: write them with `python -m openpifpaf.predict --json-output`"
        )
    matched = match_names(keys, map(str, files), skip_missing=skip_missing, where=str(folder))
    digest = hashlib.sha256(f"threshold {threshold}\n".encode())
    for key in sorted(matched):
        digest.update(f"{key} {file_sha256(Path(matched[key]))}\n".encode())
    return PredictionFiles(files=matched, threshold=threshold, hash=digest.hexdigest())


def best_person(path: Path, threshold: float) -> np.ndarray | None:
    """(17, 3) as `PoseSource.find`, of the person with the highest score, the first of equals; None where there is nobody.

    Raises ValueError naming file, entry and rule.
    """
    people = [_person(entry, f"{path}, entry {i}") for i, entry in enumerate(_entries(path))]
    if not people:
        return None
    points, _ = max(people, key=lambda person: person[1])
    return seen_at(points, threshold)


def _entries(path: Path) -> list[Any]:
    try:
        entries = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} must hold a list of people, got {type(entries).__name__}")
    return entries


def _person(entry: Any, where: str) -> tuple[np.ndarray, float]:
    """Keypoints with confidences, and score."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: must be an object, got {type(entry).__name__}")
    if entry.get("category_id", PERSON) != PERSON:
        raise ValueError(f"{where}: category_id must be {PERSON}, a person, got {entry['category_id']!r}")
    points, score = read_triplets(entry.get("keypoints"), where), entry.get("score")
    if type(score) not in (int, float) or not math.isfinite(score):
        raise ValueError(f"{where}: score must be a finite number, got {score!r}")
    confidences = points[:, 2]
    if confidences.min() < 0 or confidences.max() > 1:
        wrong = int(np.argmax((confidences < 0) | (confidences > 1)))
        raise ValueError(
            f"{where}: every third of the keypoints' numbers is a confidence in 0..1, got {confidences[wrong]:g} for joint {wrong}; "
            'COCO\'s 0, 1 and 2 are read from one file with "images" and "annotations"'
        )
    return points, float(score)
