"""Pack, look at and unpack sets of shards: python -m shards pack|info|verify|sheet|unpack; info and sheet take URLs too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from shards.cache import local_copy
from shards.codec import encode_png
from shards.console import main, progress_bar, write_json, write_text
from shards.convert.commands import Pack, Unpack
from shards.errors import ShardError
from shards.info import format_info, set_info
from shards.manifest import read_manifest
from shards.remote import is_url
from shards.schema import Sample
from shards.sheet import choose_identities, draw_identities, draw_sheet
from shards.table import Table
from shards.verify import verify_set
from shards.writer import atomic_file

Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|URL")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """Statistics: samples by origin, data set, split, identity and camera; members, bytes, config, licences, speed."""

    source: Source
    """Folder with a manifest.json, or a URL of one, which is copied into the cache first."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        info = set_info(_local(self.source))
        if self.json:
            write_json(info)
        else:
            write_text(format_info(info))
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify:
    """Check every hash, decode every member, compare every count; name shard, key and field of all that is wrong."""

    folder: Annotated[str, tyro.conf.Positional]
    """Folder with a manifest.json."""
    workers: int = 1
    """Processes."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code: 1 if anything is wrong."""
        if is_url(self.folder):
            raise ValueError(
                f"verify checks folders, got {self.folder}: `python -m shards info` copies a set behind a URL, checks the "
                "hash of every shard and names the folder of the copy, which can be verified"
            )
        folder = Path(self.folder)
        with progress_bar("verify", _num_samples(folder)) as progress:
            result = verify_set(folder, num_workers=self.workers, progress=progress)
        if self.json:
            faults = [{"shard": f.shard, "key": f.key, "field": f.field, "rule": f.rule} for f in result.faults]
            write_json({"num_shards": result.num_shards, "num_samples": result.num_samples, "faults": faults})
        else:
            for fault in result.faults:
                write_text(f"fault: {fault}")
            outcome = f"{len(result.faults):,} faults" if result.faults else "all is well"
            write_text(f"{result.num_shards:,} shards, {result.num_samples:,} samples: {outcome}")
        return 1 if result.faults else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Draw a contact sheet: samples spread evenly over the set, or identities, each one's pictures of all cameras in a row."""

    source: Source
    """Folder with a manifest.json, or a URL of one, which is copied into the cache first."""
    out: Path = Path("sheet.png")
    """Picture to write."""
    by: Literal["sample", "identity"] = "sample"
    """What is one item of the sheet."""
    keys: tuple[str, ...] = ()
    """The samples to show, in this order, in place of some spread evenly."""
    num: int | None = None
    """Samples on it (16), or identities (12)."""
    columns: int | None = None
    """Samples per row (2), or pictures of an identity (10)."""
    compact: bool = False
    """Pictures only, without the labels, which identities are shown without."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.keys and (self.by != "sample" or self.num is not None):
            raise ValueError("--keys says which samples are shown: leave out --by identity and --num")
        table = Table(_local(self.source))
        match self.by:
            case "sample":
                num, columns = _default(self.num, 16), _default(self.columns, 2)
                shown = np.linspace(0, len(table) - 1, min(num, len(table))).astype(int).tolist()
                shown = _places(table, self.keys) if self.keys else shown
                sheet = draw_sheet([table[i] for i in shown], columns=columns, compact=self.compact)
                told = f"{len(shown)} people"
            case "identity":
                num, columns = _default(self.num, 12), _default(self.columns, 10)
                rows = choose_identities(table.identities, table.camera_ids, num=num, per_identity=columns)
                sheet = draw_identities([_identity_row(table, row) for row in rows])
                shown = [i for row in rows for i in row]
                told = f"{len(rows)} identities, {len(shown)} pictures,"
        with atomic_file(self.out) as file:
            file.write(encode_png(sheet, level=6))
        if self.json:
            write_json({"out": str(self.out), "keys": [str(table.keys[i]) for i in shown]})
        else:
            write_text(f"{told} in {self.out}")
        return 0


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _places(table: Table, keys: Sequence[str]) -> list[int]:
    """Numbers of the samples of these keys. Raises ValueError for one that is not there."""
    place_of = {key: i for i, key in enumerate(table.keys.tolist())}
    if missing := [key for key in keys if key not in place_of]:
        raise ValueError(f"--keys must be keys of samples in {table.folder}, got {missing[0]}")
    return [place_of[key] for key in keys]


def _identity_row(table: Table, indices: list[int]) -> tuple[str, list[tuple[str, Sample]]]:
    """Title, and (caption, sample) of each picture, of one identity."""
    cameras = table.camera_ids[indices].tolist()
    captions = ["camera unknown" if camera < 0 else f"camera {camera}" for camera in cameras]
    title = f"{table.identities[indices[0]]}: {len(set(cameras))} cameras, {len(indices)} pictures shown"
    return title, [(caption, table[i]) for caption, i in zip(captions, indices, strict=True)]


def _local(source: str) -> Path:
    """The folder of a set, which is a copy where `source` is a URL."""
    if not is_url(source):
        return Path(source)
    with progress_bar("copy", None) as progress:
        return local_copy(source, progress=progress)


def _num_samples(folder: Path) -> int | None:
    try:
        manifest = read_manifest(folder)
    except ShardError:
        return None  # `verify` itself reports what is wrong with it
    return manifest.num_samples if manifest.complete else None


def cli() -> int:
    """Parse the command line and run the command; returns the exit code."""
    command = tyro.cli(Pack | Info | Verify | Sheet | Unpack, prog="python -m shards", description=__doc__)
    return command.run()


if __name__ == "__main__":
    main(cli)
