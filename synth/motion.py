"""Poses of pedestrians: walking, standing, carrying, looking at phones.

A pose is (72,) float32: 24 joints x axis-angle, radians, root first, relative to the T-pose (Loper et al. 2015). The
root only wobbles about facing +z; where a person walks to is the scene's affair (`heading_rotation`). How a person
walks is in `synth.gait`, what legs and arms do in `synth.legs` and `synth.arms`.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synth.arms import REACHES, Activity, Carries, Hold, hang_arm, reach, sample_holds
from synth.body import NUM_JOINTS
from synth.gait import Gait, stride, swing_freely
from synth.legs import OPEN_LEGS, Legs, place_leg
from synth.rotation import (
    ELBOW,
    HEAD,
    IDENTITY,
    NECK,
    PELVIS,
    SHOULDER,
    Quaternion,
    about_x,
    about_y,
    about_z,
    bend_spine,
    chain,
    place,
    rotation_vector,
    rotation_vectors,
    turn_head,
)
from synth.seeding import choose

ACTIVITY_WEIGHTS: dict[Activity, float] = {
    "walk": 0.62, "stand": 0.14, "carry": 0.09, "phone": 0.08, "turn": 0.05, "jog": 0.02
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pose:
    """pose (72,) float32 axis-angle, radians; activity; phase in [0, 1) of the stride, None where nobody strides;
    holds: what the left and the right arm do, so that things can be put in the hands. Recorded poses have no holds.
    """

    pose: NDArray[np.float32]
    activity: Activity | Literal["recorded"]
    phase: float | None
    holds: tuple[Hold, Hold] | None


def gait_pose(gait: Gait, phase: float, legs: Legs = OPEN_LEGS) -> NDArray[np.float32]:
    """The walking pose (72,) at phase (any real, period 1) of the stride, arms swinging free."""
    joints = stride(gait, phase, legs, jogging=False)
    for side in (0, 1):
        swing_freely(joints, gait, phase, side, jogging=False)
    return rotation_vectors(joints)


def sample_pose(
    rng: np.random.Generator,
    gait: Gait,
    activity: Activity | None = None,
    carries: Carries = "none",
    legs: Legs = OPEN_LEGS,
    advance: float = 0.0,
) -> Pose:
    """A pose of the person with this gait; activity None draws one (`ACTIVITY_WEIGHTS`), arms go with what is carried.

    advance: strides made since, for whoever walks: equal generators then give the same person at another moment.
    Raises ValueError for an activity or a burden that does not exist.
    """
    if activity is None:
        activity = choose(rng, ACTIVITY_WEIGHTS)
    if activity not in get_args(Activity):
        raise ValueError(f"activity must be one of {get_args(Activity)}, got {activity!r}")
    if carries not in get_args(Carries):
        raise ValueError(f"carries must be one of {get_args(Carries)}, got {carries!r}")
    strides = activity in ("walk", "jog") or (activity != "stand" and rng.random() < 0.65)
    phase = (float(rng.random()) + advance) % 1.0 if strides else None
    jogging = activity == "jog"
    joints = _stand(rng, gait, legs) if phase is None else stride(gait, phase, legs, jogging=jogging)
    holds = sample_holds(rng, activity, carries, strides)
    for side, hold in enumerate(holds):
        match hold:
            case "swing":
                swing_freely(joints, gait, phase or 0.0, side, jogging=jogging)
            case "rest" | "straight":
                hang_arm(
                    joints,
                    side,
                    phase,
                    rng,
                    swing_rad=gait.arm_swing_rad,
                    outward_rad=gait.arm_out_rad,
                    bend_rad=gait.elbow_bend_rad,
                    straight=hold == "straight",
                )
            case _:
                reach(joints, REACHES[hold], side, jitter=rng.normal(0, 0.008, 3).clip(-0.016, 0.016))
    _look(rng, joints, activity, holds)
    return Pose(pose=rotation_vectors(joints), activity=activity, phase=phase, holds=holds)


def aligned_pose(legs: Legs = OPEN_LEGS) -> NDArray[np.float32]:
    """The fixed frontal pose (72,) of aligned pictures: facing +z, arms and legs a little apart.

    Source: Jin et al. 2020 (Semantics-Aligned Representation Learning), table 2.
    """
    joints = [IDENTITY] * NUM_JOINTS
    for side in (0, 1):
        place_leg(joints, side, legs, ankle_x_m=0.13, toe_out=0.15)
        place(joints, SHOULDER, side, about_z(-math.pi / 2 + 0.42))
        place(joints, ELBOW, side, about_y(-0.15))
    return rotation_vectors(joints)


def heading_rotation(pose: NDArray[np.float32], yaw_rad: float) -> NDArray[np.float32]:
    """A pose (72,) turned about the vertical: at yaw 0 the person faces +z, at pi / 2 +x. Returns a new (72,)."""
    x, y, z = pose[:3].tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    scale = math.sin(angle / 2) / angle if angle > 1e-8 else 0.5
    turned = pose.copy()
    turned[:3] = rotation_vector(chain(about_y(yaw_rad), (math.cos(angle / 2), scale * x, scale * y, scale * z)))
    return turned


def stand_on_ground(vertices: Tensor) -> Tensor:
    """Translations (B, 3), metres, that set the lowest of the body vertices (B, V, 3) on the plane y = 0.

    Pass the body's own vertices, without bags or hems. Only y moves. Raises ValueError unless they are finite; on other
    devices than the CPU nothing is read back, and what is not finite stays so.
    """
    lowest = vertices[:, :, 1].amin(1)
    if vertices.is_cpu and not bool(lowest.isfinite().all()):
        raise ValueError("vertices must be finite to stand on the ground; check pose and betas for NaN")
    translation = vertices.new_zeros(len(vertices), 3)
    translation[:, 1] = -lowest
    return translation


def _stand(rng: np.random.Generator, gait: Gait, legs: Legs) -> list[Quaternion]:
    """Weight on one leg: that hip is higher, the other knee gives way just as far as the pelvis sinks there."""
    weight = int(rng.integers(2))
    roll, shift = rng.uniform(0.0, 0.07), rng.uniform(0.0, 0.05)
    half_width, forward = rng.uniform(0.08, 0.15), rng.uniform(-0.06, 0.16)
    sign = 1 - 2 * weight
    joints = [IDENTITY] * NUM_JOINTS
    joints[PELVIS] = chain(about_y(rng.uniform(-0.08, 0.08)), about_z(sign * roll), about_x(gait.pelvis_tilt_rad))
    bend_spine(
        joints,
        pitch=0.7 * gait.trunk_lean_rad - gait.pelvis_tilt_rad,
        yaw=rng.uniform(-0.1, 0.1),
        roll=-1.2 * sign * roll,
    )
    turn_head(joints, pitch=gait.head_pitch_rad + rng.uniform(-0.1, 0.1), yaw=rng.uniform(-0.5, 0.5), roll=0.0)
    weight_x, free_x = half_width - shift, half_width + shift
    height = legs.length_m * math.cos(legs.lean_out_rad(weight_x))
    height -= 2 * legs.hip_half_width_m * math.sin(roll)
    free_height = legs.length_m * math.cos(legs.lean_out_rad(free_x)) * math.cos(forward)
    half_bend = math.acos(min(1.0, height / free_height))
    place_leg(joints, weight, legs, ankle_x_m=weight_x, toe_out=gait.toe_out_rad + rng.uniform(0.0, 0.1))
    place_leg(
        joints,
        1 - weight,
        legs,
        ankle_x_m=free_x,
        toe_out=gait.toe_out_rad + rng.uniform(0.0, 0.35),
        hip=forward + half_bend,
        knee=2 * half_bend,
    )
    return joints


def _look(rng: np.random.Generator, joints: list[Quaternion], activity: Activity, holds: tuple[Hold, Hold]) -> None:
    """Where the head, and in turning the trunk, go on top of the gait's own posture."""
    if activity == "phone":
        joints[NECK] = joints[HEAD] = IDENTITY
    if "screen" in holds:
        side = 1 - 2 * holds.index("screen")
        turn_head(joints, pitch=rng.uniform(0.35, 0.6), yaw=side * rng.uniform(0.0, 0.12), roll=0.0)
    elif "ear" in holds:
        side = 1 - 2 * holds.index("ear")
        turn_head(
            joints, pitch=rng.uniform(0.0, 0.15), yaw=rng.uniform(-0.1, 0.1), roll=-side * rng.uniform(-0.05, 0.08)
        )
    elif activity == "turn":
        side = 1.0 if rng.random() < 0.5 else -1.0
        bend_spine(joints, pitch=0.0, yaw=side * rng.uniform(0.12, 0.36), roll=0.0)
        turn_head(joints, pitch=rng.uniform(-0.1, 0.15), yaw=side * rng.uniform(0.3, 0.85), roll=0.0)
