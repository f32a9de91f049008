"""Batches put together from the parts of a pool, in torch on its device: what is chosen, and how it is drawn.

Everything is chosen on the host and sent along; nothing is read back, so that the host runs ahead of a GPU.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from synth import seeding
from synth.anatomy import anatomy_of
from synth.camera import cut_intrinsics, outline_twin, project, to_camera
from synth.colour import SRGB_TO_LINEAR, linear_to_srgb
from synth.dress import Dressed
from synth.generate import ALIGNED_LIGHT, WALL, PitConfig
from synth.labels import coco_keypoints, visibility
from synth.motion import aligned_pose
from synth.place import stand_posed
from synth.pool import Pool
from synth.render import Cameras, Drawn, draw_person_twin
from synth.repeatable import full_precision
from synth.scene import legs_of
from synth.sensor_torch import photograph
from synth.shadow import coarseness, darken, fallen_on, soften

# A background from the pool shows at least this share of itself, along either axis: another crop, hardly coarser.
LEAST_CROP = 0.8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """B samples on one device, 8-bit sRGB or labels, channels last."""

    image: Tensor
    """(B, H, W, 3) uint8."""
    aligned: Tensor
    """(B, H, W, 3) uint8, the same people in a fixed frontal pose."""
    texture: Tensor
    """(B, T, T, 3) uint8 in the body's uv layout."""
    iuv: Tensor
    """(B, H, W, 3) uint8 as in `iuv.png`."""
    keypoints: Tensor
    """(B, 17, 3) float32 COCO-17: x, y in pixels, v = 2 seen, 1 hidden, 0 outside."""
    look: Tensor
    """(B,) int64 number of the texture: the same for those who wear the same."""
    uv_layout: str
    """Of all textures."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Choice:
    """What a batch of B is made of, on the pool's device, int64: look (L,), of the pool's; body (B,), B / L of each look's
    after another; place and sensor (B,). crop (B, 4) float32 in [0, 1), see `crop_backgrounds`; noise: a seed."""

    look: Tensor
    body: Tensor
    place: Tensor
    sensor: Tensor
    crop: Tensor
    noise: int


def choose_parts(pool: Pool, seed: int, step: int, batch_size: int, num_looks: int) -> Choice:
    """What batch `step` is made of; it depends on the arguments alone."""
    rng = seeding.generator(seed, step, "live")
    look = rng.permutation(len(pool.look))[:num_looks]
    body = look[:, None] * pool.num_bodies + rng.integers(pool.num_bodies, size=(num_looks, batch_size // num_looks))
    arrays = {
        "look": look,
        "body": body.reshape(-1),
        "place": rng.integers(len(pool.light), size=batch_size),
        "sensor": rng.integers(len(pool.light), size=batch_size),
        "crop": rng.random((batch_size, 4)).astype("float32"),
    }
    device = pool.light.device
    sent = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
    return Choice(**sent, noise=int(rng.integers(2**63)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Posed:
    """People on the ground before their cameras: vertices, normals (B, 3, N), joints (B, 24, 3), face (B, 5, 3)."""

    vertices: Tensor
    normals: Tensor
    joints: Tensor
    face: Tensor
    cameras: Cameras


def draw_choice(config: PitConfig, pool: Pool, choice: Choice) -> Batch:
    """The batch of a choice; the stages in their order."""
    with full_precision(config.device):
        people, texture = pool.dressed.select(choice.look), pool.texture.index_select(0, choice.look)
        linear = _linear_codes(texture.device)[texture.int()]
        posed = pose_people(config, pool, choice, people)
        ground = lay_ground(pool, choice, posed)
        drawn = draw_posed(config, ground, posed, people, linear)
        image = take_picture(pool, choice, drawn)
        keypoints = label_keypoints(posed, drawn)
        aligned = draw_aligned(config, pool, choice, people, linear)
    size = len(choice.body)
    times = size // len(choice.look)
    return Batch(
        image=image,
        aligned=aligned,
        texture=texture.repeat_interleave(times, 0, output_size=size),
        iuv=drawn.iuv,
        keypoints=keypoints,
        look=pool.look.index_select(0, choice.look).repeat_interleave(times, output_size=size),
        uv_layout=anatomy_of(config.body).body.uv_layout,
    )


def pose_people(config: PitConfig, pool: Pool, choice: Choice, people: Dressed) -> Posed:
    """The chosen bodies in their own poses, in the chosen places."""
    extrinsics, light, margins = (a.index_select(0, choice.place) for a in (pool.extrinsics, pool.light, pool.margins))
    pose = pool.pose.index_select(0, choice.body)
    return _pose(config, pool, choice, people, pose, extrinsics, light, margins)


def lay_ground(pool: Pool, choice: Choice, posed: Posed) -> Tensor:
    """(B, H, W, 3) linear RGB: the chosen backgrounds, cropped anew, under the people's shadows."""
    behind = crop_backgrounds(pool.background.index_select(0, choice.place).float(), choice.crop)
    kept_off = soften(fallen_on(posed.vertices, posed.cameras), posed.cameras.light)
    return darken(behind[..., :3], behind[..., 3], kept_off, coarseness(posed.cameras))


