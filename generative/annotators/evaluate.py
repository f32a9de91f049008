"""An annotator scored on a set whose labels are true, beside what it has to beat."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from generative.ahead import batches_of, in_order
from generative.annotators.floor import floor_of, floor_sums
from generative.annotators.mean_texture import with_mean_texture
from generative.annotators.opened import OpenAnnotator, untrained
from generative.annotators.scores import Scores, Sums, add, conclude, iuv_sums, keypoint_sums, parts_sums, texture_sums
from generative.annotators.visible import scored_texels, visible_texels
from generative.poses import coco
from generative.rewrite import BATCHES_AHEAD, THREADS
from generative.sets import spread
from reid.fit import fields_to_read, fit, missing_field
from shards.codec import decode_fields
from shards.errors import ShardError
from shards.manifest import Manifest
from shards.meta import Split
from shards.stream import read_shard
from shards.uv_surface import has_surface_table

TRUTH = "score on rendered people, or on labels made by hand"
"""What to do about a set without."""
PREDICTORS = ("trained", "untrained", "mean")
ScoredSplit = Literal[Split, "none"]
"""A part of a set, as manifests count it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shown:
    """A sample with its true label and the network's, of the network's size."""

    key: str
    picture: np.ndarray
    """(H, W, 3) uint8."""
    truth: np.ndarray
    """As `Annotation.values`, of one picture."""
    predicted: np.ndarray
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """Scores of an annotator on a set."""

    place: str
    num_samples: int
    scores: dict[str, Scores]
    """By PREDICTORS: the network, the same network untrained, and the mean predictor (see `floor`) of this very set."""
    shown: tuple[Shown, ...]
    """Samples spread evenly over the set."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Labelled:
    key: str
    picture: np.ndarray
    truth: np.ndarray
    """Of the network's size."""
    size: tuple[int, int]
    """Height and width of the picture as it is stored."""
    visible: np.ndarray | None
    """(256, 256) bool, of a texture: the texels that the picture shows, where that can be told."""


