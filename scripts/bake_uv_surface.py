"""Make the table that finds a body's texels on DensePose's surfaces: which (I, U, V) each shows.

    python scripts/bake_uv_surface.py [--body smpl=PATH]

The embedded body's, `shards/assets/uv_surface_makehuman.png`, is committed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from shards.console import main, write_text
from shards.uv_surface import ASSETS
from shards.writer import atomic_file
from synth.anatomy import Atlas, anatomy_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Bake:
    """Write `uv_surface_LAYOUT.png`."""

    body: str = "open"
    """`open`, or `smpl=PATH` for a licensed SMPL file with its UV .obj beside it."""
    out: Path = ASSETS
    """Folder of the table; `shards` looks for it in its own."""

    def run(self) -> int:
        """Returns the exit code."""
        anatomy = anatomy_of(self.body)
        path = self.out / f"uv_surface_{anatomy.body.uv_layout}.png"
        with atomic_file(path) as file:
            Image.fromarray(texel_surfaces(anatomy.atlas)).save(file, format="PNG", optimize=True)
        write_text(f"{path}: {path.stat().st_size:,} bytes")
        return 0


def texel_surfaces(atlas: Atlas) -> np.ndarray:
    """(S, S, 3) uint8: I, U and V at the texels that the body covers, 0 at others."""
    size = len(atlas.fill)
    column, row = (atlas.uv * [size, -size] + [0, size]).astype(np.int64).T
    table = np.zeros((size, size, 3), np.uint8)
    table[row, column, 0] = atlas.points.surface
    table[row, column, 1:] = (255 * atlas.surface_uv).round()
    return table


def cli() -> int:
    """Parse the command line and write the table; returns the exit code."""
    return tyro.cli(Bake, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
