"""Train, score and use networks that tell people apart: python -m reid COMMAND."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

COMMANDS: Mapping[str, str] = {
    "train": "Train",
    "evaluate": "Evaluate",
    "embed": "Embed",
    "score": "Score",
    "search": "Search",
    "report": "Report",
    "export": "Export",
}
"""Name -> class in `reid.commands.NAME`. Only the module asked for is imported: `score` needs no network."""


def cli() -> int:
    """Parse the command line and run the command; returns the exit code."""
    arguments = sys.argv[1:]
    name = arguments[0] if arguments else ""
    config = (tyro.conf.AvoidSubcommands,)
    if name in COMMANDS:
        kind, default = command(name, arguments[1:])
        about = kind.description(arguments[1:]) if hasattr(kind, "description") else None
        return tyro.cli(
            kind,
            args=arguments[1:],
            default=default,
            prog=f"python -m reid {name}",
            description=about,
            config=config,
        ).run()
    kinds = []
    for one in COMMANDS:
        kind, default = command(one, ())
        kinds.append(Annotated[kind, tyro.conf.subcommand(one, default=default)])
    return tyro.cli(reduce(or_, kinds), args=arguments, prog="python -m reid", description=__doc__).run()


def command(name: str, arguments: Sequence[str]) -> tuple[type, Any]:
    """The class of a command, and what its arguments are by default, as a whole or tyro's MISSING."""
    module = importlib.import_module(f"reid.commands.{name}")
    kind = getattr(module, COMMANDS[name])
    default = kind.default(arguments) if hasattr(kind, "default") else tyro.MISSING_NONPROP
    return kind, default
