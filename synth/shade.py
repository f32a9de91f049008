"""Light on the covered pixels: albedo from the texture, sun, sky and what the ground throws back."""

import torch
from torch import Tensor

# What paving reflects of the light that falls on it.
GROUND_ALBEDO = 0.25
# A little wrap softens the terminator, as scattering in cloth and skin does.
WRAP = 0.1
# Glancing surfaces lose sky to their surroundings: folds and limbs read as round without traced occlusion.
RIM = 0.72


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear look-up (N, 3) in a texture (S, S, 3) float at uv (N, 2), v up."""
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], 1)[None, None]
    planes = texture.permute(2, 0, 1)[None]
    found = torch.nn.functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def shade(albedo: Tensor, normal: Tensor, towards_camera: Tensor, light: Tensor) -> Tensor:
    """Radiance (N, 3) of the matt surfaces of one picture.

    albedo (N, 3) linear RGB; normal (N, 3) about unit, taken on the side that towards_camera (3,), unit, sees, as cloth
    is seen from both; light (9,): sun direction, sun RGB, sky RGB.
    """
    sun_direction, sun, sky = light[:3], light[3:6], light[6:9]
    ground = GROUND_ALBEDO * (sun * sun_direction[1] + sky)
    axes = torch.stack([towards_camera, sun_direction, torch.tensor([0.0, 1.0, 0.0])], 1)
    along = normal @ axes
    facing = along[:, 0]
    sunward, up = (along[:, 1:] * torch.where(facing < 0, -1.0, 1.0)[:, None]).unbind(1)
    sunlit = ((sunward + WRAP) / (1 + WRAP)).clamp_min(0)
    rim = RIM + (1 - RIM) * facing.abs()
    shares = torch.stack([sunlit, rim * (0.5 + 0.5 * up), rim * (0.5 - 0.5 * up)], 1)
    return albedo * (shares @ torch.stack([sun, sky, ground]))
