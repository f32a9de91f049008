"""`python -m reid search RUN QUERY.jpg --gallery DATA`."""

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reid.checkpoint import Which
from reid.pictures import open_pictures
from reid.search import Match, draw_matches, is_searched, search
from reid.setup import check_alone, open_run
from shards.console import write_json, write_text
from shards.writer import atomic_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Find a person in a gallery: print and draw the pictures that are most like those given."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m reid train`."""
    query: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="QUERY.jpg ...")]
    """Picture of a person, cropped already; of several, which must show the same person, embeddings are averaged."""
    gallery: str
    """Folder or URL of shards (their gallery where they have one, else all), or a folder of pictures of people."""
    num: int = 10
    """Matches to find."""
    out: Path | None = None
    """Drawing to write, .png or .jpg; by default search.png in the folder of the run."""
    workers: int = 2
    """Processes, or threads, that decode."""
    checkpoint: Which | None = None
    """By default the best, where there is one."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        out = self.out or self.folder / "search.png"
        if out.suffix.lower() not in FORMATS:
            raise ValueError(f"a drawing is a .png or .jpg file, got --out {out}")
        if not self.query:
            raise ValueError("a search goes by at least one picture of a person, got none: search RUN QUERY.jpg")
        if missing := [path for path in self.query if not path.is_file()]:
            raise FileNotFoundError(f"a query is a picture of a person, found no file {missing[0]}")
        run, accelerator = open_run(self.folder, self.checkpoint)
        check_alone(accelerator)
        gallery = open_pictures(
            self.gallery,
            run.config.input,
            accelerator.device,
            num_workers=self.workers,
            wanted=is_searched,
            without=self.query,
        )
        matches = search(run, self.query, gallery, self.num, accelerator)
        drawing = io.BytesIO()
        draw_matches(self.query, matches, gallery).save(drawing, FORMATS[out.suffix.lower()], quality=92)
        with atomic_file(out) as file:
            file.write(drawing.getvalue())
        if self.json:
            found = [{"rank": k, **dataclasses.asdict(match)} for k, match in enumerate(matches, start=1)]
            write_json({"out": str(out), "metric": run.config.evaluate.metric, "matches": found})
        else:
            of = "" if len(self.query) == 1 else f", by the mean of {len(self.query)} embeddings"
            write_text(
                f"{format_matches(matches)}\n{len(matches)} of {len(gallery.keys):,} pictures{of}; drawn in {out}"
            )
        return 0


def format_matches(matches: list[Match]) -> str:
    """A small table for people."""
    rows = [("rank", "distance", "identity", "camera", "picture")]
    for rank, match in enumerate(matches, start=1):
        camera = "-" if match.camera_id is None else str(match.camera_id)
        rows.append((str(rank), f"{match.distance:.4f}", match.identity or "-", camera, match.key))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
