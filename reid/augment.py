"""Augmentation on the device, per sample, by parameters that are drawn on the CPU for the batch of all processes.

Pictures are padded, cropped, turned, cut to a part, scaled, mirrored, changed in colour, normalised and partly erased; where they
are padded or erased they have ImageNet's mean colour, which is 0. iuv and parts go with the pixels, and are background
there; keypoints go too. The texture of a mirrored picture is the mirrored person's.
"""

import functools
import math
from dataclasses import dataclass, fields
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from reid.batch import Batch, StoredBatch, normalise, on_device
from reid.fit import InputConfig
from reid.resample import draw_windows, places_of, positions, read_between
from shards.semantics import KEYPOINT_FLIP, SURFACE_FLIP
from shards.uv_mirror import mirror_table

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
    rotate: float = 0.0
    """Degrees: pictures are turned by -x .. x, x in 0..180."""
    scale: float = 0.0
    """Factor 1 - x .. 1 + x by which people become larger, about the centre of the crop or of its part, x in 0..0.5."""
    partial: float = 0.0
    """Probability that a part of the picture, drawn as `resample.PART_AREA` and `PART_WIDTH` say, fills the whole: fine-tuning
    for pictures of partial people (Jin et al. 2020, table 7)."""
    mirror_texture: bool = True
    """Whether texture and aligned picture of a mirrored picture are mirrored too. The papers leave them as they are, and so ask
    for the left sleeve where the picture shows it at the right."""

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad must be >= 0, got {self.pad}")
        shares = dict.fromkeys(("flip", "erase", "brightness", "contrast", "saturation", "partial"), 1)
        for name, most in {**shares, "hue": 0.5, "rotate": 180, "scale": 0.5}.items():
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
    window: Tensor | None = None
    """(B, 5) float32, see `resample.draw_windows`; None where every pixel of the crop stays a pixel."""

    def of_process(self, rank: int, num_processes: int) -> Self:
        """The slice of process `rank`; the order is that of `sampler.slice_of_process`."""
        size = len(self.flip) // num_processes
        mine = slice(rank * size, (rank + 1) * size)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{name: None if value is None else value[mine] for name, value in values.items()})


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
    window = None
    changes = {name: getattr(config, name) for name in ("rotate", "scale", "partial")}
    if any(changes.values()):  # drawn last: without them, all else is what it is with them
        window = draw_windows(rng, batch_size, input, **changes)
    return Parameters(
        crop=torch.from_numpy(crop),
        flip=torch.from_numpy(flip),
        erase=torch.from_numpy(erase),
        colour=torch.from_numpy(colour.astype(np.float32)),
        window=None if window is None else torch.from_numpy(window),
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


def augment(stored: StoredBatch, input: InputConfig, parameters: Parameters, *, mirror_texture: bool = True) -> Batch:
    """A batch as a network is trained on it, on the device that `stored` lies on.

    A mirrored picture shows a mirrored person: every surface of iuv becomes the one of the body's other side
    (`semantics.SURFACE_FLIP`) and u runs the other way, (I, U, V) -> (flip(I), 255 - U, V), which holds for charts that
    are seen from outside the body and not mirrored themselves, as the embedded body's are (DensePose's own obey it only
    roughly). What is worn or carried (I = 0) stays as it is. With `mirror_texture`, "texture" becomes the mirrored
    person's (`uv_mirror.mirror_table`), and "aligned", whose pose is symmetric, its own mirror image; else neither changes.
    Raises ValueError where textures are to be mirrored and nobody said in which layout they are, or it has no table.
    """
    device = stored.images.device
    crop, flip, erase = (_to_device(part, device) for part in (parameters.crop, parameters.flip, parameters.erase))
    if parameters.window is None:
        places, inside = _places(crop, flip, input, stored.images.shape[:3])
        pixels = _take(stored.images, places)
    else:
        x, y = positions(_to_device(parameters.window, device), crop, flip, input)
        places, inside = _flat_places(y.floor().long(), x.floor().long(), stored.images.shape[:3])
        pixels = read_between(stored.images, x, y)
    kept = inside & ~_erased(erase, input)
    if (parameters.colour != torch.tensor(_SAME_COLOUR)).any():  # on the CPU: nothing waits for the device
        pixels = change_colour(pixels, stored.images, parameters.colour)
    images = normalise(pixels).mul_(kept[:, None])
    labels = dict(stored.labels)
    if "iuv" in labels:
        labels["iuv"] = mirror_iuv(_take(labels["iuv"], places), flip) * kept[..., None]
    if "parts" in labels:
        labels["parts"] = _take(labels["parts"], places) * kept
    if "keypoints" in labels:
        window = None if parameters.window is None else _to_device(parameters.window, device)
        labels["keypoints"] = move_keypoints(labels["keypoints"], window, crop, flip, input)
    if "texture" in labels and mirror_texture:
        labels["texture"] = mirror_textures(labels["texture"], parameters.flip, stored.uv_layout)
    if "aligned" in labels and mirror_texture:
        aligned = labels["aligned"]
        labels["aligned"] = torch.where(flip[:, None, None, None], aligned.flip(2), aligned)
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
    return normalise(centre(images, input))


def centre(stored: Tensor, input: InputConfig) -> Tensor:
    """The middle of stored pictures or labels: (B, h, w, ...) -> (B, H, W, ...)."""
    top, left = (stored.shape[1] - input.height) // 2, (stored.shape[2] - input.width) // 2
    return stored[:, top : top + input.height, left : left + input.width]


def mirror_iuv(iuv: Tensor, flip: Tensor) -> Tensor:
    """What the pixels of mirrored pictures show: iuv (B, H, W, 3) uint8, whose pixels lie in their new places already, and
    flip (B,) bool -> (B, H, W, 3) uint8, (I, U, V) -> (SURFACE_FLIP[I], 255 - U, V) on surfaces of pictures that flip."""
    surface, u, v = iuv.unbind(-1)
    other_side = on_device(tuple(SURFACE_FLIP.tolist()), iuv.device).to(torch.uint8)[surface.int()]
    mirrored = torch.stack([other_side, torch.where(surface > 0, 255 - u, u), v], -1)
    return torch.where(flip[:, None, None, None], mirrored, iuv)


def move_keypoints(points: Tensor, window: Tensor | None, crop: Tensor, flip: Tensor, input: InputConfig) -> Tensor:
    """points (B, 17, 3) float32 in the stored pictures -> the same in the batch's: where the pixels went, of the body's other
    side where a picture is mirrored; x, y and v are 0 of those that lie outside, and v stays below 0 of unknown ones. window, crop,
    flip: as in `Parameters`."""
    x, y = places_of(points[..., 0], points[..., 1], window, crop, flip, input)
    inside = (points[..., 2] > 0) & (x >= 0) & (x < input.width) & (y >= 0) & (y < input.height)
    moved = torch.stack([x, y, points[..., 2]], -1) * inside[..., None]
    moved[..., 2] += points[..., 2].clamp(max=0)
    other_side = moved[:, on_device(tuple(KEYPOINT_FLIP.tolist()), points.device)]
    return torch.where(flip[:, None, None], other_side, moved)


def mirror_textures(textures: Tensor, flip: Tensor, uv_layout: str | None) -> Tensor:
    """textures (B, 256, 256, 3) uint8 of one layout -> a copy where those that flip are the mirrored people's; flip (B,) bool
    lies on the CPU, which therefore knows how many they are. Raises ValueError where one flips and its layout is not known."""
    if not flip.any():
        return textures
    if uv_layout is None:
        raise ValueError(
            "textures of mirrored pictures are mirrored in their uv layout, and the source of these does not tell it: let its "
            "batches have a uv_layout, or leave textures as they are with --augment.no-mirror-texture"
        )
    table = _table_on(uv_layout, textures.device)
    rows = _to_device(flip.nonzero()[:, 0], textures.device)
    flipped = textures.index_select(0, rows).flatten(1, 2).index_select(1, table)
    return textures.index_copy(0, rows, flipped.view(-1, *textures.shape[1:]))


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


def _places(crop: Tensor, flip: Tensor, input: InputConfig, stored: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """`_flat_places` of the pixels of crops, mirrored or not."""
    y, x = torch.arange(input.height, device=crop.device), torch.arange(input.width, device=crop.device)
    rows = crop[:, :1] + y
    columns = crop[:, 1:] + torch.where(flip[:, None], input.width - 1 - x, x)
    return _flat_places(rows[:, :, None], columns[:, None], stored)


def _flat_places(rows: Tensor, columns: Tensor, stored: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Of every pixel (B, H, W): where it lies in the flattened stored pictures, int64, and whether it lies in one, bool.

    rows and columns, int64, broadcast to (B, H, W); those beyond the picture give the place of its border.
    """
    count, height, width = stored
    inside = ((rows >= 0) & (rows < height)) & ((columns >= 0) & (columns < width))
    first = torch.arange(count, device=rows.device)[:, None, None] * height
    return (first + rows.clamp(0, height - 1)) * width + columns.clamp(0, width - 1), inside


def _erased(erase: Tensor, input: InputConfig) -> Tensor:
    """(B, H, W) bool."""
    y, x = torch.arange(input.height, device=erase.device), torch.arange(input.width, device=erase.device)
    top, left, bottom, right = erase[..., None].unbind(1)
    return ((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None]


@functools.cache
def _table_on(uv_layout: str, device: torch.device) -> Tensor:
    """(65536,) int64: `mirror_table`. Made once: a copy to a GPU waits for all it has to do."""
    with torch.inference_mode(False):  # whoever asks first, others will have gradients
        return torch.from_numpy(mirror_table(uv_layout).reshape(-1).copy()).to(device)


def _take(stored: Tensor, places: Tensor) -> Tensor:
    """stored (B, h, w, ...) at places (B, H, W) into it, its first three axes as one -> (B, H, W, ...)."""
    taken = stored.flatten(0, 2).index_select(0, places.flatten())
    return taken.view(*places.shape, *stored.shape[3:])


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting for the device."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
