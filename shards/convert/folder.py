"""Pictures sorted into a folder for each person: `FOLDER/IDENTITY/NAME.jpg`."""

from collections.abc import Iterator
from pathlib import Path

from shards.convert.listing import Entry, Malformed, Picture, files_in, folders_in
from shards.meta import DISTRACTOR

_SUFFIXES = (".jpg", ".jpeg", ".png")


def folder(root: Path) -> Iterator[Entry]:
    """A folder for each identity, any names in it; all of it train. A folder named -1 is junk, as in Market-1501."""
    for person in folders_in(root):
        if isinstance(person, Malformed):
            yield person
            continue
        identity = "0000" if person == DISTRACTOR else person  # whoever counts people from 0 means a person
        for file in files_in(root, person):
            if file.lower().endswith(_SUFFIXES):
                yield Picture(file=file, identity=identity, split="train")
            else:
                yield Malformed(file, f"must end in {', '.join(_SUFFIXES)}")
