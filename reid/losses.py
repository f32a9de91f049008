"""Losses that trust generated images less (Liu et al. 2018, sec. 3.3), over the batch of all processes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from reid.batch import ORIGINS, Batch, on_device
from reid.gather import gather

SPREAD = "distance_spread"
"""Name under which `reid_losses` gives the `distance_spread` of the batch, to be watched."""
COLLAPSED = 0.01
"""A `distance_spread` below this means that the embeddings have collapsed: the triplet loss then stays at its margin
(log 2 where soft). Isotropic noise has 1/sqrt(D), 0.02 at 2048-d; a network that tells anybody apart has more."""
_MIN_SQUARED_DISTANCE = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class PerOrigin:
    """A number for each origin of a sample."""

    real: float
    rendered: float
    generated: float

    def of(self, origins: Tensor) -> Tensor:
        """origins (B,) int64, indices into ORIGINS -> (B,) float32."""
        return on_device(tuple(float(getattr(self, name)) for name in ORIGINS), origins.device)[origins]


def everywhere(value: float) -> PerOrigin:
    """The same number for every origin."""
    return PerOrigin(real=value, rendered=value, generated=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """How identities are taught."""

    identity_weight: float = 1.0
    """Of the identity cross-entropy; 0 leaves it out."""
    triplet_weight: float = 1.0
    """Of the batch-hard triplet loss; 0 leaves it out."""
    smoothing: PerOrigin = field(default_factory=lambda: PerOrigin(real=0.0, rendered=0.0, generated=0.4))
    """Epsilon of label smoothing, 0..1 (Liu et al., eq. 7)."""
    margin: PerOrigin = field(default_factory=lambda: everywhere(0.3))
    """Of the triplets whose anchor has that origin, in units of distance."""
    soft_margin: bool = False
    """log(1 + exp(x)) in place of the hinge (Hermans et al. 2017, sec. 3.2); the margins are not used."""

    def __post_init__(self) -> None:
        for origin in ORIGINS:
            if not 0 <= getattr(self.smoothing, origin) <= 1:
                raise ValueError(f"smoothing.{origin} must lie in 0..1, got {getattr(self.smoothing, origin)}")
            if not 0 <= getattr(self.margin, origin) < math.inf:
                raise ValueError(f"margin.{origin} must be >= 0, got {getattr(self.margin, origin)}")
        if not (0 <= self.identity_weight < math.inf and 0 <= self.triplet_weight < math.inf):
            raise ValueError(
                f"loss weights must be >= 0, got identity {self.identity_weight} and triplet {self.triplet_weight}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Triplets:
    """The hardest triplet of every anchor."""

    losses: Tensor
    """(B,) float32 >= 0; 0 where not `valid`."""
    valid: Tensor
    """(B,) bool: whether the anchor has a positive and a negative that it may take."""
    distances: Tensor
    """(B, B) float32, between all embeddings, detached."""

    def mean(self) -> Tensor:
        """Scalar: over the valid anchors; 0, with gradients of zero, where there is none."""
        return self.losses.sum() / self.valid.sum().clamp(min=1)


def smoothed_cross_entropy(logits: Tensor, identities: Tensor, epsilon: Tensor) -> Tensor:
    """Cross-entropy with a label smoothing of its own for every sample.

    logits (B, C) float; identities (B,) int64 in 0..C-1; epsilon (B,) in 0..1. Returns (B,) float32 >= 0 (float64 for
    such logits). An identity outside 0..C-1 raises ValueError on the CPU; on other devices, where looking would stall
    them, its loss is NaN. Source: Liu et al. 2018, eq. 8.
    """
    is_class = (identities >= 0) & (identities < logits.shape[1])
    if identities.device.type == "cpu" and not is_class.all():
        wrong = identities[~is_class][0].item()
        raise ValueError(
            f"the identity loss needs classes 0..{logits.shape[1] - 1}, got {wrong}: train on labelled sets of the "
            "identities that the model was built for, and give unlabelled pairs only to a model that takes them"
        )
    log_probabilities = functional.log_softmax(_at_least_float32(logits), dim=1)
    own = log_probabilities.gather(1, identities.where(is_class, 0)[:, None])[:, 0]
    losses = -(1 - epsilon) * own - epsilon * log_probabilities.mean(dim=1)
    return losses.where(is_class, math.nan)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance of every pair of rows.

    first, second (B, D) float. Returns (B,) float32 (float64 for such rows), at least 1e-6; the gradient of rows that
    coincide is zero.
    """
    squared = (_at_least_float32(first) - _at_least_float32(second)).square().sum(dim=1)
    return squared.clamp(min=_MIN_SQUARED_DISTANCE).sqrt()


