"""The Triton rasteriser against the one for CPUs: its kernels run in Triton's interpreter, in a process of its own, as
they are compiled or interpreted for good when they are imported."""

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import triton
from test_raster import HEIGHT, WIDTH, soup, sphere, views
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import synth
from synth.raster import RasterConfig, Visibility, gather_fragments, rasterize
from synth.raster_triton import FACES, PIXELS, TILE, _draw, _resolve

DRAW = """
import pickle, sys, torch
from synth.raster import RasterConfig, rasterize
torch.set_num_threads(1)
drawn, cases = [], pickle.load(sys.stdin.buffer)
for vertices, faces, double_sided, size, supersampling in cases:
    config = RasterConfig(rasterizer="triton", supersampling=supersampling)
    try:
        visible = rasterize(vertices, faces, *size, config, double_sided=double_sided)
        drawn.append((visible.face, visible.depth, visible.sample, visible.num_covered))
    except ValueError as error:
        drawn.append(str(error))
pickle.dump(drawn, sys.stdout.buffer)
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Arguments of `rasterize`."""

    vertices: torch.Tensor
    faces: torch.Tensor
    double_sided: torch.Tensor | None = None
    size: tuple[int, int] = (HEIGHT, WIDTH)
    supersampling: int = 1

    def arguments(self) -> tuple:
        return self.vertices, self.faces, self.double_sided, self.size, self.supersampling


