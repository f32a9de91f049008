"""From light to the picture that a surveillance camera stores: optics, noise, colour, tone, sharpening, JPEG.

In the order of a real camera. It runs on the CPU, one image at a time, whatever device drew the light: the JPEG blocks
and the file that follows are made there anyway, and one compiled pass takes a fifth of the time of tensor operations.

Two cameras differ in white balance, contrast and sharpening more than in viewpoint (that is what a re-identification
model has to bear), so those ranges are wide; blur and noise are mild.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numba
import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.colour import linear_to_srgb

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of linear red, green, blue in luminance (Rec. 709)."""
STEPS_PER_PIXEL, RESOLUTION_STEPS = 20, 16
"""Lengths in pixels and resolutions are drawn in these steps, so that few filter matrices are ever needed."""
TONE_CODES = 8192
"""Linear light is cut into so many levels before the tone curve: a fifth of an 8-bit step in the darkest tones."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorConfig:
    """Ranges that `sample_sensor` draws from; each is (low, high), uniform unless said otherwise."""

    exposure_ev: Range = (-0.45, 0.85)
    """Stops."""
    temperature_ev: Range = (-0.2, 0.2)
    """Error of white balance from blue (negative) to orange: stops of red over green, and green over blue."""
    tint_ev: Range = (-0.06, 0.06)
    """Error of white balance from magenta (negative) to green: stops of green over red and blue."""
    saturation: Range = (0.5, 1.05)
    """0 grey, 1 as it was."""
    contrast: Range = (-0.15, 0.8)
    """Strength of the S-shaped tone curve, in (-1, 1); 0 is none."""
    veil: Range = (0.0, 0.03)
    """Light scattered in the lens over the whole picture, as a share of white in linear light."""
    defocus_px: Range = (0.35, 0.95)
    """Standard deviation of the Gaussian blur, pixels of the picture."""
    motion_share: float = 0.35
    """Probability of motion blur."""
    motion_px: Range = (1.0, 4.5)
    """Length of the horizontal motion blur, pixels; up and down it is a quarter of that."""
    shot_noise: Range = (1e-5, 8e-4)
    """Variance per unit of linear light; drawn uniformly in the logarithm."""
    read_noise: Range = (5e-4, 5e-3)
    """Standard deviation in linear light; drawn uniformly in the logarithm."""
    low_resolution_share: float = 0.3
    """Probability that the person was recorded with fewer pixels than the picture has, and enlarged."""
    resolution: Range = (0.4, 0.9)
    """Rows recorded per row of the picture, where they are fewer."""
    sharpening: Range = (0.0, 1.3)
    """Strength of the unsharp mask on luminance."""
    sharpening_px: Range = (0.7, 1.5)
    """Standard deviation of the unsharp mask's blur, pixels."""
    jpeg_quality: tuple[int, int] = (35, 95)
    """libjpeg quality, inclusive; chroma at half resolution."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share"):
                if not 0 <= value <= 1:
                    raise ValueError(f"sensor.{field.name} is a probability in [0, 1], got {value}")
            elif not value[0] <= value[1]:
                raise ValueError(f"sensor.{field.name} must be (low, high) with low <= high, got {value}")
        for name in ("saturation", "veil", "motion_px", "sharpening"):
            if getattr(self, name)[0] < 0:
                raise ValueError(f"sensor.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("defocus_px", "shot_noise", "read_noise", "resolution", "sharpening_px"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"sensor.{name} must be > 0, got {getattr(self, name)}")
        if not (-1 < self.contrast[0] and self.contrast[1] < 1):
            raise ValueError(f"sensor.contrast must lie in (-1, 1), or the tone curve folds, got {self.contrast}")
        if self.resolution[1] > 1 or self.veil[1] >= 1:
            raise ValueError(f"sensor.resolution must be <= 1 and veil < 1, got {self.resolution} and {self.veil}")
        if not (1 <= self.jpeg_quality[0] and self.jpeg_quality[1] <= 100):
            raise ValueError(f"sensor.jpeg_quality must lie in 1..100, got {self.jpeg_quality}")


DEFAULT_CONFIG = SensorConfig()

njit = numba.njit(cache=True, fastmath=True, error_model="numpy")
F = np.float32


@dataclass(frozen=True, kw_only=True, slots=True)
class SensorParams:
    """One camera at one moment; fields as in `SensorConfig`. The defaults are an ideal camera."""

    exposure_ev: float = 0.0
    temperature_ev: float = 0.0
    tint_ev: float = 0.0
    saturation: float = 1.0
    contrast: float = 0.0
    veil: float = 0.0
    defocus_px: float = 0.0
    motion_px: float = 0.0
    """0 without motion blur."""
    shot_noise: float = 0.0
    read_noise: float = 0.0
    resolution: float = 1.0
    sharpening: float = 0.0
    sharpening_px: float = 1.0
    jpeg_quality: int | None = None
    """None leaves out the compression."""


def sample_sensor(rng: np.random.Generator, config: SensorConfig = DEFAULT_CONFIG) -> SensorParams:
    """Draw one camera."""

    def logarithmic(limits: Range) -> float:
        return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))

    def pixels(limits: Range) -> float:
        return round(rng.uniform(*limits) * STEPS_PER_PIXEL) / STEPS_PER_PIXEL

    moving, coarse = rng.random() < config.motion_share, rng.random() < config.low_resolution_share
    motion_px = pixels(config.motion_px)
    resolution = max(round(rng.uniform(*config.resolution) * RESOLUTION_STEPS), 1) / RESOLUTION_STEPS
    return SensorParams(
        exposure_ev=rng.uniform(*config.exposure_ev),
        temperature_ev=rng.uniform(*config.temperature_ev),
        tint_ev=rng.uniform(*config.tint_ev),
        saturation=rng.uniform(*config.saturation),
        contrast=rng.uniform(*config.contrast),
        veil=rng.uniform(*config.veil),
        defocus_px=pixels(config.defocus_px),
        motion_px=motion_px if moving else 0.0,
        shot_noise=logarithmic(config.shot_noise),
        read_noise=logarithmic(config.read_noise),
        resolution=resolution if coarse else 1.0,
        sharpening=rng.uniform(*config.sharpening),
        sharpening_px=pixels(config.sharpening_px),
        jpeg_quality=int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1], endpoint=True)),
    )


def apply_sensor(
    images: Tensor, params: Sequence[SensorParams], rngs: Sequence[np.random.Generator]
) -> NDArray[np.uint8]:
    """Photograph linear images (B, H, W, 3) >= 0 float32 on any device; returns (B, H, W, 3) uint8 sRGB.

    Picture k depends on images[k], params[k] and rngs[k] alone, to the byte; the noise advances the generators. Raises
    ValueError if the counts differ or the images have another shape.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must have shape (B, H, W, 3), got {tuple(images.shape)}")
    if not len(images) == len(params) == len(rngs):
        raise ValueError(f"one params and one rng per image: got {len(images)}, {len(params)} and {len(rngs)}")
    light = np.ascontiguousarray(images.detach().cpu().numpy(), np.float32)
    out = np.empty(light.shape, np.uint8)
    for k, one in enumerate(params):
        _photograph(light[k], one, rngs[k], out[k])
        if one.jpeg_quality is not None:
            data = simplejpeg.encode_jpeg(out[k], quality=one.jpeg_quality, colorsubsampling="420")
            simplejpeg.decode_jpeg(data, buffer=out[k])
    return out


