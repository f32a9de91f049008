"""What clothes need to know of a body, worked out once: landmarks, atlas, and how far it reaches around its axes.

Everything is measured on the mean body in its T-pose, where arms, legs and trunk lie apart: a sleeve's length is a
distance along x, a hem a height y, and a garment is a function of the position alone. The same function is evaluated
at vertices to cut cloth and at texels to paint it, so both edges coincide.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from synth.body import Body, load_body
from synth.kernel import kernel
from synth.raster import RasterConfig, rasterize
from synth.reach import Reach, measure_reach

if TYPE_CHECKING:
    # What measures a body imports a good part of scipy, which takes a while; whoever only starts workers does not need it.
    from synth.surface import Surface

TEXTURE_SIZE = 256
PADDING_TEXELS = 4
SHOULDER, ELBOW, WRIST, HIP, KNEE, ANKLE = 16, 18, 20, 1, 4, 7
SPINE3, NECK, HEAD, HAND = 9, 12, 15, 22


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Points:
    """Places on the body in the T-pose: position (N, 3) metres, normal (N, 3) unit, surface (N,) 1..24."""

    position: NDArray[np.float32]
    normal: NDArray[np.float32]
    surface: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.position)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Atlas:
    """The body's texture square, texel by texel.

    points (N covered texels); uv (N, 2); surface_uv (N, 2), DensePose-like; chart (N,) int32, the connected piece of
    one surface in the atlas; texel_m (N,) float32, a texel's size on the body; fill (S, S) int32, for each texel the
    covered one it copies (itself, or the nearest within the padding), -1 beyond; free (S, S) bool, unused by the body.
    """

    points: Points
    uv: NDArray[np.float32]
    surface_uv: NDArray[np.float32]
    chart: NDArray[np.int32]
    texel_m: NDArray[np.float32]
    fill: NDArray[np.int32]
    free: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Anatomy:
    """A body with its surface labels and everything below, shared by all people who have it.

    vertices: the body's own as Points (surface of one adjoining face). crotch_y, waist_y, armpit_y, neck_y, crown_y,
    ground_y in metres; joints (24, 3); shoe_last (V, 3), the vertices with feet in the shape of shoes. trunk, arm (mirrored onto the left) and leg (likewise): Reach about y, x and y.
    """

    body: Body
    surface: "Surface"
    joints: NDArray[np.float32]
    vertices: Points
    atlas: Atlas
    crotch_y: float
    waist_y: float
    armpit_y: float
    neck_y: float
    crown_y: float
    ground_y: float
    shoe_last: NDArray[np.float32]
    trunk: Reach
    arm: Reach
    leg: Reach


@functools.lru_cache(maxsize=4)
def anatomy_of(spec: str) -> Anatomy:
    """The anatomy of `load_body(spec)`, made once per process."""
    return build_anatomy(load_body(spec))


def build_anatomy(body: Body) -> Anatomy:
    """Measure a body. Raises what `build_surface` and `load_densepose_surface` raise."""
    from synth.densepose import load_densepose_surface
    from synth.surface import build_surface

    surface = build_surface(body) if body.densepose is None else load_densepose_surface(body, body.densepose)
    joints = body.rest_joints().numpy()
    vertices = _vertex_points(body, surface)
    atlas = build_atlas(body, surface)
    position = atlas.points.position
    ground_y, crown_y = float(position[:, 1].min()), float(position[:, 1].max())
    # The lowest place on the body's mid-line, above the knees.
    middle = (
        (np.abs(position[:, 0]) < 0.012) & (position[:, 1] > joints[KNEE, 1]) & (position[:, 1] < joints[HIP, 1] + 0.1)
    )
    crotch_y = float(position[middle, 1].min())
    hip_y, neck_y = float(joints[HIP, 1]), float(joints[NECK, 1])
    armpit_y = float(joints[SHOULDER, 1]) - 0.075
    is_arm = np.isin(atlas.points.surface, [3, 4, *range(15, 23)])
    is_leg = np.isin(atlas.points.surface, [5, 6, *range(7, 15)])
    left_arm = is_arm & (position[:, 0] > 0)
    left_leg = is_leg & (position[:, 0] > 0)
    return Anatomy(
        body=body,
        surface=surface,
        joints=joints,
        vertices=vertices,
        atlas=atlas,
        crotch_y=crotch_y,
        waist_y=hip_y + 0.36 * (neck_y - hip_y),
        armpit_y=armpit_y,
        neck_y=neck_y,
        crown_y=crown_y,
        ground_y=ground_y,
        shoe_last=_shoe_last(body, vertices, float(joints[ANKLE, 1])),
        trunk=measure_reach(position[~is_arm][:, [1, 0, 2]], hull=True, mid_line=True),
        arm=measure_reach(position[left_arm], hull=False, mid_line=False),
        leg=measure_reach(position[left_leg][:, [1, 0, 2]], hull=False, mid_line=False),
    )


def _shoe_last(body: Body, vertices: Points, ankle_y: float) -> NDArray[np.float32]:
    """Vertices (V, 3) with each foot blown up to its convex hull, which has no toes, and thickened to leather."""
    from scipy.spatial import ConvexHull

    position = vertices.position.astype(np.float64).copy()
    for side in (-1, 1):
        foot = np.nonzero((position[:, 1] < ankle_y + 0.03) & (side * position[:, 0] > 0))[0]
        hull = ConvexHull(position[foot]).equations
        low, high = position[foot].min(0), position[foot].max(0)
        centre = np.array([(low[0] + high[0]) / 2, low[1] + 0.035, (low[2] + high[2]) / 2])
        ray = position[foot] - centre
        towards = ray @ hull[:, :3].T
        room = -(hull[:, :3] @ centre + hull[:, 3])
        stretch = np.where(towards > 1e-9, room / np.maximum(towards, 1e-9), np.inf).min(1)
        share = np.clip((ankle_y - position[foot, 1]) / 0.03, 0, 1)[:, None]
        position[foot] += share * (
            ray * (stretch[:, None] - 1) + 0.005 * ray / np.linalg.norm(ray, axis=1, keepdims=True)
        )
        # A shoe ends before the toes.
        position[foot, 2] += 0.012 * share[:, 0] * np.clip((position[foot, 2] - centre[2]) / 0.1, 0, 1)
    return position.astype(np.float32)


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Area-weighted unit normals (V, 3) of vertices (V, 3) and faces (F, 3); 0 where no face is."""
    normals = np.zeros_like(vertices)
    _add_normals(vertices, faces, normals)
    length = np.sqrt(np.einsum("vk,vk->v", normals, normals))
    normals /= np.maximum(length, 1e-12)[:, None]
    return normals


