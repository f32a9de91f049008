"""Write one HTML page that shows what `scripts/demo.sh` made of rendered people: a set in a real layout with the labels
that networks wrote into it, another in its look, its people in other poses, and what reID gains from them.

    python scripts/demo_generative.py out/demo --out out/demo/generative.html

The page stands alone: pictures inside, no scripts, nothing loaded from elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import tyro
from jinja2 import ChoiceLoader, FileSystemLoader

from generative.annotators.evaluate import PREDICTORS, Evaluation
from generative.report.annotator import Compared, score_rows
from generative.sets import spread
from generative.transfer.evaluate import ANSWERS, HIGHER_IS_BETTER
from generative.transfer.skeleton import draw_skeletons
from reid.dataset import are_known
from reid.fit import Label
from reid.journal import read_metrics
from reid.report.charts import Chart, Curve, line_chart
from reid.report.page import page_environment
from reid.report.pictures import Picture, draw
from shards.console import main, write_text
from shards.manifest import package_version
from shards.sheet import choose_identities, draw_skeleton
from shards.table import Table
from shards.writer import atomic_file

TEMPLATE = Path(__file__).with_suffix(".html.jinja")
LABELS: tuple[Label, ...] = ("texture", "keypoints")
"""What the networks write, each a run of that name."""
NUM_ANNOTATED, NUM_RESTYLED, NUM_WANTED, NUM_MOVED = 8, 12, 12, 12
"""Samples shown with their labels, in both looks, of the look wanted, and with the picture and pose that they were drawn from."""
NUM_PEOPLE, NUM_REAL, NUM_GENERATED = 6, 4, 8
"""People shown as they were and as they were drawn, and pictures of each."""
LARGE, SMALL = 176, 132
"""Height of a picture, pixels: of two or three in a row, and of more."""


class Scores(NamedTuple):
    """A table on the page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody's pictures."""

    name: str
    real: tuple[Picture, ...]
    generated: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sets:
    """The sets that the page shows."""

    street: Table
    """Rendered people with the truth about them."""
    labelled: Table
    """The same pictures in a real layout, with the labels that networks wrote."""
    rendered: Table
    restyled: Table
    """The rendered set in the look of the real one."""
    generated: Table
    """The real people in other poses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoGenerative:
    """Write one HTML page that shows the generative part of the demo."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder in which `scripts/demo.sh` has run."""
    out: Path = Path("generative.html")
    """Page to write."""
    commands: Path | None = None
    """Text file with the commands that made it, one a line."""

    def run(self) -> int:
        """Returns the exit code. Raises FileNotFoundError where the demo has not come so far, OSError."""
        commands = [] if self.commands is None else self.commands.read_text(encoding="utf-8").splitlines()
        page = render_page(self.folder, commands)
        with atomic_file(self.out) as file:
            file.write(page.encode())
        write_text(f"{self.folder} in {self.out}: {len(page) / 1e6:.1f} MB")
        return 0


def render_page(folder: Path, commands: Sequence[str]) -> str:
    """The page as HTML."""
    sets = Sets(
        street=Table(folder / "street"),
        labelled=Table(folder / "real-labelled"),
        rendered=Table(folder / "market"),
        restyled=Table(folder / "market-restyled"),
        generated=Table(folder / "generated"),
    )
    environment = page_environment()
    environment.loader = ChoiceLoader([environment.loader, FileSystemLoader(TEMPLATE.parent)])
    return environment.get_template(TEMPLATE.name).render(
        sets=sets,
        num_people=len(set(sets.labelled.identities[are_known(sets.labelled.identities)].tolist())),
        cameras=len(set(sets.labelled.camera_ids.tolist())),
        annotated=show_annotated(sets),
        annotator_scores=[annotator_scores(folder / f"{label}.json", label) for label in LABELS],
        restyled=show_restyled(sets),
        wanted=[
            crop(sets.labelled, i, "real")
            for i in some(np.flatnonzero(are_known(sets.labelled.identities)), NUM_WANTED)
        ],
        moved=show_moved(sets),
        transfer_scores=transfer_scores(folder / "transfer.json"),
        people=show_people(sets),
        reid_scores=reid_scores(
            {
                "real alone": folder / "guider",
                "real and rendered": folder / "judge",
                "real, restyled and generated": folder / "run",
            }
        ),
        charts=[chart for name in (*LABELS, "style", "transfer") for chart in curves(folder / name, name)],
        commands=commands,
        version=package_version(),
    )


def show_annotated(sets: Sets) -> list[Compared]:
    """Samples of the real layout with the labels that networks wrote, each beside the true one."""
    truths, shown = same_pictures(sets.labelled, sets.street), []
    for i in some(np.flatnonzero(are_known(sets.labelled.identities)), NUM_ANNOTATED):
        ours, truth = (
            table.read(j, ("image", "texture", "meta")) for table, j in ((sets.labelled, i), (sets.street, truths[i]))
        )
        sure = {label: ours["meta"].annotators[label]["confidence"] for label in LABELS}
        pixels = {
            "picture": ours["image"],
            f"texture {sure['texture']:.2f}": ours["texture"],
            "true texture": truth["texture"],
            f"keypoints {sure['keypoints']:.2f}": draw_skeleton(ours["image"], ours["meta"].keypoints),
            "true keypoints": draw_skeleton(truth["image"], truth["meta"].keypoints),
        }
        shown.append(compared(ours["key"], pixels, SMALL))
    return shown


