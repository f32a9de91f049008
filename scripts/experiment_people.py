"""Whether people in generated poses help to tell people apart (Pose-transferrable reID).

Training has two poses of everybody, test has any. A generator, whose poses come from tracklets of other people, learns from the
training pictures, without and with a guider, and draws them in more poses. Rows differ in what of that they are taught with, and
how far it is trusted. All begin with the encoder of a network that has learned to draw textures, in place of ImageNet's, and
are about as long, counted in batches.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from experiment_pictures import draw_people
from experiment_runs import deviation, do, each, schedule, scores_of, table

from reid.presets import PRESETS
from shards.console import write_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One network of the table."""

    added: Literal["none", "ce", "triplet", "true"] | None = None
    """Pictures that are added: of the generator with this guider, or the people rendered in other poses; None for none."""
    per_image: int = 2
    """Of them, for each picture of the set (Liu et al. 2018, fig. 5)."""
    epsilon: float = 0.4
    """Smoothing of their labels (eq. 7); 1 is LSRO's, which knows nobody in them."""
    alpha: float | None = None
    """With triplets: their margin where the anchor is generated, beside 1 where it is not (sec. 3.3); None leaves triplets out."""
    length: int = 1
    """How many times as long it is trained as the others."""
    beside: str | None = None
    """The row that it is to be compared with: it differs from that one in what its name says; None of a baseline."""


_GUIDED = Row(added="ce", beside="transfer")

ROWS: Mapping[str, Row] = {
    "baseline": Row(),
    "true-poses": Row(added="true", epsilon=0.0, beside="baseline"),
    "lsro": Row(added="none", epsilon=1.0, beside="baseline"),
    "transfer": Row(added="none", beside="baseline"),
    "transfer-ce": _GUIDED,
    "transfer-triplet": Row(added="triplet", beside="transfer"),
    **{f"epsilon-{value:g}": Row(added="ce", epsilon=value, beside="transfer-ce") for value in (0.0, 0.2, 0.6)},
    **{f"per-image-{count}": Row(added="ce", per_image=count, beside="transfer-ce") for count in (1, 4)},
    "triplets": Row(alpha=1.0),
    "alpha-1": Row(added="ce", alpha=1.0, beside="triplets"),
    **{f"alpha-{value:g}": Row(added="ce", alpha=value, beside="alpha-1") for value in (0.3, 0.5)},
    "full-trust": Row(added="ce", epsilon=0.0, alpha=1.0, beside="alpha-0.5"),
}
"""Name -> row. `true-poses` is what a generator without fault would give; `full-trust` takes what is drawn for
real."""
OTHER_ROWS: Mapping[str, Row] = {
    "transfer-epsilon-0.2": Row(added="none", epsilon=0.2, beside="transfer"),
    "true-poses-triplets": Row(added="true", epsilon=0.0, alpha=1.0, beside="triplets"),
}
"""The paper's epsilon of pictures that nobody guided (Liu et al. 2018, sec. 4.4), and `true-poses` beside triplets; trained only
where they are named."""
LONG_ROWS: Mapping[str, Row] = {
    f"{name}-x3": replace(ROWS[name], length=3, beside=ROWS[name].beside and f"{ROWS[name].beside}-x3")
    for name in ("baseline", "true-poses", "transfer", "transfer-ce")
}
"""What so short a training hides; trained only where they are named."""
ALL_ROWS = {**ROWS, **OTHER_ROWS, **LONG_ROWS}
GUIDERS: Mapping[str, Row | None] = {"none": None, "ce": Row(), "triplet": Row(alpha=1.0)}
"""Form of a guider -> the network that guides: taught by the loss that it guides by, in the case of triplets beside the other."""
JUDGE = Row(added="true", epsilon=0.0, alpha=1.0)
"""The network that says whose a generated picture is: it knows all poses, and guided nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large everything is."""

    num_identities: int
    """Of the set that is trained and scored on, three of five of them to train on."""
    num_posed: int
    """People of the set that is rich in poses."""
    num_pairs: int
    """Rendered pairs, of which the start learns textures."""
    epochs: int
    """Of a row without added pictures; others have as many batches in fewer epochs."""
    start: tuple[str, ...]
    """Options of the run that all rows start from."""
    transfer: tuple[str, ...]
    """Options of the generators' runs."""
    preset: str
    """Of all rows, guiders and the judge."""
    rows: tuple[str, ...]
    """Options of all rows."""


