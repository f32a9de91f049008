"""The COCO-17 skeleton as an RGB picture: what a pose-transfer generator is told of a pose."""

import torch
from torch import Tensor

from reid.batch import on_device
from shards.semantics import KEYPOINTS

NECK = "neck"
"""The midpoint of the shoulders, there if both are."""
LIMBS: tuple[tuple[str, str, tuple[int, int, int]], ...] = (
    (NECK, "right hip", (255, 220, 0)),
    (NECK, "left hip", (0, 220, 120)),
    ("right hip", "right knee", (255, 150, 0)),
    ("right knee", "right ankle", (200, 90, 0)),
    ("left hip", "left knee", (0, 170, 255)),
    ("left knee", "left ankle", (0, 90, 200)),
    (NECK, "right shoulder", (255, 90, 90)),
    ("right shoulder", "right elbow", (255, 0, 0)),
    ("right elbow", "right wrist", (150, 0, 0)),
    (NECK, "left shoulder", (120, 120, 255)),
    ("left shoulder", "left elbow", (0, 0, 255)),
    ("left elbow", "left wrist", (0, 0, 150)),
    (NECK, "nose", (255, 255, 255)),
    ("nose", "right eye", (255, 0, 150)),
    ("right eye", "right ear", (255, 130, 210)),
    ("nose", "left eye", (150, 0, 255)),
    ("left eye", "left ear", (200, 140, 255)),
)
"""Ends and RGB colour of every limb, in the order in which they are drawn: where two cross, the later is seen. The person's
right side is warm, the left cool."""
LINES_PER_SIDE = 32
"""A line is the picture's side over this wide."""

_POINTS = (*KEYPOINTS, NECK)
_LEFT_SHOULDER, _RIGHT_SHOULDER = KEYPOINTS.index("left shoulder"), KEYPOINTS.index("right shoulder")
_PALETTE = (0, 0, 0, *(value for *_, colour in LIMBS for value in colour))


def draw_skeletons(keypoints: Tensor, picture: tuple[int, int], size: int = 256) -> Tensor:
    """Skeletons on black, stretched to a square as the pictures are that go with them.

    keypoints (B, 17, 3) float32: x and y in pixels, centres at +0.5, of pictures of (height, width) `picture`, and v as in
    `Meta`. Returns (B, 3, size, size) uint8, RGB, in channels-last memory. A pixel whose centre is within half a line's width
    of a limb has that limb's colour: there is no antialiasing, so a colour always names one limb. Hidden joints (v = 1) count
    as seen ones; a limb without one of its joints (v = 0) is left out. Raises ValueError for other shapes.
    """
    if keypoints.shape[1:] != (len(KEYPOINTS), 3):
        raise ValueError(f"keypoints must be (B, {len(KEYPOINTS)}, 3), got {tuple(keypoints.shape)}")
    if size < 1 or min(picture) < 1:
        raise ValueError(f"sizes of pictures must be at least 1, got {picture} drawn at {size}")
    height, width = picture
    scale = on_device((size / width, size / height), keypoints.device)
    points, is_there = _with_neck(keypoints[..., :2].float() * scale, keypoints[..., 2] > 0)
    centres = torch.arange(size, device=keypoints.device) + 0.5
    limbs = torch.zeros((len(keypoints), size, size), dtype=torch.uint8, device=keypoints.device)
    # Limb by limb: the distances of all at once would be gigabytes.
    for number, (start, end, _) in enumerate(LIMBS, start=1):
        a, b = _POINTS.index(start), _POINTS.index(end)
        is_near = _squared_distance(centres, points[:, a], points[:, b]) <= (0.5 * size / LINES_PER_SIDE) ** 2
        limbs.masked_fill_(is_near & (is_there[:, a] & is_there[:, b])[:, None, None], number)
    palette = on_device(_PALETTE, keypoints.device).to(torch.uint8).view(-1, 3)
    return palette[limbs.int()].permute(0, 3, 1, 2)


def _with_neck(points: Tensor, is_there: Tensor) -> tuple[Tensor, Tensor]:
    """points (B, 17, 2) and is_there (B, 17) with the neck as the eighteenth."""
    # Not by a list of both, of which a GPU would be sent a copy, and waited for.
    neck = (points[:, _LEFT_SHOULDER] + points[:, _RIGHT_SHOULDER])[:, None] / 2
    has_neck = is_there[:, _LEFT_SHOULDER, None] & is_there[:, _RIGHT_SHOULDER, None]
    return torch.cat([points, neck], 1), torch.cat([is_there, has_neck], 1)


def _squared_distance(centres: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """(B, S, S), of the pixel centres (S,) x (S,) from the segments start (B, 2) to end (B, 2)."""
    along = (end - start)[..., None, None]
    x = centres[None, None, :] - start[:, 0, None, None]
    y = centres[None, :, None] - start[:, 1, None, None]
    length = along.square().sum(1).clamp_min(1e-12)
    # How far along the segment the nearest point lies, 0 at its start and 1 at its end.
    part = (x * (along[:, 0] / length) + y * (along[:, 1] / length)).clamp_(0, 1)
    return (x - part * along[:, 0]).square_().add_((y - part * along[:, 1]).square_())
