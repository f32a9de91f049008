"""Bags and caps: rigid or strap-like meshes with their own rectangles in the texture, no body surface."""

import functools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import HAND, HEAD, HIP, SHOULDER, SPINE3, Anatomy
from synth.garment import upper_drape
from synth.mesh import Mesh, body_mesh, cut, grid_faces, join, moved, ride, vertex_tree
from synth.outfit import Accessory, Outfit

STRAP_WIDTH_M = 0.045
BOX_GRID = (11, 16)
# Rectangles of the free part of the atlas, as shares of it: the bag's cloth, straps and trim, the cap.
PATCHES = {"bag": (0.0, 0.5), "trim": (0.5, 0.7), "cap": (0.7, 1.0)}


@functools.lru_cache(maxsize=8)
def free_rectangle(anatomy: Anatomy) -> tuple[int, int, int, int]:
    """The largest rectangle (row, column, height, width) of texels that the body does not use.

    Raises ValueError if the layout leaves less than 8 x 12 texels.
    """
    free = anatomy.atlas.free
    best, heights = (0, 0, 0, 0), np.zeros(free.shape[1], int)
    for row in range(free.shape[0]):
        heights = np.where(free[row], heights + 1, 0)
        stack: list[tuple[int, int]] = []
        for column, height in enumerate([*heights, 0]):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if tall * (column - start) > best[2] * best[3]:
                    best = (row - tall + 1, start, int(tall), column - start)
            stack.append((start, int(height)))
    if min(best[2:]) < 8 or max(best[2:]) < 12:
        raise ValueError(f"the uv layout {anatomy.body.uv_layout!r} has no free rectangle of 8 x 12 texels for bags")
    return best


def patch_texels(anatomy: Anatomy, patch: str) -> tuple[slice, slice]:
    """Rows and columns of the atlas that belong to a patch."""
    row, column, height, width = free_rectangle(anatomy)
    start, end = PATCHES[patch]
    if width >= height:
        return slice(row, row + height), slice(column + int(start * width), column + int(end * width))
    return slice(row + int(start * height), row + int(end * height)), slice(column, column + width)


def _patch_uv(anatomy: Anatomy, patch: str, square: NDArray) -> NDArray[np.float32]:
    """uv (..., 2) in a patch for places (..., 2) in the unit square, kept off its border by a texel."""
    rows, columns = patch_texels(anatomy, patch)
    size = anatomy.atlas.fill.shape[0]
    inner = np.clip(square, 0, 1)
    u = (columns.start + 1 + inner[..., 0] * (columns.stop - columns.start - 2)) / size
    v = 1 - (rows.start + 1 + (1 - inner[..., 1]) * (rows.stop - rows.start - 2)) / size
    return np.stack([u, v], -1).astype(np.float32)


def accessory_meshes(anatomy: Anatomy, outfit: Outfit) -> list[Mesh]:
    """The meshes of all that the outfit's person carries."""
    meshes = []
    for accessory in outfit.accessories:
        match accessory.kind:
            case "backpack":
                meshes += _backpack(anatomy, outfit, accessory)
            case "shoulder_bag":
                meshes += _shoulder_bag(anatomy, outfit, accessory)
            case "handbag":
                meshes += _handbag(anatomy, accessory)
            case "cap":
                meshes += _cap(anatomy, outfit)
    return meshes


def _piece(anatomy: Anatomy, rest, faces, square, patch: str, weights, directions) -> Mesh:
    corner = np.zeros((len(faces), 3, 4), np.float32)
    corner[..., :2] = _patch_uv(anatomy, patch, square[faces])
    # No surface: u = 1 marks a carried thing in the IUV map.
    corner[..., 2] = 1
    surface = np.zeros(len(faces), np.uint8)
    return Mesh(
        rest=rest.astype(np.float32),
        weights=weights,
        directions=directions,
        faces=faces,
        corner=corner,
        surface=surface,
        double_sided=np.ones(len(faces), bool),
    )


def _box(centre: NDArray, size: NDArray, roundness: float = 0.35) -> tuple[NDArray, NDArray, NDArray]:
    """A rounded box: vertices (N, 3), faces (F, 3), and each vertex's place (N, 2) on its front."""
    ball = _rounded_cube(roundness)
    return centre + ball * size / 2, grid_faces(*BOX_GRID, closed=True), ball[:, :2] / 2 + 0.5


@functools.lru_cache(maxsize=4)
def _rounded_cube(roundness: float) -> NDArray:
    """Vertices (N, 3) in [-1, 1] of a superellipsoid, N of them in BOX_GRID."""
    rows, columns = BOX_GRID
    latitude, longitude = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows), np.arange(columns) / columns * 2 * np.pi, indexing="ij"
    )

    def power(value):
        return np.sign(value) * np.abs(value) ** roundness

    across, up, depth = (
        power(np.cos(latitude)) * power(np.sin(longitude)),
        power(np.sin(latitude)),
        power(np.cos(latitude)) * power(np.cos(longitude)),
    )
    return np.stack([across, up, depth], -1).reshape(-1, 3)


