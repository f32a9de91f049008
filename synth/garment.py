"""Clothes as functions of the place on the body: where cloth is (for cutting and painting) and how far it stands off.

A field is a signed distance in metres, positive on the cloth. `Points` may be vertices or texels.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import ANKLE, HEAD, HIP, KNEE, ROW_M, SHOULDER, WRIST, Anatomy, Points, Reach
from synth.outfit import Hair, Lower, Outfit, Upper


def smoothstep(low: float, high: float, x: NDArray) -> NDArray:
    """0 below low, 1 above high (or the reverse if low > high), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def hem_y(anatomy: Anatomy, hem: float) -> float:
    """Height in metres of a hem given as 0 waist, 1 crotch, 2 knee."""
    knee_y = float(anatomy.joints[KNEE, 1])
    return float(np.interp(hem, [0, 1, 2, 3], [anatomy.waist_y, anatomy.crotch_y, knee_y, knee_y - 0.35]))


def cuff_y(anatomy: Anatomy, length: float) -> float:
    """Height in metres where a lower garment ends: 0 hip, 1 ankle."""
    hip_y, ankle_y = float(anatomy.joints[HIP, 1]), float(anatomy.joints[ANKLE, 1])
    return hip_y + length * (ankle_y - hip_y)


def sleeve_x(anatomy: Anatomy, sleeve: float) -> float:
    shoulder, wrist = anatomy.joints[SHOULDER, 0], anatomy.joints[WRIST, 0]
    return float(shoulder + 0.01 + sleeve * (wrist - shoulder))


# The same vertices and texels are asked again for every outfit.
@functools.lru_cache(maxsize=32)
def is_front(anatomy: Anatomy, points: Points) -> NDArray:
    """Metres in front (positive) of the trunk's axis, (N,)."""
    rows = anatomy.trunk.rows()
    return points.position[:, 2] - np.interp(points.position[:, 1], rows, anatomy.trunk.centre[:, 1])


@functools.lru_cache(maxsize=32)
def trunk_polar(anatomy: Anatomy, points: Points) -> tuple[NDArray, NDArray]:
    """Radius (N,) and angle (N,) about the trunk's axis."""
    return anatomy.trunk.polar(points.position[:, 1], points.position[:, [0, 2]])


@functools.lru_cache(maxsize=32)
def arm_polar(anatomy: Anatomy, points: Points) -> tuple[NDArray, NDArray]:
    """Radius (N,) and angle (N,) about the nearer arm's axis; the right arm counts as a mirrored left one."""
    return anatomy.arm.polar(np.abs(points.position[:, 0]), points.position[:, 1:])


@functools.lru_cache(maxsize=32)
def leg_polar(anatomy: Anatomy, points: Points) -> tuple[NDArray, NDArray]:
    """Radius (N,) and angle (N,) about the nearer leg's axis; the right leg counts as a mirrored left one."""
    across = np.stack([np.abs(points.position[:, 0]), points.position[:, 2]], 1)
    return anatomy.leg.polar(points.position[:, 1], across)


def upper_field(anatomy: Anatomy, upper: Upper, points: Points, *, with_opening: bool = True) -> NDArray:
    """Signed distance (N,) to the edge of a top: sleeve ends, hem, neck hole and, if asked, the open front."""
    x, y = np.abs(points.position[:, 0]), points.position[:, 1]
    front = is_front(anatomy, points)
    neck = anatomy.joints[12]
    centre = np.array([0.0, neck[1] + 0.005, neck[2] + 0.01])
    # A ball below the neck joint, a tube above it.
    from_neck = (points.position - centre) * np.array([1.0, 1.1, 0.8], np.float32)
    from_neck[:, 1] = np.minimum(from_neck[:, 1], 0)
    hole = np.linalg.norm(from_neck, axis=1) - upper.neck_m
    # Sleeves end arms; hips and legs, which may reach as far out, lie below.
    sleeve = np.maximum(sleeve_x(anatomy, upper.sleeve) - x, anatomy.armpit_y - 0.1 - y)
    field = np.minimum.reduce([sleeve, y - hem_y(anatomy, upper.hem), hole])
    # The head stays free; a collar climbs the neck a little.
    top = neck[1] + (0.02 if upper.collar or upper.hood else 0.0)
    field = np.where(np.isin(points.surface, [23, 24]), np.minimum(field, top - y), field)
    if upper.vee_m > 0:
        tip = neck[1] - upper.neck_m - upper.vee_m
        field = np.minimum(field, np.maximum(x - 0.55 * (y - tip), -front))
    if with_opening and upper.open_m > 0:
        spread = upper.open_m * (0.6 + 0.8 * smoothstep(anatomy.neck_y, anatomy.crotch_y, y))
        field = np.minimum(field, np.maximum(x - spread, -front))
    return field


def lower_field(anatomy: Anatomy, lower: Lower, points: Points) -> NDArray:
    """Signed distance (N,) to the edge of trousers or skirt: waistband and cuffs."""
    y = points.position[:, 1]
    return np.minimum(anatomy.waist_y - 0.02 - y, y - cuff_y(anatomy, lower.length))


def shoe_field(anatomy: Anatomy, outfit: Outfit, points: Points) -> NDArray:
    """Signed distance (N,) to the top line of the shoe; low shoes leave the ankle free and dip at the instep."""
    ankle = anatomy.joints[ANKLE]
    return (
        ankle[1]
        - 0.012
        + outfit.shaft_m
        + 0.02 * (outfit.shaft_m < 0.05) * (points.position[:, 2] < ankle[2])
        - points.position[:, 1]
    )


