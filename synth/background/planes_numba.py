"""The kernel behind `planes.draw_planes`: rows of pixels, planes front to back.

All planes of all modes run through the same few loops, whose coefficients are laid out per plane beforehand: one
vectorised loop compiles in a fraction of the time of one per mode, and a factor of zero costs next to nothing.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from synth.kernel import kernel, larger, part, smaller

# These are compiled into the kernel, whose cache on disk only follows this file.
BITS = 8
SIZE = 1 << BITS
"""Texels along a side of a pattern's finest level; a power of two."""
NUM_LEVELS = 7
"""Mip levels of a pattern."""
UNIT = 128.0
"""Code of ratio 1 in the three colour channels: a pattern multiplies its plane's tint by code / UNIT."""
CLOSED = 0.01
"""A pixel that is less clear than one 8-bit step shows nothing of what lies behind."""
STAINS = 0.23
"""Tiles of large stains per tile of a pattern."""


# Always inlined, parts round alike whether just compiled or loaded from numba's cache, which fastmath alone does not
# promise.
inlined = functools.partial(part, fastmath=True, forceinline=True)
F, N, U = np.float32, np.int32, np.uint64

# Scratch is cut into rows of one array: with known distances between them LLVM vectorises without asking what overlaps.
# Indices are unsigned, as numba wraps negative ones around. One assignment a line, as tuples take long to compile.
LANE = 272
"""Columns drawn at a time."""
CLEAR, SUNLIT, ON_GROUND, RED, GREEN, BLUE, LATERAL, UPWARD, COVER = (U(k * LANE) for k in range(9))
ACROSS, ALONG, UPPER_AT, LOWER_AT, PATTERN, STAIN = (U(k * LANE) for k in range(6))
UPPER, LOWER = U(0), U(LANE)
EVEN, HALF = U(0x00FF00FF00FF00FF), U(0xFFFFFFFF)
EVEN_LOW, EVEN_HIGH = EVEN & HALF, EVEN & ~HALF
ONE, TWO, THREE, BY_4, BY_8, BY_24, BY_32 = U(1), U(2), U(3), U(4), U(8), U(24), U(32)


def scratch() -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint64]]:
    """Rows of floats, of texel places and codes, and of texels, for `draw_surfaces`."""
    # Patterns of planes without any count for nothing, but must be numbers.
    return np.empty(9 * LANE, np.float32), np.zeros(6 * LANE, np.uint32), np.empty(2 * LANE, np.uint64)


@inlined
def _unit(value):
    return smaller(larger(value, F(0)), F(1))


@inlined
def _locate(s, k, h, y, first, last, work):
    """Fill u, v (metres) and the rectangle's coverage for a run; returns the mip level that suits it, 0 to 6."""
    # The footprint of the run's middle pixel, how metres change with x and y, is good enough for all of it.
    x = N(first) + 0.5
    au = h[k, 0, 0]
    av = h[k, 1, 0]
    aw = h[k, 2, 0]
    bu = au * x + h[k, 0, 1] * y + h[k, 0, 2]
    bv = av * x + h[k, 1, 1] * y + h[k, 1, 2]
    bw = aw * x + h[k, 2, 1] * y + h[k, 2, 2]
    half = 0.5 * N(last - first)
    w = larger(aw * half + bw, 1e-4)
    u = (au * half + bu) / w
    v = (av * half + bv) / w
    ux = (au - u * aw) / w
    uy = (h[k, 0, 1] - u * h[k, 2, 1]) / w
    vx = (av - v * aw) / w
    vy = (h[k, 1, 1] - v * h[k, 2, 1]) / w
    edge_u = F(1 / larger(math.sqrt(ux * ux + uy * uy) * s.soft, s.edge_m))
    edge_v = F(1 / larger(math.sqrt(vx * vx + vy * vy) * s.soft, s.edge_m))
    for i in range(first, last):
        step = F(N(i - first))
        depth = F(1) / larger(F(aw) * step + F(bw), F(1e-5))
        u_m = (F(au) * step + F(bu)) * depth
        v_m = (F(av) * step + F(bv)) * depth
        work[LATERAL + i] = u_m
        work[UPWARD + i] = v_m
        inside = _unit(smaller(u_m - s.u0, s.u1 - u_m) * edge_u + F(0.5))
        inside *= _unit(smaller(v_m - s.v0, s.v1 - v_m) * edge_v + F(0.5))
        work[COVER + i] = s.opacity * inside
    # The geometric mean of the footprint's sides: grazing ground blurs less than its depth alone would ask for.
    area = larger((ux * ux + vx * vx) * (uy * uy + vy * vy), 1e-20)
    return smaller(larger(0.25 * math.log2(area) + BITS + s.lod, 0.0), NUM_LEVELS - 1.001)


