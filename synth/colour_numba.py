"""Encoding whole pictures as 8-bit sRGB on one CPU core: a look-up, where `synth.colour.linear_to_srgb` computes."""

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from synth.colour import linear_to_srgb
from synth.kernel import kernel, larger, smaller

# Steps of linear light: where sRGB is steepest, at black, five of them to a code.
STEPS = 16383


def encode_srgb(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Linear light, float32 of any shape, clamped to [0, 1], to sRGB of the same shape.

    Off by one code at most, and then the value lies within a tenth of a code of where the rounding turns.
    """
    out = np.empty(image.shape, np.uint8)
    _look_up(image.ravel(), _codes(), np.empty(1024, np.uint16), out.reshape(-1))
    return out


@functools.cache
def _codes() -> NDArray[np.uint8]:
    """sRGB of linear light at STEPS + 1 steps from 0 to 1."""
    return (linear_to_srgb(torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)) * 255 + 0.5).to(torch.uint8).numpy()


@kernel
def _look_up(linear, codes, levels, out):
    """levels: scratch, uint16, for a stretch of values: in two short loops each, LLVM vectorises the first."""
    steps, half, zero = np.float32(STEPS), np.float32(0.5), np.float32(0)
    for start in range(0, len(linear), len(levels)):
        here, count = np.uint64(start), np.uint64(smaller(len(levels), len(linear) - start))
        for i in range(count):
            levels[i] = smaller(larger(linear[here + i] * steps + half, zero), steps)
        for i in range(count):
            out[here + i] = codes[levels[i]]
