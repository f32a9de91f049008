"""From posed people to pictures and buffers: project, rasterise, look up, shade, composite."""

from dataclasses import dataclass

import torch
from torch import Tensor

from synth.camera import project, to_camera
from synth.dress import Dressed
from synth.labels import LABELLED_COVERAGE
from synth.raster import Fragments, RasterConfig, gather_fragments, interpolate, rasterize
from synth.shade import SHADOW_NEAR_M, ground_shadow, sample_texture, shade

SHADOW_SHRINK = 4


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

    vertices, normals (B, 3, N) world, metres, all with dressed.faces; texture (S, S, 3) linear RGB float.
    """
    batch, _, num_vertices = vertices.shape
    projected = project(to_camera(vertices, cameras.world_to_camera), cameras.intrinsics)
    packed = pack(projected)
    faces, first_face = pack_faces(dressed.faces, batch, num_vertices)
    visible = rasterize(packed, faces, first_face, cameras.height, cameras.width, config)
    towards_camera = towards_cameras(vertices, cameras)
    if not vertices.is_cpu:
        fragments = gather_fragments(visible, packed, faces)
        return draw_fragments(background, fragments, visible.depth, normals, dressed, texture, towards_camera, cameras)
    from synth.draw_numba import draw_pixels

    image, iuv = background.clone(), torch.zeros(*background.shape, dtype=torch.uint8)
    points = torch.cat([projected, normals], 1).transpose(1, 2).contiguous()
    mesh = (points, dressed.faces, dressed.corner, dressed.surface, texture)
    draw_pixels(
        *(a.numpy() for a in (visible.face, visible.sample, visible.num_covered)),
        config.supersampling,
        *(a.numpy() for a in (*mesh, towards_camera, cameras.light, image, iuv)),
    )
    return Drawn(image=image, iuv=iuv, depth=visible.depth)


def draw_fragments(
    background: Tensor,
    fragments: Fragments,
    depth: Tensor,
    normals: Tensor,
    dressed: Dressed,
    texture: Tensor,
    towards_camera: Tensor,
    cameras: Cameras,
) -> Drawn:
    """The torch twin of `draw_numba.draw_pixels`, for any device. towards_camera (B, 3) unit."""
    own_face = fragments.face % len(dressed.faces)
    attributes = interpolate(fragments, dressed.corner[own_face])
    corners = dressed.faces[own_face].long() + fragments.image[:, None] * normals.shape[2]
    normal = interpolate(fragments, pack(normals)[corners])
    radiance = sample_texture(texture, attributes[:, :2])
    image, iuv = background.clone(), background.new_zeros(background.shape, dtype=torch.uint8)
    for k in range(len(background)):
        mine = fragments.image == k
        radiance[mine] = shade(radiance[mine], normal[mine], towards_camera[k], cameras.light[k])
    at = (fragments.image, fragments.row, fragments.col)
    image[at] = torch.lerp(background[at], radiance, fragments.coverage[:, None])
    labelled = fragments.coverage >= LABELLED_COVERAGE
    uv = (attributes[:, 2:] * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    iuv[tuple(index[labelled] for index in at)] = torch.cat([dressed.surface[own_face][:, None], uv], 1)[labelled]
    return Drawn(image=image, iuv=iuv, depth=depth)


def towards_cameras(vertices: Tensor, cameras: Cameras) -> Tensor:
    """Unit directions (B, 3) from the middles of people (B, 3, N) to their cameras, world axes."""
    rotation, translation = cameras.world_to_camera[:, :3, :3], cameras.world_to_camera[:, :3, 3:]
    eye = -(rotation.transpose(1, 2) @ translation)[:, :, 0]
    # Extremes, unlike a mean, do not depend on how a sum is split between threads.
    middle = (vertices.amin(2) + vertices.amax(2)) / 2
    return torch.nn.functional.normalize(eye - middle, dim=1)


def pack(points: Tensor) -> Tensor:
    """Points (B, 3, N) one batch entry after another, (B * N, 3)."""
    return points.transpose(1, 2).reshape(-1, 3)


def pack_faces(faces: Tensor, batch: int, num_vertices: int) -> tuple[Tensor, Tensor]:
    """Faces (F, 3) of one mesh for `batch` packed copies of its vertices: (B * F, 3) int32, first_face (B + 1,)."""
    offset = torch.arange(batch, dtype=torch.int32, device=faces.device)[:, None, None] * num_vertices
    packed = (faces.to(torch.int32)[None] + offset).reshape(-1, 3)
    return packed, torch.arange(batch + 1, device=faces.device) * len(faces)


def cast_shadow(
    background: Tensor, ground: Tensor, vertices: Tensor, faces: Tensor, cameras: Cameras, config: RasterConfig
) -> Tensor:
    """Darken the ground of backgrounds (B, H, W, 3) where the person (B, 3, N) keeps light off it.

    ground (B, H, W): how much of a pixel is ground. A sun gives a shadow with an edge, a closed sky a soft dark place
    under the feet. Returns a new (B, H, W, 3).
    """
    fallen = to_camera(ground_shadow(vertices, cameras.light[:, :3]), cameras.world_to_camera)
    fallen[:, 2].clamp_(min=SHADOW_NEAR_M)
    # A shadow's edge is soft: a quarter of the pixels along each axis is enough.
    size = (cameras.height // SHADOW_SHRINK, cameras.width // SHADOW_SHRINK)
    shrunk = cameras.intrinsics / torch.tensor([SHADOW_SHRINK, SHADOW_SHRINK, 1.0])[:, None]
    packed, first_face = pack_faces(faces, len(vertices), vertices.shape[2])
    single = RasterConfig(rasterizer=config.rasterizer, supersampling=1)
    hidden = rasterize(pack(project(fallen, shrunk)), packed, first_face, *size, single).face >= 0
    sun = cameras.light[:, 3:6].mean(1) * cameras.light[:, 1]
    share = (sun / (sun + cameras.light[:, 6:9].mean(1)))[:, None, None, None]
    mask = hidden[:, None].float()
    kept_off = share * _blur(mask, 3) + 0.45 * (1 - share) * _blur(_blur(mask, 5), 5)
    kept_off = torch.nn.functional.interpolate(kept_off, size=(cameras.height, cameras.width), mode="bilinear")
    return background * (1 - kept_off[:, 0] * ground)[..., None]


def _blur(mask: Tensor, size: int) -> Tensor:
    """Box blur (B, 1, H, W) over size x size pixels."""
    return torch.nn.functional.avg_pool2d(mask, size, stride=1, padding=size // 2, count_include_pad=False)
