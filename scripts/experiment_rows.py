"""What `experiment_semantics.py` compares: each row a preset with options, and the row that it must beat."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One network of a table."""

    preset: str
    options: tuple[str, ...] = ()
    """Of `python -m reid train`, besides those that all rows share."""
    beside: str | None = None
    """The row that it differs from in nothing but the method; None of a baseline."""
    pairs: tuple[int, int] | None = None
    """Batches of known people to batches of rendered pairs; None for no pairs."""
    draws: str = "texture"
    """What the network that it starts from has learned to draw (`model.reconstruct`)."""
    is_taught: bool = True
    """Whether it starts from the network that has learned to draw, where all rows of a size do; one that does not is for such
    sizes alone."""
    source: str = ""
    """Where the comparison was published."""


def _san(
    preset: str,
    *options: str,
    beside: str = "baseline",
    pairs: tuple[int, int] | None = None,
    draws: str = "texture",
    source: str = "SAN, table 1",
) -> Row:
    if draws != "texture":
        options = (*options, "--model.reconstruct", draws)
    return Row(preset=preset, options=options, beside=beside, pairs=pairs, draws=draws, source=source)


def _dsa(*options: str, beside: str = "dsa-two-branches", source: str = "DSA-reID, table 3") -> Row:
    return Row(preset="dsa", options=options, beside=beside, source=source)


def _parts(baseline: str, *options: str, source: str = "Part awareness, fig. 6") -> Row:
    preset = "gp-ps" if baseline == "gp-r50" else f"{baseline}-ps"
    return Row(preset=preset, options=options, beside=baseline, source=source)


_GLOBAL, _LOCAL = ("--model.branches", "global"), ("--model.branches", "local")
_MEAN = ("--model.constraint-distance", "mean")
_KEPT = "--augment.no-mirror-texture"
_GRANULARITY = "--model.part-head.granularity"
_STRUCTURE = "--model.part-head.structure"

ROWS: Mapping[str, Row] = {
    "baseline": Row(preset="baseline"),
    "baseline-untaught": Row(preset="baseline", beside="baseline", is_taught=False, source="what the start is worth"),
    "san-basic": _san("san-basic"),
    "san-tr": _san("san"),
    "san-tr-mean": _san("san", *_MEAN, source="L_TR of means over channels, as in the authors' code"),
    "san-pairs": _san("san-basic", pairs=(1, 1)),
    "san": _san("san", pairs=(1, 1)),
    "san-mean": _san("san", *_MEAN, pairs=(1, 1), source="L_TR of means over channels, as in the authors' code"),
    "san-basic-kept-texture": _san(
        "san-basic", _KEPT, beside="san-basic", source="flipped pictures keep their texture, as in SAN"
    ),
    "san-basic-x20": _san(
        "san-basic",
        *("--model.reconstruction-weight", "20"),
        source="L_Rec that moves the encoder as much as L_ID does",
    ),
    "san-input": _san("san-basic", draws="input", source="SAN, table 2"),
    "san-aligned": _san("san-basic", draws="aligned", source="SAN, table 2"),
    **{
        f"san-pairs-{a}-{b}": _san("san-basic", pairs=(a, b), source="SAN, table 5")
        for a, b in ((3, 1), (2, 1), (1, 2), (1, 3))
    },
    "dsa-two-branches": Row(preset="dsa-two-branches"),
    "dsa": _dsa(),
    "dsa-one-branch-global": Row(preset="dsa-two-branches", options=_GLOBAL),
    "dsa-global": _dsa(*_GLOBAL, beside="dsa-one-branch-global"),
    "dsa-one-branch-local": Row(preset="dsa-two-branches", options=_LOCAL),
    "dsa-local": _dsa(*_LOCAL, beside="dsa-one-branch-local"),
    "csa": _dsa("--model.guide", "cropped", source="DSA-reID, table 4"),
    "dsa-concatenate": _dsa("--model.fusion", "concatenate", source="DSA-reID, table 5"),
    "gp-r50": Row(preset="gp-r50"),
    "gp-ps": _parts("gp-r50"),
    "pcb": Row(preset="pcb"),
    "pcb-ps": _parts("pcb"),
    "mgn": Row(preset="mgn"),
    "mgn-ps": _parts("mgn"),
    **{
        f"{baseline}-ps-{number}": _parts(baseline, _GRANULARITY, number, source="Part awareness, table VI")
        for baseline in ("pcb", "mgn")
        for number in ("1", "2", "4")
    },
    **{
        f"{baseline}-ps-{letter}": _parts(baseline, _STRUCTURE, letter, source="Part awareness, table VII")
        for baseline in ("pcb", "mgn")
        for letter in "abd"
    },
}
"""Name -> row."""
SMALL = ("baseline", "san-basic", "dsa-two-branches", "dsa", "gp-r50", "gp-ps")
"""Rows of size small by default: each method beside its baseline."""
