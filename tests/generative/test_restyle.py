"""A set in another look: its pictures are the generator's, all else is what it was, also after an interruption."""

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
from labelled_people import LabelledPeople, run_here, save_run
from tiny_looks import HEIGHT, WIDTH, build_looks, save_style
from tiny_people import GENERATED, People, build_people, damage
from torch.nn.functional import interpolate

from generative.report.style import render_page
from generative.sets import contents_hash
from generative.style.restyle import restyle, restyled_meta
from generative.style.run import load_style
from reid.fit import resize
from shards.build import INDEX
from shards.codec import decode_member, decode_meta, encode_jpeg
from shards.errors import ShardError
from shards.manifest import Manifest, read_manifest
from shards.stream import read_shard
from shards.table import Table
from shards.verify import verify_set

SIZE = (80, 36)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run. Not to be changed."""
    return save_style(tmp_path_factory.mktemp("runs") / "style")


@pytest.fixture(scope="module")
def made(labelled: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set `labelled`, restyled. Not to be changed."""
    out = tmp_path_factory.mktemp("made") / "set"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("shards.build.run_tasks", run_here)
        restyle_set(run, labelled, out)
    return out


def restyle_set(run: Path, place: Path | str, out: Path, **options: object) -> Manifest:
    return restyle(load_style(run), str(place), out, **({"batch_size": 4} | options))


def samples_of(folder: Path) -> dict[str, list[tuple[str, dict[str, bytes]]]]:
    """Shard -> keys and members in their order."""
    return {entry.name: list(read_shard(folder, entry)) for entry in read_manifest(folder).shards}


def hashes(folder: Path) -> dict[str, str]:
    """Of the set's files; others may keep an index beside them."""
    files = (path for path in sorted(folder.iterdir()) if path.name != INDEX)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_all_else_stays_as_it_is(labelled: Path, run: Path, made: Path):
    before, after = samples_of(labelled), samples_of(made)
    digest = hashlib.sha256((run / "last.safetensors").read_bytes()).hexdigest()
    assert list(after) == list(before)
    for shard in before:
        assert [key for key, _ in after[shard]] == [key for key, _ in before[shard]]
        for (key, old), (_, new) in zip(before[shard], after[shard], strict=True):
            assert old.keys() == new.keys() and {"iuv.png", "texture.png"} <= old.keys()
            assert {name for name in old if old[name] != new[name]} == {"image.jpg", "meta.json"}, key
            old_meta, new_meta = orjson.loads(old["meta.json"]), orjson.loads(new["meta.json"])
            assert {name for name in old_meta if old_meta[name] != new_meta[name]} == {
                "origin",
                "rendered",
                "generated",
            }
            assert new_meta["origin"] == "generated" and new_meta["keypoints"] is not None
            assert new_meta["generated"] == {
                "source_key": key,
                "pose_key": None,
                "model_hash": digest,
                "source": {"origin": "rendered", "rendered": old_meta["rendered"]},
            }
    source, manifest = read_manifest(labelled), read_manifest(made)
    assert (manifest.name, manifest.licences) == (source.name, source.licences)
    assert manifest.config == {
        "command": "restyle",
        "checkpoint_sha256": digest,
        "source_sha256": contents_hash(source),
        "batch_size": 4,
        "quality": 95,
        "precision": "no",
        "device": "cpu",
    }
    assert verify_set(made).faults == ()


