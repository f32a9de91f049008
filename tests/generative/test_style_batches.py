"""Two looks side by side: whose pictures they are, in what order, and in how many processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_looks import SOURCE, Blue, build_looks, tiny_config
from tiny_people import build_people

from generative.adversarial.config import AdversarialConfig, MirroredDataConfig
from generative.sets import contents_of
from generative.style.batches import StyleBatch, StyleBatches, draw_order
from generative.style.config import StyleConfig
from generative.style.data import open_looks
from reid.loader import make_loader
from shards.errors import ShardError
from shards.table import Table


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Source and target. Not to be changed."""
    return build_looks(tmp_path_factory.mktemp("looks"))


def open_batches(config: StyleConfig, **options: int) -> StyleBatches:
    sides, device = open_looks(config), torch.device("cpu")
    loaders = [make_loader(side, config.data, device) for side in sides]
    return StyleBatches(config=config, sides=sides, loaders=loaders, **options)


def test_every_picture_comes_before_any_comes_again():
    order = draw_order(10, 9, 4, np.random.default_rng(0))
    assert order.shape == (9, 4)
    passes = order.flatten()[:30].reshape(3, 10)
    assert all(sorted(one) == list(range(10)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 3


def test_only_pictures_to_learn_from_are_taken(places: tuple[str, str]):
    source, target = open_looks(tiny_config(*places))
    assert len(source) == 12 and len(target) == 10
    assert set(target.keys) == {f"{places[1]}/{i:06d}" for i in range(10)}


def test_a_batch_is_the_pictures_and_half_of_them_mirrored(places: tuple[str, str]):
    batches = open_batches(tiny_config(*places))
    assert batches.num_steps == 3
    tables, flipped = [Table(place) for place in places], []
    for *_, batch in batches.since(0):
        assert batch.source.shape == batch.target.shape == (4, 3, 64, 32)
        for i, key in enumerate(batch.keys):
            place, _, name = key.rpartition("/")
            table = tables[places.index(place)]
            picture = table.read(table.keys.tolist().index(name), ["image"])["image"]
            given = torch.cat([batch.source, batch.target])[i]
            given = ((given + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            is_flipped = not np.array_equal(given, picture)
            assert not is_flipped or np.array_equal(given, picture[:, ::-1])
            flipped.append(is_flipped)
    assert len(flipped) == 48 and 0.25 < np.mean(flipped) < 0.75


def test_no_flips_where_none_are_wanted(places: tuple[str, str]):
    one, other = (
        open_batches(tiny_config(*places, data=MirroredDataConfig(num_workers=1, flip=flip))).first()
        for flip in (0.0, 1.0)
    )
    assert one.keys == other.keys
    assert torch.equal(one.source, other.source.flip(3)) and torch.equal(one.target, other.target.flip(3))


def assert_same(one: StyleBatch, other: StyleBatch) -> None:
    assert one.keys == other.keys and torch.equal(one.source, other.source) and torch.equal(one.target, other.target)


def test_batches_go_on_from_any_step(places: tuple[str, str]):
    whole = list(open_batches(tiny_config(*places)).since(0))
    parts = list(open_batches(tiny_config(*places)).since(1, 1))
    assert [at[:2] for at in parts] == [(1, 1), (1, 2)]
    for (_, _, one), (_, _, other) in zip(whole[4:], parts, strict=True):
        assert_same(one, other)
    assert whole[0][2].keys != whole[3][2].keys
    assert_same(whole[0][2], open_batches(tiny_config(*places)).first())


def test_processes_share_a_batch(places: tuple[str, str]):
    (_, _, whole), *_ = open_batches(tiny_config(*places)).since(0)
    halves = [next(open_batches(tiny_config(*places), process=i, num_processes=2).since(0))[2] for i in (0, 1)]
    for name in ("source", "target"):
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), getattr(whole, name))
    uneven = tiny_config(*places, optimise=AdversarialConfig(batch_size=3))
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 2 processes, got 3"):
        open_batches(uneven, process=0, num_processes=2).first()


def test_both_sides_are_drawn_apart(places: tuple[str, str], tmp_path: Path):
    """Also where both have as many pictures."""
    target = build_people(tmp_path / "target", replace(SOURCE, seed=1))
    config = tiny_config(places[0], target, optimise=AdversarialConfig(epochs=1, batch_size=1))
    pairs = [tuple(int(key[-6:]) for key in batch.keys) for _, _, batch in open_batches(config).since(0)]
    assert len(pairs) == 12 and len({b - a for a, b in pairs}) > 3


def test_what_the_sets_hold_has_a_name(places: tuple[str, str], tmp_path: Path):
    source, target = places
    names = {
        contents_of(open_looks(tiny_config(*pair)))
        for pair in (
            (source, target),
            (target, source),
            (build_people(tmp_path / "s", replace(SOURCE, seed=1)), target),
        )
    }
    assert len(names) == 3
    moved = build_people(tmp_path / "moved", Blue())
    assert contents_of(open_looks(tiny_config(source, moved))) in names


def test_sides_that_do_not_go_together(places: tuple[str, str], tmp_path: Path):
    source, target = places
    copy = build_people(tmp_path / "copy", SOURCE)
    both = tiny_config(source, target)
    for config, words in (
        (replace(both, target=()), "name the sets to be restyled under --data, and --target"),
        (replace(both, source=()), "name the sets to be restyled under --data, and --target"),
        (replace(both, target=(target, copy)), f"two looks, and {source} stands on both sides"),
    ):
        with pytest.raises(ValueError, match=words):
            open_looks(config)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_looks(tiny_config(source, str(tmp_path / "nowhere")))


def test_small_pictures_are_named(places: tuple[str, str], tmp_path: Path):
    small = build_people(tmp_path / "small", replace(SOURCE, height=31))
    source, _ = open_looks(tiny_config(small, places[1]))
    with pytest.raises(
        ShardError,
        match=f"shard .*tar, key {source.keys[3][-6:]}, field image: must be at least 32 pixels high and wide",
    ):
        source.read(3)


def test_a_set_without_pictures_to_learn_from(places: tuple[str, str], tmp_path: Path):
    class Tests(Blue):
        def sample(self, index: int):
            sample = Blue.sample(self, index)
            return replace(sample, meta=replace(sample.meta, split="query"))

    with pytest.raises(ValueError, match='no sample to learn from is of the split "train", splits are'):
        open_looks(tiny_config(places[0], build_people(tmp_path / "tests", Tests())))


def test_the_configuration_is_checked():
    with pytest.raises(ValueError, match="history holds a batch of 8 pictures at least, or 0, got 7"):
        StyleConfig(history=7)
    assert StyleConfig(history=0).history == 0
    with pytest.raises(ValueError, match=r"data.flip must lie in 0..1, got 2"):
        MirroredDataConfig(flip=2)
    with pytest.raises(ValueError, match="needs seed >= 0, .* got 0, 0 and 500"):
        StyleConfig(checkpoint_every=0)
