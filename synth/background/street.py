"""What stands and lies behind a person: grounds, facades, greenery, kerbs, and street furniture."""

from __future__ import annotations

from synth.background.materials import Material
from synth.background.planes import FAR, Mode, Vector
from synth.background.site import (
    BACKDROP,
    BLACK,
    DECAL,
    FLOOR,
    Dice,
    Item,
    Site,
    box,
    contact,
    lying,
    shadow_of,
    upright,
)

M = Material


def paving(dice: Dice) -> tuple[Material, Vector, dict[str, float | tuple[float, float]]]:
    """A floor for walking on: material, tint, and the look of its pattern."""
    material = dice.pick(
        (M.ASPHALT, M.ASPHALT, M.CONCRETE, M.SLABS, M.SLABS, M.RUNNING_SLABS, M.RUNNING_SLABS, M.PAVERS, M.PAVERS)
        + (M.COBBLES, M.GRAVEL, M.CLADDING)
    )
    match material:
        case M.ASPHALT:
            tint = dice.grey(0.09, 0.24, 0.05)
        case M.PAVERS:
            tint = dice.pick((dice.grey(0.18, 0.36), (0.27, 0.17, 0.13), (0.3, 0.24, 0.18), (0.2, 0.2, 0.21)))
        case M.SLABS | M.RUNNING_SLABS | M.CLADDING:
            tint = dice.pick((dice.grey(0.2, 0.5), dice.grey(0.25, 0.42, 0.16), (0.36, 0.3, 0.26)))
        case M.COBBLES:
            tint = dice.grey(0.16, 0.34)
        case M.GRAVEL:
            tint = dice.grey(0.26, 0.4, 0.14)
        case _:
            tint = dice.grey(0.24, 0.48)
    look = {
        "detail": dice.uniform(0.5, 1.15),
        "macro": dice.uniform(0.15, 0.5) if dice.chance(0.5) else 0.0,
        "shift": (dice.uniform(0, 1), dice.uniform(0, 1)),
    }
    return material, dice.vary(tint), look


def floor(dice: Dice, site: Site, end: float) -> list[Item]:
    """The ground the person stands on, and what is painted on it, let into it or has fallen on it as far as `end`."""
    material, tint, look = paving(dice)
    everywhere = (-FAR, FAR)
    ground = lying(site, FLOOR, everywhere, everywhere, material, tint, **look)
    items: list[Item] = []
    if material is not M.ASPHALT and dice.chance(0.4):
        # A band of another colour across or along, as squares and malls have.
        at, width = site.distance_at(dice.uniform(0.05, 0.9)), dice.uniform(0.25, 1.2)
        band = dice.vary(tint, 0.45)
        lateral = dice.uniform(-2.0, 1.5)
        extent = (everywhere, (at, at + width)) if dice.chance(0.5) else ((lateral, lateral + width), everywhere)
        items.append(lying(site, DECAL + 50, *extent, material, band, **look))
    if dice.chance(0.16):
        items += _markings(dice, site, material)
    if dice.chance(0.3):
        items.append(_patch(dice, site, tint, look))
    if dice.chance(0.25):
        litter = dice.pick(((0.3, 0.2, 0.08), (0.16, 0.1, 0.06), (0.35, 0.3, 0.12), (0.6, 0.58, 0.55)))
        shift = (dice.uniform(0, 1), dice.uniform(0, 1))
        near, lateral = site.distance_at(dice.uniform(0.3, 1.0)), dice.uniform(-1.5, 0.0)
        drift = ((lateral, lateral + dice.uniform(1, 3)), (near, near + dice.uniform(1, 4)))
        items.append(lying(site, DECAL + 10, *drift, M.LITTER, litter, shift=shift, edge_m=0.3))
    return [ground, *(_cut(item, end) for item in items if item[1].extent[2] < end)]


def _cut(item: Item, end: float) -> Item:
    """The part of something lying that is nearer than `end`."""
    u0, u1, v0, v1 = item[1].extent
    return item[0], item[1]._replace(extent=(u0, u1, v0, min(v1, end)))


