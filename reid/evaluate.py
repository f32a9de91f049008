"""From a network and a set with query and gallery to embeddings and scores."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from reid.augment import centre, mirror_iuv, prepare
from reid.batch import StoredBatch
from reid.config import TrainConfig
from reid.counting import same_identity
from reid.dataset import choose_samples
from reid.embeddings import JUNK as JUNK_CODE
from reid.embeddings import Embeddings
from reid.loader import Loader, make_loader
from reid.models.model import Model
from reid.ranking import RankingConfig, Scores, rank
from shards.errors import ShardError
from shards.meta import JUNK
from shards.table import Table


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """Pictures to embed: who stands on all of them, and a loader of this process's share."""

    identities: np.ndarray
    """(N,) int64, the same number for the same person in query and gallery; `embeddings.JUNK` for junk."""
    camera_ids: np.ndarray
    """(N,) int64, -1 for unknown."""
    keys: np.ndarray
    """(N,) str."""
    rows: np.ndarray
    """(N,) int64, their numbers in the table."""
    num_mine: int
    """Pictures of a process's share, the same for all: every num_processes-th from its number on, and over again."""
    loader: Loader
    """Of this process's share."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoredSet:
    """A set to search in."""

    name: str
    """The place that it was opened at: two sets may have folders of one name."""
    table: Table
    query: Pictures
    gallery: Pictures


def places_to_score(config: TrainConfig) -> tuple[str, ...]:
    """The sets that a run is scored on: those named, else its training sets that have a query and a gallery."""
    trained = (*config.data.real, *config.data.rendered)
    searchable = (place for place in trained if {"query", "gallery"} <= set(Table(place).splits))
    return config.evaluate.sets or tuple(searchable)


def open_scored_set(place: str, config: TrainConfig, accelerator: Accelerator, *, with_iuv: bool = False) -> ScoredSet:
    """Open a set with query and gallery. place: a folder of shards, or a URL; with_iuv: to be embedded with iuv too, which is
    background where a picture has none, as of junk.

    Raises ShardError where it has no query, no gallery, a picture of them without identity, or nobody to be found.
    """
    table = Table(place)
    wanted = np.isin(table.splits, ("query", "gallery"))
    for split in ("query", "gallery"):
        if split not in table.splits:
            raise ShardError(f"{place} has no samples of split {split}, so nothing can be searched for in it")
    if (nameless := wanted & (table.identities == "")).any():
        raise ShardError(
            "has no identity, so whether it is found cannot be told; leave it out of query and gallery",
            key=str(table.keys[np.argmax(nameless)]),
            field="meta.identity",
        )
    names, codes = np.unique(table.identities, return_inverse=True)
    codes = np.where(np.char.endswith(names, f"/{JUNK}")[codes], JUNK_CODE, codes)
    parts = {}
    for split in ("query", "gallery"):
        rows = np.flatnonzero(table.splits == split)
        num_mine = -(-len(rows) // accelerator.num_processes)
        mine = (accelerator.process_index + np.arange(num_mine) * accelerator.num_processes) % len(rows)
        parts[split] = Pictures(
            identities=codes[rows],
            camera_ids=table.camera_ids[rows],
            keys=table.keys[rows],
            rows=rows,
            num_mine=num_mine,
            loader=make_loader(
                choose_samples(table, rows[mine], config.input, with_iuv=with_iuv),
                config.data,
                accelerator.device,
                may_lie_on_gpu=False,  # the room there is for training
            ),
        )
    if not len(same_identity(*(_unseen(part) for part in parts.values()))[0].rows):
        raise ShardError(
            f"{place} has no query whose person is in the gallery under another camera: nothing can be found"
        )
    return ScoredSet(name=place.rstrip("/"), table=table, **parts)


def _unseen(pictures: Pictures) -> Embeddings:
    """Embeddings of one number, which is nought, without junk."""
    vectors = np.zeros((len(pictures.rows), 1), np.float32)
    about = {"identities": pictures.identities, "camera_ids": pictures.camera_ids, "keys": pictures.keys}
    return Embeddings(vectors=vectors, **about).without_junk()


def score(model: Model, scored: ScoredSet, config: TrainConfig, accelerator: Accelerator) -> Scores:
    """Scores of a network on a set by config.evaluate.metric, the same on every process."""
    query, gallery = embed_set(model, scored, config, accelerator)
    return rank(query, gallery, RankingConfig(metric=config.evaluate.metric), device=accelerator.device)


def embed_set(
    model: Model, scored: ScoredSet, config: TrainConfig, accelerator: Accelerator
) -> tuple[Embeddings, Embeddings]:
    """Embeddings of query and gallery, on every process."""
    query, gallery = (embed_pictures(model, part, config, accelerator) for part in (scored.query, scored.gallery))
    return query, gallery


def embed_pictures(model: Model, pictures: Pictures, config: TrainConfig, accelerator: Accelerator) -> Embeddings:
    """Embeddings of all pictures, on every process."""
    mine = embed(model, pictures.loader, pictures.num_mine, config, accelerator)
    shares = accelerator.gather(mine).reshape(accelerator.num_processes, pictures.num_mine, -1)
    vectors = shares.transpose(0, 1).flatten(0, 1)[: len(pictures.rows)]
    return Embeddings(
        vectors=vectors.cpu().numpy(),
        identities=pictures.identities,
        camera_ids=pictures.camera_ids,
        keys=pictures.keys,
    )


@torch.inference_mode()
def embed(model: Model, loader: Loader, num: int, config: TrainConfig, accelerator: Accelerator) -> Tensor:
    """Embeddings (num, D) float32 on the device, of the first `num` samples of a loader, as config.evaluate says."""
    steps = -(-num // config.evaluate.batch_size)
    size = -(-num // steps)  # all batches alike; the last is filled up with the last sample
    rows = np.minimum(np.arange(steps * size), num - 1).reshape(steps, size)
    vectors = []
    for stored in loader.batches(rows):
        with accelerator.autocast():
            found = _embed(model, stored, config)
            if config.evaluate.flip:
                mirrored = _embed(model, stored, config, mirrored=True)
                found = functional.normalize(found) + functional.normalize(mirrored)
        vectors.append(found)
    return torch.cat(vectors)[:num]


def _embed(model: Model, stored: StoredBatch, config: TrainConfig, *, mirrored: bool = False) -> Tensor:
    """Embeddings (B, D) float32 of a batch, with its iuv where it has that, or of its mirror images."""
    images = prepare(stored.images, config.input)
    images = images.flip(3) if mirrored else images
    if "iuv" not in stored.labels:
        return model.embed(images).float()
    iuv = centre(stored.labels["iuv"], config.input)
    iuv = mirror_iuv(iuv.flip(2), torch.ones_like(stored.identities, dtype=torch.bool)) if mirrored else iuv
    return model.embed_fused(images, iuv).float()
