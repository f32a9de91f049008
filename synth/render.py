"""From posed people to pictures and buffers: project, rasterise, look up, shade, composite."""

from dataclasses import dataclass

import torch
from torch import Tensor

from synth.camera import project, to_camera
from synth.dress import Dressed
from synth.labels import LABELLED_COVERAGE
from synth.raster import Fragments, RasterConfig, gather_fragments, interpolate, rasterize
from synth.shade import sample_texture, shade


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cameras:
    """A batch of views: intrinsics (B, 3, 3), world_to_camera (B, 4, 4) float32; light (B, 9), sun direction, sun RGB,
    sky RGB; height and width of the pictures in pixels."""

    intrinsics: Tensor
    world_to_camera: Tensor
    light: Tensor
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """image (B, H, W, 3) linear RGB; iuv (B, H, W, 3) uint8; depth (B, H, W) metres, inf where nobody is."""

    image: Tensor
    iuv: Tensor
    depth: Tensor


def draw_person(
    background: Tensor,
    vertices: Tensor,
    normals: Tensor,
    dressed: Dressed,
    texture: Tensor,
    cameras: Cameras,
    config: RasterConfig,
) -> Drawn:
    """Draw one dressed person in each of B poses over backgrounds (B, H, W, 3) linear RGB.

    vertices, normals (B, 3, N) world, metres, all with dressed.faces; texture (S, S, 3 or 4) linear RGB float;
    a fourth number beside them is ignored and spares a copy.
    """
    points, towards_camera = screen_points(vertices, normals, cameras), towards_cameras(vertices, cameras)
    size = (cameras.height, cameras.width)
    visible = rasterize(points, dressed.faces, *size, config, double_sided=dressed.double_sided)
    if not vertices.is_cpu:
        fragments = gather_fragments(visible, points, dressed.faces)
        return draw_fragments(background, fragments, visible.depth, points, dressed, texture, towards_camera, cameras)
    from synth.draw_numba import draw_pixels

    image = background.clone(memory_format=torch.contiguous_format)
    iuv = torch.zeros(background.shape, dtype=torch.uint8)
    padded = texture if texture.shape[2] == 4 else torch.nn.functional.pad(texture, (0, 1))
    arrays = (a.numpy() for a in (padded, towards_camera, cameras.light.contiguous(), image, iuv))
    draw_pixels(visible, points.numpy(), dressed, *arrays)
    return Drawn(image=image, iuv=iuv, depth=visible.depth)


def draw_fragments(
    background: Tensor,
    fragments: Fragments,
    depth: Tensor,
    points: Tensor,
    dressed: Dressed,
    texture: Tensor,
    towards_camera: Tensor,
    cameras: Cameras,
) -> Drawn:
    """The torch twin of `draw_numba.draw_pixels`, for any device. points as of `screen_points`, towards_camera (B, 3)."""
    attributes = interpolate(fragments, dressed.corner[fragments.face])
    corners = dressed.faces[fragments.face].long() + fragments.image[:, None] * points.shape[1]
    normal = interpolate(fragments, points[..., 4:7].flatten(0, 1)[corners])
    radiance = sample_texture(texture[..., :3], attributes[:, :2])
    image, iuv = background.clone(), background.new_zeros(background.shape, dtype=torch.uint8)
    for k in range(len(background)):
        mine = fragments.image == k
        radiance[mine] = shade(radiance[mine], normal[mine], towards_camera[k], cameras.light[k])
    at = (fragments.image, fragments.row, fragments.col)
    image[at] = torch.lerp(background[at], radiance, fragments.coverage[:, None])
    labelled = fragments.coverage >= LABELLED_COVERAGE
    uv = (attributes[:, 2:] * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    iuv[tuple(index[labelled] for index in at)] = torch.cat([dressed.surface[fragments.face][:, None], uv], 1)[labelled]
    return Drawn(image=image, iuv=iuv, depth=depth)


def screen_points(vertices: Tensor, normals: Tensor, cameras: Cameras) -> Tensor:
    """What drawing reads of each vertex, side by side.

    vertices, normals (B, 3, N) world, metres. Returns points (B, N, 8): x, y in pixels, depth in metres, 1, the normal, 0.
    """
    if vertices.is_cpu:
        from synth.project_numba import project_points

        k_matrix = cameras.intrinsics
        parts = (cameras.world_to_camera.flatten(1), k_matrix.diagonal(dim1=1, dim2=2), k_matrix[:, :2, 2])
        given = (a.contiguous().flatten(1).numpy() for a in (vertices, normals, torch.cat(parts, 1)))
        points = vertices.new_empty(len(vertices), vertices.shape[2], 8)
        for person in zip(*given, points.flatten(1).numpy(), strict=True):
            project_points(*person)
        return points
    return screen_points_twin(vertices, normals, cameras)


def screen_points_twin(vertices: Tensor, normals: Tensor, cameras: Cameras) -> Tensor:
    """`screen_points` in torch, for any device."""
    projected = project(to_camera(vertices, cameras.world_to_camera), cameras.intrinsics)
    one, zero = torch.ones_like(projected[:, :1]), torch.zeros_like(projected[:, :1])
    return torch.cat([projected, one, normals, zero], 1).transpose(1, 2).contiguous()


def towards_cameras(vertices: Tensor, cameras: Cameras) -> Tensor:
    """Unit directions (B, 3), world axes, from the middles of people (B, 3, N) to their cameras."""
    # Extremes, unlike a mean, do not depend on how a sum is split between threads.
    middle = (vertices.amin(2) + vertices.amax(2)) / 2
    rotation, translation = cameras.world_to_camera[:, :3, :3], cameras.world_to_camera[:, :3, 3:]
    eye = -(rotation.transpose(1, 2) @ translation)[:, :, 0]
    return torch.nn.functional.normalize(eye - middle, dim=1)
