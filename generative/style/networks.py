"""The players of style: a generator and a discriminator for each look, and the network that says who is still who.

Generators and discriminators are those of CycleGAN (Zhu et al. 2017, sec. 7.2), which SPGAN takes over, but for three things.
Generators draw what changes in a picture: they begin with little, so people are there from the first step on, and labels keep
their pixels; those that draw whole pictures lose people long before they learn to draw any. Maps are normalised in groups (see
`generative.adversarial.networks`), and are enlarged bilinearly before a convolution: a transposed one leaves a grid of stripes
where its kernel overlaps unevenly (Odena et al. 2016), which annotators would learn.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from generative.adversarial.networks import (
    SLOPE,
    SMALLEST,
    PatchDiscriminator,
    check_channels,
    follow,
    initialise,
    norm,
)
from generative.style.history import History

STEP = 4
"""Pixels of a picture that are one place of a generator's deepest maps."""
STAGES = 4
"""Of the embedding network, each of which makes maps four times smaller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleNetworkConfig:
    """What the players are made of."""

    height: int = 256
    """Of pictures as they are given to the networks, a multiple of 4."""
    width: int = 128
    """Of pictures as they are given to the networks, a multiple of 4."""
    channels: int = 64
    """Of a generator's first maps, a multiple of 8; the deepest have 4 times as many."""
    blocks: int = 9
    """Residual blocks of a generator."""
    residual: bool = True
    """Whether generators draw what changes in a picture, in place of the whole picture, as CycleGAN's do."""
    discriminator_channels: int = 64
    """Of a discriminator's first maps, a multiple of 8."""
    embedding_channels: int = 64
    """Of the embedding network's first maps."""
    embedding_dim: int = 128
    """Numbers that it describes a picture by."""
    spectral_norm: bool = False
    """Whether the discriminators' weights are divided by their largest singular value (Miyato et al. 2018), in place of
    normalising their maps."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if value < SMALLEST or value % STEP:
                raise ValueError(f"{name} must be a multiple of {STEP} pixels of at least {SMALLEST}, got {value}")
        check_channels(channels=self.channels, discriminator_channels=self.discriminator_channels)
        if min(self.blocks, self.embedding_channels, self.embedding_dim) < 1:
            raise ValueError(
                "needs blocks, embedding_channels and embedding_dim >= 1, got "
                f"{self.blocks}, {self.embedding_channels} and {self.embedding_dim}"
            )


class Generator(nn.Module):
    """Draws a picture in another look."""

    def __init__(self, config: StyleNetworkConfig):
        super().__init__()
        width, self.is_residual = config.channels, config.residual
        self.layers = nn.Sequential(
            *_layer(3, width, 7),
            *_layer(width, 2 * width, 3, stride=2),
            *_layer(2 * width, 4 * width, 3, stride=2),
            *(Block(4 * width) for _ in range(config.blocks)),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            *_layer(4 * width, 2 * width, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            *_layer(2 * width, width, 3),
        )
        # What changes depends on what is there: colours can be mixed, and edges softened, in this one layer.
        self.to_rgb = _conv(width + 3 if config.residual else width, 3, 7)
        self.apply(initialise)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, H, W) float in -1..1, H and W multiples of 4 -> (B, 3, H, W) float32 in -1..1, or a little beyond
        where the change of a picture is drawn: a bound would leave pixels beyond it without a gradient."""
        maps = self.layers(pictures)
        if self.is_residual:
            return pictures + self.to_rgb(torch.cat([maps, pictures], dim=1)).float()
        return self.to_rgb(maps).float().tanh()


class Block(nn.Module):
    """Two convolutions, whose outcome is added to what they are given (He et al. 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(*_layer(channels, channels, 3), _conv(channels, channels, 3), norm(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return maps + self.layers(maps)


class Drawn(NamedTuple):
    """What the generators make of a batch, each (B, 3, H, W) float32 in -1..1."""

    restyled: Tensor
    """G(x): source pictures in the target's look."""
    brought: Tensor
    """F(y): target pictures in the source's look."""
    source_again: Tensor
    """F(G(x))."""
    target_again: Tensor
    """G(F(y))."""
    source_same: Tensor
    """F(x): source pictures, which have the source's look already."""
    target_same: Tensor
    """G(y)."""


