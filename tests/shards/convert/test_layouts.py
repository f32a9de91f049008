"""Every layout, end to end, on a tiny folder as its authors lay it out."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tiny_folders
from PIL import Image
from scipy.io import savemat
from tiny_folders import FOLDERS, cuhk03_pixels, market1501, mars, msmt17, write
from tiny_sets import environment

from shards.convert.commands import Pack
from shards.convert.layouts import LAYOUTS, list_pictures
from shards.table import Table
from shards.verify import verify_set


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shards", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_every_layout_is_tried():
    assert {layout for layout, _, _ in FOLDERS.values()} == {*LAYOUTS}


COMMAND_LINE = ("market1501", "cuhk03 labeled", "coco-densepose")
"""Cases tried as a user would; the others in this process, to save time."""


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_in_its_real_layout(case: str, tmp_path: Path, no_processes: None, capsys: pytest.CaptureFixture[str]):
    layout, dataset, make = FOLDERS[case]
    src, out = tmp_path / "friends", tmp_path / "set"
    src.mkdir()
    told = make(src)
    if case in COMMAND_LINE:
        result = run("pack", layout, src, out, "--samples-per-shard", 3, "--json")
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
    else:
        assert Pack(layout=layout, src=src, dst=out, samples_per_shard=3, json=True).run() == 0
        report = json.loads(capsys.readouterr().out)
    table = Table(out)
    found = []
    for i, key in enumerate(table.keys.tolist()):
        meta = table.read(i, ("meta",))["meta"]
        assert (meta.origin, meta.dataset) == ("real", dataset)
        identity = None if meta.identity is None else meta.identity.removeprefix(f"{dataset}/")
        found.append((key, identity, meta.camera_id, meta.sequence, meta.frame, meta.split))
    assert found == [(f"{i:08d}_{one[0]}", *one[1:]) for i, one in enumerate(told)]
    assert verify_set(out).faults == ()

    identities = Counter(one[1] for one in told)
    assert report["num_junk"] == identities.pop("-1", 0)
    assert report["num_distractors"] == identities.pop("0", 0)
    assert report["num_unlabelled"] == identities.pop(None, 0)
    assert report["num_identities"] == len(identities)
    assert report["num_cameras"] == len({one[2] for one in told} - {None})
    assert report["splits"] == Counter(one[5] or "none" for one in told)
    assert report["num_samples"] == table.manifest.config["num_pictures"] == len(told)
    assert table.manifest.licences == (LAYOUTS[layout].licence,)
    assert str(tmp_path) not in (out / "manifest.json").read_text()


@pytest.mark.parametrize("case", FOLDERS)
def test_jpegs_are_stored_as_they_are_and_pngs_at_high_quality(case: str, tmp_path: Path):
    layout, _, make = FOLDERS[case]
    make(tmp_path)
    for picture in list_pictures(layout, tmp_path, dataset="x").pictures:
        data = LAYOUTS[layout].read(tmp_path, picture)["image.jpg"]
        path = tmp_path / picture.file
        if path.suffix == ".png" and path.is_file():
            want = np.array(tiny_folders.Image.open(path)).astype(int)
        elif path.is_file():
            assert data == path.read_bytes()
            continue
        elif "cuhk-03.mat" in picture.file:
            want = cuhk03_pixels(picture.file.rpartition("/")[2]).astype(int)
        else:
            continue  # crops of COCO have a test of their own
        got = simplejpeg.decode_jpeg(data)
        assert got.shape == want.shape
        assert np.abs(got - want).mean() < 2
        assert simplejpeg.decode_jpeg_header(data)[3] == "444"


def test_identities_of_data_sets_differ(tmp_path: Path):
    seen: dict[str, str] = {}
    for case, (layout, _, make) in FOLDERS.items():
        src = tmp_path / case
        src.mkdir()
        make(src)
        listing = list_pictures(layout, src)
        for identity in {f"{listing.dataset}/{picture.identity}" for picture in listing.pictures}:
            assert seen.setdefault(identity, listing.dataset) == listing.dataset


STRANGERS = {
    "market1501": "bounding_box_test/0001_c2s1_0301.jpg",
    "dukemtmcreid": "query/0005_c1_0059091.jpg",
    "cuhk01": "campus/0001005.png",
    "CUHK03-NP": "labeled/query/1_c1_1.png",
    "mars": "bbox_test/0002/0003C1T0001F001.jpg",
    "partial-reid": "whole_body_images/whole.jpg",
    "partial-ilids": "Probe/one.jpg",
    "randperson": "subset/000008_c02_f000012.jpg",
    "unrealperson": "unreal_v3.1/images/333_78.jpg",
    "clonedperson": "train/700000_s02_f023389.jpg",
    "folder": "Zoë/holiday.bmp",
}


@pytest.mark.parametrize("case", STRANGERS)
def test_a_name_that_does_not_parse_is_an_error_or_counted(case: str, tmp_path: Path):
    layout, _, make = FOLDERS[case]
    told = make(tmp_path)
    write(tmp_path, STRANGERS[case])
    with pytest.raises(ValueError, match="(?s)1 files do not fit.*--skip-malformed") as caught:
        list_pictures(layout, tmp_path, dataset="x")
    assert str(tmp_path / STRANGERS[case]) in str(caught.value)
    listing = list_pictures(layout, tmp_path, dataset="x", skip_malformed=True)
    assert len(listing.pictures) == len(told)
    assert [one.file for one in listing.malformed] == [STRANGERS[case]]


def test_small_pictures_are_passed_over_if_asked(tmp_path: Path):
    for name, size in (("1/a.jpg", (32, 48)), ("1/b.jpg", (48, 31)), ("2/c.png", (31, 48)), ("2/d.png", (32, 32))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(tmp_path / name)
    listing = list_pictures("folder", tmp_path, dataset="x", min_side=32)
    assert [one.file for one in listing.pictures] == ["1/a.jpg", "2/d.png"]
    assert [tuple(one) for one in listing.malformed] == [
        ("1/b.jpg", "is 31 x 48, and smaller than 32 pixels"),
        ("2/c.png", "is 48 x 31, and smaller than 32 pixels"),
    ]


@pytest.mark.parametrize(
    ("layout", "stray"),
    [("mars", "bbox_train/0001C1T0001F001.jpg"), ("unrealperson", "v3.1/a.jpg"), ("folder", "a.jpg")],
)
def test_what_lies_outside_the_folders_is_malformed(layout: str, stray: str, tmp_path: Path):
    FOLDERS[layout][2](tmp_path)
    write(tmp_path, stray)
    malformed = list_pictures(layout, tmp_path, dataset="x", skip_malformed=True).malformed
    assert [stray.startswith(one.file) for one in malformed] == [True]


def test_a_list_of_msmt17_that_does_not_parse(tmp_path: Path):
    msmt17(tmp_path)
    path = tmp_path / "list_query.txt"
    path.write_text(path.read_text() + "0003/0004_000_05_0302morning_0491_1.jpg 3\n")
    with pytest.raises(ValueError, match="test/0003/0004_000_05_0302morning_0491_1.jpg: list_query.txt"):
        list_pictures("msmt17", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no list_query.txt"):
        list_pictures("msmt17", tmp_path)


@pytest.mark.parametrize("case", FOLDERS)
def test_an_empty_folder_says_what_is_missing(case: str, tmp_path: Path):
    with pytest.raises((FileNotFoundError, ValueError), match="^no "):
        list_pictures(FOLDERS[case][0], tmp_path, dataset="x")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        list_pictures(FOLDERS[case][0], tmp_path / "nowhere", dataset="x")


def test_the_query_of_mars(tmp_path: Path):
    told = mars(tmp_path)

    def query() -> list[str]:
        pictures = list_pictures("mars", tmp_path).pictures
        return [picture.file.rpartition("/")[2][:-4] for picture in pictures if picture.split == "query"]

    expected = [one[0] for one in told if one[5] == "query"]
    (tmp_path / "info/test_name.txt").rename(tmp_path / "names.txt")
    assert query() == expected  # the order of names is that of the list
    (tmp_path / "bbox_test/0000/0000C2T0001F001.jpg").unlink()
    with pytest.raises(ValueError, match="pictures 3 to 4 of bbox_test are one tracklet 0002C1T"):
        query()
    (tmp_path / "names.txt").rename(tmp_path / "info/test_name.txt")
    assert query() == expected  # the list knows better than a folder with gaps
    (tmp_path / "info/query_IDX.mat").unlink()
    with pytest.raises(FileNotFoundError, match="tracks_test_info.mat alone"):
        query()
    (tmp_path / "info/tracks_test_info.mat").write_bytes(b"no MATLAB file")
    savemat(tmp_path / "info/query_IDX.mat", {"query_IDX": [[3]]})
    with pytest.raises(ValueError, match=r"tracks_test_info.mat must be a MATLAB file"):
        query()
    (tmp_path / "info/query_IDX.mat").unlink()
    (tmp_path / "info/tracks_test_info.mat").unlink()
    assert query() == []


def test_cuhk03_names_what_is_wrong_with_its_files(tmp_path: Path):
    tiny_folders.cuhk03(tmp_path, "labeled")
    listing = list_pictures("cuhk03-labeled", tmp_path)
    with pytest.raises(FileNotFoundError, match="cuhk03_new_protocol_config_detected.mat"):
        list_pictures("cuhk03-detected", tmp_path)
    missing = listing.pictures[0]._replace(file="cuhk-03.mat#detected/1_001_1_01.png")
    with pytest.raises(ValueError, match="has no picture detected/1_001_1_01.png"):
        LAYOUTS["cuhk03-labeled"].read(tmp_path, missing)
    savemat(tmp_path / "cuhk03_new_protocol_config_labeled.mat", {"labels": [[1]]})
    with pytest.raises(ValueError, match="has no filelist, train_idx, query_idx, gallery_idx: it is another"):
        list_pictures("cuhk03-labeled", tmp_path)


def test_files_that_data_sets_are_handed_round_with_are_passed_over(tmp_path: Path):
    told = market1501(tmp_path)
    for name in (".DS_Store", "desktop.ini", "Readme.TXT", "notes.md", "good.mat"):
        (tmp_path / "query" / name).write_bytes(b"")
    assert len(list_pictures("market1501", tmp_path).pictures) == len(told)


def test_the_name_of_a_data_set_can_be_part_of_an_identity(tmp_path: Path):
    src = tmp_path / "my friends"
    src.mkdir()
    tiny_folders.folder(src)
    with pytest.raises(ValueError, match="got 'my friends'; give another by --dataset"):
        list_pictures("folder", src)
    assert list_pictures("folder", src, dataset="friends", licence="mine").licence == "mine"
