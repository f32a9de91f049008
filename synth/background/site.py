"""The place behind a person as coordinates: lateral, height and distance behind, and planes built in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from synth.background.materials import TILE_M, Material
from synth.background.planes import FAR, Mode, Plane, Vector
from synth.background.view import View

DECAL, FLOOR, BACKDROP = 1e3, 2e3, 3e3
"""Offsets of the depth key: what stands comes first, then what lies on the floors, the floors, and the far end."""

Item = tuple[float, Plane]
"""Depth key and plane; a scene is a list of items in any order."""

T = TypeVar("T")

UP: Vector = (0.0, 1.0, 0.0)
BLACK: Vector = (0.0, 0.0, 0.0)


class Dice:
    """Uniform numbers from one block of a generator: a scene draws hundreds, one at a time is slow."""

    def __init__(self, rng: np.random.Generator, count: int = 1024) -> None:
        self._values = iter(rng.random(count).tolist())

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._values)

    def chance(self, probability: float) -> bool:
        return next(self._values) < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(next(self._values) * len(options))]

    def grey(self, low: float, high: float, warmth: float = 0.08) -> Vector:
        """A nearly neutral albedo, warmer more often than cooler."""
        value, warm = self.uniform(low, high), self.uniform(-0.5, 1.0) * warmth
        return value * (1 + warm), value, value * (1 - 1.3 * warm)

    def vary(self, tint: Vector, amount: float = 0.15) -> Vector:
        """A tint of other lightness and slightly other hue."""
        value = self.uniform(1 - amount, 1 + amount)
        red, blue = self.uniform(1 - 0.4 * amount, 1 + 0.4 * amount), self.uniform(1 - 0.4 * amount, 1 + 0.4 * amount)
        return tint[0] * value * red, tint[1] * value, tint[2] * value * blue


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Frame of a scene: the person stands at the origin, `ahead` leads away from the camera along the street."""

    view: View
    ahead: Vector
    across: Vector
    """To the right as the camera sees it."""
    facing: Vector
    """Horizontal unit vector across the camera's heading: cards along it face the camera."""
    camera: Vector
    """Lateral, height and distance of the camera (distance < 0), metres."""
    drift: float
    """Lateral metres that the middle of the picture moves per metre of distance."""
    rays: tuple[Vector, Vector]
    """World directions through the top and the bottom of the middle column."""

    @classmethod
    def behind(cls, view: View, yaw_rad: float) -> Site:
        """The site of a street turned by yaw against the camera's heading; ValueError for a camera right above."""
        camera = view.camera_position
        person = np.asarray(view.person_position, np.float64)
        offset = camera - person
        length = math.hypot(offset[0], offset[2])
        if length < 1e-3:
            raise ValueError(f"the camera stands right above the person at {person.tolist()}; move it sideways")
        x, z = -offset[0] / length, -offset[2] / length
        cosine, sine = math.cos(yaw_rad), math.sin(yaw_rad)
        ahead = (float(x * cosine + z * sine), 0.0, float(z * cosine - x * sine))
        # With y up, the right hand of a heading is heading x up.
        across = (-ahead[2], 0.0, ahead[0])
        to_world = np.linalg.inv(np.asarray(view.intrinsics, np.float64) @ np.asarray(view.world_to_camera)[:3, :3])
        top, bottom = ((to_world @ (0.5 * view.width, row, 1.0)).tolist() for row in (0.0, float(view.height)))
        return cls(
            view=view,
            ahead=ahead,
            across=across,
            facing=(float(-z), 0.0, float(x)),
            camera=(float(offset @ across), float(camera[1]), float(offset @ ahead)),
            drift=(x * across[0] + z * across[2]) / (x * ahead[0] + z * ahead[2]),
            rays=(tuple(top), tuple(bottom)),
        )

    def at(self, lateral: float, height: float, distance: float) -> Vector:
        """World point; height above the ground plane y = 0, distance behind the person."""
        base = self.view.person_position
        return (
            float(base[0]) + lateral * self.across[0] + distance * self.ahead[0],
            height,
            float(base[2]) + lateral * self.across[2] + distance * self.ahead[2],
        )

    def distance_at(self, fraction: float, *, farthest: float = 60.0) -> float:
        """Distance of the ground seen at this fraction of the rows (0 top, 1 bottom) in the middle column."""
        top, bottom = self.rays
        ray = tuple(a + (b - a) * fraction for a, b in zip(top, bottom, strict=True))
        if ray[1] > -1e-6:
            return farthest
        reach = -self.camera[1] / ray[1]
        return min(self.camera[2] + reach * (ray[0] * self.ahead[0] + ray[2] * self.ahead[2]), farthest)

    def span_at(self, distance: float) -> tuple[float, float]:
        """Least and largest lateral coordinate in the picture at this distance on the ground, roughly."""
        reach = max(distance - self.camera[2], 0.1)
        half = 0.5 * self.view.width / float(self.view.intrinsics[0, 0]) * math.hypot(reach, self.camera[1])
        middle = self.camera[0] + self.drift * reach
        return middle - half, middle + half

    def defocus(self, distance: float) -> float:
        """Mip levels of blur: none at the person, a half at twice the person's distance, at most one and a half."""
        return min(0.5 * distance / max(-self.camera[2], 1.0), 1.5)


