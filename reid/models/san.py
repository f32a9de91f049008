"""SAN: a feature map from which the texture of the whole body can be drawn (Jin et al. 2020)."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from reid.batch import MEAN, STD, Batch, on_device
from reid.constraints import draw_triplets, triplet_constraint
from reid.gather import gather
from reid.losses import LossConfig
from reid.models.backbone import Backbone, BackboneConfig
from reid.models.global_pool import GlobalPool, GlobalPoolConfig
from reid.models.model import ModelConfig
from reid.models.texture_decoder import NUM_BLOCKS, TextureDecoder, to_pixels, to_signed
from shards.schema import Field

_SKIPS = {"layer3": 2, "layer2": 4, "layer1": 8}
"""Layers of a ResNet whose maps are of the sizes that the decoder's first blocks work at -> the last map's channels per one
of theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SanConfig(ModelConfig):
    """Average pooling as in `baseline`, and in training a decoder on the same map (fig. 2)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The SA-Enc."""
    neck: bool = False
    """As of GlobalPool: of no paper here, but it learns from fewer pictures."""
    reconstruct: Literal["texture", "aligned", "input"] = "texture"
    """What the decoder draws (table 2): the texture of the body, the person in a fixed pose, or the picture that the
    network was given."""
    reconstruction_weight: float = 1.0
    """Of the mean absolute difference between what is drawn and what it should be, colours in -1..1."""
    constraint_weight: float = 1.0
    """Of the triplet reID constraints (eq. 1), summed over `constraint_blocks`; 0 leaves them out: SAN-basic."""
    constraint_blocks: tuple[int, ...] = (1, 2, 3)
    """Which of the decoder's features f_d1 to f_d4 are constrained (table 4)."""
    constraint_margin: float = 0.3
    """Of the constraints, in units of squared distance."""
    constraint_distance: Literal["sum", "mean"] = "sum"
    """Squared distances of feature vectors as in eq. 1, the sum over channels, which is hundreds at first beside a margin of
    0.3; or its mean over channels, as in the authors' code."""
    pooled_constraints: bool = False
    """Whether the constraints compare the features' means over places, not place by place (table 4)."""
    last_upsampling: Literal["shuffle", "bilinear"] = "shuffle"
    """How the decoder's fourth block doubles the size: shuffle, as in table 8, leaves two channels for three colours;
    bilinear, as in the authors' code, leaves eight, and draws better."""
    encoder_skips: bool = False
    """Whether the decoder is given the maps of layers 1 to 3 too, as in the authors' code and not in the paper."""
    decoder_rate_factor: float = 0.0125
    """Times `optimise.learning_rate`: that of the decoder, 1e-5 beside 8e-4 (appendix, sec. 5)."""

    def __post_init__(self) -> None:
        if not (0 < self.reconstruction_weight < math.inf and 0 < self.decoder_rate_factor < math.inf):
            raise ValueError(
                "a decoder must be taught: reconstruction_weight and decoder_rate_factor must be > 0, got "
                f"{self.reconstruction_weight} and {self.decoder_rate_factor}; the preset baseline has none"
            )
        if not (0 <= self.constraint_weight < math.inf and 0 <= self.constraint_margin < math.inf):
            raise ValueError(
                f"constraint_weight and constraint_margin must be >= 0, got {self.constraint_weight} and {self.constraint_margin}"
            )
        blocks, all_blocks = self.constraint_blocks, range(1, NUM_BLOCKS + 1)
        if (
            len(set(blocks)) < len(blocks)
            or not set(blocks) <= set(all_blocks)
            or (self.constraint_weight and not blocks)
        ):
            raise ValueError(
                f"constraint_blocks must be some of {', '.join(map(str, all_blocks))}, each once, got {blocks}; for no "
                "constraints set constraint_weight 0"
            )
        if self.encoder_skips and not self.backbone.name.startswith("resnet"):
            raise ValueError(
                f"encoder_skips are taken from the layers of a ResNet, got {self.backbone.name}: set them False"
            )

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "San":
        return San(self, backbone, num_classes, losses=losses)

    def needs_identities(self, losses: LossConfig) -> bool:
        return bool(losses.identity_weight or losses.triplet_weight or self.constraint_weight)

    def needs_triplets(self, losses: LossConfig) -> bool:
        return losses.triplet_weight > 0 or self.constraint_weight > 0

    def is_trained_on(self, height: int, width: int) -> bool:
        return not self.encoder_skips or (height % 16 == 0 and width % 16 == 0)