def mesh(vertices: np.ndarray, faces: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.as_tensor(vertices)[None], torch.as_tensor(np.ascontiguousarray(faces)).int()


def card(depth: float) -> tuple[np.ndarray, np.ndarray]:
    corners = [(5, 5, depth), (25, 5, depth), (25, 25, depth), (5, 25, depth)]
    return np.array(corners, np.float32), np.array([(0, 1, 2), (0, 2, 3), (2, 1, 0), (3, 2, 0)])


def three_meshes() -> Case:
    """A soup, a ball and a small ball, each in two pictures, filled up to the same numbers."""
    vertices, faces, backs = torch.zeros(6, 900, 3), torch.zeros(3, 320, 3, dtype=torch.int32), torch.zeros(3, 320) > 0
    for k, (own, corners) in enumerate((soup("tiny", 3), sphere(2), sphere(1))):
        vertices[2 * k : 2 * k + 2, : len(own)] = views(own)[[0, 3]]
        vertices[2 * k : 2 * k + 2, len(own) :] = vertices[2 * k : 2 * k + 2, :1]
        faces[k, : len(corners)], backs[k] = torch.as_tensor(corners), k == 0
    return Case(vertices=vertices, faces=faces, double_sided=backs, supersampling=2)


def cases() -> dict[str, Case]:
    found = {}
    for kind in ("tiny", "middle", "on samples", "sliver", "degenerate"):
        vertices, faces = mesh(*soup(kind, 0))
        found[kind] = Case(vertices=vertices, faces=faces[:100])
    vertices, faces = mesh(*soup("huge", 0))
    found["huge"] = Case(vertices=vertices, faces=faces[:40])
    vertices, faces = mesh(*sphere(3))
    half = vertices[0, faces.long(), 0].mean(1) < WIDTH / 2
    found["ball"] = Case(vertices=vertices, faces=faces, double_sided=torch.zeros(len(faces)) > 0, supersampling=3)
    found["ball inside out"] = Case(vertices=vertices, faces=faces.flip(1), double_sided=half, supersampling=2)
    found["views"] = Case(vertices=views(sphere(2)[0]), faces=mesh(*sphere(2))[1], supersampling=2)
    far = torch.tensor([[[-60000, -50000, 2], [60000, -50000, 3], [100, 60000, 4.0]]])
    found["far larger than the picture"] = Case(vertices=far, faces=torch.tensor([[0, 1, 2]]).int(), size=(24, 20))
    vertices, faces = mesh(*card(2.0))
    found["equal depths"] = Case(vertices=vertices, faces=faces, supersampling=2)
    stray = torch.cat([vertices, torch.tensor([[[torch.nan, 1e30, -1.0]]])], 1)
    found["a vertex of no face anywhere"] = Case(vertices=stray, faces=faces)
    found["no faces"] = Case(vertices=vertices, faces=faces[:0])
    found["no pictures"] = Case(vertices=vertices[:0], faces=faces)
    found["three meshes"] = three_meshes()
    found["behind the camera"] = Case(vertices=vertices * torch.tensor([1, 1, -1.0]), faces=faces)
    return found


CASES = cases()


@pytest.fixture(scope="module")
def interpreted() -> dict[str, tuple | str]:
    """What the interpreter drew of every case, or why not."""
    root = str(Path(synth.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    given = pickle.dumps([case.arguments() for case in CASES.values()])
    environment = {**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"}
    result = subprocess.run(
        [sys.executable, "-c", DRAW], input=given, env=environment, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    return dict(zip(CASES, pickle.loads(result.stdout), strict=True))


def by_numba(case: Case) -> Visibility:
    vertices, faces, double_sided, size, supersampling = case.arguments()
    config = RasterConfig(rasterizer="numba", supersampling=supersampling)
    return rasterize(vertices, faces, *size, config, double_sided=double_sided)


@pytest.mark.parametrize("name", [name for name in CASES if name != "behind the camera"])
def test_both_rasterisers_give_the_same_bits(interpreted: dict[str, tuple | str], name: str) -> None:
    expected = by_numba(CASES[name])
    face, depth, sample, num_covered = interpreted[name]
    if not name.startswith("no "):
        assert (expected.face >= 0).any()
    assert face.dtype == torch.int32 and depth.dtype == torch.float32 and sample.dtype == torch.uint8
    assert torch.equal(face, expected.face)
    assert torch.equal(depth, expected.depth)
    assert torch.equal(sample, expected.sample)
    assert torch.equal(num_covered, expected.num_covered)


def test_a_corner_behind_the_camera_is_refused(interpreted: dict[str, tuple | str]) -> None:
    assert interpreted["behind the camera"].startswith("every corner of a face must lie deeper than near_m = 0.1 m")


def test_without_the_interpreter_the_cpu_is_refused() -> None:
    case = CASES["ball"]
    with pytest.raises(ValueError, match="draws on a CUDA device, got vertices on the CPU; take rasterizer numba"):
        rasterize(case.vertices, case.faces, HEIGHT, WIDTH, RasterConfig(rasterizer="triton"))


def test_auto_goes_with_the_device() -> None:
    assert RasterConfig().on("cpu").rasterizer == "numba" and RasterConfig().on("cuda").rasterizer == "triton"
    assert RasterConfig(rasterizer="pyrender").on("cuda").rasterizer == "pyrender"


def test_several_meshes_equal_one_at_a_time() -> None:
    case = three_meshes()
    together = by_numba(case)
    fragments = gather_fragments(together, case.vertices, case.faces)
    for k in range(3):
        pair = slice(2 * k, 2 * k + 2)
        alone = rasterize(
            case.vertices[pair], case.faces[k], HEIGHT, WIDTH, RasterConfig(supersampling=2),
            double_sided=case.double_sided[k],
        )  # fmt: skip
        assert torch.equal(alone.face, together.face[pair]) and torch.equal(alone.depth, together.depth[pair])
        expected = gather_fragments(alone, case.vertices[pair], case.faces[k])
        mine = torch.div(fragments.image, 2, rounding_mode="floor") == k
        assert torch.equal(fragments.face[mine], expected.face + k * case.faces.shape[1])
        assert torch.equal(fragments.barycentric[mine], expected.barycentric)


def test_fragments_everywhere_are_the_covered_ones_and_the_others() -> None:
    case = three_meshes()
    visible = by_numba(case)
    some = gather_fragments(visible, case.vertices, case.faces)
    every = gather_fragments(visible, case.vertices, case.faces, everywhere=True)
    covered = visible.face.flatten() >= 0
    for name in ("image", "row", "col", "face", "barycentric", "depth", "coverage"):
        assert torch.equal(getattr(every, name)[covered], getattr(some, name)), name
    assert (every.coverage[~covered] == 0).all() and every.barycentric.isfinite().all()


def test_the_kernels_compile_for_a_gpu_to_arithmetic_without_fusion_or_shortcuts() -> None:
    numbers = dict.fromkeys(("num_vertices", "num_faces", "pictures_per_mesh", "num_rows", "num_cols"), "i32")
    mesh = {"steps": "*i32", "inverse_depth": "*fp32", "faces": "*i32", "double_sided": "*i1", "samples": "*i64"}
    pixels = {"samples": "*i64", "face": "*i32", "depth": "*fp32", "sample": "*u8", "num_covered": "*u8"}
    kernels = (
        (_draw, mesh | numbers, {"FACES": FACES, "TILE": TILE}),
        (_resolve, pixels | {"num_pixels": "i32", "width": "i32"}, {"SIDE": 2, "PIXELS": PIXELS}),
    )
    for kernel, signature, sizes in kernels:
        source = ASTSource(fn=kernel, signature=signature | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
        options = {"num_warps": 4, "enable_fp_fusion": False}
        ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
        assert "div.rn.f32" in ptx and "div.full.f32" not in ptx and "div.approx" not in ptx
        assert "fma.rn" not in ptx


@pytest.mark.parametrize("num_meshes", [0, 4])
def test_pictures_are_shared_evenly_by_meshes(num_meshes: int) -> None:
    with pytest.raises(ValueError, match=f"as many pictures: got 6 for {num_meshes} meshes"):
        rasterize(torch.ones(6, 3, 3), torch.zeros(num_meshes, 1, 3).int(), HEIGHT, WIDTH, RasterConfig())
