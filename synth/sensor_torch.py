"""The sensor in torch, for any device: many cameras at once, with matrices in place of loops over taps.

`synth.sensor` says what a camera does and does it on the CPU; this is its twin, which tests compare with it. A blur or a
coarse recording of a picture is a matrix from the left for its rows and one from the right for its columns.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.colour import linear_to_srgb
from synth.jpeg import compress
from synth.sensor import (
    SensorParams,
    blur_taps,
    colour_matrix,
    noise_codes,
    noise_gain,
    normal_quantiles,
    resolution_band,
    white_balance,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sensors:
    """B cameras on a device, float32: colour (B, 3, 3), a factor on the right of linear RGB; shot, read (B, 3), variances
    of the noise; tone (B, 3), veil, contrast and sharpening; rows, columns, rims (B, R + 1), taps of the blurs up and
    down, across, and for sharpening; resolution (B,) int64, which of record_rows (K, H, H) and record_columns (K, W, W)
    records the picture; quality (B,) int64 of the JPEG, 0 for none."""

    colour: Tensor
    shot: Tensor
    read: Tensor
    tone: Tensor
    rows: Tensor
    columns: Tensor
    rims: Tensor
    resolution: Tensor
    record_rows: Tensor
    record_columns: Tensor
    quality: Tensor

    @classmethod
    def of(cls, params: Sequence[SensorParams], height: int, width: int, device: torch.device | str) -> "Sensors":
        """Cameras for pictures of height x width pixels."""
        gains = np.stack([(white_balance(one) * noise_gain(one)) ** 2 for one in params])
        resolutions = sorted({one.resolution for one in params})
        blurs = [
            (
                blur_taps(one.defocus_px, 0.25 * one.motion_px),
                blur_taps(one.defocus_px, one.motion_px),
                blur_taps(one.sharpening_px, 0.0),
            )
            for one in params
        ]
        taps = _padded([tap for three in blurs for tap in three]).reshape(len(params), 3, -1)
        arrays = {
            "colour": np.stack([colour_matrix(one).T for one in params]),
            "shot": gains * np.array([[one.shot_noise] for one in params]),
            "read": gains * np.array([[one.read_noise**2] for one in params]),
            "tone": np.array([(one.veil, one.contrast, one.sharpening) for one in params]),
            "rows": taps[:, 0],
            "columns": taps[:, 1],
            "rims": taps[:, 2],
            "record_rows": np.stack([_recording(height, one) for one in resolutions]),
            "record_columns": np.stack([_recording(width, one) for one in resolutions]),
        }
        whole = {
            "resolution": torch.tensor([resolutions.index(one.resolution) for one in params]),
            "quality": torch.tensor([one.jpeg_quality or 0 for one in params]),
        }
        real = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
        return cls(**{name: array.to(device) for name, array in (real | whole).items()})

    def select(self, which: Tensor) -> "Sensors":
        """Those cameras that which (B',) int64 names."""
        shared = {"record_rows", "record_columns"}
        names = [field.name for field in fields(self)]
        arrays = {name: getattr(self, name) for name in names}
        return Sensors(**{name: a if name in shared else a.index_select(0, which) for name, a in arrays.items()})


def photograph_as(images: Tensor, params: Sequence[SensorParams], rngs: Sequence[np.random.Generator]) -> Tensor:
    """`synth.sensor.apply_sensor` on the device of the images, with the same noise."""
    codes = np.stack([noise_codes(rng, images[0].numel()).reshape(images.shape[1:]) for rng in rngs])
    sensors = Sensors.of(params, *images.shape[1:3], images.device)
    return photograph(images, sensors, torch.from_numpy(codes).to(images.device))


def photograph(images: Tensor, sensors: Sensors, codes: Tensor) -> Tensor:
    """Photograph linear images (B, H, W, 3) >= 0 float32; codes (B, H, W, 3) uint8, uniform, are the noise.

    Returns (B, H, W, 3) uint8 sRGB on their device.
    """
    _, height, width, _ = images.shape
    # Rows of one channel after those of another (B, H, 3, W): then both kinds of products need no copy.
    light = (images.flatten(1, 2) @ sensors.colour).view(images.shape).transpose(2, 3).contiguous()
    light = _both(light, blur_matrices(sensors.rows, height), blur_matrices(sensors.columns, width))
    deviates = _quantiles(images.device)[codes.transpose(2, 3).int()]
    shot, read = (one[:, None, :, None] for one in (sensors.shot, sensors.read))
    variance = shot * light.clamp_min(0) + read
    light = light.addcmul_(variance.sqrt_(), deviates)
    light = _both(light, sensors.record_rows[sensors.resolution], sensors.record_columns[sensors.resolution])
    veil, contrast, sharpening = (one[:, None, None, None] for one in sensors.tone.unbind(1))
    encoded = linear_to_srgb(light + veil)
    encoded = encoded + contrast * (encoded * (1 - encoded) * (2 * encoded - 1))
    green = encoded[:, :, 1:2].contiguous()
    blurred = _both(green, blur_matrices(sensors.rims, height), blur_matrices(sensors.rims, width))
    picture = torch.addcmul(encoded, sharpening, green - blurred).mul_(255).add_(0.5).clamp_(0, 255)
    return compress(picture.transpose(2, 3).to(torch.uint8).contiguous(), sensors.quality)


def _both(light: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Channels' rows (B, H, C, W) with rows (B, H, H) on the left and columns (B, W, W), transposed, on the right."""
    down = rows @ light.flatten(2)
    return (down.view(len(light), -1, light.shape[3]) @ columns.mT).view(light.shape)


def blur_matrices(taps: Tensor, size: int) -> Tensor:
    """(B, size, size): blurs by taps (B, R + 1) of lines that go on beyond their ends as they ended."""
    reach = taps.shape[1]
    ends = torch.nn.functional.pad(taps, (0, 1))
    place = torch.arange(size, device=taps.device)
    matrices = ends[:, (place[:, None] - place).abs_().clamp_(max=reach)]
    # Weights of what lies beyond an end, from each distance on.
    beyond = ends.flip(1).cumsum(1).flip(1)
    matrices[:, :, 0] += beyond[:, (place + 1).clamp_(max=reach)]
    matrices[:, :, -1] += beyond[:, (size - place).clamp_(max=reach)]
    return matrices


@functools.lru_cache(maxsize=64)
def _recording(size: int, resolution: float) -> NDArray[np.float32]:
    """(size, size): the matrix of `synth.sensor.resolution_band`."""
    if resolution == 1:
        return np.eye(size, dtype=np.float32)
    band = resolution_band(size, resolution)
    matrix, place = np.zeros((size, size), np.float32), np.arange(size)
    for offset, weights in enumerate(band, start=-(len(band) // 2)):
        inside = (place + offset >= 0) & (place + offset < size)
        matrix[place[inside], place[inside] + offset] = weights[inside]
    return matrix


def _padded(taps: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Rows of one length, with zeros behind."""
    longest = max(map(len, taps))
    return np.stack([np.pad(one, (0, longest - len(one))) for one in taps])


@functools.cache
def _quantiles(device: torch.device) -> Tensor:
    return torch.from_numpy(normal_quantiles()).to(device)
