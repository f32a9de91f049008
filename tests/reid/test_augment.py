"""Augmentation against a slow loop over samples; labels go where the pixels go, also into the mirror."""

from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
import torch

from reid.augment import ERASE_AREA, AugmentConfig, Parameters, augment, draw_parameters, prepare
from reid.batch import MEAN, STD, StoredBatch
from reid.dataset import InputConfig
from shards.semantics import SURFACE_FLIP

CROPPED = InputConfig(height=20, width=12, resize=(26, 15))
COLOURFUL = AugmentConfig(pad=3, erase=0.7, brightness=0.3, contrast=0.4, saturation=0.5, hue=0.2)


def random_batch(count: int, input: InputConfig) -> StoredBatch:
    rng = np.random.default_rng(3)
    height, width = input.stored
    iuv = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    iuv[..., 0] %= 25
    iuv[iuv[..., 0] == 0] = 0, 255, 0
    iuv[:, :, 2] = 0
    arrays = {
        "iuv": iuv,
        "parts": rng.integers(0, 8, (count, height, width), dtype=np.uint8),
        "texture": rng.integers(0, 256, (count, 256, 256, 3), dtype=np.uint8),
        "aligned": rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8),
    }
    return StoredBatch(
        images=torch.from_numpy(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)),
        identities=torch.arange(count) % 4,
        origins=torch.arange(count) % 3,
        camera_ids=torch.arange(count) % 5,
        keys=tuple(f"a/{i}" for i in range(count)),
        labels={field: torch.from_numpy(array) for field, array in arrays.items()},
    )


def slowly(stored: StoredBatch, input: InputConfig, parameters: Parameters, i: int) -> dict[str, np.ndarray]:
    """Sample i, pixel by pixel."""
    image, iuv, parts = (array[i].numpy() for array in (stored.images, stored.labels["iuv"], stored.labels["parts"]))
    top, left = parameters.crop[i].tolist()
    flip = bool(parameters.flip[i])
    brightness, contrast, saturation, hue = parameters.colour[i].double().tolist()
    grey = brightness * (image.mean((0, 1)) @ (0.299, 0.587, 0.114))
    above, before, below, behind = parameters.erase[i].tolist()
    out = {
        "image": np.zeros((3, input.height, input.width)),
        "iuv": np.zeros((input.height, input.width, 3), np.uint8),
        "parts": np.zeros((input.height, input.width), np.uint8),
    }
    for y in range(input.height):
        for x in range(input.width):
            row, column = top + y, left + (input.width - 1 - x if flip else x)
            if not (0 <= row < image.shape[0] and 0 <= column < image.shape[1]):
                continue
            if above <= y < below and before <= x < behind:
                continue
            pixel = brightness * image[row, column].astype(float)
            pixel = grey + contrast * (pixel - grey)
            luma = pixel @ (0.299, 0.587, 0.114)
            pixel = luma + saturation * (pixel - luma)
            pixel = 255 * turned(pixel / 255, hue)
            out["image"][:, y, x] = (pixel.clip(0, 255) / 255 - MEAN) / STD
            surface, u, v = iuv[row, column].tolist()
            out["iuv"][y, x] = (SURFACE_FLIP[surface], 255 - u if surface else u, v) if flip else (surface, u, v)
            out["parts"][y, x] = parts[row, column]
    return out


