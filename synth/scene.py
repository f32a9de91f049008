"""What is in one picture, drawn before anything is rendered: who stands how, under which light, before which camera."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from synth import seeding
from synth.anatomy import Anatomy
from synth.background import Light
from synth.body import sample_betas
from synth.camera import CameraConfig, Placement, sample_placement
from synth.motion import Carries, Legs, heading_rotation, sample_gait, sample_pose
from synth.motion_files import MotionLibrary
from synth.outfit import Outfit


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """One person before one camera. betas (S,); pose (72,) axis-angle with the heading in its root; yaw_rad, 0 towards
    the camera; the person's ground point is the world's origin."""

    index: int
    betas: NDArray[np.float32]
    pose: NDArray[np.float32]
    activity: str
    yaw_rad: float
    placement: Placement
    light: Light


def draw_scene(
    anatomy: Anatomy,
    outfit: Outfit | None,
    *,
    seed: int,
    index: int,
    camera: CameraConfig,
    motions: MotionLibrary | None,
) -> Scene:
    """Draw sample `index`; every part has a generator of its own, so that one never shifts another."""
    rng = seeding.generator(seed, index, "body")
    betas = sample_betas(anatomy.body, rng, feminine=outfit.feminine if outfit else None)
    rng = seeding.generator(seed, index, "motion")
    legs = Legs.of(torch.from_numpy(anatomy.joints))
    if motions is None:
        pose = sample_pose(rng, sample_gait(rng), carries=_burden(outfit), legs=legs)
    else:
        pose = motions.sample_pose(rng, legs)
    yaw = sample_yaw(rng)
    return Scene(
        index=index,
        betas=betas,
        pose=heading_rotation(pose.pose, yaw),
        activity=pose.activity,
        yaw_rad=yaw,
        placement=sample_placement(seeding.generator(seed, index, "camera"), camera),
        light=sample_light(seeding.generator(seed, index, "light")),
    )


def sample_yaw(rng: np.random.Generator) -> float:
    """Heading in radians, 0 towards the camera: people mostly walk towards it, away from it or across."""
    middle = rng.choice(
        [0.0, np.pi, np.pi / 2, -np.pi / 2, rng.uniform(-np.pi, np.pi)], p=[0.29, 0.27, 0.14, 0.14, 0.16]
    )
    return float(middle + rng.normal(0, 0.3))


def sample_light(rng: np.random.Generator) -> Light:
    """Sun through clear sky, a closed sky, or the open shade of buildings."""
    weather = rng.choice(["sun", "cloud", "shade"], p=[0.38, 0.37, 0.25])
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians(rng.uniform(28, 65)) if weather == "sun" else np.radians(rng.uniform(70, 88))
    direction = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    match weather:
        case "sun":
            sun, sky = (
                rng.uniform(0.65, 1.0) * np.array([1.0, 0.95, 0.87]),
                rng.uniform(0.26, 0.42) * np.array([0.92, 0.98, 1.08]),
            )
        case "cloud":
            sun, sky = rng.uniform(0.05, 0.2) * np.ones(3), rng.uniform(0.55, 0.8) * np.array([0.97, 1.0, 1.02])
        case _:
            sun, sky = np.zeros(3), rng.uniform(0.42, 0.62) * np.array([0.94, 0.99, 1.06])
    return Light(
        sun_direction=direction.astype(np.float32), sun_rgb=sun.astype(np.float32), sky_rgb=sky.astype(np.float32)
    )


def _burden(outfit: Outfit | None) -> Carries:
    """What the arms have to make room for."""
    for accessory in outfit.accessories if outfit else ():
        match accessory.kind:
            case "backpack":
                return "backpack"
            case "handbag" | "shoulder_bag" as kind:
                return f"{kind}_{accessory.side}"
    return "none"
