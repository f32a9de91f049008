"""Light on the covered pixels: albedo from the texture, sun, sky and what the ground throws back."""

import torch
from torch import Tensor

# What paving reflects of the light that falls on it.
GROUND_ALBEDO = 0.25
# A little wrap softens the terminator, as scattering in cloth and skin does.
WRAP = 0.1
# Glancing surfaces lose sky to their surroundings: folds and limbs read as round without traced occlusion.
RIM = 0.72


def sample_texture(texture: Tensor, uv: Tensor, which: Tensor | None = None) -> Tensor:
    """Bilinear look-up (N, 3) in a texture (S, S, 3) float at uv (N, 2), v up; or in the textures (M, S, S, 3) that
    which (N,) int64 names."""
    size = texture.shape[-2]
    # v counts upwards, rows downwards.
    place = (torch.stack([uv[:, 0], 1 - uv[:, 1]], 1) * size - 0.5).clamp_(0, size - 1)
    corner = place.long().clamp_max_(size - 2)
    right, down = (place - corner).unbind(1)
    first = corner[:, 1] * size + corner[:, 0]
    if which is not None:
        first = first + which * (size * size)
    texels = texture.reshape(-1, 3)
    above, below = (torch.lerp(texels[start], texels[start + 1], right[:, None]) for start in (first, first + size))
    return torch.lerp(above, below, down[:, None])


def shade(albedo: Tensor, normal: Tensor, towards_camera: Tensor, light: Tensor) -> Tensor:
    """Radiance (N, 3) of matt surfaces.

    albedo (N, 3) linear RGB; normal (N, 3) about unit, taken on the side that towards_camera (3,) or (N, 3), unit, sees,
    as cloth is seen from both; light (9,) or (N, 9): sun direction, sun RGB, sky RGB.
    """
    sun_direction, sun, sky = light.split(3, -1)
    ground = GROUND_ALBEDO * (sun * sun_direction[..., 1:2] + sky)
    facing = (normal * towards_camera).sum(-1, keepdim=True)
    side = torch.where(facing < 0, -1.0, 1.0)
    sunward, up = side * (normal * sun_direction).sum(-1, keepdim=True), side * normal[..., 1:2]
    sunlit = ((sunward + WRAP) / (1 + WRAP)).clamp_min(0)
    rim = RIM + (1 - RIM) * facing.abs()
    return albedo * (sunlit * sun + rim * ((0.5 + 0.5 * up) * sky + (0.5 - 0.5 * up) * ground))
