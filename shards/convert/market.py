"""Market-1501, and the data sets that took over its folders: DukeMTMC-reID and CUHK03-NP.

`bounding_box_train`, `query` and `bounding_box_test` hold pictures named after identity and camera. Identity -1 is junk,
left out of scoring; 0 is a distractor, which stays in the gallery. Source: Zheng et al. 2015 (Market-1501), section 3;
Zheng et al. 2017 (DukeMTMC-reID); Zhong et al. 2017 (the new protocol of CUHK03).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from shards.convert.listing import IMAGE, Entry, Picture, by_name, files_in
from shards.meta import DISTRACTOR, JUNK, Split

FOLDERS: Mapping[str, Split] = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
"""Folder -> split."""
_MARKET = re.compile(r"(?P<identity>-1|\d{4,})_c(?P<camera_id>\d+)s(?P<sequence>\d+)_(?P<frame>\d{6,})_\d{2,}" + IMAGE)
_DUKE = re.compile(r"(?P<identity>-1|\d{4,})_c(?P<camera_id>\d+)_f(?P<frame>\d+)" + IMAGE)
_CUHK03_NP = re.compile(r"(?P<identity>\d{4,})_c(?P<camera_id>\d+)_\d+" + IMAGE)


def market1501(root: Path) -> Iterator[Entry]:
    """Market-1501, and what `unpack` writes."""
    return _folders(root, "", _MARKET, "0002_c1s1_000451_03.jpg")


def dukemtmcreid(root: Path) -> Iterator[Entry]:
    """DukeMTMC-reID; frames are numbered over each camera's whole recording."""
    return _folders(root, "", _DUKE, "0001_c2_f0046182.jpg")


def cuhk03_np(root: Path, boxes: str) -> Iterator[Entry]:
    """CUHK03-NP as it is handed round, in folders; boxes is `labeled` or `detected`."""
    return _folders(root, f"{boxes}/", _CUHK03_NP, "0001_c1_1.png")


def _folders(root: Path, above: str, pattern: re.Pattern, like: str) -> Iterator[Entry]:
    for folder, split in FOLDERS.items():
        yield from by_name(files_in(root, above + folder), pattern, like=like, split=split, refine=_special)


def _special(picture: Picture) -> Picture:
    """The identity as `shards.meta` names it where it is none."""
    if picture.identity == JUNK or int(picture.identity) != 0:
        return picture
    return picture._replace(identity=DISTRACTOR)
