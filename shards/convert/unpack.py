"""A set of shards as a folder in the Market-1501 layout, which other reID tools train and test on.

Its file names say numbers, so identities and cameras need some. A Market-1501 set gets its own back, and the names that it
came with. Where a set has no numbers of its own that would do, they are given from 1, and `numbers.json` beside the folders
says what became what. Junk stays -1 and distractors 0000.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shards.convert.market import FOLDERS
from shards.errors import ShardError
from shards.meta import DISTRACTOR, JUNK, Meta
from shards.table import Table

NUMBERS = "numbers.json"
MAX_CAMERA = 9
"""Other tools read one digit after `_c`."""
_BOX = re.compile(r"\d+_(?:-1|\d{4,})_c\d+s\d+_\d{6,}_(\d{2,})")
"""A key made from a Market-1501 name; the group is the number of the box in its frame."""
_SPECIAL = {f"/{JUNK}": "-1", f"/{DISTRACTOR}": "0000"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Identities or cameras, and the numbers that they have in file names."""

    of: Mapping[str, int]
    are_own: bool
    """Whether they are those that the data set has itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """What was written."""

    num_pictures: Mapping[str, int]
    """Folder -> pictures."""
    identities: Numbers
    """Identity -> number, without junk and distractors."""
    cameras: Numbers
    """`DATASET/CAMERA` -> number; CAMERA is -1 where it is not known."""


def unpack_market1501(src: Path, out: Path, *, progress: Callable[[int, int], None] | None = None) -> Unpacked:
    """Write the pictures of a set, byte for byte, under Market-1501 names into a new folder.

    The folder takes its name when whole. Raises ShardError, naming the key, for a sample without identity or split;
    FileExistsError where `out` is there already and not empty; FileNotFoundError where there is no set.
    """
    out = Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already: remove it, or choose another folder")
    table = Table(src)
    for what, values in (("identity", table.identities), ("split", table.splits)):
        if (missing := np.flatnonzero(values == "")).size:
            rule = f"has no {what}, as {missing.size:,} samples have not, and a Market-1501 name needs one"
            raise ShardError(rule, key=str(table.keys[missing[0]]), field=f"meta.{what}")
    done = Unpacked(
        num_pictures={folder: int((table.splits == split).sum()) for folder, split in FOLDERS.items()},
        identities=number_identities(i for i in np.unique(table.identities).tolist() if _special(i) is None),
        cameras=number_cameras(set(zip(table.datasets.tolist(), table.camera_ids.tolist(), strict=True))),
    )
    temporary = out.with_name(f".tmp~{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write(table, temporary, done, progress or (lambda done, found: None))
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return done


def number_identities(identities: Iterable[str]) -> Numbers:
    """Own numbers where all are `DATASET/NUMBER` of one data set, no two alike and none 0; else 1, 2, ... by name."""
    identities = sorted(identities)
    parts = [identity.rpartition("/") for identity in identities]
    if len({dataset for dataset, _, _ in parts}) <= 1 and all(part[2].isdecimal() for part in parts):
        own = [int(number) for _, _, number in parts]
        if min(own, default=1) > 0 and len({*own}) == len(own):
            return Numbers(of=dict(zip(identities, own, strict=True)), are_own=True)
    return Numbers(of={identity: number for number, identity in enumerate(identities, start=1)}, are_own=False)


def number_cameras(cameras: set[tuple[str, int]]) -> Numbers:
    """cameras: (data set, number). Own numbers where all are of one data set and lie in 1..MAX_CAMERA; else 1, 2, ..."""
    are_own = len({dataset for dataset, _ in cameras}) <= 1 and all(1 <= own <= MAX_CAMERA for _, own in cameras)
    numbered = {
        _camera(dataset, own): own if are_own else number
        for number, (dataset, own) in enumerate(sorted(cameras), start=1)
    }
    return Numbers(of=numbered, are_own=are_own)


def _write(table: Table, folder: Path, numbered: Unpacked, progress: Callable[[int, int], None]) -> None:
    folder_of = {split: name for name, split in FOLDERS.items()}
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    names = _Names()
    for i in range(len(table)):
        meta = table.read(i, ("meta",))["meta"]
        number = _special(meta.identity) or f"{numbered.identities.of[meta.identity]:04d}"
        camera = numbered.cameras.of[_camera(meta.dataset, -1 if meta.camera_id is None else meta.camera_id)]
        name = names.give(f"{folder_of[meta.split]}/{number}_c{camera}", meta, str(table.keys[i]))
        (folder / name).write_bytes(table.read_members(i, ("image.jpg",))["image.jpg"])
        progress(i + 1, 0)
    made = {
        name: numbers.of
        for name, numbers in (("identities", numbered.identities), ("cameras", numbered.cameras))
        if not numbers.are_own
    }
    if made:
        (folder / NUMBERS).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(slots=True)
class _Names:
    """Paths of files, no two alike."""

    given: set[str] = field(default_factory=set)
    boxes: dict[str, int] = field(default_factory=dict)
    """Start of a name -> number of the box given last."""

    def give(self, start: str, meta: Meta, key: str) -> str:
        """`query/0002_c1s1_000451_03.jpg` from its start, `query/0002_c1`; the box has the number that the key remembers,
        else the next that is free."""
        start = f"{start}s{1 if meta.sequence is None else meta.sequence}_{meta.frame or 0:06d}"
        own = _BOX.fullmatch(key)
        name = f"{start}_{own[1]}.jpg" if own else None
        while name is None or name in self.given:
            self.boxes[start] = self.boxes.get(start, 0) + 1
            name = f"{start}_{self.boxes[start]:02d}.jpg"
        self.given.add(name)
        return name


def _special(identity: str) -> str | None:
    """Market-1501's name for an identity that is none."""
    return next((name for end, name in _SPECIAL.items() if identity.endswith(end)), None)


def _camera(dataset: str, camera_id: int) -> str:
    return f"{dataset}/{camera_id}"
