"""Poses of pedestrians: how they walk, stand, carry and look at phones.

A pose is (72,) float32: 24 joints x axis-angle, radians, root first, relative to the T-pose (Loper et al. 2015). The
root only wobbles about facing +z; where a person walks to is the scene's affair (`heading_rotation`). Legs are set
segment by segment in the upright frame, so that the pelvis moves without dragging the feet along. Arms are written
for the left side and mirrored.

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

from synth.body import JOINTS, NUM_JOINTS

Activity = Literal["walk", "stand", "carry", "phone", "turn", "jog"]
Carries = Literal[
    "none", "handbag_left", "handbag_right", "elbow_bag_left", "elbow_bag_right", "shoulder_bag_left",
    "shoulder_bag_right", "backpack",
]  # fmt: skip
Hold = Literal[
    "swing", "rest", "straight", "elbow", "strap", "ear", "screen", "box", "pocket", "akimbo", "over", "under"
]  # fmt: skip
ACTIVITY_WEIGHTS: dict[Activity, float] = {
    "walk": 0.62, "stand": 0.14, "carry": 0.09, "phone": 0.08, "turn": 0.05, "jog": 0.02
}  # fmt: skip

Quaternion = tuple[float, float, float, float]  # w, x, y, z
IDENTITY: Quaternion = (1.0, 0.0, 0.0, 0.0)
PELVIS, SPINE, NECK, HEAD = 0, (3, 6, 9), 12, 15
# Left joints; the right one follows each.
HIP, KNEE, ANKLE, FOOT, COLLAR, SHOULDER, ELBOW, WRIST, HAND = (
    JOINTS.index(f"left_{name}")
    for name in ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")
)  # fmt: skip
UPPER_ARM_M, FOREARM_M = 0.263, 0.233  # of the mean body; reaches scale with the person as its bones do

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """A hand brought somewhere. wrist: from the left shoulder, metres, in the trunk's axes; elbow: the side it points
    to; pronation_deg: turn of the forearm; wrist_deg, fingers_deg: flexion (palmwards) of hand and fingers.
    """

    wrist: tuple[float, float, float]
    elbow: tuple[float, float, float]
    pronation_deg: float = 0.0
    wrist_deg: float = 0.0
    fingers_deg: float = 30.0


REACHES: dict[Hold, Reach] = {
    "elbow": Reach(wrist=(0.01, -0.17, 0.23), elbow=(0.2, -1.0, -0.6), pronation_deg=-20, fingers_deg=40),
    "strap": Reach(wrist=(0.02, -0.13, 0.17), elbow=(0.25, -1.0, -0.3), wrist_deg=35, fingers_deg=45),
    "ear": Reach(wrist=(0.01, 0.13, 0.10), elbow=(0.4, -1.0, 0.5), pronation_deg=10, fingers_deg=15),
    "screen": Reach(wrist=(-0.08, -0.19, 0.28), elbow=(0.3, -1.0, -0.4), pronation_deg=-60, fingers_deg=35),
    "box": Reach(wrist=(-0.02, -0.29, 0.28), elbow=(0.4, -0.8, -0.6), pronation_deg=-40, fingers_deg=20),
    "pocket": Reach(wrist=(0.095, -0.43, 0.04), elbow=(0.5, 0.0, -1.0)),
    "akimbo": Reach(wrist=(0.12, -0.32, 0.04), elbow=(1.0, 0.0, -0.5), wrist_deg=-20),
    "over": Reach(wrist=(-0.25, -0.20, 0.22), elbow=(0.7, -1.0, 0.1)),
    "under": Reach(wrist=(-0.25, -0.25, 0.19), elbow=(0.7, -1.0, 0.0)),
}


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
        _swing_arm(joints, gait, phase, side, jogging=False)
    return _rotation_vectors(joints)


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
    holds = _sample_holds(rng, activity, carries, strides)
    for side, hold in enumerate(holds):
        match hold:
            case "swing":
                _swing_arm(joints, gait, phase or 0.0, side, jogging=jogging)
            case "rest" | "straight":
                _hang_arm(joints, gait, rng, phase, side, straight=hold == "straight")
            case _:
                _reach(joints, REACHES[hold], side, jitter=rng.normal(0, 0.008, 3).clip(-0.016, 0.016))
    _look(rng, joints, activity, holds)
    return Pose(pose=_rotation_vectors(joints), activity=activity, phase=phase, holds=holds)


def aligned_pose(legs: Legs = OPEN_LEGS) -> NDArray[np.float32]:
    """The fixed frontal pose (72,) of aligned pictures: facing +z, arms and legs a little apart.

    Source: Jin et al. 2020 (Semantics-Aligned Representation Learning), table 2.
    """
    joints = [IDENTITY] * NUM_JOINTS
    for side in (0, 1):
        _place_leg(joints, side, legs, ankle_x_m=0.13, toe_out=0.15)
        _place(joints, SHOULDER, side, _about_z(-math.pi / 2 + 0.42))
        _place(joints, ELBOW, side, _about_y(-0.15))
    return _rotation_vectors(joints)


def heading_rotation(pose: NDArray[np.float32], yaw_rad: float) -> NDArray[np.float32]:
    """A pose (72,) turned about the vertical: at yaw 0 the person faces +z, at pi / 2 +x. Returns a new (72,)."""
    x, y, z = pose[:3].tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    scale = math.sin(angle / 2) / angle if angle > 1e-8 else 0.5
    turned = pose.copy()
    turned[:3] = _rotation_vector(_chain(_about_y(yaw_rad), (math.cos(angle / 2), scale * x, scale * y, scale * z)))
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
    joints[PELVIS] = _chain(_about_y(yaw), _about_z(roll), _about_x(gait.pelvis_tilt_rad))
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
    joints[PELVIS] = _chain(_about_y(rng.uniform(-0.08, 0.08)), _about_z(sign * roll), _about_x(gait.pelvis_tilt_rad))
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
    reach = legs.length_m * math.cos(legs.lean_out_rad(free_x)) * math.cos(forward)
    half_bend = math.acos(min(1.0, height / reach))
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
    adduction = _about_z(legs.lean_out_rad(ankle_x_m) - legs.splay_rad)
    outwards = _about_y(toe_out)
    thigh_turn = -hip + legs.bend_rad / 2
    thigh = _chain(_about_x(thigh_turn), outwards, adduction)
    shank = _chain(_about_x(thigh_turn), outwards, _about_x(knee - legs.bend_rad), adduction)
    foot = _chain(outwards, _about_x(foot_pitch))
    root = joints[PELVIS] if side == 0 else _mirror(joints[PELVIS])
    _place(joints, HIP, side, _chain(_inverse(root), thigh))
    _place(joints, KNEE, side, _chain(_inverse(thigh), shank))
    _place(joints, ANKLE, side, _chain(_inverse(shank), foot))
    _place(joints, FOOT, side, _about_x(-toes))


def _bend_spine(joints: list[Quaternion], *, pitch: float, yaw: float, roll: float) -> None:
    third = _chain(_about_y(yaw / 3), _about_z(roll / 3), _about_x(pitch / 3))
    for joint in SPINE:
        joints[joint] = _chain(joints[joint], third)


def _turn_head(joints: list[Quaternion], *, pitch: float, yaw: float, roll: float) -> None:
    half = _chain(_about_y(yaw / 2), _about_z(roll / 2), _about_x(pitch / 2))
    for joint in (NECK, HEAD):
        joints[joint] = _chain(joints[joint], half)


def _swing_arm(joints: list[Quaternion], gait: Gait, phase: float, side: int, *, jogging: bool) -> None:
    """The arm goes with the other side's leg: farthest back at the own heel strike."""
    forwards = -math.cos(2 * math.pi * (phase + 0.5 * side))
    swing = gait.arm_swing_rad * (1.0 - 4.0 * gait.asymmetry * (1 - 2 * side)) * (1.3 if jogging else 1.0)
    bend = 1.45 if jogging else gait.elbow_bend_rad
    _set_arm(
        joints,
        side,
        forward=(-0.25 if jogging else -0.05) + swing * forwards,
        outward=gait.arm_out_rad + (0.1 if jogging else 0.0),
        inward_turn=-0.1 if jogging else 0.1,
        bend=bend + 0.6 * swing * (1.0 + forwards),
    )