@torch.inference_mode()
def evaluate(
    annotator: OpenAnnotator,
    place: str,
    source: Manifest,
    *,
    batch_size: int = 64,
    split: ScoredSplit | None = None,
    num_shown: int = 12,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score an annotator on the set at `place`, a folder or URL, whose manifest is `source`; with `split`, on that part of it.

    The set is read twice, as the mean predictor is its own. progress gets the samples scored so far, of both times. Junk and
    distractors are passed over: they have no labels. Raises ShardError for another sample without the label, or whose label is a
    network's, and for textures in another uv layout than the network draws; ValueError where nobody is left, and for a set
    without samples of the split.
    """
    if split is not None and not source.totals()["splits"].get(split):
        has = ", ".join(source.totals()["splits"])
        raise ValueError(f"{place} has no samples of the split {split}, it has {has}: choose one of them")
    annotator = with_mean_texture(annotator, place, source, batch_size=batch_size)
    device, label, num_samples, done = annotator.device, annotator.label, 0, 0
    sums: dict[str, Sums] = {name: {} for name in PREDICTORS}
    floor: Sums = {}
    for batch in _batches(annotator, place, source, batch_size, split):
        floor = add(floor, floor_sums(label, _in_shares(annotator, _stack(batch, "truth", device))))
        num_samples += len(batch)
        _tell(progress, num_samples)
    if not num_samples:
        raise ValueError(f"{place} holds nothing but junk and distractors, which have no labels: name a set of people")
    mean = floor_of(label, floor)
    networks = {"trained": annotator, "untrained": untrained(annotator)}
    rows = set(spread(num_samples, num_shown))
    shown: list[Shown] = []
    for batch in _batches(annotator, place, source, batch_size, split):
        pictures = _stack(batch, "picture", device)
        found = {name: network.annotate(pictures) for name, network in networks.items()}
        labels = {name: one.values for name, one in found.items()}
        labels["mean"] = mean.expand(len(batch), *mean.shape)
        for name, values in labels.items():
            sums[name] = add(sums[name], _measure(annotator, values, batch, is_share=name == "mean"))
        for i in sorted(rows.intersection(range(done, done + len(batch)))):
            one, sure = batch[i - done], found["trained"].confidence[i - done].item()
            predicted = labels["trained"][i - done].cpu().numpy()
            shown.append(Shown(key=one.key, picture=one.picture, truth=one.truth, predicted=predicted, confidence=sure))
        done += len(batch)
        _tell(progress, num_samples + done)
    return Evaluation(
        place=place,
        num_samples=num_samples,
        scores={name: conclude(one) for name, one in sums.items()},
        shown=tuple(shown),
    )


def _measure(annotator: OpenAnnotator, values: Tensor, batch: list[_Labelled], *, is_share: bool) -> Sums:
    """is_share: whether keypoints are in shares of the picture's size; else they are in pixels of the network's."""
    device = values.device
    truth = _stack(batch, "truth", device)
    match annotator.label:
        case "texture":
            return _measure_textures(annotator, values, truth, batch)
        case "iuv":
            return iuv_sums(values, truth)
        case "parts":
            return parts_sums(values, truth)
    sizes = torch.tensor([(width, height, 1) for height, width in (one.size for one in batch)], device=device)[:, None]
    shares = values if is_share else _in_shares(annotator, values)
    return keypoint_sums(shares * sizes, _in_shares(annotator, truth) * sizes)


def _measure_textures(annotator: OpenAnnotator, values: Tensor, truth: Tensor, batch: list[_Labelled]) -> Sums:
    """Visible and hidden texels are those of the samples that tell them."""
    used = _used(annotator)
    rows = [i for i, one in enumerate(batch) if one.visible is not None]
    if not rows:
        return texture_sums(values, truth, used, None)
    seen = torch.from_numpy(np.stack([batch[i].visible for i in rows])).to(values.device)
    told = texture_sums(values[rows], truth[rows], used, seen)
    return told if len(rows) == len(batch) else told | texture_sums(values, truth, used, None)


def _in_shares(annotator: OpenAnnotator, values: Tensor) -> Tensor:
    """Keypoints in shares of the picture's size; other labels as they are."""
    if annotator.label != "keypoints":
        return values
    return values / values.new_tensor([annotator.input.width, annotator.input.height, 1])


def _used(annotator: OpenAnnotator) -> Tensor:
    """(256, 256) bool: texels that are scored."""
    return torch.from_numpy(scored_texels(annotator.uv_layout)).to(annotator.device)


def _batches(
    annotator: OpenAnnotator, place: str, source: Manifest, batch_size: int, split: ScoredSplit | None
) -> Iterator[list[_Labelled]]:
    for entry in source.shards:
        if split is not None and split not in entry.splits:
            continue
        decode = functools.partial(_decode, annotator, split, f"{place.rstrip('/')}/{entry.name}")
        samples = in_order(decode, read_shard(place, entry), threads=THREADS, ahead=BATCHES_AHEAD * batch_size)
        yield from batches_of((one for one in samples if one is not None), batch_size)


def _decode(
    annotator: OpenAnnotator, split: ScoredSplit | None, shard: str, sample: tuple[str, dict[str, bytes]]
) -> _Labelled | None:
    """None for junk, distractors and samples of another split."""
    key, members = sample
    label = annotator.label
    meta = decode_fields(key, members, ["meta"], shard=shard)["meta"]
    if meta.is_nobody or split not in (None, meta.split or "none"):
        return None
    source = "iuv" if label == "parts" and "parts.png" not in members else label
    # Keypoints in COCO's format may be anybody's.
    if (who := (meta.annotators or {}).get(source)) is not None and who["name"] != coco.NAME:
        raise ShardError(
            f"was written by {who['name']}, and is not the truth: {TRUTH}",
            shard=shard,
            key=key,
            field=source,
        )
    fields = [*fields_to_read(annotator.input, [label]), *(["iuv", "meta"] if label == "texture" else [])]
    values = decode_fields(key, members, fields, shard=shard)
    if (meta.keypoints if label == "keypoints" else values[source]) is None:
        raise missing_field(label, shard=shard, key=key, remedy=TRUTH)
    arrays = fit({**values, "shard": shard}, annotator.input, [label])
    visible = None
    if label == "texture":
        if values["meta"].uv_layout != annotator.uv_layout:
            raise ShardError(
                f"must be {annotator.uv_layout}, in which the network draws textures, got {values['meta'].uv_layout}",
                shard=shard,
                key=key,
                field="meta.uv_layout",
            )
        if values["iuv"] is not None and has_surface_table(annotator.uv_layout):
            visible = visible_texels(values["iuv"], annotator.uv_layout)
    return _Labelled(
        key=key, picture=arrays["image"], truth=arrays[label], size=values["image"].shape[:2], visible=visible
    )


def _stack(batch: list[_Labelled], name: str, device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack([getattr(one, name) for one in batch])).to(device)


def _tell(progress: Callable[[int], None] | None, done: int) -> None:
    if progress is not None:
        progress(done)
