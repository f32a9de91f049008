"""Sequential reading: each sample once over ranks and workers, reproducible orders, honest mixing."""

import logging
import pickle
from collections import Counter
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import webdataset
from tiny_sets import NUM_SHARDS, SAMPLES_PER_SHARD, MakeTiny, build_tiny, tiny_sample
from torch.utils.data import DataLoader

from shards import Sample, ShardError
from shards.codec import encode_sample
from shards.manifest import read_manifest
from shards.remote import manifest_of
from shards.stream import read_shard, stream

NUM_SAMPLES = NUM_SHARDS * SAMPLES_PER_SHARD
ALL = [f"{i:06d}" for i in range(NUM_SAMPLES)]


def keys_of(samples) -> list[str]:
    return [sample["key"] if isinstance(sample, dict) else sample.key for sample in samples]


def test_stored_order_without_shuffling(finished_set: Path):
    source = stream(finished_set)
    assert keys_of(source) == ALL
    assert source.num_samples == NUM_SAMPLES
    assert all(isinstance(sample, Sample) for sample in source)


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/tiny-{{000000..000003}}.tar"])
def test_folders_urls_and_brace_patterns(finished_set: Path, form: str):
    assert keys_of(stream(form.format(finished_set), fields=["meta"])) == ALL


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}"])
def test_one_shard_as_it_lies(finished_set: Path, form: str):
    source = form.format(finished_set)
    manifest = manifest_of(source)
    assert manifest == read_manifest(finished_set)
    samples = list(read_shard(source, manifest.shards[2]))
    assert [key for key, _ in samples] == ALL[12:18]
    assert samples[1][1] == encode_sample(tiny_sample(13)).members


def test_one_shard_is_held_to_its_entry(own_set: Path):
    entry = read_manifest(own_set).shards[1]
    with pytest.raises(ShardError, match="holds 6 samples, the manifest says 7"):
        list(read_shard(own_set, replace(entry, num_samples=7)))
    path = own_set / entry.name
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(ShardError, match="cut short") as caught:
        list(read_shard(own_set, entry))
    assert caught.value.shard == str(path)


def test_webdataset_by_itself_reads_the_same(finished_set: Path):
    plain = webdataset.WebDataset(f"{finished_set}/tiny-{{000000..000003}}.tar", shardshuffle=False)
    raws = list(plain)
    assert [raw["__key__"] for raw in raws] == ALL
    members = {extension: data for extension, data in raws[3].items() if not extension.startswith("__")}
    assert members == encode_sample(tiny_sample(3)).members


def test_chosen_fields_only(finished_set: Path):
    sample = next(iter(stream(finished_set, fields=["iuv", "parts"])))
    assert set(sample) == {"shard", "key", "iuv", "parts"}
    assert sample["parts"] is None
    with pytest.raises(ValueError, match="depth"):
        stream(finished_set, fields=["depth"])


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@pytest.mark.parametrize("shuffle_buffer", [0, 5])
def test_every_sample_once_over_ranks_and_workers(
    finished_set: Path, monkeypatch: pytest.MonkeyPatch, num_ranks: int, shuffle_buffer: int
):
    keys = []
    for rank in range(num_ranks):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(num_ranks))
        source = stream(finished_set, fields=["meta"], shuffle_buffer=shuffle_buffer, seed=3)
        keys.append(keys_of(DataLoader(source, batch_size=None, num_workers=2)))
    assert sorted(chain(*keys)) == ALL
    assert max(map(len, keys)) - min(map(len, keys)) <= SAMPLES_PER_SHARD


def test_the_order_is_a_function_of_seed_and_epoch(finished_set: Path):
    def order(**options) -> list[str]:
        return keys_of(stream(finished_set, fields=["meta"], shuffle_buffer=8, **options))

    first = order(seed=0)
    assert sorted(first) == ALL
    assert order(seed=0) == first
    assert len({tuple(first), tuple(order(seed=1)), tuple(order(seed=0, epoch=1)), tuple(ALL)}) == 4
    assert [key[:5] for key in first] != [key[:5] for key in ALL]


def test_set_epoch_reaches_workers_that_live_on(finished_set: Path):
    source = stream(finished_set, fields=["meta"], shuffle_buffer=8)
    loader = DataLoader(source, batch_size=None, num_workers=1, persistent_workers=True)
    first = keys_of(loader)
    source.set_epoch(1)
    second = keys_of(loader)
    assert first == keys_of(stream(finished_set, fields=["meta"], shuffle_buffer=8, epoch=0))
    assert second == keys_of(stream(finished_set, fields=["meta"], shuffle_buffer=8, epoch=1))


def test_a_stream_pickles_before_it_is_read(finished_set: Path):
    assert keys_of(pickle.loads(pickle.dumps(stream(finished_set, fields=["meta"])))) == ALL


def test_several_sources_without_weights_are_one(finished_set: Path):
    both = stream([finished_set, f"{finished_set}/../set/tiny-000001.tar"], fields=["meta"], shuffle_buffer=10)
    counts = Counter(keys_of(both))
    assert set(counts) == set(ALL)
    assert {key for key, n in counts.items() if n == 2} == set(ALL[SAMPLES_PER_SHARD : 2 * SAMPLES_PER_SHARD])
    assert both.num_samples is None


