"""The sensor: every effect does what its unit says, and a picture depends on its own parameters alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from synth.colour import SRGB_TO_LINEAR, linear_to_srgb, srgb_to_linear
from synth.sensor import (
    SensorConfig,
    SensorParams,
    apply_sensor,
    blur_taps,
    colour_matrix,
    normal_quantiles,
    resolution_band,
    sample_sensor,
    white_balance,
)

IDEAL = SensorParams()
LUMA = np.array([0.2126, 0.7152, 0.0722])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene(seed: int, height: int = 64, width: int = 32) -> torch.Tensor:
    """(H, W, 3) linear light: blobs and edges between 0.02 and 0.9."""
    generator = rng(seed)
    coarse = torch.from_numpy(generator.uniform(0.02, 0.9, (1, 3, height // 8, width // 8)).astype(np.float32))
    image = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0].permute(1, 2, 0)
    image = image.contiguous()
    image[height // 3 : height // 2, width // 4 :] = 0.7
    return image


def photograph(image: torch.Tensor, params: SensorParams, seed: int = 0) -> np.ndarray:
    return apply_sensor(image[None], [params], [rng(seed)])[0]


def flat(value: float, height: int = 128, width: int = 128) -> torch.Tensor:
    return torch.full((height, width, 3), value)


def blur_matrix(size: int, sigma_px: float, length_px: float) -> np.ndarray:
    """(N, N): the blur of a line that goes on beyond its ends as it ended."""
    taps = blur_taps(sigma_px, length_px)
    matrix = np.zeros((size, size))
    for i in range(size):
        for offset in range(1 - len(taps), len(taps)):
            matrix[i, min(max(i + offset, 0), size - 1)] += taps[abs(offset)]
    return matrix


def resolution_matrix(size: int, resolution: float) -> np.ndarray:
    """(N, N): a line of N pixels recorded with fewer and enlarged again."""
    if resolution == 1:
        return np.eye(size)
    band = resolution_band(size, resolution)
    reach = len(band) // 2
    matrix = np.zeros((size, size))
    for k, row in enumerate(band):
        for i, value in enumerate(row):
            if value:
                matrix[i, i + k - reach] = value
    return matrix


def by_hand(image: np.ndarray, params: SensorParams, seed: int) -> np.ndarray:
    """Slow oracle of everything but the compression, in float64 and with full matrices; (H, W, 3) in 0..255."""
    height, width, _ = image.shape

    def both(planes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.einsum("ij,jkc,lk->ilc", rows, planes, columns)

    light = image.astype(np.float64) @ colour_matrix(params).T
    light = both(
        light,
        blur_matrix(height, params.defocus_px, 0.25 * params.motion_px),
        blur_matrix(width, params.defocus_px, params.motion_px),
    )
    words = rng(seed).integers(0, 2**64, -(-image.size // 8), dtype=np.uint64).view(np.uint8)[: image.size]
    deviates = normal_quantiles()[words].reshape(image.shape)
    gain = (white_balance(params) * (1.5 / params.resolution if params.resolution < 1 else 1)) ** 2
    light = light + np.sqrt(gain * (params.shot_noise * light.clip(0) + params.read_noise**2)) * deviates
    light = both(light, resolution_matrix(height, params.resolution), resolution_matrix(width, params.resolution))
    light = (light + params.veil).clip(0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    encoded = encoded + params.contrast * encoded * (1 - encoded) * (2 * encoded - 1)
    sharp = blur_matrix(height, params.sharpening_px, 0.0), blur_matrix(width, params.sharpening_px, 0.0)
    detail = encoded - both(encoded, *sharp)
    return 255 * (encoded + params.sharpening * detail[..., 1:2]).clip(0, 1)


def test_srgb_table_and_encoding_invert_each_other() -> None:
    codes = np.arange(256, dtype=np.uint8)
    linear = srgb_to_linear(codes)
    assert linear.dtype == np.float32 and linear[0] == 0 and linear[255] == 1
    assert linear[128] == pytest.approx(0.21586, abs=1e-5)
    back = linear_to_srgb(torch.from_numpy(linear)).numpy() * 255
    assert np.abs(back - codes).max() < 1e-3
    assert not SRGB_TO_LINEAR.flags.writeable


def test_encoding_follows_the_standard_and_clamps() -> None:
    linear = torch.linspace(0, 1, 10001, dtype=torch.float64)
    expected = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    given = linear.clone()
    assert (linear_to_srgb(given) - expected).abs().max() < 1e-6
    assert (given == linear).all()
    assert linear_to_srgb(torch.tensor([-0.5, 2.0])).tolist() == pytest.approx([0.0, 1.0])


def test_only_8_bit_srgb_is_decoded_by_table() -> None:
    with pytest.raises(ValueError, match="must be uint8, got float32"):
        srgb_to_linear(np.zeros(3, np.float32))


def test_an_ideal_camera_only_encodes() -> None:
    image = scene(1)
    expected = linear_to_srgb(image).numpy() * 255
    assert np.abs(photograph(image, IDEAL).astype(float) - expected).max() < 0.75


@pytest.mark.parametrize("seed", range(12))
def test_a_sampled_camera_agrees_with_the_slow_oracle(seed: int) -> None:
    params = replace(sample_sensor(rng(seed)), jpeg_quality=None)
    image = scene(seed, *((64, 32) if seed % 2 else (66, 34)))
    expected = by_hand(image.numpy(), params, seed)
    assert np.abs(photograph(image, params, seed).astype(float) - expected).max() < 1.1


def test_a_batch_equals_its_images_one_by_one() -> None:
    images = torch.stack([scene(k) for k in range(6)])
    params = [sample_sensor(rng(10 + k)) for k in range(6)]
    together = apply_sensor(images, params, [rng(k) for k in range(6)])
    apart = np.concatenate([apply_sensor(images[k : k + 1], [params[k]], [rng(k)]) for k in range(6)])
    assert together.shape == (6, 64, 32, 3) and together.dtype == np.uint8
    assert together.tobytes() == apart.tobytes()
    turned = apply_sensor(images.flip(0), params[::-1], [rng(k) for k in reversed(range(6))])
    assert turned[::-1].tobytes() == together.tobytes()


def test_images_are_left_as_they_were() -> None:
    image = scene(0)
    before = image.clone()
    photograph(image, sample_sensor(rng(0)))
    assert torch.equal(image, before)


def test_strided_images_are_photographed_alike() -> None:
    image = scene(3)
    planar = image.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    params = sample_sensor(rng(4))
    assert photograph(image, params).tobytes() == photograph(planar, params).tobytes()


@pytest.mark.parametrize("level", [0.05, 0.4])
def test_noise_has_the_variance_of_its_units(level: float) -> None:
    params = replace(IDEAL, shot_noise=4e-4, read_noise=6e-3)
    picture = srgb_to_linear(photograph(flat(level), params))
    rounding = (np.gradient(SRGB_TO_LINEAR)[photograph(flat(level), IDEAL)[0, 0, 0]]) ** 2 / 12
    expected = np.sqrt(4e-4 * level + 6e-3**2 + rounding)
    assert picture.std() == pytest.approx(expected, rel=0.03)
    assert picture.mean() == pytest.approx(level, rel=0.01)
    red, green = picture[..., 0].ravel(), picture[..., 1].ravel()
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.03
    assert photograph(flat(level), params, seed=1).tobytes() != photograph(flat(level), params, seed=2).tobytes()


def test_blur_has_the_width_of_its_units_and_keeps_the_mean() -> None:
    for sigma, length in ((0.6, 0.0), (1.4, 0.0), (0.5, 4.0), (0.0, 5.0)):
        band = blur_matrix(65, sigma, length)
        assert band.sum(1) == pytest.approx(1, abs=1e-6)
        offsets = np.arange(65) - 32
        spread = (band[32] * offsets**2).sum()
        # A Gaussian's variance, a box's, and for a Gaussian alone that of the small box that stands for none.
        expected = sigma**2 + max(length, 0.05) ** 2 / 12
        assert spread == pytest.approx(expected, rel=0.06, abs=0.03), (sigma, length)
        assert np.abs((band[32] * offsets).sum()) < 1e-6
    image = scene(2)
    blurred = srgb_to_linear(photograph(image, replace(IDEAL, defocus_px=1.2)))
    assert blurred.mean() == pytest.approx(image.mean().item(), rel=0.01)


@pytest.mark.parametrize("resolution", [0.3, 0.6, 0.95])
def test_a_coarse_recording_keeps_levels_and_slopes(resolution: float) -> None:
    matrix = resolution_matrix(64, resolution)
    assert matrix.sum(1) == pytest.approx(1, abs=1e-5)
    assert (matrix @ np.arange(64))[8:-8] == pytest.approx(np.arange(64)[8:-8], abs=0.3)
    three = resolution_band(64, resolution, channels=3)
    assert (three[:, 1::3] == resolution_band(64, resolution)).all() and (three[:, ::3] == three[:, 2::3]).all()


def test_motion_smears_sideways() -> None:
    point = torch.zeros(33, 33, 3)
    point[16, 16] = 1.0
    smeared = srgb_to_linear(photograph(point, replace(IDEAL, motion_px=6.0)))[..., 1]
    assert smeared[16, 13:20].min() > 0.05 and smeared[14].max() < 0.01
    assert smeared[16] == pytest.approx(smeared[16, ::-1], abs=1e-3)


def test_low_resolution_loses_detail_and_keeps_the_mean_and_the_noise() -> None:
    stripes = torch.full((64, 64, 3), 0.2)
    stripes[:, ::2] = 0.6
    coarse = srgb_to_linear(photograph(stripes, replace(IDEAL, resolution=0.4)))
    assert coarse[8:-8, 8:-8].std() < 0.03
    assert coarse.mean() == pytest.approx(0.4, rel=0.02)
    ramp = torch.linspace(0.1, 0.6, 64)[:, None, None].expand(64, 64, 3).contiguous()
    kept = srgb_to_linear(photograph(ramp, replace(IDEAL, resolution=0.5)))
    # No shift: half a pixel would be 0.004.
    assert np.abs(kept[8:-8, 8:-8] - ramp[8:-8, 8:-8].numpy()).max() < 0.0035
    noisy = replace(IDEAL, read_noise=0.02)
    shares = (1.0, 0.75, 0.5)
    full, *coarser = (srgb_to_linear(photograph(flat(0.3), replace(noisy, resolution=share))).std() for share in shares)
    # A coarse pixel is as noisy as a fine one, but enlarging smooths what lies between: about 0.7 is left.
    assert np.array(coarser) / full == pytest.approx(0.72, abs=0.05)


def test_exposure_is_in_stops() -> None:
    dark, bright = (srgb_to_linear(photograph(flat(0.2), replace(IDEAL, exposure_ev=ev))).mean() for ev in (0.0, 1.0))
    assert bright / dark == pytest.approx(2, rel=0.01)


def test_white_balance_warms_and_keeps_luminance() -> None:
    picture = srgb_to_linear(photograph(flat(0.3), replace(IDEAL, temperature_ev=0.25)))[0, 0]
    assert picture[0] / picture[1] == pytest.approx(2**0.25, rel=0.02)
    assert picture[1] / picture[2] == pytest.approx(2**0.25, rel=0.02)
    assert picture @ LUMA == pytest.approx(0.3, rel=0.01)
    green = white_balance(replace(IDEAL, tint_ev=0.1))
    assert green[1] > green[0] == green[2]


def test_colours_are_mixed_within_each_pixel() -> None:
    params = replace(IDEAL, temperature_ev=0.2, tint_ev=-0.05, saturation=0.6, exposure_ev=-0.2)
    image = torch.from_numpy(rng(6).uniform(0.05, 0.9, (40, 24, 3)).astype(np.float32))
    expected = 255 * linear_to_srgb(image.double() @ torch.from_numpy(colour_matrix(params)).T).numpy()
    assert np.abs(photograph(image, params).astype(float) - expected).max() < 0.75


def test_saturation_goes_to_grey_of_the_same_luminance() -> None:
    image = torch.tensor([0.5, 0.2, 0.1]).expand(16, 16, 3).contiguous()
    grey = srgb_to_linear(photograph(image, replace(IDEAL, saturation=0.0)))[0, 0]
    assert np.ptp(grey) < 0.005
    assert grey.mean() == pytest.approx(np.array([0.5, 0.2, 0.1]) @ LUMA, rel=0.02)


def test_contrast_bends_around_middle_grey_and_never_folds() -> None:
    ramp = srgb_to_linear(np.arange(256, dtype=np.uint8))
    image = torch.from_numpy(ramp)[None, :, None].expand(8, 256, 3).contiguous()
    for contrast in (-0.9, -0.35, 0.75, 0.95):
        tones = photograph(image, replace(IDEAL, contrast=contrast))[0, :, 0].astype(int)
        assert tones[0] == 0 and tones[255] == 255 and abs(tones[128] - 128) <= 1
        assert np.diff(tones).min() >= 0
        assert (tones[64] < 64) == (contrast > 0) and (tones[192] > 192) == (contrast > 0)


def test_veil_lifts_black() -> None:
    assert photograph(flat(0.0), replace(IDEAL, veil=0.05))[0, 0, 0] == round(
        255 * linear_to_srgb(torch.tensor(0.05)).item()
    )


def test_sharpening_draws_rims_along_edges_only() -> None:
    edge = flat(0.1, 32, 32)
    edge[:, 16:] = 0.5
    plain, sharp = (photograph(edge, replace(IDEAL, sharpening=s)).astype(int)[16, :, 0] for s in (0.0, 1.0))
    assert sharp[15] < plain[15] - 10 and sharp[16] > plain[16] + 10
    assert (sharp[:8] == plain[:8]).all() and (sharp[-8:] == plain[-8:]).all()


def test_jpeg_loses_more_at_lower_quality_and_keeps_the_picture() -> None:
    image = scene(5, 128, 64)
    clean = photograph(image, IDEAL).astype(float)
    losses = [np.abs(photograph(image, replace(IDEAL, jpeg_quality=q)) - clean).mean() for q in (95, 60, 10)]
    assert 0 < losses[0] < losses[1] < losses[2] < 20


def test_cameras_differ_and_stay_in_range() -> None:
    config = SensorConfig()
    drawn = [sample_sensor(rng(k)) for k in range(300)]
    for params in drawn:
        for name in ("exposure_ev", "temperature_ev", "tint_ev", "saturation", "contrast", "veil", "sharpening"):
            low, high = getattr(config, name)
            assert low <= getattr(params, name) <= high
        assert 35 <= params.jpeg_quality <= 95
        assert params.motion_px == 0 or 1.0 <= params.motion_px <= 4.5
        assert params.resolution == 1 or 0.35 <= params.resolution <= 0.95
    assert 0.25 < np.mean([p.motion_px > 0 for p in drawn]) < 0.45
    assert 0.2 < np.mean([p.resolution < 1 for p in drawn]) < 0.4
    assert sample_sensor(rng(7)) == drawn[7] != drawn[8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": (-0.2, 1.0)}, "tone curve folds"),
        ({"saturation": (1.0, 0.5)}, "low <= high"),
        ({"saturation": (-0.1, 0.5)}, "saturation must be >= 0"),
        ({"motion_share": 1.5}, "probability"),
        ({"read_noise": (0.0, 0.1)}, "read_noise must be > 0"),
        ({"resolution": (0.5, 1.5)}, "resolution must be <= 1"),
        ({"jpeg_quality": (0, 90)}, "jpeg_quality must lie in 1..100"),
    ],
)
def test_wrong_ranges_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SensorConfig(**change)


def test_wrong_shapes_and_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(B, H, W, 3\), got \(1, 3, 8, 8\)"):
        apply_sensor(torch.zeros(1, 3, 8, 8), [IDEAL], [rng()])
    with pytest.raises(ValueError, match="one params and one rng per image: got 2, 1 and 2"):
        apply_sensor(torch.zeros(2, 8, 8, 3), [IDEAL], [rng(), rng()])
