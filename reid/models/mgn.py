"""MGN: the whole image, its halves and its thirds, each in a branch of its own."""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reid.batch import Batch
from reid.losses import LossConfig, reid_losses
from reid.models.backbone import Backbone, BackboneConfig
from reid.models.heads import classifier, embedding_layer, linear, pool_stripes
from reid.models.model import ModelConfig
from reid.models.part_head import PartAware, PartHead, PartHeadConfig

NUM_BRANCHES = 3
"""Branch i (from 0) has the whole map and, past the first, its i + 1 stripes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MgnConfig(ModelConfig):
    """Multiple granularities (Wang et al. 2018) as Huang et al. 2020, fig. 8, has them: all branches at stride 16."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """A ResNet: its layers from conv4_2 on are there three times."""
    embedding_dim: int = 256
    """Of each of the eight features."""
    part_head: PartHeadConfig | None = None
    """Part awareness: in training one head also segments the maps of all branches (Huang et al. 2020, fig. 8)."""

    def __post_init__(self) -> None:
        if not self.backbone.name.startswith("resnet"):
            raise ValueError(f"MGN branches inside a ResNet: --model.backbone.name resnet50, got {self.backbone.name}")
        if self.embedding_dim < 1:
            raise ValueError(f"embedding_dim must be >= 1, got {self.embedding_dim}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Mgn":
        return Mgn(self, backbone, num_classes, losses=losses)


SHARED = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3.0")
"""Layers of a ResNet that all branches share, to conv4_1."""


class MgnBackbone(nn.Module):
    """Images (B, 3, H, W) -> the maps of three branches, (B, num_channels, H / 16, W / 16) each.

    Shared to conv4_1; conv4_2 to conv5 start as copies of the same weights.
    """

    def __init__(self, resnet: Backbone):
        super().__init__()
        self.num_channels, self.provenance = resnet.num_channels, resnet.provenance
        self.stem = nn.Sequential(*map(resnet.get_submodule, SHARED))
        branch = nn.Sequential(resnet.layer3[1:], resnet.layer4)
        self.branches = nn.ModuleList(copy.deepcopy(branch) for _ in range(NUM_BRANCHES))

    def forward(self, images: Tensor) -> list[Tensor]:
        shared = self.stem(images)
        return [branch(shared) for branch in self.branches]


class Mgn(PartAware):
    """Three global features and five of stripes, one after the other: D = 8 x embedding_dim, 2048 by default.

    The identity loss is the mean over all eight (Huang et al. 2020, eq. 6), the triplet loss that over the three global
    ones (eq. 5), the part loss that over the three branches.
    """

    training_only = ("classifiers", "part_head")
    identity_layers = ("classifiers",)

    def __init__(self, config: MgnConfig, backbone: Backbone, num_classes: int, *, losses: LossConfig):
        """num_classes: C, of the identities to be told apart in training."""
        super().__init__()
        if losses.identity_weight == 0:
            raise ValueError(
                "the stripes of MGN learn from the identity loss alone: identity_weight must be > 0, got 0"
            )
        self.backbone = MgnBackbone(backbone)
        self._losses = losses
        channels, dim = backbone.num_channels, config.embedding_dim
        self.reductions = nn.ModuleList(linear(channels, dim) for _ in range(NUM_BRANCHES))
        num_stripes = sum(range(2, NUM_BRANCHES + 1))
        self.embeddings = nn.ModuleList(embedding_layer(channels, dim) for _ in range(num_stripes))
        self.classifiers = nn.ModuleList(classifier(dim, num_classes) for _ in range(NUM_BRANCHES + num_stripes))
        self.part_head = None if config.part_head is None else PartHead(config.part_head, backbone.num_channels)

    def translate(self, name: str) -> list[str]:
        """A plain ResNet's weights go to the stem, or to every branch."""
        place = name.removeprefix("backbone.")
        for number, layer in enumerate(SHARED):
            if place.startswith(f"{layer}."):
                return [f"backbone.stem.{number}{place.removeprefix(layer)}"]
        layer, _, rest = place.partition(".")
        if layer not in ("layer3", "layer4"):
            return [name]
        return [f"backbone.branches.{i}.{int(layer == 'layer4')}.{rest}" for i in range(NUM_BRANCHES)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.backbone(batch.images)
        features = self._features(maps)
        logits = [classify(feature) for classify, feature in zip(self.classifiers, features, strict=True)]
        losses = reid_losses(batch, self._losses, logits=logits, embeddings=features[:NUM_BRANCHES])
        return losses | self.part_losses(maps, batch)

    def feature_map(self, images: Tensor) -> Tensor:
        """Of the second branch, which Huang et al. look at (fig. 10)."""
        return self.backbone(images)[1]

    def embed(self, images: Tensor) -> Tensor:
        return torch.cat(self._features(self.backbone(images)), dim=1)

    def embedding_parts(self) -> dict[str, int]:
        """As Huang et al. 2020, fig. 13b, calls them: branch, then global or stripe."""
        branches = range(1, NUM_BRANCHES + 1)
        stripes = [f"B{branch}S{stripe}" for branch in branches[1:] for stripe in range(1, branch + 1)]
        return dict.fromkeys([*(f"B{branch}G" for branch in branches), *stripes], self.reductions[0].out_features)

    def part_features(self, images: Tensor) -> Tensor:
        """The three stripes of the third branch."""
        return pool_stripes(self.backbone(images)[-1], NUM_BRANCHES)

    def _features(self, maps: list[Tensor]) -> list[Tensor]:
        """Eight (B, embedding_dim): the global ones, the halves, the thirds."""
        whole = [reduce(pool_stripes(each, 1)[:, 0]) for reduce, each in zip(self.reductions, maps, strict=True)]
        stripes = [stripe for i in range(1, NUM_BRANCHES) for stripe in pool_stripes(maps[i], i + 1).unbind(dim=1)]
        return whole + [embed(stripe) for embed, stripe in zip(self.embeddings, stripes, strict=True)]
