"""`python -m generative restyle RUN --data SET --out SET2`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from generative.device import default_workers
from generative.report.style import render_page
from generative.style.restyle import restyle
from generative.style.run import load_style
from reid.config import Precision
from shards.console import progress_bar, write_json, write_text
from shards.remote import manifest_of
from shards.writer import atomic_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Restyle:
    """Write a set once more, its pictures in the look of another; labels, keys and order stay as they are, byte for byte."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m generative train style`."""
    data: str
    """Folder or URL of the shards whose look is to change."""
    out: Path
    """Folder for the restyled shards; running the same command again goes on where it stopped."""
    batch_size: int = 64
    """Pictures drawn at once."""
    workers: int | None = None
    """Processes, which take the GPUs in turn; by default one for each GPU, or without one for each core."""
    precision: Precision | None = None
    """By default as the run was trained: auto, no, fp16 or bf16."""
    quality: int = 95
    """Of JPEG, 90..100."""
    report: Path | None = None
    """An HTML page to be written that shows pictures before and after, and some of the look wanted, side by side."""
    overwrite: bool = False
    """Remove the set in OUT, shards that this command finished among them, and begin anew."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        run = load_style(self.folder)
        with progress_bar("restyle", manifest_of(self.data).num_samples) as progress:
            manifest = restyle(
                run,
                self.data,
                self.out,
                batch_size=self.batch_size,
                precision=self.precision,
                quality=self.quality,
                num_workers=default_workers() if self.workers is None else self.workers,
                overwrite=self.overwrite,
                progress=progress,
            )
        if self.report is not None:
            page = render_page(run, self.data, self.out)
            with atomic_file(self.report) as file:
                file.write(page.encode())
        if self.json:
            write_json(
                {
                    "out": str(self.out),
                    "num_samples": manifest.num_samples,
                    "num_shards": manifest.num_shards,
                    "checkpoint_sha256": run.hash,
                }
            )
        else:
            write_text(
                f"{manifest.num_samples:,} pictures in {manifest.num_shards:,} shards in {self.out} have the look of "
                f"{', '.join(run.config.target)}"
            )
        return 0
