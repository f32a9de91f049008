"""Pictures outside of shards: files of people, each cropped already, to be embedded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reid.batch import UNKNOWN, StoredBatch
from reid.dataset import InputConfig, resize

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def pictures_in(folder: Path) -> list[Path]:
    """All pictures below a folder, by name. Raises FileNotFoundError where there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise FileNotFoundError(f"no pictures ({', '.join(SUFFIXES)}) in {folder}")
    return found


def read_picture(path: Path, input: InputConfig) -> np.ndarray:
    """(H, W, 3) uint8, RGB, resized as `input` says. Raises ValueError naming the file where it does not decode."""
    try:
        with Image.open(path) as image:
            return resize(np.array(image.convert("RGB")), input.stored)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no picture, or a damaged one: {error}") from error


class PictureLoader:
    """Batches of picture files, decoded as they are asked for: a `loader.Loader` of people nobody knows."""

    def __init__(self, paths: Sequence[Path], input: InputConfig, device: torch.device, num_threads: int):
        self._paths, self._input, self._device, self._num_threads = paths, input, device, num_threads

    def batches(self, rows: np.ndarray) -> Iterator[StoredBatch]:
        with ThreadPoolExecutor(max(self._num_threads, 1), thread_name_prefix="decode") as pool:
            for row in rows:
                pictures = list(pool.map(lambda i: read_picture(self._paths[i], self._input), row.tolist()))
                unknown = torch.full((len(row),), UNKNOWN, device=self._device)
                yield StoredBatch(
                    images=torch.from_numpy(np.stack(pictures)).to(self._device),
                    identities=unknown,
                    origins=torch.zeros_like(unknown),
                    camera_ids=unknown,
                    keys=tuple(str(self._paths[i]) for i in row.tolist()),
                )
