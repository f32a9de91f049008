"""Cloth and hair that hang around the trunk's axis as grids: skirts, hems, hoods and long hair."""

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from synth.anatomy import HEAD, HIP, Anatomy, Points
from synth.garment import (
    HIDDEN_M,
    lower_field,
    place_of,
    skirt_drape,
    smoothstep,
    trunk_polar,
    upper_drape,
    upper_field,
)
from synth.mesh import Mesh, beneath, cut, grid_faces, ride
from synth.outfit import Hair, Lower, Outfit, Upper
from synth.reach import NUM_ANGLES

HOOD_DROP_M = 0.15
TORSO_AND_LEGS = [1, 2, 5, 6, *range(7, 15)]
TRUNK_AND_HEAD = [1, 2, 23, 24]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wrap:
    """A grid of cloth or hair around the trunk's axis, ready to be given a radius.

    along (N,) height, angle (N,), rows x columns of them; place (N,) from -1 to 1 across each row. axis (N, 3), the
    places on the axis; outward (N, 3) unit, away from it; table: a sparse matrix (N, R * A) that reads the trunk's
    radius tables there. mesh: a Mesh at the body's own reach, from which labels, weights and directions come. points:
    those places as Points, for fields.
    """

    along: NDArray[np.float32]
    angle: NDArray[np.float32]
    columns: int
    place: NDArray[np.float32]
    axis: NDArray[np.float32]
    outward: NDArray[np.float32]
    table: csr_matrix
    mesh: Mesh
    points: Points

    def at(self, radius: NDArray, outward: NDArray | None = None) -> Mesh:
        """The grid's mesh with each vertex at its radius (N,), outward from the axis."""
        out = self.outward if outward is None else outward
        return replace(self.mesh, rest=self.axis + out * radius.astype(np.float32)[:, None])


@functools.lru_cache(maxsize=16)
def _wrap(anatomy: Anatomy, kind: str) -> Wrap:
    """The grids that clothes and hair are made of, one per body: `skirt`, `hair`, `hood`."""
    head = float(anatomy.joints[HEAD, 1])
    match kind:
        case "skirt":
            along, columns, closed = (
                np.arange(anatomy.waist_y + 0.02, anatomy.ground_y + 0.06, -0.022),
                NUM_ANGLES,
                True,
            )
            angle, surfaces = (np.arange(columns) + 0.5) / columns * 2 * np.pi - np.pi, TORSO_AND_LEGS
        case "hair":
            along, columns, closed = np.arange(anatomy.crown_y - 0.05, head - 0.55, -0.022), 25, False
            angle, surfaces = np.linspace(-1, 1, columns), TRUNK_AND_HEAD
        case "hood":
            along, columns, closed = np.arange(anatomy.neck_y + 0.075, anatomy.neck_y - 0.16, -0.0195), 25, False
            angle, surfaces = np.linspace(-1, 1, columns), [1, 2]
        case _:
            raise ValueError(f"unknown wrap {kind!r}")
    row, column = (a.ravel().astype(np.float32) for a in np.meshgrid(along, angle, indexing="ij"))
    if not closed:
        column = _turn(column, 2.0)
    table = anatomy.trunk.reader(row, column)
    centre = np.interp(row, anatomy.trunk.rows(), anatomy.trunk.centre[:, 1])
    axis, outward = np.stack([np.zeros_like(row), row, centre], 1).astype(np.float32), _outward(column)
    position = axis + outward * (table @ anatomy.trunk.radius.ravel())[:, None]
    faces = grid_faces(len(along), columns, closed=closed)
    # A hood takes its cloth from the back below, not from the bare neck that it surrounds.
    source = position - np.array([0, HOOD_DROP_M, 0], np.float32) if kind == "hood" else position
    corner, surface = beneath(anatomy, source, faces, surfaces)
    weights, directions = ride(anatomy, position)
    if kind == "skirt":
        weights = _skirt_weights(anatomy, position)
    mesh = Mesh(
        rest=position,
        weights=weights,
        directions=directions,
        faces=faces,
        corner=corner,
        surface=surface,
        double_sided=np.ones(len(faces), bool),
    )
    points = Points(position=position, normal=np.zeros_like(position), surface=np.full(len(position), 2, np.uint8))
    place = np.tile(np.linspace(-1, 1, columns, dtype=np.float32), len(along))
    return Wrap(
        along=row,
        angle=column,
        columns=columns,
        place=place,
        axis=axis,
        outward=outward,
        table=table,
        mesh=mesh,
        points=points,
    )


def _turn(place: NDArray, half_width_rad: float) -> NDArray:
    """Angles around the back, for places in [-1, 1] from one end of an open grid to the other."""
    angle = np.pi + place * half_width_rad
    return np.where(angle > np.pi, angle - 2 * np.pi, angle)


