"""`evaluate` end to end: its scores are those of the labels that the annotator writes, and its page shows them."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_people import HEIGHT, SIZE, WIDTH, LabelledPeople, save_run
from posed_people import PosedPeople, build_posed
from tiny_people import build_people
from torch import Tensor, nn

from generative.annotators.annotator import Annotation
from generative.annotators.evaluate import evaluate
from generative.annotators.opened import OpenAnnotator, open_annotator, untrained
from reid.fit import InputConfig, fit
from reid.models.model import Network
from shards.errors import ShardError
from shards.manifest import read_manifest
from shards.stream import stream
from shards.table import Table

LABELS = ("texture", "iuv", "parts", "keypoints")
INPUT = InputConfig(height=HEIGHT, width=WIDTH)


def truth_of(folder: Path, label: str) -> list[np.ndarray]:
    """True labels in the order in which a set is read."""
    return [
        fit(values, INPUT, [label])[label]
        for values in stream(folder, fields=["image", "meta", "iuv", "parts", "texture"])
    ]


class Oracle(nn.Module):
    """Knows the truth: the labels of the set, one after the other."""

    def __init__(self, truth: list[np.ndarray]):
        super().__init__()
        self.truth, self.num_said = truth, 0

    def annotate(self, images: Tensor) -> Annotation:
        said = self.truth[self.num_said : self.num_said + len(images)]
        self.num_said += len(images)
        return Annotation(values=torch.from_numpy(np.stack(said)), confidence=torch.ones(len(images)))

    def drawings(self, images: Tensor) -> dict[str, Tensor]:
        return {"texture": self.annotate(images).values}


@pytest.mark.parametrize(
    ("label", "perfect"),
    [
        ("iuv", {"surface_accuracy": 1.0, "surface_accuracy_on_body": 1.0, "uv_error": 0.0}),
        ("parts", {"pixel_accuracy": 1.0, "mean_iou": 1.0}),
        ("keypoints", {"pck": 1.0, "pck_seen": 1.0}),
    ],
)
def test_who_says_the_truth_scores_perfectly(labelled: Path, tmp_path: Path, label: str, perfect: dict[str, float]):
    annotator = open_annotator(save_run(tmp_path / "run", label))
    knows = replace(annotator, network=Oracle(truth_of(labelled, label)))
    done: list[int] = []
    found = evaluate(knows, str(labelled), read_manifest(labelled), batch_size=5, progress=done.append)
    assert found.scores["trained"] == {name: pytest.approx(score, abs=1e-6) for name, score in perfect.items()}
    assert found.scores["untrained"] != found.scores["trained"] != found.scores["mean"]
    assert done == [5, 6, 11, 12, 17, 18, 23, 24]
    assert len(found.shown) == 12 and found.shown[0].key == "000000"
    assert all(np.array_equal(one.truth, one.predicted) for one in found.shown)


def test_a_split_is_scored_by_itself(tmp_path: Path):
    people = LabelledPeople(labels=frozenset({"iuv"}), num_identities=4, splits=True)
    place = build_people(tmp_path / "set", people)
    annotator = open_annotator(save_run(tmp_path / "run", "iuv"))
    found = evaluate(annotator, place, read_manifest(Path(place)), split="gallery", num_shown=99)
    assert {int(one.key) // 6 for one in found.shown} == {2, 3} and found.num_samples == len(found.shown) == 8
    with pytest.raises(ValueError, match="no samples of the split none, it has gallery, query, train: choose one"):
        evaluate(annotator, place, read_manifest(Path(place)), split="none")


def test_junk_and_distractors_are_passed_over(tmp_path: Path):
    people = LabelledPeople(labels=frozenset({"iuv"}), extra=("tiny/-1", "tiny/0"), unlabelled=(12, 13))
    mixed = build_people(tmp_path / "mixed", people)
    annotator = open_annotator(save_run(tmp_path / "run", "iuv"))
    alone = build_people(tmp_path / "alone", replace(people, extra=(), unlabelled=()))
    found, expected = (evaluate(annotator, place, read_manifest(Path(place)), num_shown=99) for place in (mixed, alone))
    assert (found.num_samples, found.scores) == (12, expected.scores)
    assert [one.key for one in found.shown] == [one.key for one in expected.shown]
    nobody = build_people(tmp_path / "nobody", replace(people, num_identities=0, unlabelled=(0, 1)))
    with pytest.raises(ValueError, match="nothing but junk and distractors"):
        evaluate(annotator, nobody, read_manifest(Path(nobody)))


def test_a_perfect_texture(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    annotator = open_annotator(save_run(tmp_path / "run", "texture"))
    knows = replace(annotator, network=Oracle(truth_of(labelled, "texture")))

    def draw(model: Network, images: Tensor, *_: object, mirrored: bool) -> Annotation:
        if isinstance(model, Oracle):
            return model.annotate(images)
        return Annotation(
            values=torch.zeros(len(images), 256, 256, 3, dtype=torch.uint8), confidence=torch.zeros(len(images))
        )

    monkeypatch.setattr("generative.annotators.opened.annotate_textures", draw)
    monkeypatch.setattr(
        "generative.annotators.evaluate.with_mean_texture", lambda annotator, *_, **__: annotator
    )  # who answers in order
    scores = evaluate(knows, str(labelled), read_manifest(labelled), batch_size=5).scores
    for name in ("l1_visible", "l1_hidden", "l1"):
        assert scores["trained"][name] == 0 and scores["untrained"][name] > 0.1
    for name in ("ssim_visible", "ssim_hidden", "ssim"):
        assert scores["trained"][name] == pytest.approx(1, abs=1e-3) and scores["untrained"][name] < 0.5


def test_keypoints_are_scored_in_pixels_of_the_picture(labelled: Path, tmp_path: Path):
    """In the network's a shift to the right is a larger share of a person's height: the axes are stretched differently."""
    annotator = open_annotator(save_run(tmp_path / "run", "keypoints"))
    truth = truth_of(labelled, "keypoints")
    table = Table(labelled)
    shift = np.array([3.75, 0, 0], np.float32)
    shifted = [np.where(points[:, 2:] > 0, points + shift, 0).astype(np.float32) for points in truth]
    found = evaluate(replace(annotator, network=Oracle(shifted)), str(labelled), read_manifest(labelled))
    hits, in_the_networks = [], []
    for i in range(len(table)):
        points = np.array(table.read(i, ["meta"])["meta"].keypoints)
        known = points[points[:, 2] > 0, :2]
        width, height = known.max(0) - known.min(0)
        hits += [3.75 * SIZE[1] / WIDTH <= 0.1 * max(width, height)] * len(known)
        in_the_networks += [3.75 <= 0.1 * max(width * WIDTH / SIZE[1], height * HEIGHT / SIZE[0])] * len(known)
    assert np.mean(hits) > np.mean(in_the_networks) + 0.1
    assert found.scores["trained"]["pck"] == pytest.approx(np.mean(hits))


def test_the_untrained_network_is_another_and_the_same_each_time(tmp_path: Path):
    annotator = open_annotator(save_run(tmp_path / "run", "parts"))
    state = torch.get_rng_state()
    one, other = (untrained(annotator).network.state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], other[name]) for name in one)
    trained = annotator.network.state_dict()
    assert not torch.equal(one["head.4.weight"], trained["head.4.weight"])


@pytest.mark.parametrize("label", LABELS)
def test_the_command_and_its_page(labelled: Path, tmp_path: Path, generative_cli, label: str):
    run, page = save_run(tmp_path / "run", label), tmp_path / "page.html"
    told = generative_cli("evaluate", run, "--data", labelled, "--report", page)
    for word in ("trained", "untrained", "mean", f"12 samples, {label} by", f"pictures in {page}"):
        assert word in told
    text = page.read_text()
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    assert len(pictures) == 3 * 12
    assert all(base64.b64decode(one).startswith(b"\xff\xd8") for one in pictures)
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "<script" not in text
    assert "true " + label in text and "{{" not in text


def test_json(labelled: Path, tmp_path: Path, generative_cli):
    run = save_run(tmp_path / "run", "parts")
    report = json.loads(generative_cli("evaluate", run, "--data", labelled, "--json"))
    assert report[str(labelled)]["num_samples"] == 12
    scores = report[str(labelled)]["scores"]
    assert scores.keys() == {"trained", "untrained", "mean"}
    truth = np.stack(truth_of(labelled, "parts"))
    commonest = np.array([[np.bincount(truth[:, y, x]).argmax() for x in range(WIDTH)] for y in range(HEIGHT)])
    assert scores["mean"]["pixel_accuracy"] == pytest.approx((truth == commonest).mean())
    annotator: OpenAnnotator = open_annotator(run)
    pictures = [values["image"] for values in (fit(one, INPUT, []) for one in stream(labelled, fields=["image"]))]
    said = annotator.annotate(torch.from_numpy(np.stack(pictures))).values.numpy()
    assert scores["trained"]["pixel_accuracy"] == pytest.approx((said == truth).mean(), abs=2e-3)


def test_textures_without_iuv_are_scored_as_a_whole(tmp_path: Path):
    build_people(tmp_path / "set", LabelledPeople(labels=frozenset({"texture"})))
    annotator = open_annotator(save_run(tmp_path / "run", "texture"))
    scores = evaluate(annotator, str(tmp_path / "set"), read_manifest(tmp_path / "set")).scores
    assert scores["trained"].keys() == {"l1", "ssim"}


def test_keypoints_of_cocos_format_are_scored_on(tmp_path: Path, generative_cli):
    who = {"keypoints": {"name": "coco", "hash": "0" * 64}}
    place = build_posed(tmp_path / "set", PosedPeople(annotators=who))
    run = save_run(tmp_path / "run", "keypoints")
    told = json.loads(generative_cli("evaluate", run, "--data", place, "--json"))
    assert told[str(place)]["scores"]["mean"]["pck"] > 0
    other = build_posed(
        tmp_path / "other", PosedPeople(annotators={"keypoints": {"name": "openpifpaf", "hash": "0" * 64}})
    )
    with pytest.raises(ShardError, match="field keypoints: was written by openpifpaf, and is not the truth"):
        generative_cli("evaluate", run, "--data", other)


def test_what_cannot_be_scored_is_told(plain: Path, labelled: Path, tmp_path: Path, generative_cli):
    with pytest.raises(ShardError, match="no keypoints in meta.json, .*: score on rendered people") as caught:
        generative_cli("evaluate", save_run(tmp_path / "keypoints", "keypoints"), "--data", plain)
    assert caught.value.key == "000000"
    with pytest.raises(ShardError, match="no texture.png"):
        generative_cli("evaluate", save_run(tmp_path / "texture", "texture"), "--data", plain)
    build_people(tmp_path / "smpl", LabelledPeople(labels=frozenset({"texture"}), uv_layout="smpl"))
    with pytest.raises(ShardError, match="must be makehuman, in which the network draws textures, got smpl"):
        generative_cli("evaluate", tmp_path / "texture", "--data", tmp_path / "smpl")
    size = replace(INPUT, min_side=81)
    with pytest.raises(ShardError, match="shard .*tar, key 000000, .* at least 81 pixels high and wide, got 80 x 36"):
        generative_cli("evaluate", save_run(tmp_path / "picky", "parts", input=size), "--data", labelled)
    parts = save_run(tmp_path / "parts", "parts")
    generative_cli("annotate", parts, "--data", plain, "--out", tmp_path / "labelled")
    with pytest.raises(
        ShardError, match="field parts: was written by Parts resnet18, and is not the truth: score on rendered"
    ):
        generative_cli("evaluate", parts, "--data", tmp_path / "labelled")
    generative_cli("annotate", save_run(tmp_path / "iuv", "iuv"), "--data", plain, "--out", tmp_path / "surfaces")
    with pytest.raises(ShardError, match="field iuv: was written by Iuv resnet18"):
        generative_cli("evaluate", parts, "--data", tmp_path / "surfaces")
    with pytest.raises(ValueError, match="at least 1 picture, got 0"):
        generative_cli("evaluate", tmp_path / "texture", "--data", plain, "--batch-size", 0)
    with pytest.raises(ValueError, match="name at least one set"):
        generative_cli("evaluate", tmp_path / "texture", "--data")
