"""DensePose-like surfaces: which of 24 patches a face of the body belongs to, and where in the patch it lies.

`build_surface` works them out for any body in SMPL's format, in three steps:

1. `_label_parts`: planes across the limbs part the body in 14, one plane per joint, fitted to the skinning weights.
2. `_label_halves`: each part but hands and feet is split along the limb's own middle, into front and back, left and
   right or inner and outer. Both steps then draw the border as a minimum cut, so it runs in clean rings and lines
   along the edges of the mesh, where an argmax of the weights gives triangle teeth.
3. `_chart_uv`: each patch is flattened onto the unit square by a Tutte embedding with mean value weights, its border
   on the border of the square. Such a map never folds, and fills the square. A foot is first cut open along heel and
   sole. A hand would lose its fingers that way: it is projected, back and palm side by side.

The charts' axes. v runs from 0 at the trunk's end of a limb to 1 at its far end; on the torso from hips to neck and
shoulders, on the head from neck to crown, on a foot from the ankle down to the middle of the sole. u runs around. All
charts are seen from outside the body and none is mirrored, so a mirrored picture of a person has the surface
`shards.semantics.SURFACE_FLIP[surface]` at (1 - u, v).

The neck belongs to the head, the collar bones to the torso, the wrist to the hand.

With arms spread in the T-pose, the side that faces the trunk once they hang down is the lower one: it is "inner".
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow
from scipy.sparse.linalg import spsolve
from scipy.spatial import ConvexHull, cKDTree

from synth.body import JOINTS, NUM_JOINTS, Body

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BEYOND_WEIGHT = 0.02
"""A face can lie beyond a joint's plane only if the joints beyond carry at least this share of its weight."""
BORDER_SLACK = 1.5
"""How far a border may stray to run straight, in edges of the faces near it; it never strays four times as far."""
BOW = 0.02
"""How far a chart's corners are drawn in, so that its sides are strictly convex and no face on them is flattened."""
HAND_TAPER = (0.05, 0.9)
"""Quantiles of the hand's length between which its chart follows the width: beyond, wrist and fingertips are poles."""
MAX_FACES_WITHOUT_SURFACE = 13
"""DensePose's file lacks 2 of SMPL's 13,776 faces, one on each big toe. More than 0.1 % means another topology."""
BACK, FRONT, UP, DOWN = (0.0, 0.0, -1.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
LEFT, RIGHT = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """Where each face of a body lies on DensePose's 24 surfaces.

    surface (F,) uint8, 1..24 (`shards.semantics.SURFACES_24`); uv (F, 3, 2) float32 in [0, 1], per face corner: within
    one surface and off its cut a vertex has one (u, v); source: "geometric" or "UV_Processed.mat".
    """

    surface: NDArray[np.uint8]
    uv: NDArray[np.float32]
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A part and how it is charted.

    joint: the joint whose plane starts it, far: the next along the bone; halves: (surface, outward direction), one or
    two; bend: degree of the polynomial along the bone that the border between the halves follows.
    """

    joint: str
    far: str
    halves: tuple[tuple[int, tuple[float, float, float]], ...]
    bend: int = 1


def _limb(side: str) -> tuple[_Part, ...]:
    """The parts of one side, each after the one it grows from. Surfaces in DensePose's numbering."""
    hand, foot, leg, shin, arm, forearm = (4, 5, 8, 12, 15, 19) if side == "left" else (3, 6, 7, 11, 16, 20)
    return (
        _Part(joint=f"{side}_hip", far=f"{side}_knee", halves=((leg, BACK), (leg + 2, FRONT))),
        _Part(joint=f"{side}_knee", far=f"{side}_ankle", halves=((shin, BACK), (shin + 2, FRONT))),
        _Part(joint=f"{side}_ankle", far=f"{side}_foot", halves=((foot, UP),)),
        _Part(joint=f"{side}_shoulder", far=f"{side}_elbow", halves=((arm, DOWN), (arm + 2, UP))),
        _Part(joint=f"{side}_elbow", far=f"{side}_wrist", halves=((forearm, DOWN), (forearm + 2, UP))),
        _Part(joint=f"{side}_wrist", far=f"{side}_hand", halves=((hand, UP),)),
    )


PARTS = (
    _Part(joint="pelvis", far="neck", halves=((1, BACK), (2, FRONT)), bend=2),
    _Part(joint="neck", far="head", halves=((23, RIGHT), (24, LEFT)), bend=0),
    *_limb("left"),
    *_limb("right"),
)
HANDS, FEET, HEADS = (3, 4), (5, 6), (23, 24)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Mesh:
    """What every step reads, in metres.

    vertices (V, 3); faces (F, 3); weights (F, 24), mean of the corners'; joints (24, 3); parents (24,); centre and unit
    normal (F, 3) and area (F,) of the faces; pairs (P, 2) of faces that share an edge, edges (P, 2) its two vertices.
    """

    vertices: Floats
    faces: Ints
    weights: Floats
    joints: Floats
    centre: Floats
    normal: Floats
    area: Floats
    pairs: Ints
    edges: Ints
    parents: Ints


def build_surface(body: Body) -> Surface:
    """Surfaces and (u, v) of any body in SMPL's format, from its T-pose; deterministic.

    The body faces +z, its left is +x, its palms face the ground; faces are wound so that normals point out.
    Raises ValueError if a surface has no faces or its border no four corners: the weights or the pose are not SMPL's.
    """
    mesh = _mesh(body)
    surface = _label_halves(mesh, _label_parts(mesh))
    missing = sorted(set(range(1, 25)) - set(surface.tolist()))
    if missing:
        raise ValueError(
            f"body {body.name!r}: no face lies on surfaces {missing}; it must stand in a T-pose, facing +z, "
            f"with SMPL's 24 joints"
        )
    uv = np.zeros((len(surface), 3, 2))
    for part in PARTS:
        for number, outward in part.halves:
            chosen = np.flatnonzero(surface == number)
            if number in HANDS:
                uv[chosen] = _hand_uv(mesh, part, chosen)
            else:
                uv[chosen] = _chart_uv(mesh, part, surface, chosen, np.array(outward))
    return Surface(surface=surface, uv=uv.astype(np.float32).clip(0, 1), source="geometric")


def load_densepose_surface(body: Body, mat: Path) -> Surface:
    """DensePose's own surfaces from `UV_Processed.mat`, for the licensed SMPL body.

    The file's 7,829 vertices are SMPL's 6,890, doubled along the charts' borders (`All_vertices`, from 1 on); its faces
    are matched to `body.faces` by their vertices. It lacks a face on each big toe: such faces take label and (u, v)
    from their neighbours. Raises FileNotFoundError for a missing file and ValueError for one that is not DensePose's
    or has another topology than the body. Source: Guler et al. 2018, section 2.1, and the data released with it.
    """
    numbers, corners, corner_uv = _read_mat(mat)
    faces = body.faces.numpy()
    num_vertices = len(body.template)
    if corners.min() < 0 or corners.max() >= num_vertices:
        raise ValueError(
            f"{mat}: refers to vertex {corners.max() + 1:,}, body {body.name!r} has {num_vertices:,}; "
            f"the file goes with SMPL (6,890 vertices), use build_surface for other bodies"
        )
    row = dict(zip(map(frozenset, corners.tolist()), range(len(corners)), strict=True))
    match = np.array([row.get(frozenset(face), -1) for face in faces.tolist()])
    known = match >= 0
    if np.sum(~known) > MAX_FACES_WITHOUT_SURFACE or len(np.unique(match[known])) != len(corners):
        raise ValueError(
            f"{mat}: {known.sum():,} of its {len(corners):,} faces are among the {len(faces):,} of body {body.name!r}; "
            f"the topologies differ, use build_surface for this body"
        )
    surface, uv = np.zeros(len(faces), np.uint8), np.zeros((len(faces), 3, 2))
    surface[known] = numbers[match[known]]
    order, mat_order = np.argsort(faces[known], 1), np.argsort(corners[match[known]], 1)
    placed = np.empty((known.sum(), 3, 2))
    np.put_along_axis(placed, order[..., None], np.take_along_axis(corner_uv[match[known]], mat_order[..., None], 1), 1)
    uv[known] = placed
    for face in np.flatnonzero(~known):
        surface[face], uv[face] = _from_neighbours(faces, surface, uv, face)
    return Surface(surface=surface, uv=uv.astype(np.float32), source="UV_Processed.mat")


def _read_mat(mat: Path) -> tuple[Ints, Ints, Floats]:
    """Surface (K,), SMPL vertices from 0 on (K, 3) and uv (K, 3, 2) of DensePose's K faces."""
    if not mat.is_file():
        raise FileNotFoundError(f"{mat} does not exist; DensePose's UV_Processed.mat comes with its UV data")
    try:
        data = loadmat(mat)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise ValueError(f"{mat}: cannot be read as a MATLAB file ({error})") from error
    keys = ("All_Faces", "All_FaceIndices", "All_U_norm", "All_V_norm", "All_vertices")
    if missing := [key for key in keys if key not in data]:
        raise ValueError(f"{mat}: not DensePose's UV_Processed.mat, missing {missing}")
    faces = data["All_Faces"].astype(np.int64) - 1
    numbers, vertices = (data[key].ravel().astype(np.int64) for key in ("All_FaceIndices", "All_vertices"))
    u, v = (data[key].ravel().astype(np.float64) for key in ("All_U_norm", "All_V_norm"))
    if faces.shape != (len(numbers), 3) or not len(u) == len(v) == len(vertices) or not len(numbers):
        raise ValueError(
            f"{mat}: need one surface per face and one u, v and vertex per vertex, got faces {faces.shape}, "
            f"{len(numbers)} surfaces, {len(u)} u, {len(v)} v, {len(vertices)} vertices"
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"{mat}: All_Faces must lie in 1..{len(vertices)}, got {faces.min() + 1}..{faces.max() + 1}")
    if set(np.unique(numbers)) != set(range(1, 25)):
        raise ValueError(f"{mat}: All_FaceIndices must hold each of 1..24, got {np.unique(numbers).tolist()}")
    uv = np.stack([u, v], 1)
    if not (uv.min() >= 0 and uv.max() <= 1):
        raise ValueError(f"{mat}: U and V must lie in [0, 1], got {uv.min()}..{uv.max()}")
    return numbers, vertices[faces] - 1, uv[faces]


def _from_neighbours(faces: Ints, surface: NDArray[np.uint8], uv: Floats, face: int) -> tuple[int, Floats]:
    """Label and (u, v) (3, 2) of a face that has none: its corners' commonest label, and their mean (u, v) on it."""
    at_corner = [np.nonzero((faces == vertex) & (surface > 0)[:, None]) for vertex in faces[face]]
    number = np.bincount(np.concatenate([surface[rows] for rows, _ in at_corner])).argmax()
    on_it = [uv[rows, slots][surface[rows] == number] for rows, slots in at_corner]
    middle = np.concatenate(on_it).mean(0)
    return int(number), np.stack([found.mean(0) if len(found) else middle for found in on_it])


def _mesh(body: Body) -> _Mesh:
    vertices, faces = body.template.numpy().astype(np.float64), body.faces.numpy()
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], 2).reshape(-1, 2)
    key = edges[:, 0] * len(vertices) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    twin = np.flatnonzero(key[order][1:] == key[order][:-1])
    return _Mesh(
        vertices=vertices,
        faces=faces,
        weights=body.weights.numpy().astype(np.float64)[faces].mean(1),
        joints=body.rest_joints().numpy().astype(np.float64),
        centre=corners.mean(1),
        normal=cross / np.maximum(length, 1e-12)[:, None],
        area=length / 2,
        pairs=np.stack([order[twin], order[twin + 1]], 1) // 3,
        edges=edges[order[twin]],
        parents=body.parents.numpy(),
    )


