"""A set with one label more: the label is the network's, all else is what it was, also after an interruption."""

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from labelled_people import HEIGHT, SIZE, WIDTH, LabelledPeople, run_here, save_run
from tiny_people import build_people, damage

from generative.annotators.annotate import annotate, confidences, open_source
from generative.annotators.mean_texture import with_mean_texture
from generative.annotators.opened import open_annotator
from generative.report.labelled import render_page
from generative.sets import contents_hash
from reid.augment import prepare
from reid.fit import InputConfig, resize
from shards import Sample
from shards.build import INDEX
from shards.codec import decode_meta
from shards.errors import ShardError
from shards.manifest import Manifest, read_manifest
from shards.stream import read_shard
from shards.table import Table
from shards.verify import verify_set

LABELS = ("texture", "iuv", "parts", "keypoints")
ADDED = {"texture": {"texture.jpg"}, "iuv": {"iuv.png"}, "parts": {"parts.png"}, "keypoints": set()}
META_CHANGES = {"texture": {"uv_layout"}, "keypoints": {"keypoints"}}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Label -> a run."""
    folder = tmp_path_factory.mktemp("runs")
    return {label: save_run(folder / label, label) for label in LABELS}


@pytest.fixture(scope="module")
def made(plain: Path, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Label -> the set `plain` with it. Not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("shards.build.run_tasks", run_here)
        for label in LABELS:
            label_set(runs[label], plain, folder / label)
    return {label: folder / label for label in LABELS}


def label_set(run: Path, place: Path | str, out: Path, *, replace: bool = False, **options: object) -> Manifest:
    annotator = open_annotator(run)
    source = open_source(str(place), annotator.label, out, replace=replace)
    return annotate(annotator, str(place), source, out, replace=replace, **({"batch_size": 4} | options))


def samples_of(folder: Path) -> dict[str, list[tuple[str, dict[str, bytes]]]]:
    """Shard -> keys and members in their order."""
    return {entry.name: list(read_shard(folder, entry)) for entry in read_manifest(folder).shards}


def hashes(folder: Path) -> dict[str, str]:
    """Of the set's files; others may keep an index beside them."""
    files = (path for path in sorted(folder.iterdir()) if path.name != INDEX)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("label", LABELS)
def test_all_else_stays_as_it_is(plain: Path, runs: dict[str, Path], made: dict[str, Path], label: str):
    before, after = samples_of(plain), samples_of(made[label])
    assert list(after) == list(before)
    for shard in before:
        assert [key for key, _ in after[shard]] == [key for key, _ in before[shard]]
        for (key, old), (_, new) in zip(before[shard], after[shard], strict=True):
            assert new.keys() - old.keys() == ADDED[label] and old.keys() <= new.keys()
            assert {name: new[name] for name in old if name != "meta.json"} == {
                name: data for name, data in old.items() if name != "meta.json"
            }, key
            old_meta, new_meta = orjson.loads(old["meta.json"]), orjson.loads(new["meta.json"])
            changed = {name for name in old_meta if old_meta[name] != new_meta[name]}
            assert changed == {"annotators", *META_CHANGES.get(label, ())}
            who = new_meta["annotators"][label]
            assert who["hash"] == hashlib.sha256((runs[label] / "last.safetensors").read_bytes()).hexdigest()
            assert who["name"].endswith(" resnet18") and 0 <= who["confidence"] <= 1
    source, manifest = read_manifest(plain), read_manifest(made[label])
    assert (manifest.name, manifest.licences) == (source.name, source.licences)
    assert manifest.config["source_sha256"] == contents_hash(source)
    assert manifest.config["label"] == label and manifest.config["batch_size"] == 4
    assert verify_set(made[label]).faults == ()


