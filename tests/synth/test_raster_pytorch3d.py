"""The PyTorch3D adapter against a slow stand-in that keeps PyTorch3D's conventions: PyPI has no PyTorch3D to install."""

import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch
from test_raster import sphere, views
from torch import Tensor

from synth.raster import RasterConfig, rasterize
from synth.raster_pytorch3d import to_ndc

HEIGHT, WIDTH = 48, 40
CONFIG = RasterConfig(rasterizer="pytorch3d", supersampling=2)


@dataclass(frozen=True)
class Meshes:
    """As `pytorch3d.structures.Meshes`: verts (B, V, 3), faces (B, F, 3)."""

    verts: Tensor
    faces: Tensor


def rasterize_meshes(
    meshes: Meshes, image_size, blur_radius, faces_per_pixel, perspective_correct, cull_backfaces
) -> tuple[Tensor, ...]:
    """As `pytorch3d.renderer.mesh.rasterize_meshes`, by brute force: x left, y up, 1 at the ends of the shorter side.

    Returns pix_to_face (B, H, W, 1) numbered through the batch, and nothing else of use.
    """
    assert (blur_radius, faces_per_pixel, perspective_correct, cull_backfaces) == (0.0, 1, True, True)
    height, width = image_size
    shorter = min(height, width)
    y = (height / shorter - (2 * np.arange(height) + 1) / shorter)[:, None]
    x = width / shorter - (2 * np.arange(width) + 1) / shorter
    number = np.full((len(meshes.verts), height, width), -1)
    for b, (verts, faces) in enumerate(zip(meshes.verts.double().numpy(), meshes.faces.numpy(), strict=True)):
        nearest = np.full((height, width), np.inf)
        for f, ((xa, ya, za), (xb, yb, zb), (xc, yc, zc)) in enumerate(verts[faces]):
            # Seen with x to the left, counter-clockwise turns negative.
            area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
            if area >= 0:
                continue
            a = ((xb - x) * (yc - y) - (xc - x) * (yb - y)) / area
            b_ = ((xc - x) * (ya - y) - (xa - x) * (yc - y)) / area
            c = 1 - a - b_
            depth = 1 / (a / za + b_ / zb + c / zc)
            hit = (a >= 0) & (b_ >= 0) & (c >= 0) & (depth < nearest)
            nearest[hit], number[b][hit] = depth[hit], b * len(faces) + f
    return torch.from_numpy(number)[..., None], None, None, None


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("pytorch3d", "pytorch3d.structures", "pytorch3d.renderer", "pytorch3d.renderer.mesh")
    modules = {name: ModuleType(name) for name in (*names, "pytorch3d.renderer.mesh.rasterize_meshes")}
    modules["pytorch3d.structures"].Meshes = Meshes
    modules["pytorch3d.renderer.mesh.rasterize_meshes"].rasterize_meshes = rasterize_meshes
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(("height", "width"), [(HEIGHT, WIDTH), (WIDTH, HEIGHT)])
@pytest.mark.usefixtures("stand_in")
def test_a_ball_is_where_numba_draws_it(height: int, width: int) -> None:
    vertices, faces = views(sphere(2)[0])[[0, 2]], torch.as_tensor(sphere(2)[1]).int()
    for double_sided in (None, torch.zeros(len(faces)) > 0, vertices[0, faces.long(), 0].mean(1) < WIDTH / 2):
        for corners in (faces, faces.flip(1)):
            found, expected = (
                rasterize(vertices, corners, height, width, config, double_sided=double_sided)
                for config in (CONFIG, RasterConfig(supersampling=2))
            )
            # On an edge, and where faces lie in one place, they may choose differently.
            assert (expected.face >= 0).float().mean() > 0.15
            assert (found.face != expected.face).float().mean() < 0.004
            same = found.face == expected.face
            torch.testing.assert_close(found.depth[same], expected.depth[same], rtol=1e-4, atol=0)
            assert (found.num_covered != expected.num_covered).float().mean() < 0.004


@pytest.mark.usefixtures("stand_in")
def test_nothing_to_draw() -> None:
    visible = rasterize(torch.ones(2, 3, 3), torch.zeros(0, 3).int(), HEIGHT, WIDTH, CONFIG)
    assert (visible.face == -1).all() and visible.depth.isinf().all()


def test_corners_of_a_picture_in_normalised_coordinates() -> None:
    pixels, depth = torch.tensor([[0.0, 0.0], [40.0, 80.0], [20.0, 40.0]]), torch.full((3, 1), 3.0)
    assert to_ndc(pixels, depth, 80, 40).tolist() == [[1.0, 2.0, 3.0], [-1.0, -2.0, 3.0], [0.0, 0.0, 3.0]]


def test_without_pytorch3d_the_error_names_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(
        ImportError, match="needs PyTorch3D, .* build it as its INSTALL.md says, or take rasterizer triton"
    ):
        rasterize(torch.ones(1, 3, 3), torch.tensor([[0, 1, 2]]).int(), HEIGHT, WIDTH, CONFIG)
