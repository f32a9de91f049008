"""Which place of the body each texel of a texture shows, one table for each uv layout: what `iuv` and `texture` have in common.

The tables are made from the body (`scripts/bake_uv_surface.py`) and kept beside this file as pictures, whose colours are
(I, U, V).
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

ASSETS = Path(__file__).parent / "assets"


def has_surface_table(uv_layout: str | None) -> bool:
    """Whether `surface_table` knows a layout."""
    return uv_layout is not None and _path(uv_layout).is_file()


@functools.cache
def surface_table(uv_layout: str) -> np.ndarray:
    """(256, 256, 3) uint8, read-only: surface I 1..24 of the body at each texel, and its U and V 0..255, as `iuv` has them;
    all three 0 at texels without body. Raises ValueError for a layout without a table."""
    if not has_surface_table(uv_layout):
        known = sorted(file.stem.removeprefix("uv_surface_") for file in ASSETS.glob("uv_surface_*.png"))
        raise ValueError(
            f"texels can be found on the body in the uv layouts {', '.join(known)}, got {uv_layout!r}; a body's own table is "
            "made by python scripts/bake_uv_surface.py --body smpl=PATH"
        )
    with Image.open(_path(uv_layout)) as picture:
        table = np.array(picture.convert("RGB"))
    table.flags.writeable = False
    return table


def _path(uv_layout: str) -> Path:
    return ASSETS / f"uv_surface_{uv_layout}.png"
