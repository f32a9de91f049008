"""DSA-reID scored with both streams: the pictures' iuv goes where they go; who has none shows no surface."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_people import People, build_people
from tiny_trainer import TinyModel, tiny_config
from torch.nn import functional

from reid.augment import mirror_iuv, prepare
from reid.checkpoint import State, checkpoint_path, save_checkpoint
from reid.config import EvaluateConfig, TrainConfig
from reid.evaluate import embed_set, open_scored_set
from reid.fit import InputConfig
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.models.dsa import Dsa, DsaConfig
from shards.table import Table

MODEL = DsaConfig(backbone=BackboneConfig(name="resnet18", weights="none"), part_size=8)
INPUT = InputConfig(height=48, width=24, resize=(64, 32))
"""Evaluation takes the middle of 64 x 32."""


def config(place: str, **evaluate: object) -> TrainConfig:
    return tiny_config(place, model=MODEL, input=INPUT, evaluate=EvaluateConfig(batch_size=5, **evaluate))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    people = People(
        labels=frozenset({"iuv"}), num_identities=4, height=64, width=32, extra=(None, "tiny/-1"), unlabelled=(23, 25)
    )
    return build_people(tmp_path_factory.mktemp("people") / "a", people)


@pytest.fixture(scope="module")
def model() -> Dsa:
    torch.manual_seed(0)
    return build_model(MODEL, 4, losses=LossConfig(), pretrained=False).eval()


def embedded(model: Dsa, config: TrainConfig, place: str, *, with_iuv: bool = True) -> np.ndarray:
    """Of the gallery, in full precision."""
    accelerator = Accelerator(mixed_precision="no", cpu=True)
    scored = open_scored_set(place, config, accelerator, with_iuv=with_iuv)
    return embed_set(model, scored, config, accelerator)[1].vectors


@torch.no_grad()
def expected(model: Dsa, place: str, *, flip: bool) -> torch.Tensor:
    """One picture after another."""
    table, found = Table(place), []
    for i in np.flatnonzero(table.splits == "gallery"):
        sample = table.read(int(i), ("image", "iuv"))
        if sample["iuv"] is None:
            sample["iuv"] = np.zeros_like(sample["image"])
        images = prepare(torch.from_numpy(sample["image"])[None], INPUT)
        iuv = torch.from_numpy(sample["iuv"])[None, 8:56, 4:28]
        one = model.embed_fused(images, iuv)
        if flip:
            mirrored = mirror_iuv(iuv.flip(2), torch.tensor([True]))
            one = functional.normalize(one) + functional.normalize(model.embed_fused(images.flip(3), mirrored))
        found.append(one[0])
    return torch.stack(found)


@pytest.mark.parametrize("flip", [False, True])
def test_both_streams_are_given_the_same_picture(place: str, model: Dsa, flip: bool):
    found = embedded(model, config(place, flip=flip), place)
    torch.testing.assert_close(torch.from_numpy(found), expected(model, place, flip=flip), atol=1e-4, rtol=1e-4)
    assert np.abs(embedded(model, config(place, flip=flip), place, with_iuv=False) - found).max() > 1e-2


def test_the_command_asks_for_a_second_stream(place: str, tmp_path: Path, tiny_cli: Callable[..., str]):
    """The network of `tiny_trainer` has none."""
    save_checkpoint(
        checkpoint_path(tmp_path, "last"),
        TinyModel(4, LossConfig()),
        State(config=tiny_config(place), class_names=("a", "b", "c", "d"), num_samples=9),
        {},
    )
    with pytest.raises(ValueError, match="fused embeds with DSA-reID's two streams, .* has one: leave it out"):
        tiny_cli("evaluate", tmp_path, "--fused")
