"""Paint an outfit into the body's texture square: skin and face, hair, cloth with its pattern and folds, bags.

Every texel knows its place on the body; edges are the garments' own fields, anti-aliased over one texel.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from synth.accessory import patch_texels
from synth.anatomy import ANKLE, ELBOW, HIP, KNEE, SHOULDER, WRIST, Anatomy
from synth.canvas import Canvas, Colours, Dye, canvas_of, develop, lay, noise, plain
from synth.face import ellipse, paint_skin, strands
from synth.garment import hem_y, lower_field, shoe_field, smoothstep, upper_field
from synth.outfit import Accessory, Cloth, Lower, Outfit, Upper
from synth.wrap import covered_by_hair

# What does not change from one outfit to the next on the same texels is kept.
_of_canvas = functools.lru_cache(maxsize=16)


def paint(anatomy: Anatomy, outfit: Outfit) -> NDArray[np.uint8]:
    """The outfit's texture, (256, 256, 3) uint8 sRGB in the body's uv layout; black where nothing is mapped."""
    colour = paint_skin(anatomy, outfit)
    legs = canvas_of(anatomy, "legs")
    if outfit.legs != outfit.skin:
        lay(colour, legs, legs.edge(anatomy.waist_y - legs.y), plain(outfit.legs, np.ones_like(legs.y)))
    _paint_shoes(anatomy, colour, outfit)
    field = lower_field(anatomy, outfit.lower, legs.points)
    lay(colour, legs, legs.edge(field), _lower_cloth(anatomy, legs, outfit.lower, field))
    for upper in [outfit.inner] + ([outfit.outer] if outfit.outer else []):
        high = hem_y(anatomy, upper.hem) > anatomy.joints[HIP, 1] - 0.18
        canvas = canvas_of(anatomy, "chest" if high else "chest and legs")
        field = upper_field(anatomy, upper, canvas.points)
        lay(colour, canvas, canvas.edge(field), _upper_cloth(anatomy, canvas, upper, field))
    if outfit.hair.fall_m > 0:
        back = canvas_of(anatomy, "hair")
        field = covered_by_hair(anatomy, outfit.hair, back.points)
        lay(colour, back, back.edge(field), strands(anatomy, back, outfit.hair))
    square = develop(colour, anatomy.atlas.fill)
    for accessory in outfit.accessories:
        _paint_accessory(anatomy, square, accessory)
    return square


def _paint_shoes(anatomy: Anatomy, colour: Colours, outfit: Outfit) -> None:
    feet = canvas_of(anatomy, "feet")
    alpha = feet.edge(shoe_field(anatomy, outfit.shaft_m, feet.points))
    lay(colour, feet, alpha, plain(outfit.shoe, 1 + 0.12 * noise(feet, 25, outfit.hair.seed + 2)))
    lay(colour, feet, alpha * _soles(anatomy, feet), plain(outfit.sole, np.ones_like(alpha)))


@_of_canvas
def _soles(anatomy: Anatomy, canvas: Canvas) -> NDArray[np.float32]:
    """How much of a shoe (N,) is of its sole's colour: the rim, and half of the laces."""
    position, normal, ankle = canvas.points.position, canvas.points.normal, anatomy.joints[ANKLE]
    low = smoothstep(anatomy.ground_y + 0.022, anatomy.ground_y + 0.014, canvas.y)
    sole = low * (normal[:, 1] < 0.35) * (normal[:, 2] < 0.35)
    across = (position[:, 2] > ankle[2] + 0.03) & (np.sin(position[:, 2] * 500) > 0.3)
    lace = across * ellipse(canvas.x - ankle[0] - 0.005, position[:, 2] - ankle[2] - 0.07, 0.018, 0.045)
    return (1 - (1 - 0.5 * lace) * (1 - sole)).astype(np.float32)


