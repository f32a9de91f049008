"""From an outfit to one skinned mesh: body, cloth shells, skirts and hems, hair, hood and what is carried."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.accessory import accessory_meshes
from synth.anatomy import HEAD, HIP, Anatomy, Points, vertex_normals
from synth.body import joint_rows, pose_vertices, pose_vertices_twin
from synth.garment import (
    HIDDEN_M,
    body_offset,
    hair_field,
    hem_y,
    lower_field,
    lower_offset,
    upper_field,
    upper_offset,
)
from synth.mesh import Mesh, body_mesh, cut, grid_faces, join, moved, with_faces
from synth.outfit import Outfit, Upper
from synth.wrap import curtain, hem, hood, skirt

# Thinner cloth is painted on the body.
PAINTED_M = 0.006


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dressed:
    """A person ready to be posed: 24 joints, 5 face keypoints, then the visible mesh.

    rest (29 + N, 3), normals (5 + N, 3), weights (29 + N, 24), directions (29 + N, 3, D) float32; faces (F, 3) int32 into the N; corner
    (F, 3, 4) float32: texture uv, surface uv; surface (F,) uint8 0..24; double_sided (F,) bool, False where nobody sees
    the back. The first num_body of the N are the body's own. Several people (`stack_dressed`) have a leading axis M.
    """

    rest: Tensor
    normals: Tensor
    weights: Tensor
    directions: Tensor
    faces: Tensor
    corner: Tensor
    surface: Tensor
    double_sided: Tensor
    num_body: int

    def to(self, device: torch.device | str) -> "Dressed":
        """The same on a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ARRAYS})

    def select(self, which: Tensor) -> "Dressed":
        """Those people of a stack that which (M',) int64 names."""
        return replace(self, **{name: getattr(self, name).index_select(0, which) for name in ARRAYS})


ARRAYS = ("rest", "normals", "weights", "directions", "faces", "corner", "surface", "double_sided")
NUM_FACE_KEYPOINTS = 5


def dress(anatomy: Anatomy, outfit: Outfit) -> Dressed:
    """Put an outfit on a body; depends on nothing else."""
    cloth = _cloth_pieces(anatomy, outfit)
    return _ready(anatomy, [*cloth, *_hair_pieces(anatomy, outfit), *accessory_meshes(anatomy, outfit)])


def stack_dressed(people: Sequence[Dressed]) -> Dressed:
    """Several people as one, every array with a leading axis M, to be posed and drawn together.

    All get as many vertices of the body and of clothes as the one with the most, by repeating one of their own, and as
    many faces, by faces without area.
    """
    num_body = max(one.num_body for one in people)
    num_others = max(len(one.normals) - NUM_FACE_KEYPOINTS - one.num_body for one in people)
    num_faces = max(len(one.faces) for one in people)
    rows = [_filled_up(one, num_body, num_others, num_faces) for one in people]
    return Dressed(**{name: torch.stack([row[name] for row in rows]) for name in ARRAYS}, num_body=num_body)


def _filled_up(one: Dressed, num_body: int, num_others: int, num_faces: int) -> dict[str, Tensor]:
    """Arrays of one person with more vertices and faces."""
    own = torch.arange(len(one.normals) - NUM_FACE_KEYPOINTS)
    spare = own.new_zeros(num_body - one.num_body), own.new_zeros(num_others + one.num_body - len(own))
    order = torch.cat([own[: one.num_body], spare[0], own[one.num_body :], spare[1]])
    faces = one.faces + (one.faces >= one.num_body).int() * (num_body - one.num_body)
    arrays = {"faces": faces, "corner": one.corner, "surface": one.surface, "double_sided": one.double_sided}
    for name, array in arrays.items():
        arrays[name] = torch.cat([array, array.new_zeros(num_faces - len(array), *array.shape[1:])])
    for name in ("rest", "normals", "weights", "directions"):
        array = getattr(one, name)
        ahead = len(array) - len(own)
        arrays[name] = array[torch.cat([torch.arange(ahead), ahead + order])]
    return arrays


def undressed(anatomy: Anatomy) -> Dressed:
    """The body alone, for textures that hold all there is to see."""
    return _ready(anatomy, [body_mesh(anatomy)])


def _ready(anatomy: Anatomy, pieces: list[Mesh]) -> Dressed:
    """Pieces joined behind the joints and face keypoints; the first piece is the body's own."""
    markers = _markers(anatomy)
    mesh = join(pieces, ahead=markers)
    num_joints = len(markers.rest) - NUM_FACE_KEYPOINTS
    normals = np.zeros((len(mesh.rest) - num_joints, 3), np.float32)
    normals[NUM_FACE_KEYPOINTS:] = vertex_normals(mesh.rest[len(markers.rest) :], mesh.faces)
    return Dressed(
        rest=torch.from_numpy(mesh.rest),
        normals=torch.from_numpy(normals),
        weights=torch.from_numpy(mesh.weights),
        directions=torch.from_numpy(mesh.directions),
        faces=torch.from_numpy(mesh.faces),
        corner=torch.from_numpy(mesh.corner),
        surface=torch.from_numpy(mesh.surface),
        double_sided=torch.from_numpy(mesh.double_sided),
        num_body=int(mesh.faces[: len(pieces[0].faces)].max()) + 1,
    )


