"""Augmentation against a slow loop over samples; labels go where the pixels go, also into the mirror."""

import math
from dataclasses import fields, replace
from itertools import combinations

import numpy as np
import pytest
import torch

from reid.augment import ERASE_AREA, AugmentConfig, Parameters, augment, draw_parameters, prepare
from reid.batch import MEAN, STD, StoredBatch
from reid.fit import InputConfig
from reid.resample import PART_AREA, PART_WIDTH
from shards.semantics import SURFACE_FLIP
from shards.uv_mirror import mirror_table

CROPPED = InputConfig(height=20, width=12, resize=(26, 15))
COLOURFUL = AugmentConfig(pad=3, erase=0.7, brightness=0.3, contrast=0.4, saturation=0.5, hue=0.2)
TURNED = AugmentConfig(pad=3, erase=0.3, rotate=30, scale=0.3, partial=0.5)


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
        uv_layout="makehuman",
    )


def place_of(parameters: Parameters, i: int, input: InputConfig, y: int, x: int) -> tuple[float, float]:
    """Where the centre of pixel (y, x) lies in stored picture i: row and column, pixel centres at +0.5."""
    down, across = y + 0.5, x + 0.5
    if parameters.flip[i]:
        across = input.width - across
    if parameters.window is not None:
        top, left, height, width, angle = parameters.window[i].double().tolist()
        down, across = top + down / input.height * height, left + across / input.width * width
        # Turned clockwise by the angle, a point came from where the angle turns it back to.
        point = complex(across - input.width / 2, down - input.height / 2) * np.exp(-1j * angle)
        down, across = point.imag + input.height / 2, point.real + input.width / 2
    return down + int(parameters.crop[i, 0]), across + int(parameters.crop[i, 1])


