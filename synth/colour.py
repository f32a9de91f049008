"""sRGB and linear light (IEC 61966-2-1)."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def _decode_table() -> NDArray[np.float32]:
    code = np.arange(256) / 255
    table = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    table.setflags(write=False)
    return table


SRGB_TO_LINEAR: NDArray[np.float32] = _decode_table()
"""(256,) float32: linear value in [0, 1] of each 8-bit sRGB code; read-only."""


def srgb_to_linear(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit sRGB to linear light: uint8 of any shape to float32 in [0, 1] of the same shape.

    Raises ValueError for another dtype.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"sRGB images must be uint8, got {image.dtype}; scale to 0..255 and round first")
    return SRGB_TO_LINEAR.take(image)


def linear_to_srgb(image: Tensor) -> Tensor:
    """Linear light to sRGB-encoded floats: any shape, clamped to [0, 1] before encoding; returns [0, 1]."""
    linear = image.clamp(0, 1)
    # exp2(log2(x) / 2.4) is the power law, three times as fast as pow on a CPU. It exceeds the linear branch exactly
    # where the standard uses the other one, so that the smaller of the two is the encoding.
    power = linear.clamp(min=0.0031308).log2_().mul_(1 / 2.4).exp2_().mul_(1.055).sub_(0.055)
    return linear.mul_(12.92).minimum(power)
