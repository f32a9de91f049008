"""One shard: samples into a tar, deterministic, and either whole under its name or not there at all."""

import errno
import fcntl
import hashlib
import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shards.archive import END, archive_member
from shards.codec import EncodedSample, decode_meta
from shards.errors import ShardError
from shards.manifest import ShardEntry

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_shard(
    path: Path,
    samples: Iterable[EncodedSample],
    *,
    index: int = 0,
    on_sample: Callable[[int], None] | None = None,
) -> ShardEntry:
    """Write samples, in the order given, into the tar `path`.

    index: number of the shard in its set; on_sample is called with the number of samples written so far. The file
    appears under its name only when whole and on disk; on any exception nothing is left. Raises ShardError for a key
    that comes twice and for a shard without samples, OSError with a remedy when the disk is full.
    """
    seen: set[str] = set()
    counts = {"origins": Counter(), "datasets": Counter(), "splits": Counter(), "members": Counter()}
    digest = hashlib.sha256()
    num_bytes = 0
    with atomic_file(path) as file:

        def put(data: bytes) -> None:
            nonlocal num_bytes
            file.write(data)
            digest.update(data)
            num_bytes += len(data)

        for sample in samples:
            if sample.key in seen:
                raise ShardError("key comes twice; keys are unique in a set", shard=path.name, key=sample.key)
            seen.add(sample.key)
            meta = sample.meta or decode_meta(sample.members["meta.json"], shard=path.name, key=sample.key)
            counts["origins"][meta.origin] += 1
            counts["datasets"][meta.dataset] += 1
            counts["splits"][meta.split or "none"] += 1
            counts["members"].update(sample.members.keys())
            for extension in sorted(sample.members):
                put(archive_member(f"{sample.key}.{extension}", sample.members[extension]))
            if on_sample is not None:
                on_sample(len(seen))
        if not seen:
            raise ShardError("a shard needs at least one sample, got none", shard=path.name)
        put(END)
    return ShardEntry(
        name=path.name,
        index=index,
        num_samples=len(seen),
        num_bytes=num_bytes,
        sha256=digest.hexdigest(),
        **{name: dict(sorted(count.items())) for name, count in counts.items()},
    )


def temporary_path(path: Path) -> Path:
    """Where this process writes `path` before it is whole: a hidden file beside it, named after host and process."""
    host = socket.gethostname().replace("~", "-")
    return path.with_name(f".tmp~{host}~{os.getpid()}~{path.name}")


def remove_temporaries(folder: Path, names: Collection[str]) -> None:
    """Remove what dead processes left of `names` in a folder; a file that a living one still writes stays."""
    for path in folder.glob(".tmp~*"):
        if path.name.rpartition("~")[2] not in names:
            continue
        try:
            with open(path, "rb") as file:
                _lock(file)
                path.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            continue  # it is being written, or was renamed just now


def _open_locked(path: Path) -> BinaryIO:
    """A new file that is marked as being written and still has its name: a cleaner may come between opening and marking."""
    while True:
        file = open(path, "wb")
        try:
            _lock(file)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except (BlockingIOError, FileNotFoundError):
            pass  # a cleaner came between: once more, with another new file
        file.close()


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold an empty file that only one process or thread holds at a time; others wait. It is made and stays.

    Where the file system has no locks nobody waits.
    """
    with open(path, "ab") as file:
        _lock(file, wait=True)
        yield


def _lock(file: BinaryIO, *, wait: bool = False) -> None:
    """Mark a file as being written, until it is closed or its process ends, however it ends.

    Raises BlockingIOError if another process holds it, unless it is to wait. Where the file system has no locks this
    does nothing: a leftover is then taken for dead, which is right unless two runs make the same shard at once.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing bytes that takes the name `path`, on disk, when the block ends without exception.

    Otherwise it is removed. Missing folders are made. Raises OSError with a remedy when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with _open_locked(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                error.errno,
                f"no room to write {path} ({os.strerror(error.errno)}; {free:,} bytes are free): make room or choose "
                "another folder, then run the same command again. Finished shards are whole",
            ) from error
        raise
    _fsync_folder(path.parent)


def create_file(path: Path, data: bytes) -> None:
    """Write a file, whole from its first moment, unless one of that name exists: then leave that one."""
    temporary = temporary_path(path)
    try:
        with _open_locked(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # unlike a rename, it fails where the name exists
            except FileExistsError:
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
