"""`python -m reid report RUN`, under `accelerate launch` to embed on several GPUs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reid.checkpoint import Which
from reid.evaluate import places_to_score
from reid.report.found import find
from reid.report.history import history
from reid.report.page import render_page
from reid.report.section import Section, make_section
from reid.setup import open_run
from shards.console import write_json, write_text
from shards.writer import atomic_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Write one HTML page that shows how a run went and what its network finds."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run of `python -m reid train`."""
    data: tuple[str, ...] = ()
    """Folders or URLs of shards with query and gallery; by default what the run was scored on."""
    curves_only: bool = False
    """Leave the sets out: curves and configuration alone, where the pictures are not at hand."""
    out: Path | None = None
    """Page to write; by default report.html in the folder of the run."""
    checkpoint: Which | None = None
    """By default the best, where there is one."""
    json: bool = False
    """Write JSON to stdout; scores are 0..1."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.curves_only and self.data:
            raise ValueError(
                f"--curves-only leaves the sets out, got --data {' '.join(self.data)}: give one of the two"
            )
        run, accelerator = open_run(self.folder, self.checkpoint)
        places = () if self.curves_only else self.data or places_to_score(run.config)
        sections: list[Section] = []
        for place in places:
            found = find(run, place, accelerator)
            if accelerator.is_main_process:
                sections.append(make_section(found, place))
        if accelerator.is_main_process:
            self._write(render_page(run, history(self.folder, run.config), sections), sections)
        return 0

    def _write(self, page: str, sections: list[Section]) -> None:
        out, data = self.out or self.folder / "report.html", page.encode()
        with atomic_file(out) as file:
            file.write(data)
        if self.json:
            scores = {section.place: section.scores.to_dict() for section in sections}
            write_json({"out": str(out), "bytes": len(data), "scores": scores})
        else:
            write_text(f"{self.folder} in {out}: {len(data) / 1e6:.1f} MB, {len(sections)} set(s)")
