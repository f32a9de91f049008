"""Sequential reading: a webdataset pipeline over one set or several, split over nodes and workers.

shard list -> shuffle shards -> split by node -> split by worker -> members -> shuffle buffer -> decode. The order is a
pure function of (seed, epoch, rank, worker), and of how many there are.
"""

import logging
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO

import braceexpand
import torch
import webdataset
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from shards.archive import contents, iter_samples
from shards.codec import decode_fields, decode_sample
from shards.errors import ShardError
from shards.manifest import ShardEntry
from shards.remote import is_url, manifest_of, open_url
from shards.schema import EXTENSIONS, Field, Sample

logger = logging.getLogger(__name__)

Raw = tuple[str, str, Mapping[str, Any]]
"""(shard, key, extension -> archive.ArchivedMember)."""


def stream(
    sources: str | Path | Sequence[str | Path],
    *,
    fields: Collection[Field] | None = None,
    shuffle_buffer: int = 0,
    seed: int = 0,
    epoch: int = 0,
    weights: Sequence[float] | None = None,
    repeat: bool = False,
    max_bad_samples: int = 0,
    to_train: bool = False,
) -> "ShardStream":
    """Samples of one or several sets, in shard order, for a DataLoader or a plain loop.

    sources: each a folder of shards, a `.tar`, or a brace pattern of such (`pit-{000000..000009}.tar`), by path or by
    URL (read block by block, without a copy: see `shards.remote`). fields: those to decode, giving a dict {"shard",
    "key", field, ...}; all by default, giving a `Sample`. shuffle_buffer: samples held to draw from; 0 keeps the stored order, of
    shards too. One pass gives every sample exactly once over all ranks and workers, unless `repeat`, which starts the
    next epoch by itself.

    weights: one positive number per source. Each sample then comes from a source drawn with that probability, every
    source starts over when it is spent, and the stream has no end. max_bad_samples: samples that may be skipped, each
    logged as a warning, before one raises, in each worker; damage to the tar itself ends the shard and counts once.

    to_train: whether only samples to learn from are given: of the split "train", or of no split in sets that have none. Shards
    without any are left out, and not counted among those that workers share.

    Raises ValueError for bad arguments, FileNotFoundError, and ShardError naming shard, key and field of what is wrong;
    of URLs also PermissionError, and ConnectionError after several tries, which is never skipped.
    """
    places = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not places:
        raise ValueError("a stream needs at least one source, got none")
    if weights is not None and (len(weights) != len(places) or not all(weight > 0 for weight in weights)):
        raise ValueError(f"weights must be one positive number for each of {len(places)} sources, got {list(weights)}")
    if shuffle_buffer < 0 or max_bad_samples < 0:
        raise ValueError(f"must be >= 0: shuffle_buffer {shuffle_buffer}, max_bad_samples {max_bad_samples}")
    if fields is not None and (unknown := set(fields) - set(EXTENSIONS.values())):
        raise ValueError(f"unknown fields {sorted(unknown)}; known are {sorted(set(EXTENSIONS.values()))}")
    shards = [_resolve(str(place)) for place in places]
    splits: dict[str, str] = {}
    if to_train:
        for place, source in zip(places, shards, strict=True):
            splits |= _to_train(str(place), source)
        shards = [{url: entry for url, entry in source.items() if url in splits} for source in shards]
    return ShardStream(
        shards if weights is not None else [{url: entry for source in shards for url, entry in source.items()}],
        fields=None if fields is None else tuple(fields),
        shuffle_buffer=shuffle_buffer,
        seed=seed,
        epoch=epoch,
        weights=None if weights is None else tuple(weights),
        repeat=repeat,
        max_bad_samples=max_bad_samples,
        splits=splits,
    )


