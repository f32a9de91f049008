"""Scenes end to end: identities, splits, labels and frames of a small network, through `render_circle`."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from test_occluder_coco import write_set

from generative.poses.source import read_triplets
from shards.codec import decode_sample
from shards.meta import DISTRACTOR, JUNK
from shards.schema import Sample
from synth.anatomy import Anatomy
from synth.background import CocoBackgrounds, ProceduralBackgrounds
from synth.body import load_body
from synth.coco_files import Instances
from synth.generate import draw_look
from synth.occluder import CocoOccluders
from synth.scenes.config import DetectorConfig, NetworkConfig, SceneConfig, WalkConfig
from synth.scenes.crops import Crop, choose_queries
from synth.scenes.detect import Found
from synth.scenes.generate import render_circle, with_matches
from synth.scenes.kept_frames import join_annotations
from synth.scenes.people import draw_identity, identity_name
from synth.scenes.presets import PRESETS
from synth.scenes.visits import CIRCLE, cameras_of, circles
from synth.sources import SourceFolders, Sources, licences
from synth.texture_files import TextureFolder

SOURCES = Sources(backgrounds=ProceduralBackgrounds())
SMALL = SceneConfig(
    keep_frames=True,
    num_identities=8,
    num_cameras=3,
    height=128,
    width=64,
    network=NetworkConfig(rows=240, columns=320, scale=(1.0, 1.0)),
    walk=WalkConfig(frames=2, camera_share=1.0),
    detector=DetectorConfig(min_rows=40, junk=0.5, distractors=0.5),
)


def render(config: SceneConfig, frames: Path | None = None) -> dict[str, Sample]:
    """Key -> sample of a whole set."""
    encoded = [one for circle in circles(config) for one in render_circle(config, circle, SOURCES, frames)]
    samples = {one.key: decode_sample(one.key, one.members) for one in encoded}
    assert len(samples) == len(encoded)
    return samples


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="module")
def small(frames: Path) -> dict[str, Sample]:
    """All samples of SMALL; their frames lie in `frames`. Not to be changed."""
    return render(SMALL, frames)


def people(samples: dict[str, Sample]) -> list[Sample]:
    """Samples that show an identity."""
    return [s for s in samples.values() if s.texture is not None]


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_a_person_looks_the_same_to_all_cameras_and_unlike_the_others(small: dict[str, Sample]):
    looks: dict[str, set] = {}
    cameras: dict[str, set] = {}
    for sample in people(small):
        body = tuple(sample.meta.rendered["body"]["betas"])
        looks.setdefault(sample.meta.identity, set()).add((digest(sample.texture), digest(sample.aligned), body))
        cameras.setdefault(sample.meta.identity, set()).add(sample.meta.camera_id)
    assert len(looks) == SMALL.num_identities
    assert all(len(own) == 1 for own in looks.values())
    assert len(set.union(*looks.values())) == SMALL.num_identities
    assert len({texture for own in looks.values() for texture, _, _ in own}) == SMALL.num_identities
    assert max(map(len, cameras.values())) == SMALL.num_cameras


def test_splits_follow_the_protocol(small: dict[str, Sample]):
    by_split = {split: [s for s in small.values() if s.meta.split == split] for split in ("train", "query", "gallery")}
    train = {s.meta.identity for s in by_split["train"]}
    query = {s.meta.identity for s in by_split["query"]}
    assert train == {identity_name(0, number) for number in range(4)}
    assert query <= {identity_name(0, number) for number in range(4, 8)}
    assert len(query) >= 3
    assert Counter((s.meta.identity, s.meta.camera_id) for s in by_split["query"]).most_common(1)[0][1] == 1
    gallery = Counter((s.meta.identity, s.meta.camera_id) for s in by_split["gallery"])
    for sample in by_split["query"]:
        others = [c for (who, c), _ in gallery.items() if who == sample.meta.identity and c != sample.meta.camera_id]
        assert others, f"{sample.key} has no match"
    strays = {s.meta.identity for s in by_split["gallery"]} - {s.meta.identity for s in people(small)}
    assert strays == {f"market-like-s0/{JUNK}", f"market-like-s0/{DISTRACTOR}"}
    assert not any(s.meta.identity in strays for s in by_split["train"] + by_split["query"])


def test_another_seed_has_other_people_by_name_and_look(small: dict[str, Sample]):
    others = render(replace(SMALL, seed=1, num_identities=2, num_cameras=2))
    assert not {s.meta.identity for s in people(others)} & {s.meta.identity for s in people(small)}
    assert not {digest(s.texture) for s in people(others)} & {digest(s.texture) for s in people(small)}


def test_crops_carry_the_labels_of_their_frames(small: dict[str, Sample], frames: Path):
    """Mask and keypoints of the frames' COCO annotations, cut by hand, are those of the crops."""
    coco = COCO(join_annotations(frames, SMALL))
    by_frame = {image["file_name"].removesuffix(".jpg"): image["id"] for image in coco.dataset["images"]}
    checked = 0
    for sample in people(small):
        number = by_frame[sample.key.partition("-")[2]]
        own = [a for a in coco.loadAnns(coco.getAnnIds(imgIds=[number])) if a["identity"] == sample.meta.identity]
        mask, (x, y, w, h) = coco.annToMask(own[0]), sample.meta.box
        rows = (y + (np.arange(SMALL.height) + 0.5) * h / SMALL.height).astype(int).clip(0, mask.shape[0] - 1)
        columns = (x + (np.arange(SMALL.width) + 0.5) * w / SMALL.width).astype(int).clip(0, mask.shape[1] - 1)
        # The box is rounded in the record, so a pixel in the middle of a step may fall on the other side.
        seen = (sample.iuv[..., 0] > 0) | (sample.iuv[..., 1] == 255)
        assert (seen == mask[np.ix_(rows, columns)].astype(bool)).mean() > 0.998
        of_frame = read_triplets(own[0]["keypoints"], "the frames' annotations")
        of_crop = np.array(sample.meta.keypoints)
        inside = of_crop[:, 2] > 0
        expected = (of_frame[:, :2] - (x, y)) * (SMALL.width / w, SMALL.height / h)
        np.testing.assert_allclose(of_crop[inside, :2], expected[inside], atol=0.05)
        np.testing.assert_array_equal(of_crop[inside, 2], of_frame[inside, 2])
        there = ((expected >= 0) & (expected < (SMALL.width, SMALL.height))).all(1) & (of_frame[:, 2] > 0)
        assert (there == inside).mean() > 0.9 and not (inside & ~there).sum() > 1
        checked += 1
    assert checked > 20


