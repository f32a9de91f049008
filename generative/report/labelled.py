"""One HTML page on a set that an annotator has labelled: how sure it was, and what it wrote for whom. Nobody knows the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from generative.annotators.opened import OpenAnnotator
from generative.report.annotator import NUM_SHOWN, Compared, draw_label
from generative.sets import spread
from reid.fit import Label
from reid.report.charts import Chart, Curve, line_chart
from reid.report.page import page_environment
from reid.report.pictures import draw
from shards.manifest import package_version
from shards.table import Table

HEIGHT = 220
"""Of a picture on the page, pixels."""
TEMPLATE = "labelled.html.jinja"


def render_page(annotator: OpenAnnotator, place: str, out: Path, confidences: Sequence[float]) -> str:
    """The page as HTML. place: the set as it was, folder or URL; out: the labelled one, and how sure the annotator was of each of
    its samples, in their order."""
    table, label = Table(out), annotator.label
    order = np.argsort(confidences, kind="stable").tolist()
    shown = spread(len(table), NUM_SHOWN)
    return (
        page_environment(("generative", "report"))
        .get_template(TEMPLATE)
        .render(
            name=out.resolve().name,
            label=label,
            network=annotator.name,
            hash=annotator.hash,
            place=place,
            num_samples=len(table),
            mean_confidence=float(np.mean(confidences)),
            charts=[_chart(np.sort(confidences))],
            spread=[_compare(table, label, i, confidences[i]) for i in shown],
            least=[_compare(table, label, i, confidences[i]) for i in order[: len(shown)]],
            version=package_version(),
        )
    )


def _chart(confidences: np.ndarray) -> Chart:
    shares = np.arange(1, len(confidences) + 1) / len(confidences)
    curve = Curve(name="samples", x=confidences, y=shares)
    return line_chart("share of samples of which it was no surer", [curve], x_name="confidence", percent=True)


def _compare(table: Table, label: Label, i: int, confidence: float) -> Compared:
    sample, key = table[i], str(table.keys[i])
    values = np.array(sample.meta.keypoints) if label == "keypoints" else getattr(sample, label)
    drawn = draw_label(label, values, sample.image)
    return Compared(
        key=key,
        pictures=(
            draw(sample.image, HEIGHT, alt=f"Sample {key}", label="picture"),
            draw(drawn, HEIGHT, alt=f"{label} of {key}", label=f"{confidence:.2f} sure"),
        ),
    )
