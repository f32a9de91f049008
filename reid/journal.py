"""What a run says of itself on its way: progress, `metrics.jsonl`, trackers; and the faults that its losses show."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from reid.losses import COLLAPSED, SPREAD
from shards.console import ProgressReport, progress_bar
from shards.writer import atomic_file

logger = logging.getLogger(__name__)

FLUSH_EVERY = 10
"""Steps whose losses are fetched from the device at once: waiting for each would keep a GPU from running ahead."""
METRICS = "metrics.jsonl"
COLLAPSE_REMEDIES = (
    "the embeddings have collapsed: everybody lies at one distance from everybody else, and the triplet loss stays at its "
    "margin. Usual remedies: a lower learning rate or a longer warm-up, more identities in a batch, the identity loss "
    "beside it (losses.identity-weight), pretrained weights, or losses.soft-margin"
)


class Journal:
    """Collects the losses of steps, and passes them on every `FLUSH_EVERY` steps."""

    def __init__(self, accelerator: Accelerator, folder: Path, *, batch_size: int, report: ProgressReport, found: int):
        """report: of a progress bar over images; found: steps that an earlier run took."""
        self._accelerator, self._path = accelerator, folder / METRICS
        self._batch_size, self._report, self._found = batch_size, report, found
        self._waiting: list[tuple[dict[str, Any], tuple[str, ...], Tensor, Sequence[str]]] = []
        """What else is known of a step, names and values of its losses, keys of its batch."""
        self._has_collapsed = False

    def add(
        self, epoch: int, step: int, total_steps: int, rate: float, losses: Mapping[str, Tensor], keys: Sequence[str]
    ) -> None:
        """Take a step's losses. step: in its epoch; total_steps: taken with it; keys: of its batch, on this process."""
        at = {"epoch": epoch, "step": step, "total_steps": total_steps, "learning_rate": rate}
        values = torch.stack([value.detach().float() for value in losses.values()])
        self._waiting.append((at, tuple(losses), values, keys))
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Raises ValueError, naming the batch, where a loss is no number."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        means = self._accelerator.reduce(torch.cat([values for _, _, values, _ in waiting]), "mean").tolist()
        lines = []
        for at, names, _, keys in waiting:
            losses, means = dict(zip(names, means, strict=False)), means[len(names) :]
            if not all(map(math.isfinite, losses.values())):
                raise ValueError(self._no_number(at, losses, keys))
            lines.append(at | losses)
        self._watch(lines)
        last = lines[-1]
        self._report(
            last["total_steps"] * self._batch_size,
            self._found * self._batch_size,
            "  ".join(f"{name} {last[name]:.3f}" for name in waiting[-1][1]),
        )
        self._accelerator.log(last, step=last["total_steps"])
        self._write(lines)

    def scores(self, epoch: int, total_steps: int, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Write what the sets were scored, by name, after so many epochs and steps."""
        self._write([{"epoch": epoch, "total_steps": total_steps, "scores": scores}])
        figures = {
            f"{name}/{figure}": values[figure] for name, values in scores.items() for figure in ("mean_ap", "mean_inp")
        }
        figures |= {f"{name}/rank1": values["cmc"][0] for name, values in scores.items()}
        self._accelerator.log(figures, step=total_steps)

    def _no_number(self, at: Mapping[str, Any], losses: Mapping[str, float], keys: Sequence[str]) -> str:
        everywhere = gather_object(list(keys))
        return (
            f"loss is no number at epoch {at['epoch']}, step {at['step']}: "
            + ", ".join(f"{name} {value}" for name, value in losses.items())
            + f". The last good checkpoint is kept. A lower learning rate or precision no usually helps, in a new run; if not, look at the "
            f"batch: {', '.join(everywhere)}"
        )

    def _watch(self, lines: Sequence[Mapping[str, Any]]) -> None:
        spreads = [line[SPREAD] for line in lines if SPREAD in line]
        if spreads and max(spreads) < COLLAPSED and not self._has_collapsed:
            self._has_collapsed = True
            logger.warning("at epoch %d, step %d %s", lines[-1]["epoch"], lines[-1]["step"], COLLAPSE_REMEDIES)

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if self._accelerator.is_main_process:
            with open(self._path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)


@contextmanager
def open_journal(
    accelerator: Accelerator, folder: Path, *, batch_size: int, done: int, num_steps: int
) -> Iterator[Journal]:
    """A journal that goes on after `done` steps of `num_steps`: what an interrupted run wrote of later ones is taken away."""
    if accelerator.is_main_process:
        _cut(folder / METRICS, done)
    with _progress(accelerator, num_steps * batch_size) as report:
        journal = Journal(accelerator, folder, batch_size=batch_size, report=report, found=done)
        try:
            yield journal
        finally:
            accelerator.end_training()


@contextmanager
def _progress(accelerator: Accelerator, num_images: int) -> Iterator[ProgressReport]:
    if accelerator.is_main_process:
        with progress_bar("train", num_images, unit="images") as report:
            yield report
    else:
        yield lambda done, found=0, note="": None


def _cut(path: Path, done: int) -> None:
    if not path.is_file():
        return
    with atomic_file(path) as file:
        file.writelines(json.dumps(line).encode() + b"\n" for line in _lines(path) if line["total_steps"] <= done)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # the last one of a run that was killed while it wrote
                return


def read_metrics(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a run wrote: lines of steps, lines of scores. Both empty where it has written nothing."""
    path = folder / METRICS
    steps: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for line in _lines(path) if path.is_file() else ():
        (scores if "scores" in line else steps).append(line)
    return steps, scores
