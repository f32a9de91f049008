"""Textures as SAN-PG draws them (Jin et al. 2020), and how far two looks at a picture agree on what is special about it."""

import functools

import torch
from torch import Tensor
from torch.nn import functional

from generative.annotators.annotator import Annotation
from generative.annotators.visible import scored_texels
from reid.models.san import San
from shards.schema import TEXTURE_SIZE
from shards.uv_mirror import mirror_table


def annotate_textures(
    model: San, images: Tensor, uv_layout: str, mean: Tensor | None = None, *, mirrored: bool = True
) -> Annotation:
    """The mean of the textures that are drawn of pictures and, mirrored back, of their mirror images.

    images (B, 3, H, W) normalised; mean (256, 256, 3) float32, 0..255: the network's mean texture of many people, by default
    of these; mirrored: whether the network was taught the mirrored texture of a mirrored picture, or the same
    (`AugmentConfig.mirror_texture`), which is then not mirrored back. Confidence is 1 - gap / own, 0 where that is less: own is
    the mean absolute difference of what is drawn from the mean, over texels of the body, and gap that of the two looks from each
    other. A network that draws the same of everybody agrees with itself, and knows nothing; how sure it is shows in how much of
    the rest both looks confirm. Raises ValueError for a uv layout without a mirror table, where one is needed.
    """
    straight, back = (_draw(model, pictures) for pictures in (images, images.flip(3)))
    if mirrored:
        back = back.flatten(1, 2)[:, _table_on(uv_layout, images.device)].view_as(straight)
    both = (straight + back) / 2
    mean = both.mean(0) if mean is None else mean
    used = _used_on(uv_layout, images.device)
    gap, own = ((one.abs().mean(3) * used).mean((1, 2)) for one in (straight - back, both - mean))
    confidence = torch.where(own > gap, 1 - gap / own, 0)
    values = both.round().clamp(0, 255).to(torch.uint8)
    return Annotation(values=values, confidence=confidence)


def _draw(model: San, images: Tensor) -> Tensor:
    """(B, 256, 256, 3) float32, 0..255."""
    drawn = model.drawings(images)["texture"].permute(0, 3, 1, 2).float()
    size = (TEXTURE_SIZE, TEXTURE_SIZE)
    if drawn.shape[2:] != size:
        drawn = functional.interpolate(drawn, size, mode="bilinear", antialias=True)
    return drawn.permute(0, 2, 3, 1)


@functools.cache
def _used_on(uv_layout: str, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(scored_texels(uv_layout)).to(device)


@functools.cache
def _table_on(uv_layout: str, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(mirror_table(uv_layout).copy()).to(device)
