"""Equations 1 to 5 of pose transfer are what loops over samples say."""

import math

import pytest
import torch
from torch import Tensor

from generative.adversarial.losses import discriminator_loss, generator_loss, l1_loss, r1_penalty
from generative.transfer.losses import guider_cross_entropy, guider_triplet


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def test_the_discriminator_ascends_equation_1():
    real, generated = random(3, 1, 2, 2), random(3, 1, 2, 2, seed=1)
    value = sum(math.log(sigmoid(x)) for x in real.flatten().tolist()) / 12
    value += sum(math.log(1 - sigmoid(x)) for x in generated.flatten().tolist()) / 12
    assert discriminator_loss(real, generated).item() == pytest.approx(-value, rel=1e-5)


def test_the_generator_does_not_saturate():
    generated = random(3, 1, 2, 2, seed=1)
    expected = -sum(math.log(sigmoid(x)) for x in generated.flatten().tolist()) / 12
    assert generator_loss(generated).item() == pytest.approx(expected, rel=1e-5)
    lost = torch.full((1,), -30.0, requires_grad=True)
    generator_loss(lost).backward()
    assert lost.grad.item() == pytest.approx(-1)  # where log(1 - D) would leave e^-30


def test_equation_2_is_a_mean_over_pixels():
    generated, target = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1)
    pairs = zip(generated.flatten().tolist(), target.flatten().tolist(), strict=True)
    assert l1_loss(generated, target).item() == pytest.approx(sum(abs(a - b) for a, b in pairs) / 96, rel=1e-5)


def test_equation_3_is_the_mean_over_classifiers():
    logits, identities = [random(4, 5), random(4, 5, seed=1)], torch.tensor([3, 0, 3, 1])
    expected = 0.0
    for each in logits:
        for row, label in zip(each.tolist(), identities.tolist(), strict=True):
            expected -= math.log(math.exp(row[label]) / sum(map(math.exp, row))) / 8
    assert guider_cross_entropy(logits, identities).item() == pytest.approx(expected, rel=1e-5)


def triplets_by_loop(generated: Tensor, real: Tensor, identities: Tensor, margin: float) -> Tensor:
    losses = []
    for i, anchor in enumerate(generated):
        others = [j for j in range(len(generated)) if identities[j] != identities[i]]
        for k, positive in enumerate(real):
            if identities[k] != identities[i] or not others:
                continue
            to_positive = (anchor - positive).square().sum().sqrt()
            far = {j: (anchor - generated[j]).square().sum().sqrt() for j in others}
            farther = {j: d for j, d in far.items() if d > to_positive}
            negative = min(farther, key=farther.get) if farther else max(far, key=far.get)
            losses.append((margin + to_positive - far[negative]).clamp(min=0))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_equation_4_takes_semi_hard_negatives(scale: float):
    """Real pictures farther from the generated ones, by scale, so that there are none, some, or only farther negatives."""
    identities = torch.tensor([0, 0, 1, 2, 2, 1])
    generated, real = random(6, 4).requires_grad_(), (scale * random(6, 4, seed=1)).requires_grad_()
    loss, expected = (f(generated, real, identities, 0.7) for f in (guider_triplet, triplets_by_loop))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5) and loss > 0
    for one, other in zip(
        torch.autograd.grad(loss, [generated, real]), torch.autograd.grad(expected, [generated, real]), strict=True
    ):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


def test_nobody_else_in_the_batch_is_no_triplet():
    loss = guider_triplet(random(3, 4).requires_grad_(), random(3, 4, seed=1), torch.tensor([5, 5, 5]), 1.0)
    assert loss.item() == 0
    loss.backward()


def test_pictures_that_coincide_have_gradients():
    point = torch.ones(2, 4, requires_grad=True)
    guider_triplet(point, point.detach(), torch.tensor([0, 1]), 1.0).backward()
    assert point.grad.isfinite().all()


def test_r1_is_the_squared_gradient_at_real_pictures():
    weight, target = random(3, 2, 2).requires_grad_(), random(2, 3, 2, 2, seed=1).requires_grad_()
    logits = (weight * target.square()).sum(dim=1)  # (2, 2, 2), four patches
    expected = sum((2 * weight * one / 4).square().sum().item() for one in target) / 2 / 2
    penalty = r1_penalty(logits, target)
    assert penalty.item() == pytest.approx(expected, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(weight.grad, (weight * target.square().mean(dim=0) / 4).detach())
