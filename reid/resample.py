"""Pictures turned and scaled, and parts of pictures that fill the whole: which ones are drawn, and reading between the pixels."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reid.fit import InputConfig

PART_AREA = (0.3, 0.8)
"""Share of a picture that a part of it shows. No paper says how much the "partial person images cropped" of Jin et al. 2020,
table 7, show: these ranges are ours."""
PART_WIDTH = 0.5
"""A part is at least this share of the picture's width, and so at least PART_AREA[0] of its height: what hides a person hides
the legs or a side."""


def draw_windows(
    rng: np.random.Generator, count: int, input: InputConfig, *, rotate: float, scale: float, partial: float
) -> np.ndarray:
    """(count, 5) float32 top, left, height and width, in pixels of the crop, of what is shown, and the angle, radians, that it
    is turned by: the whole crop, or of a share `partial` a part of it. rotate: the largest angle, degrees; scale: height and
    width are divided by a factor of 1 - scale .. 1 + scale, about their centre, and so may reach beyond the crop."""
    area = rng.uniform(*PART_AREA, count)
    width = rng.uniform(np.maximum(area, PART_WIDTH), 1)
    size = np.stack([area / width, width], 1)
    corner = rng.random((count, 2)) * (1 - size)
    shares = np.concatenate([corner, size], 1)
    shares[rng.random(count) >= partial] = 0, 0, 1, 1
    angle = rng.uniform(-1, 1, (count, 1)) * math.radians(rotate)
    size = shares[:, 2:] / rng.uniform(1 - scale, 1 + scale, (count, 1))
    shares = np.concatenate([shares[:, :2] + (shares[:, 2:] - size) / 2, size], 1)
    return np.concatenate([shares * np.tile([input.height, input.width], 2), angle], 1).astype(np.float32)


def positions(window: Tensor, crop: Tensor, flip: Tensor, input: InputConfig) -> tuple[Tensor, Tensor]:
    """Where the centres of a batch's pixels lie in the stored pictures: x and y, (B, H, W) float32, pixel centres at +0.5.

    window (B, 5) as `draw_windows` says, crop (B, 2) and flip (B,) as in `Parameters`. A picture is cropped, turned about
    the crop's centre, clockwise as one sees it for a positive angle, cut to its part, scaled, and mirrored, in this order.
    """
    top, left, height, width, angle = window[..., None].unbind(1)
    x, y = (torch.arange(size, device=window.device) + 0.5 for size in (input.width, input.height))
    x = torch.where(flip[:, None], input.width - x, x)
    x = (left + x * (width / input.width) - input.width / 2)[:, None]
    y = (top + y * (height / input.height) - input.height / 2)[..., None]
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    y0, x0 = crop[..., None, None].unbind(1)
    x0, y0 = x0 + input.width / 2, y0 + input.height / 2
    return cos * x + sin * y + x0, cos * y - sin * x + y0


def places_of(
    x: Tensor, y: Tensor, window: Tensor | None, crop: Tensor, flip: Tensor, input: InputConfig
) -> tuple[Tensor, Tensor]:
    """The inverse of `positions`, for any points: x and y (B, N) float32 in the stored pictures -> in the batch's pictures,
    also beyond their borders. window: None where every pixel of the crop stays a pixel."""
    top, left = crop[:, :1], crop[:, 1:]
    x, y = x - left, y - top
    if window is not None:
        top, left, height, width, angle = window[..., None].unbind(1)
        x, y = x - input.width / 2, y - input.height / 2
        cos, sin = angle.cos(), angle.sin()
        x, y = cos * x - sin * y + input.width / 2, sin * x + cos * y + input.height / 2
        x, y = (x - left) * (input.width / width), (y - top) * (input.height / height)
    return torch.where(flip[:, None], input.width - x, x), y


def read_between(pictures: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """pictures (B, h, w, 3) uint8 at x, y (B, H, W) float32 -> (B, H, W, 3) float32, bilinear; their border goes on beyond it."""
    height, width = pictures.shape[1:3]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], -1)
    pixels = pictures.permute(0, 3, 1, 2).float()
    read = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return read.permute(0, 2, 3, 1)