def upright(
    site: Site,
    distance: float,
    lateral: tuple[float, float],
    height: tuple[float, float],
    material: Material,
    tint: Vector,
    *,
    order: float = 0.0,
    base: float | None = None,
    mode: Mode = Mode.CARD,
    to_camera: bool = False,
    **look: float | tuple[float, float],
) -> Item:
    """A standing card across the street; its v counts from `base` (the lower height if None)."""
    foot = height[0] if base is None else base
    middle = 0.5 * (lateral[0] + lateral[1]) if lateral[1] < FAR else 0.0
    look.setdefault("tile_m", TILE_M[material])
    look.setdefault("shift", (0.0, 0.0))
    plane = Plane(
        origin=site.at(middle, foot, distance),
        u_axis=site.facing if to_camera else site.across,
        v_axis=UP,
        extent=(lateral[0] - middle, lateral[1] - middle, height[0] - foot, height[1] - foot),
        material=int(material),
        tint=tint,
        mode=int(mode),
        **look,
    )
    return distance + order, plane


def lying(
    site: Site,
    key: float,
    lateral: tuple[float, float],
    distance: tuple[float, float],
    material: Material,
    tint: Vector,
    *,
    level: float = 0.0,
    mode: Mode = Mode.GROUND,
    **look: float | tuple[float, float],
) -> Item:
    """A horizontal rectangle at height `level`; u runs across, v ahead, both counted from the person."""
    look.setdefault("tile_m", TILE_M[material])
    look.setdefault("shift", (0.0, 0.0))
    plane = Plane(
        origin=site.at(0.0, level, 0.0),
        u_axis=site.across,
        v_axis=site.ahead,
        extent=(*lateral, *distance),
        material=int(material),
        tint=tint,
        mode=int(mode),
        **look,
    )
    return key, plane


def box(
    site: Site,
    distance: tuple[float, float],
    lateral: tuple[float, float],
    height: tuple[float, float],
    material: Material,
    tint: Vector,
    **look: float | tuple[float, float],
) -> list[Item]:
    """A block: front, top and the side that the camera sees."""
    key = distance[0]
    items = [upright(site, key, lateral, height, material, tint, **look)]
    flat = {name: value for name, value in look.items() if name != "grime"}
    items.append(lying(site, key + 2e-3, lateral, distance, material, tint, level=height[1], mode=Mode.CARD, **flat))
    edge = lateral[0] if site.camera[0] < lateral[0] else lateral[1] if site.camera[0] > lateral[1] else None
    if edge is not None:
        look = {"tile_m": TILE_M[material], "shift": (0.0, 0.0)} | look
        plane = Plane(
            origin=site.at(edge, height[0], distance[0]),
            u_axis=site.ahead,
            v_axis=UP,
            extent=(0.0, distance[1] - distance[0], 0.0, height[1] - height[0]),
            material=int(material),
            tint=tint,
            **look,
        )
        items.append((key + 1e-3, plane))
    return items


def shadow_of(site: Site, item: Item, strength: float = 1.0, level: float = 0.0) -> Item:
    """The shadow that an upright card throws on the floor: its own outline and pattern, sheared along the sun."""
    plane = item[1]
    sun = site.view.light.sun_direction
    steep = max(float(sun[1]), 0.15)
    lift = plane.origin[1] - level
    slide: Vector = (-float(sun[0]) / steep, 0.0, -float(sun[2]) / steep)
    cast = plane._replace(
        origin=(plane.origin[0] + lift * slide[0], level, plane.origin[2] + lift * slide[2]),
        v_axis=slide,
        mode=int(Mode.SHADOW),
        opacity=strength * plane.opacity,
        edge_m=0.03,
    )
    return DECAL, cast


def contact(
    site: Site,
    lateral: tuple[float, float],
    distance: tuple[float, float],
    *,
    level: float = 0.0,
    strength: float = 0.5,
) -> Item:
    """The soft dark rim on the floor around the foot of something."""
    return lying(
        site,
        DECAL + 1.0,
        lateral,
        distance,
        Material.PLAIN,
        BLACK,
        level=level,
        opacity=strength,
        edge_m=0.22,
        detail=0.0,
    )