def test_keypoints_follow_from_the_cameras_of_the_record(small: dict[str, Sample]):
    """The pelvis' place on the ground, projected by the record's matrices, lies under the hips."""
    for sample in people(small):
        record, points = sample.meta.rendered, np.array(sample.meta.keypoints)
        x, z = record["body"]["place"]
        camera = np.array(record["world_to_camera"]) @ (x, 0.9, z, 1.0)
        pixel = np.array(record["intrinsics"]) @ camera[:3]
        hips = points[11:13, :2].mean(0)
        assert np.abs(pixel[:2] / pixel[2] - hips).max() < 0.12 * SMALL.height


def test_frames_are_written_for_detectors(small: dict[str, Sample], frames: Path):
    coco = COCO(join_annotations(frames, SMALL))
    assert len(coco.imgs) == len(list((frames / "images").glob("*.jpg")))
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        x, y, w, h = annotation["bbox"]
        assert (x, y, w, h) == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert annotation["area"] == mask.sum()
    masks: dict[int, np.ndarray] = {}
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        masks[annotation["image_id"]] = masks.get(annotation["image_id"], 0) + mask
    assert max(total.max() for total in masks.values()) == 1
    assert coco.loadCats([1])[0]["name"] == "person"


def test_the_share_that_is_seen_is_that_of_the_mask(small: dict[str, Sample], frames: Path):
    """Who stands free and whole in the frame is seen wholly; nobody below the least share is cut out."""
    shares = [s.meta.rendered["seen_share"] for s in people(small)]
    assert SMALL.detector.min_seen <= min(shares) and max(shares) <= 1
    assert np.mean(np.array(shares) == 1) > 0.2
    assert min(shares) < 0.9


