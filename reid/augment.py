"""Augmentation on the device, per sample, by parameters that are drawn on the CPU for the batch of all processes.

Pictures are padded, cropped, mirrored, changed in colour, normalised and partly erased; where they are padded or erased
they have ImageNet's mean colour, which is 0. iuv and parts go with the pixels, and are background there.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from reid.batch import Batch, StoredBatch, normalise, on_device
from reid.dataset import InputConfig
from shards.semantics import SURFACE_FLIP

ERASE_AREA = (0.02, 0.4)
"""Share of the picture that is erased (Zhong et al. 2017, sec. 4.2)."""
ERASE_ASPECT = (0.3, 1 / 0.3)
"""Height over width of what is erased (the same)."""
ERASE_TRIES = 20
"""Rectangles drawn until one fits into the picture; if none does, nothing is erased."""
LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey (ITU-R BT.601)."""

_STAGES = {"reid": 2, "pairs": 3}
"""Sets these draws apart from each other and from other stages' with the same seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How pictures are changed in training."""

    pad: int = 10
    """Pixels on every side, of which a random crop then leaves some."""
    flip: float = 0.5
    """Probability that a picture is mirrored."""
    erase: float = 0.5
    """Probability that a rectangle is erased (Zhong et al. 2017)."""
    brightness: float = 0.0
    """Factor 1 - x .. 1 + x on the colours, x in 0..1."""
    contrast: float = 0.0
    """Factor 1 - x .. 1 + x on the distance from the picture's mean grey, x in 0..1."""
    saturation: float = 0.0
    """Factor 1 - x .. 1 + x on the distance from grey, x in 0..1."""
    hue: float = 0.0
    """Turn -x .. x of the colour circle, x in 0..0.5."""

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad must be >= 0, got {self.pad}")
        for name, most in {"flip": 1, "erase": 1, "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie in 0..{most}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parameters:
    """What happens to each of B pictures, on the CPU."""

    crop: Tensor
    """(B, 2) int64: top row and left column of the crop in the stored picture; negative in the padding."""
    flip: Tensor
    """(B,) bool."""
    erase: Tensor
    """(B, 4) int64: top, left, bottom, right (exclusive) in the crop; empty where nothing is erased."""
    colour: Tensor
    """(B, 4) float32: factors of brightness, contrast and saturation, and the hue's angle, radians."""

    def of_process(self, rank: int, num_processes: int) -> Self:
        """The slice of process `rank`; the order is that of `sampler.slice_of_process`."""
        size = len(self.flip) // num_processes
        mine = slice(rank * size, (rank + 1) * size)
        return type(self)(**{field.name: getattr(self, field.name)[mine] for field in fields(self)})


def draw_parameters(
    config: AugmentConfig,
    input: InputConfig,
    batch_size: int,
    *,
    seed: int,
    step: int,
    stage: Literal["reid", "pairs"] = "reid",
) -> Parameters:
    """Parameters of a whole batch of all processes: a pure function of the arguments, whatever the device.

    step counts from the beginning of the run, so that every batch of it has others.
    """
    rng = np.random.default_rng((_STAGES[stage], seed, step))
    room = np.array(input.stored) + 2 * config.pad - (input.height, input.width)
    crop = rng.integers(0, room + 1, (batch_size, 2)) - config.pad
    flip = rng.random(batch_size) < config.flip
    erase = _draw_rectangles(rng, batch_size, input.height, input.width)
    erase[rng.random(batch_size) >= config.erase] = 0
    spread = np.array([config.brightness, config.contrast, config.saturation, 2 * math.pi * config.hue])
    colour = rng.uniform(-1, 1, (batch_size, 4)) * spread + (1, 1, 1, 0)
    return Parameters(
        crop=torch.from_numpy(crop),
        flip=torch.from_numpy(flip),
        erase=torch.from_numpy(erase),
        colour=torch.from_numpy(colour.astype(np.float32)),
    )


def _draw_rectangles(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """(count, 4) int64 top, left, bottom, right; zeros where no try fitted."""
    area = rng.uniform(*ERASE_AREA, (count, ERASE_TRIES)) * height * width
    aspect = rng.uniform(*ERASE_ASPECT, (count, ERASE_TRIES))
    size = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], -1).round().astype(np.int64)
    fits = (size < (height, width)).all(-1)
    size = size[np.arange(count), fits.argmax(1)]
    corner = (rng.random((count, 2)) * (np.array([height, width]) - size + 1)).astype(np.int64)
    return np.where(fits.any(1)[:, None], np.concatenate([corner, corner + size], 1), 0)


