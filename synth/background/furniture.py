"""Things that stand about in a street: poles, trunks, bollards, bins, benches, rails, bicycles, cars, steps."""

from __future__ import annotations

from synth.background.materials import Material
from synth.background.planes import FAR, Mode, Vector
from synth.background.site import Dice, Item, Site, box, contact, shadow_of, upright

M = Material


def place(dice: Dice, site: Site, distance: float, level: float) -> list[Item]:
    """One thing, or a row of one kind, at about this distance; lateral places are drawn so that some of it shows."""
    left, right = site.span_at(distance)
    lateral = dice.uniform(left, right)
    kind = dice.pick((pole, _trunk, bollards, litter_bin, _bench, _rail, _rail, _fence, _fence, bicycles, _car, _steps))
    return kind(dice, site, distance, lateral, level)


def post(
    site: Site,
    distance: float,
    lateral: float,
    radius: float,
    height: tuple[float, float],
    material: Material,
    tint: Vector,
    **look: float,
) -> list[Item]:
    """A round post with the dark rim at its foot and its shadow."""
    shaft = upright(
        site,
        distance,
        (lateral - radius, lateral + radius),
        height,
        material,
        tint,
        mode=Mode.POST,
        to_camera=True,
        **look,
    )
    rim = contact(site, (lateral - radius, lateral + radius), (distance - radius, distance + radius), level=height[0])
    return [shaft, rim, shadow_of(site, shaft, 1.0, height[0])]


