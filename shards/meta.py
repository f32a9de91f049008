"""`Meta`, what `meta.json` holds: where a sample comes from, who it shows, and how its labels were made.

Validated when constructed, so a `Meta` in hand is a valid one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

import numpy as np

from shards.errors import ShardError

SCHEMA_VERSION = 1
"""Version of the whole schema: `Meta`, and the members that `shards.schema` lists."""

Origin = Literal["real", "rendered", "generated"]
Split = Literal["train", "query", "gallery"]

RENDERED_KEYS = ("seed", "index", "intrinsics", "world_to_camera", "body", "outfit", "background", "licences")
GENERATED_KEYS = ("source_key", "pose_key", "model_hash")
JUNK, DISTRACTOR = "-1", "0"
"""What follows the slash of an identity that is none, as in Market-1501: a box that is left out of scoring, and a box that
shows none of the identities and stays in the gallery to be told apart from them."""
NOBODY = (f"/{JUNK}", f"/{DISTRACTOR}")
"""Ends of the identities that are none."""
ANNOTATED = ("texture", "aligned", "iuv", "parts", "keypoints")
"""What a model can have written: the names allowed in `Meta.annotators`."""


def plain(value: Any, where: str = "value") -> Any:
    """A copy of `value` made only of what JSON has: dict, list, str, int, float, bool, None.

    Tuples, numpy arrays and numpy scalars are turned into lists and numbers. Raises ValueError, naming the place, for
    anything else, for a key that is no string, for nan and infinity, and for an integer beyond 64 bits.
    """
    # Most values are numbers, rows of numbers and texts: they are let through before anything is asked of them that takes
    # time. A sum that overflows is looked at below.
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is float and math.isfinite(value)):
        return value
    if kind in (list, tuple) and {*map(type, value)} == {float} and math.isfinite(sum(value)):
        return list(value)
    if kind is dict and {*map(type, value)} <= {str}:
        return {
            key: item if type(item) in _AS_THEY_ARE else plain(item, f"{where}.{key}") for key, item in value.items()
        }
    match value:
        case bool() | str():
            return value
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{where} must be an integer of 64 bits, got {value}")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{where} must be finite, got {value}")
            return float(value)
        case list() | tuple():
            return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case np.ndarray() | np.generic():
            return plain(value.tolist(), where)
        case Mapping():
            if wrong := [key for key in value if not isinstance(key, str)]:
                raise ValueError(f"{where} must have string keys, got {wrong[0]!r}")
            return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    raise ValueError(f"{where} must be JSON (dict, list, string, number, bool, null), got {type(value).__name__}")


_AS_THEY_ARE = frozenset({str, bool, type(None)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Meta:
    """What is known of a sample besides its pictures. Raises ShardError, naming the field, when a value is wrong."""

    origin: Origin
    """How far to trust the picture."""
    dataset: str
    """Name of the data set it comes from."""
    identity: str | None = None
    """Who it is, unique across data sets (`market1501/0002`), or what it is in place of a person (`market1501/-1`, see
    `JUNK` and `DISTRACTOR`); None if unknown."""
    camera_id: int | None = None
    """Number of the camera within its data set, >= 0; None if unknown."""
    sequence: int | None = None
    """Number of the recording or track within the camera, >= 0."""
    frame: int | None = None
    """Number of the frame within the sequence, >= 0."""
    split: Split | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None
    """COCO-17: 17 x (x, y, v), pixels with centres at +0.5; v = 2 seen, 1 hidden, 0 outside the picture or unknown."""
    box: tuple[float, float, float, float] | None = None
    """(x, y, w, h) of the crop in the picture it was cut from, pixels."""
    uv_layout: str | None = None
    """Name of the UV atlas that `texture` is drawn in; needed when there is a texture."""
    rendered: Mapping[str, Any] | None = None
    """Needed for, and only for, origin "rendered": a dict with at least `RENDERED_KEYS`. seed and index are int,
    intrinsics 3 x 3, world_to_camera 4 x 4 (OpenCV camera: x right, y down, z forward; metres), the rest free JSON."""
    generated: Mapping[str, Any] | None = None
    """Needed for, and only for, origin "generated": a dict with at least `GENERATED_KEYS`, strings or null."""
    annotators: Mapping[str, Mapping[str, str | float]] | None = None
    """Pseudo labels: field name -> {"name", "hash"} of the model that wrote it, and, where that tells it, its "confidence" in
    this sample's, a float in 0..1."""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in ("keypoints", "box"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _tuples(_checked(name, plain, value, name)))
        for name in ("rendered", "generated", "annotators"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checked(name, plain, value, name))
        for name, (rule, holds) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise ShardError(f"must be {rule}, got {value!r}", field=f"meta.{name}")
        for origin in ("rendered", "generated"):
            if (getattr(self, origin) is not None) != (self.origin == origin):
                raise ShardError(
                    f'must be given for, and only for, origin "{origin}"; origin is "{self.origin}"',
                    field=f"meta.{origin}",
                )

    @property
    def is_nobody(self) -> bool:
        """Whether it is junk or a distractor, which rendered sets have no labels of."""
        return self.identity is not None and self.identity.endswith(NOBODY)

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON values; None stays, as null."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["keypoints"] = None if self.keypoints is None else [list(point) for point in self.keypoints]
        values["box"] = None if self.box is None else list(self.box)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises ShardError on a newer schema, on an unknown field and on a missing one."""
        if not isinstance(values, Mapping):
            raise ShardError(f"must be a JSON object, got {type(values).__name__}", field="meta")
        version = values.get("schema_version")
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise ShardError(
                f"this package reads schema versions 1..{SCHEMA_VERSION}, got {version!r}; "
                "a newer one needs a newer release of lookalike",
                field="meta.schema_version",
            )
        known = {field.name for field in fields(cls)}
        for name in sorted(values.keys() ^ known):
            state = "unknown in" if name in values else "missing from"
            raise ShardError(
                f"{state} schema version {version}; known fields are {sorted(known)}", field=f"meta.{name}"
            )
        return cls(**values)


def _checked(name: str, function: Any, *args: Any) -> Any:
    try:
        return function(*args)
    except ValueError as error:
        raise ShardError(str(error), field=f"meta.{name}") from error


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([item if type(item) is float else _tuples(item) for item in value])
    return float(value) if type(value) is int else value


def _is_count(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_floats(value: Any, size: int) -> bool:
    return isinstance(value, tuple) and len(value) == size and {*map(type, value)} == {float}


def _is_keypoints(value: Any) -> bool:
    return value is None or (
        isinstance(value, tuple) and len(value) == 17 and all(_is_floats(p, 3) and p[2] in (0, 1, 2) for p in value)
    )


def _is_matrix(value: Any, size: int) -> bool:
    rows = value if isinstance(value, list) else []
    return len(rows) == size and all(
        isinstance(row, list) and len(row) == size and all(type(x) in (int, float) for x in row) for row in rows
    )


def _is_rendered(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(key in value for key in RENDERED_KEYS)
        and type(value["seed"]) is int
        and _is_count(value["index"])
        and _is_matrix(value["intrinsics"], 3)
        and _is_matrix(value["world_to_camera"], 4)
    )


def _is_generated(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(key in value and (value[key] is None or _is_name(value[key])) for key in GENERATED_KEYS)
    )


def _is_annotators(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(field in ANNOTATED for field in value)
        and all(_is_annotator(who) for who in value.values())
    )


def _is_annotator(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) - {"confidence"} != {"name", "hash"}:
        return False
    confidence = value.get("confidence", 0.0)
    return _is_name(value["name"]) and _is_name(value["hash"]) and type(confidence) is float and 0 <= confidence <= 1


def _is_box(value: Any) -> bool:
    return value is None or (_is_floats(value, 4) and min(value[2:]) > 0)


_COUNT = ("an int >= 0 or None", _is_count)
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "origin": (f"one of {get_args(Origin)}", lambda value: value in get_args(Origin)),
    "dataset": ("a string, not empty", _is_name),
    "identity": ("a string, not empty, or None", lambda value: value is None or _is_name(value)),
    "camera_id": _COUNT,
    "sequence": _COUNT,
    "frame": _COUNT,
    "split": (f"one of {get_args(Split)} or None", lambda value: value is None or value in get_args(Split)),
    "keypoints": ("17 x (x, y, v) with v 0, 1 or 2, or None", _is_keypoints),
    "box": ("(x, y, w, h) with w, h > 0, or None", _is_box),
    "uv_layout": ("a string, not empty, or None", lambda value: value is None or _is_name(value)),
    "rendered": (
        f"a dict with {RENDERED_KEYS}: seed int, index int >= 0, intrinsics 3 x 3, world_to_camera 4 x 4",
        _is_rendered,
    ),
    "generated": (f"a dict with {GENERATED_KEYS}, each a string or None", _is_generated),
    "annotators": (
        f'a dict of {ANNOTATED} -> {{"name": str, "hash": str}}, and "confidence": a float in 0..1 if it is told',
        _is_annotators,
    ),
    "schema_version": (f"{SCHEMA_VERSION}", lambda value: type(value) is int and value == SCHEMA_VERSION),
}
"""Field of `Meta` -> (rule in words, check)."""
