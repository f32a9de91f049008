"""Part labels of COCO-DensePose against a plain reading of the annotation, and crops against the images."""

import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from tiny_folders import DENSEPOSE_BOX, coco_densepose, densepose_masks

from shards.codec import decode_member
from shards.convert.densepose import crop_box, part_labels, read_crop
from shards.convert.layouts import list_pictures
from shards.semantics import PARTS_7, PARTS_14


def slow_labels(masks: list[np.ndarray | None], box: tuple, crop: tuple[int, int, int, int]) -> np.ndarray:
    """Pixel by pixel: where its centre lies in the box, and by name which of seven parts is last there."""
    x0, y0, width, height = crop
    labels = np.zeros((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            across = (x0 + column + 0.5 - box[0]) / box[2]
            down = (y0 + row + 0.5 - box[1]) / box[3]
            i, j = min(max(int(down * 256), 0), 255), min(max(int(across * 256), 0), 255)
            for part, mask in enumerate(masks, start=1):
                if mask is not None and mask[i, j]:
                    name = PARTS_14[part].removesuffix(" right").removesuffix(" left")
                    name = {"right hand": "lower arm", "left hand": "lower arm"}.get(name, name)
                    labels[row, column] = PARTS_7.index({"left foot": "foot", "right foot": "foot"}.get(name, name))
    return labels


def test_crops_and_labels(tmp_path: Path):
    coco_densepose(tmp_path)
    pictures = list_pictures("coco-densepose", tmp_path).pictures
    assert [picture.file.rpartition("/")[2] for picture in pictures] == [
        "densepose_coco_2014_train.json#400",
        "densepose_coco_2014_train.json#900",
        "densepose_coco_2014_valminusminival.json#700",
    ]
    for picture, image in zip(pictures, (4, 9, 7), strict=True):
        assert picture.box == (10.0, 5.0, 20.0, 31.0)
        members = read_crop(tmp_path, picture)
        (path,) = tmp_path.glob(f"*2014/*{image:012d}.jpg")
        whole = simplejpeg.decode_jpeg(path.read_bytes()).astype(int)
        crop = decode_member("image.jpg", members["image.jpg"])
        assert np.abs(crop - whole[5:36, 10:30]).mean() < 2
        parts = decode_member("parts.png", members["parts.png"])
        np.testing.assert_array_equal(parts, slow_labels(densepose_masks(), DENSEPOSE_BOX, (10, 5, 20, 31)))
        assert {PARTS_7[i] for i in np.unique(parts)} == {"background", "head", "torso", "lower arm", "foot"}


@pytest.mark.parametrize(
    ("box", "crop"),
    [
        ((10.4, 5.0, 20.0, 30.5), (10, 5, 20, 31)),
        ((-3.0, -2.2, 10.0, 10.0), (0, 0, 7, 8)),
        ((35.0, 40.0, 10.0, 20.0), (35, 40, 5, 8)),
        ((41.0, 5.0, 10.0, 10.0), None),
        ((3.1, 4.1, 0.2, 8.0), None),
    ],
)
def test_boxes_are_cut_at_the_edge_of_the_image(box: tuple, crop: tuple | None):
    assert crop_box(list(box), 48, 40) == crop


@pytest.mark.parametrize("crop", [(0, 0, 7, 8), (2, 3, 30, 40)])
def test_labels_of_any_crop(crop: tuple[int, int, int, int], tmp_path: Path):
    coco_densepose(tmp_path)
    annotation = json.loads(next(tmp_path.glob("annotations/*train.json")).read_text())["annotations"][0]
    for box in ((-3.0, -2.2, 10.0, 10.3), (2.5, 3.4, 29.7, 40.9)):
        got = part_labels(annotation["dp_masks"], list(box), crop)
        np.testing.assert_array_equal(got, slow_labels(densepose_masks(), box, crop))


def edited(root: Path, **changes: object) -> Path:
    path = root / "annotations/densepose_coco_2014_train.json"
    values = json.loads(path.read_text())
    values["annotations"][0] |= changes
    path.write_text(json.dumps(values))
    return path


def test_what_does_not_fit_is_malformed(tmp_path: Path):
    coco_densepose(tmp_path)
    edited(tmp_path, bbox=[100.0, 5.0, 20.0, 30.0])
    (tmp_path / "train2014/COCO_train2014_000000000004.jpg").unlink()
    malformed = list_pictures("coco-densepose", tmp_path, skip_malformed=True).malformed
    assert [(one.file.partition("#")[2], one.rule.partition(" COCO")[0]) for one in malformed] == [
        ("400", "there is no image"),
        ("900", "its box [100.0, 5.0, 20.0, 30.0] lies outside the image or is empty"),
    ]


def test_small_crops_are_passed_over_if_asked(tmp_path: Path):
    coco_densepose(tmp_path)
    path = edited(tmp_path, bbox=[3.0, 5.0, 31.0, 40.0])
    edited_id = json.loads(path.read_text())["annotations"][0]["id"]
    listing = list_pictures("coco-densepose", tmp_path, min_side=20)
    assert len(listing.pictures) == 3 and not listing.malformed
    sides = {picture.file: min(picture.box[2:]) for picture in listing.pictures}
    listing = list_pictures("coco-densepose", tmp_path, min_side=31)
    assert {one.file for one in listing.pictures} == {file for file, side in sides.items() if side >= 31}
    assert {one.file for one in listing.malformed} == {file for file, side in sides.items() if side < 31} != set()
    assert any(picture.file.endswith(f"#{edited_id}") for picture in listing.pictures)
    with pytest.raises(ValueError, match="no pictures of layout coco-densepose"):
        list_pictures("coco-densepose", tmp_path, min_side=32)


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ([[]] * 13, "must be 14 masks, got 13"),
        ([{"size": [128, 128], "counts": "0"}] + [[]] * 13, r"256 x 256, got \[128, 128\]"),
    ],
)
def test_a_bad_annotation_is_named(masks: list, says: str, tmp_path: Path):
    coco_densepose(tmp_path)
    edited(tmp_path, dp_masks=masks)
    picture = list_pictures("coco-densepose", tmp_path).pictures[1]
    with pytest.raises(ValueError, match=f"2014_train.json, annotation 900: .*{says}"):
        read_crop(tmp_path, picture)


def test_an_image_of_another_size_is_named(tmp_path: Path):
    coco_densepose(tmp_path)
    image, other = (tmp_path / f"{year}2014/COCO_{year}2014_{n:012d}.jpg" for year, n in (("train", 9), ("val", 7)))
    image.write_bytes(simplejpeg.encode_jpeg(simplejpeg.decode_jpeg(other.read_bytes())[:40].copy()))
    with pytest.raises(ValueError, match="annotation 900: COCO_train2014_000000000009.jpg is not of the size"):
        read_crop(tmp_path, list_pictures("coco-densepose", tmp_path).pictures[1])


def test_another_json_is_refused(tmp_path: Path):
    (tmp_path / "densepose_coco_2014_train.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="is not a COCO-DensePose annotation file"):
        list_pictures("coco-densepose", tmp_path)
