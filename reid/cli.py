"""Train, score and use networks that tell people apart: python -m reid COMMAND."""

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        prog = f"python -m reid {name}"
        chosen = tyro.cli(kind, args=arguments[1:], default=default, prog=prog, description=about, config=config)
        with told_plainly():
            return chosen.run()
    kinds = []
    for one in COMMANDS:
        kind, default = command(one, ())
        kinds.append(Annotated[kind, tyro.conf.subcommand(one, default=default)])
    return tyro.cli(reduce(or_, kinds), args=arguments, prog="python -m reid", description=__doc__).run()


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn torch's errors of memory and of killed workers into ones that say what to do. Raises ValueError for them."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).partition("\n")[0]
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in words:
            raise ValueError(
                f"out of memory: {words.rstrip('.')}. A smaller sampler.batch-size, evaluate.batch-size or data.memory-gib takes less"
            ) from error
        if "DataLoader worker" in words:
            raise ValueError(
                f"a process that decodes has died: {words.rstrip('.')}. Fewer data.num-workers take less memory, 0 none"
            ) from error
        raise


def command(name: str, arguments: Sequence[str]) -> tuple[type, Any]:
    """The class of a command, and what its arguments are by default, as a whole or tyro's MISSING."""
    module = importlib.import_module(f"reid.commands.{name}")
    kind = getattr(module, COMMANDS[name])
    default = kind.default(arguments) if hasattr(kind, "default") else tyro.MISSING_NONPROP
    return kind, default
