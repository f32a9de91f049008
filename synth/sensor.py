"""From light to the picture that a surveillance camera stores: optics, noise, colour, tone, sharpening, JPEG.

In the order of a real camera. On the CPU it takes one image at a time: compiled passes take a fifth of the time of tensor
operations. Light that another device drew is photographed there, by `synth.sensor_torch`, with the same noise.

Two cameras differ in white balance, contrast and sharpening more than in viewpoint (that is what a re-identification
model has to bear), so those ranges are wide; blur and noise are mild.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.colour import linear_to_srgb
from synth.sensor_numba import TONE_CODES, F, add_noise, blur, encode, resample, sharpen

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of linear red, green, blue in luminance (Rec. 709)."""
STEPS_PER_PIXEL, RESOLUTION_STEPS = 20, 16
"""Lengths in pixels and resolutions are drawn in these steps, so that few filter matrices are ever needed."""

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

    Picture k depends on images[k], params[k] and rngs[k] alone, on the CPU to the byte; the noise advances the generators.
    Raises ValueError if the counts differ or the images have another shape.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must have shape (B, H, W, 3), got {tuple(images.shape)}")
    if not len(images) == len(params) == len(rngs):
        raise ValueError(f"one params and one rng per image: got {len(images)}, {len(params)} and {len(rngs)}")
    if not images.is_cpu and len(images):
        from synth.sensor_torch import photograph_as

        return photograph_as(images, params, rngs).cpu().numpy()
    light = np.ascontiguousarray(images.detach().cpu().numpy(), np.float32)
    out = np.empty(light.shape, np.uint8)
    scratch = Scratch.of(*light.shape[1:3])
    for k, one in enumerate(params):
        _photograph(light[k], one, rngs[k], scratch, out[k].reshape(-1))
        if one.jpeg_quality is not None:
            data = simplejpeg.encode_jpeg(out[k], quality=one.jpeg_quality, colorsubsampling="420")
            simplejpeg.decode_jpeg(data, buffer=out[k])
    return out


class Scratch(NamedTuple):
    """Arrays to work in: memory that is new for each picture would cost more than a stage."""

    picture: NDArray[np.float32]
    """(3 H W,), like `spare`."""
    spare: NDArray[np.float32]
    green: NDArray[np.float32]
    """(H W,), like `blurred`."""
    blurred: NDArray[np.float32]
    levels: NDArray[np.uint16]
    """(3 W,)."""
    rims: NDArray[np.float32]
    """(3 W + 2,), zeros."""

    @classmethod
    def of(cls, height: int, width: int) -> "Scratch":
        pictures, channels = np.empty((2, 3 * height * width), np.float32), np.empty((2, height * width), np.float32)
        return cls(*pictures, *channels, np.empty(3 * width, np.uint16), np.zeros(3 * width + 2, np.float32))


def _photograph(light: NDArray, params: SensorParams, rng: np.random.Generator, scratch: Scratch, out: NDArray) -> None:
    """Fill out (3 H W,) uint8 from light (H, W, 3) float32; everything but the compression."""
    height, width, _ = light.shape
    picture, spare, green, blurred, levels, rims = scratch
    # A contiguous matrix is multiplied in two thirds of the time of a transposed one.
    np.dot(light.reshape(-1, 3), np.ascontiguousarray(colour_matrix(params).T, np.float32), out=spare.reshape(-1, 3))
    upright_px = 0.25 * params.motion_px
    rows, columns = blur_taps(params.defocus_px, upright_px), blur_taps(params.defocus_px, params.motion_px)
    taps = blur_taps(params.sharpening_px, 0.0)
    bands = resolution_band(height, params.resolution), resolution_band(width, params.resolution, channels=3)
    line = np.empty(3 * (width + 2 * max(len(columns), len(taps), len(bands[1]))), np.float32)
    blur(spare, height, 3, rows, columns, line, picture)
    codes = noise_codes(rng, light.size)
    gain = np.tile(((white_balance(params) * noise_gain(params)) ** 2).astype(np.float32), width)
    add_noise(picture, codes, normal_quantiles(), F(params.shot_noise) * gain, F(params.read_noise**2) * gain, line)
    if params.resolution < 1:
        resample(picture, height, *(band.reshape(-1) for band in bands), line, spare)
        picture, spare = spare, picture
    encoded, bend = tone_tables()
    encode(picture, encoded + F(params.contrast) * bend, F(params.veil), levels, green)
    blur(green, height, 1, taps, taps, line, blurred)
    sharpen(picture, green, blurred, F(params.sharpening), rims, out)