def _rigid(anatomy: Anatomy, count: int, joints: dict[int, float], like: int) -> tuple[NDArray, NDArray]:
    """Weights (N, 24) on the given joints, and the shape of one body vertex, so that the piece stays rigid."""
    weights = np.zeros((count, 24), np.float32)
    for joint, share in joints.items():
        weights[:, joint] = share
    return weights, np.repeat(anatomy.body.directions.numpy()[like : like + 1], count, 0)


def _nearest(anatomy: Anatomy, place: NDArray) -> int:
    return int(vertex_tree(anatomy).query(place)[1])


def _ribbon(anatomy: Anatomy, path: NDArray, outward: NDArray, width_m: float, *, soft: bool = True) -> Mesh:
    """A strap along path (N, 3), lying flat against `outward` (N, 3)."""
    tangent = np.gradient(path, axis=0)
    across = np.cross(tangent, outward)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    # The mean of each with its neighbours.
    first, middle, last = across[:2].mean(0), (across[:-2] + across[1:-1] + across[2:]) / 3, across[-2:].mean(0)
    across = np.concatenate([first[None], middle, last[None]])
    rest = np.stack([path - across * width_m / 2, path + across * width_m / 2], 1).reshape(-1, 3)
    faces = grid_faces(len(path), 2, closed=False)
    square = np.stack(np.meshgrid(np.linspace(0, 1, 2), np.linspace(0, 1, len(path))), -1).reshape(-1, 2)
    weights, directions = (np.repeat(a, 2, 0) for a in ride(anatomy, path, near=12)) if soft else (None, None)
    return _piece(anatomy, rest, faces, square, "trim", weights, directions)


