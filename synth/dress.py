"""From an outfit to one skinned mesh: body, cloth shells, skirts and hems, hair, hood and what is carried."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.accessory import accessory_meshes
from synth.anatomy import HEAD, HIP, NUM_ANGLES, Anatomy, Points, vertex_normals
from synth.body import joint_rows, pose_vertices
from synth.garment import (
    body_offset,
    hair_field,
    hem_y,
    lower_field,
    lower_offset,
    skirt_drape,
    smoothstep,
    trunk_polar,
    upper_drape,
    upper_field,
    upper_offset,
)
from synth.mesh import Mesh, beneath, body_mesh, cut, grid_faces, join, moved, ride, with_faces
from synth.outfit import Hair, Outfit, Upper

# Cloth this deep inside a garment's edge hides what is beneath it.
HIDDEN_M = 0.035
# Thinner cloth is painted on the body.
PAINTED_M = 0.006
HOOD_DROP_M = 0.15
TORSO_AND_LEGS = [1, 2, 5, 6, *range(7, 15)]
TRUNK_AND_HEAD = [1, 2, 23, 24]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wrap:
    """A grid of cloth or hair around the trunk's axis, ready to be given a radius.

    along (N,) height, angle (N,), rows x columns of them; mesh: a Mesh at the body's own reach, from which labels,
    weights and directions come. points: those places as Points, for fields.
    """

    along: NDArray
    angle: NDArray
    columns: int
    mesh: Mesh
    points: Points


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dressed:
    """A person ready to be posed: 24 joints, 5 face keypoints, then the visible mesh.

    rest (29 + N, 3), normals (5 + N, 3), weights (29 + N, 24), directions (29 + N, 3, D) float32; faces (F, 3) int32 into the N; corner
    (F, 3, 4) float32: texture uv, surface uv; surface (F,) uint8 0..24. The first num_body of the N are the body's own.
    """

    rest: Tensor
    normals: Tensor
    weights: Tensor
    directions: Tensor
    faces: Tensor
    corner: Tensor
    surface: Tensor
    num_body: int


NUM_FACE_KEYPOINTS = 5


def dress(anatomy: Anatomy, outfit: Outfit) -> Dressed:
    """Put an outfit on a body; depends on nothing else."""
    cloth = _cloth_pieces(anatomy, outfit)
    return _ready(anatomy, [*cloth, *_hair_pieces(anatomy, outfit), *accessory_meshes(anatomy, outfit)])


def undressed(anatomy: Anatomy) -> Dressed:
    """The body alone, for textures that hold all there is to see."""
    return _ready(anatomy, [body_mesh(anatomy)])


def _ready(anatomy: Anatomy, pieces: list[Mesh]) -> Dressed:
    """Pieces joined behind the joints and face keypoints; the first piece is the body's own."""
    mesh, body = join(pieces), anatomy.body
    marked = body.face_keypoints
    rest, weights, directions = (
        torch.cat(rows)
        for rows in zip(
            joint_rows(body),
            (body.template[marked], body.weights[marked], body.directions[marked]),
            (torch.from_numpy(mesh.rest), torch.from_numpy(mesh.weights), torch.from_numpy(mesh.directions)),
            strict=True,
        )
    )
    normals = np.concatenate([np.zeros((NUM_FACE_KEYPOINTS, 3), np.float32), vertex_normals(mesh.rest, mesh.faces)])
    return Dressed(
        rest=rest,
        normals=torch.from_numpy(normals),
        weights=weights,
        directions=directions,
        faces=torch.from_numpy(mesh.faces),
        corner=torch.from_numpy(mesh.corner),
        surface=torch.from_numpy(mesh.surface),
        num_body=len(np.unique(pieces[0].faces)),
    )


