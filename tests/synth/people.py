"""People drawn for tests, with the arrays that they were drawn from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from synth.anatomy import Anatomy
from synth.camera import CameraConfig, project, to_camera
from synth.colour import srgb_to_linear
from synth.dress import Dressed, dress
from synth.generate import PitConfig, place_cameras, stand
from synth.labels import coco_keypoints, visibility
from synth.outfit import Outfit
from synth.render import Cameras, Drawn, draw_person
from synth.scene import Scene, draw_scene
from synth.texture import paint

# Brighter than any lit person: how much of it is left in a pixel says how much of the pixel the person covers.
WALL = 64.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Some people in one outfit, drawn over a WALL, with the arrays that they were drawn from.

    vertices, normals (B, 3, N) world; texture (S, S, 3) linear; projected (B, 17, 3) keypoints, seen (B, 17) their v;
    coverage (B, H, W) in quarters, read off the wall.
    """

    outfit: Outfit
    dressed: Dressed
    scenes: list[Scene]
    vertices: Tensor
    normals: Tensor
    texture: Tensor
    cameras: Cameras
    drawn: Drawn
    projected: Tensor
    seen: Tensor
    coverage: Tensor


def draw_group(anatomy: Anatomy, outfit: Outfit, indices: range) -> Group:
    """People `indices`, all in one outfit, 256 x 128 pixels."""
    config, dressed = PitConfig(), dress(anatomy, outfit)
    scenes = [draw_scene(anatomy, outfit, seed=7, index=i, camera=CameraConfig(), motions=None) for i in indices]
    vertices, normals, joints, face = stand(anatomy, dressed, scenes, [scene.pose for scene in scenes])
    cameras = place_cameras(config, vertices, scenes)
    texture = torch.from_numpy(srgb_to_linear(paint(anatomy, outfit)))
    wall = torch.full((len(scenes), config.height, config.width, 3), WALL)
    drawn = draw_person(wall, vertices, normals, dressed, texture, cameras, config.raster)
    places = coco_keypoints(joints, face)
    projected = project(to_camera(places.mT, cameras.world_to_camera), cameras.intrinsics).mT
    return Group(
        outfit=outfit,
        dressed=dressed,
        scenes=scenes,
        vertices=vertices,
        normals=normals,
        texture=texture,
        cameras=cameras,
        drawn=drawn,
        projected=projected,
        seen=visibility(projected, drawn.depth),
        coverage=(4 * (1 - drawn.image.mean(-1) / WALL)).round() / 4,
    )
