"""Draw a list of textured planes in true perspective: the renderer of procedural backgrounds.

Everything is a plane: the ground, walls, the sides of a planter, a fence, a bush (a card with a frayed outline), a
shadow (a card on the ground that holds back the sun). A plane is a homography from pixels to its own metres (u, v), so
one kernel draws them all, front to back, and each pixel stops at the first opaque surface.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.background.planes_numba import LANE, draw_surfaces, fill_depth, scratch
from synth.background.surfaces_numba import (
    MODE_FACTORS,
    NUM_NUMBERS,
    PLANE_NUMBERS,
    SURFACE_DTYPE,
    Mode,
    light_planes,
    place_planes,
)
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
    tint: Vector
    """Linear RGB albedo of ratio 1 of the pattern."""
    tile_m: float
    """Size of one tile of the pattern."""
    extent: tuple[float, float, float, float]
    """u0, u1, v0, v1; FAR for unbounded."""
    shift: tuple[float, float]
    """Offset of the pattern, in tiles."""
    material: int
    detail: float = 1.0
    """Contrast of the pattern: 1 as baked; 0 is a plain tint, opaque, and quicker."""
    macro: float = 0.0
    """Contrast of large stains, 4.3 tiles to a period: hides the repetition."""
    opacity: float = 1.0
    edge_m: float = 0.0
    """Width of the soft edge; never less than a pixel."""
    grime: float = 0.0
    """Darkening towards v = 0, where a standing thing meets the ground."""
    blur: float = 0.0
    """Mip levels added: defocus."""
    glow: float = 0.0
    """Part of the light that does not depend on sun and sky: reflections and interiors behind glass."""
    mode: int = int(Mode.CARD)


def draw_planes(
    planes: list[Plane], view: View, atlas: tuple[NDArray[np.uint64], NDArray[np.int64]], backdrop: Vector
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Composite planes, first in front.

    atlas as from `materials.baked_atlas`; backdrop is the linear RGB radiance seen where no plane is opaque.
    Returns image (H, W, 3) float32 linear RGB in [0, 1] and ground (H, W) float32 in [0, 1], the part of each pixel
    that shows planes of Mode.GROUND.
    """
    records, surfaces = _surfaces(planes, view)
    return _join([strip[:2] for strip in _strips(records, surfaces, view, atlas, backdrop)])


def draw_cutout(
    planes: list[Plane], view: View, atlas: tuple[NDArray[np.uint64], NDArray[np.int64]]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Composite planes, first in front and none a shadow, over nothing; atlas as from `materials.baked_atlas`.

    Returns image (H, W, 3) float32 linear RGB, premultiplied by alpha; alpha (H, W) float32 in [0, 1]; and depth (H, W)
    float32, metres along the camera's z of the first plane whose rectangle lies there, inf where none does.
    """
    records, surfaces = _surfaces(planes, view)
    surfaces["grounded"] = 1
    strips = []
    for image, alpha, bounds in _strips(records, surfaces, view, atlas, (0.0, 0.0, 0.0)):
        depth = np.full(alpha.shape, np.inf, np.float32)
        fill_depth(bounds, alpha.shape[1], depth.reshape(-1))
        strips.append((image, np.minimum(alpha, np.float32(1)), depth))
    return _join(strips)


def _surfaces(planes: list[Plane], view: View) -> tuple[NDArray[np.float64], NDArray[np.void]]:
    """Planes as rows of numbers (P, 27), and under the view's light, (P,) SURFACE_DTYPE."""
    # As PLANE_DTYPE, but flat: numpy fills nested fields slowly.
    records = np.array(
        [
            (*origin, *u_axis, *v_axis, *tint, tile_m, *extent, *shift, *rest)
            for origin, u_axis, v_axis, tint, tile_m, extent, shift, *rest in planes
        ]
    ).reshape(-1, PLANE_NUMBERS)
    light = np.concatenate([view.light.sun_direction, view.light.sun_rgb, view.light.sky_rgb], dtype=np.float64)
    numbers = np.empty((len(planes), NUM_NUMBERS), np.float32)
    light_planes(records.reshape(-1), view.camera_position, light, MODE_FACTORS.reshape(-1), numbers.reshape(-1))
    return records, numbers.view(SURFACE_DTYPE)[:, 0]


def _strips(
    records: NDArray[np.float64],
    surfaces: NDArray[np.void],
    view: View,
    atlas: tuple[NDArray[np.uint64], NDArray[np.int64]],
    backdrop: Vector,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]]:
    """Image, ground and bounds of the planes for one strip of at most LANE columns after another."""
    projection = np.asarray(view.intrinsics, np.float64) @ np.asarray(view.world_to_camera, np.float64)[:3]
    for left in range(0, view.width, LANE):
        width = min(view.width - left, LANE)
        shifted, bounds = projection.copy(), np.empty((len(records), 8, 3))
        shifted[0] -= left * projection[2]
        place_planes(records, shifted, bounds)
        image, ground = np.empty((view.height, width, 3), np.float32), np.empty((view.height, width), np.float32)
        out = width, image.reshape(-1), ground.reshape(-1)
        draw_surfaces(surfaces, bounds, np.array(backdrop, np.float32), *atlas, *scratch(), *out)
        yield image, ground, bounds


def _join(strips: list[tuple[NDArray[np.float32], ...]]) -> tuple[NDArray[np.float32], ...]:
    if len(strips) == 1:
        return strips[0]
    return tuple(np.concatenate(arrays, axis=1) for arrays in zip(*strips, strict=True))