def noise_codes(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """(count,) places in `normal_quantiles`: a fraction of the time of normal deviates, and 8 bits are what is kept."""
    return rng.integers(0, 2**64, -(-count // 8), dtype=np.uint64).view(np.uint8)[:count]


def noise_gain(params: SensorParams) -> float:
    """By how much more noise a coarse recording begins with than a fine one.

    The noise is drawn before neighbours are averaged, which would make the coarse one the quieter: of its deviation, 2/3
    of the resolution would remain.
    """
    return 1.0 if params.resolution == 1 else 1.5 / params.resolution


def white_balance(params: SensorParams) -> NDArray[np.float64]:
    """(3,) gains of red, green and blue in linear light; their luminance-weighted mean is 1."""
    warm, green = params.temperature_ev, params.tint_ev
    gains = np.array([2 ** (warm - green), 2**green, 2 ** (-warm - green)])
    return gains / (gains @ LUMA)


def colour_matrix(params: SensorParams) -> NDArray[np.float64]:
    """(3, 3) linear RGB to linear RGB: exposure, saturation about luminance, then white balance."""
    saturate = (1 - params.saturation) * LUMA + params.saturation * np.eye(3)
    return 2**params.exposure_ev * (1 - params.veil) * white_balance(params)[:, None] * saturate


@functools.lru_cache(maxsize=512)
def blur_taps(sigma_px: float, length_px: float) -> NDArray[np.float32]:
    """Blur by a box of length_px and a Gaussian of sigma_px: (R + 1,) weights of the pixels at distance 0 to R."""
    if sigma_px == 0 == length_px:
        return _frozen(np.ones(1))
    # A floor on either width keeps the integral defined; far less than a pixel, it does not show.
    sigma, half = max(sigma_px, 0.05), 0.5 * max(length_px, 0.05)
    scale = 1 / (sigma * math.sqrt(2))
    distances = range(max(math.ceil(3 * sigma + half - 0.5), 1) + 1)
    taps = np.array([math.erf((k + half) * scale) - math.erf((k - half) * scale) for k in distances])
    return _frozen(taps / (taps[0] + 2 * taps[1:].sum()))


@functools.lru_cache(maxsize=64)
def resolution_band(size: int, resolution: float, channels: int = 1) -> NDArray[np.float32]:
    """A line of `size` pixels recorded by resolution * size pixels and enlarged again linearly.

    Returns (2 R + 1, channels * size): [k, channels * i + c] is what input pixel i + k - R adds to output pixel i.
    """
    reduced = max(round(size * resolution), 1)
    fine = np.arange(size)
    centres = (np.arange(reduced) + 0.5) * size / reduced - 0.5
    record = np.maximum(1 - np.abs(centres[:, None] - fine) * reduced / size, 0)
    record /= record.sum(1, keepdims=True)
    places = ((fine + 0.5) * reduced / size - 0.5).clip(0, reduced - 1)
    low, share = places.astype(int), (places % 1)[:, None]
    matrix = (1 - share) * record[low] + share * record[np.minimum(low + 1, reduced - 1)]
    outputs, inputs = np.nonzero(np.abs(matrix) > 1e-6)
    reach = int(np.abs(outputs - inputs).max())
    band = np.zeros((2 * reach + 1, size))
    band[inputs - outputs + reach, outputs] = matrix[outputs, inputs]
    return _frozen(band.repeat(channels, 1))


def _frozen(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    weights = weights.astype(np.float32)
    weights.setflags(write=False)
    return weights


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
