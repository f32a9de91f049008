"""Identities: who they are, the same before every camera, and what all their samples share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from shards.codec import encode_jpeg, encode_png
from synth import seeding
from synth.anatomy import Anatomy
from synth.arms import Carries
from synth.camera import CameraConfig
from synth.colour import srgb_to_linear
from synth.gait import Gait, sample_gait
from synth.generate import Look, draw_look, render_aligned
from synth.scene import burden_of, draw_scene
from synth.scenes.config import SceneConfig
from synth.texture_files import TextureFolder

PEOPLE_FROM = 1 << 40
"""Where the people of scenes begin among all that a seed holds: no sample of a Paired-Image-Texture set looks like one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Person:
    """An identity. betas (S,); texture (S, S, 4) linear RGB and a number of no meaning; encoded: the members that all
    samples of this person share, file extension -> bytes."""

    number: int
    look: Look
    betas: NDArray[np.float32]
    gait: Gait
    carries: Carries
    texture: torch.Tensor
    encoded: Mapping[str, bytes]


def identity_name(seed: int, number: int) -> str:
    """The identity of person `number` of a seed: another seed's people are others, and their names too."""
    return f"rendered-s{seed}/{number:06d}"


def draw_identity(config: SceneConfig, anatomy: Anatomy, number: int, textures: TextureFolder | None) -> Person:
    """Person `number`: a pure function of the seed and the number."""
    pit, own = config.pit(), PEOPLE_FROM + number
    if textures is not None:
        # Everybody wears a file of their own.
        order = seeding.generator(config.seed, 0, "textures").permutation(len(textures.paths))
        textures = replace(textures, paths=(textures.paths[order[number]],))
    look = draw_look(pit, anatomy, own, textures)
    scene = draw_scene(anatomy, look.outfit, seed=config.seed, index=own, camera=CameraConfig(), motions=None)
    texture = torch.nn.functional.pad(torch.from_numpy(srgb_to_linear(look.texture)), (0, 1))
    aligned = render_aligned(pit, anatomy, look.dressed, texture, [scene])[0]
    return Person(
        number=number,
        look=look,
        betas=scene.betas,
        gait=sample_gait(seeding.generator(config.seed, number, "gait")),
        carries=burden_of(look.outfit),
        texture=texture,
        encoded={
            "aligned.jpg": encode_jpeg(aligned, quality=config.quality, chroma="420"),
            "texture.png": encode_png(look.texture),
        },
    )
