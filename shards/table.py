"""Random access: every sample of a set by number, without unpacking its tars.

The index (where each member lies, and who, where and which split each sample is) is built once from the tar headers and
`meta.json` members and kept beside the manifest as `index.npz`, keyed by the manifest's hash, so a stale one is built
again.
"""

import hashlib
import os
import threading
import warnings
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import deflate
import numpy as np

from shards.archive import contents, iter_samples
from shards.build import INDEX
from shards.cache import local_copy
from shards.codec import check_members, decode_fields, decode_meta, decode_sample
from shards.errors import ShardError
from shards.manifest import MANIFEST, Manifest, read_complete_manifest
from shards.meta import Meta
from shards.remote import is_url
from shards.schema import EXTENSIONS, Field, Sample
from shards.writer import atomic_file

MAX_OPEN_FILES = 256
"""Shards that a table keeps open in one process; those beyond are opened for each read."""

_INDEX_VERSION = 2
_EXTENSIONS = tuple(EXTENSIONS)
_NO_CRC = -1


class Table:
    """A set of shards as a sequence of samples, in the order in which they lie in the shards.

    Safe to share between threads and across a fork; pickles without its open files, so it can be sent to DataLoader
    workers. Every read checks the CRC-32 of what it reads.

    Attributes, N samples each: keys, identities, origins, datasets, splits, uv_layouts (N,) str, "" for none; camera_ids
    (N,) int64, -1 for none. manifest is the set's, folder where it lies, or its copy.
    """

    folder: Path
    manifest: Manifest
    keys: np.ndarray
    identities: np.ndarray
    origins: np.ndarray
    datasets: np.ndarray
    splits: np.ndarray
    uv_layouts: np.ndarray
    camera_ids: np.ndarray

    def __init__(self, folder: str | Path, *, cache: Path | None = None):
        """Open a complete set.

        folder: where it lies, or a URL of it. A set behind a URL is copied whole into the folder `cache` first, by
        default `$XDG_CACHE_HOME/lookalike` or `~/.cache/lookalike`, and found there the next time (see `shards.cache`).
        Raises FileNotFoundError without a manifest, ShardError for an incomplete or bad set; for URLs see `local_copy`.
        """
        self.folder = local_copy(str(folder), cache) if is_url(folder) else Path(folder)
        self.manifest = read_complete_manifest(self.folder)
        index = _load_index(self.folder, self.manifest)
        self.keys, self.camera_ids = index["keys"], index["camera_ids"]
        self.identities, self.origins = _names(index, "identity"), _names(index, "origin")
        self.datasets, self.splits = _names(index, "dataset"), _names(index, "split")
        self.uv_layouts = _names(index, "uv_layout")
        self._shard_of, self._offsets, self._sizes = index["shard_of"], index["offsets"], index["sizes"]
        self._crc32 = index["crc32"]
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> Sample:
        """Sample `i`, every field decoded and validated."""
        shard, key = self.locate(i)
        return decode_sample(key, self.read_members(i), shard=shard)

    def read(self, i: int, fields: Collection[Field]) -> dict[str, Any]:
        """Chosen fields of sample `i`: {"key": str, field: array, Meta or None}. Only these are read and decoded."""
        shard, key = self.locate(i)
        wanted = [extension for extension, field in EXTENSIONS.items() if field in fields]
        return decode_fields(key, self.read_members(i, wanted), fields, shard=shard)

    def locate(self, i: int) -> tuple[str, str]:
        """File name of the shard that holds sample `i`, and its key, for errors. Raises IndexError."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of a table of {len(self)}")
        return self.manifest.shards[self._shard_of[i]].name, str(self.keys[i])

    def has(self, i: int, extensions: Collection[str]) -> bool:
        """Whether sample `i` has a member of one of these file extensions."""
        self.locate(i)
        return any(self._sizes[i, _EXTENSIONS.index(extension)] >= 0 for extension in extensions)

    def read_members(self, i: int, extensions: Collection[str] = _EXTENSIONS) -> dict[str, bytes]:
        """Members of sample `i` as they lie in the shard: file extension -> bytes, for those asked for that it has."""
        shard, key = self.locate(i)
        members = {}
        for extension in extensions:
            column = _EXTENSIONS.index(extension)
            size = int(self._sizes[i, column])
            if size < 0:
                continue
            data = self._pread(int(self._shard_of[i]), size, int(self._offsets[i, column]))
            crc32 = int(self._crc32[i, column])
            if len(data) != size or (crc32 != _NO_CRC and deflate.crc32(data) != crc32):
                raise ShardError(
                    "bytes differ from those indexed; run `python -m shards verify`",
                    shard=shard,
                    key=key,
                    field=EXTENSIONS[extension],
                )
            members[extension] = data
        return members

    def close(self) -> None:
        """Close the shards; the next read opens them again. Not while another thread reads."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _pread(self, shard: int, size: int, offset: int) -> bytes:
        descriptor = self._files.get(shard)
        if descriptor is not None:
            return os.pread(descriptor, size, offset)
        descriptor = os.open(self.folder / self.manifest.shards[shard].name, os.O_RDONLY)
        try:
            data = os.pread(descriptor, size, offset)
            with self._lock:
                if shard not in self._files and len(self._files) < MAX_OPEN_FILES:
                    self._files[shard] = descriptor
                    descriptor = -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_files", "_lock")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state, _files={}, _lock=threading.Lock())

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)