def augment(stored: StoredBatch, input: InputConfig, parameters: Parameters) -> Batch:
    """A batch as a network is trained on it, on the device that `stored` lies on.

    A mirrored picture shows a mirrored person: every surface of iuv becomes the one of the body's other side
    (`semantics.SURFACE_FLIP`) and u runs the other way, (I, U, V) -> (flip(I), 255 - U, V), which holds for charts that
    are seen from outside the body and not mirrored themselves, as the embedded body's are (DensePose's own obey it only
    roughly). What is worn or carried (I = 0) stays as it is. "texture" and "aligned" are never changed.
    """
    device = stored.images.device
    crop, flip, erase = (_to_device(part, device) for part in (parameters.crop, parameters.flip, parameters.erase))
    places, kept = _places(crop, flip, erase, input, stored.images.shape[:3])
    pixels = _take(stored.images, places)
    if (parameters.colour != torch.tensor(_SAME_COLOUR)).any():  # on the CPU: nothing waits for the device
        pixels = change_colour(pixels, stored.images, parameters.colour)
    images = normalise(pixels).mul_(kept[:, None])
    labels = dict(stored.labels)
    if "iuv" in labels:
        labels["iuv"] = mirror_iuv(_take(labels["iuv"], places), flip) * kept[..., None]
    if "parts" in labels:
        labels["parts"] = _take(labels["parts"], places) * kept
    return Batch(
        images=images,
        identities=stored.identities,
        origins=stored.origins,
        camera_ids=stored.camera_ids,
        flipped=flip,
        keys=stored.keys,
        has_identities=stored.has_identities,
        labels=labels,
    )


def prepare(images: Tensor, input: InputConfig) -> Tensor:
    """Stored pictures as a network is evaluated on them: (B, h, w, 3) uint8 -> (B, 3, H, W) float32, the centre, normalised."""
    top, left = (images.shape[1] - input.height) // 2, (images.shape[2] - input.width) // 2
    return normalise(images[:, top : top + input.height, left : left + input.width])


def mirror_iuv(iuv: Tensor, flip: Tensor) -> Tensor:
    """What the pixels of mirrored pictures show: iuv (B, H, W, 3) uint8, whose pixels lie in their new places already, and
    flip (B,) bool -> (B, H, W, 3) uint8, (I, U, V) -> (SURFACE_FLIP[I], 255 - U, V) on surfaces of pictures that flip."""
    surface, u, v = iuv.unbind(-1)
    other_side = on_device(tuple(SURFACE_FLIP.tolist()), iuv.device).to(torch.uint8)[surface.int()]
    mirrored = torch.stack([other_side, torch.where(surface > 0, 255 - u, u), v], -1)
    return torch.where(flip[:, None, None, None], mirrored, iuv)


def change_colour(pixels: Tensor, pictures: Tensor, colour: Tensor) -> Tensor:
    """pixels (B, H, W, 3) uint8 of pictures (B, h, w, 3) uint8, colour (B, 4) as in `Parameters`, on the CPU
    -> (B, H, W, 3) float32 in 0..255.

    In this order: brightness, contrast about the whole picture's mean grey, saturation, and hue, a turn about grey in the
    plane of I and Q of YIQ. All are affine, so they are one matrix for each picture, and what is beyond the range is cut
    off once, at the end.
    """
    brightness, contrast, saturation, hue = colour[..., None, None].unbind(1)
    grey, to_yiq = torch.tensor([LUMA] * 3), torch.tensor(_RGB_TO_YIQ)
    zero, one, cos, sin = torch.zeros_like(hue), torch.ones_like(hue), hue.cos(), hue.sin()
    turn = torch.cat([one, zero, zero, zero, cos, -sin, zero, sin, cos], 2).view(-1, 3, 3)
    saturated = saturation * torch.eye(3) + (1 - saturation) * grey
    matrix = contrast * brightness * (to_yiq.inverse() @ turn @ to_yiq @ saturated)
    to_mean = (1 - contrast) * brightness * grey  # grey stays what it is under saturation and hue
    matrix, to_mean = (_to_device(part.mT.contiguous(), pixels.device) for part in (matrix, to_mean))
    with torch.autocast(pixels.device.type, enabled=False):
        shift = pictures.flatten(1, 2).mean(1, keepdim=True, dtype=torch.float32) @ to_mean
        changed = torch.baddbmm(shift, pixels.flatten(1, 2).float(), matrix)
    return changed.clamp_(0, 255).view(pixels.shape)


_SAME_COLOUR = (1.0, 1.0, 1.0, 0.0)
_RGB_TO_YIQ = (LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def _places(
    crop: Tensor, flip: Tensor, erase: Tensor, input: InputConfig, stored: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Of every pixel (B, H, W): where it lies in the flattened stored pictures, int64, and whether it is kept, bool."""
    count, height, width = stored
    y, x = torch.arange(input.height, device=crop.device), torch.arange(input.width, device=crop.device)
    rows = crop[:, :1] + y
    columns = crop[:, 1:] + torch.where(flip[:, None], input.width - 1 - x, x)
    top, left, bottom, right = erase[..., None].unbind(1)
    erased = ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    first = torch.arange(count, device=crop.device)[:, None] * height
    rows = (first + rows.clamp(0, height - 1)) * width
    return rows[:, :, None] + columns.clamp(0, width - 1)[:, None], inside & ~erased


def _take(stored: Tensor, places: Tensor) -> Tensor:
    """stored (B, h, w, ...) at places (B, H, W) into it, its first three axes as one -> (B, H, W, ...)."""
    taken = stored.flatten(0, 2).index_select(0, places.flatten())
    return taken.view(*places.shape, *stored.shape[3:])


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting for the device."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
