"""Pictures of single body surfaces, cut out of pictures of persons by their iuv: what DSA-reID's second stream sees."""

import torch
from torch import Tensor

from shards.semantics import SURFACES_24

NUM_SURFACES = len(SURFACES_24) - 1


def dense_part_images(images: Tensor, iuv: Tensor, size: int = 32) -> tuple[Tensor, Tensor]:
    """Unroll every surface: a pixel goes to where its (u, v) says, so that all persons have the same place in the same texel.

    images (B, 3, H, W) normalised; iuv (B, H, W, 3) uint8 of the same pixels. Returns (B, 24, 3, size, size) of the dtype
    of images, surfaces 1..24 in their order, and (B,) bool: whether any surface was seen at all. The pixel of surface i
    goes to row floor(u size) and column floor(v size), the last one where u or v is 1; of several pixels in one texel
    stays the last, from left to right and from top to bottom, as if they were copied one by one. Texels that no pixel
    reaches have the mean colour, 0. What is worn or carried (surface 0) is left out.
    Source: Zhang et al. 2019, sec. 3.1 (DSAP-images).
    """
    # Planes of bytes first: a CPU takes long over every third byte.
    surface, u, v = iuv.flatten(1, 2).permute(2, 0, 1).contiguous()
    row, column = (x.float().mul_(size).div_(255).int().clamp_(max=size - 1) for x in (u, v))
    texels = (surface.int() * size + row) * size + column
    # The largest number is the last pixel whatever the order of writing, which a GPU does not tell.
    numbers = torch.arange(texels.shape[1], dtype=torch.int32, device=iuv.device).expand_as(texels)
    shape = (len(iuv), (NUM_SURFACES + 1) * size**2)
    last = torch.full(shape, -1, dtype=torch.int32, device=iuv.device)
    last = last.scatter_reduce_(1, texels.long(), numbers, "amax")[:, size**2 :]
    return _copy(images, last.clamp(min=0).long(), last >= 0, size), surface.any(dim=1)


def cropped_part_images(images: Tensor, iuv: Tensor, size: int = 32) -> tuple[Tensor, Tensor]:
    """Cut every surface out of its bounding box: parts are told apart, but not aligned inside.

    As `dense_part_images`, but the box is resized to size x size by its nearest pixels, of which those of the surface
    itself are copied. Source: Zhang et al. 2019, table 4 (CSA).
    """
    surface = iuv[..., 0].long()
    rows, columns = _box(surface.transpose(1, 2), size), _box(surface, size)
    places = (rows[..., None] * surface.shape[2] + columns[:, :, None]).flatten(1)
    wanted = torch.arange(1, NUM_SURFACES + 1, device=iuv.device).repeat_interleave(size**2)
    own = surface.flatten(1).gather(1, places) == wanted
    return _copy(images, places, own, size), surface.flatten(1).any(dim=1)


def _box(surface: Tensor, size: int) -> Tensor:
    """Positions along the last axis at which `size` pixels sample each surface's extent: (B, any, N) -> (B, 24, size), any
    position for a surface that is not there."""
    count, _, length = surface.shape
    occupied = torch.zeros(count, NUM_SURFACES + 1, length, dtype=torch.uint8, device=surface.device)
    occupied = occupied.scatter_(1, surface, 1)[:, 1:]
    first, end = occupied.argmax(dim=2), length - occupied.flip(2).argmax(dim=2)
    centres = 2 * torch.arange(size, device=surface.device) + 1
    return first[..., None] + (end - first)[..., None] * centres // (2 * size)


def _copy(images: Tensor, places: Tensor, wanted: Tensor, size: int) -> Tensor:
    """Pixels of images (B, 3, H, W) at places (B, 24 size^2) in H W, 0 where not `wanted` -> (B, 24, 3, size, size)."""
    places, wanted = (x.view(len(images), NUM_SURFACES, 1, -1) for x in (places, wanted))
    pixels = images.flatten(2)[:, None].expand(-1, NUM_SURFACES, -1, -1)
    return pixels.gather(3, places.expand(-1, -1, 3, -1)).mul_(wanted).unflatten(3, (size, size))