def hair_field(anatomy: Anatomy, hair: Hair, points: Points) -> NDArray:
    """Signed distance (N,) to the hairline: forehead in front, before the ears at the side, nape behind."""
    head, crown = anatomy.joints[HEAD], anatomy.crown_y
    size = crown - head[1]
    x, y, z = points.position.T
    nape, ear, brow = head[1] - 0.15 * size, head[1] + 0.35 * size, head[1] + 0.74 * size
    face = anatomy.vertices.position[anatomy.body.face_keypoints[0], 2]
    forward = (z - head[2]) / (face - head[2])
    line = np.interp(
        forward, [-1.0, -0.25, 0.10, 0.38, 0.46, 1.2], [nape, nape, ear - 0.25 * size, ear, brow, brow + 0.04 * size]
    )
    line = line + np.where(forward > 0.4, 0.9 * np.maximum(np.abs(x) - 0.35 * size, 0), 0)
    return np.where(np.isin(points.surface, [23, 24]), y - line, y - nape - 1.0)


def drape(reach: Reach, *, ease_m: float, top: float, cling_per_m: float, flare: float) -> NDArray:
    """Radius table (R, A): cloth hangs from the widest place above, follows the body in by `cling`, widens by `flare`."""
    table = reach.radius + ease_m
    rows = reach.rows()
    for r in range(len(table) - 2, -1, -1):
        if rows[r] < top:
            table[r] = np.maximum(table[r], table[r + 1] * (1 - cling_per_m * ROW_M) + flare * ROW_M)
    return table


def upper_drape(anatomy: Anatomy, upper: Upper) -> NDArray:
    return drape(
        anatomy.trunk, ease_m=upper.ease_m, top=anatomy.armpit_y, cling_per_m=upper.cling_per_m, flare=upper.flare
    )


def skirt_drape(anatomy: Anatomy, lower: Lower) -> NDArray:
    hip_y = float(anatomy.joints[HIP, 1])
    return drape(anatomy.trunk, ease_m=lower.ease_m, top=hip_y, cling_per_m=0.0, flare=lower.flare)


def upper_offset(anatomy: Anatomy, upper: Upper, points: Points) -> NDArray[np.float32]:
    """How far (N, 3) a top moves a point of the body outwards: hanging from the chest, tubular along the arms."""
    position, normal = points.position, points.normal
    side = np.sign(position[:, 0])
    shoulder_x = float(anatomy.joints[SHOULDER, 0])
    on_arm = smoothstep(shoulder_x - 0.03, shoulder_x + 0.05, np.abs(position[:, 0])) * (
        position[:, 1] > anatomy.waist_y
    )
    below = smoothstep(anatomy.armpit_y + 0.09, anatomy.armpit_y - 0.02, position[:, 1])

    radius, angle = trunk_polar(anatomy, points)
    target = anatomy.trunk.at(upper_drape(anatomy, upper), position[:, 1], angle)
    out = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    trunk = out * (np.maximum(target - radius, 0) * below)[:, None] + normal * (upper.ease_m * (1 - below))[:, None]

    along = np.abs(position[:, 0])
    arm_radius, arm_angle = arm_polar(anatomy, points)
    end = sleeve_x(anatomy, upper.sleeve)
    width = upper.sleeve_width_m * np.interp(along, [shoulder_x, end], [1.12, 0.86])
    target = np.maximum(arm_radius + upper.ease_m, width)
    out = np.stack([np.zeros_like(along), np.sin(arm_angle), np.cos(arm_angle)], 1)
    arm = out * (target - arm_radius)[:, None]
    offset = trunk * (1 - on_arm)[:, None] + arm * on_arm[:, None]
    offset[:, 0] = np.where(side * (position[:, 0] + offset[:, 0]) < 0, -position[:, 0], offset[:, 0])
    return offset.astype(np.float32)


def lower_offset(anatomy: Anatomy, lower: Lower, points: Points) -> NDArray[np.float32]:
    """How far (N, 3) trousers move a point of the body outwards: each leg a tube from the crotch to its hem."""
    position, normal = points.position, points.normal
    side = np.where(position[:, 0] < 0, -1.0, 1.0)
    end = cuff_y(anatomy, lower.length)
    radius, angle = leg_polar(anatomy, points)
    leg_start = anatomy.crotch_y - 0.02
    width = np.interp(position[:, 1], [end, leg_start], [lower.hem_radius_m, 0.07])
    target = np.maximum(radius + lower.ease_m, width)
    out = np.stack([np.sin(angle) * side, np.zeros_like(angle), np.cos(angle)], 1)
    on_leg = smoothstep(anatomy.crotch_y + 0.05, anatomy.crotch_y - 0.14, position[:, 1])
    offset = out * ((target - radius) * on_leg)[:, None] + normal * (lower.ease_m * (1 - on_leg))[:, None]
    # Legs keep to their own side of the body.
    inward = side * (position[:, 0] + offset[:, 0])
    offset[:, 0] += np.where(inward < 0.004, side * (0.004 - inward), 0) * on_leg
    return offset.astype(np.float32)


def body_offset(anatomy: Anatomy, outfit: Outfit, points: Points) -> NDArray[np.float32]:
    """What changes the body's own vertices (V, 3): shoes in place of toes, a cap of hair."""
    shod = smoothstep(-0.01, 0.02, shoe_field(anatomy, outfit, points))[:, None]
    volume = 0.0 if outfit.hair.bald else outfit.hair.volume_m
    hair = volume * smoothstep(0.0, 0.03, hair_field(anatomy, outfit.hair, points))
    return shod * (anatomy.shoe_last - points.position) + points.normal * hair[:, None]
