"""Clothes as functions of the place on the body: where cloth is (for cutting and painting) and how far it stands off.

A field is a signed distance in metres, positive on the cloth. `Points` may be vertices or texels.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from synth.anatomy import ANKLE, HEAD, HIP, KNEE, NECK, SHOULDER, WRIST, Anatomy, Points
from synth.outfit import Lower, Outfit, Upper
from synth.reach import ROW_M, Reach

# Cloth this deep inside a garment's edge hides what is beneath it.
HIDDEN_M = 0.035


def smoothstep(low: float, high: float, x: NDArray) -> NDArray:
    """0 below low, 1 above high (or the reverse if low > high), smooth between; of x's own precision."""
    t = (x - float(low)) * float(1 / (high - low))
    np.minimum(np.maximum(t, 0, out=t), 1, out=t)
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


# The same vertices, texels and grids are asked again for every outfit: what depends on the place alone is kept.
_of_places = functools.lru_cache(maxsize=32)


@_of_places
def is_front(anatomy: Anatomy, points: Points) -> NDArray[np.float32]:
    """Metres in front (positive) of the trunk's axis, (N,)."""
    rows = anatomy.trunk.rows()
    centre = np.interp(points.position[:, 1], rows, anatomy.trunk.centre[:, 1])
    return (points.position[:, 2] - centre).astype(np.float32)


@_of_places
def trunk_polar(anatomy: Anatomy, points: Points) -> tuple[NDArray, NDArray]:
    """Radius (N,) and angle (N,) about the trunk's axis."""
    return _single(anatomy.trunk.polar(points.position[:, 1], points.position[:, [0, 2]]))


@_of_places
def arm_polar(anatomy: Anatomy, points: Points) -> tuple[NDArray, NDArray]:
    """Radius (N,) and angle (N,) about the nearer arm's axis; the right arm counts as a mirrored left one."""
    return _single(anatomy.arm.polar(np.abs(points.position[:, 0]), points.position[:, 1:]))


@_of_places
def leg_polar(anatomy: Anatomy, points: Points) -> tuple[NDArray, NDArray]:
    """Radius (N,) and angle (N,) about the nearer leg's axis; the right leg counts as a mirrored left one."""
    across = np.stack([np.abs(points.position[:, 0]), points.position[:, 2]], 1)
    return _single(anatomy.leg.polar(points.position[:, 1], across))


