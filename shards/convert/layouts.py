"""The table of layouts, and a data set's folder as one complete listing.

What a data set may be used for is its authors' to say; the lines here are reminders that go into every manifest.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import simplejpeg

from shards.convert.cuhk import cuhk01, cuhk03, read_cuhk03
from shards.convert.densepose import coco_densepose, read_crop
from shards.convert.folder import folder
from shards.convert.listing import Entry, Malformed, Picture, ReadMembers
from shards.convert.market import dukemtmcreid, market1501
from shards.convert.mars import mars
from shards.convert.msmt import msmt17
from shards.convert.partial import partial_ilids, partial_reid
from shards.convert.pictures import read_picture
from shards.convert.rendered import clonedperson, randperson, unrealperson

LayoutName = Literal[
    "market1501",
    "dukemtmcreid",
    "cuhk01",
    "cuhk03-labeled",
    "cuhk03-detected",
    "msmt17",
    "mars",
    "partial-reid",
    "partial-ilids",
    "randperson",
    "unrealperson",
    "clonedperson",
    "coco-densepose",
    "folder",
]
_RESEARCH = "research only, under its authors' terms"
NOT_STATED = "not stated"
_SYNTHETIC = "rendered people, under its authors' terms"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How one data set is read."""

    entries: Callable[[Path], Iterator[Entry]]
    licence: str
    dataset: str | None
    """Name of the data set; None where only the user knows."""
    read: ReadMembers = read_picture


LAYOUTS: Mapping[LayoutName, Layout] = {
    "market1501": Layout(entries=market1501, dataset="market1501", licence=f"Market-1501: {_RESEARCH}"),
    "dukemtmcreid": Layout(
        entries=dukemtmcreid,
        dataset="dukemtmcreid",
        licence="DukeMTMC-reID: withdrawn by its authors in 2019; no download is offered",
    ),
    "cuhk01": Layout(entries=cuhk01, dataset="cuhk01", licence=f"CUHK01: {_RESEARCH}"),
    **{
        f"cuhk03-{boxes}": Layout(
            entries=partial(cuhk03, boxes=boxes),
            dataset="cuhk03",
            licence=f"CUHK03: {_RESEARCH}",
            read=read_cuhk03,
        )
        for boxes in ("labeled", "detected")
    },
    "msmt17": Layout(
        entries=msmt17,
        dataset="msmt17",
        licence="MSMT17: research only, under the agreement signed for it",
    ),
    "mars": Layout(entries=mars, dataset="mars", licence=f"MARS: {_RESEARCH}"),
    "partial-reid": Layout(entries=partial_reid, dataset="partial-reid", licence=f"Partial-REID: {_RESEARCH}"),
    "partial-ilids": Layout(
        entries=partial_ilids,
        dataset="partial-ilids",
        licence="Partial-iLIDS: research only, under the terms of i-LIDS, which its pictures are from",
    ),
    "randperson": Layout(entries=randperson, dataset="randperson", licence=f"RandPerson: {_SYNTHETIC}"),
    "unrealperson": Layout(entries=unrealperson, dataset="unrealperson", licence=f"UnrealPerson: {_SYNTHETIC}"),
    "clonedperson": Layout(entries=clonedperson, dataset="clonedperson", licence=f"ClonedPerson: {_SYNTHETIC}"),
    "coco-densepose": Layout(
        entries=coco_densepose,
        dataset="coco-densepose",
        licence="COCO-DensePose: annotations for non-commercial use; COCO images, each under its own Flickr licence",
        read=read_crop,
    ),
    "folder": Layout(entries=folder, dataset=None, licence=NOT_STATED),
}
"""Name on the command line -> how it is read."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Listing:
    """A data set's folder, listed whole."""

    dataset: str
    licence: str
    pictures: tuple[Picture, ...]
    malformed: tuple[Malformed, ...]
    """What was passed over."""

    def digest(self) -> str:
        """SHA-256 of all that is told of the pictures: a folder that has changed gives another."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(repr(tuple(picture)).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def list_pictures(
    layout: LayoutName,
    src: Path,
    *,
    dataset: str | None = None,
    licence: str | None = None,
    skip_malformed: bool = False,
    min_side: int = 0,
) -> Listing:
    """The listing of a data set's folder; dataset and licence in place of the layout's own, whose licence is that of its
    own data set alone; min_side: pixels of a picture's shorter side below which it is passed over.

    Raises FileNotFoundError where a folder or list is missing; ValueError where there are no pictures, where the name of
    the data set cannot be part of an identity's, and, unless skip_malformed, naming files that the layout has no place for.
    """
    src, known = Path(src), LAYOUTS[layout]
    if not src.is_dir():
        raise FileNotFoundError(f"no folder {src}: give the data set's folder as SRC")
    if dataset is None:
        dataset = known.dataset or src.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", dataset):
        raise ValueError(
            f"a data set's name is letters, digits, '_' and '-', got {dataset!r}; give another by --dataset"
        )
    if licence is None:
        licence = known.licence if dataset == known.dataset else NOT_STATED
    entries = list(known.entries(src))
    malformed = tuple(entry for entry in entries if isinstance(entry, Malformed))
    if malformed and not skip_malformed:
        first = "\n  ".join(f"{src / one.file}: {one.rule}" for one in malformed[:5])
        raise ValueError(
            f"{len(malformed):,} files do not fit the layout {layout}:\n  {first}\n"
            "mend them, or pass over them by --skip-malformed, which counts and lists them"
        )
    pictures = tuple(entry for entry in entries if isinstance(entry, Picture))
    if min_side:
        small = {picture.file: rule for picture in pictures if (rule := _too_small(known, src, picture, min_side))}
        malformed += tuple(Malformed(file, rule) for file, rule in small.items())
        pictures = tuple(picture for picture in pictures if picture.file not in small)
    if not pictures:
        raise ValueError(f"no pictures of layout {layout} in {src}")
    return Listing(dataset=dataset, licence=licence, pictures=pictures, malformed=malformed)


def _too_small(layout: Layout, src: Path, picture: Picture, min_side: int) -> str | None:
    """What is wrong with a picture of fewer pixels; None of another. Those of boxes need not be read for it."""
    if picture.box is not None:
        width, height = map(int, picture.box[2:])
    else:
        height, width, *_ = simplejpeg.decode_jpeg_header(layout.read(src, picture)["image.jpg"])
    return None if min(height, width) >= min_side else f"is {height} x {width}, and smaller than {min_side} pixels"
