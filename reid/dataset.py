"""The samples that a run is trained on: which sets, and who is which class."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
import torch
import tyro

from reid.batch import ORIGINS
from reid.fit import InputConfig, Label, array_shapes, check_labels_fit, fields_to_read, fit, missing_field, sources_of
from shards.errors import ShardError
from shards.meta import NOBODY
from shards.remote import is_url
from shards.schema import EXTENSIONS
from shards.table import Table

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What a run is trained on. Sets are folders of shards, or URLs of such; the list that a set stands in decides how
    far its samples are trusted, whatever their meta says."""

    real: tuple[str, ...] = ()
    """Sets of photographs of known people."""
    rendered: tuple[str, ...] = ()
    """Sets of rendered people with identities."""
    generated: tuple[str, ...] = ()
    """Sets of generated pictures; identities that they share with another set are the same classes."""
    pairs: tuple[str, ...] = ()
    """Sets of rendered pictures and textures, whose identities are not used: of their split train, or of none in sets that have none."""
    pairs_ratio: tuple[int, int] = (1, 1)
    """Batches of identities to batches of pairs (SAN, table 5)."""
    memory_gib: float = 8.0
    """What takes no more than this, decoded, is kept in memory in every process: the training set (on a GPU where there is
    room), and each query and gallery that is scored."""
    num_workers: int = 2
    """Threads that decode into memory, or processes that decode batch by batch."""
    max_bad_samples: Annotated[int, tyro.conf.arg(prefix_name=False)] = 0
    """Training samples that do not decode and may be skipped, in every process, each with a warning. Where a picture to be
    scored does not decode, the run stops."""

    def __post_init__(self) -> None:
        if not all(type(share) is int and share >= 1 for share in self.pairs_ratio):
            raise ValueError(f"pairs_ratio must be two ints >= 1, got {self.pairs_ratio}")
        if self.memory_gib < 0 or self.num_workers < 0 or self.max_bad_samples < 0:
            raise ValueError(
                "needs memory_gib >= 0, num_workers >= 0 and max_bad_samples >= 0, "
                f"got {self.memory_gib}, {self.num_workers} and {self.max_bad_samples}"
            )
        for places in ((*self.real, *self.rendered, *self.generated), self.pairs):
            seen: dict[str, str] = {}
            for place in places:
                where = place.rstrip("/") if is_url(place) else os.path.realpath(place)
                if where in seen:
                    raise ValueError(f"each set is named once, got {seen[where]} and {place}; leave one of them out")
                seen[where] = place


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """N samples of known people, from any number of sets. Can be sent to worker processes."""

    tables: tuple[Table, ...]
    """The sets."""
    table_of: np.ndarray
    """(N,) int64 number of the sample's set."""
    index_in: np.ndarray
    """(N,) int64 number of the sample in its set."""
    keys: np.ndarray
    """(N,) str, `SET/KEY`."""
    classes: np.ndarray
    """(N,) int64, indices into `class_names`."""
    origins: np.ndarray
    """(N,) int64, indices into `batch.ORIGINS`."""
    camera_ids: np.ndarray
    """(N,) int64 within the data set, -1 for unknown."""
    class_names: tuple[str, ...]
    """(C,) identities, sorted."""
    input: InputConfig
    labels: frozenset[Label]
    may_lack_iuv: bool
    """Whether a sample without iuv is one of which no surface was found: background alone."""
    uv_layout: str | None
    """Of all textures, where "texture" is among the labels."""
    max_bad_samples: int
    bad: torch.Tensor
    """(N,) bool in shared memory: samples that this process or its workers could not read."""

    def __len__(self) -> int:
        return len(self.keys)

    def shapes(self) -> dict[Label, tuple[int, ...]]:
        """Shape of every array that `read` gives."""
        return array_shapes(self.input, self.labels)

    def with_labels(self, labels: frozenset[Label]) -> Self:
        """The same samples, read with these fields too.

        Raises ShardError, naming the set, for a sample that lacks one; ValueError for textures of several uv layouts, and
        for labels of networks that are given textures in place of pictures.
        """
        check_labels_fit(self.input, labels)
        rows = [self.index_in[self.table_of == number] for number in range(len(self.tables))]
        for table, indices in zip(self.tables, rows, strict=True):
            _check_fields(table, indices, labels)
        uv_layout = _uv_layout(self.tables, rows) if "texture" in labels else None
        return replace(self, labels=labels, uv_layout=uv_layout)

    def read(self, index: int) -> dict[Label, np.ndarray]:
        """Sample `index`: "image" and the labels asked for, uint8, resized as `batch.StoredBatch` says.

        Raises ShardError naming shard and key where it does not decode.
        """
        table, row = self.tables[self.table_of[index]], int(self.index_in[index])
        values = {**table.read(row, fields_to_read(self.input, self.labels)), "shard": table.locate(row)[0]}
        if self.may_lack_iuv and values["iuv"] is None:
            values = {**values, "iuv": np.zeros_like(values["image"])}
        return fit(values, self.input, self.labels)

    def read_good(self, index: int) -> tuple[int, dict[Label, np.ndarray]]:
        """As `read`, with the number of the sample that was read: `index`, or where that one is bad and may be skipped, the
        next good one of the same person. Raises ShardError for one bad sample too many, and for a person without any."""
        for candidate in self._candidates(index):
            if self.bad[candidate]:
                continue
            try:
                return candidate, self.read(candidate)
            except ShardError as error:
                self._skip(candidate, error)
        raise ShardError(
            f"no picture of {self.class_names[self.classes[index]]} can be read; leave this identity out",
            key=str(self.keys[index]),
        )

    def _candidates(self, index: int) -> Iterator[int]:
        yield index
        same = np.flatnonzero(self.classes == self.classes[index])
        yield from np.roll(same, -1 - int(np.searchsorted(same, index)))[:-1].tolist()

    def _skip(self, index: int, error: ShardError) -> None:
        """Warn and count, or raise when there were too many."""
        num_bad = int(self.bad.sum()) + 1
        if num_bad > self.max_bad_samples:
            count = f" ({num_bad} bad samples, {self.max_bad_samples} may be skipped)" if self.max_bad_samples else ""
            raise ShardError(error.rule + count, shard=error.shard, key=error.key, field=error.field) from error
        self.bad[index] = True
        logger.warning("skipped bad sample %d of at most %d: %s", num_bad, self.max_bad_samples, error)


