"""RTMPose and its kin through rtmlib (extra `pose`), with a network in a local ONNX file: nothing is downloaded."""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from generative.poses.source import NUM_KEYPOINTS, PIXEL_CENTRE, Picture, check_threshold, seen_at
from shards.build import file_sha256

Device = Literal["cpu", "cuda"]
_DEFAULT_SIZE = (192, 256)
"""Width and height of the pictures that most of these networks are given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RtmPose:
    """A network that is given one person's whole picture: a `PoseSource`."""

    path: Path
    """ONNX file."""
    device: Device
    threshold: float
    """A joint of less confidence is unknown."""
    hash: str
    name: str = "rtmlib"

    def find(self, pictures: Iterable[Picture]) -> Iterator[np.ndarray | None]:
        network = _load(self.path, self.device)
        for picture in pictures:
            # RTMPose learned from RGB, and rtmlib hands channels on as they come, whatever its examples read.
            points, scores = network(picture.decode())
            if points.shape != (1, NUM_KEYPOINTS, 2):
                raise ValueError(
                    f"{self.path} must find COCO's {NUM_KEYPOINTS} keypoints of one person, it finds an array {points.shape}: "
                    "take a network for the body alone"
                )
            yield seen_at(np.column_stack([points[0] + PIXEL_CENTRE, scores[0]]), self.threshold)


def open_rtm(path: Path, *, device: Device, threshold: float) -> RtmPose:
    """The network in an ONNX file. Raises FileNotFoundError, ValueError where it is none, and ImportError, saying what to install,
    without rtmlib."""
    check_threshold(threshold)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: rtmlib's networks are for the user to fetch")
    _load(path, device)  # what is wrong is told before any worker starts
    hash = hashlib.sha256(f"{file_sha256(path)} threshold {threshold}".encode()).hexdigest()
    return RtmPose(path=path, device=device, threshold=threshold, hash=hash)


def _load(path: Path, device: Device) -> Any:
    try:
        import rtmlib
    except ImportError as error:
        raise ImportError(
            f'keypoints by rtmlib need the extra pose: pip install "lookalike[pose]" ({error})'
        ) from error
    size = _DEFAULT_SIZE
    try:
        with redirect_stdout(sys.stderr):  # it says that it loads
            network = rtmlib.RTMPose(str(path), model_input_size=size, backend="onnxruntime", device=device)
            wanted = network.session.get_inputs()[0].shape[:1:-1]
            if all(type(side) is int for side in wanted) and tuple(wanted) != size:
                network = rtmlib.RTMPose(
                    str(path), model_input_size=tuple(wanted), backend="onnxruntime", device=device
                )
    except Exception as error:  # onnxruntime has many kinds of its own
        raise ValueError(f"{path} is no network that rtmlib can run on {device}: {error}") from error
    return network