def _markers(anatomy: Anatomy) -> Mesh:
    """Joints and face keypoints as vertices without faces."""
    body = anatomy.body
    marked = body.face_keypoints
    rest, weights, directions = (
        torch.cat(rows).numpy()
        for rows in zip(
            joint_rows(body), (body.template[marked], body.weights[marked], body.directions[marked]), strict=True
        )
    )
    whole = body_mesh(anatomy)
    return Mesh(
        rest=rest,
        weights=weights,
        directions=directions,
        faces=whole.faces[:0],
        corner=whole.corner[:0],
        surface=whole.surface[:0],
        double_sided=whole.double_sided[:0],
    )


def pose_dressed(
    anatomy: Anatomy, dressed: Dressed, betas: Tensor, pose: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertices and normals (B, 3, N), joints (B, 24, 3), face keypoints (B, 5, 3), of betas (B, S) and pose (B, 72)."""
    # Several people at once are what the torch code knows on every device.
    posing = pose_vertices if dressed.rest.dim() == 2 else pose_vertices_twin
    posed, normals, joints = posing(
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
    body = moved(whole, body_offset(anatomy, outfit))
    seen = np.maximum.reduce([*covers, lower] if shelled else covers) < HIDDEN_M
    pieces = [cut(body, np.ones(len(seen), np.float32), seen)]
    if outfit.lower.joined:
        pieces.append(skirt(anatomy, outfit.lower, uppers))
    elif shelled:
        region = _region(anatomy, "below waist")
        shell = moved(region.mesh, lower_offset(anatomy, outfit.lower, region.points))
        pieces.append(cut(shell, lower[region.index], seen=np.maximum.reduce(covers)[region.index] < HIDDEN_M))
    region = _region(anatomy, "above hips")
    join_y = float(anatomy.joints[HIP, 1]) + 0.05
    for index, upper in enumerate(uppers):
        shell = moved(region.mesh, upper_offset(anatomy, upper, region.points))
        if upper.open_m > 0:
            # Between its fronts one looks at the inside of its back.
            shell = replace(shell, double_sided=np.ones(len(shell.faces), bool))
        field = np.minimum(covers[index][region.index], region.points.position[:, 1] - join_y)
        over = covers[index + 1 :]
        pieces.append(cut(shell, field, seen=np.maximum.reduce(over)[region.index] < HIDDEN_M if over else None))
        if hem_y(anatomy, upper.hem) < join_y:
            pieces.append(hem(anatomy, upper, join_y + 0.015))
        if upper.hood and index == len(uppers) - 1:
            pieces.append(hood(anatomy, upper))
    return pieces


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


def _hair_pieces(anatomy: Anatomy, outfit: Outfit) -> list[Mesh]:
    hair = outfit.hair
    if hair.bald:
        return []
    if hair.fall_m > 0:
        return [curtain(anatomy, outfit)]
    if hair.tied != "no":
        return [_tied(anatomy, hair.tied)]
    return []


@functools.lru_cache(maxsize=4)
def _tied(anatomy: Anatomy, kind: Literal["tail", "knot"]) -> Mesh:
    """A tail or a knot at the back of the head, labelled as the scalp beneath."""
    head = anatomy.joints[HEAD]
    size = anatomy.crown_y - head[1]
    back = anatomy.vertices.position[anatomy.vertices.position[:, 1] > head[1], 2].min()
    radii = (0.032, 0.115, 0.032) if kind == "tail" else (0.042, 0.040, 0.036)
    centre = np.array([0, head[1] + (0.10 if kind == "tail" else 0.6) * size, back - 0.02])
    latitude, longitude = np.meshgrid(np.linspace(0, np.pi, 9), np.arange(12) / 12 * 2 * np.pi, indexing="ij")
    ball = np.stack([np.sin(latitude) * np.cos(longitude), np.cos(latitude), np.sin(latitude) * np.sin(longitude)], -1)
    rest = (centre + ball.reshape(-1, 3) * radii).astype(np.float32)
    # Longitude runs against the clock seen from above: turned over, the faces look outwards.
    faces = np.ascontiguousarray(grid_faces(9, 12, closed=True)[:, ::-1])
    field = hair_field(anatomy, anatomy.atlas.points)
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
        double_sided=np.zeros(len(faces), bool),
    )