def open_train_set(config: DataConfig, input: InputConfig) -> Samples:
    """The samples of `config`'s sets that show somebody known and are of the split "train", or of no split in sets that
    have none.

    Identities are strings that are unique across data sets; the same string in two sets is the same class. Raises
    ValueError where there is no set, or one without identities or without samples to train on; FileNotFoundError; and
    ShardError for a set that is not complete, not right, of a newer schema, or without what `input.picture` asks for.
    """
    places = [(origin, place) for origin in ORIGINS for place in getattr(config, origin)]
    if not places:
        raise ValueError("nothing to train on: name at least one set under real, rendered or generated")
    tables = [Table(place) for _, place in places]
    chosen = [samples_to_train_on(table, place) for table, (_, place) in zip(tables, places, strict=True)]
    for table, indices, (origin, place) in zip(tables, chosen, places, strict=True):
        _warn_of_origins(table.origins[indices], origin, place)
        _check_fields(table, indices, [input.picture])
    samples = gather_samples([place for _, place in places], tables, chosen, input, config.max_bad_samples)
    origins = np.repeat([ORIGINS.index(origin) for origin, _ in places], [len(indices) for indices in chosen])
    return replace(samples, origins=origins)


def gather_samples(
    places: Sequence[str],
    tables: Sequence[Table],
    rows: Sequence[np.ndarray],
    input: InputConfig,
    max_bad_samples: int,
) -> Samples:
    """Samples `rows`, (n,) int64 each, of the sets `tables` that lie at `places`, read without labels, in that order: a class for
    each identity, and origins as the sets tell them."""
    columns = {
        name: np.concatenate([getattr(table, name)[chosen] for table, chosen in zip(tables, rows, strict=True)])
        for name in ("keys", "identities", "origins", "camera_ids")
    }
    counts = [len(chosen) for chosen in rows]
    within = np.repeat([f"{place.rstrip('/')}/" for place in places], counts)
    class_names, classes = np.unique(columns["identities"], return_inverse=True)
    return Samples(
        tables=tuple(tables),
        table_of=np.repeat(np.arange(len(tables)), counts),
        index_in=np.concatenate(rows),
        keys=np.char.add(within, columns["keys"]),
        classes=classes.astype(np.int64),
        origins=np.array([ORIGINS.index(origin) for origin in columns["origins"]]),
        camera_ids=columns["camera_ids"],
        class_names=tuple(class_names.tolist()),
        input=input,
        labels=frozenset(),
        may_lack_iuv=False,
        uv_layout=None,
        max_bad_samples=max_bad_samples,
        bad=torch.zeros(sum(counts), dtype=torch.bool).share_memory_(),
    )


