"""Partial-REID and Partial-iLIDS: pictures of a part of a person look for a whole one.

Both are for testing alone, and their protocols leave no picture out for its camera. So partial pictures count as camera 1
and whole ones as camera 2, as is usual, also where the names `N_cM...` of some copies of Partial-iLIDS tell of cameras: a
person's two pictures may come from the same. Source: Zheng et al. 2015 (Partial-REID); He et al. 2018 (Partial-iLIDS).
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from shards.convert.listing import IMAGE, Entry, Picture, by_name, files_in

_NAME = re.compile(r"(?P<identity>\d+)(?:_\w+)?" + IMAGE)


def partial_reid(root: Path) -> Iterator[Entry]:
    """`partial_body_images` is the query, `whole_body_images` the gallery.

    `occluded_body_images`, which some copies have besides, belongs to another protocol and is left alone.
    """
    return _probe_and_gallery(root, "partial_body_images", "whole_body_images", "001_001.jpg")


def partial_ilids(root: Path) -> Iterator[Entry]:
    """`Probe` is the query, `Gallery` the gallery, written small in some copies."""
    probe, gallery = (name.lower() if (root / name.lower()).is_dir() else name for name in ("Probe", "Gallery"))
    return _probe_and_gallery(root, probe, gallery, "001.jpg")


def _probe_and_gallery(root: Path, probe: str, gallery: str, like: str) -> Iterator[Entry]:
    for folder, split, camera_id in ((probe, "query", 1), (gallery, "gallery", 2)):
        refine = partial(_seen_by, camera_id)
        yield from by_name(files_in(root, folder), _NAME, like=like, split=split, refine=refine)


def _seen_by(camera_id: int, picture: Picture) -> Picture:
    """Told by camera `camera_id`; 1 and 001 are one person, and person 0 is no distractor."""
    return picture._replace(identity=f"{int(picture.identity):04d}", camera_id=camera_id)