def test_weights_mix_in_proportion_and_for_ever(finished_set: Path, tmp_path: Path):
    build_tiny(tmp_path / "other", MakeTiny(samples_per_shard=2), num_shards=1)
    halves = [f"{finished_set}/tiny-{{000001..000003}}.tar", str(tmp_path / "other")]

    def draw(seed: int, num: int) -> list[str]:
        return keys_of(islice(stream(halves, fields=["meta"], weights=(3, 1), seed=seed, shuffle_buffer=4), num))

    keys = draw(0, 1200)
    from_other = sum(key in ALL[:2] for key in keys)
    assert abs(from_other - 300) < 4 * np.sqrt(1200 * 0.25 * 0.75)
    assert set(keys) == {*ALL[:2], *ALL[SAMPLES_PER_SHARD:]}
    assert draw(0, 1200) == keys
    assert draw(1, 1200) != keys


def test_repeat_goes_on_in_a_new_order(finished_set: Path):
    keys = keys_of(islice(stream(finished_set, fields=["meta"], shuffle_buffer=8, repeat=True), 3 * NUM_SAMPLES))
    passes = [keys[i : i + NUM_SAMPLES] for i in range(0, len(keys), NUM_SAMPLES)]
    assert [sorted(part) for part in passes] == [ALL] * 3
    assert passes[0] != passes[1] != passes[2]


def test_too_few_shards_are_an_error_and_no_hang(finished_set: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ValueError, match="4 shards cannot be split over 5 ranks"):
        list(stream(finished_set))
    with pytest.raises(ValueError, match="a shard for each of 5 ranks"):
        next(iter(stream(finished_set, weights=(1,))))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def member_offset(path: Path, name: str) -> int:
    return path.read_bytes().index(name.encode() + b"\0") + 512


def test_a_changed_byte_names_shard_key_and_field(own_set: Path):
    path = own_set / "tiny-000001.tar"
    flip(path, member_offset(path, "000008.texture.png") + 200)
    with pytest.raises(ShardError) as caught:
        list(stream(own_set))
    assert caught.value.shard.endswith("tiny-000001.tar")
    assert (caught.value.key, caught.value.field) == ("000008", "texture.png")
    assert len(list(stream(own_set, fields=["image"]))) == NUM_SAMPLES


def test_skipping_is_opt_in_counted_and_reported(own_set: Path, caplog: pytest.LogCaptureFixture):
    for name in ("000001.iuv.png", "000020.meta.json"):
        path = own_set / f"tiny-{int(name[:6]) // SAMPLES_PER_SHARD:06d}.tar"
        flip(path, member_offset(path, name) + 5)
    with caplog.at_level(logging.WARNING, logger="shards"):
        keys = keys_of(stream(own_set, max_bad_samples=2))
    assert keys == [key for key in ALL if key not in ("000001", "000020")]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "skipped bad sample 1 of at most 2",
        "skipped bad sample 2 of at most 2",
    ]
    assert "key 000020" in caplog.text
    with pytest.raises(ShardError, match="key 000020"):
        list(stream(own_set, max_bad_samples=1))


def test_a_shard_cut_where_a_header_begins_is_noticed(own_set: Path):
    path = own_set / "tiny-000003.tar"
    start = member_offset(path, "000022.aligned.jpg") - 512
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(ShardError, match="tiny-000003.*cut short after 000021"):
        list(stream(own_set))


def test_a_source_that_is_not_there_or_not_finished(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="not a folder of shards"):
        stream(tmp_path)
    build_tiny(tmp_path / "set", shard_range=(0, 1))
    with pytest.raises(ShardError, match="not complete"):
        stream(tmp_path / "set")


def test_what_is_to_be_learned_from(finished_set: Path, tmp_path: Path):
    """The split "train" of sets that have it, and all of sets without."""
    place = tmp_path / "set"
    build_tiny(place, MakeTiny(samples_per_shard=2, splits=("gallery", "train", None, "train")))
    build_tiny(tmp_path / "plain", MakeTiny(splits=(None, None)), num_shards=2)
    learned = stream([place, finished_set, tmp_path / "plain"], to_train=True)
    assert sorted(keys_of(learned)) == sorted(["000002", "000003", "000006", "000007", *ALL[::3], *ALL[:12]])
    assert (learned.num_samples, learned.num_shards) == (24, 8)
    assert keys_of(stream(place, fields=["image"], to_train=True)) == ["000002", "000003", "000006", "000007"]
    searched = tmp_path / "searched"
    build_tiny(searched, MakeTiny(splits=("gallery", "query")), num_shards=2)
    with pytest.raises(ValueError, match=r'no sample to learn from is of the split "train", splits are .*gallery'):
        stream(searched, to_train=True)
    with pytest.raises(ValueError, match="name the folder"):
        stream(searched / "tiny-000000.tar", to_train=True)


@pytest.mark.parametrize("options", [{"weights": (1, 2)}, {"weights": (0,)}, {"shuffle_buffer": -1}])
def test_bad_arguments(finished_set: Path, options: dict):
    with pytest.raises(ValueError, match="must be"):
        stream(finished_set, **options)
