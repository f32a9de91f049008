"""OpenGL's picture of the same mesh."""

import sys

import pytest
import torch
import trimesh
from torch import Tensor

from synth import raster_pyrender
from synth.raster import RasterConfig, Visibility, rasterize

HEIGHT, WIDTH = 64, 48


@pytest.fixture(scope="module")
def rings() -> tuple[Tensor, Tensor]:
    """Two pictures of a torus, which hides a part of itself and shows holes, the second larger than the picture."""
    mesh = trimesh.creation.torus(major_radius=0.7, minor_radius=0.3, major_sections=40, minor_sections=20)
    mesh.apply_transform(trimesh.transformations.euler_matrix(0.9, 0.3, 0.2))
    camera = torch.tensor(mesh.vertices, dtype=torch.float32) + torch.tensor([0.03, -0.02, 3.0])
    pictures = [
        torch.cat([focal * camera[:, :2] / camera[:, 2:] + torch.tensor([WIDTH, HEIGHT]) / 2, camera[:, 2:]], 1)
        for focal in (60.0, 100.0)
    ]
    return torch.stack(pictures), torch.tensor(mesh.faces, dtype=torch.int32)


def draw(rings: tuple[Tensor, Tensor], rasterizer: str, s: int) -> Visibility:
    return rasterize(*rings, HEIGHT, WIDTH, RasterConfig(rasterizer=rasterizer, supersampling=s))


@pytest.mark.parametrize("s", [1, 2])
def test_agrees_with_numba(rings: tuple[Tensor, Tensor], s: int) -> None:
    ours, theirs = draw(rings, "numba", s), draw(rings, "pyrender", s)
    assert (ours.face >= 0).float().mean() > 0.2
    # What OpenGL shows at a pixel, numba shows there or next to it, and mostly there.
    padded = torch.nn.functional.pad(ours.face, (1, 1, 1, 1), value=-1)
    neighbours = torch.stack([padded[:, i : i + HEIGHT, j : j + WIDTH] for i in range(3) for j in range(3)])
    assert (neighbours == theirs.face).any(0).all()
    assert (ours.face == theirs.face).float().mean() > 0.99
    assert ((ours.face >= 0) == (theirs.face >= 0)).float().mean() > 0.998
    same = (ours.face == theirs.face) & (ours.sample == theirs.sample) & (ours.face >= 0)
    torch.testing.assert_close(ours.depth[same], theirs.depth[same], rtol=1e-5, atol=0)


def test_both_sides_are_drawn(rings: tuple[Tensor, Tensor]) -> None:
    vertices, faces = rings
    turned = (vertices, faces.flip(1))
    assert torch.equal(draw(rings, "pyrender", 1).face >= 0, draw(turned, "pyrender", 1).face >= 0)
    half = (vertices, faces[: len(faces) // 2 : 2].contiguous())
    inside_out = (vertices, half[1].flip(1))
    assert torch.equal(draw(half, "pyrender", 1).face, draw(inside_out, "pyrender", 1).face)


def test_pictures_without_faces(rings: tuple[Tensor, Tensor]) -> None:
    visible = draw((rings[0], rings[1][:0]), "pyrender", 1)
    assert (visible.face == -1).all() and torch.isinf(visible.depth).all() and visible.face.shape == (2, HEIGHT, WIDTH)


def test_starts_again_after_close(rings: tuple[Tensor, Tensor]) -> None:
    before = draw(rings, "pyrender", 1)
    raster_pyrender.close()
    raster_pyrender.close()
    assert torch.equal(draw(rings, "pyrender", 1).face, before.face)


def test_missing_pyrender_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrender", None)
    with pytest.raises(ImportError, match=r"lookalike\[gl\].*libegl1 libgles2 libgl1-mesa-dri"):
        raster_pyrender.import_pyrender.__wrapped__()
