"""Pairs, live or from shards: any batch can be begun with, and steps alternate as the ratio says."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_people import People, build_people, error_of

from reid.batch import ORIGINS, UNKNOWN
from reid.dataset import DataConfig
from reid.fit import InputConfig
from reid.pairs import interleave, live_pairs, num_pairs, pairs_before, shard_pairs, uv_layout_of
from shards import ShardError
from shards.codec import EncodedSample
from shards.semantics import SURFACE_TO_7

CPU = torch.device("cpu")
SMALL = InputConfig(height=32, width=16)
LABELS = frozenset({"iuv", "parts", "texture"})
PEOPLE = People(origin="rendered", splits=False, num_shards=4, labels=frozenset({"iuv", "texture"}))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("pairs") / "a", PEOPLE)


@pytest.mark.parametrize(
    ("ratio", "pattern"),
    [((3, 1), "rrrp"), ((2, 1), "rrp"), ((1, 1), "rp"), ((1, 2), "rpp"), ((1, 3), "rppp"), ((3, 2), "rrprp")],
)
def test_the_ratio_is_kept_evenly(ratio: tuple[int, int], pattern: str):
    steps = "".join(interleave(ratio, step)[0] for step in range(3 * len(pattern)))
    assert steps == 3 * pattern
    assert [pairs_before(ratio, step) for step in range(len(steps))] == [
        steps[:step].count("p") for step in range(len(steps))
    ]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_shards_begin_at_any_batch(place: str, num_workers: int):
    """A round is of 48 // 9 = 5 batches."""
    config = DataConfig(pairs=(place,), num_workers=num_workers)
    pairs = shard_pairs(config, SMALL, LABELS, 9, CPU, seed=0)
    batches = list(islice(pairs(0), 16))
    again = shard_pairs(config, SMALL, LABELS, 9, CPU, seed=0)
    for first in (7, 5, 0):
        for one, other in zip(again(first), batches[first:], strict=False):
            assert one.keys == other.keys
            assert torch.equal(one.images, other.images)
            assert all(torch.equal(one.labels[field], other.labels[field]) for field in LABELS)
    rounds = [tuple(batch.keys for batch in batches[first : first + 5]) for first in (0, 5, 10)]
    assert len(set(rounds)) == 3
    other_seed = next(shard_pairs(config, SMALL, LABELS, 9, CPU, seed=1)(0))
    assert other_seed.keys != batches[0].keys


def test_a_batch_from_shards(place: str):
    batch = next(shard_pairs(DataConfig(pairs=(place,)), SMALL, LABELS, 9, CPU, seed=0)(0))
    assert batch.images.shape == (9, 32, 16, 3) and batch.images.dtype == torch.uint8
    assert batch.identities.tolist() == [UNKNOWN] * 9 and batch.camera_ids.tolist() == [-1] * 9
    assert {ORIGINS[i] for i in batch.origins} == {"rendered"} and batch.uv_layout == "makehuman"
    for i, key in enumerate(batch.keys):
        sample = PEOPLE.sample(int(key.removeprefix("pairs/")))
        np.testing.assert_array_equal(batch.labels["texture"][i], sample.texture)
        np.testing.assert_array_equal(batch.labels["iuv"][i], sample.iuv[1::2, 1::2])
        np.testing.assert_array_equal(batch.labels["parts"][i], SURFACE_TO_7[sample.iuv[1::2, 1::2, 0]])
        half = sample.image.reshape(32, 2, 16, 2, 3).mean((1, 3))
        assert np.abs(batch.images[i].numpy() - half).mean() < 12  # JPEG, and a wider window


def test_processes_read_disjoint_shards(place: str, monkeypatch: pytest.MonkeyPatch):
    """Of one round: the endless stream of each begins with a pass over its own shards."""
    keys = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        pairs = shard_pairs(DataConfig(pairs=(place,)), SMALL, frozenset(), 6, CPU, seed=0)
        keys.append([key for batch in islice(pairs(0), 4) for key in batch.keys])
    assert set(Counter(keys[0] + keys[1]).values()) == {1} and len(keys[0] + keys[1]) == 48


def test_people_to_be_searched_for_are_not_learned_from(tmp_path):
    place = build_people(tmp_path / "a", replace(PEOPLE, splits=True))
    config = DataConfig(pairs=(place,))
    pairs = shard_pairs(config, SMALL, LABELS, 6, CPU, seed=0)
    keys = {key for batch in islice(pairs(0), 12) for key in batch.keys}
    assert keys == {f"pairs/{index:06d}" for index in range(24)} and num_pairs(config) == 24
    with pytest.raises(ValueError, match="24 pairs are fewer than a batch of 25"):
        shard_pairs(config, SMALL, LABELS, 25, CPU, seed=0)


