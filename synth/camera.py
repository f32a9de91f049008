"""Surveillance cameras: where they stand, what they crop, how they project."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Beyond this a person may stand beside or behind the camera.
MAX_OFF_AXIS_RAD = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraConfig:
    """Ranges of the camera's place; each is (low, high), drawn uniformly (distance: uniformly in its logarithm)."""

    height_m: tuple[float, float] = (2.0, 5.0)
    """Above the ground."""
    distance_m: tuple[float, float] = (3.0, 15.0)
    """From the person, along the ground."""
    pan_rad: float = 0.35
    """Largest angle by which the person stands beside the optical axis."""
    tilt_rad: float = 0.15
    """Likewise above or below it."""
    roll_rad: float = 0.03
    truncation: float = 0.08
    """Share of crops that cut off head or feet, as a detector's box does now and then."""

    def __post_init__(self) -> None:
        for name in ("height_m", "distance_m"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(f"camera.{name} must be 0 < low <= high, got {low}..{high}")
        for name in ("pan_rad", "tilt_rad", "roll_rad"):
            if not 0 <= getattr(self, name) <= MAX_OFF_AXIS_RAD:
                raise ValueError(f"camera.{name} must lie in [0, {MAX_OFF_AXIS_RAD}], got {getattr(self, name)}")
        if self.distance_m[0] < 2.5:
            raise ValueError(f"camera.distance_m must start at 2.5 or more (arms reach), got {self.distance_m[0]}")
        if not 0 <= self.truncation <= 1:
            raise ValueError(f"camera.truncation is a share in [0, 1], got {self.truncation}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """A camera about a person at the origin, who stands in direction -z of it, and the box cut around them.

    Margins are shares of the person's height in the picture, negative where the box cuts into them; shift is the share
    of the box's width by which the person is off its middle.
    """

    height_m: float
    distance_m: float
    pan_rad: float
    tilt_rad: float
    roll_rad: float
    top_margin: float
    bottom_margin: float
    shift: float


def sample_placement(rng: np.random.Generator, config: CameraConfig) -> Placement:
    """Draw a camera and a detector-like box."""
    top, bottom = rng.uniform(0.0, 0.07, 2)
    if rng.random() < config.truncation:
        cut = -rng.uniform(0.03, 0.16)
        top, bottom = (top, cut) if rng.random() < 0.7 else (0.5 * cut, bottom)
    return Placement(
        height_m=float(rng.uniform(*config.height_m)),
        distance_m=float(np.exp(rng.uniform(*np.log(config.distance_m)))),
        pan_rad=float(rng.uniform(-1, 1) * config.pan_rad),
        tilt_rad=float(rng.uniform(-1, 1) * config.tilt_rad),
        roll_rad=float(rng.normal(0, 0.4) * config.roll_rad),
        top_margin=float(top),
        bottom_margin=float(bottom),
        shift=float(rng.normal(0, 0.035)),
    )


def world_to_camera(placement: Placement) -> NDArray[np.float64]:
    """(4, 4) world to camera, OpenCV axes."""
    position = np.array([0.0, placement.height_m, placement.distance_m])
    aim = np.array([0.0, 0.9, 0.0]) - position
    pitch = np.arctan2(-aim[1], placement.distance_m) + placement.tilt_rad
    forward = np.array(
        [np.sin(placement.pan_rad) * np.cos(pitch), -np.sin(pitch), -np.cos(placement.pan_rad) * np.cos(pitch)]
    )
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(placement.roll_rad), np.sin(placement.roll_rad)
    rotation = np.stack([c * right + s * down, c * down - s * right, forward])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -rotation @ position
    return matrix


def to_camera(points: Tensor, extrinsics: Tensor) -> Tensor:
    """World points (B, 3, N) into camera coordinates (B, 3, N) by world_to_camera (B, 4, 4)."""
    return extrinsics[:, :3, :3] @ points + extrinsics[:, :3, 3:]


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera points (B, 3, N) to (B, 3, N): x and y in pixels and depth in metres, by intrinsics (B, 3, 3)."""
    depth = points[:, 2:]
    focal = intrinsics[:, [0, 1], [0, 1], None]
    return torch.cat([points[:, :2] / depth * focal + intrinsics[:, :2, 2:], depth], 1)


def crop_intrinsics(points: Tensor, placements: list[Placement], height: int, width: int) -> Tensor:
    """Intrinsics (B, 3, 3) that cut a (height, width) crop with square pixels around camera points (B, 3, N).

    The crop holds the person with the placement's margins above and below; it is taken wider where the arms or a bag
    would reach out of it by more than a tenth.
    """
    flat = points[:, :2] / points[:, 2:]
    low, high = flat.amin(2), flat.amax(2)
    place = torch.tensor([[p.top_margin, p.bottom_margin, p.shift] for p in placements], dtype=points.dtype)
    extent = high - low
    tall = extent[:, 1] * (1 + place[:, 0] + place[:, 1])
    scale = torch.minimum(height / tall, 1.1 * width / extent[:, 0])
    centre_x = (low[:, 0] + high[:, 0]) / 2
    middle_y = (low[:, 1] - place[:, 0] * extent[:, 1] + high[:, 1] + place[:, 1] * extent[:, 1]) / 2
    intrinsics = torch.zeros(len(points), 3, 3, dtype=points.dtype)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = scale
    intrinsics[:, 0, 2] = width * (0.5 + place[:, 2]) - scale * centre_x
    intrinsics[:, 1, 2] = height / 2 - scale * middle_y
    intrinsics[:, 2, 2] = 1
    return intrinsics
