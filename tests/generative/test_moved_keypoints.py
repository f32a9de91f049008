"""Keypoints go where the pixels go: a dot is drawn, the picture augmented, and the dot looked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_people import keypoints
from tiny_people import rendered

from generative.style.restyle import restyled_meta
from reid.augment import AugmentConfig, augment, draw_parameters
from reid.batch import MEAN, STD, StoredBatch
from reid.fit import UNKNOWN_POINT, InputConfig, fit
from shards import Meta, ShardError
from shards.semantics import KEYPOINT_FLIP

COUNT = 40
CROPPED = InputConfig(height=96, width=48, resize=(108, 56))


def dotted(count: int, input: InputConfig) -> tuple[StoredBatch, np.ndarray, np.ndarray]:
    """Black pictures with a round white dot each, which is keypoint `which` of theirs; and the dots' places (count, 2)."""
    rng = np.random.default_rng(0)
    height, width = input.stored
    places = rng.uniform(0.15, 0.85, (count, 2)) * [width, height]
    which = rng.integers(0, 17, count)
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    down, across = y[None, :, None] - places[:, 1, None, None], x[None, None] - places[:, 0, None, None]
    dots = 255 * np.exp(-(down**2 + across**2) / (2 * 1.5**2))
    points = np.zeros((count, 17, 3), np.float32)
    points[np.arange(count), which] = np.concatenate([places, np.full((count, 1), 2)], 1)
    unknown = torch.full((count,), -1)
    stored = StoredBatch(
        images=torch.from_numpy(dots[..., None].repeat(3, -1).round().astype(np.uint8)),
        identities=unknown,
        origins=torch.ones_like(unknown),
        camera_ids=unknown,
        keys=tuple(f"a/{i}" for i in range(count)),
        has_identities=False,
        labels={"keypoints": torch.from_numpy(points)},
    )
    return stored, places, which


def brightness(images: torch.Tensor) -> np.ndarray:
    """(B, H, W): how much brighter than grey, which is the colour of the padding."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (images * std + mean - 0.5).mean(1).clamp(min=0).numpy()


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(pad=0, flip=0.0, erase=0.0),
        AugmentConfig(pad=8, flip=0.0, erase=0.0),
        AugmentConfig(pad=8, flip=1.0, erase=0.0),
        AugmentConfig(pad=8, flip=0.5, erase=0.0, rotate=40.0),
        AugmentConfig(pad=8, flip=0.5, erase=0.0, rotate=15.0, scale=0.4),
        AugmentConfig(pad=8, flip=0.5, erase=0.0, rotate=15.0, partial=1.0),
    ],
    ids=["crop", "pad", "flip", "rotate", "scale", "partial"],
)
def test_a_keypoint_is_where_its_dot_went(config: AugmentConfig):
    stored, _, which = dotted(COUNT, CROPPED)
    parameters = draw_parameters(config, CROPPED, COUNT, seed=3, step=0)
    batch = augment(stored, CROPPED, parameters)
    points, pictures = batch.labels["keypoints"].numpy(), brightness(batch.images)
    assert points.shape == (COUNT, 17, 3) and points.dtype == np.float32
    num_found = 0
    y, x = np.arange(96) + 0.5, np.arange(48) + 0.5
    for i in range(COUNT):
        name = KEYPOINT_FLIP[which[i]] if batch.flipped[i] else which[i]
        assert not points[i, np.arange(17) != name].any()
        px, py, v = points[i, name]
        if v == 0:
            assert (px, py) == (0, 0)
            assert pictures[i, 8:-8, 8:-8].max() == 0  # what is left of the dot, if anything, is at the border
            continue
        assert v == 2 and 0 <= px < 48 and 0 <= py < 96
        if min(px, py, 48 - px, 96 - py) < 8:
            continue  # the dot itself is cut
        bright = pictures[i]
        found = (bright.sum(0) @ x / bright.sum(), bright.sum(1) @ y / bright.sum())
        assert np.hypot(found[0] - px, found[1] - py) < 0.25
        num_found += 1
    assert num_found > COUNT // 4


def test_points_that_leave_the_picture_are_unknown():
    stored, places, which = dotted(COUNT, CROPPED)
    parameters = draw_parameters(AugmentConfig(pad=0, flip=0.0, erase=0.0), CROPPED, COUNT, seed=1, step=0)
    batch = augment(stored, CROPPED, parameters)
    for i in range(COUNT):
        top, left = parameters.crop[i].tolist()
        x, y = places[i] - (left, top)
        inside = 0 <= x < 48 and 0 <= y < 96
        wanted = (x, y, 2) if inside else (0, 0, 0)
        assert batch.labels["keypoints"][i, which[i]].tolist() == pytest.approx(wanted, abs=1e-4)


def test_an_unknown_point_stays_unknown():
    stored, _, which = dotted(COUNT, CROPPED)
    stored.labels["keypoints"][:, 3] = torch.tensor([0.0, 0.0, UNKNOWN_POINT])
    parameters = draw_parameters(AugmentConfig(pad=8, flip=0.5, erase=0.0, rotate=40.0), CROPPED, COUNT, seed=1, step=0)
    batch = augment(stored, CROPPED, parameters)
    for i in range(COUNT):
        place = KEYPOINT_FLIP[3] if batch.flipped[i] else 3
        assert batch.labels["keypoints"][i, place].tolist() == [0, 0, UNKNOWN_POINT]
        assert (batch.labels["keypoints"][i, :, 2] == UNKNOWN_POINT).sum() == 1


def test_keypoints_go_with_the_picture_that_is_resized():
    points = keypoints(0, 80, 36)
    values = {"key": "a", "image": np.zeros((80, 36, 3), np.uint8)}
    meta = Meta(origin="rendered", dataset="tiny", keypoints=points, rendered=rendered(0, 0))
    fitted = fit({**values, "meta": meta}, InputConfig(height=64, width=32), ["keypoints"])
    np.testing.assert_allclose(fitted["keypoints"], np.array(points) * [32 / 36, 64 / 80, 1], rtol=1e-5)
    assert fitted["keypoints"].dtype == np.float32 and (fitted["keypoints"][:, 2] == 0).any()
    by_a_network = {"annotators": {"keypoints": {"name": "n", "hash": "0" * 64}}}
    restyled = restyled_meta("a", meta, "0" * 64)
    same = fit({**values, "meta": restyled}, InputConfig(height=64, width=32), ["keypoints"])["keypoints"]
    np.testing.assert_array_equal(same, fitted["keypoints"])
    real = replace(meta, origin="real", rendered=None)
    for other in (real, restyled_meta("a", real, "0" * 64), replace(meta, **by_a_network)):
        unsure = fit({**values, "meta": other}, InputConfig(height=64, width=32), ["keypoints"])["keypoints"]
        wanted = fitted["keypoints"].copy()
        wanted[wanted[:, 2] == 0, 2] = UNKNOWN_POINT
        np.testing.assert_array_equal(unsure, wanted)
    with pytest.raises(ShardError, match="no keypoints in meta.json"):
        fit({**values, "meta": Meta(origin="real", dataset="tiny")}, InputConfig(), ["keypoints"])
