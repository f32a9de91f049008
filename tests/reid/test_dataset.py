"""Which samples are trained on, under which class, and what is wrong with a set in plain words."""

import json
import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_people import People, build_people, damage

from reid.batch import ORIGINS
from reid.dataset import DataConfig, open_train_set
from reid.fit import InputConfig, resize
from shards import ShardError
from shards.manifest import MANIFEST
from shards.semantics import SURFACE_TO_7

SMALL = InputConfig(height=32, width=16)


def test_the_train_split_of_known_people(tmp_path: Path):
    people = People(extra=("tiny/-1", "tiny/0", None, "tiny/0001"))
    train_set = open_train_set(DataConfig(real=(build_people(tmp_path / "a", people),)), SMALL)
    wanted = [i for i in range(people.num_samples) if i < 24 or i == 51]
    assert sorted(train_set.keys.tolist()) == [f"{tmp_path}/a/{i:06d}" for i in wanted]
    assert train_set.class_names == ("tiny/0000", "tiny/0001", "tiny/0002", "tiny/0003")
    for i, key in enumerate(train_set.keys):
        sample = people.sample(int(key[-6:]))
        assert train_set.class_names[train_set.classes[i]] == sample.meta.identity
        assert train_set.camera_ids[i] == sample.meta.camera_id


def test_a_set_without_splits_is_trained_on_whole(tmp_path: Path):
    train_set = open_train_set(DataConfig(real=(build_people(tmp_path / "a", People(splits=False)),)), SMALL)
    assert len(train_set) == 48 and len(train_set.class_names) == 8


def test_sets_share_classes_by_name_and_are_trusted_by_list(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    real = build_people(tmp_path / "a", People())
    generated = build_people(tmp_path / "b", People(origin="generated", num_identities=4, seed=5))
    other = build_people(tmp_path / "c", People(dataset="another", origin="rendered", num_identities=4))
    caplog.set_level(logging.WARNING)
    train_set = open_train_set(DataConfig(real=(real, other), generated=(generated,)), SMALL)
    assert train_set.class_names == tuple(sorted(["another/0000", "another/0001", *(f"tiny/000{i}" for i in range(4))]))
    place = np.array([key.split("/")[-2] for key in train_set.keys])
    origins = np.array(ORIGINS)[train_set.origins]
    assert {(p, o) for p, o in zip(place, origins, strict=True)} == {("a", "real"), ("b", "generated"), ("c", "real")}
    names = np.array(train_set.class_names)[train_set.classes]
    assert set(names[place == "b"]) == {"tiny/0000", "tiny/0001"} and set(names[place == "c"]) == set(
        train_set.class_names[:2]
    )
    (record,) = caplog.records
    assert record.getMessage() == f"{other} holds samples of origin rendered; they are trusted as real"


@pytest.mark.parametrize("size", [(64, 32), (24, 20), (100, 40)])
def test_a_sample_is_read_resized_with_its_labels(tmp_path: Path, size: tuple[int, int]):
    people = People(labels=frozenset({"iuv", "texture", "aligned", "parts"}), num_shards=1)
    labels = frozenset({"iuv", "texture", "aligned", "parts"})
    config = DataConfig(real=(build_people(tmp_path / "a", people),))
    train_set = open_train_set(config, InputConfig(height=size[0], width=size[1])).with_labels(labels)
    arrays = pickle.loads(pickle.dumps(train_set)).read(5)
    assert {field: array.shape for field, array in arrays.items()} == train_set.shapes()
    assert all(array.dtype == np.uint8 for array in arrays.values())
    stored = train_set.tables[0].read(5, ["image", "aligned", "iuv", "parts", "texture"])
    rows, columns = (np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, (64, 32), strict=True))
    for field in ("iuv", "parts"):
        np.testing.assert_array_equal(arrays[field], stored[field][np.ix_(rows, columns)])
    np.testing.assert_array_equal(arrays["texture"], stored["texture"])
    for field in ("image", "aligned"):
        np.testing.assert_allclose(arrays[field], area_resize(stored[field], size), atol=1.01)  # rounded twice