@inlined
def _sample(texels, start, bits, scale, shift_u, shift_v, weight, target, first, last, work, at, pairs):
    """Blend a pattern at u * scale + shift_u, v * scale + shift_v (tiles) into a row of `at` by weight / 256.

    The level starts at `start` and has 2 ** bits texels a side, and wraps around. Its weights are in steps of 1/16.
    """
    mask = (1 << bits) - 1
    stride = mask + 2
    unit = 16 << bits
    scale = F(scale * unit)
    shift_u = F(shift_u * unit - 8)
    shift_v = F(shift_v * unit - 8)
    for i in range(first, last):
        x = N(math.floor(work[LATERAL + i] * scale + shift_u))
        y = N(math.floor(work[UPWARD + i] * scale + shift_v))
        left = start + ((x >> 4) & mask)
        row = y >> 4
        at[ACROSS + i] = x & 15
        at[ALONG + i] = y & 15
        at[UPPER_AT + i] = left + (row & mask) * stride
        at[LOWER_AT + i] = left + ((row + 1) & mask) * stride
    for i in range(first, last):
        pairs[UPPER + i] = texels[at[UPPER_AT + i]]
        pairs[LOWER + i] = texels[at[LOWER_AT + i]]
    for i in range(first, last):
        upper = pairs[UPPER + i]
        lower = pairs[LOWER + i]
        fx = U(at[ACROSS + i])
        fy = U(at[ALONG + i])
        # Four codes of 8 bits, each in 16, are weighted at a time. Differences borrow across them, sums take it back.
        even = upper & EVEN
        odd = (upper >> BY_8) & EVEN
        even = (even << BY_4) + ((lower & EVEN) - even) * fy
        odd = (odd << BY_4) + (((lower >> BY_8) & EVEN) - odd) * fy
        left = (even & HALF) | (odd << BY_32)
        right = (even >> BY_32) | (odd & ~HALF)
        code = (((left << BY_4) + (right - left) * fx) >> BY_8) & EVEN
        old = U(at[target + i])
        old = (old & EVEN_LOW) | ((old << BY_24) & EVEN_HIGH)
        code = (((old << BY_8) + (code - old) * weight) >> BY_8) & EVEN
        at[target + i] = code | (code >> BY_24)


@inlined
def _shade(s, first, last, work, at):
    """Add what a plane shows in a run to the row, through what is still clear."""
    one = F(1)
    zero = F(0)
    plain = one - s.detail
    per_code = s.detail * F(1 / UNIT)
    stained = s.macro * F(1 / UNIT)
    for i in range(first, last):
        v = work[UPWARD + i]
        code = N(at[PATTERN + i])
        stain = F(N(at[STAIN + i]) & 255)
        side = work[LATERAL + i] * s.side_u + s.side
        height = v * s.height_v + s.height
        square = side * side
        dome = square + height * height * height
        weight = work[COVER + i] * _unit(s.alpha + s.alpha_code * F((code >> 24) & 255) + s.alpha_dome * dome)
        sunlit = work[SUNLIT + i]
        work[SUNLIT + i] = sunlit - sunlit * s.holds * weight
        weight *= work[CLEAR + i] * (one - s.holds)
        work[CLEAR + i] -= weight
        work[ON_GROUND + i] += s.grounded * weight
        low = one - _unit((v - s.v0) * F(2.5))
        weight *= (one - s.grime * low * low) * (one + stained * (stain - F(UNIT)))
        front = math.sqrt(larger(one - square, zero))
        sun = larger(s.sun + s.sun_side * side + s.sun_height * height + s.sun_front * front, zero) * sunlit
        sky = s.sky + s.sky_height * height + s.sky_front * front
        red = larger(plain + per_code * F(code & 255), zero)
        green = larger(plain + per_code * F((code >> 8) & 255), zero)
        blue = larger(plain + per_code * F((code >> 16) & 255), zero)
        work[RED + i] += weight * red * (s.direct_r * sun + s.diffuse_r * sky + s.steady_r)
        work[GREEN + i] += weight * green * (s.direct_g * sun + s.diffuse_g * sky + s.steady_g)
        work[BLUE + i] += weight * blue * (s.direct_b * sun + s.diffuse_b * sky + s.steady_b)