def _label_parts(mesh: _Mesh) -> Ints:
    """Index (F,) into PARTS of each face's part.

    A part lies beyond the plane that fits its weights best: at right angles to their steepest ascent, and with as much
    area beyond it as the weights carry.
    """
    label = np.zeros(len(mesh.faces), np.int64)
    for index, part in enumerate(PARTS[1:], 1):
        beyond = mesh.weights[:, _subtree(mesh.parents, JOINTS.index(part.joint))].sum(1)
        reached = np.flatnonzero(beyond > BEYOND_WEIGHT)
        rise = reached[beyond[reached] < 1 - BEYOND_WEIGHT]
        if len(rise) < 4:
            raise ValueError(f"weights do not fade in around {part.joint} (on {len(rise)} faces); need smooth skinning")
        root_area = np.sqrt(mesh.area[rise])[:, None]
        system = np.hstack([mesh.centre[rise], np.ones((len(rise), 1))]) * root_area
        ascent = np.linalg.lstsq(system, beyond[rise] * root_area[:, 0])[0][:3]
        height = mesh.centre @ _unit(ascent)
        order = reached[np.argsort(-height[reached], kind="stable")]
        inside = np.cumsum(mesh.area[order]) <= mesh.area[reached] @ beyond[reached]
        field = np.where(beyond > BEYOND_WEIGHT, height - height[order[inside.sum()]], -np.inf)
        label[_smooth_side(mesh, np.arange(len(label)), field)] = index
    return label


