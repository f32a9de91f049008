"""Things that stand in the way: lamp posts, trees, signs, railings, fences, low walls, planters, cabinets, shrubs.

Each stands at the origin of its site, so that the point it is asked for lies at the middle of its foot, or of the front
of its foot where it is deep.
"""

from __future__ import annotations

from synth.background.furniture import post
from synth.background.materials import Material
from synth.background.planes import Mode, Vector
from synth.background.site import Dice, Item, Site, box, contact, shadow_of, upright

M = Material


def lamp(dice: Dice, site: Site, level: float) -> list[Item]:
    """A lamp post: shaft, thicker foot, and a head on an arm or on top."""
    tint = dice.pick((dice.grey(0.12, 0.4, 0.03), dice.grey(0.02, 0.07), (0.04, 0.06, 0.05)))
    radius, tall = dice.uniform(0.045, 0.08), dice.uniform(3.5, 6.0)
    items = post(site, 0.0, 0.0, radius, (level, level + tall), M.PLAIN, tint, detail=0.2, grime=0.3)
    foot, thick = level + dice.uniform(0.5, 1.3), radius * dice.uniform(1.3, 1.8)
    items.append(_card(site, (-thick, thick), (level, foot), tint, mode=Mode.POST, to_camera=True, order=-0.01))
    top = level + tall
    if dice.chance(0.5):
        reach = dice.uniform(0.6, 1.4) * dice.pick((-1, 1))
        items.append(_card(site, (min(0, reach), max(0, reach)), (top - 0.07, top), tint))
        head = (reach - 0.3, reach + 0.3)
        items.append(_card(site, head, (top - 0.12, top + 0.03), tint, order=-0.02))
    else:
        glass = dice.grey(0.4, 0.6)
        items.append(_card(site, (-0.17, 0.17), (top, top + 0.35), glass, mode=Mode.POST, to_camera=True, glow=0.4))
        items.append(_card(site, (-0.22, 0.22), (top + 0.35, top + 0.41), tint, to_camera=True))
    return items


def tree(dice: Dice, site: Site, level: float) -> list[Item]:
    """A trunk, with a crown that begins above the picture, if that is not too high for a tree."""
    bark = dice.vary(dice.pick(((0.14, 0.11, 0.08), (0.2, 0.18, 0.15), (0.1, 0.09, 0.08))), 0.25)
    top = site.rays[0]
    reach = -site.camera[2] / max(top[0] * site.ahead[0] + top[2] * site.ahead[2], 1e-6)
    crown = level + min(max(dice.uniform(2.6, 4.0), site.camera[1] + reach * top[1] - level + 0.5), 9.0)
    trunk = post(site, 0.0, 0.0, dice.uniform(0.07, 0.24), (level, crown + 1.5), M.BARK, bark, grime=0.3)
    half = dice.uniform(1.0, 2.2)
    return trunk + _leaves(dice, site, (-half, half), crown, dice.uniform(2.0, 3.5), -1.0, level)


def sign(dice: Dice, site: Site, level: float) -> list[Item]:
    """A traffic sign or a notice on a post, seen from its face or its grey back."""
    steel = dice.grey(0.25, 0.45, 0.03)
    tall = dice.uniform(2.1, 3.0)
    items = post(site, 0.0, 0.0, dice.uniform(0.025, 0.04), (level, level + tall), M.PLAIN, steel, detail=0.2)
    half, high = dice.pick(((0.22, 0.44), (0.3, 0.6), (0.3, 0.9), (0.4, 0.3), (0.2, 0.6)))
    span, top = (-half, half), level + tall + 0.03
    if dice.chance(0.35):
        items.append(_card(site, span, (top - high, top), steel, order=0.01, detail=0.3))
    else:
        rim = dice.pick(((0.65, 0.65, 0.63), (0.65, 0.65, 0.63), (0.4, 0.03, 0.03)))
        face = dice.vary(dice.pick(((0.03, 0.09, 0.3), (0.6, 0.6, 0.58), (0.03, 0.16, 0.1), (0.5, 0.36, 0.05))), 0.2)
        items.append(_card(site, span, (top - high, top), rim, order=-0.05))
        inner = (-half + 0.03, half - 0.03)
        items.append(_card(site, inner, (top - high + 0.03, top - 0.03), face, order=-0.06, detail=0.2))
        ink = dice.pick(((0.65, 0.65, 0.63), (0.03, 0.03, 0.03)))
        bar = top - high * dice.uniform(0.45, 0.7)
        items.append(_card(site, (-0.6 * half, 0.6 * half), (bar, bar + 0.14 * high), ink, order=-0.07))
    return items


