"""Embeddings with what scoring needs to know of them, and the files that they are kept in."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shards.writer import atomic_file

JUNK = -1
"""Identity of an image that is left out of scoring. A distractor is any identity that no query has."""
UNKNOWN_CAMERA = -1
"""Never the same camera as another."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embeddings:
    """N embedded images. Raises ValueError for arrays of other shapes, types or ranges, and for no images at all."""

    vectors: np.ndarray
    """(N, D) float32, finite."""
    identities: np.ndarray
    """(N,) int64 >= 0, or JUNK."""
    camera_ids: np.ndarray
    """(N,) int64 >= 0, or UNKNOWN_CAMERA."""
    keys: np.ndarray
    """(N,) str: what an image is called in reports and messages."""

    def __post_init__(self) -> None:
        check_array("vectors", self.vectors, np.float32)
        if self.vectors.ndim != 2 or 0 in self.vectors.shape:
            raise ValueError(f"vectors must be (N, D) with at least one of each, got shape {self.vectors.shape}")
        for name, dtype in (("identities", np.int64), ("camera_ids", np.int64), ("keys", np.str_)):
            values = getattr(self, name)
            check_array(name, values, dtype)
            if values.shape != (len(self.vectors),):
                raise ValueError(
                    f"{name} must be ({len(self.vectors)},) as there are vectors, got shape {values.shape}"
                )
        for name in ("identities", "camera_ids"):
            values = getattr(self, name)
            if (values < -1).any():
                row = int(np.argmax(values < -1))
                raise ValueError(f"{name} must be >= -1, got {values[row]} for {str(self.keys[row])!r} (row {row})")
        # The sum is finite if and only if all are, and takes no memory.
        with np.errstate(invalid="ignore"):
            total = self.vectors.sum(dtype=np.float64)
        if not np.isfinite(total):
            rows = np.flatnonzero([not np.isfinite(vector).all() for vector in self.vectors])
            raise ValueError(
                f"embeddings must be finite, got NaN or infinity in {len(rows):,} of {len(self.vectors):,}, the first "
                f"{str(self.keys[rows[0]])!r} (row {rows[0]})"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> "Embeddings":
        """Some of them: rows are indices, or (N,) bool. Raises ValueError if that leaves none."""
        return Embeddings(
            vectors=self.vectors[rows],
            identities=self.identities[rows],
            camera_ids=self.camera_ids[rows],
            keys=self.keys[rows],
        )

    def without_junk(self) -> "Embeddings":
        """These, or a copy of those that are scored. Raises ValueError if all are junk."""
        known = self.identities != JUNK
        if known.all():
            return self
        if not known.any():
            raise ValueError(f"at least one image must have an identity, got {len(self):,} of identity {JUNK} (junk)")
        return self.take(known)


def check_array(name: str, values: object, dtype: type) -> None:
    """Raises ValueError if `values` is no array of that type; np.str_ stands for strings of any length."""
    if not (isinstance(values, np.ndarray) and np.issubdtype(values.dtype, dtype)):
        got = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"{name} must be an array of {dtype.__name__.rstrip('_')}, got {got}")


