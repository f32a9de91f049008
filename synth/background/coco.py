"""Backgrounds from a user's COCO images: crops in which nobody is annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synth.background.view import Background, View
from synth.coco_files import Instances, read_pixels
from synth.colour import srgb_to_linear
from synth.kernel import kernel

MIN_CROP_PX = 96
"""Least height of a crop in its image: below it, enlarging shows."""
GROUND_M = 40.0
"""Depth beyond which a photograph has no ground that takes a shadow."""
MARGIN_PX = 2
"""Kept between a crop and a person's box, whose edges are rounded and whose outline is annotated by hand."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CocoBackgrounds:
    """Crops without people of COCO images: an index of a few MB that can be sent to workers; see `open`."""

    folder: Path
    aspect: float
    """Width over height of the crops."""
    names: tuple[str, ...]
    """(N,) file names below folder, of the images that have room for a crop."""
    sizes: NDArray[np.int32]
    """(N, 2) height and width."""
    boxes: NDArray[np.int32]
    """(M, 4) x0, y0, x1, y1 of all people and crowds with a margin, image after image, x1 and y1 exclusive."""
    first_box: NDArray[np.int64]
    """(N + 1,) boxes [first_box[k], first_box[k + 1]) belong to image k."""
    largest: NDArray[np.int32]
    """(N,) height of the largest crop."""
    num_without_room: int
    """Images of the JSON that people fill so far that no crop of MIN_CROP_PX rows fits beside them."""

    @classmethod
    def open(cls, folder: Path | str, annotations: Path | str, *, aspect: float = 0.5) -> CocoBackgrounds:
        """Index a folder of images by its instances JSON (for COCO 2017's training set half a minute; do it once).

        Raises FileNotFoundError if the folder, the JSON or an image that the JSON names is missing, and ValueError if
        the JSON is not COCO's, has no category "person", or no image has room for a crop.
        """
        return cls.of(Instances.open(folder, annotations), aspect=aspect)

    @classmethod
    def of(cls, instances: Instances, *, aspect: float = 0.5) -> CocoBackgrounds:
        """The same from instances read already. Raises ValueError if no image has room for a crop."""
        names, sizes, boxes, largest = [], [], [], []
        for image, present in instances:
            size = (image["height"], image["width"])
            people = [one["bbox"] for one in present if one["category_id"] == instances.person]
            taken = _boxes(people, size)
            room = _largest_crop(taken, *size, aspect)
            if room >= MIN_CROP_PX:
                names.append(image["file_name"])
                sizes.append(size)
                boxes.append(taken)
                largest.append(room)
        if not names:
            raise ValueError(
                f"none of the {len(instances)} images of {instances.path} has room for a crop of {MIN_CROP_PX} rows beside "
                "its people; give more images, or leave out COCO for procedural backgrounds"
            )
        return cls(
            folder=instances.folder,
            aspect=aspect,
            names=tuple(names),
            sizes=np.array(sizes, np.int32),
            boxes=np.concatenate(boxes),
            first_box=np.cumsum([0, *map(len, boxes)], dtype=np.int64),
            largest=np.array(largest, np.int32),
            num_without_room=len(instances) - len(names),
        )

    def draw(self, rng: np.random.Generator, view: View) -> Background:
        """A random crop of a random image, resized to the view; its perspective and light are the photograph's.

        What is ground is not known: whatever lies below the camera's horizon takes shadows. Raises ValueError if the view's aspect is not this index's, or an
        image cannot be decoded or is not of the size that the JSON gives.
        """
        if abs(view.width / view.height - self.aspect) > 0.01 * self.aspect:
            raise ValueError(
                f"crops were indexed for width / height = {self.aspect}, got a view of {view.width} x {view.height}; "
                "open the folder with that aspect"
            )
        k = int(rng.integers(len(self.names)))
        crop = self._draw_crop(rng, k)
        image = read_crop(self.folder / self.names[k], tuple(self.sizes[k].tolist()), crop, (view.height, view.width))
        return Background(
            image=srgb_to_linear(image),
            ground=assumed_ground(view),
            provenance=f"coco:{self.names[k]}",
        )

    def _draw_crop(self, rng: np.random.Generator, k: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in image k, clear of all its boxes; every place that is free is equally likely."""
        image_height, image_width = self.sizes[k].tolist()
        low, high = np.log([MIN_CROP_PX, self.largest[k]])
        height = min(round(np.exp(rng.uniform(low, high))), int(self.largest[k]))
        width = _crop_width(height, self.aspect)
        boxes = self.boxes[self.first_box[k] : self.first_box[k + 1]]
        # Between these places of the crop's corner, nothing starts or stops being hidden.
        x = np.unique(
            np.clip([0, *(boxes[:, 0] - width + 1), *boxes[:, 2], image_width - width + 1], 0, image_width - width + 1)
        )
        y = np.unique(
            np.clip(
                [0, *(boxes[:, 1] - height + 1), *boxes[:, 3], image_height - height + 1], 0, image_height - height + 1
            )
        )
        area = np.diff(y)[:, None] * np.diff(x)
        for x0, y0, x1, y1 in boxes:
            hidden_x, hidden_y = (x[:-1] < x1) & (x[:-1] + width > x0), (y[:-1] < y1) & (y[:-1] + height > y0)
            area[np.ix_(hidden_y, hidden_x)] = 0
        place = int(rng.integers(area.sum()))
        before = np.cumsum(area.ravel())
        cell = int(np.searchsorted(before, place, side="right"))
        row, column = divmod(cell, area.shape[1])
        inside = place - int(before[cell] - area[row, column])
        down, right = divmod(inside, int(x[column + 1] - x[column]))
        left, top = int(x[column]) + right, int(y[row]) + down
        return left, top, left + width, top + height


def assumed_ground(view: View) -> NDArray[np.float32]:
    """(H, W): 1 where the view's camera sees the plane y = 0 within `GROUND_M`, else 0."""
    to_world = np.linalg.inv(np.asarray(view.intrinsics, np.float64) @ np.asarray(view.world_to_camera)[:3, :3])
    # How far a ray sinks per metre of depth, linear in row and column.
    across, down, start = -to_world[1]
    sinks = start + down * (np.arange(view.height)[:, None] + 0.5) + across * (np.arange(view.width) + 0.5)
    return (sinks * GROUND_M > view.camera_position[1]).astype(np.float32)


def read_crop(
    path: Path, size: tuple[int, int], crop: tuple[int, int, int, int], shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Pixels [x0, x1) x [y0, y1) of an image file of `size` (height, width), resized to shape (H, W).

    Returns (H, W, 3) uint8 sRGB. A JPEG is decoded at half its size or less where the crop shrinks that much. Raises as
    `read_pixels`.
    """
    pixels = read_pixels(path, size, shrink=max((crop[3] - crop[1]) / shape[0], 1.0))
    scale = pixels.shape[0] / size[0], pixels.shape[1] / size[1]
    box = (crop[0] * scale[1], crop[1] * scale[0], crop[2] * scale[1], crop[3] * scale[0])
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box))


def _boxes(bboxes: Sequence[Sequence[float]], size: tuple[int, int]) -> NDArray[np.int32]:
    """COCO's x, y, width, height to (M, 4) whole pixels with a margin, cut at the image's edge."""
    boxes = np.array(bboxes, np.float64).reshape(-1, 4)
    low = np.floor(boxes[:, :2]) - MARGIN_PX
    high = np.ceil(boxes[:, :2] + boxes[:, 2:]) + MARGIN_PX
    limit = np.array([size[1], size[0]])
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], axis=1).astype(np.int32)


@kernel
def _crop_width(height, aspect):
    return max(int(round(height * aspect)), 1)


@kernel
def _largest_crop(boxes, height, width, aspect):
    """Rows of the largest crop that touches none of the boxes (M, 4), 0 if there is none.

    Every free crop can slide left and up until a box or the edge stops it, so only those places need a test; and a
    smaller crop fits wherever a larger one does.
    """
    low, high = 0, height
    while low < high:
        tall = (low + high + 1) // 2
        wide = _crop_width(tall, aspect)
        fits = False
        for i in range(-1, len(boxes)):
            x = 0 if i < 0 else boxes[i, 2]
            for j in range(-1, len(boxes)):
                y = 0 if j < 0 else boxes[j, 3]
                free = x + wide <= width and y + tall <= height
                for k in range(len(boxes)):
                    free &= x >= boxes[k, 2] or x + wide <= boxes[k, 0] or y >= boxes[k, 3] or y + tall <= boxes[k, 1]
                fits |= free
        low, high = (tall, high) if fits else (low, tall - 1)
    return low
