"""Rotations of single joints as unit quaternions, and where they go among a pose's 24 joints.

Quaternions are tuples, as numpy is slower for single ones.
"""

import math

import numpy as np
from numpy.typing import NDArray

from synth.body import JOINTS, NUM_JOINTS

Quaternion = tuple[float, float, float, float]  # w, x, y, z
IDENTITY: Quaternion = (1.0, 0.0, 0.0, 0.0)
PELVIS, SPINE, NECK, HEAD = 0, (3, 6, 9), 12, 15
# Left joints; the right one follows each.
HIP, KNEE, ANKLE, FOOT, COLLAR, SHOULDER, ELBOW, WRIST, HAND = (
    JOINTS.index(f"left_{name}")
    for name in ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")
)  # fmt: skip


def place(joints: list[Quaternion], joint: int, side: int, rotation: Quaternion) -> None:
    """Sets, of 24 joints, a left one (side 0) or its mirror on the right (side 1); rotation is the left one's."""
    joints[joint + side] = rotation if side == 0 else mirror(rotation)


def mirror(q: Quaternion) -> Quaternion:
    """The same rotation seen in a mirror at x = 0."""
    return (q[0], q[1], -q[2], -q[3])


def inverse(q: Quaternion) -> Quaternion:
    """The rotation that undoes the unit quaternion q."""
    return (q[0], -q[1], -q[2], -q[3])


def about_x(angle: float) -> Quaternion:
    """The rotation about the x axis by angle, radians."""
    return (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)


def about_y(angle: float) -> Quaternion:
    """The rotation about the y axis by angle, radians."""
    return (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)


def about_z(angle: float) -> Quaternion:
    """The rotation about the z axis by angle, radians."""
    return (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))


def chain(*turns: Quaternion) -> Quaternion:
    """The product of rotations; the last one is applied first."""
    w, x, y, z = turns[0]
    for a, b, c, d in turns[1:]:
        w, x, y, z = (
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        )
    return (w, x, y, z)


def bend_spine(joints: list[Quaternion], *, pitch: float, yaw: float, roll: float) -> None:
    """Bends the trunk on top of its rotations, radians, a third at each joint; pitch forwards, yaw to the left."""
    third = chain(about_y(yaw / 3), about_z(roll / 3), about_x(pitch / 3))
    for joint in SPINE:
        joints[joint] = chain(joints[joint], third)


def turn_head(joints: list[Quaternion], *, pitch: float, yaw: float, roll: float) -> None:
    """Turns the head on top of its rotations, radians, half at the neck; pitch forwards, yaw to the left."""
    half = chain(about_y(yaw / 2), about_z(roll / 2), about_x(pitch / 2))
    for joint in (NECK, HEAD):
        joints[joint] = chain(joints[joint], half)


def rotation_vector(q: Quaternion) -> tuple[float, float, float]:
    """The axis-angle vector of the unit quaternion q, radians, no longer than pi."""
    w, x, y, z = q if q[0] >= 0 else (-q[0], -q[1], -q[2], -q[3])
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2 * math.atan2(sine, w) / sine if sine > 1e-12 else 2.0
    return (scale * x, scale * y, scale * z)


def rotation_vectors(joints: list[Quaternion]) -> NDArray[np.float32]:
    """The pose (72,) float32 of 24 joints' rotations: axis-angle, radians."""
    return np.array([rotation_vector(q) for q in joints], np.float32).reshape(3 * NUM_JOINTS)
