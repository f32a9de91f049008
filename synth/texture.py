"""Paint an outfit into the body's texture square: skin and face, hair, cloth with its pattern and folds, bags.

Every texel knows its place on the body; edges are the garments' own fields, anti-aliased over one texel.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from synth.accessory import patch_texels
from synth.anatomy import ANKLE, ELBOW, HEAD, HIP, KNEE, SHOULDER, WRIST, Anatomy, Points
from synth.dress import covered_by_hair
from synth.garment import (
    arm_polar,
    hair_field,
    hem_y,
    is_front,
    leg_polar,
    lower_field,
    shoe_field,
    smoothstep,
    trunk_polar,
    upper_field,
)
from synth.outfit import Accessory, Cloth, Lower, Outfit, Upper

Colours = NDArray[np.float32]
Region = Literal["all", "head", "feet", "legs", "chest", "chest and legs", "hair"]
ARMS, LEGS, HEADS = (3, 4, *range(15, 23)), (5, 6, *range(7, 15)), (23, 24)
NUM_NOISES = 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Canvas:
    """The texels of one region, worked out once per body: painting touches no others.

    index (N,) among the atlas's texels; points; texel_m (N,); metres along (N,) and around (N,) the limb or trunk
    beneath; limb (N,): 0 trunk, 1 arm, 2 leg; front (N,): on the front of the trunk.
    """

    index: NDArray[np.int64]
    points: Points
    texel_m: NDArray[np.float32]
    along: NDArray[np.float32]
    around: NDArray[np.float32]
    limb: NDArray[np.int8]
    front: NDArray[np.bool_]

    @property
    def x(self) -> NDArray[np.float32]:
        """Distance (N,) from the body's mid-plane, metres."""
        return np.abs(self.points.position[:, 0])

    @property
    def y(self) -> NDArray[np.float32]:
        return self.points.position[:, 1]


@functools.lru_cache(maxsize=32)
def canvas_of(anatomy: Anatomy, region: Region) -> Canvas:
    """The canvas of a region, generous at its borders."""
    whole = anatomy.atlas.points
    surface, y = whole.surface, whole.position[:, 1]
    arm, leg, head = (np.isin(surface, group) for group in (ARMS, LEGS, HEADS))
    below_waist = ~arm & ~head & (y < anatomy.waist_y + 0.02)
    match region:
        case "head":
            chosen = head
        case "feet":
            chosen = leg & (y < anatomy.joints[ANKLE, 1] + 0.26)
        case "legs":
            chosen = below_waist
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
    side = np.where(points.position[:, 0] < 0, -1.0, 1.0)
    trunk_angle, arm_angle, leg_angle = (polar(anatomy, points)[1] for polar in (trunk_polar, arm_polar, leg_polar))
    return Canvas(
        index=index,
        points=points,
        texel_m=anatomy.atlas.texel_m[index],
        along=np.where(limb == 1, np.abs(points.position[:, 0]), points.position[:, 1]).astype(np.float32),
        around=np.choose(limb, [trunk_angle * 0.15, arm_angle * 0.05, leg_angle * side * 0.08]).astype(np.float32),
        limb=limb,
        front=is_front(anatomy, points) > 0,
    )


def paint(anatomy: Anatomy, outfit: Outfit) -> NDArray[np.uint8]:
    """The outfit's texture, (256, 256, 3) uint8 sRGB in the body's uv layout; black where nothing is mapped."""
    colour = _skin(anatomy, outfit)
    legs = canvas_of(anatomy, "legs")
    if outfit.legs != outfit.skin:
        _over(colour, legs, anatomy.waist_y - legs.y, np.array(outfit.legs, np.float32))
    feet = canvas_of(anatomy, "feet")
    _over(colour, feet, shoe_field(anatomy, outfit, feet.points), _shoe(anatomy, feet, outfit))
    field = lower_field(anatomy, outfit.lower, legs.points)
    _over(colour, legs, field, _lower_cloth(anatomy, legs, outfit.lower, field))
    for upper in [outfit.inner] + ([outfit.outer] if outfit.outer else []):
        canvas = canvas_of(
            anatomy, "chest" if hem_y(anatomy, upper.hem) > anatomy.joints[HIP, 1] - 0.18 else "chest and legs"
        )
        field = upper_field(anatomy, upper, canvas.points)
        _over(colour, canvas, field, _upper_cloth(anatomy, canvas, upper, field))
    if outfit.hair.fall_m > 0:
        back = canvas_of(anatomy, "hair")
        _over(colour, back, covered_by_hair(anatomy, outfit.hair, back.points), _hair(anatomy, back, outfit))
    return _to_square(anatomy, outfit, colour)


