"""Keypoints of other programs' files: which person, which pixel, and what a malformed file is told."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posed_people import PosedPeople, build_posed, in_process, standing

from generative.cli import cli
from generative.poses import predictions
from generative.poses.coco import open_coco
from generative.poses.openpifpaf import open_openpifpaf
from generative.poses.predictions import best_person, open_predictions
from generative.poses.rtm import open_rtm
from generative.poses.source import Picture, match_names
from generative.poses.write import within, write_poses
from shards import ShardError
from shards.codec import encode_jpeg
from shards.table import Table

PICTURE = Picture(key="00000000_a", jpeg=encode_jpeg(np.zeros((64, 32, 3), np.uint8)))
FILES = PosedPeople(has_keypoints=False, annotators={"texture": {"name": "someone", "hash": "0"}})
"""Six samples called `00000000_0000_c1s1_000000_00` and so on."""


def person(*, score: float = 0.5, v: float = 0.9, shift: float = 0.0) -> dict:
    """An entry as OpenPifPaf writes it."""
    points = standing(v=v) + np.float32([shift, 0, 0])
    return {
        "keypoints": points.astype(float).round(2).flatten().tolist(),
        "bbox": [7, 8, 18, 49],
        "score": score,
        "category_id": 1,
    }


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def original_names(table: Table) -> list[str]:
    """What the pictures were called before they were packed."""
    return [f"{key[9:]}.jpg" for key in table.keys.tolist()]


def keypoints_of(folder: Path) -> list[np.ndarray]:
    table = Table(folder)
    return [np.array(table.read(i, ("meta",))["meta"].keypoints) for i in range(len(table))]


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    monkeypatch.setattr(sys, "argv", ["generative", "poses", *map(str, arguments), "--json"])
    capsys.readouterr()
    assert cli() == 0
    return json.loads(capsys.readouterr().out)


def test_the_highest_score_wins_and_confidence_decides_who_is_seen(tmp_path: Path):
    people = [person(score=0.4, shift=1), person(score=0.7, shift=2), person(score=0.7, shift=3)]
    people[1]["keypoints"][3 * 4 + 2] = 0.29
    people[1]["keypoints"][3 * 5 + 2] = 0.3
    people[1]["keypoints"][3 * 6 + 2] = 0
    path = write(tmp_path / "a.jpg.predictions.json", people)
    found = best_person(path, 0.3)
    assert np.allclose(found[:, :2], standing()[:, :2] + [2.5, 0.5], atol=0.006), (
        "its pixels have centres at whole numbers"
    )
    assert found[:, 2].tolist() == [2, 2, 2, 2, 0, 2, 0] + [2] * 10
    assert best_person(path, 0.0)[:, 2].tolist() == [2] * 6 + [0] + [2] * 10, "0 means not found"
    assert best_person(path, 0.95) is None
    assert best_person(write(path, []), 0.0) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[{", "is not JSON"),
        ("", "is not JSON"),
        ("[NaN]", "is not JSON"),
        ("[" * 5000, "is not JSON"),
        (None, "must hold a list of people, got NoneType"),
        ({"keypoints": []}, "must hold a list of people, got dict"),
        ([person(), [1]], "entry 1: must be an object, got list"),
        (
            [{**person(), "keypoints": [1.0] * 50}],
            "entry 0: keypoints must be a flat list of 51 finite numbers.*a list of 50",
        ),
        ([{**person(), "keypoints": [1.0] * 54}], "51 finite numbers.*a list of 54"),
        ([{"score": 1.0}], "entry 0: keypoints must be a flat list.*NoneType"),
        ([{**person(), "keypoints": [[1, 2, 0.5]] * 17}], "flat list of 51 finite numbers.*a list of 17"),
        ([{**person(), "keypoints": ["1"] * 51}], "51 finite numbers"),
        ([{**person(), "keypoints": [True] * 51}], "51 finite numbers"),
        ([{**person(), "keypoints": {"0": 1.0}}], "entry 0: keypoints must be a flat list.*got dict"),
        ([{**person(), "score": "high"}], "entry 0: score must be a finite number, got 'high'"),
        ([{**person(), "category_id": [1]}], r"entry 0: category_id must be 1, a person, got \[1\]"),
        ([{**person(), "score": None}], "entry 0: score must be a finite number, got None"),
        ([person(v=2.0)], "entry 0: every third.*confidence in 0..1, got 2 for joint 0; COCO's"),
        ([person(v=-0.5)], "confidence in 0..1, got -0.5"),
        ([{**person(), "category_id": 3}], "entry 0: category_id must be 1, a person, got 3"),
    ],
)
def test_a_malformed_prediction_is_named(tmp_path: Path, value: object, message: str):
    path = write(tmp_path / "a.jpg.predictions.json", value)
    with pytest.raises(ValueError, match=message) as error:
        best_person(path, 0.3)
    assert str(error.value).startswith(str(path))


def test_files_go_with_samples_by_key_or_by_the_name_they_had():
    keys = ["00000000_0002_c1", "00000001_a-b", "000002"]
    assert match_names(keys, ["x/a b.jpg.json", "0002_c1.png.json", "000002.json"], skip_missing=False, where="w") == {
        "00000000_0002_c1": "0002_c1.png.json",
        "00000001_a-b": "x/a b.jpg.json",
        "000002": "000002.json",
    }
    long = f"00000000_{'n' * 70}"
    assert match_names([long], [f"{'n' * 90}.jpg"], skip_missing=False, where="w") == {long: f"{'n' * 90}.jpg"}
    assert match_names([long], [f"{long}.jpg"], skip_missing=False, where="w") == {long: f"{long}.jpg"}
    with pytest.raises(ValueError, match=r"w: p/a.jpg and q/a.jpg both go with sample 00000000_a; remove one"):
        match_names(["00000000_a"], ["q/a.jpg", "p/a.jpg"], skip_missing=False, where="w")
    with pytest.raises(ValueError, match="w: a.jpg goes with samples 00000000_a and 00000001_a"):
        match_names(["00000000_a", "00000001_a"], ["a.jpg"], skip_missing=False, where="w")
    with pytest.raises(ValueError, match="w tells of 1 samples and not of 1, the first b.*--skip-missing"):
        match_names(["a", "b"], ["a.jpg"], skip_missing=False, where="w")
    assert match_names(["a", "b"], ["a.jpg"], skip_missing=True, where="w") == {"a": "a.jpg"}
    with pytest.raises(ValueError, match="w tells of 0 samples and not of 2"):
        match_names(["a", "b"], ["c.jpg"], skip_missing=True, where="w")


def coco(images: list[dict], annotations: list[dict]) -> dict:
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def labelled(image_id: int, *, shift: float = 0.0, known: int = 17, area: float = 10.0, **more: object) -> dict:
    """An annotation with `known` joints, the first of them hidden."""
    points = standing() + np.float32([shift, 0, 0])
    points[known:] = 0
    points[0, 2] = 1
    box = [0, 0, area, 1]
    return {"image_id": image_id, "keypoints": points.flatten().tolist(), "num_keypoints": known, "bbox": box, **more}


def test_of_a_coco_file_the_most_labelled_person_counts(tmp_path: Path):
    annotations = [
        labelled(1, shift=1, known=12),
        labelled(1, shift=2, known=15, area=20.0),
        labelled(1, shift=3, known=15, area=30.0),
        labelled(1, shift=4, known=15, area=30.0),
        labelled(1, shift=5, iscrowd=1),
        {**labelled(2), "keypoints": [0] * 51, "num_keypoints": 0},
    ]
    images = [{"id": 1, "file_name": "train/a.jpg", "height": 64, "width": 32}, {"id": 2, "file_name": "b.jpg"}]
    source = open_coco(write(tmp_path / "c.json", coco(images, annotations)), ["00000000_a", "b"], skip_missing=False)
    first, second = source.find([PICTURE, Picture(key="b", jpeg=PICTURE.jpeg)])
    assert np.allclose(first[:15, :2], standing()[:15, :2] + [3.5, 0.5])
    assert first[:, 2].tolist() == [1] + [2] * 14 + [0, 0]
    assert second is None


def test_keypoints_of_another_picture_are_refused(tmp_path: Path):
    images = [{"id": 1, "file_name": "a.jpg", "height": 32, "width": 64}]
    source = open_coco(write(tmp_path / "c.json", coco(images, [labelled(1)])), [PICTURE.key], skip_missing=False)
    with pytest.raises(ValueError, match="c.json says 32 x 64 of the picture of sample 00000000_a, which is 64 x 32"):
        next(source.find([PICTURE]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not JSON"),
        ([], 'must hold an object with the lists "images" and "annotations"'),
        ({"images": []}, 'must hold an object with the lists "images" and "annotations"'),
        (coco([{"file_name": "a.jpg"}], []), r"images\[0\]: id must be an int, got None"),
        (coco([{"id": 1, "file_name": 3}], []), r"images\[0\]: file_name must be a string, got 3"),
        (coco([{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], []), r"images\[1\]: id must be unique"),
        (coco([{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}], []), "a file_name of its own"),
        (coco([{"id": 1, "file_name": "a"}], [[]]), r"annotations\[0\]: image_id must be an int"),
        (coco([{"id": 1, "file_name": "a"}], [labelled(2)]), r"annotations\[0\]: image_id must be that of one of"),
        (coco([{"id": 1, "file_name": "a"}], [{"image_id": 1}]), r"annotations\[0\]: keypoints must be a flat list"),
        (coco([{"id": 1, "file_name": "a"}], [labelled(1, num_keypoints=3)]), r"num_keypoints must be 17.*got 3"),
        (coco([{"id": 1, "file_name": "a"}], [labelled(1, keypoints=[0.5] * 51)]), r"v must be 0, 1 or 2, got 0.5"),
        (coco([{"id": 1, "file_name": "a"}], [labelled(1, bbox=[1])]), r"bbox must be x, y, width and height"),
        (coco([{"id": 1, "file_name": "a"}], [labelled(1, bbox=5)]), r"bbox must be x, y, width and height"),
    ],
)
def test_a_malformed_coco_file_is_named(tmp_path: Path, value: object, message: str):
    path = write(tmp_path / "c.json", value)
    with pytest.raises(ValueError, match=message) as error:
        open_coco(path, ["a"], skip_missing=False)
    assert str(error.value).startswith(str(path))


def test_joints_outside_the_picture_are_unknown():
    points = standing()
    points[:4, :2] = [-0.1, 5], [32.1, 5], [5, -0.1], [5, 64.1]
    points[4:6, :2] = [0, 0], [32, 64]
    points[6, 2] = 1
    kept = within(points, (64, 32))
    assert kept[:, 2].tolist() == [0] * 4 + [2, 2, 1] + [2] * 10
    assert np.array_equal(kept[:, :2], points[:, :2])


@pytest.mark.parametrize("kind", ["predictions", "coco"])
def test_only_meta_changes(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Through the command line: other members, keys and their order stay; the set can be made again, and goes on."""
    if kind == "coco":  # once in worker processes is enough
        in_process(monkeypatch)
    data = build_posed(tmp_path / "data", FILES)
    before = Table(data)
    names = original_names(before)
    if kind == "predictions":
        source = tmp_path / "predictions"
        for number, name in enumerate(names):
            write(source / f"{name}.predictions.json", [person(shift=number)] if number != 3 else [])
    else:
        images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
        annotations = [labelled(i, shift=i) for i in range(6) if i != 3]
        source = write(tmp_path / "coco.json", coco(images, annotations))
    out = tmp_path / "out"
    report = run(monkeypatch, capsys, source, "--data", data, "--out", out)
    assert (report["num_samples"], report["num_nobody"], report["num_missing"]) == (6, 1, 0)
    after = Table(out)
    assert after.keys.tolist() == before.keys.tolist()
    assert [entry.num_samples for entry in after.manifest.shards] == [
        entry.num_samples for entry in before.manifest.shards
    ]
    assert after.manifest.licences == before.manifest.licences
    for i in range(6):
        theirs, mine = before.read_members(i), after.read_members(i)
        assert {name: data for name, data in mine.items() if name != "meta.json"} == {
            name: data for name, data in theirs.items() if name != "meta.json"
        }
        old, new = before.read(i, ("meta",))["meta"].to_dict(), after.read(i, ("meta",))["meta"].to_dict()
        changed = {name for name in old if old[name] != new[name]}
        assert changed == {"keypoints", "annotators"}
        assert set(new["annotators"]) == {"texture", "keypoints"}
        assert len(new["annotators"]["keypoints"]["hash"]) == 64
        points = np.array(new["keypoints"])
        assert bool(points[:, 2].any()) == (i != 3)
        if i != 3:
            assert np.allclose(points[:, 0], standing()[:, 0] + i + 0.5, atol=0.01)
    (out / "tiny-000001.tar").unlink()
    first = (out / "tiny-000000.tar").stat().st_mtime_ns
    run(monkeypatch, capsys, source, "--data", data, "--out", out)
    assert Table(out).manifest == after.manifest and (out / "tiny-000000.tar").stat().st_mtime_ns == first


