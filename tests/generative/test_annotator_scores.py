"""Scores and mean predictors against slow loops; which texels a picture shows, against the picture."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.metrics import ssim as kornia_ssim
from torch import Tensor

from generative.annotators.floor import floor_of, floor_sums
from generative.annotators.scores import (
    add,
    conclude,
    iuv_sums,
    keypoint_sums,
    parts_sums,
    ssim_map,
    texture_sums,
)
from generative.annotators.visible import CELLS, used_texels, visible_texels
from shards.manifest import MANIFEST, Manifest
from shards.table import Table
from shards.uv_surface import surface_table
from shards.writer import write_shard
from synth.generate import PitConfig, PitShards
from synth.sources import SourceFolders

RNG = np.random.default_rng(0)


def random_textures(count: int) -> Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (count, 256, 256, 3), dtype=np.uint8))


def random_iuv(count: int, height: int = 9, width: int = 7, surfaces: int = 4) -> Tensor:
    iuv = RNG.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    iuv[..., 0] %= surfaces
    iuv[iuv[..., 0] == 0] = 0, 255, 0
    return torch.from_numpy(iuv)


def random_keypoints(count: int, width: float, height: float) -> Tensor:
    points = RNG.uniform(0, 1, (count, 17, 3)) * [width, height, 3]
    points[..., 2] = np.floor(points[..., 2])
    return torch.from_numpy(points.astype(np.float32))


def test_ssim_is_that_of_others():
    a, b = (torch.from_numpy(RNG.random((2, 3, 40, 30), dtype=np.float32)) for _ in range(2))
    b = 0.7 * a + 0.3 * b
    theirs = kornia_ssim(a, b, 11).mean(1)
    torch.testing.assert_close(ssim_map(a, b), theirs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ssim_map(a, a), torch.ones(2, 40, 30), rtol=0, atol=1e-4)
    assert ssim_map(torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)).max() < 1e-3


def test_textures_on_visible_and_hidden_texels_apart():
    truth, predicted = random_textures(2), random_textures(2)
    predicted = (truth // 2 + predicted // 2).to(torch.uint8)
    used = torch.from_numpy(RNG.random((256, 256)) < 0.05)
    visible = torch.from_numpy(RNG.random((2, 256, 256)) < 0.3)
    scores = conclude(texture_sums(predicted, truth, used, visible))
    likeness = ssim_map(*(one.permute(0, 3, 1, 2).float() / 255 for one in (predicted, truth)))
    away = np.abs(predicted.numpy().astype(float) - truth.numpy()).mean(-1) / 255
    for name, seen in {"_visible": visible, "_hidden": ~visible, "": torch.ones_like(visible)}.items():
        counted = [(b, y, x) for b, y, x in np.ndindex(2, 256, 256) if used[y, x] and seen[b, y, x]]
        assert scores[f"l1{name}"] == pytest.approx(np.mean([away[place] for place in counted]), rel=1e-5)
        assert scores[f"ssim{name}"] == pytest.approx(np.mean([likeness[place].item() for place in counted]), rel=1e-5)
    alone = conclude(texture_sums(predicted, truth, used, None))
    assert alone == {name: pytest.approx(scores[name]) for name in ("l1", "ssim")}


def test_iuv():
    truth, predicted = random_iuv(3), random_iuv(3)
    right = right_on_body = on_body = 0
    away = []
    for b, y, x in np.ndindex(3, 9, 7):
        one, other = truth[b, y, x].tolist(), predicted[b, y, x].tolist()
        right += one[0] == other[0]
        on_body += one[0] > 0
        if one[0] == other[0] and one[0]:
            right_on_body += 1
            away.append(math.hypot(one[1] - other[1], one[2] - other[2]) / 255)
    assert conclude(iuv_sums(predicted, truth)) == {
        "surface_accuracy": pytest.approx(right / (3 * 9 * 7)),
        "surface_accuracy_on_body": pytest.approx(right_on_body / on_body),
        "uv_error": pytest.approx(np.mean(away)),
    }


def test_where_nothing_is_right_there_is_no_uv_error():
    truth = torch.full((1, 2, 2, 3), 5, dtype=torch.uint8)
    assert conclude(iuv_sums(torch.full_like(truth, 6), truth))["uv_error"] is None


def test_parts_over_batches():
    truth, predicted = (torch.from_numpy(RNG.integers(0, 6, (4, 9, 7), dtype=np.uint8)) for _ in range(2))
    predicted[2] = truth[2]
    sums = add(add({}, parts_sums(predicted[:1], truth[:1])), parts_sums(predicted[1:], truth[1:]))
    ious = []
    for part in range(8):
        one, other = truth == part, predicted == part
        if (one | other).any():
            ious.append(((one & other).sum() / (one | other).sum()).item())
    assert len(ious) == 6  # parts that nobody has are left out
    assert conclude(sums) == {
        "pixel_accuracy": pytest.approx((truth == predicted).float().mean().item()),
        "mean_iou": pytest.approx(np.mean(ious)),
    }


def test_keypoints():
    truth = random_keypoints(20, 50, 120)
    noise = torch.from_numpy(RNG.normal(0, 8, (20, 17, 3)).astype(np.float32)) * torch.tensor([1, 1, 0])
    predicted = truth + noise
    predicted[..., 2] = torch.from_numpy(RNG.choice([0.0, 2.0], (20, 17), p=[0.2, 0.8]).astype(np.float32))
    truth[3, :, 2] = 0  # nobody knows
    truth[4, 1:, 2] = 0  # a single one has no box
    hits, seen = [], []
    for one, other in zip(truth.tolist(), predicted.tolist(), strict=True):
        known = [point for point in one if point[2] > 0]
        if len(known) < 2:
            continue
        side = max(max(p[axis] for p in known) - min(p[axis] for p in known) for axis in (0, 1))
        for point, guess in zip(one, other, strict=True):
            if point[2] > 0:
                near = math.hypot(point[0] - guess[0], point[1] - guess[1]) <= 0.1 * side
                hits.append(near and guess[2] > 0)
                seen += [hits[-1]] if point[2] == 2 else []
    assert 0.2 < np.mean(hits) < 0.8
    assert conclude(keypoint_sums(predicted, truth)) == {
        "pck": pytest.approx(np.mean(hits)),
        "pck_seen": pytest.approx(np.mean(seen)),
    }


def test_the_mean_texture():
    textures = random_textures(5)
    sums = add(add({}, floor_sums("texture", textures[:2])), floor_sums("texture", textures[2:]))
    wanted = np.round(textures.numpy().astype(float).mean(0))
    assert np.abs(floor_of("texture", sums).numpy() - wanted).max() <= 0.5


def test_the_commonest_part():
    parts = torch.from_numpy(RNG.integers(0, 3, (7, 5, 4), dtype=np.uint8))
    sums = add(add({}, floor_sums("parts", parts[:3])), floor_sums("parts", parts[3:]))
    for y, x in np.ndindex(5, 4):
        assert floor_of("parts", sums)[y, x] == np.bincount(parts[:, y, x]).argmax()


def test_the_commonest_surface_with_its_mean_place():
    iuv = random_iuv(9, 5, 4, surfaces=3)
    sums = add(add({}, floor_sums("iuv", iuv[:4])), floor_sums("iuv", iuv[4:]))
    mean = floor_of("iuv", sums)
    for y, x in np.ndindex(5, 4):
        surface = np.bincount(iuv[:, y, x, 0]).argmax()
        uv = iuv[:, y, x, 1:][iuv[:, y, x, 0] == surface].numpy().astype(float).mean(0) if surface else np.zeros(2)
        assert mean[y, x, 0] == surface
        assert np.abs(mean[y, x, 1:].numpy() - uv).max() <= 0.51


def test_the_mean_place_of_each_keypoint():
    points = random_keypoints(6, 1, 1)
    points[:, 3, 2] = 0
    sums = add(add({}, floor_sums("keypoints", points[:2])), floor_sums("keypoints", points[2:]))
    mean = floor_of("keypoints", sums)
    assert (mean[:, 2] == 2).all() and mean[3, :2].tolist() == [0, 0]
    for k in set(range(17)) - {3}:
        known = points[:, k][points[:, k, 2] > 0]
        assert mean[k, :2].tolist() == pytest.approx(known[:, :2].mean(0).tolist(), abs=1e-5)


def test_visible_texels_are_those_near_a_pixel():
    """On the surface, within a cell or two of 1 / CELLS along u and v."""
    iuv = random_iuv(1, 12, 8, surfaces=25)[0].numpy()
    visible, table = visible_texels(iuv, "makehuman"), surface_table("makehuman").astype(int)
    assert (visible <= used_texels("makehuman")).all()
    pixels = iuv.reshape(-1, 3).astype(int)
    for y, x in RNG.integers(0, 256, (3000, 2)):
        surface, *uv = table[y, x]
        same = pixels[pixels[:, 0] == surface, 1:]
        away = np.abs(same - uv).max(1).min() if surface and len(same) else 255
        if visible[y, x]:
            assert away < 2 * 256 / CELLS
        else:
            assert away > 256 / CELLS or not surface
    assert 0.02 < visible[used_texels("makehuman")].mean() < 0.6


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder: Path = tmp_path_factory.mktemp("rendered") / "set"
    folder.mkdir()
    config = PitConfig(num_samples=6, samples_per_texture=2, height=128, width=64)
    maker = PitShards(config=config, samples_per_shard=6, sources=SourceFolders().open(aspect=0.5))
    entry = write_shard(folder / "pit-000000.tar", maker(0))
    manifest = Manifest(name="pit", num_shards=1, config={}, licences=("CC0-1.0",), complete=True, shards=(entry,))
    (folder / MANIFEST).write_text(manifest.to_json())
    return Table(folder)


def test_visible_texels_are_those_of_the_picture(rendered: Table):
    """A texel that is found by a pixel's (I, U, V) has the colours of the picture there, but for the light."""
    table = surface_table("makehuman").astype(int)
    on_body = used_texels("makehuman")
    for i in range(len(rendered)):
        sample = rendered[i]
        seen, texels = [], []
        rows, columns = np.nonzero(sample.iuv[..., 0])
        for y, x in zip(rows[::31], columns[::31], strict=True):
            away = np.abs(table[..., 1:] - sample.iuv[y, x, 1:].astype(int)).max(-1)
            away[table[..., 0] != sample.iuv[y, x, 0]] = 999
            place = np.unravel_index(away.argmin(), away.shape)
            if away[place] <= 4:
                seen.append(sample.image[y, x])
                texels.append(sample.texture[place])
        assert len(seen) > 20
        likeness = np.corrcoef(np.ravel(seen).astype(float), np.ravel(texels).astype(float))[0, 1]
        by_chance = np.corrcoef(np.ravel(seen).astype(float), np.ravel(texels[::-1]).astype(float))[0, 1]
        assert likeness > 0.6 and likeness > by_chance
        share = visible_texels(sample.iuv, "makehuman")[on_body].mean()
        assert 0.15 < share < 0.85


@pytest.mark.parametrize("layout", ["smpl", "", "../uv_surface_makehuman"])
def test_a_layout_without_a_table(layout: str):
    with pytest.raises(ValueError, match=r"layouts makehuman, got .*scripts/bake_uv_surface.py --body smpl=PATH"):
        surface_table(layout)