@pytest.mark.parametrize("label", LABELS)
def test_the_label_is_what_the_network_says_of_the_picture(runs: dict[str, Path], made: dict[str, Path], label: str):
    """Picture by picture, and brought to the picture's size pixel by pixel."""
    annotator, table = open_annotator(runs[label]), Table(made[label])
    annotator = with_mean_texture(annotator, str(made[label]), read_manifest(made[label]))
    values = []
    for i in range(len(table)):
        picture = torch.from_numpy(resize(table.read(i, ["image"])["image"], (HEIGHT, WIDTH)).copy())[None]
        assert prepare(picture, InputConfig(height=HEIGHT, width=WIDTH)).shape == (1, 3, HEIGHT, WIDTH)
        found = annotator.annotate(picture)
        value = found.values[0].numpy()
        meta = table.read(i, ["meta"])["meta"]
        assert meta.annotators[label]["confidence"] == pytest.approx(float(found.confidence[0]), abs=1e-3)
        match label:
            case "texture":
                stored = table.read(i, ["texture"])["texture"]
                assert meta.uv_layout == "makehuman"
                assert np.abs(stored.astype(int) - value).mean() < 2.5  # by JPEG of noise
                value = stored
            case "keypoints":
                value = value * [SIZE[1] / WIDTH, SIZE[0] / HEIGHT, 1]
                np.testing.assert_allclose(np.array(meta.keypoints), value, atol=0.02)
                assert {tuple(point) for point in meta.keypoints if point[2] == 0} <= {(0.0, 0.0, 0.0)}
            case _:
                stored = table.read(i, [label])[label]
                wanted = np.zeros(stored.shape)
                for row in range(SIZE[0]):
                    for column in range(SIZE[1]):
                        near = math.floor((row + 0.5) * HEIGHT / SIZE[0]), math.floor((column + 0.5) * WIDTH / SIZE[1])
                        wanted[row, column] = value[near]
                assert (stored == wanted).mean() > 0.99  # a tie may fall otherwise in another batch
        values.append(value)
    assert any((one != values[0]).any() for one in values[1:])


@pytest.mark.usefixtures("here")
def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(
    plain: Path, runs: dict[str, Path], made: dict[str, Path], tmp_path: Path
):
    broken = tmp_path / "broken"
    shutil.copytree(plain, broken)
    damage(broken, ["000003"])  # in the second shard
    with pytest.raises(ShardError) as caught:
        label_set(runs["iuv"], broken, tmp_path / "set")
    assert caught.value.key == "000003" and caught.value.shard == f"{broken}/tiny-000001.tar"
    left = {path.name for path in (tmp_path / "set").iterdir()}
    assert left == {"manifest.json", "tiny-000000.tar", "tiny-000000.json"}
    written = (tmp_path / "set" / "tiny-000000.tar").stat().st_mtime_ns
    shutil.rmtree(broken)
    shutil.copytree(plain, broken)
    label_set(runs["iuv"], broken, tmp_path / "set")
    assert (tmp_path / "set" / "tiny-000000.tar").stat().st_mtime_ns == written
    assert hashes(tmp_path / "set") == hashes(made["iuv"])


