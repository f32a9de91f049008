"""Draw a list of textured planes in true perspective: the renderer of procedural backgrounds.

Everything is a plane: the ground, walls, the sides of a planter, a fence, a bush (a card with a frayed outline), a
shadow (a card on the ground that holds back the sun). A plane is a homography from pixels to its own metres (u, v), so
one kernel draws them all, front to back, and each pixel stops at the first opaque surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.background.planes_numba import Mode, draw_records
from synth.background.view import View

FAR = 1e6
"""Extent in metres that stands for unbounded."""

Vector = tuple[float, float, float]


class Plane(NamedTuple):
    """A rectangle of a plane; order in the list is front to back. Lengths in metres unless said otherwise."""

    origin: Vector
    """World point of (u, v) = (0, 0)."""
    u_axis: Vector
    """World direction of u, unit length (not for shadows, which may be sheared)."""
    v_axis: Vector
    """World direction of v; up on whatever stands."""
    extent: tuple[float, float, float, float]
    """u0, u1, v0, v1; FAR for unbounded."""
    material: int
    tile_m: float
    """Size of one tile of the pattern."""
    shift: tuple[float, float]
    """Offset of the pattern, in tiles."""
    tint: Vector
    """Linear RGB albedo of ratio 1 of the pattern."""
    detail: float = 1.0
    """Contrast of the pattern: 1 as baked; 0 is a plain tint, opaque, and quicker."""
    macro: float = 0.0
    """Contrast of large stains, 4.3 tiles to a period: hides the repetition."""
    opacity: float = 1.0
    edge_m: float = 0.0
    """Width of the soft edge; never less than a pixel."""
    blur: float = 0.0
    """Mip levels added: defocus."""
    grime: float = 0.0
    """Darkening towards v = 0, where a standing thing meets the ground."""
    glow: float = 0.0
    """Part of the light that does not depend on sun and sky: reflections and interiors behind glass."""
    mode: int = int(Mode.CARD)


PLANE_DTYPE = np.dtype(
    [
        ("origin", np.float64, 3),
        ("u_axis", np.float64, 3),
        ("v_axis", np.float64, 3),
        ("extent", np.float64, 4),
        ("material", np.int64),
        ("tile_m", np.float64),
        ("shift", np.float64, 2),
        ("tint", np.float64, 3),
        ("detail", np.float64),
        ("macro", np.float64),
        ("opacity", np.float64),
        ("edge_m", np.float64),
        ("blur", np.float64),
        ("grime", np.float64),
        ("glow", np.float64),
        ("mode", np.int64),
    ]
)


def draw_planes(
    planes: list[Plane], view: View, atlas: tuple[NDArray[np.uint64], NDArray[np.int64]], backdrop: Vector
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Composite planes, first in front.

    atlas as from `materials.baked_atlas`; backdrop is the linear RGB radiance seen where no plane is opaque.
    Returns image (H, W, 3) float32 linear RGB in [0, 1] and ground (H, W) float32 in [0, 1], the part of each pixel
    that shows planes of Mode.GROUND.
    """
    records = np.array(planes, PLANE_DTYPE)
    extrinsics = np.asarray(view.world_to_camera, np.float64)
    projection = np.asarray(view.intrinsics, np.float64) @ extrinsics[:3]
    light = np.array([view.light.sun_direction, view.light.sun_rgb, view.light.sky_rgb], np.float64)
    image = np.empty((view.height, view.width, 3), np.float32)
    ground = np.empty((view.height, view.width), np.float32)
    texels, offsets = atlas
    draw_records(records, projection, view.camera_position, light, np.asarray(backdrop), texels, offsets, image, ground)
    return image, ground