def pose_dressed(
    anatomy: Anatomy, dressed: Dressed, betas: Tensor, pose: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertices and normals (B, 3, N), joints (B, 24, 3), face keypoints (B, 5, 3), of betas (B, S) and pose (B, 72)."""
    posed, normals, joints = pose_vertices(
        anatomy.body,
        betas,
        pose,
        rest=dressed.rest,
        normals=dressed.normals,
        weights=dressed.weights,
        directions=dressed.directions,
    )
    markers = NUM_FACE_KEYPOINTS
    return posed[:, :, markers:], normals[:, :, markers:], joints, posed[:, :, :markers].transpose(1, 2)


def _cloth_pieces(anatomy: Anatomy, outfit: Outfit) -> list[Mesh]:
    """Body, lower garment, tops from the inside out; each loses the faces that the next ones hide."""
    points, whole = anatomy.vertices, body_mesh(anatomy)
    uppers = worn_uppers(outfit)
    covers = [upper_field(anatomy, upper, points) for upper in uppers]
    lower = lower_field(anatomy, outfit.lower, points)
    shelled = outfit.lower.ease_m > PAINTED_M
    body = moved(whole, body_offset(anatomy, outfit, points))
    pieces = [_uncovered(body, np.maximum.reduce([*covers, lower] if shelled else covers))]
    if outfit.lower.joined:
        pieces.append(_skirt(anatomy, outfit, uppers))
    elif shelled:
        region = _region(anatomy, "below waist")
        shell = moved(region.mesh, lower_offset(anatomy, outfit.lower, region.points))
        pieces.append(cut(_uncovered(shell, np.maximum.reduce(covers)[region.index]), lower[region.index]))
    region = _region(anatomy, "above hips")
    join_y = float(anatomy.joints[HIP, 1]) + 0.05
    for index, upper in enumerate(uppers):
        shell = moved(region.mesh, upper_offset(anatomy, upper, region.points))
        if index + 1 < len(uppers):
            shell = _uncovered(shell, np.maximum.reduce(covers[index + 1 :])[region.index])
        pieces.append(cut(shell, np.minimum(covers[index][region.index], region.points.position[:, 1] - join_y)))
        if hem_y(anatomy, upper.hem) < join_y:
            pieces.append(_hem(anatomy, upper, join_y + 0.015))
        if upper.hood and index == len(uppers) - 1:
            pieces.append(_hood(anatomy, upper))
    return pieces


def _uncovered(mesh: Mesh, cover: NDArray) -> Mesh:
    """The piece without the faces that lie wholly deeper than HIDDEN_M under the cover (N,)."""
    return with_faces(mesh, (cover < HIDDEN_M)[mesh.faces].any(1))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Region:
    """The part of the body that a garment can lie on: index (M,) of its vertices, their points, their mesh."""

    index: NDArray[np.int64]
    points: Points
    mesh: Mesh


@functools.lru_cache(maxsize=8)
def _region(anatomy: Anatomy, name: str) -> Region:
    points, mesh = anatomy.vertices, body_mesh(anatomy)
    y = points.position[:, 1]
    if name == "below waist":
        inside = (y < anatomy.waist_y + 0.05) & ~np.isin(points.surface, (3, 4, *range(15, 25)))
    else:
        inside = (y > anatomy.joints[HIP, 1]) & (y < anatomy.neck_y + 0.08)
    faces = inside[mesh.faces].all(1)
    index = np.unique(mesh.faces[faces])
    taken = Points(position=points.position[index], normal=points.normal[index], surface=points.surface[index])
    return Region(index=index, points=taken, mesh=join([with_faces(mesh, faces)]))


def worn_uppers(outfit: Outfit) -> list[Upper]:
    """Tops with a surface of their own, inside out: a closed outer garment hides the inner one altogether."""
    if outfit.outer is None:
        return [outfit.inner]
    return [outfit.inner, outfit.outer] if outfit.outer.open_m > 0 else [outfit.outer]


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
    row, column = (a.ravel() for a in np.meshgrid(along, angle, indexing="ij"))
    if not closed:
        column = _turn(column, 2.0)
    position = _around(anatomy, row, column, anatomy.trunk.at(anatomy.trunk.radius, row, column))
    faces = grid_faces(len(along), columns, closed=closed)
    # A hood takes its cloth from the back below, not from the bare neck that it surrounds.
    source = position - np.array([0, HOOD_DROP_M, 0], np.float32) if kind == "hood" else position
    corner, surface = beneath(anatomy, source, faces, surfaces)
    weights, directions = ride(anatomy, position)
    if kind == "skirt":
        weights = _skirt_weights(anatomy, position)
    mesh = Mesh(rest=position, weights=weights, directions=directions, faces=faces, corner=corner, surface=surface)
    points = Points(position=position, normal=np.zeros_like(position), surface=np.full(len(position), 2, np.uint8))
    return Wrap(along=row, angle=column, columns=columns, mesh=mesh, points=points)


def _turn(place: NDArray, half_width_rad: float) -> NDArray:
    """Angles around the back, for places in [-1, 1] from one end of an open grid to the other."""
    angle = np.pi + place * half_width_rad
    return np.where(angle > np.pi, angle - 2 * np.pi, angle)


def _around(anatomy: Anatomy, along: NDArray, angle: NDArray, radius: NDArray) -> NDArray[np.float32]:
    """Positions (N, 3) at heights and angles about the trunk's axis."""
    centre = np.interp(along, anatomy.trunk.rows(), anatomy.trunk.centre[:, 1])
    return np.stack([radius * np.sin(angle), along, centre + radius * np.cos(angle)], 1).astype(np.float32)


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


def _wrapped(anatomy: Anatomy, wrap: Wrap, angle: NDArray, radius: NDArray) -> Mesh:
    return with_faces(wrap.mesh, slice(None), rest=_around(anatomy, wrap.along, angle, radius))


def _skirt(anatomy: Anatomy, outfit: Outfit, uppers: list[Upper]) -> Mesh:
    """A skirt, without what tops worn over it hide."""
    wrap = _wrap(anatomy, "skirt")
    radius = anatomy.trunk.at(skirt_drape(anatomy, outfit.lower), wrap.along, wrap.angle)
    cover = np.maximum.reduce([upper_field(anatomy, upper, wrap.points) for upper in uppers])
    skirt = _uncovered(_wrapped(anatomy, wrap, wrap.angle, radius), cover)
    return cut(skirt, lower_field(anatomy, outfit.lower, wrap.points))


def _hem(anatomy: Anatomy, upper: Upper, top_y: float) -> Mesh:
    """What of a top hangs below the hips, one tube around both legs."""
    wrap = _wrap(anatomy, "skirt")
    radius = anatomy.trunk.at(upper_drape(anatomy, upper), wrap.along, wrap.angle)
    field = np.minimum(upper_field(anatomy, upper, wrap.points), top_y - wrap.along)
    return cut(_wrapped(anatomy, wrap, wrap.angle, radius), field)


def _hood(anatomy: Anatomy, upper: Upper) -> Mesh:
    """A hood lying on the back: a bulge around the neck from shoulder to shoulder."""
    wrap = _wrap(anatomy, "hood")
    place = np.tile(np.linspace(-1, 1, wrap.columns), len(wrap.along) // wrap.columns)
    top, bottom = wrap.along.max(), wrap.along.min()
    rise = (wrap.along - bottom) / (top - bottom)
    bulge = np.sin(np.pi * rise) ** 0.7 * (0.055 + 0.03 * np.cos(place * np.pi / 2)) * (1 - place**4)
    reach = anatomy.trunk.at(anatomy.trunk.radius, wrap.along, wrap.angle)
    radius = np.minimum(reach, 0.10 / np.maximum(np.abs(np.sin(wrap.angle)), 0.5)) + upper.ease_m * 0.6 + bulge
    return _wrapped(anatomy, wrap, wrap.angle, radius)


def _hair_pieces(anatomy: Anatomy, outfit: Outfit) -> list[Mesh]:
    hair = outfit.hair
    if hair.bald:
        return []
    if hair.fall_m > 0:
        return [_curtain(anatomy, outfit)]
    if hair.tied != "no":
        return [_tied(anatomy, hair)]
    return []


def hair_bottom_y(anatomy: Anatomy, hair: Hair) -> float:
    """Height of the ends of hanging hair."""
    return float(anatomy.joints[HEAD, 1]) - 0.02 - hair.fall_m


def _curtain(anatomy: Anatomy, outfit: Outfit) -> Mesh:
    """Long hair: from the scalp down over nape, shoulders and back, over what is worn there."""
    hair, wrap = outfit.hair, _wrap(anatomy, "hair")
    place = np.tile(np.linspace(-1, 1, wrap.columns), len(wrap.along) // wrap.columns)
    angle = _turn(place, hair.wrap_rad)
    bottom = hair_bottom_y(anatomy, hair)
    head = float(anatomy.joints[HEAD, 1])
    cloth = worn_uppers(outfit)[-1].ease_m * smoothstep(anatomy.neck_y + 0.02, anatomy.neck_y - 0.06, wrap.along)
    reach = anatomy.trunk.at(anatomy.trunk.radius, wrap.along, angle) + cloth
    widest = (0.115 - 0.02 * smoothstep(head, bottom, wrap.along)) / np.maximum(np.abs(np.sin(angle)), 0.3)
    radius = np.minimum(reach + hair.volume_m, widest)
    strands = np.random.default_rng(hair.seed).uniform(-0.02, 0.02, wrap.columns)
    ends = bottom + np.tile(np.convolve(strands, np.ones(3) / 3, "same"), len(wrap.along) // wrap.columns)
    return cut(_wrapped(anatomy, wrap, angle, radius), np.minimum(wrap.along - ends, 1.0))


def _tied(anatomy: Anatomy, hair: Hair) -> Mesh:
    """A tail or a knot at the back of the head, labelled as the scalp beneath."""
    head = anatomy.joints[HEAD]
    size = anatomy.crown_y - head[1]
    back = anatomy.vertices.position[anatomy.vertices.position[:, 1] > head[1], 2].min()
    radii = (0.032, 0.115, 0.032) if hair.tied == "tail" else (0.042, 0.040, 0.036)
    centre = np.array([0, head[1] + (0.10 if hair.tied == "tail" else 0.6) * size, back - 0.02])
    latitude, longitude = np.meshgrid(np.linspace(0, np.pi, 9), np.arange(12) / 12 * 2 * np.pi, indexing="ij")
    ball = np.stack([np.sin(latitude) * np.cos(longitude), np.cos(latitude), np.sin(latitude) * np.sin(longitude)], -1)
    rest = (centre + ball.reshape(-1, 3) * radii).astype(np.float32)
    faces = grid_faces(9, 12, closed=True)
    field = hair_field(anatomy, hair, anatomy.atlas.points)
    scalp = np.nonzero((field > 0.02) & (anatomy.atlas.points.position[:, 2] < head[2]))[0]
    nearest = scalp[np.linalg.norm(anatomy.atlas.points.position[scalp] - centre, axis=1).argmin()]
    corner = np.concatenate([anatomy.atlas.uv[nearest], anatomy.atlas.surface_uv[nearest]])
    weights = np.zeros((len(rest), 24), np.float32)
    weights[:, HEAD] = 1
    like = int(anatomy.body.face_keypoints[0])
    directions = np.repeat(anatomy.body.directions.numpy()[like : like + 1], len(rest), 0)
    return Mesh(
        rest=rest,
        weights=weights,
        directions=directions,
        faces=faces,
        corner=np.broadcast_to(corner, (len(faces), 3, 4)).astype(np.float32),
        surface=np.full(len(faces), anatomy.atlas.points.surface[nearest], np.uint8),
    )


def covered_by_hair(anatomy: Anatomy, hair: Hair, points: Points) -> NDArray:
    """Signed distance (N,) inside the area of the body that hanging hair lies on, for painting."""
    if hair.fall_m <= 0:
        return np.full(len(points), -1.0)
    position = points.position
    _, angle = trunk_polar(anatomy, points)
    bottom = hair_bottom_y(anatomy, hair)
    width = 0.115 - 0.02 * smoothstep(float(anatomy.joints[HEAD, 1]), bottom, position[:, 1])
    around = (hair.wrap_rad - np.abs(np.abs(angle) - np.pi)) * 0.1
    on_trunk = np.isin(points.surface, TRUNK_AND_HEAD)
    field = np.minimum.reduce([position[:, 1] - bottom, width - np.abs(position[:, 0]), around])
    return np.where(on_trunk, field, -1.0)
