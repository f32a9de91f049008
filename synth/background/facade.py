"""Walls that close the view: brick, plaster, cladding, with doors and windows, and fronts of glass."""

from __future__ import annotations

import math

from synth.background.materials import Material
from synth.background.planes import FAR, Vector
from synth.background.site import Dice, Item, Site, box, contact, upright

M = Material
GLASS_TINT: Vector = (0.34, 0.37, 0.38)


def facade(dice: Dice, site: Site, distance: float, level: float = 0.0) -> list[Item]:
    """A wall across the picture with its plinth and a row of openings, or a glass or shop front."""
    everywhere, up = (-FAR, FAR), (level, FAR)
    shift = (dice.uniform(0, 1), 0.0)
    blur = site.defocus(distance)
    rim = contact(site, everywhere, (distance - 0.25, distance + 1.0), level=level, strength=0.4)
    if dice.chance(0.24):
        material = dice.pick((M.GLASS, M.SHOP, M.SHOP))
        tint = dice.vary(GLASS_TINT, 0.3)
        items = [
            rim,
            upright(site, distance, everywhere, up, material, tint, shift=shift, glow=0.75, blur=blur, order=0.1),
        ]
        sill = dice.uniform(0.0, 0.7)
        stone = dice.grey(0.08, 0.4)
        if sill > 0.15:
            items.append(
                upright(site, distance - 0.03, everywhere, (level, level + sill), M.CONCRETE, stone, grime=0.3)
            )
        return items
    material, tint = _wall(dice)
    look = {"shift": shift, "blur": blur, "grime": dice.uniform(0.1, 0.5), "macro": dice.uniform(0.0, 0.4)}
    items = [rim, upright(site, distance, everywhere, up, material, tint, order=0.1, **look)]
    if dice.chance(0.5):
        plinth, stone = level + dice.uniform(0.15, 0.9), dice.grey(0.07, 0.3)
        side = dice.pick((M.CONCRETE, M.PLASTER, M.CLADDING))
        items.append(upright(site, distance - 0.04, everywhere, (level, plinth), side, stone, order=0.06, **look))
    if dice.chance(0.7):
        items += _openings(dice, site, distance, level, blur)
    return items


def _wall(dice: Dice) -> tuple[Material, Vector]:
    material = dice.pick(
        (M.BRICK, M.BRICK, M.PLASTER, M.PLASTER, M.PLASTER, M.CLADDING, M.CONCRETE, M.CORRUGATED, M.WOOD)
    )
    match material:
        case M.BRICK:
            tint = dice.pick(((0.27, 0.13, 0.09), (0.33, 0.25, 0.18), (0.22, 0.2, 0.19), (0.2, 0.12, 0.1)))
        case M.PLASTER:
            tint = dice.pick((dice.grey(0.4, 0.7), dice.grey(0.3, 0.5, 0.2), (0.5, 0.42, 0.28), dice.grey(0.12, 0.3)))
        case M.WOOD:
            tint = dice.pick(((0.22, 0.13, 0.07), (0.3, 0.22, 0.14), dice.grey(0.08, 0.2)))
        case _:
            tint = dice.grey(0.22, 0.55)
    return material, dice.vary(tint)


def _openings(dice: Dice, site: Site, distance: float, level: float, blur: float) -> list[Item]:
    """Doors or windows at a regular pitch, each a frame, a pane and a sill, slightly in front of the wall."""
    pitch, width = dice.uniform(1.8, 3.6), dice.uniform(0.8, 1.7)
    door = dice.chance(0.45)
    sill = level + (0.0 if door else dice.uniform(0.5, 1.2))
    head = level + dice.uniform(2.0, 2.6)
    frame = dice.pick((dice.grey(0.5, 0.75), dice.grey(0.04, 0.15), (0.2, 0.12, 0.07)))
    leaf = dice.pick((dice.grey(0.05, 0.5), (0.16, 0.09, 0.05), (0.08, 0.1, 0.14), (0.1, 0.13, 0.1)))
    glazed = not door or dice.chance(0.5)
    left, right = site.span_at(distance)
    phase = dice.uniform(0, pitch)
    items: list[Item] = []
    for k in range(math.floor((left - phase) / pitch), math.ceil((right - phase) / pitch)):
        x = phase + k * pitch
        items.append(
            upright(
                site,
                distance,
                (x - 0.07, x + width + 0.07),
                (sill, head + 0.07),
                M.PLAIN,
                frame,
                detail=0.0,
                order=0.05,
                blur=blur,
            )
        )
        shift = (dice.uniform(0, 1), dice.uniform(0, 1))
        pane, bottom = (x, x + width), sill + (0.02 if door else 0.07)
        if glazed:
            look = {"shift": shift, "glow": 0.7, "tile_m": dice.uniform(3, 6), "blur": blur + 0.5}
            items.append(
                upright(site, distance, pane, (bottom, head), M.SHOP, dice.vary(GLASS_TINT, 0.4), order=0.04, **look)
            )
            middle = x + 0.5 * width
            items.append(
                upright(
                    site,
                    distance,
                    (middle - 0.03, middle + 0.03),
                    (bottom, head),
                    M.PLAIN,
                    frame,
                    detail=0.0,
                    order=0.03,
                    blur=blur,
                )
            )
        else:
            surface = dice.pick((M.WOOD, M.PLAIN, M.CORRUGATED))
            items.append(
                upright(
                    site, distance, pane, (bottom, head), surface, leaf, detail=0.4, grime=0.3, order=0.04, blur=blur
                )
            )
        if not door:
            items += box(
                site, (distance - 0.1, distance), (x - 0.12, x + width + 0.12), (sill - 0.06, sill), M.CONCRETE, frame
            )
    return items