def area_resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with antialiasing: triangle weights, as wide as the coarser of the two pixels."""
    for axis, new in enumerate(size):
        old = picture.shape[axis]
        scale = max(old / new, 1.0)
        centre = (np.arange(new) + 0.5) * old / new
        weight = (1 - np.abs(np.arange(old) + 0.5 - centre[:, None]) / scale).clip(0)
        weight /= weight.sum(1, keepdims=True)
        picture = np.moveaxis(np.tensordot(weight, picture.astype(float), (1, axis)), 0, axis)
    return picture


def test_an_equal_size_is_not_touched():
    picture = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(picture, (8, 4)), picture)


def test_parts_follow_from_iuv(tmp_path: Path):
    people = People(labels=frozenset({"iuv"}))
    config = DataConfig(real=(build_people(tmp_path / "a", people),))
    train_set = open_train_set(config, InputConfig(height=64, width=32)).with_labels(frozenset({"parts"}))
    arrays = train_set.read(0)
    assert set(arrays) == {"image", "parts"}
    np.testing.assert_array_equal(arrays["parts"], SURFACE_TO_7[people.sample(0).iuv[..., 0]])
    assert arrays["parts"].max() == 5


@pytest.mark.parametrize(("unlabelled", "key"), [((2, 40), "000002"), ((40,), None), (range(48), "000000")])
def test_a_label_that_is_missing(tmp_path: Path, unlabelled, key: str | None):
    """Sample 40 is not trained on."""
    place = build_people(tmp_path / "a", People(labels=frozenset({"texture"}), unlabelled=tuple(unlabelled)))
    config = DataConfig(real=(place,))
    if key is None:
        assert "texture" in open_train_set(config, SMALL).with_labels(frozenset({"texture"})).read(0)
        return
    with pytest.raises(
        ShardError, match="has no texture.png, .* or add it with python -m generative annotate$"
    ) as error:
        open_train_set(config, SMALL).with_labels(frozenset({"texture"}))
    assert place in str(error.value) and f"key {key}, field texture" in str(error.value)


@pytest.mark.parametrize(
    ("label", "members"),
    [("iuv", "iuv.png"), ("parts", "parts.png or iuv.png"), ("texture", "texture.png"), ("aligned", "aligned.jpg")],
)
def test_an_error_names_the_member_and_what_adds_it(tmp_path: Path, label: str, members: str):
    place = build_people(tmp_path / "a", People())
    with pytest.raises(ShardError) as error:
        open_train_set(DataConfig(real=(place,)), SMALL).with_labels(frozenset({label}))
    wanted = f"{place} has no {members}, which this network needs: give rendered people, or add it with python -m generative annotate"
    assert (error.value.rule, error.value.key, error.value.field) == (wanted, "000000", label)


def test_nobody_seen_is_a_label_too(tmp_path: Path):
    """Not a missing one: a fifth of DukeMTMC-reID's pictures has no detection (Zhang et al. 2019)."""
    people = People(labels=frozenset({"iuv"}), undetected=(0, 3))
    train_set = open_train_set(DataConfig(real=(build_people(tmp_path / "a", people),)), SMALL)
    train_set = train_set.with_labels(frozenset({"iuv", "parts"}))
    for i, key in enumerate(train_set.keys.tolist()):
        arrays, is_seen = train_set.read(i), int(key[-6:]) not in people.undetected
        assert bool(arrays["iuv"].any()) == bool(arrays["parts"].any()) == is_seen


def test_textures_of_two_uv_layouts(tmp_path: Path):
    """Sets of which one is not trained on, or whose textures nobody asks for, may be what they like."""
    people = People(labels=frozenset({"texture", "iuv"}))
    one = build_people(tmp_path / "a", people)
    other = build_people(tmp_path / "b", replace(people, uv_layout="smpl", dataset="other"))
    train_set = open_train_set(DataConfig(real=(one,), rendered=(other,)), SMALL)
    with pytest.raises(ValueError, match=f"one uv layout.*, got {one}: makehuman; {other}: smpl; leave"):
        train_set.with_labels(frozenset({"texture"}))
    assert train_set.with_labels(frozenset({"iuv"})).uv_layout is None
    only = open_train_set(DataConfig(rendered=(other,)), SMALL).with_labels(frozenset({"texture"}))
    assert only.uv_layout == "smpl"


