"""One HTML page on a restyled set: pictures before and after, some of the look wanted, and how the training went."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from generative.report.annotator import Compared
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
NUM_SHOWN = 12
"""Samples, spread evenly over the set, and as many pictures of the target."""
LOSSES = ("discriminator", "adversarial", "cycle", "same", "similarity", "embedding")
"""Those that have a chart."""


def render_page(run: StyleRun, place: str, out: Path) -> str:
    """The page as HTML. place: the set as it was, folder or URL; out: the restyled one."""
    before, after = Table(place), Table(out)
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
            compared=[_compare(before, after, i) for i in spread(len(after))],
            wanted=_wanted(run.config.target),
            charts=_charts(run.folder),
            config=told_config(run.config),
            version=package_version(),
        )
    )


def spread(count: int) -> list[int]:
    """Numbers of up to NUM_SHOWN samples of a set of `count`, in order."""
    return sorted({*np.linspace(0, count - 1, NUM_SHOWN).round().astype(int).tolist()})


def _compare(before: Table, after: Table, i: int) -> Compared:
    key = str(after.keys[i])
    return Compared(key=key, pictures=(_picture(before, i, "as it was"), _picture(after, i, "restyled")))


def _picture(table: Table, i: int, label: str) -> Picture:
    pixels = table.read(i, ["image"])["image"]
    return draw(pixels, HEIGHT, alt=f"Sample {table.keys[i]}, {label}", label=label)


def _wanted(target: Sequence[str]) -> list[Picture]:
    """Of the first set that has the look; none where it does not lie there any more, whole."""
    try:
        table = Table(target[0])
    except (OSError, ShardError):
        return []
    return [_picture(table, i, "target") for i in spread(len(table))]


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