def between(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """The colour at a place, of the four pixels around it; beyond the border lie the border's."""
    y, x = math.floor(row - 0.5), math.floor(column - 0.5)
    colour = np.zeros(3)
    for j in (y, y + 1):
        for i in (x, x + 1):
            share = (1 - abs(row - 0.5 - j)) * (1 - abs(column - 0.5 - i))
            colour += share * image[min(max(j, 0), len(image) - 1), min(max(i, 0), image.shape[1] - 1)]
    return colour


def slowly(stored: StoredBatch, input: InputConfig, parameters: Parameters, i: int) -> dict[str, np.ndarray]:
    """Sample i, pixel by pixel; "sure" (H, W) bool, where no pixel's border is so near that rounding decides."""
    image, iuv, parts = (array[i].numpy() for array in (stored.images, stored.labels["iuv"], stored.labels["parts"]))
    flip = bool(parameters.flip[i])
    brightness, contrast, saturation, hue = parameters.colour[i].double().tolist()
    grey = brightness * (image.mean((0, 1)) @ (0.299, 0.587, 0.114))
    above, before, below, behind = parameters.erase[i].tolist()
    out = {
        "image": np.zeros((3, input.height, input.width)),
        "iuv": np.zeros((input.height, input.width, 3), np.uint8),
        "parts": np.zeros((input.height, input.width), np.uint8),
        "sure": np.ones((input.height, input.width), bool),
    }
    for y in range(input.height):
        for x in range(input.width):
            place = place_of(parameters, i, input, y, x)
            out["sure"][y, x] = all(abs(number - round(number)) > 1e-4 for number in place)
            row, column = map(math.floor, place)
            if not (0 <= row < image.shape[0] and 0 <= column < image.shape[1]):
                continue
            if above <= y < below and before <= x < behind:
                continue
            pixel = brightness * between(image, *place)
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
@pytest.mark.parametrize("config", [AugmentConfig(pad=3, erase=0.7), COLOURFUL, TURNED])
def test_equals_a_loop_over_samples(input: InputConfig, config: AugmentConfig):
    stored = random_batch(12, input)
    parameters = draw_parameters(config, input, 12, seed=0, step=5)
    batch = augment(stored, input, parameters)
    assert batch.images.shape == (12, 3, 20, 12) and batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for i in range(12):
        wanted = slowly(stored, input, parameters, i)
        sure = wanted["sure"]
        assert sure.all() or (config is TURNED and sure.mean() > 0.99)
        tolerance = {"atol": 0.015 if config is COLOURFUL else 1e-4 if config is TURNED else 1e-5}
        np.testing.assert_allclose(batch.images[i][:, sure], wanted["image"][:, sure], **tolerance)
        for field in ("iuv", "parts"):
            np.testing.assert_array_equal(batch.labels[field][i][sure], wanted[field][sure])
    assert 0 < (batch.labels["iuv"] == 0).all(-1).float().mean() < 0.5
    table = mirror_table("makehuman").reshape(-1)
    for i, flip in enumerate(parameters.flip.tolist()):
        texture, aligned = stored.labels["texture"][i].numpy(), stored.labels["aligned"][i].numpy()
        mirrored = texture.reshape(-1, 3)[table].reshape(256, 256, 3)
        np.testing.assert_array_equal(batch.labels["texture"][i], mirrored if flip else texture)
        np.testing.assert_array_equal(batch.labels["aligned"][i], aligned[:, ::-1] if flip else aligned)
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


def test_textures_can_be_left_as_they_are():
    """As the papers have it; then nobody needs to know in which layout they are."""
    input = InputConfig(height=20, width=12)
    stored = replace(random_batch(4, input), uv_layout=None)
    parameters = draw_parameters(AugmentConfig(pad=0, flip=1.0, erase=0.0), input, 4, seed=0, step=0)
    batch = augment(stored, input, parameters, mirror_texture=False)
    for field in ("texture", "aligned"):
        assert batch.labels[field] is stored.labels[field]
    with pytest.raises(ValueError, match="its batches have a uv_layout, or .* --augment.no-mirror-texture"):
        augment(stored, input, parameters)
    with pytest.raises(ValueError, match="layouts makehuman, got 'smpl'"):
        augment(replace(stored, uv_layout="smpl"), input, parameters)
    as_they_are = draw_parameters(AugmentConfig(flip=0.0), input, 4, seed=0, step=0)
    assert augment(stored, input, as_they_are).labels["texture"] is stored.labels["texture"]


def hand_made(window: list[float], *, flip: bool = False) -> Parameters:
    return Parameters(
        crop=torch.zeros(1, 2, dtype=torch.int64),
        flip=torch.tensor([flip]),
        erase=torch.zeros(1, 4, dtype=torch.int64),
        colour=torch.tensor([[1.0, 1.0, 1.0, 0.0]]),
        window=torch.tensor([window]),
    )


def test_a_quarter_turn_is_clockwise():
    input = InputConfig(height=16, width=16)
    stored = random_batch(1, input)
    batch = augment(stored, input, hand_made([0, 0, 16, 16, math.pi / 2]))
    wanted = torch.rot90(stored.images, -1, (1, 2))
    torch.testing.assert_close(batch.images, prepare(wanted, input), atol=1e-3, rtol=0)
    assert torch.equal(batch.labels["parts"], torch.rot90(stored.labels["parts"], -1, (1, 2)))


@pytest.mark.parametrize("flip", [False, True])
def test_a_part_fills_the_picture(flip: bool):
    """The lower half, and of it the left third: every pixel becomes 2 x 3."""
    input = InputConfig(height=20, width=12)
    stored = random_batch(1, input)
    batch = augment(stored, input, hand_made([10, 0, 10, 4, 0], flip=flip))
    wanted = stored.labels["parts"][:, 10:, :4].repeat_interleave(2, 1).repeat_interleave(3, 2)
    assert torch.equal(batch.labels["parts"], wanted.flip(2) if flip else wanted)
    middles = prepare(stored.images, input)[:, :, 10:, :4]  # of every three columns, and between two rows
    shown = batch.images.flip(3) if flip else batch.images
    rows = shown[:, :, :, 1::3].unflatten(2, (10, 2))
    torch.testing.assert_close(rows[:, :, 1:, 0] * 2, middles[:, :, 1:] * 1.5 + middles[:, :, :-1] * 0.5)


def test_a_window_on_everything_changes_nothing():
    input = InputConfig(height=20, width=12)
    stored = random_batch(12, input)
    parameters = draw_parameters(AugmentConfig(pad=3), input, 12, seed=0, step=5)
    whole = torch.tensor([[0.0, 0.0, 20.0, 12.0, 0.0]]).repeat(12, 1)
    one, other = (augment(stored, input, each) for each in (parameters, replace(parameters, window=whole)))
    torch.testing.assert_close(one.images, other.images, atol=1e-4, rtol=0)
    assert all(torch.equal(one.labels[field], other.labels[field]) for field in one.labels)


def test_what_is_drawn_besides_stays_when_pictures_are_turned_or_cut():
    config = replace(COLOURFUL, rotate=0.0, partial=0.0)
    without = draw_parameters(config, CROPPED, 99, seed=0, step=5)
    assert without.window is None and without.of_process(1, 3).window is None
    for change in ({"rotate": 10.0}, {"partial": 0.5}, {"scale": 0.2}, {"rotate": 10.0, "partial": 0.5}):
        found = draw_parameters(replace(config, **change), CROPPED, 99, seed=0, step=5)
        for name in ("crop", "flip", "erase", "colour"):
            assert torch.equal(getattr(found, name), getattr(without, name))


def test_windows_are_spread_as_the_configuration_says():
    input = InputConfig(height=256, width=128)
    config = AugmentConfig(rotate=20, partial=0.4)
    window = draw_parameters(config, input, 4000, seed=0, step=0).window.double()
    top, left, height, width, angle = window.unbind(1)
    assert window.shape == (4000, 5) and abs(angle).max() <= math.radians(20) < abs(angle).max() * 1.01
    assert abs(angle.mean()) < 0.02 and abs(angle.std() - 2 * math.radians(20) / 12**0.5) < 0.01
    whole = (window[:, :4] == torch.tensor([0.0, 0.0, 256.0, 128.0])).all(1)
    assert abs(whole.double().mean() - 0.6) < 0.03
    assert (
        (top >= 0).all() and (left >= 0).all() and (top + height <= 256.001).all() and (left + width <= 128.001).all()
    )
    share = (height * width)[~whole] / (256 * 128)
    assert PART_AREA == (0.3, 0.8) and 0.299 < share.min() < 0.31 and 0.79 < share.max() < 0.801
    assert PART_WIDTH == 0.5 and 0.5 < (width / 128).min() < 0.52 and 0.3 < (height / 256).min() < 0.35
    cut = top[~whole], left[~whole], 256 - (top + height)[~whole], 128 - (left + width)[~whole]
    for room in cut:  # any side may be cut off, or none of it
        assert room.min() < 1 and room.max() > 30
    off = draw_parameters(replace(config, partial=0.0), input, 99, seed=0, step=0).window
    assert (off[:, :4] == torch.tensor([0.0, 0.0, 256.0, 128.0])).all()
    scaled = draw_parameters(replace(config, scale=0.25), input, 4000, seed=0, step=0).window.double()
    torch.testing.assert_close(
        scaled[:, :2] + scaled[:, 2:4] / 2, window[:, :2] + window[:, 2:4] / 2, atol=1e-4, rtol=0
    )
    factor = window[:, 2:4] / scaled[:, 2:4]
    torch.testing.assert_close(factor[:, 0], factor[:, 1], atol=1e-5, rtol=0)
    assert 0.75 <= factor.min() < 0.755 and 1.245 < factor.max() <= 1.2501 and abs(factor.mean() - 1) < 0.01


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
        labels={field: once.labels[field] for field in ("iuv", "parts", "aligned")},
    )
    twice = augment(again, input, mirror)
    torch.testing.assert_close(twice.images, prepare(stored.images, input))
    for field in ("iuv", "aligned"):
        assert torch.equal(twice.labels[field], stored.labels[field])
    assert torch.equal(once.labels["parts"].flip(2), stored.labels["parts"])


@pytest.mark.parametrize("config", [COLOURFUL, TURNED])
def test_parameters_do_not_depend_on_how_many_share_them(config: AugmentConfig):
    input = InputConfig(height=20, width=12)
    stored = random_batch(12, input)
    whole = draw_parameters(config, input, 12, seed=0, step=5)
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
    return draw_parameters(replace(COLOURFUL, rotate=20.0, partial=0.5), CROPPED, 4000, **arguments)


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"pad": -1},
        {"flip": 1.5},
        {"erase": -0.1},
        {"hue": 0.6},
        {"contrast": 2.0},
        {"rotate": 181},
        {"scale": 0.6},
        {"partial": 1.1},
    ],
)
def test_configurations_that_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AugmentConfig(**wrong)
