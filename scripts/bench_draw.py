"""How fast posed people are drawn: visibility alone, whole pictures, and the same people by pyrender."""

import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from bench_figures import Figure, rates

from synth.anatomy import anatomy_of
from synth.camera import Placement
from synth.colour import srgb_to_linear
from synth.dress import Dressed
from synth.generate import PitConfig, draw_look, place_cameras, stand
from synth.raster import RasterConfig, rasterize
from synth.render import Cameras, draw_person, screen_points
from synth.scene import draw_scene

BATCH = 10
"""Pictures drawn at once: those of one texture, as `pit` does."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Ten posed people in one outfit; as the arguments of `draw_person`."""

    vertices: torch.Tensor
    normals: torch.Tensor
    dressed: Dressed
    texture: torch.Tensor
    encoded: np.ndarray
    """(256, 256, 3) uint8, the texture as it is in a file."""
    cameras: Cameras
    wall: torch.Tensor


def standing_groups(num_outfits: int) -> list[Group]:
    """People of seed 0, 80 % of 256 rows high, in pictures of 256 x 128, six metres away."""
    config, anatomy, groups = PitConfig(), anatomy_of("open"), []
    place = Placement(
        height_m=3.0, distance_m=6.0, pan_rad=0.0, tilt_rad=0.0, roll_rad=0.0,
        top_margin=0.125, bottom_margin=0.125, shift=0.0,
    )  # fmt: skip
    for number in range(num_outfits):
        look = draw_look(config, anatomy, number, None)
        scenes = [
            replace(
                draw_scene(anatomy, look.outfit, seed=0, index=BATCH * number + k, camera=config.camera, motions=None),
                placement=place,
            )
            for k in range(BATCH)
        ]
        vertices, normals, _, _ = stand(anatomy, look.dressed, scenes, [scene.pose for scene in scenes])
        groups.append(
            Group(
                vertices=vertices,
                normals=normals,
                dressed=look.dressed,
                texture=torch.from_numpy(srgb_to_linear(look.texture)),
                encoded=look.texture,
                cameras=place_cameras(config, vertices, scenes),
                wall=torch.full((BATCH, config.height, config.width, 3), 0.3),
            )
        )
    return groups


def draw_group(group: Group, supersampling: int) -> torch.Tensor:
    """Linear pictures (10, 256, 128, 3)."""
    config = RasterConfig(supersampling=supersampling)
    people = (group.vertices, group.normals, group.dressed, group.texture, group.cameras)
    return draw_person(group.wall, *people, config).image


def raster_alone(groups: list[Group], rounds: int) -> list[Figure]:
    """Projected vertices in, visibility out."""
    figures = []
    for supersampling in (1, RasterConfig().supersampling):
        config, inputs = RasterConfig(supersampling=supersampling), []
        for group in groups:
            points = screen_points(group.vertices, group.normals, group.cameras)
            inputs.append((points, group.dressed.faces, group.dressed.double_sided))

        def draw(inputs=inputs, config=config) -> None:
            for points, faces, double_sided in inputs:
                rasterize(points, faces, 256, 128, config, double_sided=double_sided)

        values = rates(draw, rounds, BATCH * len(groups))
        target = 2000 if supersampling == 1 else None
        name = f"rasterise, {supersampling} x {supersampling} samples per pixel"
        figures.append(Figure.of(name, "images/s", values, target=target))
    return figures


def raster_and_shade(groups: list[Group], rounds: int) -> list[Figure]:
    """Posed vertices in, shaded picture with IUV out."""
    figures = []
    for supersampling in (1, RasterConfig().supersampling):
        values = rates(lambda s=supersampling: [draw_group(group, s) for group in groups], rounds, BATCH * len(groups))
        name = f"project, rasterise, shade, {supersampling} x {supersampling}"
        figures.append(Figure.of(name, "images/s", values, target=800))
    return figures