def draw_posed(config: PitConfig, ground: Tensor, posed: Posed, people: Dressed, texture: Tensor) -> Drawn:
    """The people before their backgrounds."""
    return draw_person_twin(ground, posed.vertices, posed.normals, people, texture, posed.cameras, config.raster)


def take_picture(pool: Pool, choice: Choice, drawn: Drawn) -> Tensor:
    """(B, H, W, 3) uint8 as the chosen sensors see it."""
    device = drawn.image.device
    generator = torch.Generator(device).manual_seed(choice.noise)
    codes = torch.randint(256, drawn.image.shape, dtype=torch.uint8, device=device, generator=generator)
    return photograph(drawn.image, pool.sensors.select(choice.sensor), codes)


def label_keypoints(posed: Posed, drawn: Drawn) -> Tensor:
    """(B, 17, 3): x, y, v."""
    places, cameras = coco_keypoints(posed.joints, posed.face).transpose(1, 2), posed.cameras
    projected = project(to_camera(places, cameras.world_to_camera), cameras.intrinsics).transpose(1, 2)
    return torch.cat([projected[..., :2], visibility(projected, drawn.depth)[..., None]], -1)


def draw_aligned(config: PitConfig, pool: Pool, choice: Choice, people: Dressed, texture: Tensor) -> Tensor:
    """(B, H, W, 3) uint8: the same people in a fixed frontal pose before a grey wall in even light."""
    extrinsics = pool.frontal_extrinsics.index_select(0, choice.place)
    pose, light = (one.expand(len(extrinsics), -1) for one in _aligned(config.body, extrinsics.device))
    # The top, the bottom and the sides that `synth.place.frontal` leaves.
    margins = torch.cat([torch.full_like(pose[:, :2], 0.03), torch.zeros_like(pose[:, :1])], 1).double()
    posed = _pose(config, pool, choice, people, pose, extrinsics, light, margins)
    wall = torch.full((), WALL, device=pose.device).expand(len(pose), config.height, config.width, 3)
    drawn = draw_posed(config, wall, posed, people, texture)
    return (linear_to_srgb(drawn.image) * 255 + 0.5).to(torch.uint8)


def _pose(
    config: PitConfig, pool: Pool, choice: Choice, people: Dressed, pose: Tensor, extrinsics: Tensor, light: Tensor,
    margins: Tensor,
) -> Posed:  # fmt: skip
    betas = pool.betas.index_select(0, choice.body)
    vertices, normals, joints, face = stand_posed(anatomy_of(config.body), people, betas, pose)
    intrinsics = cut_intrinsics(outline_twin(vertices, extrinsics), margins, config.height, config.width)
    cameras = Cameras(
        intrinsics=intrinsics, world_to_camera=extrinsics, light=light, height=config.height, width=config.width
    )
    return Posed(vertices=vertices, normals=normals, joints=joints, face=face, cameras=cameras)


def crop_backgrounds(backgrounds: Tensor, crop: Tensor) -> Tensor:
    """Crops (B, H, W, C) of backgrounds of that shape, enlarged to it. crop (B, 4) in [0, 1): how much is shown, from
    LEAST_CROP on; where it lies between left and right, and between top and bottom; below a half it is mirrored."""
    share = LEAST_CROP + (1 - LEAST_CROP) * crop[:, 0]
    mirror = torch.where(crop[:, 3] < 0.5, -share, share)
    x, y = ((1 - share) * (2 * crop[:, k] - 1) for k in (1, 2))
    zero = torch.zeros_like(share)
    matrices = torch.stack([mirror, zero, x, zero, share, y], 1).view(-1, 2, 3)
    planes = backgrounds.permute(0, 3, 1, 2)
    grid = torch.nn.functional.affine_grid(matrices, list(planes.shape), align_corners=False)
    found = torch.nn.functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1)


@functools.cache
def _linear_codes(device: torch.device) -> Tensor:
    return torch.tensor(SRGB_TO_LINEAR, device=device)


@functools.lru_cache(maxsize=4)
def _aligned(body: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pose (72,) and light (9,) of aligned pictures."""
    pose = torch.from_numpy(aligned_pose(legs_of(anatomy_of(body))))
    return pose.to(device), torch.tensor(ALIGNED_LIGHT, device=device)
