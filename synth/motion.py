"""Poses of pedestrians: how they walk, stand, carry and look at phones.

A pose is (72,) float32: 24 joints x axis-angle, radians, root first, relative to the T-pose (Loper et al. 2015). The
root only wobbles about facing +z; where a person walks to is the scene's affair (`heading_rotation`). Legs are set
segment by segment in the upright frame, so that the pelvis moves without dragging the feet along. What arms do is in
`synth.arms`.

Angles follow published normal data: walking Winter 1991 (The Biomechanics and Motor Control of Human Gait, natural
cadence), jogging Novacheck 1998 (The biomechanics of running), pelvis, arms and rate Perry & Burnfield 2010 (Gait
Analysis). Phase 0 is the left heel strike, 0.5 the right one.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synth.arms import REACHES, Activity, Carries, Hold, hang_arm, reach, sample_holds, swing_arm
from synth.body import NUM_JOINTS
from synth.rotation import (
    ANKLE,
    ELBOW,
    FOOT,
    HEAD,
    HIP,
    IDENTITY,
    KNEE,
    NECK,
    PELVIS,
    SHOULDER,
    SPINE,
    Quaternion,
    about_x,
    about_y,
    about_z,
    chain,
    inverse,
    mirror,
    place,
    rotation_vector,
    rotation_vectors,
)

ACTIVITY_WEIGHTS: dict[Activity, float] = {
    "walk": 0.62, "stand": 0.14, "carry": 0.09, "phone": 0.08, "turn": 0.05, "jog": 0.02
}  # fmt: skip

# Fourier coefficients in degrees, harmonics 0..5 of cos then 1..5 of sin of the phase, for hip flexion, knee flexion
# and ankle dorsiflexion. Fitted to the published curves' key values; residuals below 0.5 (walk) and 0.8 (jog) degrees.
WALK_CURVES = np.array([
    [6.7, 15.8, -2.4, -0.6, -0.3, -0.2, -3.0, -1.8, 1.0, 0.1, 0.1],
    [25.7, -4.0, -14.9, -1.8, -1.0, -0.4, -20.6, 8.0, 4.3, 1.0, 0.5],
    [-0.8, -0.2, 1.5, -3.2, 1.8, -0.3, 7.8, -7.3, 0.7, -0.5, -0.8],
])  # fmt: skip
JOG_CURVES = np.array([
    [17.6, 20.9, -4.9, -0.8, -0.6, -0.3, -16.0, 3.2, -0.0, 0.5, -0.2],
    [46.3, -14.2, -12.5, -3.4, -0.3, -0.2, -23.5, 17.2, -0.3, 2.5, -0.3],
    [1.1, 13.2, -7.6, -2.8, 0.8, -0.3, 3.5, 6.7, -3.4, -0.6, 0.2],
])  # fmt: skip
HARMONICS = np.arange(1, 6)
# The thigh swings about this angle; its range grows with the stride.
HIP_CENTRE_RAD = 0.09
STRIDE_TO_HIP = 0.95
TOE_CLEARANCE_RAD = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Legs:
    """The rest skeleton's legs, which the same pose would otherwise set too wide on one body and crossed on another.

    hip_half_width_m: pelvis centre to hip; length_m: hip to ankle; splay_rad: hip-to-ankle line off the vertical,
    outwards; bend_rad: knee flexion of the T-pose itself. The defaults are the embedded mean body's.
    """

    hip_half_width_m: float = 0.114
    length_m: float = 0.825
    splay_rad: float = 0.091
    bend_rad: float = 0.146

    @classmethod
    def of(cls, rest_joints: Tensor) -> "Legs":
        """From the T-pose joints (24, 3), metres (`Body.rest_joints`)."""
        hip, knee, ankle = (rest_joints[i].tolist() for i in (HIP, KNEE, ANKLE))
        pitches = (math.atan2(b[2] - a[2], a[1] - b[1]) for a, b in ((hip, knee), (knee, ankle)))
        return cls(
            hip_half_width_m=hip[0],
            length_m=math.dist(hip, knee) + math.dist(knee, ankle),
            splay_rad=math.atan2(ankle[0] - hip[0], hip[1] - ankle[1]),
            bend_rad=max(0.0, next(pitches) - next(pitches)),
        )

    def lean_out_rad(self, ankle_x_m: float) -> float:
        """Outward angle of the hip-to-ankle line that brings an ankle ankle_x_m beside the pelvis' middle."""
        return math.asin((ankle_x_m - self.hip_half_width_m) / self.length_m)


OPEN_LEGS = Legs()


