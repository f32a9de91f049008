"""Measures of generated pictures are what loops, and other libraries, say."""

import math

import kornia.metrics
import numpy as np
import pytest
import scipy.linalg
import torch

from generative.transfer.scores import frechet_distance, identity_kept, l1, mask_ssim, ssim
from reid.embeddings import JUNK, Embeddings


def pictures(num: int = 2, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(num, 3, 16, 14) float32 in 0..1, and others that are like them."""
    rng = np.random.default_rng(seed)
    target = rng.random((num, 3, 16, 14))
    near = (target + rng.normal(0, 0.2, target.shape)).clip(0, 1)
    return torch.from_numpy(near).float(), torch.from_numpy(target).float()


def ssim_of_loops(x: np.ndarray, y: np.ndarray) -> float:
    """Two pictures (3, H, W), window by window (Wang et al. 2004, eq. 13 to 17)."""
    weights = np.array([[math.exp(-(r * r + c * c) / (2 * 1.5**2)) for c in range(-5, 6)] for r in range(-5, 6)])
    weights /= weights.sum()
    values = []
    for colour in range(3):
        for row in range(x.shape[1] - 10):
            for column in range(x.shape[2] - 10):
                a, b = (each[colour, row : row + 11, column : column + 11] for each in (x, y))
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
                covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
                brightness = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                values.append(brightness * (2 * covariance + 9e-4) / (var_a + var_b + 9e-4))
    return float(np.mean(values))


def test_l1_is_each_pictures_own():
    generated, target = pictures()
    expected = [np.abs(g - t).mean() for g, t in zip(generated.numpy(), target.numpy(), strict=True)]
    assert l1(generated, target).tolist() == pytest.approx(expected, rel=1e-5)


def test_ssim_is_that_of_loops_and_of_kornia():
    generated, target = pictures()
    found = ssim(generated, target)
    expected = [ssim_of_loops(*each) for each in zip(generated.double().numpy(), target.double().numpy(), strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    theirs = kornia.metrics.ssim(generated, target, 11, padding="valid").mean((1, 2, 3))
    assert found.tolist() == pytest.approx(theirs.tolist(), abs=1e-5)
    assert ssim(target, target).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_mask_ssim_sees_the_person_alone():
    generated, target = pictures()
    mask = torch.zeros(2, 16, 14, dtype=torch.bool)
    mask[0, 4:12, 3:9], mask[1, 0:3, 0:2] = True, True
    blank = [torch.where(mask[:, None], each, 0.0).double().numpy() for each in (generated, target)]
    expected = [ssim_of_loops(blank[0][i], blank[1][i]) for i in range(2)]
    assert mask_ssim(generated, target, mask).tolist() == pytest.approx(expected, abs=1e-5)
    elsewhere = torch.where(mask[:, None], generated, 1 - generated)
    assert torch.equal(mask_ssim(elsewhere, target, mask), mask_ssim(generated, target, mask))
    mask[1] = False
    with pytest.raises(ValueError, match="got an empty one for picture 1"):
        mask_ssim(generated, target, mask)


def test_pictures_that_do_not_go_together_are_refused():
    generated, target = pictures()
    with pytest.raises(ValueError, match="of one shape"):
        l1(generated, target[:1])
    with pytest.raises(ValueError, match="of one shape"):
        ssim(generated, target[:, :, :15])
    with pytest.raises(ValueError, match="SSIM needs 11 pixels"):
        ssim(generated[..., :10], target[..., :10])


@pytest.mark.parametrize(("num", "num_real", "width"), [(40, 60, 5), (4, 7, 12), (40, 7, 12)])
def test_frechet_distance_is_that_of_its_formula(num: int, num_real: int, width: int):
    """Also where there are fewer embeddings than dimensions, and no covariance has full rank."""
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, (num, width)) @ rng.normal(0, 1, (width, width))
    second = rng.normal(0.5, 2, (num_real, width))
    found = frechet_distance(first.astype(np.float32), second.astype(np.float32))
    ours, theirs = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(ours @ theirs + 1e-12 * np.eye(width))
    gap = np.square(first.mean(0) - second.mean(0)).sum()
    expected = gap + np.trace(ours) + np.trace(theirs) - 2 * np.trace(root).real
    assert found == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(first, first + 2) == pytest.approx(4 * width, rel=1e-6)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    for wrong in (first[:1], first[:, :-1], first[0]):
        with pytest.raises(ValueError, match="two embeddings or more of one width"):
            frechet_distance(wrong, second)


def embeddings(num: int, *, identities: list[int], seed: int) -> Embeddings:
    rng = np.random.default_rng(seed)
    return Embeddings(
        vectors=rng.normal(0, 1, (num, 4)).astype(np.float32) * rng.uniform(0.1, 9, (num, 1)).astype(np.float32),
        identities=np.array([identities[i % len(identities)] for i in range(num)]),
        camera_ids=np.zeros(num, np.int64),
        keys=np.array([str(i) for i in range(num)]),
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_identity_is_kept_where_the_nearest_real_picture_has_it(metric: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("generative.transfer.scores._MAX_MEMORY_MIB", 0)  # a row at a time
    generated = embeddings(60, identities=[0, 1, 2], seed=0)
    real = embeddings(40, identities=[0, 1, 2, 3, JUNK], seed=1)
    hits = 0
    for vector, identity in zip(generated.vectors, generated.identities, strict=True):
        best, who = math.inf, None
        for other, name in zip(real.vectors, real.identities, strict=True):
            gap = np.linalg.norm(vector - other)
            if metric == "cosine":
                gap = 1 - vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
            if name != JUNK and gap < best:
                best, who = gap, name
        hits += who == identity
    assert 0 < hits < 60
    assert identity_kept(generated, real, metric=metric) == hits / 60
    assert identity_kept(real.without_junk(), real, metric=metric) == 1
