"""DensePose-like surfaces: which of 24 patches a face of the body belongs to, and where in the patch it lies.

`build_surface` works them out for any body in SMPL's format, in three steps:

1. `_label_parts`: planes across the limbs part the body in 14, one plane per joint, fitted to the skinning weights.
2. `_label_halves`: each part but hands and feet is split along the limb's own middle, into front and back, left and
   right or inner and outer. Both steps then draw the border as a minimum cut, so it runs in clean rings and lines
   along the edges of the mesh, where an argmax of the weights gives triangle teeth.
3. `_chart_uv`: each patch is flattened onto the unit square (`synth.chart`), its border on the border of the square. A
   foot is first cut open along heel and sole. A hand would lose its fingers that way: it is projected, back and palm
   side by side.

`synth.densepose` reads the same from DensePose's own file instead.

The charts' axes. v runs from 0 at the trunk's end of a limb to 1 at its far end; on the torso from hips to neck and
shoulders, on the head from neck to crown, on a foot from the ankle down to the middle of the sole. u runs around. All
charts are seen from outside the body and none is mirrored, so a mirrored picture of a person has the surface
`shards.semantics.SURFACE_FLIP[surface]` at (1 - u, v).

The neck belongs to the head, the collar bones to the torso, the wrist to the hand.

With arms spread in the T-pose, the side that faces the trunk once they hang down is the lower one: it is "inner".
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow
from scipy.spatial import ConvexHull

from synth.body import JOINTS, NUM_JOINTS, Body
from synth.chart import Floats, Ints, flatten, foot_corners, outer_loop, split_corners, square_border, square_corners

BEYOND_WEIGHT = 0.02
"""A face can lie beyond a joint's plane only if the joints beyond carry at least this share of its weight."""
BORDER_SLACK = 1.5
"""How far a border may stray to run straight, in edges of the faces near it; it never strays four times as far."""
HAND_TAPER = (0.05, 0.9)
"""Quantiles of the hand's length between which its chart follows the width: beyond, wrist and fingertips are poles."""
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
    ids = split_corners(mesh.faces[chosen], local[mesh.pairs[within]], mesh.edges[within])
    vertex = np.zeros(ids.max() + 1, np.int64)
    vertex[ids] = mesh.faces[chosen]
    loop = outer_loop(ids, mesh.vertices[vertex])
    if is_foot:
        side = np.zeros(len(vertex))
        side[ids] = half[chosen][:, None]
        opened = np.bincount(vertex)[vertex[loop]] > 1
        corners = foot_corners(mesh.vertices[vertex[loop]], side[loop], opened)
    else:
        along, out = _frame(mesh, part, outward)
        labels_at = _labels_at(mesh, surface)[vertex[loop]]
        corners = square_corners(mesh.vertices[vertex[loop]], along, out, labels_at >= 3, open_top=number in HEADS)
    if corners is None:
        raise ValueError(f"surface {number} has no four corners in order; is the body in a T-pose with SMPL's weights?")
    loop = np.roll(loop, -corners[0])
    corners = (corners - corners[0]) % len(loop)
    return flatten(ids, mesh.vertices[vertex], loop, square_border(mesh.vertices[vertex[loop]], corners))[ids]


def _labels_at(mesh: _Mesh, surface: NDArray[np.uint8]) -> Ints:
    """How many surfaces meet at each vertex (V,)."""
    seen = np.zeros((len(mesh.vertices), 25), bool)
    seen[mesh.faces, surface[:, None]] = True
    return seen.sum(1)


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