def choose_samples(table: Table, rows: np.ndarray, input: InputConfig, *, with_iuv: bool = False) -> Samples:
    """Samples `rows` (N,) int64 of one set, whoever they show, to be embedded: all are of class 0. with_iuv: read their iuv too,
    background alone of a sample that has none. Raises ShardError for one without what `input.picture` asks for."""
    _check_fields(table, rows, [input.picture])
    return Samples(
        tables=(table,),
        table_of=np.zeros(len(rows), np.int64),
        index_in=rows,
        keys=table.keys[rows],
        classes=np.zeros(len(rows), np.int64),
        origins=np.zeros(len(rows), np.int64),
        camera_ids=table.camera_ids[rows],
        class_names=("",),
        input=input,
        labels=frozenset({"iuv"}) if with_iuv else frozenset(),
        may_lack_iuv=with_iuv,
        uv_layout=None,
        max_bad_samples=0,
        bad=torch.zeros(len(rows), dtype=torch.bool),
    )


def samples_to_train_on(table: Table, place: str) -> np.ndarray:
    """Numbers (n,) int64 of a set's samples of known people in the split "train", or of no split in a set that has none.

    Raises ValueError where there are none.
    """
    known = are_known(table.identities)
    if not known.any():
        raise ValueError(f"{place}: no sample has an identity; name a labelled set")
    return rows_in_split(table, known, place)


def are_known(identities: np.ndarray) -> np.ndarray:
    """identities (N,) str -> (N,) bool: whether they are somebody's, and neither junk nor distractors."""
    return (identities != "") & ~are_nobody(identities)


def are_nobody(identities: np.ndarray) -> np.ndarray:
    """identities (N,) str -> (N,) bool: whether they are of junk or distractors."""
    return np.logical_or.reduce([np.char.endswith(identities, end) for end in NOBODY])


def rows_in_split(table: Table, wanted: np.ndarray, place: str) -> np.ndarray:
    """Numbers (n,) int64 of the samples, wanted (N,) bool, that lie in the split "train", or of no split in a set that has none.
    Raises ValueError where there are none."""
    in_split = wanted & (table.splits == ("train" if (table.splits != "").any() else ""))
    if not in_split.any():
        splits = sorted(set(table.splits[wanted].tolist()))
        raise ValueError(f'{place}: no sample to learn from is of the split "train", splits are {splits}')
    return np.flatnonzero(in_split)


def _warn_of_origins(origins: np.ndarray, trusted_as: str, place: str) -> None:
    others = sorted(set(origins.tolist()) - {trusted_as})
    if others:
        logger.warning("%s holds samples of origin %s; they are trusted as %s", place, ", ".join(others), trusted_as)


def _check_fields(table: Table, indices: np.ndarray, fields: Iterable[Label]) -> None:
    members = table.manifest.totals()["members"]
    for field in sorted(fields):
        extensions = [extension for extension, source in EXTENSIONS.items() if source in sources_of(field)]
        if max(members.get(extension, 0) for extension in extensions) == len(table):
            continue
        for i in indices:
            if not table.has(int(i), extensions):
                raise missing_field(field, key=str(table.keys[i]), place=str(table.folder))


def _uv_layout(tables: Iterable[Table], rows: Iterable[np.ndarray]) -> str:
    """The one uv layout of the sets' samples `rows`, all of which have a texture."""
    layouts = {str(table.folder): set(table.uv_layouts[r].tolist()) for table, r in zip(tables, rows, strict=True)}
    found = set().union(*layouts.values())
    if len(found) > 1:
        told = "; ".join(f"{place}: {', '.join(sorted(names))}" for place, names in layouts.items())
        raise ValueError(
            f"textures of one uv layout can be learned at a time, got {told}; leave all but one layout out"
        )
    return found.pop()
