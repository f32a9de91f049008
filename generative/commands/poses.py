"""`python -m generative poses SOURCE --data SET --out SET2`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from generative.poses.coco import open_coco
from generative.poses.openpifpaf import open_openpifpaf
from generative.poses.predictions import open_predictions
from generative.poses.rtm import Device, open_rtm
from generative.poses.source import PoseSource
from generative.poses.write import count_nobody, write_poses
from shards.console import progress_bar, write_json, write_text
from shards.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Poses:
    """Write the keypoints that another program found into a set: everything else stays as it is, byte for byte."""

    data: str
    """Folder or URL of shards."""
    out: Path
    """Folder for the set with keypoints."""
    source: Annotated[Path | None, tyro.conf.Positional] = None
    """A folder of OpenPifPaf's *.predictions.json, a COCO keypoint file (.json), or a network for rtmlib (.onnx, extra pose)."""
    openpifpaf: Path | None = None
    """In place of SOURCE: the Python interpreter of an environment that has openpifpaf, which is run on every picture."""
    checkpoint: str = "shufflenetv2k16"
    """Of openpifpaf: a name that it knows, or a file."""
    long_edge: int | None = None
    """Of openpifpaf: pixels that a picture's longer side is resized to. Small pictures are best enlarged."""
    threshold: float = 0.3
    """Joints of less confidence are unknown. COCO's files have no confidences."""
    device: Device = "cpu"
    """Of rtmlib's network."""
    skip_missing: bool = False
    """Give samples that the files do not tell of no person; they are counted. Else they are an error."""
    replace: bool = False
    """Write over keypoints that samples have already."""
    workers: int = 1
    """Processes."""
    overwrite: bool = False
    """Remove the set in OUT, shards that this command finished among them, and begin anew."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        table = Table(self.data)
        source, settings = self._open(table.keys.tolist())
        with progress_bar("poses", len(table)) as progress:
            write_poses(
                table,
                source,
                self.out,
                settings=settings,
                replace=self.replace,
                num_workers=self.workers,
                overwrite=self.overwrite,
                progress=progress,
            )
        counts = {
            "num_samples": len(table),
            "num_nobody": count_nobody(self.out),
            "num_missing": settings.get("num_missing", 0),
        }
        if self.json:
            write_json({"out": str(self.out), "source": source.name, **counts})
        else:
            write_text(
                f"{counts['num_samples']:,} samples in {self.out}, keypoints by {source.name}: nobody found in "
                f"{counts['num_nobody']:,}, of which the files do not tell of {counts['num_missing']:,}"
            )
        return 0

    def _open(self, keys: list[str]) -> tuple[PoseSource, dict[str, Any]]:
        """The source, and what of the settings fixes its answers."""
        if (self.source is None) == (self.openpifpaf is None):
            raise ValueError("keypoints come from one place: give either SOURCE or --openpifpaf PYTHON")
        confidence = {"threshold": self.threshold}
        if self.openpifpaf is not None:
            source = open_openpifpaf(
                self.openpifpaf, checkpoint=self.checkpoint, long_edge=self.long_edge, threshold=self.threshold
            )
            return source, confidence
        match self.source.suffix.lower():
            case ".onnx":
                return open_rtm(self.source, device=self.device, threshold=self.threshold), confidence
            case ".json":
                labelled = open_coco(self.source, keys, skip_missing=self.skip_missing)
                return labelled, {"num_missing": len(keys) - len(labelled.images)}
        if not self.source.is_dir():
            raise FileNotFoundError(f"SOURCE must be a folder, a .json or an .onnx file; found no folder {self.source}")
        found = open_predictions(self.source, keys, threshold=self.threshold, skip_missing=self.skip_missing)
        return found, {**confidence, "num_missing": len(keys) - len(found.files)}
