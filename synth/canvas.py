"""The body's texels as painters use them: regions of the atlas, noise on them, and colour laid on colour."""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import ANKLE, HEAD, HIP, Anatomy, Points
from synth.garment import arm_polar, hair_field, is_front, leg_polar, trunk_polar
from synth.kernel import kernel
from synth.palette import Rgb

Colours = NDArray[np.float32]
"""(3, N) float32: sRGB of the atlas's texels, channel by channel."""
Region = Literal["all", "head", "scalp", "feet", "legs", "chest", "chest and legs", "hair"]
ARMS, LEGS, HEADS = (3, 4, *range(15, 23)), (5, 6, *range(7, 15)), (23, 24)
NUM_NOISES = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Canvas:
    """The texels of one region, worked out once per body: painting touches no others.

    index (N,) among the atlas's texels; points; texel_m (N,); metres x (N,) from the body's mid-plane and y (N,) above
    the origin; metres along (N,) and around (N,) the limb or trunk beneath; limb (N,): 0 trunk, 1 arm, 2 leg; front
    (N,): on the front of the trunk.
    """

    index: NDArray[np.int64]
    points: Points
    texel_m: NDArray[np.float32]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    along: NDArray[np.float32]
    around: NDArray[np.float32]
    limb: NDArray[np.int8]
    front: NDArray[np.bool_]

    def edge(self, field: NDArray) -> NDArray[np.float32]:
        """Opacity (N,) of what covers the texels with field > 0, fading out over the texel beyond the edge.

        Cloth is cut where field is 0: up to there its colour is pure, or its rim would show what it lies on.
        """
        alpha = field / self.texel_m
        alpha += 1
        return np.minimum(np.maximum(alpha, 0, out=alpha), 1, out=alpha)


