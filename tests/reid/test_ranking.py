"""Ranking by counting against loops that sort, and against what an established toolbox gives."""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid.counting import count_with_torch, hide, ranks_of, same_identity
from reid.distances import full_precision, nearest_columns, squared_distances
from reid.embeddings import Embeddings, merge_queries, read_retrieval
from reid.ranking import (
    RankingConfig,
    Scores,
    SingleShots,
    distance_histograms,
    nearest,
    rank,
    rank_distances,
    scores_by_camera_pair,
)


def make(vectors, identities, cameras, name: str = "image") -> Embeddings:
    return Embeddings(
        vectors=np.asarray(vectors, dtype=np.float32),
        identities=np.asarray(identities, dtype=np.int64),
        camera_ids=np.asarray(cameras, dtype=np.int64),
        keys=np.array([f"{name} {i}" for i in range(len(vectors))]),
    )


def random_set(rng: np.random.Generator, num: int, *, num_people: int, whole: bool = True, dimensions: int = 3):
    """With junk, unknown cameras, and, of whole numbers, many ties."""
    vectors = rng.integers(-2, 3, (num, dimensions)) if whole else rng.standard_normal((num, dimensions))
    return make(vectors, rng.integers(-1, num_people, num), rng.integers(-1, 3, num))


sets = st.builds(
    lambda seed, num_queries, num_gallery, num_people: (
        random_set(np.random.default_rng(seed), num_queries, num_people=num_people),
        random_set(np.random.default_rng(seed + 1), num_gallery, num_people=num_people + 1),
    ),
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.integers(1, 25),
    st.integers(1, 6),
)


