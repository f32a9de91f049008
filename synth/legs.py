"""Legs set segment by segment in the upright frame, so that the pelvis moves without dragging the feet along."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.rotation import (
    ANKLE,
    FOOT,
    HIP,
    KNEE,
    PELVIS,
    Quaternion,
    about_x,
    about_y,
    about_z,
    chain,
    inverse,
    mirror,
    place,
)


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
    def of(cls, rest_joints: NDArray[np.float32]) -> "Legs":
        """From the T-pose joints (24, 3), metres (`Anatomy.joints`)."""
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


def place_leg(
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
