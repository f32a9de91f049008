"""The command lines of `synth` as a user meets them: sources of one's own, preview, export, and everything bad."""

import io
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import synth
from shards.console import main
from shards.manifest import read_manifest
from shards.table import Table
from synth.commands import cli

LICENCE = "Test Textures 1.0"
SIZES = ("--num-samples", 4, "--samples-per-shard", 2, "--samples-per-texture", 2)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Call:
    """Runs a command line of `python -m synth` in this process, to its exit code: the start of Python takes seconds."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    handler = signal.getsignal(signal.SIGTERM)

    def run_here(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["synth", *map(str, arguments)])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as caught:
                main(cli)
        finally:
            signal.signal(signal.SIGTERM, handler)
        told = capfd.readouterr()
        return Result(code=caught.value.code, out=told.out, err=told.err)

    return run_here


def environment() -> dict[str, str]:
    """Of a command: the packages of this checkout, installed or not."""
    root = str(Path(synth.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def start(*words: object, **options) -> Result:
    """Runs a command line of `python -m` in a process of its own."""
    command = [sys.executable, "-m", *map(str, words)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, **options)
    return Result(code=result.returncode, out=result.stdout, err=result.stderr)


def check_error(result: Result, *says: object) -> None:
    """Exit code 2, nothing on stdout, one error on stderr that says all of `says`, and no traceback."""
    assert (result.code, result.out) == (2, ""), result
    assert "Traceback" not in result.err
    assert "Warning" not in result.err
    # What tyro finds wrong while it parses stands in a box, its lines broken anywhere.
    text = " ".join(result.err.translate(str.maketrans("╭╮╰╯─│", "      ")).split())
    assert text.count("error: ") + text.count("Value error ") == 1, result.err
    assert text.startswith(("error: ", "Value error ", "pit: ", "preview: ")), result.err
    for word in says:
        assert str(word) in text, result.err


def write_coco(folder: Path, *, person: int = 1) -> Path:
    """Three JPEGs of 320 x 240, a person on the left half of number `person`; returns the annotations."""
    rng = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 320, "height": 240} for i in range(3)]
    for image in images:
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(folder / "images" / image["file_name"])
    box = {"id": 1, "image_id": person, "category_id": 1, "bbox": [0, 0, 160, 240], "area": 38400, "iscrowd": 0}
    box["segmentation"] = [[0, 0, 160, 0, 160, 240, 0, 240]]
    instances = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "person"}]}
    path = folder / "instances.json"
    path.write_text(json.dumps(instances))
    return path


def write_motions(folder: Path) -> None:
    """One AMASS recording: ten frames of somebody upright, z up, arms down."""
    folder.mkdir()
    poses = np.random.default_rng(6).normal(0, 0.03, (10, 156))
    poses[:, :3] = [np.pi / 2, 0, 0]
    poses[:, 3 * 16 + 2], poses[:, 3 * 17 + 2] = -1.2, 1.2
    np.savez(folder / "walk_poses.npz", poses=poses, betas=np.zeros(16), mocap_framerate=120.0)


def write_textures(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(7)
    for name, size in (("plain.png", 256), ("large.jpg", 512)):
        coarse = Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
        coarse.resize((size, size)).save(folder / name)


def source_options(root: Path) -> tuple[object, ...]:
    coco = ("--coco", root / "coco" / "images", "--coco-annotations", root / "coco" / "instances.json")
    return (*coco, "--motions", root / "motions", "--textures", root / "textures", "--texture-licence", LICENCE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources of a user's own, and `pit`, a set rendered from them. Not to be changed."""
    folder = tmp_path_factory.mktemp("sources")
    write_coco(folder / "coco")
    write_motions(folder / "motions")
    write_textures(folder / "textures")
    result = start("synth", "pit", "--out", folder / "pit", *SIZES, *source_options(folder))
    assert result.code == 0, result.err
    assert result.out == f"4 samples in 2 shards in {folder / 'pit'}\n"
    return folder