@inlined
def _texture(s, lod, texels, offsets, first, last, work, at, pairs):
    """Fill the pattern and the stains of a run on surface s."""
    # A short transition between levels: most rows need one of them only.
    finest = int(lod)
    blend = int(256 * smaller(larger((lod - finest - 0.35) / 0.3, 0.0), 1.0))
    for layer in range(3):
        # The pattern, its next level, and stains; one call for all, as each would compile on its own.
        level = finest + layer
        weight = 256
        if layer == 1:
            weight = blend
        material = s.material
        amount = s.detail
        scale = s.per_tile
        target = PATTERN
        if layer == 2:
            level = larger(finest - 2 + blend // 256, 2)
            material = 0
            amount = s.macro
            scale *= F(STAINS)
            target = STAIN
        if amount > 0 and weight > 0 and not (layer == 0 and blend == 256):
            start = int(material) * offsets[NUM_LEVELS] + offsets[level]
            _sample(
                texels,
                start,
                BITS - level,
                scale,
                s.shift_u,
                s.shift_v,
                U(weight),
                target,
                first,
                last,
                work,
                at,
                pairs,
            )


@inlined
def _span(bounds, k, y, low, high):
    """First and one-past-last of the columns low to high of row y within the bounds of plane k."""
    first = float(low)
    last = float(high)
    for line in range(3, 8):
        bound = bounds[k, line, 0] * y + bounds[k, line, 1]
        if bounds[k, line, 2] > 0:
            first = larger(first, bound - 0.5)
        else:
            last = smaller(last, bound + 1.5)
    if first < last:
        return U(first), U(last)
    return U(0), U(0)


@kernel(fastmath=True)
def draw_surfaces(surfaces, bounds, backdrop, texels, offsets, work, at, pairs, width, image, ground):
    """Fill image (3 H W,) and ground (H W,), float32, of `width` <= LANE columns, from surfaces (P,), front to back.

    surfaces and bounds (P, 8, 3) as from `surfaces_numba`; backdrop (3,) float32; texels and offsets as from
    `materials.baked_atlas`; work, at and pairs as from `scratch`.
    """
    for row in range(len(ground) // width):
        y = row + 0.5
        for i in range(U(width)):
            work[CLEAR + i] = 1
            work[SUNLIT + i] = 1
            work[ON_GROUND + i] = 0
            work[RED + i] = 0
            work[GREEN + i] = 0
            work[BLUE + i] = 0
        low = np.int64(0)  # not a literal, for which `_span` would compile once more
        high = width
        for k in range(len(surfaces)):
            first, last = _span(bounds, k, y, low, high)
            if first < last:
                s = surfaces[k]
                lod = _locate(s, k, bounds, y, first, last, work)
                _texture(s, lod, texels, offsets, first, last, work, at, pairs)
                _shade(s, first, last, work, at)
                while low < high and work[CLEAR + U(low)] < CLOSED:
                    low += 1
                while low < high and work[CLEAR + U(high - 1)] < CLOSED:
                    high -= 1
        start = U(row * width)
        for i in range(U(width)):
            clear = work[CLEAR + i]
            pixel = THREE * (start + i)
            image[pixel] = _unit(work[RED + i] + clear * backdrop[0])
            image[pixel + ONE] = _unit(work[GREEN + i] + clear * backdrop[1])
            image[pixel + TWO] = _unit(work[BLUE + i] + clear * backdrop[2])
            ground[start + i] = work[ON_GROUND + i]


@kernel
def fill_depth(bounds, width, depth):
    """Write depth (H width,) float32, metres along the camera's z of the first plane whose rectangle touches a pixel.

    bounds (P, 8, 3) as from `surfaces_numba`; where there is none, depth stays as it is.
    """
    for row in range(len(depth) // width):
        y = row + 0.5
        start = U(row * width)
        for behind in range(len(bounds)):
            k = len(bounds) - 1 - behind
            first, last = _span(bounds, k, y, np.int64(0), width)
            for i in range(first, last):
                nearness = bounds[k, 2, 0] * (N(i) + 0.5) + bounds[k, 2, 1] * y + bounds[k, 2, 2]
                depth[start + i] = 1 / larger(nearness, 1e-5)
