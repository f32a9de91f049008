"""What is in one picture, drawn before anything is rendered: who stands how, under which light, before which camera."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth import seeding
from synth.anatomy import Anatomy
from synth.arms import Carries
from synth.background import Light
from synth.body import sample_betas
from synth.camera import CameraConfig, Placement, sample_placement
from synth.gait import sample_gait
from synth.legs import Legs
from synth.motion import heading_rotation, sample_pose
from synth.motion_files import MotionLibrary
from synth.outfit import Outfit
from synth.seeding import choose

# Colours of light, linear RGB.
SUNLIGHT, CLEAR_SKY = np.array([1.0, 0.95, 0.87]), np.array([0.92, 0.98, 1.08])
CLOSED_SKY, SKY_IN_SHADE = np.array([0.97, 1.0, 1.02]), np.array([0.94, 0.99, 1.06])


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
    legs = legs_of(anatomy)
    if motions is None:
        pose = sample_pose(rng, sample_gait(rng), carries=burden_of(outfit), legs=legs)
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


@functools.lru_cache(maxsize=4)
def legs_of(anatomy: Anatomy) -> Legs:
    """The mean body's legs: everyone takes poses that are made for them."""
    return Legs.of(anatomy.joints)


def sample_yaw(rng: np.random.Generator) -> float:
    """Heading in radians, 0 towards the camera: people mostly walk towards it, away from it or across."""
    anywhere = rng.uniform(-math.pi, math.pi)
    middle = choose(rng, {0.0: 0.29, math.pi: 0.27, math.pi / 2: 0.14, -math.pi / 2: 0.14, anywhere: 0.16})
    return middle + rng.normal(0, 0.3)


def sample_light(rng: np.random.Generator) -> Light:
    """Sun through clear sky, a closed sky, or the open shade of buildings."""
    weather = choose(rng, {"sun": 0.38, "cloud": 0.37, "shade": 0.25})
    azimuth = rng.uniform(0, 2 * math.pi)
    elevation = math.radians(rng.uniform(28, 65) if weather == "sun" else rng.uniform(70, 88))
    across = math.cos(elevation)
    direction = np.array([across * math.sin(azimuth), math.sin(elevation), across * math.cos(azimuth)], np.float32)
    match weather:
        case "sun":
            sun, sky = rng.uniform(0.65, 1.0) * SUNLIGHT, rng.uniform(0.26, 0.42) * CLEAR_SKY
        case "cloud":
            sun, sky = rng.uniform(0.05, 0.2) * np.ones(3), rng.uniform(0.55, 0.8) * CLOSED_SKY
        case "shade":
            sun, sky = np.zeros(3), rng.uniform(0.42, 0.62) * SKY_IN_SHADE
    return Light(sun_direction=direction, sun_rgb=sun.astype(np.float32), sky_rgb=sky.astype(np.float32))


def burden_of(outfit: Outfit | None) -> Carries:
    """What the arms have to make room for."""
    for accessory in outfit.accessories if outfit else ():
        match accessory.kind:
            case "backpack":
                return "backpack"
            case "handbag" | "shoulder_bag" as kind:
                return f"{kind}_{accessory.side}"
    return "none"