class Generators(nn.Module):
    """G, from the source's look to the target's, and F, back."""

    def __init__(self, config: StyleNetworkConfig):
        super().__init__()
        self.to_target, self.to_source = Generator(config), Generator(config)

    def forward(self, source: Tensor, target: Tensor) -> Drawn:
        """source x and target y (B, 3, H, W) float in -1..1."""
        both = torch.cat([source, target])
        restyled, target_same = self.to_target(both).chunk(2)
        source_same, brought = self.to_source(both).chunk(2)
        return Drawn(
            restyled=restyled,
            brought=brought,
            source_again=self.to_source(restyled),
            target_again=self.to_target(brought),
            source_same=source_same,
            target_same=target_same,
        )


class Discriminators(nn.Module):
    """Of the target's look, and of the source's."""

    def __init__(self, config: StyleNetworkConfig):
        super().__init__()
        width, is_spectral = config.discriminator_channels, config.spectral_norm
        self.of_target, self.of_source = (PatchDiscriminator(3, width, is_spectral=is_spectral) for _ in range(2))

    def forward(
        self, target: Tensor, restyled: Tensor, source: Tensor, brought: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures (B, 3, H, W) float in -1..1 that have the target's look and that are to have it, and the same of the source's
        -> their scores (B, 1, h, w) float32, in this order."""
        of_target, of_source = (
            self.of_target(torch.cat([target, restyled])),
            self.of_source(torch.cat([source, brought])),
        )
        return (*of_target.chunk(2), *of_source.chunk(2))


class Embedding(nn.Module):
    """Describes who a picture shows, whatever its look: SiaNet (Deng et al. 2018).

    Four convolutions and poolings, for pictures of 256 x 256; smaller ones pass as many of them as leave a place. Slopes and the
    mean over what places are left are ours.
    """

    def __init__(self, config: StyleNetworkConfig):
        super().__init__()
        channels, layers, side = 3, [], min(config.height, config.width)
        for stage in range(STAGES):
            if side < 2:
                break
            width = config.embedding_channels * 2**stage
            layers += [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE), nn.MaxPool2d(2, ceil_mode=True)]
            channels, side = width, -(-side // 4)
        self.layers = nn.Sequential(*layers)
        self.to_embedding = nn.Linear(channels, config.embedding_dim)

    def forward(self, *pictures: Tensor) -> tuple[Tensor, ...]:
        """pictures, (B, 3, H, W) float in -1..1 each -> (B, D) float32 of length 1 for each."""
        described = self.to_embedding(self.layers(torch.cat(pictures)).mean(dim=(2, 3)))
        return functional.normalize(described.float(), dim=1).chunk(len(pictures))


class Players(nn.Module):
    """What a run trains and keeps."""

    def __init__(self, config: StyleNetworkConfig, history: int):
        """history: pictures of each generator that are kept for its discriminator."""
        super().__init__()
        self.generators, self.discriminators = Generators(config), Discriminators(config)
        self.embedding = Embedding(config)
        self.ema = copy.deepcopy(self.generators.to_target).requires_grad_(False)
        """The weights of G, averaged over the run's steps: what is used afterwards."""
        self.restyled, self.brought = (History(history, config.height, config.width) for _ in range(2))

    def follow(self, decay: float) -> None:
        """Take 1 - decay of G's weights into the moving average, and leave decay of what it was."""
        follow(self.ema, self.generators.to_target, decay)


def _layer(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1) -> list[nn.Module]:
    return [_conv(in_channels, out_channels, kernel, stride), norm(out_channels), nn.ReLU()]


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, padding_mode="reflect")
