"""The similarity-preserving term of SPGAN, in float32; its other losses are in `generative.adversarial.losses`."""

import torch
from torch import Tensor
from torch.nn import functional


def contrastive_loss(first: Tensor, second: Tensor, *, is_same: bool, margin: float) -> Tensor:
    """L_con of Deng et al. 2018, sec. 3.3: d^2 of pairs that show the same person, [margin - d]_+^2 of others, d the Euclidean distance.

    first, second (B, D) float of length 1, row by row a pair. Returns a scalar, the mean over pairs.
    """
    difference = first.float() - second.float()
    if is_same:
        return difference.square().sum(dim=1).mean()
    distance = torch.linalg.vector_norm(difference, dim=1)  # whose gradient is 0, and a number, where points coincide
    return functional.relu(margin - distance).square().mean()


def similarity_loss(source: Tensor, target: Tensor, restyled: Tensor, brought: Tensor, margin: float) -> Tensor:
    """L_con over the pairs of sec. 3.3, their mean: a picture is still that of its person in the other look, and is that of
    nobody who has that look.

    Embeddings (B, D) float of length 1: of source pictures x, target pictures y, G(x) and F(y). Returns a scalar.
    """
    same = [(source, restyled), (target, brought)]
    others = [(restyled, target), (brought, source)]
    losses = [contrastive_loss(*pair, is_same=True, margin=margin) for pair in same]
    losses += [contrastive_loss(*pair, is_same=False, margin=margin) for pair in others]
    return torch.stack(losses).mean()
