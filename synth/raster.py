"""Visibility: which face each pixel shows, and where on that face.

A rasteriser decides visibility and nothing else; everything after it is torch code shared by every rasteriser
and device. The conventions that every rasteriser keeps:

- A picture has `supersampling` x `supersampling` samples per pixel; sample (i, j) of pixel (row, col) lies at
  x = col + (j + 0.5) / supersampling, y = row + (i + 0.5) / supersampling.
- Vertices snap to 1/256 of the distance between samples, so that edge functions are exact integers.
- A sample on an edge belongs to the face whose interior lies to its right or, on a horizontal edge, below it.
  Two faces that share an edge therefore never both cover a sample and never leave one out.
- A face's front is the side from which its corners run counter-clockwise. Both sides are drawn, but for faces that
  the caller knows to be seen from the front alone, such as those of a closed surface: half of the work is saved.
- 1/depth is linear on the screen. The nearest face wins; of equals, the one with the lowest index.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

Rasterizer = Literal["auto", "numba", "triton", "pyrender", "pytorch3d"]

SUBSAMPLE_STEPS = 256
MAX_SAMPLES_FROM_ORIGIN = 1 << 16
MAX_SUPERSAMPLING = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class RasterConfig:
    """How visibility is decided."""

    rasterizer: Rasterizer = "auto"
    """numba: CPU; triton: CUDA; auto: which of the two goes with the device; pyrender (OpenGL through EGL) and pytorch3d,
    where they are installed: to check ours against."""
    supersampling: int = 2
    """Samples per pixel along each axis."""
    near_m: float = 0.1
    """Depth that every vertex in use must exceed, metres: faces are not clipped."""

    def on(self, device: str) -> "RasterConfig":
        """This config with the rasteriser named that draws on a kind of device, "cpu" or "cuda"."""
        if self.rasterizer != "auto":
            return self
        return replace(self, rasterizer="numba" if device == "cpu" else "triton")

    def __post_init__(self) -> None:
        if not 1 <= self.supersampling <= MAX_SUPERSAMPLING:
            raise ValueError(f"supersampling must lie in 1..{MAX_SUPERSAMPLING}, got {self.supersampling}")
        if not self.near_m > 0:
            raise ValueError(f"near_m must be positive, got {self.near_m}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Visibility:
    """What B pictures of H x W pixels show, one chosen sample per pixel: the nearest of those covered."""

    face: Tensor
    """(B, H, W) int32 index of the face; -1 where nothing is covered."""
    depth: Tensor
    """(B, H, W) float32 metres along the camera's z at the chosen sample; inf where nothing is covered."""
    sample: Tensor
    """(B, H, W) uint8 chosen sample, i * supersampling + j; 0 where nothing is covered."""
    num_covered: Tensor
    """(B, H, W) uint8 samples covered by any face, 0..supersampling^2."""
    supersampling: int
    """Samples per pixel along each axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragments:
    """N pixels of a batch, the covered ones or all, in order of (image, row, col)."""

    image: Tensor
    """(N,) int64 index in the batch."""
    row: Tensor
    """(N,) int64."""
    col: Tensor
    """(N,) int64."""
    face: Tensor
    """(N,) int64 index of the face, with several meshes among those of all: mesh * F + face."""
    barycentric: Tensor
    """(N, 3) float32 perspective-correct weights of the face's corners at the chosen sample; >= 0, sum 1."""
    depth: Tensor
    """(N,) float32 metres along the camera's z at the chosen sample."""
    coverage: Tensor
    """(N,) float32 covered part of the pixel, in (0, 1]; 0 for a pixel that shows nothing."""


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    height: int,
    width: int,
    config: RasterConfig,
    *,
    double_sided: Tensor | None = None,
) -> Visibility:
    """Decide what every pixel of B pictures shows. With supersampling 1 this is the plain face and depth buffer.

    vertices (B, V, 3 or more) float32 [x px, y px, depth m, whatever else] as each picture sees them; faces (F, 3) int32
    indices into the V, of the one mesh that all show; double_sided (F,) bool, all by default. Several meshes: faces
    (M, F, 3) and double_sided (M, F), filled up by faces of three equal corners, which show nothing; the first B / M
    pictures show the first mesh, the next the second, and so on. A face's index counts within its mesh.
    numba and pyrender work on the CPU and copy to and from the device of `vertices`; the others draw where they are.
    Raises ValueError for wrong shapes or types, for an index out of range, and for a face with a corner that is
    not beyond `near_m`, not finite, or more than 2^16 samples from the picture's origin. On a CUDA device the triton
    rasteriser waits for nothing: there a wrong index or place is a failed device-side assertion.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a picture needs at least one pixel, got height {height}, width {width}")
    _check_mesh(vertices, faces)
    if double_sided is None:
        double_sided = torch.ones(faces.shape[:-1], dtype=torch.bool, device=faces.device)
    elif double_sided.shape != faces.shape[:-1] or double_sided.dtype != torch.bool:
        raise ValueError(
            f"double_sided must be {tuple(faces.shape[:-1])} bool, got {tuple(double_sided.shape)} {double_sided.dtype}"
        )
    if config.on(vertices.device.type).rasterizer == "triton":
        from synth.raster_triton import rasterize_triton

        stacked = (faces, double_sided) if faces.dim() == 3 else (faces[None], double_sided[None])
        return rasterize_triton(vertices, *stacked, height, width, config)
    if faces.dim() == 2:
        return _rasterize_mesh(vertices, faces, double_sided, height, width, config)
    per_mesh = vertices.view(len(faces), -1, *vertices.shape[1:])
    drawn = [_rasterize_mesh(*mesh, height, width, config) for mesh in zip(per_mesh, faces, double_sided, strict=True)]
    names = ("face", "depth", "sample", "num_covered")
    joined = {name: torch.cat([getattr(one, name) for one in drawn]) for name in names}
    return Visibility(**joined, supersampling=config.supersampling)


def _rasterize_mesh(
    vertices: Tensor, faces: Tensor, double_sided: Tensor, height: int, width: int, config: RasterConfig
) -> Visibility:
    """`rasterize` of one mesh, (F, 3), by the rasterisers that take one at a time."""
    match config.on(vertices.device.type).rasterizer:
        case "numba":
            from synth.raster_numba import rasterize_numba

            return rasterize_numba(vertices, faces, double_sided, height, width, config)
        case "pyrender":
            from synth.raster_pyrender import rasterize_pyrender

            check_vertices(vertices, faces, config)
            return rasterize_pyrender(vertices, faces, double_sided, height, width, config.supersampling)
        case "pytorch3d":
            from synth.raster_pytorch3d import rasterize_pytorch3d

            check_vertices(vertices, faces, config)
            return rasterize_pytorch3d(vertices, faces, double_sided, height, width, config.supersampling)
        case unknown:
            raise ValueError(f"rasterizer must be one of {get_args(Rasterizer)}, got {unknown!r}")


def resolve(face: Tensor, depth: Tensor, supersampling: int) -> Visibility:
    """Reduce a grid of samples to pixels: the nearest covered sample of each; of equals, the first.

    face (B, H * s, W * s) int32, -1 where nothing is covered; depth alike, float32, inf where nothing is covered.
    """
    face, depth = _group_by_pixel(face, supersampling), _group_by_pixel(depth, supersampling)
    sample = depth.argmin(dim=-1, keepdim=True)
    return Visibility(
        face=face.gather(-1, sample).squeeze(-1),
        depth=depth.gather(-1, sample).squeeze(-1),
        sample=sample.squeeze(-1).to(torch.uint8),
        num_covered=(face >= 0).sum(dim=-1, dtype=torch.uint8),
        supersampling=supersampling,
    )


def gather_fragments(visibility: Visibility, vertices: Tensor, faces: Tensor, *, everywhere: bool = False) -> Fragments:
    """List the covered pixels and locate the chosen sample of each on its face.

    vertices and faces as given to `rasterize`. everywhere lists all pixels, those that show nothing with face 0 and
    coverage 0: how many are covered need not be known, for which the host would have to wait for the device.
    """
    _, height, width = visibility.face.shape
    if everywhere:
        covered = torch.arange(visibility.face.numel(), device=vertices.device)
    else:
        covered = torch.nonzero(visibility.face.flatten() >= 0)[:, 0]
    face, sample, num_covered = (
        values.flatten().index_select(0, covered).long()
        for values in (visibility.face, visibility.sample, visibility.num_covered)
    )
    line = torch.div(covered, width, rounding_mode="floor")
    image = torch.div(line, height, rounding_mode="floor")
    row, col = line - image * height, covered - line * width
    if everywhere:
        face = face.clamp_min_(0)
    if faces.dim() == 3:
        pictures_per_mesh = len(vertices) // len(faces)
        face += torch.div(image, pictures_per_mesh, rounding_mode="floor") * faces.shape[1]
        faces = faces.flatten(0, 1)
    s = visibility.supersampling
    sub_row = torch.div(sample, s, rounding_mode="floor")
    sample_row, sample_col = row * s + sub_row, col * s + (sample - sub_row * s)
    barycentric, depth = locate_samples(vertices, faces, image, face, sample_row, sample_col, s)
    coverage = num_covered.float() / (s * s)
    return Fragments(image=image, row=row, col=col, face=face, barycentric=barycentric, depth=depth, coverage=coverage)


def interpolate(fragments: Fragments, corner_values: Tensor) -> Tensor:
    """Values at the fragments, from those at the three corners of each one's face (which may jump at a seam).

    corner_values (N, 3, C) float, such as `corner_uv[fragments.face]`. Returns (N, C).
    """
    # As a product of matrices it would be millions of tiny ones, which a GPU is slow at.
    weights = fragments.barycentric[..., None]
    total = weights[:, 0] * corner_values[:, 0]
    return total.addcmul_(weights[:, 1], corner_values[:, 1]).addcmul_(weights[:, 2], corner_values[:, 2])


def locate_samples(
    vertices: Tensor,
    faces: Tensor,
    image: Tensor,
    face: Tensor,
    sample_row: Tensor,
    sample_col: Tensor,
    supersampling: int,
) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates and depth of samples on given faces.

    vertices as given to `rasterize`, faces (F, 3); image, face, sample_row, sample_col (N,) int64, the picture, and rows
    and columns counted in samples. Returns perspective-correct weights
    (N, 3) float32 and depth (N,) float32 metres. A sample that lies outside its face, as when the rasteriser
    snapped the vertices otherwise, is drawn to the face's border; on a face without area it takes the centroid.
    """
    # One array per corner: arrays of three corners per sample would halve the speed on a CPU.
    corners = [corner + image * vertices.shape[1] for corner in faces.index_select(0, face).unbind(dim=1)]
    vertices = vertices.flatten(0, 1)
    snapped = snap(vertices[:, :2], supersampling)
    center_x, center_y = (index * SUBSAMPLE_STEPS + SUBSAMPLE_STEPS // 2 for index in (sample_col, sample_row))
    xa, xb, xc = (snapped[:, 0].index_select(0, corner) - center_x for corner in corners)
    ya, yb, yc = (snapped[:, 1].index_select(0, corner) - center_y for corner in corners)
    areas = torch.stack([xb * yc - xc * yb, xc * ya - xa * yc, xa * yb - xb * ya])
    area = areas.sum(dim=0)
    areas = torch.where(area == 0, 1, (areas * area.sign()).clamp_min(0))
    depth_of_vertex = vertices[:, 2].contiguous()
    over_depth = areas / torch.stack([depth_of_vertex.index_select(0, corner) for corner in corners])
    total = over_depth.sum(dim=0)
    return (over_depth / total).T.contiguous(), areas.sum(dim=0) / total


def snap(xy_px: Tensor, supersampling: int) -> Tensor:
    """Pixel coordinates (..., 2) float32 as whole steps of 1/256 of the distance between samples, still float32."""
    return torch.round(xy_px * (supersampling * SUBSAMPLE_STEPS))


def _group_by_pixel(samples: Tensor, s: int) -> Tensor:
    """(B, H * s, W * s) -> (B, H, W, s * s)."""
    num_images, sample_height, sample_width = samples.shape
    blocks = samples.view(num_images, sample_height // s, s, sample_width // s, s)
    return blocks.transpose(2, 3).flatten(3)


def _check_mesh(vertices: Tensor, faces: Tensor) -> None:
    if vertices.dim() != 3 or vertices.shape[2] < 3 or vertices.dtype != torch.float32:
        raise ValueError(f"vertices must be (B, V, 3 or more) float32, got {tuple(vertices.shape)} {vertices.dtype}")
    if faces.dim() not in (2, 3) or faces.shape[-1] != 3 or faces.dtype != torch.int32:
        raise ValueError(f"faces must be (F, 3) or (M, F, 3) int32, got {tuple(faces.shape)} {faces.dtype}")
    if faces.dim() == 3 and (not len(faces) or len(vertices) % len(faces)):
        raise ValueError(f"every mesh needs as many pictures: got {len(vertices)} for {len(faces)} meshes")
    if not faces.numel():
        return
    if faces.is_cuda:
        inside = ((faces >= 0) & (faces < vertices.shape[1])).all()
        torch._assert_async(inside, f"faces must index the {vertices.shape[1]} vertices given")
        return
    lowest, highest = (int(bound) for bound in faces.aminmax())
    if lowest < 0 or highest >= vertices.shape[1]:
        raise ValueError(f"faces must index the {vertices.shape[1]} vertices given, got {lowest}..{highest}")


def usable_vertices(vertices: Tensor, config: RasterConfig) -> Tensor:
    """(B, V) bool: which of the vertices (B, V, 3 or more) lie where corners of faces must."""
    reach_px = MAX_SAMPLES_FROM_ORIGIN / config.supersampling
    near = (vertices[..., :2].abs() <= reach_px).all(dim=-1)
    return near & (vertices[..., 2] > config.near_m) & vertices[..., 2].isfinite()


def check_vertices(vertices: Tensor, faces: Tensor, config: RasterConfig) -> None:
    """Raise ValueError, naming one, if a corner of a face does not lie where `rasterize` wants it."""
    reach_px = MAX_SAMPLES_FROM_ORIGIN / config.supersampling
    unusable = torch.nonzero(~usable_vertices(vertices, config)[:, faces.long()])
    if len(unusable):
        image, face, corner = unusable[0].tolist()
        vertex = int(faces[face, corner])
        x, y, z = vertices[image, vertex, :3].tolist()
        raise ValueError(
            f"every corner of a face must lie deeper than near_m = {config.near_m} m and within {reach_px:.0f} px "
            f"of the origin, got vertex {vertex} of picture {image} at x {x:.6g} px, y {y:.6g} px, depth {z:.6g} m; "
            "move the camera away or leave the mesh out"
        )