def _spline(points: NDArray, count: int) -> NDArray:
    """Catmull-Rom curve through points (K, C), sampled at `count` places."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    place = np.linspace(0, len(points) - 1 - 1e-6, count)
    k = place.astype(int)
    t = (place - k)[:, None]
    p0, p1, p2, p3 = (padded[k + i] for i in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)


def _on_trunk(anatomy: Anatomy, outfit: Outfit, heights: list[float], degrees: list[float]) -> tuple[NDArray, NDArray]:
    """Places (K, 3) on the dressed trunk at heights and angles (0 front, 90 left), and outward directions."""
    top = outfit.outer or outfit.inner
    along, angle = np.array(heights), np.radians(degrees)
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    radius = anatomy.trunk.at(upper_drape(anatomy, top), along, angle) + 0.012
    centre = np.interp(along, anatomy.trunk.rows(), anatomy.trunk.centre[:, 1])
    out = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    return out * radius[:, None] + np.stack([np.zeros_like(along), along, centre], 1), out


@functools.lru_cache(maxsize=16)
def _bare_shoulder_top(anatomy: Anatomy, x: float) -> NDArray[np.float32]:
    position = anatomy.vertices.position
    near = position[(np.abs(position[:, 0] - x) < 0.02) & (position[:, 1] < anatomy.neck_y)]
    return near[near[:, 1].argmax()]


def _shoulder_top(anatomy: Anatomy, outfit: Outfit, x: float) -> tuple[NDArray, NDArray]:
    """The place on top of the dressed shoulder at x, and up."""
    top = _bare_shoulder_top(anatomy, x)
    ease = (outfit.outer or outfit.inner).ease_m
    return np.array([x, top[1] + ease + 0.012, top[2]]), np.array([0.0, 1.0, 0.0])


def _backpack(anatomy: Anatomy, outfit: Outfit, accessory: Accessory) -> list[Mesh]:
    armpit, size = anatomy.armpit_y, accessory.size
    height, width, depth = 0.42 * size, 0.29 * size, 0.15 * size
    back, _ = _on_trunk(anatomy, outfit, [armpit - 0.05], [180])
    centre = np.array([0, anatomy.joints[SHOULDER, 1] + 0.0 - height / 2, back[0, 2] - 0.42 * depth])
    rest, faces, square = _box(centre, np.array([width, height, depth]))
    # Fuller below than above.
    rest[:, 2] -= 0.25 * depth * (0.5 - square[:, 1]) * (rest[:, 2] < centre[2])
    weights, directions = _rigid(anatomy, len(rest), {SPINE3: 0.7, 6: 0.3}, _nearest(anatomy, back[0]))
    meshes = [_piece(anatomy, rest, faces, square, "bag", weights, directions)]
    for sign in (-1, 1):
        top, up = _shoulder_top(anatomy, outfit, 0.095 * sign)
        places, out = _on_trunk(
            anatomy,
            outfit,
            [armpit + 0.03, armpit + 0.03, armpit - 0.06, armpit - 0.13, armpit - 0.17, armpit - 0.19],
            [sign * d for d in (152, 34, 42, 68, 112, 150)],
        )
        path = _spline(np.concatenate([places[:1], top[None], places[1:]]), 30)
        normal = _spline(np.concatenate([out[:1], up[None], out[1:]]), 30)
        meshes.append(_ribbon(anatomy, path, normal, STRAP_WIDTH_M * size))
    return meshes


def _shoulder_bag(anatomy: Anatomy, outfit: Outfit, accessory: Accessory) -> list[Mesh]:
    sign = 1 if accessory.side == "left" else -1
    size, hip = accessory.size, float(anatomy.joints[HIP, 1])
    seat, out = _on_trunk(anatomy, outfit, [hip + 0.03], [sign * 100])
    box = np.array([0.10, 0.23, 0.30]) * size
    centre = seat[0] + out[0] * box[0] * 0.45
    rest, faces, square = _box(np.zeros(3), box[[2, 1, 0]], 0.3)
    # Turn the box's front (z) to the side of the body.
    rest = np.stack([rest[:, 2] * sign, rest[:, 1], -rest[:, 0] * sign], 1) + centre
    weights, directions = _rigid(anatomy, len(rest), {0: 0.8, 3: 0.2}, _nearest(anatomy, seat[0]))
    bag = _piece(anatomy, rest, faces, square, "bag", weights, directions)
    top, up = _shoulder_top(anatomy, outfit, -0.1 * sign)
    armpit = anatomy.armpit_y
    heights = np.interp(np.arange(5), [0, 4], [armpit, hip + 0.13]).tolist()
    front, front_out = _on_trunk(anatomy, outfit, heights, [sign * d for d in (-24, 0, 22, 48, 80)])
    behind, behind_out = _on_trunk(anatomy, outfit, heights[::-1], [sign * d for d in (118, 140, 162, 184, 204)])
    path = _spline(np.concatenate([behind, top[None], front]), 44)
    normal = _spline(np.concatenate([behind_out, up[None], front_out]), 44)
    return [bag, _ribbon(anatomy, path, normal, 0.032 * size)]


def _handbag(anatomy: Anatomy, accessory: Accessory) -> list[Mesh]:
    """Hangs from the hand: in the T-pose it points along the arm, which hangs down in every pose that carries it."""
    sign = 1 if accessory.side == "left" else -1
    joint = HAND if sign > 0 else HAND + 1
    hand, size = anatomy.joints[joint], accessory.size
    box = np.array([0.23, 0.09, 0.29]) * size
    drop = 0.13 + 0.04 * (accessory.seed % 3)
    centre = hand + np.array([sign * (drop + box[0] / 2), -0.03, 0.0])
    rest, faces, square = _box(np.zeros(3), box[[2, 0, 1]], 0.3)
    rest = np.stack([-rest[:, 1] * sign, rest[:, 2], rest[:, 0]], 1) + centre
    like = _nearest(anatomy, hand)
    weights, directions = _rigid(anatomy, len(rest), {joint: 1.0}, like)
    meshes = [_piece(anatomy, rest, faces, square, "bag", weights, directions)]
    for offset in (-0.02, 0.02):
        corners = np.array(
            [
                [drop + 0.02, -0.03 + offset, -0.09 * size],
                [0.02, -0.03, 0.0],
                [drop + 0.02, -0.03 + offset, 0.09 * size],
            ]
        )
        path = _spline(hand + corners * [sign, 1, 1], 14)
        ribbon = _ribbon(anatomy, path, np.tile([0.0, 1.0, 0.0], (14, 1)), 0.022 * size, soft=False)
        weights, directions = _rigid(anatomy, len(ribbon.rest), {joint: 1.0}, like)
        meshes.append(replace(ribbon, weights=weights, directions=directions))
    return meshes


def _cap(anatomy: Anatomy, outfit: Outfit) -> list[Mesh]:
    """A crown that follows the scalp and a brim over the forehead."""
    head, points = anatomy.joints[HEAD], anatomy.vertices
    size = anatomy.crown_y - head[1]
    band = head[1] + 0.62 * size
    nose = points.position[anatomy.body.face_keypoints[0]]
    field = np.where(np.isin(points.surface, [23, 24]), points.position[:, 1] - band, -1)
    volume = 0.0 if outfit.hair.bald else outfit.hair.volume_m
    dome = join([cut(moved(body_mesh(anatomy), points.normal * (0.012 + volume)), field.astype(np.float32))])
    square = np.stack([(dome.rest[:, 0] / size + 0.5), (dome.rest[:, 2] - head[2]) / size * 0.4 + 0.5], 1)
    crown = _piece(anatomy, dome.rest, dome.faces, square, "cap", dome.weights, dome.directions)
    turn, reach = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 11), np.linspace(0, 1, 4)))
    forehead = nose[2] - 0.012 + volume * 0.5
    rest = np.stack(
        [
            0.075 * np.sin(turn * 1.25) * (1 + 0.15 * reach),
            band + 0.012 - 0.018 * reach - 0.012 * turn**2,
            forehead - 0.075 * (1 - np.cos(turn * 1.25)) + 0.068 * reach * np.cos(turn * 1.2),
        ],
        1,
    )
    weights, directions = _rigid(anatomy, len(rest), {HEAD: 1.0}, int(anatomy.body.face_keypoints[0]))
    place = np.stack([turn / 2 + 0.5, reach], 1)
    return [crown, _piece(anatomy, rest, grid_faces(4, 11, closed=False), place, "trim", weights, directions)]
