"""Whether learning where on the body one looks makes a network tell people apart better, on rendered people.

    python scripts/experiment_semantics.py --out out/semantics                # a CPU, about an hour
    python scripts/experiment_semantics.py --out out/semantics --size full    # a GPU, every row at the papers' settings

Train and test are sets of different seeds: other people, outfits, cameras and backgrounds, other times of day; training has few
pictures of each person. Rows differ from the row beside them in the method alone. On a CPU all begin with one encoder, that was
taught to regress the textures of rendered pairs (SAN-PG), in place of ImageNet's; at full size SAN alone does, as published. On
a CPU, too, pooled maps have necks, SAN's decoder a bilinear last block, and DSA-reID part images of half the size. The same
command goes on where it stopped.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from experiment_rows import ROWS, SMALL
from experiment_runs import do, each, scores_of, table

from shards.console import main, write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is."""

    num_train: int
    """Identities to train on."""
    num_test: int
    """Identities to search for."""
    num_pairs: int
    """Rendered pairs."""
    first: tuple[str, ...]
    """Options of the run that all others start from."""
    every: tuple[str, ...]
    """Options of all runs, the first too."""
    rest: tuple[str, ...]
    """Options of all runs but the first."""
    pooled: tuple[str, ...]
    """More options of rows whose embedding is a pooled map, without layer or neck."""
    drawing: tuple[str, ...]
    """More options of rows that draw, and of the run that they start from."""
    guided: tuple[str, ...]
    """More options of rows that unroll the body."""
    starts_all: bool
    """Whether all rows begin with SAN-PG's encoder, or SAN's alone."""


POOLED = ("baseline", "san-basic", "san", "dsa-two-branches", "dsa")
"""Presets whose embedding is a pooled map."""


def _cpu(height: int, width: int, *, first_epochs: int, epochs: int, every: int) -> dict[str, Any]:
    """Options of ResNet-18 on small pictures: one schedule for all rows, so short that pooled maps need necks."""
    return {
        "pooled": ("--model.neck", "--evaluate.metric", "cosine"),
        "drawing": ("--model.last-upsampling", "bilinear"),
        "guided": ("--model.part-size", "16"),
        "starts_all": True,
        "first": (
            *("--optimise.epochs", str(first_epochs), "--optimise.learning-rate", "5e-4", "--optimise.decay", "cosine"),
            *("--augment.rotate", "0"),
        ),
        "every": (
            *("--model.backbone.name", "resnet18", "--model.backbone.weights", "none"),
            *("--input.height", str(height), "--input.width", str(width), "--augment.pad", "5"),
        ),
        "rest": (
            *("--optimise.optimiser", "adam", "--optimise.learning-rate", "7e-4", "--optimise.backbone-factor", "1"),
            *("--optimise.epochs", str(epochs), "--optimise.warmup-epochs", "1", "--optimise.warmup-factor", "0.1"),
            *("--optimise.decay", "cosine", "--sampler.batch-size", "32", "--evaluate.every", str(every)),
        ),
    }


