"""One HTML page on an annotator: scores beside the floor, how its training went, and what it draws beside the truth."""

from dataclasses import dataclass

import numpy as np

from generative.annotators.evaluate import PREDICTORS, Evaluation, Shown
from generative.annotators.opened import OpenAnnotator
from generative.annotators.scores import HIGHER_IS_BETTER
from reid.fit import Label
from reid.report.history import history
from reid.report.page import page_environment, told_config
from reid.report.pictures import Picture, draw
from shards.manifest import package_version
from shards.sheet import PART_COLOURS, colour_iuv, draw_skeleton

TEMPLATE = "annotator.html.jinja"
WIDTH, MAX_HEIGHT = 420, 280
"""Of a sample's pictures side by side, pixels."""
NUM_SHOWN = 12
"""Samples on a page, spread evenly over the set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A sample, its true label and the network's."""

    key: str
    pictures: tuple[Picture, ...]


def render_page(annotator: OpenAnnotator, evaluations: list[Evaluation]) -> str:
    """The page as HTML; evaluations: of each set that it was scored on."""
    return (
        page_environment(("generative", "report"))
        .get_template(TEMPLATE)
        .render(
            name=annotator.folder.resolve().name,
            label=annotator.label,
            network=annotator.name,
            hash=annotator.hash,
            num_parameters=sum(parameter.numel() for parameter in annotator.network.parameters()),
            trained_on=annotator.config.data.pairs,
            predictors=PREDICTORS,
            evaluations=[(one, score_rows(one, annotator.label)) for one in evaluations],
            compared=[[compare(annotator.label, shown) for shown in one.shown] for one in evaluations],
            charts=history(annotator.folder, annotator.config),
            config=told_config(annotator.config),
            version=package_version(),
        )
    )


def score_rows(evaluation: Evaluation, label: Label) -> list[tuple[str, tuple[str, ...]]]:
    """A line for each score: what it is called, with which way is better, and its value by PREDICTORS."""
    return [
        (
            f"{name.replace('_', ' ')} {'↑' if is_higher else '↓'}",
            tuple(_told(evaluation.scores[predictor][name]) for predictor in PREDICTORS),
        )
        for name, is_higher in HIGHER_IS_BETTER[label].items()
        if name in evaluation.scores["trained"]
    ]


def _told(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def compare(label: Label, shown: Shown) -> Compared:
    """The pictures of a sample."""
    truth, predicted = (draw_label(label, values, shown.picture) for values in (shown.truth, shown.predicted))
    key = shown.key
    shares = sum(one.shape[1] / one.shape[0] for one in (shown.picture, truth, predicted))
    height = min(MAX_HEIGHT, round(WIDTH / shares))
    return Compared(
        key=key,
        pictures=(
            draw(shown.picture, height, alt=f"Sample {key}", label="picture"),
            draw(truth, height, alt=f"True {label} of {key}", label=f"true {label}"),
            draw(
                predicted, height, alt=f"{label} of {key} by the network", label=f"network: {shown.confidence:.2f} sure"
            ),
        ),
    )


def draw_label(label: Label, values: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A label of one picture (H, W, 3) uint8 as a picture, (h, w, 3) uint8; values as `Annotation.values`."""
    match label:
        case "iuv":
            return colour_iuv(values)
        case "parts":
            return PART_COLOURS[values]
        case "keypoints":
            return draw_skeleton(picture, values.tolist())
    return values
