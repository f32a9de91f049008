"""The command lines as a user meets them, and what they share."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sets import NUM_SHARDS, SAMPLES_PER_SHARD, environment, tiny_sample

from shards import ShardError, console
from shards.sheet import PART_COLOURS, choose_identities, colour_iuv, draw_identities, draw_sheet, draw_skeleton
from shards.workers import WorkerError

NUM_SAMPLES = NUM_SHARDS * SAMPLES_PER_SHARD


def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shards", *map(str, arguments)]
    return subprocess.run(command, env=environment(**extra), capture_output=True, text=True, check=False)


def test_info(own_set: Path):
    result = run("info", own_set, "--json")
    assert result.returncode == 0
    info = json.loads(result.stdout)
    assert info["num_samples"] == NUM_SAMPLES
    assert info["origins"] == {"rendered": 24}
    assert info["splits"] == {"gallery": 8, "query": 8, "train": 8}
    assert info["num_identities"] == 3  # tiny/1 to tiny/3: tiny/0 are distractors
    assert (info["num_junk"], info["num_distractors"]) == (0, 5)
    assert info["num_unlabelled"] == 4
    assert info["samples_per_camera"] == {"0": 8, "1": 8, "2": 8}
    assert info["config"] == {"seed": 0, "camera": {"height_m": 3.0}}
    assert info["licences"] == ["CC0-1.0"]
    assert info["samples_per_s"] > 0
    text = run("info", own_set).stdout
    assert "rendered 24" in text
    assert "CC0-1.0" in text


def test_verify_of_a_good_and_a_bad_set(own_set: Path):
    good = run("verify", own_set, "--workers", 2)
    assert (good.returncode, good.stdout) == (0, "4 shards, 24 samples: all is well\n")
    assert "24 of 24 samples" in good.stderr
    path = own_set / "tiny-000002.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"000015.iuv.png\0") + 512 + 100] ^= 1
    path.write_bytes(data)
    bad = run("verify", own_set)
    assert bad.returncode == 1
    assert "fault: shard tiny-000002.tar, key 000015, field iuv.png: bytes differ" in bad.stdout
    as_json = run("verify", own_set, "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["faults"][1]["key"] == "000015"


def test_sheet(own_set: Path, tmp_path: Path):
    out = tmp_path / "people.png"
    result = run("sheet", own_set, "--num", 3, "--out", out, "--json")
    assert json.loads(result.stdout) == {"out": str(out), "keys": ["000000", "000011", "000023"]}
    assert np.array(Image.open(out)).std() > 10


def test_sheet_of_chosen_samples(own_set: Path, tmp_path: Path):
    out = tmp_path / "people.png"
    keys = ["000017", "000003"]
    result = run("sheet", own_set, "--keys", *keys, "--columns", 1, "--out", out, "--json")
    assert json.loads(result.stdout) == {"out": str(out), "keys": keys}
    sheet = np.array(Image.open(out)).astype(int)
    for row, key in enumerate(keys):
        tile = sheet[4 + row * (256 + 28 + 8) + 28 :][:256, 4 : 4 + 128]
        assert np.abs(tile.mean((0, 1)) - tiny_sample(int(key)).image.mean((0, 1))).max() < 2
    stranger = run("sheet", own_set, "--keys", "000003", "nobody")
    assert stranger.returncode == 2 and "got nobody" in stranger.stderr
    both = run("sheet", own_set, "--keys", "000003", "--num", 3)
    assert both.returncode == 2 and "leave out" in both.stderr


def test_sheet_by_identity(own_set: Path, tmp_path: Path):
    out = tmp_path / "people.png"
    options = ("--by", "identity", "--num", 2, "--columns", 3, "--out", out)
    result = run("sheet", own_set, *options, "--json")
    # identity i % 5, camera i % 3: tiny/1 is 1, 6, 11, 16, 21, and one of each camera comes before a second of any;
    # tiny/0 would be distractors
    keys = ["000006", "000001", "000011", "000003", "000013", "000008"]
    assert json.loads(result.stdout) == {"out": str(out), "keys": keys}
    assert run("sheet", own_set, *options).stdout == f"2 identities, 6 pictures, in {out}\n"
    sheet = np.array(Image.open(out)).astype(int)
    row_height = 2 * 14 + 256 + 2 * 4
    assert sheet.shape == (2 * row_height + 4, 3 * (128 + 4) + 4, 3)
    for i, key in enumerate(keys):
        row, column = divmod(i, 3)
        y, x = 4 + row * row_height + 28, 4 + column * 132
        assert np.abs(sheet[y : y + 256, x : x + 128].mean((0, 1)) - tiny_sample(int(key)).image.mean((0, 1))).max() < 2


def test_identities_are_chosen_evenly_and_cameras_first():
    identities = np.array([*["a/1"] * 6, *["a/2"] * 2, "a/-1", "a/0", "", *["b/3"] * 9])
    cameras = np.array([1, 1, 1, 1, 2, 7, 3, 3, 1, 1, 1, *[-1] * 9])
    assert choose_identities(identities, cameras, num=3, per_identity=4) == [[0, 3, 4, 5], [6, 7], [11, 13, 16, 19]]
    assert choose_identities(identities, cameras, num=2, per_identity=2) == [[0, 4], [11, 19]]
    assert choose_identities(identities, cameras, num=9, per_identity=1) == [[0], [6], [11]]
    for num, per_identity in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="3 identities"):
            choose_identities(identities, cameras, num=num, per_identity=per_identity)
    with pytest.raises(ValueError, match="no identities"):
        choose_identities(identities[8:11], cameras[8:11], num=1, per_identity=1)


@pytest.mark.parametrize("command", ["info", "verify", "sheet"])
def test_a_missing_folder_is_one_line(command: str, tmp_path: Path):
    result = run(command, tmp_path / "nowhere")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: no manifest.json in")
    assert len(result.stderr.splitlines()) <= 2
    assert result.stdout == ""


def test_debugging_shows_the_traceback(tmp_path: Path):
    assert "Traceback" in run("info", tmp_path, LOOKALIKE_DEBUG="1").stderr


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ShardError("bad", shard="a.tar"), 2, "error: shard a.tar: bad\n"),
        (FileNotFoundError(2, "No such file or directory", "coco.json"), 2, "No such file or directory: coco.json"),
        (WorkerError("killed by SIGKILL", is_defect=False), 2, "error: killed by SIGKILL"),
        (KeyboardInterrupt(), 130, "same command again"),
    ],
)
def test_errors_of_use_are_words_and_a_code(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console.signal, "signal", lambda *args: None)

    def fail() -> int:
        raise error

    with pytest.raises(SystemExit) as caught:
        console.main(fail)
    assert caught.value.code == code
    assert says in capsys.readouterr().err


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console.signal, "signal", lambda *args: None)

    def fail() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        console.main(fail)


def test_a_reader_that_closes_the_pipe_is_no_error(own_set: Path):
    command = f"{sys.executable} -m shards info {own_set} --json | head -c 10"
    result = subprocess.run(["sh", "-c", command], env=environment(), capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_speed_counts_what_was_made_here_from_when_work_began(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.progress_bar("pit", 1000) as report:
        for clock[0], done in ((3.0, 0), (6.0, 400), (16.0, 500), (17.0, 510)):
            report(done, min(done, 400))
    assert capsys.readouterr().err.splitlines() == [
        "pit: 500 of 1,000 samples, 10 samples/s, 50 s left",
        "pit: 510 of 1,000 samples, 10 samples/s, 49 s left",
    ]


def test_sheet_draws_what_it_says():
    sample = tiny_sample(0)
    sheet = draw_sheet([sample, tiny_sample(1), tiny_sample(2)], columns=2)
    compact = draw_sheet([sample, tiny_sample(1), tiny_sample(2)], columns=3, compact=True)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > compact.shape[1]
    assert (PART_COLOURS[4] == sheet).all(-1).any()
    with pytest.raises(ValueError, match="needs samples"):
        draw_sheet([])
    with pytest.raises(ValueError, match="in every row"):
        draw_identities([("nobody", [])])
    with pytest.raises(ValueError, match="one for each of 1"):
        draw_sheet([sample], captions=["a", "b"])


def test_colours_of_iuv_show_body_background_and_what_is_carried():
    iuv = np.array([[[0, 0, 0], [0, 255, 0], [1, 0, 255], [2, 0, 255]]], np.uint8)
    colours = colour_iuv(iuv)[0].tolist()
    assert colours[0] == [0, 0, 0]
    assert len({tuple(colour) for colour in colours}) == 4


def test_a_skeleton_leaves_out_what_is_outside():
    image = np.zeros((40, 40, 3), np.uint8)
    points = [[20.5, 20.5, 0.0]] * 17
    np.testing.assert_array_equal(draw_skeleton(image, points), image)
    points[5] = [10.5, 12.5, 2.0]
    drawn = draw_skeleton(image, points)
    assert drawn[12, 10].any()
    rows, columns = np.nonzero(drawn.any(-1))
    assert (rows.mean(), columns.mean()) == (12.0, 10.0)


def test_importing_the_package_is_cheap():
    code = "import sys, shards; print(sorted({'torch', 'webdataset', 'PIL', 'rich', 'tyro'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
