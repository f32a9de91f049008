"""Surveillance cameras: where they stand, what they crop, how they project."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Beyond this a person may stand beside or behind the camera.
MAX_OFF_AXIS_RAD = 0.7
# An unturned camera aims at a person's middle.
AIM_HEIGHT_M = 0.9


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
        distance_m=math.exp(rng.uniform(*map(math.log, config.distance_m))),
        pan_rad=float(rng.uniform(-1, 1) * config.pan_rad),
        tilt_rad=float(rng.uniform(-1, 1) * config.tilt_rad),
        roll_rad=float(rng.normal(0, 0.4) * config.roll_rad),
        top_margin=float(top),
        bottom_margin=float(bottom),
        shift=float(rng.normal(0, 0.035)),
    )


def world_to_camera(placement: Placement) -> NDArray[np.float64]:
    """(4, 4) world to camera, OpenCV axes."""
    pitch = math.atan2(placement.height_m - AIM_HEIGHT_M, placement.distance_m) + placement.tilt_rad
    level, sink = math.cos(pitch), math.sin(pitch)
    ahead, aside = math.cos(placement.pan_rad), math.sin(placement.pan_rad)
    right = np.array([ahead, 0.0, aside])
    down = np.array([-aside * sink, -level, ahead * sink])
    c, s = math.cos(placement.roll_rad), math.sin(placement.roll_rad)
    matrix = np.eye(4)
    matrix[0, :3], matrix[1, :3] = c * right + s * down, c * down - s * right
    matrix[2, :3] = (aside * level, -sink, -ahead * level)
    matrix[:3, 3] = -matrix[:3, :3] @ (0.0, placement.height_m, placement.distance_m)
    return matrix


def to_camera(points: Tensor, extrinsics: Tensor) -> Tensor:
    """World points (B, 3, N) into camera coordinates (B, 3, N) by world_to_camera (B, 4, 4)."""
    return extrinsics[:, :3, :3] @ points + extrinsics[:, :3, 3:]


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera points (B, 3, N) to (B, 3, N): x and y in pixels and depth in metres, by intrinsics (B, 3, 3)."""
    depth = points[:, 2:]
    focal = intrinsics.diagonal(dim1=1, dim2=2)[:, :2, None]
    return torch.cat([points[:, :2] / depth * focal + intrinsics[:, :2, 2:], depth], 1)


def outline(points: Tensor, extrinsics: Tensor) -> Tensor:
    """How far world points (B, 3, N) reach in the views of world_to_camera (B, 4, 4): (B, 4), least x / z, least y / z,
    greatest x / z, greatest y / z in camera coordinates."""
    if points.is_cpu:
        from synth.project_numba import WIDE, reach

        work = np.empty(4 * WIDE, np.float32)
        given = (a.contiguous().flatten(1).numpy() for a in (points, extrinsics))
        return torch.tensor([reach(*person, work) for person in zip(*given, strict=True)], dtype=points.dtype)
    return outline_twin(points, extrinsics)


def outline_twin(points: Tensor, extrinsics: Tensor) -> Tensor:
    """`outline` in torch, for any device."""
    camera = to_camera(points, extrinsics)
    flat = camera[:, :2] / camera[:, 2:]
    return torch.cat([flat.amin(2), flat.amax(2)], 1)


def crop_intrinsics(reach: Tensor, placements: list[Placement], height: int, width: int) -> Tensor:
    """Intrinsics (B, 3, 3) that cut a (height, width) crop with square pixels around people of reach (B, 4) (`outline`).

    The crop holds the person with the placement's margins above and below; it is taken wider where the arms or a bag
    would reach out of it by more than a tenth.
    """
    return cut_intrinsics(reach, box_margins(placements).to(reach.device), height, width)


def box_margins(placements: list[Placement]) -> Tensor:
    """(B, 3) float64: top margin, bottom margin and shift of each."""
    rows = [(place.top_margin, place.bottom_margin, place.shift) for place in placements]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)


def cut_intrinsics(reach: Tensor, margins: Tensor, height: int, width: int) -> Tensor:
    """`crop_intrinsics` on any device, by the margins (B, 3) of `box_margins`."""
    left, top, right, bottom = reach.double().unbind(1)
    above, below, shift = margins.unbind(1)
    extent = bottom - top
    scale = torch.minimum(height / (extent * (1 + above + below)), 1.1 * width / (right - left))
    middle = (top - above * extent + bottom + below * extent) / 2
    x, y = width * (0.5 + shift) - scale * (left + right) / 2, height / 2 - scale * middle
    zero = torch.zeros_like(scale)
    rows = [scale, zero, x, zero, scale, y, zero, zero, zero + 1]
    return torch.stack(rows, 1).reshape(-1, 3, 3).to(reach.dtype)
