"""Batches from memory and from worker processes are the same, whatever the number of workers and the first step."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_people import People, build_people, damage, error_of

from reid.batch import StoredBatch
from reid.dataset import DataConfig, Samples, open_train_set
from reid.fit import InputConfig
from reid.loader import MemoryLoader, WorkerLoader, make_loader
from reid.sampler import SamplerConfig, epoch_batches

CPU = torch.device("cpu")
SMALL = InputConfig(height=32, width=16)
LABELS = frozenset({"iuv", "parts", "texture"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("people") / "a", People(labels=LABELS))


@pytest.fixture(scope="module")
def train_set(place: str) -> Samples:
    return open_train_set(DataConfig(rendered=(place,)), SMALL).with_labels(LABELS)


@pytest.fixture(scope="module")
def rows(train_set: Samples) -> np.ndarray:
    return epoch_batches(train_set.classes, SamplerConfig(batch_size=8), 0, 0)


def assert_same(first: StoredBatch, second: StoredBatch) -> None:
    assert (first.keys, first.uv_layout) == (second.keys, second.uv_layout)
    for name in ("images", "identities", "origins", "camera_ids"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert first.labels.keys() == second.labels.keys()
    assert all(torch.equal(first.labels[field], second.labels[field]) for field in first.labels)


def test_a_batch_is_what_its_row_says(train_set: Samples, rows: np.ndarray):
    batches = list(MemoryLoader(train_set, CPU, CPU, 2).batches(rows))
    assert len(batches) == len(rows)
    for batch, row in zip(batches, rows, strict=True):
        assert batch.keys == tuple(train_set.keys[row])
        assert batch.identities.tolist() == train_set.classes[row].tolist()
        assert batch.camera_ids.tolist() == train_set.camera_ids[row].tolist()
        assert batch.origins.tolist() == [1] * 8
        assert batch.uv_layout == "makehuman"
        for i, index in enumerate(row):
            arrays = train_set.read(int(index))
            assert set(batch.labels) == LABELS
            for field, tensor in {"image": batch.images, **batch.labels}.items():
                np.testing.assert_array_equal(tensor[i].numpy(), arrays[field])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_memory_and_workers_give_the_same(train_set: Samples, rows: np.ndarray, num_workers: int):
    wanted = list(MemoryLoader(train_set, CPU, CPU, 1).batches(rows))
    loader = WorkerLoader(train_set, CPU, num_workers)
    for first in (0, 1):  # the second time in the same processes
        batches = list(loader.batches(rows[first:]))
        assert len(batches) == len(rows) - first
        for one, other in zip(batches, wanted[first:], strict=True):
            assert_same(one, other)


def test_an_iteration_given_up_leaves_nothing_behind(train_set: Samples, rows: np.ndarray):
    loader = WorkerLoader(train_set, CPU, 2)
    next(loader.batches(rows[::-1]))
    for batch, row in zip(loader.batches(rows), rows, strict=True):
        assert batch.keys == tuple(train_set.keys[row])


def test_a_set_that_fits_is_kept_in_memory(train_set: Samples):
    """24 samples of 32 x 16 pixels with iuv and parts, and a texture."""
    gib = 24 * (32 * 16 * 7 + 256 * 256 * 3) / 2**30
    assert isinstance(make_loader(train_set, DataConfig(memory_gib=gib), CPU), MemoryLoader)
    assert isinstance(make_loader(train_set, DataConfig(memory_gib=gib * 0.999), CPU), WorkerLoader)


def test_a_corrupt_sample_is_named_on_both_ways(tmp_path: Path):
    place = build_people(tmp_path / "a", People(num_shards=1))
    damage(Path(place), ["000007"])
    train_set = open_train_set(DataConfig(real=(place,)), SMALL)
    for load in (partial(MemoryLoader, train_set, CPU, CPU, 2), partial(WorkerLoader, train_set, CPU, 2)):
        error = error_of(lambda load=load: load().batches(np.arange(24).reshape(3, 8)))
        assert (error.shard, error.key, error.field) == ("tiny-000000.tar", "000007", "image")
        assert "Traceback" not in str(error)


def test_bad_samples_that_may_be_skipped_are_replaced_alike(tmp_path: Path):
    """Samples 6 to 11 are one person's."""
    place = build_people(tmp_path / "a", People(num_shards=1))
    damage(Path(place), ["000007", "000011"])
    rows, batches = np.arange(24).reshape(3, 8), []
    for load in (lambda s: MemoryLoader(s, CPU, CPU, 2), lambda s: WorkerLoader(s, CPU, 2)):
        train_set = open_train_set(DataConfig(real=(place,), max_bad_samples=2), SMALL)
        batches.append(list(load(train_set).batches(rows)))
        assert train_set.bad.nonzero().ravel().tolist() == [7, 11]  # also those that workers found
    for one, other in zip(*batches, strict=True):
        assert_same(one, other)
    numbers = [int(key[-6:]) for batch in batches[0] for key in batch.keys]
    assert numbers == [8 if i == 7 else 6 if i == 11 else i for i in range(24)]
