"""Re-ranking with sparse rows against the paper's sets, one by one, and against what an established toolbox gives."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from reid.embeddings import Embeddings, read_retrieval
from reid.ranking import rank_distances
from reid.rerank import rerank

ORACLES = Path(__file__).parent / "oracles"


def make(vectors: np.ndarray) -> Embeddings:
    num = len(vectors)
    return Embeddings(
        vectors=np.asarray(vectors, dtype=np.float32),
        identities=np.arange(num),
        camera_ids=np.arange(num),
        keys=np.array([f"image {i}" for i in range(num)]),
    )


def random_pair(num_queries: int, num_gallery: int, *, seed: int = 0, dimensions: int = 4) -> list[Embeddings]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((7, dimensions))
    return [
        make(centres[rng.integers(0, 7, num)] * 2 + rng.standard_normal((num, dimensions)))
        for num in (num_queries, num_gallery)
    ]


def slow_rerank(query: Embeddings, gallery: Embeddings, k1: int, k2: int, lambda_: float, metric: str) -> np.ndarray:
    """Sets and dictionaries, as the paper defines them."""
    vectors = np.concatenate((query.vectors, gallery.vectors)).astype(float)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    images = range(len(vectors))
    squared = np.square(vectors[:, None] - vectors[None]).sum(-1)
    original = (squared / squared.max(axis=1, keepdims=True)) ** 2
    order = [[i, *sorted({*images} - {i}, key=lambda j: (np.float32(squared[i, j]), j))] for i in images]

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encodings = []
    for i in images:
        members = reciprocal(i, k1)
        for j in reciprocal(i, k1):
            theirs = reciprocal(j, round(k1 / 2))
            if len(theirs & reciprocal(i, k1)) > 2 / 3 * len(theirs) + 1e-9:
                members = members | theirs
        total = sum(math.exp(-original[i, j]) for j in members)
        encodings.append({j: math.exp(-original[i, j]) / total for j in members})
    spread = [[sum(encodings[j].get(k, 0) for j in order[i][:k2]) / k2 for k in images] for i in images]
    result = np.empty((len(query), len(gallery)))
    for i in range(len(query)):
        for j in range(len(gallery)):
            there = len(query) + j
            pairs = list(zip(spread[i], spread[there], strict=True))
            jaccard = 1 - sum(map(min, pairs)) / sum(map(max, pairs))
            result[i, j] = (1 - lambda_) * jaccard + lambda_ * original[i, there]
    return result


@pytest.mark.parametrize("name", ["a", "b"])
def test_distances_and_scores_are_those_of_an_established_toolbox(name: str):
    query, gallery = read_retrieval(ORACLES / f"retrieval_{name}.npz")
    with np.load(ORACLES / f"retrieval_{name}.npz") as file:
        expected = dict(file)
    distance = rerank(query, gallery)
    assert distance.dtype == np.float32
    np.testing.assert_allclose(distance, expected["reranked_distance"], atol=2e-6)
    scores = rank_distances(distance, query, gallery)
    np.testing.assert_allclose(scores.cmc, expected["reranked_cmc"], atol=1e-6)
    assert scores.mean_ap == pytest.approx(float(expected["reranked_mean_ap"]), abs=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("k1", "k2", "lambda_"),
    [(20, 6, 0.3), (7, 3, 0.0), (5, 1, 0.5), (1, 1, 0.3), (2, 3, 0.9), (59, 6, 0.1), (9, 4, 1.0)],
)
def test_distances_equal_sets(k1: int, k2: int, lambda_: float, metric: str):
    query, gallery = random_pair(13, 47, seed=k1)
    expected = slow_rerank(query, gallery, k1, k2, lambda_, metric)
    found = rerank(query, gallery, k1=k1, k2=k2, lambda_=lambda_, metric=metric)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_picture_many_times():
    """More of them than neighbours are looked at: each is still its own nearest."""
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 5, (40, 3))
    vectors[5:25] = vectors[5]
    query, gallery = make(vectors[:10]), make(vectors[10:])
    expected = slow_rerank(query, gallery, 6, 3, 0.3, "euclidean")
    np.testing.assert_allclose(rerank(query, gallery, k1=6, k2=3), expected, atol=1e-5)
    alike = make(np.ones((12, 3)))
    assert np.isfinite(rerank(alike, alike, k1=6, k2=3)).all()


def test_the_size_of_blocks_makes_no_difference():
    rng = np.random.default_rng(0)
    query, gallery = (make(rng.integers(-9, 10, (num, 5))) for num in (60, 240))
    assert 300 * 300 * 24 > 2**20  # more than one block
    few, many = (rerank(query, gallery, max_memory_mib=memory) for memory in (1, 512))
    np.testing.assert_array_equal(few, many)


def test_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    query, gallery = random_pair(60, 240)
    found = []
    for num in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda num=num: num)
        found.append(rerank(query, gallery))
    np.testing.assert_array_equal(*found)


def test_a_large_common_part_makes_no_difference():
    query, gallery = random_pair(20, 60)
    rounded = [np.round(one.vectors * 64) / 64 for one in (query, gallery)]  # so that adding loses nothing
    plain, far = (rerank(*(make(vectors + offset) for vectors in rounded)) for offset in (0, 1000))
    np.testing.assert_allclose(plain, far, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"k1": 30}, r"k1 in 1..29, as there are 30 images, .* got k1 30 and k2 6"),
        ({"k1": 0}, "got k1 0"),
        ({"k1": 4, "k2": 6}, r"k2 in 1..k1 \+ 1, got k1 4 and k2 6"),
        ({"k2": 0}, "k2 0"),
        ({"lambda_": 1.5}, "lambda_ must lie in 0..1, got 1.5"),
        ({"lambda_": math.nan}, "lambda_ must lie in 0..1, got nan"),
    ],
)
def test_what_cannot_be_reranked_is_said(values: dict, words: str):
    query, gallery = random_pair(10, 20)
    with pytest.raises(ValueError, match=words):
        rerank(query, gallery, **values)
    with pytest.raises(ValueError, match="got 4 dimensions and 5"):
        rerank(query, random_pair(10, 20, dimensions=5)[1])
