"""Making a set: the one runner behind every command that writes shards.

A shard's bytes are a pure function of (config, shard index), so shards can be made in any order, by any number of
processes, on several machines that share a folder, and again after any interruption. The state of a run is in the
folder and nowhere else:

    manifest.json       written first, complete = false, with the config that every later run is held to
    NAME-000000.tar     a whole shard (it takes this name only when whole)
    NAME-000000.json    its entry, written after it; a tar without its entry is made again
    .tmp~HOST~PID~...   a file being written; cleaned by the next run once its process is gone

When every shard has its entry, whoever sees it writes the complete manifest and removes the entries. Two machines that
see it at once write the same bytes; one that finds entries missing because the other has just removed them reads the
complete manifest instead.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from shards.codec import EncodedSample
from shards.errors import ShardError
from shards.manifest import MANIFEST, Manifest, ShardEntry, read_manifest, shard_name
from shards.workers import Report, run_tasks
from shards.writer import atomic_file, create_file, remove_temporaries, write_shard

INDEX = "index.npz"
"""The table's index (see `shards.table`), which falls with the set it describes."""

MakeShard = Callable[[int], Iterable[EncodedSample]]


def build_set(
    out: Path,
    wanted: Manifest,
    make_shard: MakeShard,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
    shard_range: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest | None:
    """Make the shards of a set that are not there yet; running again goes on where an earlier run stopped.

    wanted says what the set is and lists no shards yet. Its config fixes the content: how many workers or which machine
    does not belong in it. make_shard(index) gives the samples of shard `index` and depends on nothing but this config
    and `index`. It runs in worker processes, so it is picklable: a dataclass with `__call__`, or a functools.partial of
    a module's function.
    shard_range is the half-open range of shards to make here, all by default. progress gets (samples done, of these
    found from an earlier run).

    Shards found are kept if their size and SHA-256 match their entry. Returns the complete manifest, or None while
    shards outside `shard_range` are missing. Raises ShardError where the folder holds a set of another config, naming
    the keys that differ; what `make_shard` raises, with the shard's index; WorkerError where a worker was killed.
    Whatever it raises, finished shards stay.
    """
    out = Path(out)
    first, stop = shard_range or (0, wanted.num_shards)
    _check_request(wanted, first, stop, num_workers, overwrite=overwrite)
    out.mkdir(parents=True, exist_ok=True)
    if overwrite:
        _remove_set(out, wanted.name)
    manifest = _begin(out, wanted)
    name, mine = wanted.name, range(first, stop)
    unfinished = {MANIFEST, *(shard_name(name, i) for i in mine), *(_entry_path(out, name, i).name for i in mine)}
    remove_temporaries(out, unfinished)
    maker = _ShardMaker(folder=out, set_hash=wanted.identity_hash(), name=name, make_shard=make_shard)
    tasks = [_Task(index=i, entry=manifest.shards[i] if manifest.complete else None) for i in mine]
    num_found = 0

    def on_progress(done: int) -> None:
        if progress is not None:
            progress(done, num_found)

    try:
        with closing(run_tasks(maker, tasks, num_workers=num_workers, on_progress=on_progress)) as results:
            for _, (entry, was_found) in results:
                num_found += entry.num_samples if was_found else 0
    finally:
        remove_temporaries(out, unfinished)
    return _finish(out, wanted)


def _check_request(wanted: Manifest, first: int, stop: int, num_workers: int, *, overwrite: bool) -> None:
    if wanted.complete:
        raise ValueError("the manifest of a set to be made must not be complete; give name, config and licences alone")
    if not 0 <= first < stop <= wanted.num_shards:
        raise ValueError(f"shard range must lie in 0..{wanted.num_shards} and not be empty, got {first}..{stop}")
    if num_workers < 1:
        raise ValueError(f"workers must be at least 1, got {num_workers}")
    if overwrite and (first, stop) != (0, wanted.num_shards):
        raise ValueError("overwriting would remove other machines' shards: remove the folder by hand, or give no range")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    index: int
    entry: ShardEntry | None
    """What the shard must be, where the manifest says so already."""

    def __repr__(self) -> str:
        return f"shard {self.index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _ShardMaker:
    """What a worker does: keep shard `task.index` if it is there and right, else make it."""

    folder: Path
    set_hash: str
    name: str
    make_shard: MakeShard

    def __call__(self, task: _Task, report: Report) -> tuple[ShardEntry, bool]:
        path = self.folder / shard_name(self.name, task.index)
        entry = task.entry or _read_entry(_entry_path(self.folder, self.name, task.index), self.set_hash)
        if entry is not None and _matches(path, entry):
            report(entry.num_samples)
            return entry, True
        try:
            made = write_shard(path, self.make_shard(task.index), index=task.index, on_sample=report)
        except ShardError as error:
            if error.shard is not None:
                raise
            raise ShardError(error.rule, shard=path.name, key=error.key, field=error.field) from error
        except ValueError as error:
            raise ShardError(f"could not be made: {error}", shard=path.name) from error
        if task.entry is not None and made != task.entry:
            raise ShardError(
                f"made again, it differs from the manifest (sha256 {made.sha256} instead of {task.entry.sha256}): "
                "library versions differ from those that made the set; make the whole set with --overwrite",
                shard=path.name,
            )
        if task.entry is None:
            _write_entry(_entry_path(self.folder, self.name, task.index), self.set_hash, made)
        report(made.num_samples)
        return made, False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _matches(path: Path, entry: ShardEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.num_bytes and file_sha256(path) == entry.sha256


def read_entries(folder: Path, manifest: Manifest) -> list[ShardEntry | None]:
    """Entry of every shard of a set that is being made; None where it is not finished."""
    set_hash = manifest.identity_hash()
    return [_read_entry(_entry_path(folder, manifest.name, i), set_hash) for i in range(manifest.num_shards)]


def _entry_path(folder: Path, name: str, index: int) -> Path:
    return (folder / shard_name(name, index)).with_suffix(".json")


def _read_entry(path: Path, set_hash: str) -> ShardEntry | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        if values["set"] == set_hash:
            return ShardEntry.from_dict(values["entry"])
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path} is not a shard's entry ({error!r}); remove it and run the same command") from error
    raise ShardError(f"{path} belongs to a set of another config; choose another folder, or --overwrite")


def _write_entry(path: Path, set_hash: str, entry: ShardEntry) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps({"set": set_hash, "entry": asdict(entry)}, sort_keys=True).encode())


