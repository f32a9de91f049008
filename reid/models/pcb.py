"""PCB: a feature for each horizontal stripe of the image, and a classifier for each."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reid.batch import Batch
from reid.losses import LossConfig, reid_losses
from reid.models.backbone import Backbone, BackboneConfig
from reid.models.heads import classifier, embedding_layer, pool_stripes
from reid.models.model import ModelConfig
from reid.models.part_head import PartAware, PartHead, PartHeadConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class PcbConfig(ModelConfig):
    """Stripes of the feature map (Sun et al. 2018) as Huang et al. 2020, fig. 5, has them: max-pooled."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    num_stripes: int = 6
    """Of equal height; 16 times as many must divide the images' height, which is 384 in the papers."""
    embedding_dim: int = 256
    """Of a layer FC, BN, ReLU on each stripe."""
    part_head: PartHeadConfig | None = None
    """Part awareness: in training the map is also segmented (Huang et al. 2020, fig. 5)."""

    def __post_init__(self) -> None:
        for name in ("num_stripes", "embedding_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Pcb":
        return Pcb(self, backbone, num_classes, losses=losses)


class Pcb(PartAware):
    """Embeddings of all stripes, one after the other: D = num_stripes x embedding_dim, 1536 by default.

    The identity loss is the sum over stripes (Huang et al. 2020, eq. 3); the triplet loss, where it has a weight, is of
    the whole embedding.
    """

    training_only = ("classifiers", "part_head")
    identity_layers = ("classifiers",)

    def __init__(self, config: PcbConfig, backbone: Backbone, num_classes: int, *, losses: LossConfig):
        """num_classes: C, of the identities to be told apart in training."""
        super().__init__()
        self.backbone = backbone
        self._losses = losses
        stripes = range(config.num_stripes)
        self.embeddings = nn.ModuleList(embedding_layer(backbone.num_channels, config.embedding_dim) for _ in stripes)
        has_classifiers = losses.identity_weight > 0  # without loss they would have no gradients
        self.classifiers = nn.ModuleList(
            classifier(config.embedding_dim, num_classes) for _ in stripes if has_classifiers
        )
        self.part_head = None if config.part_head is None else PartHead(config.part_head, backbone.num_channels)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.feature_map(batch.images)
        features = self._features(maps)
        logits = [classify(features[:, i]) for i, classify in enumerate(self.classifiers)]
        losses = reid_losses(batch, self._losses, logits=logits, embeddings=[features.flatten(1)], heads="sum")
        return losses | self.part_losses([maps], batch)

    def feature_map(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def embed(self, images: Tensor) -> Tensor:
        return self._features(self.feature_map(images)).flatten(1)

    def embedding_parts(self) -> dict[str, int]:
        """Stripes from top to bottom (Huang et al. 2020, fig. 13a)."""
        return {f"stripe {i}": embed[0].out_features for i, embed in enumerate(self.embeddings, start=1)}

    def part_features(self, images: Tensor) -> Tensor:
        return pool_stripes(self.feature_map(images), len(self.embeddings))

    def _features(self, maps: Tensor) -> Tensor:
        """(B, num_stripes, embedding_dim)."""
        pooled = pool_stripes(maps, len(self.embeddings))
        return torch.stack([embed(pooled[:, i]) for i, embed in enumerate(self.embeddings)], dim=1)
