"""What a network looks at: Grad-CAM of queries and their matches, and how alike it sees the parts of a body."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reid.evaluate import Pictures
from reid.gradcam import grad_cam
from reid.models.model import Model
from reid.report.charts import Matrix, colour_cell
from reid.report.found import Found
from reid.report.pictures import Picture, as_pixels, draw, lay_heat

HEIGHT = 176
"""Of a picture with a map on it, pixels."""
NUM_STRIPES = 6
"""Of models that know no parts: as in PCB (Sun et al. 2018)."""
NUM_FOR_PARTS = 1024
"""Pictures that part similarity is averaged over, half of the query and half of the gallery, spread evenly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """A query and its nearest right match, each as it is and with what makes it like the other."""

    key: str
    pictures: tuple[Picture, ...]


def likenesses(found: Found, queries: Sequence[int]) -> list[Likeness]:
    """Grad-CAM of queries, which must have a match, and of their nearest matches, each with the other as its target."""
    matches = [found.nearest_match(query)[0] for query in queries]
    left = _with_heat(found, "query", found.scored.query, queries, found.gallery.vectors[matches])
    right = _with_heat(found, "match", found.scored.gallery, matches, found.query.vectors[queries])
    keys = found.query.keys[queries].tolist()
    return [Likeness(key=key, pictures=(*one, *other)) for key, one, other in zip(keys, left, right, strict=True)]


def _with_heat(
    found: Found, name: str, part: Pictures, rows: Sequence[int], targets: np.ndarray
) -> list[tuple[Picture, Picture]]:
    """Pictures as the network sees them, and with Grad-CAM of their likeness to targets (B, D)."""
    images = found.images(part, rows)
    heats = grad_cam(found.run.model, images, torch.from_numpy(targets).to(found.device)).cpu().numpy()
    pairs = []
    for row, pixels, heat in zip(rows, as_pixels(images), heats, strict=True):
        what = f"{name} {part.keys[row]}"
        seen = draw(pixels, HEIGHT, alt=what.capitalize(), label=name)
        heated = draw(lay_heat(pixels, heat), HEIGHT, alt=f"Where {what} is like the other", label="Grad-CAM")
        pairs.append((seen, heated))
    return pairs


@torch.inference_mode()
def part_similarity(model: Model, images: Tensor) -> Tensor:
    """Cosine similarity of the features of each two parts (Huang et al. 2020, sec. IV-E, fig. 9).

    images (B, 3, H, W) normalised -> (B, P, P) float32, from the top of the body down. The features are the model's
    `part_features`, or where it knows none, the largest values in stripes of its feature map: NUM_STRIPES of them, some a
    row higher than others where they do not divide its height, and never more than it has rows.
    """
    parts = model.part_features(images)
    if parts is None:
        maps = model.feature_map(images)
        stripes = maps.tensor_split(min(NUM_STRIPES, maps.shape[2]), dim=2)
        parts = torch.stack([stripe.amax(dim=(2, 3)) for stripe in stripes], dim=1)
    parts = functional.normalize(parts.float(), dim=2)
    return parts @ parts.mT


def part_matrix(found: Found) -> Matrix:
    """`part_similarity`, averaged over pictures of query and gallery."""
    similarities, size = [], min(found.run.config.evaluate.batch_size, 64)
    for part in (found.scored.query, found.scored.gallery):
        rows = np.linspace(0, len(part.rows) - 1, min(NUM_FOR_PARTS // 2, len(part.rows))).astype(np.int64)
        for start in range(0, len(rows), size):
            images = found.images(part, rows[start : start + size].tolist())
            similarities.append(part_similarity(found.run.model, images))
    mean = torch.cat(similarities).mean(dim=0).tolist()
    low, names = min(map(min, mean)), tuple(str(i + 1) for i in range(len(mean)))
    rows = tuple(
        (name, tuple(colour_cell(value, low, 1.0, text=f"{value:.2f}") for value in values))
        for name, values in zip(names, mean, strict=True)
    )
    name = "stripe" if type(found.run.model).part_features is Model.part_features else "part"
    return Matrix(title=f"Similarity of {name}s", corner=name, columns=names, rows=rows)
