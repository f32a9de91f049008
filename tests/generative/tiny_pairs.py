"""What the tests of pose transfer are made of: small sets of people with keypoints, a guider, a configuration.

    build_posed(folder, Posed(num_identities=4))

A person is a block of the identity's colour at the place where the keypoints stand, before grey.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from posed_people import standing

from generative.adversarial.config import AdversarialConfig, MirroredDataConfig
from generative.transfer.config import (
    TransferConfig,
    TransferLossConfig,
)
from generative.transfer.networks import NetworkConfig, Players
from reid.checkpoint import State, checkpoint_path, save_checkpoint
from reid.config import EvaluateConfig, TrainConfig
from reid.dataset import DataConfig
from reid.distances import Metric
from reid.fit import InputConfig
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import ReidModelConfig, build_model
from reid.models.global_pool import GlobalPoolConfig
from shards import Meta, Sample
from shards.codec import EncodedSample, encode_sample
from shards.manifest import MANIFEST, Manifest, shard_name
from shards.writer import write_shard

HEIGHT, WIDTH = 64, 32
SMALL = NetworkConfig(size=32, width=8, discriminator_width=8)


@dataclass(frozen=True, kw_only=True)
class Posed:
    """What a set holds."""

    dataset: str = "tiny"
    num_identities: int = 4
    images_per_identity: int = 3
    extra: tuple[str | None, ...] = ()
    """Identities of a sample each at the end."""
    unposed: tuple[int, ...] = ()
    """Samples without keypoints."""
    unknown: tuple[int, ...] = ()
    """Samples of whose keypoints none is known."""
    small: tuple[int, ...] = ()
    """Samples whose picture is a pixel too narrow."""
    split: str | None = None

    @property
    def identities(self) -> list[str | None]:
        """Of every sample."""
        names = [f"{self.dataset}/{i:04d}" for i in range(self.num_identities) for _ in range(self.images_per_identity)]
        return [*names, *self.extra]

    def samples(self) -> Iterator[EncodedSample]:
        for index, identity in enumerate(self.identities):
            yield encode_sample(self.sample(index, identity))

    def sample(self, index: int, identity: str | None) -> Sample:
        rng = np.random.default_rng(index)
        points = standing(height=HEIGHT, width=WIDTH) + np.append(rng.uniform(-4, 4, 2), 0).astype(np.float32)
        colour = np.random.default_rng(sum(map(ord, identity or "nobody"))).integers(0, 256, 3)
        points[:, 2] *= index not in self.unknown
        image = np.full((HEIGHT, WIDTH - (index in self.small), 3), 128, np.uint8)
        (left, top), (right, bottom) = points[:, :2].min(0).astype(int), points[:, :2].max(0).astype(int)
        image[max(top, 0) : bottom, max(left, 0) : right] = colour
        meta = Meta(
            origin="real",
            dataset=self.dataset,
            identity=identity,
            camera_id=index % 2,
            split=self.split,
            keypoints=None if index in self.unposed else points.tolist(),
        )
        return Sample(key=f"{index:06d}", meta=meta, image=image)


def build_posed(folder: Path, posed: Posed | None = None) -> str:
    """Write the set; returns its folder as a configuration names it."""
    posed = posed or Posed()
    folder.mkdir(parents=True)
    entry = write_shard(folder / shard_name(posed.dataset, 0), posed.samples(), index=0)
    manifest = Manifest(
        name=posed.dataset, num_shards=1, config={}, licences=("CC0-1.0",), complete=True, shards=(entry,)
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return str(folder)


def save_guider(
    folder: Path,
    class_names: tuple[str, ...],
    model: ReidModelConfig | None = None,
    losses: LossConfig | None = None,
    input: InputConfig | None = None,
    data: DataConfig | None = None,
    metric: Metric = "euclidean",
) -> str:
    """A run with random weights, batch norms that have seen something; returns its folder as a configuration names it.

    Means stay 0, and classifiers are small: else the last ReLU lets nothing through, and everybody looks alike.
    """
    config = TrainConfig(
        model=model or GlobalPoolConfig(backbone=BackboneConfig(name="resnet18"), embedding_dim=16),
        losses=losses or LossConfig(),
        input=input or InputConfig(height=32, width=16),
        data=data or DataConfig(),
        evaluate=EvaluateConfig(metric=metric),
    )
    torch.manual_seed(0)
    network = build_model(config.model, len(class_names), losses=config.losses, pretrained=False)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    for name, parameter in network.named_parameters():
        if name.startswith("classifier"):
            torch.nn.init.normal_(parameter, std=0.1)
    folder.mkdir(parents=True)
    state = State(config=config, class_names=class_names, num_samples=1)
    save_checkpoint(checkpoint_path(folder, "last"), network, state, {})
    return str(folder)


def tiny_config(place: str, **changes: object) -> TransferConfig:
    """Two epochs of three steps on the set that `Posed` is by default; changes: whole stages or fields."""
    stages = {
        "networks": SMALL,
        "data": MirroredDataConfig(real=(place,), num_workers=1),
        "guider": "none",
        "losses": TransferLossConfig(),
        "optimise": AdversarialConfig(epochs=2, batch_size=4),
        "precision": "no",
        "pictures_every": 0,
    }
    return TransferConfig(**(stages | changes))


def save_transfer(folder: Path, *, seed: int = 0, provenance: str = "", **changes: object) -> Path:
    """A run with random weights that are large enough for pictures to differ."""
    torch.manual_seed(seed)
    players = Players(SMALL)
    for parameter in players.ema.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    folder.mkdir(parents=True)
    config = tiny_config("nowhere", **changes)
    state = State(config=config, class_names=(), num_samples=1, provenance=provenance)
    save_checkpoint(checkpoint_path(folder, "last"), players, state, {})
    return folder
