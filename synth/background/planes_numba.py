"""The kernel behind `planes.draw_planes`: rows of pixels, planes front to back."""

import enum
import math

import numba
import numpy as np

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

njit = numba.njit(cache=True, fastmath=True, error_model="numpy")
F, U = np.float32, np.uint64
LANES, CODE = U(0x00FF00FF00FF00FF), U(0xFF)
BLANK = U(0x00FF008000800080)
"""An opaque texel of ratio 1."""


class Mode(enum.IntEnum):
    """How a plane's coverage and light are formed."""

    CARD = 0  # rectangle, times the pattern's alpha
    BUSH = 1  # dome over the rectangle, frayed by the pattern's alpha
    POST = 2  # rectangle lit like a cylinder standing on v
    SHADOW = 3  # holds back the sun from what lies behind
    GROUND = 4  # a card that also counts as ground


# Numba reads plain integers fastest.
BUSH, POST, SHADOW, GROUND = int(Mode.BUSH), int(Mode.POST), int(Mode.SHADOW), int(Mode.GROUND)


@njit
def _homography(plane, projection, h):
    """Fill h (3, 3): pixels (x, y, 1) to (u w, v w, w) with w = 1 / depth; all zero when the plane is seen edge-on."""
    m = np.zeros((3, 3))
    for row in range(3):
        for k in range(3):
            m[row, 0] += projection[row, k] * plane.u_axis[k]
            m[row, 1] += projection[row, k] * plane.v_axis[k]
            m[row, 2] += projection[row, k] * plane.origin[k]
        m[row, 2] += projection[row, 3]
    for i in range(3):
        for j in range(3):
            a, b, c, d = (j + 1) % 3, (j + 2) % 3, (i + 1) % 3, (i + 2) % 3
            h[i, j] = m[a, c] * m[b, d] - m[a, d] * m[b, c]
    determinant = m[0, 0] * h[0, 0] + m[0, 1] * h[1, 0] + m[0, 2] * h[2, 0]
    size = abs(m[0, 0]) + abs(m[0, 1]) + abs(m[1, 0]) + abs(m[1, 1])
    scale = 0.0 if abs(determinant) < 1e-4 * size else 1 / determinant
    for i in range(3):
        for j in range(3):
            h[i, j] *= scale


@njit
def _edges(plane, h, lines):
    """Fill lines (5, 3): a x + b y + c >= 0 for the pixels that the rectangle and its soft edges touch; last, w > 0."""
    for k in range(4):
        axis, side = k // 2, 1.0 - 2 * (k % 2)
        bound = plane.extent[k] - side * plane.edge_m
        for j in range(3):
            lines[k, j] = side * (h[axis, j] - bound * h[2, j])
        lines[k, 2] += (1.5 + plane.blur) * (abs(lines[k, 0]) + abs(lines[k, 1]))
    lines[4, 0], lines[4, 1], lines[4, 2] = h[2, 0], h[2, 1], h[2, 2] - 1e-4


@njit
def _span(lines, y, low, high):
    """First and one-past-last of the columns low to high of row y that lie inside all lines."""
    first, last = float(low), float(high)
    for k in range(5):
        slope, offset = lines[k, 0], lines[k, 1] * y + lines[k, 2]
        if abs(slope) * high < 1e-9 * abs(offset):
            if offset < 0:
                return 0, 0
        elif slope > 0:
            first = max(first, math.floor(-offset / slope - 0.5))
        else:
            last = min(last, math.ceil(-offset / slope + 0.5))
    return int(first), int(max(first, last))


@njit
def _light(plane, camera, light, cosines, lights):
    """Fill cosines (2,), of the sun on the face seen and along u, and lights (3, 3): sun, sky and bounce, steady."""
    u, v, o, sun = plane.u_axis, plane.v_axis, plane.origin, light[0]
    x, y, z = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
    length = math.sqrt(x * x + y * y + z * z)
    if (camera[0] - o[0]) * x + (camera[1] - o[1]) * y + (camera[2] - o[2]) * z < 0:
        length = -length
    cosines[0] = (x * sun[0] + y * sun[1] + z * sun[2]) / length
    cosines[1] = u[0] * sun[0] + u[1] * sun[1] + u[2] * sun[2]
    up, dull = 0.5 + 0.5 * y / length, 1 - plane.glow
    for channel in range(3):
        bounce = 0.2 * (light[1, channel] * sun[1] + light[2, channel])
        lights[0, channel] = light[1, channel] * dull
        lights[1, channel] = (up * light[2, channel] + (1 - up) * bounce) * dull
        lights[2, channel] = (light[2, channel] + 0.3 * light[1, channel]) * plane.glow


