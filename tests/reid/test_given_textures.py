"""A network that is given textures in place of pictures: trained, scored and used like any other."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_people import People, build_people
from tiny_trainer import options

from reid.augment import prepare
from reid.dataset import DataConfig, choose_samples, open_train_set
from reid.fit import InputConfig, fields_to_read, resize
from reid.pairs import live_pairs, shard_pairs
from reid.report.found import Found, find
from reid.setup import open_run
from shards import ShardError
from shards.codec import encode_jpeg
from shards.table import Table

PEOPLE = People(labels=frozenset({"texture"}))
SMALL = InputConfig(height=32, width=16, picture="texture")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("people") / "a", PEOPLE)


def scores_of(folder: Path, place: str) -> Found:
    run, accelerator = open_run(folder)
    return find(run, place, accelerator)


def test_the_picture_is_the_texture(place: str):
    train_set = open_train_set(DataConfig(real=(place,)), SMALL)
    assert fields_to_read(SMALL, ()) == ["texture"]  # no photograph is decoded
    for i in (0, 13):
        texture = PEOPLE.sample(int(train_set.keys[i][-6:])).texture
        arrays = train_set.read(i)
        assert set(arrays) == {"image"} and train_set.shapes() == {"image": (32, 16, 3)}
        np.testing.assert_array_equal(arrays["image"], resize(texture, (32, 16)))
    assert train_set.with_labels(frozenset()).read(0)["image"].shape == (32, 16, 3)


def test_pairs_are_of_textures_too(place: str):
    cpu = torch.device("cpu")
    config = DataConfig(pairs=(place,), num_workers=1)
    batch = next(shard_pairs(config, SMALL, frozenset(), 4, cpu, seed=0)(0))
    for key, image in zip(batch.keys, batch.images, strict=True):
        np.testing.assert_array_equal(image, resize(PEOPLE.sample(int(key[-6:])).texture, (32, 16)))
    texture = torch.arange(256, dtype=torch.uint8)[:, None, None].expand(2, 256, 256, 3)

    def live(first: int) -> Iterator[Any]:
        yield type("Rendered", (), {"image": torch.zeros(2, 8, 4, 3).byte(), "texture": texture})

    batch = next(live_pairs(live, SMALL, frozenset(), cpu)(0))
    assert batch.images.shape == (2, 32, 16, 3) and batch.images[0, :, 0, 0].double().diff().min() > 6


def test_from_training_to_embeddings(place: str, tmp_path: Path, tiny_cli: Callable[..., str]):
    """Somebody's texture is always the same here, so a network that is given it finds everybody."""
    run = tmp_path / "run"
    train = [*options(place, run, epochs=1), "--input.picture", "texture", "--augment.pad", 0, "--augment.flip", 0.0]
    tiny_cli(*train, "--augment.erase", 0.0)
    scores = json.loads(tiny_cli("evaluate", run, "--json"))[place]
    assert scores["mean_ap"] == 1.0 and scores["num_queries"] == 8
    tiny_cli("embed", run, place, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        for person in np.unique(file["identities"]):
            own = file["embeddings"][file["identities"] == person]
            np.testing.assert_allclose(own, np.broadcast_to(own[0], own.shape), atol=1e-5)
    found = scores_of(run, place)
    query = PEOPLE.sample(int(found.query.keys[2]))
    pictures = torch.from_numpy(resize(query.texture, (32, 16)))[None]
    assert torch.equal(found.images(found.scored.query, [2]).cpu(), prepare(pictures, SMALL))
    assert np.abs(found.pixels(found.scored.query, 2).astype(int) - query.image).mean() < 10  # JPEG
    (tmp_path / "photos").mkdir()
    photo = tmp_path / "photos" / "a.jpg"
    photo.write_bytes(encode_jpeg(np.zeros((8, 4, 3), np.uint8)))
    says = f"given a person's texture in place of a picture: name a set of shards.* files such as {photo}"
    with pytest.raises(ValueError, match=says):
        tiny_cli("embed", run, photo.parent, "--out", tmp_path / "b.npz")
    with pytest.raises(ValueError, match=says):
        tiny_cli("search", run, photo, "--gallery", place)


def test_a_set_without_textures(tmp_path: Path):
    """Sample 5 is trained on, sample 40 is in the gallery."""
    place = build_people(tmp_path / "a", replace(PEOPLE, unlabelled=(5, 40)))
    config, table = DataConfig(real=(place,)), Table(place)
    with pytest.raises(
        ShardError, match=f"key 000005, field texture: {place} has no texture.png.* generative annotate"
    ):
        open_train_set(config, SMALL)
    gallery = np.flatnonzero(table.splits == "gallery")
    with pytest.raises(ShardError, match="key 000040, field texture"):
        choose_samples(table, gallery, SMALL)
    assert len(choose_samples(table, np.flatnonzero(table.splits == "query"), SMALL)) == 8
    nothing = build_people(tmp_path / "b", People())
    with pytest.raises(ShardError, match=f"field texture: {nothing} has no texture.png"):
        shard_pairs(DataConfig(pairs=(nothing,)), SMALL, frozenset(), 4, torch.device("cpu"), seed=0)


@pytest.mark.parametrize("label", ["iuv", "parts", "texture", "aligned"])
def test_labels_are_of_photographs(place: str, label: str):
    train_set = open_train_set(DataConfig(real=(place,)), SMALL)
    with pytest.raises(
        ValueError, match=f"learns from identities alone, this one also from {label}: give --input.pict"
    ):
        train_set.with_labels(frozenset({label}))
