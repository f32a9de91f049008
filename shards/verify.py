"""Checking a set: every hash, every member decoded and validated, every count; all faults are reported."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shards.archive import ArchivedMember, contents, iter_samples
from shards.build import file_sha256, read_entries
from shards.codec import check_members, decode_member
from shards.errors import ShardError
from shards.manifest import Manifest, ShardEntry, read_manifest, shard_name
from shards.schema import EXTENSIONS, Sample
from shards.workers import Report, run_tasks


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong; None where it does not belong to one shard, key or field."""

    rule: str
    shard: str | None = None
    key: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        return str(ShardError(self.rule, shard=self.shard, key=self.key, field=self.field))


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was checked and what is wrong with it."""

    num_shards: int
    num_samples: int
    faults: tuple[Fault, ...]


def verify_set(
    folder: Path, *, num_workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Check a folder of shards against its manifest and the schema.

    progress gets (samples checked, 0). Raises FileNotFoundError where there is no manifest; whatever is wrong with the
    set itself is in the result, in the order of the shards.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except ShardError as error:
        return Verification(num_shards=0, num_samples=0, faults=(_fault(error),))
    faults: list[Fault] = []
    entries = list(manifest.shards)
    if not manifest.complete:
        entries = [entry for entry in read_entries(folder, manifest) if entry is not None]
        missing = manifest.num_shards - len(entries)
        faults.append(Fault(rule=f"not complete: {missing} of {manifest.num_shards} shards are not finished"))
    faults += _strangers(folder, manifest)
    checked: dict[str, tuple[list[Fault], list[str]]] = {}
    with closing(
        run_tasks(
            _ShardCheck(folder=folder),
            entries,
            num_workers=num_workers,
            on_progress=None if progress is None else lambda done: progress(done, 0),
        )
    ) as results:
        checked.update((entry.name, result) for entry, result in results)
    first_in: dict[str, str] = {}
    for entry in entries:
        shard_faults, keys = checked[entry.name]
        faults += shard_faults
        for key in dict.fromkeys(keys):
            if first_in.setdefault(key, entry.name) != entry.name:
                rule = f"key comes twice, first in {first_in[key]}; keys are unique in a set"
                faults.append(Fault(rule=rule, shard=entry.name, key=key))
    num_samples = sum(len(keys) for _, keys in checked.values())
    return Verification(num_shards=len(entries), num_samples=num_samples, faults=tuple(faults))


def _strangers(folder: Path, manifest: Manifest) -> list[Fault]:
    known = {shard_name(manifest.name, i) for i in range(manifest.num_shards)}
    extra = sorted(path.name for path in folder.glob("*.tar") if path.name not in known)
    return [Fault(rule="not in the manifest: remove it, or move it to a set of its own", shard=name) for name in extra]


@dataclass(frozen=True, kw_only=True, slots=True)
class _ShardCheck:
    """What a worker does: all faults of one shard, and its keys."""

    folder: Path

    def __call__(self, entry: ShardEntry, report: Report) -> tuple[list[Fault], list[str]]:
        path, keys = self.folder / entry.name, []
        if not path.is_file():
            return [Fault(rule="missing: make it again", shard=entry.name)], keys
        faults = _check_bytes(path, entry)
        counts = {"origins": Counter(), "datasets": Counter(), "splits": Counter(), "members": Counter()}
        try:
            with open(path, "rb") as file:
                for key, members in iter_samples(file, shard=entry.name):
                    keys.append(key)
                    report(len(keys))
                    faults += _check_sample(entry.name, key, members, counts)
        except ShardError as error:
            faults.append(_fault(error))
        else:
            faults += _check_counts(entry, len(keys), counts)
        twice = [key for key, number in Counter(keys).items() if number > 1]
        return faults + [Fault(rule="key comes twice", shard=entry.name, key=key) for key in twice], keys


def _check_bytes(path: Path, entry: ShardEntry) -> list[Fault]:
    size = path.stat().st_size
    if size != entry.num_bytes:
        return [Fault(rule=f"{size:,} bytes, the manifest says {entry.num_bytes:,}", shard=entry.name)]
    if file_sha256(path) != entry.sha256:
        return [Fault(rule="SHA-256 differs from the manifest's: bytes were changed", shard=entry.name)]
    return []


def _check_sample(
    shard: str, key: str, members: Mapping[str, ArchivedMember], counts: Mapping[str, Counter]
) -> list[Fault]:
    """Every fault of one sample; adds what it holds to `counts`."""
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    checks: list[Callable[[], Any]] = [lambda: check_members(members, shard=shard, key=key)]
    for extension, member in members.items():
        counts["members"][extension] += 1
        if extension in EXTENSIONS:
            checks.append(partial(_decode, shard, member, values))
    for check in checks:
        try:
            check()
        except ShardError as error:
            faults.append(_fault(error))
    if not faults:
        try:
            Sample(key=key, **values)
        except ShardError as error:
            faults.append(Fault(rule=error.rule, shard=shard, key=key, field=error.field))
    if (meta := values.get("meta")) is not None:
        counts["origins"][meta.origin] += 1
        counts["datasets"][meta.dataset] += 1
        counts["splits"][meta.split or "none"] += 1
    return faults


def _decode(shard: str, member: ArchivedMember, values: dict[str, Any]) -> None:
    data = contents(member.key, {member.extension: member}, shard=shard)[member.extension]
    values[EXTENSIONS[member.extension]] = decode_member(member.extension, data, shard=shard, key=member.key)


def _check_counts(entry: ShardEntry, num_samples: int, counts: Mapping[str, Counter]) -> list[Fault]:
    faults = []
    if num_samples != entry.num_samples:
        rule = f"{num_samples} samples, the manifest says {entry.num_samples}"
        faults.append(Fault(rule=rule, shard=entry.name))
    for name, counted in counts.items():
        told = getattr(entry, name)
        for value in sorted(counted.keys() | told.keys()):
            if counted[value] != told.get(value, 0):
                rule = f"{counted[value]} samples with {value}, the manifest says {told.get(value, 0)}"
                faults.append(Fault(rule=rule, shard=entry.name, field=value if name == "members" else name))
    return faults


def _fault(error: ShardError) -> Fault:
    return Fault(rule=error.rule, shard=error.shard, key=error.key, field=error.field)