def _folds(anatomy: Anatomy, canvas: Canvas, cloth: Cloth, field: NDArray, *, leg: bool) -> NDArray[np.float32]:
    """Light and dark (N,) around 1: long soft folds, bunching at elbows, knees and ends, a seam at the edge."""
    folds = 0.13 * noise(canvas, (9, 4, 9), cloth.seed)
    folds += 0.078 * noise(canvas, (18, 9, 18), cloth.seed + 1)
    across = noise(canvas, (8, 30, 8) if leg else (34, 9, 9), cloth.seed + 2)
    across *= _bunches(anatomy, canvas, leg)
    folds += across
    folds *= cloth.folds
    folds += 1
    seam = smoothstep(0.018, 0.006, field)
    folds -= 0.14 * seam * (field > 0)
    return folds


@_of_canvas
def _bunches(anatomy: Anatomy, canvas: Canvas, leg: bool) -> NDArray[np.float32]:
    """How much cloth (N,) bunches up there: at knees, ankles and crotch, or at elbows, wrists and waist."""
    x, y, joints = canvas.x, canvas.y, anatomy.joints

    def around(distance: NDArray, width_m: float) -> NDArray:
        return np.exp(-((distance / width_m) ** 2))

    if leg:
        bunch = around(y - joints[KNEE, 1], 0.07) + around(y - joints[ANKLE, 1] - 0.05, 0.09)
        bunch += 0.5 * around(y - anatomy.crotch_y, 0.05)
    else:
        sleeve = around(x - joints[ELBOW, 0], 0.08) + 0.7 * around(x - joints[WRIST, 0], 0.07)
        bunch = np.where(canvas.limb == 1, sleeve, 0.35 * around(y - anatomy.waist_y, 0.08))
    return (0.22 * bunch).astype(np.float32)


def _soft_edge(value: NDArray, width: NDArray) -> NDArray[np.float32]:
    return np.clip(value / width + np.float32(0.5), 0, 1)


def _dye(anatomy: Anatomy, canvas: Canvas, cloth: Cloth, light: NDArray[np.float32]) -> Dye:
    """The cloth's pattern under `light` (N,)."""
    along, limb, texel = canvas.along, canvas.limb, canvas.texel_m

    def bars(place: NDArray, share: float) -> NDArray:
        """1 on stripes `share` of the period wide, anti-aliased over a texel."""
        phase = place / cloth.scale_m
        phase -= np.floor(phase)
        return _soft_edge(share * cloth.scale_m / 2 - np.abs(phase - 0.5) * cloth.scale_m, texel)

    first, second = cloth.colour, cloth.second
    match cloth.pattern:
        case "stripe":
            mix = bars(along, 0.2 + 0.4 * ((cloth.seed % 97) / 97))
        case "check":
            mix = 0.5 * bars(along, 0.4) + 0.5 * bars(canvas.around, 0.4)
        case "print":
            blots = noise(canvas, float(round(1 / cloth.scale_m)), cloth.seed)
            mix = _soft_edge(blots - 0.25, 0.2)
        case "block":
            chest = anatomy.armpit_y - 0.04 + 0.08 * ((cloth.seed % 31) / 31)
            sleeve = float(cloth.seed % 2) if cloth.seed % 3 else 1.0
            trunk = _soft_edge(along - chest, texel) if cloth.seed % 3 else np.float32(0)
            mix = np.where(limb == 1, np.float32(sleeve), np.where(limb == 0, trunk, np.float32(0)))
        case "wash":
            first, second = (tuple(share * c for c in cloth.colour) for share in (0.82, 1.27))
            mix = 0.35 * noise(canvas, (10, 5, 10), cloth.seed) + 0.15 * noise(canvas, 70, cloth.seed + 1)
            mix = (mix + 0.5) * _bleaching(anatomy, canvas)
        case "logo":
            mix = _logo(anatomy, canvas, cloth)
        case _:
            return plain(first, light)
    return Dye(first=first, second=second, mix=mix, light=light)


@_of_canvas
def _bleaching(anatomy: Anatomy, canvas: Canvas) -> NDArray[np.float32]:
    """How worn (N,) washed trousers are: most at the thighs."""
    return smoothstep(anatomy.crotch_y - 0.5, anatomy.crotch_y, canvas.along)


