"""How a run went: curves of what it wrote on its way."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reid.config import TrainConfig
from reid.journal import read_metrics
from reid.report.charts import Chart, Curve, line_chart

_AT = {"epoch", "step", "total_steps", "learning_rate"}


def history(folder: Path, config: TrainConfig) -> list[Chart]:
    """A chart for each loss, and what else was watched, the learning rate, and mAP and rank-1 of the sets that were scored
    on the way. Empty for a run that has written nothing."""
    steps, scores = read_metrics(folder)
    names = list(dict.fromkeys(name for line in steps for name in line if name not in _AT))
    charts = [
        line_chart(name.replace("_", " "), [_curve(name, name, steps)], x_name="step", smooth=True) for name in names
    ]
    if steps:
        charts.append(line_chart("learning rate", _rates(steps, config), x_name="step"))
    for title, name in (("mAP", "mean_ap"), ("rank-1", "cmc")):
        if scores:
            charts.append(line_chart(title, _scores(name, scores), x_name="epoch", percent=True))
    return charts


def _curve(name: str, field: str, lines: Sequence[Mapping[str, Any]]) -> Curve:
    """Of the steps that have it: a model need not give every loss at every step."""
    found = [(line["total_steps"], line[field]) for line in lines if field in line]
    x, y = np.array(found, dtype=np.float64).T
    return Curve(name=name, x=x, y=y)


def _rates(steps: Sequence[Mapping[str, Any]], config: TrainConfig) -> list[Curve]:
    """Of each of the optimisers that take turns."""
    names = ["new layers"] if config.optimise.triplet_learning_rate is None else ["identity's turn", "triplet's turn"]
    turns = [[line for line in steps if (line["total_steps"] - 1) % len(names) == i] for i in range(len(names))]
    return [_curve(name, "learning_rate", turn) for name, turn in zip(names, turns, strict=True) if turn]


def _scores(field: str, lines: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Of every set, over epochs."""
    curves = []
    for place in dict.fromkeys(name for line in lines for name in line["scores"]):
        found = [(line["epoch"], line["scores"][place][field]) for line in lines if place in line["scores"]]
        values = [value[0] if field == "cmc" else value for _, value in found]
        curves.append(Curve(name=place, x=np.array([e for e, _ in found], np.float64), y=np.array(values)))
    return curves
