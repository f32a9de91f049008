"""The part of `bench_reid.py` on scoring: a gallery of Market-1501's size, and re-ranking, beside straightforward numpy.

Embeddings are random, 2048 numbers each, clustered by identity: 3,368 queries and 15,913 gallery images of 750 identities
and distractors, six cameras; for re-ranking 1,000 and 5,000. The peers are those that many evaluation codes hold: sort
the whole row of every query and look where matches stand; and the matrices of Zhong et al. (CVPR 2017), whole. They
compute their distances with one matrix product in float32 and have as many threads. All take turns in every round.
"""

import time
from collections.abc import Callable

import numpy as np
from bench_figures import Figure, peak_bytes

from reid.embeddings import Embeddings
from reid.ranking import rank, rank_distances
from reid.rerank import rerank


def ranking(num_query: int, num_gallery: int, dimensions: int, *, rounds: int) -> list[Figure]:
    """Scores of embeddings, and of distances."""
    query, gallery = make_sets(num_query, num_gallery, dimensions)
    distance = plain_distances(query, gallery)
    expected = rank_by_sorting(distance, query, gallery)
    # Among so many, some distances are equal in float32 and sorted in any order by the peer.
    assert abs(rank_distances(distance, query, gallery).mean_ap - expected) < 1e-4
    assert abs(rank(query, gallery).mean_ap - expected) < 1e-4
    extra_bytes = peak_bytes(lambda: rank(query, gallery))
    times = in_turns(
        {
            "whole": lambda: rank(query, gallery),
            "ranking": lambda: rank_distances(distance, query, gallery),
            "peer product": lambda: plain_distances(query, gallery),
            "peer ranking": lambda: rank_by_sorting(distance, query, gallery),
        },
        rounds,
    )
    peer = [a + b for a, b in zip(times["peer product"], times["peer ranking"], strict=True)]
    return [
        Figure.of("scoring, matrix product and all", "s", times["whole"], target=3.5, more_is_better=False),
        Figure.of("  memory beyond the embeddings", "GB", [extra_bytes / 1e9], target=1.2, more_is_better=False),
        Figure.of("  ranking given distances", "s", times["ranking"], target=0.8, more_is_better=False),
        Figure.of("peer: numpy, sorting", "s", peer, more_is_better=False),
        Figure.of("  ranking given distances", "s", times["peer ranking"], more_is_better=False),
        Figure.of("scoring over numpy's", "x", ratios(peer, times["whole"])),
        Figure.of("ranking over numpy's", "x", ratios(times["peer ranking"], times["ranking"])),
    ]


def reranking(num_query: int, num_gallery: int, dimensions: int, *, rounds: int) -> list[Figure]:
    """k-reciprocal re-ranking, distances and all."""
    query, gallery = make_sets(num_query, num_gallery, dimensions)
    # Rounding decides which of two nearly equal neighbours is the twentieth, and with it a few distances.
    other = np.abs(rerank(query, gallery) - rerank_with_matrices(query, gallery)) > 1e-4
    assert other.mean() < 1e-4, other.mean()
    extra_bytes = peak_bytes(lambda: rerank(query, gallery))
    ways = {"own": lambda: rerank(query, gallery), "peer": lambda: rerank_with_matrices(query, gallery)}
    times = in_turns(ways, rounds)
    return [
        Figure.of("re-ranking, matrix product and all", "s", times["own"], more_is_better=False),
        Figure.of("  memory beyond the embeddings", "GB", [extra_bytes / 1e9], more_is_better=False),
        Figure.of("peer: numpy, whole matrices", "s", times["peer"], more_is_better=False),
        Figure.of("re-ranking over numpy's", "x", ratios(times["peer"], times["own"]), target=3),
    ]


