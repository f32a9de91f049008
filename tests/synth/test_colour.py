"""sRGB codes against the standard's own formula."""

import numpy as np
import torch

from synth.colour import linear_to_srgb, srgb_to_linear
from synth.colour_numba import encode_srgb


def exact_codes(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, in codes that are not rounded yet."""
    linear = np.clip(linear.astype(np.float64), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_looked_up_codes_are_the_standards_but_where_rounding_turns():
    linear = np.concatenate([np.linspace(0, 0.02, 100_001), np.linspace(0, 1, 100_001)]).astype(np.float32)
    codes, exact = encode_srgb(linear), exact_codes(linear)
    assert codes.dtype == np.uint8
    assert np.abs(codes - exact).max() < 0.61
    assert (codes != np.rint(exact)).mean() < 0.03
    assert abs((codes - exact).mean()) < 0.005, "rounded, neither up nor down"


def test_light_out_of_range_is_clamped_and_shape_is_kept():
    image = np.array([[[-0.5, -0.0, 0.0], [1.0, 1.0001, 40.0]]], np.float32)
    np.testing.assert_array_equal(encode_srgb(image), [[[0, 0, 0], [255, 255, 255]]])


def test_codes_survive_the_way_to_linear_light_and_back():
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(encode_srgb(srgb_to_linear(codes)), codes)


def test_the_formula_for_tensors_is_the_standards():
    linear = np.linspace(-0.1, 1.1, 10_001).astype(np.float32)
    found = linear_to_srgb(torch.from_numpy(linear)).numpy() * 255
    np.testing.assert_allclose(found, exact_codes(linear), atol=2e-3)