def _outward(angle: NDArray) -> NDArray[np.float32]:
    """Unit directions (N, 3) away from the trunk's axis."""
    return np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1).astype(np.float32)


def _skirt_weights(anatomy: Anatomy, position: NDArray) -> NDArray[np.float32]:
    """Pelvis at the top, more and more the two thighs below, shared by side; long ones follow the shins a little."""
    hip, knee = float(anatomy.joints[HIP, 1]), float(anatomy.joints[4, 1])
    left = smoothstep(-0.13, 0.13, position[:, 0])
    thigh = 0.9 * smoothstep(hip + 0.06, anatomy.crotch_y - 0.12, position[:, 1])
    shin = 0.5 * smoothstep(knee, knee - 0.35, position[:, 1])
    weights = np.zeros((len(position), 24), np.float32)
    weights[:, 0] = 1 - thigh
    for joint, share in ((1, left), (2, 1 - left)):
        weights[:, joint] = thigh * share * (1 - shin)
        weights[:, joint + 3] = thigh * share * shin
    return weights


def skirt(anatomy: Anatomy, lower: Lower, uppers: list[Upper]) -> Mesh:
    """A skirt, without what tops worn over it hide."""
    wrap = _wrap(anatomy, "skirt")
    cover = np.maximum.reduce([upper_field(anatomy, upper, wrap.points) for upper in uppers])
    hung = wrap.at(wrap.table @ skirt_drape(anatomy, lower).ravel())
    return cut(hung, lower_field(anatomy, lower, wrap.points), seen=cover < HIDDEN_M)


def hem(anatomy: Anatomy, upper: Upper, top_y: float) -> Mesh:
    """What of a top hangs below the hips, one tube around both legs."""
    wrap = _wrap(anatomy, "skirt")
    hung = wrap.at(wrap.table @ upper_drape(anatomy, upper).ravel())
    return cut(hung, np.minimum(upper_field(anatomy, upper, wrap.points), top_y - wrap.along))


def hood(anatomy: Anatomy, upper: Upper) -> Mesh:
    """A hood lying on the back: a bulge around the neck from shoulder to shoulder."""
    wrap = _wrap(anatomy, "hood")
    place = wrap.place
    top, bottom = wrap.along.max(), wrap.along.min()
    rise = (wrap.along - bottom) / (top - bottom)
    bulge = np.sin(np.pi * rise).clip(0) ** 0.7 * (0.055 + 0.03 * np.cos(place * np.pi / 2)) * (1 - place**4)
    reach = wrap.table @ anatomy.trunk.radius.ravel()
    radius = np.minimum(reach, 0.10 / np.maximum(np.abs(np.sin(wrap.angle)), 0.5)) + upper.ease_m * 0.6 + bulge
    return wrap.at(radius)


def hair_bottom_y(anatomy: Anatomy, hair: Hair) -> float:
    """Height of the ends of hanging hair."""
    return float(anatomy.joints[HEAD, 1]) - 0.02 - hair.fall_m


def curtain(anatomy: Anatomy, outfit: Outfit) -> Mesh:
    """Long hair: from the scalp down over nape, shoulders and back, over what is worn there."""
    hair, wrap = outfit.hair, _wrap(anatomy, "hair")
    angle = _turn(wrap.place, hair.wrap_rad)
    bottom = hair_bottom_y(anatomy, hair)
    head = float(anatomy.joints[HEAD, 1])
    cloth = (outfit.outer or outfit.inner).ease_m * smoothstep(anatomy.neck_y + 0.02, anatomy.neck_y - 0.06, wrap.along)
    reach = anatomy.trunk.at(anatomy.trunk.radius, wrap.along, angle) + cloth
    widest = (0.115 - 0.02 * smoothstep(head, bottom, wrap.along)) / np.maximum(np.abs(np.sin(angle)), 0.3)
    radius = np.minimum(reach + hair.volume_m, widest)
    strands = np.random.default_rng(hair.seed).uniform(-0.02, 0.02, wrap.columns)
    ends = bottom + np.tile(np.convolve(strands, np.ones(3) / 3, "same"), len(wrap.along) // wrap.columns)
    return cut(wrap.at(radius, _outward(angle)), (wrap.along - ends).astype(np.float32))


def covered_by_hair(anatomy: Anatomy, hair: Hair, points: Points) -> NDArray[np.float32]:
    """Signed distance (N,) inside the area of the trunk and head that hanging hair lies on, for painting."""
    place = place_of(anatomy, points)
    bottom = hair_bottom_y(anatomy, hair)
    width = 0.115 - 0.02 * smoothstep(float(anatomy.joints[HEAD, 1]), bottom, place.y)
    _, angle = trunk_polar(anatomy, points)
    around = (hair.wrap_rad - np.abs(np.abs(angle) - np.pi)) * 0.1
    return np.minimum(np.minimum(place.y - bottom, width - place.x), around)