def _hang_arm(
    joints: list[Quaternion], gait: Gait, rng: np.random.Generator, phase: float | None, side: int, *, straight: bool
) -> None:
    """At the side. A bag pulls the arm straight, off the leg, and hangs plumb from the hand joint."""
    forwards = 0.0 if phase is None else -math.cos(2 * math.pi * (phase + 0.5 * side))
    _set_arm(
        joints,
        side,
        forward=rng.uniform(-0.05, 0.1) + 0.3 * gait.arm_swing_rad * forwards,
        outward=gait.arm_out_rad + (0.09 if straight else 0.03),
        inward_turn=rng.uniform(0.0, 0.25),
        bend=0.08 if straight else gait.elbow_bend_rad + rng.uniform(-0.1, 0.1),
    )
    if straight:
        chain = (PELVIS, *SPINE, *(joint + side for joint in (COLLAR, SHOULDER, ELBOW, WRIST)))
        arm = _chain(*(joints[joint] for joint in chain))
        _place(joints, HAND, side, _chain(_inverse(arm if side == 0 else _mirror(arm)), _about_z(-math.pi / 2)))


def _set_arm(
    joints: list[Quaternion],
    side: int,
    *,
    forward: float,
    outward: float,
    inward_turn: float,
    bend: float,
) -> None:
    """An arm hanging outward radians off the vertical, its forearm bent forwards."""
    sink = 0.05
    upper = _chain(_about_x(-forward), _about_z(-math.pi / 2 + outward + sink), _about_x(inward_turn))
    _place(joints, COLLAR, side, _about_z(-sink))
    _place(joints, SHOULDER, side, upper)
    _place(joints, ELBOW, side, _about_y(-bend))
    # The hand hangs plumb, whatever the arm does.
    _place(joints, WRIST, side, _about_z(-0.6 * outward))
    _place(joints, HAND, side, _about_z(-0.5))


