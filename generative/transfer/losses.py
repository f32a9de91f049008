"""What the guider says of generated pictures (Liu et al. 2018, eq. 3 and 4), in float32, over the batch of all processes.

Equations 1 and 2 are in `generative.adversarial.losses`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from reid.gather import gather


def guider_cross_entropy(logits: Sequence[Tensor], identities: Tensor) -> Tensor:
    """Eq. 3, the mean over classifiers. logits: (B, C) of each; identities (B,) int64, the guider's classes. Returns a scalar."""
    return torch.stack([functional.cross_entropy(each.float(), identities) for each in logits]).mean()


def guider_triplet(generated: Tensor, real: Tensor, identities: Tensor, margin: float) -> Tensor:
    """Eq. 4: [margin + d(anchor, positive) - d(anchor, negative)]_+, d the Euclidean distance.

    generated, real (B, D) float: `Guider.points` of the generated and the true pictures of the people identities (B,) int64. Every
    generated picture is an anchor, with every real picture of its person a triplet; the negative is a generated picture of
    somebody else, the nearest of those that are farther than the positive, or where there is none, the farthest (semi-hard,
    Schroff et al. 2015, sec. 3.2, whom the paper follows). Of several processes the triplets are of the whole batch, and
    each process gets the loss of the whole. Returns a scalar, the mean over triplets; 0 where nobody is anybody else.
    """
    generated, real, identities = gather(generated.float(), real.float(), identities)
    is_same = identities[:, None] == identities[None, :]
    positive, between = _pairwise(generated, real), _pairwise(generated, generated)
    with torch.no_grad():
        # (anchor, positive, negative): distances of the negatives that may be taken.
        candidates = between[:, None, :].expand(-1, len(real), -1)
        is_farther = ~is_same[:, None, :] & (candidates > positive[:, :, None])
        nearest = candidates.masked_fill(~is_farther, torch.inf).argmin(dim=2)
        farthest = candidates.masked_fill(is_same[:, None, :], -torch.inf).argmax(dim=2)
        chosen = torch.where(is_farther.any(dim=2), nearest, farthest)
        is_triplet = is_same & (~is_same).any(dim=1, keepdim=True)
    losses = functional.relu(margin + positive - between.gather(1, chosen))
    return (losses * is_triplet).sum() / is_triplet.sum().clamp(min=1)


def _pairwise(first: Tensor, second: Tensor) -> Tensor:
    """(N, D) and (M, D) -> (N, M). By differences, not by a matrix product, whose rounding is of the norms' size; the gradient
    of rows that coincide is zero."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
