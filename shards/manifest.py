"""`manifest.json`: what a set of shards holds, how it was made, and the hash of every shard."""

import hashlib
import importlib.metadata
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from shards.errors import ShardError
from shards.meta import SCHEMA_VERSION, plain

MANIFEST = "manifest.json"


def shard_name(name: str, index: int) -> str:
    """File name of shard `index` of the set `name`."""
    return f"{name}-{index:06d}.tar"


def package_version() -> str:
    """Version of the installed distribution; "uninstalled" when run from a bare checkout."""
    try:
        return importlib.metadata.version("lookalike")
    except importlib.metadata.PackageNotFoundError:
        return "uninstalled"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """One shard of a set."""

    name: str
    """File name, NAME-000000.tar."""
    index: int
    num_samples: int
    num_bytes: int
    sha256: str
    """Of the file, hexadecimal."""
    origins: Mapping[str, int]
    """Origin -> samples."""
    datasets: Mapping[str, int]
    """Data set -> samples."""
    splits: Mapping[str, int]
    """Split, or "none" -> samples."""
    members: Mapping[str, int]
    """File extension -> samples that have it."""

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `dataclasses.asdict`. Raises ShardError naming an unknown or missing field."""
        return cls(**_exact(values, cls, "shard entry"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A set of shards. Raises ShardError when a value is wrong."""

    name: str
    """Of the set: shards are NAME-000000.tar and so on."""
    num_shards: int
    """Of the complete set."""
    config: Mapping[str, Any]
    """The resolved config of the command that made it, as JSON."""
    licences: tuple[str, ...]
    """What the contents may be used under, one line each."""
    complete: bool = False
    shards: tuple[ShardEntry, ...] = ()
    """All shards when complete, else none: a shard that is done has its entry in NAME-000000.json beside it."""
    schema_version: int = SCHEMA_VERSION
    package_version: str = field(default_factory=package_version)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", self.name):
            raise ShardError(f"a set's name is letters, digits, '_' and '-', got {self.name!r}", field="name")
        if type(self.num_shards) is not int or self.num_shards < 1:
            raise ShardError(f"must be an int >= 1, got {self.num_shards!r}", field="num_shards")
        if self.schema_version != SCHEMA_VERSION:
            raise ShardError(
                f"this package reads schema version {SCHEMA_VERSION}, got {self.schema_version!r}; "
                "a newer one needs a newer release of lookalike",
                field="schema_version",
            )
        object.__setattr__(self, "config", plain(self.config, "config"))
        object.__setattr__(self, "licences", tuple(self.licences))
        expected = [shard_name(self.name, i) for i in range(self.num_shards)] if self.complete else []
        if [entry.name for entry in self.shards] != expected:
            raise ShardError(
                f"a {'complete' if self.complete else 'begun'} set of {self.num_shards} shards must list "
                f"{len(expected)} in order, got {len(self.shards)}",
                field="shards",
            )

    @property
    def num_samples(self) -> int:
        """Samples of the listed shards."""
        return sum(entry.num_samples for entry in self.shards)

    def totals(self) -> dict[str, Any]:
        """Sums over the listed shards."""
        counts = {
            name: dict(sorted(sum((Counter(getattr(entry, name)) for entry in self.shards), Counter()).items()))
            for name in ("origins", "datasets", "splits", "members")
        }
        num_bytes = sum(entry.num_bytes for entry in self.shards)
        return {"num_samples": self.num_samples, "num_bytes": num_bytes, **counts}

    def identity_hash(self) -> str:
        """SHA-256 of all that fixes the bytes of the set: equal before, while and after it is made."""
        return hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode()).hexdigest()

    def differences(self, other: Self) -> list[str]:
        """What fixes the bytes and differs, one line "key: mine -> other's" each; empty if the sets are the same."""
        mine, theirs = _flatten(self._identity()), _flatten(other._identity())
        return [
            f"{key}: {_show(mine, key)} -> {_show(theirs, key)}"
            for key in sorted(mine.keys() | theirs.keys())
            if _show(mine, key) != _show(theirs, key)
        ]

    def _identity(self) -> dict[str, Any]:
        names = ("schema_version", "package_version", "name", "num_shards", "config", "licences")
        return plain({name: getattr(self, name) for name in names})

    def to_json(self) -> str:
        """Text of `manifest.json`; holds `totals` besides the fields."""
        values = asdict(self)
        return json.dumps({**values, "totals": self.totals()}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> Self:
        """The inverse of `to_json`. Raises ShardError, naming `where`, for anything else."""
        try:
            values = json.loads(text)
            totals = values.pop("totals") if isinstance(values, dict) else None
            values = _exact(values, cls, "manifest")
            values["shards"] = tuple(ShardEntry.from_dict(entry) for entry in values["shards"])
            manifest = cls(**values)
        except (KeyError, TypeError) as error:
            raise ShardError(f"{where} is not a manifest: {error!r}") from error
        except ShardError as error:
            raise ShardError(f"{where}: {error}") from error
        except ValueError as error:
            raise ShardError(f"{where} is not JSON: {error}") from error
        if totals != manifest.totals():
            raise ShardError(f"{where}: totals differ from the sum over the shards", field="totals")
        return manifest


def _exact(values: Any, cls: type, what: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ShardError(f"a {what} must be a JSON object, got {type(values).__name__}")
    wrong = values.keys() ^ {field.name for field in fields(cls)}
    if wrong:
        raise ShardError(f"a {what} has unknown or missing fields: {sorted(wrong)}")
    return values


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            k: v for key, item in value.items() for k, v in _flatten(item, f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: value}


def _show(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "(absent)"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of shards, complete or not. Raises FileNotFoundError, ShardError."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"no {MANIFEST} in {folder}: not a folder of shards")
    return Manifest.from_json(path.read_bytes(), where=str(path))


def read_complete_manifest(folder: Path) -> Manifest:
    """As `read_manifest`, and raises ShardError when shards are still missing."""
    return check_complete(read_manifest(folder), where=folder)


def check_complete(manifest: Manifest, *, where: object) -> Manifest:
    """The manifest itself. Raises ShardError, naming `where` it lies, when shards are still missing."""
    if not manifest.complete:
        raise ShardError(f"{where} is not complete: run the command that makes it again, it goes on where it stopped")
    return manifest