def _reach(joints: list[Quaternion], reach: Reach, side: int, *, jitter: NDArray[np.float64]) -> None:
    """Two-bone inverse kinematics: the wrist at its target, the elbow towards its pole."""
    target = np.asarray(reach.wrist) + jitter
    distance = min(float(np.linalg.norm(target)), 0.98 * (UPPER_ARM_M + FOREARM_M))
    ahead = target / np.linalg.norm(target)
    pole = np.asarray(reach.elbow) - np.dot(reach.elbow, ahead) * ahead
    pole /= np.linalg.norm(pole)
    cosine = (UPPER_ARM_M**2 + distance**2 - FOREARM_M**2) / (2 * UPPER_ARM_M * distance)
    upper = (cosine * ahead + math.sqrt(1 - cosine**2) * pole).tolist()
    bend = math.acos((distance**2 - UPPER_ARM_M**2 - FOREARM_M**2) / (2 * UPPER_ARM_M * FOREARM_M))
    # At rest the upper arm lies along x and the forearm bends towards z, which is to turn to the target.
    yaw, rise = math.atan2(-upper[2], upper[0]), math.asin(upper[1])
    y_axis = (-math.sin(rise) * math.cos(yaw), math.cos(rise), math.sin(rise) * math.sin(yaw))
    z_axis = (math.sin(yaw), 0.0, math.cos(yaw))
    twist = math.atan2(-ahead.dot(y_axis), ahead.dot(z_axis))
    turn = math.radians(reach.pronation_deg)
    _place(joints, SHOULDER, side, _chain(_about_y(yaw), _about_z(rise), _about_x(twist)))
    _place(joints, ELBOW, side, _chain(_about_y(-bend), _about_x(turn / 2)))
    _place(joints, WRIST, side, _chain(_about_x(turn / 2), _about_z(-math.radians(reach.wrist_deg))))
    _place(joints, HAND, side, _about_z(-math.radians(reach.fingers_deg)))


def _sample_holds(rng: np.random.Generator, activity: Activity, carries: Carries, strides: bool) -> tuple[Hold, Hold]:
    """What the two arms do: the idle pair first, then what the burden asks, then the activity."""
    idle: list[tuple[Hold, Hold]] = [("swing", "swing")] if strides else [("rest", "rest")]
    if activity == "stand":
        idle += [("pocket", "pocket"), ("rest", "pocket"), ("akimbo", "rest"), ("over", "under"), ("under", "over")]
    holds = list(idle[int(rng.integers(len(idle)))]) if rng.random() < 0.7 else list(idle[0])
    kind, _, name = carries.rpartition("_")
    taken: int | None = None
    if kind:
        taken = ("left", "right").index(name)
        hold: Hold = {"handbag": "straight", "elbow_bag": "elbow", "shoulder_bag": "strap"}[kind]
        if kind != "shoulder_bag" or activity == "carry" or rng.random() < 0.35:
            holds[taken] = hold
    if carries == "backpack" and (activity == "carry" or rng.random() < 0.2):
        hand = int(rng.integers(2))
        holds[hand] = "strap"
        if rng.random() < 0.4:
            holds[1 - hand] = "strap"
    if activity == "carry" and carries == "none":
        holds = ["box", "box"]
    if activity == "phone":
        hand = int(rng.integers(2)) if taken is None else 1 - taken
        holds[hand] = "ear" if rng.random() < 0.45 else "screen"
    # Crossed arms need both.
    if not {"over", "under"} >= set(holds):
        holds = ["rest" if hold in ("over", "under") else hold for hold in holds]
    return holds[0], holds[1]


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


def _place(joints: list[Quaternion], joint: int, side: int, rotation: Quaternion) -> None:
    """Sets a left joint (side 0) or its mirror on the right (side 1)."""
    joints[joint + side] = rotation if side == 0 else _mirror(rotation)


def _mirror(q: Quaternion) -> Quaternion:
    """The same rotation seen in a mirror at x = 0."""
    return (q[0], q[1], -q[2], -q[3])


def _inverse(q: Quaternion) -> Quaternion:
    return (q[0], -q[1], -q[2], -q[3])


def _about_x(angle: float) -> Quaternion:
    return (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)


def _about_y(angle: float) -> Quaternion:
    return (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)


def _about_z(angle: float) -> Quaternion:
    return (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))


def _chain(*turns: Quaternion) -> Quaternion:
    """The product of rotations; the last one is applied first. Tuples, as numpy is slower for single quaternions."""
    w, x, y, z = turns[0]
    for a, b, c, d in turns[1:]:
        w, x, y, z = (
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        )
    return (w, x, y, z)


def _rotation_vector(q: Quaternion) -> tuple[float, float, float]:
    w, x, y, z = q if q[0] >= 0 else (-q[0], -q[1], -q[2], -q[3])
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2 * math.atan2(sine, w) / sine if sine > 1e-12 else 2.0
    return (scale * x, scale * y, scale * z)


def _rotation_vectors(joints: list[Quaternion]) -> NDArray[np.float32]:
    return np.array([_rotation_vector(q) for q in joints], np.float32).reshape(3 * NUM_JOINTS)
