"""Skinned pieces of a dressed person: the arrays they share, cutting them along a field, and joining them."""

import functools
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import Anatomy
from synth.mesh_numba import sort_faces

# Corner attributes of one face corner: texture u, v, then surface u, v.
NUM_CORNER = 4
# Down a collar or up a sleeve, a piece is seen from inside this far from the edge where it was cut.
SEEN_INSIDE_M = 0.12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mesh:
    """A piece that rides on the body.

    rest (N, 3) float32 metres in the T-pose; weights (N, 24); directions (N, 3, D), how it follows the body's
    shape (and pose) directions; faces (F, 3) int32; corner (F, 3, 4) float32, texture uv and surface uv of each face corner;
    surface (F,) uint8, the body surface beneath, 0 for what is carried; double_sided (F,) bool, whether the back of a
    face may ever be seen.
    ends (K, 2) int32, share (K,) float32: what `cut` added. Vertex N + k of the faces lies `share` of the way between
    its two ends; `join` works it out.
    """

    rest: NDArray[np.float32]
    weights: NDArray[np.float32]
    directions: NDArray[np.float32]
    faces: NDArray[np.int32]
    corner: NDArray[np.float32]
    surface: NDArray[np.uint8]
    double_sided: NDArray[np.bool_]
    ends: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32))
    share: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


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
        double_sided=np.zeros(len(corner), bool),
    )


def moved(mesh: Mesh, offset: NDArray) -> Mesh:
    """The piece with its rest vertices moved by offset (N, 3) metres."""
    return replace(mesh, rest=mesh.rest + offset)


def with_faces(mesh: Mesh, chosen: NDArray[np.bool_]) -> Mesh:
    """The piece with only the chosen faces (F,); vertices stay until `join` drops unused ones."""
    rows = ("faces", "corner", "surface", "double_sided")
    return replace(mesh, **{name: getattr(mesh, name)[chosen] for name in rows})


def cut(mesh: Mesh, field: NDArray[np.float32], seen: NDArray[np.bool_] | None = None) -> Mesh:
    """Keep where field (N,) > 0; faces on the border are cut along the zero line, so that hems run clean.

    field is a distance to the edge, metres: faces nearer than SEEN_INSIDE_M to it become double-sided. Faces without
    any vertex that is `seen` (N,) are left out. New vertices and their attributes are linear along the cut edges. The
    piece must not have been cut before.
    """
    if len(mesh.ends):
        raise ValueError("a piece can be cut once: join it first")
    num_inside, least = np.empty(len(mesh.faces), np.int8), np.empty(len(mesh.faces), np.float32)
    sort_faces(mesh.faces.reshape(-1), field, np.ones(len(field), bool) if seen is None else seen, num_inside, least)
    whole, crossed = np.flatnonzero(num_inside == 3), np.flatnonzero(num_inside % 3)
    # In a crossed face one vertex is alone on its side. It comes first, and 0 lies on the two edges that leave it.
    single = num_inside[crossed] == 1
    turned = (np.argmax((field[mesh.faces[crossed].T] > 0) == single, 0) + [[0], [1], [2]]) % 3
    vertex, corner = mesh.faces[crossed, turned], mesh.corner[crossed, turned]
    edges = np.minimum(vertex[0], vertex[1:]).astype(np.int64) * len(field) + np.maximum(vertex[0], vertex[1:])
    edge, new = np.unique(edges, return_inverse=True)
    ends = np.stack(np.divmod(edge, len(field)), 1).astype(np.int32)
    low, high = field[ends].T
    along = (field[vertex[0]] / (field[vertex[0]] - field[vertex[1:]]))[:, :, None]
    vertex = np.concatenate([vertex, len(field) + new.reshape(2, -1)])
    corner = np.concatenate([corner, corner[0] * (1 - along) + corner[1:] * along])
    # What is left of a face: the tip at the single vertex, or the rest without the tip, in two triangles.
    parts = [(single, [0, 3, 4]), (~single, [1, 2, 4]), (~single, [1, 4, 3])]
    source = np.concatenate([whole, *(crossed[chosen] for chosen, _ in parts)])
    return replace(
        mesh,
        faces=_stacked(mesh.faces.take(whole, 0), [vertex[rows][:, chosen] for chosen, rows in parts]),
        corner=_stacked(mesh.corner.take(whole, 0), [corner[rows][:, chosen] for chosen, rows in parts]),
        surface=mesh.surface[source],
        double_sided=(mesh.double_sided | (least < SEEN_INSIDE_M))[source],
        ends=ends,
        share=low / (low - high),
    )