def _photograph(light: NDArray, params: SensorParams, rng: np.random.Generator, out: NDArray) -> None:
    """Fill out (H, W, 3) uint8 from light (H, W, 3) float32; everything but the compression."""
    height, width, _ = light.shape
    size = 3 * height * width
    # Deviates come from bytes: a fraction of the time of normal ones, and 8 bits are what the picture keeps.
    codes = rng.integers(0, 2**64, -(-size // 8), dtype=np.uint64).view(np.uint8)[:size]
    balance = white_balance(params)
    # The noise is drawn before a coarse recording averages neighbours, which would make that the quieter one: of its
    # deviation, 2/3 of the resolution would remain.
    coarseness = 1.0 if params.resolution == 1 else 1.5 / params.resolution
    gain = (balance * coarseness) ** 2
    encoded, bend = tone_tables()
    _develop(
        light,
        colour_matrix(params).astype(np.float32),
        blur_band(height, params.defocus_px, 0.25 * params.motion_px),
        blur_band(width, params.defocus_px, params.motion_px),
        codes.reshape(3, height, width),
        normal_quantiles(),
        np.stack([params.shot_noise * gain, params.read_noise**2 * gain]).astype(np.float32),
        resolution_band(height, params.resolution),
        resolution_band(width, params.resolution),
        encoded + F(params.contrast) * bend,
        F(params.veil),
        blur_band(height, params.sharpening_px, 0.0),
        blur_band(width, params.sharpening_px, 0.0),
        F(params.sharpening),
        out,
    )


def white_balance(params: SensorParams) -> NDArray[np.float64]:
    """(3,) gains of red, green and blue in linear light; their luminance-weighted mean is 1."""
    warm, green = params.temperature_ev, params.tint_ev
    gains = np.exp2([warm - green, green, -warm - green])
    return gains / (gains @ LUMA)


def colour_matrix(params: SensorParams) -> NDArray[np.float64]:
    """(3, 3) linear RGB to linear RGB: exposure, saturation about luminance, then white balance."""
    saturate = (1 - params.saturation) * np.tile(LUMA, (3, 1)) + params.saturation * np.eye(3)
    return 2**params.exposure_ev * (1 - params.veil) * white_balance(params)[:, None] * saturate


@functools.lru_cache(maxsize=512)
def blur_band(size: int, sigma_px: float, length_px: float) -> NDArray[np.float32]:
    """The blur of a line of `size` pixels by a box of length_px and a Gaussian of sigma_px; see `_band`."""
    matrix = np.eye(size)
    if sigma_px > 0 or length_px > 0:
        # A floor on either width keeps the integral defined; far less than a pixel, it does not show.
        sigma, half = max(sigma_px, 0.05), 0.5 * max(length_px, 0.05)
        radius = max(math.ceil(3 * sigma + half - 0.5), 1)
        scale = 1 / (sigma * math.sqrt(2))
        offsets = range(-radius, radius + 1)
        taps = np.array([math.erf((k + half) * scale) - math.erf((k - half) * scale) for k in offsets])
        matrix = np.zeros((size, size))
        for offset, tap in zip(offsets, taps / taps.sum(), strict=True):
            # Beyond its ends a line goes on as it ended.
            np.add.at(matrix, (np.arange(size), np.clip(np.arange(size) + offset, 0, size - 1)), tap)
    return _band(matrix)


@functools.lru_cache(maxsize=64)
def resolution_band(size: int, resolution: float) -> NDArray[np.float32]:
    """A line of `size` pixels recorded by resolution * size pixels and enlarged again linearly; see `_band`."""
    reduced = max(round(size * resolution), 1)
    centres = (np.arange(reduced) + 0.5) * size / reduced - 0.5
    record = np.maximum(1 - np.abs(centres[:, None] - np.arange(size)) * reduced / size, 0)
    record /= record.sum(1, keepdims=True)
    enlarge = np.stack([np.interp(np.arange(size), centres, row) for row in np.eye(reduced)], 1)
    return _band(enlarge @ record if reduced < size else np.eye(size))


def _band(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Diagonals of a banded (N, N) matrix, (2 R + 1, N): [k, i] holds what input i + k - R adds to output i."""
    size = len(matrix)
    outputs, inputs = np.nonzero(np.abs(matrix) > 1e-6)
    reach = int(np.abs(outputs - inputs).max())
    band = np.zeros((2 * reach + 1, size), np.float32)
    band[inputs - outputs + reach, outputs] = matrix[outputs, inputs]
    band.setflags(write=False)
    return band


@functools.cache
def normal_quantiles() -> NDArray[np.float32]:
    """(256,) standard normal deviates, one per byte, of zero mean and unit variance."""
    probability = (torch.arange(256, dtype=torch.float64) + 0.5) / 256
    quantiles = torch.erfinv(2 * probability - 1)
    return (quantiles / quantiles.square().mean().sqrt()).numpy().astype(np.float32)


@functools.cache
def tone_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(TONE_CODES,) each: sRGB of linear light from 0 to 1, in 0..255, and the bend that a contrast of 1 adds to it.

    The S-curve y + c y (1 - y) (2 y - 1) keeps black, middle grey and white.
    """
    encoded = linear_to_srgb(torch.linspace(0, 1, TONE_CODES)).numpy()
    return 255 * encoded, 255 * encoded * (1 - encoded) * (2 * encoded - 1)


@njit
def _develop(
    light, matrix, blur_rows, blur_columns, codes, quantiles, noise, coarse_rows, coarse_columns, tones, veil,
    sharp_rows, sharp_columns, sharpening, out,
):  # fmt: skip
    """Light (H, W, 3) to sRGB out (H, W, 3) uint8, through planes (3, H, W)."""
    height, width, _ = light.shape
    planes = np.empty((3, height, width), np.float32)
    spare = np.empty((height, width), np.float32)
    line = np.zeros(3 * width, np.float32)
    _mix(light, matrix, planes)
    for channel in range(3):
        plane = planes[channel]
        _filter(plane, blur_rows, blur_columns, spare, line)
        _add_noise(plane, codes[channel], quantiles, noise[0, channel], noise[1, channel], spare)
        _filter(plane, coarse_rows, coarse_columns, spare, line)
        _encode(plane, tones, veil)
    detail = planes[1].copy()
    _filter(detail, sharp_rows, sharp_columns, spare, line)
    for row in range(height):
        for column in range(width):
            rim = sharpening * (planes[1, row, column] - detail[row, column]) + F(0.5)
            for channel in range(3):
                out[row, column, channel] = np.uint8(min(max(planes[channel, row, column] + rim, F(0)), F(255)))


@njit
def _mix(light, matrix, planes):
    """planes (3, H, W) = matrix (3, 3) @ light (H, W, 3)."""
    height, width, _ = light.shape
    for row in range(height):
        source = light[row]
        for channel in range(3):
            red, green, blue = matrix[channel, 0], matrix[channel, 1], matrix[channel, 2]
            target = planes[channel, row]
            for column in range(width):
                target[column] = red * source[column, 0] + green * source[column, 1] + blue * source[column, 2]


@njit
def _filter(plane, rows, columns, spare, line):
    """Apply two bands to plane (H, W) in place; spare (H, W) and line (3 W,) are scratch."""
    height, width = plane.shape
    reach = len(rows) // 2
    if reach > 0:
        spare.fill(0)
        for row in range(height):
            target = spare[row]
            for k in range(max(0, reach - row), min(len(rows), height + reach - row)):
                weight, source = rows[k, row], plane[row + k - reach]
                for column in range(width):
                    target[column] += weight * source[column]
        for row in range(height):
            for column in range(width):
                plane[row, column] = spare[row, column]
    reach = len(columns) // 2
    if reach > 0:
        # What lies beyond the ends has no weight, but has to be a number.
        line.fill(0)
        for row in range(height):
            target = plane[row]
            for column in range(width):
                line[width + column] = target[column]
                target[column] = 0
            for k in range(len(columns)):
                weights, source = columns[k], line[width + k - reach :]
                for column in range(width):
                    target[column] += weights[column] * source[column]


@njit
def _add_noise(plane, codes, quantiles, shot, read, spare):
    """plane (H, W) += sqrt(shot * plane + read) * deviate, the deviates given by their codes (H, W)."""
    height, width = plane.shape
    for row in range(height):
        target, deviates, source = plane[row], spare[row], codes[row]
        for column in range(width):
            deviates[column] = quantiles[source[column]]
        for column in range(width):
            variance = shot * max(target[column], F(0)) + read
            target[column] += np.sqrt(variance) * deviates[column]


@njit
def _encode(plane, tones, veil):
    """Linear plane (H, W) to tones (TONE_CODES,), the nearest entry, in place."""
    height, width = plane.shape
    top = F(TONE_CODES - 1)
    for row in range(height):
        target = plane[row]
        for column in range(width):
            level = min(max((target[column] + veil) * top + F(0.5), F(0)), top)
            target[column] = tones[np.int32(level)]
