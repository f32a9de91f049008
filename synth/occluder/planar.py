"""Things made of planes, cut out of the frame: a window just large enough for them, and what it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synth.background.materials import baked_atlas
from synth.background.planes import Plane, draw_cutout
from synth.background.site import BLACK, DECAL, Item
from synth.background.surfaces_numba import Mode
from synth.background.view import View
from synth.occluder.layer import Layer, Shadow

NEAR_M = 0.2
"""Corners of planes nearer to the camera than this are not projected: the window is then the frame."""
LEAST_PX = 8
"""Side of the smallest view."""


def layer_of(items: list[Item], view: View, provenance: str) -> Layer | None:
    """The things standing among `items` as a layer, those lying on the floor as its shadow; None if out of frame."""
    standing = [plane for key, plane in sorted(items, key=lambda item: item[0]) if key < DECAL]
    window = window_of(standing, view)
    if window is None:
        return None
    row, col, part = window
    colour, alpha, depth = draw_cutout(standing, part, baked_atlas())
    if not alpha.any():
        return None
    return Layer(
        row=row,
        col=col,
        colour=colour,
        alpha=alpha,
        depth_m=depth,
        shadow=shadow_of([plane for key, plane in items if key >= DECAL], view),
        provenance=provenance,
    )


def shadow_of(lying: list[Plane], view: View) -> Shadow | None:
    """What planes on the floor, shadows and dark rims, keep off it; None if nothing falls into the frame."""
    sun, sky = (
        np.asarray(view.light.sun_rgb).mean() * view.light.sun_direction[1],
        np.asarray(view.light.sky_rgb).mean(),
    )
    direct = float(sun / max(sun + sky, 1e-6))
    dark = []
    for plane in lying:
        if plane.mode == Mode.SHADOW:
            plane = plane._replace(mode=int(Mode.CARD), opacity=direct * plane.opacity)
        if plane.opacity > 0.02:
            dark.append(plane._replace(tint=BLACK))
    window = window_of(dark, view)
    if window is None:
        return None
    row, col, part = window
    return Shadow(row=row, col=col, kept_off=draw_cutout(dark, part, baked_atlas())[1])


def window_of(planes: list[Plane], view: View) -> tuple[int, int, View] | None:
    """Row, column and view of the part of a frame that holds all of the planes; None if none of them lies in it."""
    if not planes:
        return None
    low, high = _reach(planes, view)
    size = np.array([view.width, view.height])
    low, high = np.clip(low, 0, size), np.clip(high, 0, size)
    inside = (low < high).all(1)
    if not inside.any():
        return None
    low, high = low[inside].min(0).astype(int), high[inside].max(0).astype(int)
    low = np.minimum(low, np.maximum(high - LEAST_PX, 0))
    high = np.maximum(high, np.minimum(low + LEAST_PX, size))
    intrinsics = np.array(view.intrinsics, np.float64)
    intrinsics[:2, 2] -= low
    (width, height), (col, row) = (high - low).tolist(), low.tolist()
    return row, col, replace(view, height=height, width=width, intrinsics=intrinsics)


def _reach(planes: list[Plane], view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest x and y, (P, 2) whole pixels each, of what planes and their soft edges touch in the frame.

    Of a plane that reaches behind the camera that is the whole frame; of one that lies there, nothing.
    """
    origin, u_axis, v_axis = (np.array(vectors) for vectors in list(zip(*planes, strict=True))[:3])
    edges = np.array([[plane.edge_m] for plane in planes])
    extent = np.array([plane.extent for plane in planes]) + edges * (-1, 1, -1, 1)
    u, v = extent[:, [0, 1, 0, 1], None], extent[:, [2, 2, 3, 3], None]
    corners = origin[:, None] + u * u_axis[:, None] + v * v_axis[:, None]
    pose, intrinsics = np.asarray(view.world_to_camera, np.float64), np.asarray(view.intrinsics, np.float64)
    seen = corners @ (intrinsics @ pose[:3, :3]).T + intrinsics @ pose[:3, 3]
    nearest, farthest = seen[..., 2].min(1)[:, None], seen[..., 2].max(1)[:, None]
    pixels = seen[..., :2] / np.maximum(seen[..., 2:], NEAR_M)
    # Edges are soft over a pixel and a half.
    low = np.where(nearest < NEAR_M, 0, np.floor(pixels.min(1)) - 2)
    high = np.where(nearest < NEAR_M, (view.width, view.height), np.ceil(pixels.max(1)) + 2)
    return low, np.where(farthest < NEAR_M, low, high)
