"""`synth.skin` for one CPU core: the same two functions, in one pass over the joints and one over the vertices."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.kernel import kernel

# As many vertices at once as stay in the first-level cache with all that is known of them.
TILE = 64
U = np.uint64
ONE, TWO, THREE, FOUR, WIDE = U(1), U(2), U(3), U(4), U(TILE)
TO_X, TO_Y, TO_Z, SHIFT = (U(k * TILE) for k in range(3, 7))
"""Rows of the room to work in, behind the three of the place at rest: one row of the blended transforms."""


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
    given = (tiles.shapes, tiles.normals, tiles.start, tiles.joint, tiles.weights, shares.numpy(), transforms.numpy())
    sizes = shares.shape[1], transforms.shape[1]
    work = np.empty(7 * TILE, np.float32)
    _skin(*(a.reshape(-1) for a in given), *sizes, work, vertices.view(-1).numpy(), turned.view(-1).numpy())
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


@kernel
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


@kernel(fastmath={"contract"})
def _skin(shapes, normals, start, joint, weights, shares, transforms, num_shapes, num_joints, work, vertices, turned):
    """`synth.skin.skin_vertices` of `Tiles` into its last two arguments, (B, 3, T, TILE); all arrays are flat.

    shares (B, 1 + D) of the shapes, transforms (B, J, 12); work (7 * TILE,) is room to work in.
    """
    num_tiles, entries = U(len(start) - 1), U(12 * num_joints)
    for tile in range(num_tiles):
        first, last = U(start[tile]), U(start[tile + ONE])
        for b in range(U(len(shares) // num_shapes)):
            for c in range(THREE):
                row, own = (THREE * tile + c) * U(num_shapes), b * U(num_shapes)
                for v in range(WIDE):
                    work[c * WIDE + v] = shares[own] * shapes[row * WIDE + v]
                for d in range(ONE, U(num_shapes)):
                    for v in range(WIDE):
                        work[c * WIDE + v] += shares[own + d] * shapes[(row + d) * WIDE + v]
            for c in range(THREE):
                for v in range(FOUR * WIDE):
                    work[TO_X + v] = 0
                for k in range(first, last):
                    at = b * entries + U(12 * joint[k]) + FOUR * c
                    x, y, z, shift = transforms[at], transforms[at + ONE], transforms[at + TWO], transforms[at + THREE]
                    for v in range(WIDE):
                        share = weights[k * WIDE + v]
                        work[TO_X + v] += x * share
                        work[TO_Y + v] += y * share
                        work[TO_Z + v] += z * share
                        work[SHIFT + v] += shift * share
                out, normal = ((THREE * b + c) * num_tiles + tile) * WIDE, THREE * tile * WIDE
                for v in range(WIDE):
                    to_x, to_y, to_z = work[TO_X + v], work[TO_Y + v], work[TO_Z + v]
                    moved = to_x * work[v] + to_y * work[WIDE + v] + to_z * work[TWO * WIDE + v]
                    vertices[out + v] = moved + work[SHIFT + v]
                for v in range(WIDE):
                    to_x, to_y, to_z = work[TO_X + v], work[TO_Y + v], work[TO_Z + v]
                    x, y, z = normals[normal + v], normals[normal + WIDE + v], normals[normal + TWO * WIDE + v]
                    turned[out + v] = to_x * x + to_y * y + to_z * z