def _subtree(parents: Ints, joint: int) -> list[int]:
    inside = {joint}
    inside.update(child for child in range(joint + 1, NUM_JOINTS) if int(parents[child]) in inside)
    return sorted(inside)


def _smooth_side(mesh: _Mesh, chosen: Ints, field: Floats) -> Ints:
    """Those of the chosen faces (K,) that lie where field (K,), metres, is positive, but for a few along the border.

    Sorted by their centres alone, faces would leave a border that zigzags about the field's zero. A minimum cut trades
    the border's length against the faces left on its wrong side, each weighted by its distance from the zero.
    Source: Boykov & Jolly 2001, eq. 1.
    """
    edge_m = np.linalg.norm(mesh.vertices[mesh.edges[:, 0]] - mesh.vertices[mesh.edges[:, 1]], axis=1)
    node = np.full(len(mesh.faces), -1)
    node[chosen] = np.arange(len(chosen))
    one, two = node[mesh.pairs].T
    joined = (one >= 0) & (two >= 0)
    one, two, edge_m = one[joined], two[joined], edge_m[joined]
    near_zero = np.argsort(np.abs(field), kind="stable")[:200]
    scale = np.sqrt(mesh.area[chosen[near_zero]].mean()) * BORDER_SLACK
    source, sink = len(chosen), len(chosen) + 1
    # A whole metre of border, more than any ring is long, keeps faces far from the zero where they are.
    cost = np.where(np.abs(field) > 4 * scale, 1.0, mesh.area[chosen] * np.abs(field).clip(max=1) / scale**2)
    start = np.where(field > 0, source, np.arange(len(chosen)))
    end = np.where(field > 0, np.arange(len(chosen)), sink)
    graph = sp.csr_matrix(
        (
            # maximum_flow wants integers: micrometres.
            np.rint(1e6 * np.concatenate([cost, edge_m, edge_m])).astype(np.int32),
            (np.concatenate([start, one, two]), np.concatenate([end, two, one])),
        ),
        shape=(len(chosen) + 2,) * 2,
    )
    residual = graph - maximum_flow(graph, source, sink).flow
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    positive = breadth_first_order(residual, source, return_predecessors=False)
    return chosen[np.sort(positive[positive < source])]


