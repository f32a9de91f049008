"""A user's COCO images and the JSON of their instances, read once for backgrounds and occluders alike."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Instances:
    """Images and annotations of an instances JSON whose images are all there: large, to make indices from, not to keep.

    Iterating gives every image in the order of ids, with the list of its annotations, as the JSON has them.
    """

    folder: Path
    path: Path
    """The JSON."""
    coco: COCO
    person: int
    """Id of the category "person"."""

    @classmethod
    def open(cls, folder: Path | str, annotations: Path | str) -> Instances:
        """Read the JSON (COCO 2017's training set takes half a minute).

        Raises FileNotFoundError if the folder, the JSON or an image that the JSON names is missing, and ValueError if
        the JSON is not COCO's or has no category "person".
        """
        folder, path = Path(folder), Path(annotations)
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}; give the folder that holds the COCO images")
        coco = _load(path)
        _check_files(folder, path, [image["file_name"] for image in coco.dataset["images"]])
        people = coco.getCatIds(catNms=["person"])
        if not people:
            raise ValueError(f"{path} has no category 'person', so nobody can be kept out; use an instances JSON")
        return cls(folder=folder, path=path, coco=coco, person=people[0])

    def __len__(self) -> int:
        return len(self.coco.dataset["images"])

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        for image in sorted(self.coco.dataset["images"], key=lambda image: image["id"]):
            yield image, self.coco.imgToAnns.get(image["id"], [])


def read_pixels(path: Path, size: tuple[int, int], *, shrink: float = 1.0) -> NDArray[np.uint8]:
    """An image file of `size` (height, width), as (H, W, 3) uint8 sRGB, of its own size or up to `shrink` times smaller.

    A JPEG is decoded at half its size or less where shrink >= 2 allows it. Raises FileNotFoundError, or ValueError if
    the file is no image, is cut short, or has another size.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\xff\xd8":
            found = simplejpeg.decode_jpeg_header(data)[:2]
            least = int(np.ceil(size[0] / shrink)), int(np.ceil(size[1] / shrink))
            pixels = simplejpeg.decode_jpeg(data, min_height=least[0], min_width=least[1], min_factor=2)
        else:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
            found = pixels.shape[:2]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} has gone since the folder was indexed; restore it") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not a whole image ({error}); restore it, or take it out of the JSON") from error
    if tuple(found) != size:
        raise ValueError(
            f"{path} is {found[1]} x {found[0]} pixels, but its JSON says {size[1]} x {size[0]}; "
            "take images and JSON from the same release"
        )
    return pixels


def _load(annotations: Path) -> COCO:
    """pycocotools' index, without what it prints."""
    if not annotations.is_file():
        raise FileNotFoundError(
            f"no file {annotations}; give the instances JSON of the images, as instances_train2017.json"
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(annotations))
        fields = {"file_name", "height", "width", "id"}
        complete = all(fields <= image.keys() for image in coco.dataset["images"])
        if complete and coco.dataset["images"] and "categories" in coco.dataset and "annotations" in coco.dataset:
            return coco
    except (json.JSONDecodeError, UnicodeDecodeError, AssertionError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{annotations} is not a COCO instances JSON ({type(error).__name__}: {error})") from error
    raise ValueError(
        f"{annotations} is not a COCO instances JSON: it needs images with sizes, annotations and categories"
    )


def _check_files(folder: Path, annotations: Path, names: Sequence[str]) -> None:
    # One listing is far quicker than asking for each of 100,000 files.
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    missing = [name for name in names if name not in present]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} images of {annotations} are not in {folder}, the first is {missing[0]}; "
            "give the JSON that belongs to the folder"
        )
