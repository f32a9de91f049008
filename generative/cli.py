"""Learn from shards, write shards: python -m generative COMMAND."""

import os
import sys
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
    """Parse the command line and run the command; returns the exit code. Raises ValueError for one that writes shards, or scores,
    in several processes of a launcher, each of which would do all, or a part, of it."""
    if sys.argv[1:2] != ["train"] and (num := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ValueError(
            f"this command is one process, which starts others with --workers, got {num} of a launcher: start it with "
            "python -m generative, and without WORLD_SIZE in its environment"
        )
    return dispatch("generative", COMMANDS, __doc__)
