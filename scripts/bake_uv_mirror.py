"""Make the table that mirrors a body's textures: which texel shows the mirrored place of the body.

    python scripts/bake_uv_mirror.py [--body smpl=PATH]

The embedded body's, `shards/assets/uv_mirror_makehuman.png`, is committed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from shards.console import main, write_text
from shards.uv_mirror import ASSETS
from shards.writer import atomic_file
from synth.anatomy import anatomy_of
from synth.mirror import mirrored_texels


@dataclass(frozen=True, kw_only=True, slots=True)
class Bake:
    """Write `uv_mirror_LAYOUT.png`."""

    body: str = "open"
    """`open`, or `smpl=PATH` for a licensed SMPL file with its UV .obj beside it."""
    out: Path = ASSETS
    """Folder of the table; `shards` looks for it in its own."""

    def run(self) -> int:
        """Returns the exit code."""
        anatomy = anatomy_of(self.body)
        row, column = np.divmod(mirrored_texels(anatomy.atlas), len(anatomy.atlas.fill))
        picture = Image.fromarray(np.stack([row, column, np.zeros_like(row)], 2).astype(np.uint8))
        path = self.out / f"uv_mirror_{anatomy.body.uv_layout}.png"
        with atomic_file(path) as file:
            picture.save(file, format="PNG", optimize=True)
        write_text(f"{path}: {path.stat().st_size:,} bytes")
        return 0


def cli() -> int:
    """Parse the command line and write the table; returns the exit code."""
    return tyro.cli(Bake, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
