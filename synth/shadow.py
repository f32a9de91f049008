"""The shadow that a person throws on the ground."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.background import Background
from synth.kernel import kernel, larger
from synth.render import Cameras

# A shadow's edge is soft: this many coarse rows to a picture are enough. On people who fill it a row is 3 cm high, more
# than lies between their vertices, whatever the picture's resolution.
COARSE_ROWS = 64
# Least depth of a shadow's vertices, metres: a long shadow may reach below the camera.
NEAR_M = 0.3

F, U = np.float32, np.uint64


def cast_shadow(backgrounds: Sequence[Background], vertices: Tensor, cameras: Cameras) -> Tensor:
    """Pictures (B, H, W, 3), linear RGB, of B backgrounds whose ground is darker where the person (B, 3, N) keeps light
    off it. A sun gives a shadow with an edge, a closed sky a soft dark place under the feet.
    """
    kept_off = soften(fallen_on(vertices, cameras), cameras.light)
    images, grounds = [one.image for one in backgrounds], [one.ground for one in backgrounds]
    if not vertices.is_cpu:
        stacks = (torch.from_numpy(np.stack(arrays)).to(vertices.device) for arrays in (images, grounds))
        return darken(*stacks, kept_off, coarseness(cameras))
    shaded = torch.empty(len(images), cameras.height, cameras.width, 3)
    darken_pixels(images, grounds, kept_off.numpy(), coarseness(cameras), shaded.numpy())
    return shaded


def soften(mask: Tensor, light: Tensor) -> Tensor:
    """Share of the light (B, 9) that is kept off by what covers coarse pixels (B, H', W') of the ground, in [0, 1] both."""
    sun = light[:, 3:6].mean(1) * light[:, 1]
    share = (sun / (sun + light[:, 6:9].mean(1)))[:, None, None]
    return share * _blur(mask, 3) + 0.45 * (1 - share) * _blur(mask, 5, times=2)


def coarseness(cameras: Cameras) -> int:
    """Pixels to a coarse pixel, along either axis."""
    return -(-cameras.height // COARSE_ROWS)


def fallen_on(vertices: Tensor, cameras: Cameras) -> Tensor:
    """How far the shadow of the person (B, 3, N) covers coarse pixels (B, H', W'), in [0, 1]; `coarseness` says how coarse.

    Vertices lie closer together than coarse pixels, so their shadows do without the faces between them. All pixels that
    one falls into make a shadow too large by half a pixel all around: it is taken off again by keeping the corners
    between four such pixels, whose share of a pixel is its coverage.
    """
    shrink = coarseness(cameras)
    height, width = -(-cameras.height // shrink), -(-cameras.width // shrink)
    to_pixels = torch.cat([cameras.intrinsics[:, :2] / shrink, cameras.intrinsics[:, 2:]], 1)
    matrix = to_pixels @ (cameras.world_to_camera @ shadow_matrix(cameras.light[:, :3]))[:, :3]
    x, y, depth = (matrix[:, :, :3] @ vertices + matrix[:, :, 3:]).unbind(1)
    depth.clamp_(min=NEAR_M)
    # What falls beside the picture falls on a rim of one pixel around it.
    col, row = x.div_(depth).clamp_(-1, width).floor_(), y.div_(depth).clamp_(-1, height).floor_()
    place = row.add_(1).mul_(width + 2).add_(col).add_(1).long()
    hit = vertices.new_zeros(len(vertices), (height + 2) * (width + 2)).scatter_(1, place, 1.0)
    corners = _of_four(hit.unflatten(1, (height + 2, width + 2))).amin(0)
    return _of_four(corners).mean(0)


def _of_four(values: Tensor) -> Tensor:
    """The four neighbours (4, B, H - 1, W - 1) of every corner between values (B, H, W)."""
    return torch.stack([values[:, :-1, :-1], values[:, 1:, :-1], values[:, :-1, 1:], values[:, 1:, 1:]])


def shadow_matrix(sun_direction: Tensor) -> Tensor:
    """(B, 4, 4) that throw world points onto the plane y = 0 against sun_direction (B, 3), unit, y > 0."""
    eye = torch.eye(4, dtype=sun_direction.dtype, device=sun_direction.device)
    matrix = eye.repeat(len(sun_direction), 1, 1)
    matrix[:, :3, 1] -= sun_direction / sun_direction[:, 1:2]
    return matrix


def darken(background: Tensor, ground: Tensor, kept_off: Tensor, shrink: int) -> Tensor:
    """background (B, H, W, 3) less the light that kept_off holds off its ground (B, H, W).

    kept_off (B, H / shrink, W / shrink), rounded up, bilinear between its pixels. The torch twin of `darken_pixels`, for
    any device.
    """
    fine = torch.nn.functional.interpolate(kept_off[:, None], scale_factor=shrink, mode="bilinear")[:, 0]
    return background * (1 - fine[:, : ground.shape[1], : ground.shape[2]] * ground)[..., None]


def darken_pixels(
    backgrounds: Sequence[NDArray], grounds: Sequence[NDArray], kept_off: NDArray, shrink: int, image: NDArray
) -> None:
    """`darken` into image (B, H, W, 3), for a CPU: torch takes several times as long, most of it for the last axis."""
    _, height, width, _ = image.shape
    _, num_rows, num_cols = kept_off.shape
    rows, columns = _between(height, num_rows, shrink), _between(width, num_cols, shrink)
    line = np.empty(num_cols, F)
    for k in range(len(image)):
        flat = (np.ascontiguousarray(a[k]).reshape(-1) for a in (backgrounds, grounds, kept_off))
        _darken(*flat, *rows, *columns, line, image[k].reshape(-1))


@functools.lru_cache(maxsize=256)
def _between(
    num_fine: int, num_coarse: int, shrink: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The two coarse pixels that each fine one lies between, and the share of the second; (num_fine,) each."""
    place = ((np.arange(num_fine) + 0.5) / shrink - 0.5).clip(0)
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, num_coarse - 1), (place - first).astype(F)


