"""Parts of pictures drawn beforehand and kept on a device, to be put together anew in every live batch.

A CPU core takes some ten milliseconds for a look and more than one for a scene with its background, far longer than a GPU
takes to draw a person. So looks, bodies in their poses, places (camera, light, background) and cameras' sensors are drawn as the samples
of a PIT set are, and recombined: any person may stand in any place and be photographed by any sensor. A body keeps its
look, whose bags its arms make room for.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards.workers import Report, run_tasks
from synth import seeding
from synth.anatomy import anatomy_of
from synth.camera import box_margins, world_to_camera
from synth.dress import ARRAYS, Dressed, stack_dressed
from synth.generate import PitConfig, draw_behind, draw_look
from synth.place import frontal, place_cameras, stand
from synth.repeatable import full_precision, one_thread
from synth.scene import draw_scene
from synth.sensor import SensorParams, sample_sensor
from synth.sensor_torch import Sensors
from synth.sources import Sources


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recipe:
    """What a CPU prepares of one look and its S samples: `dressed`'s arrays and num_body; texture (T, T, 3) uint8; betas
    (S, D); pose (S, 72); margins (S, 3); extrinsics, frontal_extrinsics (S, 4, 4); light (S, 9); background (S, H, W, 4)
    float16, linear RGB and how far it is ground. In numpy: torch would send every tensor as an open file."""

    dressed: dict[str, NDArray]
    num_body: int
    texture: NDArray[np.uint8]
    betas: NDArray[np.float32]
    pose: NDArray[np.float32]
    margins: NDArray[np.float64]
    extrinsics: NDArray[np.float32]
    frontal_extrinsics: NDArray[np.float32]
    light: NDArray[np.float32]
    background: NDArray[np.float16]
    sensors: list[SensorParams]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrepareGroup:
    """Prepares the recipe of a texture's group; a task of `shards.workers`."""

    config: PitConfig
    sources: Sources

    def __call__(self, group: int, report: Report | None = None) -> Recipe:
        config, seed = self.config, self.config.seed
        per = config.samples_per_texture
        with one_thread(), full_precision("cpu"):
            anatomy = anatomy_of(config.body)
            look = draw_look(config, anatomy, group, self.sources.textures)
            scenes = [
                draw_scene(anatomy, look.outfit, seed=seed, index=i, camera=config.camera, motions=self.sources.motions)
                for i in range(group * per, (group + 1) * per)
            ]
            cameras = place_cameras(config, stand(anatomy, look.dressed, scenes, [s.pose for s in scenes])[0], scenes)
        background = np.empty((per, config.height, config.width, 4), np.float16)
        for k, drawn in enumerate(draw_behind(seed, scenes, cameras, self.sources.backgrounds)):
            background[k, ..., :3], background[k, ..., 3] = drawn.image, drawn.ground
        placements = [scene.placement for scene in scenes]
        return Recipe(
            dressed={name: getattr(look.dressed, name).numpy() for name in ARRAYS},
            num_body=look.dressed.num_body,
            texture=look.texture,
            betas=np.stack([scene.betas for scene in scenes]),
            pose=np.stack([scene.pose for scene in scenes]),
            margins=box_margins(placements).numpy(),
            extrinsics=cameras.world_to_camera.numpy(),
            frontal_extrinsics=np.stack([world_to_camera(frontal(p)) for p in placements]).astype(np.float32),
            light=cameras.light.numpy(),
            background=background,
            sensors=[sample_sensor(seeding.generator(seed, scene.index, "sensor"), config.sensor) for scene in scenes],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """Recipes of G looks with S bodies each on a device: dressed, a stack of G; texture (G, T, T, 3) uint8; look (G,)
    int64, numbers of the textures. The rest as in `Recipe`, with G * S rows, look after look."""

    dressed: Dressed
    texture: Tensor
    look: Tensor
    betas: Tensor
    pose: Tensor
    margins: Tensor
    extrinsics: Tensor
    frontal_extrinsics: Tensor
    light: Tensor
    background: Tensor
    sensors: Sensors

    @property
    def num_bodies(self) -> int:
        """S."""
        return len(self.betas) // len(self.texture)

    @classmethod
    def of(cls, looks: Sequence[int], recipes: Sequence[Recipe], device: torch.device | str) -> "Pool":
        """Recipes of these textures."""
        people = [
            Dressed(**{name: torch.from_numpy(a) for name, a in one.dressed.items()}, num_body=one.num_body)
            for one in recipes
        ]
        rows = {
            field.name: torch.from_numpy(np.concatenate([getattr(one, field.name) for one in recipes])).to(device)
            for field in fields(Recipe)
            if field.name not in ("dressed", "num_body", "texture", "sensors")
        }
        size = recipes[0].background.shape[1:3]
        return cls(
            dressed=stack_dressed(people).to(device),
            texture=torch.from_numpy(np.stack([one.texture for one in recipes])).to(device),
            look=torch.tensor(looks, device=device),
            sensors=Sensors.of([sensor for one in recipes for sensor in one.sensors], *size, device),
            **rows,
        )


def draw_pool(
    config: PitConfig, sources: Sources, looks: Sequence[int], device: torch.device | str, *, num_workers: int = 0
) -> Pool:
    """The pool of these textures, prepared by worker processes, or here if num_workers is 0.

    It does not depend on who prepares it.
    """
    prepare = PrepareGroup(config=config, sources=sources)
    if num_workers == 0:
        return Pool.of(looks, [prepare(look) for look in looks], device)
    with closing(run_tasks(prepare, looks, num_workers=num_workers)) as results:
        found = dict(results)
    return Pool.of(looks, [found[look] for look in looks], device)
