"""Packing: keys, resuming, broken pictures, what is skipped; and the straight path for JPEGs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_folders
from tiny_folders import jpeg, market1501, pixels, write
from tiny_sets import environment, hashes

from shards import ShardError
from shards.convert import pictures
from shards.convert.layouts import list_pictures
from shards.convert.pack import pack, sample_key
from shards.manifest import Manifest, read_manifest
from shards.schema import check_key
from shards.table import Table


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shards", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def packed(src: Path, out: Path, **options) -> Manifest:
    return pack("market1501", src, out, list_pictures("market1501", src), **{"samples_per_shard": 2, **options})


@pytest.fixture
def market(tmp_path: Path) -> Path:
    market1501(tmp_path / "market")
    return tmp_path / "market"


def test_worker_counts_give_the_same_bytes(market: Path, tmp_path: Path):
    packed(market, tmp_path / "one")
    packed(market, tmp_path / "two", num_workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert len(hashes(tmp_path / "one")) == 5  # seven pictures in four shards, and the manifest


def test_the_same_command_goes_on_where_it_stopped(market: Path, tmp_path: Path, no_processes: None):
    out = tmp_path / "set"
    whole = packed(market, tmp_path / "whole")
    broken = market / "bounding_box_test/0000_c6s4_000151_02.jpg"  # in the third shard
    data = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(ShardError, match="market1501-000002.tar"):
        packed(market, out)
    assert not read_manifest(out).complete
    broken.write_bytes(data)
    before = (out / "market1501-000000.tar").stat().st_mtime_ns
    assert packed(market, out) == whole
    assert hashes(out) == hashes(tmp_path / "whole")
    assert (out / "market1501-000000.tar").stat().st_mtime_ns == before


def test_a_folder_that_has_changed_is_another_set(market: Path, tmp_path: Path):
    packed(market, tmp_path / "set")
    (market / "query/0001_c1s1_001051_00.jpg").rename(market / "query/0001_c3s1_001051_00.jpg")
    result = run("pack", "market1501", market, tmp_path / "set", "--samples-per-shard", 2)
    assert result.returncode == 2
    assert "config.listing_sha256" in result.stderr
    assert "--overwrite" in result.stderr
    result = run("pack", "market1501", market, tmp_path / "set", "--samples-per-shard", 2, "--overwrite")
    assert result.returncode == 0
    assert "market1501/0001" in Table(tmp_path / "set").identities[3]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (jpeg(1)[:-20], "cut short"),
        (jpeg(1)[:100], "not a JPEG"),
        (b"", "not a JPEG"),
        (b"<html>no picture</html>", "not a JPEG"),
        (tiny_folders.encode_png(pixels(1))[:90], "broken PNG"),
    ],
)
def test_a_broken_picture_is_named(market: Path, tmp_path: Path, no_processes: None, data: bytes, says: str):
    path = market / "query/0001_c1s1_001051_00.jpg"
    path.write_bytes(data)
    with pytest.raises(ShardError, match=says) as caught:
        packed(market, tmp_path / "set")
    assert str(path) in str(caught.value)
    assert "market1501-000001.tar" in str(caught.value)


def test_a_broken_picture_is_one_message(market: Path, tmp_path: Path):
    path = market / "query/0001_c1s1_001051_00.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    result = run("pack", "market1501", market, tmp_path / "set")
    assert result.returncode == 2
    assert f"{path}: broken JPEG" in result.stderr
    assert "mend it or take it out" in result.stderr
    assert "Traceback" not in result.stderr


def test_pixels_of_a_jpeg_are_left_alone(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "decode_png", None)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    monkeypatch.setattr("simplejpeg.encode_jpeg", None)
    for picture in list_pictures("market1501", market).pictures:
        pictures.read_picture(market, picture)


def test_sixteen_bits_are_not_cut_to_eight_unasked(market: Path):
    path = market / "query/0002_c1s1_000001_01.png"
    tiny_folders.Image.new("I;16", (4, 8)).save(path)
    picture = list_pictures("market1501", market).pictures[-4]
    assert picture.file == "query/0002_c1s1_000001_01.png"
    with pytest.raises(ValueError, match=r"0002_c1s1_000001_01.png: a PNG must have 8 bits .* mode I;16"):
        pictures.read_picture(market, picture)


def test_what_is_skipped_is_counted_and_listed(market: Path, tmp_path: Path):
    strangers = [f"query/stranger{i:02d}.jpg" for i in range(25)]
    write(market, *strangers)
    refused = run("pack", "market1501", market, tmp_path / "set")
    assert refused.returncode == 2
    assert "25 files do not fit the layout market1501" in refused.stderr
    assert not (tmp_path / "set").exists()
    result = run("pack", "market1501", market, tmp_path / "set", "--skip-malformed")
    assert result.returncode == 0
    assert "passed over 25 files" in result.stdout
    assert "query/stranger00.jpg: must be named like 0002_c1s1_000451_03.jpg" in result.stdout
    assert "and 5 more" in result.stdout
    assert read_manifest(tmp_path / "set").config["num_malformed"] == 25
    again = run("pack", "market1501", market, tmp_path / "set", "--skip-malformed", "--json")
    assert [one["file"] for one in json.loads(again.stdout)["malformed"]] == strangers


def test_the_name_of_the_data_set_and_the_licence_are_the_users(market: Path, tmp_path: Path):
    options = ("--dataset", "occluded-duke", "--licence", "research only")
    assert run("pack", "market1501", market, tmp_path / "set", *options).returncode == 0
    table = Table(tmp_path / "set")
    assert table.manifest.name == "occluded-duke"
    assert table.manifest.licences == ("research only",)
    assert set(table.identities) == {f"occluded-duke/{name}" for name in ("0001", "0002", "0007", "-1", "0")}


def test_another_data_set_has_not_the_licence_of_the_layouts_own(market: Path):
    assert list_pictures("market1501", market).licence.startswith("Market-1501")
    assert list_pictures("market1501", market, dataset="market1501").licence.startswith("Market-1501")
    assert list_pictures("market1501", market, dataset="rendered").licence == "not stated"


def test_keys_are_unique_and_valid_whatever_the_name():
    names = ("a/b.jpg", "b.jpg", "x.json#7", "ü" * 300 + ".png", ".jpg", "a b.c.jpg")
    keys = [sample_key(i, name) for i, name in enumerate(names)]
    for key in keys:
        check_key(key)
    assert keys[:3] == ["00000000_b", "00000001_b", "00000002_7"]


def test_samples_per_shard_must_be_positive(market: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        packed(market, tmp_path / "set", samples_per_shard=0)