@njit
def _unit(value):
    return min(max(value, F(0)), F(1))


@njit
def _bilinear(texels, base, bits, s, t):
    """Packed texel at (s, t) in [0, 1] tiles of the level that starts at base and has 2 ** bits texels a side.

    Wraps around. Weights are in steps of 1/16, so four lanes of 8 bits fit their 16 bits twice over.
    """
    scale = F(16 << bits)
    # A whole tile is added so that half a texel to the left stays positive and truncation is floor.
    x, y = U(np.int64(s * scale + (scale - 8))), U(np.int64(t * scale + (scale - 8)))
    mask, four, low = (U(1) << U(bits)) - U(1), U(4), U(15)
    column, row = x >> four, y >> four
    c0, c1 = column & mask, (column + U(1)) & mask
    r0, r1 = U(base) + ((row & mask) << U(bits)), U(base) + (((row + U(1)) & mask) << U(bits))
    fx, fy = x & low, y & low
    gx, gy = U(16) - fx, U(16) - fy
    upper = texels[r0 + c0] * gx + texels[r0 + c1] * fx
    lower = texels[r1 + c0] * gx + texels[r1 + c1] * fx
    return ((upper * gy + lower * fy) >> U(8)) & LANES


@njit
def _footprint(plane, k, h, x, y):
    """Mip level and inverse widths of the edges along u and v (1/m) at one pixel."""
    w = max(h[k, 2, 0] * x + h[k, 2, 1] * y + h[k, 2, 2], 1e-4)
    u, v = (h[k, 0, 0] * x + h[k, 0, 1] * y + h[k, 0, 2]) / w, (h[k, 1, 0] * x + h[k, 1, 1] * y + h[k, 1, 2]) / w
    ux, uy = (h[k, 0, 0] - u * h[k, 2, 0]) / w, (h[k, 0, 1] - u * h[k, 2, 1]) / w
    vx, vy = (h[k, 1, 0] - v * h[k, 2, 0]) / w, (h[k, 1, 1] - v * h[k, 2, 1]) / w
    edge_m = plane.edge_m
    edge_u = 1 / max(math.sqrt(ux * ux + uy * uy) * (1 + plane.blur), edge_m)
    edge_v = 1 / max(math.sqrt(vx * vx + vy * vy) * (1 + plane.blur), edge_m)
    # The geometric mean of the footprint's sides: grazing ground blurs less than its depth alone would ask for.
    area = max((ux * ux + vx * vx) * (uy * uy + vy * vy), 1e-20)
    lod = 0.25 * math.log2(area) + math.log2(SIZE / plane.tile_m) + plane.blur
    lod = min(max(lod, 0.0), NUM_LEVELS - 1.001)
    level = int(lod)
    # A short transition between levels: most rows need one of them only.
    blend = min(max((lod - level - 0.35) / 0.3, 0.0), 1.0)
    if blend == 1:
        return level + 1, 0, edge_u, edge_v
    return level, int(256 * blend), edge_u, edge_v


@njit
def _locate(plane, k, h, x, y, u, v, cover):
    """Fill u, v (metres) and the rectangle's coverage for one row; all (W,) float32."""
    level, blend, edge_u, edge_v = _footprint(plane, k, h, x + 0.5 * len(u), y)
    au, av, aw = h[k, 0, 0], h[k, 1, 0], h[k, 2, 0]
    a, b, c = (
        au * x + h[k, 0, 1] * y + h[k, 0, 2],
        av * x + h[k, 1, 1] * y + h[k, 1, 2],
        aw * x + h[k, 2, 1] * y + h[k, 2, 2],
    )
    for i in range(len(u)):
        depth = 1 / (aw * i + c)
        u[i] = (au * i + a) * depth
        v[i] = (av * i + b) * depth
    u0, u1, v0, v1 = F(plane.extent[0]), F(plane.extent[1]), F(plane.extent[2]), F(plane.extent[3])
    edge_u, edge_v, opacity = F(edge_u), F(edge_v), F(plane.opacity)
    half = F(0.5)
    for i in range(len(u)):
        inside = _unit(min(u[i] - u0, u1 - u[i]) * edge_u + half) * _unit(min(v[i] - v0, v1 - v[i]) * edge_v + half)
        cover[i] = opacity * inside
    return level, blend


