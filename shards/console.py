"""What every command line of the project shares: errors in one line, progress on stderr, results on stdout."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from shards.workers import WorkerError

DEBUG_VARIABLE = "LOOKALIKE_DEBUG"
PLAIN_INTERVAL_S = 10.0
"""Time between two lines of progress where stderr is no terminal, seconds."""


class ProgressReport(Protocol):
    """What `progress_bar` gives: to be called with the units done, and how many of these an earlier run had done."""

    def __call__(self, done: int, found: int = 0, note: str = "") -> None:
        """note: a few words or figures on how it goes, shown beside the rate."""


def main(command: Callable[[], int | None]) -> NoReturn:
    """Run a command line and exit with its code: what it returns (None is 0), 2 for an error, 130 when interrupted.

    An error of use or of the machine (ValueError, OSError, a package missing, a worker killed) is one message on
    stderr, without traceback unless LOOKALIKE_DEBUG=1. SIGTERM is taken as Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = command() or 0
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _tell(str(interrupt) or "interrupted: what was finished is whole; run the same command again to go on")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
        code = 141
    except (ValueError, OSError, ImportError, WorkerError) as error:
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        _tell(f"error: {describe(error)}")
        code = 2
    sys.exit(code)


def describe(error: BaseException) -> str:
    """An error in words for the user."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__


def _interrupt(signum: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _tell(message: str) -> None:
    sys.stderr.write(message + "\n")


def write_json(value: Any) -> None:
    """Write `value` as indented JSON to stdout: what `--json` gives."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(text: str) -> None:
    """Write a result for people to stdout."""
    sys.stdout.write(text + "\n")


@contextmanager
def progress_bar(label: str, total: int | None, *, unit: str = "samples") -> Iterator[ProgressReport]:
    """Progress on stderr with rate and time left: a live bar on a terminal, else a plain line every 10 s.

    total: number of units in all, None if unknown. Gives a function of (done, of these found from an earlier run);
    what was found does not count as speed.
    """
    if sys.stderr.isatty():
        with _live_bar(label, total, unit) as report:
            yield report
    else:
        with _plain_lines(label, total, unit) as report:
            yield report


class _Rate(ProgressColumn):
    def render(self, task: Any) -> Text:
        rate = task.fields["rate"]
        return Text(f"{rate:,.0f} {task.fields['unit']}/s" if rate else "")


@contextmanager
def _live_bar(label: str, total: int | None, unit: str) -> Iterator[ProgressReport]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn())
    left = (TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *left, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate=0.0, unit=unit, note="")
        rate_of = _rate_meter()

        def report(done: int, found: int = 0, note: str = "") -> None:
            progress.update(task, completed=done, rate=rate_of(done, found), note=note)

        yield report


@contextmanager
def _plain_lines(label: str, total: int | None, unit: str) -> Iterator[ProgressReport]:
    rate_of = _rate_meter()
    last_time, line = time.monotonic(), f"{label}: 0 {unit}"

    def report(done: int, found: int = 0, note: str = "") -> None:
        nonlocal last_time, line
        rate = rate_of(done, found)
        left = f", {(total - done) / rate:,.0f} s left" if total is not None and rate and done < total else ""
        line = f"{label}: {done:,}{'' if total is None else f' of {total:,}'} {unit}, {rate:,.0f} {unit}/s{left}"
        line += f"; {note}" if note else ""
        if time.monotonic() - last_time >= PLAIN_INTERVAL_S:
            last_time = time.monotonic()
            _tell(line)

    yield report
    _tell(line)


def _rate_meter() -> Callable[[int, int], float]:
    """A function of (done, found) that gives the mean rate, units/s, from when the first unit was still being made."""
    start = time.monotonic()

    def rate(done: int, found: int) -> float:
        nonlocal start
        made, now = done - found, time.monotonic()
        if made <= 0:
            start = now
        return made / (now - start) if now > start else 0.0

    return rate
