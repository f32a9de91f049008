"""Linear blend skinning in torch, for any device: joints by smplx's kinematic chain, then the vertices that ride on them.

`synth.skin_numba` has the same two functions for one CPU core and is compared with these.
Source: Loper et al. 2015, eq. 2-7.
"""

import torch
from torch import Tensor


def pose_joints(pose: Tensor, rest_joints: Tensor, parents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Poses (B, 72) axis-angle, radians, of rest_joints (B, J, 3) metres on the tree of parents (J,) int64, root first.

    Returns rotations (B, J, 3, 3) from the parent's axes, transforms (B, J, 3, 4) from rest to posed, and the posed
    joints (B, J, 3).
    """
    from smplx.lbs import batch_rigid_transform, batch_rodrigues

    rotations = batch_rodrigues(pose.reshape(-1, 3)).reshape(*rest_joints.shape, 3)
    joints, transforms = batch_rigid_transform(rotations, rest_joints, parents, dtype=pose.dtype)
    return rotations, transforms[:, :, :3], joints


def skin_vertices(
    rest: Tensor, normals: Tensor, weights: Tensor, directions: Tensor, coefficients: Tensor, transforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Vertices (B, 3, N) metres, and normals (B, 3, N) of about unit length, in planes.

    rest (J + N, 3), weights (J + N, J) and directions (J + N, 3, D) of the joints, which are left out, and then of the
    vertices; normals (N, 3) at rest; coefficients (B, D) of the directions; transforms (B, J, 3, 4) of `pose_joints`.
    All float32.
    """
    rest, weights, directions = (rows[weights.shape[1] :] for rows in (rest, weights, directions))
    # One body at a time: a product of all at once rounds differently for another number of them.
    shaped = torch.stack([(rest + directions @ one).T for one in coefficients])
    blended = transforms.reshape(*transforms.shape[:2], 12).transpose(1, 2) @ weights.T
    x, y, z = shaped[:, None].unbind(2)
    to_x, to_y, to_z, moved = blended.reshape(len(transforms), 3, 4, -1).unbind(2)
    vertices = torch.addcmul(moved, to_x, x).addcmul_(to_y, y).addcmul_(to_z, z)
    turned = (to_x * normals[:, 0]).addcmul_(to_y, normals[:, 1]).addcmul_(to_z, normals[:, 2])
    return vertices, turned