@njit
def _lookup(texels, base, offsets, level, blend, s, t, code):
    """Fill code (N,) with the packed pattern at (s, t), between two mip levels; blend in 0..255."""
    start, bits = base + offsets[level], BITS - level
    for i in range(len(s)):
        code[i] = _bilinear(texels, start, bits, s[i], t[i])
    if blend > 0:
        old, new = U(256 - blend), U(blend)
        start, bits = base + offsets[level + 1], BITS - level - 1
        for i in range(len(s)):
            coarse = _bilinear(texels, start, bits, s[i], t[i])
            code[i] = ((code[i] * old + coarse * new) >> U(8)) & LANES


@njit
def _form(plane, facing, along, u, v, code, cover, sun, sky):
    """Turn the pattern's alpha into coverage, and fill the sun's and the sky's share of light, by the plane's mode."""
    mode = plane.mode
    low_u, low_v = F(plane.extent[0]), F(plane.extent[2])
    per_u, per_v = F(2 / (plane.extent[1] - plane.extent[0])), F(1 / (plane.extent[3] - plane.extent[2]))
    facing, along, one = F(facing), F(along), F(1.0)
    if mode == BUSH:
        sharpness = F(8 / (1 + 2 * plane.blur))
        for i in range(len(u)):
            side, height = (u[i] - low_u) * per_u - one, (v[i] - low_v) * per_v
            fray = F((code[i] >> U(48)) & CODE) * F(1.2 / 255)
            cover[i] *= _unit((F(0.25) - side * side - height * height * height + fray) * sharpness)
            sun[i] = max(F(0.25) + F(0.4) * along * side + F(0.45) * facing + F(0.2) * height, F(0.0))
            sky[i] = F(0.35) + F(0.65) * height
        return
    for i in range(len(u)):
        # Mip levels and weights round down, so opaque texels come a little short of 255.
        cover[i] *= min(F((code[i] >> U(48)) & CODE) * F(1 / 252), one)
    if mode == POST:
        for i in range(len(u)):
            side = (u[i] - low_u) * per_u - one
            front = math.sqrt(max(one - side * side, F(0.0)))
            sun[i] = max(along * side + facing * front, F(0.0))
            sky[i] = F(0.6) + F(0.4) * front
        return
    for i in range(len(u)):
        sun[i] = max(facing, F(0.0))
        sky[i] = one


@njit
def _tiles(values, scale, shift, fraction):
    """Fraction of values * scale + shift."""
    scale, shift = F(scale), F(shift)
    for i in range(len(values)):
        tiles = values[i] * scale + shift
        fraction[i] = tiles - np.floor(tiles)


@njit
def _soil(plane, texels, offsets, level, u, v, s, t, weight):
    """Darken weight (W,) by grime towards the foot and by large stains; s and t are overwritten."""
    if plane.grime > 0:
        grime, low, one = F(plane.grime), F(plane.extent[2]), F(1.0)
        for i in range(len(u)):
            height = _unit((v[i] - low) * F(2.5))
            weight[i] *= one - grime * (one - height) * (one - height)
    if plane.macro > 0:
        coarse = max(level - 2, 2)
        bits, base, macro = BITS - coarse, offsets[coarse], F(plane.macro)
        _tiles(u, STAINS / plane.tile_m, plane.shift[0], s)
        _tiles(v, STAINS / plane.tile_m, plane.shift[1], t)
        for i in range(len(u)):
            ratio = F(_bilinear(texels, base, bits, s[i], t[i]) & CODE) * F(1 / UNIT)
            weight[i] *= F(1) + macro * (ratio - F(1))


