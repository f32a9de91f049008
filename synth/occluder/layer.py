"""What an occluder is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synth.background import Light, View

Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shadow:
    """Light that a thing keeps off the ground, over a window of the frame."""

    row: int
    """Top row of the window in the frame."""
    col: int
    """Left column of it."""
    kept_off: NDArray[np.float32]
    """(h, w) share of the light that does not reach the ground, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layer:
    """A thing that stands between camera and people, as it lies over a frame; its window is clipped to the frame."""

    row: int
    """Top row of the window in the frame."""
    col: int
    """Left column of it."""
    colour: NDArray[np.float32]
    """(h, w, 3) linear RGB, premultiplied by alpha: what it adds to the frame."""
    alpha: NDArray[np.float32]
    """(h, w) how much it hides of each pixel, in [0, 1]; soft at its edges."""
    depth_m: NDArray[np.float32]
    """(h, w) along the camera's z; counts where alpha > 0 alone, and is inf where there is nothing."""
    shadow: Shadow | None
    """None if none falls into the frame."""
    provenance: str
    """Where it comes from, for the sample's record: "procedural:pole-v1" or "coco:FILE#ANNOTATION_ID:bicycle"."""


class Occluders(Protocol):
    """A source of occluders; the same generator state, view, point and light give the same bytes."""

    def draw(self, rng: np.random.Generator, view: View, point: Point, light: Light) -> Layer | None:
        """A random thing that stands on a point of the ground, world metres; None if it falls outside of the frame.

        `view` describes the frame; its own light and person do not matter.
        """
        ...
