"""One shard: the same bytes every time, whole or not there."""

import errno
import io
import os
import resource
import subprocess
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sets import build_command, environment, hashes, tiny_sample

from shards import Meta, ShardError, archive
from shards.archive import archive_member, contents, iter_members, iter_samples
from shards.build import file_sha256
from shards.codec import EncodedSample, encode_meta, encode_sample
from shards.writer import atomic_file, write_shard


def fixed_sample(key: str) -> EncodedSample:
    """A sample whose bytes come from no encoder, so that no library's version changes them."""
    meta = encode_meta(Meta(origin="real", dataset="golden", identity="golden/1", camera_id=3, split="query"))
    return EncodedSample(key=key, members={"meta.json": meta, "image.jpg": b"not decoded here", "parts.png": b""})


def test_golden_shard(tmp_path: Path):
    entry = write_shard(tmp_path / "golden-000000.tar", [fixed_sample("a"), fixed_sample("b")])
    assert entry.sha256 == "78647b6b2fad61cdb511d7b863ff921d7fdaeecf769493294585119958353765"
    assert entry.num_bytes == 2 * (512 + 512 + 512 + 512 + 512) + 1024
    assert (entry.origins, entry.datasets, entry.splits) == ({"real": 2}, {"golden": 2}, {"query": 2})
    assert entry.members == {"image.jpg": 2, "meta.json": 2, "parts.png": 2}


def test_two_writes_are_equal_and_the_entry_tells_the_files_hash(tmp_path: Path):
    samples = [encode_sample(tiny_sample(i)) for i in range(3)]
    first = write_shard(tmp_path / "x-000000.tar", samples)
    turned = [EncodedSample(key=s.key, members=dict(reversed(s.members.items()))) for s in samples]
    (tmp_path / "again").mkdir()
    second = write_shard(tmp_path / "again" / "x-000000.tar", turned)
    assert first == second
    assert file_sha256(tmp_path / "x-000000.tar") == first.sha256
    assert (tmp_path / "x-000000.tar").stat().st_size == first.num_bytes


def test_tar_reads_it(tmp_path: Path):
    encoded = encode_sample(tiny_sample(5))
    write_shard(tmp_path / "x.tar", [encoded])
    with tarfile.open(tmp_path / "x.tar") as tar:
        infos = tar.getmembers()
        assert [info.name for info in infos] == sorted(f"000005.{extension}" for extension in encoded.members)
        assert {(info.mtime, info.uid, info.gid, info.mode) for info in infos} == {(0, 0, 0, 0o644)}
        for info in infos:
            assert tar.extractfile(info).read() == encoded.members[info.name.partition(".")[2]]


def test_counting_by_a_known_meta_or_by_its_bytes_is_the_same(tmp_path: Path):
    known = [encode_sample(tiny_sample(i)) for i in range(3)]
    unknown = [EncodedSample(key=s.key, members=s.members) for s in known]
    given = [encode_sample(tiny_sample(i), encoded={"meta.json": known[i].members["meta.json"]}) for i in range(3)]
    assert [sample.meta for sample in known] == [tiny_sample(i).meta for i in range(3)]
    assert [sample.meta for sample in unknown + given] == [None] * 6
    entries = [write_shard(tmp_path / "x.tar", samples) for samples in (known, unknown, given)]
    assert entries[0] == entries[1] == entries[2]


@pytest.mark.parametrize("name", ["a.image.jpg", f"{'k' * 80}.texture.png", "n" * 100])
def test_headers_are_those_of_tarfile(name: str):
    for data in (b"", b"x", bytes(range(256)) * 300):
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.uname = len(data), 0o644, f"crc32-{zlib.crc32(data):08x}"
        block = archive_member(name, data)
        assert block[:512] == info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
        assert block[512:] == data + bytes(-len(data) % 512)


def test_names_that_do_not_fit_a_header_are_refused():
    with pytest.raises(ValueError, match="at most 100 characters, got 101"):
        archive_member("n" * 101, b"")


def test_our_reader_finds_the_same_and_skips_what_is_not_asked_for(tmp_path: Path):
    encoded = [encode_sample(tiny_sample(i)) for i in range(3)]
    write_shard(tmp_path / "x.tar", encoded)
    data = (tmp_path / "x.tar").read_bytes()
    for skip in (True, False):
        samples = list(iter_samples(io.BytesIO(data), shard="x", extensions=["iuv.png"], skip=skip))
        assert [key for key, _ in samples] == ["000000", "000001", "000002"]
        for (key, members), sample in zip(samples, encoded, strict=True):
            assert contents(key, members, shard="x") == {"iuv.png": sample.members["iuv.png"]}
            for extension, member in members.items():
                assert data[member.offset : member.offset + member.size] == sample.members[extension]


