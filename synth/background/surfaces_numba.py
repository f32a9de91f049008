"""Planes as a view sees them: where they lie in the picture, and how light falls on them, as `planes_numba` wants it."""

import enum
import math

import numpy as np
from numpy.typing import NDArray

from synth.kernel import kernel


class Mode(enum.IntEnum):
    """How a plane's coverage and light are formed."""

    CARD = 0  # rectangle, times the pattern's alpha
    BUSH = 1  # dome over the rectangle, frayed by the pattern's alpha
    POST = 2  # rectangle lit like a cylinder standing on v
    SHADOW = 3  # holds back the sun from what lies behind
    GROUND = 4  # a card that also counts as ground


PLANE_DTYPE = np.dtype(
    [(name, np.float64, 3) for name in ("origin", "u_axis", "v_axis", "tint")]
    + [("tile_m", np.float64), ("extent", np.float64, 4), ("shift", np.float64, 2)]
    + [(name, np.float64) for name in ("material", "detail", "macro", "opacity", "edge_m", "grime")]
    + [(name, np.float64) for name in ("blur", "glow", "mode")]
)
"""A `planes.Plane`, float64 throughout: the kernels take rows of numbers, as nested fields are slow to compile."""

SURFACE_DTYPE = np.dtype(
    # Those of the plane, in its order.
    [(name, np.float32) for name in ("u0", "u1", "v0", "v1", "shift_u", "shift_v")]
    + [(name, np.float32) for name in ("material", "detail", "macro", "opacity", "edge_m", "grime")]
    + [(name, np.float32) for name in ("soft", "lod", "per_tile")]
    # side runs from -1 to 1 along u, height from 0 to 1 along v; front is how much a cylinder faces the viewer, dome
    # is side ** 2 + height ** 3. Alpha, sun and sky are sums of those, each with the factor named here.
    + [(name, np.float32) for name in ("side", "side_u", "height", "height_v", "alpha", "alpha_code", "alpha_dome")]
    + [(name, np.float32) for name in ("sun", "sun_side", "sun_height", "sun_front", "sky", "sky_height", "sky_front")]
    # 1 for a shadow, and for the ground.
    + [(name, np.float32) for name in ("holds", "grounded")]
    # Light times tint, as far as it follows the sun, the sky, and neither.
    + [(f"{light}_{channel}", np.float32) for light in ("direct", "diffuse", "steady") for channel in "rgb"]
)
"""What the loops over pixels need of a plane: all modes in the same terms, so that one loop draws them all."""

# Columns of rows of planes and surfaces; numba reads plain integers fastest.
ORIGIN, U_AXIS, V_AXIS, TINT, TILE, EXTENT, EDGE, BLUR, GLOW, MODE = (
    PLANE_DTYPE.fields[name][1] // 8
    for name in ("origin", "u_axis", "v_axis", "tint", "tile_m", "extent", "edge_m", "blur", "glow", "mode")
)
DETAIL, SOFT, LOD, PER_TILE, SIDE, ALPHA, SUN, DIRECT, DIFFUSE, STEADY = (
    SURFACE_DTYPE.fields[name][1] // 4
    for name in ("detail", "soft", "lod", "per_tile", "side", "alpha", "sun", "direct_r", "diffuse_r", "steady_r")
)
PLANE_NUMBERS, NUM_NUMBERS = PLANE_DTYPE.itemsize // 8, SURFACE_DTYPE.itemsize // 4
"""Numbers of a plane, and of a surface."""
SAME = BLUR - EXTENT
"""So many columns of a surface are those of its plane from EXTENT on."""


def _mode_factors() -> NDArray[np.float32]:
    """(5, 12, 3): how alpha to grounded of a surface follow from its mode: a constant, and what is to be multiplied by
    the cosines of the sun's direction with the face and with u."""
    # Mip levels and weights round down, so opaque texels come a little short of 255.
    card = {"alpha_code": (1 / 252, 0, 0), "sun": (0, 1, 0), "sky": (1, 0, 0)}
    modes = {
        Mode.CARD: card,
        Mode.BUSH: {
            "alpha": (0.25, 0, 0), "alpha_code": (1.2 / 255, 0, 0), "alpha_dome": (-1, 0, 0),
            "sun": (0.25, 0.45, 0), "sun_side": (0, 0, 0.4), "sun_height": (0.2, 0, 0),
            "sky": (0.35, 0, 0), "sky_height": (0.65, 0, 0),
        },
        Mode.POST: {
            "alpha_code": (1 / 252, 0, 0),
            "sun_side": (0, 0, 1), "sun_front": (0, 1, 0),
            "sky": (0.6, 0, 0), "sky_front": (0.4, 0, 0),
        },
        Mode.SHADOW: card | {"holds": (1, 0, 0)},
        Mode.GROUND: card | {"grounded": (1, 0, 0)},
    }  # fmt: skip
    names = SURFACE_DTYPE.names[ALPHA:DIRECT]
    return np.array([[modes[mode].get(name, (0, 0, 0)) for name in names] for mode in Mode], np.float32)


MODE_FACTORS = _mode_factors()
BUSH = int(Mode.BUSH)


