"""Cameras against explicit matrices, and crops that hold the person as they say."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from synth.camera import (
    CameraConfig,
    Placement,
    crop_intrinsics,
    outline,
    outline_twin,
    project,
    sample_placement,
    to_camera,
    world_to_camera,
)

HEIGHT, WIDTH = 256, 128
LEVEL = Placement(
    height_m=0.9, distance_m=6.0, pan_rad=0.0, tilt_rad=0.0, roll_rad=0.0, top_margin=0.0, bottom_margin=0.0, shift=0.0
)


def placements(count: int) -> list[Placement]:
    return [sample_placement(np.random.default_rng(k), CameraConfig(truncation=0.3)) for k in range(count)]


def matrices(chosen: list[Placement]) -> torch.Tensor:
    return torch.from_numpy(np.stack([world_to_camera(p) for p in chosen]).astype(np.float32))


def people(count: int) -> torch.Tensor:
    """Points (B, 3, N) within a person's reach about the origin, feet on the ground."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.25, 0.9, 0.2])[:, None]
    return (2 * torch.rand(count, 3, 300, generator=generator) - 1) * spread + torch.tensor([0.0, 0.9, 0.0])[:, None]


def test_extrinsics_are_rigid_and_centred_on_the_camera():
    for placement in placements(50):
        matrix = world_to_camera(placement)
        rotation = matrix[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])
        np.testing.assert_allclose(matrix @ [0, placement.height_m, placement.distance_m, 1], [0, 0, 0, 1], atol=1e-12)


def test_axes_are_opencvs():
    """From in front of a person at the origin: their left (+x) is on the right, up is up the picture, z is depth."""
    matrix = world_to_camera(LEVEL)
    np.testing.assert_allclose(matrix @ [0.0, 0.9, 0.0, 1], [0, 0, 6, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0.3, 0.9, 0.0, 1], [0.3, 0, 6, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0.0, 1.7, 0.0, 1], [0, -0.8, 6, 1], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0.0, 0.9, 1.0, 1], [0, 0, 5, 1], atol=1e-12)


@pytest.mark.parametrize("height_m", [2.0, 5.0])
@pytest.mark.parametrize("distance_m", [3.0, 15.0])
def test_an_unturned_camera_aims_at_the_persons_middle(height_m: float, distance_m: float):
    matrix = world_to_camera(dataclasses.replace(LEVEL, height_m=height_m, distance_m=distance_m))
    x, y, z, _ = matrix @ [0, 0.9, 0, 1]
    assert (x, y) == pytest.approx((0, 0), abs=1e-12)
    assert z == pytest.approx(np.hypot(height_m - 0.9, distance_m))
    # The horizon lies above the axis by the angle that the camera looks down.
    far = matrix[:3, :3] @ [0.0, 0.0, -1.0]
    assert np.arctan2(-far[1], far[2]) == pytest.approx(np.arctan2(height_m - 0.9, distance_m))


@pytest.mark.parametrize("angle", [-0.3, 0.12])
def test_pan_tilt_and_roll_turn_by_their_angles(angle: float):
    def axis(**changes) -> np.ndarray:
        """Direction of the person's middle in camera coordinates."""
        place = world_to_camera(dataclasses.replace(LEVEL, **changes)) @ [0, 0.9, 0, 1]
        return place[:3] / np.linalg.norm(place[:3])

    x, y, z = axis(pan_rad=angle)
    assert np.arctan2(x, z) == pytest.approx(-angle) and y == pytest.approx(0, abs=1e-12)
    x, y, z = axis(tilt_rad=angle)
    assert np.arctan2(-y, z) == pytest.approx(angle) and x == pytest.approx(0, abs=1e-12)
    up = world_to_camera(dataclasses.replace(LEVEL, roll_rad=angle))[:3, :3] @ [0, 1, 0]
    assert np.arctan2(up[0], -up[1]) == pytest.approx(-angle)
    assert up[2] == pytest.approx(0, abs=1e-12)


def test_the_horizon_is_level_without_roll():
    for placement in placements(20):
        rotation = world_to_camera(dataclasses.replace(placement, roll_rad=0.0))[:3, :3]
        far = rotation @ np.array([[np.sin(a), 0, -np.cos(a)] for a in (-0.3, 0.0, 0.3)]).T
        heights = far[1] / far[2]
        np.testing.assert_allclose(heights, heights[0], atol=1e-12)


def test_to_camera_and_project_equal_a_slow_loop():
    chosen = placements(3)
    points, extrinsics = people(3), matrices(chosen)
    intrinsics = torch.tensor([[[700.0, 0, 60], [0, 650.0, 130], [0, 0, 1]]]).repeat(3, 1, 1)
    intrinsics[1, 0, 2] = -40
    found = project(to_camera(points, extrinsics), intrinsics)
    for b, placement in enumerate(chosen):
        matrix, camera = world_to_camera(placement), intrinsics[b].double().numpy()
        for n in range(0, 300, 10):
            place = (matrix @ [*points[b, :, n].double().tolist(), 1])[:3]
            image = camera @ place
            assert found[b, :2, n].tolist() == pytest.approx((image[:2] / image[2]).tolist(), abs=2e-3)
            assert found[b, 2, n].item() == pytest.approx(place[2], rel=1e-6)