def _stacked(whole: NDArray, parts: list[NDArray]) -> NDArray:
    """Rows of whole faces (F, 3, ...), and then those of `parts`, (3, G, ...) each."""
    return np.concatenate([whole, *(part.swapaxes(0, 1) for part in parts)], dtype=whole.dtype, casting="same_kind")


def join(pieces: list[Mesh], ahead: Mesh | None = None) -> Mesh:
    """One mesh of all pieces, without the vertices that no face uses.

    ahead: a piece without faces, all of whose vertices lead the others; faces do not count them.
    """
    used, faces, base = [], [], 0
    for piece in pieces:
        mask = np.zeros(len(piece.rest) + len(piece.share), bool)
        mask[piece.faces] = True
        faces.append((np.cumsum(mask, dtype=np.int32) + np.int32(base - 1)).take(piece.faces))
        used.append(np.flatnonzero(mask))
        base += len(used[-1])
    return Mesh(
        rest=_rows_of("rest", pieces, used, ahead),
        weights=_rows_of("weights", pieces, used, ahead),
        directions=_rows_of("directions", pieces, used, ahead),
        faces=np.concatenate(faces),
        corner=np.concatenate([p.corner for p in pieces]),
        surface=np.concatenate([p.surface for p in pieces]),
        double_sided=np.concatenate([p.double_sided for p in pieces]),
    )


def _rows_of(
    attribute: Literal["rest", "weights", "directions"], pieces: list[Mesh], used: list[NDArray], ahead: Mesh | None
) -> NDArray[np.float32]:
    """An attribute of the `used` vertices of each piece, those that `cut` added included, behind the rows `ahead`."""
    lead = getattr(pieces[0], attribute)[:0] if ahead is None else getattr(ahead, attribute)
    end = len(lead)
    rows = np.empty((end + sum(map(len, used)), *lead.shape[1:]), np.float32)
    rows[:end] = lead
    for piece, index in zip(pieces, used, strict=True):
        values = getattr(piece, attribute)
        num_old = np.searchsorted(index, len(values))
        start, middle, end = end, end + num_old, end + len(index)
        # Any mode but "raise" writes without a copy between.
        values.take(index[:num_old], axis=0, out=rows[start:middle], mode="clip")
        if middle < end:
            new = index[num_old:] - len(values)
            a, b = piece.ends[new].T
            share = piece.share[new].reshape(-1, *[1] * (values.ndim - 1))
            rows[middle:end] = values.take(a, 0) * (1 - share) + values.take(b, 0) * share
    return rows


@functools.lru_cache(maxsize=16)
def grid_faces(rows: int, columns: int, *, closed: bool) -> NDArray[np.int32]:
    """Triangles over a (rows, columns) grid of vertices, wrapping around in columns if closed."""
    width = columns if closed else columns - 1
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(width), indexing="ij")
    a, b = r * columns + c, r * columns + (c + 1) % columns
    quads = np.stack([a, b, a + columns, b + columns], -1).reshape(-1, 4)
    return np.ascontiguousarray(np.concatenate([quads[:, [0, 2, 1]], quads[:, [1, 2, 3]]]), np.int32)


@functools.lru_cache(maxsize=4)
def vertex_tree(anatomy: Anatomy):
    """The body's vertices as a `scipy.spatial.cKDTree`."""
    from scipy.spatial import cKDTree

    return cKDTree(anatomy.vertices.position)


def ride(anatomy: Anatomy, position: NDArray, *, near: int = 8) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (N, 24) and directions (N, 3, D) for points (N, 3) that follow the body vertices nearest them."""
    distance, index = vertex_tree(anatomy).query(position, k=near)
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
