"""Where the matches of a query stand, by counting what is nearer: nothing is sorted but the few matches."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.embeddings import UNKNOWN_CAMERA, Embeddings
from reid.kernel import kernel, share_out


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """M pairs of a query and a gallery image of its identity, by query, then by gallery image."""

    rows: np.ndarray
    """(M,) int64: the query."""
    columns: np.ndarray
    """(M,) int64: the gallery image."""

    def of(self, start: int, stop: int) -> "Pairs":
        """Those of the queries start..stop, as views; rows still count from 0."""
        first, last = np.searchsorted(self.rows, (start, stop))
        return Pairs(rows=self.rows[first:last], columns=self.columns[first:last])


def same_identity(query: Embeddings, gallery: Embeddings) -> tuple[Pairs, Pairs]:
    """Pairs of one identity: matches, and those of one known camera too, which are left out of the query's ranking.

    The gallery must be without junk, so that queries of no identity are in no pair.
    """
    order = np.argsort(gallery.identities, kind="stable")
    ordered = gallery.identities[order]
    start = np.searchsorted(ordered, query.identities, side="left")
    num = np.searchsorted(ordered, query.identities, side="right") - start
    rows = np.repeat(np.arange(len(query)), num)
    first = np.cumsum(num) - num
    columns = order[np.arange(len(rows)) + np.repeat(start - first, num)]
    cameras = query.camera_ids[rows]
    left_out = (cameras == gallery.camera_ids[columns]) & (cameras != UNKNOWN_CAMERA)
    matches, removed = (Pairs(rows=rows[chosen], columns=columns[chosen]) for chosen in (~left_out, left_out))
    return matches, removed


def hide(block: Tensor, start: int, removed: Pairs) -> None:
    """Set the distances of `removed` to infinity in a block whose first row is query `start`."""
    pairs = removed.of(start, start + len(block))
    rows, columns = (torch.from_numpy(part).to(block.device) for part in (pairs.rows - start, pairs.columns))
    block[rows, columns] = torch.inf


def ranks_of(block: Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """block (B, G) float32; rows, columns (M,) int64 of finite distances in it -> (M,) int64: how many distances of the
    same row come before: those that are smaller, and equal ones of earlier columns."""
    if block.device.type == "cpu":
        ranks = np.empty(len(rows), dtype=np.int64)
        values = block.numpy()
        share_out(lambda start, stop: _count(values, rows, columns, ranks, start, stop), len(rows))
        return ranks
    return count_with_torch(block, rows, columns)


# A row stays in the cache while its matches are counted, eight or sixteen comparisons at a time: cheaper than sorting it
# for as many as some hundred matches.
@kernel
def _count(block, rows, columns, ranks, start, stop):
    num_columns = block.shape[1]
    for i in range(start, stop):
        row, column = rows[i], columns[i]
        value = block[row, column]
        # 32 bits wide as the distances are, so that as many are counted at once.
        num = np.int32(0)
        for j in range(column):
            num = np.int32(num + np.int32(block[row, j] <= value))
        for j in range(column + 1, num_columns):
            num = np.int32(num + np.int32(block[row, j] < value))
        ranks[i] = num


def count_with_torch(block: Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What `ranks_of` gives, where the block lies; takes about as much memory as the block."""
    num_columns = block.shape[1]
    numbers = torch.arange(num_columns, device=block.device)
    ranks = []
    for start in range(0, len(rows), max(1, len(block) // 2)):
        part = slice(start, start + max(1, len(block) // 2))
        row, column = (torch.from_numpy(index[part]).to(block.device) for index in (rows, columns))
        distances, column = block[row], column[:, None]
        value = distances.gather(1, column)
        before = distances < value
        before |= (distances == value) & (numbers < column)
        ranks.append(before.sum(dim=1))
    return torch.cat(ranks).cpu().numpy() if ranks else np.empty(0, dtype=np.int64)
