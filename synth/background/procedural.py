"""Procedural streets: a background without any data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synth.background import furniture, street
from synth.background.facade import facade
from synth.background.materials import baked_atlas
from synth.background.planes import FAR, Plane, draw_planes
from synth.background.site import Dice, Item, Site
from synth.background.view import Background, View


@dataclass(frozen=True, kw_only=True, slots=True)
class ProceduralBackgrounds:
    """Streets, squares, walls and greenery composed at random, in the true perspective of the view.

    The first draw of a process bakes the patterns (about 0.4 s); pickling costs nothing.
    """

    max_yaw_rad: float = 0.7
    """Largest turn of the street against the camera's heading, radians in [0, 1.2]."""
    clearance_m: float = 0.7
    """Nothing stands nearer behind the person than this, metres, > 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_yaw_rad <= 1.2:
            raise ValueError(f"max_yaw_rad must lie in [0, 1.2], got {self.max_yaw_rad}")
        if not self.clearance_m > 0:
            raise ValueError(f"clearance_m must be > 0, got {self.clearance_m}")

    def draw(self, rng: np.random.Generator, view: View) -> Background:
        """One background; see `Background` for arrays. It depends on the generator's state and the view only."""
        planes = compose(Dice(rng), view, self)
        sky = tuple(float(value) * 0.9 for value in view.light.sky_rgb)
        image, ground = draw_planes(planes, view, baked_atlas(), sky)
        return Background(image=image, ground=ground, provenance="procedural:street-v1")


def compose(dice: Dice, view: View, spec: ProceduralBackgrounds) -> list[Plane]:
    """The planes of one random scene, front to back."""
    # Most streets run along or across the picture, give or take; the sum of two draws favours small turns.
    yaw = spec.max_yaw_rad * 0.5 * (dice.uniform(-1, 1) + dice.uniform(-1, 1))
    site = Site.behind(view, yaw)
    closing = max(site.distance_at(dice.uniform(0.02, 0.62)), spec.clearance_m + 0.4)
    if view.indoors:
        return _front_to_back(street.floor(dice, site, FAR) + facade(dice, site, closing, 0.0))
    items = street.far_end(dice, site)
    kerb, level = FAR, 0.0
    if dice.chance(0.4) and closing > spec.clearance_m + 1.0:
        kerb = dice.uniform(spec.clearance_m, closing)
        beyond, level = street.beyond_kerb(dice, site, kerb)
        items += beyond
    items += street.floor(dice, site, kerb)
    match _weighted(dice, (0.5, 0.22, 0.28)):
        case 0:
            items += facade(dice, site, closing, level)
        case 1:
            items += street.greenery(dice, site, closing, level)
        case _:
            closing = site.distance_at(0.0)
    items += _furnish(dice, site, closing, level, spec)
    if dice.chance(0.35):
        items += street.dappled_shade(dice, site)
    return _front_to_back(items)


def _front_to_back(items: list[Item]) -> list[Plane]:
    items.sort(key=lambda item: item[0])
    return [plane for _, plane in items]


def _furnish(dice: Dice, site: Site, closing: float, level: float, spec: ProceduralBackgrounds) -> list[Item]:
    items: list[Item] = []
    for _ in range(_weighted(dice, (0.3, 0.4, 0.2, 0.1))):
        distance = min(max(site.distance_at(dice.uniform(0.0, 0.8)), spec.clearance_m), closing - 0.15)
        if distance >= spec.clearance_m:
            items += furniture.place(dice, site, distance, level)
    return items


def _weighted(dice: Dice, weights: tuple[float, ...]) -> int:
    value = dice.uniform(0, sum(weights))
    for index, weight in enumerate(weights):
        value -= weight
        if value < 0:
            return index
    return len(weights) - 1
