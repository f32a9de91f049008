"""A picture's file as `image.jpg`: a JPEG as it is, a PNG encoded once."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from shards.codec import check_jpeg, encode_jpeg
from shards.convert.listing import Picture

QUALITY = 95
"""Of the JPEG that is made where a data set has no JPEG itself, with chroma at full resolution."""
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")


def read_picture(root: Path, picture: Picture) -> dict[str, bytes]:
    """The file of a picture as `image.jpg`. Raises ValueError naming the file where it is no whole JPEG and no PNG."""
    path = f"{root}/{picture.file}"
    with open(path, "rb", buffering=0) as file:
        data = file.readall()
    try:
        if not data.startswith(b"\x89PNG"):
            check_jpeg(data)  # pixels are left alone: `verify` decodes them
            return {"image.jpg": data}
        return {"image.jpg": encode_jpeg(decode_png(data), quality=QUALITY)}
    except ValueError as error:
        raise ValueError(f"{path}: {error}; mend it or take it out") from error


def decode_png(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8, RGB, without transparency. Raises ValueError where it does not decode, or has 16 bits a channel."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in _MODES:
                raise ValueError(f"a PNG must have 8 bits a channel, got mode {image.mode}")
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"broken PNG: {error}") from error