@dataclass(frozen=True, kw_only=True, slots=True)
class Gait:
    """How one person walks and holds themselves: drawn once per identity, the same in front of every camera.

    cadence_hz: strides (two steps) per second, for whoever turns time into phase. stride_m: heel strike to the same
    foot's next, on legs of the mean body's length, longer legs stride further. step_width_m: between the ankles.
    knee_lift: factor on the swing's knee flexion. toe_out_rad: outwards. arm_swing_rad: half the swing. arm_out_rad:
    upper arm off the trunk. elbow_bend_rad: least flexion. asymmetry: relative, > 0 favours the left side.
    pelvis_yaw_rad, pelvis_list_rad: amplitudes about the vertical and the walking direction. pelvis_tilt_rad,
    trunk_lean_rad, head_pitch_rad: forwards. head_yaw_rad: towards the left. The pelvis bobs by itself, as the feet
    stay on the ground (`stand_on_ground`).
    """

    cadence_hz: float = 0.92
    stride_m: float = 1.3
    step_width_m: float = 0.11
    knee_lift: float = 1.0
    toe_out_rad: float = 0.12
    arm_swing_rad: float = 0.32
    arm_out_rad: float = 0.25
    elbow_bend_rad: float = 0.25
    asymmetry: float = 0.0
    pelvis_yaw_rad: float = 0.08
    pelvis_list_rad: float = 0.05
    pelvis_tilt_rad: float = 0.03
    trunk_lean_rad: float = 0.05
    head_pitch_rad: float = 0.05
    head_yaw_rad: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pose:
    """pose (72,) float32 axis-angle, radians; activity; phase in [0, 1) of the stride, None where nobody strides;
    holds: what the left and the right arm do, so that things can be put in the hands. Recorded poses have no holds.
    """

    pose: NDArray[np.float32]
    activity: Activity | Literal["recorded"]
    phase: float | None
    holds: tuple[Hold, Hold] | None


def sample_gait(rng: np.random.Generator) -> Gait:
    """The gait of one adult. Spreads after Perry & Burnfield 2010, bounded so that every draw is a possible person."""

    def normal(mean: float, deviation: float, bound: float = 2.0) -> float:
        return mean + deviation * min(max(float(rng.standard_normal()), -bound), bound)

    cadence_hz = normal(0.92, 0.06)
    return Gait(
        cadence_hz=cadence_hz,
        # Who steps fast steps far.
        stride_m=normal(1.27, 0.08) + 0.5 * (cadence_hz - 0.92),
        step_width_m=normal(0.11, 0.02),
        knee_lift=normal(1.0, 0.05),
        toe_out_rad=normal(0.12, 0.07),
        arm_swing_rad=normal(0.30, 0.09),
        arm_out_rad=normal(0.25, 0.015),
        elbow_bend_rad=normal(0.28, 0.08),
        asymmetry=normal(0.0, 0.03),
        pelvis_yaw_rad=normal(0.08, 0.02),
        pelvis_list_rad=normal(0.045, 0.015),
        pelvis_tilt_rad=normal(0.03, 0.03),
        trunk_lean_rad=normal(0.05, 0.04),
        head_pitch_rad=normal(0.08, 0.08),
        head_yaw_rad=normal(0.0, 0.05),
    )


def gait_pose(gait: Gait, phase: float, legs: Legs = OPEN_LEGS) -> NDArray[np.float32]:
    """The walking pose (72,) at phase (any real, period 1) of the stride, arms swinging free."""
    joints = _stride(gait, phase, legs, jogging=False)
    for side in (0, 1):
        _swing_freely(joints, gait, phase, side, jogging=False)
    return rotation_vectors(joints)