def _names(index: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return index[f"{name}_names"][index[f"{name}_codes"]]


def _load_index(folder: Path, manifest: Manifest) -> Mapping[str, np.ndarray]:
    path = folder / INDEX
    stamp = f"{_INDEX_VERSION} {hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as archive:
                if str(archive["stamp"]) == stamp:
                    return dict(archive)
        except (ValueError, KeyError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            warnings.warn(f"{path} cannot be read ({error}) and is built again", stacklevel=3)
    index = {"stamp": np.array(stamp), **_build_index(folder, manifest)}
    try:
        with atomic_file(path) as file:
            np.savez(file, **index)
    except PermissionError:
        warnings.warn(f"{folder} is read-only: the index is kept in memory only", stacklevel=3)
    return index


def _build_index(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    num_samples = manifest.num_samples
    keys: list[str] = []
    metas: list[Meta] = []
    shard_of = np.zeros(num_samples, np.int32)
    place = np.full((3, num_samples, len(_EXTENSIONS)), -1, np.int64)  # offset, size, CRC-32
    for entry in manifest.shards:
        first = len(keys)
        with open(folder / entry.name, "rb") as file:
            for key, members in iter_samples(file, shard=entry.name, extensions=("meta.json",)):
                check_members(members, shard=entry.name, key=key)
                if len(keys) - first == entry.num_samples:
                    raise ShardError(
                        f"holds more than the {entry.num_samples} samples of the manifest", shard=entry.name
                    )
                shard_of[len(keys)] = entry.index
                for extension, member in members.items():
                    crc32 = _NO_CRC if member.crc32 is None else member.crc32
                    place[:, len(keys), _EXTENSIONS.index(extension)] = member.offset, member.size, crc32
                keys.append(key)
                data = contents(key, members, shard=entry.name)
                metas.append(decode_meta(data["meta.json"], shard=entry.name, key=key))
        if len(keys) - first != entry.num_samples:
            raise ShardError(
                f"holds {len(keys) - first} samples, the manifest says {entry.num_samples}", shard=entry.name
            )
    _check_unique(keys, shard_of, manifest)
    index = {"keys": np.array(keys), "shard_of": shard_of, "offsets": place[0], "sizes": place[1], "crc32": place[2]}
    index["camera_ids"] = np.array([-1 if m.camera_id is None else m.camera_id for m in metas], np.int64)
    for name in ("identity", "origin", "dataset", "split", "uv_layout"):
        names, codes = np.unique([getattr(meta, name) or "" for meta in metas], return_inverse=True)
        index[f"{name}_names"], index[f"{name}_codes"] = names, codes.astype(np.int32)
    return index


def _check_unique(keys: list[str], shard_of: np.ndarray, manifest: Manifest) -> None:
    seen: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key in seen:
            first, second = (manifest.shards[shard_of[j]].name for j in (seen[key], i))
            raise ShardError(f"key comes twice, first in {first}; keys are unique in a set", shard=second, key=key)
        seen[key] = i
