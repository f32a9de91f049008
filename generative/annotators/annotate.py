"""A set once more, with a label that a network wrote: one shard in, one shard out."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import replace as change
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generative.annotators.mean_texture import with_mean_texture
from generative.annotators.opened import OpenAnnotator, open_annotator
from generative.device import Autocast, own_device
from generative.rewrite import DecodedSample, check_other_folder, decode_picture, rewrite_shard
from generative.sets import contents_hash
from reid.fit import Label, resize_labels
from shards.build import build_set
from shards.codec import TEXTURE_QUALITY, EncodedSample, encode_jpeg, encode_meta, encode_png
from shards.errors import ShardError
from shards.manifest import Manifest, ShardEntry
from shards.remote import manifest_of
from shards.schema import EXTENSIONS
from shards.stream import stream

CONFIDENCE_DIGITS = 6
"""After the point: what lies beyond them differs from machine to machine."""


def open_source(place: str, label: Label, out: Path, *, replace: bool) -> Manifest:
    """The manifest of a set to be labelled.

    place: folder or URL. Raises ValueError where it is the folder that is written to, or has the label already, unless that
    is to be replaced; FileNotFoundError and ShardError for what is no complete set.
    """
    check_other_folder(place, out)
    source = manifest_of(place)
    if label == "keypoints":
        has_label = next(iter(stream(place, fields=["meta"])))["meta"].keypoints is not None
    else:
        has_label = any(EXTENSIONS[extension] == label for extension in source.totals()["members"])
    if has_label and not replace:
        raise ValueError(f"{place} has {label} already: give --replace to have them written anew")
    return source


def annotate(
    annotator: OpenAnnotator,
    place: str,
    source: Manifest,
    out: Path,
    *,
    batch_size: int = 64,
    num_workers: int = 1,
    replace: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write the set at `place` to the folder `out`, with the annotator's label; a run that was interrupted goes on.

    source: its manifest (see `open_source`). Shards, keys, their order and every other member are those of the source, byte
    for byte; of `meta.json` alone `annotators` changes, and with textures `uv_layout`, with keypoints `keypoints`.
    num_workers: processes, which take the GPUs in turn. The bytes depend on the device's kind, the precision and the batch
    size, not on the number of processes. Raises as `build_set` does, and ShardError naming shard and key of a picture that is
    damaged or smaller than MIN_SIDE; finished shards stay whole.
    """
    if batch_size < 1:
        raise ValueError(f"a batch is of at least 1 picture, got {batch_size}")
    mean = with_mean_texture(annotator, place, source, batch_size=batch_size).mean_texture
    maker = AnnotateShards(
        folder=annotator.folder,
        hash=annotator.hash,
        precision=annotator.precision,
        place=place,
        shards=source.shards,
        batch_size=batch_size,
        replace=replace,
        mean_texture=None if mean is None else mean.cpu(),
    )
    config = {
        "command": "annotate",
        "label": annotator.label,
        "network": annotator.name,
        "checkpoint_sha256": annotator.hash,
        "source_sha256": contents_hash(source),
        "batch_size": batch_size,
        "precision": annotator.precision,
        "device": annotator.device.type,
    }
    wanted = Manifest(name=source.name, num_shards=source.num_shards, config=config, licences=source.licences)
    manifest = build_set(out, wanted, maker, num_workers=num_workers, overwrite=overwrite, progress=progress)
    assert manifest is not None  # all shards were asked for
    return manifest


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnnotateShards:
    """`make_shard` of a labelled set."""

    folder: Path
    """Of the annotator's run."""
    hash: str
    """Of its checkpoint."""
    precision: Autocast
    place: str
    """Of the source."""
    shards: tuple[ShardEntry, ...]
    batch_size: int
    replace: bool
    mean_texture: Tensor | None
    """As of `OpenAnnotator`."""

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        annotator = _annotator(self.folder, self.hash, self.precision)
        if self.mean_texture is not None:
            annotator = change(annotator, mean_texture=self.mean_texture.to(annotator.device))
        entry = self.shards[index]
        shard = f"{self.place.rstrip('/')}/{entry.name}"
        return rewrite_shard(
            self.place,
            entry,
            decode=functools.partial(_decode, annotator, shard, self.replace),
            forward=functools.partial(_forward, annotator),
            encode=functools.partial(_encode, annotator),
            batch_size=self.batch_size,
            device=annotator.device,
        )


@functools.lru_cache(maxsize=1)
def _annotator(folder: Path, hash: str, precision: Autocast) -> OpenAnnotator:
    """Loaded once in each process, onto the GPU whose turn it is."""
    annotator = open_annotator(folder, precision=precision, device=own_device())
    if annotator.hash != hash:
        raise ValueError(f"the checkpoint in {folder} changed meanwhile: end its training first, then give --overwrite")
    return annotator


def _decode(annotator: OpenAnnotator, shard: str, replace: bool, raw: tuple[str, dict[str, bytes]]) -> DecodedSample:
    input = annotator.input
    sample = decode_picture(raw, (input.height, input.width), shard=shard)
    if annotator.label == "keypoints" and sample.meta.keypoints is not None and not replace:
        raise ShardError(
            "are there already: give --replace to have them written anew",
            shard=shard,
            key=sample.key,
            field="keypoints",
        )
    return sample


def _forward(annotator: OpenAnnotator, batch: list[DecodedSample]) -> list[tuple[DecodedSample, np.ndarray, float]]:
    """Samples, their labels of the network's size, and how sure it is."""
    found = annotator.annotate(torch.from_numpy(np.stack([sample.picture for sample in batch])))
    return list(zip(batch, found.values.cpu().numpy(), found.confidence.tolist(), strict=True))


def _encode(annotator: OpenAnnotator, labelled: tuple[DecodedSample, np.ndarray, float]) -> EncodedSample:
    sample, values, confidence = labelled
    label, changes = annotator.label, {}
    members = {extension: data for extension, data in sample.members.items() if EXTENSIONS.get(extension) != label}
    match label:
        case "texture":
            members["texture.jpg"] = encode_jpeg(values, quality=TEXTURE_QUALITY)
            changes["uv_layout"] = annotator.uv_layout
        case "keypoints":
            changes["keypoints"] = keypoints_in(values, sample.picture.shape[:2], sample.size)
        case _:
            members[f"{label}.png"] = encode_png(resize_labels(values, sample.size))
    who: dict[str, Any] = {"name": annotator.name, "hash": annotator.hash}
    who["confidence"] = round(min(max(confidence, 0.0), 1.0), CONFIDENCE_DIGITS)
    meta = change(sample.meta, annotators={**(sample.meta.annotators or {}), label: who}, **changes)
    return EncodedSample(key=sample.key, members={**members, "meta.json": encode_meta(meta)}, meta=meta)


def keypoints_in(points: np.ndarray, seen: tuple[int, int], size: tuple[int, int]) -> list[list[float]]:
    """Keypoints of a picture seen at one height and width, at another, as `Meta` has them: hundredths of a pixel, 0 all three
    where v is 0. points (17, 3) float32."""
    scaled = points.astype(np.float64) * [size[1] / seen[1], size[0] / seen[0], 1]
    return np.where(points[:, 2:] > 0, scaled.round(2), 0).tolist()


def confidences(place: str | Path, label: Label) -> list[tuple[float, str]]:
    """How sure the annotator of a labelled set was of each sample, and its key, in their order."""
    metas: Iterable[dict[str, Any]] = stream(place, fields=["meta"])
    return [(one["meta"].annotators[label]["confidence"], one["key"]) for one in metas]