def _single(arrays: tuple[NDArray, ...]) -> tuple[NDArray[np.float32], ...]:
    return tuple(np.ascontiguousarray(a, np.float32) for a in arrays)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Place:
    """What a top's field needs to know of places (N,): distance x from the mid-plane, height y, both metres.

    from_neck: distance to the neck; behind: metres behind the trunk's axis; room: what is free between hips and arm;
    spread: how wide an open front of unit width gapes; head: -y on the head, infinite elsewhere.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    from_neck: NDArray[np.float32]
    behind: NDArray[np.float32]
    room: NDArray[np.float32]
    spread: NDArray[np.float32]
    head: NDArray[np.float32]


@_of_places
def place_of(anatomy: Anatomy, points: Points) -> Place:
    x, y = np.abs(points.position[:, 0]), points.position[:, 1]
    neck = anatomy.joints[NECK]
    # A ball below the neck joint, a tube above it.
    from_neck = (points.position - [0.0, neck[1] + 0.005, neck[2] + 0.01]) * [1.0, 1.1, 0.8]
    from_neck[:, 1] = np.minimum(from_neck[:, 1], 0)
    x, y, from_neck, behind, room, spread, head = _single(
        (
            x,
            y,
            np.linalg.norm(from_neck, axis=1),
            -is_front(anatomy, points),
            anatomy.armpit_y - 0.1 - y,
            0.6 + 0.8 * smoothstep(anatomy.neck_y, anatomy.crotch_y, y),
            np.where(np.isin(points.surface, [23, 24]), -y, np.inf),
        )
    )
    return Place(x=x, y=y, from_neck=from_neck, behind=behind, room=room, spread=spread, head=head)


def upper_field(anatomy: Anatomy, upper: Upper, points: Points) -> NDArray[np.float32]:
    """Signed distance (N,) to the edge of a top: sleeve ends, hem, neck hole and open front."""
    place, neck_y = place_of(anatomy, points), float(anatomy.joints[NECK, 1])
    # Sleeves end arms; hips and legs, which may reach as far out, lie below.
    field = np.maximum(sleeve_x(anatomy, upper.sleeve) - place.x, place.room)
    np.minimum(field, place.y - hem_y(anatomy, upper.hem), out=field)
    np.minimum(field, place.from_neck - upper.neck_m, out=field)
    # The head stays free; a collar climbs the neck a little.
    top = neck_y + (0.02 if upper.collar or upper.hood else 0.0)
    np.minimum(field, top + place.head, out=field)
    if upper.vee_m > 0:
        tip = neck_y - upper.neck_m - upper.vee_m
        np.minimum(field, np.maximum(place.x - 0.55 * (place.y - tip), place.behind), out=field)
    if upper.open_m > 0:
        np.minimum(field, np.maximum(place.x - upper.open_m * place.spread, place.behind), out=field)
    return field


def lower_field(anatomy: Anatomy, lower: Lower, points: Points) -> NDArray[np.float32]:
    """Signed distance (N,) to the edge of trousers or skirt: waistband and cuffs."""
    y = place_of(anatomy, points).y
    return np.minimum(anatomy.waist_y - 0.02 - y, y - cuff_y(anatomy, lower.length))


# Shoes have one of a few shafts.
@_of_places
def shoe_field(anatomy: Anatomy, shaft_m: float, points: Points) -> NDArray[np.float32]:
    """Signed distance (N,) to the top line of the shoe; low shoes leave the ankle free and dip at the instep."""
    ankle = anatomy.joints[ANKLE]
    instep = 0.02 * (shaft_m < 0.05) * (points.position[:, 2] < ankle[2])
    return (ankle[1] - 0.012 + shaft_m + instep - points.position[:, 1]).astype(np.float32)


@_of_places
def hair_field(anatomy: Anatomy, points: Points) -> NDArray[np.float32]:
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
    return np.where(np.isin(points.surface, [23, 24]), y - line, y - nape - 1.0).astype(np.float32)


@functools.lru_cache(maxsize=16)
def drape(reach: Reach, *, ease_m: float, top: float, cling_per_m: float, flare: float) -> NDArray[np.float32]:
    """Radius table (R, A): cloth hangs from the widest place above, follows the body in by `cling`, widens by `flare`."""
    table = reach.radius + np.float32(ease_m)
    keep, widen = 1 - cling_per_m * ROW_M, flare * ROW_M
    highest = min(int(np.searchsorted(reach.rows(), top)), len(table) - 1) - 1
    for r in range(highest, -1, -1):
        np.maximum(table[r], table[r + 1] * keep + widen, out=table[r])
    table.setflags(write=False)
    return table


def upper_drape(anatomy: Anatomy, upper: Upper) -> NDArray[np.float32]:
    """Radius table (R, A) about the trunk of a top that hangs from the chest."""
    return drape(
        anatomy.trunk, ease_m=upper.ease_m, top=anatomy.armpit_y, cling_per_m=upper.cling_per_m, flare=upper.flare
    )


def skirt_drape(anatomy: Anatomy, lower: Lower) -> NDArray[np.float32]:
    """Radius table (R, A) about the trunk of a skirt that hangs from the hips."""
    hip_y = float(anatomy.joints[HIP, 1])
    return drape(anatomy.trunk, ease_m=lower.ease_m, top=hip_y, cling_per_m=0.0, flare=lower.flare)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hang:
    """How tops hang on places (N, 3): offset is trunk * (cloth - flesh) + normal * ease + arm * (sleeve - arm_radius).

    trunk, normal, arm (N, 3): unit directions times the share of each, which blend at the shoulder. x, flesh,
    arm_radius (N,) metres; table: a sparse matrix (N, R * A) that reads the trunk's radius tables.
    """

    trunk: NDArray[np.float32]
    normal: NDArray[np.float32]
    arm: NDArray[np.float32]
    x: NDArray[np.float32]
    flesh: NDArray[np.float32]
    arm_radius: NDArray[np.float32]
    table: csr_matrix


@_of_places
def _hang_of(anatomy: Anatomy, points: Points) -> Hang:
    x, y = np.abs(points.position[:, 0]), points.position[:, 1]
    shoulder_x = float(anatomy.joints[SHOULDER, 0])
    on_arm = (smoothstep(shoulder_x - 0.03, shoulder_x + 0.05, x) * (y > anatomy.waist_y))[:, None]
    below = smoothstep(anatomy.armpit_y + 0.09, anatomy.armpit_y - 0.02, y)[:, None]
    radius, angle = trunk_polar(anatomy, points)
    arm_radius, arm_angle = arm_polar(anatomy, points)
    level = np.zeros_like(angle)
    trunk, normal, arm, x, flesh, arm_radius = _single(
        (
            np.stack([np.sin(angle), level, np.cos(angle)], 1) * below * (1 - on_arm),
            points.normal * (1 - below) * (1 - on_arm),
            np.stack([level, np.sin(arm_angle), np.cos(arm_angle)], 1) * on_arm,
            x,
            radius,
            arm_radius,
        )
    )
    table = anatomy.trunk.reader(y, angle)
    return Hang(trunk=trunk, normal=normal, arm=arm, x=x, flesh=flesh, arm_radius=arm_radius, table=table)


def upper_offset(anatomy: Anatomy, upper: Upper, points: Points) -> NDArray[np.float32]:
    """How far (N, 3) a top moves a point of the body outwards: hanging from the chest, tubular along the arms."""
    hang = _hang_of(anatomy, points)
    cloth = np.maximum(hang.table @ upper_drape(anatomy, upper).ravel() - hang.flesh, 0)
    shoulder_x, end = float(anatomy.joints[SHOULDER, 0]), sleeve_x(anatomy, upper.sleeve)
    width = upper.sleeve_width_m * np.interp(hang.x, [shoulder_x, end], [1.12, 0.86]).astype(np.float32)
    sleeve = np.maximum(width - hang.arm_radius, upper.ease_m)
    offset = hang.trunk * cloth[:, None] + hang.normal * upper.ease_m + hang.arm * sleeve[:, None]
    return _on_own_side(points.position[:, 0], offset)


def _on_own_side(x: NDArray, offset: NDArray) -> NDArray:
    """Offsets (N, 3) that take no place (N,) through the body's mid-plane."""
    crossing = x * (x + offset[:, 0]) < 0
    offset[crossing, 0] = -x[crossing]
    return offset


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LegHang:
    """How trousers hang on places (N, 3): offset is leg * (cloth - flesh) + normal * ease.

    leg, normal (N, 3): unit directions times the share of each, which blend at the crotch. side (N,) -1 or 1; on_leg
    (N,) in [0, 1]; flesh (N,) radius of the leg, metres.
    """

    leg: NDArray[np.float32]
    normal: NDArray[np.float32]
    side: NDArray[np.float32]
    on_leg: NDArray[np.float32]
    flesh: NDArray[np.float32]