def test_other_files_are_another_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_process(monkeypatch)
    data = build_posed(tmp_path / "data", FILES)
    table = Table(data)
    for name in original_names(table):
        path = write(tmp_path / "p" / f"{name}.predictions.json", [person()])
    old = open_predictions(tmp_path / "p", table.keys.tolist(), threshold=0.3, skip_missing=False)
    write(path, [person(shift=1)])
    new = open_predictions(tmp_path / "p", table.keys.tolist(), threshold=0.3, skip_missing=False)
    less = open_predictions(tmp_path / "p", table.keys.tolist(), threshold=0.2, skip_missing=False)
    assert len({old.hash, new.hash, less.hash}) == 3
    write_poses(table, old, tmp_path / "out", settings={})
    with pytest.raises(ShardError, match="another config:\n  config.source.hash"):
        write_poses(table, new, tmp_path / "out", settings={})
    others = Table(build_posed(tmp_path / "others", replace(FILES, seed=1)))
    with pytest.raises(ShardError, match="another config:\n  config.data"):
        write_poses(others, old, tmp_path / "out", settings={})


def test_keypoints_that_are_there_are_kept_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_process(monkeypatch)
    data = build_posed(tmp_path / "data")
    table = Table(data)
    for name in original_names(table):
        write(tmp_path / "p" / f"{name}.predictions.json", [person()])
    source = open_predictions(tmp_path / "p", table.keys.tolist(), threshold=0.3, skip_missing=False)
    with monkeypatch.context() as patch, pytest.raises(ShardError, match="is there already; --replace"):
        patch.setattr(predictions, "best_person", lambda *_: pytest.fail("the source looked before it was told"))
        write_poses(table, source, tmp_path / "out", settings={})
    write_poses(table, source, tmp_path / "replaced", settings={}, replace=True)
    assert np.allclose(keypoints_of(tmp_path / "replaced")[0][:, :2], standing()[:, :2] + 0.5, atol=0.01)
    with pytest.raises(ValueError, match="not written anew in its own folder"):
        write_poses(table, source, data, settings={}, replace=True, overwrite=True)