def pole(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    tint = dice.pick((dice.grey(0.1, 0.5), dice.grey(0.03, 0.1), (0.05, 0.08, 0.06)))
    return post(site, distance, lateral, dice.uniform(0.03, 0.11), (level, level + 6), M.PLAIN, tint, detail=0.15)


def _trunk(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    bark = dice.vary(dice.pick(((0.14, 0.11, 0.08), (0.2, 0.18, 0.15), (0.1, 0.09, 0.08))), 0.25)
    return post(site, distance, lateral, dice.uniform(0.07, 0.25), (level, level + 4.5), M.BARK, bark, grime=0.3)


def bollards(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    tint = dice.pick((dice.grey(0.05, 0.15), dice.grey(0.3, 0.6), (0.4, 0.3, 0.06)))
    radius, tall, pitch = dice.uniform(0.05, 0.12), dice.uniform(0.6, 1.0), dice.uniform(1.1, 1.8)
    items: list[Item] = []
    for k in (-1, 0, 1):
        items += post(site, distance, lateral + k * pitch, radius, (level, level + tall), M.PLAIN, tint, detail=0.2)
    return items


def litter_bin(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    tint = dice.pick((dice.grey(0.06, 0.3), (0.05, 0.1, 0.07), (0.07, 0.09, 0.15)))
    wide, tall = dice.uniform(0.35, 0.7), dice.uniform(0.7, 1.2)
    footprint = ((lateral, lateral + wide), (distance, distance + wide))
    items = box(
        site,
        footprint[1],
        footprint[0],
        (level, level + tall),
        dice.pick((M.PLAIN, M.WOOD, M.CORRUGATED)),
        tint,
        detail=0.6,
        grime=0.4,
    )
    return [*items, contact(site, *footprint, level=level), shadow_of(site, items[0], 1.0, level)]


def _bench(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    wood = dice.vary(dice.pick(((0.22, 0.13, 0.07), (0.3, 0.24, 0.17), (0.12, 0.12, 0.12))), 0.2)
    long = dice.uniform(1.4, 2.2)
    across, deep = (lateral - 0.5 * long, lateral + 0.5 * long), (distance, distance + 0.45)
    seat = box(site, deep, across, (level + 0.4, level + 0.46), M.WOOD, wood, tile_m=0.5)
    back = upright(site, deep[1], across, (level + 0.58, level + 0.85), M.WOOD, wood, tile_m=0.6)
    legs = [
        upright(site, distance + 0.2, (x, x + 0.06), (level, level + 0.4), M.PLAIN, (0.05, 0.05, 0.05))
        for x in (across[0] + 0.12, across[1] - 0.18)
    ]
    return [*seat, back, *legs, contact(site, across, deep, level=level), shadow_of(site, seat[0], 1.0, level)]


def _rail(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    tint = dice.pick((dice.grey(0.4, 0.65, 0.03), dice.grey(0.1, 0.3, 0.03), (0.04, 0.06, 0.05), (0.5, 0.5, 0.48)))
    tall = dice.uniform(0.8, 1.15)
    rail = upright(site, distance, (-FAR, FAR), (level, level + tall), M.RAILS, tint, tile_m=tall, shift=(lateral, 0.0))
    return [rail, shadow_of(site, rail, 0.9, level)]


def _fence(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    tint = dice.pick((dice.grey(0.03, 0.12), (0.04, 0.08, 0.05), dice.grey(0.3, 0.5)))
    material = dice.pick((M.BARS, M.BARS, M.MESH))
    top = level + dice.uniform(0.9, 2.2)
    shift = (lateral, 0.0)
    panel = upright(site, distance, (-FAR, FAR), (level + 0.08, top), material, tint, shift=shift)
    frame = [
        upright(site, distance - 0.01, (-FAR, FAR), (y, y + 0.05), M.PLAIN, tint, detail=0.2)
        for y in (level + 0.1, top - 0.06)
    ]
    items = [panel, *frame, shadow_of(site, panel, 0.9, level)]
    if dice.chance(0.4):
        stone = dice.grey(0.2, 0.45)
        items += box(
            site,
            (distance - 0.1, distance + 0.1),
            (-FAR, FAR),
            (level, level + dice.uniform(0.2, 0.6)),
            M.CONCRETE,
            stone,
            grime=0.4,
        )
    return items


def bicycles(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    items: list[Item] = []
    for k in range(int(dice.uniform(1, 5))):
        tint = dice.pick(
            (dice.grey(0.02, 0.08), dice.grey(0.02, 0.2), (0.1, 0.03, 0.03), (0.03, 0.05, 0.1), (0.3, 0.3, 0.3))
        )
        x, back = lateral + dice.uniform(-0.8, 0.8), distance + 0.25 * k
        rider = upright(site, back, (x - 1.0, x + 1.0), (level, level + 1.1), M.BICYCLE, tint, shift=(0.5, 0.0))
        items += [
            rider,
            shadow_of(site, rider, 0.9, level),
            contact(site, (x - 0.7, x + 0.7), (back - 0.1, back + 0.1), level=level, strength=0.25),
        ]
    return items


def _car(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    paint = dice.pick(
        (
            dice.grey(0.02, 0.06, 0.03),
            dice.grey(0.35, 0.7, 0.02),
            dice.grey(0.15, 0.35, 0.03),
            (0.04, 0.06, 0.12),
            (0.22, 0.03, 0.03),
        )
    )
    x = lateral + dice.uniform(-1.8, 1.8)
    size = dice.uniform(4.2, 5.0)
    side = upright(
        site,
        distance,
        (x - 0.5 * size, x + 0.5 * size),
        (level, level + 0.4 * size),
        M.CAR,
        paint,
        tile_m=size,
        shift=(0.5, 0.0),
        glow=0.25,
    )
    # A car is its side alone: roof and bonnet are part of the outline, only the shade beneath is a plane of its own.
    return [
        side,
        contact(site, (x - 2.1, x + 2.1), (distance - 0.1, distance + 1.7), level=level, strength=0.8),
        shadow_of(site, side, 1.0, level),
    ]


def _steps(dice: Dice, site: Site, distance: float, lateral: float, level: float) -> list[Item]:
    stone = dice.grey(0.25, 0.5)
    rise, tread = dice.uniform(0.13, 0.18), dice.uniform(0.28, 0.4)
    items: list[Item] = [contact(site, (-FAR, FAR), (distance - 0.1, distance + 0.5), level=level, strength=0.35)]
    for k in range(int(dice.uniform(2, 7))):
        near = distance + k * tread
        last = near + tread + 0.03
        items += box(
            site,
            (near, last),
            (-FAR, FAR),
            (level + k * rise, level + (k + 1) * rise),
            M.CONCRETE,
            dice.vary(stone, 0.06),
            grime=0.25,
        )
    return items
