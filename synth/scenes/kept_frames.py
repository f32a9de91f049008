"""Whole frames with COCO annotations, so that detectors and pose estimators can be trained on them.

FRAMES/images/c03-s00007-f0002.jpg      a frame
FRAMES/circle-000001.json               annotations of one circle's frames
FRAMES/annotations.json                 of all frames, once the set is complete
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as masks

from shards.codec import encode_jpeg
from shards.semantics import KEYPOINTS, LIMBS
from shards.writer import atomic_file
from synth.scenes.config import MAX_COMPANY, SceneConfig
from synth.scenes.crops import Shot, shot_name
from synth.scenes.people import identity_name
from synth.scenes.visits import Passage, circles

PERSON = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(KEYPOINTS),
    "skeleton": [[KEYPOINTS.index(name) + 1 for name in limb] for limb in LIMBS],
}


class KeptFrames:
    """The frames of one circle."""

    def __init__(self, folder: Path, config: SceneConfig):
        self._folder, self._config = folder, config
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def add(self, passage: Passage, shots: list[Shot]) -> None:
        """Write the pictures of a passage and note who is seen in them."""
        for shot in shots:
            number = passage.number * self._config.walk.frames + shot.k + 1
            name = f"{shot_name(passage, shot.k)}.jpg"
            # A picture that is cut short by a kill is written anew with its shard, so it needs no care of its own.
            (self._folder / "images" / name).write_bytes(encode_jpeg(shot.picture, chroma="420"))
            height, width = shot.picture.shape[:2]
            self._images.append(
                {"id": number, "file_name": name, "height": height, "width": width, "camera_id": passage.camera.number}
            )
            for code in range(len(shot.people)):
                self._annotate(shot, code, number)

    def _annotate(self, shot: Shot, code: int, image: int) -> None:
        seen = shot.frame.owner == code
        if not seen.any():
            return
        mask = masks.encode(np.asfortranarray(seen.astype(np.uint8)))
        keypoints = shot.keypoints[code]
        labelled = keypoints[:, 2] > 0
        self._annotations.append(
            {
                "id": image * MAX_COMPANY + code,
                "image_id": image,
                "category_id": PERSON["id"],
                "iscrowd": 0,
                "bbox": [float(value) for value in masks.toBbox(mask)],
                "area": float(masks.area(mask)),
                "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
                # COCO's coordinates name pixels: their centres are at whole numbers.
                "keypoints": np.where(labelled[:, None], (keypoints - (0.5, 0.5, 0)).round(2), 0.0).ravel().tolist(),
                "num_keypoints": int(labelled.sum()),
                "identity": identity_name(self._config.seed, shot.people[code].track.person.number),
            }
        )

    def write(self, circle: int) -> None:
        """Write the annotations of circle number `circle`."""
        _write_json(
            _circle_path(self._folder, circle),
            {"images": self._images, "annotations": self._annotations, "categories": [PERSON]},
        )


def remove_frames(folder: Path) -> None:
    """Remove the frames and annotations of an older set; other files stay."""
    for pattern in ("images/c*-s*-f*.jpg", "circle-*.json", "annotations.json"):
        for path in folder.glob(pattern):
            path.unlink()


def join_annotations(folder: Path, config: SceneConfig) -> Path:
    """Write `annotations.json` of all circles' frames; returns its path. Raises FileNotFoundError if one is missing."""
    images, annotations = [], []
    for circle in circles(config):
        path = _circle_path(folder, circle.number)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: copy frames/ from where its shard was made, or make the set anew with --overwrite"
            )
        part = json.loads(path.read_bytes())
        images += part["images"]
        annotations += part["annotations"]
    path = folder / "annotations.json"
    _write_json(path, {"images": images, "annotations": annotations, "categories": [PERSON]})
    return path


def _circle_path(folder: Path, circle: int) -> Path:
    return folder / f"circle-{circle:06d}.json"


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps(value).encode())
