"""Occluders cut from a user's COCO images by the masks of what stands on the ground there."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as masks
from pycocotools.coco import COCO

from synth.background import Light, View
from synth.background.site import Site, contact
from synth.coco_files import Instances, read_pixels
from synth.colour import srgb_to_linear
from synth.occluder.layer import Layer, Point
from synth.occluder.planar import NEAR_M, shadow_of

HEIGHT_M: dict[str, tuple[float, float]] = {
    "bicycle": (0.95, 1.1),
    "car": (1.4, 1.65),
    "motorcycle": (1.0, 1.25),
    "bench": (0.75, 0.95),
    "potted plant": (0.4, 1.3),
    "suitcase": (0.5, 0.75),
    "chair": (0.75, 1.0),
    "fire hydrant": (0.6, 0.85),
    "parking meter": (1.3, 1.5),
}
"""Least and greatest height of what stands on the ground by itself and does not hide whole groups, metres.

Not among them: bags, which people carry; stop signs, whose masks lack the pole; buses and trucks, too large."""
MIN_HEIGHT_PX = 80
"""Least height of an instance in its image: below it, enlarging shows."""
EDGE_PX = 2
"""An instance nearer to the image's edge than this may go on beyond it."""
MAX_SHARED = 0.15
"""Greatest share of an instance's box that another thing's box may take: what is behind another has a cut outline."""
MIN_FILLED = 0.25
"""Least share of its box that an instance fills: less is the visible rest of something hidden."""