def test_missing_files_are_an_error_or_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    in_process(monkeypatch)
    data = build_posed(tmp_path / "data", FILES)
    for name in original_names(Table(data))[:4]:
        write(tmp_path / "p" / f"{name}.predictions.json", [person()])
    with pytest.raises(ValueError, match="tells of 4 samples and not of 2"):
        run(monkeypatch, capsys, tmp_path / "p", "--data", data, "--out", tmp_path / "out")
    report = run(monkeypatch, capsys, tmp_path / "p", "--data", data, "--out", tmp_path / "out", "--skip-missing")
    assert (report["num_nobody"], report["num_missing"]) == (2, 2)
    with pytest.raises(FileNotFoundError, match=r"no \*.predictions.json in"):
        run(monkeypatch, capsys, data, "--data", data, "--out", tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="SOURCE must be a folder, a .json or an .onnx file"):
        run(monkeypatch, capsys, tmp_path / "nothing", "--data", data, "--out", tmp_path / "other")
    with pytest.raises(ValueError, match="either SOURCE or --openpifpaf"):
        run(monkeypatch, capsys, "--data", data, "--out", tmp_path / "other")


RTMLIB = """
import types

class RTMPose:
    def __init__(self, onnx_model, model_input_size, backend, device):
        print("load", onnx_model)
        if open(onnx_model).read() == "broken":
            raise RuntimeError("no graph")
        self.size = model_input_size
        inputs = [types.SimpleNamespace(shape=["batch", 3, 64, 48])]
        self.session = types.SimpleNamespace(get_inputs=lambda: inputs)

    def __call__(self, image):
        import numpy as np
        assert self.size == (48, 64), self.size
        rows = np.arange(17.0)
        points = np.stack([image[32, 16, 0] / 16 + 0 * rows, rows], 1)
        return points[None, :NUM], np.where(rows > 2, 0.5, 0.1)[None, :NUM]
"""


