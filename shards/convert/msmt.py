"""MSMT17: `list_{train,val,query,gallery}.txt` name the pictures of `train` and `test` (v1) or `mask_*_v2` (v2).

A line is `PPPP/PPPP_III_CC_....jpg N`. Training and test people are numbered from 0 each and are not the same people, so
identities are `train-PPPP` and `test-PPPP`. The 1,041 people of list_train and list_val are the train split together.
Source: Wei et al. 2018, section 3.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from shards.convert.listing import IMAGE, Entry, Malformed, Picture

_VERSIONS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
_LISTS = (("train", 0, "train"), ("val", 0, "train"), ("query", 1, "query"), ("gallery", 1, "gallery"))
"""(list, 0 for the training folder or 1 for the test folder, split)."""
_NAME = re.compile(r"(\d{4})/(\d{4})_\d+_(\d+)(?:_\w+)?" + IMAGE)


def msmt17(root: Path) -> Iterator[Entry]:
    """MSMT17, version 1 or 2, whichever folders are there. Raises FileNotFoundError for a missing list or folder."""
    folders = next((pair for pair in _VERSIONS if all((root / name).is_dir() for name in pair)), None)
    if folders is None:
        raise FileNotFoundError(f"no folders train and test, nor mask_train_v2 and mask_test_v2, in {root}")
    for name, which, split in _LISTS:
        path = root / f"list_{name}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"no {path.name} in {root}: it says which pictures are {split}")
        for line in filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())):
            file = line.split()[0]
            match = _NAME.fullmatch(file)
            if match is None or match[1] != match[2]:
                rule = f"{path.name} must list names like 0000/0000_000_01_0303morning_0015_0.jpg"
                yield Malformed(f"{folders[which]}/{file}", rule)
                continue
            identity = f"{('train', 'test')[which]}-{match[1]}"
            yield Picture(file=f"{folders[which]}/{file}", identity=identity, camera_id=int(match[3]), split=split)
