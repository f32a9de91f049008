"""A sample and its members: dtype, shape and range of every field, and the file extension it has in a shard.

Arrays are numpy uint8, channels last, RGB. A `Sample` is validated when constructed, so one in hand is valid.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from shards.errors import ShardError
from shards.meta import SCHEMA_VERSION, Meta, Origin, Split
from shards.semantics import CARRIED_U, PARTS_7, SURFACES_24

__all__ = [
    "EXTENSIONS",
    "MEMBERS",
    "SCHEMA_VERSION",
    "TEXTURE_SIZE",
    "Codec",
    "Field",
    "Member",
    "Meta",
    "Origin",
    "Sample",
    "ShardError",
    "Split",
    "check_field",
    "check_key",
]

TEXTURE_SIZE = 256
"""Height and width of `texture`, texels."""
MAX_KEY_LENGTH = 80
_KEY = re.compile(f"[A-Za-z0-9_-]{{1,{MAX_KEY_LENGTH}}}")

Field = Literal["image", "meta", "texture", "aligned", "iuv", "parts"]
Codec = Literal["jpeg", "png", "json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """How one field lies in a shard."""

    codecs: Mapping[str, Codec]
    """File extension in the tar -> codec; the first is the one written by default."""
    shape: tuple[int | str, ...]
    """Letters are free sizes; the same letter is the same size in every field of a sample."""
    values: str
    """What the values are, and their range where it is narrower than uint8's."""
    required: bool
    """Whether every sample has it."""
    present: str
    """Where it is found, in words."""


MEMBERS: Mapping[Field, Member] = {
    "image": Member(codecs={"image.jpg": "jpeg"}, shape=("H", "W", 3), values="RGB", required=True, present="all"),
    "meta": Member(codecs={"meta.json": "json"}, shape=(), values="Meta", required=True, present="all"),
    "texture": Member(
        codecs={"texture.png": "png", "texture.jpg": "jpeg"},
        shape=(TEXTURE_SIZE, TEXTURE_SIZE, 3),
        values="RGB",
        required=False,
        present="rendered; real after annotation",
    ),
    "aligned": Member(
        codecs={"aligned.jpg": "jpeg"}, shape=("h", "w", 3), values="RGB", required=False, present="rendered"
    ),
    "iuv": Member(
        codecs={"iuv.png": "png"},
        shape=("H", "W", 3),
        values="I 0..24; U, V 0..255, (0, 0) or (255, 0) where I = 0",
        required=False,
        present="rendered; real after annotation",
    ),
    "parts": Member(
        codecs={"parts.png": "png"},
        shape=("H", "W"),
        values="0..7",
        required=False,
        present="real after annotation, where there is no iuv",
    ),
}
"""Every field of a sample. All are uint8 arrays but `meta`."""

EXTENSIONS: Mapping[str, Field] = {extension: field for field, member in MEMBERS.items() for extension in member.codecs}
"""File extension in the tar -> field."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """One picture of a person and all that is known of it.

    Raises ShardError, naming key and field, where a field breaks its row of `MEMBERS`, where iuv or parts differ from
    the image in size, or where a texture has no `meta.uv_layout`.
    """

    key: str
    """Unique in its set: letters, digits, `_` and `-`, at most 80."""
    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    meta: Meta
    texture: np.ndarray | None = None
    """(256, 256, 3) uint8, RGB, in the body's UV space (`meta.uv_layout`)."""
    aligned: np.ndarray | None = None
    """(h, w, 3) uint8, RGB: the same person in a fixed frontal pose."""
    iuv: np.ndarray | None = None
    """(H, W, 3) uint8: DensePose surface I 0..24 and U, V 0..255. I = 0: U = V = 0 for background, and U = 255, V = 0
    for what is worn or carried without body surface (see `semantics.person_mask`)."""
    parts: np.ndarray | None = None
    """(H, W) uint8, 0..7: see `semantics.PARTS_7`."""

    def __post_init__(self) -> None:
        check_key(self.key)
        if not isinstance(self.meta, Meta):
            raise ShardError(f"must be a Meta, got {type(self.meta).__name__}", key=self.key, field="meta")
        for field in ("image", "texture", "aligned", "iuv", "parts"):
            array = getattr(self, field)
            if array is not None or field == "image":
                check_field(field, array, key=self.key)
        for field in ("iuv", "parts"):
            array = getattr(self, field)
            if array is not None and array.shape[:2] != self.image.shape[:2]:
                raise ShardError(
                    f"must have the image's height and width {self.image.shape[:2]}, got {array.shape[:2]}",
                    key=self.key,
                    field=field,
                )
        if self.texture is not None and self.meta.uv_layout is None:
            raise ShardError("must name the layout of the texture, got None", key=self.key, field="meta.uv_layout")


def check_key(key: Any) -> None:
    """Raise ShardError unless `key` can be a sample's key: letters, digits, `_`, `-`, at most 80 of them."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ShardError(f"a key is 1..80 ASCII letters, digits, '_' or '-', got {key!r}", key=str(key))


def check_field(field: Field, array: Any, *, shard: str | None = None, key: str | None = None) -> None:
    """Raise ShardError unless `array` has the dtype, shape and range that `MEMBERS` gives `field`."""
    shape, where = MEMBERS[field].shape, {"shard": shard, "key": key, "field": field}
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ShardError(f"must be a numpy array of uint8, got {got}", **where)
    fits = len(array.shape) == len(shape) and all(
        size == want if isinstance(want, int) else size > 0 for size, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise ShardError(f"must have shape {shape}, got {array.shape}", **where)
    if field == "parts" and array.max() >= len(PARTS_7):
        raise ShardError(f"labels must lie in 0..{len(PARTS_7) - 1}, got {array.max()}", **where)
    if field == "iuv":
        _check_iuv(array, where)


def _check_iuv(iuv: np.ndarray, where: Mapping[str, str | None]) -> None:
    surface, u, v = np.ascontiguousarray(iuv.transpose(2, 0, 1))  # planes are compared in half the time of pixels
    if surface.max() >= len(SURFACES_24):
        raise ShardError(f"surface I must lie in 0..{len(SURFACES_24) - 1}, got {surface.max()}", **where)
    wrong = (surface == 0) & ((v != 0) | ((u != 0) & (u != CARRIED_U)))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise ShardError(
            f"where I = 0, (U, V) must be (0, 0) for background or ({CARRIED_U}, 0) for a carried object, "
            f"got {tuple(int(x) for x in iuv[row, column, 1:])} at row {row}, column {column}",
            **where,
        )
