"""How well annotators that were taught on rendered people label people of another look, before and after a change of style.

Training are rendered pairs; test are people in other outfits before other cameras, whose pictures are warm, pale and soft.
Generators of style learn that look from other pictures of it, without labels, and give it to the training pictures, which keep
their labels. Annotators learn from pictures as they were rendered, restyled, or from both together, as in Part awareness,
table VIII, in about as many batches.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiment_pictures import draw_labels, draw_style
from experiment_runs import do, each, schedule

from generative.annotators.scores import HIGHER_IS_BETTER
from generative.presets import PRESETS
from shards.console import write_json, write_text

LABELS = tuple(HIGHER_IS_BETTER)
TAUGHT = {"pairs": "as rendered", "restyled": "restyled", "both": "both"}
"""What annotators learn from -> the name of their column."""
LOOK = (
    *("--network.hours", "dusk", "--network.num-indoor", "1"),
    *("--sensor.temperature-ev", "0.25", "0.45", "--sensor.saturation", "0.35", "0.6", "--sensor.veil", "0.05", "0.12"),
    *("--sensor.defocus-px", "0.9", "1.5"),
)
"""Options of the sets that are tested on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is."""

    num_pairs: int
    """Rendered pairs to learn from."""
    num_look: int
    """People of whom style is learned."""
    num_test: int
    """People to be labelled."""
    epochs: Mapping[str, int] | None
    """Label -> epochs of its annotators, None for those of their presets; half as many on both sets."""
    every: tuple[str, ...]
    """Options of all annotators."""
    style: tuple[str, ...]
    """Options of the run that learns style."""


def _cpu(height: int, width: int, *, epochs: Mapping[str, int], style_epochs: int, channels: int) -> dict[str, Any]:
    """Options of ResNet-18 on small pictures, with one schedule for all."""
    picture = ("--input.height", str(height), "--input.width", str(width))
    return {
        "epochs": epochs,
        "every": (
            *("--model.backbone.name", "resnet18", "--model.backbone.weights", "none", *picture, "--augment.pad", "5"),
            *("--optimise.optimiser", "adam", "--optimise.learning-rate", "5e-4"),
            *("--optimise.weight-decay", "0", "--optimise.milestones", "--optimise.decay", "cosine"),
            *("--sampler.batch-size", "16"),
        ),
        "style": (
            *("--networks.height", str(height), "--networks.width", str(width), "--networks.channels", str(channels)),
            *("--networks.discriminator-channels", str(channels), "--networks.embedding-channels", str(channels)),
            *("--networks.blocks", "4", "--losses.identity-weight", "1"),
            *("--optimise.batch-size", "4", "--optimise.learning-rate", "1e-3", "--optimise.epochs", str(style_epochs)),
        ),
    }


SIZES: Mapping[str, Size] = {
    "tiny": Size(
        num_pairs=32,
        num_look=4,
        num_test=4,
        **_cpu(64, 32, epochs=dict.fromkeys(LABELS, 2), style_epochs=1, channels=8),
    ),
    # Left and right, front and back of iuv are learned late.
    "small": Size(
        num_pairs=1500,
        num_look=100,
        num_test=60,
        **_cpu(96, 48, epochs=dict.fromkeys(LABELS, 4) | {"iuv": 10}, style_epochs=2, channels=16),
    ),
    "full": Size(num_pairs=9290, num_look=700, num_test=300, epochs=None, every=(), style=()),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotators:
    """Train an annotator of each label, on pictures as they were rendered, restyled, and on both; write a table, pages on each,
    OUT/style.jpg and OUT/pictures.jpg."""

    out: Path
    """Folder for sets and runs."""
    size: Literal["tiny", "small", "full"] = "small"
    """tiny: shows that it works, and no scores; small: ResNet-18 at 96 x 48; full: the papers' settings."""
    labels: tuple[Literal[LABELS], ...] = LABELS  # type: ignore[valid-type]
    """What is learned."""
    jobs: int = 1
    """Runs at a time; each has its share of the cores."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        size = SIZES[self.size]
        self._render(size)
        style = ("--data", self.out / "pairs", "--target", self.out / "look", "--out", self.out / "style", "--resume")
        do("generative", "train", "style", *style, *size.style)
        restyled = ("--data", self.out / "pairs", "--out", self.out / "restyled", "--report", self.out / "style.html")
        do("generative", "restyle", self.out / "style", *restyled)
        runs = [(label, taught) for label in self.labels for taught in TAUGHT]
        each(lambda one: self._train(size, *one), runs, jobs=self.jobs)
        results = [self._result(label) for label in self.labels]
        draw_style(self.out)
        draw_labels(self.out, self.labels, "both")
        if self.json:
            write_json({"size": self.size, "results": results})
        else:
            write_text(table(results))
        return 0

    def _render(self, size: Size) -> None:
        """Three sets: pairs, people who look otherwise, and others who look like these."""
        pairs = ("--num-samples", size.num_pairs, "--samples-per-shard", size.num_pairs // 4, "--seed", 13)
        do("synth", "pit", "--out", self.out / "pairs", *pairs)
        for name, count, seed in (("look", size.num_look, 41), ("test", size.num_test, 42)):
            people = (
                "--num-identities",
                count,
                "--train-share",
                1,
                "--num-cameras",
                4,
                "--walk.frames",
                2,
                "--seed",
                seed,
            )
            do("synth", "scene", "--out", self.out / name, *people, *LOOK)

    def _train(self, size: Size, label: str, taught: str) -> None:
        """Go on with a run to its end; one that is finished is left as it is."""
        sets = [self.out / one for one in (("pairs", "restyled") if taught == "both" else (taught,))]
        out = ("--data", *sets, "--out", self.out / f"{label}-{taught}", "--resume")
        if size.epochs is None:
            preset = PRESETS[label]().optimise
            length = schedule(preset, max(1, preset.epochs // len(sets)))
        else:
            length = ("--optimise.epochs", size.epochs[label] // len(sets))
        do("generative", "train", label, *out, *size.every, *length, jobs=self.jobs)

    def _result(self, label: str) -> dict[str, Any]:
        """Scores of a label's annotators, and of what they have to beat; a page on each, with pictures."""
        told = {}
        for taught in TAUGHT:
            sets = ("--data", self.out / "test", "--report", self.out / f"{label}-{taught}.html")
            scored = do("generative", "evaluate", self.out / f"{label}-{taught}", *sets, "--json")
            told[taught] = next(iter(json.loads(scored).values()))["scores"]
        scores = {name: told["pairs"][name] for name in ("mean", "untrained")}
        return {"label": label, "scores": scores | {name: told[taught]["trained"] for taught, name in TAUGHT.items()}}


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown: a line for each score, a column for each annotator."""
    names = list(results[0]["scores"])
    lines = [f"| label | score | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for result in results:
        for score, is_higher in HIGHER_IS_BETTER[result["label"]].items():
            values = [result["scores"][name][score] for name in names]
            told = ["-" if value is None else f"{value:.3f}" for value in values]
            lines.append(
                f"| {result['label']} | {score}, {'higher' if is_higher else 'lower'} is better | {' | '.join(told)} |"
            )
    return "\n".join(lines)