def _cpu(
    height: int, width: int, *, size: int, networks_width: int, start_epochs: int, transfer_epochs: int
) -> dict[str, Any]:
    """Options of ResNet-18 on small pictures, and of a small generator."""
    picture = ("--input.height", str(height), "--input.width", str(width), "--augment.pad", "5")
    widths = ("--networks.width", str(networks_width), "--networks.discriminator-width", str(networks_width))
    return {
        "start": (
            *(
                "--model.backbone.name",
                "resnet18",
                "--model.backbone.weights",
                "none",
                *picture,
                "--augment.rotate",
                "0",
            ),
            *("--optimise.epochs", str(start_epochs), "--optimise.learning-rate", "5e-4", "--optimise.decay", "cosine"),
        ),
        "transfer": (
            *("--networks.size", str(size), *widths, "--networks.spectral-norm"),
            *("--optimise.epochs", str(transfer_epochs), "--optimise.batch-size", "4"),
        ),
        "preset": "laptop",
        "rows": (*picture, "--optimise.warmup-epochs", "0"),
    }


SIZES: Mapping[str, Size] = {
    "tiny": Size(
        num_identities=16,
        num_posed=4,
        num_pairs=32,
        epochs=2,
        **_cpu(64, 32, size=32, networks_width=8, start_epochs=1, transfer_epochs=1),
    ),
    "small": Size(
        num_identities=120,
        num_posed=40,
        num_pairs=2000,
        epochs=15,
        **_cpu(64, 32, size=64, networks_width=24, start_epochs=6, transfer_epochs=10),
    ),
    "full": Size(
        num_identities=1200,
        num_posed=400,
        num_pairs=9290,
        epochs=40,
        start=(),
        transfer=(),
        preset="pose-r-ce",
        rows=(),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Train networks that tell people apart with and without generated pictures, every row with every seed; write tables, and
    OUT/pictures.jpg."""

    out: Path
    """Folder for sets and runs."""
    size: Literal["tiny", "small", "full"] = "small"
    """tiny: shows that it works, and no scores; small: ResNet-18 at 64 x 32, a generator of 64 x 64; full: the paper's networks,
    on pictures of its size."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Of ROWS, OTHER_ROWS and LONG_ROWS."""
    seeds: int = 3
    """Runs of each row, and of each generator, whose pictures the row of the same seed has."""
    jobs: int = 1
    """Runs at a time; each has its share of the cores."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if unknown := set(self.rows) - ALL_ROWS.keys():
            raise ValueError(f"rows must be of {', '.join(ALL_ROWS)}; got {', '.join(sorted(unknown))}")
        if self.seeds < 1 or self.jobs < 1:
            raise ValueError(f"needs seeds and jobs >= 1, got {self.seeds} and {self.jobs}")

    @property
    def names(self) -> tuple[str, ...]:
        """The rows, each one's baseline before it."""
        chosen = set(self.rows)
        while missing := {ALL_ROWS[name].beside for name in chosen} - chosen - {None}:
            chosen |= missing
        return tuple(name for name in ALL_ROWS if name in chosen)

    def run(self) -> int:
        """Returns the exit code."""
        size, rows = SIZES[self.size], [ALL_ROWS[name] for name in self.names]
        self._render(size)
        start = ("--data", self.out / "pairs", "--out", self.out / "start", "--resume")
        do("generative", "train", "texture", *start, *size.start)
        forms = [form for form in GUIDERS if form in {row.added for row in rows}]
        runs = [
            (ALL_ROWS[name], self.out / f"{name}-{seed}", seed) for seed in range(self.seeds) for name in self.names
        ]
        runs.insert(0, (JUDGE, self.out / "judge", 98))
        drawn = [one for one in runs if one[0].added in forms]
        guiders = [(row, self.out / f"guider-{form}", 99) for form in forms if (row := GUIDERS[form])]
        each(lambda one: self._train_row(size, *one), guiders, jobs=self.jobs)
        # Generators first: what else can be trained beside them keeps the cores busy when the last of them is alone.
        tasks = [partial(self._train_generator, size, form, seed) for form in forms for seed in range(self.seeds)]
        tasks += [partial(self._train_row, size, *one) for one in runs if one not in drawn]
        each(lambda task: task(), tasks, jobs=self.jobs)
        generators = {form: each(partial(self._scores, form), range(self.seeds), jobs=self.jobs) for form in forms}
        each(self._augment, sorted({(row.added, row.per_image, seed) for row, _, seed in drawn}), jobs=self.jobs)
        each(lambda one: self._train_row(size, *one), drawn, jobs=self.jobs)
        if forms:
            draw_people(self.out, forms)
        results = [self._result(name) for name in self.names]
        if self.json:
            write_json({"size": self.size, "results": results, "generators": generators})
        else:
            write_text("\n\n".join([table(results), *([generator_table(generators)] if generators else [])]))
        return 0

    def _render(self, size: Size) -> None:
        """Four sets: people in few poses, with others to search for; the same people in any pose; others, in tracklets; pairs."""
        people = ("--num-identities", size.num_identities, "--train-share", 0.6, "--num-cameras", 4, "--seed", 31)
        do("synth", "scene", "--out", self.out / "target", *people, "--walk.frames", 2, "--walk.train-poses", 2)
        do("synth", "scene", "--out", self.out / "true", *people, "--walk.frames", 4)
        others = ("--num-identities", size.num_posed, "--train-share", 1, "--num-cameras", 3, "--seed", 32)
        walk = ("--walk.frames", 8, "--walk.fps", 4)
        do("synth", "scene", "--preset", "tracklets", "--out", self.out / "poses", *others, *walk)
        pairs = ("--num-samples", size.num_pairs, "--samples-per-shard", size.num_pairs // 4, "--seed", 13)
        do("synth", "pit", "--out", self.out / "pairs", *pairs)

    def _train_generator(self, size: Size, form: str, seed: int) -> None:
        guider = () if form == "none" else ("--guider-run", self.out / f"guider-{form}")
        sets = ("--data", self.out / "target", "--poses", self.out / "poses", "--out", self._generator(form, seed))
        options = ("--resume", "--guider", form, *guider, *size.transfer, "--seed", seed)
        do("generative", "train", "pose-transfer", *sets, *options, jobs=self.jobs)

    def _augment(self, which: tuple[str, int, int]) -> None:
        form, per_image, seed = which
        sets = ("--data", self.out / "target", "--poses", self.out / "poses", "--out", self._generated(*which))
        options = ("--per-image", per_image, "--seed", seed)
        do("generative", "augment", self._generator(form, seed), *sets, *options, jobs=self.jobs)

    def _scores(self, form: str, seed: int) -> dict[str, dict[str, float | None]]:
        """Of a generator's pictures of the people to search for, whom it has not seen, by answer."""
        sets = ("--data", self.out / "target", "--reid", self.out / "judge", "--sheet", self.out / f"{form}-{seed}.png")
        return json.loads(do("generative", "score", self._generator(form, seed), *sets, "--json", jobs=self.jobs))[
            "scores"
        ]

    def _generator(self, form: str, seed: int) -> Path:
        return self.out / f"generator-{form}-{seed}"

    def _generated(self, form: str, per_image: int, seed: int) -> Path:
        return self.out / f"generated-{form}-{per_image}-{seed}"

    def _train_row(self, size: Size, row: Row, folder: Path, seed: int) -> None:
        """Go on with a run to its end; one that is finished is left as it is."""
        target = self.out / "target"
        data = ["--data.real", target, "--evaluate.sets", target, "--start", self.out / "start"]
        if row.added is not None:
            data += [
                "--data.generated",
                self.out / "true" if row.added == "true" else self._generated(row.added, row.per_image, seed),
            ]
        losses = ["--losses.smoothing.real", 0, "--losses.smoothing.generated", row.epsilon]
        if row.alpha is None:
            losses += ["--losses.triplet-weight", 0, "--sampler.images-per-identity", "None"]
        else:
            losses += ["--losses.triplet-weight", 1, "--sampler.images-per-identity", 4]
            losses += ["--losses.margin.real", 1, "--losses.margin.generated", row.alpha]
        epochs = round(row.length * size.epochs / (1 + (row.per_image if row.added else 0))) or 1
        length = (*schedule(PRESETS[size.preset]().optimise, epochs), "--evaluate.every", epochs)
        options = (*data, *size.rows, *losses, *length, "--seed", seed)
        do("reid", "train", size.preset, "--out", folder, "--resume", *options, jobs=self.jobs)

    def _result(self, name: str) -> dict[str, Any]:
        """Scores of all seeds of a row."""
        last = [scores_of(self.out / f"{name}-{seed}")[-1] for seed in range(self.seeds)]
        return {
            "row": name,
            "beside": ALL_ROWS[name].beside,
            "mean_ap": [one["mean_ap"] for one in last],
            "rank1": [one["cmc"][0] for one in last],
        }


def generator_table(generators: Mapping[str, Sequence[Mapping[str, Mapping[str, float | None]]]]) -> str:
    """In Markdown: a line for each guider, and for the answers that draw nobody; a column for each score, mean and standard
    deviation over seeds."""
    first = next(iter(generators.values()))
    lines = {f"guider {form}": [scores["generated"] for scores in seeds] for form, seeds in generators.items()}
    lines |= {answer: [scores] for answer, scores in first[0].items() if answer != "generated"}
    names = [name for name, value in first[0]["generated"].items() if value is not None]
    told = [
        f"| {title} | {' | '.join(told_score([scores[name] for scores in seeds]) for name in names)} |"
        for title, seeds in lines.items()
    ]
    return "\n".join([f"| picture | {' | '.join(names)} |", "|---|" + "---|" * len(names), *told])


def told_score(values: Sequence[float]) -> str:
    """Mean, and of several their standard deviation."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {deviation(values):.3f}" if len(values) > 1 else mean
