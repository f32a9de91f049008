"""Score embeddings that any model made: `python -m reid score`."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from reid.distances import Metric
from reid.embeddings import read_retrieval
from reid.ranking import RankingConfig, Scores, rank
from reid.rerank import rank_reranked
from shards.console import write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Score the embeddings of an .npz file: CMC, mAP and mINP."""

    file: Annotated[Path, tyro.conf.Positional]
    """Arrays query_embeddings (N, D), query_identities (N,) and query_cameras (N,), and the same three of the gallery;
    identity -1 is junk, camera -1 unknown."""
    metric: Metric = "euclidean"
    """Distance of two embeddings as they are, or 1 - cosine."""
    rerank: bool = False
    """Re-rank by k-reciprocal neighbours (k1 20, k2 6, lambda 0.3)."""
    protocol: Literal["market", "cuhk03"] = "market"
    """Find a query's match in the whole gallery, or (cuhk03, CMC alone) in one drawn image of each identity, mean of ten
    drawings: single shot, by which Partial-REID is scored too."""
    multi_query: bool = False
    """Make one query of all images of an identity and camera, by the mean of their embeddings."""
    device: str = "cpu"
    """Where distances are computed: cpu, cuda, cuda:1, ..."""
    json: bool = False
    """Write JSON to stdout; scores are 0..1."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise ValueError(f"--device must be cpu, cuda or cuda:NUMBER, got {self.device}")
        if self.device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"--device {self.device} needs a GPU that torch can use, there is none: leave it out")
        query, gallery = read_retrieval(self.file)
        start = time.perf_counter()
        config = RankingConfig(metric=self.metric, protocol=self.protocol, multi_query=self.multi_query)
        scores = (rank_reranked if self.rerank else rank)(query, gallery, config, device=self.device)
        # Of scoring alone: reading depends on the disk.
        result = {**scores.to_dict(), "seconds": time.perf_counter() - start}
        if self.json:
            write_json(result)
        else:
            write_text(format_scores(scores, result))
        return 0


def format_scores(scores: Scores, result: dict[str, Any]) -> str:
    """A small table for people."""
    lines = [f"rank-{k:<8}{scores.cmc[k - 1]:>8.2%}" for k in (1, 5, 10, 20)]
    lines += [f"{'mAP':<13}{scores.mean_ap:>8.2%}", f"{'mINP':<13}{scores.mean_inp:>8.2%}"]
    scored = scores.num_queries - scores.num_queries_without_match
    lines.append(
        f"{scored:,} queries scored, {scores.num_queries_without_match:,} without a match left out, "
        f"{result['seconds']:.1f} s"
    )
    return "\n".join(lines)
