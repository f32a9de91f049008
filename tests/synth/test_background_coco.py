"""COCO backgrounds: no person in any crop, and a clear word on every kind of bad folder."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_background import make_view

from synth.background import CocoBackgrounds, View
from synth.background.coco import GROUND_M, MIN_CROP_PX, _largest_crop, assumed_ground, read_crop
from synth.colour import srgb_to_linear

RED = (255, 0, 0)
PEOPLE = {
    "middle.png": [(130.4, 60.2, 50.5, 140.0)],
    "crowd.png": [(0.0, 0.0, 320.0, 90.0), (200.0, 150.0, 30.0, 50.0)],
    "nobody.jpg": [],
    "full.png": [(10.0, 10.0, 300.0, 220.0)],
    "sub/two.jpg": [(20.0, 20.0, 60.0, 200.0), (240.0, 10.0, 60.0, 210.0)],
}
"""Boxes x, y, width, height in images of 320 x 240; the first of crowd.png is a crowd region."""


def write_set(folder: Path) -> Path:
    """A folder in COCO's layout whose people are red rectangles on grey noise; returns its JSON."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id, (name, boxes) in enumerate(PEOPLE.items(), start=7):
        pixels = np.repeat(rng.integers(60, 180, (240, 320, 1), np.uint8), 3, axis=2)
        for x, y, w, h in boxes:
            pixels[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = RED
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "bbox": [x, y, w, h], "area": 9,
                 "iscrowd": int(name == "crowd.png" and y == 0), "segmentation": []}
            )  # fmt: skip
        # A dog is no person.
        annotations.append(
            {"id": len(annotations) + 1, "image_id": image_id, "category_id": 18, "bbox": [0, 0, 320, 240], "area": 9,
             "iscrowd": 0, "segmentation": []}
        )  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **({"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}))
        images.append({"id": image_id, "file_name": name, "height": 240, "width": 320})
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    return write_json(folder, {"images": images, "annotations": annotations, "categories": categories})


def write_json(folder: Path, content: object) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def edit(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path, write_set(tmp_path)


@pytest.fixture
def view() -> View:
    return make_view(height=128, width=64)


def test_no_crop_shows_a_person(coco: tuple[Path, Path], view: View) -> None:
    backgrounds = CocoBackgrounds.open(*coco)
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(300):
        background = backgrounds.draw(rng, view)
        red_over_green = background.image[..., 0] - background.image[..., 1]
        assert red_over_green.max() < 0.08, background.provenance
        seen.add(background.provenance)
    assert seen == {f"coco:{name}" for name in ("middle.png", "crowd.png", "nobody.jpg", "sub/two.jpg")}
    assert backgrounds.num_without_room == 1


def test_crops_keep_clear_of_boxes_and_reach_every_free_place(coco: tuple[Path, Path]) -> None:
    backgrounds = CocoBackgrounds.open(*coco)
    rng = np.random.default_rng(2)
    for k, name in enumerate(backgrounds.names):
        sides, heights = set(), []
        for _ in range(400):
            x0, y0, x1, y1 = backgrounds._draw_crop(rng, k)
            assert 0 <= x0 < x1 <= 320 and 0 <= y0 < y1 <= 240
            assert MIN_CROP_PX <= y1 - y0 <= backgrounds.largest[k] and abs((x1 - x0) - (y1 - y0) / 2) <= 0.5
            for x, y, w, h in PEOPLE[name]:
                assert x1 <= x or x0 >= x + w or y1 <= y or y0 >= y + h, name
            sides.add(x0 > 150)
            heights.append(y1 - y0)
        assert sides == {False, True}, name
        if backgrounds.largest[k] > 1.2 * MIN_CROP_PX:
            assert np.ptp(heights) > 0.7 * (backgrounds.largest[k] - MIN_CROP_PX), name


def test_largest_crop_is_what_trying_every_place_finds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        low = rng.integers(0, 22, (rng.integers(0, 4), 2))
        boxes = (
            np.concatenate([low, low + rng.integers(1, 12, low.shape)], 1).clip(0, [30, 24, 30, 24]).astype(np.int32)
        )
        best = 0
        for tall in range(1, 25):
            wide = max(int(round(tall * 0.5)), 1)
            for x in range(30 - wide + 1):
                for y in range(24 - tall + 1):
                    free = all(x >= b[2] or x + wide <= b[0] or y >= b[3] or y + tall <= b[1] for b in boxes)
                    best = max(best, tall if free else 0)
        assert _largest_crop(boxes, 24, 30, 0.5) == best


def test_same_generator_state_gives_the_same_bytes_in_a_worker(coco: tuple[Path, Path], view: View) -> None:
    backgrounds = CocoBackgrounds.open(*coco)
    sent = pickle.loads(pickle.dumps(backgrounds))
    for seed in range(5):
        first, again = (b.draw(np.random.default_rng(seed), view) for b in (backgrounds, sent))
        assert first.image.tobytes() == again.image.tobytes() and first.provenance == again.provenance
        assert first.image.dtype == np.float32 and first.image.shape == (128, 64, 3)


def test_shadows_fall_on_what_lies_below_the_horizon(view: View) -> None:
    level = np.eye(4)
    level[1, 1] = level[2, 2] = -1.0
    level[:3, 3] = -level[:3, :3] @ (0.0, 2.0, 0.0)
    ground = assumed_ground(replace(view, world_to_camera=level))
    focal, middle = view.intrinsics[1, 1], view.intrinsics[1, 2]
    first = int(np.ceil(middle + focal * 2.0 / GROUND_M - 0.5))  # the row that sees the ground 40 m away
    assert 0 < first < len(ground)
    assert (ground[:first] == 0).all() and (ground[first:] == 1).all()


def test_a_crop_is_linear_light_of_the_right_pixels(tmp_path: Path) -> None:
    pixels = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    crop = read_crop(tmp_path / "a.png", (48, 64), (10, 4, 26, 36), (32, 16))
    assert (crop == pixels[4:36, 10:26]).all()
    assert srgb_to_linear(crop).max() <= 1


def test_a_large_jpeg_is_read_at_reduced_size_from_the_right_place(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1600)[None, :, None].repeat(1200, 0).repeat(3, 2).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95)
    crop = read_crop(tmp_path / "a.jpg", (1200, 1600), (800, 100, 1300, 1100), (100, 50))
    expected = ramp[0, 800:1300].reshape(50, 10, 3).mean(1)
    assert np.abs(crop.mean(0) - expected).max() < 2


def test_opening_prints_nothing(coco: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    CocoBackgrounds.open(*coco)
    assert capsys.readouterr() == ("", "")


def test_a_missing_folder_or_json_is_named(coco: tuple[Path, Path]) -> None:
    folder, annotations = coco
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        CocoBackgrounds.open(folder / "nowhere", annotations)
    with pytest.raises(FileNotFoundError, match="no file .*nothing.json"):
        CocoBackgrounds.open(folder, folder / "nothing.json")


def test_a_json_of_another_folder_is_refused(coco: tuple[Path, Path]) -> None:
    folder, annotations = coco
    (folder / "nobody.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 5 images .* the first is nobody.jpg"):
        CocoBackgrounds.open(folder, annotations)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}'])
def test_a_json_that_is_not_coco_is_refused(coco: tuple[Path, Path], content: str) -> None:
    folder, annotations = coco
    annotations.write_text(content)
    with pytest.raises(ValueError, match="not a COCO instances JSON"):
        CocoBackgrounds.open(folder, annotations)


def test_a_json_that_knows_no_people_is_refused(coco: tuple[Path, Path]) -> None:
    folder, annotations = coco
    with pytest.raises(ValueError, match="no category 'person'"):
        CocoBackgrounds.open(folder, edit(annotations, categories=[{"id": 18, "name": "dog"}]))


def test_images_full_of_people_are_refused(coco: tuple[Path, Path]) -> None:
    folder, annotations = coco
    with pytest.raises(ValueError, match="none of the 1 images .* has room"):
        images = [image for image in json.loads(annotations.read_text())["images"] if image["file_name"] == "full.png"]
        CocoBackgrounds.open(folder, edit(annotations, images=images))


@pytest.mark.parametrize(("name", "keep"), [("nobody.jpg", 0.6), ("nobody.jpg", 0.0), ("nobody.png", 0.6)])
def test_a_truncated_image_is_named(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=f"{name} is not a whole image"):
        read_crop(path, (240, 320), (0, 0, 100, 200), (128, 64))


def test_an_image_of_another_size_is_named(coco: tuple[Path, Path], view: View) -> None:
    folder, annotations = coco
    Image.new("RGB", (100, 90)).save(folder / "nobody.jpg")
    backgrounds = CocoBackgrounds.open(folder, annotations)
    with pytest.raises(ValueError, match="nobody.jpg is 100 x 90 pixels, but its JSON says 320 x 240"):
        for seed in range(40):
            backgrounds.draw(np.random.default_rng(seed), view)


def test_an_image_that_has_gone_is_named(coco: tuple[Path, Path], view: View) -> None:
    folder, annotations = coco
    backgrounds = CocoBackgrounds.open(folder, annotations)
    (folder / "middle.png").unlink()
    with pytest.raises(FileNotFoundError, match="middle.png has gone"):
        for seed in range(40):
            backgrounds.draw(np.random.default_rng(seed), view)


def test_another_aspect_is_refused(coco: tuple[Path, Path]) -> None:
    backgrounds = CocoBackgrounds.open(*coco)
    with pytest.raises(ValueError, match="width / height = 0.5, got a view of 128 x 128"):
        backgrounds.draw(np.random.default_rng(0), make_view(height=128, width=128))
