"""`python -m generative annotate RUN --data SET --out SET2`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from generative.annotators.annotate import annotate, confidences, open_source
from generative.annotators.opened import open_annotator
from generative.device import default_workers
from generative.report.labelled import render_page
from reid.config import Precision
from shards.console import progress_bar, write_json, write_text
from shards.writer import atomic_file

NUM_LEAST = 8
"""Samples named as the least confident."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotate:
    """Write a set once more, with the label that an annotator draws; all else stays as it is, byte for byte."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m generative train`."""
    data: str
    """Folder or URL of the shards to label."""
    out: Path
    """Folder for the labelled shards; running the same command again goes on where it stopped."""
    batch_size: int = 64
    """Pictures labelled at once."""
    workers: int | None = None
    """Processes, which take the GPUs in turn; by default one for each GPU, or without one for each core."""
    precision: Precision | None = None
    """By default as the run was trained: auto, no, fp16 or bf16."""
    replace: bool = False
    """Write the label anew where the set has it."""
    report: Path | None = None
    """An HTML page to be written that shows pictures beside their labels, and how sure the annotator was."""
    overwrite: bool = False
    """Remove the set in OUT, shards that this command finished among them, and begin anew."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        annotator = open_annotator(self.folder, precision=self.precision)
        source = open_source(self.data, annotator.label, self.out, replace=self.replace)
        with progress_bar("annotate", source.num_samples) as progress:
            annotate(
                annotator,
                self.data,
                source,
                self.out,
                batch_size=self.batch_size,
                num_workers=default_workers() if self.workers is None else self.workers,
                replace=self.replace,
                overwrite=self.overwrite,
                progress=progress,
            )
        found = confidences(self.out, annotator.label)
        if self.report is not None:
            page = render_page(annotator, self.data, self.out, [confidence for confidence, _ in found])
            with atomic_file(self.report) as file:
                file.write(page.encode())
        report = {
            "out": str(self.out),
            "label": annotator.label,
            "num_samples": source.num_samples,
            "num_shards": source.num_shards,
            "network": annotator.name,
            "checkpoint_sha256": annotator.hash,
            "mean_confidence": sum(confidence for confidence, _ in found) / len(found),
            "least_confident": [{"key": key, "confidence": sure} for sure, key in sorted(found)[:NUM_LEAST]],
        }
        if self.json:
            write_json(report)
        else:
            write_text(_told(report))
        return 0


def _told(report: dict[str, Any]) -> str:
    """The report for people."""
    least = report["least_confident"]
    return "\n".join(
        [
            f"{report['num_samples']:,} samples in {report['num_shards']:,} shards in {report['out']} have {report['label']} by "
            f"{report['network']}",
            f"confidence: mean {report['mean_confidence']:.3f}, least "
            + ", ".join(f"{one['confidence']:.3f} ({one['key']})" for one in least),
            f"to see these: python -m shards sheet {report['out']} --keys {' '.join(one['key'] for one in least)}",
        ]
    )