def batch_hard_triplet(
    embeddings: Tensor, identities: Tensor, margin: Tensor, trusted: Tensor, *, soft_margin: bool = False
) -> Triplets:
    """Hinge on each anchor's farthest positive and nearest negative: [margin + d(a, p) - d(a, n)]_+.

    embeddings (B, D) float; identities (B,) int64; margin (B,) of every anchor; trusted (B,) bool. A trusted anchor
    takes trusted images only, any other anchor takes images from the whole batch; never itself. An anchor whose
    identity stands alone, or has nobody beside it, among these is not valid. Of images equally far the first of the
    batch is taken, and it alone gets the gradient. soft_margin: log(1 + exp(d(a, p) - d(a, n))) instead.
    Source: Hermans et al. 2017, eq. 5 and sec. 3.2; trust and margins from Liu et al. 2018, sec. 3.3.
    """
    points = _at_least_float32(embeddings)
    with torch.no_grad():  # by differences, not by a matrix product, whose rounding (TF32!) is of the norms' size
        pairwise = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    same = identities[:, None] == identities[None, :]
    itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
    may_take = trusted[None, :] | ~trusted[:, None]
    positives, negatives = may_take & same & ~itself, may_take & ~same
    hardest_positive = pairwise.masked_fill(~positives, -math.inf).argmax(dim=1)
    hardest_negative = pairwise.masked_fill(~negatives, math.inf).argmin(dim=1)
    gap = distances(points, points[hardest_positive]) - distances(points, points[hardest_negative])
    losses = functional.softplus(gap) if soft_margin else functional.relu(margin + gap)
    valid = positives.any(dim=1) & negatives.any(dim=1)
    return Triplets(losses=losses.where(valid, 0), valid=valid, distances=pairwise)


def distance_spread(embeddings: Tensor, pairwise: Tensor) -> Tensor:
    """How unlike the distances of a batch are: their standard deviation over the root mean square norm.

    embeddings (B, D); pairwise (B, B) their distances, B > 1. Returns a detached scalar that does not depend on the
    embeddings' scale: 0 where all are the same point or all equally far from each other. Compare with COLLAPSED.
    """
    off_diagonal = ~torch.eye(len(pairwise), dtype=torch.bool, device=pairwise.device)
    num_pairs = off_diagonal.sum()
    mean = (pairwise * off_diagonal).sum() / num_pairs
    deviation = (((pairwise - mean).square() * off_diagonal).sum() / num_pairs).sqrt()
    norm = _at_least_float32(embeddings.detach()).square().sum(dim=1).mean().sqrt()
    return deviation / norm.clamp(min=torch.finfo(norm.dtype).tiny)


def reid_losses(
    batch: Batch,
    config: LossConfig,
    *,
    logits: Sequence[Tensor],
    embeddings: Sequence[Tensor],
    heads: Literal["mean", "sum"] = "mean",
) -> dict[str, Tensor]:
    """The losses of a model with identity classifiers and with features compared by distance, weighted and by name.

    logits: (B, C) of each classifier; embeddings: (B, D) of each feature in the triplet loss; the losses of either are
    summed or averaged over `heads`. Returns "identity", "triplet" and SPREAD (the least of all features, only watched);
    what weighs 0 is left out.
    """
    losses = {}
    if config.identity_weight > 0:
        per_head = identity_losses(logits, batch, config)
        losses["identity"] = config.identity_weight * (per_head.mean() if heads == "mean" else per_head.sum())
    if config.triplet_weight > 0:
        loss, spread = triplet_loss(embeddings, batch, config)
        num_heads = 1 if heads == "mean" else len(embeddings)
        losses |= {"triplet": config.triplet_weight * num_heads * loss, SPREAD: spread}
    return losses


def identity_losses(logits: Sequence[Tensor], batch: Batch, config: LossConfig) -> Tensor:
    """Cross-entropy of each classifier, smoothed by `config.smoothing` and averaged over the batch, not weighted.

    logits: (B, C) of each classifier. Returns (len(logits),).
    """
    epsilon = config.smoothing.of(batch.origins)
    return torch.stack([smoothed_cross_entropy(each, batch.identities, epsilon).mean() for each in logits])


def triplet_loss(embeddings: Sequence[Tensor], batch: Batch, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Batch-hard triplet loss over the samples of all processes, not weighted: (loss, least distance_spread), scalars.

    embeddings: (B, D) of each feature, whose losses are averaged. Every process gets the loss of the whole batch.
    Raises ValueError where processes have batches of different sizes.
    """
    # Process r holds embeddings e_r(w), and each of the W processes has the same loss L(e_1, .., e_W). Gathering adds
    # up, in its backward pass, what all losses ask of e_r: W dL/de_r. DDP's mean over processes then is
    # 1/W sum_r (W dL/de_r de_r/dw) = dL/dw, the gradient of one process with the whole batch. The identity loss is a
    # mean over samples, so the mean of the processes' gradients is already that of the whole batch.
    widths = [each.shape[1] for each in embeddings]
    rows = torch.cat([_at_least_float32(each) for each in embeddings], dim=1)
    rows, identities, origins = gather(rows, batch.identities, batch.origins)
    trusted, margin = origins != ORIGINS.index("generated"), config.margin.of(origins)
    losses, spreads = [], []
    for points in rows.split(widths, dim=1):
        triplets = batch_hard_triplet(points, identities, margin, trusted, soft_margin=config.soft_margin)
        losses.append(triplets.mean())
        spreads.append(distance_spread(points, triplets.distances))
    return torch.stack(losses).mean(), torch.stack(spreads).min()


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
