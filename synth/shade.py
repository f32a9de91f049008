"""Light on the covered pixels: albedo from the texture, sun, sky and what the ground throws back; the ground's shadow."""

import torch
from torch import Tensor

# What paving reflects of the light that falls on it.
GROUND_ALBEDO = 0.25
# Least depth of a shadow's vertices, metres: a long shadow may reach below the camera.
SHADOW_NEAR_M = 0.3


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, N, 3) of vertices (B, N, 3) with shared faces (F, 3), weighted by area."""
    corner = vertices[:, faces.reshape(-1)].unflatten(1, (-1, 3))
    face_normal = torch.linalg.cross(corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0])
    normal = torch.zeros_like(vertices)
    for k in range(3):
        normal.index_add_(1, faces[:, k], face_normal)
    return torch.nn.functional.normalize(normal, dim=-1, eps=1e-12)


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear look-up (N, 3) in a texture (S, S, 3) float at uv (N, 2), v up."""
    size = texture.shape[0]
    x = (uv[:, 0] * size - 0.5).clamp(0, size - 1)
    y = ((1 - uv[:, 1]) * size - 0.5).clamp(0, size - 1)
    x0, y0 = x.long().clamp(max=size - 2), y.long().clamp(max=size - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    flat, first = texture.reshape(-1, 3), y0 * size + x0
    top = flat[first] * (1 - fx) + flat[first + 1] * fx
    bottom = flat[first + size] * (1 - fx) + flat[first + size + 1] * fx
    return top * (1 - fy) + bottom * fy


def shade(albedo: Tensor, normal: Tensor, towards_camera: Tensor, image: Tensor, light: Tensor) -> Tensor:
    """Radiance (N, 3) of matt surfaces.

    albedo (N, 3) linear RGB; normal (N, 3), turned to the camera's side (cloth is seen from both) by towards_camera
    (N, 3); image (N,) int64 picks a row of light (B, 9): sun direction, sun RGB, sky RGB.
    """
    facing = (normal * towards_camera).sum(1, keepdim=True)
    normal = torch.where(facing < 0, -normal, normal)
    light = light[image]
    sun_direction, sun, sky = light[:, :3], light[:, 3:6], light[:, 6:9]
    up = normal[:, 1:2]
    # A little wrap softens the terminator as scattering in cloth and skin does.
    sunlit = (((normal * sun_direction).sum(1, keepdim=True) + 0.1) / 1.1).clamp_min(0)
    ground = GROUND_ALBEDO * (sun * sun_direction[:, 1:2] + sky)
    # Glancing surfaces lose sky to their surroundings: folds and limbs read as round without traced occlusion.
    rim = 0.72 + 0.28 * facing.abs() / towards_camera.norm(dim=1, keepdim=True)
    return albedo * (sun * sunlit + rim * (sky * (0.5 + 0.5 * up) + ground * (0.5 - 0.5 * up)))


def ground_shadow(vertices: Tensor, sun_direction: Tensor) -> Tensor:
    """World vertices (B, N, 3) thrown onto the plane y = 0 against sun_direction (B, 3), unit, y > 0."""
    along = sun_direction / sun_direction[:, 1:2]
    return vertices - vertices[..., 1:2] * along[:, None]
