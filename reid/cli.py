"""Train, score and use networks that tell people apart: python -m reid COMMAND."""

import importlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    return dispatch("reid", COMMANDS, __doc__)


def dispatch(package: str, commands: Mapping[str, str], description: str) -> int:
    """Parse the command line of a package and run the command; returns the exit code.

    commands: name -> class in `PACKAGE.commands.NAME`.
    """
    arguments = sys.argv[1:]
    name = arguments[0] if arguments else ""
    config = (tyro.conf.AvoidSubcommands,)
    if name in commands:
        kind, default = command(package, name, commands[name], arguments[1:])
        about = kind.description(arguments[1:]) if hasattr(kind, "description") else None
        prog = f"python -m {package} {name}"
        chosen = tyro.cli(kind, args=arguments[1:], default=default, prog=prog, description=about, config=config)
        with told_plainly():
            return chosen.run()
    kinds = []
    for one, kind_name in commands.items():
        kind, default = command(package, one, kind_name, ())
        kinds.append(Annotated[kind, tyro.conf.subcommand(one, default=default)])
    return tyro.cli(reduce(or_, kinds), args=arguments, prog=f"python -m {package}", description=description).run()


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn torch's errors of memory and of killed workers into ones that say what to do. Raises ValueError for them."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).partition("\n")[0]
        if is_out_of_memory(error):
            raise ValueError(
                f"out of memory: {words.rstrip('.')}. Smaller batches (--batch-size, --optimise.batch-size, --sampler.batch-size, --evaluate.batch-size) or less --data.memory-gib take less"
            ) from error
        if "DataLoader worker" in words:
            raise ValueError(
                f"a process that decodes has died: {words.rstrip('.')}. Fewer data.num-workers take less memory, 0 none"
            ) from error
        raise


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch, whose CPU has no error of its own for it, could not have the memory it asked for."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def command(package: str, name: str, kind_name: str, arguments: Sequence[str]) -> tuple[type, Any]:
    """The class of a command, and what its arguments are by default, as a whole or tyro's MISSING."""
    kind = getattr(importlib.import_module(f"{package}.commands.{name}"), kind_name)
    default = kind.default(arguments) if hasattr(kind, "default") else tyro.MISSING_NONPROP
    return kind, default


def chosen_preset(arguments: Sequence[str], presets: Collection[str]) -> str | None:
    """The preset that arguments begin with; None where nothing, or help, is asked for. Raises ValueError for another word."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return None
    if arguments[0] not in presets:
        raise ValueError(f"the first argument must be a preset, {', '.join(presets)}; got {arguments[0]}")
    return arguments[0]
