"""Part awareness: training also asks which part of the body each place of a feature map shows (Huang et al. 2020)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reid.batch import Batch, on_device
from reid.gather import num_processes, total
from reid.models.model import Model
from shards.schema import Field
from shards.semantics import PART_2_TO_1, PART_4_TO_2, PART_7_TO_4, PARTS_7
from shards.sheet import PART_COLOURS

Structure = Literal["a", "b", "c", "d"]
Granularity = Literal[7, 4, 2, 1]
HIDDEN = 256
"""Channels of every layer before the classifier (fig. 2)."""

_FROM_7: Mapping[int, np.ndarray] = {
    7: np.arange(len(PARTS_7), dtype=np.uint8),
    4: PART_7_TO_4,
    2: PART_4_TO_2[PART_7_TO_4],
    1: PART_2_TO_1[PART_4_TO_2[PART_7_TO_4]],
}
"""Granularity -> (8,) uint8, the class of each of `PARTS_7`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartHeadConfig:
    """A head that segments the body, in training alone (Huang et al. 2020, sec. III)."""

    structure: Structure = "c"
    """Fig. 2. a: a classifier of each place; b: a 3x3 convolution before it; c: a deconvolution, to twice the height and
    width; d: two of them."""
    granularity: Granularity = 7
    """Parts to be told apart, besides the background (fig. 11)."""
    weight: float = 1.0
    """Lambda of the loss (eq. 1)."""

    def __post_init__(self) -> None:
        for name, kind in (("structure", Structure), ("granularity", Granularity)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(map(str, get_args(kind)))
                raise ValueError(f"part_head.{name} must be one of {known}, got {getattr(self, name)!r}")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"part_head.weight must be > 0, got {self.weight}: the preset without -ps has no head")


class PartHead(nn.Module):
    """Maps (B, in_channels, h, w) -> logits (B, granularity + 1, k h, k w) of background and parts; k is 2 for structure c,
    4 for d, else 1. Weights start as N(0, 0.001)."""

    def __init__(self, config: PartHeadConfig, in_channels: int):
        super().__init__()
        self._weight, self._class_of = config.weight, _FROM_7[config.granularity]
        match config.structure:
            case "a":
                layers = []
            case "b":
                layers = [_convolution(in_channels)]
            case "c":
                layers = [_deconvolution(in_channels)]
            case "d":
                layers = [_deconvolution(in_channels), _deconvolution(HIDDEN)]
        classify = nn.Conv2d(HIDDEN if layers else in_channels, config.granularity + 1, 1)
        self.layers = nn.Sequential(*layers, classify)
        for layer in self.layers.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, std=0.001)
        nn.init.zeros_(classify.bias)

    def forward(self, maps: Tensor) -> Tensor:
        return self.layers(maps)

    def targets(self, parts: Tensor, size: tuple[int, int]) -> Tensor:
        """parts (B, H, W) uint8, numbers of `PARTS_7` -> (B, *size) int64 classes, each that at the centre of its place."""
        nearest = functional.interpolate(parts[:, None], size, mode="nearest-exact")[:, 0]
        return on_device(tuple(self._class_of.tolist()), parts.device)[nearest.int()]

    def losses(self, maps: Sequence[Tensor], parts: Tensor) -> dict[str, Tensor]:
        """The loss "parts", weighted, and "parts_accuracy", the share of places that are right, which is only watched:
        scalars, means over `maps`.

        maps: (B, C, h, w) of each branch; parts (B, H, W) uint8, numbers of `PARTS_7`.
        """
        logits = torch.cat([self(each) for each in maps])
        targets = self.targets(parts, logits.shape[2:]).repeat(len(maps), 1, 1)
        accuracy = (logits.detach().argmax(dim=1) == targets).float().mean()
        return {"parts": self._weight * part_loss(logits, targets), "parts_accuracy": accuracy}

    def draw(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """maps (B, C, h, w) -> (B, *size, 3) uint8, RGB: the likeliest class of each place in the colour of its first part."""
        classes = self(maps).argmax(dim=1, keepdim=True).to(torch.uint8)
        nearest = functional.interpolate(classes, size, mode="nearest-exact")[:, 0]
        first_part = np.unique(self._class_of, return_index=True)[1]
        return torch.from_numpy(PART_COLOURS[first_part]).to(maps.device)[nearest.int()]


def part_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, averaged inside each class of the batch, then over the classes that it has, so that large ones do not
    outweigh the small.

    logits (B, M, h, w) float; targets (B, h, w) int64 in 0..M-1. Returns a float32 scalar. Of several processes each gets its
    own places' part of the loss of the whole batch, times their number: the mean of the losses, and of the gradients, is
    that of one process. Source: Huang et al. 2020, eq. 8-9.
    """
    classes = torch.arange(logits.shape[1], device=targets.device)
    counts = total((targets == classes[:, None, None, None]).sum(dim=(1, 2, 3)))
    weights = num_processes() / (counts.clamp(min=1) * (counts > 0).sum())
    return functional.cross_entropy(logits.float(), targets, weights, reduction="sum")


class PartAware(Model):
    """A model that may have a part head."""

    part_head: PartHead | None

    @property
    def labels(self) -> frozenset[Field]:
        return frozenset() if self.part_head is None else frozenset({"parts"})

    def part_losses(self, maps: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """`PartHead.losses` of the feature maps of a batch; empty without a head."""
        return {} if self.part_head is None else self.part_head.losses(maps, batch.labels["parts"])

    def drawings(self, images: Tensor) -> Mapping[str, Tensor]:
        """The body as the head segments `feature_map`, under "parts", in the colours of `shards.sheet`."""
        if self.part_head is None:
            return {}
        return {"parts": self.part_head.draw(self.feature_map(images), images.shape[2:])}


def _convolution(in_channels: int) -> nn.Sequential:
    return _normalised(nn.Conv2d(in_channels, HIDDEN, 3, padding=1, bias=False))


def _deconvolution(in_channels: int) -> nn.Sequential:
    """To exactly twice the height and width."""
    return _normalised(nn.ConvTranspose2d(in_channels, HIDDEN, 3, 2, padding=1, output_padding=1, bias=False))


def _normalised(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(HIDDEN), nn.ReLU(inplace=True))
