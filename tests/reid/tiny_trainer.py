"""A network that trains in moments and has no batch norm, and the real command line with it: python tiny_trainer.py train ...

With TINY_STEP_S in the environment a step takes as many seconds more.
"""

import os
import time
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from reid.augment import AugmentConfig
from reid.batch import Batch
from reid.config import EvaluateConfig, TrainConfig
from reid.dataset import DataConfig
from reid.fit import InputConfig
from reid.losses import LossConfig, everywhere, reid_losses
from reid.models.model import Model
from reid.optimise import OptimiseConfig
from reid.sampler import SamplerConfig

HEIGHT, WIDTH = 32, 16


class TinyModel(Model):
    """Convolution, group norm, dropout, 16-d embedding; takes pairs, from which it learns to be short.

    As batch norm does it keeps a mean of what a process saw last, which it uses in evaluation only.
    """

    takes_pairs = True

    def __init__(self, num_classes: int, losses: LossConfig, dropout: float = 0.0):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.GroupNorm(2, 8), nn.ReLU())
        self.backbone.provenance = "random initialisation"
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(8, 16))
        self.classifier = nn.Linear(16, num_classes)
        self.register_buffer("mean", torch.zeros(16))
        self._losses = losses

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        time.sleep(float(os.environ.get("TINY_STEP_S", 0)))
        embeddings = self.embed(batch.images)
        if (batch.identities < 0).all():
            return {"length": embeddings.square().mean()}
        return reid_losses(batch, self._losses, logits=[self.classifier(embeddings)], embeddings=[embeddings])

    def feature_map(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def embed(self, images: Tensor) -> Tensor:
        embeddings = self.head(self.feature_map(images).mean(dim=(2, 3)))
        if self.training:
            self.mean.copy_(embeddings.detach().mean(dim=0))
            return embeddings
        return embeddings - self.mean


def build_tiny(config: object, num_classes: int, *, losses: LossConfig, pretrained: bool) -> TinyModel:
    """In place of `build_model`."""
    return TinyModel(num_classes, losses)


def tiny_config(place: str, **changes: object) -> TrainConfig:
    """Three epochs of three steps on the set that `tiny_people.People` is by default; changes: whole stages or fields."""
    stages = {
        "data": DataConfig(real=(place,), num_workers=1),
        "losses": LossConfig(smoothing=everywhere(0.1)),
        "input": InputConfig(height=HEIGHT, width=WIDTH),
        "sampler": SamplerConfig(batch_size=8, images_per_identity=2),
        "augment": AugmentConfig(pad=2),
        "optimise": OptimiseConfig(epochs=3, learning_rate=1e-2, warmup_epochs=1, milestones=(2,)),
        "evaluate": EvaluateConfig(every=1),
        "precision": "no",
    }
    return TrainConfig(**(stages | changes))


def options(place: str, out: Path, *, epochs: int) -> list[str]:
    """The command line that says about what `tiny_config` does."""
    return (
        f"train laptop --out {out} --data.real {place} --data.num-workers 1 --input.height {HEIGHT} --input.width {WIDTH} "
        f"--sampler.batch-size 8 --sampler.images-per-identity 2 --augment.pad 2 --optimise.epochs {epochs} --precision no "
        "--optimise.learning-rate 0.01 --optimise.warmup-epochs 1 --evaluate.every 1 --evaluate.batch-size 5"
    ).split()


if __name__ == "__main__":
    from reid.cli import cli
    from shards.console import main

    torch.set_num_threads(1)
    with mock.patch("reid.start.build_model", build_tiny), mock.patch("reid.checkpoint.build_model", build_tiny):
        main(cli)