class ShardStream(IterableDataset):
    """What `stream` returns: an iterable of `Sample`, or of dicts where fields were chosen."""

    def __init__(
        self,
        sources: Sequence[Mapping[str, ShardEntry | None]],
        *,
        fields: tuple[Field, ...] | None,
        shuffle_buffer: int,
        seed: int,
        epoch: int,
        weights: tuple[float, ...] | None,
        repeat: bool,
        max_bad_samples: int,
        splits: Mapping[str, str],
    ):
        """sources: shard path or URL -> its entry in the manifest (None without), one mapping each; splits: shard -> the one
        split of it that is given, or "none", where not all are; the rest as `stream`."""
        super().__init__()
        self._sources, self._fields, self._weights, self._splits = sources, fields, weights, splits
        self._shuffle_buffer, self._seed, self._repeat = shuffle_buffer, seed, repeat
        self._max_bad_samples = max_bad_samples
        self._node = pytorch_worker_info()[:2]
        self._epoch = torch.tensor(epoch).share_memory_()  # so that workers that live on see set_epoch

    @property
    def num_samples(self) -> int | None:
        """Samples of all sources together, over all ranks; None where a source has no manifest."""
        entries = {url: entry for source in self._sources for url, entry in source.items()}
        if None in entries.values():
            return None
        return sum(
            entry.splits[self._splits[url]] if url in self._splits else entry.num_samples
            for url, entry in entries.items()
        )

    @property
    def num_shards(self) -> int:
        """Shards of all sources together, which ranks and workers share."""
        return sum(map(len, self._sources))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; reaches DataLoader workers that are kept alive."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Sample | dict[str, Any]]:
        epoch, bad = int(self._epoch), _BadSamples(self._max_bad_samples)
        if self._weights is not None:
            return self._mixed(epoch, bad)
        if self._repeat:
            return self._endless(0, epoch, bad)
        return self._pass(0, (epoch,), bad)

    def _mixed(self, epoch: int, bad: "_BadSamples") -> Iterator[Sample | dict[str, Any]]:
        draws = self._generator("mix", epoch)
        passes = [self._endless(i, epoch, bad) for i in range(len(self._sources))]
        while True:
            (chosen,) = draws.choices(passes, self._weights)
            yield next(chosen)

    def _endless(self, source: int, epoch: int, bad: "_BadSamples") -> Iterator[Sample | dict[str, Any]]:
        _, num_ranks, _, num_workers = self._position()
        if len(self._sources[source]) < num_ranks * num_workers:
            raise ValueError(
                f"an endless stream needs a shard for each of {num_ranks} ranks x {num_workers} workers, a source has "
                f"{len(self._sources[source])}: use fewer workers, or write it with fewer samples per shard"
            )
        for number in count():
            yield from self._pass(source, (epoch, number), bad)

    def _pass(self, source: int, order: tuple[int, ...], bad: "_BadSamples") -> Iterator[Sample | dict[str, Any]]:
        rank, num_ranks, worker, num_workers = self._position()
        shards = list(self._sources[source].items())
        if len(shards) < num_ranks:
            raise ValueError(f"{len(shards)} shards cannot be split over {num_ranks} ranks: write smaller shards")
        stages: list[Any] = [
            lambda shards: islice(shards, rank, None, num_ranks),
            lambda shards: islice(shards, worker, None, num_workers),
            lambda shards: self._read(shards, bad),
        ]
        if self._shuffle_buffer:
            # of all ranks alike, so that they split one and the same order
            random.Random(repr((self._seed, "shards", source, order))).shuffle(shards)
            samples = self._generator("samples", source, *order)
            stages.append(webdataset.shuffle(self._shuffle_buffer, initial=self._shuffle_buffer, rng=samples))
        return iter(webdataset.DataPipeline(lambda: iter(shards), *stages, lambda raws: self._decode(raws, bad)))

    def _position(self) -> tuple[int, int, int, int]:
        """(rank, number of ranks, worker, number of workers).

        A DataLoader worker cannot ask for the rank of a process group that was set up without environment variables:
        what the parent knew counts then.
        """
        node, worker = pytorch_worker_info()[:2], pytorch_worker_info()[2:]
        return *max(node, self._node, key=lambda known: known[1]), *worker

    def _generator(self, *purpose: Any) -> random.Random:
        rank, _, worker, _ = self._position()
        return random.Random(repr((self._seed, purpose, rank, worker)))

    def _read(self, shards: Iterator[tuple[str, ShardEntry | None]], bad: "_BadSamples") -> Iterator[Raw]:
        fields = self._fields
        read = fields if fields is None or not self._splits else {*fields, "meta"}
        extensions = None if read is None else {ext for ext, field in EXTENSIONS.items() if field in read}
        for url, entry in shards:
            num_read = 0
            try:
                with _open(url, entry) as file:
                    for key, members in iter_samples(file, shard=url, extensions=extensions, skip=file.seekable()):
                        yield url, key, members
                        num_read += 1
                if entry is not None and num_read != entry.num_samples:
                    raise _miscounted(url, num_read, entry)
            except ShardError as error:
                bad.take(error)

    def _decode(self, raws: Iterator[Raw], bad: "_BadSamples") -> Iterator[Sample | dict[str, Any]]:
        for shard, key, members in raws:
            try:
                data = contents(key, members, shard=shard)
                if shard in self._splits:
                    split = decode_fields(key, data, ["meta"], shard=shard)["meta"].split
                    if (split or "none") != self._splits[shard]:
                        continue
                if self._fields is None:
                    sample: Any = decode_sample(key, data, shard=shard)
                else:
                    sample = {"shard": shard, **decode_fields(key, data, self._fields, shard=shard)}
            except ShardError as error:
                bad.take(error)
                continue
            yield sample


