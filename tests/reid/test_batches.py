"""What becomes of textures between the sets and the network."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_people import People, build_people
from tiny_trainer import tiny_config

from reid.augment import AugmentConfig
from reid.batches import Batches
from reid.dataset import open_train_set
from reid.loader import MemoryLoader
from reid.pairs import live_pairs
from shards.uv_mirror import mirror_table

CPU = torch.device("cpu")
TEXTURE = frozenset({"texture"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("people") / "a", People(labels=TEXTURE))


def batches_of(place: str, uv_layout: str | None, augment: AugmentConfig) -> Batches:
    """Of a set, and of live pairs whose textures are all noise, by turns."""

    def live(first: int) -> Iterator[SimpleNamespace]:
        noise = torch.randint(256, (8, 256, 256, 3), generator=torch.Generator().manual_seed(first)).byte()
        while True:
            yield SimpleNamespace(image=torch.zeros(8, 32, 16, 3).byte(), texture=noise, uv_layout=uv_layout)

    config = replace(tiny_config(place), augment=augment)
    train_set = open_train_set(config.data, config.input).with_labels(TEXTURE)
    loader = MemoryLoader(train_set, CPU, CPU, 1)
    return Batches(
        config=config, train_set=train_set, loader=loader, pairs=live_pairs(live, config.input, TEXTURE, CPU)
    )


@pytest.mark.parametrize("mirrored", [True, False])
def test_the_configuration_says_whether_textures_are_mirrored(place: str, mirrored: bool):
    batches = batches_of(place, "makehuman", AugmentConfig(mirror_texture=mirrored))
    labelled, pairs = (batch for _, (*_, batch) in zip(range(2), batches.since(0), strict=False))
    noise = torch.randint(256, (8, 256, 256, 3), generator=torch.Generator().manual_seed(0)).byte()
    table = torch.from_numpy(mirror_table("makehuman").copy()).flatten()
    assert 0 < pairs.flipped.sum() < 8 and labelled.flipped.any() and not pairs.has_identities
    for flipped, texture, stored in zip(pairs.flipped, pairs.labels["texture"], noise, strict=True):
        wanted = stored.flatten(0, 1)[table].view(256, 256, 3) if flipped and mirrored else stored
        assert torch.equal(texture, wanted)


def test_pairs_whose_textures_are_of_another_layout(place: str):
    batches = batches_of(place, "smpl", AugmentConfig())
    with pytest.raises(ValueError, match=rf"one uv layout.*: {place} have makehuman, the pairs \(live\) have smpl"):
        list(zip(range(2), batches.since(0), strict=False))


def test_pairs_that_do_not_tell_their_layout(place: str):
    with pytest.raises(ValueError, match="does not tell it: let its batches have a uv_layout, or leave textures"):
        list(zip(range(2), batches_of(place, None, AugmentConfig()).since(0), strict=False))
    for changes in ({"mirror_texture": False}, {"flip": 0.0}):
        assert list(zip(range(2), batches_of(place, None, AugmentConfig(**changes)).since(0), strict=False))
