"""The loop of adversarial trainings: a batch -> every player's step -> journal, pictures, checkpoint."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from generative.adversarial.setup import AdversarialRun
from reid.checkpoint import State
from reid.interrupt import interruptible


def play(
    run: AdversarialRun, batches: Iterable[tuple[int, int, Any]], update: Callable[[Any, int], dict[str, Tensor]]
) -> State:
    """Go on to the end of a run, and return the state there.

    batches: epoch, step in it, and batch, whose `keys` name its samples, from the run's state on. update: does step 0, 1, ... of
    the run, given the batch and the step, and returns the losses by name. Raises ValueError for a loss that is no number, and
    KeyboardInterrupt, after writing a checkpoint, when interrupted.
    """
    state, num_steps = run.state, run.num_steps
    with run.open_journal() as journal, interruptible() as interrupt:
        for epoch, step, batch in batches:
            rate = run.set_rates(epoch + step / num_steps)
            losses = update(batch, state.total_steps)
            state = replace(state, step=step + 1, total_steps=state.total_steps + 1)
            if state.step == num_steps:
                state = replace(state, epoch=epoch + 1, step=0)
            journal.add(epoch, step, state.total_steps, rate, losses, batch.keys)
            run.show(state)
            run.keep(state, journal, interrupt)
    return state
