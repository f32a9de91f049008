"""One textured person as a file for any 3D viewer."""

from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from shards.writer import atomic_file
from synth.anatomy import anatomy_of
from synth.camera import CameraConfig
from synth.generate import PitConfig, Sources, draw_look, stand
from synth.scene import draw_scene


def person_mesh(config: PitConfig, index: int, sources: Sources) -> trimesh.Trimesh:
    """The person of sample `index`, posed, feet on the ground, metres, y up, as a textured trimesh.

    Vertices are split where the texture has a seam.
    """
    anatomy = anatomy_of(config.body)
    look = draw_look(config, anatomy, index // config.samples_per_texture, sources.textures)
    scene = draw_scene(
        anatomy, look.outfit, seed=config.seed, index=index, camera=CameraConfig(), motions=sources.motions
    )
    vertices = stand(anatomy, look.dressed, [scene], [scene.pose])[0][0].T
    faces, uv = look.dressed.faces.reshape(-1), look.dressed.corner[..., :2].reshape(-1, 2)
    rows = torch.cat([faces[:, None].to(uv.dtype), uv], 1).numpy()
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(look.texture), metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    return trimesh.Trimesh(
        vertices=vertices.numpy()[unique[:, 0].astype(int)],
        faces=inverse.reshape(-1, 3),
        visual=trimesh.visual.TextureVisuals(uv=unique[:, 1:], material=material),
        process=False,
    )


def export_person(config: PitConfig, index: int, sources: Sources, out: Path) -> None:
    """Write the person of sample `index` as .glb. Raises ValueError for another suffix."""
    if out.suffix != ".glb":
        raise ValueError(f"people are exported as .glb (textures inside), got {out.name!r}")
    data = person_mesh(config, index, sources).export(file_type="glb")
    with atomic_file(out) as file:
        file.write(data)