def fake_rtmlib(folder: Path, monkeypatch: pytest.MonkeyPatch, *, num: int = 17) -> None:
    write(folder / "fake" / "rtmlib.py", RTMLIB.replace("NUM", str(num)))
    monkeypatch.syspath_prepend(folder / "fake")
    monkeypatch.delitem(sys.modules, "rtmlib", raising=False)


def test_rtmlib_is_asked_in_its_own_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    in_process(monkeypatch)
    fake_rtmlib(tmp_path, monkeypatch)
    data = build_posed(tmp_path / "data", FILES)
    network = write(tmp_path / "pose.onnx", "weights")
    report = run(monkeypatch, capsys, network, "--data", data, "--out", tmp_path / "out")
    assert report["source"] == "rtmlib" and report["num_nobody"] == 0
    table = Table(tmp_path / "out")
    for i, points in enumerate(keypoints_of(tmp_path / "out")):
        red = table.read(i, ("image",))["image"][32, 16, 0]
        assert np.allclose(points[:, 0], red / 16 + 0.5)
        assert points[:, 1].tolist() == (np.arange(17) + 0.5).tolist()
        assert points[:, 2].tolist() == [0] * 3 + [2] * 14


def test_what_is_wrong_with_rtmlib_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = write(tmp_path / "pose.onnx", "weights")
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(ImportError, match=r'pip install "lookalike\[pose\]"'):
        open_rtm(network, device="cpu", threshold=0.3)
    fake_rtmlib(tmp_path, monkeypatch, num=16)
    with pytest.raises(FileNotFoundError, match="no file"):
        open_rtm(tmp_path / "none.onnx", device="cpu", threshold=0.3)
    with pytest.raises(ValueError, match="threshold must lie in 0..1"):
        open_rtm(network, device="cpu", threshold=30)
    source = open_rtm(network, device="cpu", threshold=0.3)
    assert source.hash != open_rtm(network, device="cpu", threshold=0.4).hash
    with pytest.raises(ValueError, match="the picture of sample b7 does not decode: .*JPEG"):
        list(source.find([Picture(key="b7", jpeg=b"nothing")]))
    with pytest.raises(ValueError, match="the picture of sample b7 does not decode: .*JPEG"):
        _ = Picture(key="b7", jpeg=b"nothing").size
    with pytest.raises(
        ValueError, match=r"must find COCO's 17 keypoints of one person, it finds an array \(1, 16, 2\)"
    ):
        next(source.find([PICTURE]))
    with pytest.raises(ValueError, match="is no network that rtmlib can run on cpu: no graph"):
        open_rtm(write(tmp_path / "broken.onnx", "broken"), device="cpu", threshold=0.3)


