"""From light to the picture that a surveillance camera stores: optics, noise, colour, tone, sharpening, JPEG.

In the order of a real camera. Two cameras differ in white balance, contrast and sharpening more than in viewpoint
(that is what a re-identification model has to bear), so those ranges are wide; blur and noise are mild.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from synth.colour import linear_to_srgb, srgb_to_linear

__all__ = ["SensorConfig", "SensorParams", "apply_sensor", "linear_to_srgb", "sample_sensor", "srgb_to_linear"]

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

    exposure_ev: Range = (-0.7, 0.55)
    """Stops."""
    temperature_ev: Range = (-0.24, 0.24)
    """Error of white balance from blue (negative) to orange: stops of red over green, and green over blue."""
    tint_ev: Range = (-0.09, 0.09)
    """Error of white balance from magenta (negative) to green: stops of green over red and blue."""
    saturation: Range = (0.5, 1.05)
    """0 grey, 1 as it was."""
    contrast: Range = (-0.35, 0.75)
    """Strength of the S-shaped tone curve, in (-1, 1); 0 is none."""
    veil: Range = (0.0, 0.05)
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
    """Draw one camera. The same number of draws is made whatever comes out."""

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

    Picture k depends on images[k], params[k] and rngs[k] alone; the generators are advanced by the noise. A CPU gives
    the same bytes for any batch size. Raises ValueError if the counts differ or the images have another shape.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must have shape (B, H, W, 3), got {tuple(images.shape)}")
    if not len(images) == len(params) == len(rngs):
        raise ValueError(f"one params and one rng per image: got {len(images)}, {len(params)} and {len(rngs)}")
    count, height, width, _ = images.shape
    out = np.empty((count, height, width, 3), np.uint8)
    # One picture at a time stays in a CPU's cache, which is several times as fast as a batch.
    step = 1 if images.device.type == "cpu" else max(count, 1)
    for first in range(0, count, step):
        some = slice(first, first + step)
        out[some] = _photograph(images[some], params[some], rngs[some]).cpu().numpy()
    for k, one in enumerate(params):
        if one.jpeg_quality is not None:
            data = simplejpeg.encode_jpeg(out[k], quality=one.jpeg_quality, colorsubsampling="420")
            simplejpeg.decode_jpeg(data, buffer=out[k])
    return out


def _photograph(images: Tensor, params: Sequence[SensorParams], rngs: Sequence[np.random.Generator]) -> Tensor:
    """Linear (B, H, W, 3) to sRGB (B, H, W, 3) uint8, before compression."""
    planes = _colour(images, params)
    planes = _optics(planes, params, coarse=False)
    planes = _add_noise(planes, params, rngs)
    planes = _optics(planes, params, coarse=True)
    planes = _sharpen(_tone(planes, params), params)
    return planes.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _per_image(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)


def white_balance(params: SensorParams) -> tuple[float, float, float]:
    """Gains of red, green and blue in linear light; their luminance-weighted mean is 1."""
    gains = (
        2 ** (params.temperature_ev - params.tint_ev),
        2**params.tint_ev,
        2 ** (-params.temperature_ev - params.tint_ev),
    )
    mean = sum(weight * gain for weight, gain in zip(LUMA, gains, strict=True))
    return gains[0] / mean, gains[1] / mean, gains[2] / mean


def _colour(images: Tensor, params: Sequence[SensorParams]) -> Tensor:
    """Exposure, saturation and white balance, (B, H, W, 3) to (B, 3, H, W)."""
    count, height, width, _ = images.shape
    matrices = [
        (np.diag(white_balance(p)) @ (np.full((3, 1), 1 - p.saturation) * LUMA + p.saturation * np.eye(3)))
        * (2**p.exposure_ev * (1 - p.veil))
        for p in params
    ]
    matrix = torch.from_numpy(np.stack(matrices)).to(images)
    return (matrix @ images.reshape(count, height * width, 3).transpose(1, 2)).view(count, 3, height, width)


def _optics(planes: Tensor, params: Sequence[SensorParams], *, coarse: bool) -> Tensor:
    """Blur the images of full resolution, or blur, record and enlarge the coarse ones, whose noise is enlarged too."""
    chosen = [k for k, one in enumerate(params) if (one.resolution < 1) == coarse]
    chosen = [k for k in chosen if coarse or params[k].defocus_px > 0 or params[k].motion_px > 0]
    if not chosen:
        return planes
    height, width = planes.shape[2:]
    rows = [_filter(height, p.defocus_px, 0.25 * p.motion_px, p.resolution) for p in (params[k] for k in chosen)]
    columns = [_filter(width, p.defocus_px, p.motion_px, p.resolution) for p in (params[k] for k in chosen)]
    if len(chosen) == len(params):
        return _separable(planes, rows, columns)
    index = torch.tensor(chosen, device=planes.device)
    return planes.index_copy(0, index, _separable(planes[index], rows, columns))


def _separable(planes: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """rows[b] @ planes[b, c] @ columns[b].T: a matrix product beats a library convolution of few taps on a CPU."""
    right = torch.stack(columns).to(planes.device).transpose(1, 2)[:, None]
    return torch.stack(rows).to(planes.device)[:, None] @ (planes @ right)


@functools.lru_cache(maxsize=256)
def _filter(size: int, sigma_px: float, length_px: float, resolution: float) -> Tensor:
    """(size, size) float32 matrix that blurs a line, then records it with fewer pixels and enlarges it; rows sum to 1."""
    lines = torch.eye(size, dtype=torch.float64)
    if sigma_px > 0 or length_px > 0:
        kernel = _kernel(sigma_px, length_px)
        near = torch.arange(size)[:, None] + torch.arange(1 - len(kernel), len(kernel))
        taps = torch.tensor(kernel[:0:-1] + kernel, dtype=torch.float64).expand(size, -1)
        # Beyond the ends the line goes on as it ended.
        lines = torch.zeros_like(lines).scatter_add_(1, near.clamp(0, size - 1), taps)
    if resolution < 1:
        reduced = max(round(size * resolution), 1)
        down = functional.interpolate(lines[None, None], (reduced, size), mode="bilinear", antialias=True)
        lines = functional.interpolate(down, (size, size), mode="bicubic")[0, 0]
    return lines.float()


def _kernel(sigma_px: float, length_px: float) -> list[float]:
    """Half of a symmetric kernel, centre first: a box of length_px convolved with a Gaussian, summing to 1."""
    # A floor on either width keeps the integral defined; far less than a pixel, it does not show.
    sigma, half = max(sigma_px, 0.05), 0.5 * max(length_px, 0.05)
    radius = max(math.ceil(3 * sigma + half - 0.5), 1)
    scale = 1 / (sigma * math.sqrt(2))
    taps = [math.erf((k + half) * scale) - math.erf((k - half) * scale) for k in range(radius + 1)]
    total = taps[0] + 2 * sum(taps[1:])
    return [tap / total for tap in taps]


@functools.cache
def _normal_quantiles() -> Tensor:
    """(256,) standard normal deviates, one per byte, of unit variance."""
    probability = (torch.arange(256, dtype=torch.float64) + 0.5) / 256
    quantiles = math.sqrt(2) * torch.erfinv(2 * probability - 1)
    return (quantiles / quantiles.square().mean().sqrt()).float()


def _add_noise(planes: Tensor, params: Sequence[SensorParams], rngs: Sequence[np.random.Generator]) -> Tensor:
    """Shot and read noise; stronger in the channels that white balance amplifies."""
    count, _, height, width = planes.shape
    # Deviates come from bytes: a quarter of the time of normal ones, and 8 bits are what the picture keeps.
    size = 3 * height * width
    words = [rng.integers(0, 2**64, -(-size // 8), dtype=np.uint64).view(np.uint8)[:size] for rng in rngs]
    codes = torch.from_numpy(np.stack(words)).to(planes.device)
    deviates = _normal_quantiles().to(planes.device).index_select(0, codes.view(-1).int()).view(planes.shape)
    # Enlarging averages neighbours, and would make a coarse recording the quieter one.
    gains = np.array([white_balance(p) for p in params]) / np.array([[p.resolution] for p in params])
    shot, read = np.array([[p.shot_noise, p.read_noise**2] for p in params]).T[..., None] * gains**2
    shot = torch.from_numpy(shot).to(planes).view(count, 3, 1, 1)
    read = torch.from_numpy(read).to(planes).view(count, 3, 1, 1)
    deviation = (planes * shot).add_(read).sqrt_()
    return planes.addcmul_(deviation, deviates)


@functools.cache
def _tone_tables() -> tuple[Tensor, Tensor]:
    """(TONE_CODES,) each: sRGB of linear light from 0 to 1, in 0..255, and the bend that a contrast of 1 adds to it.

    The S-curve y + c y (1 - y) (2 y - 1) keeps black, middle grey and white.
    """
    encoded = linear_to_srgb(torch.linspace(0, 1, TONE_CODES))
    return 255 * encoded, 255 * encoded * (1 - encoded) * (2 * encoded - 1)


def _tone(planes: Tensor, params: Sequence[SensorParams]) -> Tensor:
    """Veil, encoding and contrast: linear (B, 3, H, W) to sRGB in 0..255."""
    encoded, bend = (table.to(planes.device) for table in _tone_tables())
    tables = [torch.add(encoded, bend, alpha=one.contrast) for one in params]
    top = TONE_CODES - 1
    # The half rounds to the nearest level.
    index = (planes * top).add_(_per_image([one.veil * top + 0.5 for one in params], planes)).clamp_(0, top).int()
    if len(params) > 1:
        index += (torch.arange(len(params), device=planes.device, dtype=torch.int32) * TONE_CODES).view(-1, 1, 1, 1)
    return torch.cat(tables).index_select(0, index.view(-1)).view(planes.shape)


def _sharpen(encoded: Tensor, params: Sequence[SensorParams]) -> Tensor:
    """Unsharp mask with the light and dark rims that surveillance cameras draw, taken from green; 0..255, rounded up."""
    green = encoded[:, 1:2]
    rows = [_filter(encoded.shape[2], one.sharpening_px, 0.0, 1.0) for one in params]
    columns = [_filter(encoded.shape[3], one.sharpening_px, 0.0, 1.0) for one in params]
    detail = green - _separable(green, rows, columns)
    detail.mul_(_per_image([one.sharpening for one in params], encoded)).add_(0.5)
    return (encoded + detail).clamp_(0, 255)
