"""Triplet reID constraints: distances place by place, of maps whose places mean the same in all images (SAN, eq. 1)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reid.gather import rank


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawnTriplets:
    """A positive and a negative for each of B images, from the N of all processes."""

    positives: Tensor
    """(B,) int64 in 0..N-1: another image of the same identity."""
    negatives: Tensor
    """(B,) int64 in 0..N-1: an image of another identity."""
    valid: Tensor
    """(B,) bool: whether there are both; where not, the others mean nothing."""


def draw_triplets(identities: Tensor, everybody: Tensor) -> DrawnTriplets:
    """Draw each image's positive and negative, all that there are being equally likely, from torch's own generator.

    identities (B,) int64 of this process; everybody (N,) those of all, as `gather` gives them. Without a look at the
    values, so a GPU is not waited for.
    """
    same = identities[:, None] == everybody[None, :]
    own = torch.arange(len(identities), device=identities.device) + rank() * len(identities)
    itself = own[:, None] == torch.arange(len(everybody), device=identities.device)
    # The highest of random numbers is anybody's; as no image can be both, one set of them does for both draws.
    lots = torch.rand(same.shape, device=identities.device)
    positives, negatives = same & ~itself, ~same
    return DrawnTriplets(
        positives=lots.masked_fill(~positives, -1).argmax(dim=1),
        negatives=lots.masked_fill(~negatives, -1).argmax(dim=1),
        valid=positives.any(dim=1) & negatives.any(dim=1),
    )


def triplet_constraint(
    maps: Tensor,
    all_maps: Tensor,
    triplets: DrawnTriplets,
    margin: float,
    *,
    pooled: bool = False,
    mean: bool = False,
) -> Tensor:
    """Hinge on squared distances of feature vectors at the same place, averaged over places, then over images.

    maps (B, C, h, w) float of this process, all_maps (N, C, h, w) of all; the hinge of an image is
    [d(a, p) - d(a, n) + margin]_+ with d(a, b) the sum over channels and places of (a - b)^2, over h x w; pooled: of the
    maps' means over places instead. Returns a float32 scalar, 0 where no image has both positive and negative. The
    gradients that other processes have for this one's maps come back through `gather`, so the mean over processes is that
    of one process with the whole batch. Source: Jin et al. 2020, eq. 1; pooled: table 4.
    """
    maps, all_maps = maps.float(), all_maps.float()
    if pooled:
        maps, all_maps = (each.mean(dim=(2, 3), keepdim=True) for each in (maps, all_maps))

    def distance(others: Tensor) -> Tensor:
        squares = (maps - all_maps[others]).square()
        return (squares.mean(dim=1) if mean else squares.sum(dim=1)).mean(dim=(1, 2))

    hinges = functional.relu(distance(triplets.positives) - distance(triplets.negatives) + margin)
    return hinges.where(triplets.valid, 0).sum() / triplets.valid.sum().clamp(min=1)