def railing(dice: Dice, site: Site, level: float) -> list[Item]:
    """A run of pipe railing from post to post."""
    tint = dice.pick((dice.grey(0.35, 0.6, 0.03), dice.grey(0.1, 0.3, 0.03), (0.04, 0.06, 0.05), (0.02, 0.02, 0.02)))
    tall = dice.uniform(0.9, 1.15)
    # The pattern has a post at the middle of each tile.
    left, right = -_whole(dice, 0, 4) - 0.525, _whole(dice, 0, 4) + 0.525
    rail = upright(
        site, 0.0, (left * tall, right * tall), (level, level + tall), M.RAILS, tint, base=level,
        tile_m=tall, shift=(0.5 * (left + right), 0.0),
    )  # fmt: skip
    return [rail, shadow_of(site, rail, 0.9, level)]


def fence(dice: Dice, site: Site, level: float) -> list[Item]:
    """Panels of bars or wire between posts."""
    tint = dice.pick((dice.grey(0.02, 0.1), (0.03, 0.06, 0.04), dice.grey(0.3, 0.45)))
    material = dice.pick((M.BARS, M.BARS, M.MESH))
    tall, bay = dice.uniform(0.9, 1.8), dice.uniform(1.6, 2.5)
    first, last = -_whole(dice, 1, 3), _whole(dice, 1, 3)
    span = (first * bay, last * bay)
    panel = upright(site, 0.0, span, (level + 0.08, level + tall), material, tint)
    items = [panel, shadow_of(site, panel, 0.9, level)]
    for low in (0.1, tall - 0.06):
        items.append(_card(site, span, (level + low, level + low + 0.045), tint, order=-0.01))
    for k in range(first, last + 1):
        x = k * bay
        items.append(_card(site, (x - 0.03, x + 0.03), (level, level + tall + 0.04), tint, order=-0.02))
        items.append(contact(site, (x - 0.05, x + 0.05), (-0.05, 0.05), level=level, strength=0.3))
    return items


def wall(dice: Dice, site: Site, level: float) -> list[Item]:
    """A low wall with a coping."""
    material = dice.pick((M.BRICK, M.CONCRETE, M.PLASTER, M.CLADDING, M.CONCRETE))
    tint = dice.pick(((0.26, 0.14, 0.1), (0.3, 0.24, 0.18))) if material is M.BRICK else dice.grey(0.2, 0.5)
    long, thick, tall = dice.uniform(1.5, 6.0), dice.uniform(0.2, 0.4), dice.uniform(0.5, 1.15)
    across, look = (-0.5 * long, 0.5 * long), {"shift": (dice.uniform(0, 1), dice.uniform(0, 1))}
    return [
        *_block(site, across, (0.0, thick), (level, level + tall), material, tint, level, grime=0.4, **look),
        *box(
            site, (-0.04, thick + 0.04), (across[0] - 0.04, across[1] + 0.04), (level + tall, level + tall + 0.07),
            M.CONCRETE, dice.grey(0.3, 0.5), **look,
        ),
    ]  # fmt: skip


def planter(dice: Dice, site: Site, level: float) -> list[Item]:
    """A tub of stone or wood with something green in it."""
    material = dice.pick((M.CONCRETE, M.CONCRETE, M.WOOD, M.PLAIN))
    stone = dice.vary((0.2, 0.13, 0.08), 0.3) if material is M.WOOD else dice.grey(0.1, 0.45)
    wide, deep, tall = dice.uniform(0.6, 2.0), dice.uniform(0.5, 0.8), dice.uniform(0.4, 0.75)
    across = (-0.5 * wide, 0.5 * wide)
    items = _block(site, across, (0.0, deep), (level, level + tall), material, stone, level, grime=0.4)
    # Leaves hang over the rim, and are all above it: they come before the tub, however deep they stand.
    return items + _leaves(dice, site, across, level + tall, dice.uniform(0.3, 1.0), -1.0, level)


