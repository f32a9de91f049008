"""Worker processes that can be stopped, or die, at any moment without harm.

Each worker has a pipe of its own and shares no lock with anybody, so killing one (Ctrl-C, the out-of-memory killer)
neither hangs nor corrupts the rest. A worker whose parent is gone stops at its next report.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

REPORT_S = 0.1
"""At most so often a worker reports, and the caller hears of it, seconds."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Set to 1 in workers."""

Report = Callable[[int], None]
"""Tells how much of the current task is done, in the caller's unit."""

_number = 0


def worker_number() -> int:
    """Which of the workers of `run_tasks` this process is, from 0; 0 in a process that is none. For the choice of a device:
    what a task gives does not depend on who does it."""
    return _number


class WorkerError(RuntimeError):
    """A worker failed, through a defect or because it was killed. `is_defect` tells which."""

    def __init__(self, message: str, *, is_defect: bool):
        super().__init__(message)
        self.is_defect = is_defect


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    error: OSError | ValueError | None
    """What the user did wrong, or the machine; None for a defect."""
    text: str
    """The traceback."""


@dataclass(kw_only=True, slots=True)
class _Worker:
    process: Any
    connection: Connection
    position: int | None = None
    """Of the task it works on."""


def run_tasks(
    function: Callable[[Any, Report], Any],
    tasks: Sequence[Any],
    *,
    num_workers: int,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Run `function(task, report)` on every task in `num_workers` processes; yields (task, result) as they finish.

    function and tasks are pickled and must come from an importable module. Tasks start in the given order. Workers are
    spawned with one thread each for torch and BLAS. on_progress gets the sum of what all tasks have reported. When the
    caller stops iterating, by an exception too, the workers are stopped at once. Raises a task's own ValueError or
    OSError as it is, WorkerError for any other exception and for a worker that was killed.
    """
    if num_workers < 1:
        raise ValueError(f"workers must be at least 1, got {num_workers}")
    pending = iter(enumerate(tasks))
    done = [0] * len(tasks)
    workers: list[_Worker] = []
    try:
        for position, task in pending:
            workers.append(_start(function, len(workers)))
            _give(workers[-1], position, task)
            if len(workers) == min(num_workers, len(tasks)):
                break
        while busy := [worker for worker in workers if worker.position is not None]:
            wait([worker.connection for worker in busy], timeout=REPORT_S)
            for worker in busy:
                for count, result in _messages(worker, tasks):
                    done[worker.position] = count
                    if result is not None:
                        yield tasks[worker.position], result[0]
                        _give(worker, *next(pending, (None, None)))
            if on_progress is not None:
                on_progress(sum(done))
    finally:
        _stop(workers)


def _messages(worker: _Worker, tasks: Sequence[Any]) -> Iterator[tuple[int, tuple[Any] | None]]:
    """(amount done, (result,) or None) for every message that waits. Raises what the worker raised."""
    while worker.position is not None:
        try:
            if not worker.connection.poll():
                return
            count, message = worker.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            worker.process.join(5)
            raise WorkerError(_obituary(worker, tasks[worker.position]), is_defect=False) from error
        if isinstance(message, _Failure):
            if message.error is not None:
                raise message.error
            raise WorkerError(f"task {tasks[worker.position]!r} failed:\n{message.text}", is_defect=True)
        yield count, message


def _obituary(worker: _Worker, task: Any) -> str:
    code = worker.process.exitcode
    cause = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"gone, exit code {code}"
    hint = "; the machine may have run out of memory: use fewer --workers" if code == -signal.SIGKILL else ""
    return f"the worker on task {task!r} was {cause}{hint}. Run the same command again to go on"


def _start(function: Callable[[Any, Report], Any], number: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs, number), daemon=True)
    with _child_environment():
        process.start()
    theirs.close()
    return _Worker(process=process, connection=ours)


@contextmanager
def _child_environment() -> Iterator[None]:
    """What a child inherits at its start: one thread, and deaf to Ctrl-C, which is the parent's to answer."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if is_main:
            signal.signal(signal.SIGINT, handler)


def _give(worker: _Worker, position: int | None, task: Any) -> None:
    worker.position = position
    try:
        worker.connection.send(None if position is None else (task,))
    except BrokenPipeError:
        return  # it died: its sentinel and the end of its pipe say so to the loop that reads


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        if worker.position is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


def _work(function: Callable[[Any, Report], Any], connection: Connection, number: int) -> None:
    """Main of a worker: tasks come as (task,), None ends. A report to a parent that is gone raises, and so ends it too."""
    global _number
    _number = number
    last = 0.0
    count = 0

    def report(amount: int) -> None:
        nonlocal last, count
        count = amount
        if time.monotonic() - last >= REPORT_S:
            last = time.monotonic()
            connection.send((count, None))

    try:
        while (message := connection.recv()) is not None:
            count = 0
            try:
                result: Any = (function(message[0], report),)
            except Exception as error:  # whatever it is, it is raised in the parent
                user_error = error if isinstance(error, (OSError, ValueError)) else None
                result = _Failure(error=user_error, text=traceback.format_exc())
            connection.send((count, result))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone: nobody is left to tell