def _unit(vector: Floats) -> Floats:
    return vector / np.linalg.norm(vector)


def _frame(mesh: _Mesh, part: _Part, outward: Floats) -> tuple[Floats, Floats]:
    """Unit vectors: along the part's bone, and outward at right angles to it."""
    along = _unit(mesh.joints[JOINTS.index(part.far)] - mesh.joints[JOINTS.index(part.joint)])
    return along, _unit(outward - (outward @ along) * along)


def _label_halves(mesh: _Mesh, part_label: Ints) -> NDArray[np.uint8]:
    """Surface (F,) of each face: its part, split along the part's middle, which a low polynomial of the height fits."""
    surface = np.zeros(len(mesh.faces), np.int64)
    for index, part in enumerate(PARTS):
        inside = np.flatnonzero(part_label == index)
        surface[inside] = part.halves[0][0]
        if len(part.halves) == 2 and len(inside) > part.bend:
            along, out = _frame(mesh, part, np.array(part.halves[1][1]))
            height, depth = mesh.centre[inside] @ along, mesh.centre[inside] @ out
            middle = np.polynomial.Polynomial.fit(height, depth, part.bend, w=np.sqrt(mesh.area[inside]))
            surface[_smooth_side(mesh, inside, depth - middle(height))] = part.halves[1][0]
    return _without_islands(mesh, surface).astype(np.uint8)


