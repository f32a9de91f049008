"""People set down on the ground, and cameras set up around them."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.anatomy import Anatomy
from synth.camera import Placement, crop_intrinsics, outline, world_to_camera
from synth.dress import Dressed, pose_dressed
from synth.motion import stand_on_ground
from synth.render import Cameras
from synth.scene import Scene

if TYPE_CHECKING:
    from synth.generate import PitConfig


def stand(anatomy: Anatomy, dressed: Dressed, scenes: list[Scene], poses: list[NDArray]) -> tuple[Tensor, ...]:
    """World vertices and normals (B, 3, N), joints (B, 24, 3), face keypoints (B, 5, 3).

    Feet stand on the ground, the pelvis over the origin.
    """
    betas, pose = torch.from_numpy(np.stack([s.betas for s in scenes])), torch.from_numpy(np.stack(poses))
    return stand_posed(anatomy, dressed, betas.to(dressed.rest.device), pose.to(dressed.rest.device))


def stand_posed(anatomy: Anatomy, dressed: Dressed, betas: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
    """`stand` by betas (B, S) and pose (B, 72) on the device of `dressed`."""
    vertices, normals, joints, face = pose_dressed(anatomy, dressed, betas, pose)
    place = stand_on_ground(vertices[:, :, : dressed.num_body].transpose(1, 2))
    for axis in (0, 2):
        place[:, axis] -= joints[:, 0, axis]
    return vertices + place[:, :, None], normals, joints + place[:, None], face + place[:, None]


def place_cameras(config: "PitConfig", vertices: Tensor, scenes: list[Scene]) -> Cameras:
    """The scenes' cameras, cropped around the people (B, 3, N)."""
    lights = [np.concatenate([s.light.sun_direction, s.light.sun_rgb, s.light.sky_rgb]) for s in scenes]
    light = torch.from_numpy(np.stack(lights).astype(np.float32))
    return cameras_around(vertices, [s.placement for s in scenes], light, config.height, config.width)


def cameras_around(vertices: Tensor, placements: list[Placement], light: Tensor, height: int, width: int) -> Cameras:
    """Cameras of these placements in light (B, 9), cropped to height x width pixels around the people (B, 3, N)."""
    device = vertices.device
    extrinsics = torch.from_numpy(np.stack([world_to_camera(p) for p in placements]).astype(np.float32)).to(device)
    intrinsics = crop_intrinsics(outline(vertices, extrinsics), placements, height, width)
    return Cameras(
        intrinsics=intrinsics,
        world_to_camera=extrinsics,
        light=light.to(device),
        height=height,
        width=width,
    )


def frontal(placement: Placement) -> Placement:
    """The camera of aligned pictures, as high as that of a placement."""
    return Placement(
        height_m=placement.height_m, distance_m=7.0, pan_rad=0.0, tilt_rad=0.0, roll_rad=0.0,
        top_margin=0.03, bottom_margin=0.03, shift=0.0,
    )  # fmt: skip