def make_sets(num_queries: int, num_gallery: int, dimensions: int) -> tuple[Embeddings, Embeddings]:
    """Query and gallery; a sixth of the gallery are distractors."""
    rng = np.random.default_rng(0)
    num_identities = max(2, num_gallery // 21)
    centres = rng.standard_normal((2 * num_identities, dimensions), dtype=np.float32)
    sets = []
    for num, num_people in ((num_queries, num_identities), (num_gallery, num_identities * 6 // 5)):
        identities = rng.integers(0, num_people, num)
        vectors = rng.standard_normal((num, dimensions), dtype=np.float32)
        vectors *= 3
        for row, identity in enumerate(identities):
            vectors[row] += centres[identity]
        keys = np.array([f"{row:06d}" for row in range(num)])
        cameras = rng.integers(0, 6, num)
        sets.append(Embeddings(vectors=vectors, identities=identities, camera_ids=cameras, keys=keys))
    return sets[0], sets[1]


def plain_distances(query: Embeddings, gallery: Embeddings) -> np.ndarray:
    norms = [np.square(one.vectors).sum(axis=1) for one in (query, gallery)]
    return norms[0][:, None] + norms[1][None] - 2 * (query.vectors @ gallery.vectors.T)


def rank_by_sorting(distance: np.ndarray, query: Embeddings, gallery: Embeddings) -> float:
    """Mean AP; CMC is a by-product."""
    order = np.argsort(distance, axis=1)
    right = gallery.identities[order] == query.identities[:, None]
    precisions, cmc = [], np.zeros(20)
    for i in range(len(query)):
        keep = ~(right[i] & (gallery.camera_ids[order[i]] == query.camera_ids[i]))
        hits = right[i][keep]
        if not hits.any():
            continue
        num_hits = hits.cumsum()
        cmc += (num_hits > 0)[:20]
        precisions.append(((num_hits / np.arange(1, len(hits) + 1)) * hits).sum() / hits.sum())
    return float(np.mean(precisions))


def rerank_with_matrices(query: Embeddings, gallery: Embeddings) -> np.ndarray:
    """As Zhong et al. have it, with k1 20, k2 6, lambda 0.3: (Q, G)."""
    both = [np.concatenate((getattr(query, name), getattr(gallery, name))) for name in ("vectors", "identities")]
    images = Embeddings(vectors=both[0], identities=both[1], camera_ids=both[1], keys=both[1].astype(str))
    distance = np.square(plain_distances(images, images))
    distance = (distance / distance.max(axis=0)).T
    order = np.argsort(distance, axis=1)
    encoding = np.zeros_like(distance)
    for i in range(len(images)):
        neighbours = reciprocal(order, i, 20)
        members = neighbours
        for candidate in neighbours:
            theirs = reciprocal(order, candidate, 10)
            if len(np.intersect1d(theirs, neighbours)) > 2 / 3 * len(theirs):
                members = np.append(members, theirs)
        members = np.unique(members)
        weights = np.exp(-distance[i, members])
        encoding[i, members] = weights / weights.sum()
    encoding = np.stack([encoding[order[i, :6]].mean(axis=0) for i in range(len(images))])
    knowing = [np.flatnonzero(column) for column in encoding.T]
    jaccard = np.zeros((len(query), len(images)), dtype=np.float32)
    for i in range(len(query)):
        shared = np.zeros(len(images), dtype=np.float32)
        for image in np.flatnonzero(encoding[i]):
            shared[knowing[image]] += np.minimum(encoding[i, image], encoding[knowing[image], image])
        jaccard[i] = 1 - shared / (2 - shared)
    return (0.7 * jaccard + 0.3 * distance[: len(query)])[:, len(query) :]


def reciprocal(order: np.ndarray, image: int, k: int) -> np.ndarray:
    neighbours = order[image, : k + 1]
    return neighbours[(order[neighbours, : k + 1] == image).any(axis=1)]


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round; all have been called before."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return times


def ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [a / b for a, b in zip(theirs, ours, strict=True)]