@functools.lru_cache(maxsize=32)
def canvas_of(anatomy: Anatomy, region: Region) -> Canvas:
    """The canvas of a region, generous at its borders."""
    whole = anatomy.atlas.points
    surface, y = whole.surface, whole.position[:, 1]
    arm, leg, head = (np.isin(surface, group) for group in (ARMS, LEGS, HEADS))
    match region:
        case "head":
            chosen = head
        case "scalp":
            chosen = head & (hair_field(anatomy, whole) > -anatomy.atlas.texel_m)
        case "feet":
            chosen = leg & (y < anatomy.joints[ANKLE, 1] + 0.26)
        case "legs":
            chosen = ~arm & ~head & (y < anatomy.waist_y + 0.02)
        case "chest":
            chosen = (arm | (y > anatomy.joints[HIP, 1] - 0.2)) & (y < anatomy.neck_y + 0.03)
        case "chest and legs":
            chosen = y < anatomy.neck_y + 0.03
        case "hair":
            chosen = (head | np.isin(surface, (1, 2))) & (y > anatomy.joints[HEAD, 1] - 0.45)
        case _:
            chosen = np.ones(len(whole), bool)
    index = np.nonzero(chosen)[0]
    points = Points(position=whole.position[index], normal=whole.normal[index], surface=surface[index])
    limb = np.where(arm, 1, np.where(leg, 2, 0)).astype(np.int8)[index]
    x, y = np.abs(points.position[:, 0]), np.ascontiguousarray(points.position[:, 1])
    side = np.where(points.position[:, 0] < 0, -1.0, 1.0)
    trunk_angle, arm_angle, leg_angle = (polar(anatomy, points)[1] for polar in (trunk_polar, arm_polar, leg_polar))
    return Canvas(
        index=index,
        points=points,
        texel_m=anatomy.atlas.texel_m[index],
        x=x,
        y=y,
        along=np.where(limb == 1, x, y),
        around=np.choose(limb, [trunk_angle * 0.15, arm_angle * 0.05, leg_angle * side * 0.08]).astype(np.float32),
        limb=limb,
        front=is_front(anatomy, points) > 0,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dye:
    """Colours of texels (N,): from `first` to `second` by mix (N,), then times light (N,)."""

    first: Rgb
    second: Rgb
    mix: NDArray[np.float32]
    light: NDArray[np.float32]


def plain(colour: Rgb, light: NDArray[np.float32]) -> Dye:
    """One colour under light (N,)."""
    return Dye(first=colour, second=colour, mix=light, light=light)


def lay(colour: Colours, canvas: Canvas, alpha: NDArray[np.float32], dye: Dye) -> None:
    """Blend the dye onto the canvas's texels of `colour`, as opaque as alpha (N,)."""
    first, second = np.array(dye.first, np.float32), np.array(dye.second, np.float32)
    _lay(colour, canvas.index, alpha, first, second, dye.mix, dye.light)


@kernel
def _lay(colour, index, alpha, first, second, mix, light):
    for i in range(len(index)):
        if alpha[i] > 0:
            for k in range(3):
                above = (first[k] + mix[i] * (second[k] - first[k])) * light[i]
                # In this form an opaque dye leaves nothing of what is below, not even a rounding.
                colour[k, index[i]] = alpha[i] * above + (np.float32(1) - alpha[i]) * colour[k, index[i]]


def develop(colour: Colours, fill: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The texture square (S, S, 3) uint8 of colours (3, N), each where `Atlas.fill` (S, S) has it; black beyond."""
    square = np.zeros((*fill.shape, 3), np.uint8)
    _develop(colour, fill.reshape(-1), square.reshape(-1, 3))
    return square


@kernel
def _develop(colour, fill, square):
    for i in range(len(fill)):
        texel = fill[i]
        if texel >= 0:
            for k in range(3):
                # Clamped as a whole number: numba's min and max of floats take as long to compile as all the rest.
                code = np.int32(colour[k, texel] * 255 + 0.5)
                square[i, k] = 0 if code < 0 else 255 if code > 255 else code


def noise(canvas: Canvas, frequency: float | tuple[float, float, float], seed: int) -> NDArray[np.float32]:
    """Noise (N,), about [-1, 1], of the seed's own: two of a bank of noises, blended at an angle.

    frequency: cells per metre, the same in all directions or along x, y and z.
    """
    bank = _noise_bank(canvas, frequency if isinstance(frequency, tuple) else (float(frequency),) * 3)
    first, step = seed % NUM_NOISES, 1 + (seed // NUM_NOISES) % (NUM_NOISES - 1)
    angle = 2 * math.pi * ((seed * 0.6180339887) % 1.0)
    return math.cos(angle) * bank[first] + math.sin(angle) * bank[(first + step) % NUM_NOISES]


@functools.lru_cache(maxsize=128)
def _noise_bank(canvas: Canvas, frequency: tuple[float, float, float]) -> NDArray[np.float32]:
    """Independent noises (6, N) in [-1, 1] at the texels."""
    place = np.ascontiguousarray((canvas.points.position * np.array(frequency)).T, np.float32)
    return np.stack([2 * value_noise(place, seed + 1) - 1 for seed in range(NUM_NOISES)])


def value_noise(place: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Smooth noise (N,) in [0, 1] at places (3, N), one cell per unit: a hash of each of a cell's corners, blended."""
    low = np.floor(place)
    share = place - low
    share *= share * (3 - 2 * share)
    cell = (low + 1000).astype(np.uint32)
    value = np.full((1, place.shape[1]), seed, np.uint32)
    for k in range(3):
        value = ((value[:, None] ^ np.stack([cell[k], cell[k] + 1])) * np.uint32(0x9E3779B1)).reshape(-1, len(cell[k]))
        value ^= value >> 15
    value = (value & 0xFFFF).astype(np.float32) / 65535
    for k in (2, 1, 0):
        first, second = value[::2], value[1::2]
        value = first + share[k] * (second - first)
    return value[0]