def _markings(dice: Dice, site: Site, material: Material) -> list[Item]:
    """White or yellow lines on asphalt; rows of tactile slabs elsewhere."""
    at = site.distance_at(dice.uniform(0.05, 0.85))
    if material is not M.ASPHALT:
        yellow = dice.vary((0.48, 0.36, 0.08), 0.2)
        return [lying(site, DECAL + 40, (-FAR, FAR), (at, at + 0.4), M.SLABS, yellow, tile_m=1.8, macro=0.4)]
    paint = dice.pick(((0.62, 0.62, 0.6), (0.62, 0.62, 0.6), (0.55, 0.42, 0.1)))
    worn = {"material": M.CONCRETE, "tint": paint, "detail": 1.6, "macro": 0.6, "opacity": dice.uniform(0.55, 0.95)}
    width = dice.uniform(0.1, 0.16)
    if dice.chance(0.3):  # zebra crossing
        first = dice.uniform(-3.0, -2.0)
        bars = [(first + 0.9 * k, first + 0.9 * k + 0.45) for k in range(7)]
        return [lying(site, DECAL + 40, bar, (at, at + 3.0), **worn) for bar in bars]
    lines = [lying(site, DECAL + 40, (-FAR, FAR), (at, at + width), **worn)]
    if dice.chance(0.4):
        lateral = dice.uniform(-1.5, 1.5)
        lines.append(lying(site, DECAL + 41, (lateral, lateral + width), (at, at + 5.0), **worn))
    return lines


def _patch(dice: Dice, site: Site, tint: Vector, look: dict[str, float | tuple[float, float]]) -> Item:
    """A repair, a manhole cover or a drain."""
    at, lateral = site.distance_at(dice.uniform(0.1, 0.95)), dice.uniform(-1.2, 0.8)
    if dice.chance(0.5):
        size = (dice.uniform(0.5, 2.5), dice.uniform(0.6, 4.0))
        mend = dice.vary((tint[0] * 0.75, tint[1] * 0.75, tint[2] * 0.75), 0.3)
        return lying(
            site, DECAL + 60, (lateral, lateral + size[0]), (at, at + size[1]), M.ASPHALT, mend, detail=0.8, macro=0.2
        )
    iron = dice.grey(0.05, 0.12, 0.05)
    size = dice.uniform(0.4, 0.7)
    return lying(
        site, DECAL + 45, (lateral, lateral + size), (at, at + size), M.CORRUGATED, iron, tile_m=dice.uniform(0.5, 0.9)
    )


def greenery(dice: Dice, site: Site, distance: float, level: float = 0.0) -> list[Item]:
    """A hedge, bushes in a bed, or a row of planters, and its shade."""
    leaf = dice.vary(dice.pick(((0.1, 0.14, 0.05), (0.07, 0.11, 0.05), (0.15, 0.17, 0.06), (0.16, 0.13, 0.07))), 0.3)
    blur = site.defocus(distance)
    left, right = site.span_at(distance)
    items = [contact(site, (-FAR, FAR), (distance - 0.2, distance + 2.0), level=level, strength=0.55)]
    kind = dice.pick(("hedge", "bushes", "planters"))
    rows = {"hedge": 2, "bushes": 5, "planters": 3}[kind]
    foot = level
    if kind == "planters":
        stone, height = dice.grey(0.12, 0.5), dice.uniform(0.3, 0.8)
        surface = dice.pick((M.CONCRETE, M.CONCRETE, M.WOOD, M.BRICK, M.CLADDING))
        split = dice.uniform(left, right) if dice.chance(0.5) else right + 1
        for lateral in ((left - 1, split - 0.4), (split + 0.4, right + 2)):
            items += box(site, (distance, distance + 0.6), lateral, (level, level + height), surface, stone, grime=0.4)
        foot, distance = level + height, distance + 0.15
    for _ in range(rows):
        wide = FAR if kind == "hedge" else dice.uniform(0.6, 2.2)
        x = 0.0 if kind == "hedge" else dice.uniform(left - 0.5, right + 0.5)
        tall = dice.uniform(0.5, 1.8) if kind != "hedge" else dice.uniform(0.8, 2.2)
        shift = (dice.uniform(0, 1), dice.uniform(0, 1))
        back = distance + dice.uniform(0, 1.2)
        look = {"shift": shift, "tile_m": dice.uniform(0.8, 2.0), "blur": blur, "grime": 0.6}
        items.append(
            upright(
                site,
                back,
                (x - wide, x + wide),
                (foot, foot + tall),
                M.FOLIAGE,
                dice.vary(leaf, 0.25),
                mode=Mode.BUSH,
                **look,
            )
        )
    items.append(shadow_of(site, items[-1], 0.9, level))
    return items


