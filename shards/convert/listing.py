"""What a layout tells of each picture, and folders listed in order, with nothing passed over unsaid."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from shards.meta import Split

PASSED_OVER = re.compile(r"\..*|thumbs\.db|desktop\.ini|.*\.(txt|md|pdf|mat|csv|json|xml|m|py)", re.IGNORECASE)
"""Names of files that data sets are handed round with and that are no pictures."""
IMAGE = r"\.(?i:jpe?g|png)"
"""End of a picture's name, as a pattern."""


class Picture(NamedTuple):
    """One picture of a data set. Numbers are >= 0, None where the layout does not tell."""

    file: str
    """Path below the data set's folder, with `/`; `FILE#PLACE` where several pictures lie in one file."""
    identity: str | None = None
    """Within the data set; JUNK and DISTRACTOR as in `shards.meta`."""
    camera_id: int | None = None
    sequence: int | None = None
    frame: int | None = None
    split: Split | None = None
    box: tuple[float, float, float, float] | None = None
    """(x, y, w, h) in the picture that it is cut from, pixels."""


class Malformed(NamedTuple):
    """A file that the layout has no place for, and why."""

    file: str
    rule: str


Entry = Picture | Malformed
ReadMembers = Callable[[Path, Picture], Mapping[str, bytes]]
"""(folder of the data set, picture) -> members of its sample but `meta.json`; raises ValueError naming the file."""


def files_in(root: Path, folder: str = "") -> list[str]:
    """Paths of what lies in root/folder, sorted, but `PASSED_OVER`. Raises FileNotFoundError where there is no such folder."""
    place = root / folder
    if not place.is_dir():
        raise FileNotFoundError(
            f"no folder {place}; SRC must be the data set's folder, laid out as its authors give it"
        )
    above = f"{folder}/" if folder else ""
    return [above + name for name in sorted(os.listdir(place)) if not PASSED_OVER.fullmatch(name)]


def files_below(root: Path, *, leave: str) -> Iterator[str]:
    """Paths of the files at any depth below root, folder after folder, sorted, but `PASSED_OVER`; leave: start of names of
    folders not to look into."""
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", leave)))
        above = Path(place).relative_to(root)
        yield from ((above / name).as_posix() for name in sorted(names) if not PASSED_OVER.fullmatch(name))


def folders_in(root: Path, folder: str = "") -> Iterator[str | Malformed]:
    """Paths of the folders in root/folder, sorted; whatever else lies there is malformed."""
    for path in files_in(root, folder):
        yield path if (root / path).is_dir() else Malformed(path, "lies outside the folders for pictures")


def by_name(
    files: Iterable[str],
    pattern: re.Pattern,
    *,
    like: str,
    split: Split | None,
    refine: Callable[[Picture], Picture] | None = None,
) -> Iterator[Entry]:
    """Pictures that their file names tell all about.

    pattern matches the last part of a path; its groups `identity`, `camera_id`, `sequence` and `frame`, those that it
    has, are the picture's. like: an example of such a name. refine: what else there is to say of a picture.
    """
    for file in files:
        match = pattern.fullmatch(file.rpartition("/")[2])
        if match is None:
            yield Malformed(file, f"must be named like {like}")
            continue
        told = match.groupdict()
        identity = told.pop("identity")
        numbers = {key: int(value) for key, value in told.items() if value is not None}
        picture = Picture(file=file, identity=identity, split=split, **numbers)
        yield picture if refine is None else refine(picture)