class _BadSamples:
    """Counts the bad samples of one pass in one worker."""

    def __init__(self, allowed: int):
        self._allowed, self._num = allowed, 0

    def take(self, error: ShardError) -> None:
        """Report a bad sample, or raise when there were too many."""
        self._num += 1
        if self._num > self._allowed:
            if self._allowed:
                error.add_note(f"{self._num} bad samples, {self._allowed} are allowed")
            raise error
        logger.warning("skipped bad sample %d of at most %d: %s", self._num, self._allowed, error)


def _resolve(place: str) -> dict[str, ShardEntry | None]:
    """Shard path or URL -> what the manifest says, None where there is none."""
    if place.endswith(".tar"):
        return dict.fromkeys(braceexpand.braceexpand(place))
    return {f"{place.rstrip('/')}/{entry.name}": entry for entry in manifest_of(place).shards}


def _to_train(place: str, source: Mapping[str, ShardEntry | None]) -> dict[str, str]:
    """Shards that hold samples to learn from -> the split that these are of, or "none"."""
    if None in source.values():
        raise ValueError(
            f"{place}: which samples are to be learned from is told by sets, not by shards: name the folder"
        )
    found = {split for entry in source.values() for split in entry.splits}
    wanted = "none" if found <= {"none"} else "train"
    shards = {url: wanted for url, entry in source.items() if entry.splits.get(wanted)}
    if not shards:
        raise ValueError(f'{place}: no sample to learn from is of the split "train", splits are {sorted(found)}')
    return shards


def read_shard(source: str | Path, entry: ShardEntry) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Every sample of one shard of a set, in order, as it lies there: its key, and file extension -> bytes.

    source: the folder of the set, or its URL. Raises ShardError, naming the shard, where it is damaged or does not hold what
    its entry says; FileNotFoundError, and for URLs what `remote.open_url` raises.
    """
    place = f"{str(source).rstrip('/')}/{entry.name}"
    num_read = 0
    with _open(place, entry) as file:
        for key, members in iter_samples(file, shard=place):
            yield key, contents(key, members, shard=place)
            num_read += 1
    if num_read != entry.num_samples:
        raise _miscounted(place, num_read, entry)


def _miscounted(place: str, num_read: int, entry: ShardEntry) -> ShardError:
    return ShardError(f"holds {num_read} samples, the manifest says {entry.num_samples}", shard=place)


def _open(place: str, entry: ShardEntry | None) -> BinaryIO:
    if is_url(place):
        return open_url(place, num_bytes=None if entry is None else entry.num_bytes)
    return open(place, "rb")