def test_what_a_restyled_sample_was_is_told():
    real, drawn = (People(origin=origin).sample(3).meta for origin in ("real", "generated"))
    again = restyled_meta("k", drawn, "h2")
    assert again.generated["source"] == {"origin": "generated", "generated": GENERATED}
    meta = restyled_meta("k", real, "h")
    assert meta.generated == {"source_key": "k", "pose_key": None, "model_hash": "h", "source": {"origin": "real"}}
    assert replace(meta, origin="real", generated=None) == real


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.usefixtures("here")
def test_pictures_are_what_the_generator_draws(labelled: Path, tmp_path: Path, residual: bool):
    """Picture by picture; what it changes is brought to the picture's size, and what it does not see of that stays."""
    run = load_style(save_style(tmp_path / "run", residual=residual))
    restyle(run, str(labelled), tmp_path / "set", batch_size=4)
    before, after = Table(labelled), Table(tmp_path / "set")
    changes = []
    for i in range(len(before)):
        old, new = (table.read(i, ["image"])["image"] for table in (before, after))
        assert old.shape == new.shape == (*SIZE, 3)
        given = torch.from_numpy(resize(old, (HEIGHT, WIDTH)).copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            drawn = ((run.generator(given / 127.5 - 1) + 1) * 127.5).round().clamp(0, 255)
        change = interpolate(drawn - given, SIZE, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
        expected = (old + change).round().clip(0, 255).astype(np.uint8)
        expected = decode_member("image.jpg", encode_jpeg(expected, quality=95, chroma="420"))
        assert np.abs(new.astype(int) - expected).mean() < 0.2  # a value may be rounded otherwise in another batch
        changes.append(np.abs(new.astype(int) - old).mean())
    assert min(changes) > 5


@pytest.mark.usefixtures("here")
def test_pictures_of_the_generators_size_are_its_drawings(tmp_path: Path):
    place, run = build_people(tmp_path / "people", People(num_identities=1)), load_style(save_style(tmp_path / "run"))
    restyle(run, place, tmp_path / "set", batch_size=4)
    old, new = (Table(folder).read(0, ["image"])["image"] for folder in (place, tmp_path / "set"))
    with torch.no_grad():
        drawn = run.generator(torch.from_numpy(old).permute(2, 0, 1)[None] / 127.5 - 1)[0].permute(1, 2, 0).numpy()
    drawn = ((drawn + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    expected = decode_member("image.jpg", encode_jpeg(drawn, quality=95, chroma="420"))
    assert np.abs(new.astype(int) - expected).mean() < 0.2


@pytest.mark.usefixtures("here")
def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(labelled: Path, run: Path, made: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(labelled, broken)
    damage(broken, ["000003"])  # in the second shard
    with pytest.raises(ShardError) as caught:
        restyle_set(run, broken, tmp_path / "set")
    assert caught.value.key == "000003" and caught.value.shard == f"{broken}/tiny-000001.tar"
    assert {path.name for path in (tmp_path / "set").iterdir()} == {
        "manifest.json",
        "tiny-000000.tar",
        "tiny-000000.json",
    }
    written = (tmp_path / "set" / "tiny-000000.tar").stat().st_mtime_ns
    shutil.rmtree(broken)
    shutil.copytree(labelled, broken)
    restyle_set(run, broken, tmp_path / "set")
    assert (tmp_path / "set" / "tiny-000000.tar").stat().st_mtime_ns == written
    assert hashes(tmp_path / "set") == hashes(made)


def test_the_command_line_with_two_workers(labelled: Path, run: Path, made: Path, tmp_path: Path):
    """Their bytes are those of one process, of a set behind a URL and of a run elsewhere too."""
    shutil.copytree(run, tmp_path / "run")
    out = tmp_path / "set"
    command = [
        sys.executable,
        "-m",
        "generative",
        "restyle",
        tmp_path / "run",
        "--data",
        f"file://{labelled}",
        "--out",
        out,
    ]
    options = ["--workers", 2, "--batch-size", 4, "--json"]
    done = subprocess.run([*map(str, [*command, *options])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["num_samples"], report["num_shards"], report["out"]) == (12, 2, str(out))
    assert "12 of 12 samples" in done.stderr
    assert hashes(out) == hashes(made)


@pytest.mark.usefixtures("here")
def test_the_report_shows_both_looks_side_by_side(labelled: Path, tmp_path: Path, generative_cli):
    _, target = build_looks(tmp_path)
    run, page = save_style(tmp_path / "run"), tmp_path / "style.html"
    command = ["restyle", run, "--data", labelled, "--out", tmp_path / "set", "--workers", 1, "--report", page]
    told = generative_cli(*command)
    assert f"12 pictures in 2 shards in {tmp_path / 'set'} have the look of b" in told
    html = page.read_text()
    assert html.count("<figcaption>as it was</figcaption>") == html.count("<figcaption>restyled</figcaption>") == 12
    assert "<figcaption>target</figcaption>" not in html and "<script" not in html
    opened = load_style(run)
    opened = replace(opened, config=replace(opened.config, target=(target,)))
    assert html.count("<td>the look wanted</td>") == 0
    html = render_page(opened, str(labelled), tmp_path / "set")
    assert html.count("<figcaption>target</figcaption>") == 12
    for name, place in (("as it was", labelled), ("restyled", tmp_path / "set"), ("the look wanted", target)):
        told = re.search(rf"<td>{name}</td>(.*?)</tr>", html)[1]
        assert re.findall(r">(\d\.\d+)<", told) == [f"{value:.3f}" for value in look_of(Table(place))]


def look_of(table: Table) -> list[float]:
    """Red, green, blue, contrast and chroma, pixel by pixel."""
    sums = np.zeros(5)
    for i in range(len(table)):
        pixels = [[value / 255 for value in pixel] for pixel in table[i].image.reshape(-1, 3).tolist()]
        grey = [sum(pixel) / 3 for pixel in pixels]
        middle = sum(grey) / len(grey)
        contrast = math.sqrt(sum((value - middle) ** 2 for value in grey) / len(grey))
        chroma = sum(max(pixel) - min(pixel) for pixel in pixels) / len(pixels)
        sums += [*(sum(column) / len(pixels) for column in zip(*pixels, strict=True)), contrast, chroma]
    return (sums / len(table)).tolist()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("height", "width"), [(80, 31), (31, 80)])
def test_pictures_that_are_too_small_are_named(run: Path, tmp_path: Path, height: int, width: int):
    build_people(tmp_path / "small", LabelledPeople(height=height, width=width))
    with pytest.raises(ShardError, match=rf"at least 32 pixels .* got {height} x {width}") as caught:
        restyle_set(run, tmp_path / "small", tmp_path / "set")
    assert caught.value.shard.endswith("tiny-000000.tar") and caught.value.key == "000000"


def test_wrong_requests(labelled: Path, run: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="own folder"):
        restyle_set(run, labelled, labelled.parent / "set", overwrite=True)
    assert read_manifest(labelled).complete
    for options in ({"batch_size": 0}, {"quality": 89}, {"quality": 101}):
        with pytest.raises(ValueError, match=r"needs batch_size >= 1 and a quality of 90\.\.100"):
            restyle_set(run, labelled, tmp_path / "set", **options)
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        restyle_set(run, tmp_path / "nowhere", tmp_path / "set")
    annotator = save_run(tmp_path / "iuv", "iuv")
    with pytest.raises(ValueError, match="network is a IuvConfig, not what StyleConfig describes; give .*train style"):
        load_style(annotator)
    assert not (tmp_path / "set").exists()


@pytest.mark.usefixtures("here")
def test_other_settings_are_another_set(labelled: Path, run: Path, made: Path, tmp_path: Path):
    shutil.copytree(made, tmp_path / "set")
    with pytest.raises(ShardError, match="quality: 95 -> 90"):
        restyle_set(run, labelled, tmp_path / "set", quality=90)
    restyle_set(run, labelled, tmp_path / "set", quality=90, overwrite=True)
    assert read_manifest(tmp_path / "set").config["quality"] == 90
    assert read_manifest(tmp_path / "set").totals()["num_bytes"] < read_manifest(made).totals()["num_bytes"]


@pytest.mark.usefixtures("here")
def test_a_checkpoint_that_changes_meanwhile_is_noticed(labelled: Path, tmp_path: Path):
    run = load_style(save_style(tmp_path / "run"))
    save_style(tmp_path / "run", seed=1)
    with pytest.raises(ShardError, match="changed meanwhile"):
        restyle(run, str(labelled), tmp_path / "set")


@pytest.mark.usefixtures("here")
def test_labels_that_were_written_stay(labelled: Path, run: Path, tmp_path: Path):
    """Pseudo labels still name who wrote them."""
    place = tmp_path / "annotated"

    class Annotated(LabelledPeople):
        def sample(self, index: int):
            sample = LabelledPeople(has_keypoints=True).sample(index)
            return replace(sample, meta=replace(sample.meta, annotators={"keypoints": {"name": "n", "hash": "h"}}))

    build_people(place, Annotated())
    restyle_set(run, place, tmp_path / "set")
    _, members = samples_of(tmp_path / "set")["tiny-000000.tar"][0]
    assert decode_meta(members["meta.json"]).annotators == {"keypoints": {"name": "n", "hash": "h"}}
