"""COCO keypoint files: "images" with id and file_name, "annotations" with image_id, keypoints and num_keypoints.

v is 0 for a joint that is not labelled, 1 for a hidden and 2 for a seen one. Coordinates count from 0 and name a pixel, so half a
pixel is added. pycocotools would read these files too, but neither says what is wrong with one nor keeps from printing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from generative.poses.source import Picture, match_names, read_triplets
from shards.build import file_sha256

NAME = "coco"


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """An image of the file."""

    size: tuple[int, int] | None
    """Height and width, where the file says them."""
    points: np.ndarray | None
    """(17, 3) float64, as `PoseSource.find`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CocoKeypoints:
    """Such a file, matched to samples: a `PoseSource`."""

    path: Path
    images: Mapping[str, Labelled]
    """Sample's key -> what the file says; a sample that is missing shows nobody."""
    hash: str
    name: str = NAME

    def find(self, pictures: Iterable[Picture]) -> Iterator[np.ndarray | None]:
        for picture in pictures:
            image = self.images.get(picture.key)
            if image is not None and image.size is not None and image.size != picture.size:
                raise ValueError(
                    f"{self.path} says {_size(image.size)} of the picture of sample {picture.key}, which is "
                    f"{_size(picture.size)}: keypoints must be of the picture that the set holds"
                )
            yield None if image is None else image.points


def open_coco(path: Path, keys: Iterable[str], *, skip_missing: bool) -> CocoKeypoints:
    """The keypoints of samples `keys` in a file. Of several people in an image the one with the most labelled joints is taken, of
    equals the larger box, then the first; crowds, and people without a labelled joint, do not count.

    Raises FileNotFoundError, and ValueError naming file, entry and rule, or as `match_names`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    images, annotations = _lists(path)
    names, sizes = {}, {}
    for i, image in enumerate(images):
        where = f"{path}, images[{i}]"
        number, name = _field(image, "id", int, where), _field(image, "file_name", str, where)
        if number in names:
            raise ValueError(f"{where}: id must be unique, got {number} again")
        names[number] = name
        if "height" in image and "width" in image:
            sizes[number] = _field(image, "height", int, where), _field(image, "width", int, where)
    best: dict[int, tuple[tuple[float, float], np.ndarray]] = {}
    for i, annotation in enumerate(annotations):
        where = f"{path}, annotations[{i}]"
        number = _field(annotation, "image_id", int, where)
        if number not in names:
            raise ValueError(f'{where}: image_id must be that of one of "images", got {number}')
        found = _person(annotation, where)
        if found is not None and (number not in best or found[0] > best[number][0]):
            best[number] = found
    ids = {name: number for number, name in names.items()}
    if len(ids) < len(names):
        raise ValueError(f"{path}: every image must have a file_name of its own, {len(names) - len(ids)} come again")
    matched = match_names(keys, ids, skip_missing=skip_missing, where=str(path))
    labelled = {
        key: Labelled(size=sizes.get(ids[file]), points=best[ids[file]][1] if ids[file] in best else None)
        for key, file in matched.items()
    }
    return CocoKeypoints(path=path, images=labelled, hash=file_sha256(path))


def _lists(path: Path) -> tuple[list[Any], list[Any]]:
    try:
        values = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    lists = [values.get(name) if isinstance(values, dict) else None for name in ("images", "annotations")]
    if not all(isinstance(one, list) for one in lists):
        raise ValueError(f'{path} must hold an object with the lists "images" and "annotations", as COCO\'s files')
    return lists[0], lists[1]


def _person(annotation: Any, where: str) -> tuple[tuple[float, float], np.ndarray] | None:
    """(labelled joints, area of the box) and keypoints; None for a crowd and for nobody."""
    if annotation.get("iscrowd", 0):
        return None
    points = read_triplets(annotation.get("keypoints"), where)
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise ValueError(f"{where}: v must be 0, 1 or 2, got {sorted(set(points[:, 2].tolist()) - {0, 1, 2})[0]:g}")
    num = int((points[:, 2] > 0).sum())
    if annotation.get("num_keypoints", num) != num:
        raise ValueError(
            f"{where}: num_keypoints must be {num}, the joints with v > 0, got {annotation['num_keypoints']!r}"
        )
    box = annotation.get("bbox") or (0, 0, 0, 0)
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(type(value) in (int, float) for value in box):
        raise ValueError(f"{where}: bbox must be x, y, width and height, got {box!r}")
    return ((num, box[2] * box[3]), points) if num else None


def _field(entry: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(entry, dict) or type(entry.get(name)) is not kind:
        got = entry.get(name) if isinstance(entry, dict) else entry
        raise ValueError(f"{where}: {name} must be {'an int' if kind is int else 'a string'}, got {got!r}")
    return entry[name]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
