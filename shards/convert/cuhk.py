"""CUHK01 and CUHK03 as their authors gave them out.

Sources: Li et al. 2012 (CUHK01); Li et al. 2014 (CUHK03), section 3; Zhong et al. 2017 (its new protocol).
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from shards.codec import encode_jpeg
from shards.convert.listing import IMAGE, Entry, Malformed, Picture, by_name, files_in
from shards.convert.market import cuhk03_np
from shards.convert.matlab import read_matlab
from shards.convert.pictures import QUALITY, read_picture

CUHK03_MAT = "cuhk-03.mat"
_CUHK01 = re.compile(r"(?P<identity>\d{4})(?P<frame>00[1-4])" + IMAGE)
_CUHK03 = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})\.png")
_SPLITS = (("train_idx", "train"), ("query_idx", "query"), ("gallery_idx", "gallery"))


def cuhk01(root: Path) -> Iterator[Entry]:
    """CUHK01: pictures 1 and 2 of a person are of camera 1, 3 and 4 of camera 2, all in `campus` or in root itself.

    The first half of the people by number, rounded down (485 of 971), is train; of the others (486) camera 1 is query
    and camera 2 gallery. Published results average over random halves.
    """
    files = files_in(root, "campus" if (root / "campus").is_dir() else "")
    entries = list(by_name(files, _CUHK01, like="0001001.png", split="train"))
    people = sorted({entry.identity for entry in entries if isinstance(entry, Picture)})
    train = set(people[: len(people) // 2])
    for entry in entries:
        if isinstance(entry, Picture):
            camera_id = (entry.frame + 1) // 2
            split = "train" if entry.identity in train else ("query", "gallery")[camera_id - 1]
            entry = entry._replace(camera_id=camera_id, split=split)
        yield entry


def cuhk03(root: Path, boxes: str) -> Iterator[Entry]:
    """CUHK03 by the new protocol, 767 people to train and 700 to test; boxes is `labeled` or `detected`.

    Every person was seen by one of five pairs of cameras; camera 1 and 2 are the views of the pair.

    root holds `cuhk-03.mat` and `cuhk03_new_protocol_config_BOXES.mat`, or the folders of CUHK03-NP. Raises
    FileNotFoundError where it holds neither.
    """
    if not (root / CUHK03_MAT).is_file():
        yield from cuhk03_np(root, boxes)
        return
    fields = ("filelist", "labels", *(field for field, _ in _SPLITS))
    protocol = read_matlab(root / f"cuhk03_new_protocol_config_{boxes}.mat", fields)
    names, labels = protocol["filelist"].ravel(), protocol["labels"].ravel()
    for field, split in _SPLITS:
        for index in protocol[field].ravel().astype(int).tolist():
            if not 1 <= index <= min(len(names), len(labels)):
                raise ValueError(f"{field} of the protocol of CUHK03 says {index}, of {len(names)} names")
            name, label = str(names[index - 1].item()), int(labels[index - 1])
            file, match = f"{CUHK03_MAT}#{boxes}/{name}", _CUHK03.fullmatch(name)
            if match is None:
                yield Malformed(file, "the protocol must list names like 1_001_1_01.png")
            else:
                yield Picture(file=file, identity=f"{label:04d}", camera_id=int(match[3]), split=split)


def read_cuhk03(root: Path, picture: Picture) -> dict[str, bytes]:
    """A picture of `cuhk-03.mat` as JPEG, or a file of CUHK03-NP. Raises ValueError naming it where there is none."""
    container, _, place = picture.file.partition("#")
    if container != CUHK03_MAT:
        return read_picture(root, picture)
    boxes, name = place.split("/")
    pair, person, _, number = map(int, _CUHK03.fullmatch(name).groups())
    file = _open(root / CUHK03_MAT)
    try:
        # MATLAB's (5, 1) cell of (people, 10) cells of (H, W, 3) arrays, with all axes reversed.
        people = file[file[boxes][0, pair - 1]]
        array = file[people[number - 1, person - 1]][()].T
        return {"image.jpg": encode_jpeg(array, quality=QUALITY)}
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(f"{root / CUHK03_MAT} has no picture {place}: {error}") from error


@lru_cache(maxsize=1)
def _open(path: Path) -> Any:
    """The file, left open for the life of the process that reads its pictures one by one."""
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file (MATLAB 7.3): {error}") from error
