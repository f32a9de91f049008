"""What a background is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """Sun and sky; a white surface facing the sun has radiance `sun_rgb` + about `sky_rgb`."""

    sun_direction: Floats
    """(3,) unit vector from the ground towards the sun, world axes, y > 0."""
    sun_rgb: Floats
    """(3,) linear RGB, >= 0; zero under a closed sky."""
    sky_rgb: Floats
    """(3,) linear RGB, >= 0."""

    def __post_init__(self) -> None:
        for name in ("sun_direction", "sun_rgb", "sky_rgb"):
            if np.shape(getattr(self, name)) != (3,):
                raise ValueError(f"Light.{name} must have shape (3,), got {np.shape(getattr(self, name))}")
        length = float(np.linalg.norm(self.sun_direction))
        if abs(length - 1) > 1e-3 or self.sun_direction[1] <= 0:
            raise ValueError(f"sun_direction must be a unit vector with y > 0, got {self.sun_direction}; normalise it")
        if np.min(self.sun_rgb) < 0 or np.min(self.sky_rgb) < 0:
            raise ValueError(f"sun_rgb and sky_rgb must be >= 0, got {self.sun_rgb} and {self.sky_rgb}")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One picture's size, camera and light, and where the person stands in it."""

    height: int
    """Rows of the picture."""
    width: int
    """Columns of the picture."""
    intrinsics: Floats
    """(3, 3) camera coordinates to pixels of this picture (not of the frame it was cut from)."""
    world_to_camera: Floats
    """(4, 4) OpenCV extrinsics, metres; the camera is above the ground plane y = 0."""
    person_position: Floats
    """(3,) the person's point on the ground, world metres."""
    light: Light
    indoors: bool = False
    """Whether the place is a hall: floor and walls, neither street nor greenery."""

    def __post_init__(self) -> None:
        if self.height < 8 or self.width < 8:
            raise ValueError(f"height and width must be at least 8 pixels, got {self.height} x {self.width}")
        for name, shape in (("intrinsics", (3, 3)), ("world_to_camera", (4, 4)), ("person_position", (3,))):
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(f"View.{name} must have shape {shape}, got {np.shape(getattr(self, name))}")
        if self.camera_position[1] <= 0.1:
            raise ValueError(
                f"the camera must stand above the ground (world y > 0.1 m), got y = {self.camera_position[1]:.3f}; "
                "is world_to_camera inverted?"
            )

    @property
    def camera_position(self) -> NDArray[np.float64]:
        """(3,) world metres."""
        extrinsics = np.asarray(self.world_to_camera, np.float64)
        return -extrinsics[:3, :3].T @ extrinsics[:3, 3]


@dataclass(frozen=True, kw_only=True, slots=True)
class Background:
    """A picture without people."""

    image: NDArray[np.float32]
    """(H, W, 3) linear RGB in [0, 1]."""
    ground: NDArray[np.float32]
    """(H, W) how much of each pixel shows horizontal ground that can take the person's shadow, in [0, 1]."""
    provenance: str
    """Where it comes from, for the sample's record: "procedural:street-v1" or "coco:FILE"."""


class Backgrounds(Protocol):
    """A source of backgrounds; the same generator state and view give the same bytes."""

    def draw(self, rng: np.random.Generator, view: View) -> Background: ...