@njit
def _add(image, weight, code, sun, sky, plane, k, lights, channel):
    """image (W,) of one channel += weight * albedo * light; lights (3, 3): sun, sky, steady."""
    tint, shift = plane.tint[channel], U(16 * channel)
    base, gain = F(tint * (1 - plane.detail)), F(tint * plane.detail / UNIT)
    direct, diffuse, steady = F(lights[k, 0, channel]), F(lights[k, 1, channel]), F(lights[k, 2, channel])
    for i in range(len(image)):
        albedo = max(base + gain * F((code[i] >> shift) & CODE), F(0))
        image[i] += weight[i] * albedo * (direct * sun[i] + diffuse * sky[i] + steady)


@njit
def _draw_run(plane, k, homographies, cosines, lights, first, last, y, texels, offsets, work, scratch):
    """Add what plane k shows in columns first to last of the row at y, through what is still clear.

    work (13, W) float32: 7 rows of scratch, clear, sunlit, ground, red, green, blue; scratch (W,) uint64. Each step is
    a loop of its own over short contiguous arrays, so that all but the look-up become vector instructions.
    """
    u, v, s, t = work[0][first:last], work[1][first:last], work[2][first:last], work[3][first:last]
    weight, sun, sky, code = work[4][first:last], work[5][first:last], work[6][first:last], scratch[first:last]
    clear, sunlit, ground = work[7][first:last], work[8][first:last], work[9][first:last]
    level, blend = _locate(plane, k, homographies, first + 0.5, y, u, v, weight)
    _tiles(u, 1 / plane.tile_m, plane.shift[0], s)
    _tiles(v, 1 / plane.tile_m, plane.shift[1], t)
    if plane.detail > 0:
        _lookup(texels, plane.material * offsets[-1], offsets, level, blend, s, t, code)
    else:
        code.fill(BLANK)
    _form(plane, cosines[k, 0], cosines[k, 1], u, v, code, weight, sun, sky)
    if plane.mode == SHADOW:
        for i in range(len(u)):
            sunlit[i] *= F(1) - weight[i]
        return
    for i in range(len(u)):
        weight[i] *= clear[i]
    for i in range(len(u)):
        clear[i] -= weight[i]
        sun[i] *= sunlit[i]
    if plane.mode == GROUND:
        for i in range(len(u)):
            ground[i] += weight[i]
    _soil(plane, texels, offsets, level, u, v, s, t, weight)
    for channel in range(3):
        _add(work[10 + channel][first:last], weight, code, sun, sky, plane, k, lights, channel)


@njit
def draw_records(records, projection, camera, light, backdrop, texels, offsets, image, ground):
    """Fill image (H, W, 3) and ground (H, W), float32, from records (P,) of PLANE_DTYPE, front to back.

    projection (3, 4) world to pixels; camera (3,); light (3, 3): direction to the sun, sun, sky; backdrop (3,).
    """
    height, width = ground.shape
    count = len(records)
    homographies, lines, lights = np.empty((count, 3, 3)), np.empty((count, 5, 3)), np.empty((count, 3, 3))
    cosines = np.empty((count, 2))
    for k in range(count):
        plane = records[k]
        _homography(plane, projection, homographies[k])
        _edges(plane, homographies[k], lines[k])
        _light(plane, camera, light, cosines[k], lights[k])
    work, scratch = np.zeros((13, width), np.float32), np.zeros(width, np.uint64)
    clear = work[7]
    for row in range(height):
        for k in range(7, 13):
            work[k].fill(1 if k < 9 else 0)
        low, high = 0, width
        for k in range(count):
            while low < high and clear[low] < CLOSED:
                low += 1
            while low < high and clear[high - 1] < CLOSED:
                high -= 1
            first, last = _span(lines[k], row + 0.5, low, high)
            if first < last:
                _draw_run(
                    records[k], k, homographies, cosines, lights, first, last, row + 0.5, texels, offsets, work, scratch
                )
        for column in range(width):
            ground[row, column] = work[9, column]
        for channel in range(3):
            total, beyond = work[10 + channel], F(backdrop[channel])
            for column in range(width):
                image[row, column, channel] = _unit(total[column] + clear[column] * beyond)
