"""Textures from a folder: SURREAL's scans or any pictures in the body's own uv layout, in place of painted outfits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from synth.anatomy import TEXTURE_SIZE

SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TextureFolder:
    """Square pictures in the body's uv layout; people who wear them are bare bodies, all cloth is in the picture.

    paths: in sorted order; licence: of the pictures, recorded with every sample.
    """

    paths: tuple[Path, ...]
    licence: str

    @classmethod
    def from_folder(cls, folder: Path, licence: str) -> "TextureFolder":
        """Index every picture below folder; headers are read, so that a bad file is found before the first shard.

        Raises FileNotFoundError for a missing or empty folder, ValueError naming the file for a picture that is
        unreadable, not square or smaller than 256 pixels, and for a missing licence.
        """
        if not licence:
            raise ValueError(
                "textures need their licence recorded: give --texture-licence, for instance 'SURREAL licence'"
            )
        if not folder.is_dir():
            raise FileNotFoundError(
                f"texture folder {folder} does not exist; name the folder that holds the uv pictures"
            )
        paths = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no .jpg or .png texture")
        for path in paths:
            try:
                with Image.open(path) as picture:
                    width, height = picture.size
            except (OSError, UnidentifiedImageError) as error:
                raise ValueError(f"texture {path} cannot be read ({error}); replace or remove it") from error
            if width != height or width < TEXTURE_SIZE:
                raise ValueError(
                    f"texture {path} is {width} x {height}; uv pictures are square and at least {TEXTURE_SIZE} pixels: "
                    "resize or remove it"
                )
        return cls(paths=paths, licence=licence)

    def read(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], str]:
        """Draw one: (256, 256, 3) uint8 sRGB and the file's name. Raises ValueError naming a file cut short."""
        path = self.paths[int(rng.integers(len(self.paths)))]
        try:
            with Image.open(path) as picture:
                square = picture.convert("RGB").resize((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.BOX)
        except OSError as error:
            raise ValueError(f"texture {path} cannot be decoded ({error}); replace or remove it") from error
        return np.asarray(square), path.name
