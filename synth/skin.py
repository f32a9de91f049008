"""Linear blend skinning in torch, for any device: joints along the kinematic chain, then the vertices that ride on them.

`synth.skin_numba` has the same two functions for one CPU core and is compared with these.
Source: Loper et al. 2015, eq. 2-7.
"""

import torch
from torch import Tensor


def pose_joints(pose: Tensor, rest_joints: Tensor, parents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Poses (B, 72) axis-angle, radians, of rest_joints (B, J, 3) metres on the tree of parents (J,) int64, root first.

    parents lie on the CPU, wherever the rest does: the host walks along them. Returns rotations (B, J, 3, 3) from the parent's axes, transforms (B, J, 3, 4) from rest to posed, and the posed
    joints (B, J, 3).
    """
    rotations = rotation_matrices(pose.reshape(rest_joints.shape))
    turned, joints = [rotations[:, 0]], [rest_joints[:, 0, :, None]]
    for own, above in enumerate(parents.tolist()[1:], start=1):
        bone = (rest_joints[:, own] - rest_joints[:, above])[..., None]
        joints.append(joints[above] + turned[above] @ bone)
        turned.append(turned[above] @ rotations[:, own])
    turned, joints = torch.stack(turned, 1), torch.stack(joints, 1)
    transforms = torch.cat([turned, joints - turned @ rest_joints[..., None]], -1)
    return rotations, transforms, joints[..., 0]


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """(..., 3, 3) of axis-angles (..., 3), radians, by Rodrigues' formula, with its limits where there is no axis."""
    angle = axis_angle.norm(dim=-1)[..., None, None]
    turns = angle > 1e-6
    angle = torch.where(turns, angle, 1)
    sine, cosine = torch.where(turns, angle.sin() / angle, 1), torch.where(turns, (1 - angle.cos()) / angle**2, 0.5)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=x.dtype, device=x.device) + sine * cross + cosine * (cross @ cross)


def skin_vertices(
    rest: Tensor, normals: Tensor, weights: Tensor, directions: Tensor, coefficients: Tensor, transforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Vertices (B, 3, N) metres, and normals (B, 3, N) of about unit length, in planes.

    rest (J + N, 3), weights (J + N, J) and directions (J + N, 3, D) of the joints, which are left out, and then of the
    vertices; normals (N, 3) at rest; coefficients (B, D) of the directions; transforms (B, J, 3, 4) of `pose_joints`.
    All float32. Several sets of vertices have a leading axis M: the first B / M bodies move the first set, and so on.
    """
    if rest.dim() == 2:
        rest, normals, weights, directions = (a[None] for a in (rest, normals, weights, directions))
    num_sets, num_joints = len(rest), weights.shape[2]
    rest, weights, directions = (rows[:, num_joints:] for rows in (rest, weights, directions))
    num_bodies, num_directions = coefficients.shape
    shapes = directions.permute(0, 3, 2, 1).reshape(num_sets, num_directions, -1)
    shaped = coefficients.view(num_sets, -1, num_directions) @ shapes + rest.mT.reshape(num_sets, 1, -1)
    x, y, z = shaped.view(num_sets, num_bodies // num_sets, 3, 1, -1).unbind(2)
    rows = transforms.reshape(num_sets, -1, num_joints, 12).transpose(2, 3)
    blended = rows.reshape(num_sets, -1, num_joints) @ weights.mT
    to_x, to_y, to_z, moved = blended.view(num_sets, -1, 3, 4, rest.shape[1]).unbind(3)
    vertices = torch.addcmul(moved, to_x, x).addcmul_(to_y, y).addcmul_(to_z, z)
    along = [normals[:, None, None, :, axis] for axis in range(3)]
    turned = (to_x * along[0]).addcmul_(to_y, along[1]).addcmul_(to_z, along[2])
    return vertices.flatten(0, 1), turned.flatten(0, 1)