def test_sets_that_cannot_be_trained_on(tmp_path: Path):
    with pytest.raises(ValueError, match="name at least one set under real, rendered or generated"):
        open_train_set(DataConfig(), SMALL)
    with pytest.raises(ValueError, match="nobody: no sample has an identity"):
        open_train_set(DataConfig(real=(build_people(tmp_path / "nobody", People(known=False)),)), SMALL)
    place = build_people(tmp_path / "gallery", People(num_identities=1))
    with pytest.raises(ValueError, match=r"gallery: no sample .* \"train\", splits are \['gallery', 'query'\]"):
        open_train_set(DataConfig(real=(place,)), SMALL)
    with pytest.raises(FileNotFoundError, match="not a folder of shards"):
        open_train_set(DataConfig(real=(str(tmp_path),)), SMALL)
    path = Path(place) / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(ShardError, match="gallery.*newer release"):
        open_train_set(DataConfig(real=(place,)), SMALL)


def test_configurations_that_are_refused():
    for wrong, message in (
        ({"real": ("a", "b"), "generated": ("./a/",)}, "each set is named once, got a and ./a/"),
        ({"pairs": ("s3://a", "s3://a/")}, "each set is named once"),
        ({"pairs_ratio": (0, 1)}, "pairs_ratio must be two ints >= 1"),
        ({"memory_gib": -1.0}, "memory_gib >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DataConfig(**wrong)
    assert DataConfig(rendered=("a",), pairs=("a",)).pairs == ("a",)
    with pytest.raises(ValueError, match="resize must be at least height x width"):
        InputConfig(height=224, width=224, resize=(256, 200))
    assert InputConfig(height=224, width=224, resize=(256, 256)).stored == (256, 256)
    with pytest.raises(ValueError, match="picture must be image or texture, got 'iuv'"):
        InputConfig(picture="iuv")


def test_a_corrupt_sample(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Samples 6, 7 and 8 are the same person's before one camera, 9 to 11 before the other."""
    place = build_people(tmp_path / "a", People(num_shards=1))
    damage(Path(place), ["000007", "000008"])
    train_set = open_train_set(DataConfig(real=(place,)), SMALL)
    for read in (train_set.read, train_set.read_good):
        with pytest.raises(ShardError, match="shard tiny-000000.tar, key 000007, field image"):
            read(7)
    caplog.set_level(logging.WARNING)
    train_set = open_train_set(DataConfig(real=(place,), max_bad_samples=2), SMALL)
    for _ in range(2):
        index, arrays = train_set.read_good(7)
        assert index == 9
        np.testing.assert_array_equal(arrays["image"], train_set.read(9)["image"])
    assert [record.args[:2] for record in caplog.records] == [(1, 2), (2, 2)] and "key 000007" in caplog.text
    train_set = open_train_set(DataConfig(real=(place,), max_bad_samples=1), SMALL)
    with pytest.raises(ShardError, match=r"key 000008.*2 bad samples, 1 may be skipped"):
        train_set.read_good(7)


@pytest.mark.parametrize("index", [6, 8, 9, 11])
def test_the_only_good_sample_of_a_person_stands_for_all(tmp_path: Path, index: int):
    place = build_people(tmp_path / "a", People(num_shards=1))
    damage(Path(place), [f"{i:06d}" for i in range(6, 12) if i != 8])
    train_set = open_train_set(DataConfig(real=(place,), max_bad_samples=5), SMALL)
    assert train_set.read_good(index)[0] == 8


def test_a_person_without_a_good_sample(tmp_path: Path):
    place = build_people(tmp_path / "a", People(num_shards=1))
    damage(Path(place), [f"{i:06d}" for i in range(6)])
    with pytest.raises(ShardError, match="no picture of tiny/0000 can be read"):
        open_train_set(DataConfig(real=(place,), max_bad_samples=9), SMALL).read_good(3)
