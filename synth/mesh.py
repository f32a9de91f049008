"""Skinned pieces of a dressed person: the arrays they share, cutting them along a field, and joining them."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import Anatomy

# Corner attributes of one face corner: texture u, v, then surface u, v.
NUM_CORNER = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mesh:
    """A piece that rides on the body.

    rest (N, 3) float32 metres in the T-pose; weights (N, 24); directions (N, 3, D), how it follows the body's
    shape (and pose) directions; faces (F, 3) int32; corner (F, 3, 4) float32, texture uv and surface uv of each face corner;
    surface (F,) uint8, the body surface beneath, 0 for what is carried.
    """

    rest: NDArray[np.float32]
    weights: NDArray[np.float32]
    directions: NDArray[np.float32]
    faces: NDArray[np.int32]
    corner: NDArray[np.float32]
    surface: NDArray[np.uint8]


@functools.lru_cache(maxsize=4)
def body_mesh(anatomy: Anatomy) -> Mesh:
    """The body itself as a piece; garments start as copies of it."""
    body = anatomy.body
    corner = np.concatenate([body.uv.numpy()[body.face_uv.numpy()], anatomy.surface.uv], 2)
    return Mesh(
        rest=body.template.numpy(),
        weights=body.weights.numpy(),
        directions=body.directions.numpy(),
        faces=body.faces.numpy().astype(np.int32),
        corner=corner.astype(np.float32),
        surface=anatomy.surface.surface,
    )


def moved(mesh: Mesh, offset: NDArray) -> Mesh:
    """The piece with its rest vertices moved by offset (N, 3) metres."""
    return with_faces(mesh, slice(None), rest=(mesh.rest + offset).astype(np.float32))


def with_faces(mesh: Mesh, chosen: NDArray | slice, *, rest: NDArray | None = None) -> Mesh:
    """The piece with only the chosen faces; vertices stay until `join` drops unused ones."""
    return Mesh(
        rest=mesh.rest if rest is None else rest,
        weights=mesh.weights,
        directions=mesh.directions,
        faces=mesh.faces[chosen],
        corner=mesh.corner[chosen],
        surface=mesh.surface[chosen],
    )


def cut(mesh: Mesh, field: NDArray) -> Mesh:
    """Keep where field (N,) > 0; faces on the border are cut along the zero line, so that hems run clean.

    New vertices and their attributes are linear along the cut edges.
    """
    inside = field[mesh.faces] > 0
    count = inside.sum(1)
    whole = np.nonzero(count == 3)[0]
    one, two = np.nonzero(count == 1)[0], np.nonzero(count == 2)[0]
    # Turn each border face so that its odd corner comes first.
    turn_one, turn_two = inside[one].argmax(1), (~inside[two]).argmax(1)
    border = np.concatenate([one, two])
    order = (np.concatenate([turn_one, turn_two])[:, None] + np.arange(3)) % 3
    faces = np.take_along_axis(mesh.faces[border], order, 1)
    corner = np.take_along_axis(mesh.corner[border], order[:, :, None], 1)

    # Edges 0-1 and 0-2 of every border face cross the line.
    ends = np.stack([faces[:, [0, 1]], faces[:, [0, 2]]], 1).reshape(-1, 2)
    sorted_ends = np.sort(ends, 1)
    unique, inverse = np.unique(sorted_ends, axis=0, return_inverse=True)
    a, b = unique[:, 0], unique[:, 1]
    share = (field[a] / (field[a] - field[b])).astype(np.float32) if len(unique) else np.zeros(0, np.float32)
    new = len(mesh.rest) + inverse.reshape(-1, 2).astype(np.int32)
    flipped = sorted_ends[:, 0] != ends[:, 0]
    along = np.where(flipped, 1 - share[inverse], share[inverse]).reshape(-1, 2, 1).astype(np.float32)
    crossing = corner[:, :1] * (1 - along) + corner[:, 1:] * along

    n1 = len(one)
    tip = np.stack([faces[:n1, 0], new[:n1, 0], new[:n1, 1]], 1)
    tip_corner = np.stack([corner[:n1, 0], crossing[:n1, 0], crossing[:n1, 1]], 1)
    f2, e2, c2, x2 = faces[n1:], new[n1:], corner[n1:], crossing[n1:]
    first = np.stack([e2[:, 0], f2[:, 1], f2[:, 2]], 1)
    first_corner = np.stack([x2[:, 0], c2[:, 1], c2[:, 2]], 1)
    second = np.stack([e2[:, 0], f2[:, 2], e2[:, 1]], 1)
    second_corner = np.stack([x2[:, 0], c2[:, 2], x2[:, 1]], 1)

    def lerp(values: NDArray) -> NDArray:
        s = share.reshape(-1, *[1] * (values.ndim - 1))
        return np.concatenate([values, values[a] * (1 - s) + values[b] * s]).astype(np.float32)

    return Mesh(
        rest=lerp(mesh.rest),
        weights=lerp(mesh.weights),
        directions=lerp(mesh.directions),
        faces=np.concatenate([mesh.faces[whole], tip, first, second]).astype(np.int32),
        corner=np.concatenate([mesh.corner[whole], tip_corner, first_corner, second_corner]).astype(np.float32),
        surface=mesh.surface[np.concatenate([whole, one, two, two])],
    )


def join(pieces: list[Mesh]) -> Mesh:
    """One mesh of all pieces, without the vertices that no face uses."""
    rest, weights, directions, faces, base = [], [], [], [], 0
    for piece in pieces:
        used = np.zeros(len(piece.rest), bool)
        used[piece.faces.ravel()] = True
        place = np.cumsum(used, dtype=np.int32) - 1
        rest.append(piece.rest[used])
        weights.append(piece.weights[used])
        directions.append(piece.directions[used])
        faces.append(place[piece.faces] + base)
        base += len(rest[-1])
    return Mesh(
        rest=np.concatenate(rest),
        weights=np.concatenate(weights),
        directions=np.concatenate(directions),
        faces=np.concatenate(faces).astype(np.int32),
        corner=np.concatenate([p.corner for p in pieces]),
        surface=np.concatenate([p.surface for p in pieces]),
    )


def grid_faces(rows: int, columns: int, *, closed: bool) -> NDArray[np.int32]:
    """Triangles over a (rows, columns) grid of vertices, wrapping around in columns if closed."""
    width = columns if closed else columns - 1
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(width), indexing="ij")
    a, b = r * columns + c, r * columns + (c + 1) % columns
    quads = np.stack([a, b, a + columns, b + columns], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 2, 1]], quads[:, [1, 2, 3]]]).astype(np.int32)


def ride(anatomy: Anatomy, position: NDArray, *, near: int = 8) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (N, 24) and directions (N, 3, D) for points (N, 3) that follow the body vertices nearest them."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(anatomy.vertices.position).query(position, k=near)
    closeness = 1 / (distance + 0.01) ** 2
    closeness = (closeness / closeness.sum(1, keepdims=True)).astype(np.float32)
    weights = np.einsum("nk,nkj->nj", closeness, anatomy.body.weights.numpy()[index])
    directions = np.einsum("nk,nkcs->ncs", closeness, anatomy.body.directions.numpy()[index])
    return weights.astype(np.float32), directions.astype(np.float32)


def beneath(anatomy: Anatomy, position: NDArray, faces: NDArray, surfaces: list[int]) -> tuple[NDArray, NDArray]:
    """What lies under a layer: corner (F, 3, 4) and surface (F,) from the nearest texels of the given surfaces.

    All corners of a face are read from one chart, the one under its middle, so that no face spans a seam. Heights count
    three times: a hem on the cloth lies at the height of the hem painted beneath.
    """
    from scipy.spatial import cKDTree

    atlas = anatomy.atlas
    allowed = np.nonzero(np.isin(atlas.points.surface, surfaces))[0]
    stretch = np.array([1.0, 3.0, 1.0])
    places = atlas.points.position * stretch
    triangle = position[faces] * stretch
    middle = allowed[cKDTree(places[allowed]).query(triangle.mean(1))[1]]
    chart = atlas.chart[middle]
    values = np.concatenate([atlas.uv, atlas.surface_uv], 1)
    corner = np.empty((len(faces), 3, NUM_CORNER), np.float32)
    for one in np.unique(chart):
        texels = allowed[atlas.chart[allowed] == one]
        mine = chart == one
        found = cKDTree(places[texels]).query(triangle[mine].reshape(-1, 3))[1]
        corner[mine] = values[texels[found]].reshape(-1, 3, NUM_CORNER)
    return corner, atlas.points.surface[middle]
