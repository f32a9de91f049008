"""What JPEG takes from a picture, in torch for any device: compressed and decompressed, without the file in between.

The steps of libjpeg with chroma at half resolution: YCbCr, means of 2 x 2 chroma pixels, cosine transform of blocks of
8 x 8, quantisation by the standard's tables, and back with chroma interpolated. Where libjpeg's fixed point and this
float round a coefficient to different steps, a block differs by a faint pattern; libjpeg-turbo transforms faster and less
exactly below quality 96, which makes that commoner.
Source: ITU-T T.81, annexes A and K; libjpeg for the scale of its quality.
"""

import functools
import math

import torch
from torch import Tensor

BLOCK = 8
# Quantisation at quality 50, row by row.
LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
    *(99,) * 38,
)  # fmt: skip
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """images (B, H, W, 3) uint8 RGB as they come back from JPEG files of quality (B,) int64, 1..100; 0 leaves one as it
    is. Returns (B, H, W, 3) uint8 on the same device."""
    batch, height, width, _ = images.shape
    constants = _constants(images.device)
    # Whole units of 2 x 2 blocks: the last row and column go on.
    bottom, right = -height % (2 * BLOCK), -width % (2 * BLOCK)
    planes = (images.float() @ constants["to_ycbcr"]).permute(0, 3, 1, 2).round_()
    planes = torch.nn.functional.pad(planes, (0, right, 0, bottom), mode="replicate")
    chroma = torch.nn.functional.avg_pool2d(planes[:, 1:], 2)
    # As libjpeg rounds, so that halves lean neither way: up in every other column.
    chroma = torch.floor(chroma + _in_turn(chroma.shape[-1], 0.25, 0.5, images.device))
    luma_table, chroma_table = _scaled(constants["tables"], quality.clamp_min(1))
    luma = _quantise(planes[:, :1] - 128, luma_table)[:, :, :height, :width] + 128
    chroma = _quantise(chroma, chroma_table)[:, :, : -(-height // 2), : -(-width // 2)]
    planes = torch.cat([luma, _enlarge(chroma)[:, :, :height, :width]], 1)
    planes[:, 0].clamp_(0, 255)
    back = planes.permute(0, 2, 3, 1) @ constants["from_ycbcr"]
    found = back.add_(0.5).clamp_(0, 255).to(torch.uint8)
    return torch.where((quality > 0)[:, None, None, None], found, images)


def _scaled(tables: Tensor, quality: Tensor) -> Tensor:
    """Quantisation tables (2, B, 8, 8) of luma and chroma for quality (B,)."""
    percent = torch.where(quality < 50, torch.div(5000, quality, rounding_mode="floor"), 200 - 2 * quality)
    scaled = torch.div(tables[:, None] * percent[:, None, None] + 50, 100, rounding_mode="floor")
    return scaled.clamp_(1, 255).float()


def _quantise(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (B, C, H, W) about 0, through the cosine transform and the steps (B, 8, 8); whole numbers in -128..127."""
    cosines = _constants(planes.device)["cosines"]
    batch, channels, height, width = planes.shape
    blocks = planes.view(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    steps = table[:, None, None, None]
    exact = _transform(blocks, cosines.T).div_(steps)
    # Halves are common in flat places: they go away from 0 here and up there; sums are not exact, hence a little more.
    kept = (exact.abs() + 0.5001).floor_().mul_(exact.sign()).mul_(steps)
    blocks = (_transform(kept, cosines) + 0.5001).floor_().clamp_(-128, 127)
    return blocks.transpose(3, 4).reshape(planes.shape)


def _transform(blocks: Tensor, matrix: Tensor) -> Tensor:
    """matrix.T @ block @ matrix for every block (..., 8, 8)."""
    return ((blocks @ matrix).mT @ matrix).mT


def _enlarge(planes: Tensor) -> Tensor:
    """Planes (B, C, H, W) at twice the size, three quarters of the nearest value and one of the next, each way; whole
    numbers."""
    fine = torch.nn.functional.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.floor(fine.add_(_in_turn(fine.shape[-1], 0.5, 0.4375, planes.device)))


def _in_turn(count: int, even: float, odd: float, device: torch.device) -> Tensor:
    """(count,) of two numbers by turns."""
    return even + (odd - even) * (torch.arange(count, device=device) % 2)


@functools.cache
def _constants(device: torch.device) -> dict[str, Tensor]:
    """Matrices on a device, sent there once: cosines (8, 8), frequency by place; colours as factors on the right."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    cosines = torch.cos(math.pi / BLOCK * place[:, None] * (place + 0.5)) * math.sqrt(2 / BLOCK)
    cosines[0] /= math.sqrt(2)
    to_ycbcr = torch.tensor(TO_YCBCR, dtype=torch.float64).T
    tables = torch.tensor([LUMA, CHROMA]).view(2, BLOCK, BLOCK)
    made = {"cosines": cosines, "to_ycbcr": to_ycbcr, "from_ycbcr": torch.linalg.inv(to_ycbcr)}
    return {name: one.float().to(device) for name, one in made.items()} | {"tables": tables.to(device)}