def _begin(out: Path, wanted: Manifest) -> Manifest:
    """The manifest in the folder, created if there is none. Raises ShardError if it is another set's."""
    if not (out / MANIFEST).exists():
        strangers = sorted(path.name for path in out.glob(f"{wanted.name}-*.tar"))
        if strangers:
            raise ShardError(
                f"{out} holds {strangers[0]} but no {MANIFEST}; choose another folder, or --overwrite to replace it"
            )
        create_file(out / MANIFEST, wanted.to_json().encode())
    found = read_manifest(out)
    if differences := found.differences(wanted):
        raise ShardError(
            f"{out} holds a set of another config:\n  " + "\n  ".join(differences) + "\n"
            "choose another folder, or --overwrite to replace that set"
        )
    return found


def _finish(out: Path, wanted: Manifest) -> Manifest | None:
    """The complete manifest, written now if all entries are there; None if some are still missing."""
    entries = read_entries(out, wanted)
    if all(entry is not None for entry in entries):
        manifest = replace(wanted, complete=True, shards=tuple(entries))
        with atomic_file(out / MANIFEST) as file:
            file.write(manifest.to_json().encode())
    else:
        manifest = read_manifest(out)
    if not manifest.complete:
        return None
    for i in range(manifest.num_shards):
        _entry_path(out, manifest.name, i).unlink(missing_ok=True)
    return manifest


def _remove_set(out: Path, name: str) -> None:
    """Remove the set in a folder: the one its manifest names, and one called `name`. Other files stay."""
    names = {name}
    if (out / MANIFEST).exists():
        try:
            names.add(read_manifest(out).name)
        except ShardError:
            names.add(name)  # damaged; it is replaced all the same
    (out / MANIFEST).unlink(missing_ok=True)
    (out / INDEX).unlink(missing_ok=True)
    for set_name in names:
        for pattern in (f"{set_name}-" + "[0-9]" * 6 + suffix for suffix in (".tar", ".json")):
            for path in out.glob(pattern):
                path.unlink(missing_ok=True)