def same_pictures(some: Table, others: Table) -> list[int]:
    """The number in `others` of each sample of `some`, found by the bytes of its picture. Raises KeyError for one that is not
    there."""
    numbers = {others.read_members(i, ("image.jpg",))["image.jpg"]: i for i in range(len(others))}
    return [numbers[some.read_members(i, ("image.jpg",))["image.jpg"]] for i in range(len(some))]


def show_restyled(sets: Sets) -> list[Compared]:
    """People of the rendered set before and after; both sets have the same samples in the same order."""
    shown = []
    for i in some(np.flatnonzero(are_known(sets.restyled.identities)), NUM_RESTYLED):
        before, after = (table.read(i, ("image",)) for table in (sets.rendered, sets.restyled))
        pixels = {"rendered": before["image"], "restyled": after["image"]}
        shown.append(compared(after["key"], pixels, LARGE))
    return shown


def show_moved(sets: Sets) -> list[Compared]:
    """Generated samples, each with the picture that it was drawn from and the pose that it was drawn in."""
    sources, shown = {key: i for i, key in enumerate(sets.labelled.keys.tolist())}, []
    for i in spread(len(sets.generated), NUM_MOVED):
        values = sets.generated.read(i, ("image", "meta"))
        source = sets.labelled.read(sources[values["meta"].generated["source_key"]], ("image",))
        pixels = {"person": source["image"], "pose": skeleton(values), "drawn": values["image"]}
        shown.append(compared(values["key"], pixels, LARGE))
    return shown


def skeleton(values: Mapping[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8: the pose of a sample as the generator is given it, but of the shape of the sample's picture."""
    height, width = values["image"].shape[:2]
    size = max(height, width)
    square = draw_skeletons(torch.tensor([values["meta"].keypoints]), (height, width), size)[0].permute(1, 2, 0).numpy()
    return square[np.arange(height) * size // height][:, np.arange(width) * size // width]


def show_people(sets: Sets) -> list[Person]:
    """People who were generated: pictures of them, and drawn ones."""
    names = sets.generated.identities
    chosen = choose_identities(names, sets.generated.camera_ids, num=NUM_PEOPLE, per_identity=NUM_GENERATED)
    people = []
    for rows in chosen:
        name = str(names[rows[0]])
        theirs = some(np.flatnonzero(sets.labelled.identities == name), NUM_REAL)
        people.append(
            Person(
                name=name,
                real=tuple(crop(sets.labelled, i, "real") for i in theirs),
                generated=tuple(crop(sets.generated, i, "generated") for i in rows),
            )
        )
    return people


def crop(table: Table, i: int, kind: str) -> Picture:
    """The picture of sample `i`."""
    alt = f"{table.identities[i]}, {kind}: {table.keys[i]}"
    return draw(table.read(i, ("image",))["image"], SMALL, alt=alt, label=f"camera {table.camera_ids[i]}")


def compared(key: str, pixels: Mapping[str, np.ndarray], height: int) -> Compared:
    """Pictures (H, W, 3) uint8 side by side, by what is written beneath them."""
    pictures = [draw(array, height, alt=f"{label}: {key}", label=label) for label, array in pixels.items()]
    return Compared(key=key, pictures=tuple(pictures))


def some(rows: np.ndarray, num: int) -> list[int]:
    """`num` of `rows`, or all if there are fewer, in even steps."""
    return rows[spread(len(rows), num)].tolist()


def annotator_scores(path: Path, label: Label) -> Scores:
    """What `python -m generative evaluate --json` wrote of one set."""
    ((place, found),) = json.loads(path.read_text(encoding="utf-8")).items()
    evaluation = Evaluation(place=place, num_samples=found["num_samples"], scores=found["scores"], shown=())
    title = f"{label}, on {found['num_samples']:,} pictures of {place}"
    return Scores(title, PREDICTORS, tuple(score_rows(evaluation, label)))


def transfer_scores(path: Path) -> Scores:
    """What `python -m generative score --json` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (f"{name.replace('_', ' ')} {'↑' if is_higher else '↓'}", tuple(f"{value:.4f}" for value in values))
        for name, is_higher in HIGHER_IS_BETTER.items()
        if None not in (values := [found["scores"][answer][name] for answer in ANSWERS])
    ]
    title = f"{found['num_pairs']:,} pairs of {found['num_people']:,} people of {found['data']}"
    return Scores(title, ANSWERS, tuple(rows))


def reid_scores(runs: Mapping[str, Path]) -> Scores:
    """The last scores of runs, by what they were trained on, on the sets that the first of them was scored on."""
    last = {name: read_metrics(folder)[1][-1]["scores"] for name, folder in runs.items()}
    places = list(next(iter(last.values())))
    rows = tuple(
        (
            name,
            tuple(f"{value:.1%}" for place in places for value in (scores[place]["mean_ap"], scores[place]["cmc"][0])),
        )
        for name, scores in last.items()
    )
    return Scores(f"on {', '.join(places)}", ("mAP", "rank-1") * len(places), rows)


def curves(folder: Path, name: str) -> Iterable[Chart]:
    """A chart for each loss of a run."""
    steps, _ = read_metrics(folder)
    at = {"epoch", "step", "total_steps", "learning_rate"}
    for loss in dict.fromkeys(key for line in steps for key in line if key not in at):
        found = [(line["total_steps"], line[loss]) for line in steps if loss in line]
        x, y = np.array(found, np.float64).T
        yield line_chart(f"{name}: {loss.replace('_', ' ')}", [Curve(name=loss, x=x, y=y)], x_name="step", smooth=True)


if __name__ == "__main__":
    main(lambda: tyro.cli(DemoGenerative, prog="python scripts/demo_generative.py").run())
