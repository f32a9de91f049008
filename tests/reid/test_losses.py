"""Losses against loops written out, their gradients, and what is defined where nothing can be learned."""

import math

import pytest
import torch
from torch import Tensor

from reid.batch import ORIGINS, UNKNOWN, Batch
from reid.losses import (
    COLLAPSED,
    SPREAD,
    LossConfig,
    PerOrigin,
    batch_hard_triplet,
    distance_spread,
    distances,
    everywhere,
    reid_losses,
    smoothed_cross_entropy,
)

REAL, RENDERED, GENERATED = range(3)


def make_batch(identities: list[int], origins: list[int]) -> Batch:
    size = len(identities)
    return Batch(
        images=torch.zeros(size, 3, 2, 2),
        identities=torch.tensor(identities),
        origins=torch.tensor(origins),
        camera_ids=torch.zeros(size, dtype=torch.int64),
        flipped=torch.zeros(size, dtype=torch.bool),
        keys=tuple(str(i) for i in range(size)),
    )


def mixed(seed: int, size: int = 14) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (size, 5) float64, identities of 5 people, origins."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, 5, dtype=torch.float64, generator=generator)
    identities = torch.randint(5, (size,), generator=generator)
    return embeddings, identities, torch.randint(3, (size,), generator=generator)


def slow_cross_entropy(logits: Tensor, identity: int, epsilon: float) -> float:
    """Of one sample: Liu et al., eq. 7 put into -sum_k q(k) log p(k)."""
    num_classes = len(logits)
    p = [math.exp(x) / sum(math.exp(y) for y in logits.tolist()) for x in logits.tolist()]
    q = [epsilon / num_classes + (1 - epsilon) * (k == identity) for k in range(num_classes)]
    return -sum(q[k] * math.log(p[k]) for k in range(num_classes))


def slow_triplet(embeddings: Tensor, identities: Tensor, origins: Tensor, config: LossConfig) -> float:
    """Mean over valid anchors, image by image, by the words of Liu et al., sec. 3.3."""
    losses = []
    for a, anchor in enumerate(embeddings):
        is_generated = origins[a] == GENERATED
        positives, negatives = [], []
        for i, other in enumerate(embeddings):
            if i == a or (origins[i] == GENERATED and not is_generated):
                continue
            distance = math.dist(anchor.tolist(), other.tolist())
            (positives if identities[i] == identities[a] else negatives).append(distance)
        if not positives or not negatives:
            continue
        gap = max(positives) - min(negatives)
        margin = getattr(config.margin, ORIGINS[origins[a]])
        losses.append(math.log1p(math.exp(gap)) if config.soft_margin else max(0.0, margin + gap))
    return sum(losses) / len(losses) if losses else 0.0


def triplet_of(embeddings: Tensor, identities: Tensor, origins: Tensor, config: LossConfig) -> Tensor:
    batch = make_batch(identities.tolist(), origins.tolist())
    return reid_losses(batch, config, logits=[], embeddings=[embeddings])["triplet"]


def test_cross_entropy_equals_the_loop():
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    identities, epsilon = torch.tensor([0, 1, 2, 3, 3, 0]), torch.tensor([0.0, 0.1, 0.4, 1.0, 0.4, 0.0])
    expected = [slow_cross_entropy(*each) for each in zip(logits, identities, epsilon.tolist(), strict=True)]
    losses = smoothed_cross_entropy(logits, identities, epsilon)
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_gradients_of_the_losses():
    embeddings, identities, origins = mixed(1)
    epsilon, margin = torch.rand(14, dtype=torch.float64), torch.full((14,), 2.0)
    logits = embeddings.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: smoothed_cross_entropy(x, identities, epsilon), logits)
    points, trusted = embeddings.requires_grad_(), origins != GENERATED
    for soft in (False, True):
        assert torch.autograd.gradcheck(
            lambda x, soft=soft: batch_hard_triplet(x, identities, margin, trusted, soft_margin=soft).losses, points
        )


