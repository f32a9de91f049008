"""`python -m generative score RUN --data RENDERED --reid RUN2`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from generative.device import autocast_of, own_device
from generative.transfer.artist import Artist
from generative.transfer.evaluate import (
    ANSWERS,
    HIGHER_IS_BETTER,
    Judges,
    ShownPair,
    TransferEvaluation,
    evaluate_transfer,
)
from generative.transfer.guider import load_guider
from generative.transfer.perceptual import Inception, Lpips
from generative.transfer.run import TransferRun, load_transfer
from generative.transfer.scored_pairs import ScoreConfig
from reid.checkpoint import read_checkpoint, which_checkpoint
from shards.build import file_sha256
from shards.console import progress_bar, write_json, write_text
from shards.errors import ShardError
from shards.meta import Meta
from shards.remote import manifest_of
from shards.schema import Sample
from shards.sheet import draw_identities
from shards.table import Table
from shards.writer import atomic_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Score the pictures of a pose-transfer run against the true ones, which rendered people have in every pose, beside two
    answers that draw nobody: the picture given, as it is, and the mean of all pictures."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m generative train pose-transfer`."""
    data: str
    """Folder or URL of shards with identities and keypoints, of people that the run was not trained on. With iuv or parts
    people are compared without what stands around them, too."""
    reid: Path
    """Folder of a run of `python -m reid train` that says whose a picture looks most like, and gives the features of
    reid_frechet_distance. The run's own guider, and a run that learned from a set of `data.generated` that it drew, are refused."""
    config: Annotated[ScoreConfig, tyro.conf.arg(name="")] = field(default_factory=ScoreConfig)
    lpips: tuple[Path, Path] | None = None
    """Two files of weights, for LPIPS: torchvision's alexnet-owt-7be5be79.pth, and weights/v0.1/alex.pth of the package lpips."""
    inception: Path | None = None
    """File of weights, torchvision's inception_v3_google-0cc3c7bd.pth, for inception_fid, which compares with distances by this
    very file alone."""
    sheet: Path | None = None
    """PNG to write: pairs with source, skeleton, generated and true picture."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise ValueError(f"a sheet is a .png file, got {self.sheet}")
        run, table = load_transfer(self.folder), Table(self.data)
        self._check_independent(run)
        artist = Artist(self.folder, run.hash, None, autocast_of(self.config.precision), own_device())
        judges = Judges(
            reid=load_guider(self.reid).to(artist.device),
            lpips=None if self.lpips is None else Lpips(*self.lpips).to(artist.device),
            inception=None if self.inception is None else Inception(self.inception).to(artist.device),
        )
        with progress_bar("score", None, unit="pictures") as progress:
            found = evaluate_transfer(artist, table, judges, self.config, progress=progress)
        if self.sheet is not None:
            with atomic_file(self.sheet) as file:
                Image.fromarray(_sheet(found.shown)).save(file, "PNG")
        if self.json:
            write_json(self._report(found, run.hash))
        else:
            write_text(self._table(found))
        return 0

    def _check_independent(self, run: TransferRun) -> None:
        """Raises ValueError where the judge is the run's own guider, or learned from pictures that the run drew, as far as
        these sets are still where they were."""
        judge = which_checkpoint(self.reid)
        if not judge.is_file():
            return  # `load_guider` will say so
        if file_sha256(judge) in run.provenance:
            raise ValueError(
                f"{self.reid} is the guider of {self.folder}: it would find whom it taught the run to draw; give --reid another "
                "run, trained with another seed or network at the least"
            )
        state, *_ = read_checkpoint(judge)
        if own := [place for place in state.config.data.generated if _drawn_by(place) == run.hash]:
            raise ValueError(
                f"{self.reid} learned from {own[0]}, which {self.folder} drew, that its pictures show the right people; give "
                "--reid a run that was trained without them"
            )

    def _report(self, found: TransferEvaluation, run_hash: str) -> dict[str, object]:
        return {
            "data": self.data,
            "num_pairs": found.num_pairs,
            "num_people": found.num_people,
            "num_skipped": found.num_skipped,
            "size": list(found.size),
            "checkpoint_sha256": run_hash,
            "reid_sha256": file_sha256(which_checkpoint(self.reid)),
            "scores": found.scores,
        }

    def _table(self, found: TransferEvaluation) -> str:
        """Scores for people."""
        height, width = found.size
        lines = [
            f"{self.data}: {found.num_pairs:,} pairs of {found.num_people:,} people, compared at {height} x {width}; "
            f"{found.num_skipped:,} pictures are no targets",
            " " * 26 + "".join(f"{answer:>12}" for answer in ANSWERS),
        ]
        for name, is_higher in HIGHER_IS_BETTER.items():
            values = [found.scores[answer][name] for answer in ANSWERS]
            if any(value is not None for value in values):
                title = f"{name.replace('_', ' ')} {'↑' if is_higher else '↓'}"
                lines.append(f"{title:<26}" + "".join(f"{value:>12.4f}" for value in values))
        return "\n".join(lines if self.sheet is None else [*lines, f"pictures in {self.sheet}"])


def _drawn_by(place: str) -> str | None:
    """Hash of the run that drew a generated set; None where that cannot be told."""
    try:
        return manifest_of(place).config.get("model")
    except (OSError, ShardError):
        return None


def _sheet(shown: tuple[ShownPair, ...]) -> np.ndarray:
    """(H, W, 3) uint8: a row for each pair."""
    meta = Meta(origin="real", dataset="score")  # a tile needs one
    rows = []
    for pair in shown:
        pictures = {"source": pair.source, "skeleton": pair.skeleton, "generated": pair.generated, "truth": pair.truth}
        tiles = [(name, Sample(key="picture", image=image, meta=meta)) for name, image in pictures.items()]
        rows.append((f"{pair.source_key} as {pair.target_key}", tiles))
    return draw_identities(rows)