def beyond_kerb(dice: Dice, site: Site, distance: float) -> tuple[list[Item], float]:
    """A kerb with another floor behind it, a step higher or flush; returns that floor's level too."""
    everywhere = (-FAR, FAR)
    stone = dice.grey(0.28, 0.5)
    look = {"detail": 1.2, "macro": 0.3}
    lawn = dice.chance(0.4)
    if lawn:
        material = M.GRASS
        tint = dice.vary(dice.pick(((0.11, 0.15, 0.05), (0.15, 0.16, 0.07), (0.09, 0.12, 0.05))), 0.25)
        dressing = {"detail": dice.uniform(0.5, 1.0), "macro": 0.6, "tile_m": dice.uniform(1.0, 2.2)}
    else:
        material, tint, dressing = paving(dice)
    level = dice.uniform(0.04, 0.15) if lawn or dice.chance(0.7) else 0.0
    behind = (distance + 0.14, FAR)
    items = [
        lying(site, FLOOR - 2, everywhere, (distance, distance + 0.14), M.RUNNING_SLABS, stone, level=level, **look),
        lying(site, FLOOR - 1, everywhere, behind, material, tint, level=level, **dressing),
    ]
    if level > 0:
        items.append(upright(site, distance, everywhere, (0.0, level), M.RUNNING_SLABS, stone, grime=0.3, **look))
    return items, level


def far_end(dice: Dice, site: Site) -> list[Item]:
    """What closes the view: buildings or trees too far away to be sharp."""
    distance = dice.uniform(25, 60)
    tint = dice.vary((0.3, 0.31, 0.32), 0.4)
    look = {
        "tile_m": dice.uniform(9, 18),
        "shift": (dice.uniform(0, 1), dice.uniform(0, 1)),
        "blur": 1.2,
        "detail": 0.8,
    }
    wall = upright(site, distance, (-FAR, FAR), (-0.2, FAR), M.CLUTTER, tint, grime=0.4, **look)
    items = [(BACKDROP + distance, wall[1])]
    if dice.chance(0.4):
        leaf = dice.vary((0.09, 0.12, 0.06), 0.3)
        look = {"tile_m": 6.0, "blur": 1.0}
        items.append(
            upright(site, distance - 3, (-FAR, FAR), (0.0, dice.uniform(2, 6)), M.FOLIAGE, leaf, mode=Mode.BUSH, **look)
        )
    return items


def dappled_shade(dice: Dice, site: Site) -> list[Item]:
    """Sun through a crown that stands outside of the picture, or the straight edge of a building's shadow."""
    shift = (dice.uniform(0, 1), dice.uniform(0, 1))
    if dice.chance(0.6):
        return [
            lying(
                site,
                DECAL,
                (-FAR, FAR),
                (site.distance_at(dice.uniform(0.1, 0.8)), FAR),
                M.DAPPLE,
                BLACK,
                mode=Mode.SHADOW,
                shift=shift,
                edge_m=1.0,
                tile_m=dice.uniform(3, 7),
            )
        ]
    edge = site.distance_at(dice.uniform(0.1, 0.7))
    return [
        lying(
            site,
            DECAL,
            (-FAR, FAR),
            (edge, FAR),
            M.PLAIN,
            BLACK,
            mode=Mode.SHADOW,
            detail=0.0,
            edge_m=dice.uniform(0.02, 0.2),
        )
    ]
