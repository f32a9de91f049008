"""Find a person in a gallery: pictures of one person to the pictures most like them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from reid.checkpoint import Run
from reid.dataset import InputConfig, choose_samples, resize
from reid.embeddings import JUNK as JUNK_CODE
from reid.embeddings import UNKNOWN_CAMERA, Embeddings
from reid.evaluate import embed
from reid.loader import Loader, WorkerLoader
from reid.pictures import PictureLoader, pictures_in, read_picture
from reid.ranking import RankingConfig, nearest
from shards.manifest import MANIFEST
from shards.meta import JUNK
from shards.remote import is_url
from shards.table import Table

TILE = InputConfig(height=256, width=128)
"""Size of every picture on the drawing: they are stretched there as they are for the network."""
GAP, LINE, COLUMNS = 8, 15, 10
PAPER, INK, SOFT = (255, 255, 255), (30, 30, 30), (100, 100, 100)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gallery:
    """N pictures to search in."""

    keys: np.ndarray
    """(N,) str: keys of samples, or paths within the folder."""
    identities: np.ndarray
    """(N,) str, "" where nobody knows."""
    camera_ids: np.ndarray
    """(N,) int64, -1 for unknown."""
    loader: Loader
    """Of all N, as the network wants them."""
    read: Callable[[int], np.ndarray]
    """Picture i (H, W, 3) uint8, RGB, of any size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A picture of the gallery that is like the query."""

    index: int
    """In the gallery."""
    key: str
    distance: float
    """By the metric of the run."""
    identity: str | None
    camera_id: int | None


def open_gallery(
    place: str, run: Run, accelerator: Accelerator, *, num_workers: int = 2, without: Sequence[Path] = ()
) -> Gallery:
    """The pictures of a shard set (its split "gallery" where it has one, else all; junk is left out) or of a folder.

    place: folder or URL of shards, or folder of pictures of people, each cropped already. without: files that are left out
    of a folder. Raises FileNotFoundError where there is no picture, ShardError for a bad set, ValueError for one of junk.
    """
    config, device = run.config.input, accelerator.device
    if is_url(place) or (Path(place) / MANIFEST).is_file():
        table = Table(place)
        wanted = ~np.char.endswith(table.identities, f"/{JUNK}")
        if "gallery" in table.splits:
            wanted &= table.splits == "gallery"
        if not wanted.any():
            raise ValueError(f"{place} must hold pictures that are no junk, to search in; it has none")
        rows = np.flatnonzero(wanted)
        return Gallery(
            keys=table.keys[rows],
            identities=table.identities[rows],
            camera_ids=table.camera_ids[rows],
            loader=WorkerLoader(choose_samples(table, rows, config), device, num_workers),
            read=lambda i: table.read(int(rows[i]), ("image",))["image"],
        )
    folder = Path(place)
    if not folder.is_dir():
        raise FileNotFoundError(f"a gallery is a set of shards or a folder of pictures, found no folder {place}")
    left_out = {path.resolve() for path in without}
    paths = [path for path in pictures_in(folder) if path.resolve() not in left_out]
    if not paths:
        raise FileNotFoundError(f"{place} must hold pictures besides the query, it has none")
    return Gallery(
        keys=np.array([str(path.relative_to(folder)) for path in paths]),
        identities=np.full(len(paths), ""),
        camera_ids=np.full(len(paths), UNKNOWN_CAMERA),
        loader=PictureLoader(paths, config, device, num_workers),
        read=lambda i: read_picture(paths[i], TILE),
    )


def search(run: Run, query: Sequence[Path], gallery: Gallery, num: int, accelerator: Accelerator) -> list[Match]:
    """The `num` pictures of a gallery that are most like a person, or all if it has fewer, the best first.

    query: files that all show this person; their embeddings are averaged as they are (Zheng et al. 2015, sec. 5.1). Raises
    ValueError for num < 1, no query, or a file that is no picture, FileNotFoundError for one that is not there.
    """
    if num < 1 or not query:
        raise ValueError(f"needs at least one match to find and one picture to go by, got {num} and {len(query)}")
    loader = PictureLoader(query, run.config.input, accelerator.device, 1)
    mean = _embed(run, loader, len(query), accelerator).mean(dim=0, keepdim=True)
    vectors = _embed(run, gallery.loader, len(gallery.keys), accelerator)
    person = Embeddings(
        vectors=mean.cpu().numpy(),
        identities=np.array([JUNK_CODE]),
        camera_ids=np.array([UNKNOWN_CAMERA]),
        keys=np.array([str(query[0])]),
    )
    others = Embeddings(
        vectors=vectors.cpu().numpy(),
        identities=np.zeros(len(gallery.keys), np.int64),  # whoever they are: nobody is left out
        camera_ids=gallery.camera_ids,
        keys=gallery.keys,
    )
    config = RankingConfig(metric=run.config.evaluate.metric)
    (indices,), (distances,) = nearest(person, others, num, config, device=accelerator.device)
    return [
        Match(
            index=i,
            key=str(gallery.keys[i]),
            distance=distance,
            identity=str(gallery.identities[i]) or None,
            camera_id=None if gallery.camera_ids[i] == UNKNOWN_CAMERA else int(gallery.camera_ids[i]),
        )
        for i, distance in zip(indices.tolist(), distances.tolist(), strict=True)
        if i >= 0
    ]


def _embed(run: Run, loader: Loader, num: int, accelerator: Accelerator) -> Tensor:
    """Embeddings (num, D), in batches no larger than they must be: the last one is filled up."""
    size = min(num, run.config.evaluate.batch_size)
    config = replace(run.config, evaluate=replace(run.config.evaluate, batch_size=size))
    return embed(run.model, loader, num, config, accelerator)


def draw_matches(query: Sequence[Path], matches: Sequence[Match], gallery: Gallery) -> Image.Image:
    """The query at the left, one picture below the other, and the matches in their order, each with what is known of it."""
    height = TILE.height + 3 * LINE + GAP
    num_rows = max(len(query), -(-len(matches) // COLUMNS))
    columns = 1 + min(COLUMNS, len(matches))
    size = (columns * (TILE.width + GAP) + 3 * GAP, num_rows * height + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, path in enumerate(query):
        _tile(sheet, (GAP, GAP + row * height), read_picture(path, TILE), ["query", path.name])
    line = TILE.width + 2 * GAP + GAP // 2
    draw.line([(line, GAP), (line, size[1] - GAP)], fill=SOFT)
    for number, match in enumerate(matches):
        row, column = divmod(number, COLUMNS)
        place = (TILE.width + 4 * GAP + column * (TILE.width + GAP), GAP + row * height)
        camera = [] if match.camera_id is None else [f"camera {match.camera_id}"]
        texts = [f"{number + 1}.  {match.distance:.4g}", match.identity or match.key, *camera]
        _tile(sheet, place, gallery.read(match.index), texts)
    return sheet


def _tile(sheet: Image.Image, place: tuple[int, int], pixels: np.ndarray, texts: Sequence[str]) -> None:
    """A picture and lines of text beneath it."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    left, top = place
    sheet.paste(Image.fromarray(resize(pixels, TILE.stored)), place)
    for number, text in enumerate(texts):
        while text and draw.textlength(text, font=font) > TILE.width:
            text = text[1:]  # the end tells pictures of a folder apart
        draw.text((left, top + TILE.height + 2 + number * LINE), text, fill=SOFT if number else INK, font=font)
