"""Local copies of sets that lie behind URLs, for reading them at random.

Batches drawn at random touch nearly every shard at once, and a table's index is made from all of them, so a set is copied
whole before its first sample is read: what fails does so before a training begins, and what is read then is a folder like
any other.

    CACHE/NAME-HASH/         HASH is that of the manifest: a set that was changed is another folder
        NAME-000000.tar      has this name only when whole and of the SHA-256 that the manifest says
        manifest.json        written last
        .lock                held by the process that copies; others wait for it

Folders stay until somebody removes them.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from shards.errors import ShardError
from shards.manifest import MANIFEST, Manifest, ShardEntry
from shards.remote import fetch_manifest, open_url
from shards.writer import atomic_file, locked_file, remove_temporaries

NUM_CONNECTIONS = 8
"""Shards copied at once; a single connection to a distant store does not fill a line."""


def default_cache() -> Path:
    """`lookalike` in `$XDG_CACHE_HOME`, by default in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lookalike"


def local_copy(url: str, cache: Path | None = None, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """The folder of a set behind a URL, copied into the cache as far as it is not there.

    cache: `default_cache()` by default. progress gets (samples copied, of these found from an earlier run). The manifest
    is asked for on every call, so a changed set is noticed; shards that are there are known by their size, their bytes
    were checked when they came. Any number of processes may call this at once: one copies, the others wait. Raises
    FileNotFoundError, PermissionError, ConnectionError (see `shards.remote.open_url`), ShardError for a set that is not
    complete or a shard of another SHA-256, OSError when the disk is full. Shards that are whole stay.
    """
    url = url.rstrip("/")
    manifest, text = fetch_manifest(url)
    folder = Path(cache or default_cache()) / f"{manifest.name}-{hashlib.sha256(text).hexdigest()[:16]}"
    if (folder / MANIFEST).is_file() and not _missing(folder, manifest):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked_file(folder / ".lock"):
        remove_temporaries(folder, {MANIFEST, *(entry.name for entry in manifest.shards)})
        missing = _missing(folder, manifest)
        num_found = num_done = manifest.num_samples - sum(entry.num_samples for entry in missing)
        interrupted = threading.Event()
        with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
            try:
                for num_samples in pool.map(partial(_copy_shard, url, folder, interrupted), missing):
                    num_done += num_samples
                    if progress is not None:
                        progress(num_done, num_found)
            except KeyboardInterrupt:
                interrupted.set()  # or the pool would wait for whole shards
                raise
        with atomic_file(folder / MANIFEST) as file:
            file.write(text)
    return folder


def _missing(folder: Path, manifest: Manifest) -> list[ShardEntry]:
    def is_there(entry: ShardEntry) -> bool:
        path = folder / entry.name
        return path.is_file() and path.stat().st_size == entry.num_bytes

    return [entry for entry in manifest.shards if not is_there(entry)]


def _copy_shard(url: str, folder: Path, interrupted: threading.Event, entry: ShardEntry) -> int:
    """Copy one shard; returns its number of samples. Raises InterruptedError when told so."""
    where, digest = f"{url}/{entry.name}", hashlib.sha256()
    with open_url(where, num_bytes=entry.num_bytes) as source, atomic_file(folder / entry.name) as file:
        while data := source.read1(1 << 20):
            if interrupted.is_set():
                raise InterruptedError
            digest.update(data)
            file.write(data)
        if digest.hexdigest() != entry.sha256:
            raise ShardError(
                "SHA-256 differs from the manifest's: it was changed, or damaged on its way; try again, then put the "
                "set there again",
                shard=where,
            )
    return entry.num_samples
