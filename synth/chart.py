"""Flattens one patch of a triangle mesh onto the unit square by a Tutte embedding with mean value weights.

In their order: `split_corners` opens the patch along a cut, `outer_loop` finds its border, `square_corners` or
`foot_corners` choose what becomes the square's corners, `square_border` lays the border out along the square's sides
and `flatten` places everything inside. Such a map never folds, and fills the square.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOW = 0.02
"""How far a chart's corners are drawn in, so that its sides are strictly convex and no face on them is flattened."""


def split_corners(faces: Ints, pairs: Ints, edges: Ints) -> Ints:
    """Ids (K, 3) of a patch's vertices; a vertex has one id per fan of faces, so a cut gives its two sides their own.

    faces (K, 3) vertex indices; pairs (P, 2), faces that hang together, across edges (P, 2), the two vertices shared.
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


def outer_loop(ids: Ints, xyz: Floats) -> Ints:
    """Ids (B,) along the longest border of a patch of faces ids (K, 3), the patch on its left; xyz (N, 3), metres.

    On a head the borders of mouth and eyes are shorter.
    """
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


def square_corners(
    xyz: Floats, along: Floats, out: Floats, junction: NDArray[np.bool_], *, open_top: bool
) -> Ints | None:
    """Places (4,) on the border loop xyz (B, 3), metres, that become the square's (0, 0), (1, 0), (1, 1) and (0, 1).

    along, out (3,): unit vectors of v and of the patch's outside; junction (B,): whether three surfaces meet there.
    They are the border's extremes towards the four corners, and junctions of three surfaces. With open_top the upper
    two may lie anywhere: the top of the head is nobody's border. None if they do not follow in this order.
    """
    frame = np.stack([np.cross(along, out), along], 1)
    u, v = ((xyz @ frame - (xyz @ frame).mean(0)) / np.ptp(xyz @ frame, 0)).T
    low, high = (np.where(junction, 0.0, -10.0), np.where(junction | open_top, 0.0, -10.0))
    reach = 1.0 if open_top else 2.0
    corners = [low - 2 * u - v, low + 2 * u - v, high + reach * u + v, high - reach * u + v]
    return _in_order(np.array([int(score.argmax()) for score in corners]), len(xyz))


def foot_corners(xyz: Floats, side: Floats, opened: NDArray[np.bool_]) -> Ints | None:
    """Like `square_corners`, for a foot: the cut's two banks at the ankle below, at the heel's end above.

    xyz (B, 3); side (B,), 1 on the cut's left bank, -1 on its right; opened (B,), whether the place is on the cut.
    """
    heel = xyz @ np.array([0.0, -1.0, -1.0])
    left, right = (np.where(opened & (side == sign), 0.0, -10.0) for sign in (1, -1))
    corners = [left + xyz[:, 1], right + xyz[:, 1], right + heel, left + heel]
    return _in_order(np.array([int(score.argmax()) for score in corners]), len(xyz))


def _in_order(corners: Ints, length: int) -> Ints | None:
    steps = np.diff(np.append(corners, corners[0])) % length
    return corners if steps.sum() == length and steps.all() else None


def square_border(xyz: Floats, corners: Ints) -> Floats:
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


def flatten(ids: Ints, xyz: Floats, loop: Ints, loop_uv: Floats) -> Floats:
    """(u, v) (N, 2) of the vertices xyz (N, 3) of faces ids (K, 3), with the loop (B,) held at loop_uv (B, 2).

    Each other one is a convex combination of its neighbours, so no face folds. A piece that hangs on nothing (an
    eyeball) is tied by its border to what is nearest.
    Sources: Tutte 1963; Floater 2003, mean value coordinates, for the weights.
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
