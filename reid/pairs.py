"""Batches of rendered pictures and what belongs to them, whose identities are not used: live, or from shards.

Both ways number their batches from the beginning of the run, in every process for itself, and begin at any number.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from webdataset.utils import pytorch_worker_info

from reid.batch import ORIGINS, UNKNOWN, StoredBatch
from reid.dataset import DataConfig
from reid.fit import InputConfig, Label, fields_to_read, fit, missing_field, sources_of
from reid.interrupt import leave_to_parent
from reid.loader import PREFETCH, collate, whole
from shards.errors import ShardError
from shards.manifest import Manifest
from shards.remote import manifest_of
from shards.schema import EXTENSIONS
from shards.semantics import SURFACE_TO_7
from shards.stream import ShardStream, stream

logger = logging.getLogger(__name__)

SHUFFLE_BUFFER = 1000
"""Encoded samples that each worker process holds to draw from."""

PairSource = Callable[[int], Iterator[Any]]
"""first -> batches number first, first + 1 and so on without end: objects with `image` (B, h, w, 3) uint8 and those of
`texture` (B, 256, 256, 3), `iuv` (B, h, w, 3) and `aligned` (B, h', w', 3), uint8, and `keypoints` (B, 17, 3) float32 that
the model asks for; with textures `uv_layout`, a string. Such is `synth.live.LiveBatches(...).batches`. Each process has a source of its own, with another
seed than the others'."""
Pairs = Callable[[int], Iterator[StoredBatch]]
"""first -> batches number first, first + 1 and so on without end, as they are stored, identities UNKNOWN. One
iterator at a time: the next one ends it."""


def interleave(ratio: tuple[int, int], step: int) -> Literal["reid", "pairs"]:
    """What step 0, 1, ... of a run is trained on, for ratio batches of identities : batches of pairs; evenly spread, each
    ratio[0] + ratio[1] steps alike, and never pairs first."""
    return "pairs" if pairs_before(ratio, step + 1) > pairs_before(ratio, step) else "reid"


def pairs_before(ratio: tuple[int, int], step: int) -> int:
    """Batches of pairs among steps 0..step - 1: the number of the next one."""
    return step * ratio[1] // sum(ratio)


def live_pairs(source: PairSource, input: InputConfig, labels: frozenset[Label], device: torch.device) -> Pairs:
    """The batches of `source`, resized, on the device. Raises ValueError for a label that they have not."""

    def batches(first: int) -> Iterator[StoredBatch]:
        for number, batch in enumerate(source(first), start=first):
            arrays = _arrays(batch, input, labels)
            keys = tuple(f"live/{number}-{i}" for i in range(len(arrays["image"])))
            layout = getattr(batch, "uv_layout", None) if "texture" in labels else None
            yield _stored(arrays, keys, layout, device)

    return batches


def _arrays(batch: Any, input: InputConfig, labels: frozenset[Label]) -> dict[Label, Tensor]:
    arrays: dict[Label, Tensor] = {}
    for field in ("image", *sorted(labels)):
        array = getattr(batch, input.picture if field == "image" else field, None)
        if array is None and field == "parts" and getattr(batch, "iuv", None) is not None:
            array = torch.from_numpy(SURFACE_TO_7.copy()).to(batch.iuv.device)[batch.iuv[..., 0].int()]
        if array is None:
            raise ValueError(
                f"the model is trained with {field}, which the source of pairs does not give; add it there"
            )
        if field == "keypoints":
            array = array * array.new_tensor(_scale(batch.image.shape[1:3], input.stored))
        elif field != "texture" and array.shape[1:3] != input.stored:
            array = _resize(array, input.stored, smooth=field in ("image", "aligned"))
        arrays[field] = array
    return arrays


def _scale(old: tuple[int, int], new: tuple[int, int]) -> tuple[float, float, float]:
    """What x, y and v are multiplied by when pictures (height, width) are resized."""
    return new[1] / old[1], new[0] / old[0], 1.0