def merge_queries(query: Embeddings) -> Embeddings:
    """One query for all images of an identity and camera: the mean of their embeddings as they are (Zheng et al. 2015,
    "Scalable person re-identification: a benchmark", sec. 5.1, multiple queries by average pooling).

    It has the key of the first of them, whose order is kept. Images of unknown camera or without identity stay alone.
    """
    alone = np.where((query.identities == JUNK) | (query.camera_ids == UNKNOWN_CAMERA), np.arange(len(query)), -1)
    groups = np.stack((query.identities, query.camera_ids, alone), axis=1)
    _, first, group = np.unique(groups, axis=0, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[group.reshape(-1)]
    means = np.zeros((len(first), query.vectors.shape[1]))
    np.add.at(means, place, query.vectors)
    means /= np.bincount(place)[:, None]
    merged = query.take(np.sort(first))
    return Embeddings(
        vectors=means.astype(np.float32),
        identities=merged.identities,
        camera_ids=merged.camera_ids,
        keys=merged.keys,
    )


def read_retrieval(path: Path) -> tuple[Embeddings, Embeddings]:
    """Query and gallery of an .npz file that any model may have made.

    Its arrays, for SET query and gallery: SET_embeddings (N, D) floats, SET_identities and SET_cameras (N,) whole numbers
    >= -1 (JUNK, UNKNOWN_CAMERA), and, if there, SET_keys (N,) strings. Others are not read. Raises FileNotFoundError if
    there is no such file, ValueError for one that is damaged, lacks an array or holds one of another shape or type.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there must be an .npz file of embeddings to score, found no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name.rpartition("_")[0] in ("query", "gallery")}
    except (ValueError, AttributeError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} must be an .npz file of plain arrays, as numpy.savez writes it: {error}") from error
    sets = []
    for name in ("query", "gallery"):
        try:
            sets.append(_embeddings_of(name, arrays))
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from error
    if len({one.vectors.shape[1] for one in sets}) > 1:
        raise ValueError(
            f"{path}: query_embeddings and gallery_embeddings must have the same number of columns, got "
            f"{sets[0].vectors.shape[1]} and {sets[1].vectors.shape[1]}"
        )
    return sets[0], sets[1]


def _embeddings_of(name: str, arrays: dict[str, np.ndarray]) -> Embeddings:
    """The set `name` of the arrays of a file."""
    kinds = {"embeddings": np.floating, "identities": np.integer, "cameras": np.integer, "keys": np.str_}
    values = {}
    for suffix, kind in kinds.items():
        array = arrays.get(f"{name}_{suffix}")
        if array is None and suffix == "keys":
            array = np.array([f"{name} {i}" for i in range(len(values["embeddings"]))], dtype=np.str_)
        if array is None:
            raise ValueError(f"{name}_{suffix} is missing; these there are: {', '.join(sorted(arrays)) or 'none'}")
        check_array(f"{name}_{suffix}", array, kind)
        if array.ndim != (2 if suffix == "embeddings" else 1):
            wanted = "(N, D)" if suffix == "embeddings" else "(N,)"
            raise ValueError(f"{name}_{suffix} must be {wanted}, got shape {array.shape}")
        if len(array) != len(values.get("embeddings", array)):
            raise ValueError(
                f"{name}_{suffix} must be as many as {name}_embeddings, got {len(array)} and {len(values['embeddings'])}"
            )
        values[suffix] = array
    with np.errstate(over="ignore"):  # what is too large for float32 is found as infinity
        vectors = values["embeddings"].astype(np.float32, copy=False)
    return Embeddings(
        vectors=vectors,
        identities=values["identities"].astype(np.int64),
        camera_ids=values["cameras"].astype(np.int64),
        keys=values["keys"],
    )


def write_retrieval(path: Path, query: Embeddings, gallery: Embeddings) -> None:
    """Write what `read_retrieval` reads, keys too; the file is whole or not there."""
    arrays = {}
    for name, one in (("query", query), ("gallery", gallery)):
        arrays |= {
            f"{name}_embeddings": one.vectors,
            f"{name}_identities": one.identities,
            f"{name}_cameras": one.camera_ids,
            f"{name}_keys": one.keys,
        }
    with atomic_file(Path(path)) as file:
        np.savez(file, **arrays)


def write_embeddings(
    path: Path, embeddings: Embeddings, names: Sequence[str], *, splits: Sequence[str] | None = None
) -> None:
    """Write one set of embeddings to `path`, an .npz or a .parquet file, whole or not at all.

    names: (N,) identities as data sets name them, "" for none; splits: (N,) "train", "query", "gallery", "" for none.
    Arrays, or columns: embeddings (N, D) float32 (lists of D), identities (N,) strings, cameras (N,) int64, -1 unknown,
    keys (N,) strings, splits (N,) strings. Raises ValueError for another suffix or for names or splits of another number,
    ImportError if pyarrow is needed and missing.
    """
    path = Path(path)
    columns = {"identities": names, "splits": [""] * len(embeddings) if splits is None else splits}
    for name, values in columns.items():
        if len(values) != len(embeddings):
            raise ValueError(f"{name} must be as many as the embeddings, got {len(values)} and {len(embeddings)}")
    arrays = {
        "embeddings": embeddings.vectors,
        "identities": np.array(columns["identities"], dtype=np.str_),
        "cameras": embeddings.camera_ids,
        "keys": embeddings.keys,
        "splits": np.array(columns["splits"], dtype=np.str_),
    }
    match path.suffix:
        case ".npz":
            with atomic_file(path) as file:
                np.savez(file, **arrays)
        case ".parquet":
            _write_parquet(path, arrays)
        case suffix:
            raise ValueError(f"embeddings are written to .npz or .parquet, got {suffix or 'no suffix'!r} in {path}")


def _write_parquet(path: Path, arrays: dict[str, np.ndarray]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("a .parquet file needs pyarrow: pip install 'lookalike[parquet]', or write .npz") from error
    columns = {name: pyarrow.array(values) for name, values in arrays.items() if name != "embeddings"}
    vectors = arrays["embeddings"]
    flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
    lists = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    with atomic_file(path) as file:
        parquet.write_table(pyarrow.table({"embeddings": lists, **columns}), file)
