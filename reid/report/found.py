"""A run's network on one set: embeddings, scores, and the pictures that they are of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from reid.augment import prepare
from reid.checkpoint import Run
from reid.embeddings import UNKNOWN_CAMERA, Embeddings
from reid.evaluate import Pictures, ScoredSet, embed_set, open_scored_set
from reid.fit import fields_to_read, fit
from reid.ranking import RankingConfig, Scores, nearest, rank


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """What was found in a set."""

    run: Run
    scored: ScoredSet
    device: torch.device
    query: Embeddings
    gallery: Embeddings
    ranking: RankingConfig
    scores: Scores

    @property
    def order(self) -> np.ndarray:
        """(n,) int64: queries that have a match, from the highest average precision to the lowest."""
        num = int((self.scores.first_match_rank >= 0).sum())
        return np.argsort(-self.scores.average_precision, kind="stable")[:num]  # those without, nan, come last

    def nearest(self, queries: Sequence[int], num: int) -> tuple[np.ndarray, np.ndarray]:
        """`ranking.nearest` of some queries: indices and distances (Q, num)."""
        return nearest(self.query.take(np.array(queries)), self.gallery, num, self.ranking, device=self.device)

    def nearest_match(self, query: int) -> tuple[int, float]:
        """The first right picture of the gallery, and its distance. The query must have a match."""
        same = np.flatnonzero(self.gallery.identities == self.query.identities[query])
        chosen, theirs = self.query.take(np.array([query])), self.gallery.take(same)
        indices, distances = nearest(chosen, theirs, 1, self.ranking, device=self.device)
        return int(same[indices[0, 0]]), float(distances[0, 0])

    def pixels(self, part: Pictures, row: int) -> np.ndarray:
        """Photograph `row` of query or gallery (H, W, 3) uint8, as it is stored, whatever the network is given."""
        return self.scored.table.read(int(part.rows[row]), ("image",))["image"]

    def images(self, part: Pictures, rows: Sequence[int]) -> Tensor:
        """Pictures `rows` as the network sees them, (B, 3, H, W) float32 on the device. Of all, not of a process's share."""
        config, table = self.run.config.input, self.scored.table
        fields = fields_to_read(config, labels=())
        stored = [fit(table.read(int(part.rows[row]), fields), config, labels=())["image"] for row in rows]
        return prepare(torch.from_numpy(np.stack(stored)).to(self.device), config)


def find(run: Run, place: str, accelerator: Accelerator) -> Found:
    """Embed and score a set: every process embeds its share. Raises ShardError and ValueError as `open_scored_set` and
    `rank` do."""
    scored = open_scored_set(place, run.config, accelerator)
    query, gallery = embed_set(run.model, scored, run.config, accelerator)
    ranking = RankingConfig(metric=run.config.evaluate.metric)
    return Found(
        run=run,
        scored=scored,
        device=accelerator.device,
        query=query,
        gallery=gallery,
        ranking=ranking,
        scores=rank(query, gallery, ranking, device=accelerator.device),
    )


def camera_of(embeddings: Embeddings, row: int) -> str:
    """In words."""
    camera = int(embeddings.camera_ids[row])
    return "camera unknown" if camera == UNKNOWN_CAMERA else f"camera {camera}"