def sample_pose(
    rng: np.random.Generator,
    gait: Gait,
    activity: Activity | None = None,
    carries: Carries = "none",
    legs: Legs = OPEN_LEGS,
) -> Pose:
    """A pose of the person with this gait; activity None draws one (`ACTIVITY_WEIGHTS`), arms go with what is carried.

    Raises ValueError for an activity or a burden that does not exist.
    """
    if activity is None:
        names, weights = zip(*ACTIVITY_WEIGHTS.items(), strict=True)
        activity = names[int(rng.choice(len(names), p=weights))]
    if activity not in get_args(Activity):
        raise ValueError(f"activity must be one of {get_args(Activity)}, got {activity!r}")
    if carries not in get_args(Carries):
        raise ValueError(f"carries must be one of {get_args(Carries)}, got {carries!r}")
    strides = activity in ("walk", "jog") or (activity != "stand" and rng.random() < 0.65)
    phase = float(rng.random()) if strides else None
    jogging = activity == "jog"
    joints = _stand(rng, gait, legs) if phase is None else _stride(gait, phase, legs, jogging=jogging)
    holds = sample_holds(rng, activity, carries, strides)
    for side, hold in enumerate(holds):
        match hold:
            case "swing":
                _swing_freely(joints, gait, phase or 0.0, side, jogging=jogging)
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
        _place_leg(joints, side, legs, ankle_x_m=0.13, toe_out=0.15)
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

    Pass the body's own vertices, without bags or hems. Only y moves. Raises ValueError unless they are finite.
    """
    lowest = vertices[:, :, 1].amin(1)
    if not bool(lowest.isfinite().all()):
        raise ValueError("vertices must be finite to stand on the ground; check pose and betas for NaN")
    translation = vertices.new_zeros(len(vertices), 3)
    translation[:, 1] = -lowest
    return translation


def _stride(gait: Gait, phase: float, legs: Legs, *, jogging: bool) -> list[Quaternion]:
    """Trunk, head and legs of a stride; the arms stay in the T-pose."""
    turn = 2 * math.pi * phase
    lean = gait.trunk_lean_rad + (0.12 if jogging else 0.0)
    # The pelvis goes with the leading leg and sinks on the side of the swinging one; the shoulders go against it.
    yaw, roll = -gait.pelvis_yaw_rad * math.cos(turn), gait.pelvis_list_rad * math.sin(turn)
    joints = [IDENTITY] * NUM_JOINTS
    joints[PELVIS] = chain(about_y(yaw), about_z(roll), about_x(gait.pelvis_tilt_rad))
    thorax_yaw = -0.9 * yaw * (1.5 if jogging else 1.0)
    _bend_spine(joints, pitch=lean - gait.pelvis_tilt_rad, yaw=thorax_yaw - yaw, roll=-0.8 * roll)
    _turn_head(joints, pitch=gait.head_pitch_rad - lean, yaw=gait.head_yaw_rad - thorax_yaw, roll=-0.2 * roll)
    for side in (0, 1):
        own = (phase + 0.5 * side) % 1.0
        favour = 1.0 + gait.asymmetry * (1 - 2 * side)
        hip, knee, ankle = _leg_angles(own, jogging=jogging)
        hip_scale = favour * (1.0 if jogging else gait.stride_m * STRIDE_TO_HIP)
        hip = HIP_CENTRE_RAD + hip_scale * (hip - HIP_CENTRE_RAD)
        swing = _bump(own, 0.5, 0.72, 0.98)
        knee *= 1.0 + swing * (gait.knee_lift - 1.0)
        # Toes up through the swing: a pelvis that bobs less than the measured one would let them scrape.
        pitch = knee - hip - ankle - TOE_CLEARANCE_RAD * _bump(own, 0.64, 0.82, 1.0)
        flat = _window(own, 0.02, 0.10, 0.24, 0.32) if jogging else _window(own, 0.02, 0.09, 0.40, 0.58)
        _place_leg(
            joints,
            side,
            legs,
            ankle_x_m=gait.step_width_m * (0.3 if jogging else 0.5),
            toe_out=gait.toe_out_rad,
            hip=hip,
            knee=knee,
            foot_pitch=pitch * (1.0 - flat),
            toes=0.5 * _bump(own, 0.22, 0.36, 0.46) if jogging else 0.55 * _bump(own, 0.40, 0.57, 0.68),
        )
    return joints


def _leg_angles(phase: float, *, jogging: bool) -> tuple[float, float, float]:
    """Hip flexion, knee flexion and ankle dorsiflexion, radians, at phase of the leg's own stride."""
    turns = 2 * math.pi * phase * HARMONICS
    basis = np.concatenate([[1.0], np.cos(turns), np.sin(turns)])
    hip, knee, ankle = ((JOG_CURVES if jogging else WALK_CURVES) @ basis).tolist()
    return math.radians(hip), math.radians(knee), math.radians(ankle)


def _stand(rng: np.random.Generator, gait: Gait, legs: Legs) -> list[Quaternion]:
    """Weight on one leg: that hip is higher, the other knee gives way just as far as the pelvis sinks there."""
    weight = int(rng.integers(2))
    roll, shift = rng.uniform(0.0, 0.07), rng.uniform(0.0, 0.05)
    half_width, forward = rng.uniform(0.08, 0.15), rng.uniform(-0.06, 0.16)
    sign = 1 - 2 * weight
    joints = [IDENTITY] * NUM_JOINTS
    joints[PELVIS] = chain(about_y(rng.uniform(-0.08, 0.08)), about_z(sign * roll), about_x(gait.pelvis_tilt_rad))
    _bend_spine(
        joints,
        pitch=0.7 * gait.trunk_lean_rad - gait.pelvis_tilt_rad,
        yaw=rng.uniform(-0.1, 0.1),
        roll=-1.2 * sign * roll,
    )
    _turn_head(joints, pitch=gait.head_pitch_rad + rng.uniform(-0.1, 0.1), yaw=rng.uniform(-0.5, 0.5), roll=0.0)
    weight_x, free_x = half_width - shift, half_width + shift
    height = legs.length_m * math.cos(legs.lean_out_rad(weight_x))
    height -= 2 * legs.hip_half_width_m * math.sin(roll)
    free_height = legs.length_m * math.cos(legs.lean_out_rad(free_x)) * math.cos(forward)
    half_bend = math.acos(min(1.0, height / free_height))
    _place_leg(joints, weight, legs, ankle_x_m=weight_x, toe_out=gait.toe_out_rad + rng.uniform(0.0, 0.1))
    _place_leg(
        joints,
        1 - weight,
        legs,
        ankle_x_m=free_x,
        toe_out=gait.toe_out_rad + rng.uniform(0.0, 0.35),
        hip=forward + half_bend,
        knee=2 * half_bend,
    )
    return joints