OPENPIFPAF = """#!PYTHON
import glob, json, os, sys
arguments = sys.argv[1:]
assert arguments[:2] == ["-m", "openpifpaf.predict"], arguments
assert not {"PYTHONPATH", "OMP_NUM_THREADS"} & os.environ.keys()
if arguments[2:] == ["--version"]:
    print("OpenPifPaf 0.13.11")
    sys.exit()
options = dict(zip(arguments[2::2], arguments[3::2]))
if options["--checkpoint"] == "broken":
    sys.exit("no such checkpoint")
assert options["--long-edge"] == "321"
for path in glob.glob(options["--glob"]):
    shift = int(os.path.basename(path)[:8])
    keypoints = [x for joint in range(17) for x in (shift + 1, joint + 1, 0.9)]
    people = [{"keypoints": keypoints, "score": 0.5, "category_id": 1, "bbox": [0, 0, 1, 1]}]
    if options["--checkpoint"] == "forgets":
        break
    with open(os.path.join(options["--json-output"], os.path.basename(path) + ".predictions.json"), "w") as file:
        json.dump(people if shift != 2 else [], file)
"""


def fake_python(folder: Path) -> Path:
    path = write(folder / "python", OPENPIFPAF.replace("PYTHON", sys.executable, 1))
    path.chmod(0o755)
    return path


