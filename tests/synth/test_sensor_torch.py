"""The sensor's torch twin against the one for CPUs, which has a slow oracle of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_sensor import blur_matrix, resolution_matrix, rng, scene

from synth.sensor import SensorParams, apply_sensor, blur_taps, sample_sensor
from synth.sensor_torch import Sensors, _recording, blur_matrices, photograph, photograph_as

NUM = 12


def pictures(size: tuple[int, int]) -> torch.Tensor:
    return torch.stack([scene(k, *size) for k in range(NUM)])


def both(images: torch.Tensor, params: list[SensorParams]) -> tuple[np.ndarray, np.ndarray]:
    """By the twin and by the CPU's, with the same noise."""
    generators = [[rng(k) for k in range(len(images))] for _ in range(2)]
    return photograph_as(images, params, generators[0]).numpy(), apply_sensor(images, params, generators[1])


@pytest.mark.parametrize("size", [(64, 32), (66, 34)])
def test_the_twin_equals_the_cpu_sensor(size: tuple[int, int]) -> None:
    params = [replace(sample_sensor(rng(100 + k)), jpeg_quality=None) for k in range(NUM)]
    assert any(one.resolution < 1 for one in params) and any(one.motion_px > 0 for one in params)
    found, expected = both(pictures(size), params)
    step = np.abs(found.astype(int) - expected)
    assert step.max() <= 1 and step.mean() < 0.05


def test_with_compression_it_stays_close() -> None:
    params = [sample_sensor(rng(100 + k)) for k in range(NUM)]
    found, expected = both(pictures((64, 32)), params)
    without, _ = both(pictures((64, 32)), [replace(one, jpeg_quality=None) for one in params])
    step, loss = np.abs(found.astype(int) - expected), np.abs(without.astype(int) - expected)
    # They transform blocks with other precision (see `synth.jpeg`).
    assert step.mean() < 0.9 and np.quantile(step, 0.99) <= 6
    assert loss.mean() > 2 * step.mean()


def test_cameras_are_taken_from_a_pool() -> None:
    params, images = [sample_sensor(rng(k)) for k in range(NUM)], pictures((64, 32))
    codes = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pool, which = Sensors.of(params, 64, 32, "cpu"), torch.tensor([7, 2, 2, 11])
    found = photograph(images[:4], pool.select(which), codes[:4])
    for k, number in enumerate(which.tolist()):
        alone = Sensors.of([params[number]], 64, 32, "cpu")
        step = photograph(images[k : k + 1], alone, codes[k : k + 1])[0].int() - found[k].int()
        assert step.abs().float().mean() < 0.05


def test_images_are_left_as_they_were() -> None:
    images = pictures((64, 32))
    kept = images.clone()
    both(images, [sample_sensor(rng(k)) for k in range(NUM)])
    assert torch.equal(images, kept)


@pytest.mark.parametrize(("sigma", "length"), [(0.0, 0.0), (0.6, 0.0), (0.9, 4.5)])
def test_blurs_and_recordings_are_the_matrices_of_the_cpu(sigma: float, length: float) -> None:
    taps = torch.from_numpy(np.pad(blur_taps(sigma, length), (0, 3)))[None]
    np.testing.assert_allclose(blur_matrices(taps, 20)[0], blur_matrix(20, sigma, length), atol=1e-6)
    for resolution in (0.4, 0.75, 1.0):
        np.testing.assert_allclose(_recording(48, resolution), resolution_matrix(48, resolution), atol=1e-7)