def test_a_circle_does_not_depend_on_the_others():
    config = replace(SMALL, num_identities=2 * CIRCLE + 4, num_cameras=2, walk=WalkConfig(frames=1))
    assert [len(c.members) for c in circles(config)] == [13, 13, 13, 13]
    last = circles(config)[1]
    once, again = (
        [
            (e.key, {k: hashlib.sha256(v).hexdigest() for k, v in e.members.items()})
            for e in render_circle(c, last, SOURCES)
        ]
        for c in (config, replace(config, num_identities=80, train_share=26 / 80))
    )
    assert once == again
    assert {key[:6] for key, _ in once} <= {f"{number:06d}" for number in range(13, 26)}


def test_everybody_passes_two_cameras_at_least():
    config = replace(SMALL, num_cameras=6, walk=WalkConfig(camera_share=0.01))
    assert all(len(set(cameras_of(config, number))) == 2 for number in range(50))
    many = replace(config, walk=WalkConfig(camera_share=0.5))
    counts = [len(cameras_of(many, number)) for number in range(400)]
    assert 2.9 < np.mean(counts) < 3.5


@pytest.mark.parametrize("name", PRESETS)
def test_presets_render(name: str):
    config = PRESETS[name]()
    tiny = replace(
        config,
        num_identities=4,
        num_cameras=2,
        height=64,
        width=32,
        network=replace(config.network, rows=192, columns=256, num_indoor=min(config.network.num_indoor, 1)),
        walk=replace(config.walk, frames=3, camera_share=1.0),
        detector=replace(config.detector, min_rows=24),
    )
    samples = render(tiny)
    assert {s.meta.split for s in samples.values()} == {"train", "query", "gallery"}
    assert json.dumps(tiny.preset) in json.dumps({s.meta.dataset.rpartition("-s")[0] for s in samples.values()}.pop())
    if name == "msmt-like":
        assert "indoors" in {s.meta.rendered["hour"] for s in samples.values()}
    if name == "tracklets":
        splits: dict[tuple, set] = {}
        for s in people(samples):
            splits.setdefault((s.meta.identity, s.meta.camera_id, s.meta.sequence), set()).add(s.meta.split)
        assert all(len(own) == 1 for own in splits.values())
    if name == "occluded":
        assert any(s.meta.rendered["before"] for s in samples.values())
    if name == "partial":
        assert all(s.meta.box[2] / s.meta.box[3] > 0.38 for s in people(samples) if s.meta.split == "gallery")
        boxes = {
            split: [s.meta.box for s in people(samples) if s.meta.split == split] for split in ("query", "gallery")
        }
        heights = {split: np.mean([b[2] * b[3] for b in found]) for split, found in boxes.items()}
        assert heights["query"] < 0.8 * heights["gallery"]
        assert min(s.meta.rendered["seen_share"] for s in people(samples)) >= 0.9


def crop(identity: str, camera: int, split: str, is_part: bool = False) -> Crop:
    record = {"identity": identity, "camera_id": camera}
    return Crop(key=f"{identity}{camera}{split}", members={}, record=record, split=split, is_part=is_part)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([("a", 0, "query"), ("a", 1, "gallery")], "query gallery"),
        ([("a", 0, "query"), ("a", 0, "gallery")], "gallery gallery"),
        ([("a", 0, "query"), ("a", 1, "query")], "query gallery"),
        ([("a", 0, "query"), ("b", 1, "gallery")], "gallery gallery"),
        ([("a", 0, "query"), ("a", 1, "query"), ("a", 2, "query"), ("a", 2, "gallery")], "query gallery query gallery"),
        ([("a", 0, "query"), ("a", 1, "query"), ("a", 1, "query")], "query gallery gallery"),
        ([("a", 0, "query", True), ("a", 1, "query", True), ("a", 1, "gallery")], "query gallery"),
    ],
)
def test_a_query_without_a_match_goes_into_the_gallery_but_for_parts(given: list[tuple], wanted: str):
    assert " ".join(c.split for c in with_matches([crop(*one) for one in given])) == wanted


