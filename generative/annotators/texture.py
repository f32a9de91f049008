"""Textures as SAN-PG draws them, and how far its drawings of a picture and of its mirror image agree (Jin et al. 2020)."""

import functools

import torch
from torch import Tensor
from torch.nn import functional

from generative.annotators.annotator import Annotation
from reid.models.san import San
from shards.schema import TEXTURE_SIZE
from shards.uv_mirror import mirror_table


def annotate_textures(model: San, images: Tensor, uv_layout: str) -> Annotation:
    """The mean of the textures that are drawn of pictures and, mirrored back, of their mirror images.

    images (B, 3, H, W) normalised. Where the two differ the network guesses: confidence is 1 - their mean absolute difference,
    colours in 0..1. Raises ValueError for a uv layout without a mirror table.
    """
    straight, mirrored = (_draw(model, pictures) for pictures in (images, images.flip(3)))
    back = mirrored.flatten(1, 2)[:, _table_on(uv_layout, images.device)].view_as(straight)
    confidence = 1 - (straight - back).abs().mean(dim=(1, 2, 3)) / 255
    values = ((straight + back) / 2).round().clamp(0, 255).to(torch.uint8)
    return Annotation(values=values, confidence=confidence)


def _draw(model: San, images: Tensor) -> Tensor:
    """(B, 256, 256, 3) float32, 0..255."""
    drawn = model.drawings(images)["texture"].permute(0, 3, 1, 2).float()
    size = (TEXTURE_SIZE, TEXTURE_SIZE)
    if drawn.shape[2:] != size:
        drawn = functional.interpolate(drawn, size, mode="bilinear", antialias=True)
    return drawn.permute(0, 2, 3, 1)


@functools.cache
def _table_on(uv_layout: str, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(mirror_table(uv_layout).copy()).to(device)