@pytest.fixture
def own_set(root: Path, tmp_path: Path) -> Path:
    """A copy of that set that the test may damage."""
    return Path(shutil.copytree(root / "pit", tmp_path / "pit"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["pit", "preview"])
def test_a_gpu_that_is_not_there_is_an_error(call: Call, tmp_path: Path, command: str):
    out = tmp_path / "out.png"
    check_error(
        call(command, "--out", out, "--device", "cuda"), "device cuda needs a CUDA GPU", "leave it out, for cpu"
    )
    assert not out.exists()


def test_sources_are_used_and_recorded(root: Path):
    manifest, table = read_manifest(root / "pit"), Table(root / "pit")
    assert f"textures: {LICENCE}" in manifest.licences
    assert any(line.startswith("backgrounds: COCO") for line in manifest.licences)
    assert any(line.startswith("motions: ") for line in manifest.licences)
    assert set(manifest.config["sources"]) == {"coco", "motions", "textures"}
    assert str(root) not in manifest.to_json()
    for i in range(len(table)):
        sample, rendered = table[i], table[i].meta.rendered
        assert rendered["background"].removeprefix("coco:") in {f"{k:012d}.jpg" for k in range(3)}
        assert rendered["activity"] == "recorded"
        assert rendered["outfit"]["file"] in {"plain.png", "large.jpg"}
        assert rendered["licences"]["outfit"] == LICENCE
        with Image.open(root / "textures" / rendered["outfit"]["file"]) as picture:
            wanted = np.asarray(picture.convert("RGB").resize((256, 256), Image.Resampling.BOX))
        np.testing.assert_array_equal(sample.texture, wanted)


def test_preview(call: Call, tmp_path: Path):
    out = tmp_path / "people.png"
    result = call("preview", "--out", out, "--num", 3, "--samples-per-texture", 7, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == {"out": str(out), "keys": ["00000000", "00000007", "00000014"]}
    assert "preview: 3 of 3 samples" in result.err
    sheet = np.array(Image.open(out))
    assert sheet.std() > 10
    call("preview", "--out", out, "--num", 3, "--compact")
    assert np.array(Image.open(out)).size < sheet.size


def test_export_person(call: Call, tmp_path: Path):
    out = tmp_path / "person.glb"
    result = call("export-person", "--out", out, "--index", 11, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == {"out": str(out), "num_bytes": out.stat().st_size}
    (mesh,) = trimesh.load(out).geometry.values()
    low, high = mesh.bounds
    assert 1.4 < high[1] - low[1] < 2.1
    assert abs(low[1]) < 0.05, "feet stand on the ground"
    assert mesh.visual.uv.shape == (len(mesh.vertices), 2)
    assert 0 <= mesh.visual.uv.min() < 0.2 < 0.8 < mesh.visual.uv.max() <= 1
    assert mesh.visual.material.baseColorTexture.size == (256, 256)
    assert np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")).std() > 10


def test_export_person_wants_its_suffix(call: Call, tmp_path: Path):
    check_error(call("export-person", "--out", tmp_path / "person.obj"), ".glb", "person.obj")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["preview", "export-person"])
def test_a_folder_that_is_not_there_yet(call: Call, tmp_path: Path, command: str):
    out = tmp_path / "new" / "person.glb"
    result = call(command, "--out", out, *(("--num", 1) if command == "preview" else ()))
    assert (result.code == 0) == out.exists()
    assert ".tmp~" not in result.err, "the user's path is named, not where it is written first"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--num-samples", 0), ("num_samples", "at least 1", "got 0")),
        (("--samples-per-texture", 0), ("samples_per_texture", "at least 1", "got 0")),
        (("--samples-per-shard", 0), ("--samples-per-shard", "at least 1", "got 0")),
        (("--workers", 0), ("workers", "at least 1", "got 0")),
        (("--seed", -1), ("seed", "0..2^63-1", "got -1")),
        (("--seed", 2**63), ("seed", "0..2^63-1", "got 9223372036854775808")),
        (("--quality", 50), ("quality", "90..100", "got 50")),
        (("--height", 255), ("even", "255 x 128")),
        (("--width", 16), ("at least 64 x 32", "256 x 16")),
        (("--raster.supersampling", 0), ("supersampling", "1..8", "got 0")),
        (("--raster.near-m", 0), ("near_m", "positive")),
        (("--camera.distance-m", 1, 5), ("distance_m", "2.5", "got 1")),
        (("--camera.distance-m", 3, "inf"), ("distance_m", "inf")),
        (("--camera.pan-rad", "nan"), ("pan_rad", "nan")),
        (("--camera.height-m", 5, 2), ("height_m", "low <= high", "5.0..2.0")),
        (("--camera.truncation", 2), ("truncation", "[0, 1]", "got 2")),
        (("--body", "anny"), ("body", "smpl=PATH", "anny")),
        (("--shards", 0, 1000), ("shard range", "0..1", "0..1000")),
        (("--shards", 1, 1), ("shard range", "1..1")),
        (("--shards", 1, 2), ("shard range", "1..2")),
    ],
    ids=lambda value: "-".join(map(str, value)) if str(value[0]).startswith("--") else "",
)
def test_bad_values(call: Call, tmp_path: Path, options: tuple, says: tuple):
    check_error(call("pit", "--out", tmp_path / "pit", "--num-samples", 1, *options), *says)
    assert not (tmp_path / "pit").exists() or list((tmp_path / "pit").glob("*.tar")) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [(("--camera.distance-m", 3, "inf"), "distance_m"), (("--camera.pan-rad", "nan"), "pan_rad")],
)
def test_preview_refuses_what_pit_refuses(call: Call, tmp_path: Path, options: tuple, says: str):
    check_error(call("preview", "--out", tmp_path / "people.png", "--num", 1, *options), says)


