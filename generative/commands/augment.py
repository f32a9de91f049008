"""`python -m generative augment RUN --data REAL --poses SOURCE --out GENERATED`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from generative.device import default_workers
from generative.transfer.augment import GenerateConfig, augment, known_people
from shards.console import progress_bar, write_json, write_text
from shards.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """Generate pictures of a set's known people in the poses of another, as a set of shards of the origin "generated"."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m generative train pose-transfer`."""
    data: str
    """Folder or URL of shards of the people to be generated: those of the split "train" who are known."""
    poses: str
    """Folder or URL of shards with keypoints, whose poses they take: those of the split "train", or of none in sets that have none."""
    out: Path
    """Folder for the generated set."""
    config: Annotated[GenerateConfig, tyro.conf.arg(name="")] = field(default_factory=GenerateConfig)
    filter_run: Path | None = None
    """Run of `python -m reid train` on the same people: generated pictures in which it does not see the person with
    min-confidence are left out, and counted."""
    workers: int | None = None
    """Processes, which take the GPUs in turn; by default one for each GPU, or without one for each core."""
    overwrite: bool = False
    """Remove the set in OUT, shards that this command finished among them, and begin anew."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        data, poses = Table(self.data), Table(self.poses)
        num = sum(map(len, known_people(data)[0])) * self.config.per_image
        with progress_bar("augment", num, unit="images") as progress:
            done = augment(
                self.folder,
                data,
                poses,
                self.out,
                self.config,
                filter_run=self.filter_run,
                num_workers=default_workers() if self.workers is None else self.workers,
                overwrite=self.overwrite,
                progress=progress,
            )
        counts = {
            "num_samples": done.manifest.num_samples,
            "num_images": done.num_images,
            "num_skipped": done.num_skipped,
            "num_dropped": done.num_dropped,
        }
        if self.json:
            write_json({"out": str(self.out), **counts})
        else:
            write_text(
                f"{counts['num_samples']:,} pictures of {counts['num_images']:,} in {self.out}; {counts['num_skipped']:,} samples "
                f"that show nobody known were passed over, {counts['num_dropped']:,} pictures dropped by the filter"
            )
        return 0
