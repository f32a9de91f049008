"""Sets as Market-1501 folders, and back."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_folders import FOLDERS, market1501
from tiny_sets import environment, hashes, tiny_sample

from shards import ShardError
from shards.build import build_set
from shards.codec import EncodedSample, encode_meta, encode_sample
from shards.convert.layouts import list_pictures
from shards.convert.market import FOLDERS as MARKET_FOLDERS
from shards.convert.pack import pack
from shards.convert.unpack import number_cameras, number_identities, unpack_market1501
from shards.manifest import Manifest
from shards.table import Table

# What torchreid and its kin read from a name: identity and camera.
OTHER_TOOLS = re.compile(r"([-\d]+)_c(\d)")


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shards", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def make_set(layout: str, src: Path, out: Path) -> None:
    pack(layout, src, out, list_pictures(layout, src, dataset="friends" if layout == "folder" else None))


def pictures_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("*/*.jpg"))}


def test_market1501_comes_back_as_it_was(tmp_path: Path):
    src, back = tmp_path / "market", tmp_path / "back"
    market1501(src)
    assert run("pack", "market1501", src, tmp_path / "set", "--samples-per-shard", 3).returncode == 0
    result = run("unpack", tmp_path / "set", back, "--layout", "market1501", "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["num_pictures"] == {"bounding_box_train": 3, "query": 1, "bounding_box_test": 3}
    theirs = {name: data for name, data in pictures_of(src).items() if not name.startswith("gt_bbox")}
    assert pictures_of(back) == theirs
    assert {path.name for path in back.iterdir()} == {*MARKET_FOLDERS}
    assert run("pack", "market1501", back, tmp_path / "again", "--samples-per-shard", 3, "--workers", 2).returncode == 0
    assert hashes(tmp_path / "again") == {n: h for n, h in hashes(tmp_path / "set").items() if n != "index.npz"}


@pytest.mark.parametrize("case", [case for case in FOLDERS if case != "coco-densepose"])
def test_any_set_with_identities_is_read_by_other_tools(case: str, tmp_path: Path, no_processes: None):
    layout, dataset, make = FOLDERS[case]
    src, back = tmp_path / "friends", tmp_path / "back"
    src.mkdir()
    told = make(src)
    make_set(layout, src, tmp_path / "set")
    unpack_market1501(tmp_path / "set", back)
    numbers = back / "numbers.json"
    made = json.loads(numbers.read_text()) if numbers.exists() else {}
    table, files = Table(tmp_path / "set"), pictures_of(back)
    assert len(files) == len(told)
    folder_of = {split: folder for folder, split in MARKET_FOLDERS.items()}
    for i, (_, identity, camera, _, _, split) in enumerate(told):
        number = {"-1": -1, "0": 0}.get(identity)
        if number is None:
            number = made["identities"][f"{dataset}/{identity}"] if "identities" in made else int(identity)
        if "cameras" in made:
            camera = made["cameras"][f"{dataset}/{-1 if camera is None else camera}"]
        data = table.read_members(i, ("image.jpg",))["image.jpg"]
        (name,) = [name for name, found in files.items() if found == data and name.startswith(f"{folder_of[split]}/")]
        assert tuple(map(int, OTHER_TOOLS.search(name).groups())) == (number, camera)
        assert number == -1 or camera >= 1
    make_set("market1501", back, tmp_path / "second")
    unpack_market1501(tmp_path / "second", tmp_path / "third")
    assert pictures_of(tmp_path / "third") == files
    make_set("market1501", tmp_path / "third", tmp_path / "fourth")
    first, second = hashes(tmp_path / "second"), hashes(tmp_path / "fourth")
    assert [h for n, h in first.items() if n.endswith(".tar")] == [h for n, h in second.items() if n.endswith(".tar")]


class MakeRendered:
    """`make_shard` of rendered people: three identities, cameras 0 to 2, no sequences, several pictures alike in all.

    key and changes, of the meta, are for the fifth.
    """

    def __init__(self, key: str = "000004", **changes: object):
        self.key, self.changes = key, changes

    def __call__(self, index: int):
        for i in range(9):
            sample = encode_sample(tiny_sample(i))
            values = {**sample.meta.to_dict(), "identity": f"tiny/seed-0-{i % 3}", "split": "train", "camera_id": i % 3}
            meta = type(sample.meta).from_dict(values | (self.changes if i == 4 else {}))
            members = {**sample.members, "meta.json": encode_meta(meta)}
            yield EncodedSample(key=self.key if i == 4 else sample.key, members=members, meta=meta)


def rendered_set(folder: Path, **changes: object) -> Path:
    build_set(folder, Manifest(name="tiny", num_shards=1, config={}, licences=()), MakeRendered(**changes))
    return folder


def test_rendered_people_get_numbers_and_a_list_of_them(tmp_path: Path):
    result = run("unpack", rendered_set(tmp_path / "set"), tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "identities and cameras were numbered anew, see numbers.json" in result.stdout
    assert json.loads((tmp_path / "out/numbers.json").read_text()) == {
        "identities": {"tiny/seed-0-0": 1, "tiny/seed-0-1": 2, "tiny/seed-0-2": 3},
        "cameras": {"tiny/0": 1, "tiny/1": 2, "tiny/2": 3},
    }
    names = [path.name for path in sorted((tmp_path / "out/bounding_box_train").iterdir())]
    assert names == [f"000{k}_c{k}s1_000000_0{box}.jpg" for k in (1, 2, 3) for box in (1, 2, 3)]


def test_no_picture_takes_the_name_of_another(tmp_path: Path, no_processes: None):
    source = rendered_set(tmp_path / "set", key="0_0002_c2s1_000000_01")  # its own box 1, and the second of its kind
    unpack_market1501(source, tmp_path / "out")
    names = [path.name for path in sorted((tmp_path / "out/bounding_box_train").glob("0002*"))]
    assert names == [f"0002_c2s1_000000_0{box}.jpg" for box in (1, 2, 3)]


def test_a_picture_of_query_and_gallery_keeps_its_name_in_both(tmp_path: Path, no_processes: None):
    market1501(tmp_path / "market")
    name = "0001_c1s1_001051_00.jpg"
    shutil.copy(tmp_path / "market/query" / name, tmp_path / "market/bounding_box_test" / name)
    make_set("market1501", tmp_path / "market", tmp_path / "set")
    unpack_market1501(tmp_path / "set", tmp_path / "back")
    shutil.rmtree(tmp_path / "market/gt_bbox")
    assert pictures_of(tmp_path / "back") == pictures_of(tmp_path / "market")


@pytest.mark.parametrize("what", ["identity", "split"])
def test_a_sample_that_has_no_place_is_named(what: str, tmp_path: Path, no_processes: None):
    with pytest.raises(ShardError, match=rf"key 000004, field meta.{what}: has no {what}"):
        unpack_market1501(rendered_set(tmp_path / "set", **{what: None}), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, no_processes: None):
    source = rendered_set(tmp_path / "set")
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    result = run("unpack", source, out)
    assert result.returncode == 2
    assert f"{out} is there already" in result.stderr
    (out / "mine.txt").unlink()

    def stop(done: int, found: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack_market1501(source, out, progress=stop)
    assert list(out.iterdir()) == []
    unpack_market1501(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


@pytest.mark.parametrize(
    ("identities", "numbers"),
    [
        (["m/0002", "m/0010"], None),
        (["m/2", "m/0002"], [2, 1]),
        (["m/0000", "m/0001"], [1, 2]),
        (["m/0001", "n/0001"], [1, 2]),
        (["m/anna", "m/7"], [2, 1]),
        (["anna"], [1]),
        ([], None),
    ],
)
def test_identities_keep_numbers_that_tell_them_apart(identities: list[str], numbers: list[int] | None):
    numbered = number_identities(identities)
    assert numbered.are_own == (numbers is None)
    wanted = [int(one.rpartition("/")[2]) for one in identities] if numbers is None else numbers
    assert [numbered.of[one] for one in identities] == wanted


@pytest.mark.parametrize(
    ("cameras", "numbers"),
    [
        ({("m", 1), ("m", 6)}, None),
        ({("m", 0), ("m", 1)}, {"m/0": 1, "m/1": 2}),
        ({("m", 1), ("m", 15)}, {"m/1": 1, "m/15": 2}),
        ({("m", 1), ("n", 1)}, {"m/1": 1, "n/1": 2}),
        ({("m", -1)}, {"m/-1": 1}),
    ],
)
def test_cameras_keep_numbers_that_others_read(cameras: set[tuple[str, int]], numbers: dict[str, int] | None):
    numbered = number_cameras(cameras)
    assert numbered.are_own == (numbers is None)
    assert numbered.of == ({f"{d}/{c}": c for d, c in cameras} if numbers is None else numbers)


def test_pictures_are_the_ones_of_the_set(tmp_path: Path, no_processes: None):
    source = rendered_set(tmp_path / "set")
    unpack_market1501(source, tmp_path / "out")
    table = Table(source)
    stored = sorted(table.read_members(i, ("image.jpg",))["image.jpg"] for i in range(len(table)))
    assert sorted(pictures_of(tmp_path / "out").values()) == stored
    assert np.unique(table.identities).size == 3