@kernel(fastmath=True)
def place_planes(planes, projection, bounds):
    """Fill bounds (P, 8, 3) from planes (P, 27) and projection (3, 4), world to pixels.

    Rows 0 to 2 take pixels (x, y, 1) to (u w, v w, w) with w = 1 / depth; all zero when the plane is seen edge-on. Rows
    3 to 7 are (p, q, sign): x >= p y + q where sign > 0, else x <= p y + q, is what the rectangle and its soft edges
    touch, and w > 0.
    """
    for k in range(len(planes)):
        g = bounds[k]
        # Images of origin, u and v; overwritten further down.
        for axis in range(3):
            first = 3 * axis
            for row in range(3):
                total = projection[row, 0] * planes[k, first] + projection[row, 1] * planes[k, first + 1]
                total += projection[row, 2] * planes[k, first + 2]
                g[5 + axis, row] = total + projection[row, 3] if axis == 0 else total
        determinant = 0.0
        for i in range(3):
            p = 5 + (i + 2) % 3
            for j in range(3):
                a = (j + 1) % 3
                b = (j + 2) % 3
                g[i, j] = g[p, a] * g[5 + i, b] - g[p, b] * g[5 + i, a]
                if i == 0:
                    determinant += g[6, j] * g[0, j]
        size = abs(g[6, 0]) + abs(g[6, 1]) + abs(g[7, 0]) + abs(g[7, 1])
        scale = 0.0 if abs(determinant) < 1e-4 * size else 1 / determinant
        for i in range(3):
            for j in range(3):
                g[i, j] *= scale
        for line in range(5):
            # Lines a x + b y + c >= 0; the last one is w >= 1e-4.
            axis = line // 2
            side = 1.0 - 2 * (line % 2)
            edge = 0.0
            room = 0.0
            if line < 4:
                # A pixel and a half more, for what is soft.
                edge = planes[k, EXTENT + line] - side * planes[k, EDGE]
                room = 1.5 + planes[k, BLUR]
            a = side * (g[axis, 0] - edge * g[2, 0])
            b = side * (g[axis, 1] - edge * g[2, 1])
            c = side * (g[axis, 2] - edge * g[2, 2]) + room * (abs(a) + abs(b))
            if line == 4:
                c -= 1e-4
            if abs(a) < 1e-30:
                a = 1e-30
            g[3 + line, 0] = -b / a
            g[3 + line, 1] = -c / a
            g[3 + line, 2] = a


@kernel(fastmath=True)
def light_planes(planes, camera, light, factors, surfaces):
    """Fill surfaces (P, 38), rows of SURFACE_DTYPE, from planes (P, 27), camera (3,) and light (9,).

    light: sun direction, sun RGB, sky RGB; factors: MODE_FACTORS; all flat.
    """
    for k in range(len(planes) // PLANE_NUMBERS):
        own = k * PLANE_NUMBERS
        out = k * NUM_NUMBERS
        size = towards = facing = along = up = 0.0
        for i in range(3):
            a = (i + 1) % 3
            b = (i + 2) % 3
            normal = (
                planes[own + U_AXIS + a] * planes[own + V_AXIS + b]
                - planes[own + U_AXIS + b] * planes[own + V_AXIS + a]
            )
            size += normal * normal
            towards += (camera[i] - planes[own + ORIGIN + i]) * normal
            facing += normal * light[i]
            along += planes[own + U_AXIS + i] * light[i]
            if i == 1:
                up = normal
        # The side that the camera sees.
        length = math.copysign(math.sqrt(size), towards)
        facing /= length
        up = 0.5 + 0.5 * up / length
        for i in range(SAME):
            surfaces[out + i] = planes[own + EXTENT + i]
        blur = planes[own + BLUR]
        tile_m = planes[own + TILE]
        mode = int(planes[own + MODE])
        surfaces[out + SOFT] = 1 + blur
        surfaces[out + LOD] = blur - math.log2(tile_m)
        surfaces[out + PER_TILE] = 1 / tile_m
        for i in range(2):
            low = planes[own + EXTENT + 2 * i]
            high = planes[own + EXTENT + 2 * i + 1]
            # From -1 to 1 along u, from 0 to 1 along v.
            span = (2 - i) / (high - low)
            surfaces[out + SIDE + 2 * i] = -low * span - (1 - i)
            surfaces[out + SIDE + 2 * i + 1] = span
        for i in range(DIRECT - ALPHA):
            at = 3 * (mode * (DIRECT - ALPHA) + i)
            surfaces[out + ALPHA + i] = factors[at + 0] + factors[at + 1] * facing + factors[at + 2] * along
        if mode == BUSH:
            for i in range(SUN - ALPHA):
                surfaces[out + ALPHA + i] *= 8 / (1 + 2 * blur)
        if surfaces[out + DETAIL] == 0:
            surfaces[out + ALPHA] += 255 * surfaces[out + ALPHA + 1]
            surfaces[out + ALPHA + 1] = 0
        for i in range(3):
            sun = light[3 + i]
            sky = light[6 + i]
            behind_glass = planes[own + TINT + i] * planes[own + GLOW]
            albedo = planes[own + TINT + i] - behind_glass
            surfaces[out + DIRECT + i] = albedo * sun
            # What a face does not see of the sky, it sees of the ground, which throws back a fifth.
            surfaces[out + DIFFUSE + i] = albedo * (up * sky + (1 - up) * 0.2 * (light[1] * sun + sky))
            surfaces[out + STEADY + i] = behind_glass * (sky + 0.3 * sun)
