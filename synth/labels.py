"""Ground truth from the buffers that the colours come from."""

import functools

import torch
from torch import Tensor

# COCO-17 in order: five face points first, then these of SMPL's joints (left, right: shoulder ... ankle).
COCO_JOINTS = (16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8)
# Half the thickness of what covers each keypoint, cloth included, metres: nearer things hide it.
COVER_M = (0.04, 0.04, 0.04, 0.05, 0.05, 0.13, 0.13, 0.10, 0.10, 0.09, 0.09, 0.19, 0.19, 0.13, 0.13, 0.10, 0.10)
# A pixel is labelled as the person if at least half of it is covered.
LABELLED_COVERAGE = 0.5


def coco_keypoints(joints: Tensor, face: Tensor) -> Tensor:
    """COCO-17 places (B, 17, 3) from SMPL joints (B, 24, 3) and face keypoints (B, 5, 3)."""
    # An index that lies on the host would make it wait for the device.
    return torch.cat([face, torch.stack([joints[:, joint] for joint in COCO_JOINTS], 1)], 1)


@functools.cache
def _cover_m(device: torch.device) -> Tensor:
    return torch.tensor(COVER_M, device=device)


def visibility(projected: Tensor, depth: Tensor) -> Tensor:
    """v (B, 17): 2 seen, 1 hidden behind something nearer, 0 outside; projected (B, 17, 3) pixels and depth in metres,
    depth (B, H, W) metres, inf where nothing is."""
    height, width = depth.shape[1:]
    x, y, z = projected.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = x.long().clamp(0, width - 1), y.long().clamp(0, height - 1)
    nearest = depth.flatten(1).gather(1, row * width + column)
    seen = nearest > z - _cover_m(depth.device)
    return torch.where(inside, torch.where(seen, 2, 1), 0)