@_of_places
def _leg_hang_of(anatomy: Anatomy, points: Points) -> LegHang:
    side = np.where(points.position[:, 0] < 0, -1.0, 1.0)
    radius, angle = leg_polar(anatomy, points)
    on_leg = smoothstep(anatomy.crotch_y + 0.05, anatomy.crotch_y - 0.14, points.position[:, 1])
    out = np.stack([np.sin(angle) * side, np.zeros_like(angle), np.cos(angle)], 1)
    leg, normal, side, on_leg, flesh = _single(
        (out * on_leg[:, None], points.normal * (1 - on_leg)[:, None], side, on_leg, radius)
    )
    return LegHang(leg=leg, normal=normal, side=side, on_leg=on_leg, flesh=flesh)


def lower_offset(anatomy: Anatomy, lower: Lower, points: Points) -> NDArray[np.float32]:
    """How far (N, 3) trousers move a point of the body outwards: each leg a tube from the crotch to its hem."""
    hang, position = _leg_hang_of(anatomy, points), points.position
    end, start = cuff_y(anatomy, lower.length), anatomy.crotch_y - 0.02
    width = np.interp(position[:, 1], [end, start], [lower.hem_radius_m, 0.07]).astype(np.float32)
    offset = hang.leg * np.maximum(width - hang.flesh, lower.ease_m)[:, None] + hang.normal * lower.ease_m
    # Legs keep to their own side of the body.
    inward = hang.side * (position[:, 0] + offset[:, 0])
    offset[:, 0] += np.maximum(0.004 - inward, 0) * hang.side * hang.on_leg
    return offset


def body_offset(anatomy: Anatomy, outfit: Outfit) -> NDArray[np.float32]:
    """What changes the body's own vertices (V, 3): shoes in place of toes, a cap of hair."""
    volume = 0.0 if outfit.hair.bald else outfit.hair.volume_m
    return _shoe_offset(anatomy, outfit.shaft_m) + volume * _hair_direction(anatomy)


@functools.lru_cache(maxsize=16)
def _shoe_offset(anatomy: Anatomy, shaft_m: float) -> NDArray[np.float32]:
    shod = smoothstep(-0.01, 0.02, shoe_field(anatomy, shaft_m, anatomy.vertices))
    return shod[:, None] * (anatomy.shoe_last - anatomy.vertices.position)


@functools.lru_cache(maxsize=4)
def _hair_direction(anatomy: Anatomy) -> NDArray[np.float32]:
    """Normals (V, 3) of the scalp, fading out at the hairline, 0 elsewhere."""
    return anatomy.vertices.normal * smoothstep(0.0, 0.03, hair_field(anatomy, anatomy.vertices))[:, None]