def test_openpifpaf_runs_in_its_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    data = build_posed(tmp_path / "data", FILES)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    common = ("--openpifpaf", fake_python(tmp_path), "--data", data, "--long-edge", 321)
    report = run(monkeypatch, capsys, *common, "--out", tmp_path / "out")
    assert (report["source"], report["num_nobody"]) == ("openpifpaf", 1)
    for i, points in enumerate(keypoints_of(tmp_path / "out")):
        if i != 2:
            assert points[:, 0].tolist() == [i + 1.5] * 17 and points[:, 1].tolist() == (np.arange(17) + 1.5).tolist()
    with pytest.raises(ShardError, match="sample 00000000_0000_c1s1_000000_00, though it ended well"):
        run(monkeypatch, capsys, *common, "--out", tmp_path / "no", "--checkpoint", "forgets")
    with pytest.raises(ShardError, match=r"failed \(exit code 1\): no such checkpoint"):
        run(monkeypatch, capsys, *common, "--out", tmp_path / "none", "--checkpoint", "broken")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_environment_without_openpifpaf_is_told_what_to_install(tmp_path: Path):
    settings = {"checkpoint": "a", "long_edge": None, "threshold": 0.3}
    with pytest.raises(ValueError, match=f"{sys.executable} -m pip install openpifpaf"):
        open_openpifpaf(Path(sys.executable), **settings)
    with pytest.raises(
        FileNotFoundError, match="cannot run .*python3.0: No such file.*Name the environment's interpreter"
    ):
        open_openpifpaf(tmp_path / "python3.0", **settings)
    with pytest.raises(ValueError, match="long edge must be at least 1"):
        open_openpifpaf(fake_python(tmp_path), **{**settings, "long_edge": 0})
    python = fake_python(tmp_path)
    hashes = {
        open_openpifpaf(python, **{**settings, **change}).hash
        for change in (
            {},
            {"long_edge": 9},
            {"threshold": 0.4},
            {"checkpoint": str(write(tmp_path / "w", "1"))},
            {"checkpoint": "b"},
        )
    }
    hashes.add(open_openpifpaf(python, **{**settings, "checkpoint": str(write(tmp_path / "w", "2"))}).hash)
    assert len(hashes) == 6
