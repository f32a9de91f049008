"""Textures of people seen in a mirror: which texel goes where, one table for each uv layout.

An atlas need not be symmetric, and the embedded body's is not: hands, feet and ears lie on the other side's island, the
head lies on its side. So the tables are made from the body (`scripts/bake_uv_mirror.py`) and kept beside this file as
pictures: red is the row, green the column.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from shards.schema import TEXTURE_SIZE

ASSETS = Path(__file__).parent / "assets"


@functools.cache
def mirror_table(uv_layout: str) -> np.ndarray:
    """(256, 256) int64, read-only: the texel, as a flat index, that each texel of a mirrored texture is taken from.

    `texture.reshape(-1, 3)[mirror_table(layout)]` is the texture of the mirrored person. Texels that the body does not use
    keep their own. Raises ValueError for a layout without a table.
    """
    path = ASSETS / f"uv_mirror_{uv_layout}.png"
    if not path.is_file():
        known = sorted(file.stem.removeprefix("uv_mirror_") for file in ASSETS.glob("uv_mirror_*.png"))
        raise ValueError(
            f"textures can be mirrored in the uv layouts {', '.join(known)}, got {uv_layout!r}; a body's own table is made by "
            "python scripts/bake_uv_mirror.py --body smpl=PATH"
        )
    with Image.open(path) as picture:
        row, column, _ = np.moveaxis(np.asarray(picture.convert("RGB"), np.int64), 2, 0)
    table = row * TEXTURE_SIZE + column
    table.flags.writeable = False
    return table
