"""What each part of an embedding finds alone (Huang et al. 2020, sec. IV-I, fig. 13)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from reid.ranking import Scores, rank
from reid.report.charts import Cell, Matrix, colour_cell
from reid.report.found import Found

WHOLE = "all of them"


def part_scores(found: Found) -> Matrix | None:
    """Rank-1 and mAP of a search by each of the model's `embedding_parts` alone, and by all of them. None for a model whose
    embedding is one feature."""
    widths = found.run.model.embedding_parts()
    if not widths:
        return None
    bounds = pairwise(accumulate(widths.values(), initial=0))
    scores = [*(_scores_of(found, slice(*bound)) for bound in bounds), found.scores]
    columns = (_column([one and one.cmc[0] for one in scores]), _column([one and one.mean_ap for one in scores]))
    return Matrix(
        title="What each part finds alone",
        corner="part",
        columns=("rank-1", "mAP"),
        rows=tuple(zip((*widths, WHOLE), zip(*columns, strict=True), strict=True)),
    )


def _scores_of(found: Found, part: slice) -> Scores | None:
    """Of a search by these columns. None where a picture has nothing in them, which has no cosine distance."""
    query, gallery = (replace(one, vectors=one.vectors[:, part]) for one in (found.query, found.gallery))
    if found.ranking.metric == "cosine" and not all(one.vectors.any(axis=1).all() for one in (query, gallery)):
        return None
    return rank(query, gallery, found.ranking, device=found.device)


def _column(values: Sequence[float | None]) -> list[Cell | None]:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    return [None if value is None else colour_cell(value, low, high, text=f"{100 * value:.1f}") for value in values]
