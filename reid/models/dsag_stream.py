"""DSA-reID's second stream: a network of pictures of single body surfaces, which guides the first while both are trained."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from reid.models.residual import convolution, residual_stage
from shards.semantics import PART_13_TO_8, SURFACE_TO_13

_TO_13, _TO_8 = tuple(SURFACE_TO_13.tolist()), tuple(PART_13_TO_8.tolist())


class DsagStream(nn.Module):
    """A branch for each of 24 surfaces, merged to 13 and 8 (left and right, then front and back), then a head for each feature.

    conv3_x and conv4_x halve the size. Every convolution is followed by batch norm and ReLU, as in ResNet-18, after which
    it is built. Source: Zhang et al. 2019, sec. 3.2.1, table 1 and fig. 4.
    """

    def __init__(self, width: int, out_channels: int, heads: Mapping[str, int]):
        """width: channels of conv4_x in each branch, 128 in the paper; a multiple of 4. out_channels: of each head. heads:
        name -> number of branches that its channels are divided among: 1 or 8."""
        super().__init__()
        surfaces, parts, merged = len(_TO_13) - 1, max(_TO_13), max(_TO_8)
        quarter, half = width // 4, width // 2
        self.conv1 = convolution(3 * surfaces, quarter * surfaces, 5, branches=surfaces)
        self.conv2 = convolution(quarter * surfaces, half * surfaces, 3, branches=surfaces)
        self.conv3 = residual_stage(
            "basic", half * surfaces, half * surfaces, num_blocks=2, stride=2, branches=surfaces
        )
        self.conv4 = residual_stage("basic", half * parts, width * parts, num_blocks=2, stride=2, branches=parts)
        self.heads = nn.ModuleDict(
            {
                name: residual_stage("basic", width * merged, out_channels, num_blocks=2, branches=branches)
                for name, branches in heads.items()
            }
        )

    def forward(self, part_images: Tensor) -> dict[str, Tensor]:
        """part_images (B, 24, 3, S, S), S a multiple of 4 -> for each head (B, out_channels), averaged over places."""
        maps = self.conv2(self.conv1(part_images.flatten(1, 2)).relu_()).relu_()
        maps = merge_branches(self.conv3(maps), _TO_13)
        maps = merge_branches(self.conv4(maps), _TO_8)
        return {name: head(maps).mean(dim=(2, 3)) for name, head in self.heads.items()}


def merge_branches(maps: Tensor, table: Sequence[int]) -> Tensor:
    """Add up the maps of the branches that become one part.

    maps (B, P C, h, w), C channels of each fine part 1..P, one part after the other; table (P + 1,), one of
    `shards.semantics`: to coarse parts 1..Q. Returns (B, Q C, h, w).
    """
    fine = [None, *maps.chunk(len(table) - 1, dim=1)]  # background has no branch
    parts = range(1, max(table) + 1)
    return torch.cat([sum(fine[i] for i, coarse in enumerate(table) if coarse == part) for part in parts], dim=1)
