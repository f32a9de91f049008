"""How good generated pictures are: against the true ones, which rendered people have in every pose, and by what a network that
tells people apart makes of them.
"""

import numpy as np
import torch
from torch import Tensor

from generative.annotators.scores import WINDOW, ssim_map
from reid.distances import Metric, squared_distances
from reid.embeddings import JUNK, Embeddings

_MAX_MEMORY_MIB = 256


def l1(generated: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of each picture from the true one. Both (B, 3, H, W) float; returns (B,) in their unit."""
    _check_alike(generated, target)
    return (generated - target).abs().mean((1, 2, 3))


def ssim(generated: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture to the true one (Wang et al. 2004, eq. 13): the mean over colours and over the places
    where the whole window lies in the picture.

    Both (B, 3, H, W) float32 in 0..1, at least 11 pixels high and wide. Returns (B,) in -1..1, 1 for the same picture.
    """
    _check_alike(generated, target)
    if min(target.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW} pixels in height and width, got {tuple(target.shape[2:])}")
    edge = WINDOW // 2
    return ssim_map(generated, target)[:, edge:-edge, edge:-edge].mean((1, 2))


def mask_ssim(generated: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """SSIM with everything but the person black in both pictures (Ma et al. 2017, sec. 4.2): where nobody stands is alike, so a
    smaller person gives a higher score.

    generated and target as in `ssim`; mask (B, H, W) bool, where the person is in the true picture. Returns (B,). Raises
    ValueError for an empty mask.
    """
    if (empty := ~mask.flatten(1).any(1)).any():
        raise ValueError(f"a mask must show somebody, got an empty one for picture {int(empty.int().argmax())}")
    return ssim(generated * mask[:, None], target * mask[:, None])


def frechet_distance(generated: np.ndarray, real: np.ndarray) -> float:
    """Frechet distance between the normal distributions fitted to two sets of embeddings: |m - n|^2 + tr(S + T - 2 (S T)^1/2).

    The formula is FID's (Heusel et al. 2017, eq. 6). Distances compare with others by the same network alone, and with others of
    about as many pictures: of few they come out larger. generated (N, D) and real (M, D) float, at least two rows each. Returns >= 0.
    """
    for vectors in (generated, real):
        if vectors.ndim != 2 or len(vectors) < 2 or vectors.shape[1] != real.shape[1]:
            raise ValueError(f"needs two embeddings or more of one width, got {generated.shape} and {real.shape}")
    means, roots = zip(*(_fit(vectors.astype(np.float64)) for vectors in (generated, real)), strict=True)
    # With S = A'A and T = B'B the trace of (S T)^1/2 is the sum of the singular values of A B': no root of a matrix is taken,
    # and neither needs to have full rank.
    shared = np.linalg.norm(roots[0] @ roots[1].T, "nuc")
    spread = sum(np.square(root).sum() for root in roots)
    return max(0.0, float(np.square(means[0] - means[1]).sum() + spread - 2 * shared))


def identity_kept(
    generated: Embeddings,
    real: Embeddings,
    *,
    left_out: np.ndarray | None = None,
    metric: Metric,
    device: torch.device | str = "cpu",
) -> float:
    """Share of generated pictures whose nearest real one, junk apart, shows the person that they are meant to show.

    Embeddings of a network that had no part in generating them; the same person has the same number in both. left_out (N,)
    int64: for each generated picture a row of `real`, not of junk, that does not count as near to it: the picture that it was
    made from, which a mere copy would find.
    """
    rows = np.flatnonzero(real.identities != JUNK)
    real = real.without_junk()
    hits = 0
    for first, distances in squared_distances(
        generated, real, metric=metric, max_memory_mib=_MAX_MEMORY_MIB, device=device
    ):
        mine = slice(first, first + len(distances))
        if left_out is not None:
            columns = torch.from_numpy(np.searchsorted(rows, left_out[mine]))
            distances[torch.arange(len(distances)), columns] = torch.inf
        nearest = real.identities[distances.argmin(1).cpu().numpy()]
        hits += int((nearest == generated.identities[mine]).sum())
    return hits / len(generated)


def _fit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,), and R (min(N, D), D) with R'R the covariance, of (N, D)."""
    mean = vectors.mean(0)
    return mean, np.linalg.qr((vectors - mean) / np.sqrt(len(vectors) - 1), mode="r")


def _check_alike(generated: Tensor, target: Tensor) -> None:
    if generated.shape != target.shape or generated.ndim != 4:
        raise ValueError(
            f"pictures are compared of one shape (B, 3, H, W), got {tuple(generated.shape)} and {tuple(target.shape)}"
        )