def _logo(anatomy: Anatomy, canvas: Canvas, cloth: Cloth) -> NDArray[np.float32]:
    """A print on the chest: a small mark on one side, or letters and a picture in the middle."""
    position, texel = canvas.points.position, canvas.texel_m
    rng = np.random.default_rng(cloth.seed)
    large = rng.random() < 0.6
    x0 = 0.0 if large else 0.075
    y0 = anatomy.armpit_y - (0.06 if large else -0.02)
    rx, ry = (rng.uniform(0.06, 0.11), rng.uniform(0.03, 0.10)) if large else (0.02, 0.02)
    inside = _soft_edge(np.minimum(rx - np.abs(position[:, 0] - x0), ry - np.abs(position[:, 1] - y0)), texel)
    letters = noise(canvas, (70, 30, 1), cloth.seed) > -0.15
    return inside * (canvas.front & letters if large else canvas.front)


def _lower_cloth(anatomy: Anatomy, canvas: Canvas, lower: Lower, field: NDArray) -> Dye:
    light = _folds(anatomy, canvas, lower.cloth, field, leg=True)
    if not lower.joined:
        light[_fly(anatomy, canvas)] *= 0.8
    return _dye(anatomy, canvas, lower.cloth, light)


def _upper_cloth(anatomy: Anatomy, canvas: Canvas, upper: Upper, field: NDArray) -> Dye:
    """Cloth of a top with its collar, zip, cuffs and quilting."""
    light = _folds(anatomy, canvas, upper.cloth, field, leg=False)
    if upper.kind == "down":
        light *= _quilting(canvas)
    if upper.kind in {"hoodie", "sweater"}:
        cuff = np.abs(float(anatomy.joints[WRIST, 0] * upper.sleeve) - canvas.x) + 0.02
        light *= 1 - 0.10 * smoothstep(0.06, 0.05, np.minimum(canvas.y - hem_y(anatomy, upper.hem), cuff))
    if upper.zip and upper.open_m == 0:
        light[_zip(canvas)] *= 0.62
    if upper.kind in {"jacket", "coat", "hoodie", "down"}:
        light[_pockets(anatomy, canvas)] *= 0.7
    if upper.collar or upper.hood:
        light *= _collar(anatomy, canvas)
    return _dye(anatomy, canvas, upper.cloth, light)


@_of_canvas
def _fly(anatomy: Anatomy, canvas: Canvas) -> NDArray[np.int64]:
    """Texels (K,) of the fly."""
    return np.nonzero((canvas.x < 0.006) & (canvas.y > anatomy.crotch_y))[0]


@_of_canvas
def _zip(canvas: Canvas) -> NDArray[np.int64]:
    """Texels (K,) of a closed front's line."""
    return np.nonzero(canvas.front & (canvas.x < 0.006))[0]


@_of_canvas
def _pockets(anatomy: Anatomy, canvas: Canvas) -> NDArray[np.int64]:
    """Texels (K,) of two slanting slits beside the waist."""
    rise = canvas.y - anatomy.waist_y + 0.06
    slit = (np.abs(canvas.x - 0.10 + 0.25 * rise) < 0.006) & (np.abs(rise) < 0.055)
    return np.nonzero(canvas.front & slit)[0]


@_of_canvas
def _quilting(canvas: Canvas) -> NDArray[np.float32]:
    """Light (N,) on the chambers of a down jacket, around trunk and arms."""
    chamber = np.where(canvas.limb == 1, canvas.x, canvas.y) / 0.075
    return (0.82 + 0.30 * np.abs(np.sin(np.pi * chamber)) ** 0.6).astype(np.float32)


@_of_canvas
def _collar(anatomy: Anatomy, canvas: Canvas) -> NDArray[np.float32]:
    """Light (N,) on a top, darker around the neck."""
    climb = smoothstep(anatomy.neck_y - 0.035, anatomy.neck_y - 0.015, canvas.y)
    return 1 - 0.16 * climb * (canvas.x < 0.62 * anatomy.joints[SHOULDER, 0])


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
