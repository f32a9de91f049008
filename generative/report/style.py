"""One HTML page on a restyled set: pictures before and after, some of the look wanted, and how the training went."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from generative.report.annotator import NUM_SHOWN, Compared
from generative.sets import spread
from generative.style.run import StyleRun
from reid.journal import read_metrics
from reid.report.charts import Chart, Curve, line_chart
from reid.report.page import page_environment, told_config
from reid.report.pictures import Picture, draw
from shards.errors import ShardError
from shards.manifest import package_version
from shards.table import Table

HEIGHT = 220
"""Of a picture on the page, pixels."""
TEMPLATE = "style.html.jinja"
NUM_MEASURED = 300
"""Samples whose look is measured, spread evenly over the set."""
LOOK = ("red", "green", "blue", "contrast", "chroma")
"""Of a look: means of the channels, standard deviation of brightness in a picture, and how far its channels lie apart."""
LOSSES = ("discriminator", "adversarial", "cycle", "same", "similarity", "embedding")
"""Those that have a chart."""


def render_page(run: StyleRun, place: str, out: Path) -> str:
    """The page as HTML. place: the set as it was, folder or URL; out: the restyled one."""
    before, after, target = Table(place), Table(out), _open(run.config.target)
    return (
        page_environment(("generative", "report"))
        .get_template(TEMPLATE)
        .render(
            name=run.folder.resolve().name,
            place=place,
            out=out,
            num_samples=len(after),
            source=run.config.source,
            target=run.config.target,
            hash=run.hash,
            num_parameters=sum(parameter.numel() for parameter in run.generator.parameters()),
            compared=[_compare(before, after, i) for i in spread(len(after), NUM_SHOWN)],
            wanted=_wanted(target),
            looks=_looks({"as it was": before, "restyled": after, "the look wanted": target}),
            columns=LOOK,
            num_measured=NUM_MEASURED,
            charts=_charts(run.folder),
            config=told_config(run.config),
            version=package_version(),
        )
    )


def _compare(before: Table, after: Table, i: int) -> Compared:
    key = str(after.keys[i])
    return Compared(key=key, pictures=(_picture(before, i, "as it was"), _picture(after, i, "restyled")))


def _picture(table: Table, i: int, label: str) -> Picture:
    pixels = table.read(i, ["image"])["image"]
    return draw(pixels, HEIGHT, alt=f"Sample {table.keys[i]}, {label}", label=label)


def _open(target: Sequence[str]) -> Table | None:
    """The first set that has the look; None where it does not lie there any more, whole."""
    try:
        return Table(target[0])
    except (OSError, ShardError):
        return None


def _wanted(target: Table | None) -> list[Picture]:
    return [] if target is None else [_picture(target, i, "target") for i in spread(len(target), NUM_SHOWN)]


def _looks(tables: Mapping[str, Table | None]) -> list[tuple[str, tuple[str, ...]]]:
    """A line for each set: its name, and `measure_look` of some of its pictures, spread evenly."""
    return [
        (name, tuple(f"{value:.3f}" for value in measure_look(table, spread(len(table), NUM_MEASURED))))
        for name, table in tables.items()
        if table is not None
    ]


def measure_look(table: Table, rows: Sequence[int]) -> tuple[float, ...]:
    """Means over pictures of LOOK, in shares of full brightness."""
    found = []
    for i in rows:
        picture = table.read(i, ["image"])["image"] / 255
        contrast, chroma = picture.mean(2).std(), (picture.max(2) - picture.min(2)).mean()
        found.append((*picture.mean((0, 1)), contrast, chroma))
    return tuple(np.mean(found, axis=0).tolist())


def _charts(folder: Path) -> list[Chart]:
    """A chart for each loss; none of a run whose journal is gone."""
    steps, _ = read_metrics(folder)
    charts = []
    for name in LOSSES:
        found = [(line["total_steps"], line[name]) for line in steps if name in line]
        if found:
            x, y = np.array(found, np.float64).T
            charts.append(line_chart(name, [Curve(name=name, x=x, y=y)], x_name="step", smooth=True))
    return charts