def test_queries_are_the_best_or_the_most_hidden_pictures():
    shots = [
        SimpleNamespace(k=k, found=[Found(code=code, box=(0, 0, 9, 9), seen_share=share) for code, share in seen])
        for k, seen in enumerate([[(0, 0.9), (1, 0.5)], [(0, 1.0)], [(0, 1.0), (1, 0.7)], [(0, 0.4)]])
    ]
    assert choose_queries(SMALL, shots) == {0: {1}, 1: {2}}  # of equals, the first
    assert choose_queries(replace(SMALL, query="occluded"), shots) == {0: {3}, 1: {0}}
    assert choose_queries(replace(SMALL, query="tracklet"), shots) == {0: {0, 1, 2, 3}, 1: {0, 2}}


def test_scenes_over_coco_with_its_things_before_people(tmp_path: Path):
    instances = Instances.open(*write_set(tmp_path))
    sources = Sources(backgrounds=CocoBackgrounds.of(instances, aspect=4 / 3), occluders=CocoOccluders.of(instances))
    config = replace(SMALL, num_identities=4, num_cameras=2, occluded=1.0)
    metas = [one.meta.rendered for circle in circles(config) for one in render_circle(config, circle, sources)]
    assert {record["background"].partition(":")[0] for record in metas} == {"coco"}
    things = {thing.rpartition(":")[2] for record in metas for thing in record["before"]}
    assert things and things <= {"bench", "chair"}


def test_everybody_wears_a_texture_file_of_their_own(anatomy: Anatomy, tmp_path: Path):
    for k in range(6):
        Image.new("RGB", (256, 256), (40 * k, 0, 0)).save(tmp_path / f"{k}.png")
    textures = TextureFolder.from_folder(tmp_path, "test")
    files = [draw_identity(SMALL, anatomy, number, textures).look.record["file"] for number in range(6)]
    assert sorted(files) == [f"{k}.png" for k in range(6)]
    assert files != sorted(files)


def test_people_of_scenes_are_none_of_the_same_seeds_other_people(anatomy: Anatomy):
    for number in range(3):
        person, look = draw_identity(SMALL, anatomy, number, None), draw_look(SMALL.pit(), anatomy, number, None)
        assert digest(person.look.texture) != digest(look.texture)


def test_licences_and_record_name_what_stands_before_people(tmp_path: Path):
    folder, annotations = write_set(tmp_path)
    folders = SourceFolders(coco=folder, coco_annotations=annotations)
    with_things, without = (folders.open(aspect=4 / 3, occluders=own) for own in (True, False))
    assert any(line.startswith("occluders: cut from COCO") for line in licences(load_body("open"), with_things))
    assert not any("occluders" in line for line in licences(load_body("open"), without))
    assert folders.record(with_things)["coco"]["num_things"] == 3
    assert "num_things" not in folders.record(without)["coco"]


def test_distractors_show_hardly_anybody(small: dict[str, Sample], frames: Path):
    """Masks of the frames' annotations, under the boxes of distractors."""
    coco = COCO(join_annotations(frames, SMALL))
    by_frame = {image["file_name"].removesuffix(".jpg"): image["id"] for image in coco.dataset["images"]}
    checked = 0
    for sample in small.values():
        if sample.key.startswith("nobody"):
            image = by_frame[sample.key.removeprefix("nobody-").rpartition("-")[0]]
            x, y, w, h = (int(value) for value in sample.meta.box)
            masks = [coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds(imgIds=[image]))]
            assert sum(mask[y : y + h, x : x + w].mean() for mask in masks) < 0.07
            checked += 1
    assert checked > 2


def test_a_box_that_shows_somebody_is_no_distractor(monkeypatch: pytest.MonkeyPatch):
    """People who were not found, too small or too hidden, are in nobody's way when a place for a box is sought."""
    monkeypatch.setattr("synth.scenes.crops.nobody", lambda rng, height, size, others: others[0])
    assert not [key for key in render(replace(SMALL, num_identities=4, keep_frames=False)) if key.startswith("nobody")]
