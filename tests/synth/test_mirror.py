"""Mirrored textures against mirrored pictures of the body that wears them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shards.semantics import SURFACE_FLIP
from shards.uv_mirror import mirror_table
from synth.accessory import free_rectangle
from synth.anatomy import Anatomy
from synth.mesh import body_mesh
from synth.mirror import mirrored_texels
from synth.raster import RasterConfig, rasterize

SIZE = 200
VIEWS = {"front": 0.0, "back": np.pi, "left": np.pi / 2, "right": -np.pi / 2, "front left": 0.7}


def uv_seen(anatomy: Anatomy, yaw_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (SIZE, SIZE) of the texel that each pixel shows of the body in its T-pose, -1 where none."""
    mesh = body_mesh(anatomy)
    x, y, z = mesh.rest.T
    x, z = np.cos(yaw_rad) * x - np.sin(yaw_rad) * z, np.sin(yaw_rad) * x + np.cos(yaw_rad) * z
    scale = SIZE / 2.1
    places = np.stack([SIZE / 2 + scale * x, SIZE * 0.45 - scale * y, 5 - z], 1).astype(np.float32)
    faces = torch.from_numpy(mesh.faces)
    seen = rasterize(torch.from_numpy(places)[None], faces, SIZE, SIZE, RasterConfig(supersampling=1)).face[0].numpy()
    row, column = np.nonzero(seen >= 0)
    face = seen[row, column]
    a, b, c = places[mesh.faces[face], :2].transpose(1, 0, 2)
    edges = np.stack([b - a, c - a], 2)
    share = np.linalg.solve(edges.astype(float), (np.stack([column + 0.5, row + 0.5], 1) - a)[..., None])[..., 0]
    weights = np.concatenate([1 - share.sum(1, keepdims=True), share], 1)
    u, v = (mesh.corner[face, :, :2] * weights[..., None]).sum(1).T
    texel = np.full((2, SIZE, SIZE), -1)
    texel[:, row, column] = (256 * (1 - v)).clip(0, 255), (256 * u).clip(0, 255)
    return texel[0], texel[1]


def painted(anatomy: Anatomy) -> np.ndarray:
    """(256, 256, 3) float: every texel shows where on the body it lies, metres; the padding as that around it."""
    fill = anatomy.atlas.fill
    return np.where(fill[..., None] >= 0, anatomy.atlas.points.position[fill], np.nan)


@pytest.mark.parametrize("view", list(VIEWS))
def test_a_mirrored_picture_shows_the_mirrored_texture(anatomy: Anatomy, view: str):
    """Turned the other way the body, which is symmetric, has the mirrored outline; painted with the mirrored texture it is
    the mirrored picture."""
    texture = painted(anatomy)
    mirrored = texture.reshape(-1, 3)[mirror_table("makehuman")]
    row, column = uv_seen(anatomy, VIEWS[view])
    picture = np.where((row >= 0)[..., None], texture[row, column], np.nan)[:, ::-1]
    row, column = uv_seen(anatomy, -VIEWS[view])
    wanted = np.where((row >= 0)[..., None], mirrored[row, column], np.nan)
    both = np.isfinite(picture[..., 0]) & np.isfinite(wanted[..., 0])
    assert both.sum() > 0.97 * np.isfinite(picture[..., 0]).sum() > 2000
    error = np.linalg.norm(picture - wanted, axis=2)[both]
    assert np.median(error) < 0.006 and np.quantile(error, 0.99) < 0.03
    unmirrored = np.linalg.norm(picture - texture[row, column], axis=2)[both]
    assert np.median(unmirrored) > 0.1


def test_every_texel_goes_to_the_other_side(anatomy: Anatomy):
    atlas = anatomy.atlas
    table = mirrored_texels(atlas)
    assert table.dtype == np.uint16
    covered = np.zeros((256, 256), bool)
    column, row = (atlas.uv * [256, -256] + [0, 256]).astype(int).T
    covered[row, column] = True
    texel = np.full(256 * 256, -1)
    texel[row * 256 + column] = np.arange(len(row))
    here, there = atlas.points, texel[table[row, column]]
    assert (there >= 0).all()
    away = np.linalg.norm(here.position[there] - here.position * [-1, 1, 1], axis=1)
    assert np.median(away) < 0.002 and away.max() < 0.012  # a texel is 6 mm wide
    assert ((here.normal[there] * here.normal * [-1, 1, 1]).sum(1) > 0.5).all()
    assert (here.surface[there] == SURFACE_FLIP[here.surface]).mean() > 0.98


def test_padding_goes_with_its_chart_and_bags_stay(anatomy: Anatomy):
    fill, table = anatomy.atlas.fill, mirrored_texels(anatomy.atlas)
    own = np.arange(256 * 256).reshape(256, 256)
    column, row = (anatomy.atlas.uv * [256, -256] + [0, 256]).astype(int).T
    assert np.array_equal(table[fill >= 0], table[row, column][fill[fill >= 0]])
    assert np.array_equal(table[fill < 0], own[fill < 0])
    top, left, height, width = free_rectangle(anatomy)
    bag = np.s_[top : top + height, left : left + width]
    assert np.array_equal(table[bag], own[bag])


def test_the_script_makes_the_table_that_is_committed(anatomy: Anatomy, tmp_path: Path):
    script = Path(__file__).parents[2] / "scripts" / "bake_uv_mirror.py"
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    subprocess.run([sys.executable, script, "--out", tmp_path], env=environment, check=True, capture_output=True)
    (made,) = tmp_path.iterdir()
    with Image.open(made) as new, Image.open(script.parents[1] / "shards" / "assets" / made.name) as old:
        assert (np.asarray(new) == np.asarray(old)).mean() > 0.999  # two texels may be equally near
    assert (mirrored_texels(anatomy.atlas) == mirror_table("makehuman")).mean() > 0.999
