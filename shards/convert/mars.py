"""MARS: tracklets, `bbox_train/0001/0001C1T0001F001.jpg`: identity, camera, tracklet (our sequence), frame.

Folder `00-1` is junk and `0000` distractors. Query tracklets are rows of `info/tracks_test_info.mat` (first and last
picture, identity, camera) that `info/query_IDX.mat` numbers, pictures counted from 1 in `info/test_name.txt`, or in the
order of names where that file is missing. Source: Zheng et al. 2016, section 3.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from shards.convert.listing import IMAGE, Entry, Malformed, Picture, by_name, files_in, folders_in
from shards.convert.matlab import read_matlab
from shards.meta import DISTRACTOR, JUNK

_NAME = re.compile(r"(?P<identity>00-1|\d{4})C(?P<camera_id>\d)T(?P<sequence>\d{4})F(?P<frame>\d{3,})" + IMAGE)
_SPECIAL = {"00-1": JUNK, "0000": DISTRACTOR}
_TRACKS, _QUERY, _NAMES = "info/tracks_test_info.mat", "info/query_IDX.mat", "info/test_name.txt"


def mars(root: Path) -> Iterator[Entry]:
    """MARS. Without the two .mat files all of `bbox_test` is gallery.

    Raises FileNotFoundError where only one of them is there, ValueError where they do not fit the pictures.
    """
    yield from _tracklets(root, "bbox_train", "train")
    test = list(_tracklets(root, "bbox_test", "gallery"))
    query = _query_names(root, [entry.file for entry in test if isinstance(entry, Picture)])
    for entry in test:
        is_query = isinstance(entry, Picture) and entry.file.rpartition("/")[2] in query
        yield entry._replace(split="query") if is_query else entry


def _tracklets(root: Path, above: str, split: str) -> Iterator[Entry]:
    for folder in folders_in(root, above):
        if isinstance(folder, Malformed):
            yield folder
            continue
        for entry in by_name(files_in(root, folder), _NAME, like="0001C1T0001F001.jpg", split=split):
            if isinstance(entry, Picture) and entry.identity != folder.rpartition("/")[2]:
                yield Malformed(entry.file, "lies in another identity's folder")
            elif isinstance(entry, Picture):
                yield entry._replace(identity=_SPECIAL.get(entry.identity, entry.identity))
            else:
                yield entry


def _query_names(root: Path, files: list[str]) -> set[str]:
    """Names of the pictures of query tracklets."""
    there = [name for name in (_TRACKS, _QUERY) if (root / name).is_file()]
    if not there:
        return set()
    if len(there) == 1:
        raise FileNotFoundError(f"{root} has {there[0]} alone: the query needs {_TRACKS} and {_QUERY}")
    tracks, query = _matrix(root / _TRACKS), _matrix(root / _QUERY).ravel().tolist()
    if (root / _NAMES).is_file():
        names = (root / _NAMES).read_text(encoding="utf-8").split()
    else:
        names = sorted(file.rpartition("/")[2] for file in files)
    if tracks.ndim != 2 or tracks.shape[1] != 4 or not all(1 <= row <= len(tracks) for row in query):
        raise ValueError(f"{root / _TRACKS} must have 4 columns, and a row for each of {_QUERY}; got {tracks.shape}")
    return set(chain.from_iterable(_tracklet(root, names, tracks[row - 1].tolist()) for row in query))


def _tracklet(root: Path, names: list[str], row: list[int]) -> list[str]:
    """Names of the pictures of one row, held against its identity and camera."""
    first, last, identity, camera_id = row
    tracklet = names[first - 1 : last]
    start = f"{'00-1' if identity == -1 else f'{identity:04d}'}C{camera_id}T"
    of_one = {name.partition("F")[0] for name in tracklet}
    if not 1 <= first <= last <= len(names) or len(of_one) != 1 or not tracklet[0].startswith(start):
        raise ValueError(
            f"{root / _TRACKS} says that pictures {first} to {last} of bbox_test are one tracklet {start}..., which they "
            f"are not: pictures are missing, or {_NAMES} is (put it beside the others)"
        )
    return tracklet


def _matrix(path: Path) -> np.ndarray:
    """The one array of a MATLAB file, int. Raises ValueError where there is not one."""
    arrays = list(read_matlab(path).values())
    if len(arrays) != 1 or not np.issubdtype(arrays[0].dtype, np.number):
        raise ValueError(f"{path} must hold one array of numbers, got {len(arrays)} variables")
    return arrays[0].astype(int)
