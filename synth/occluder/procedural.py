"""Procedural occluders: street furniture in front of people, without any data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from synth.background import Light, View, furniture
from synth.background.site import Dice, Item, Site
from synth.occluder import things
from synth.occluder.layer import Layer, Point
from synth.occluder.planar import layer_of
from synth.seeding import choose

Maker = Callable[[Dice, Site, float], list[Item]]


def _here(make: Callable[[Dice, Site, float, float, float], list[Item]], lateral: float = 0.0) -> Maker:
    """Furniture of a background, at the site's origin."""
    return lambda dice, site, level: make(dice, site, 0.0, lateral, level)


KINDS: dict[str, tuple[float, Maker]] = {
    "pole": (0.08, _here(furniture.pole)),
    "lamp": (0.08, things.lamp),
    "sign": (0.10, things.sign),
    "tree": (0.10, things.tree),
    "bollards": (0.08, _here(furniture.bollards)),
    "railing": (0.12, things.railing),
    "fence": (0.08, things.fence),
    "wall": (0.08, things.wall),
    "planter": (0.10, things.planter),
    "shrub": (0.05, things.shrub),
    "bin": (0.05, _here(furniture.litter_bin, -0.25)),
    "cabinet": (0.04, things.cabinet),
    "bicycles": (0.04, _here(furniture.bicycles)),
}
"""Share and maker of each kind; shares add up to 1. Whatever is as tall and wide as people hides them whole: rare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProceduralOccluders:
    """Poles, signs, railings, planters and their like, in the true perspective of the view, lit by its light.

    The first draw of a process bakes the patterns (about 0.4 s); pickling costs nothing.
    """

    max_yaw_rad: float = 0.7
    """Largest turn of a thing against facing the camera, radians in [0, 1.2]."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_yaw_rad <= 1.2:
            raise ValueError(f"max_yaw_rad must lie in [0, 1.2], got {self.max_yaw_rad}")

    def draw(self, rng: np.random.Generator, view: View, point: Point, light: Light) -> Layer | None:
        """One thing on `point`; see `Occluders.draw`. Raises ValueError if the camera is right above the point."""
        kind = choose(rng, {name: share for name, (share, _) in KINDS.items()})
        return draw_kind(kind, Dice(rng, 128), self.max_yaw_rad, replace(view, light=light), point)


def draw_kind(kind: str, dice: Dice, max_yaw_rad: float, view: View, point: Point) -> Layer | None:
    """One thing of a kind, turned at random by max_yaw_rad at most."""
    # The sum of two draws favours small turns, as in backgrounds.
    yaw = 0.5 * max_yaw_rad * (dice.uniform(-1, 1) + dice.uniform(-1, 1))
    site = Site.behind(replace(view, person_position=np.array(point, np.float64)), yaw)
    _, make = KINDS[kind]
    return layer_of(make(dice, site, float(point[1])), site.view, f"procedural:{kind}-v1")
