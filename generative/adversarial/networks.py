"""What networks of several games are made of.

Layers are normalised in groups of channels of one picture. So a picture does not depend on the others in its batch, batches may
be small, there is no running mean that an average of weights does not fit, and unlike under instance norm a map's mean, which
knows the colour of clothes, outlasts the layer.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SMALLEST = 32
"""Pixels of a picture's side, the least that a discriminator has patches of."""
CHANNELS_PER_GROUP = 8
"""Normalised together; every number of channels is a multiple."""
SLOPE = 0.2
"""Of leaky ReLUs."""


class PatchDiscriminator(nn.Module):
    """Tells real pictures from generated ones, patch by patch of 70 x 70 pixels (Isola et al. 2017, sec. 6.1.2)."""

    def __init__(self, channels: int, width: int, *, is_spectral: bool = False):
        """channels: of what it is given; width: channels of its first maps; is_spectral: weights are divided by their largest
        singular value (Miyato et al. 2018), in place of normalising maps."""
        super().__init__()
        self.layers = nn.Sequential(
            *_patches(channels, width, is_normalised=False),
            *_patches(width, 2 * width, is_normalised=not is_spectral),
            *_patches(2 * width, 4 * width, is_normalised=not is_spectral),
            *_patches(4 * width, 8 * width, is_normalised=not is_spectral, stride=1),
            nn.Conv2d(8 * width, 1, 4, 1, 1),
        )
        self.apply(initialise)
        if is_spectral:
            for layer in [each for each in self.modules() if isinstance(each, nn.Conv2d)]:
                spectral_norm(layer)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, C, H, W) float in -1..1 -> (B, 1, H / 8 - 2, W / 8 - 2) float32, the higher the more real a patch looks."""
        return self.layers(pictures).float()


def check_channels(**channels: int) -> None:
    """Raise ValueError for a number of channels, by its name, that makes no groups."""
    for name, value in channels.items():
        if value < CHANNELS_PER_GROUP or value % CHANNELS_PER_GROUP:
            raise ValueError(f"{name} must be a multiple of {CHANNELS_PER_GROUP} channels, got {value}")


def norm(channels: int) -> nn.GroupNorm:
    """That of this module's head."""
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


def initialise(module: nn.Module) -> None:
    """Weights of convolutions N(0, 0.02), biases 0 (Isola et al. 2017, sec. 6.2)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


@torch.no_grad()
def follow(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Take 1 - decay of a network's weights into their moving average, and leave decay of what it was."""
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)


def _patches(in_channels: int, out_channels: int, *, is_normalised: bool, stride: int = 2) -> list[nn.Module]:
    layers = [nn.Conv2d(in_channels, out_channels, 4, stride, 1), nn.LeakyReLU(SLOPE)]
    return [layers[0], norm(out_channels), layers[1]] if is_normalised else layers
