"""What a set holds, in numbers."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from shards.build import read_entries
from shards.manifest import read_manifest
from shards.meta import NOBODY
from shards.schema import MEMBERS
from shards.table import Table

NUM_TIMED = 256
"""Samples decoded to measure the reading rate."""


def set_info(folder: Path) -> dict[str, Any]:
    """Counts, config and licences of a set, and how fast this machine reads it, as JSON values.

    Of a set that is not complete: its config and how many of its shards are finished. Builds the table's index where
    there is none. Raises FileNotFoundError, ShardError.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    info: dict[str, Any] = {
        "folder": str(folder),
        "name": manifest.name,
        "complete": manifest.complete,
        "schema_version": manifest.schema_version,
        "package_version": manifest.package_version,
        "num_shards": manifest.num_shards,
        "config": manifest.config,
        "licences": list(manifest.licences),
    }
    if not manifest.complete:
        finished = [entry for entry in read_entries(folder, manifest) if entry is not None]
        num_samples = sum(entry.num_samples for entry in finished)
        return {**info, "num_shards_finished": len(finished), "num_samples": num_samples}
    table = Table(folder)
    labelled = table.identities != ""
    junk, distractor = (np.char.endswith(table.identities, end) for end in NOBODY)
    identities, per_identity = np.unique(table.identities[labelled & ~junk & ~distractor], return_counts=True)
    cameras, per_camera = np.unique(table.camera_ids[table.camera_ids >= 0], return_counts=True)
    info |= manifest.totals()
    info["num_identities"] = len(identities)
    info["num_junk"], info["num_distractors"] = int(junk.sum()), int(distractor.sum())
    info["num_unlabelled"] = int((~labelled).sum())
    info["samples_per_identity"] = _spread(per_identity)
    info["samples_per_camera"] = {int(c): int(n) for c, n in zip(cameras, per_camera, strict=True)}
    info["samples_per_s"] = _reading_rate(table)
    return info


def _spread(counts: np.ndarray) -> dict[str, float] | None:
    if not counts.size:
        return None
    return {"min": int(counts.min()), "median": float(np.median(counts)), "max": int(counts.max())}


def _reading_rate(table: Table) -> float:
    """Samples read and decoded, every field, per second, on one core: the median over blocks, the first left out."""
    indices = np.linspace(0, len(table) - 1, min(NUM_TIMED, len(table))).astype(int)
    rates = []
    for block in np.array_split(indices, 8):
        if block.size:
            start = time.perf_counter()
            for i in block:
                table[int(i)]
            rates.append(block.size / (time.perf_counter() - start))
    return round(float(np.median(rates[1:] or rates)), 1)


def format_info(info: dict[str, Any]) -> str:
    """`set_info`'s result as aligned lines of text."""
    lines = []
    for name, value in info.items():
        if isinstance(value, dict):
            value = _pairs(value)
        elif isinstance(value, list):
            value = "; ".join(map(str, value)) or "none"
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        elif name == "samples_per_s":
            value = f"{value:,} read and decoded on one core, of members {', '.join(MEMBERS)}"
        lines.append(f"{name.replace('_', ' '):<22}{value}")
    return "\n".join(lines)


def _pairs(values: dict[Any, Any]) -> str:
    return ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in values.items()
    )
