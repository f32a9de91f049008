"""Small sets with every label that an annotator learns, and annotators that nobody trained.

build_people(folder, LabelledPeople(labels=frozenset({"iuv", "texture"}), has_keypoints=True))
save_run(folder, "iuv")
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_people import People

from generative.annotators.config import AnnotatorTrainConfig
from generative.presets import PRESETS
from reid.checkpoint import State, checkpoint_path, save_checkpoint
from reid.fit import InputConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.models.model import Network
from shards import Sample

HEIGHT, WIDTH = 64, 32
"""What the networks are given."""
SIZE = (80, 36)
"""Height and width of the pictures."""


@dataclass(frozen=True, kw_only=True)
class LabelledPeople(People):
    """Twelve rendered pictures, larger than the networks' input."""

    num_identities: int = 2
    height: int = SIZE[0]
    width: int = SIZE[1]
    origin: str = "rendered"
    splits: bool = False
    has_keypoints: bool = False

    def sample(self, index: int) -> Sample:
        sample = People.sample(self, index)
        if not self.has_keypoints:
            return sample
        return replace(sample, meta=replace(sample.meta, keypoints=keypoints(index, self.height, self.width)))


def keypoints(index: int, height: int, width: int) -> list[list[float]]:
    """17 x (x, y, v) of sample `index`: some seen, some hidden, one or two unknown."""
    rng = np.random.default_rng((17, index))
    v = rng.choice([0, 1, 2], 17, p=[0.1, 0.3, 0.6])
    points = rng.uniform(0.2, 0.8, (17, 2)) * [width, height]
    return (np.concatenate([points, np.ones((17, 1))], 1) * np.stack([v > 0, v > 0, v], 1)).round(2).tolist()


def small_config(label: str, **changes: object) -> AnnotatorTrainConfig:
    """The preset of a label with a ResNet-18, on pictures of HEIGHT x WIDTH."""
    config = PRESETS[label]()
    model = replace(config.model, backbone=BackboneConfig(name="resnet18", weights="none"))
    stages = {"model": model, "input": InputConfig(height=HEIGHT, width=WIDTH), "precision": "no"}
    return replace(config, **(stages | changes))


def talkative(config: AnnotatorTrainConfig) -> Network:
    """A network with random weights, so large in its last layers that it says something else of every picture."""
    torch.manual_seed(5)
    network = build_model(config.model, 0, losses=config.losses, pretrained=False)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, std=0.03)
        elif name.startswith("to_") or name == "head.4":
            torch.nn.init.normal_(module.weight, std=0.5)
    with torch.no_grad():  # some pixels are background, and some keypoints are not found
        if hasattr(network, "to_surface"):
            network.to_surface.bias[0] += 5
        if hasattr(network, "to_heatmaps"):
            network.to_heatmaps.bias[:5] -= 30
    return network


def save_run(folder: Path, label: str, *, uv_layout: str | None = "makehuman", **changes: object) -> Path:
    """A run of a `talkative` network."""
    config = small_config(label, **changes)
    network = talkative(config)
    folder.mkdir(parents=True, exist_ok=True)
    state = State(config=config, class_names=(), num_samples=0, uv_layout=uv_layout if label == "texture" else None)
    save_checkpoint(checkpoint_path(folder, "last"), network, state, {})
    return folder


def run_here(
    function: Callable[..., Any], tasks: Sequence[Any], *, num_workers: int, on_progress: Callable[[int], None]
) -> Iterator[tuple[Any, Any]]:
    """In place of `workers.run_tasks`: in this process."""
    for task in tasks:
        yield task, function(task, lambda count: None)
        on_progress(1)