def shrub(dice: Dice, site: Site, level: float) -> list[Item]:
    """A bush that stands by itself."""
    wide = dice.uniform(0.7, 2.0)
    across = (-0.5 * wide, 0.5 * wide)
    return [
        *_leaves(dice, site, across, level, dice.uniform(0.6, 1.5), 0.0, level),
        contact(site, across, (0.0, 0.6), level=level, strength=0.6),
    ]


def cabinet(dice: Dice, site: Site, level: float) -> list[Item]:
    """A switch box, a parcel locker or an advertisement, on a foot that stands back."""
    wide, deep, tall = dice.uniform(0.7, 1.5), dice.uniform(0.3, 0.7), dice.uniform(1.0, 2.0)
    across, foot = (-0.5 * wide, 0.5 * wide), level + 0.1
    tint = dice.pick((dice.grey(0.25, 0.5, 0.03), (0.1, 0.13, 0.1), (0.08, 0.09, 0.11), dice.grey(0.04, 0.1)))
    shift = (dice.uniform(0, 1), dice.uniform(0, 1))
    items = _block(
        site, across, (0.0, deep), (foot, level + tall), M.PLAIN, tint, level, detail=0.25, grime=0.3, shift=shift
    )
    seam = tuple(0.45 * value for value in tint)
    items.append(_card(site, (across[0] + 0.01, across[1] - 0.01), (level, foot), seam, order=-0.01))
    if tall > 1.6 and dice.chance(0.5):
        paper = dice.vary((0.42, 0.4, 0.37), 0.4)
        frame = (across[0] + 0.08, across[1] - 0.08)
        items.append(
            upright(site, -0.01, frame, (level + 0.5, level + tall - 0.1), M.CLUTTER, paper, tile_m=dice.uniform(2, 5),
                    shift=shift, glow=0.1)
        )  # fmt: skip
    else:
        doors = _whole(dice, 1, 3)
        for k in range(doors + 1):
            x = across[0] + 0.03 + k * (wide - 0.06) / doors
            items.append(_card(site, (x - 0.008, x + 0.008), (foot + 0.05, level + tall - 0.05), seam, order=-0.01))
    return items


def _card(
    site: Site,
    lateral: tuple[float, float],
    height: tuple[float, float],
    tint: Vector,
    **look: float | tuple[float, float],
) -> Item:
    look.setdefault("detail", 0.0)
    return upright(site, 0.0, lateral, height, M.PLAIN, tint, **look)


def _block(
    site: Site,
    lateral: tuple[float, float],
    distance: tuple[float, float],
    height: tuple[float, float],
    material: Material,
    tint: Vector,
    level: float,
    **look: float | tuple[float, float],
) -> list[Item]:
    """A box with its shadow and the dark rim at its foot."""
    items = box(site, distance, lateral, height, material, tint, **look)
    rim = contact(site, lateral, distance, level=level, strength=0.6)
    return [*items, rim, shadow_of(site, items[0], 1.0, level)]


def _leaves(
    dice: Dice, site: Site, lateral: tuple[float, float], foot: float, tall: float, order: float, level: float
) -> list[Item]:
    leaf = dice.vary(dice.pick(((0.09, 0.12, 0.05), (0.07, 0.1, 0.05), (0.13, 0.15, 0.07), (0.13, 0.12, 0.08))), 0.3)
    items = []
    wide = lateral[1] - lateral[0]
    for k in range(_whole(dice, 2, 5)):
        half, x = dice.uniform(0.25, 0.5) * wide, dice.uniform(*lateral)
        x = min(max(x, lateral[0] + 0.8 * half), lateral[1] - 0.8 * half)
        look = {"shift": (dice.uniform(0, 1), dice.uniform(0, 1)), "tile_m": dice.uniform(0.5, 1.1), "grime": 0.5}
        high = (foot - 0.04, foot + tall * dice.uniform(0.6, 1.0))
        bush = upright(
            site, 0.1 + 0.08 * k, (x - half, x + half), high, M.FOLIAGE, dice.vary(leaf, 0.25), mode=Mode.BUSH,
            order=order, **look,
        )  # fmt: skip
        items.append(bush)
    return [*items, shadow_of(site, items[0], 0.9, level)]


def _whole(dice: Dice, low: int, high: int) -> int:
    """A whole number in [low, high]."""
    return low + int(dice.uniform(0, high - low + 1))