class San(GlobalPool):
    """GlobalPool that takes the average, and a decoder.

    Batches of known people: identity and triplet loss, "reconstruction", and "decoder_triplet", the constraints. Batches of
    pairs: "reconstruction" alone. With neither identity nor triplet loss it is the network that makes pseudo ground truth,
    SAN-PG (sec. 3.1).
    """

    takes_pairs = True
    training_only = ("classifier", "decoder")

    def __init__(self, config: SanConfig, backbone: Backbone, num_classes: int, *, losses: LossConfig):
        """num_classes: C, of the identities to be told apart in training; may be 0 without identity loss."""
        pooling = GlobalPoolConfig(backbone=config.backbone, pooling="average", embedding_dim=None, neck=config.neck)
        super().__init__(pooling, backbone, num_classes, losses=losses)
        self._config = config
        skips = [backbone.num_channels // times for times in _SKIPS.values()] if config.encoder_skips else []
        self.decoder = TextureDecoder(
            backbone.num_channels, skip_channels=skips, last_upsampling=config.last_upsampling
        )
        self.identity_layers = () if self.classifier is None else ("classifier",)
        self.rate_factors = {"decoder": config.decoder_rate_factor}

    @property
    def labels(self) -> frozenset[Field]:
        return frozenset() if self._config.reconstruct == "input" else frozenset({self._config.reconstruct})

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        maps, skips = self._encode(batch.images)
        picture, features = self.decoder(maps, skips)
        difference = (picture - self._target(batch, picture)).abs().mean()
        reconstruction = self._config.reconstruction_weight * difference
        if batch.has_identities:
            losses = self.identity_losses(maps, batch) | {"reconstruction": reconstruction}
            return losses | self._constraints(features, batch.identities)
        held = sum(each.sum() for name in self.identity_layers for each in self.get_submodule(name).parameters())
        return {"reconstruction": reconstruction + 0 * held}

    def drawings(self, images: Tensor) -> dict[str, Tensor]:
        """What `reconstruct` names, of the images' size rounded up to multiples of 16."""
        if self.decoder is None:
            return {}
        picture, _ = self.decoder(*self._encode(images))
        return {self._config.reconstruct: to_pixels(picture)}

    def _encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Maps, and those that the decoder skips to. Raises ValueError for a size at which they do not fit its own."""
        if not self._config.encoder_skips:
            return self.backbone(images), []
        if images.shape[2] % 16 or images.shape[3] % 16:
            raise ValueError(f"skips need images of multiples of 16 pixels, got {tuple(images.shape[2:])}")
        found = {}
        for name, layer in self.backbone.named_children():
            images = found[name] = layer(images)
        return images, [found[name] for name in _SKIPS]

    def _target(self, batch: Batch, picture: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in -1..1, of the size of what was drawn."""
        match self._config.reconstruct:
            case "input":
                mean, std = (on_device(values, batch.images.device).view(3, 1, 1) for values in (MEAN, STD))
                colours = batch.images * std + mean
            case label:
                colours = batch.labels[label].permute(0, 3, 1, 2) / 255
        return to_signed(colours, picture.shape[2:])

    def _constraints(self, features: tuple[Tensor, ...], identities: Tensor) -> dict[str, Tensor]:
        config = self._config
        if not config.constraint_weight:
            return {}
        mine = [features[i - 1] for i in config.constraint_blocks]
        *all_maps, everybody = gather(*mine, identities)
        triplets = draw_triplets(identities, everybody)
        blocks = [
            triplet_constraint(
                maps,
                others,
                triplets,
                config.constraint_margin,
                pooled=config.pooled_constraints,
                mean=config.constraint_distance == "mean",
            )
            for maps, others in zip(mine, all_maps, strict=True)
        ]
        return {"decoder_triplet": config.constraint_weight * torch.stack(blocks).sum()}