def _over(colour: Colours, canvas: Canvas, field: NDArray, above: Colours) -> None:
    """Lay `above` onto the canvas's texels of colour where field > 0, blending over the texel beyond the edge.

    Cloth is cut where field is 0: up to there its colour is pure, or its rim would show what it lies on.
    """
    alpha = np.clip(field / canvas.texel_m + 1, 0, 1).astype(np.float32)[:, None]
    below = colour[canvas.index]
    colour[canvas.index] = below + alpha * (above - below)


def _to_square(anatomy: Anatomy, outfit: Outfit, colour: Colours) -> NDArray[np.uint8]:
    byte = (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)
    fill = anatomy.atlas.fill
    square = np.where((fill >= 0)[..., None], byte[np.maximum(fill, 0)], 0).astype(np.uint8)
    for accessory in outfit.accessories:
        _paint_accessory(anatomy, square, accessory)
    return square


@numba.njit(cache=True)
def _value_noise(position: NDArray, seed: int) -> NDArray:
    """Smooth noise in [0, 1] at places (N, 3), one cell per unit."""
    out = np.empty(len(position), np.float32)
    cell, share = np.empty(3, np.int64), np.empty(3)
    for i in range(len(position)):
        for k in range(3):
            cell[k] = math.floor(position[i, k])
            f = position[i, k] - cell[k]
            share[k] = f * f * (3 - 2 * f)
        total = 0.0
        for corner in range(8):
            h = np.uint32(seed)
            weight = 1.0
            for k in range(3):
                up = (corner >> k) & 1
                h = np.uint32((h ^ np.uint32(cell[k] + up + 1000)) * np.uint32(0x9E3779B1))
                h ^= h >> np.uint32(15)
                weight *= share[k] if up else 1 - share[k]
            total += weight * (h & np.uint32(0xFFFF)) / 65535.0
        out[i] = total
    return out


@functools.lru_cache(maxsize=128)
def _noise_bank(canvas: Canvas, frequency: tuple[float, float, float]) -> NDArray[np.float32]:
    """Independent noises (6, N) in [-1, 1] at the texels, `frequency` cells per metre along x, y and z."""
    place = np.ascontiguousarray(canvas.points.position * np.array(frequency), np.float32)
    return np.stack([2 * _value_noise(place, seed + 1) - 1 for seed in range(NUM_NOISES)])


