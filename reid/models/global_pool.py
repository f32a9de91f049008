"""GlobalPool: one feature for the whole image, the baseline of most methods."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from reid.batch import Batch
from reid.losses import LossConfig, reid_losses
from reid.models.backbone import Backbone, BackboneConfig
from reid.models.heads import classifier, embedding_layer, neck, pool_stripes
from reid.models.model import ModelConfig
from reid.models.part_head import PartAware, PartHead, PartHeadConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalPoolConfig(ModelConfig):
    """Pooled feature map, embedding layer, identity classifier (Huang et al. 2020, fig. 4)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    pooling: Literal["max", "average"] = "max"
    """Over the whole map. OSNet, SAN and DSA-reID take the average."""
    embedding_dim: int | None = 512
    """Of a layer FC, BN, ReLU on the pooled feature; None: the pooled feature itself is the embedding."""
    neck: bool = False
    """Batch norm between the feature in the triplet loss and the one to classify and compare (Luo et al. 2019, "Bag of
    Tricks"); in place of the embedding layer."""
    classifier_layers: Literal[1, 2] = 1
    """Fully connected layers from embedding to identities: 2 in DSA-reID (Zhang et al. 2019, sec. 3.2.4)."""
    part_head: PartHeadConfig | None = None
    """Part awareness: in training the map is also segmented (Huang et al. 2020, fig. 4)."""

    def __post_init__(self) -> None:
        if self.embedding_dim is not None and self.embedding_dim < 1:
            raise ValueError(f"embedding_dim must be >= 1, or None, got {self.embedding_dim}")
        if self.neck and self.embedding_dim is not None:
            raise ValueError(f"a neck takes the place of the embedding layer: set embedding_dim None, got {self}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "GlobalPool":
        return GlobalPool(self, backbone, num_classes, losses=losses)


class GlobalPool(PartAware):
    """Embeddings of `embedding_dim` (D), or as many as the backbone has channels."""

    training_only = ("classifier", "part_head")
    identity_layers = ("classifier",)

    def __init__(self, config: GlobalPoolConfig, backbone: Backbone, num_classes: int, *, losses: LossConfig):
        """num_classes: C, of the identities to be told apart in training."""
        super().__init__()
        if config.neck and losses.identity_weight == 0:
            raise ValueError("a neck learns from the identity loss alone: identity_weight must be > 0, got 0")
        self.backbone = backbone
        self._average, self._losses = config.pooling == "average", losses
        dim = config.embedding_dim or backbone.num_channels
        self.embedding = embedding_layer(backbone.num_channels, dim) if config.embedding_dim else nn.Identity()
        self.neck = neck(dim) if config.neck else nn.Identity()
        # A classifier without loss would have no gradients, which several processes do not allow.
        self.classifier = (
            classifier(dim, num_classes, bias=not config.neck, num_layers=config.classifier_layers)
            if losses.identity_weight > 0
            else None
        )
        self.part_head = None if config.part_head is None else PartHead(config.part_head, backbone.num_channels)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.feature_map(batch.images)
        return self.identity_losses(maps, batch) | self.part_losses([maps], batch)

    def identity_losses(self, maps: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`losses.reid_losses` of maps (B, C, h, w), made of the batch's images."""
        feature = self._feature(maps)
        logits = [] if self.classifier is None else [self.classifier(self.neck(feature))]
        return reid_losses(batch, self._losses, logits=logits, embeddings=[feature])

    def feature_map(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def embed(self, images: Tensor) -> Tensor:
        return self.neck(self._feature(self.feature_map(images)))

    def _feature(self, maps: Tensor) -> Tensor:
        """(B, D), before the neck."""
        return self.embedding(pool_stripes(maps, 1, average=self._average)[:, 0])