def slow_distance(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    a, b = a.astype(float), b.astype(float)
    if metric == "cosine":
        return 1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    return math.sqrt(((a - b) ** 2).sum())


def slow_ranking(distances: list[float], i: int, query: Embeddings, gallery: Embeddings) -> list[int]:
    """The gallery as query i ranks it."""
    kept = []
    for j in range(len(gallery)):
        same = gallery.identities[j] == query.identities[i] and gallery.camera_ids[j] == query.camera_ids[i] != -1
        if gallery.identities[j] != -1 and not same:
            kept.append(j)
    return sorted(kept, key=lambda j: (distances[j], j))


def slow_scores(query: Embeddings, gallery: Embeddings, metric: str = "euclidean") -> dict:
    """Per query (AP, INP, first), or None without match; and the means."""
    per_query = []
    for i in range(len(query)):
        distances = [slow_distance(query.vectors[i], vector, metric) for vector in gallery.vectors]
        ranking = slow_ranking(distances, i, query, gallery)
        hits, precisions, first, last = 0, [], None, None
        for place, j in enumerate(ranking):
            if gallery.identities[j] == query.identities[i] != -1:
                hits += 1
                precisions.append(hits / (place + 1))
                first, last = place if first is None else first, place
        per_query.append((sum(precisions) / hits, hits / (last + 1), first) if hits else None)
    scored = [one for one in per_query if one]
    known = [one for one, identity in zip(per_query, query.identities, strict=True) if identity != -1]
    return {
        "per_query": per_query,
        "cmc": [sum(first <= k for _, _, first in scored) / max(1, len(scored)) for k in range(20)],
        "mean_ap": sum(ap for ap, _, _ in scored) / max(1, len(scored)),
        "mean_inp": sum(inp for _, inp, _ in scored) / max(1, len(scored)),
        "num_queries": len(known),
        "num_queries_without_match": known.count(None),
    }


def assert_scores(found: Scores, expected: dict) -> None:
    for name in ("cmc", "mean_ap", "mean_inp", "num_queries", "num_queries_without_match"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name
        assert found.to_dict()[name] == pytest.approx(expected[name], abs=1e-12), name
    ap, inp, first = zip(*(one or (math.nan, math.nan, -1) for one in expected["per_query"]), strict=True)
    np.testing.assert_allclose(found.average_precision, ap, atol=1e-12)
    np.testing.assert_allclose(found.inverse_negative_penalty, inp, atol=1e-12)
    assert found.first_match_rank.tolist() == list(first)


@given(sets)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_scores_equal_loops(pair):
    query, gallery = pair
    expected = slow_scores(query, gallery) if (gallery.identities != -1).any() else {"per_query": []}
    if not any(expected["per_query"]):
        with pytest.raises(ValueError, match="at least one (query must have a gallery image|image must have an ident)"):
            rank(query, gallery)
        return
    assert_scores(rank(query, gallery), expected)
    distance = np.array([[slow_distance(a, b, "euclidean") for b in gallery.vectors] for a in query.vectors])
    distance = distance.astype(np.float32)
    before = distance.copy()
    assert_scores(rank_distances(distance, query, gallery), expected)
    np.testing.assert_array_equal(distance, before)


def test_cosine_scores_equal_loops():
    rng = np.random.default_rng(0)
    for _ in range(5):
        query, gallery = (random_set(rng, num, num_people=6, whole=False) for num in (20, 60))
        expected = slow_scores(query, gallery, "cosine")
        assert expected["mean_ap"] != pytest.approx(slow_scores(query, gallery)["mean_ap"], abs=1e-3)
        assert_scores(rank(query, gallery, RankingConfig(metric="cosine")), expected)


def test_equal_distances_are_ranked_in_the_order_of_the_gallery():
    query = make([[0, 0]], [7], [0])
    first = make([[1, 0], [0, 1], [-1, 0]], [7, 1, 2], [1, 1, 1])
    last = first.take(np.array([1, 2, 0]))
    assert rank(query, first).mean_ap == 1 and rank(query, last).mean_ap == 1 / 3
    assert nearest(query, last, 3)[0].tolist() == [[0, 1, 2]]


def oracle(name: str) -> tuple[dict, Embeddings, Embeddings]:
    folder = Path(__file__).parent / "oracles"
    with np.load(folder / f"retrieval_{name}.npz") as file:
        return dict(file), *read_retrieval(folder / f"retrieval_{name}.npz")


def random_pair(*nums: int, seed: int = 0, dimensions: int = 8, offset: float = 0) -> list[Embeddings]:
    """Real numbers around `offset`, clustered a little by identity."""
    rng = np.random.default_rng(seed)
    pair = []
    for num in nums:
        one = random_set(rng, num, num_people=12, whole=False, dimensions=dimensions)
        pair.append(make(one.vectors + one.identities[:, None] / 8 + offset, one.identities, one.camera_ids))
    return pair


def all_scores(scores: Scores) -> list:
    arrays = (scores.average_precision, scores.inverse_negative_penalty, scores.first_match_rank)
    return [scores.to_dict(), *(array.tolist() for array in arrays)]


def large_pair() -> list[Embeddings]:
    """More distances than go into a mebibyte, whole numbers."""
    rng = np.random.default_rng(3)
    return [random_set(rng, num, num_people=200, dimensions=4) for num in (150, 5000)]


@pytest.mark.parametrize("protocol", ["market", "cuhk03"])
def test_the_size_of_blocks_makes_no_difference(protocol: str):
    query, gallery = large_pair()
    distance = np.stack([np.square(vector - gallery.vectors).sum(1) for vector in query.vectors])

    def results(max_memory_mib: int) -> list:
        config = RankingConfig(protocol=protocol, max_memory_mib=max_memory_mib)
        return [
            repr(all_scores(rank(query, gallery, config))),
            repr(all_scores(rank_distances(distance, query, gallery, config))),
            [part.tolist() for part in nearest(query, gallery, 7, config)],
            [part.tolist() for part in distance_histograms(query, gallery, 6, config)],
        ]

    few = results(1)
    assert few == results(512)
    assert few[0] == few[1]


def test_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    """As many as torch would use; the other tests have as many as they are given."""
    query, gallery = large_pair()
    found = []
    for num in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda num=num: num)
        found.append(repr(all_scores(rank(query, gallery))))
    assert found[0] == found[1]


def test_blocks_are_no_larger_than_asked_for():
    query, gallery = large_pair()
    for bytes_each in (4, 20):
        blocks = squared_distances(
            query, gallery, metric="euclidean", max_memory_mib=1, device="cpu", bytes_each=bytes_each
        )
        starts, sizes = zip(*((start, len(block)) for start, block in blocks), strict=True)
        assert max(sizes) == (1 << 20) // (bytes_each * 5000)
        assert list(starts) == np.cumsum([0, *sizes[:-1]]).tolist() and sum(sizes) == 150
    wide = make(np.zeros((300_000, 1)), np.zeros(300_000), np.zeros(300_000))
    blocks = squared_distances(query_of(wide, 3), wide, metric="euclidean", max_memory_mib=1, device="cpu")
    assert [len(block) for _, block in blocks] == [1, 1, 1]


def query_of(one: Embeddings, num: int) -> Embeddings:
    return one.take(np.arange(num))


@pytest.mark.parametrize("setting", ["ieee", "bf16"])
def test_distances_are_float32_beside_a_large_common_part(setting: str):
    """As ImageNet's networks give: all embeddings lie in one corner. Nor does lower precision asked for elsewhere count."""
    query, gallery = random_pair(20, 300, dimensions=64, offset=500.0)
    expected = np.square(query.vectors[:, None].astype(float) - gallery.vectors[None]).sum(-1)
    backends = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    backends[0].fp32_precision = setting
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ((_, found),) = squared_distances(query, gallery, metric="euclidean", max_memory_mib=9, device="cpu")
        with full_precision():  # what the product of other devices is computed in
            assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
        assert backends[0].fp32_precision == setting
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6)