SIZES = {
    "tiny": Size(num_train=12, num_test=4, num_pairs=64, **_cpu(64, 32, first_epochs=1, epochs=1, every=1)),
    "small": Size(num_train=200, num_test=60, num_pairs=2000, **_cpu(128, 64, first_epochs=12, epochs=8, every=4)),
    "full": Size(
        num_train=700,
        num_test=700,
        num_pairs=9290,
        first=(),
        every=(),
        rest=("--evaluate.every", "20"),
        pooled=(),
        drawing=(),
        guided=(),
        starts_all=False,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Train every row with every seed, and write one table."""

    out: Path
    """Folder for sets and runs."""
    size: Literal["tiny", "small", "full"] = "small"
    """tiny: shows that it works, and no scores; small: ResNet-18 at 128 x 64; full: ResNet-50 and the papers' settings."""
    rows: tuple[str, ...] | None = None
    """Of experiment_rows.ROWS; by default each method and its baseline for sizes tiny and small, all for full."""
    seeds: int = 3
    """Runs of each row."""
    jobs: int = 1
    """Runs at a time; each has its share of the cores."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if unknown := set(self.rows or ()) - ROWS.keys():
            raise ValueError(f"rows must be of {', '.join(ROWS)}; got {', '.join(sorted(unknown))}")
        tall = [name for name in self.names if ROWS[name].preset.startswith(("pcb", "mgn"))]
        if tall and self.size != "full":
            raise ValueError(
                f"pictures of PCB and MGN are cut into stripes, for which they need --size full: {tall[0]}"
            )
        if self.seeds < 1 or self.jobs < 1:
            raise ValueError(f"needs seeds and jobs >= 1, got {self.seeds} and {self.jobs}")

    @property
    def names(self) -> tuple[str, ...]:
        """The rows, each baseline before what stands beside it."""
        chosen = set(self.rows or (ROWS if self.size == "full" else SMALL))
        if not SIZES[self.size].starts_all:
            chosen = {name for name in chosen if ROWS[name].is_taught}
        chosen |= {ROWS[name].beside for name in chosen} - {None}
        return tuple(name for name in ROWS if name in chosen)

    def run(self) -> int:
        """Returns the exit code."""
        size = SIZES[self.size]
        self._render(size)
        for draws in dict.fromkeys(ROWS[name].draws for name in self.names):
            pairs = ("--data.pairs", self.out / "pairs", "--model.reconstruct", draws)
            self._train(f"start-{draws}", "san-pg", *pairs, *size.first, *size.drawing, *size.every)
        waiting = [(name, seed) for seed in range(self.seeds) for name in self.names]
        each(lambda one: self._train_row(size, *one), waiting, jobs=self.jobs)
        results = [result for name in self.names for result in self._results(name)]
        if self.json:
            write_json({"size": self.size, "results": results})
        else:
            write_text(table(results))
        return 0

    def _render(self, size: Size) -> None:
        """Three sets: people to train on, other people elsewhere to search for, and pairs of neither."""
        train = ("--num-identities", size.num_train, "--train-share", 1, "--num-cameras", 3, "--walk.frames", 2)
        test = ("--num-identities", size.num_test, "--train-share", 0, "--num-cameras", 6, "--network.num-indoor", 2)
        hours = ("--network.hours", "afternoon", "dusk")
        self._do("synth", "scene", "--out", self.out / "train", "--seed", 11, *train)
        self._do("synth", "scene", "--out", self.out / "test", "--seed", 12, *test, *hours)
        pairs = ("--num-samples", size.num_pairs, "--samples-per-shard", size.num_pairs // 4)
        self._do("synth", "pit", "--out", self.out / "pairs", "--seed", 13, *pairs)

    def _train_row(self, size: Size, name: str, seed: int) -> None:
        row = ROWS[name]
        data = ["--data.rendered", self.out / "train", "--evaluate.sets", self.out / "test"]
        if row.pairs is not None:
            data += ["--data.pairs", self.out / "pairs", "--data.pairs-ratio", *row.pairs]
        if row.is_taught and (size.starts_all or row.preset.startswith("san")):
            data += ["--start", self.out / f"start-{row.draws}"]
        if row.preset in POOLED:
            data += size.pooled
        if row.preset.startswith("san"):
            data += size.drawing
        if row.preset.startswith("dsa"):
            data += size.guided
        self._train(f"{name}-{seed}", row.preset, *data, "--seed", seed, *size.every, *size.rest, *row.options)

    def _train(self, name: str, preset: str, *options: Any) -> None:
        """Go on with a run to its end; one that is finished is left as it is."""
        self._do("reid", "train", preset, "--out", self.out / name, "--resume", *options)

    def _results(self, name: str) -> list[dict[str, Any]]:
        """Scores of all seeds of a row: after the last epoch, and mAP on the way; and where it has a second stream, scores of
        both together."""
        folders = [self.out / f"{name}-{seed}" for seed in range(self.seeds)]
        ways = [scores_of(folder) for folder in folders]
        about = {"row": name, "beside": ROWS[name].beside, "source": ROWS[name].source}
        alone = about | {
            **_last([way[-1] for way in ways]),
            "epochs": [one["epoch"] for one in ways[0]],
            "curve": [statistics.mean(way[i]["mean_ap"] for way in ways) for i in range(len(ways[0]))],
        }
        if ROWS[name].preset != "dsa":
            return [alone]
        told = [self._do("reid", "evaluate", folder, "--checkpoint", "last", "--fused", "--json") for folder in folders]
        fused = [next(iter(json.loads(one).values())) for one in told]
        return [alone, about | {"row": f"{name}, both streams", **_last(fused)}]

    def _do(self, package: str, *arguments: Any) -> str:
        return do(package, *arguments, jobs=self.jobs)


def _last(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"mean_ap": [one["mean_ap"] for one in scores], "rank1": [one["cmc"][0] for one in scores]}


def cli() -> int:
    """Parse the command line and run the experiment; returns the exit code."""
    return tyro.cli(Experiment, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
