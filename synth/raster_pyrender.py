"""Rasteriser on OpenGL, through pyrender and EGL: another hand's picture to check the others against.

The vertices are projected already, and 1/depth is linear on the screen as a depth buffer wants it, so they go to
OpenGL as they are, without a camera. A fragment shader writes the number of the face as a 24-bit colour. OpenGL
decides which face a sample shows; where on that face it lies is worked out by the code that serves every rasteriser.
"""

import functools
import os
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from synth.raster import Visibility, locate_samples, resolve, snap

# pyrender always culls back faces when it draws with these shaders, so each face is given twice, once turned over.
MAX_FACES = (1 << 23) - 1
VERTEX_SHADER = """#version 330 core
layout(location = 0) in vec3 position;
void main() { gl_Position = vec4(position, 1.0); }
"""
FRAGMENT_SHADER = """#version 330 core
out vec4 color;
void main() {
    int id = gl_PrimitiveID + 1;
    color = vec4(id & 255, (id >> 8) & 255, (id >> 16) & 255, 255) / 255.0;
}
"""


def rasterize_pyrender(
    vertices: Tensor,
    faces: Tensor,
    double_sided: Tensor,
    height: int,
    width: int,
    supersampling: int,
) -> Visibility:
    """`synth.raster.rasterize` for checked input. Returns tensors on the device of `vertices`.

    Raises ImportError naming what to install without pyrender or EGL, ValueError for over 2^23 - 1 faces.
    """
    if len(faces) > MAX_FACES:
        raise ValueError(f"pyrender numbers at most {MAX_FACES} faces, got {len(faces)}")
    vertices_cpu, faces_cpu = vertices.detach().cpu(), faces.cpu()
    corners, backs = faces_cpu.long(), double_sided.cpu().numpy()
    size = (height * supersampling, width * supersampling)
    face = torch.full((len(vertices), *size), -1, dtype=torch.int32)
    steps_per_picture = snap(torch.tensor([float(width), float(height)]), supersampling)
    clip = (snap(vertices_cpu[..., :2], supersampling).double() / steps_per_picture * 2 - 1) * torch.tensor([1.0, -1.0])
    for image in range(len(vertices) if len(faces) else 0):
        depth = vertices_cpu[image, corners, 2].double()
        positions = torch.cat([clip[image, corners], 1 - 2 * depth.min() / depth[..., None]], dim=-1)
        drawn = torch.from_numpy(_draw_face_numbers(positions.float().numpy(), backs, *size))
        face[image] = torch.where(drawn > 0, (drawn - 1) % len(faces), -1)
    depth = torch.full(face.shape, torch.inf)
    image, row, col = torch.nonzero(face >= 0, as_tuple=True)
    _, depth[image, row, col] = locate_samples(
        vertices_cpu, faces_cpu, image, face[image, row, col].long(), row, col, supersampling
    )
    visibility = resolve(face, depth, supersampling)
    device = vertices.device
    return Visibility(
        face=visibility.face.to(device),
        depth=visibility.depth.to(device),
        sample=visibility.sample.to(device),
        num_covered=visibility.num_covered.to(device),
        supersampling=supersampling,
    )


@functools.cache
def import_pyrender() -> ModuleType:
    """pyrender with EGL as its platform, for drawing without a screen.

    Raises ImportError that names the extra and the system packages if pyrender or EGL is missing.
    """
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    remedy = (
        "it needs `pip install 'lookalike[gl]'` and an EGL driver "
        "(Debian: apt-get install libegl1 libgles2 libgl1-mesa-dri)"
    )
    try:
        import pyrender

        pyrender.OffscreenRenderer(1, 1).delete()
    except Exception as error:  # PyOpenGL fails with AttributeError, its own GLError or EGLError, and others
        raise ImportError(
            f"the pyrender rasteriser cannot start ({type(error).__name__}: {error}); {remedy}"
        ) from error
    return pyrender


def close() -> None:
    """Free the OpenGL context that `rasterize_pyrender` keeps between calls. It makes a new one when called again."""
    if _face_renderer.cache_info().currsize:
        _face_renderer().delete()
        _face_renderer.cache_clear()


@functools.cache
def _face_renderer():
    """One renderer for pictures of every size, with the shaders above in place of pyrender's segmentation shaders."""
    pyrender = import_pyrender()
    from pyrender.shader_program import ShaderProgramCache

    renderer = pyrender.OffscreenRenderer(1, 1)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "segmentation.vert").write_text(VERTEX_SHADER)
        Path(folder, "segmentation.frag").write_text(FRAGMENT_SHADER)
        renderer._renderer._program_cache = ShaderProgramCache(shader_dir=folder)
        _draw(renderer, np.zeros((2, 3, 3), np.float32))  # compiles them
    return renderer


def _draw_face_numbers(positions: np.ndarray, backs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw F triangles, positions (F, 3, 3) float32 in [-1, 1] of OpenGL's clip space; backs (F,) bool, both sides.

    Returns (height, width) int32: 0 for nothing, i + 1 for the front and F + i + 1 for the back of triangle i.
    """
    renderer = _face_renderer()
    renderer.viewport_height, renderer.viewport_width = height, width
    # A back that is not to be seen is drawn as a point, which covers nothing.
    turned = np.where(backs[:, None, None], positions[:, ::-1], positions[:, :1])
    drawn = _draw(renderer, np.concatenate([positions, turned]))
    red, green, blue = np.moveaxis(drawn.astype(np.int32), -1, 0)
    return red | green << 8 | blue << 16


def _draw(renderer, positions: np.ndarray) -> np.ndarray:
    pyrender = import_pyrender()
    scene = pyrender.Scene()
    node = scene.add(pyrender.Mesh([pyrender.Primitive(positions=positions.reshape(-1, 3))]))
    scene.add(pyrender.OrthographicCamera(xmag=1, ymag=1))  # pyrender asks for one; the shaders ignore it
    color, _ = renderer.render(scene, flags=pyrender.RenderFlags.SEG, seg_node_map={node: (0, 0, 0)})
    return color
