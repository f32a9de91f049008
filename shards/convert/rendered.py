"""Rendered people of others: RandPerson, UnrealPerson and ClonedPerson.

Their cameras are numbered anew in every scene, so a camera's number here is 1000 x scene + camera. Sources: Wang et al. 2020
(RandPerson), Zhang et al. 2021 (UnrealPerson), Wang et al. 2022 (ClonedPerson), and the file structures that their
repositories describe.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from shards.convert.listing import IMAGE, Entry, Malformed, Picture, by_name, files_below, files_in, folders_in

CAMERAS_PER_SCENE = 1000
# The first release of RandPerson names the camera before the scene.
_SCENE_AND_CAMERA = r"(?=\w*_s(?P<sequence>\d+))(?=\w*_c(?P<camera_id>\d+))(?:_s\d+_c\d+|_c\d+_s\d+)"
_CHARACTER = re.compile(r"(?P<identity>\d+)" + _SCENE_AND_CAMERA + r"_f(?P<frame>\d+)" + IMAGE)
_UNREAL = re.compile(r"(?P<identity>\d+)_c(?P<camera_id>\d+)_(?P<frame>\d+)" + IMAGE)
_UNREAL_FOLDER = re.compile(r"unreal_v(\d+)\.(\d+)")
_LIKE = "000000_s00_c00_f000264.jpg"


def randperson(root: Path) -> Iterator[Entry]:
    """RandPerson, the subset or all scenes: pictures at any depth, all of them train.

    Folders `delete_*` hold what its authors took out and are left alone.
    """
    files = files_below(root, leave="delete_")
    return by_name(files, _CHARACTER, like=_LIKE, split="train", refine=_across_scenes)


def clonedperson(root: Path) -> Iterator[Entry]:
    """ClonedPerson: `train`, `test/query`, `test/gallery`."""
    for folder, split in (("train", "train"), ("test/query", "query"), ("test/gallery", "gallery")):
        yield from by_name(files_in(root, folder), _CHARACTER, like=_LIKE, split=split, refine=_across_scenes)


def unrealperson(root: Path) -> Iterator[Entry]:
    """UnrealPerson: folders `unreal_vX.Y/images`, environment X and character version Y; all of it train.

    A person is the same in every environment, but not in another version: identities are `Y-P`.
    """
    for folder in folders_in(root):
        if isinstance(folder, Malformed):
            yield folder
        elif (match := _UNREAL_FOLDER.fullmatch(folder)) is None:
            yield Malformed(folder, "must be named like unreal_v3.1")
        else:
            files, refine = files_in(root, f"{folder}/images"), partial(_across_versions, *match.groups())
            yield from by_name(files, _UNREAL, like="333_c001_78.jpg", split="train", refine=refine)


def _across_versions(environment: str, version: str, picture: Picture) -> Picture:
    identity = f"{version}-{picture.identity}"
    return _across_scenes(picture._replace(identity=identity, sequence=int(environment)))


def _across_scenes(picture: Picture) -> Picture:
    """Cameras of different scenes told apart, and person 0 from a distractor."""
    camera_id = CAMERAS_PER_SCENE * picture.sequence + picture.camera_id
    return picture._replace(camera_id=camera_id, identity=picture.identity.zfill(4))