def test_bad_values_in_a_process_of_its_own(tmp_path: Path):
    result = start("synth", "pit", "--out", tmp_path / "pit", "--num-samples", 0)
    check_error(result, "num_samples must be at least 1, got 0")


def test_no_number(call: Call, tmp_path: Path):
    result = call("pit", "--out", tmp_path / "pit", "--num-samples", "ten")
    assert (result.code, result.out) == (2, "")
    assert "--num-samples" in result.err


def break_nothing(sources: Path) -> None:
    pass


def lose_image(sources: Path) -> None:
    (sources / "coco" / "images" / f"{2:012d}.jpg").unlink()


def cut_json(sources: Path) -> None:
    path = sources / "coco" / "instances.json"
    path.write_text(path.read_text()[:200])


def odd_texture(sources: Path) -> None:
    Image.new("RGB", (300, 257)).save(sources / "textures" / "odd.png")


def text_texture(sources: Path) -> None:
    (sources / "textures" / "text.png").write_text("no picture")


def cut_textures(sources: Path) -> None:
    for path in (sources / "textures").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def wrong_motion(sources: Path) -> None:
    np.savez(sources / "motions" / "wrong.npz", trans=np.zeros((5, 3)))


def motion_with_nan(sources: Path) -> None:
    np.savez(sources / "motions" / "walk_poses.npz", poses=np.full((5, 156), np.nan))


@pytest.mark.parametrize(
    ("damage", "options", "says"),
    [
        (break_nothing, ("--coco", "{root}/nowhere"), ("no folder", "nowhere", "COCO images")),
        (break_nothing, ("--coco-annotations", "{root}/none.json"), ("no file", "none.json", "instances JSON")),
        (break_nothing, ("--motions", "{root}/nowhere"), ("motion folder", "nowhere", "does not exist")),
        (break_nothing, ("--textures", "{root}/nowhere"), ("texture folder", "nowhere", "does not exist")),
        (break_nothing, ("--texture-licence", ""), ("licence", "--texture-licence")),
        (lose_image, (), ("1 of 3 images", f"{2:012d}.jpg", "coco/images", "belongs to the folder")),
        (cut_json, (), ("instances.json", "not a COCO instances JSON")),
        (odd_texture, (), ("textures/odd.png", "300 x 257", "square", "resize or remove")),
        (text_texture, (), ("textures/text.png", "cannot be read", "replace or remove")),
        (cut_textures, (), ("textures/", "cannot be", "replace or remove")),
        (wrong_motion, (), ("motions/wrong.npz", "poses", "missing", "remove it")),
        (motion_with_nan, (), ("motions/walk_poses.npz", "'poses'", "not finite", "remove")),
    ],
)
def test_bad_sources(call: Call, root: Path, tmp_path: Path, damage: Callable, options: tuple, says: tuple):
    sources = Path(shutil.copytree(root, tmp_path / "sources"))
    damage(sources)
    given = [str(option).format(root=sources) for option in options]
    # It opens and draws from the same sources as `pit`, and needs no worker.
    check_error(call("preview", "--out", tmp_path / "people.png", *source_options(sources), *given), *says)
    assert not (tmp_path / "people.png").exists()


def test_a_cut_image_names_shard_and_file(call: Call, root: Path, tmp_path: Path):
    sources = Path(shutil.copytree(root, tmp_path / "sources"))
    for path in (sources / "coco" / "images").iterdir():
        path.write_bytes(path.read_bytes()[:-900])
    result = call("pit", "--out", tmp_path / "out", *SIZES, *source_options(sources))
    check_error(result, "shard pit-000000.tar", "coco/images/0000", "not a whole image", "restore it")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_crops_take_the_pictures_shape(call: Call, root: Path, tmp_path: Path):
    result = call("preview", "--out", tmp_path / "people.png", "--num", 1, "--height", 128, *source_options(root))
    assert result.code == 0, result.err


