"""Random access agrees with the stream, and survives threads, forks and pickling."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_sets import NUM_SHARDS, SAMPLES_PER_SHARD, MakeTiny, build_tiny, tiny_sample
from torch.utils.data import DataLoader, Dataset

from shards import Sample, ShardError
from shards import table as table_module
from shards.stream import stream
from shards.table import Table

NUM_SAMPLES = NUM_SHARDS * SAMPLES_PER_SHARD


def assert_equal(first: Sample, second: Sample) -> None:
    assert (first.key, first.meta) == (second.key, second.meta)
    for field in ("image", "texture", "aligned", "iuv", "parts"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


def test_table_equals_stream(own_set: Path):
    table = Table(own_set)
    samples = list(stream(own_set))
    assert len(table) == len(samples) == NUM_SAMPLES
    for i, sample in enumerate(samples):
        assert_equal(table[i], sample)
    assert_equal(table[-1], samples[-1])


def test_columns_tell_what_meta_tells(own_set: Path):
    table = Table(own_set)
    metas = [tiny_sample(i).meta for i in range(NUM_SAMPLES)]
    assert table.keys.tolist() == [f"{i:06d}" for i in range(NUM_SAMPLES)]
    assert table.identities.tolist() == [meta.identity or "" for meta in metas]
    assert table.camera_ids.tolist() == [meta.camera_id for meta in metas]
    assert table.splits.tolist() == [meta.split for meta in metas]
    assert set(table.origins) == {"rendered"}
    assert set(table.datasets) == {"tiny"} and set(table.uv_layouts) == {"open-body"}


def test_members_are_known_without_reading_them(own_set: Path, monkeypatch: pytest.MonkeyPatch):
    table = Table(own_set)
    monkeypatch.setattr(Table, "_pread", None)
    assert table.has(3, ["iuv.png"]) and table.has(3, ["parts.png", "texture.png"]) and not table.has(3, ["parts.png"])
    with pytest.raises(IndexError):
        table.has(NUM_SAMPLES, ["iuv.png"])


def test_read_gives_chosen_fields(own_set: Path):
    values = Table(own_set).read(7, ["iuv", "parts", "meta"])
    assert set(values) == {"key", "iuv", "parts", "meta"}
    assert values["parts"] is None
    np.testing.assert_array_equal(values["iuv"], tiny_sample(7).iuv)
    assert values["meta"] == tiny_sample(7).meta


def test_the_index_is_built_once_and_again_when_stale(own_set: Path, monkeypatch: pytest.MonkeyPatch):
    Table(own_set)
    assert (own_set / "index.npz").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "_build_index", None)
        assert len(Table(own_set)) == NUM_SAMPLES
    index = (own_set / "index.npz").read_bytes()
    build_tiny(own_set, MakeTiny(samples_per_shard=3), seed=1, overwrite=True)
    (own_set / "index.npz").write_bytes(index)
    assert len(Table(own_set)) == NUM_SHARDS * 3


def test_a_damaged_index_is_built_again_and_said(own_set: Path):
    (own_set / "index.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.warns(UserWarning, match="built again"):
        assert len(Table(own_set)) == NUM_SAMPLES
    assert len(Table(own_set)) == NUM_SAMPLES


@pytest.mark.parametrize("i", [NUM_SAMPLES, -NUM_SAMPLES - 1])
def test_outside_the_table(own_set: Path, i: int):
    with pytest.raises(IndexError, match="of a table of 24"):
        Table(own_set)[i]


def test_threads_share_a_table(own_set: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_module, "MAX_OPEN_FILES", 2)
    table = Table(own_set)
    order = np.random.default_rng(0).integers(0, NUM_SAMPLES, 200).tolist()
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(lambda i: table.read(i, ["iuv"])["iuv"], order))
    for i, iuv in zip(order, maps, strict=True):
        np.testing.assert_array_equal(iuv, tiny_sample(i).iuv)
    assert len(table._files) == 2


class Keys(Dataset):
    """Keys and sums of images of a table, read in workers."""

    def __init__(self, table: Table):
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> tuple[str, int]:
        values = self.table.read(i, ["image"])
        return values["key"], int(values["image"].sum())


@pytest.mark.parametrize(("context", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_a_table_that_was_read_before(own_set: Path, context: str, num_workers: int):
    table = Table(own_set)
    expected = [Keys(table)[i] for i in range(NUM_SAMPLES)]
    loader = DataLoader(Keys(table), batch_size=None, num_workers=num_workers, multiprocessing_context=context)
    assert [tuple(pair) for pair in loader] == expected


def test_a_pickled_table_carries_no_open_files(own_set: Path):
    table = Table(own_set)
    table[0]
    assert table._files
    copy = pickle.loads(pickle.dumps(table))
    assert not copy._files
    assert_equal(copy[0], table[0])
    table.close()
    assert_equal(copy[1], table[1])


def test_a_changed_byte_is_noticed_when_it_is_read(own_set: Path):
    table = Table(own_set)
    path = own_set / "tiny-000001.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"000009.image.jpg\0") + 512 + 300] ^= 1
    path.write_bytes(data)
    table[8]
    with pytest.raises(ShardError) as caught:
        table[9]
    assert (caught.value.shard, caught.value.key, caught.value.field) == ("tiny-000001.tar", "000009", "image")


def test_keys_are_unique_in_a_set(tmp_path: Path):
    build_tiny(tmp_path / "set", MakeTiny(same_keys=True), num_shards=2)
    with pytest.raises(ShardError, match=r"tiny-000001.*comes twice, first in tiny-000000") as caught:
        Table(tmp_path / "set")
    assert caught.value.key == "000000"


def test_an_unfinished_set_is_refused(tmp_path: Path):
    build_tiny(tmp_path / "set", shard_range=(0, 1))
    with pytest.raises(ShardError, match="not complete"):
        Table(tmp_path / "set")