@pytest.mark.parametrize("soft_margin", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_triplet_equals_the_loop(seed: int, soft_margin: bool):
    margin = PerOrigin(real=1.0, rendered=0.7, generated=0.5)
    config = LossConfig(identity_weight=0, margin=margin, soft_margin=soft_margin)
    sample = mixed(seed)
    assert triplet_of(*sample, config).item() == pytest.approx(slow_triplet(*sample, config), rel=1e-6)


def test_a_real_anchor_never_sees_a_generated_image():
    embeddings, identities, origins = mixed(2)
    origins[:5], origins[5:] = GENERATED, REAL
    points = embeddings.requires_grad_()
    triplets = batch_hard_triplet(points, identities, torch.full((14,), 9.0), origins != GENERATED)
    (gradient,) = torch.autograd.grad(triplets.losses[5:].sum(), points, retain_graph=True)
    assert gradient[:5].abs().max() == 0
    assert gradient[5:].abs().max() > 0
    (gradient,) = torch.autograd.grad(triplets.losses[:5].sum(), points)
    assert gradient[5:].abs().max() > 0, "generated anchors take real images"


def test_a_batch_of_generated_images_trains():
    embeddings, identities, _ = mixed(3)
    config, origins = LossConfig(identity_weight=0), torch.full((14,), GENERATED)
    loss = triplet_of(embeddings, identities, origins, config)
    assert loss.item() == pytest.approx(slow_triplet(embeddings, identities, origins, config))
    assert loss > 0


@pytest.mark.parametrize("identities", [[0, 1, 2, 3], [0, 0, 0, 0]])
def test_without_a_valid_anchor_loss_and_gradients_are_zero(identities: list[int]):
    points = torch.randn(4, 3, requires_grad=True)
    triplets = batch_hard_triplet(points, torch.tensor(identities), torch.ones(4), torch.ones(4, dtype=torch.bool))
    assert not triplets.valid.any()
    triplets.mean().backward()
    assert triplets.mean() == 0
    assert torch.equal(points.grad, torch.zeros(4, 3))


def test_an_identity_alone_is_left_out_of_the_mean_but_is_a_negative():
    points = torch.tensor([[0.0], [1.0], [1.5]])
    triplets = batch_hard_triplet(points, torch.tensor([0, 0, 1]), torch.ones(3), torch.ones(3, dtype=torch.bool))
    assert triplets.valid.tolist() == [True, True, False]
    assert triplets.losses.tolist() == pytest.approx([0.5, 1.5, 0.0])
    assert triplets.mean().item() == pytest.approx(1.0)


def test_of_equally_far_images_the_first_gets_the_gradient():
    points = torch.tensor([[0.0], [1.0], [-1.0], [2.0], [-2.0]], requires_grad=True)
    identities = torch.tensor([0, 0, 0, 1, 2])
    triplets = batch_hard_triplet(points, identities, torch.full((5,), 3.0), torch.ones(5, dtype=torch.bool))
    triplets.losses[0].backward()
    assert points.grad[:, 0].tolist() == [0.0, 1.0, 0.0, -1.0, 0.0]


def test_the_gradient_of_points_that_coincide_is_finite():
    points = torch.ones(4, 3, requires_grad=True)
    triplets = batch_hard_triplet(points, torch.tensor([0, 0, 1, 1]), torch.ones(4), torch.ones(4, dtype=torch.bool))
    triplets.mean().backward()
    assert triplets.mean().item() == pytest.approx(1.0)
    assert torch.equal(points.grad, torch.zeros(4, 3))
    near = points.detach() + torch.tensor([1e-4, 0, 0])
    assert distances(points, near)[0].item() == pytest.approx(1e-4, rel=1e-3)


def test_close_points_far_from_the_origin_keep_their_distances():
    embeddings, identities, _ = mixed(5, size=40)  # as many as cdist would multiply matrices for
    points, trusted = (embeddings + 1000).float(), torch.ones(40, dtype=torch.bool)
    single = batch_hard_triplet(points, identities, torch.ones(40), trusted)
    double = batch_hard_triplet(points.double(), identities, torch.ones(40), trusted)
    torch.testing.assert_close(single.losses.double(), double.losses, rtol=1e-5, atol=1e-5)


def test_autocast_changes_nothing_but_the_embeddings():
    embeddings, identities, origins = mixed(4)
    embeddings, config = embeddings.bfloat16(), LossConfig()
    batch = make_batch(identities.tolist(), origins.tolist())
    plain = reid_losses(batch, config, logits=[embeddings.float()], embeddings=[embeddings.float()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = reid_losses(batch, config, logits=[embeddings], embeddings=[embeddings])
    assert {name: value.dtype for name, value in cast.items()} == dict.fromkeys(plain, torch.float32)
    assert cast == plain


def test_weights_and_smoothing_by_origin():
    batch = make_batch([0, 0, 1, 1], [REAL, RENDERED, GENERATED, REAL])
    logits, points = torch.randn(4, 3), torch.randn(4, 2)
    smoothing = PerOrigin(real=0.0, rendered=0.2, generated=0.4)
    config = LossConfig(identity_weight=0.5, triplet_weight=1.5, smoothing=smoothing)
    losses = reid_losses(batch, config, logits=[logits, 2 * logits], embeddings=[points, 3 * points])
    assert set(losses) == {"identity", "triplet", SPREAD}
    assert not losses[SPREAD].requires_grad

    def mean_cross_entropy(scale: int) -> float:
        rows = zip(scale * logits, [0, 0, 1, 1], [0, 0.2, 0.4, 0], strict=True)
        return sum(slow_cross_entropy(*row) for row in rows) / 4

    heads = [mean_cross_entropy(1), mean_cross_entropy(2)]
    assert losses["identity"].item() == pytest.approx(0.5 * sum(heads) / 2, rel=1e-5)
    summed = reid_losses(batch, config, logits=[logits, 2 * logits], embeddings=[points], heads="sum")["identity"]
    assert summed.item() == pytest.approx(0.5 * sum(heads), rel=1e-5)
    features = [slow_triplet(each, batch.identities, batch.origins, config) for each in (points, 3 * points)]
    assert losses["triplet"].item() == pytest.approx(1.5 * sum(features) / 2, rel=1e-5)


def test_a_weight_of_zero_leaves_the_loss_out():
    batch, points = make_batch([0, 0, 1, 1], [REAL] * 4), torch.randn(4, 3)
    assert set(reid_losses(batch, LossConfig(triplet_weight=0), logits=[points], embeddings=[points])) == {"identity"}
    only_triplet = reid_losses(batch, LossConfig(identity_weight=0), logits=[], embeddings=[points])
    assert set(only_triplet) == {"triplet", SPREAD}


@pytest.mark.parametrize("identity", [UNKNOWN, 3])
def test_an_identity_that_is_no_class_is_an_error(identity: int):
    batch = make_batch([0, identity], [REAL, REAL])
    with pytest.raises(ValueError, match=rf"classes 0\.\.2, got {identity}"):
        reid_losses(batch, LossConfig(), logits=[torch.zeros(2, 3)], embeddings=[torch.zeros(2, 3)])


def spread_of(points: Tensor) -> float:
    return distance_spread(points, torch.cdist(points, points)).item()


def test_the_spread_is_zero_exactly_when_collapsed():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(16, 8, generator=generator)
    point = torch.randn(1, 8, generator=generator)
    assert spread_of(point.expand(16, 8)) < COLLAPSED / 10, "one point"
    assert spread_of(torch.zeros(16, 8)) == 0, "nothing at all"
    assert spread_of(torch.eye(16) * 7) < COLLAPSED / 10, "all equally far"
    assert spread_of(point + 1e-4 * points) < COLLAPSED, "nearly one point"
    assert spread_of(points) > 10 * COLLAPSED
    assert spread_of(1e-3 * points) == pytest.approx(spread_of(points), rel=1e-3)
    off_diagonal = [math.dist(points[i], points[j]) for i in range(16) for j in range(16) if i != j]
    deviation = torch.tensor(off_diagonal).std(correction=0)
    norm = points.square().sum(1).mean().sqrt()
    assert spread_of(points) == pytest.approx((deviation / norm).item(), rel=1e-4)


def test_the_least_spread_of_all_features_is_watched():
    batch, points = make_batch([0, 0, 1, 1], [REAL] * 4), torch.randn(4, 3)
    losses = reid_losses(batch, LossConfig(), logits=[points], embeddings=[points, torch.ones(4, 3), points])
    assert losses[SPREAD] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smoothing": everywhere(1.5)}, r"smoothing.real must lie in 0\.\.1, got 1.5"),
        ({"margin": everywhere(-1.0)}, "margin.real must be >= 0, got -1.0"),
        ({"triplet_weight": -1.0}, "loss weights must be >= 0"),
    ],
)
def test_impossible_settings(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        LossConfig(**settings)