def turned(pixel: np.ndarray, hue: float) -> np.ndarray:
    """With the FCC's matrix of 1953, in three digits."""
    to_yiq = np.array([(0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    y, i, q = to_yiq @ pixel
    i, q = np.cos(hue) * i - np.sin(hue) * q, np.sin(hue) * i + np.cos(hue) * q
    return np.linalg.inv(to_yiq) @ (y, i, q)


@pytest.mark.parametrize("input", [CROPPED, InputConfig(height=20, width=12)])
@pytest.mark.parametrize("config", [AugmentConfig(pad=3, erase=0.7), COLOURFUL])
def test_equals_a_loop_over_samples(input: InputConfig, config: AugmentConfig):
    stored = random_batch(12, input)
    parameters = draw_parameters(config, input, 12, seed=0, step=5)
    batch = augment(stored, input, parameters)
    assert batch.images.shape == (12, 3, 20, 12) and batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for i in range(12):
        wanted = slowly(stored, input, parameters, i)
        np.testing.assert_allclose(batch.images[i], wanted["image"], atol=0.015 if config is COLOURFUL else 1e-5)
        for field in ("iuv", "parts"):
            np.testing.assert_array_equal(batch.labels[field][i], wanted[field])
    assert 0 < (batch.labels["iuv"] == 0).all(-1).float().mean() < 0.5
    for field in ("texture", "aligned"):
        assert batch.labels[field] is stored.labels[field]
    assert torch.equal(batch.flipped, parameters.flip) and 0 < batch.flipped.sum() < 12
    assert (batch.identities, batch.origins, batch.camera_ids, batch.keys) == (
        stored.identities,
        stored.origins,
        stored.camera_ids,
        stored.keys,
    )


def test_nothing_is_changed_without_augmentation():
    input = InputConfig(height=20, width=12)
    stored = random_batch(4, input)
    off = AugmentConfig(pad=0, flip=0.0, erase=0.0)
    batch = augment(stored, input, draw_parameters(off, input, 4, seed=0, step=0))
    torch.testing.assert_close(batch.images, prepare(stored.images, input))
    assert all(torch.equal(batch.labels[field], stored.labels[field]) for field in stored.labels)


def test_evaluation_sees_the_centre():
    stored = random_batch(3, CROPPED)
    wanted = (stored.images[:, 3:23, 1:13].double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    images = prepare(stored.images, CROPPED)
    assert images.shape == (3, 3, 20, 12)
    torch.testing.assert_close(images.double(), wanted.permute(0, 3, 1, 2), atol=1e-5, rtol=0)


def test_twice_in_the_mirror_is_as_before():
    input = InputConfig(height=20, width=12)
    stored = random_batch(4, input)
    mirror = draw_parameters(AugmentConfig(pad=0, flip=1.0, erase=0.0), input, 4, seed=0, step=0)
    once = augment(stored, input, mirror)
    again = StoredBatch(
        images=stored.images.flip(2),
        **{
            field.name: getattr(stored, field.name)
            for field in fields(stored)
            if field.name not in ("images", "labels")
        },
        labels={"iuv": once.labels["iuv"], "parts": once.labels["parts"]},
    )
    twice = augment(again, input, mirror)
    torch.testing.assert_close(twice.images, prepare(stored.images, input))
    assert torch.equal(twice.labels["iuv"], stored.labels["iuv"])
    assert torch.equal(once.labels["parts"].flip(2), stored.labels["parts"])


def test_parameters_do_not_depend_on_how_many_share_them():
    input = InputConfig(height=20, width=12)
    stored = random_batch(12, input)
    whole = draw_parameters(COLOURFUL, input, 12, seed=0, step=5)
    wanted = augment(stored, input, whole)
    for rank in range(3):
        mine = slice(4 * rank, 4 * rank + 4)
        part = StoredBatch(
            images=stored.images[mine],
            identities=stored.identities[mine],
            origins=stored.origins[mine],
            camera_ids=stored.camera_ids[mine],
            keys=stored.keys[mine],
        )
        batch = augment(part, input, whole.of_process(rank, 3))
        torch.testing.assert_close(batch.images, wanted.images[mine])


def drawn(**options) -> Parameters:
    arguments = {"seed": 0, "step": 0, **options}
    return draw_parameters(COLOURFUL, CROPPED, 4000, **arguments)


def test_parameters_are_a_pure_function_of_seed_step_and_stage():
    ways = ({}, {"step": 1}, {"seed": 1}, {"seed": 1, "step": 1}, {"stage": "pairs"})
    for field in fields(Parameters):
        values = [getattr(drawn(**way), field.name) for way in ways]
        assert torch.equal(getattr(drawn(), field.name), values[0])
        assert not any(torch.equal(one, other) for one, other in combinations(values, 2))


def test_parameters_are_spread_as_the_configuration_says():
    parameters = drawn()
    rows, columns = (set(parameters.crop[:, axis].tolist()) for axis in range(2))
    assert rows == set(range(-3, 26 + 3 - 20 + 1)) and columns == set(range(-3, 15 + 3 - 12 + 1))
    assert abs(parameters.flip.float().mean() - 0.5) < 0.03
    low, high = torch.tensor([0.7, 0.6, 0.5, -0.4 * np.pi]), torch.tensor([1.3, 1.4, 1.5, 0.4 * np.pi])
    assert (parameters.colour >= low).all() and (parameters.colour <= high).all()
    torch.testing.assert_close(parameters.colour.std(0), (high - low) / 12**0.5, rtol=0.05, atol=0)


def test_erased_rectangles():
    """Zhong et al. 2017: 2 to 40 % of the picture, 0.3 to 3.33 as high as wide, anywhere inside."""
    input = InputConfig(height=256, width=128)
    erase = draw_parameters(AugmentConfig(erase=0.5), input, 4000, seed=0, step=0).erase
    top, left, bottom, right = erase.unbind(1)
    height, width = bottom - top, right - left
    erased = height > 0
    assert abs(erased.float().mean() - 0.5) < 0.03
    assert (top >= 0).all() and (left >= 0).all() and (bottom <= 256).all() and (right <= 128).all()
    share, aspect = (height * width)[erased] / (256 * 128), height[erased] / width[erased]
    assert ERASE_AREA == (0.02, 0.4) and 0.019 < share.min() < 0.03 and 0.35 < share.max() < 0.41
    assert 0.28 < aspect.min() < 0.4 and 3.2 < aspect.max() < 3.45
    for edge in (top == 0, left == 0, bottom == 256, right == 128):
        assert (edge & erased).any()
    assert not draw_parameters(AugmentConfig(erase=0.0), input, 99, seed=0, step=0).erase.any()


@pytest.mark.parametrize("wrong", [{"pad": -1}, {"flip": 1.5}, {"erase": -0.1}, {"hue": 0.6}, {"contrast": 2.0}])
def test_configurations_that_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AugmentConfig(**wrong)
