"""`python -m reid evaluate RUN`, under `accelerate launch` to embed on several GPUs."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from reid.checkpoint import Which
from reid.commands.score import format_scores
from reid.config import Precision
from reid.evaluate import embed_set, open_scored_set, places_to_score
from reid.models.dsa import Dsa
from reid.ranking import RankingConfig, Scores, rank
from reid.rerank import rank_reranked
from reid.setup import open_run
from shards.console import write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """Score a run on sets with query and gallery, of the domain that it was trained on or of another."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m reid train`."""
    data: tuple[str, ...] = ()
    """Folders or URLs of shards; by default what the run was scored on."""
    rerank: bool = False
    """Re-rank by k-reciprocal neighbours (k1 20, k2 6, lambda 0.3)."""
    protocol: Literal["market", "cuhk03"] = "market"
    """Find a query's match in the whole gallery, or (cuhk03, CMC alone) in one drawn image of each identity, mean of ten
    drawings: single shot, by which Partial-REID is scored too."""
    multi_query: bool = False
    """Make one query of all images of an identity and camera, by the mean of their embeddings."""
    fused: bool = False
    """Embed with both streams of DSA-reID ("Two streams fused", Zhang et al. 2019, table 3), of pictures with iuv."""
    checkpoint: Which | None = None
    """By default the best, where there is one."""
    precision: Precision | None = None
    """By default as the run was trained: auto, no, fp16 or bf16."""
    json: bool = False
    """Write JSON to stdout; scores are 0..1."""

    def run(self) -> int:
        """Returns the exit code."""
        run, accelerator = open_run(self.folder, self.checkpoint, self.precision)
        config = run.config
        if self.fused and not (isinstance(run.model, Dsa) and run.model.labels):
            raise ValueError(f"fused embeds with DSA-reID's two streams, {self.folder} has one: leave it out")
        places = self.data or places_to_score(config)
        if not places:
            raise ValueError(f"{self.folder} was scored on nothing: name a set with query and gallery, --data FOLDER")
        metric = config.evaluate.metric
        ranking = RankingConfig(metric=metric, protocol=self.protocol, multi_query=self.multi_query)
        scored: dict[str, tuple[Scores, dict[str, Any]]] = {}
        for place in places:
            start = time.perf_counter()
            found = embed_set(
                run.model, open_scored_set(place, config, accelerator, with_iuv=self.fused), config, accelerator
            )
            scores = (rank_reranked if self.rerank else rank)(*found, ranking, device=accelerator.device)
            scored[place] = scores, {**scores.to_dict(), "seconds": time.perf_counter() - start}
        if accelerator.is_main_process:
            self._report(scored)
        return 0

    def _report(self, scored: dict[str, tuple[Scores, dict[str, Any]]]) -> None:
        if self.json:
            write_json({place: result for place, (_, result) in scored.items()})
        else:
            write_text("\n\n".join(f"{place}\n{format_scores(*one)}" for place, one in scored.items()))