def test_pairs_that_cannot_be_had(place: str):
    for config, batch_size, message in (
        (DataConfig(), 4, "no source of pairs: name at least one set under pairs"),
        (DataConfig(pairs=(place,), num_workers=5), 4, "a shard for each of 1 processes x 5 workers, the sets have 4"),
        (DataConfig(pairs=(place,)), 49, "48 pairs are fewer than a batch of 49"),
    ):
        with pytest.raises(ValueError, match=message):
            shard_pairs(config, SMALL, LABELS, batch_size, CPU, seed=0)
    with pytest.raises(
        ShardError, match=f"field aligned: {place} has no aligned.jpg.*with python -m generative annotate"
    ):
        shard_pairs(DataConfig(pairs=(place,)), SMALL, frozenset({"aligned"}), 4, CPU, seed=0)


def test_one_sample_without_its_label_is_named(tmp_path):
    place = build_people(tmp_path / "a", People(origin="rendered", labels=frozenset({"texture"}), unlabelled=(5,)))
    pairs = shard_pairs(DataConfig(pairs=(place,)), SMALL, frozenset({"texture"}), 12, CPU, seed=0)
    error = error_of(lambda: islice(pairs(0), 4))
    assert error.key == "000005" and "Traceback" not in str(error)


def test_pairs_of_two_uv_layouts(place: str, tmp_path):
    other = build_people(tmp_path / "b", replace(PEOPLE, uv_layout="smpl", seed=1))
    config = DataConfig(pairs=(place, other), num_workers=1)
    pairs = shard_pairs(config, SMALL, frozenset({"texture"}), 12, CPU, seed=0)
    with pytest.raises(ValueError, match=f"one uv layout.* {place}, {other} have makehuman and smpl; leave"):
        list(islice(pairs(0), 8))
    batch = next(shard_pairs(config, SMALL, frozenset({"iuv"}), 12, CPU, seed=0)(0))
    assert batch.uv_layout is None


def live(first: int):
    """Batches of 3 of twice the size, image and aligned one grey each."""
    number = first
    while True:
        image = torch.full((3, 64, 32, 3), number, dtype=torch.uint8)
        iuv = torch.arange(64 * 32 * 3).reshape(64, 32, 3).remainder(25).to(torch.uint8).expand(3, 64, 32, 3)
        texture = torch.zeros(3, 256, 256, 3).byte()
        yield SimpleNamespace(image=image, aligned=image + 1, iuv=iuv, texture=texture, uv_layout="makehuman")
        number += 1


def test_live_batches_are_resized_and_begin_anywhere():
    pairs = live_pairs(live, SMALL, LABELS | {"aligned"}, CPU)
    for number, batch in zip(range(40, 43), pairs(40), strict=False):
        assert batch.images.shape == (3, 32, 16, 3) and (batch.images == number).all()
        assert (batch.labels["aligned"] == number + 1).all() and batch.labels["aligned"].shape == (3, 32, 16, 3)
        iuv = next(live(0)).iuv[:, 1::2, 1::2]
        assert torch.equal(batch.labels["iuv"], iuv)
        np.testing.assert_array_equal(batch.labels["parts"], SURFACE_TO_7[iuv[..., 0].numpy()])
        assert batch.labels["texture"].shape == (3, 256, 256, 3) and batch.uv_layout == "makehuman"
        assert batch.identities.tolist() == [UNKNOWN] * 3 and len(set(batch.keys)) == 3


def test_live_batches_without_a_label_that_is_needed():
    def bare(first: int):
        for batch in live(first):
            yield SimpleNamespace(image=batch.image)

    assert next(live_pairs(bare, SMALL, frozenset(), CPU)(0)).uv_layout is None
    with pytest.raises(ValueError, match="trained with texture, which the source of pairs does not give"):
        next(live_pairs(bare, SMALL, frozenset({"texture"}), CPU)(0))


class NobodyFirst(People):
    """As rendered sets may lie: junk before people."""

    def __call__(self, shard: int) -> Iterator[EncodedSample]:
        return reversed(list(People.__call__(self, shard)))


def test_junk_and_distractors_are_no_pairs(tmp_path: Path):
    extra = {"extra": ("tiny/-1", "tiny/0"), "unlabelled": (12, 13)}
    people = NobodyFirst(origin="rendered", splits=False, num_identities=2, num_shards=1, labels=PEOPLE.labels, **extra)
    config = DataConfig(pairs=(build_people(tmp_path / "mixed", people),), num_workers=1)
    keys = [key for batch in islice(shard_pairs(config, SMALL, LABELS, 6, CPU, seed=0)(0), 4) for key in batch.keys]
    assert set(keys) == {f"pairs/{index:06d}" for index in range(12)}
    assert uv_layout_of(config) == "makehuman"
