"""One frame: a background, the shadows on its ground, people and things before it, and the labels of all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.anatomy import Anatomy
from synth.background import Background, Light
from synth.camera import outline, project, to_camera
from synth.draw_numba import draw_pixels
from synth.dress import Dressed, pose_dressed
from synth.labels import LABELLED_COVERAGE, coco_keypoints
from synth.motion import stand_on_ground
from synth.occluder import OCCLUDER, Layer, lay
from synth.occluder import shade_ground as shade_by_thing
from synth.raster import RasterConfig, rasterize
from synth.render import Cameras, screen_points, towards_cameras
from synth.scenes.network import SceneCamera
from synth.scenes.smear_numba import smear
from synth.scenes.visits import Track
from synth.shadow import shadow_matrix, soften

NOBODY = -1
"""Code of `Frame.owner` where only the background is seen."""
MAX_SHADOW_M = 6.0
"""A shadow reaches no further from the feet, metres: a low sun's would cross the frame."""
NEAREST_SHADOW_M = 1.5
"""Nor nearer to the point below the camera than this."""
SHADOW_CELL_M = 0.025
"""Size of the coarse pixels of a shadow, whose edge is soft anyway."""
MARGIN_PX = 2
LEAST_BLUR_PX = 1.2
"""Less motion does not show."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """A picture and what each of its pixels shows: image (H, W, 3) float32 linear RGB; depth (H, W) float32 metres, inf
    where neither a person nor a thing is; owner (H, W) int16, the number of the person among those of the frame, or
    NOBODY or OCCLUDER; iuv (H, W, 3) uint8 of whoever is seen."""

    image: NDArray[np.float32]
    depth: NDArray[np.float32]
    owner: NDArray[np.int16]
    iuv: NDArray[np.uint8]

    @classmethod
    def over(cls, background: NDArray[np.float32]) -> "Frame":
        """A frame that shows nothing but a background (H, W, 3)."""
        shape = background.shape[:2]
        return cls(
            image=background.copy(),
            depth=np.full(shape, np.inf, np.float32),
            owner=np.full(shape, NOBODY, np.int16),
            iuv=np.zeros((*shape, 3), np.uint8),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posed:
    """A person on the way past a camera, in F frames: vertices and normals (F, 3, N) world, metres; keypoints (F, 17, 3)
    world; reach (F, 4) pixels of the frame, left, top, right, bottom of all that is drawn."""

    track: Track
    vertices: Tensor
    normals: Tensor
    keypoints: Tensor
    reach: NDArray[np.float64]


def pose_track(anatomy: Anatomy, camera: SceneCamera, track: Track) -> Posed:
    """Put a person on the ground along the way."""
    dressed, num = track.person.look.dressed, len(track.pose)
    betas = torch.from_numpy(track.person.betas).expand(num, -1)
    vertices, normals, joints, face = pose_dressed(anatomy, dressed, betas, torch.from_numpy(track.pose))
    shift = stand_on_ground(vertices[:, :, : dressed.num_body].transpose(1, 2))
    shift[:, [0, 2]] = torch.from_numpy(track.place) - joints[:, 0, [0, 2]]
    vertices += shift[:, :, None]
    keypoints = coco_keypoints(joints, face) + shift[:, None]
    extrinsics = torch.from_numpy(camera.world_to_camera).expand(num, 4, 4)
    k_matrix = camera.intrinsics.astype(np.float64)
    reach = outline(vertices, extrinsics).double().numpy() * k_matrix[0, 0] + np.tile(k_matrix[:2, 2], 2)
    return Posed(track=track, vertices=vertices, normals=normals, keypoints=keypoints, reach=reach)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawing:
    """A person drawn alone: layer, as it lies over the frame, None where it does not; iuv (h, w, 3) uint8 of the layer;
    num_pixels of the whole person, in and out of the frame."""

    layer: Layer | None
    iuv: NDArray[np.uint8]
    num_pixels: int


def draw_alone(posed: Posed, k: int, camera: SceneCamera, light: Tensor, config: RasterConfig) -> Drawing:
    """Draw the person of frame k by itself. light (1, 9) as of `Cameras`."""
    person = posed.track.person
    blur_px = _motion_px(posed, k, camera)
    margin = MARGIN_PX + math.ceil(0.5 * blur_px)
    left, top = (math.floor(v) - margin for v in posed.reach[k, :2])
    right, bottom = (math.ceil(v) + margin for v in posed.reach[k, 2:])
    cameras = window(camera, light, top, left, bottom - top, right - left)
    vertices, normals = posed.vertices[k : k + 1], posed.normals[k : k + 1]
    points, dressed = screen_points(vertices, normals, cameras), person.look.dressed
    shape = (cameras.height, cameras.width)
    visible = rasterize(points, dressed.faces, *shape, config, double_sided=dressed.double_sided)
    colour, iuv = np.zeros((1, *shape, 3), np.float32), np.zeros((1, *shape, 3), np.uint8)
    towards = towards_cameras(vertices, cameras)
    draw_pixels(visible, points.numpy(), dressed, person.texture.numpy(), towards.numpy(), light.numpy(), colour, iuv)
    alpha = visible.num_covered[0].numpy() * np.float32(1 / visible.supersampling**2)
    depth = visible.depth[0].numpy()
    if blur_px >= LEAST_BLUR_PX:
        line = np.empty(3 * shape[1], np.float32)
        for values, step in ((colour.reshape(-1), 3), (alpha.reshape(-1), 1)):
            smear(values, shape[1], step, np.float32(blur_px), line, values)
        # What is blurred over the outline is as near as the nearest of the person.
        depth = np.where((alpha > 0) & np.isinf(depth), depth.min(), depth)
    num_pixels = int((alpha >= LABELLED_COVERAGE).sum())
    rows = slice(max(-top, 0), max(camera.rows - top, 0))
    columns = slice(max(-left, 0), max(camera.columns - left, 0))
    colour, alpha, iuv, depth = (np.ascontiguousarray(a[rows, columns]) for a in (colour[0], alpha, iuv[0], depth))
    layer = Layer(
        row=max(top, 0), col=max(left, 0), colour=colour, alpha=alpha, depth_m=depth, shadow=None, provenance="person"
    )
    return Drawing(layer=layer if alpha.size else None, iuv=iuv, num_pixels=num_pixels)


def _motion_px(posed: Posed, k: int, camera: SceneCamera) -> float:
    """How far the person moves sideways in the frame while it is exposed, pixels."""
    depth = float(-posed.track.place[k, 1])
    return abs(float(posed.track.velocity[0])) * camera.exposure_s * camera.focal_px / depth


def window(camera: SceneCamera, light: Tensor, row: int, col: int, height: int, width: int, shrink: int = 1) -> Cameras:
    """The camera as it sees a window of its frame, in height x width coarse pixels of shrink x shrink of the frame's."""
    intrinsics = torch.from_numpy(camera.intrinsics)[None].clone()
    intrinsics[0, 0, 2] -= col
    intrinsics[0, 1, 2] -= row
    intrinsics[0, :2] /= shrink
    extrinsics = torch.from_numpy(camera.world_to_camera)[None]
    return Cameras(intrinsics=intrinsics, world_to_camera=extrinsics, light=light, height=height, width=width)


