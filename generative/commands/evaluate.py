"""`python -m generative evaluate RUN --data SET`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from generative.annotators.evaluate import PREDICTORS, Evaluation, ScoredSplit, evaluate
from generative.annotators.opened import OpenAnnotator, open_annotator
from generative.report.annotator import render_page, score_rows
from reid.config import Precision
from shards.console import progress_bar, write_json, write_text
from shards.remote import manifest_of
from shards.writer import atomic_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """Score an annotator on sets whose labels are true, beside a mean predictor and the untrained network."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m generative train`."""
    data: tuple[str, ...]
    """Folders or URLs of shards with the label, of people that it was not trained on."""
    split: ScoredSplit | None = None
    """Of the sets, to score on; by default all of them. Training takes the split train, or none where a set has none."""
    report: Path | None = None
    """HTML page to write, with scores and pictures."""
    batch_size: int = 64
    """Pictures labelled at once."""
    precision: Precision | None = None
    """By default as the run was trained: auto, no, fp16 or bf16."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if not self.data:
            raise ValueError("nothing to score on: name at least one set with --data")
        if self.batch_size < 1:
            raise ValueError(f"a batch is of at least 1 picture, got {self.batch_size}")
        annotator = open_annotator(self.folder, precision=self.precision)
        evaluations = [self._evaluate(annotator, place) for place in self.data]
        if self.report is not None:
            with atomic_file(self.report) as file:
                file.write(render_page(annotator, evaluations).encode())
        if self.json:
            write_json({one.place: {"num_samples": one.num_samples, "scores": one.scores} for one in evaluations})
        else:
            write_text("\n\n".join(_table(one, annotator) for one in evaluations))
            if self.report is not None:
                write_text(f"\npictures in {self.report}")
        return 0

    def _evaluate(self, annotator: OpenAnnotator, place: str) -> Evaluation:
        source = manifest_of(place)
        count = source.num_samples if self.split is None else source.totals()["splits"].get(self.split, 0)
        with progress_bar("evaluate", 2 * count) as progress:
            return evaluate(annotator, place, source, batch_size=self.batch_size, split=self.split, progress=progress)


def _table(evaluation: Evaluation, annotator: OpenAnnotator) -> str:
    """Scores for people."""
    rows = score_rows(evaluation, annotator.label)
    width = max(len(title) for title, _ in rows) + 2
    lines = [f"{evaluation.place}: {evaluation.num_samples:,} samples, {annotator.label} by {annotator.name}"]
    lines.append(" " * width + "".join(f"{name:>11}" for name in PREDICTORS))
    lines += [f"{title:<{width}}" + "".join(f"{value:>11}" for value in values) for title, values in rows]
    return "\n".join(lines)
