"""The guider is the reID model as it stands, seen through, and never moved."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from tiny_pairs import save_guider

from generative.transfer.guider import Guider, load_guider
from generative.transfer.losses import guider_cross_entropy
from reid.augment import prepare
from reid.batch import ORIGINS, Batch
from reid.checkpoint import load_run
from reid.distances import Metric, squared_distances
from reid.embeddings import Embeddings
from reid.fit import InputConfig, resize
from reid.losses import LossConfig, everywhere
from reid.models.backbone import BackboneConfig
from reid.models.dsa import DsaConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.models.model import ModelConfig
from reid.models.pcb import PcbConfig
from reid.models.san import SanConfig

NAMES = ("a", "b", "c")
RESNET18 = BackboneConfig(name="resnet18")
IDENTITY_ALONE = LossConfig(triplet_weight=0.0, smoothing=everywhere(0.0))
MODELS = {
    "global": GlobalPoolConfig(backbone=RESNET18, embedding_dim=None, neck=True, classifier_layers=2),
    "pcb": PcbConfig(backbone=RESNET18, num_stripes=2, embedding_dim=8),
    "mgn": MgnConfig(backbone=RESNET18, embedding_dim=8),
    "san": SanConfig(backbone=RESNET18, neck=True, constraint_weight=0.0),
    "dsa": DsaConfig(backbone=RESNET18, guide="none", neck=True),
    "dsa global": DsaConfig(backbone=RESNET18, guide="none", branches="global"),
}
"""Every kind of network, in forms whose embedding is not what their pooled feature is."""


def pictures(count: int = 4, size: int = 64) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", MODELS)
def test_cross_entropy_is_the_loss_that_the_model_was_trained_by(name: str, tmp_path: Path):
    model: ModelConfig = MODELS[name]
    size = InputConfig(height=96, width=32)
    guider = load_guider(Path(save_guider(tmp_path / "run", NAMES, model, IDENTITY_ALONE, size)), NAMES)
    identities = torch.tensor([2, 0, 1, 1])
    batch = Batch(
        images=guider.prepare(pictures()),
        identities=identities,
        origins=torch.full((4,), ORIGINS.index("real")),
        camera_ids=torch.zeros(4, dtype=torch.int64),
        flipped=torch.zeros(4, dtype=torch.bool),
        keys=("",) * 4,
        labels={"texture": torch.zeros((4, 256, 256, 3), dtype=torch.uint8)},
    )
    with torch.no_grad():
        logits = guider.logits(pictures())
        losses = guider.model.losses(batch)
    expected = sum(value for key, value in losses.items() if key == "identity")
    num = 1 if name == "mgn" else len(logits)  # the others' own loss is the sum over classifiers
    torch.testing.assert_close(num * guider_cross_entropy(logits, identities), expected)
    assert all((each - each.mean(dim=0)).abs().max() > 1e-3 for each in logits), "what is seen decides"


@pytest.mark.parametrize("stored", [None, (40, 24)])
def test_pictures_are_prepared_as_for_evaluation(stored: tuple[int, int] | None, tmp_path: Path):
    size = InputConfig(height=32, width=16, resize=stored)
    guider = load_guider(Path(save_guider(tmp_path / "run", NAMES, input=size)), NAMES)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    stored_pictures = torch.stack([torch.from_numpy(resize(one.numpy(), size.stored)) for one in pixels])
    given = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    # Stored pictures are rounded, rows and columns apart: by at most one of 255 colours, which span about 1 / 0.22.
    torch.testing.assert_close(guider.prepare(given), prepare(stored_pictures, size), atol=1 / 255 / 0.22, rtol=0)
    assert guider.prepare(given).shape == (2, 3, 32, 16)


def test_it_stays_frozen_and_lets_gradients_through(tmp_path: Path):
    place = save_guider(tmp_path / "run", NAMES)
    guider = load_guider(Path(place), NAMES)
    before = {name: value.clone() for name, value in guider.state_dict().items()}
    guider.train()
    assert not any(module.training for module in guider.modules())
    shown = pictures().requires_grad_()
    loss = guider_cross_entropy(guider.logits(shown), torch.tensor([0, 1, 2, 0])) + guider.features(shown).sum()
    loss.backward()
    assert (shown.grad.flatten(1).abs().amax(dim=1) > 0).all()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in guider.parameters())
    for name, value in guider.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    model = load_run(Path(place)).model
    assert all(torch.equal(value, guider.model.state_dict()[name]) for name, value in model.state_dict().items())


def test_features_are_the_embedding(tmp_path: Path):
    guider = load_guider(Path(save_guider(tmp_path / "run", NAMES)))
    with torch.no_grad():
        features = guider.features(pictures())
        assert ((features - features.mean(dim=0)).abs().amax(dim=1) > 1e-3).all(), "what is seen decides"
        torch.testing.assert_close(features, guider.model.embed(guider.prepare(pictures())))


@pytest.mark.parametrize("metric", get_args(Metric))
def test_points_are_as_far_apart_as_the_model_says(metric: Metric, tmp_path: Path):
    guider = load_guider(Path(save_guider(tmp_path / "run", NAMES, metric=metric)))
    with torch.no_grad():
        points, vectors = guider.points(pictures()), guider.features(pictures()).numpy()
    numbers = np.arange(len(vectors))
    all_ = Embeddings(vectors=vectors, identities=numbers, camera_ids=numbers, keys=numbers.astype(str))
    _, expected = next(squared_distances(all_, all_, metric=metric, max_memory_mib=64, device="cpu"))
    torch.testing.assert_close(torch.cdist(points, points) ** 2, expected, atol=1e-4, rtol=1e-3)


def test_people_are_found_by_name(tmp_path: Path):
    place = Path(save_guider(tmp_path / "run", NAMES))
    assert load_guider(place, ("c", "a")).classes.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"was trained on 3 identities, and 2 of the 3 in the data .* \(d, e\)"):
        load_guider(place, ("a", "d", "e"))
    assert isinstance(load_guider(place), Guider)


def test_runs_that_cannot_guide_are_refused(tmp_path: Path):
    alone = LossConfig(identity_weight=0.0)
    place = Path(save_guider(tmp_path / "alone", NAMES, losses=alone))
    with pytest.raises(ValueError, match="has no classifier, .*: take another"):
        load_guider(place, NAMES, remedy="take another")
    assert load_guider(place).features(pictures()).shape == (4, 16)
    place = Path(save_guider(tmp_path / "textures", NAMES, input=InputConfig(height=32, width=16, picture="texture")))
    with pytest.raises(ValueError, match="was trained on textures"):
        load_guider(place)
    with pytest.raises(FileNotFoundError, match="no checkpoint .*python -m reid train"):
        load_guider(tmp_path / "nowhere", NAMES)
