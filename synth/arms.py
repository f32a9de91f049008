"""What arms do: swing, hang at the side, or bring a hand somewhere; and which of these goes with what a person does.

Arms are written for the left side and mirrored: side is 0 for the left arm, 1 for the right. All set joints in place,
24 rotations relative to the T-pose, whose trunk is already posed.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synth.rotation import (
    COLLAR,
    ELBOW,
    HAND,
    PELVIS,
    SHOULDER,
    SPINE,
    WRIST,
    Quaternion,
    about_x,
    about_y,
    about_z,
    chain,
    inverse,
    mirror,
    place,
)

Activity = Literal["walk", "stand", "carry", "phone", "turn", "jog"]
Carries = Literal[
    "none", "handbag_left", "handbag_right", "elbow_bag_left", "elbow_bag_right", "shoulder_bag_left",
    "shoulder_bag_right", "backpack",
]  # fmt: skip
Hold = Literal[
    "swing", "rest", "straight", "elbow", "strap", "ear", "screen", "box", "pocket", "akimbo", "over", "under"
]  # fmt: skip
UPPER_ARM_M, FOREARM_M = 0.263, 0.233  # of the mean body; reaches scale with the person as its bones do


@dataclass(frozen=True, kw_only=True, slots=True)
class HandTarget:
    """A hand brought somewhere. wrist: from the left shoulder, metres, in the trunk's axes; elbow: the side it points
    to; pronation_deg: turn of the forearm; wrist_deg, fingers_deg: flexion (palmwards) of hand and fingers.
    """

    wrist: tuple[float, float, float]
    elbow: tuple[float, float, float]
    pronation_deg: float = 0.0
    wrist_deg: float = 0.0
    fingers_deg: float = 30.0


REACHES: dict[Hold, HandTarget] = {
    "elbow": HandTarget(wrist=(0.01, -0.17, 0.23), elbow=(0.2, -1.0, -0.6), pronation_deg=-20, fingers_deg=40),
    "strap": HandTarget(wrist=(0.02, -0.13, 0.17), elbow=(0.25, -1.0, -0.3), wrist_deg=35, fingers_deg=45),
    "ear": HandTarget(wrist=(0.01, 0.13, 0.10), elbow=(0.4, -1.0, 0.5), pronation_deg=10, fingers_deg=15),
    "screen": HandTarget(wrist=(-0.08, -0.19, 0.28), elbow=(0.3, -1.0, -0.4), pronation_deg=-60, fingers_deg=35),
    "box": HandTarget(wrist=(-0.02, -0.29, 0.28), elbow=(0.4, -0.8, -0.6), pronation_deg=-40, fingers_deg=20),
    "pocket": HandTarget(wrist=(0.095, -0.43, 0.04), elbow=(0.5, 0.0, -1.0)),
    "akimbo": HandTarget(wrist=(0.12, -0.32, 0.04), elbow=(1.0, 0.0, -0.5), wrist_deg=-20),
    "over": HandTarget(wrist=(-0.25, -0.20, 0.22), elbow=(0.7, -1.0, 0.1)),
    "under": HandTarget(wrist=(-0.25, -0.25, 0.19), elbow=(0.7, -1.0, 0.0)),
}


def swing_arm(
    joints: list[Quaternion],
    side: int,
    phase: float,
    *,
    swing_rad: float,
    outward_rad: float,
    bend_rad: float,
    jogging: bool,
) -> None:
    """Swings with the other side's leg, by swing_rad either way: farthest back at the own heel strike (phase 0 or 0.5).

    outward_rad: upper arm off the trunk; bend_rad: least flexion of the elbow, which jogging replaces.
    """
    forwards = -math.cos(2 * math.pi * (phase + 0.5 * side))
    swing = swing_rad * (1.3 if jogging else 1.0)
    bend = 1.45 if jogging else bend_rad
    _set_arm(
        joints,
        side,
        forward=(-0.25 if jogging else -0.05) + swing * forwards,
        outward=outward_rad + (0.1 if jogging else 0.0),
        inward_turn=-0.1 if jogging else 0.1,
        bend=bend + 0.6 * swing * (1.0 + forwards),
    )


def hang_arm(
    joints: list[Quaternion],
    side: int,
    phase: float | None,
    rng: np.random.Generator,
    *,
    swing_rad: float,
    outward_rad: float,
    bend_rad: float,
    straight: bool,
) -> None:
    """Hangs at the side; angles as in `swing_arm`, phase None for a person who stands.

    A bag pulls the arm straight, off the leg, and hangs plumb from the hand joint.
    """
    forwards = 0.0 if phase is None else -math.cos(2 * math.pi * (phase + 0.5 * side))
    _set_arm(
        joints,
        side,
        forward=rng.uniform(-0.05, 0.1) + 0.3 * swing_rad * forwards,
        outward=outward_rad + (0.09 if straight else 0.03),
        inward_turn=rng.uniform(0.0, 0.25),
        bend=0.08 if straight else bend_rad + rng.uniform(-0.1, 0.1),
    )
    if straight:
        above = (PELVIS, *SPINE, *(joint + side for joint in (COLLAR, SHOULDER, ELBOW, WRIST)))
        arm = chain(*(joints[joint] for joint in above))
        place(joints, HAND, side, chain(inverse(arm if side == 0 else mirror(arm)), about_z(-math.pi / 2)))


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
    upper = chain(about_x(-forward), about_z(-math.pi / 2 + outward + sink), about_x(inward_turn))
    place(joints, COLLAR, side, about_z(-sink))
    place(joints, SHOULDER, side, upper)
    place(joints, ELBOW, side, about_y(-bend))
    # The hand hangs plumb, whatever the arm does.
    place(joints, WRIST, side, about_z(-0.6 * outward))
    place(joints, HAND, side, about_z(-0.5))


def reach(joints: list[Quaternion], target: HandTarget, side: int, *, jitter: NDArray[np.float64]) -> None:
    """Two-bone inverse kinematics: the wrist at its target plus jitter (3,), metres, the elbow towards its pole."""
    wrist = np.asarray(target.wrist) + jitter
    distance = min(float(np.linalg.norm(wrist)), 0.98 * (UPPER_ARM_M + FOREARM_M))
    ahead = wrist / np.linalg.norm(wrist)
    pole = np.asarray(target.elbow) - np.dot(target.elbow, ahead) * ahead
    pole /= np.linalg.norm(pole)
    cosine = (UPPER_ARM_M**2 + distance**2 - FOREARM_M**2) / (2 * UPPER_ARM_M * distance)
    upper = (cosine * ahead + math.sqrt(1 - cosine**2) * pole).tolist()
    bend = math.acos((distance**2 - UPPER_ARM_M**2 - FOREARM_M**2) / (2 * UPPER_ARM_M * FOREARM_M))
    # At rest the upper arm lies along x and the forearm bends towards z, which is to turn to the target.
    yaw, rise = math.atan2(-upper[2], upper[0]), math.asin(upper[1])
    y_axis = (-math.sin(rise) * math.cos(yaw), math.cos(rise), math.sin(rise) * math.sin(yaw))
    z_axis = (math.sin(yaw), 0.0, math.cos(yaw))
    twist = math.atan2(-ahead.dot(y_axis), ahead.dot(z_axis))
    turn = math.radians(target.pronation_deg)
    place(joints, SHOULDER, side, chain(about_y(yaw), about_z(rise), about_x(twist)))
    place(joints, ELBOW, side, chain(about_y(-bend), about_x(turn / 2)))
    place(joints, WRIST, side, chain(about_x(turn / 2), about_z(-math.radians(target.wrist_deg))))
    place(joints, HAND, side, about_z(-math.radians(target.fingers_deg)))


def sample_holds(rng: np.random.Generator, activity: Activity, carries: Carries, strides: bool) -> tuple[Hold, Hold]:
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
