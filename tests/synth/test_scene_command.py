"""`python -m synth scene` as its users run it."""

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from shards.console import main
from shards.stream import stream
from shards.table import Table
from synth.commands import cli

SMALL = (
    "--num-identities 28 --num-cameras 2 --height 64 --width 32 --network.rows 192 --network.columns 256 "
    "--walk.frames 1 --detector.min-rows 24 --samples-per-shard 40"
).split()


def synth_process(*arguments: str) -> subprocess.CompletedProcess:
    """Run `python -m synth`."""
    return subprocess.run([sys.executable, "-m", "synth", *arguments], capture_output=True, text=True)


def synth(*arguments: str) -> subprocess.CompletedProcess:
    """The same in this process, to its exit code: the start of Python takes seconds."""
    out, err, handler = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["synth", *arguments])
        with pytest.raises(SystemExit) as caught:
            main(cli)
    signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(arguments, caught.value.code, out.getvalue(), err.getvalue())


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.*"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with frames, made by two workers. Not to be changed."""
    out = tmp_path_factory.mktemp("scene") / "set"
    run = synth_process("scene", "--out", str(out), *SMALL, "--keep-frames", "--workers", "2", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["complete"] and report["num_shards"] == 2
    return out


def test_table_stream_and_frames_agree(made: Path):
    table = Table(made)
    streamed = {sample.key: sample.meta for sample in stream([made])}
    assert sorted(streamed) == sorted(table.keys.tolist())
    assert Counter(table.splits.tolist()) == Counter(meta.split for meta in streamed.values())
    assert set(table.splits.tolist()) == {"train", "query", "gallery"}
    train, test = (
        {i for i, s in zip(table.identities, table.splits, strict=True) if (s == "train") == own}
        for own in (True, False)
    )
    assert not train & test and len(train) == len(test) == 14
    assert set(table.camera_ids.tolist()) == {0, 1}
    coco = COCO(made / "frames" / "annotations.json")
    seen = {(a["identity"], coco.imgs[a["image_id"]]["file_name"][:-4]) for a in coco.anns.values()}
    assert {(m.identity, k.partition("-")[2]) for k, m in streamed.items() if m.uv_layout} <= seen


def test_bytes_do_not_depend_on_workers_and_a_repeated_run_changes_nothing(made: Path, tmp_path: Path):
    before = digests(made)
    run = synth("scene", "--out", str(made), *SMALL, "--keep-frames")
    assert run.returncode == 0 and digests(made) == before
    run = synth("scene", "--out", str(tmp_path / "set"), *SMALL, "--shards", "1", "2")
    assert "others are still missing" in run.stdout
    assert digests(tmp_path / "set")["scene-000001.tar"] == before["scene-000001.tar"]


def test_a_preset_gives_the_defaults_that_the_command_line_overrides():
    shown = synth("scene", "--preset", "msmt-like", "--help").stdout
    assert "(default: 15)" in shown
    assert "(default: 6)" in synth("scene", "--help").stdout
    run = synth("scene", "--out", "x", "--preset=nobody")
    assert run.returncode == 2
    assert "market-like, msmt-like, pose-poor, occluded, partial, tracklets" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_value_is_one_line(tmp_path: Path):
    run = synth_process("scene", "--out", str(tmp_path / "set"), "--num-identities", "1")
    assert run.returncode == 2 and "two people" in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "set").exists()


def test_overwriting_takes_the_old_frames_away_and_nothing_else(made: Path, tmp_path: Path):
    out = Path(shutil.copytree(made, tmp_path / "set"))
    (out / "frames" / "notes.txt").write_text("mine")
    run = synth("scene", "--out", str(out), *SMALL, "--seed", "3", "--overwrite", "--workers", "0")
    assert run.returncode == 2 and digests(out / "frames" / "images") == digests(made / "frames" / "images")
    run = synth("scene", "--out", str(out), *SMALL, "--seed", "3", "--num-identities", "4", "--overwrite")
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (out / "frames").iterdir()) == ["images", "notes.txt"]
    assert not list((out / "frames" / "images").iterdir())


def test_missing_frames_are_named_with_a_remedy(made: Path, tmp_path: Path):
    out = Path(shutil.copytree(made, tmp_path / "set"))
    (out / "frames" / "circle-000001.json").unlink()
    run = synth("scene", "--out", str(out), *SMALL, "--keep-frames")
    assert run.returncode == 2 and "circle-000001.json is missing" in run.stderr and "--overwrite" in run.stderr


def test_sources_that_do_not_go_with_scenes_are_refused(tmp_path: Path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (256, 256)).save(tmp_path / name)
    np.savez(tmp_path / "walk.npz", poses=np.zeros((8, 156)), mocap_framerate=60.0)
    textures = ("--textures", str(tmp_path), "--texture-licence", "test")
    run = synth("scene", "--out", str(tmp_path / "set"), *SMALL, *textures)
    assert run.returncode == 2 and "28 identities need as many textures, the folder has 2" in run.stderr
    run = synth("scene", "--out", str(tmp_path / "set"), "--preset", "tracklets", "--motions", str(tmp_path))
    assert run.returncode == 2 and "no sequence" in run.stderr
    assert not (tmp_path / "set").exists()
