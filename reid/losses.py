"""Losses that trust generated images less (Liu et al. 2018, sec. 3.3), over the batch of all processes."""

import math
from dataclasses import dataclass, field

import torch
import torch.distributed
import torch.distributed.nn.functional as distributed
from torch import Tensor
from torch.nn import functional

from reid.batch import ORIGINS


@dataclass(frozen=True, kw_only=True, slots=True)
class PerOrigin:
    """A number for each origin of a sample."""

    real: float
    rendered: float
    generated: float

    def of(self, origins: Tensor) -> Tensor:
        """origins (B,) int64, indices into ORIGINS -> (B,) float32."""
        return torch.tensor([getattr(self, name) for name in ORIGINS], device=origins.device)[origins]


def everywhere(value: float) -> PerOrigin:
    """The same number for every origin."""
    return PerOrigin(real=value, rendered=value, generated=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """How identities are taught."""

    identity_weight: float = 1.0
    """Of the identity cross-entropy; 0 leaves it out."""
    triplet_weight: float = 1.0
    """Of the batch-hard triplet loss; 0 leaves it out."""
    smoothing: PerOrigin = field(default_factory=lambda: PerOrigin(real=0.0, rendered=0.0, generated=0.4))
    """Epsilon of label smoothing, 0..1 (Liu et al., eq. 7)."""
    margin: PerOrigin = field(default_factory=lambda: everywhere(0.3))
    """Of the triplets whose anchor has that origin, in units of distance."""
    soft_margin: bool = False
    """log(1 + exp(x)) in place of the hinge (Hermans et al. 2017, sec. 3.2); the margins are not used."""

    def __post_init__(self) -> None:
        for origin in ORIGINS:
            if not 0 <= getattr(self.smoothing, origin) <= 1:
                raise ValueError(
                    f"smoothing.{origin} must lie in 0..1, got {getattr(self.smoothing, origin)}"
                )
            if not 0 <= getattr(self.margin, origin) < math.inf:
                raise ValueError(f"margin.{origin} must be >= 0, got {getattr(self.margin, origin)}")
        if not (0 <= self.identity_weight < math.inf and 0 <= self.triplet_weight < math.inf):
            raise ValueError(
                f"loss weights must be >= 0, got identity {self.identity_weight} and triplet {self.triplet_weight}"
            )
