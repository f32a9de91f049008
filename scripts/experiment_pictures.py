"""What the networks of the experiments draw, side by side: the pictures that stand beside their tables."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from generative.annotators.opened import open_annotator
from generative.device import own_device
from generative.drawable import MIN_JOINTS
from generative.report.annotator import draw_label
from generative.sets import spread
from generative.transfer.artist import Artist
from generative.transfer.run import load_transfer
from generative.transfer.scored_pairs import ScoreConfig, choose_pairs, known_rows, read_pair, read_real
from reid.fit import Label, fields_to_read, fit
from reid.models.texture_decoder import to_pixels
from shards.table import Table
from shards.writer import atomic_file

SIZE = (128, 64)
"""Height and width of a person."""
NUM_SHOWN = 6
"""People in a picture."""
GAP = 4
"""Pixels between pictures."""
QUALITY = 76


def draw_people(folder: Path, forms: Sequence[str]) -> None:
    """`folder`/pictures.jpg: a row for each pair, somebody, the pose wanted, what a generator with each form of guider draws, of
    seed 0, and the truth."""
    table = Table(folder / "target")
    rows = known_rows(table)
    classes = np.unique(table.identities[rows], return_inverse=True)[1].astype(np.int64)
    is_posed = np.array([read_real(table, i, SIZE)[1] for i in rows.tolist()]) >= MIN_JOINTS
    targets, sources = choose_pairs(classes, is_posed, ScoreConfig(num_pairs=NUM_SHOWN), str(table.folder))
    runs = [load_transfer(folder / f"generator-{form}-0") for form in forms]
    artists = [Artist(run.folder, run.hash, None, "no", own_device()) for run in runs]
    size = artists[0].size
    pairs = [
        read_pair(table, target, source, size, SIZE)
        for target, source in zip(rows[targets].tolist(), rows[sources].tolist(), strict=True)
    ]
    appearance = torch.from_numpy(np.stack([pair.appearance for pair in pairs]))
    skeletons = artists[0].skeletons(torch.from_numpy(np.stack([pair.keypoints for pair in pairs])))
    drawn = [
        to_pixels(pictures).cpu().numpy() for pictures in (skeletons, *(a.draw(appearance, skeletons) for a in artists))
    ]
    save(
        folder / "pictures.jpg",
        [[pair.source, *(pictures[i] for pictures in drawn), pair.target] for i, pair in enumerate(pairs)],
    )


def draw_style(folder: Path) -> None:
    """`folder`/style.jpg: a row of people as they were rendered, the same restyled, and others of the look wanted."""
    rows = []
    for name in ("pairs", "restyled", "look"):
        table = Table(folder / name)
        rows.append([table.read(i, ["image"])["image"] for i in spread(len(table), NUM_SHOWN)])
    save(folder / "style.jpg", rows)


def draw_labels(folder: Path, labels: Sequence[Label], taught: str) -> None:
    """`folder`/pictures.jpg: a row for each of some samples, the picture, and for each label the true one and that of the
    annotator which learned from the sets `taught`."""
    table = Table(folder / "test")
    chosen = spread(len(table), NUM_SHOWN)
    rows = [[table.read(i, ["image"])["image"]] for i in chosen]
    for label in labels:
        annotator = open_annotator(folder / f"{label}-{taught}")
        fields = fields_to_read(annotator.input, [label])
        arrays = [fit(table.read(i, fields), annotator.input, [label]) for i in chosen]
        found = annotator.annotate(torch.from_numpy(np.stack([one["image"] for one in arrays]))).values.cpu().numpy()
        for row, one, values in zip(rows, arrays, found, strict=True):
            row += [draw_label(label, truth, one["image"]) for truth in (one[label], values)]
    textures = [1 + 2 * place + i for place, label in enumerate(labels) if label == "texture" for i in range(2)]
    save(folder / "pictures.jpg", rows, squares=textures)


def save(path: Path, rows: Sequence[Sequence[np.ndarray]], *, squares: Collection[int] = ()) -> None:
    """Write pictures (h, w, 3) uint8 in rows, all stretched to the size of a person but those in the columns `squares`."""
    height, width = SIZE
    widths = [height if x in squares else width for x in range(len(rows[0]))]
    lefts = [sum(widths[:x]) + x * GAP for x in range(len(widths))]
    sheet = Image.new("RGB", (lefts[-1] + widths[-1], len(rows) * (height + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for left, wide, picture in zip(lefts, widths, row, strict=True):
            tile = Image.fromarray(picture).resize((wide, height), Image.Resampling.LANCZOS)
            sheet.paste(tile, (left, y * (height + GAP)))
    with atomic_file(path) as file:
        sheet.save(file, "JPEG", quality=QUALITY)
