"""A sample made fit for a network: which of its fields are read, and the sizes that they are brought to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

from shards.errors import ShardError
from shards.meta import Meta
from shards.schema import MEMBERS, TEXTURE_SIZE, Field
from shards.semantics import KEYPOINTS, SURFACE_TO_7

Label = Field | Literal["keypoints"]
"""What of a sample a network is taught: a field, or what `meta` says of the keypoints."""
NUM_KEYPOINTS = len(KEYPOINTS)
UNKNOWN_POINT = -1.0
"""v of a keypoint of which it is not known where it is."""
ADDED_BY = "python -m generative annotate"
"""The command that adds labels to a set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """What a network is given, and its size in pixels."""

    height: int = 256
    """Of what the network is given."""
    width: int = 128
    """Of what the network is given."""
    resize: tuple[int, int] | None = None
    """Height and width that pictures are resized to and kept in, where that is larger: training crops at random, evaluation
    at the centre (Liu et al. 2018, sec. 4.2: 256 x 256 to 224 x 224)."""
    picture: Literal["image", "texture"] = "image"
    """What of a sample is its picture: the photograph, or in its place the texture (Jin et al. 2020, table 6), which sets of
    shards alone have. It is cropped, mirrored and erased like any picture: `augment` turns that off."""
    min_side: int = 1
    """Pixels that a picture must be high and wide as it lies in its shard; a smaller one is an error."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height and width must be >= 1, got {self.height} and {self.width}")
        if self.min_side < 1 or (self.min_side > 1 and self.picture == "texture"):
            raise ValueError(f"min_side must be >= 1, and 1 of textures, got {self.min_side}")
        if self.resize is not None and (self.resize[0] < self.height or self.resize[1] < self.width):
            raise ValueError(
                f"resize must be at least height x width = {self.height} x {self.width}, got {self.resize}"
            )
        if self.picture not in ("image", "texture"):
            raise ValueError(f"picture must be image or texture, got {self.picture!r}")

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width of resized pictures."""
        return self.resize or (self.height, self.width)


def sources_of(label: Label) -> tuple[Field, ...]:
    """The stored fields that a label can be made of: the first of them that a sample has counts."""
    match label:
        case "parts":
            return ("parts", "iuv")
        case "keypoints":
            return ("image", "meta")
    return (label,)


def fields_to_read(input: InputConfig, labels: Iterable[Label]) -> list[Field]:
    """The stored fields that pictures and `labels` are made of."""
    return list(dict.fromkeys([input.picture, *(source for label in sorted(labels) for source in sources_of(label))]))


def check_labels_fit(input: InputConfig, labels: Iterable[Label]) -> None:
    """Raises ValueError for labels of a network that is given textures: they are of the photograph and its person, and
    neither of its pixels nor of its mirror image."""
    if input.picture == "texture" and labels:
        raise ValueError(
            f"a network that is given textures learns from identities alone, this one also from {', '.join(sorted(labels))}: "
            "give --input.picture image, or a model that needs no labels"
        )


def array_shapes(input: InputConfig, labels: Iterable[Label]) -> dict[Label, tuple[int, ...]]:
    """Shape of every array that `fit` gives."""
    height, width = input.stored
    shapes: dict[Label, tuple[int, ...]] = {
        "image": (height, width, 3),
        "texture": (TEXTURE_SIZE, TEXTURE_SIZE, 3),
        "aligned": (height, width, 3),
        "iuv": (height, width, 3),
        "parts": (height, width),
        "keypoints": (NUM_KEYPOINTS, 3),
    }
    return {field: shapes[field] for field in ("image", *sorted(labels))}


def fit(values: Mapping[str, Any], input: InputConfig, labels: Iterable[Label]) -> dict[Label, np.ndarray]:
    """A sample as it is kept: "image", its picture, and `labels`, of the shapes that `array_shapes` says, uint8 but for
    keypoints, which are float32.

    values: "key", and `fields_to_read` as they were decoded, None for what the sample has not. Pictures are resized
    bilinearly with antialiasing, iuv and parts to the nearest pixel, and keypoints go with the image; parts that are not
    stored follow from iuv. Raises ShardError naming the key, and the shard where values have a "shard", for a field that is
    missing and for a picture that is too small.
    """
    arrays: dict[Label, np.ndarray] = {}
    place = {"shard": values.get("shard"), "key": str(values["key"])}
    for field in ("image", *sorted(labels)):
        source = input.picture if field == "image" else field
        array = _keypoints(values, input.stored) if field == "keypoints" else values[source]
        if array is None and field == "parts" and values["iuv"] is not None:
            array = SURFACE_TO_7[values["iuv"][..., 0]]
        if array is None:
            raise missing_field(source, **place)
        if field == "image":
            check_size(array, input.min_side, **place)
        match field:
            case "image" | "aligned":
                array = resize(array, input.stored)
            case "iuv" | "parts":
                array = resize_labels(array, input.stored)
        arrays[field] = array
    return arrays


def check_size(picture: np.ndarray, min_side: int, *, shard: str | None, key: str) -> None:
    """picture (h, w, 3). Raises ShardError, naming the sample, for one that is not min_side pixels high and wide."""
    if min(picture.shape[:2]) < min_side:
        raise ShardError(
            f"must be at least {min_side} pixels high and wide, got {picture.shape[0]} x {picture.shape[1]}; "
            f"pack the set without such pictures: --min-side {min_side}",
            shard=shard,
            key=key,
            field="image",
        )


def _keypoints(values: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """(17, 3) float32 x, y and v of a sample whose image is resized to size (H, W); only a renderer knows that a keypoint lies
    outside the picture, of others that say v = 0 it is UNKNOWN_POINT."""
    points = values["meta"].keypoints
    if points is None:
        return None
    height, width = values["image"].shape[:2]
    scaled = np.array(points, np.float32) * np.array([size[1] / width, size[0] / height, 1], np.float32)
    if not _is_rendered(values["meta"]) or "keypoints" in (values["meta"].annotators or {}):
        scaled[scaled[:, 2] == 0, 2] = UNKNOWN_POINT
    return scaled


def _is_rendered(meta: Meta) -> bool:
    """Whether a renderer drew it, in whatever look it is by now."""
    source = (meta.generated or {}).get("source", {})
    return source.get("origin", meta.origin) == "rendered"


def missing_field(
    field: Label,
    *,
    shard: str | None = None,
    key: str | None = None,
    place: str | None = None,
    remedy: str = f"give rendered people, or add it with {ADDED_BY}",
) -> ShardError:
    """The error for a sample, or a set, without something that a network needs."""
    members = " or ".join(next(iter(MEMBERS[source].codecs)) for source in sources_of(field))
    if field == "keypoints":
        members = "keypoints in meta.json"
    where = "" if place is None else f"{place} "
    return ShardError(
        f"{where}has no {members}, which this network needs: {remedy}",
        shard=shard,
        key=key,
        field=field,
    )


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """picture (h, w, 3) uint8 -> (H, W, 3) uint8 for size (H, W): bilinear, antialiased where it shrinks."""
    if picture.shape[:2] == size:
        return picture
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """labels (h, w, ...) uint8 -> (H, W, ...): each pixel takes the label at its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, labels.shape, strict=False)
    )
    return labels[rows[:, None], columns]