@kernel
def _darken(background, ground, kept_off, above, below, down, left, right, across, line, image):
    """One picture of `darken_pixels`, all arrays flat: rows and columns as from `_between`, line scratch."""
    width, num_cols = U(len(left)), U(len(line))
    for row in range(U(len(above))):
        upper, lower, deepest = U(above[row]) * num_cols, U(below[row]) * num_cols, F(0)
        for k in range(num_cols):
            line[k] = kept_off[upper + k] + down[row] * (kept_off[lower + k] - kept_off[upper + k])
            deepest = larger(deepest, line[k])
        for col in range(width):
            pixel, light = row * width + col, F(1)
            if deepest > 0:
                first = line[left[col]]
                light -= (first + across[col] * (line[right[col]] - first)) * ground[pixel]
            for value in range(U(3) * pixel, U(3) * pixel + U(3)):
                image[value] = background[value] * light


def _blur(masks: Tensor, size: int, times: int = 1) -> Tensor:
    """Box blur of masks (B, H, W) over size x size pixels; beyond its ends a line goes on as it ended."""
    rows, columns = (_box(length, size, times, masks.device) for length in masks.shape[1:])
    if not masks.is_cpu:
        return rows @ masks @ columns.T
    # One picture at a time: a product of all at once rounds differently for another number of them.
    return torch.stack([rows @ mask @ columns.T for mask in masks])


@functools.lru_cache(maxsize=256)
def _box(length: int, size: int, times: int, device: torch.device) -> Tensor:
    """The matrix (length, length) of a running mean of `size` numbers, applied so many times."""
    ends = torch.arange(length)[:, None] + torch.arange(-(size // 2), size // 2 + 1)
    matrix = torch.nn.functional.one_hot(ends.clamp(0, length - 1), length).double().mean(1)
    return torch.linalg.matrix_power(matrix, times).float().to(device)
