"""What passes between data and models: a batch as it is stored, and as a network sees it."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reid.fit import Label
from shards.schema import Origin

ORIGINS: tuple[Origin, ...] = ("real", "rendered", "generated")
"""Numbers of `Batch.origins`: how far a sample is trusted, by the list of the configuration that its set stands in."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, 0..1: what torchvision's weights were trained with."""
UNKNOWN = -1
"""Class of a sample whose person has no identity."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredBatch:
    """Samples as they are kept: decoded, resized, not augmented. All tensors lie on one device."""

    images: Tensor
    """(B, H, W, 3) uint8, RGB."""
    identities: Tensor
    """(B,) int64: classes 0..C-1, or UNKNOWN."""
    origins: Tensor
    """(B,) int64: indices into ORIGINS."""
    camera_ids: Tensor
    """(B,) int64, -1 for unknown."""
    keys: tuple[str, ...]
    """(B,) `SET/KEY` of every sample, for messages."""
    has_identities: bool = True
    """False of rendered pairs, whose `identities` are all UNKNOWN. To ask the tensor would wait for the device."""
    labels: Mapping[Label, Tensor] = field(default_factory=dict)
    """Those that the network asked for: "iuv" (B, H, W, 3), "parts" (B, H, W), "texture" (B, 256, 256, 3), "aligned"
    (B, H, W, 3), all uint8; "keypoints" (B, 17, 3) float32: x and y in pixels with centres at +0.5, and v, 2 seen, 1 hidden, 0
    outside, -1 unknown."""
    uv_layout: str | None = None
    """Of all textures, as `Meta.uv_layout` names it; None where there are none, or nobody said."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Samples as a model is trained on them: augmented, on the device it runs on."""

    images: Tensor
    """(B, 3, H, W) float32, normalised with MEAN and STD."""
    identities: Tensor
    """(B,) int64: classes 0..C-1; UNKNOWN in a batch of rendered pairs."""
    origins: Tensor
    """(B,) int64: indices into ORIGINS."""
    camera_ids: Tensor
    """(B,) int64, -1 for unknown."""
    flipped: Tensor
    """(B,) bool: whether the picture was mirrored, and `labels["texture"]` and `labels["aligned"]` with it, unless
    `AugmentConfig.mirror_texture` leaves them as they are."""
    keys: tuple[str, ...]
    has_identities: bool = True
    """As in `StoredBatch`."""
    labels: Mapping[Label, Tensor] = field(default_factory=dict)
    """As in `StoredBatch`; "iuv", "parts" and "keypoints" have gone where the pixels went, the first two background where those
    were erased."""


_MEAN, _SCALE = tuple(255 * value for value in MEAN), tuple(1 / (255 * value) for value in STD)


@functools.cache
def on_device(values: tuple[float, ...] | tuple[int, ...], device: torch.device) -> Tensor:
    """Constants as a tensor, float32 or int64, not to be written to. Made once: a copy to a GPU waits for all it has to do."""
    with torch.inference_mode(False):  # whoever asks first, others will have gradients
        return torch.tensor(values, device=device)


def normalise(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 as (B, 3, H, W) float32 in channels-last memory, with MEAN and STD taken out."""
    # Row by row: a CPU takes ten times as long where the innermost axis has three numbers.
    width = images.shape[2]
    mean, scale = (on_device(values, images.device).repeat(width) for values in (_MEAN, _SCALE))
    rows = images.flatten(2).float().sub_(mean).mul_(scale)
    return rows.unflatten(2, (width, 3)).permute(0, 3, 1, 2)