def test_the_command_line_with_two_workers(plain: Path, runs: dict[str, Path], made: dict[str, Path], tmp_path: Path):
    """Their bytes are those of one process, of a set behind a URL too, and the report names the least confident samples."""
    out = tmp_path / "set"
    command = [sys.executable, "-m", "generative", "annotate", runs["parts"], "--data", f"file://{plain}", "--out", out]
    options = ["--workers", 2, "--batch-size", 4, "--json"]
    done = subprocess.run([*map(str, [*command, *options])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = confidences(out, "parts")
    assert report["mean_confidence"] == pytest.approx(np.mean([sure for sure, _ in found]))
    assert [one["key"] for one in report["least_confident"]] == [key for _, key in sorted(found)[:8]]
    assert (report["label"], report["num_samples"]) == ("parts", 12)
    assert "12 of 12 samples" in done.stderr
    assert hashes(out) == hashes(made["parts"])


@pytest.mark.usefixtures("here")
def test_where_the_set_lies_does_not_matter(plain: Path, runs: dict[str, Path], made: dict[str, Path], tmp_path: Path):
    copied, moved = tmp_path / "copied", tmp_path / "moved"
    shutil.copytree(plain, copied)
    shutil.copytree(runs["parts"], moved)
    label_set(moved, f"file://{copied}", tmp_path / "two")
    assert hashes(made["parts"]) == hashes(tmp_path / "two")


@pytest.mark.usefixtures("here")
def test_the_report_for_people(plain: Path, runs: dict[str, Path], tmp_path: Path, generative_cli):
    page = tmp_path / "page.html"
    options = ("--workers", 1, "--report", page)
    told = generative_cli("annotate", runs["keypoints"], "--data", plain, "--out", tmp_path / "set", *options)
    assert "12 samples of" in page.read_text()
    least = [key for _, key in sorted(confidences(tmp_path / "set", "keypoints"))[:8]]
    assert "12 samples in 2 shards" in told and "keypoints by Keypoints resnet18" in told
    assert f"python -m shards sheet {tmp_path / 'set'} --keys {' '.join(least)}" in told


@pytest.mark.parametrize("label", ["texture", "iuv", "parts", "keypoints"])
def test_the_page_shows_who_was_labelled_and_how_surely(
    plain: Path, runs: dict[str, Path], made: dict[str, Path], label: str
):
    found = confidences(made[label], label)
    annotator = open_annotator(runs[label])
    page = render_page(annotator, str(plain), made[label], [sure for sure, _ in found])
    assert page.count("data:image/") == 2 * 2 * 12, (
        "12 samples evenly, and as many least sure, a picture and a label each"
    )
    assert annotator.hash[:16] in page
    _, least = page.split("least sure")
    shown = re.findall(r'alt="Sample (\w+)', least)
    assert shown == [key for _, key in sorted(found, key=lambda one: one[0])]
    labels = re.findall(r"([01]\.\d\d) sure<", least)
    assert labels == [f"{sure:.2f}" for sure, _ in sorted(found)]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("label", ["texture", "iuv", "keypoints"])
def test_a_label_that_is_there_is_replaced_only_if_asked(
    labelled: Path, runs: dict[str, Path], tmp_path: Path, label: str
):
    with pytest.raises(ValueError, match=f"has {label} already: give --replace"):
        label_set(runs[label], labelled, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    label_set(runs[label], labelled, tmp_path / "set", replace=True)
    before, after = samples_of(labelled), samples_of(tmp_path / "set")
    own = {"texture": {"texture.png", "texture.jpg"}, "iuv": {"iuv.png"}, "keypoints": set()}[label]
    for shard in before:
        for (_, old), (_, new) in zip(before[shard], after[shard], strict=True):
            assert new.keys() - own == old.keys() - own
            assert all(new[name] == old[name] for name in old.keys() - own - {"meta.json"})
            assert len(new.keys() & own) == (label != "keypoints")
            assert decode_meta(new["meta.json"]).annotators.keys() == {label}
    assert verify_set(tmp_path / "set").faults == ()


@pytest.mark.usefixtures("here")
def test_labels_add_up(runs: dict[str, Path], made: dict[str, Path], tmp_path: Path):
    label_set(runs["keypoints"], made["iuv"], tmp_path / "two")
    first, second = (
        next(read_shard(place, read_manifest(place).shards[0]))[1] for place in (made["iuv"], tmp_path / "two")
    )
    metas = [decode_meta(one["meta.json"]) for one in (first, second)]
    assert metas[1].annotators.keys() == {"iuv", "keypoints"}
    assert metas[1].annotators["iuv"] == metas[0].annotators["iuv"]
    assert second["iuv.png"] == first["iuv.png"]


@pytest.mark.usefixtures("here")
def test_keypoints_of_a_single_sample_are_found_too(runs: dict[str, Path], tmp_path: Path):
    """The first sample has none, so nobody knows before."""

    class OneHas(LabelledPeople):
        def sample(self, index: int) -> Sample:
            return LabelledPeople(has_keypoints=index == 3).sample(index)

    build_people(tmp_path / "half", OneHas())
    with pytest.raises(ShardError, match="are there already: give --replace") as caught:
        label_set(runs["keypoints"], tmp_path / "half", tmp_path / "set")
    assert caught.value.key == "000003"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("height", "width"), [(80, 31), (31, 80)])
def test_pictures_that_are_too_small_are_named(runs: dict[str, Path], tmp_path: Path, height: int, width: int):
    build_people(tmp_path / "small", LabelledPeople(height=height, width=width))
    with pytest.raises(ShardError, match=rf"at least 32 pixels .* got {height} x {width}") as caught:
        label_set(runs["parts"], tmp_path / "small", tmp_path / "set")
    assert caught.value.shard.endswith("tiny-000000.tar") and caught.value.key == "000000"


def test_what_labels_nothing_is_refused(plain: Path, runs: dict[str, Path], tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .*python -m generative train ANNOTATOR`"):
        open_annotator(tmp_path / "nowhere")
    save_run(tmp_path / "no-layout", "texture", uv_layout=None)
    with pytest.raises(ValueError, match="does not tell the uv layout"):
        open_annotator(tmp_path / "no-layout")
    save_run(tmp_path / "smpl", "texture", uv_layout="smpl")
    with pytest.raises(ValueError, match="bake_uv_mirror"):
        open_annotator(tmp_path / "smpl")
    texture = open_annotator(runs["texture"]).config
    unmirrored = replace(texture.augment, mirror_texture=False)
    kept = open_annotator(save_run(tmp_path / "kept", "texture", uv_layout="smpl", augment=unmirrored))
    assert kept.annotate(torch.zeros(2, 64, 32, 3, dtype=torch.uint8)).values.shape == (2, 256, 256, 3), (
        "none is mirrored"
    )
    for reconstruct, drawn in (("aligned", "aligned"), ("input", "the picture itself")):
        save_run(tmp_path / reconstruct, "texture", model=replace(texture.model, reconstruct=reconstruct))
        with pytest.raises(ValueError, match=f"draws {drawn}, which is no label"):
            open_annotator(tmp_path / reconstruct)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="fp16 needs a GPU"):
            open_annotator(runs["iuv"], precision="fp16")


def test_wrong_requests(plain: Path, runs: dict[str, Path], tmp_path: Path):
    with pytest.raises(ValueError, match="own folder"):
        label_set(runs["iuv"], plain, plain.parent / "set", overwrite=True)
    assert read_manifest(plain).complete
    with pytest.raises(ValueError, match="at least 1 picture, got 0"):
        label_set(runs["iuv"], plain, tmp_path / "set", batch_size=0)
    with pytest.raises(FileNotFoundError, match="no manifest.json"):
        label_set(runs["iuv"], tmp_path / "nowhere", tmp_path / "set")


@pytest.mark.usefixtures("here")
def test_another_batch_size_is_another_set(plain: Path, runs: dict[str, Path], tmp_path: Path):
    label_set(runs["parts"], plain, tmp_path / "set")
    with pytest.raises(ShardError, match="batch_size: 4 -> 8"):
        label_set(runs["parts"], plain, tmp_path / "set", batch_size=8)
    label_set(runs["parts"], plain, tmp_path / "set", batch_size=8, overwrite=True)
    assert read_manifest(tmp_path / "set").config["batch_size"] == 8


@pytest.mark.usefixtures("here")
def test_a_checkpoint_that_changes_meanwhile_is_noticed(plain: Path, runs: dict[str, Path], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(runs["parts"], run)
    annotator = open_annotator(run)
    save_run(run, "parts", seed=1)
    source = open_source(str(plain), "parts", tmp_path / "set", replace=False)
    with pytest.raises(ShardError, match="changed meanwhile"):
        annotate(annotator, str(plain), source, tmp_path / "set")
