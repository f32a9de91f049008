"""The losses of style are what loops over samples say."""

import pytest
import torch
from torch import Tensor

from generative.adversarial.losses import least_squares_discriminator_loss, least_squares_generator_loss
from generative.style.config import StyleLossConfig
from generative.style.losses import contrastive_loss, similarity_loss


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def on_sphere(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(random(*shape, seed=seed), dim=1)


def distance(one: Tensor, other: Tensor) -> float:
    return sum((a - b) ** 2 for a, b in zip(one.tolist(), other.tolist(), strict=True)) ** 0.5


def test_least_squares():
    real, generated = random(3, 1, 2, 2), random(3, 1, 2, 2, seed=1)
    expected = sum((x - 1) ** 2 for x in real.flatten().tolist()) / 24
    expected += sum(x**2 for x in generated.flatten().tolist()) / 24
    assert least_squares_discriminator_loss(real, generated).item() == pytest.approx(expected, rel=1e-5)
    expected = sum((x - 1) ** 2 for x in generated.flatten().tolist()) / 12
    assert least_squares_generator_loss(generated).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.5, 1.3, 2.0])
def test_contrastive_loss_pulls_the_same_and_pushes_others_as_far_as_the_margin(margin: float):
    first, second = on_sphere(5, 3), on_sphere(5, 3, seed=1)
    away = [distance(a, b) for a, b in zip(first, second, strict=True)]
    assert min(away) < 1.3 < max(away) < 2
    same, others = (contrastive_loss(first, second, is_same=is_same, margin=margin) for is_same in (True, False))
    assert same.item() == pytest.approx(sum(d**2 for d in away) / 5, rel=1e-5)
    assert others.item() == pytest.approx(sum(max(0.0, margin - d) ** 2 for d in away) / 5, rel=1e-5, abs=1e-9)


def test_pairs_beyond_the_margin_are_left_alone():
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]).requires_grad_()
    loss = contrastive_loss(near, far, is_same=False, margin=1.9)
    loss.backward()
    assert loss.item() == 0 and far.grad.abs().max() == 0
    assert contrastive_loss(near, far.detach(), is_same=True, margin=1.9).item() == pytest.approx(4)


@pytest.mark.parametrize("is_same", [True, False])
def test_points_that_coincide_have_gradients(is_same: bool):
    point = on_sphere(2, 4).requires_grad_()
    contrastive_loss(point, point.detach(), is_same=is_same, margin=2.0).backward()
    assert point.grad.isfinite().all()


def test_half_precision_is_left_before_anything_is_squared():
    first, second = (1e-4 * on_sphere(4, 3, seed=seed) for seed in (0, 1))
    found = contrastive_loss(first.half(), second.half(), is_same=True, margin=2.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx((first - second).square().sum(1).mean().item(), rel=1e-2)


def test_who_is_the_same_and_who_another():
    """Each picture and its own in the other look; a restyled one and a real one of that look, both ways."""
    source, target, restyled, brought = (on_sphere(3, 4, seed=seed) for seed in range(4))
    total = 0.0
    for i in range(3):
        total += distance(source[i], restyled[i]) ** 2 + distance(target[i], brought[i]) ** 2
        total += max(0.0, 1.8 - distance(restyled[i], target[i])) ** 2
        total += max(0.0, 1.8 - distance(brought[i], source[i])) ** 2
    assert similarity_loss(source, target, restyled, brought, 1.8).item() == pytest.approx(total / 12, rel=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cycle_weight", -1.0, "losses.cycle_weight must be >= 0, got -1.0"),
        ("contrastive_weight", float("nan"), "losses.contrastive_weight must be >= 0, got nan"),
        ("margin", 2.5, "at most 2 apart, got 2.5"),
    ],
)
def test_weights_are_checked(field: str, value: float, words: str):
    with pytest.raises(ValueError, match=words):
        StyleLossConfig(**{field: value})
