"""A run of pose transfer scored on people whose every pose is known, beside answers that draw nobody.

Every picture of a known person is a target: the run is given another picture of that person and the target's keypoints.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generative.ahead import batches_of, in_order
from generative.annotators.scores import Scores
from generative.sets import spread
from generative.transfer.artist import Artist
from generative.transfer.generate import LOOK_AHEAD, NUM_THREADS
from generative.transfer.guider import Guider
from generative.transfer.perceptual import Inception, Lpips
from generative.transfer.scored_pairs import (
    ScoreConfig,
    ScoredPair,
    choose_pairs,
    known_rows,
    num_targets,
    read_pair,
    read_real,
)
from generative.transfer.scores import frechet_distance, identity_kept, l1, mask_ssim, ssim
from reid.embeddings import Embeddings
from shards.table import Table

ANSWERS = ("generated", "copy", "mean")
"""What the run draws; the picture that it is given, as it is; and the mean of all real pictures."""
HIGHER_IS_BETTER = {
    "l1": False,
    "ssim": True,
    "mask_ssim": True,
    "lpips": False,
    "reid_frechet_distance": False,
    "inception_fid": False,
    "identity_kept": True,
}
"""Scores as they are listed, and which way each is better."""
DISTANCES = {"reid": "reid_frechet_distance", "inception": "inception_fid"}
"""Network whose features are taken -> the score that is the distance between their distributions."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judges:
    """Networks that pictures are shown to, on the artist's device. None of them had a part in the run."""

    reid: Guider
    lpips: Lpips | None = None
    inception: Inception | None = None

    def features(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures (B, 3, H, W) float32 in 0..1 -> (B, D) float32 of each network in DISTANCES that there is."""
        found = {"reid": self.reid.features(pictures * 2 - 1)}
        return found if self.inception is None else found | {"inception": self.inception(pictures)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShownPair:
    """A pair to look at; pictures (H, W, 3) uint8."""

    source_key: str
    target_key: str
    source: np.ndarray
    skeleton: np.ndarray
    generated: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransferEvaluation:
    """Scores of a run on a set."""

    num_pairs: int
    num_people: int
    """Whose pictures are targets."""
    num_skipped: int
    """Pictures of known people that are no targets: with too few joints, or the only one of their person."""
    size: tuple[int, int]
    """Height and width at which pictures are compared: those of the set's first."""
    scores: dict[str, Scores]
    """By ANSWERS, those of HIGHER_IS_BETTER; None where nothing could be scored."""
    shown: tuple[ShownPair, ...]
    """Pairs spread evenly over the targets."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Real:
    """The pictures of all known people."""

    rows: np.ndarray
    """(M,) int64, in the table."""
    classes: np.ndarray
    """(M,) int64, of the people."""
    size: tuple[int, int]
    """Height and width at which pictures are compared."""
    mean: Tensor
    """(3, H, W) float32 in 0..1."""
    is_posed: np.ndarray
    """(M,) bool: whether it has enough joints."""
    features: dict[str, np.ndarray]
    """(M, D) float32 each."""


@torch.inference_mode()
def evaluate_transfer(
    artist: Artist,
    table: Table,
    judges: Judges,
    config: ScoreConfig,
    *,
    num_shown: int = 8,
    progress: Callable[[int], None] | None = None,
) -> TransferEvaluation:
    """Score a generator on the known people of a set: those of query and gallery where it has them, else all.

    progress gets the number of real pictures looked at, then of those and the pairs. Raises ValueError where nobody is known
    or no two pairs can be made, ShardError naming a sample without keypoints, with an empty mask or smaller than MIN_SIDE.
    """
    real = _look_at(artist, table, judges, config, progress)
    targets, sources = choose_pairs(real.classes, real.is_posed, config, str(table.folder))
    to_show = set(spread(len(targets), num_shown))
    measured: dict[str, dict[str, list[Tensor]]] = {answer: {} for answer in ANSWERS}
    features: dict[str, list[Tensor]] = {}
    shown: list[ShownPair] = []
    done = 0
    for batch in _pairs(artist, table, real, targets, sources, config.batch_size):
        answers, skeletons = _answer(artist, real, batch)
        for answer, pictures in answers.items():
            _append(measured[answer], _measure(artist, judges, pictures, batch))
        _append(features, judges.features(answers["generated"]))
        for i in sorted(to_show.intersection(range(done, done + len(batch)))):
            shown.append(_show(batch[i - done], skeletons[i - done], answers["generated"][i - done]))
        done += len(batch)
        if progress is not None:
            progress(len(real.rows) + done)
    together = _measure_together(artist, judges, real, _joined(features), targets, sources)
    scores = {
        answer: {name: float(values.mean(dtype=np.float64)) for name, values in _joined(measured[answer]).items()}
        | together[answer]
        for answer in ANSWERS
    }
    return TransferEvaluation(
        num_pairs=len(targets),
        num_people=len(np.unique(real.classes[targets])),
        num_skipped=len(real.rows) - num_targets(real.classes, real.is_posed),
        size=real.size,
        scores={answer: {name: one.get(name) for name in HIGHER_IS_BETTER} for answer, one in scores.items()},
        shown=tuple(shown),
    )


def _look_at(
    artist: Artist, table: Table, judges: Judges, config: ScoreConfig, progress: Callable[[int], None] | None
) -> _Real:
    """Show every real picture to the judges."""
    rows = known_rows(table)
    size = table.read(int(rows[0]), ("image",))["image"].shape[:2]
    ahead = LOOK_AHEAD * config.batch_size
    read = in_order(lambda i: read_real(table, i, size), rows.tolist(), threads=NUM_THREADS, ahead=ahead)
    total = torch.zeros(3, *size, dtype=torch.float64, device=artist.device)
    num_joints: list[int] = []
    features: dict[str, list[Tensor]] = {}
    for batch in batches_of(read, config.batch_size):
        pictures = _pictures(artist, [picture for picture, _ in batch])
        total += pictures.sum(0, dtype=torch.float64)
        _append(features, judges.features(pictures))
        num_joints += [num for _, num in batch]
        if progress is not None:
            progress(len(num_joints))
    return _Real(
        rows=rows,
        classes=np.unique(table.identities[rows], return_inverse=True)[1].astype(np.int64),
        size=size,
        mean=(total / len(rows)).float(),
        is_posed=np.array(num_joints) >= config.min_joints,
        features=_joined(features),
    )


def _pairs(
    artist: Artist, table: Table, real: _Real, targets: np.ndarray, sources: np.ndarray, batch_size: int
) -> Iterator[list[ScoredPair]]:
    """Batches of pairs, read ahead."""
    rows = zip(real.rows[targets].tolist(), real.rows[sources].tolist(), strict=True)
    pairs = in_order(
        lambda pair: read_pair(table, *pair, artist.size, real.size),
        rows,
        threads=NUM_THREADS,
        ahead=LOOK_AHEAD * batch_size,
    )
    return batches_of(pairs, batch_size)


def _answer(artist: Artist, real: _Real, batch: list[ScoredPair]) -> tuple[dict[str, Tensor], Tensor]:
    """Pictures (B, 3, H, W) float32 in 0..1 by ANSWERS, and skeletons (B, 3, S, S) in -1..1."""
    skeletons = artist.skeletons(torch.from_numpy(np.stack([pair.keypoints for pair in batch])))
    drawn = artist.draw(torch.from_numpy(np.stack([pair.appearance for pair in batch])), skeletons)
    levels = _resized((drawn + 1) / 2, real.size).mul(255).round().clamp(0, 255)  # as it would be written
    answers = {
        "generated": levels / 255,
        "copy": _pictures(artist, [pair.source for pair in batch]),
        "mean": real.mean.expand(len(batch), -1, -1, -1),
    }
    return answers, skeletons


def _measure(artist: Artist, judges: Judges, pictures: Tensor, batch: list[ScoredPair]) -> dict[str, Tensor]:
    """What each picture is worth beside the true one: (B,) each, of the mask's those whose mask is known."""
    truth = _pictures(artist, [pair.target for pair in batch])
    scores = {"l1": l1(pictures, truth), "ssim": ssim(pictures, truth)}
    masked = [i for i, pair in enumerate(batch) if pair.mask is not None]
    if masked:
        mask = artist.to_device(torch.from_numpy(np.stack([batch[i].mask for i in masked])))
        scores["mask_ssim"] = mask_ssim(pictures[masked], truth[masked], mask)
    if judges.lpips is not None:
        scores["lpips"] = judges.lpips(pictures, truth)
    return scores


def _measure_together(
    artist: Artist,
    judges: Judges,
    real: _Real,
    generated: dict[str, np.ndarray],
    targets: np.ndarray,
    sources: np.ndarray,
) -> dict[str, dict[str, float]]:
    """What the pictures of each answer are worth as a set. generated (N, D) float32 of each network."""
    scores: dict[str, dict[str, float]] = {answer: {} for answer in ANSWERS}
    means = judges.features(real.mean[None])
    for name, theirs in real.features.items():
        mean = means[name].cpu().numpy().repeat(len(targets), 0)
        for answer, vectors in zip(ANSWERS, (generated[name], theirs[sources], mean), strict=True):
            scores[answer][DISTANCES[name]] = frechet_distance(vectors, theirs[targets])
            if name == "reid":
                scores[answer]["identity_kept"] = identity_kept(
                    _embeddings(vectors, real.classes[targets]),
                    _embeddings(theirs, real.classes),
                    left_out=sources,
                    metric=judges.reid.metric,
                    device=artist.device,
                )
    return scores


def _embeddings(vectors: np.ndarray, classes: np.ndarray) -> Embeddings:
    numbers = np.arange(len(vectors))
    return Embeddings(vectors=vectors, identities=classes, camera_ids=0 * numbers, keys=numbers.astype(str))


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if pictures.shape[2:] == size:
        return pictures
    return functional.interpolate(pictures, size, mode="bilinear", antialias=True)


def _pictures(artist: Artist, pictures: list[np.ndarray]) -> Tensor:
    """(B, 3, H, W) float32 in 0..1 on the device."""
    return artist.to_device(torch.from_numpy(np.stack(pictures))).permute(0, 3, 1, 2).float() / 255


def _append(lists: dict[str, list[Tensor]], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        lists.setdefault(name, []).append(value)


def _joined(lists: dict[str, list[Tensor]]) -> dict[str, np.ndarray]:
    return {name: torch.cat(values).cpu().numpy() for name, values in lists.items()}


def _show(pair: ScoredPair, skeleton: Tensor, generated: Tensor) -> ShownPair:
    skeleton = _resized((skeleton[None] + 1) / 2, pair.target.shape[:2])[0]
    drawn, lines = ((one * 255).round().byte().permute(1, 2, 0).cpu().numpy() for one in (generated, skeleton))
    return ShownPair(
        source_key=pair.source_key,
        target_key=pair.target_key,
        source=pair.source,
        skeleton=lines,
        generated=drawn,
        truth=pair.target,
    )
