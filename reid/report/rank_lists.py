"""Queries with the pictures that were found for them, right ones and wrong ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reid.report.found import Found, camera_of
from reid.report.pictures import Picture, draw

NUM_NEAREST = 10
THUMBNAIL = 128
"""Height of a picture, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankList:
    """A query and what was found."""

    key: str
    says: str
    query: Picture
    found: tuple[Picture, ...]
    """The nearest, the nearest first."""
    first_match: Picture | None
    """The first right one, where it is not among them."""


def spread_queries(found: Found, num: int) -> list[int]:
    """`num` queries, or all if there are fewer, from the best to the worst in even steps of their order."""
    order = found.order
    num = min(num, len(order))
    return order[((np.arange(num) + 0.5) / num * len(order)).astype(np.int64)].tolist()


def hardest_queries(found: Found, num: int) -> list[int]:
    """The `num` queries of the lowest average precision, the lowest first."""
    return found.order[::-1][:num].tolist()


def rank_lists(found: Found, queries: Sequence[int]) -> list[RankList]:
    """What the network found for queries, which must have a match. Pictures of the query's identity and camera are left
    out, as in the scores."""
    indices, distances = found.nearest(queries, NUM_NEAREST)
    return [_rank_list(found, q, indices[i], distances[i]) for i, q in enumerate(queries)]


def _rank_list(found: Found, query: int, indices: np.ndarray, distances: np.ndarray) -> RankList:
    key, camera = str(found.query.keys[query]), camera_of(found.query, query)
    place = int(found.scores.first_match_rank[query]) + 1
    first_match = None
    if place > NUM_NEAREST:
        first_match = _picture(found, query, place, *found.nearest_match(query))
    pixels = found.pixels(found.scored.query, query)
    return RankList(
        key=key,
        says=f"average precision {found.scores.average_precision[query]:.1%}, first match at rank {place:,}",
        query=draw(pixels, THUMBNAIL, alt=f"Query {key}, {camera}", label=f"query\n{camera}", mark="query"),
        found=tuple(
            _picture(found, query, place, int(index), float(distance))
            for place, (index, distance) in enumerate(zip(indices, distances, strict=True), start=1)
            if index >= 0
        ),
        first_match=first_match,
    )


def _picture(found: Found, query: int, place: int, index: int, distance: float) -> Picture:
    """Picture `index` of the gallery, which stands at rank `place` of a query."""
    is_right = found.gallery.identities[index] == found.query.identities[query]
    camera = camera_of(found.gallery, index)
    return draw(
        found.pixels(found.scored.gallery, index),
        THUMBNAIL,
        alt=f"Rank {place}, {'right' if is_right else 'wrong'}: {found.gallery.keys[index]}, {camera}",
        label=f"{'✓' if is_right else '✗'} {place:,} · {distance:.3g}\n{camera}",
        mark="right" if is_right else "wrong",
    )
