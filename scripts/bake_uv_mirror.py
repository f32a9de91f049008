"""Make the table that mirrors a body's textures: which texel shows the mirrored place of the body.

    python scripts/bake_uv_mirror.py [--body smpl=PATH]

The embedded body's, `shards/assets/uv_mirror_makehuman.png`, is committed.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from shards.uv_mirror import ASSETS
from synth.anatomy import anatomy_of
from synth.mirror import mirrored_texels


def bake(spec: str, folder: Path) -> Path:
    """Write the table of `load_body(spec)`; returns its file."""
    anatomy = anatomy_of(spec)
    row, column = np.divmod(mirrored_texels(anatomy.atlas), len(anatomy.atlas.fill))
    picture = np.stack([row, column, np.zeros_like(row)], 2).astype(np.uint8)
    path = folder / f"uv_mirror_{anatomy.body.uv_layout}.png"
    Image.fromarray(picture).save(path, optimize=True)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body", default="open", help="open, or smpl=PATH of a licensed SMPL file")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to")
    arguments = parser.parse_args()
    out = bake(arguments.body, arguments.out)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")
