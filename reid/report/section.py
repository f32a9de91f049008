"""What the page says of a run on one set: scores, charts, rank lists, what the network looks at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reid.embeddings import JUNK, UNKNOWN_CAMERA
from reid.ranking import NUM_RANKS, PairScores, Scores, distance_histograms, scores_by_camera_pair
from reid.report.attention import Likeness, likenesses, part_matrix
from reid.report.charts import Cell, Chart, Curve, Matrix, colour_cell, line_chart
from reid.report.drawings import Drawn, drawings
from reid.report.found import Found
from reid.report.part_scores import part_scores
from reid.report.rank_lists import RankList, hardest_queries, rank_lists, spread_queries

NUM_QUERIES = 6
"""Of each kind: rank lists from the best query to the worst, rank lists of the worst, Grad-CAM, and drawings."""
NUM_BINS = 60
"""Of a distance histogram."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One set on the page."""

    name: str
    place: str
    sizes: tuple[tuple[str, int], ...]
    scores: Scores
    charts: tuple[Chart, ...]
    rank_lists: tuple[RankList, ...]
    hardest: tuple[RankList, ...]
    likenesses: tuple[Likeness, ...]
    drawings: tuple[Drawn, ...]
    """None of a model that was taught to draw nothing."""
    parts: Matrix
    part_scores: Matrix | None
    """None of a model whose embedding is one feature."""
    cameras: tuple[Matrix, ...]
    """Rank-1 and mAP; none where no two known cameras share a person."""


def make_section(found: Found, place: str) -> Section:
    """The section of a set that lies at `place`."""
    spread = spread_queries(found, NUM_QUERIES)
    return Section(
        name=found.scored.name,
        place=place,
        sizes=set_sizes(found),
        scores=found.scores,
        charts=(_cmc(found.scores), _histogram(found)),
        rank_lists=tuple(rank_lists(found, spread)),
        hardest=tuple(rank_lists(found, hardest_queries(found, NUM_QUERIES))),
        likenesses=tuple(likenesses(found, spread)),
        drawings=tuple(drawings(found, spread)),
        parts=part_matrix(found),
        part_scores=part_scores(found),
        cameras=_cameras(found),
    )


def set_sizes(found: Found) -> tuple[tuple[str, int], ...]:
    """What there is in a set, in words, and how many."""
    query, gallery = found.query.identities, found.gallery.identities
    people = np.setdiff1d(query, JUNK)
    cameras = np.concatenate((found.query.camera_ids, found.gallery.camera_ids))
    return (
        ("query pictures", len(query)),
        ("query people", len(people)),
        ("gallery pictures", len(gallery)),
        ("distractors", int((~np.isin(gallery, people) & (gallery != JUNK)).sum())),
        ("junk, left out", int((gallery == JUNK).sum())),
        ("cameras", len(np.setdiff1d(cameras, UNKNOWN_CAMERA))),
    )


def _cmc(scores: Scores) -> Chart:
    curve = Curve(name="CMC", x=np.arange(1, NUM_RANKS + 1, dtype=np.float64), y=np.array(scores.cmc))
    return line_chart("Cumulative matching characteristic", [curve], x_name="rank", percent=True)


def _histogram(found: Found) -> Chart:
    """Shares of their own number: there are far more pairs of different people."""
    edges, *counts = distance_histograms(found.query, found.gallery, NUM_BINS, found.ranking, device=found.device)
    names = ("same person, other camera", "different people")
    curves = [
        Curve(name=name, x=np.repeat(edges, 2)[1:-1], y=np.repeat(count / max(count.sum(), 1), 2))
        for name, count in zip(names, counts, strict=True)
    ]
    metric = found.ranking.metric
    return line_chart("Distances", curves, x_name=f"{metric} distance", percent=True, area=True)


def _cameras(found: Found) -> tuple[Matrix, ...]:
    scores = scores_by_camera_pair(found.query, found.gallery, found.ranking, device=found.device)
    if not scores:
        return ()
    return (_camera_matrix("Rank-1 by cameras", "rank1", scores), _camera_matrix("mAP by cameras", "mean_ap", scores))


def _camera_matrix(title: str, field: str, scores: Mapping[tuple[int, int], PairScores]) -> Matrix:
    """A row for each query camera, a column for each gallery camera."""
    low, high = (f(getattr(one, field) for one in scores.values()) for f in (min, max))

    def cell(pair: tuple[int, int]) -> Cell | None:
        if (one := scores.get(pair)) is None:
            return None
        return colour_cell(
            value := getattr(one, field), low, high, text=f"{100 * value:.0f}", title=f"{one.num_queries:,} queries"
        )

    cameras = sorted({camera for pair in scores for camera in pair})
    rows = tuple((str(q), tuple(cell((q, g)) for g in cameras)) for q in cameras if any(q == a for a, _ in scores))
    return Matrix(title=title, corner="query", columns=tuple(map(str, cameras)), rows=rows)
