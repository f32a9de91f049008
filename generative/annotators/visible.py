"""Which texels of a person's texture a picture shows."""

import numpy as np
from scipy.ndimage import maximum_filter

from shards.schema import TEXTURE_SIZE
from shards.semantics import SURFACES_24
from shards.uv_surface import has_surface_table, surface_table

CELLS = 32
"""Each surface is divided into as many cells along u, and along v."""


def used_texels(uv_layout: str) -> np.ndarray:
    """(256, 256) bool: texels that lie on the body. Raises ValueError for a layout without a table (`shards.uv_surface`)."""
    return surface_table(uv_layout)[..., 0] > 0


def scored_texels(uv_layout: str) -> np.ndarray:
    """(256, 256) bool: `used_texels`, or all texels of a layout that no table knows."""
    return used_texels(uv_layout) if has_surface_table(uv_layout) else np.ones((TEXTURE_SIZE, TEXTURE_SIZE), bool)


def visible_texels(iuv: np.ndarray, uv_layout: str) -> np.ndarray:
    """iuv (H, W, 3) uint8 of a picture -> (256, 256) bool: the texels that it shows.

    A texel is shown where a pixel shows its cell of its surface, or one of the eight cells around it: pixels of a small
    picture lie further apart than texels, so what lies between two of them is shown too. Raises ValueError for a layout
    without a table.
    """
    seen = np.zeros((len(SURFACES_24), CELLS, CELLS), bool)
    surface, u, v = _cells(iuv)
    seen[surface, u, v] = True
    seen = maximum_filter(seen, (1, 3, 3), mode="constant")
    surface, u, v = _cells(surface_table(uv_layout))
    return seen[surface, u, v] & (surface > 0)


def _cells(iuv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Surface, and cell along u and v."""
    surface, u, v = np.moveaxis(iuv, -1, 0).astype(np.intp)
    return surface, u * CELLS // 256, v * CELLS // 256
