"""A person in the mirror: picture, iuv, parts and texture of a rendered body stay of one mind about who is seen."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from reid.augment import AugmentConfig, augment, draw_parameters
from reid.batch import MEAN, STD, Batch, StoredBatch
from reid.fit import InputConfig
from shards.semantics import SURFACE_FLIP, SURFACE_TO_7
from synth.anatomy import Anatomy, anatomy_of
from synth.mesh import body_mesh
from synth.raster import RasterConfig, rasterize

INPUT = InputConfig(height=128, width=96)
YAWS_RAD = (0.0, np.pi, 1.2, -0.5)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return anatomy_of("open")


def painted(anatomy: Anatomy) -> np.ndarray:
    """(256, 256, 3) uint8: red, green and blue are the place on the body along x, y and z, 8 mm each: the left is redder."""
    atlas = anatomy.atlas
    colours = (atlas.points.position / 0.008 + 128).clip(0, 255).astype(np.uint8)
    return np.where(atlas.fill[..., None] >= 0, colours[atlas.fill], 0).astype(np.uint8)


def draw(anatomy: Anatomy, texture: np.ndarray, yaw_rad: float) -> dict[str, np.ndarray]:
    """The body in its T-pose, turned, in that texture: image, iuv and parts, uint8."""
    mesh = body_mesh(anatomy)
    x, y, z = mesh.rest.T
    x, z = np.cos(yaw_rad) * x + np.sin(yaw_rad) * z, np.cos(yaw_rad) * z - np.sin(yaw_rad) * x
    places = np.stack([48 + 55 * x, 50 - 55 * y, 5 - z], 1).astype(np.float32)
    config = RasterConfig(supersampling=1)
    seen = rasterize(torch.from_numpy(places)[None], torch.from_numpy(mesh.faces), 128, 96, config).face[0].numpy()
    row, column = np.nonzero(seen >= 0)
    face = seen[row, column]
    a, b, c = places[mesh.faces[face], :2].transpose(1, 0, 2).astype(float)
    share = np.linalg.solve(np.stack([b - a, c - a], 2), (np.stack([column + 0.5, row + 0.5], 1) - a)[..., None])[
        ..., 0
    ]
    weights = np.concatenate([1 - share.sum(1, keepdims=True), share], 1)
    u, v, surface_u, surface_v = (mesh.corner[face] * weights[..., None]).sum(1).T
    image, iuv = np.zeros((128, 96, 3), np.uint8), np.zeros((128, 96, 3), np.uint8)
    image[row, column] = texture[(256 * (1 - v)).astype(int), (256 * u).astype(int)]
    labels = np.stack([mesh.surface[face], 255 * surface_u, 255 * surface_v], 1)
    iuv[row, column] = labels.round().clip(0, 255).astype(np.uint8)
    return {"image": image, "iuv": iuv, "parts": SURFACE_TO_7[iuv[..., 0]]}


def colours_by_label(anatomy: Anatomy, iuv: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """(N, 3): the colour that the texture has at each (I, U, V) of iuv (N, 3), by the nearest texel of that surface."""
    atlas = anatomy.atlas
    column, row = (atlas.uv * [256, -256] + [0, 256]).astype(int).T
    # Surfaces lie far apart.
    known = np.concatenate([1000.0 * atlas.points.surface[:, None], 255 * atlas.surface_uv], 1)
    nearest = cKDTree(known).query(iuv * [1000.0, 1, 1])[1]
    return texture[row[nearest], column[nearest]]


@cache
def stored() -> StoredBatch:
    anatomy = anatomy_of("open")
    texture = painted(anatomy)
    drawn = [draw(anatomy, texture, yaw) for yaw in YAWS_RAD]
    arrays = {name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]}
    number = torch.arange(len(drawn))
    return StoredBatch(
        images=arrays.pop("image"),
        identities=number,
        origins=number,
        camera_ids=number,
        keys=tuple("abcd"),
        labels={**arrays, "texture": torch.from_numpy(texture).expand(len(drawn), -1, -1, -1)},
        uv_layout="makehuman",
    )


def errors(anatomy: Anatomy, batch: Batch, i: int) -> np.ndarray:
    """How far, metres, the places on the body lie apart that picture and texture show, at every pixel of sample i with a
    surface."""
    iuv, texture = (batch.labels[name][i].numpy() for name in ("iuv", "texture"))
    pixels = batch.images[i].permute(1, 2, 0).numpy() * STD + MEAN
    seen = iuv[..., 0] > 0
    difference = pixels[seen] * 255 - colours_by_label(anatomy, iuv[seen], texture)
    return 0.008 * np.linalg.norm(difference, axis=1)


AS_IT_IS = AugmentConfig(pad=0, flip=0.0, erase=0.0)
MIRRORED = AugmentConfig(pad=6, flip=1.0, erase=0.3)
RESAMPLED = AugmentConfig(pad=6, flip=1.0, erase=0.3, rotate=10, partial=0.5)


@pytest.mark.parametrize(("config", "share"), [(AS_IT_IS, 0.95), (MIRRORED, 0.95), (RESAMPLED, 0.7)])
def test_picture_labels_and_texture_stay_consistent(anatomy: Anatomy, config: AugmentConfig, share: float):
    """To about a texel, but at the borders of surfaces, and at the body's outline where a picture is read between its
    pixels."""
    batch = augment(stored(), INPUT, draw_parameters(config, INPUT, 4, seed=1, step=0))
    assert batch.flipped.all() == (config is not AS_IT_IS)
    for i in range(4):
        found = errors(anatomy, batch, i)
        assert len(found) > 150
        assert np.median(found) < 0.02 and np.quantile(found, share) < 0.1
        surface, parts = batch.labels["iuv"][i, ..., 0].numpy(), batch.labels["parts"][i].numpy()
        np.testing.assert_array_equal(SURFACE_TO_7[surface], parts)


def test_a_texture_left_as_it_is_contradicts_the_picture(anatomy: Anatomy):
    """The arms are a metre from where they should be."""
    mirror = draw_parameters(AugmentConfig(pad=0, flip=1.0, erase=0.0), INPUT, 4, seed=0, step=0)
    batch = augment(stored(), INPUT, mirror, mirror_texture=False)
    for i in range(4):
        assert np.median(errors(anatomy, batch, i)) > 0.1


def test_the_mirrored_surfaces_are_those_of_the_body_turned_the_other_way(anatomy: Anatomy):
    """The body is symmetric: its mirrored picture from the left is its picture from the right."""
    mirror = draw_parameters(AugmentConfig(pad=0, flip=1.0, erase=0.0), INPUT, 4, seed=0, step=0)
    batch = augment(stored(), INPUT, mirror)
    for i, yaw in enumerate(YAWS_RAD):
        found, wanted = batch.labels["iuv"][i].numpy(), draw(anatomy, painted(anatomy), -yaw)["iuv"]
        same = found[..., 0] == wanted[..., 0]
        assert same.mean() > 0.98 and (found[..., 0] > 0).sum() > 800
        seen = same & (found[..., 0] > 0)
        apart = np.abs(found[seen].astype(int) - wanted[seen])
        assert np.median(apart) <= 3
        assert (SURFACE_FLIP[SURFACE_FLIP[wanted[..., 0]]] == wanted[..., 0]).all()