def light_vector(light: Light) -> Tensor:
    """(1, 9), as `Cameras` has it."""
    return torch.from_numpy(np.concatenate([light.sun_direction, light.sun_rgb, light.sky_rgb]).astype(np.float32))[
        None
    ]


def shade_ground(
    frame: Frame, ground: NDArray[np.float32], people: Sequence[Posed], k: int, camera: SceneCamera, light: Tensor
) -> None:
    """Take from the image what light people keep off the ground (H, W); of two shadows, the deeper."""
    rows, columns = frame.depth.shape
    deepest = np.zeros((rows, columns), np.float32)
    for posed in people:
        fallen = _fallen(posed, k, light)
        top, left, bottom, right = _shadow_box(fallen, camera)
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, rows), min(right, columns)
        shrink = math.ceil(SHADOW_CELL_M * camera.focal_px / -float(posed.track.place[k, 1]))
        height, width = -((top - bottom) // shrink), -((left - right) // shrink)
        if height < 4 or width < 4:
            continue
        mask = _covered(
            fallen, posed.track.person.look.dressed, window(camera, light, top, left, height, width, shrink)
        )
        fine = torch.nn.functional.interpolate(soften(mask, light)[:, None], scale_factor=shrink, mode="bilinear")[0, 0]
        here = deepest[top:bottom, left:right]
        np.maximum(here, fine[: bottom - top, : right - left].numpy(), out=here)
    deepest *= ground
    touched = np.nonzero(deepest.any(1))[0]
    if len(touched):
        part = slice(touched[0], touched[-1] + 1)
        frame.image[part] *= (1 - deepest[part])[..., None]


def _fallen(posed: Posed, k: int, light: Tensor) -> Tensor:
    """The person of frame k thrown onto the ground (1, 3, N), no further than MAX_SHADOW_M and never below the camera."""
    fallen = shadow_matrix(light[:, :3])[:, :3] @ torch.nn.functional.pad(
        posed.vertices[k : k + 1], (0, 0, 0, 1), value=1.0
    )
    for axis, middle in ((0, posed.track.place[k, 0]), (2, posed.track.place[k, 1])):
        fallen[:, axis].clamp_(float(middle) - MAX_SHADOW_M, float(middle) + MAX_SHADOW_M)
    fallen[:, 2].clamp_(max=-NEAREST_SHADOW_M)
    return fallen


def _covered(fallen: Tensor, dressed: Dressed, cameras: Cameras) -> Tensor:
    """How much a shadow covers of each pixel of a coarse window, (1, H, W) in [0, 1]."""
    points = project(to_camera(fallen, cameras.world_to_camera), cameras.intrinsics).transpose(1, 2).contiguous()
    visible = rasterize(points, dressed.faces, cameras.height, cameras.width, RasterConfig())
    return visible.num_covered.float() / visible.supersampling**2


def _shadow_box(fallen: Tensor, camera: SceneCamera) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a shadow in the frame, pixels, with room for its soft edge."""
    extrinsics = torch.from_numpy(camera.world_to_camera)[None]
    reach = outline(fallen, extrinsics)[0].double().numpy() * camera.focal_px
    left, top, right, bottom = reach + np.tile(camera.intrinsics[:2, 2], 2)
    room = 0.15 * camera.focal_px / camera.distance_m
    return int(top - room), int(left - room), int(bottom + room), int(right + room)


def compose(
    background: Background,
    people: Sequence[Posed],
    things: Sequence[Layer],
    k: int,
    camera: SceneCamera,
    light: Light,
    raster: RasterConfig,
) -> tuple[Frame, list[int]]:
    """Frame k of people and things before a background; also how many pixels each person would cover alone.

    The far ones first, so that soft edges blend with what is behind them; who is seen is decided at every pixel.
    """
    frame, rays = Frame.over(background.image), light_vector(light)
    shade_ground(frame, background.ground, people, k, camera, rays)
    for thing in things:
        if thing.shadow is not None:
            shade_by_thing(thing.shadow, frame.image, background.ground)
    drawings = [draw_alone(posed, k, camera, rays, raster) for posed in people]
    layers = [(thing, OCCLUDER, None) for thing in things]
    layers += [(one.layer, code, one.iuv) for code, one in enumerate(drawings) if one.layer is not None]
    for layer, code, labels in sorted(layers, key=lambda one: -float(one[0].depth_m.min())):
        lay(layer, frame.image, frame.depth, frame.iuv, frame.owner, code=code, labels=labels)
    return frame, [one.num_pixels for one in drawings]
