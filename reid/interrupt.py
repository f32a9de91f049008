"""Ctrl-C that lets a step end: the loop asks, all processes agree, and a checkpoint is written first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

AGREE_EVERY = 10
"""Steps from one agreement to the next where there are several processes; one alone asks itself at every step."""

GRACE_S = 30
"""Seconds that a worker which is told to end goes on working: as long as schedulers wait before they kill."""


class Interrupt:
    """Whether somebody wants the run to stop."""

    def __init__(self) -> None:
        self._is_wanted = False

    def want(self, signum: int, frame: FrameType | None) -> None:
        """Take a signal; the second is not waited for."""
        if self._is_wanted:
            raise KeyboardInterrupt("stopped at once: --resume goes on from the last checkpoint")
        self._is_wanted = True

    def agreed(self, accelerator: Accelerator, step: int) -> bool:
        """Whether any process was interrupted; every process asks at the same steps and hears the same."""
        if accelerator.num_processes == 1:
            return self._is_wanted
        if step % AGREE_EVERY:
            return False
        wanted = torch.tensor(float(self._is_wanted), device=accelerator.device)
        return accelerator.reduce(wanted, "sum").item() > 0


def leave_to_parent(worker: int) -> None:
    """A DataLoader's `worker_init_fn`: what ends a run reaches all processes of its terminal or job, and is the training's to
    answer, which needs its workers until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.alarm(GRACE_S))


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Take SIGINT and SIGTERM as a wish until the block ends; only the main thread can."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt.want) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
