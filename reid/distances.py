"""Distances between two sets of embeddings, some rows at a time, in full float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reid.embeddings import Embeddings

Metric = Literal["euclidean", "cosine"]
NUM_FOR_CENTRE = 1024
"""Embeddings, spread evenly over the gallery, that its centre is found from."""


def squared_distances(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric,
    max_memory_mib: int,
    device: torch.device | str,
    bytes_each: int = 4,
) -> Iterator[tuple[int, Tensor]]:
    """(first row, (B, G) float32 squared Euclidean distances of B queries to the whole gallery) until all had their turn.

    For "cosine" the embeddings are divided by their norms first, which makes it twice the cosine distance. B is as large
    as max_memory_mib allows, at `bytes_each` for every distance with what the caller makes of it, and at least 1. The
    tensor may be written to and holds until the next is asked for.

    One matrix product gives all: (-2 q, |q|^2, 1) . (g, 1, |g|^2). What large common parts of q and g would cancel is
    taken out of both before it, and neither autocast nor TF32 nor bf16 applies to it. Of embeddings that are small whole
    numbers the Euclidean distances are exact; otherwise the last bits may depend on B. Values may lie slightly below 0.

    Raises ValueError if the two have different dimensions, or for an embedding of norm 0 under "cosine".
    """
    check_dimensions(query, gallery)
    left, right = (_with_two_more_columns(part, metric, device) for part in (query, gallery))
    # An element for each dimension, not a mean: whole numbers stay whole.
    centre = right[:: -(-len(right) // NUM_FOR_CENTRE), :-2].median(dim=0).values
    for part in (left, right):
        vectors = part[:, :-2].sub_(centre)
        part[:, -2], part[:, -1] = 1, vectors.square().sum(dim=1)
    left[:, :-2] *= -2
    left[:, -2:] = left[:, -2:].flip(1)
    num_rows = min(len(left), max(1, (max_memory_mib << 20) // (bytes_each * len(right))))
    block = torch.empty((num_rows, len(right)), device=device)
    for start in range(0, len(left), num_rows):
        rows = left[start : start + num_rows]
        _multiply(rows, right, block[: len(rows)])
        yield start, block[: len(rows)]


def _multiply(rows: Tensor, others: Tensor, out: Tensor) -> None:
    """rows (B, K), others (G, K) -> out (B, G) float32, their products."""
    if out.device.type == "cpu":
        # numpy's library takes half the time of the one torch has, on the processors that this was measured on.
        np.matmul(rows.numpy(), others.numpy().T, out=out.numpy())
        return
    with full_precision():
        torch.mm(rows, others.T, out=out)  # with `out`, autocast leaves it alone


def check_dimensions(query: Embeddings, gallery: Embeddings) -> None:
    """Raises ValueError if they cannot be compared."""
    if query.vectors.shape[1] != gallery.vectors.shape[1]:
        raise ValueError(
            f"query and gallery must come from one model, got {query.vectors.shape[1]} dimensions and "
            f"{gallery.vectors.shape[1]}"
        )


def nearest_columns(block: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """block (B, G) float32, without -0.0 and with no two different values below 0 -> the `num` smallest of each row,
    ascending, and their columns: (B, num) float32, (B, num) int64. Equal ones come in the order of their columns.

    Takes 20 bytes for each distance.
    """
    columns = torch.arange(block.shape[1], device=block.device)
    # The bits of a float32 >= 0, read as an integer, are in the order of its value.
    keys = (block.view(torch.int32).long() << 32) | columns
    keys = keys.topk(num, dim=1, largest=False, sorted=True).values
    return (keys >> 32).int().view(torch.float32), keys & 0xFFFFFFFF


def true_distance(squared: Tensor, metric: Metric) -> Tensor:
    """What users call the distance, of squared ones: the Euclidean, or 1 - cosine. In place; >= 0, and 0 is +0."""
    squared.clamp_(min=0).add_(0.0)
    return squared.sqrt_() if metric == "euclidean" else squared.div_(2)


def _with_two_more_columns(embeddings: Embeddings, metric: Metric, device: torch.device | str) -> Tensor:
    """(N, D + 2): a copy of the embeddings, divided by their norms for "cosine", and room for two numbers each."""
    num, dimensions = embeddings.vectors.shape
    extended = torch.empty((num, dimensions + 2), device=device)
    vectors = extended[:, :-2]
    vectors.copy_(torch.from_numpy(embeddings.vectors))
    if metric == "cosine":
        norms = vectors.norm(dim=1, keepdim=True)
        if not norms.all():
            row = int(norms[:, 0].argmin())
            raise ValueError(
                f"an embedding of zeros has no cosine distance, got {str(embeddings.keys[row])!r} (row {row})"
            )
        vectors /= norms
    return extended


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 products are float32 here, whatever training asked for."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
