"""Pictures inside the page: small JPEGs as `data:` addresses."""

import base64
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn import functional

from reid.batch import MEAN, STD
from reid.fit import resize

QUALITY = 80
Mark = Literal["", "right", "wrong", "query"]
"""What a frame says of a picture."""
HEAT = np.array([[30, 30, 120], [40, 160, 190], [250, 210, 60], [230, 40, 30]])
"""(4, 3): colours of places that say little to those that say most."""
HEAT_WEIGHT = 0.55
"""Of the heat colours over the picture, where they are laid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture and what is written about it."""

    uri: str
    """`data:` with its bytes."""
    alt: str
    """What it shows, in words."""
    label: str
    """What is written beneath it."""
    width: int
    height: int
    mark: Mark = ""


def draw(pixels: np.ndarray, height: int, *, alt: str, label: str, mark: Mark = "") -> Picture:
    """pixels (h, w, 3) uint8, RGB, scaled to a height of `height`; a wide one to a width no larger."""
    scale = min(height / pixels.shape[0], height / pixels.shape[1])
    size = (max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))
    small = np.ascontiguousarray(resize(pixels, size))
    data = simplejpeg.encode_jpeg(small, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return Picture(uri=uri, alt=alt, label=label, width=size[1], height=size[0], mark=mark)


def as_pixels(images: Tensor) -> np.ndarray:
    """The inverse of `batch.normalise`: images (B, 3, H, W) -> (B, H, W, 3) uint8."""
    mean, std = (torch.tensor(values, device=images.device) for values in (MEAN, STD))
    return ((images.permute(0, 2, 3, 1) * std + mean) * 255).round().clamp(0, 255).byte().cpu().numpy()


def lay_heat(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map over a picture: pixels (H, W, 3) uint8, heat (h, w) float 0..1 -> (H, W, 3) uint8."""
    large = functional.interpolate(
        torch.from_numpy(heat)[None, None].float(), pixels.shape[:2], mode="bilinear", align_corners=False
    )[0, 0].numpy()
    place = large * (len(HEAT) - 1)
    colours = np.stack([np.interp(place, range(len(HEAT)), channel) for channel in HEAT.T], axis=-1)
    return ((1 - HEAT_WEIGHT) * pixels + HEAT_WEIGHT * colours).round().astype(np.uint8)
