"""`synth.skin` for one CPU core: the same two functions, in one pass over the joints and one over the vertices."""

import functools
import math
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# As many vertices at once as stay in the first-level cache with all that is known of them.
TILE = 64


def pose_joints(pose: Tensor, rest_joints: Tensor, parents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `synth.skin.pose_joints`."""
    num_bodies, num_joints, _ = rest_joints.shape
    rotations, joints = torch.empty(num_bodies, num_joints, 3, 3), torch.empty(num_bodies, num_joints, 3)
    # Before each body's own stands the world's, which moves nothing and is the root's parent.
    transforms = torch.eye(3, 4).repeat(num_bodies, 1 + num_joints, 1, 1)
    rows = (pose.reshape(-1, 3), rest_joints.reshape(-1, 3), parents + 1, rotations.flatten(0, 1))
    _chain(*(a.numpy() for a in (*rows, transforms.flatten(0, 1), joints.view(-1, 3))))
    return rotations, transforms[:, 1:], joints


def skin_vertices(
    rest: Tensor, normals: Tensor, weights: Tensor, directions: Tensor, coefficients: Tensor, transforms: Tensor
) -> tuple[Tensor, Tensor]:
    """As `synth.skin.skin_vertices`; a vertex is summed in an order of its own, however many bodies there are."""
    tiles = _tiles(rest, normals, weights, directions)
    shares = torch.nn.functional.pad(coefficients, (1, 0), value=1.0)
    vertices = torch.empty(len(transforms), 3, len(tiles.start) - 1, TILE)
    turned = torch.empty_like(vertices)
    _skin(
        *(tiles.shapes, tiles.normals, tiles.start, tiles.joint, tiles.weights),
        *(shares.numpy(), transforms.numpy().reshape(len(transforms), -1)),
        *(np.empty((3, TILE), np.float32), np.empty((12, TILE), np.float32)),
        *(out.numpy().reshape(-1, TILE) for out in (vertices, turned)),
    )
    return vertices.flatten(2)[:, :, : len(normals)], turned.flatten(2)[:, :, : len(normals)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tiles:
    """Vertices in tiles (T of them): rows of TILE numbers, so that what is used together lies side by side.

    shapes (T * 3 * (1 + D), TILE): of each tile and axis the place at rest, then its directions; normals (T * 3, TILE).
    joint (K,) and weights (K, TILE): tile t is moved by those of start[t] to start[t + 1], as few joints move any one
    tile; start (T + 1,).
    """

    shapes: NDArray[np.float32]
    normals: NDArray[np.float32]
    start: NDArray[np.int64]
    joint: NDArray[np.int64]
    weights: NDArray[np.float32]


# An outfit is posed twice, for the picture and for the aligned one. Tensors are told apart by identity, not by value.
@functools.lru_cache(maxsize=1)
def _tiles(rest: Tensor, normals: Tensor, weights: Tensor, directions: Tensor) -> Tiles:
    num_joints = weights.shape[1]
    by_joint = _tiled(weights[num_joints:, :, None])[:, :, 0]
    tile, joint = np.nonzero(by_joint.any(2))
    return Tiles(
        shapes=_tiled(rest[num_joints:, :, None], directions[num_joints:]).reshape(-1, TILE),
        normals=_tiled(normals[:, :, None]).reshape(-1, TILE),
        start=np.searchsorted(tile, np.arange(len(by_joint) + 1)),
        joint=joint,
        weights=by_joint[tile, joint],
    )


def _tiled(*parts: Tensor) -> NDArray[np.float32]:
    """Parts (N, K, ...) side by side, in tiles (N // TILE + 1, K, all of ..., TILE); 0 where vertices have run out."""
    num_vertices, num_rows, _ = parts[0].shape
    whole = num_vertices // TILE
    tiles = np.zeros((whole + 1, num_rows, sum(part.shape[2] for part in parts), TILE), np.float32)
    end = 0
    for part in parts:
        start, end = end, end + part.shape[2]
        full, last = np.split(part.numpy(), [whole * TILE])
        tiles[:whole, :, start:end] = full.reshape(whole, TILE, *full.shape[1:]).transpose(0, 2, 3, 1)
        tiles[whole, :, start:end, : len(last)] = last.transpose(1, 2, 0)
    return tiles


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _chain(pose, rest, parents, rotations, transforms, joints):
    """`synth.skin.pose_joints` into its last three arguments, all joints in rows; parents (J,) into 1 + J transforms."""
    for j in range(len(rest)):
        body = j // len(parents)
        own, above = body + j + 1, body * (len(parents) + 1) + parents[j - body * len(parents)]
        angle = math.sqrt(pose[j, 0] * pose[j, 0] + pose[j, 1] * pose[j, 1] + pose[j, 2] * pose[j, 2])
        # Rodrigues' formula, by its limits where there is no axis.
        sine = math.sin(angle) / angle if angle > 1e-6 else 1.0
        cosine = (1 - math.cos(angle)) / (angle * angle) if angle > 1e-6 else 0.5
        for r in range(3):
            # The other two coordinates, in cyclic order.
            s, t = (r + 1) % 3, (r + 2) % 3
            x, y, z = pose[j, r], pose[j, s], pose[j, t]
            rotations[j, r, r] = 1 - cosine * (y * y + z * z)
            rotations[j, r, s] = cosine * x * y - sine * z
            rotations[j, r, t] = cosine * x * z + sine * y
        for r in range(3):
            place = transforms[above, r, 3]
            for c in range(3):
                place += transforms[above, r, c] * rest[j, c]
            moved = place
            for c in range(3):
                entry = 0.0
                for k in range(3):
                    entry += transforms[above, r, k] * rotations[j, k, c]
                transforms[own, r, c] = entry
                moved -= entry * rest[j, c]
            joints[j, r], transforms[own, r, 3] = place, moved


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _skin(shapes, normals, start, joint, weights, shares, transforms, point, blended, vertices, turned):
    """`synth.skin.skin_vertices` of `Tiles` into its last two arguments, (B * 3 * T, TILE).

    shares (B, 1 + D) of the shapes, transforms (B, J * 12); point (3, TILE) and blended (12, TILE) are room to work in.
    """
    num_tiles, num_shapes = len(start) - 1, shares.shape[1]
    for tile in range(num_tiles):
        for b in range(len(shares)):
            for c in range(3):
                for v in range(TILE):
                    point[c, v] = 0
                for d in range(num_shapes):
                    row, share = (3 * tile + c) * num_shapes + d, shares[b, d]
                    for v in range(TILE):
                        point[c, v] += share * shapes[row, v]
            for entry in range(12):
                for v in range(TILE):
                    blended[entry, v] = 0
                for k in range(start[tile], start[tile + 1]):
                    share = transforms[b, 12 * joint[k] + entry]
                    for v in range(TILE):
                        blended[entry, v] += share * weights[k, v]
            for c in range(3):
                out = (3 * b + c) * num_tiles + tile
                for v in range(TILE):
                    to_x, to_y, to_z = blended[4 * c, v], blended[4 * c + 1, v], blended[4 * c + 2, v]
                    moved = to_x * point[0, v] + to_y * point[1, v] + to_z * point[2, v]
                    vertices[out, v] = moved + blended[4 * c + 3, v]
                    x, y, z = normals[3 * tile, v], normals[3 * tile + 1, v], normals[3 * tile + 2, v]
                    turned[out, v] = to_x * x + to_y * y + to_z * z
