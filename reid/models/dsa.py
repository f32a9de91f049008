"""DSA-reID: a network of whole pictures that learns beside one of densely aligned body surfaces, and then does without it."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from reid.batch import Batch
from reid.losses import LossConfig, identity_losses, reid_losses
from reid.models.backbone import Backbone, BackboneConfig
from reid.models.dsag_stream import DsagStream
from reid.models.heads import classifier, linear, neck
from reid.models.model import Model, ModelConfig
from reid.models.residual import residual_stage
from reid.part_images import cropped_part_images, dense_part_images
from shards.semantics import PARTS_8

NUM_PARTS = len(PARTS_8) - 1
_HEADS: Mapping[str, Mapping[str, int]] = {
    "both": {"conv5_g": 1, "conv5_l": NUM_PARTS},
    "global": {"conv5_g": 1},
    "local": {"conv5_l": NUM_PARTS},
}
"""`DsaConfig.branches` -> the head of each branch (table 1), and how many features it gives, side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DsaConfig(ModelConfig):
    """Two streams, fused in training (Zhang et al. 2019, fig. 3)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """A ResNet: conv1 to conv4_x keep its pretrained weights, conv5_x starts from random ones (sec. 4.2)."""
    branches: Literal["both", "global", "local"] = "both"
    """Of both streams (table 3: "Single" is one of the two)."""
    guide: Literal["dense", "cropped", "none"] = "dense"
    """What the second stream sees: surfaces unrolled by their (u, v); cut out, but not aligned inside (CSA, table 4); none:
    there is no second stream ("Baseline (Two branches)", table 3)."""
    fusion: Literal["add", "concatenate"] = "add"
    """Of the two streams' features: their sum, or a fully connected layer on both (table 5)."""
    part_size: int = 32
    """Height and width of a surface's picture, a multiple of 4."""
    neck: bool = False
    """Batch norm of the features that are classified and compared, as of GlobalPool: not in the paper."""
    fused_identity_weight: float = 1.0
    """Of the identity loss of the fused features; `losses.identity_weight` is that of the first stream's own."""

    def __post_init__(self) -> None:
        if not self.backbone.name.startswith("resnet"):
            raise ValueError(
                f"DSA-reID branches inside a ResNet: --model.backbone.name resnet50, got {self.backbone.name}"
            )
        if self.part_size < 4 or self.part_size % 4:
            raise ValueError(f"part_size must be a multiple of 4, got {self.part_size}")
        if not 0 <= self.fused_identity_weight < math.inf:
            raise ValueError(f"fused_identity_weight must be >= 0, got {self.fused_identity_weight}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Dsa":
        return Dsa(self, backbone, num_classes, losses=losses)


class Dsa(Model):
    """Embeddings f_G and f_L,1..8 of the first stream, D = 2 x the backbone's channels: 4096 of ResNet-50.

    The global branch is conv5_x, the eight local ones are conv5_x with an eighth of the channels, all with stride 1 and on
    all of conv4_x (sec. 3.2.2 and 4.2). Losses are added up over features (sec. 3.2.4 and 4.2): identity of f_G and of each
    f_L,i; identity and triplet of z_G and z_L, which are both streams' features in one, z_L all eight parts of it.
    """

    training_only = ("classifiers", "fused_classifiers", "fused_necks", "fusions", "dsag_stream")
    identity_layers = ("classifiers", "fused_classifiers")

    def __init__(self, config: DsaConfig, backbone: Backbone, num_classes: int, *, losses: LossConfig):
        """num_classes: C, of the identities to be told apart in training."""
        super().__init__()
        if config.guide != "none" and losses.triplet_weight == config.fused_identity_weight == 0:
            raise ValueError(
                "the second stream learns from the fused features' losses alone: losses.triplet-weight or "
                "model.fused-identity-weight must be > 0, got 0 and 0; or give model.guide none"
            )
        self._config, self._losses = config, losses
        self.labels = frozenset() if config.guide == "none" else frozenset({"iuv"})
        self.backbone, dim = _to_conv4(backbone), backbone.num_channels
        self._num_features = _HEADS[config.branches]
        self.heads = nn.ModuleDict(
            {
                name: residual_stage(
                    "bottleneck" if config.backbone.name == "resnet50" else "basic",
                    self.backbone.num_channels,
                    dim,
                    num_blocks=len(backbone.layer4),
                    branches=count,
                    is_input_shared=True,
                )
                for name, count in self._num_features.items()
            }
        )
        if config.neck and not (losses.identity_weight and config.fused_identity_weight):
            raise ValueError(
                "necks learn from the identity losses alone: losses.identity-weight and model.fused-identity-weight must be "
                f"> 0, got {losses.identity_weight} and {config.fused_identity_weight}"
            )
        # What has no loss is not there: several processes do not allow parameters without gradients.
        is_guided, is_classified = config.guide != "none", losses.identity_weight > 0
        widths = [dim // count for count in self._num_features.values() for _ in range(count)]
        self.classifiers = nn.ModuleList(
            classifier(width, num_classes, bias=not config.neck, num_layers=2) for width in widths if is_classified
        )
        self.fused_classifiers = nn.ModuleList(
            classifier(dim, num_classes, bias=not config.neck, num_layers=2)
            for _ in self.heads
            if config.fused_identity_weight > 0
        )
        # Channel by channel, so one neck is that of all features of a branch.
        self.necks = nn.ModuleDict({name: neck(dim) for name in self.heads if config.neck})
        self.fused_necks = nn.ModuleDict({name: neck(dim) for name in self.heads if config.neck})
        concatenates = is_guided and config.fusion == "concatenate"
        self.fusions = nn.ModuleDict({name: linear(2 * dim, dim) for name in self.heads if concatenates})
        width = self.backbone.num_channels // NUM_PARTS
        self.dsag_stream = DsagStream(width, dim, self._num_features) if is_guided else None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        features = self._features(batch.images)
        fused, watched = features, {}
        if self.dsag_stream is not None:
            fused, seen = self._fuse(features, batch.images, batch.labels["iuv"])
            watched["unseen"] = 1 - seen.float().mean()
        own = _through(self.necks, features)
        alone = [each for name, count in self._num_features.items() for each in own[name].chunk(count, dim=1)]
        logits = [classify(alone[i]) for i, classify in enumerate(self.classifiers)]
        found = reid_losses(batch, self._losses, logits=logits, embeddings=list(fused.values()), heads="sum")
        if self.fused_classifiers:
            compared = _through(self.fused_necks, fused).values()
            logits = [classify(each) for classify, each in zip(self.fused_classifiers, compared, strict=True)]
            loss = identity_losses(logits, batch, self._losses).sum()
            found["fused_identity"] = self._config.fused_identity_weight * loss
        return found | watched

    def feature_map(self, images: Tensor) -> Tensor:
        """Of the global branch, or where there is none, the local ones' maps side by side."""
        return next(iter(self.heads.values()))(self.backbone(images))

    def embed(self, images: Tensor) -> Tensor:
        return torch.cat(list(_through(self.necks, self._features(images)).values()), dim=1)

    def embed_fused(self, images: Tensor, iuv: Tensor) -> Tensor:
        """images (B, 3, H, W) normalised, iuv (B, H, W, 3) uint8 -> (B, D), z_G and z_L: "Two streams fused" of table 3.

        Raises ValueError where there is no second stream.
        """
        if self.dsag_stream is None:
            raise ValueError("fused embeddings need the second stream, which this network has not, or has no more")
        fused, _ = self._fuse(self._features(images), images, iuv)
        return torch.cat(list(_through(self.fused_necks, fused).values()), dim=1)

    def embedding_parts(self) -> dict[str, int]:
        """The whole, and the parts that 24 surfaces become (fig. 4)."""
        dim = 2 * self.backbone.num_channels
        names = {"conv5_g": ("global",), "conv5_l": PARTS_8[1:]}
        parts = {each: dim // count for name, count in self._num_features.items() for each in names[name]}
        return parts if len(parts) > 1 else {}

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C) of each branch."""
        maps = self.backbone(images)
        return {name: head(maps).mean(dim=(2, 3)) for name, head in self.heads.items()}

    def _fuse(self, features: Mapping[str, Tensor], images: Tensor, iuv: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """(B, C) of each branch, both streams in one; (B,) bool: which pictures the second stream saw anything of."""
        warp = dense_part_images if self._config.guide == "dense" else cropped_part_images
        part_images, seen = warp(images, iuv, self._config.part_size)
        guides = self.dsag_stream(part_images)
        if not self.fusions:
            return {name: feature + guides[name] for name, feature in features.items()}, seen
        both = {name: torch.cat([feature, guides[name]], dim=1) for name, feature in features.items()}
        return {name: fuse(both[name]) for name, fuse in self.fusions.items()}, seen


def _through(necks: nn.ModuleDict, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: necks[name](feature) if name in necks else feature for name, feature in features.items()}


def _to_conv4(resnet: Backbone) -> Backbone:
    """The layers whose pretrained weights are kept: maps of half as many channels, of the same size."""
    layers = OrderedDict((name, layer) for name, layer in resnet.named_children() if name != "layer4")
    backbone = Backbone(layers, num_channels=resnet.num_channels // 2)
    backbone.provenance = resnet.provenance
    return backbone
