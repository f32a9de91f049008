"""Paired image and texture (PIT): from a configuration to the samples of a shard, one page.

Source: Jin et al. 2020 (Semantics-Aligned Representation Learning), section 3.1: each texture on ten bodies and poses,
one picture of each over a background, 256 x 128, and the 256 x 256 texture; table 2 adds the same person in a fixed
frontal pose.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from shards.codec import EncodedSample, encode_png, encode_sample
from shards.meta import Meta
from shards.schema import Sample
from synth import seeding
from synth.anatomy import Anatomy, anatomy_of
from synth.background import Background, Backgrounds, View
from synth.camera import CameraConfig, project, to_camera
from synth.colour import linear_to_srgb, srgb_to_linear
from synth.dress import Dressed, dress, undressed
from synth.labels import coco_keypoints, visibility
from synth.motion import aligned_pose
from synth.outfit import Outfit, sample_outfit
from synth.place import cameras_around, frontal, place_cameras, stand
from synth.raster import RasterConfig
from synth.render import Cameras, draw_person
from synth.repeatable import full_precision, one_thread
from synth.scene import Scene, draw_scene, legs_of
from synth.sensor import SensorConfig, apply_sensor, sample_sensor
from synth.shadow import cast_shadow
from synth.sources import Sources
from synth.texture import paint
from synth.texture_files import TextureFolder

ALIGNED_LIGHT = (0.3, 0.6, 0.742, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75)
WALL = 0.35
"""Light of aligned pictures, as in `Cameras`, and radiance of the wall behind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PitConfig:
    """What fixes the content of a PIT set, together with the shard size."""

    num_samples: int = 9290
    """SAN's size: 929 textures on 10 bodies each."""
    seed: int = 0
    """Another seed, other people; 0 is one like any other."""
    samples_per_texture: int = 10
    """Bodies and scenes per outfit."""
    height: int = 256
    """Rows of image and aligned."""
    width: int = 128
    """Columns of image and aligned."""
    body: str = "open"
    """`open`, or `smpl=PATH` for a licensed SMPL file with its UV .obj beside it."""
    camera: CameraConfig = field(default_factory=CameraConfig)
    raster: RasterConfig = field(default_factory=RasterConfig)
    sensor: SensorConfig = field(default_factory=SensorConfig)
    quality: int = 95
    """JPEG quality of image and aligned, 90..100."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where people are drawn. Pictures from another kind of device differ a little, as sums round differently."""

    def __post_init__(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda needs a CUDA GPU and torch built for it, found none; leave it out, for cpu")
        for name in ("num_samples", "samples_per_texture"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in 0..2^63-1, got {self.seed}")
        if self.height < 64 or self.width < 32 or self.height % 2 or self.width % 2:
            raise ValueError(f"pictures must be even and at least 64 x 32 pixels, got {self.height} x {self.width}")
        if not 90 <= self.quality <= 100:
            raise ValueError(f"quality must lie in 90..100, got {self.quality}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PitShards:
    """`make_shard` of a PIT set: samples [index * samples_per_shard, ...) as they lie in shard `index`."""

    config: PitConfig
    samples_per_shard: int
    sources: Sources

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        first = index * self.samples_per_shard
        stop = min(first + self.samples_per_shard, self.config.num_samples)
        per = self.config.samples_per_texture
        for group in range(first // per, (stop - 1) // per + 1):
            indices = range(max(first, group * per), min(stop, (group + 1) * per))
            yield from render_group(self.config, group, indices, self.sources)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Look:
    """What the samples of one texture share: outfit (None with a texture from a file), mesh, texture, its record."""

    outfit: Outfit | None
    dressed: Dressed
    texture: NDArray[np.uint8]
    record: dict
    licence: str


def draw_look(config: PitConfig, anatomy: Anatomy, group: int, textures: TextureFolder | None) -> Look:
    """The look of texture `group`: a painted outfit, or a bare body that wears a texture from a file."""
    rng = seeding.generator(config.seed, group, "outfit")
    if textures is not None:
        texture, name = textures.read(rng)
        record = {"texture": group, "file": name}
        return Look(outfit=None, dressed=undressed(anatomy), texture=texture, record=record, licence=textures.licence)
    outfit = sample_outfit(rng)
    return Look(
        outfit=outfit,
        dressed=dress(anatomy, outfit),
        texture=paint(anatomy, outfit),
        record={"texture": group, **outfit.to_dict()},
        licence="procedural, Apache-2.0",
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Scenes (B) of one look, drawn; aligned (B, H, W, 3) uint8."""

    look: Look
    scenes: list[Scene]
    pictures: "Pictures"
    aligned: NDArray[np.uint8]


def draw_group(config: PitConfig, group: int, indices: range, sources: Sources) -> Group:
    """Samples `indices`, all of texture `group`: the same look on different bodies in different scenes."""
    with one_thread(), full_precision(config.device):
        anatomy = anatomy_of(config.body)
        look = draw_look(config, anatomy, group, sources.textures)
        scenes = [
            draw_scene(anatomy, look.outfit, seed=config.seed, index=i, camera=config.camera, motions=sources.motions)
            for i in indices
        ]
        linear = torch.nn.functional.pad(torch.from_numpy(srgb_to_linear(look.texture)), (0, 1)).to(config.device)
        dressed = look.dressed if config.device == "cpu" else look.dressed.to(config.device)
        pictures = render_scenes(config, anatomy, dressed, linear, scenes, sources.backgrounds)
        aligned = render_aligned(config, anatomy, dressed, linear, scenes)
    return Group(look=look, scenes=scenes, pictures=pictures, aligned=aligned)


def render_group(config: PitConfig, group: int, indices: range, sources: Sources) -> Iterator[EncodedSample]:
    """`draw_group` as it is stored."""
    drawn, anatomy = draw_group(config, group, indices, sources), anatomy_of(config.body)
    look, texture_png = drawn.look, encode_png(drawn.look.texture)
    for k, scene in enumerate(drawn.scenes):
        sample = Sample(
            key=f"{scene.index:08d}",
            image=drawn.pictures.images[k],
            meta=describe(config, anatomy, look, scene, drawn.pictures, k),
            texture=look.texture,
            aligned=drawn.aligned[k],
            iuv=drawn.pictures.iuv[k],
        )
        yield encode_sample(sample, quality=config.quality, encoded={"texture.png": texture_png})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """images (B, H, W, 3) uint8; iuv (B, H, W, 3) uint8; keypoints (B, 17, 3) x, y, v; cameras; background names."""

    images: NDArray[np.uint8]
    iuv: NDArray[np.uint8]
    keypoints: NDArray[np.float64]
    intrinsics: NDArray[np.float32]
    world_to_camera: NDArray[np.float32]
    backgrounds: list[str]


def render_scenes(
    config: PitConfig,
    anatomy: Anatomy,
    dressed: Dressed,
    texture: torch.Tensor,
    scenes: list[Scene],
    backgrounds: Backgrounds,
) -> Pictures:
    """Pictures and labels of scenes (B) of one outfit."""
    vertices, normals, joints, face = stand(anatomy, dressed, scenes, [s.pose for s in scenes])
    cameras = place_cameras(config, vertices, scenes)
    behind = draw_behind(config.seed, scenes, cameras, backgrounds)
    shaded = cast_shadow(behind, vertices, cameras)
    drawn = draw_person(shaded, vertices, normals, dressed, texture, cameras, config.raster)
    rngs = [seeding.generator(config.seed, scene.index, "sensor") for scene in scenes]
    images = apply_sensor(drawn.image, [sample_sensor(rng, config.sensor) for rng in rngs], rngs)
    places = coco_keypoints(joints, face).transpose(1, 2)
    keypoints = project(to_camera(places, cameras.world_to_camera), cameras.intrinsics).transpose(1, 2)
    seen = visibility(keypoints, drawn.depth)
    return Pictures(
        images=images,
        iuv=drawn.iuv.cpu().numpy(),
        keypoints=torch.cat([keypoints[..., :2], seen[..., None]], -1).cpu().double().numpy().round(2),
        intrinsics=cameras.intrinsics.cpu().numpy(),
        world_to_camera=cameras.world_to_camera.cpu().numpy(),
        backgrounds=[one.provenance for one in behind],
    )


def draw_behind(seed: int, scenes: list[Scene], cameras: Cameras, backgrounds: Backgrounds) -> list[Background]:
    """What the cameras see behind the people of scenes (B)."""
    intrinsics, extrinsics, drawn = cameras.intrinsics.cpu().numpy(), cameras.world_to_camera.cpu().numpy(), []
    for k, scene in enumerate(scenes):
        view = View(
            height=cameras.height,
            width=cameras.width,
            intrinsics=intrinsics[k],
            world_to_camera=extrinsics[k],
            person_position=np.zeros(3, np.float32),
            light=scene.light,
        )
        drawn.append(backgrounds.draw(seeding.generator(seed, scene.index, "background"), view))
    return drawn


def render_aligned(
    config: PitConfig, anatomy: Anatomy, dressed: Dressed, texture: torch.Tensor, scenes: list[Scene]
) -> NDArray[np.uint8]:
    """The same people in a fixed frontal pose before a grey wall in even light, (B, H, W, 3) uint8."""
    from synth.colour_numba import encode_srgb

    pose = aligned_pose(legs_of(anatomy))
    vertices, normals, _, _ = stand(anatomy, dressed, scenes, [pose] * len(scenes))
    light = torch.tensor(ALIGNED_LIGHT).expand(len(scenes), -1)
    cameras = cameras_around(vertices, [frontal(s.placement) for s in scenes], light, config.height, config.width)
    wall = torch.full((), WALL, device=vertices.device).expand(len(scenes), config.height, config.width, 3)
    drawn = draw_person(wall, vertices, normals, dressed, texture, cameras, config.raster)
    if not vertices.is_cpu:
        return (linear_to_srgb(drawn.image) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    return encode_srgb(drawn.image.numpy())


def describe(config: PitConfig, anatomy: Anatomy, look: Look, scene: Scene, pictures: Pictures, k: int) -> Meta:
    """The record of picture k."""
    return Meta(
        origin="rendered",
        dataset="pit",
        keypoints=pictures.keypoints[k].tolist(),
        uv_layout=anatomy.body.uv_layout,
        rendered={
            "seed": config.seed,
            "index": scene.index,
            "intrinsics": numbers(pictures.intrinsics[k]),
            "world_to_camera": numbers(pictures.world_to_camera[k]),
            "body": {
                "name": anatomy.body.name,
                "surface": anatomy.surface.source,
                "betas": numbers(scene.betas),
                "pose": numbers(scene.pose),
            },
            "activity": scene.activity,
            "yaw_rad": scene.yaw_rad,
            "outfit": look.record,
            "background": pictures.backgrounds[k],
            "licences": {"body": anatomy.body.licence, "outfit": look.licence},
        },
    )


def numbers(values: NDArray[np.float32]) -> list:
    """Single precision in as many digits as it has; double would spell the rounding out."""
    return values.astype(np.float64).round(7).tolist()
