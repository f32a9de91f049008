"""Files behind URLs: read block by block, gone on with after a cut connection, and refused in words.

fsspec reads the URLs: http(s) and S3 with the extra `remote`, other stores with its package for them. Keys, endpoints and
headers are its configuration too: the usual variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`), or `FSSPEC_...` and files
in `~/.config/fsspec`.
"""

import errno
import io
import logging
import time
from pathlib import Path
from typing import Any, BinaryIO

from shards.manifest import MANIFEST, Manifest, check_complete, read_complete_manifest

logger = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
"""Asked for in one request: enough for the full rate of a distant store, little enough for every worker to hold."""
BUFFER_BYTES = 1 << 16
"""Taken out of a block at once."""
RETRY_DELAYS_S = (0.5, 2.0, 8.0)
"""Waits before the same byte is asked for again, seconds. Whoever gets on starts anew; after the last it is an error."""
TIMEOUT_S = 60.0
"""How long an HTTP server may be silent before it counts as a cut, seconds. S3 has its own, 15 s unless configured."""

_STREAM = 0
"""Block size with which fsspec reads an HTTP answer as it comes."""
_TRANSIENT = {408, 425, 429}
"""Statuses of 4xx after which it is right to ask again."""


def is_url(place: object) -> bool:
    """Whether a place is a URL rather than a path."""
    return "://" in str(place)


def open_url(url: str, *, num_bytes: int | None = None) -> BinaryIO:
    """A file behind a URL, for reading and for seeking forward.

    num_bytes: how long it must be; an earlier end is then taken for a cut. A connection that is cut, or a server that is
    overloaded, is tried again at the byte reached, also where the server knows no ranges: it then sends the file from its
    start, and what was read before is dropped. Reading raises FileNotFoundError, PermissionError for a refusal,
    ConnectionError naming URL and byte after the last try. Opening raises ImportError naming what to install, ValueError
    for a scheme that fsspec does not know.
    """
    import fsspec  # takes as long as the rest of the package to import, and most sets are local

    try:
        filesystem, path = fsspec.url_to_fs(url, **_http_options() if _is_http(url) else {})
    except ImportError as error:
        remedy = "http(s) and S3 need `pip install 'lookalike[remote]'`"
        raise ImportError(f"a package to read {url} is missing: {error}; {remedy}") from error
    except ValueError as error:
        raise ValueError(f"cannot read {url}: {error}") from error
    return io.BufferedReader(_RemoteFile(url, filesystem, path, num_bytes), BUFFER_BYTES)


def _http_options() -> dict[str, Any]:
    from aiohttp import ClientTimeout

    # by default an answer has five minutes in all, also one that a training reads for an hour
    return {"timeout": ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)}


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def fetch_manifest(url: str) -> tuple[Manifest, bytes]:
    """The manifest of a complete set behind a URL, and its bytes. Raises as `open_url` does, and ShardError."""
    where = f"{url.rstrip('/')}/{MANIFEST}"
    try:
        with open_url(where) as file:
            text = file.read()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {MANIFEST} in {url}: not a folder of shards") from error
    return check_complete(Manifest.from_json(text, where=where), where=url), text


def manifest_of(place: str | Path) -> Manifest:
    """The manifest of a complete set in a folder or behind a URL. Raises FileNotFoundError, ShardError; of URLs as `open_url`."""
    return fetch_manifest(str(place))[0] if is_url(place) else read_complete_manifest(Path(place))


class _RemoteFile(io.RawIOBase):
    """What `open_url` reads through. The connection is made by the first read, and again after each failure."""

    def __init__(self, url: str, filesystem: Any, path: str, num_bytes: int | None):
        super().__init__()
        self._url, self._filesystem, self._path, self._num_bytes = url, filesystem, path, num_bytes
        self._options = {"block_size": BLOCK_BYTES, "cache_type": "readahead"}
        self._file: Any = None
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + self._position if whence == io.SEEK_CUR else offset
        if whence == io.SEEK_END or position < self._position:
            raise io.UnsupportedOperation(f"{self._url} is read forward only")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        failures = 0
        while True:
            try:
                data = self._read(len(buffer))
                break
            except Exception as error:  # every store's library has its own, without a common base
                self._disconnect()
                if isinstance(error, ValueError) and _is_http(self._url) and self._options["block_size"] != _STREAM:
                    self._options["block_size"] = _STREAM  # the server knows no ranges
                else:
                    self._wait(error, failures)
                    failures += 1
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _read(self, size: int) -> bytes:
        if self._file is None:
            self._file = self._filesystem.open(self._path, "rb", **self._options)
        if self._file.tell() != self._position:
            try:
                self._file.seek(self._position)
            except ValueError:  # a stream
                self._drop()
        data = self._file.read(size)
        if not data and self._num_bytes is not None and self._position < self._num_bytes:
            raise EOFError("it ends here")
        return data

    def _drop(self) -> None:
        """Read up to where the reader is."""
        while (gap := self._position - self._file.tell()) > 0:
            if not self._file.read(min(gap, 1 << 20)):
                raise EOFError(f"it ends {gap:,} bytes before")

    def _disconnect(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _wait(self, error: Exception, failures: int) -> None:
        """Wait before the next try; raises what `error` means where that is no use or there were enough."""
        if _is_http(self._url) and isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
            error = error.__cause__  # fsspec calls it "not found" whatever the server answered, or if it did not
        if (refusal := _refusal(error, self._url)) is not None:
            raise refusal from error
        end = "" if self._num_bytes is None else f" of {self._num_bytes:,}"
        where = f"{self._url} cannot be read at byte {self._position:,}{end}"
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if failures == len(RETRY_DELAYS_S):
            raise ConnectionError(
                f"{where}, {failures + 1} tries failed, the last by {cause}. Check the address, the network and the "
                "server, then run the same command again"
            ) from error
        logger.warning("%s (%s): trying again in %g s", where, cause, RETRY_DELAYS_S[failures])
        time.sleep(RETRY_DELAYS_S[failures])


def _refusal(error: Exception, url: str) -> OSError | None:
    """An answer that asking again does not change, in words; None for anything else."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return FileNotFoundError(f"{url} is not there")
    # botocore's errors about keys have these names; it is not imported unless S3 is read
    if isinstance(error, PermissionError) or status in (401, 403) or "Credential" in type(error).__name__:
        return PermissionError(
            f"{url} may not be read ({error}): check the keys or the password that fsspec is given, and what they allow"
        )
    is_client_error = isinstance(status, int) and 400 <= status < 500 and status not in _TRANSIENT
    if is_client_error or (isinstance(error, OSError) and error.errno == errno.EINVAL):
        return OSError(f"{url} cannot be read: the server refuses the request ({error})")
    return None