def _without_islands(mesh: _Mesh, label: Ints) -> Ints:
    """Labels (F,) with one piece each: smaller ones take the label they border on most. Eyeballs border on nothing."""
    label = label.copy()
    one, two = np.concatenate([mesh.pairs, mesh.pairs[:, ::-1]]).T
    while True:
        piece = _pieces(mesh, label)
        area = np.bincount(piece, mesh.area)
        mainland = {int(k): int(np.argmax(np.where(label == k, area[piece], -1))) for k in np.unique(label)}
        largest = piece[[mainland[int(k)] for k in label]]
        small = (label[one] != label[two]) & (piece[one] != largest[one])
        if not small.any():
            return label
        island = piece == piece[one[small]].min()
        label[island] = np.bincount(label[two[small & island[one]]]).argmax()


def _pieces(mesh: _Mesh, label: Ints) -> Ints:
    """Number (F,) of the connected piece of equal labels that each face is in."""
    same = mesh.pairs[label[mesh.pairs[:, 0]] == label[mesh.pairs[:, 1]]]
    graph = sp.coo_matrix((np.ones(len(same)), same.T), shape=(len(label), len(label)))
    return connected_components(graph, directed=False)[1]


def _chart_uv(mesh: _Mesh, part: _Part, surface: NDArray[np.uint8], chosen: Ints, outward: Floats) -> Floats:
    """(u, v) (K, 3, 2) of the chosen faces of one surface: its border on the unit square's, its inside in balance."""
    number = surface[chosen[0]]
    is_foot = number in FEET
    half = _foot_halves(mesh, part, surface, chosen) if is_foot else np.zeros(len(surface), np.int64)
    within = (surface[mesh.pairs] == number).all(1)
    if is_foot:
        within &= ~_foot_cut(mesh, surface, half, within)
    local = np.full(len(surface), -1)
    local[chosen] = np.arange(len(chosen))
    ids = _split_corners(mesh.faces[chosen], local[mesh.pairs[within]], mesh.edges[within])
    vertex = np.zeros(ids.max() + 1, np.int64)
    vertex[ids] = mesh.faces[chosen]
    loop = _outer_loop(ids, mesh.vertices[vertex])
    if is_foot:
        side = np.zeros(len(vertex))
        side[ids] = half[chosen][:, None]
        opened = np.bincount(vertex)[vertex[loop]] > 1
        corners = _foot_corners(mesh.vertices[vertex[loop]], side[loop], opened)
    else:
        along, out = _frame(mesh, part, outward)
        labels_at = _labels_at(mesh, surface)[vertex[loop]]
        corners = _square_corners(mesh.vertices[vertex[loop]], along, out, labels_at >= 3, open_top=number in HEADS)
    if corners is None:
        raise ValueError(f"surface {number} has no four corners in order; is the body in a T-pose with SMPL's weights?")
    loop = np.roll(loop, -corners[0])
    corners = (corners - corners[0]) % len(loop)
    return _flatten(ids, mesh.vertices[vertex], loop, _square_border(mesh.vertices[vertex[loop]], corners))[ids]


def _split_corners(faces: Ints, pairs: Ints, edges: Ints) -> Ints:
    """Ids (K, 3) of a patch's vertices; a vertex has one id per fan of faces, so a cut gives its two sides their own.

    faces (K, 3); pairs (P, 2), faces that hang together, across edges (P, 2).
    """
    links = []
    for end in range(2):
        slot = (faces[pairs] == edges[:, end, None, None]).argmax(2)
        links.append(3 * pairs + slot)
    one, two = np.concatenate(links).T
    graph = sp.coo_matrix((np.ones(len(one)), (one, two)), shape=(faces.size, faces.size))
    return connected_components(graph, directed=False)[1].reshape(-1, 3).astype(np.int64)


def _border(ids: Ints) -> tuple[Ints, Ints]:
    """Start and end of every directed border edge of a patch, the patch on its left."""
    start, end = ids.ravel(), ids[:, [1, 2, 0]].ravel()
    size = ids.max() + 1
    alone = ~np.isin(start * size + end, end * size + start)
    return start[alone], end[alone]


def _outer_loop(ids: Ints, xyz: Floats) -> Ints:
    """Ids (B,) along the patch's longest border, the patch on its left; mouth and eyes are shorter."""
    start, end = _border(ids)
    after = dict(zip(start.tolist(), end.tolist(), strict=True))
    best, longest = [], 0.0
    while after:
        loop = [min(after)]
        while loop[-1] in after:
            loop.append(after.pop(loop[-1]))
        length = np.linalg.norm(np.diff(xyz[loop], axis=0), axis=1).sum()
        if length > longest:
            best, longest = loop[:-1], length
    return np.array(best, np.int64)


