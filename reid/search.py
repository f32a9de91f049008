"""Find a person in a gallery: pictures of one person to the pictures most like them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image, ImageDraw, ImageFont

from reid.checkpoint import Run
from reid.embeddings import JUNK as JUNK_CODE
from reid.embeddings import UNKNOWN_CAMERA, Embeddings
from reid.evaluate import embed
from reid.fit import InputConfig, resize
from reid.pictures import PictureLoader, PictureSet, read_picture
from reid.ranking import RankingConfig, nearest
from shards.meta import JUNK
from shards.table import Table

TILE = InputConfig(height=256, width=128)
"""Size of every picture on the drawing: they are stretched there as they are for the network."""
GAP, LINE, COLUMNS = 8, 15, 10
PAPER, INK, SOFT = (255, 255, 255), (30, 30, 30), (100, 100, 100)


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


def is_searched(table: Table) -> np.ndarray:
    """(N,) bool: the samples of a set that are searched: its split "gallery" where it has one, else all; no junk."""
    wanted = ~np.char.endswith(table.identities, f"/{JUNK}")
    return wanted & (table.splits == "gallery") if "gallery" in table.splits else wanted


def search(run: Run, query: Sequence[Path], gallery: PictureSet, num: int, accelerator: Accelerator) -> list[Match]:
    """The `num` pictures of a gallery that are most like a person, or all if it has fewer, the best first.

    query: files that all show this person; their embeddings are averaged as they are (Zheng et al. 2015, sec. 5.1). Raises
    ValueError for num < 1, no query, or a file that is no picture, FileNotFoundError for one that is not there.
    """
    if num < 1 or not query:
        raise ValueError(f"needs at least one match to find and one picture to go by, got {num} and {len(query)}")
    loader = PictureLoader(query, run.config.input, accelerator.device, 1)
    mean = embed(run.model, loader, len(query), run.config, accelerator).mean(dim=0, keepdim=True)
    vectors = embed(run.model, gallery.loader, len(gallery.keys), run.config, accelerator)
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


def draw_matches(query: Sequence[Path], matches: Sequence[Match], gallery: PictureSet) -> Image.Image:
    """The query at the left, one picture below the other, and the matches in their order, each with what is known of it."""
    height = TILE.height + 3 * LINE + GAP
    num_rows = max(len(query), -(-len(matches) // COLUMNS))
    columns = 1 + min(COLUMNS, len(matches))
    size = (columns * (TILE.width + GAP) + 3 * GAP, num_rows * height + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, path in enumerate(query):
        _tile(sheet, (GAP, GAP + row * height), read_picture(path), ["query", path.name])
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