def test_distances_of_whole_numbers_are_exact():
    rng = np.random.default_rng(0)
    query, gallery = (random_set(rng, num, num_people=3, dimensions=16) for num in (9, 31))
    ((_, found),) = squared_distances(query, gallery, metric="euclidean", max_memory_mib=1, device="cpu")
    np.testing.assert_array_equal(found.numpy(), np.square(query.vectors[:, None] - gallery.vectors[None]).sum(-1))


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_ways_of_counting_agree(seed: int, num_queries: int, num_gallery: int):
    """The GPU's way runs here on the CPU."""
    rng = np.random.default_rng(seed)
    query, gallery = (random_set(rng, num, num_people=3) for num in (num_queries, num_gallery))
    matches, removed = same_identity(query, gallery)
    block = torch.from_numpy(rng.integers(0, 4, (num_queries, num_gallery)).astype(np.float32))
    hide(block, 0, removed)
    found = ranks_of(block, matches.rows, matches.columns)
    assert found.tolist() == count_with_torch(block, matches.rows, matches.columns).tolist()
    for rank_, i, j in zip(found, matches.rows, matches.columns, strict=True):
        order = sorted(range(num_gallery), key=lambda column: (block[i, column], column))
        assert order[rank_] == j


@pytest.mark.parametrize("name", ["a", "b"])
def test_scores_are_those_of_an_established_toolbox(name: str):
    expected, query, gallery = oracle(name)
    for scores, prefix in (
        (rank(query, gallery), ""),
        (rank_distances(expected["reranked_distance"], query, gallery), "reranked_"),
    ):
        np.testing.assert_allclose(scores.cmc, expected[prefix + "cmc"], atol=1e-6)
        assert scores.mean_ap == pytest.approx(float(expected[prefix + "mean_ap"]), abs=1e-6)
        assert scores.num_queries_without_match == {"a": 0, "b": 1}[name]


def test_many_queries_are_as_one_after_another():
    query, gallery = large_pair()
    together = rank(query, gallery)
    for i in (0, 70, 149):
        if together.first_match_rank[i] >= 0:
            alone = rank(query.take(np.array([i])), gallery)
            assert alone.mean_ap == together.average_precision[i]