def _labels_at(mesh: _Mesh, surface: NDArray[np.uint8]) -> Ints:
    """How many surfaces meet at each vertex (V,)."""
    seen = np.zeros((len(mesh.vertices), 25), bool)
    seen[mesh.faces, surface[:, None]] = True
    return seen.sum(1)


def _square_corners(
    xyz: Floats, along: Floats, out: Floats, junction: NDArray[np.bool_], *, open_top: bool
) -> Ints | None:
    """Places (4,) on the border loop xyz (B, 3) that become the square's corners (0, 0), (1, 0), (1, 1), (0, 1).

    They are the border's extremes towards the four corners, and junctions of three surfaces. With open_top the upper
    two may lie anywhere: the top of the head is nobody's border. None if they do not follow in this order.
    """
    frame = np.stack([np.cross(along, out), along], 1)
    u, v = ((xyz @ frame - (xyz @ frame).mean(0)) / np.ptp(xyz @ frame, 0)).T
    low, high = (np.where(junction, 0.0, -10.0), np.where(junction | open_top, 0.0, -10.0))
    reach = 1.0 if open_top else 2.0
    corners = [low - 2 * u - v, low + 2 * u - v, high + reach * u + v, high - reach * u + v]
    return _in_order(np.array([int(score.argmax()) for score in corners]), len(xyz))


def _foot_corners(xyz: Floats, side: Floats, opened: NDArray[np.bool_]) -> Ints | None:
    """Like `_square_corners`, for a foot: the cut's two banks at the ankle below, at the heel's end above.

    xyz (B, 3); side (B,), 1 on the cut's left bank, -1 on its right; opened (B,), whether the place is on the cut.
    """
    heel = xyz @ np.array([0.0, -1.0, -1.0])
    left, right = (np.where(opened & (side == sign), 0.0, -10.0) for sign in (1, -1))
    corners = [left + xyz[:, 1], right + xyz[:, 1], right + heel, left + heel]
    return _in_order(np.array([int(score.argmax()) for score in corners]), len(xyz))


def _in_order(corners: Ints, length: int) -> Ints | None:
    steps = np.diff(np.append(corners, corners[0])) % length
    return corners if steps.sum() == length and steps.all() else None


def _square_border(xyz: Floats, corners: Ints) -> Floats:
    """(u, v) (B, 2) of a border loop xyz (B, 3) by arc length along each side, from the corner at index 0 on."""
    ends = np.append(corners, len(xyz))
    arc = np.append(0.0, np.cumsum(np.linalg.norm(np.roll(xyz, -1, 0) - xyz, axis=1)))
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * (1 - 2 * BOW) + BOW
    inward = np.array([[0, 1], [-1, 0], [0, -1], [1, 0]])
    uv = np.empty((len(xyz), 2))
    for side in range(4):
        first, last = ends[side], ends[side + 1]
        s = ((arc[first:last] - arc[first]) / (arc[last] - arc[first]))[:, None]
        uv[first:last] = square[side] * (1 - s) + square[side + 1] * s - 4 * BOW * s * (1 - s) * inward[side]
    return uv


def _flatten(ids: Ints, xyz: Floats, loop: Ints, loop_uv: Floats) -> Floats:
    """(u, v) (N, 2) of ids with the loop held: each other one is a convex combination of its neighbours, so no face
    folds. Sources: Tutte 1963; Floater 2003, mean value coordinates, for the weights. A piece that hangs on nothing
    (an eyeball) is tied by its border to what is nearest.
    """
    rows, columns, values = [], [], []
    for corner in range(3):
        here, right, left = (ids[:, (corner + k) % 3] for k in range(3))
        to_right, to_left = xyz[right] - xyz[here], xyz[left] - xyz[here]
        far_right, far_left = np.linalg.norm(to_right, axis=1), np.linalg.norm(to_left, axis=1)
        scale = np.maximum(far_right * far_left, 1e-12)
        # tan(angle / 2) = sin / (1 + cos)
        tangent = np.linalg.norm(np.cross(to_right, to_left), axis=1) / (scale + (to_right * to_left).sum(1)).clip(
            1e-12
        )
        rows += [here, here]
        columns += [right, left]
        values += [tangent / far_right.clip(1e-9), tangent / far_left.clip(1e-9)]
    size = len(xyz)
    joined = sp.coo_matrix((np.ones(ids.size), (ids.ravel(), ids[:, [1, 2, 0]].ravel())), shape=(size, size))
    piece = connected_components(joined, directed=False)[1]
    main = np.flatnonzero(piece == piece[loop[0]])
    loose = np.setdiff1d(_border(ids)[0], main)
    if len(loose):
        distance, nearest = cKDTree(xyz[main]).query(xyz[loose], k=2)
        rows.append(np.repeat(loose, 2))
        columns.append(main[nearest].ravel())
        values.append(1 / distance.ravel().clip(1e-4))
    weight = sp.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
    )
    laplacian = (sp.diags(np.asarray(weight.sum(1)).ravel()) - weight).tocsr()
    uv = np.zeros((size, 2))
    uv[loop] = loop_uv
    free = np.setdiff1d(np.arange(size), loop)
    uv[free] = spsolve(laplacian[free][:, free].tocsc(), -laplacian[free][:, loop] @ loop_uv)
    return uv


