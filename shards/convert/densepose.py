"""COCO-DensePose as person crops with part labels: `parts.png`, 14 annotated parts fused to 7.

An annotation's `dp_masks` are 14 masks, run-length encoded, 256 x 256 over its box, in the order of `PARTS_14`; an empty
entry is a part that is not seen. Annotations without them, most of COCO's people, have no labels and are not crops.
Sources: Guler et al. 2018 (DensePose), section 2; Huang et al. 2020 (part awareness), section IV-B, for the seven parts.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import simplejpeg

from shards.codec import encode_jpeg, encode_png
from shards.convert.listing import Entry, Malformed, Picture
from shards.convert.pictures import QUALITY
from shards.semantics import PART_14_TO_7, PARTS_14, merge

MASK_SIZE = 256
"""Rows and columns of a part's mask, over the whole box."""
_FOLDERS = ("", "train2014", "val2014", "train2017", "val2017", "images")


def coco_densepose(root: Path) -> Iterator[Entry]:
    """Crops of all `densepose_coco_*.json` in root or root/annotations; images in root or `train2014` and its like.

    Annotations of a file named train are the train split, the others have none. Raises FileNotFoundError without such a
    file, ValueError where it is not COCO-DensePose's.
    """
    paths = sorted([*root.glob("densepose_coco_*.json"), *root.glob("annotations/densepose_coco_*.json")])
    if not paths:
        raise FileNotFoundError(f"no densepose_coco_*.json in {root} or {root / 'annotations'}")
    for path in paths:
        annotations, images = _load(path)
        split = "train" if "train" in path.stem else None
        for number, annotation in sorted(annotations.items(), key=lambda item: (item[1]["image_id"], item[0])):
            file, image = f"{path.relative_to(root).as_posix()}#{number}", images.get(annotation["image_id"])
            if image is None or _image_path(root, image["file_name"]) is None:
                yield Malformed(file, f"there is no image {image['file_name'] if image else annotation['image_id']}")
            elif (box := crop_box(annotation["bbox"], image["height"], image["width"])) is None:
                yield Malformed(file, f"its box {annotation['bbox']} lies outside the image or is empty")
            else:
                yield Picture(file=file, split=split, box=tuple(map(float, box)))


def read_crop(root: Path, picture: Picture) -> dict[str, bytes]:
    """The crop of one annotation and its parts. Raises ValueError naming the annotation where either does not decode."""
    name, _, number = picture.file.rpartition("#")
    annotations, images = _load(root / name)
    annotation = annotations[int(number)]
    image = images[annotation["image_id"]]
    x, y, width, height = map(int, picture.box)
    try:
        pixels = _decode(_image_path(root, image["file_name"]))
        if pixels.shape[:2] != (image["height"], image["width"]):
            raise ValueError(f"{image['file_name']} is not of the size that the annotations give")
        crop = pixels[y : y + height, x : x + width]
        parts = part_labels(annotation["dp_masks"], annotation["bbox"], (x, y, width, height))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{root / name}, annotation {number}: {error}; mend it or take it out") from error
    return {"image.jpg": encode_jpeg(crop, quality=QUALITY), "parts.png": encode_png(parts)}


def crop_box(box: list[float], height: int, width: int) -> tuple[int, int, int, int] | None:
    """(x, y, w, h): the pixels of an image (height, width) nearest to a box (x, y, w, h); None where there are none."""
    x0, y0 = max(round(box[0]), 0), max(round(box[1]), 0)
    x1, y1 = min(round(box[0] + box[2]), width), min(round(box[1] + box[3]), height)
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def part_labels(masks: list[Any], box: list[float], crop: tuple[int, int, int, int]) -> np.ndarray:
    """Labels of `PARTS_7` for the pixels of a crop.

    masks: 14 run-length encodings of (256, 256), or empty; box: (x, y, w, h) in the image that they span; crop: x, y, w, h
    of the pixels asked for. Each pixel takes the label under its centre; of parts that overlap the later one. Returns
    (h, w) uint8. Raises ValueError for masks of another number or size.
    """
    from pycocotools import mask as run_length  # takes a tenth of a second, which other layouts need not wait

    if len(masks) != len(PARTS_14) - 1:
        raise ValueError(f"dp_masks must be {len(PARTS_14) - 1} masks, got {len(masks)}")
    labels = np.zeros((MASK_SIZE, MASK_SIZE), np.uint8)
    for part, mask in enumerate(masks, start=1):
        if not mask:
            continue
        if list(mask["size"]) != [MASK_SIZE, MASK_SIZE]:
            raise ValueError(f"a mask must be {MASK_SIZE} x {MASK_SIZE}, got {mask['size']}")
        labels[run_length.decode(mask) > 0] = part
    x, y, width, height = crop
    rows = (y + np.arange(height) + 0.5 - box[1]) / box[3] * MASK_SIZE
    columns = (x + np.arange(width) + 0.5 - box[0]) / box[2] * MASK_SIZE
    nearest = np.ix_(*(np.clip(np.floor(i).astype(int), 0, MASK_SIZE - 1) for i in (rows, columns)))
    return merge(labels[nearest], PART_14_TO_7)


@lru_cache(maxsize=2)
def _load(path: Path) -> tuple[dict[int, dict], dict[int, dict]]:
    """Annotations that have part masks, and images, by number; kept, for a worker reads its crops one by one."""
    try:
        values = orjson.loads(path.read_bytes())
        annotations = {one["id"]: one for one in values["annotations"] if one.get("dp_masks")}
        images = {one["id"]: {name: one[name] for name in ("file_name", "height", "width")} for one in values["images"]}
        fields = ("image_id", "bbox", "dp_masks")
        return {number: {name: one[name] for name in fields} for number, one in annotations.items()}, images
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a COCO-DensePose annotation file ({error!r})") from error


def _image_path(root: Path, name: str) -> Path | None:
    return next((path for folder in _FOLDERS if (path := root / folder / name).is_file()), None)


@lru_cache(maxsize=1)
def _decode(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of the image last asked for: people of one image come one after another."""
    return simplejpeg.decode_jpeg(path.read_bytes(), colorspace="RGB")