@kernel
def _add_normals(vertices, faces, normals):
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for k in range(3):
            # The other two coordinates, in cyclic order.
            i, j = (k + 1) % 3, (k + 2) % 3
            u, v = vertices[b, i] - vertices[a, i], vertices[b, j] - vertices[a, j]
            twice_area = u * (vertices[c, j] - vertices[a, j]) - v * (vertices[c, i] - vertices[a, i])
            normals[a, k] += twice_area
            normals[b, k] += twice_area
            normals[c, k] += twice_area


def _vertex_points(body: Body, surface: "Surface") -> Points:
    faces, vertices = body.faces.numpy().astype(np.int32), body.template.numpy()
    label = np.zeros(len(vertices), np.uint8)
    label[faces.ravel()] = np.repeat(surface.surface, 3)
    return Points(position=vertices, normal=vertex_normals(vertices, faces), surface=label)


def build_atlas(body: Body, surface: "Surface", size: int = TEXTURE_SIZE) -> Atlas:
    """Rasterise the body's uv triangles into a (size, size) square of texels."""
    from scipy import ndimage

    faces, vertices = body.faces.numpy().astype(np.int32), body.template.numpy()
    corner_uv = body.uv.numpy()[body.face_uv.numpy()]
    flat = np.concatenate([corner_uv * [size, -size] + [0, size], np.ones((*corner_uv.shape[:2], 1))], 2)
    triangles = torch.arange(3 * len(faces), dtype=torch.int32).reshape(-1, 3)
    corners = torch.from_numpy(flat.reshape(1, -1, 3).astype(np.float32))
    plain = RasterConfig(supersampling=1)
    face = rasterize(corners, triangles, size, size, plain).face[0].numpy()
    row, column = np.nonzero(face >= 0)
    chosen = face[row, column]
    weights = _barycentric(flat[chosen, :, :2], np.stack([column + 0.5, row + 0.5], 1))[:, :, None]
    normals = vertex_normals(vertices, faces)
    corner = faces[chosen]
    normal = (normals[corner] * weights).sum(1)
    fill = np.full((size, size), -1, np.int32)
    fill[row, column] = np.arange(len(row))
    distance, nearest = ndimage.distance_transform_edt(fill < 0, return_indices=True)
    near = distance <= PADDING_TEXELS
    fill[near] = fill[nearest[0][near], nearest[1][near]]
    return Atlas(
        points=Points(
            position=(vertices[corner] * weights).sum(1).astype(np.float32),
            normal=(normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
            surface=surface.surface[chosen],
        ),
        uv=np.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], 1).astype(np.float32),
        surface_uv=(surface.uv[chosen] * weights).sum(1).astype(np.float32),
        chart=_charts(body, surface)[chosen],
        texel_m=_texel_size(vertices[faces], flat[..., :2])[chosen],
        fill=fill,
        free=distance > PADDING_TEXELS + 2,
    )


def _barycentric(triangle: NDArray, point: NDArray) -> NDArray:
    """Weights (N, 3) of points (N, 2) in triangles (N, 3, 2)."""
    a, b, c = triangle[:, 0], triangle[:, 1], triangle[:, 2]

    def area(p, q, r):
        return (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])

    return np.stack([area(point, b, c), area(a, point, c), area(a, b, point)], 1) / area(a, b, c)[:, None]


def _texel_size(corner: NDArray, flat: NDArray) -> NDArray[np.float32]:
    """Side (F,) in metres of a texel on each face (F, 3, 3) that covers `flat` (F, 3, 2) texels."""
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    e1, e2 = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    texels = np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0])
    return np.sqrt(area / np.maximum(texels, 1e-9)).astype(np.float32)


def _charts(body: Body, surface: "Surface") -> NDArray[np.int32]:
    """Connected pieces (F,) of faces that share an edge in the atlas and in the surface chart, and one surface label."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    face_uv = body.face_uv.numpy()
    edges = np.sort(face_uv[:, [[0, 1], [1, 2], [2, 0]]], 2).reshape(-1, 2)
    owner = np.repeat(np.arange(len(face_uv)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    same = (edges[order][1:] == edges[order][:-1]).all(1)
    a, b = owner[order][:-1][same], owner[order][1:][same]
    middle = surface.uv.mean(1)
    joined = (surface.surface[a] == surface.surface[b]) & (np.abs(middle[a] - middle[b]).max(1) < 0.35)
    graph = coo_matrix((np.ones(joined.sum()), (a[joined], b[joined])), shape=(len(face_uv),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int32)
