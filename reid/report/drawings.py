"""What training taught a network to draw, beside the pictures that it draws of."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reid.report.found import Found
from reid.report.pictures import Picture, as_pixels, draw

HEIGHT = 176
"""Of a picture, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A query as the network sees it, and what it draws of it."""

    key: str
    pictures: tuple[Picture, ...]


@torch.inference_mode()
def drawings(found: Found, queries: Sequence[int]) -> list[Drawn]:
    """The model's `drawings` of queries; empty where it was taught none."""
    images = found.images(found.scored.query, queries)
    drawn = {name: pictures.cpu().numpy() for name, pictures in found.run.model.drawings(images).items()}
    if not drawn:
        return []
    shown = []
    for i, (query, pixels) in enumerate(zip(queries, as_pixels(images), strict=True)):
        key = str(found.query.keys[query])
        seen = draw(pixels, HEIGHT, alt=f"Query {key}", label="query")
        of_it = (
            draw(pictures[i], HEIGHT, alt=f"{name} of query {key}, as drawn", label=name)
            for name, pictures in drawn.items()
        )
        shown.append(Drawn(key=key, pictures=(seen, *of_it)))
    return shown
