"""The commands `pack` and `unpack`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from shards.console import progress_bar, write_json, write_text
from shards.convert.layouts import LayoutName, Listing, list_pictures
from shards.convert.pack import pack
from shards.convert.unpack import NUMBERS, unpack_market1501
from shards.manifest import read_complete_manifest
from shards.meta import DISTRACTOR, JUNK

MAX_LISTED = 20
"""Files passed over that are named in a report for people; `--json` names all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """Pack a real data set, laid out as its authors give it, into shards."""

    layout: Annotated[LayoutName, tyro.conf.Positional]
    """Which data set's layout."""
    src: Annotated[Path, tyro.conf.Positional]
    """The data set's folder."""
    dst: Annotated[Path, tyro.conf.Positional]
    """Folder for the shards."""
    samples_per_shard: int = 1000
    """Pictures in a shard."""
    dataset: str | None = None
    """Name of the data set, part of every identity; by default the layout's, for `folder` the name of SRC."""
    licence: str | None = None
    """What the pictures may be used under; by default what is known of the layout's own data set."""
    skip_malformed: bool = False
    """Pass over files that do not fit the layout; they are counted and listed."""
    min_side: int = 0
    """Pass over pictures whose shorter side has fewer pixels; they are counted and listed. `generative` wants 32."""
    workers: int = 1
    """Processes."""
    overwrite: bool = False
    """Remove the set in DST, shards that this command finished among them, and begin anew."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.min_side < 0:
            raise ValueError(f"min-side must be >= 0, got {self.min_side}")
        listing = list_pictures(
            self.layout,
            self.src,
            dataset=self.dataset,
            licence=self.licence,
            skip_malformed=self.skip_malformed,
            min_side=self.min_side,
        )
        with progress_bar("pack", len(listing.pictures)) as progress:
            manifest = pack(
                self.layout,
                self.src,
                self.dst,
                listing,
                samples_per_shard=self.samples_per_shard,
                num_workers=self.workers,
                overwrite=self.overwrite,
                progress=progress,
            )
        report = {
            "out": str(self.dst),
            "num_shards": manifest.num_shards,
            **manifest.totals(),
            **count_pictures(listing),
            "malformed": [one._asdict() for one in listing.malformed],
            "licence": listing.licence,
        }
        if self.json:
            write_json(report)
        else:
            write_text(_packed(report))
        return 0


def count_pictures(listing: Listing) -> dict[str, Any]:
    """Identities, cameras, junk and distractors of a listing."""
    identities = Counter(picture.identity for picture in listing.pictures)
    return {
        "num_junk": identities.pop(JUNK, 0),
        "num_distractors": identities.pop(DISTRACTOR, 0),
        "num_unlabelled": identities.pop(None, 0),
        "num_identities": len(identities),
        "num_cameras": len({picture.camera_id for picture in listing.pictures} - {None}),
    }


def _packed(report: dict[str, Any]) -> str:
    """The report for people."""
    counts = ", ".join(f"{split} {number:,}" for split, number in report["splits"].items())
    lines = [
        f"{report['num_samples']:,} samples in {report['num_shards']:,} shards in {report['out']}: {counts}; "
        f"{report['num_identities']:,} identities, {report['num_cameras']:,} cameras, {report['num_junk']:,} junk, "
        f"{report['num_distractors']:,} distractors",
        report["licence"],
    ]
    malformed = report["malformed"]
    if malformed:
        lines.append(f"passed over {len(malformed):,} files:")
        lines += [f"  {one['file']}: {one['rule']}" for one in malformed[:MAX_LISTED]]
    if len(malformed) > MAX_LISTED:
        lines.append(f"  and {len(malformed) - MAX_LISTED:,} more, which --json lists")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpack:
    """Write the pictures of a set as files that other reID tools read."""

    src: Annotated[Path, tyro.conf.Positional]
    """Folder with a manifest.json."""
    dst: Annotated[Path, tyro.conf.Positional]
    """New folder to write."""
    layout: Literal["market1501"] = "market1501"
    """The layout of DST."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        with progress_bar("unpack", read_complete_manifest(self.src).num_samples) as progress:
            done = unpack_market1501(self.src, self.dst, progress=progress)
        made = [name for name in ("identities", "cameras") if not getattr(done, name).are_own]
        if self.json:
            write_json({"out": str(self.dst), "num_pictures": done.num_pictures, "numbered_anew": made})
        else:
            counts = ", ".join(f"{folder} {number:,}" for folder, number in done.num_pictures.items())
            why = f"; {' and '.join(made)} were numbered anew, see {NUMBERS}" if made else ""
            write_text(f"{sum(done.num_pictures.values()):,} pictures in {self.dst}: {counts}{why}")
        return 0
