"""How well a gallery is ranked: CMC, mean AP and mean INP, multi-shot as for Market-1501 or single-shot as for CUHK03."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid.counting import Pairs, hide, ranks_of, same_identity
from reid.distances import Metric, nearest_columns, squared_distances, true_distance
from reid.embeddings import JUNK, UNKNOWN_CAMERA, Embeddings, merge_queries

NUM_RANKS = 20
"""Of the cumulative matching characteristic."""
Device = torch.device | str
Blocks = Iterable[tuple[int, Tensor]]
"""(first query, (B, G) float32 distances that may be written to)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingConfig:
    """What is compared with what, and how."""

    metric: Metric = "euclidean"
    """Distance of two embeddings as they are, or 1 - cosine."""
    protocol: Literal["market", "cuhk03"] = "market"
    """Which gallery a query's match is looked for in: the whole, or one image of each identity (single shot, N = 1: the first
    protocol of CUHK03, and that of Partial-REID)."""
    multi_query: bool = False
    """Make one query of all images of an identity and camera, by the mean of their embeddings."""
    repeats: int = 10
    """cuhk03: galleries drawn, over which the CMC is averaged."""
    seed: int = 0
    """cuhk03: of the drawing."""
    max_memory_mib: int = 512
    """For distances that are held at once; embeddings come on top, once more."""

    def __post_init__(self) -> None:
        if self.metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric must be euclidean or cosine, got {self.metric!r}")
        if self.protocol not in ("market", "cuhk03"):
            raise ValueError(f"protocol must be market or cuhk03, got {self.protocol!r}")
        if self.repeats < 1 or self.seed < 0 or self.max_memory_mib < 1:
            raise ValueError(
                f"needs repeats >= 1, seed >= 0 and max_memory_mib >= 1, got {self.repeats}, {self.seed} and "
                f"{self.max_memory_mib}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """Of Q queries; means are over those that have a match, in 0..1, where 1 is best."""

    cmc: tuple[float, ...]
    """(NUM_RANKS,) share of queries whose first match stands at rank 1, 2, ... or before; stays where the gallery ends."""
    mean_ap: float
    """Mean over queries of the mean, over their matches, of the precision at that match."""
    mean_inp: float
    """Mean over queries of number of matches / rank of the last one (Ye et al. 2021, eq. 4)."""
    num_queries: int
    """All that have an identity, those without a match too."""
    num_queries_without_match: int
    """Counted here, and nowhere else."""
    average_precision: np.ndarray
    """(Q,) float64, nan without match."""
    inverse_negative_penalty: np.ndarray
    """(Q,) float64, nan without match."""
    first_match_rank: np.ndarray
    """(Q,) int64 from 0, in the whole gallery; -1 without match."""

    def to_dict(self) -> dict[str, Any]:
        """What is not per query, for JSON."""
        return {
            "cmc": list(self.cmc),
            "mean_ap": self.mean_ap,
            "mean_inp": self.mean_inp,
            "num_queries": self.num_queries,
            "num_queries_without_match": self.num_queries_without_match,
        }


class PairScores(NamedTuple):
    """Of the queries of one camera in the gallery of another."""

    rank1: float
    mean_ap: float
    num_queries: int
    """Those that have a match there."""


def rank(
    query: Embeddings, gallery: Embeddings, config: RankingConfig | None = None, *, device: Device = "cpu"
) -> Scores:
    """Score embeddings.

    For each query, gallery images of its identity and camera are left out (an unknown camera is nobody's), and so is junk;
    distractors stay. The rest is ranked by distance, images at the same float32 squared distance in the order of the
    gallery. Under "cuhk03" the CMC is that of the same ranking among one image of each identity, drawn at random from
    those that are not left out, mean of `repeats` drawings; AP and INP, and the first match, are still of the whole
    gallery, as evaluation codes for that protocol have it. Queries that are junk are not scored. With `multi_query` the
    arrays per query are those of `merge_queries(query)`.

    Raises ValueError if no query has a match, if the dimensions differ, or for an embedding of zeros under "cosine".
    """
    config = config or RankingConfig()
    if config.multi_query:
        query = merge_queries(query)
    gallery = gallery.without_junk()
    blocks = squared_distances(
        query, gallery, metric=config.metric, max_memory_mib=config.max_memory_mib, device=device
    )
    return _score(blocks, query, gallery, config)


def rank_distances(
    distance: np.ndarray, query: Embeddings, gallery: Embeddings, config: RankingConfig | None = None
) -> Scores:
    """Score distance (Q, G) float32, which may come from anywhere; otherwise as `rank`, on the CPU.

    Raises ValueError if it is of another shape or type or not finite, if no query has a match, and for `multi_query`:
    queries are merged before distances are computed.
    """
    config = config or RankingConfig()
    if config.multi_query:
        raise ValueError("distances are ranked as they are, got multi_query: compute those of merge_queries(query)")
    if distance.shape != (len(query), len(gallery)) or distance.dtype != np.float32:
        raise ValueError(
            f"distance must be ({len(query)}, {len(gallery)}) float32, queries by gallery, got {distance.shape} "
            f"{distance.dtype}"
        )
    finite = np.array([np.isfinite(row).all() for row in distance])
    if not finite.all():
        raise ValueError(f"distances must be finite, got NaN or infinity in row {int(np.argmin(finite))}")
    known = np.flatnonzero(gallery.identities != JUNK)
    num_rows = max(1, (config.max_memory_mib << 20) // (4 * len(gallery)))
    starts = range(0, len(query), num_rows)
    # `take` copies, row by row in memory.
    blocks = ((start, torch.from_numpy(distance[start : start + num_rows].take(known, axis=1))) for start in starts)
    return _score(blocks, query, gallery.without_junk(), config)


def _score(blocks: Blocks, query: Embeddings, gallery: Embeddings, config: RankingConfig) -> Scores:
    """Scores by distances to a gallery without junk."""
    matches, removed = same_identity(query, gallery)
    num = np.bincount(matches.rows, minlength=len(query))
    has_match = num > 0
    if not has_match.any():
        raise ValueError(
            "at least one query must have a gallery image of its identity from another camera, got none: are identities "
            "and cameras of both numbered alike?"
        )
    shots = SingleShots(matches, gallery, query, config) if config.protocol == "cuhk03" else None
    ranks, shot_ranks = [], []
    for start, block in blocks:
        hide(block, start, removed)
        here = matches.of(start, start + len(block))
        ranks.append(ranks_of(block, here.rows - start, here.columns))
        if shots is not None:
            shot_ranks.append(shots.ranks(start, block))
    ranks = np.concatenate(ranks)
    ranks = ranks[np.lexsort((ranks, matches.rows))]
    first = (np.cumsum(num) - num)[has_match]
    place = np.arange(len(ranks)) - np.repeat(first, num[has_match])
    precision, inp = np.full((2, len(query)), np.nan)
    precision[has_match] = np.add.reduceat((place + 1) / (ranks + 1), first) / num[has_match]
    inp[has_match] = num[has_match] / (ranks[first + num[has_match] - 1] + 1)
    first_match_rank = np.full(len(query), -1)
    first_match_rank[has_match] = ranks[first]
    cmc_ranks = ranks[first] if shots is None else np.concatenate(shot_ranks)[has_match]
    return Scores(
        cmc=tuple(float(np.mean(cmc_ranks <= k)) for k in range(NUM_RANKS)),
        mean_ap=float(precision[has_match].mean()),
        mean_inp=float(inp[has_match].mean()),
        num_queries=int((query.identities != JUNK).sum()),
        num_queries_without_match=int(((query.identities != JUNK) & ~has_match).sum()),
        average_precision=precision,
        inverse_negative_penalty=inp,
        first_match_rank=first_match_rank,
    )


class SingleShots:
    """Galleries of one image of each identity: R drawings. A query's own identity is drawn for it among its matches."""

    def __init__(self, matches: Pairs, gallery: Embeddings, query: Embeddings, config: RankingConfig):
        rng = np.random.default_rng(config.seed)
        identities, first, num = np.unique(np.sort(gallery.identities), return_index=True, return_counts=True)
        drawn = first + (rng.random((config.repeats, len(identities))) * num).astype(np.int64)
        self.gallery = torch.from_numpy(np.argsort(gallery.identities, kind="stable")[drawn])
        """(R, I) int64: the image of every identity."""
        num = np.bincount(matches.rows, minlength=len(query))
        drawn = np.cumsum(num) - num + (rng.random((config.repeats, len(query))) * num).astype(np.int64)
        self.match = torch.from_numpy(np.append(matches.columns, 0)[np.where(num > 0, drawn, -1)])
        """(R, Q) int64: the match; 0 for a query that has none."""
        own = np.searchsorted(identities, query.identities).clip(max=len(identities) - 1)
        self.own = torch.from_numpy(own)
        """(Q,) int64: which of the I is the query's own; any for a query without match."""

    def ranks(self, start: int, block: Tensor) -> np.ndarray:
        """block (B, G) -> (B, R) int64: how many of the drawn come before the match; nothing useful without match."""
        own = self.own[start : start + len(block), None].to(block.device)
        ranks = []
        for columns, match in zip(self.gallery.to(block.device), self.match.to(block.device), strict=True):
            match = match[start : start + len(block), None]
            value, distances = block.gather(1, match), block[:, columns].scatter_(1, own, torch.inf)
            ranks.append(((distances < value) | ((distances == value) & (columns < match))).sum(dim=1))
        return torch.stack(ranks, dim=1).cpu().numpy()


def nearest(
    query: Embeddings,
    gallery: Embeddings,
    num: int,
    config: RankingConfig | None = None,
    *,
    device: Device = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """The first `num` of each query's ranking: indices (Q, num) int64 into the gallery and distances (Q, num) float32.

    Junk and images of the query's identity and camera are left out; where fewer are left, -1 and infinity. Queries need
    no identity. Of `config`, metric and max_memory_mib count. Raises ValueError as `squared_distances` does, and for num
    < 1.
    """
    config = config or RankingConfig()
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    known, gallery = np.flatnonzero(gallery.identities != JUNK), gallery.without_junk()
    indices, distances = np.full((len(query), num), -1), np.full((len(query), num), np.inf, dtype=np.float32)
    _, removed = same_identity(query, gallery)
    for start, block in _true_distances(query, gallery, config, device, bytes_each=24):
        hide(block, start, removed)
        values, columns = (part.cpu().numpy() for part in nearest_columns(block, min(num, len(gallery))))
        rows = slice(start, start + len(block))
        distances[rows, : values.shape[1]] = values
        indices[rows, : values.shape[1]] = np.where(np.isinf(values), -1, known[columns])
    return indices, distances


def distance_histograms(
    query: Embeddings,
    gallery: Embeddings,
    num_bins: int,
    config: RankingConfig | None = None,
    *,
    device: Device = "cpu",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far matches and other people are: edges (num_bins + 1,) float64 from 0 to the largest distance, counts (num_bins,)
    int64 of matches, and of pairs of different identities. Junk, and pairs of one identity and camera, are in neither.

    Of `config`, metric and max_memory_mib count. Raises ValueError as `squared_distances` does, and for num_bins < 1.
    """
    config = config or RankingConfig()
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    query, gallery = query.without_junk(), gallery.without_junk()
    pairs = same_identity(query, gallery)
    largest = max(float(block.max()) for _, block in _true_distances(query, gallery, config, device)) or 1.0
    everything, matches, removed = np.zeros((3, num_bins), dtype=np.int64)
    for start, block in _true_distances(query, gallery, config, device, bytes_each=16):
        bins = (block * (num_bins / largest)).int().clamp_(max=num_bins - 1)
        everything += bins.view(-1).bincount(minlength=num_bins).cpu().numpy()
        for counts, chosen in zip((matches, removed), pairs, strict=True):
            here = chosen.of(start, start + len(block))
            rows, columns = (torch.from_numpy(part).to(bins.device) for part in (here.rows - start, here.columns))
            counts += bins[rows, columns].bincount(minlength=num_bins).cpu().numpy()
    return np.linspace(0, largest, num_bins + 1), matches, everything - matches - removed


def _true_distances(
    query: Embeddings, gallery: Embeddings, config: RankingConfig, device: Device, *, bytes_each: int = 4
) -> Iterator[tuple[int, Tensor]]:
    memory = config.max_memory_mib
    blocks = squared_distances(
        query, gallery, metric=config.metric, max_memory_mib=memory, device=device, bytes_each=bytes_each
    )
    return ((start, true_distance(block, config.metric)) for start, block in blocks)


def scores_by_camera_pair(
    query: Embeddings, gallery: Embeddings, config: RankingConfig | None = None, *, device: Device = "cpu"
) -> dict[tuple[int, int], PairScores]:
    """(query camera, gallery camera) -> scores of that camera's queries when the gallery is that camera's images alone.

    Only pairs of two known cameras in which a query has a match are there. Raises ValueError as `rank` does.
    """
    scores = {}
    for query_camera in np.unique(query.camera_ids[query.camera_ids != UNKNOWN_CAMERA]):
        own = query.take(query.camera_ids == query_camera)
        for camera in np.unique(gallery.camera_ids[gallery.camera_ids != UNKNOWN_CAMERA]):
            there = (gallery.camera_ids == camera) & (gallery.identities != JUNK)
            if camera == query_camera or not np.isin(own.identities, gallery.identities[there]).any():
                continue
            found = rank(own, gallery.take(there), config, device=device)
            num = found.num_queries - found.num_queries_without_match
            scores[int(query_camera), int(camera)] = PairScores(found.cmc[0], found.mean_ap, num)
    return scores
