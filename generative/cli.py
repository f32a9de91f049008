"""Learn from shards, write shards: python -m generative COMMAND."""

from collections.abc import Mapping

from reid.cli import dispatch

COMMANDS: Mapping[str, str] = {
    "train": "Train",
    "annotate": "Annotate",
    "evaluate": "Evaluate",
    "poses": "Poses",
    "augment": "Augment",
    "restyle": "Restyle",
    "score": "Score",
}
"""Name -> class in `generative.commands.NAME`; only the module asked for is imported."""


def cli() -> int:
    """Parse the command line and run the command; returns the exit code."""
    return dispatch("generative", COMMANDS, __doc__)
