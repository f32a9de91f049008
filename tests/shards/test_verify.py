"""Every fault is found, all are reported, and shard, key and field are named."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_sets import NUM_SHARDS, SAMPLES_PER_SHARD

from shards.archive import END, archive_member, iter_members
from shards.codec import encode_png
from shards.manifest import read_manifest
from shards.verify import Fault, _ShardCheck, verify_set

SHARD = "tiny-000001.tar"


def check(folder: Path) -> list[Fault]:
    """Faults of SHARD alone, without starting a worker."""
    return _ShardCheck(folder=folder)(read_manifest(folder).shards[1], lambda amount: None)[0]


def places(faults: list[Fault]) -> set[tuple[str | None, str | None]]:
    return {(fault.key, fault.field) for fault in faults}


def layout(path: Path) -> list[tuple[int, int, str, str]]:
    """(start, end, key, extension) of every member's header, content and padding in a tar."""
    with open(path, "rb") as file:
        members = list(iter_members(file, shard=path.name))
    return [(m.offset - 512, m.offset + m.size + -m.size % 512, m.key, m.extension) for m in members]


def rewrite(path: Path, change) -> None:
    """Write a tar again with each member's (name, data) passed through `change`, which returns a list of such."""
    with tarfile.open(path) as tar:
        members = [(info.name, tar.extractfile(info).read()) for info in tar]
    changed = [pair for name, data in members for pair in change(name, data)]
    path.write_bytes(b"".join(archive_member(name, data) for name, data in changed) + END)


def test_a_good_set_has_no_faults(finished_set: Path):
    reports = []
    result = verify_set(finished_set, num_workers=2, progress=lambda *report: reports.append(report))
    assert (result.num_shards, result.num_samples, result.faults) == (NUM_SHARDS, 24, ())
    assert reports[-1] == (24, 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_anywhere(finished_set: Path, own_set: Path, data: st.DataObject):
    good = (finished_set / SHARD).read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    (own_set / SHARD).write_bytes(bad)
    faults = check(own_set)
    assert {fault.shard for fault in faults} == {SHARD}
    assert "SHA-256" in faults[0].rule
    hit = [m for m in layout(finished_set / SHARD) if m[0] <= position < m[1]]
    assert len(faults) > 1
    if hit and position >= hit[0][0] + 512:  # content or padding, not a header
        _, _, key, extension = hit[0]
        assert (key, extension) in places(faults)
    elif hit:
        assert f"byte {hit[0][0]}" in faults[1].rule


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_shard_cut_short_anywhere(finished_set: Path, own_set: Path, data: st.DataObject):
    good = (finished_set / SHARD).read_bytes()
    length = data.draw(st.integers(0, len(good) - 1))
    (own_set / SHARD).write_bytes(good[:length])
    faults = check(own_set)
    assert "the manifest says" in faults[0].rule
    assert "cut short" in faults[-1].rule
    hit = [m for m in layout(finished_set / SHARD) if m[0] + 512 <= length < m[1]]
    if hit:
        assert (faults[-1].key, faults[-1].field) == hit[0][2:]


def test_a_missing_and_an_extra_shard(own_set: Path):
    (own_set / SHARD).rename(own_set / "tiny-000007.tar")
    faults = {(fault.shard, fault.rule.split(":")[0]) for fault in verify_set(own_set).faults}
    assert faults == {("tiny-000007.tar", "not in the manifest"), (SHARD, "missing")}


def test_a_missing_member_is_named(own_set: Path):
    rewrite(own_set / SHARD, lambda name, data: [] if name == "000008.image.jpg" else [(name, data)])
    assert ("000008", "image") in places(check(own_set))


def test_a_missing_optional_member_is_counted(own_set: Path):
    rewrite(own_set / SHARD, lambda name, data: [] if name == "000008.iuv.png" else [(name, data)])
    assert {fault.rule for fault in check(own_set)} >= {"5 samples with iuv.png, the manifest says 6"}


def test_a_missing_sample_is_counted(own_set: Path):
    rewrite(own_set / SHARD, lambda name, data: [] if name.startswith("000008") else [(name, data)])
    assert "5 samples, the manifest says 6" in {fault.rule for fault in check(own_set)}


@pytest.mark.parametrize(
    ("name", "data", "field", "says"),
    [
        ("000009.iuv.png", encode_png(np.full((48, 24, 3), 99, np.uint8)), "iuv", "0..24, got 99"),
        ("000009.iuv.png", encode_png(np.zeros((24, 24, 3), np.uint8)), "iuv", "height and width"),
        ("000009.texture.png", encode_png(np.zeros((9, 9, 3), np.uint8)), "texture", "shape"),
        ("000009.image.jpg", b"\xff\xd8\xff", "image", "broken JPEG"),
        ("000009.meta.json", b"{}", "meta.schema_version", "schema versions"),
    ],
)
def test_a_member_that_breaks_the_schema(own_set: Path, name: str, data: bytes, field: str, says: str):
    rewrite(own_set / SHARD, lambda old_name, old: [(old_name, data if old_name == name else old)])
    (fault,) = (fault for fault in check(own_set) if fault.key is not None)
    assert (fault.shard, fault.key, fault.field) == (SHARD, "000009", field)
    assert says in fault.rule


def test_an_unknown_member_and_a_key_that_comes_twice(own_set: Path):
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        if name == "000007.meta.json":
            return [(name, data), ("000007.depth.npy", b"")]
        return [(name.replace("000011", "000006"), data)]

    rewrite(own_set / SHARD, change)
    faults = check(own_set)
    assert ("000007", "depth.npy") in places(faults)
    assert [fault.key for fault in faults if fault.rule == "key comes twice"] == ["000006"]


def test_all_faults_are_reported_over_all_shards(own_set: Path):
    for index, key in ((0, "000002"), (0, "000004"), (3, "000019")):
        path = own_set / f"tiny-{index:06d}.tar"
        data = bytearray(path.read_bytes())
        data[data.index(f"{key}.image.jpg\0".encode()) + 512 + 250] ^= 1
        path.write_bytes(data)
    faults = verify_set(own_set, num_workers=2).faults
    assert [(f.shard, f.key, f.field) for f in faults if f.key] == [
        ("tiny-000000.tar", "000002", "image.jpg"),
        ("tiny-000000.tar", "000004", "image.jpg"),
        ("tiny-000003.tar", "000019", "image.jpg"),
    ]


def test_the_same_key_in_two_shards(own_set: Path):
    rewrite(own_set / SHARD, lambda name, data: [(name.replace("000006", "000000"), data)])
    assert ("000000", None) in places(verify_set(own_set).faults)


def test_a_manifest_that_counts_wrong(own_set: Path):
    path = own_set / "manifest.json"
    path.write_text(path.read_text().replace('"train": 2', '"train": 3', 1))
    assert "totals differ" in verify_set(own_set).faults[0].rule


def test_a_set_that_is_not_finished(own_set: Path, tmp_path: Path):
    from tiny_sets import build_tiny

    build_tiny(tmp_path / "part", shard_range=(1, 3))
    result = verify_set(tmp_path / "part")
    assert result.num_samples == 2 * SAMPLES_PER_SHARD
    assert [fault.rule for fault in result.faults] == ["not complete: 2 of 4 shards are not finished"]
    with pytest.raises(FileNotFoundError, match="not a folder of shards"):
        verify_set(tmp_path)


def test_faults_read_like_errors():
    fault = Fault(rule="missing", shard="a.tar", key="k", field="iuv")
    assert str(fault) == "shard a.tar, key k, field iuv: missing"
    assert io.StringIO(str(Fault(rule="not complete"))).read() == "not complete"
