"""Rasteriser by PyTorch3D, for who has it installed: another hand's picture to check and to time ours against.

PyTorch3D looks along z with x to the left and y up; its normalised coordinates run from -1 to 1 along the shorter side of
the picture. Projected vertices go there by a mirror and a scale, depth stays. It decides which face a sample shows; where
on that face it lies is worked out by the code that serves every rasteriser.
"""

import torch
from torch import Tensor

from synth.raster import Visibility, locate_samples, resolve, snap


def rasterize_pytorch3d(
    vertices: Tensor, faces: Tensor, double_sided: Tensor, height: int, width: int, supersampling: int
) -> Visibility:
    """`synth.raster.rasterize` for checked input of one mesh, on the device of `vertices`.

    Raises ImportError naming what to install without PyTorch3D.
    """
    rasterize_meshes, Meshes = _import_pytorch3d()
    s, size = supersampling, (height * supersampling, width * supersampling)
    # PyTorch3D leaves out all backs or none: faces with two sides are given twice, once turned over.
    turned = torch.nonzero(double_sided)[:, 0]
    own = torch.cat([torch.arange(len(faces), device=faces.device), turned])
    corners = torch.cat([faces, faces[turned].flip(1)]).long()
    face = torch.full((len(vertices), *size), -1, dtype=torch.int32, device=vertices.device)
    depth = torch.full(face.shape, torch.inf, device=vertices.device)
    if face.numel() and len(corners):
        verts = to_ndc(snap(vertices[..., :2], s) / (snap(vertices.new_ones(()), s)), vertices[..., 2:3], height, width)
        meshes = Meshes(verts=verts, faces=corners.expand(len(vertices), -1, -1))
        found, *_ = rasterize_meshes(
            meshes, image_size=size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=True, cull_backfaces=True
        )
        found = found[..., 0]
        # Faces are numbered through the whole batch.
        face = torch.where(found >= 0, own[found.clamp_min(0) % len(corners)].int(), -1)
        image, row, col = torch.nonzero(face >= 0, as_tuple=True)
        _, depth[image, row, col] = locate_samples(
            vertices, faces, image, face[image, row, col].long(), row, col, supersampling
        )
    return resolve(face, depth, s)


def to_ndc(xy_px: Tensor, depth: Tensor, height: int, width: int) -> Tensor:
    """Pixels (..., 2), x right and y down from the upper left corner, and depth (..., 1) metres, as PyTorch3D's normalised
    coordinates (..., 3): x left and y up from the middle, 1 at the ends of the shorter side, and depth."""
    shorter = min(height, width)
    x = (width - 2 * xy_px[..., :1]) / shorter
    y = (height - 2 * xy_px[..., 1:]) / shorter
    return torch.cat([x, y, depth], -1)


def _import_pytorch3d() -> tuple:
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ImportError(
            f"the pytorch3d rasteriser needs PyTorch3D, which PyPI has not for current Python ({error}); build it as its "
            "INSTALL.md says, or take rasterizer triton on a GPU and numba on a CPU"
        ) from error
    return rasterize_meshes, Meshes
