"""What the tests of style are made of: two small sets of different looks, a configuration, a run nobody trained.

    source, target = build_looks(folder)

The target's pictures are bluer and darker than the source's, and show others.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tiny_people import People, build_people

from generative.adversarial.config import AdversarialConfig, MirroredDataConfig
from generative.style.config import StyleConfig
from generative.style.networks import Players, StyleNetworkConfig
from reid.checkpoint import State, checkpoint_path, save_checkpoint
from shards import Sample

HEIGHT, WIDTH = 64, 32
SMALL = StyleNetworkConfig(
    height=HEIGHT, width=WIDTH, channels=8, blocks=1, discriminator_channels=8, embedding_channels=4, embedding_dim=8
)
SOURCE = People(num_identities=2, origin="rendered", splits=False, labels=frozenset({"iuv"}))
"""12 pictures."""


@dataclass(frozen=True, kw_only=True)
class Blue(People):
    """Ten pictures of others, and four of another split."""

    num_identities: int = 5
    images_per_camera: int = 1
    extra: tuple[str | None, ...] = ("blue/-1", None, None, None)
    dataset: str = "blue"
    known: bool = False
    splits: bool = False
    seed: int = 5

    def sample(self, index: int) -> Sample:
        sample = People.sample(self, index)
        image = (sample.image * np.array([0.3, 0.4, 0.9]) + [0, 0, 25]).astype(np.uint8)
        split = "train" if index < 10 else "gallery"
        return replace(sample, image=image, meta=replace(sample.meta, split=split))


def build_looks(folder: Path) -> tuple[str, str]:
    """Write both sets; returns their folders as a configuration names them."""
    return build_people(folder / "source", SOURCE), build_people(folder / "target", Blue())


def tiny_config(source: str, target: str, **changes: object) -> StyleConfig:
    """Two epochs of three steps; changes: whole stages or fields."""
    stages = {
        "networks": SMALL,
        "source": (source,),
        "target": (target,),
        "data": MirroredDataConfig(num_workers=1),
        "optimise": AdversarialConfig(epochs=2, batch_size=4),
        "history": 6,
        "precision": "no",
        "pictures_every": 0,
    }
    return StyleConfig(**(stages | changes))


def save_style(folder: Path, *, seed: int = 0, **networks: object) -> Path:
    """A run with random weights, so large in the last layer that it draws something."""
    config = StyleConfig(
        networks=replace(SMALL, **networks), source=("a",), target=("b",), history=8, seed=seed, precision="no"
    )
    torch.manual_seed(seed)
    players = Players(config.networks, config.history)
    for generator in (players.ema, players.generators.to_target):
        torch.nn.init.normal_(generator.to_rgb.weight, std=0.1)
    with torch.no_grad():  # what is used is the average
        players.ema.to_rgb.weight += 0.02 * torch.randn_like(players.ema.to_rgb.weight)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint_path(folder, "last"), players, State(config=config, class_names=(), num_samples=1), {})
    return folder
