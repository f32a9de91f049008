"""From posed people to pictures and buffers: project, rasterise, look up, shade, composite."""

from dataclasses import dataclass

import torch
from torch import Tensor

from synth.camera import project, to_camera
from synth.dress import Dressed
from synth.raster import Fragments, RasterConfig, gather_fragments, rasterize
from synth.shade import SHADOW_NEAR_M, ground_shadow, sample_texture, shade, vertex_normals


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
class Person:
    """One person per picture, on its covered pixels.

    fragments: where; uv (N, 2) in the texture; surface (N,) uint8; surface_uv (N, 2); radiance (N, 3) linear RGB;
    depth (B, H, W) metres, inf where nothing is.
    """

    fragments: Fragments
    uv: Tensor
    surface: Tensor
    surface_uv: Tensor
    radiance: Tensor
    depth: Tensor


def render_person(
    vertices: Tensor, dressed: Dressed, texture: Tensor, cameras: Cameras, config: RasterConfig
) -> Person:
    """Draw one dressed person in each of B poses.

    vertices (B, N, 3) world metres, all with dressed.faces; texture (S, S, 3) linear RGB float.
    """
    batch = len(vertices)
    projected = project(to_camera(vertices, cameras.world_to_camera), cameras.intrinsics).reshape(-1, 3)
    faces, first_face = pack_faces(dressed.faces, batch, vertices.shape[1])
    visible = rasterize(projected, faces, first_face, cameras.height, cameras.width, config)
    fragments = gather_fragments(visible, projected, faces)
    own_face = fragments.face % len(dressed.faces)
    attributes = torch.einsum("nk,nkc->nc", fragments.barycentric, dressed.corner[own_face])
    normals = vertex_normals(vertices, dressed.faces)
    on_corners = torch.cat([vertices, normals], -1).reshape(-1, 6)[faces[fragments.face].long()]
    position, normal = torch.einsum("nk,nkc->nc", fragments.barycentric, on_corners).split(3, 1)
    rotation, translation = cameras.world_to_camera[:, :3, :3], cameras.world_to_camera[:, :3, 3:]
    eye = -(rotation.transpose(1, 2) @ translation)[:, :, 0]
    normal = torch.nn.functional.normalize(normal, dim=1)
    return Person(
        fragments=fragments,
        uv=attributes[:, :2],
        surface=dressed.surface[own_face],
        surface_uv=attributes[:, 2:],
        radiance=shade(
            sample_texture(texture, attributes[:, :2]), normal, eye[fragments.image] - position, fragments.image,
            cameras.light,
        ),
        depth=visible.depth,
    )


def pack_faces(faces: Tensor, batch: int, num_vertices: int) -> tuple[Tensor, Tensor]:
    """Faces (F, 3) of one mesh for `batch` packed copies of its vertices: (B * F, 3) int32, first_face (B + 1,)."""
    offset = torch.arange(batch, dtype=torch.int32, device=faces.device)[:, None, None] * num_vertices
    packed = (faces.to(torch.int32)[None] + offset).reshape(-1, 3)
    return packed, torch.arange(batch + 1, device=faces.device) * len(faces)


def composite(background: Tensor, person: Person) -> Tensor:
    """Lay people over backgrounds (B, H, W, 3) linear RGB by coverage. Returns a new (B, H, W, 3)."""
    at = (person.fragments.image, person.fragments.row, person.fragments.col)
    out = background.clone()
    coverage = person.fragments.coverage[:, None]
    out[at] = background[at] * (1 - coverage) + person.radiance * coverage
    return out


def cast_shadow(
    background: Tensor, ground: Tensor, vertices: Tensor, faces: Tensor, cameras: Cameras, config: RasterConfig
) -> Tensor:
    """Darken the ground of backgrounds (B, H, W, 3) where the person keeps light off it.

    ground (B, H, W): how much of a pixel is ground. A sun gives a shadow with an edge, a closed sky a soft dark place
    under the feet. Returns a new (B, H, W, 3).
    """
    fallen = to_camera(ground_shadow(vertices, cameras.light[:, :3]), cameras.world_to_camera)
    fallen = torch.cat([fallen[..., :2], fallen[..., 2:].clamp_min(SHADOW_NEAR_M)], -1)
    half = cameras.intrinsics * torch.tensor([0.5, 0.5, 1.0])[:, None]
    packed, first_face = pack_faces(faces, len(vertices), vertices.shape[1])
    size = (cameras.height // 2, cameras.width // 2)
    single = RasterConfig(rasterizer=config.rasterizer, supersampling=1)
    hidden = rasterize(project(fallen, half).reshape(-1, 3), packed, first_face, *size, single).face >= 0
    mask = torch.nn.functional.interpolate(hidden[:, None].float(), size=(cameras.height, cameras.width), mode="bilinear")
    sun = cameras.light[:, 3:6].mean(1) * cameras.light[:, 1]
    share = sun / (sun + cameras.light[:, 6:9].mean(1))
    sharp, soft = _blur(mask, 5)[:, 0], _blur(_blur(mask, 11), 11)[:, 0]
    kept_off = share[:, None, None] * sharp + 0.45 * (1 - share)[:, None, None] * soft
    return background * (1 - kept_off * ground)[..., None]


def _blur(mask: Tensor, size: int) -> Tensor:
    """Box blur (B, 1, H, W) over size x size pixels."""
    return torch.nn.functional.avg_pool2d(mask, size, stride=1, padding=size // 2, count_include_pad=False)
