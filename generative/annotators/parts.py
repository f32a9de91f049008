"""Which of 7 parts of the body each pixel shows: DANet (Fu et al. 2019) as Huang et al. 2020, sec. IV-B, train it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from generative.annotators.annotator import Annotation, Annotator, AnnotatorConfig
from reid.batch import Batch
from reid.losses import LossConfig
from reid.models.backbone import Backbone, BackboneConfig
from shards.semantics import PARTS_7

DILATIONS = (2, 4, 8)
"""Of the 3x3 convolutions in the blocks of a ResNet's last layer ("multi-dilation")."""
REDUCTION = 4
"""The head has the backbone's channels divided by this, queries and keys an eighth of those."""
DROPOUT = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class PartsConfig(AnnotatorConfig):
    """A ResNet whose maps keep an eighth of the picture's height and width, position attention, a classifier; the paper
    leaves channel attention out."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def __post_init__(self) -> None:
        if not self.backbone.name.startswith("resnet"):
            raise ValueError(f"parts need a ResNet: --model.backbone.name resnet50, got {self.backbone.name}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Parts":
        return Parts(backbone)


class Parts(Annotator):
    """Cross-entropy over all pixels."""

    label = "parts"

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = dilate(backbone)
        width = backbone.num_channels // REDUCTION
        self.head = nn.Sequential(
            _convolution(backbone.num_channels, width),
            PositionAttention(width),
            _convolution(width, width),
            nn.Dropout2d(DROPOUT),
            nn.Conv2d(width, len(PARTS_7), 1),
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits, target = self._logits(batch.images), batch.labels["parts"].long()
        accuracy = (logits.detach().argmax(1) == target).float().mean()
        return {"parts": functional.cross_entropy(logits, target), "parts_accuracy": accuracy}

    def annotate(self, images: Tensor) -> Annotation:
        """Confidence is the mean probability of the parts that were chosen, over the pixels that show one; 0 where none does."""
        probability, part = self._logits(images).softmax(1).max(1)
        found = part > 0
        confidence = (probability * found).sum((1, 2)) / found.sum((1, 2)).clamp(min=1)
        return Annotation(values=part.to(torch.uint8), confidence=confidence)

    def _logits(self, images: Tensor) -> Tensor:
        """(B, 8, H, W) float32."""
        logits = self.head(self.backbone(images)).float()
        return functional.interpolate(logits, images.shape[2:], mode="bilinear")


class PositionAttention(nn.Module):
    """Every place takes from all others what is like it (Fu et al. 2019, sec. 3.2): (B, C, h, w) -> the same shape. At first it
    gives what it gets."""

    def __init__(self, channels: int):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        query, key, value = (layer(maps).flatten(2).mT for layer in (self.query, self.key, self.value))
        taken = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return maps + self.weight * taken.mT.unflatten(2, maps.shape[2:])


def dilate(backbone: Backbone) -> Backbone:
    """Let a ResNet's third layer keep the size of what it is given, and say at every second place what it said before; the
    convolutions of the last layer reach as far as `DILATIONS` say. Changes the backbone, whose weights fit as before, and
    returns it."""
    for block in backbone.layer3:
        _spread(block, 2)
    for block, dilation in zip(backbone.layer4, DILATIONS, strict=False):
        _spread(block, dilation)
    return backbone


def _spread(block: nn.Module, dilation: int) -> None:
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1):
            layer.stride = (1, 1)  # what it is given lies as close together as before, what comes after it does not
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (dilation, dilation)


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
