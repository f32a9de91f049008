"""The players of pose transfer: a generator with siamese encoders, alike and each with weights of its own, and a U-Net decoder,
and a discriminator of patches.

Liu et al. 2018, sec. 3.4, say "siamese and U-net structure" and "simple stacked structure" and no more; widths, kernels and
slopes are those of pix2pix (Isola et al. 2017, sec. 6.1). But maps are enlarged bilinearly before a convolution: transposed ones
draw a grid (Odena et al. 2016), and so did pixels repeated, for as long as one trains on a CPU. Normalisation is
that of `generative.adversarial.networks`.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generative.adversarial.networks import (
    SLOPE,
    SMALLEST,
    PatchDiscriminator,
    check_channels,
    follow,
    initialise,
    norm,
)

DEEPEST = 8
"""Times the width of the first maps: that of the deepest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """What both players are made of."""

    size: int = 256
    """Height and width of every picture, a power of two; the encoders halve it down to 1 (Liu et al. 2018, sec. 4.2: 256)."""
    width: int = 64
    """Channels of the generator's first maps, a multiple of 8; they double with each halving up to 8 times as many."""
    discriminator_width: int = 64
    """The same of the discriminator."""
    spectral_norm: bool = False
    """Whether the discriminator's weights are divided by their largest singular value (Miyato et al. 2018), in place of
    normalising its maps."""

    def __post_init__(self) -> None:
        if self.size < SMALLEST or self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two of at least {SMALLEST}, got {self.size}: 256, 128 or 64")
        check_channels(width=self.width, discriminator_width=self.discriminator_width)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of an encoder's maps, of half the picture's size down to 1 x 1."""
        return tuple(self.width * min(2**i, DEEPEST) for i in range(int(math.log2(self.size))))


class Generator(nn.Module):
    """Draws the person of one picture in the pose of a skeleton. There is no noise: one answer to one question."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        widths = config.widths
        self.appearance_encoder, self.skeleton_encoder = Encoder(widths), Encoder(widths)
        # A level is given what the one below it has drawn, and both encoders' maps of that size.
        given = [2 * widths[-1], *(3 * width for width in reversed(widths[:-1]))]
        self.decoder = nn.ModuleList(
            _up(channels, width) for channels, width in zip(given, reversed(widths[:-1]), strict=False)
        )
        self.to_rgb = _enlarge(given[-1], 3)
        self.apply(initialise)

    def forward(self, appearance: Tensor, skeleton: Tensor) -> Tensor:
        """appearance and skeleton (B, 3, S, S) float in -1..1, S the size of the configuration -> (B, 3, S, S) float32 in -1..1:
        eq. 1's G(x, s)."""
        skips = list(zip(self.appearance_encoder(appearance), self.skeleton_encoder(skeleton), strict=True))
        maps = torch.cat(skips.pop(), dim=1)
        for up in self.decoder:
            maps = torch.cat([up(maps), *skips.pop()], dim=1)
        return torch.tanh(self.to_rgb(maps).float())


class Encoder(nn.Module):
    """Convolutions that halve a picture down to 1 x 1."""

    def __init__(self, widths: tuple[int, ...]):
        """widths: channels of each map."""
        super().__init__()
        # The first sees colours as they are; a group of the last would be 8 numbers, of which norm leaves 6.
        last = len(widths) - 1
        pairs = zip((3, *widths[:-1]), widths, strict=True)
        self.layers = nn.ModuleList(_down(*channels, is_normalised=0 < i < last) for i, channels in enumerate(pairs))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """picture (B, 3, S, S) -> maps of S / 2, S / 4, .. 1."""
        maps = [picture]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]


class Discriminator(PatchDiscriminator):
    """Tells real triplets from generated ones."""

    def __init__(self, config: NetworkConfig):
        super().__init__(9, config.discriminator_width, is_spectral=config.spectral_norm)

    def forward(self, appearance: Tensor, skeleton: Tensor, picture: Tensor) -> Tensor:
        """The triplet of eq. 1, (B, 3, S, S) float in -1..1 each -> (B, 1, S / 8 - 2, S / 8 - 2) float32 logits, above 0 for
        patches that look real."""
        return super().forward(torch.cat([appearance, skeleton, picture], dim=1))


class Players(nn.Module):
    """What a run trains and keeps."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.generator, self.discriminator = Generator(config), Discriminator(config)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        """The generator's weights, averaged over the run's steps: what is used afterwards."""

    def follow(self, decay: float) -> None:
        """Take 1 - decay of the generator's weights into the moving average, and leave decay of what it was."""
        follow(self.ema, self.generator, decay)


def _down(in_channels: int, out_channels: int, *, is_normalised: bool) -> nn.Sequential:
    layers = [nn.Conv2d(in_channels, out_channels, 4, 2, 1), nn.LeakyReLU(SLOPE)]
    if is_normalised:
        layers.insert(1, norm(out_channels))
    return nn.Sequential(*layers)


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*_enlarge(in_channels, out_channels), norm(out_channels), nn.ReLU())


def _enlarge(in_channels: int, out_channels: int) -> nn.Sequential:
    """To twice the height and width."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_channels, out_channels, 3, 1, 1))