def _resize(array: Tensor, size: tuple[int, int], *, smooth: bool) -> Tensor:
    """array (B, h, w) or (B, h, w, 3) uint8 -> (B, H, W) or (B, H, W, 3), as `fit.fit` does it."""
    if smooth:
        pixels = functional.interpolate(array.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    rows, columns = (
        ((torch.arange(new, device=array.device) + 0.5) * old / new).long()
        for new, old in zip(size, array.shape[1:3], strict=True)
    )
    return array[:, rows[:, None], columns]


def shard_pairs(
    config: DataConfig,
    input: InputConfig,
    labels: frozenset[Label],
    batch_size: int,
    device: torch.device,
    *,
    seed: int,
) -> Pairs:
    """Batches of batch_size, in this process, from the sets under config.pairs, read in sequence by worker processes: of their
    samples of the split "train", or of no split in sets that have none.

    The batches come in rounds of as many as the sets hold for all processes together. Round k is an endless, shuffled
    stream of seed and epoch k, split over processes and workers, of which the round's batches are taken; so any batch is
    reached by passing over those before it in its round, which are decoded and dropped. The batches depend on the seed, on
    how many processes and workers there are, and on nothing else. A sample comes about once in a round; junk and distractors,
    which have no labels, are passed over.

    Raises ValueError where there is no set, or too few shards or samples for every worker of every process;
    ShardError for a set that lacks a label, or is not complete; FileNotFoundError. While they are read: ShardError for a
    sample that does not decode, and, never skipped, for one that lacks a label or is too small; ValueError for textures of
    several uv layouts.
    """
    num_processes, num_workers = pytorch_worker_info()[1], max(1, config.num_workers)
    manifests = {place: manifest_of(place) for place in config.pairs}
    if not manifests:
        raise ValueError("no source of pairs: name at least one set under pairs")
    for place, manifest in manifests.items():
        _check_fields(place, manifest, [input.picture, *labels])
    samples = stream(
        config.pairs,
        fields=[*dict.fromkeys([*fields_to_read(input, labels), "meta"])],
        shuffle_buffer=SHUFFLE_BUFFER,
        seed=seed,
        repeat=True,
        max_bad_samples=config.max_bad_samples,
        to_train=True,
    )
    num_shards, num_samples = samples.num_shards, samples.num_samples
    if num_shards < num_processes * num_workers:
        raise ValueError(
            f"pairs need a shard for each of {num_processes} processes x {num_workers} workers, the sets have {num_shards}: "
            "use a smaller num_workers, or write the sets with fewer samples per shard"
        )
    per_round = num_samples // (batch_size * num_processes)
    if per_round < 1:
        raise ValueError(
            f"{num_samples} pairs are fewer than a batch of {batch_size} for each of {num_processes} processes: "
            "use a smaller batch, or larger sets"
        )
    loader = DataLoader(
        _Fitted(samples, input, labels),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
        worker_init_fn=leave_to_parent,
        prefetch_factor=PREFETCH,
    )

    def batches(first: int) -> Iterator[StoredBatch]:
        number, passed = divmod(first, per_round)
        seen: set[str] = set()
        if passed:
            logger.info("passing over %d batches of pairs, to go on after them", passed)
        while True:
            samples.set_epoch(number)
            for names, arrays in map(whole, islice(loader, passed, per_round)):
                keys, layouts = zip(*names, strict=True)
                seen.update(filter(None, layouts))
                if len(seen) > 1:
                    raise ValueError(
                        f"textures of one uv layout can be learned at a time, the pairs in {', '.join(config.pairs)} have "
                        f"{' and '.join(sorted(seen))}; leave all sets but those of one layout out"
                    )
                yield _stored(arrays, keys, layouts[0], device)
            number, passed = number + 1, 0

    return batches


def uv_layout_of(config: DataConfig) -> str | None:
    """The uv layout that the first sample of somebody under config.pairs names; None where it names none."""
    metas = (sample["meta"] for sample in stream(config.pairs[0], fields=["meta"], to_train=True))
    return next((meta.uv_layout for meta in metas if not meta.is_nobody), None)


def num_pairs(config: DataConfig) -> int:
    """Samples to learn from in the sets under config.pairs."""
    return stream(config.pairs, to_train=True).num_samples if config.pairs else 0


def _check_fields(place: str, manifest: Manifest, fields: Iterable[Label]) -> None:
    have = {EXTENSIONS[extension] for extension in manifest.totals()["members"]}
    for field in sorted(fields):
        if not have.intersection(sources_of(field)):
            raise missing_field(field, place=place)


class _Fitted(IterableDataset):
    """What a worker process makes: samples of the stream but junk and distractors, as they are kept, by key and uv layout,
    "" where nobody asks."""

    def __init__(self, samples: ShardStream, input: InputConfig, labels: frozenset[Label]):
        self._samples, self._input, self._labels = samples, input, labels
        self._tells_layout = "texture" in labels

    def __iter__(self) -> Iterator[tuple[tuple[str, str], dict[Label, np.ndarray]] | ShardError]:
        try:
            for sample in self._samples:
                if sample["meta"].is_nobody:
                    continue
                layout = sample["meta"].uv_layout if self._tells_layout else ""
                yield (f"pairs/{sample['key']}", layout), fit(sample, self._input, self._labels)
        except ShardError as error:
            yield error


def _stored(
    arrays: Mapping[Label, Tensor], keys: tuple[str, ...], layout: str | None, device: torch.device
) -> StoredBatch:
    arrays = {field: array.to(device, non_blocking=True) for field, array in arrays.items()}
    count = len(keys)
    return StoredBatch(
        images=arrays["image"],
        identities=torch.full((count,), UNKNOWN, device=device),
        origins=torch.full((count,), ORIGINS.index("rendered"), device=device),
        camera_ids=torch.full((count,), -1, device=device),
        keys=keys,
        has_identities=False,
        labels={field: array for field, array in arrays.items() if field != "image"},
        uv_layout=layout or None,
    )
