"""COCO occluders: which instances are taken, how large and where they are drawn, and what their edges are made of."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as masks

from synth.background import CocoBackgrounds, View
from synth.coco_files import Instances
from synth.occluder import CocoOccluders
from synth.occluder.coco import HEIGHT_M, cut_pixels
from tests.synth.test_background import make_light
from tests.synth.test_occluder import make_frame, project

CATEGORIES = {1: "person", 2: "bicycle", 15: "bench", 27: "backpack", 62: "chair"}
RED, GREEN = (200, 30, 30), (10, 240, 10)
TRIANGLE = [60, 220, 160, 20, 260, 220]
"""200 wide and high, in an image of 320 x 240."""


def box(x: int, y: int, w: int, h: int) -> list[int]:
    return [x, y, x + w, y, x + w, y + h, x, y + h]


THINGS: dict[str, list[tuple[int, list[list[int]]]]] = {
    "bench.png": [(15, [TRIANGLE])],
    "chair.jpg": [(62, [box(100, 50, 80, 120)])],
    "person.png": [(62, [box(20, 20, 80, 120)]), (1, [box(90, 100, 60, 120)])],
    "beside.png": [(62, [box(20, 20, 80, 120)]), (1, [box(110, 100, 60, 120)])],
    "edge.png": [(15, [box(40, 100, 100, 139)]), (15, [box(0, 20, 60, 100)])],
    "small.png": [(62, [box(40, 40, 60, 70)])],
    "pieces.png": [(62, [box(40, 40, 60, 40), box(40, 120, 60, 60)])],
    "hidden.png": [(62, [box(40, 40, 100, 100)]), (27, [box(60, 40, 60, 60)])],
    "backpack.png": [(27, [box(40, 40, 100, 100)])],
    "hollow.png": [(2, [[40, 40, 240, 40, 240, 45, 45, 45, 45, 200, 40, 200]])],
}
"""Category and polygons of each instance; chair.jpg, bench.png and beside.png hold the only ones that will do."""


def write_set(folder: Path, names: tuple[str, ...] = tuple(THINGS)) -> tuple[Path, Path]:
    """Red things on green."""
    images, annotations = [], []
    for image_id, name in enumerate(names, start=3):
        picture = Image.new("RGB", (320, 240), GREEN)
        for category, polygons in THINGS[name]:
            corners = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
            (x, y), (w, h) = corners.min(0).tolist(), np.ptp(corners, 0).tolist()
            area = 0.0
            for polygon in polygons:
                ImageDraw.Draw(picture).polygon(polygon, fill=RED)
                px, py = np.reshape(polygon, (-1, 2)).T
                area += 0.5 * abs(px @ np.roll(py, 1) - py @ np.roll(px, 1))
            annotations.append(
                {"id": 100 + len(annotations), "image_id": image_id, "category_id": category, "bbox": [x, y, w, h],
                 "area": float(area), "iscrowd": 0, "segmentation": polygons}
            )  # fmt: skip
        picture.save(folder / name, **({"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}))
        images.append({"id": image_id, "file_name": name, "height": 240, "width": 320})
    categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return folder, path


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_set(tmp_path)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CocoOccluders:
    """The triangle alone, one metre high."""
    monkeypatch.setitem(HEIGHT_M, "bench", (1.0, 1.0))
    return CocoOccluders.open(*write_set(tmp_path, ("bench.png",)))


def draw(occluders: CocoOccluders, view: View, point: tuple[float, float, float], seed: int = 0):
    return occluders.draw(np.random.default_rng(seed), view, point, make_light())


def test_only_whole_free_and_large_things_are_taken(coco: tuple[Path, Path]) -> None:
    things = CocoOccluders.open(*coco).things
    found = {(category, thing.name) for category, several in things.items() for thing in several}
    assert found == {("bench", "bench.png"), ("chair", "chair.jpg"), ("chair", "beside.png")}
    # The triangle's tip is narrower than a pixel.
    assert things["bench"][0].box == (60, 21, 260, 220) and things["chair"][0].box == (100, 50, 180, 170)


def test_crowds_are_left_out_and_run_lengths_read(coco: tuple[Path, Path]) -> None:
    folder, path = coco
    content = json.loads(path.read_text())
    content["annotations"][1]["iscrowd"] = 1
    # Columns first: 60 of nothing, then rows 20 to 219 of columns 60 to 259.
    counts = [60 * 240 + 20, *[200, 40] * 199, 200, 60 * 240 + 20]
    content["annotations"][0]["segmentation"] = {"size": [240, 320], "counts": counts}
    packed = masks.frPyObjects({"size": [240, 320], "counts": counts}, 240, 320)["counts"].decode()
    for given in (counts, packed):
        content["annotations"][0]["segmentation"]["counts"] = given
        path.write_text(json.dumps(content))
        things = CocoOccluders.open(*coco).things
        assert [thing.name for thing in things["chair"]] == ["beside.png"]
        assert things["bench"][0].box == (60, 20, 260, 220)
        assert (cut_pixels(folder, things["bench"][0])[..., 3] > 128).mean() > 0.95


def test_boxes_without_masks_are_left_out(coco: tuple[Path, Path]) -> None:
    content = json.loads(coco[1].read_text())
    del content["annotations"][0]["segmentation"]
    coco[1].write_text(json.dumps(content))
    assert set(CocoOccluders.open(*coco).things) == {"chair"}


@pytest.mark.parametrize("distance", [3.0, 8.0, 17.0])
def test_a_metre_covers_focal_length_over_distance(bench: CocoOccluders, distance: float) -> None:
    layer = draw(bench, make_frame(pitch=0.0, camera_m=1.0), (0.0, 0.0, -distance))
    assert layer.alpha.shape == pytest.approx((round(700 / distance), 700 / distance), abs=1.6)
    assert len(layer.alpha) == round(700 / distance)
    # Half the square, less half a pixel of the photograph around the outline.
    scale = 700 / distance / 200
    assert layer.alpha.sum() == pytest.approx(scale**2 * (20000 - 0.5 * 647), rel=0.02)
    assert (layer.depth_m == np.float32(distance)).all()


def test_feet_stand_on_the_point(bench: CocoOccluders) -> None:
    for k in range(8):
        view, point = make_frame(pitch=0.2 + 0.02 * k), (0.31 * k - 1, 0.0, -7.3 - 0.7 * k)
        layer = draw(bench, view, point)
        x, y, z = project(view, point)
        assert layer.row + len(layer.alpha) == pytest.approx(y, abs=0.51)
        assert layer.col + layer.alpha.shape[1] / 2 == pytest.approx(x, abs=0.51)
        assert layer.depth_m.max() == pytest.approx(z, rel=1e-6)
        # A triangle on its base.
        assert layer.alpha[-4].mean() > 0.85 and layer.alpha[len(layer.alpha) // 2].mean() == pytest.approx(
            0.5, abs=0.05
        )


def test_nothing_of_what_lies_behind_comes_along(bench: CocoOccluders) -> None:
    for distance in (5.0, 8.0, 17.0):
        layer = draw(bench, make_frame(), (0.0, 0.0, -distance))
        assert layer.colour[..., 1].max() < 0.03 and 0.5 < layer.colour[..., 0].max() < 0.65
        assert ((layer.alpha > 0.05) & (layer.alpha < 0.95)).any(), "edges are soft"
        assert layer.colour.dtype == layer.alpha.dtype == layer.depth_m.dtype == np.float32


def test_a_clipped_layer_is_part_of_the_whole(bench: CocoOccluders) -> None:
    whole, point = make_frame(), (0.0, 0.0, -8.0)
    full = draw(bench, whole, point)
    left, top = full.col + 30, full.row + 20
    shifted = whole.intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    part = draw(bench, replace(whole, height=40, width=30, intrinsics=shifted), point)
    assert (part.row, part.col, part.alpha.shape) == (0, 0, (40, 30))
    assert np.abs(part.alpha - full.alpha[20:60, 30:60]).max() < 0.01
    assert np.abs(part.colour - full.colour[20:60, 30:60]).max() < 0.01


@pytest.mark.parametrize("point", [(30.0, 0.0, -8.0), (0.0, 0.0, 9.0), (0.0, 0.0, -1.0)])
def test_nothing_comes_of_a_point_out_of_sight(bench: CocoOccluders, point: tuple[float, float, float]) -> None:
    assert draw(bench, make_frame(), point) is None


def test_heights_are_those_of_the_category(coco: tuple[Path, Path]) -> None:
    occluders, view = CocoOccluders.open(*coco), make_frame(pitch=0.0, camera_m=1.0)
    heights: dict[str, list[int]] = {"bench": [], "chair": []}
    for seed in range(60):
        layer = draw(occluders, view, (0.0, 0.0, -5.0), seed)
        name, thing = layer.provenance.removeprefix("coco:").split("#")
        number, category = thing.split(":")
        assert {"bench": [("bench.png", "100")], "chair": [("chair.jpg", "101"), ("beside.png", "104")]}[
            category
        ].count((name, number))
        heights[category].append(len(layer.alpha))
    for category, pixels in heights.items():
        low, high = (140 * metres for metres in HEIGHT_M[category])
        assert low - 1 <= min(pixels) < low + 10 and high - 10 < max(pixels) <= high + 1, category


def test_same_generator_state_gives_the_same_bytes_in_a_worker_and_without_its_memory(coco: tuple[Path, Path]) -> None:
    occluders, view = CocoOccluders.open(*coco), make_frame()
    sent = pickle.loads(pickle.dumps(occluders))
    for seed in range(6):
        first = draw(occluders, view, (0.2, 0.0, -9.0), seed)
        cut_pixels.cache_clear()
        again = draw(sent, view, (0.2, 0.0, -9.0), seed)
        assert first.provenance == again.provenance
        for name in ("colour", "alpha", "depth_m"):
            assert getattr(first, name).tobytes() == getattr(again, name).tobytes()


def test_a_dark_rim_lies_at_the_foot(bench: CocoOccluders) -> None:
    view, point = make_frame(), (0.5, 0.0, -9.0)
    shadow = draw(bench, view, point).shadow
    x, y, _ = project(view, point)
    rows, cols = np.nonzero(shadow.kept_off > 0.3)
    assert shadow.row + rows.min() < y + 1 and abs(shadow.row + rows.mean() - y) < 15
    assert abs(shadow.col + cols.mean() - x) < 3


def test_one_reading_serves_backgrounds_too(coco: tuple[Path, Path]) -> None:
    instances = Instances.open(*coco)
    assert CocoOccluders.of(instances).things == CocoOccluders.open(*coco).things
    backgrounds = CocoBackgrounds.of(instances, aspect=4 / 3)
    assert len(instances) == len(THINGS) and backgrounds.names == CocoBackgrounds.open(*coco, aspect=4 / 3).names


def test_a_set_without_suitable_things_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no bicycle, car.* that is whole, free of people and at least 80 pixels"):
        CocoOccluders.open(*write_set(tmp_path, ("small.png", "edge.png")))


def test_bad_folders_and_images_are_named(coco: tuple[Path, Path]) -> None:
    folder, path = coco
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        CocoOccluders.open(folder / "nowhere", path)
    with pytest.raises(FileNotFoundError, match="no file .*nothing.json"):
        CocoOccluders.open(folder, folder / "nothing.json")
    occluders, view, point = CocoOccluders.open(folder, path), make_frame(), (0.0, 0.0, -9.0)
    for change, match in (
        (lambda: (folder / "bench.png").write_bytes(b"no picture"), "bench.png is not a whole image"),
        (lambda: Image.new("RGB", (100, 90)).save(folder / "bench.png"), "bench.png is 100 x 90 pixels, but"),
        ((folder / "bench.png").unlink, "bench.png has gone"),
    ):
        change()
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            for seed in range(40):
                draw(occluders, view, point, seed)
