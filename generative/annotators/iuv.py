"""Which surface of the body each pixel shows, and where on it (Guler et al. 2018, "DensePose")."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from generative.annotators.annotator import Annotation, Annotator, AnnotatorConfig
from generative.annotators.upsample import WIDTH, deconvolutions
from reid.batch import Batch
from reid.gather import num_processes, total
from reid.losses import LossConfig
from reid.models.backbone import Backbone, BackboneConfig
from shards.semantics import SURFACES_24

NUM_SURFACES = len(SURFACES_24) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class IuvConfig(AnnotatorConfig):
    """A classifier of 24 surfaces and background, and a regressor of (u, v) for each surface."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    num_deconvolutions: int = 2
    """Each doubles the height and width of the backbone's maps, which have a sixteenth of the picture's; the rest of the way is
    bilinear."""
    uv_weight: float = 4.0
    """Of the (u, v) loss, beside 1 of the surfaces'."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_deconvolutions <= 4:
            raise ValueError(f"num_deconvolutions must lie in 0..4, got {self.num_deconvolutions}")
        if not 0 < self.uv_weight < math.inf:
            raise ValueError(f"uv_weight must be > 0, got {self.uv_weight}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Iuv":
        return Iuv(self, backbone)


class Iuv(Annotator):
    """Cross-entropy of the surface; smooth L1 of (u, v) of the surface that is really there, so that what is drawn for all
    others is free. Both are means over pixels of all pictures, the latter over those that show a surface."""

    label = "iuv"

    def __init__(self, config: IuvConfig, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self._uv_weight = config.uv_weight
        self.upsample = deconvolutions(backbone.num_channels, config.num_deconvolutions)
        width = WIDTH if config.num_deconvolutions else backbone.num_channels
        self.to_surface = nn.Conv2d(width, NUM_SURFACES + 1, 1)
        self.to_uv = nn.Conv2d(width, 2 * NUM_SURFACES, 1)
        nn.init.constant_(self.to_uv.bias, 0.5)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        surface, u, v = batch.labels["iuv"].long().unbind(-1)
        logits, uv = self._maps(batch.images)
        return {
            "surface": functional.cross_entropy(logits, surface),
            "uv": self._uv_weight * uv_loss(uv, surface, torch.stack([u, v], 1) / 255),
            "surface_accuracy": (logits.detach().argmax(1) == surface).float().mean(),
        }

    def annotate(self, images: Tensor) -> Annotation:
        """Confidence is the mean probability of the surfaces that were chosen, over the pixels that show one; 0 where none does."""
        logits, uv = self._maps(images)
        probability, surface = logits.softmax(1).max(1)
        found = surface > 0
        chosen = at_surface(uv, surface).mul(255).round().clamp(0, 255) * found[:, None]
        values = torch.cat([surface[:, None], chosen.long()], 1).to(torch.uint8).permute(0, 2, 3, 1)
        confidence = (probability * found).sum((1, 2)) / found.sum((1, 2)).clamp(min=1)
        return Annotation(values=values.contiguous(), confidence=confidence)

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 25, H, W) logits of background and surfaces, and (B, 48, H, W) u and v of each surface, float32."""
        maps = self.upsample(self.backbone(images))
        return tuple(
            functional.interpolate(layer(maps).float(), images.shape[2:], mode="bilinear")
            for layer in (self.to_surface, self.to_uv)
        )


def uv_loss(uv: Tensor, surface: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (threshold 0.05) of u and v, the mean over pixels that show a surface, of the whole batch of all processes, whose
    gradients are averaged; 0 where none does.

    uv (B, 48, H, W) float, u and v of surface 1, 2, ...; surface (B, H, W) int64 in 0..24, the true one; target (B, 2, H, W) in
    0..1. Returns a scalar.
    """
    found = (surface > 0)[:, None]
    difference = functional.smooth_l1_loss(at_surface(uv, surface), target, beta=0.05, reduction="none")
    return (difference * found).sum() * num_processes() / (2 * total(found.sum())).clamp(min=1)


def at_surface(uv: Tensor, surface: Tensor) -> Tensor:
    """uv (B, 48, H, W) of all surfaces, surface (B, H, W) int64 in 0..24 -> (B, 2, H, W), those of that surface, where it is
    background of the first."""
    channel = 2 * (surface - 1).clamp(min=0)
    return uv.gather(1, torch.stack([channel, channel + 1], 1))