def test_coco_without_annotations(call: Call, root: Path, tmp_path: Path):
    result = call("pit", "--out", tmp_path / "pit", "--num-samples", 1, "--coco", root / "coco" / "images")
    check_error(result, "--coco FOLDER", "--coco-annotations JSON")


def test_smpl_file_with_a_missing_key(call: Call, tmp_path: Path):
    np.savez(tmp_path / "model.npz", v_template=np.zeros((6890, 3)), f=np.zeros((4, 3), int))
    (tmp_path / "uv.obj").write_text("vt 0 0\nf 1/1 2/1 3/1\n")
    result = call("pit", "--out", tmp_path / "pit", "--num-samples", 1, "--body", f"smpl={tmp_path / 'model.npz'}")
    check_error(result, "model.npz", "missing", "J_regressor", "weights")
    check_error(
        call("pit", "--out", tmp_path / "pit", "--num-samples", 1, "--body", f"smpl={tmp_path / 'no.pkl'}"),
        "no.pkl",
        "not exist",
    )


class Dangerous:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_smpl_file_with_a_forbidden_class(call: Call, tmp_path: Path):
    buffer = io.BytesIO()
    pickle.dump({"v_template": Dangerous(tmp_path / "made")}, buffer)
    (tmp_path / "model.pkl").write_bytes(buffer.getvalue())
    (tmp_path / "uv.obj").write_text("vt 0 0\nf 1/1 2/1 3/1\n")
    result = call("pit", "--out", tmp_path / "pit", "--num-samples", 1, "--body", f"smpl={tmp_path / 'model.pkl'}")
    check_error(result, "model.pkl", "posix.mkdir", "not allowed")
    assert not (tmp_path / "made").exists()


def test_a_full_disk(root: Path, own_set: Path):
    lost, kept = own_set / "pit-000000.tar", own_set / "pit-000001.tar"
    lost.unlink()
    limit = kept.stat().st_size // 2
    result = start(
        "synth", "pit", "--out", own_set, *SIZES, *source_options(root),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    check_error(result, "no room to write", lost, "make room")
    assert [path.name for path in own_set.glob("*pit-*")] == [kept.name]
    assert kept.read_bytes() == (root / "pit" / kept.name).read_bytes()


def test_another_config_in_the_same_folder(call: Call, root: Path, own_set: Path):
    before = {path.name: path.read_bytes() for path in [own_set / "manifest.json", *own_set.glob("*.tar")]}
    options = ("--out", own_set, *SIZES, *source_options(root))
    result = call("pit", *options, "--seed", 5, "--quality", 90)
    check_error(result, own_set, "config.seed: 0 -> 5", "config.quality: 95 -> 90", "--overwrite", "another folder")
    assert {name: (own_set / name).read_bytes() for name in before} == before
    check_error(call("pit", "--out", own_set, *SIZES), "config.sources", "licences")
    result = call("pit", *options, "--seed", 5, "--overwrite")
    assert result.code == 0, result.err
    assert read_manifest(own_set).config["seed"] == 5
    assert all((own_set / name).read_bytes() != data for name, data in before.items() if name.endswith(".tar"))


def test_the_same_command_again_makes_nothing(call: Call, root: Path, own_set: Path):
    before = {path: path.stat().st_mtime_ns for path in own_set.glob("*.tar")}
    result = call("pit", "--out", own_set, *SIZES, *source_options(root), "--json")
    assert (result.code, json.loads(result.out)["complete"]) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in own_set.glob("*.tar")} == before


def test_a_flipped_byte_and_a_cut_shard_are_found(own_set: Path):
    flipped, cut = own_set / "pit-000000.tar", own_set / "pit-000001.tar"
    data = bytearray(flipped.read_bytes())
    data[data.index(b"00000001.iuv.png\0") + 512 + 100] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-20000])
    result = start("shards", "verify", own_set)
    assert result.code == 1
    assert f"shard {flipped.name}, key 00000001, field iuv.png" in result.out
    assert f"fault: shard {cut.name}" in result.out
    assert "all is well" not in result.out
    assert "Traceback" not in result.err