def _foot_halves(mesh: _Mesh, part: _Part, surface: NDArray[np.uint8], chosen: Ints) -> Ints:
    """1 (towards +x) or -1 for the faces (F,) of a foot, either side of its length; 0 elsewhere."""
    ankle, toe = (mesh.joints[JOINTS.index(joint)] for joint in (part.joint, part.far))
    half = np.zeros(len(surface), np.int64)
    half[chosen] = -1
    half[_smooth_side(mesh, chosen, (mesh.centre[chosen] - ankle) @ _unit(np.cross(UP, toe - ankle)))] = 1
    return half


def _foot_cut(mesh: _Mesh, surface: NDArray[np.uint8], half: Ints, within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pairs (P,) of faces a foot is cut between: from the ankle along heel and sole, least seen."""
    one, two = mesh.pairs.T
    faces_ground = (mesh.normal[one] + mesh.normal[two]) @ np.array([0.0, -1.0, -1.0]) > 0.5
    candidate = np.flatnonzero(within & (half[one] != half[two]) & faces_ground)
    graph = sp.coo_matrix((np.ones(len(candidate)), mesh.edges[candidate].T), shape=(len(mesh.vertices),) * 2)
    run = connected_components(graph, directed=False)[1][mesh.edges[candidate, 0]]
    cut = np.zeros(len(within), bool)
    cut[candidate[run == np.bincount(run).argmax()]] = True
    return cut


def _hand_uv(mesh: _Mesh, part: _Part, chosen: Ints) -> Floats:
    """(u, v) (K, 3, 2) of a hand's faces: its back on one half of the chart, its palm, seen from below, on the other.

    v from wrist to fingertips; u across, widened to the hull of the spread fingers. The cut is the hand's outline, the
    thumb's edge in the chart's middle.
    """
    along, out = _frame(mesh, part, np.array(UP))
    across = np.cross(along, out)
    label = np.zeros(len(mesh.faces), np.int64)
    label[chosen] = np.where(mesh.normal[chosen] @ out > 0, 1, 2)
    is_back = (_without_islands(mesh, label)[chosen] != 2)[:, None]
    corners = mesh.vertices[mesh.faces[chosen]]
    t, w = corners @ along, corners @ across
    flat = np.stack([t.ravel(), w.ravel()], 1)
    hull = flat[ConvexHull(flat).vertices]
    first, last = hull[hull[:, 0].argmin()], hull[hull[:, 0].argmax()]
    chord = first[1] + (hull[:, 0] - first[0]) / (last[0] - first[0]) * (last[1] - first[1])
    edges = []
    for outside in (hull[:, 1] <= chord, hull[:, 1] >= chord):
        chain = hull[outside][np.argsort(hull[outside, 0])]
        edges.append(np.interp(t.clip(*np.quantile(t, HAND_TAPER)), chain[:, 0], chain[:, 1]))
    fraction = (w - edges[0]) / (edges[1] - edges[0])
    thumb_ahead = across @ np.array(FRONT) > 0
    back, palm = (fraction / 2, 1 - fraction / 2) if thumb_ahead else ((1 + fraction) / 2, (1 - fraction) / 2)
    return np.stack([np.where(is_back, back, palm), (t - t.min()) / np.ptp(t)], 2)