class CutOut(NamedTuple):
    """One instance."""

    name: str
    """File name of its image."""
    size: tuple[int, int]
    """Height and width of that."""
    annotation: int
    """Id of its annotation."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 of its mask, x1 and y1 exclusive."""
    counts: bytes | str
    """Its mask, COCO's compressed run lengths."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CocoOccluders:
    """Whole instances that stand on the ground: an index of a few MB that can be sent to workers; see `open`."""

    folder: Path
    things: dict[str, tuple[CutOut, ...]]
    """Of each category that has any."""

    @classmethod
    def open(cls, folder: Path | str, annotations: Path | str) -> CocoOccluders:
        """Index a folder of images by its instances JSON (for COCO 2017's training set half a minute; do it once).

        Raises as `Instances.open`, and ValueError if the JSON has no instance that will do.
        """
        return cls.of(Instances.open(folder, annotations))

    @classmethod
    def of(cls, instances: Instances) -> CocoOccluders:
        """The same from instances read already. Raises ValueError if none of them will do."""
        names = {one["id"]: one["name"] for one in instances.coco.dataset["categories"] if one["name"] in HEIGHT_M}
        things: dict[str, list[CutOut]] = {name: [] for name in HEIGHT_M}
        for image, present in instances:
            for one in present:
                if one["category_id"] in names and _stands_free(one, image, present, instances.person):
                    things[names[one["category_id"]]].append(_cut_out(one, image, instances.coco))
        if not any(things.values()):
            raise ValueError(
                f"{instances.path} has no {', '.join(HEIGHT_M)} that is whole, free of people and at least "
                f"{MIN_HEIGHT_PX} pixels high; give more images, or leave out COCO for procedural occluders"
            )
        return cls(folder=instances.folder, things={name: tuple(found) for name, found in things.items() if found})

    def draw(self, rng: np.random.Generator, view: View, point: Point, light: Light) -> Layer | None:
        """A random instance of a random category, as a card that faces the camera; see `Occluders.draw`.

        Its light is the photograph's. Raises ValueError if an image cannot be decoded or is not of the size that the
        JSON gives, and FileNotFoundError if it has gone.
        """
        category = list(self.things)[rng.integers(len(self.things))]
        thing = self.things[category][rng.integers(len(self.things[category]))]
        height_m = float(rng.uniform(*HEIGHT_M[category]))
        pose, intrinsics = (np.asarray(a, np.float64) for a in (view.world_to_camera, view.intrinsics))
        foot = intrinsics @ (pose[:3, :3] @ np.asarray(point, np.float64) + pose[:3, 3])
        depth = float(foot[2])
        if depth < NEAR_M:
            return None
        x0, y0, x1, y1 = thing.box
        high = max(round(float(intrinsics[1, 1]) * height_m / depth), 1)
        wide = max(round(high * (x1 - x0) / (y1 - y0)), 1)
        row, col = round(float(foot[1]) / depth) - high, round(float(foot[0]) / depth - 0.5 * wide)
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + high, view.height), min(col + wide, view.width)
        if top >= bottom or left >= right:
            return None
        window = (top - row, left - col, bottom - row, right - col)
        colour, alpha = _resampled(cut_pixels(self.folder, thing), (high, wide), window)
        site = Site.behind(replace(view, light=light, person_position=np.array(point, np.float64)), 0.0)
        half = 0.5 * height_m * wide / high
        rim = contact(site, (-half, half), (-0.1, 0.5), level=float(point[1]), strength=0.6)
        return Layer(
            row=top,
            col=left,
            colour=colour,
            alpha=alpha,
            depth_m=np.full(alpha.shape, depth, np.float32),
            shadow=shadow_of([rim[1]], site.view),
            provenance=f"coco:{thing.name}#{thing.annotation}:{category}",
        )


@functools.lru_cache(maxsize=64)
def cut_pixels(folder: Path, thing: CutOut) -> NDArray[np.uint8]:
    """(h, w, 4) sRGB and alpha of an instance's box, read-only; the edge of its mask is softened inwards.

    Raises as `read_pixels`.
    """
    x0, y0, x1, y1 = thing.box
    mask = masks.decode({"size": list(thing.size), "counts": thing.counts})[y0:y1, x0:x1]
    # Outlines are drawn by hand and take in some of what lies behind: where fewer than two thirds of a pixel and its
    # neighbours belong to the thing, it is cut off.
    padded = np.pad(mask, 1).astype(np.float32)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    inside = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    alpha = np.clip(2 * inside - 1, 0, 1) * 255 + 0.5
    pixels = read_pixels(folder / thing.name, thing.size)[y0:y1, x0:x1]
    cut = np.concatenate([pixels, alpha.astype(np.uint8)[..., None]], axis=2)
    cut.setflags(write=False)
    return cut


def _resampled(
    cut: NDArray[np.uint8], size: tuple[int, int], window: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Premultiplied linear colour (h, w, 3) and alpha (h, w): a window (top, left, bottom, right) of `cut` at `size`."""
    top, left, bottom, right = window
    down, across = cut.shape[0] / size[0], cut.shape[1] / size[1]
    # PIL weights the colours by alpha.
    image = Image.fromarray(cut).resize(
        (right - left, bottom - top),
        Image.Resampling.BILINEAR,
        box=(left * across, top * down, right * across, bottom * down),
    )
    codes = np.asarray(image)
    alpha = codes[..., 3].astype(np.float32) / 255
    return srgb_to_linear(codes[..., :3]) * alpha[..., None], alpha


def _stands_free(one: dict[str, Any], image: dict[str, Any], annotations: list[dict[str, Any]], person: int) -> bool:
    """Whether an instance is whole, large, of one piece, touched by nobody's box and by little of other things'."""
    x, y, w, h = one["bbox"]
    whole = EDGE_PX <= x and EDGE_PX <= y and x + w <= image["width"] - EDGE_PX and y + h <= image["height"] - EDGE_PX
    outline = one.get("segmentation", ())
    in_one_piece = isinstance(outline, dict) or len(outline) == 1
    if one["iscrowd"] or not whole or not in_one_piece or h < MIN_HEIGHT_PX or one["area"] < MIN_FILLED * w * h:
        return False
    for other in annotations:
        if other is not one:
            a, b, c, d = other["bbox"]
            shared = max(min(x + w, a + c) - max(x, a), 0) * max(min(y + h, b + d) - max(y, b), 0)
            if shared > (0 if other["category_id"] == person else MAX_SHARED * w * h):
                return False
    return True


def _cut_out(one: dict[str, Any], image: dict[str, Any], coco: COCO) -> CutOut:
    runs = coco.annToRLE(one)
    x, y, w, h = masks.toBbox(runs).astype(int).tolist()
    size = image["height"], image["width"]
    return CutOut(image["file_name"], size, one["id"], (x, y, x + w, y + h), runs["counts"])
