"""OSNet x1.0: features of several scales in every block (Zhou et al., "Omni-Scale Feature Learning", ICCV 2019)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

NUM_STREAMS = 4
"""Receptive fields 3, 5, 7 and 9 in a block (sec. 3.2)."""
REDUCTION = 16
"""Of channels inside the aggregation gate (sec. 3.2)."""
BOTTLENECK = 4
"""Output channels of a block per channel inside it (sec. 3.2)."""


def osnet_layers() -> "OrderedDict[str, nn.Module]":
    """The layers of table 1 up to the feature map: (B, 3, H, W) -> (B, 512, H / 16, W / 16).

    Named as in the weights that the paper's authors give out.
    """
    layers = OrderedDict(
        conv1=_convolution(3, 64, kernel_size=7, stride=2),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
        conv2=nn.Sequential(OmniScaleBlock(64, 256), OmniScaleBlock(256, 256), _transition(256)),
        conv3=nn.Sequential(OmniScaleBlock(256, 384), OmniScaleBlock(384, 384), _transition(384)),
        conv4=nn.Sequential(OmniScaleBlock(384, 512), OmniScaleBlock(512, 512)),
        conv5=_convolution(512, 512, kernel_size=1),
    )
    for layer in layers.values():
        layer.apply(_initialise)
    return layers


class OmniScaleBlock(nn.Module):
    """Residual block of streams with ever larger receptive fields, summed by one gate for all (fig. 3b, eq. 3).

    (B, in_channels, h, w) -> (B, out_channels, h, w).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        width = out_channels // BOTTLENECK
        self.conv1 = _convolution(in_channels, width, kernel_size=1)
        self.conv2a = LiteConvolution(width)
        self.conv2b, self.conv2c, self.conv2d = (
            nn.Sequential(*(LiteConvolution(width) for _ in range(depth))) for depth in range(2, NUM_STREAMS + 1)
        )
        self.gate = AggregationGate(width)
        self.conv3 = _convolution(width, out_channels, kernel_size=1, relu=False)
        self.downsample = (
            _convolution(in_channels, out_channels, kernel_size=1, relu=False) if in_channels != out_channels else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        narrow = self.conv1(maps)
        scales = (stream(narrow) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d))
        residual = self.conv3(sum(self.gate(scale) for scale in scales))
        return torch.relu(residual + (maps if self.downsample is None else self.downsample(maps)))


class LiteConvolution(nn.Module):
    """3x3 convolution as a pointwise one and then one for each channel (fig. 2b), with batch norm and ReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv2(self.conv1(maps))))


class AggregationGate(nn.Module):
    """Weighs each channel of a stream by what the whole stream sees: (B, C, h, w) -> the same (sec. 3.2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        seen = maps.mean(dim=(2, 3), keepdim=True)
        return maps * torch.sigmoid(self.fc2(torch.relu(self.fc1(seen))))


def _convolution(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    layers = OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        bn=nn.BatchNorm2d(out_channels),
    )
    if relu:
        layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(_convolution(channels, channels, kernel_size=1), nn.AvgPool2d(2, stride=2))


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