def _place_leg(
    joints: list[Quaternion],
    side: int,
    legs: Legs,
    *,
    ankle_x_m: float,
    toe_out: float,
    hip: float = 0.0,
    knee: float = 0.0,
    foot_pitch: float = 0.0,
    toes: float = 0.0,
) -> None:
    """Sets a leg's joints from its segments' angles in the upright frame, radians; foot_pitch > 0 points toes down.

    hip and knee are flexions from the anatomical straight leg, which the T-pose may not have.
    """
    adduction = about_z(legs.lean_out_rad(ankle_x_m) - legs.splay_rad)
    outwards = about_y(toe_out)
    thigh_turn = -hip + legs.bend_rad / 2
    thigh = chain(about_x(thigh_turn), outwards, adduction)
    shank = chain(about_x(thigh_turn), outwards, about_x(knee - legs.bend_rad), adduction)
    foot = chain(outwards, about_x(foot_pitch))
    root = joints[PELVIS] if side == 0 else mirror(joints[PELVIS])
    place(joints, HIP, side, chain(inverse(root), thigh))
    place(joints, KNEE, side, chain(inverse(thigh), shank))
    place(joints, ANKLE, side, chain(inverse(shank), foot))
    place(joints, FOOT, side, about_x(-toes))


def _bend_spine(joints: list[Quaternion], *, pitch: float, yaw: float, roll: float) -> None:
    third = chain(about_y(yaw / 3), about_z(roll / 3), about_x(pitch / 3))
    for joint in SPINE:
        joints[joint] = chain(joints[joint], third)


def _turn_head(joints: list[Quaternion], *, pitch: float, yaw: float, roll: float) -> None:
    half = chain(about_y(yaw / 2), about_z(roll / 2), about_x(pitch / 2))
    for joint in (NECK, HEAD):
        joints[joint] = chain(joints[joint], half)


def _swing_freely(joints: list[Quaternion], gait: Gait, phase: float, side: int, *, jogging: bool) -> None:
    """The arm's own swing, smaller on the side that the gait favours."""
    swing_arm(
        joints,
        side,
        phase,
        swing_rad=gait.arm_swing_rad * (1.0 - 4.0 * gait.asymmetry * (1 - 2 * side)),
        outward_rad=gait.arm_out_rad,
        bend_rad=gait.elbow_bend_rad,
        jogging=jogging,
    )


def _look(rng: np.random.Generator, joints: list[Quaternion], activity: Activity, holds: tuple[Hold, Hold]) -> None:
    """Where the head, and in turning the trunk, go on top of the gait's own posture."""
    if activity == "phone":
        joints[NECK] = joints[HEAD] = IDENTITY
    if "screen" in holds:
        side = 1 - 2 * holds.index("screen")
        _turn_head(joints, pitch=rng.uniform(0.35, 0.6), yaw=side * rng.uniform(0.0, 0.12), roll=0.0)
    elif "ear" in holds:
        side = 1 - 2 * holds.index("ear")
        _turn_head(
            joints, pitch=rng.uniform(0.0, 0.15), yaw=rng.uniform(-0.1, 0.1), roll=-side * rng.uniform(-0.05, 0.08)
        )
    elif activity == "turn":
        side = 1.0 if rng.random() < 0.5 else -1.0
        _bend_spine(joints, pitch=0.0, yaw=side * rng.uniform(0.12, 0.36), roll=0.0)
        _turn_head(joints, pitch=rng.uniform(-0.1, 0.15), yaw=side * rng.uniform(0.3, 0.85), roll=0.0)


def _window(phase: float, rise: float, full: float, fade: float, end: float) -> float:
    """0 outside (rise, end), 1 in [full, fade], smooth between."""
    up, down = (phase - rise) / (full - rise), (end - phase) / (end - fade)
    x = min(max(min(up, down), 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _bump(phase: float, start: float, peak: float, end: float) -> float:
    return _window(phase, start, peak, peak, end)