def test_every_single_changed_byte_is_noticed(tmp_path: Path):
    write_shard(tmp_path / "x.tar", [fixed_sample("a")])
    good = (tmp_path / "x.tar").read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << position % 8
        with pytest.raises(ShardError):
            for key, members in iter_samples(io.BytesIO(bytes(bad)), shard="x"):
                contents(key, members, shard="x")


def test_every_cut_is_noticed(tmp_path: Path):
    write_shard(tmp_path / "x.tar", [fixed_sample("a"), fixed_sample("b")])
    good = (tmp_path / "x.tar").read_bytes()
    for length in [*range(0, len(good), 256), len(good) - 1]:
        with pytest.raises(ShardError, match="cut short"):
            list(iter_members(io.BytesIO(good[:length]), shard="x"))


def test_bytes_after_the_end_are_noticed(tmp_path: Path):
    write_shard(tmp_path / "x.tar", [fixed_sample("a")])
    good = (tmp_path / "x.tar").read_bytes()
    assert len(list(iter_members(io.BytesIO(good + bytes(9 * 1024)), shard="x"))) == 3  # other tools pad with zeros
    with pytest.raises(ShardError, match="bytes after the end mark"):
        list(iter_members(io.BytesIO(good + b"x"), shard="x"))


def test_members_that_do_not_belong_are_refused():
    link = tarfile.TarInfo("a.image.jpg")
    link.type = tarfile.SYMTYPE
    for block in (link.tobuf(tarfile.USTAR_FORMAT), archive_member("image", b"x")):
        with pytest.raises(ShardError, match="KEY.EXTENSION"):
            list(iter_members(io.BytesIO(block + bytes(1024)), shard="x"))


def test_a_key_that_comes_twice_or_no_sample_at_all_leaves_nothing(tmp_path: Path):
    with pytest.raises(ShardError, match="comes twice") as caught:
        write_shard(tmp_path / "x.tar", [fixed_sample("a"), fixed_sample("b"), fixed_sample("a")])
    assert caught.value.key == "a"
    with pytest.raises(ShardError, match="at least one"):
        write_shard(tmp_path / "x.tar", [])
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_the_middle_leaves_what_was_there(tmp_path: Path):
    def samples():
        yield fixed_sample("a")
        raise RuntimeError("the renderer broke")

    write_shard(tmp_path / "x.tar", [fixed_sample("old")])
    before = file_sha256(tmp_path / "x.tar")
    with pytest.raises(RuntimeError, match="renderer"):
        write_shard(tmp_path / "x.tar", samples())
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]
    assert file_sha256(tmp_path / "x.tar") == before


def test_the_name_appears_only_when_the_file_is_whole(tmp_path: Path):
    with atomic_file(tmp_path / "x") as file:
        file.write(b"half")
        file.flush()
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_bytes() == b"half"


def test_a_full_disk_says_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"no room to write .*x\.tar .*bytes are free.*same command again") as caught:
        write_shard(tmp_path / "x.tar", [fixed_sample("a")])
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_build_on_a_full_disk_fails_in_one_line_and_keeps_finished_shards(finished_set: Path, own_set: Path):
    (own_set / "tiny-000002.tar").unlink()
    limit = (own_set / "tiny-000000.tar").stat().st_size // 2
    run = subprocess.run(
        build_command(own_set),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert run.returncode == 2
    assert "no room to write" in run.stderr
    assert "Traceback" not in run.stderr
    before, after = hashes(finished_set), hashes(own_set)
    assert after == {name: digest for name, digest in before.items() if name != "tiny-000002.tar"}


def test_an_undecodable_meta_is_not_written(tmp_path: Path):
    bad = replace(fixed_sample("a"), members={**fixed_sample("a").members, "meta.json": b"{}"})
    with pytest.raises(ShardError, match=r"x\.tar, key a, field meta"):
        write_shard(tmp_path / "x.tar", [bad])


def test_a_member_that_its_header_cannot_count_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 9)
    archive.archive_member("a.image.jpg", bytes(9))
    with pytest.raises(ValueError, match=r"at most 9 bytes, got 10: a\.image\.jpg"):
        archive.archive_member("a.image.jpg", bytes(10))
