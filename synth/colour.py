"""sRGB and linear light (IEC 61966-2-1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def _decode_table() -> NDArray[np.float32]:
    code = np.arange(256) / 255
    table = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    table.setflags(write=False)
    return table


SRGB8_TO_LINEAR: NDArray[np.float32] = _decode_table()
"""(256,) float32: linear value in [0, 1] of each 8-bit sRGB code; read-only."""


def srgb8_to_linear(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit sRGB to linear light: uint8 of any shape to float32 in [0, 1] of the same shape.

    Raises ValueError for another dtype.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"8-bit sRGB must be uint8, got {image.dtype}; use srgb_to_linear for floats in [0, 1]")
    return SRGB8_TO_LINEAR.take(image)


def srgb_to_linear(image: Tensor) -> Tensor:
    """sRGB-encoded floats to linear light; any shape, [0, 1] to [0, 1], differentiable."""
    return torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(image: Tensor) -> Tensor:
    """Linear light to sRGB-encoded floats; any shape, [0, 1] to [0, 1], differentiable.

    The two branches of the standard meet where they are equal, and above that point the power law is the larger one.
    """
    # exp2(log2(x) / 2.4) is the power, three times as fast as pow on a CPU.
    power = image.clamp(min=0.0031308).log2().mul(1 / 2.4).exp2().mul(1.055).sub(0.055)
    return torch.minimum(image.clamp(min=0.0) * 12.92, power)


def linear_to_srgb8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Linear light to 8-bit sRGB: floats of any shape, clipped to [0, 1], to uint8, rounded to nearest."""
    encoded = linear_to_srgb(torch.from_numpy(np.ascontiguousarray(image, np.float32)).clamp(0, 1))
    return (encoded * 255 + 0.5).to(torch.uint8).numpy()