def _noise(canvas: Canvas, frequency: float | tuple[float, float, float], seed: int) -> NDArray[np.float32]:
    """Noise (N,), about [-1, 1], of the seed's own: two of a bank of noises, blended at an angle."""
    bank = _noise_bank(canvas, frequency if isinstance(frequency, tuple) else (float(frequency),) * 3)
    first, step = seed % NUM_NOISES, 1 + (seed // NUM_NOISES) % (NUM_NOISES - 1)
    angle = 2 * np.pi * ((seed * 0.6180339887) % 1.0)
    return np.float32(np.cos(angle)) * bank[first] + np.float32(np.sin(angle)) * bank[(first + step) % NUM_NOISES]


def _ellipse(x: NDArray, y: NDArray, rx: float, ry: float, soft: float = 0.35) -> NDArray:
    """1 inside an ellipse around the origin, 0 outside, with a soft edge."""
    return smoothstep(1 + soft, 1 - soft, np.hypot(x / rx, y / ry))[:, None].astype(np.float32)


def _skin(anatomy: Anatomy, outfit: Outfit) -> Colours:
    """Skin, face and scalp (N, 3) of all texels."""
    canvas, seed = canvas_of(anatomy, "all"), outfit.hair.seed
    colour = (
        np.array(outfit.skin, np.float32)
        * (1 + 0.05 * _noise(canvas, 9, seed) + 0.02 * _noise(canvas, 60, seed))[:, None]
    )
    head = canvas_of(anatomy, "head")
    colour[head.index] = _face(anatomy, outfit, head.points.position, head.points.normal, colour[head.index])
    if not outfit.hair.bald:
        _over(colour, head, hair_field(anatomy, outfit.hair, head.points), _hair(anatomy, head, outfit))
    return colour


def _face(anatomy: Anatomy, outfit: Outfit, position: NDArray, normal: NDArray, colour: Colours) -> Colours:
    """Eyes, brows, lips, nose and beard, placed from the body's own face keypoints."""
    nose, left_eye = anatomy.vertices.position[anatomy.body.face_keypoints.numpy()[:2]]
    x, y = np.abs(position[:, 0]), position[:, 1]
    front = (normal[:, 2] > 0.1)[:, None]
    drop = left_eye[1] - nose[1]
    mouth_y = nose[1] - 0.75 * drop
    skin, hair = np.array(outfit.skin, np.float32), np.array(outfit.hair.colour, np.float32)
    forward = position[:, 2] > anatomy.joints[15, 2]
    jaw = smoothstep(nose[1] - 0.25 * drop, mouth_y, y) * forward * (position[:, 1] > anatomy.joints[15, 1] - 0.06)
    colour = colour + (outfit.beard * 0.8 * jaw)[:, None].clip(0, 0.85) * (0.5 * hair + 0.25 * skin - colour)
    layers = [
        (x - left_eye[0], y - left_eye[1] - 0.002, 0.024, 0.016, skin * 0.80),
        (x - left_eye[0], y - left_eye[1], 0.015, 0.0075, np.array([0.80, 0.78, 0.76])),
        (x - left_eye[0], y - left_eye[1], 0.0075, 0.008, np.array([0.10, 0.07, 0.05])),
        (x - left_eye[0], y - left_eye[1] - 0.023, 0.021, 0.005, 0.6 * hair + 0.1 * skin),
        (x - 0.008, y - nose[1] + 0.012, 0.006, 0.004, skin * 0.6),
        (x, y - mouth_y, 0.025, 0.0085, np.array(outfit.lip)),
        (x, y - mouth_y, 0.022, 0.0022, np.array(outfit.lip) * 0.6),
    ]
    for dx, dy, rx, ry, paint_colour in layers:
        colour = colour + _ellipse(dx, dy, rx, ry) * front * (paint_colour.astype(np.float32) - colour)
    return colour


def _hair(anatomy: Anatomy, canvas: Canvas, outfit: Outfit) -> Colours:
    """Strands run down; lighter and darker ones side by side, lightest on the crown."""
    hair = outfit.hair
    strands = 0.25 * _noise(canvas, (90, 7, 90), hair.seed) + 0.12 * _noise(canvas, (30, 5, 30), hair.seed + 1)
    sheen = 0.25 * smoothstep(anatomy.joints[15, 1] + 0.05, anatomy.crown_y, canvas.y)
    return (np.array(hair.colour) * (1 + strands + sheen)[:, None]).astype(np.float32)


def _shoe(anatomy: Anatomy, canvas: Canvas, outfit: Outfit) -> Colours:
    position, normal = canvas.points.position, canvas.points.normal
    colour = np.array(outfit.shoe) * (1 + 0.12 * _noise(canvas, 25, outfit.hair.seed + 2))[:, None]
    low = smoothstep(anatomy.ground_y + 0.022, anatomy.ground_y + 0.014, position[:, 1])
    sole = (low * (normal[:, 1] < 0.35) * (normal[:, 2] < 0.35))[:, None]
    laces = (position[:, 2] > anatomy.joints[ANKLE, 2] + 0.03) & (np.sin(position[:, 2] * 500) > 0.3)
    lace = laces[:, None] * _ellipse(
        np.abs(position[:, 0]) - anatomy.joints[ANKLE, 0] - 0.005,
        position[:, 2] - anatomy.joints[ANKLE, 2] - 0.07,
        0.018,
        0.045,
    )
    colour = colour + 0.5 * lace * (np.array(outfit.sole) - colour)
    return (colour + sole * (np.array(outfit.sole) - colour)).astype(np.float32)


def _folds(anatomy: Anatomy, canvas: Canvas, cloth: Cloth, field: NDArray, *, leg: bool) -> NDArray:
    """Light and dark (N,) around 1: long soft folds, bunching at elbows, knees and ends, a seam at the edge."""
    x, y, joints = canvas.x, canvas.y, anatomy.joints
    soft = _noise(canvas, (9, 4, 9), cloth.seed) + 0.6 * _noise(canvas, (18, 9, 18), cloth.seed + 1)
    across_arm = _noise(canvas, (34, 9, 9), cloth.seed + 2) if not leg else _noise(canvas, (8, 30, 8), cloth.seed + 2)
    if leg:
        bunch = np.exp(-(((y - joints[KNEE, 1]) / 0.07) ** 2)) + np.exp(-(((y - joints[ANKLE, 1] - 0.05) / 0.09) ** 2))
        bunch += 0.5 * np.exp(-(((y - anatomy.crotch_y) / 0.05) ** 2))
    else:
        bunch = np.exp(-(((x - joints[ELBOW, 0]) / 0.08) ** 2)) + 0.7 * np.exp(-(((x - joints[WRIST, 0]) / 0.07) ** 2))
        bunch = np.where(canvas.limb == 1, bunch, 0.35 * np.exp(-(((y - anatomy.waist_y) / 0.08) ** 2)))
    seam = 0.14 * smoothstep(0.018, 0.006, field) * (field > 0)
    return 1 + cloth.folds * (0.13 * soft + 0.22 * bunch * across_arm) - seam


def _soft_edge(value: NDArray, width: NDArray) -> NDArray:
    return np.clip(value / width + 0.5, 0, 1)


def _pattern(anatomy: Anatomy, canvas: Canvas, cloth: Cloth) -> Colours:
    """The cloth's colours (N, 3) before folds."""
    along, around, limb, texel = canvas.along, canvas.around, canvas.limb, canvas.texel_m
    first, second = np.array(cloth.colour, np.float32), np.array(cloth.second, np.float32)

    def bars(place: NDArray, share: float) -> NDArray:
        """1 on stripes `share` of the period wide, anti-aliased over a texel."""
        phase = np.abs((place / cloth.scale_m) % 1.0 - 0.5) * cloth.scale_m
        return _soft_edge(share * cloth.scale_m / 2 - phase, texel)

    share = 0.2 + 0.4 * ((cloth.seed % 97) / 97)
    match cloth.pattern:
        case "stripe":
            mix = bars(along, share)
        case "check":
            mix = 0.5 * bars(along, 0.4) + 0.5 * bars(around, 0.4)
        case "print":
            mix = _soft_edge(_noise(canvas, float(round(1 / cloth.scale_m)), cloth.seed) - 0.25, np.float32(0.2))
        case "block":
            chest = anatomy.armpit_y - 0.04 + 0.08 * ((cloth.seed % 31) / 31)
            trunk = _soft_edge(along - chest, texel)
            mix = (
                np.where(limb == 1, float(cloth.seed % 2), np.where(limb == 0, trunk, 0.0))
                if cloth.seed % 3
                else (limb == 1).astype(float)
            )
        case "wash":
            mix = 0.5 + 0.35 * _noise(canvas, (10, 5, 10), cloth.seed) + 0.15 * _noise(canvas, 70, cloth.seed + 1)
            return first * (
                0.82 + 0.45 * mix[:, None] * smoothstep(anatomy.crotch_y - 0.5, anatomy.crotch_y, along)[:, None]
            ).astype(np.float32)
        case "logo":
            mix = _logo(anatomy, canvas, cloth)
        case _:
            mix = np.zeros(len(along))
    return first + mix[:, None].astype(np.float32) * (second - first)


def _logo(anatomy: Anatomy, canvas: Canvas, cloth: Cloth) -> NDArray:
    """A print on the chest: a small mark on one side, or letters and a picture in the middle."""
    position, texel = canvas.points.position, canvas.texel_m
    rng = np.random.default_rng(cloth.seed)
    large = rng.random() < 0.6
    x0 = 0.0 if large else 0.075
    y0 = anatomy.armpit_y - (0.06 if large else -0.02)
    rx, ry = (rng.uniform(0.06, 0.11), rng.uniform(0.03, 0.10)) if large else (0.02, 0.02)
    inside = _soft_edge(np.minimum(rx - np.abs(position[:, 0] - x0), ry - np.abs(position[:, 1] - y0)), texel)
    letters = _noise(canvas, (70, 30, 1), cloth.seed) > -0.15
    return inside * canvas.front * (letters if large else 1.0)


def _lower_cloth(anatomy: Anatomy, canvas: Canvas, lower: Lower, field: NDArray) -> Colours:
    colour = _pattern(anatomy, canvas, lower.cloth) * _folds(anatomy, canvas, lower.cloth, field, leg=True)[:, None]
    if not lower.joined:
        # The fly.
        fly = (canvas.x < 0.006) & (canvas.y > anatomy.crotch_y)
        colour = colour * np.where(fly, 0.8, 1.0)[:, None]
    return colour.astype(np.float32)


def _upper_cloth(anatomy: Anatomy, canvas: Canvas, upper: Upper, field: NDArray) -> Colours:
    """Cloth of a top with its collar, zip, cuffs and quilting."""
    colour = _pattern(anatomy, canvas, upper.cloth) * _folds(anatomy, canvas, upper.cloth, field, leg=False)[:, None]
    x, y, front = canvas.x, canvas.y, canvas.front
    if upper.kind == "down":
        place = np.where(canvas.limb == 1, x, y) / 0.075
        colour = colour * (0.82 + 0.30 * np.abs(np.sin(np.pi * place)) ** 0.6)[:, None]
    if upper.kind in {"hoodie", "sweater"}:
        end = np.minimum(y - hem_y(anatomy, upper.hem), np.abs(anatomy.joints[WRIST, 0] * upper.sleeve - x) + 0.02)
        colour = colour * (1 - 0.10 * smoothstep(0.06, 0.05, end))[:, None]
    if upper.zip and upper.open_m == 0:
        line = front & (x < 0.006)
        colour = colour * np.where(line, 0.62, 1.0)[:, None]
    if upper.kind in {"jacket", "coat", "hoodie", "down"}:
        pocket_y = anatomy.waist_y - 0.06
        slit = front & (np.abs(x - 0.10 - 0.25 * (pocket_y - y)) < 0.006) & (np.abs(y - pocket_y) < 0.055)
        colour = colour * np.where(slit, 0.7, 1.0)[:, None]
    if upper.collar or upper.hood:
        collar = smoothstep(anatomy.neck_y - 0.035, anatomy.neck_y - 0.015, y) * (
            x < float(anatomy.joints[SHOULDER, 0]) * 0.62
        )
        colour = colour * (1 - 0.16 * collar)[:, None]
    return colour.astype(np.float32)


def _paint_accessory(anatomy: Anatomy, square: NDArray[np.uint8], accessory: Accessory) -> None:
    """Fill the accessory's rectangles: cloth with a pocket and a zip, trim in the second or a darker colour."""
    rng = np.random.default_rng(accessory.seed)
    colour = np.array(accessory.colour)
    trim = np.array(accessory.second) if rng.random() < 0.2 else colour * 0.7
    two_tone = rng.random() < 0.3
    for patch in ("cap", "trim") if accessory.kind == "cap" else ("bag", "trim"):
        rows, columns = patch_texels(anatomy, patch)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
        base = np.broadcast_to(trim if patch == "trim" else colour, (height, width, 3)).copy()
        if patch == "bag":
            pocket = (v > 0.5) & (np.abs(u - 0.5) < 0.36)
            base = np.where(pocket[..., None], np.array(accessory.second) if two_tone else base * 0.86, base)
            base[(np.abs(v - 0.5) < 0.03) | (np.abs(v - 0.18) < 0.03)] *= 0.6
        base = base * (1 + 0.06 * rng.standard_normal((height, width, 1)))
        square[rows, columns] = (np.clip(base, 0, 1) * 255 + 0.5).astype(np.uint8)
