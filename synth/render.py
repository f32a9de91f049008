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
    a fourth number beside them is ignored and spares a copy. On other devices than the CPU, dressed and texture may be
    several, as of `synth.dress.stack_dressed`.
    """
    if not vertices.is_cpu:
        return draw_person_twin(background, vertices, normals, dressed, texture, cameras, config)
    from synth.draw_numba import draw_pixels

    points, towards_camera = screen_points(vertices, normals, cameras), towards_cameras(vertices, cameras)
    size = (cameras.height, cameras.width)
    visible = rasterize(points, dressed.faces, *size, config, double_sided=dressed.double_sided)
    image = background.clone(memory_format=torch.contiguous_format)
    iuv = torch.zeros(background.shape, dtype=torch.uint8)
    padded = texture if texture.shape[2] == 4 else torch.nn.functional.pad(texture, (0, 1))
    arrays = (a.numpy() for a in (padded, towards_camera, cameras.light.contiguous(), image, iuv))
    draw_pixels(visible, points.numpy(), dressed, *arrays)
    return Drawn(image=image, iuv=iuv, depth=visible.depth)


def draw_person_twin(
    background: Tensor,
    vertices: Tensor,
    normals: Tensor,
    dressed: Dressed,
    texture: Tensor,
    cameras: Cameras,
    config: RasterConfig,
) -> Drawn:
    """`draw_person` in torch, for any device, of one dressed person or of M (`synth.dress.stack_dressed`).

    With M, texture is (M, S, S, 3 or 4) and the first B / M pictures show the first person, and so on. Every pixel is
    worked out, covered or not: four times the arithmetic, but the host need not wait to hear how many are covered.
    """
    points = screen_points_twin(vertices, normals, cameras)
    size = (cameras.height, cameras.width)
    visible = rasterize(points, dressed.faces, *size, config, double_sided=dressed.double_sided)
    fragments = gather_fragments(visible, points, dressed.faces, everywhere=True)
    towards_camera = towards_cameras(vertices, cameras)
    return draw_fragments(background, fragments, visible.depth, points, dressed, texture, towards_camera, cameras)


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
    image, face = fragments.image, fragments.face
    faces, corner = dressed.faces.view(-1, 3), dressed.corner.view(-1, 3, 4)
    attributes = interpolate(fragments, corner[face])
    corners = faces[face].long() + image[:, None] * points.shape[1]
    normal = interpolate(fragments, points[..., 4:7].flatten(0, 1)[corners])
    which = None if texture.dim() == 3 else torch.div(face, dressed.faces.shape[1], rounding_mode="floor")
    albedo = sample_texture(texture[..., :3], attributes[:, :2], which)
    radiance = shade(albedo, normal, towards_camera[image], cameras.light[image])
    pixel = (image * cameras.height + fragments.row) * cameras.width + fragments.col
    behind = background.flatten(0, 2)
    blended = torch.lerp(behind[pixel], radiance, fragments.coverage[:, None])
    uv = (attributes[:, 2:] * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    labels = torch.cat([dressed.surface.view(-1)[face][:, None], uv], 1)
    labels = torch.where((fragments.coverage >= LABELLED_COVERAGE)[:, None], labels, 0)
    return Drawn(
        image=behind.index_copy(0, pixel, blended).view(background.shape),
        iuv=torch.zeros_like(behind, dtype=torch.uint8).index_copy_(0, pixel, labels).view(background.shape),
        depth=depth,
    )


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