@given(sets, st.sampled_from(["euclidean", "cosine"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nearest_equal_loops(pair, metric):
    query, gallery = pair
    if metric == "cosine":
        query, gallery = (make(one.vectors + 3, one.identities, one.camera_ids) for one in pair)
    if (gallery.identities == -1).all():
        return
    indices, distances = nearest(query, gallery, 6, RankingConfig(metric=metric))
    for i in range(len(query)):
        slow = [slow_distance(query.vectors[i], vector, metric) for vector in gallery.vectors]
        ranking = slow_ranking(slow, i, query, gallery)[:6]
        padding = 6 - len(ranking)
        expected = [slow[j] for j in ranking] + [math.inf] * padding
        np.testing.assert_allclose(distances[i], expected, atol=1e-5 if metric == "euclidean" else 1e-6)
        assert (indices[i] == -1).tolist() == [False] * len(ranking) + [True] * padding
        if metric == "euclidean":
            assert indices[i].tolist() == ranking + [-1] * padding


def test_nearest_columns_are_those_of_a_stable_sort():
    values = torch.tensor([[2.0, 0.0, 5.0, 0.0, torch.inf, 2.0, 1e-30], [3.0, -1.0, 0.0, 3.0, 3.0, 3.0, 0.0]])
    found, columns = nearest_columns(values, 6)
    expected = values.sort(dim=1, stable=True)
    assert torch.equal(found, expected.values[:, :6]) and torch.equal(columns, expected.indices[:, :6])


def test_single_shots_draw_one_image_of_every_identity():
    query, gallery = random_pair(40, 200)
    gallery = gallery.without_junk()
    matches, removed = same_identity(query, gallery)
    config = RankingConfig(protocol="cuhk03", repeats=200, seed=4)
    shots = SingleShots(matches, gallery, query, config)
    drawn = gallery.identities[shots.gallery.numpy()]
    assert (drawn == np.unique(gallery.identities)).all()
    assert {*shots.gallery.flatten().tolist()} == {*range(len(gallery))}
    ((start, block),) = squared_distances(query, gallery, metric="euclidean", max_memory_mib=9, device="cpu")
    hide(block, start, removed)
    found, allowed = shots.ranks(start, block), defaultdict(set)
    for i, j in zip(matches.rows, matches.columns, strict=True):
        allowed[i].add(j)
    for i, columns in allowed.items():
        assert {*shots.match[:, i].tolist()} == columns
        for r in range(config.repeats):
            match = int(shots.match[r, i])
            others = [j for j in shots.gallery[r].tolist() if gallery.identities[j] != query.identities[i]]
            nearer = sum((block[i, j], j) < (block[i, match], match) for j in others)
            assert found[i, r] == nearer


def test_single_shot_scores():
    query, gallery = random_pair(40, 200, seed=1)
    whole = rank(query, gallery)
    few, again, other = (rank(query, gallery, RankingConfig(protocol="cuhk03", seed=seed)) for seed in (0, 0, 1))
    assert few.cmc == again.cmc != other.cmc
    assert few.mean_ap == whole.mean_ap and few.mean_inp == whole.mean_inp
    cmc = exact_single_shot(query, gallery)
    many = rank(query, gallery, RankingConfig(protocol="cuhk03", repeats=4000))
    np.testing.assert_allclose(many.cmc, cmc, atol=0.004)


def exact_single_shot(query: Embeddings, gallery: Embeddings) -> list[float]:
    """The CMC over all galleries that can be drawn, from how likely each identity's image is nearer than the match."""
    totals = []
    for i in range(len(query)):
        slow = [slow_distance(query.vectors[i], vector, "euclidean") for vector in gallery.vectors]
        ranking = slow_ranking(slow, i, query, gallery)
        own = [j for j in ranking if gallery.identities[j] == query.identities[i] != -1]
        if not own:
            continue
        cmc = np.zeros(20)
        for match in own:
            nearer = np.array([1.0])  # probability of each number of nearer images
            for identity in {*gallery.identities.tolist()} - {-1, int(query.identities[i])}:
                theirs = [j for j in ranking if gallery.identities[j] == identity]
                p = sum(slow[j] < slow[match] for j in theirs) / len(theirs)
                nearer = np.convolve(nearer, [1 - p, p])
            cmc += np.pad(nearer, (0, 20))[:20].cumsum() / len(own)
        totals.append(cmc)
    return np.mean(totals, axis=0).tolist()


def test_multi_query_ranks_merged_queries():
    query, gallery = random_pair(60, 200)
    config = RankingConfig(multi_query=True)
    merged = merge_queries(query)
    assert len(merged) < len(query)
    assert all_scores_text(rank(query, gallery, config)) == all_scores_text(rank(merged, gallery))
    with pytest.raises(ValueError, match="merge_queries"):
        rank_distances(np.zeros((60, 200), dtype=np.float32), query, gallery, config)


def all_scores_text(scores: Scores) -> str:
    return repr(all_scores(scores))


def test_scores_stay_where_the_gallery_ends():
    scores = rank(make([[0]], [1], [0]), make([[3], [1]], [1, 2], [1, 1]))
    assert scores.cmc == (0.0, *[1.0] * 19)
    assert (scores.mean_ap, scores.mean_inp) == (0.5, 0.5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_histograms_count_every_pair_once(metric: str):
    query, gallery = random_pair(30, 90)
    edges, matches, others = distance_histograms(query, gallery, 8, RankingConfig(metric=metric))
    expected = [[], []]
    for i in range(len(query)):
        for j in range(len(gallery)):
            if query.identities[i] == -1 or gallery.identities[j] == -1:
                continue
            same = query.identities[i] == gallery.identities[j]
            if not (same and query.camera_ids[i] == gallery.camera_ids[j] != -1):
                expected[0 if same else 1].append(slow_distance(query.vectors[i], gallery.vectors[j], metric))
    assert edges[0] == 0 and len(edges) == 9
    assert edges[-1] >= max(map(max, expected)) - 1e-5
    for found, values in zip((matches, others), expected, strict=True):
        assert found.sum() == len(values)
        assert np.abs(found - np.histogram(np.minimum(values, edges[-1]), edges)[0]).sum() <= 2  # at an edge


def test_scores_by_camera_pair():
    query, gallery = random_pair(60, 300)
    found = scores_by_camera_pair(query, gallery)
    assert set(found) == {(a, b) for a in range(3) for b in range(3) if a != b}
    for (a, b), scores in found.items():
        expected = slow_scores(query.take(query.camera_ids == a), gallery.take(gallery.camera_ids == b))
        num = expected["num_queries"] - expected["num_queries_without_match"]
        assert scores == pytest.approx((expected["cmc"][0], expected["mean_ap"], num))


def test_what_cannot_be_ranked_is_said():
    query, gallery = random_pair(5, 9)
    with pytest.raises(ValueError, match="from one model, got 8 dimensions and 7"):
        rank(query, make(gallery.vectors[:, :7], gallery.identities, gallery.camera_ids))
    with pytest.raises(ValueError, match="at least one query must have a gallery image"):
        rank(query, make(gallery.vectors, np.full(9, 99), gallery.camera_ids))
    zero = make(np.concatenate((query.vectors, np.zeros((1, 8)))), np.arange(6), np.zeros(6))
    with pytest.raises(ValueError, match=r"an embedding of zeros has no cosine distance, got 'image 5' \(row 5\)"):
        rank(query, zero, RankingConfig(metric="cosine"))
    for distance in (np.zeros((9, 5), dtype=np.float32), np.zeros((5, 9))):
        with pytest.raises(ValueError, match=r"must be \(5, 9\) float32"):
            rank_distances(distance, query, gallery)
    distance = np.zeros((5, 9), dtype=np.float32)
    distance[3, 2] = np.nan
    with pytest.raises(ValueError, match="in row 3"):
        rank_distances(distance, query, gallery)
    with pytest.raises(ValueError, match="num must be at least 1"):
        nearest(query, gallery, 0)
    with pytest.raises(ValueError, match="num_bins must be at least 1"):
        distance_histograms(query, gallery, 0)
    for values in ({"metric": "l1"}, {"protocol": "duke"}, {"repeats": 0}, {"max_memory_mib": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(values))):
            RankingConfig(**values)
