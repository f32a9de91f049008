"""The materials of procedural backgrounds, and their patterns baked into one atlas.

Patterns are baked once from fixed seeds (in about 0.4 s), with mip levels, and only sampled while drawing: a pattern
may therefore be as elaborate as it likes, and distant ground does not alias.
"""

from __future__ import annotations

import enum
import functools

import numpy as np
from numpy.typing import NDArray

from synth.background import patterns
from synth.background.planes_numba import NUM_LEVELS, SIZE, UNIT


class Material(enum.IntEnum):
    """Patterns; the value is the index into the baked atlas, `TILE_M` the size in metres of one tile."""

    PLAIN = 0
    ASPHALT = 1
    CONCRETE = 2
    SLABS = 3
    RUNNING_SLABS = 4
    PAVERS = 5
    COBBLES = 6
    GRASS = 7
    GRAVEL = 8
    BRICK = 9
    CLADDING = 10
    PLASTER = 11
    CORRUGATED = 12
    GLASS = 13
    SHOP = 14
    FOLIAGE = 15
    BARK = 16
    CLUTTER = 17
    BARS = 18
    MESH = 19
    RAILS = 20
    LITTER = 21
    DAPPLE = 22
    CAR = 23
    BICYCLE = 24
    WOOD = 25


TILE_M: dict[Material, float] = {
    Material.PLAIN: 1.0,
    Material.ASPHALT: 1.8,
    Material.CONCRETE: 3.0,
    Material.SLABS: 2.4,
    Material.RUNNING_SLABS: 2.4,
    Material.PAVERS: 1.6,
    Material.COBBLES: 1.6,
    Material.GRASS: 1.6,
    Material.GRAVEL: 1.4,
    Material.BRICK: 2.1,
    Material.CLADDING: 3.6,
    Material.PLASTER: 3.0,
    Material.CORRUGATED: 1.6,
    Material.GLASS: 3.6,
    Material.SHOP: 3.2,
    Material.FOLIAGE: 1.8,
    Material.BARK: 0.8,
    Material.CLUTTER: 14.0,
    Material.BARS: 1.6,
    Material.MESH: 0.8,
    Material.RAILS: 1.1,
    Material.LITTER: 3.0,
    Material.DAPPLE: 5.0,
    Material.CAR: 4.6,
    Material.BICYCLE: 2.0,
    Material.WOOD: 1.2,
}


@functools.cache
def baked_atlas() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All patterns with their mip levels.

    Returns texels (len(Material) * T,) uint64 and offsets (NUM_LEVELS + 1,) int64: level k of material m is a square of
    S = SIZE >> k texels, rows upwards, from m * T + offsets[k] on, where T = offsets[-1]; a row is S + 1 long, its last
    texel the first again. Each 32 bits hold 8-bit red, green, blue (ratio * UNIT) and alpha, from low to high: an
    element is a texel with its right neighbour above it, and overlaps the next one in memory. Read-only.
    """
    offsets = np.zeros(NUM_LEVELS + 1, np.int64)
    offsets[1:] = np.cumsum([(SIZE >> level) * ((SIZE >> level) + 1) for level in range(NUM_LEVELS)])
    texels = np.zeros(len(Material) * offsets[-1] + 1, np.uint32)
    rows = texels[:-1].reshape(len(Material), -1)
    scale = np.array((UNIT, UNIT, UNIT, 255), np.float32)
    for material in Material:
        image = _bake(material)
        for level in range(NUM_LEVELS):
            code = np.clip(image * scale + 0.5, 0, 255).astype(np.uint8).view(np.uint32)[..., 0]
            rows[material, offsets[level] : offsets[level + 1]] = np.hstack([code, code[:, :1]]).ravel()
            image = _halve(image)
    pairs = np.ndarray(len(texels) - 1, np.uint64, texels, strides=texels.strides)
    pairs.setflags(write=False)
    return pairs, offsets


def _halve(image: patterns.Grid) -> patterns.Grid:
    """Mean of 2x2 blocks, colour weighted by alpha so that cut-outs keep their colour at a distance."""
    weighted = image.copy()
    weighted[..., 3] += 1e-4
    weighted[..., :3] *= weighted[..., 3:]
    rows = weighted[0::2] + weighted[1::2]
    mean = 0.25 * (rows[:, 0::2] + rows[:, 1::2])
    mean[..., :3] /= mean[..., 3:]
    mean[..., 3] -= 1e-4
    return mean


def _bake(material: Material) -> patterns.Grid:
    """One pattern (SIZE, SIZE, 4) float: RGB ratio around 1 and alpha in [0, 1]; row 0 is v = 0 (the bottom)."""
    rng = np.random.default_rng([0x6C6F6F6B, int(material)])
    match material:
        case Material.PLAIN:
            return patterns.opaque(1 + 0.35 * patterns.noise(rng, 1.3))
        case Material.ASPHALT:
            return patterns.asphalt(rng)
        case Material.CONCRETE:
            return patterns.opaque(
                1 + 0.07 * patterns.noise(rng, 1.4) + 0.035 * patterns.noise(rng, 0.2) - 0.1 * patterns.cracks(rng, 4)
            )
        case Material.SLABS:
            return patterns.masonry(rng, rows=6, columns=6, shift=0.0, joint=0.006, tone=0.06, grain=0.05)
        case Material.RUNNING_SLABS:
            return patterns.masonry(rng, rows=8, columns=4, shift=0.5, joint=0.005, tone=0.09, grain=0.06)
        case Material.PAVERS:
            return patterns.masonry(rng, rows=16, columns=8, shift=0.5, joint=0.005, tone=0.11, grain=0.07)
        case Material.COBBLES:
            return patterns.cobbles(rng)
        case Material.GRASS:
            return patterns.grass(rng)
        case Material.GRAVEL:
            return patterns.gravel(rng)
        case Material.BRICK:
            return patterns.masonry(
                rng, rows=28, columns=9, shift=0.5, joint=0.007, tone=0.16, grain=0.07, bright_joint=True
            )
        case Material.CLADDING:
            return patterns.masonry(rng, rows=6, columns=3, shift=0.5, joint=0.006, tone=0.04, grain=0.03)
        case Material.PLASTER:
            return patterns.plaster(rng)
        case Material.CORRUGATED:
            return patterns.corrugated(rng)
        case Material.GLASS:
            return patterns.curtain_glass(rng)
        case Material.SHOP:
            return patterns.shop_window(rng)
        case Material.FOLIAGE:
            return patterns.foliage(rng)
        case Material.BARK:
            return patterns.opaque(1 + 0.28 * patterns.noise(rng, 1.1, stretch=5.0) + 0.1 * patterns.noise(rng, 0.8))
        case Material.CLUTTER:
            return patterns.clutter(rng)
        case Material.BARS:
            return patterns.bars(rng)
        case Material.MESH:
            return patterns.mesh()
        case Material.RAILS:
            return patterns.rails(rng)
        case Material.LITTER:
            return patterns.litter(rng)
        case Material.DAPPLE:
            return patterns.dapple(rng)
        case Material.CAR:
            return patterns.car(rng)
        case Material.BICYCLE:
            return patterns.bicycle()
        case Material.WOOD:
            return patterns.wood(rng)
