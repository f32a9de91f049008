"""SA-Dec: from a feature map to a picture 16 times its size (SAN, Jin et al. 2020, table 8)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock

NUM_BLOCKS = 4
"""Residual up-sampling blocks, each of which doubles height and width."""
_WIDTH = 512
_UPSCALE = 2
_SHUFFLED = _UPSCALE**2
"""Channels that become one: table 8 writes it as r = 4, the upscale factor is 2."""


class TextureDecoder(nn.Module):
    """Regresses a picture from maps. It knows nothing of identities.

    A 1x1 convolution to 512 channels, four blocks of two residual blocks and a pixel shuffle each, which leave 128, 32, 8
    and 2 channels, and a 7x7 convolution to red, green and blue. Where a picture is smooth, no convolution makes three
    colours of two channels: they lie on a surface, and colours that the training is not rich in come out grey. So the
    fourth block may double its 8 channels bilinearly instead, which the authors' code does in all.

    Convolutions are followed by batch norm and ReLU as in ResNet, the last one by tanh; the table says nothing of either.
    On the 2048 channels of ResNet-50 that is 11,121,513 parameters (11,122,395 with the bilinear block), 0.47 of the
    encoder's 23,508,032 and a third of both together; sec. 4.2 has "about 1/3" of the encoder's.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        skip_channels: Sequence[int] = (),
        last_upsampling: Literal["shuffle", "bilinear"] = "shuffle",
    ):
        """in_channels: of the maps. skip_channels: of maps from further up in the encoder that are added, after 1x1
        convolution, batch norm and ReLU, to what the first blocks are given, as in the authors' code and not in the paper;
        those of block 1 come first."""
        super().__init__()
        widths = [_WIDTH // _SHUFFLED**i for i in range(NUM_BLOCKS)]
        self.shrink = _pointwise(in_channels, _WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(BasicBlock(width, width), BasicBlock(width, width), nn.PixelShuffle(_UPSCALE))
            for width in widths
        )
        self.skips = nn.ModuleList(
            _pointwise(channels, width) for channels, width in zip(skip_channels, widths, strict=False)
        )
        last_width = widths[-1] // _SHUFFLED
        if last_upsampling == "bilinear":
            self.blocks[-1][-1], last_width = nn.Upsample(scale_factor=_UPSCALE, mode="bilinear"), widths[-1]
        self.to_rgb = nn.Conv2d(last_width, 3, kernel_size=7, padding=3)
        self.apply(_initialise)

    def forward(self, maps: Tensor, skips: Sequence[Tensor] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """maps (B, in_channels, h, w), skips: for the first blocks, one each of the size that it works at
        -> a picture (B, 3, 16 h, 16 w) in -1..1, and the features f_d1 (B, 512, h, w), f_d2 (B, 128, 2 h, 2 w),
        f_d3 (B, 32, 4 h, 4 w) and f_d4 (B, 8, 8 h, 8 w), nothing added yet."""
        features = [self.shrink(maps)]
        for i, block in enumerate(self.blocks):
            given = features[-1]
            if i < len(self.skips):
                given = given + self.skips[i](skips[i])
            features.append(block(given))
        return torch.tanh(self.to_rgb(features.pop())), tuple(features)


def to_signed(colours: Tensor, size: tuple[int, int]) -> Tensor:
    """What a decoder's picture is compared with: colours (B, 3, h, w) float32 in 0..1 -> (B, 3, H, W) in -1..1, for size
    (H, W); bilinear, antialiased where it shrinks."""
    if colours.shape[2:] != size:
        colours = functional.interpolate(colours, size, mode="bilinear", antialias=True)
    return 2 * colours - 1


def to_pixels(pictures: Tensor) -> Tensor:
    """The other way round: pictures (B, 3, H, W) float in -1..1 -> (B, H, W, 3) uint8."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    """As ResNet's convolutions are; the last one, without batch norm, as torch does, so that tanh is not saturated."""
    if isinstance(module, nn.Conv2d) and module.bias is None:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
