"""Pictures to embed: of a shard set, or files of people, each cropped already."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reid.batch import UNKNOWN, StoredBatch
from reid.dataset import choose_samples
from reid.embeddings import UNKNOWN_CAMERA
from reid.fit import InputConfig, resize
from reid.loader import Loader, WorkerLoader
from shards.manifest import MANIFEST
from shards.remote import is_url
from shards.table import Table

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureSet:
    """N pictures and what is known of them."""

    keys: np.ndarray
    """(N,) str: keys of samples, or paths within the folder."""
    identities: np.ndarray
    """(N,) str, "" where nobody knows."""
    camera_ids: np.ndarray
    """(N,) int64, -1 for unknown."""
    splits: np.ndarray
    """(N,) str, "" for none."""
    loader: Loader
    """Of all N, as the network wants them."""
    read: Callable[[int], np.ndarray]
    """Picture i (H, W, 3) uint8, RGB, as it is."""


def open_pictures(
    place: str,
    input: InputConfig,
    device: torch.device,
    *,
    num_workers: int = 2,
    wanted: Callable[[Table], np.ndarray] | None = None,
    without: Sequence[Path] = (),
) -> PictureSet:
    """The pictures of a shard set or of a folder.

    place: folder or URL of shards, or a folder of pictures of people, each cropped already. wanted: which samples of a
    table are taken, (N,) bool, by default all. without: files of a folder that are left out. Raises FileNotFoundError where
    there is nothing, ShardError for a bad set, ValueError for one without a wanted sample, and for files where
    input.picture is not what they show.
    """
    if is_url(place) or (Path(place) / MANIFEST).is_file():
        table = Table(place)
        rows = np.arange(len(table)) if wanted is None else np.flatnonzero(wanted(table))
        if not len(rows):
            raise ValueError(f"{place} must hold pictures that are no junk, to search in; it has none")
        return PictureSet(
            keys=table.keys[rows],
            identities=table.identities[rows],
            camera_ids=table.camera_ids[rows],
            splits=table.splits[rows],
            loader=WorkerLoader(choose_samples(table, rows, input), device, num_workers),
            read=lambda i: table.read(int(rows[i]), ("image",))["image"],
        )
    folder, left_out = Path(place), {path.resolve() for path in without}
    if not folder.is_dir():
        raise FileNotFoundError(f"pictures come from a set of shards or a folder, found no folder {place}")
    paths = [path for path in pictures_in(folder) if path.resolve() not in left_out]
    if not paths:
        raise FileNotFoundError(f"{place} must hold pictures besides the query, it has none")
    return PictureSet(
        keys=np.array([str(path.relative_to(folder)) for path in paths]),
        identities=np.full(len(paths), ""),
        camera_ids=np.full(len(paths), UNKNOWN_CAMERA),
        splits=np.full(len(paths), ""),
        loader=PictureLoader(paths, input, device, num_workers),
        read=lambda i: read_picture(paths[i]),
    )


def pictures_in(folder: Path) -> list[Path]:
    """All pictures below a folder, by name. Raises FileNotFoundError where there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise FileNotFoundError(f"no pictures ({', '.join(SUFFIXES)}) in {folder}")
    return found


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, RGB. Raises ValueError naming the file where it does not decode."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no picture, or a damaged one: {error}") from error


class PictureLoader:
    """Batches of picture files, decoded as they are asked for: a `loader.Loader` of people nobody knows."""

    def __init__(self, paths: Sequence[Path], input: InputConfig, device: torch.device, num_threads: int):
        if input.picture != "image":
            raise ValueError(
                f"this network is given a person's {input.picture} in place of a picture: name a set of shards, which can have "
                f"it, in place of files such as {paths[0]}"
            )
        self._paths, self._input, self._device, self._num_threads = paths, input, device, num_threads

    def batches(self, rows: np.ndarray) -> Iterator[StoredBatch]:
        with ThreadPoolExecutor(max(self._num_threads, 1), thread_name_prefix="decode") as pool:
            for row in rows:
                pictures = list(pool.map(self._read, row.tolist()))
                unknown = torch.full((len(row),), UNKNOWN, device=self._device)
                yield StoredBatch(
                    images=torch.from_numpy(np.stack(pictures)).to(self._device),
                    identities=unknown,
                    origins=torch.zeros_like(unknown),
                    camera_ids=unknown,
                    keys=tuple(str(self._paths[i]) for i in row.tolist()),
                )

    def _read(self, i: int) -> np.ndarray:
        return resize(read_picture(self._paths[i]), self._input.stored)