def against_pyrender(groups: list[Group], rounds: int) -> list[Figure]:
    """pyrender (EGL) draws the same people, RGB only, one sample per pixel, with one renderer for all pictures."""
    from synth.raster_pyrender import import_pyrender

    pyrender = import_pyrender()
    count = BATCH * len(groups)
    renderer = pyrender.OffscreenRenderer(128, 256)
    try:
        ready = [peer_scene(pyrender, group, k) for group in groups for k in range(BATCH)]
        drawn = [peer_picture(pyrender, renderer, scene) for scene in ready]
        check_same_people(groups, drawn)
        theirs = rates(lambda: [peer_picture(pyrender, renderer, scene) for scene in ready], rounds, count)

        def from_vertices() -> None:
            for group in groups:
                for k in range(BATCH):
                    peer_picture(pyrender, renderer, peer_scene(pyrender, group, k))

        uploading = rates(from_vertices, min(rounds, 3), count)
    finally:
        renderer.delete()
    ours = rates(lambda: [draw_group(group, 1) for group in groups], rounds, count)
    figures = [
        Figure.of("ours: posed vertices to picture and IUV, 1 x 1", "images/s", ours),
        Figure.of("pyrender: posed vertices to picture", "images/s", uploading),
        Figure.of("pyrender: meshes already in OpenGL", "images/s", theirs),
    ]
    median = statistics.median(ours)
    return [
        *figures,
        Figure.of(
            "ours over pyrender, posed vertices to picture", "x", [median / rate for rate in uploading], target=5
        ),
        Figure.of("ours over pyrender with meshes already there", "x", [median / rate for rate in theirs], target=5),
    ]


def peer_scene(pyrender: Any, group: Group, k: int) -> Any:
    """Person k of a group as a textured mesh, vertices split at the texture's seams, before the same camera and sun."""
    import trimesh
    from PIL import Image

    dressed, light = group.dressed, group.cameras.light[k].numpy()
    corners = dressed.faces.reshape(-1)
    vertices = group.vertices[k].T[corners].numpy()
    normals = group.normals[k].T[corners].numpy()
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(group.encoded), metallicFactor=0.0, roughnessFactor=1.0
    )
    visual = trimesh.visual.TextureVisuals(uv=dressed.corner[..., :2].reshape(-1, 2).numpy(), material=material)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    mesh = trimesh.Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)
    scene = pyrender.Scene(ambient_light=light[6:9], bg_color=[0.3, 0.3, 0.3])
    scene.add(pyrender.Mesh.from_trimesh(mesh, smooth=True))
    k_matrix = group.cameras.intrinsics[k].numpy()
    camera = pyrender.IntrinsicsCamera(
        k_matrix[0, 0], k_matrix[1, 1], k_matrix[0, 2], k_matrix[1, 2], znear=0.1, zfar=50.0
    )
    to_opengl = np.diag([1.0, -1.0, -1.0, 1.0])
    camera_to_world = np.linalg.inv(group.cameras.world_to_camera[k].double().numpy()) @ to_opengl
    scene.add(camera, pose=camera_to_world)
    scene.add(pyrender.DirectionalLight(color=light[3:6], intensity=3.0), pose=camera_to_world)
    return scene


def peer_picture(pyrender: Any, renderer: Any, scene: Any) -> np.ndarray:
    """(256, 128, 3) uint8."""
    return renderer.render(scene, flags=pyrender.RenderFlags.SKIP_CULL_FACES)[0]


def check_same_people(groups: list[Group], drawn: list[np.ndarray]) -> None:
    """Raise ValueError unless pyrender's people cover the pixels that ours cover."""
    for number, group in enumerate(groups):
        wall = group.wall.numpy()
        ours = np.abs(draw_group(group, 1).numpy() - wall).max(-1) > 1e-4
        for k in range(BATCH):
            picture = drawn[BATCH * number + k].astype(int)
            theirs = np.abs(picture - picture[0, 0]).max(-1) > 1
            differing = (ours[k] != theirs).sum() / ours[k].sum()
            if differing > 0.1:
                raise ValueError(f"pyrender's picture of person {BATCH * number + k} differs in {differing:.0%} of it")
