"""Residual blocks of several branches: networks of one shape, each with weights of its own, as one grouped convolution."""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

BlockName = Literal["basic", "bottleneck"]


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    branches: int = 1,
    is_input_shared: bool = False,
) -> nn.Sequential:
    """Convolution and batch norm of several branches: (B, in_channels, h, w) -> (B, out_channels, h / stride, w / stride).

    Each branch has its share of the output channels, and of the input channels, one after the other; of a shared input all
    branches see all channels. Initialised as ResNet is (He et al. 2015), each branch as if it were alone.
    """
    groups = 1 if is_input_shared else branches
    layer = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
    )
    nn.init.normal_(layer.weight, std=math.sqrt(2 * branches / (out_channels * kernel_size**2)))
    return nn.Sequential(layer, nn.BatchNorm2d(out_channels))


class ResidualBlock(nn.Module):
    """A block of ResNet (He et al. 2016, fig. 5); its shortcut is a 1x1 convolution where the shape changes."""

    def __init__(
        self,
        kind: BlockName,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        branches: int = 1,
        is_input_shared: bool = False,
    ):
        """Arguments as of `convolution`."""
        super().__init__()
        own = {"branches": branches}
        first = {**own, "is_input_shared": is_input_shared}
        match kind:
            case "basic":
                layers = (
                    convolution(in_channels, out_channels, 3, stride=stride, **first),
                    convolution(out_channels, out_channels, 3, **own),
                )
            case "bottleneck":
                width = out_channels // 4
                layers = (
                    convolution(in_channels, width, 1, **first),
                    convolution(width, width, 3, stride=stride, **own),
                    convolution(width, out_channels, 1, **own),
                )
        self.layers = nn.ModuleList(layers)
        changes = stride > 1 or in_channels != out_channels
        self.shortcut = convolution(in_channels, out_channels, 1, stride=stride, **first) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        *others, last = self.layers
        found = maps
        for layer in others:
            found = functional.relu(layer(found), inplace=True)
        return functional.relu(last(found) + self.shortcut(maps), inplace=True)


def residual_stage(
    kind: BlockName,
    in_channels: int,
    out_channels: int,
    *,
    num_blocks: int,
    stride: int = 1,
    branches: int = 1,
    is_input_shared: bool = False,
) -> nn.Sequential:
    """Blocks one after the other, the first of which changes the shape; arguments as of `convolution`."""
    first = ResidualBlock(
        kind, in_channels, out_channels, stride=stride, branches=branches, is_input_shared=is_input_shared
    )
    others = (ResidualBlock(kind, out_channels, out_channels, branches=branches) for _ in range(num_blocks - 1))
    return nn.Sequential(first, *others)