def test_the_principal_point_is_not_off_by_half_a_pixel():
    """Pixel centres lie at +0.5: what is on the axis lands on cx, cy themselves, and one texel aside on cx + 1."""
    intrinsics = torch.tensor([[[100.0, 0, 64], [0, 100.0, 128], [0, 0, 1]]])
    places = project(torch.tensor([[[0.0, 0.02], [0.0, -0.01], [2.0, 2.0]]]), intrinsics)
    torch.testing.assert_close(places, torch.tensor([[[64.0, 65.0], [128.0, 127.5], [2.0, 2.0]]]), atol=1e-5, rtol=0)


def crops(chosen: list[Placement], points: torch.Tensor) -> torch.Tensor:
    extrinsics = matrices(chosen)
    intrinsics = crop_intrinsics(outline(points, extrinsics), chosen, HEIGHT, WIDTH)
    return project(to_camera(points, extrinsics), intrinsics)


@pytest.mark.parametrize("function", [outline, outline_twin])
def test_the_outline_is_that_of_the_projected_points(function: Callable):
    extrinsics, points = matrices(placements(8)), people(8)
    flat = project(to_camera(points, extrinsics), torch.eye(3).repeat(8, 1, 1))[:, :2]
    torch.testing.assert_close(function(points, extrinsics), torch.cat([flat.amin(2), flat.amax(2)], 1))


def test_the_person_fills_the_crop_as_the_margins_say():
    chosen = placements(60)
    places = crops(chosen, people(60))
    low, high = places[:, :2].amin(2).numpy(), places[:, :2].amax(2).numpy()
    for b, placement in enumerate(chosen):
        tall = HEIGHT / (1 + placement.top_margin + placement.bottom_margin)
        if high[b, 0] - low[b, 0] > 1.09 * WIDTH:
            continue
        assert high[b, 1] - low[b, 1] == pytest.approx(tall, abs=0.02)
        assert low[b, 1] == pytest.approx(placement.top_margin * tall, abs=0.02)
        assert HEIGHT - high[b, 1] == pytest.approx(placement.bottom_margin * tall, abs=0.02)
        assert (low[b, 0] + high[b, 0]) / 2 == pytest.approx(WIDTH * (0.5 + placement.shift), abs=0.02)


def test_spread_arms_widen_the_crop():
    points = people(1)
    points[:, 0] *= 4
    places = crops([LEVEL], points)
    extent = places[0, :2].amax(1) - places[0, :2].amin(1)
    assert extent[0].item() == pytest.approx(1.1 * WIDTH, abs=0.05)
    assert extent[1] < 0.8 * HEIGHT
    middle = (places[0, :2].amax(1) + places[0, :2].amin(1)) / 2
    assert middle.tolist() == pytest.approx([WIDTH / 2, HEIGHT / 2], abs=0.05)


def test_a_crop_of_twice_the_size_is_the_same_picture():
    chosen = placements(8)
    extrinsics, points = matrices(chosen), people(8)
    small, large = (
        project(
            to_camera(points, extrinsics),
            crop_intrinsics(outline(points, extrinsics), chosen, k * HEIGHT, k * WIDTH),
        )
        for k in (1, 2)
    )
    torch.testing.assert_close(large[:, :2], 2 * small[:, :2], atol=2e-3, rtol=0)


def test_intrinsics_have_square_pixels_and_no_skew():
    chosen = placements(8)
    intrinsics = crop_intrinsics(outline(people(8), matrices(chosen)), chosen, HEIGHT, WIDTH)
    assert torch.equal(intrinsics[:, 0, 0], intrinsics[:, 1, 1]) and (intrinsics[:, 0, 0] > 0).all()
    assert (intrinsics[:, [0, 1], [1, 0]] == 0).all() and (intrinsics[:, 2] == torch.tensor([0.0, 0, 1])).all()


def test_drawn_cameras_keep_to_the_ranges_and_fill_them():
    config = CameraConfig(height_m=(2.5, 4.0), distance_m=(3.0, 12.0), pan_rad=0.2, tilt_rad=0.1, truncation=0.25)
    drawn = [sample_placement(np.random.default_rng(k), config) for k in range(1500)]
    for name, low, high in (
        ("height_m", 2.5, 4.0),
        ("distance_m", 3.0, 12.0),
        ("pan_rad", -0.2, 0.2),
        ("tilt_rad", -0.1, 0.1),
    ):
        values = np.array([getattr(p, name) for p in drawn])
        assert low <= values.min() < low + 0.03 * (high - low) and high - 0.03 * (high - low) < values.max() <= high
    near = np.mean([p.distance_m < 6.0 for p in drawn])
    assert near == pytest.approx(0.5, abs=0.05), "uniform in the logarithm"
    cut = np.mean([min(p.top_margin, p.bottom_margin) < 0 for p in drawn])
    assert cut == pytest.approx(0.25, abs=0.04)
    assert all(p.top_margin >= -0.1 and p.bottom_margin >= -0.2 for p in drawn)
    assert sample_placement(np.random.default_rng(3), config) == drawn[3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(height_m=(0.0, 3.0)), "camera.height_m must be 0 < low <= high, got 0.0..3.0"),
        (dict(height_m=(4.0, 3.0)), "camera.height_m"),
        (dict(distance_m=(9.0, 5.0)), "camera.distance_m must be 0 < low"),
        (dict(distance_m=(-3.0, 5.0)), "camera.distance_m"),
        (dict(distance_m=(1.0, 5.0)), "must start at 2.5 or more"),
        (dict(truncation=1.2), "truncation is a share"),
        (dict(truncation=-0.1), "truncation is a share"),
    ],
)
def test_a_wrong_config_is_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        CameraConfig(**wrong)
