"""The loop: batch -> losses -> step -> scores, one page for every method."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from reid.batch import Batch
from reid.checkpoint import State
from reid.config import TrainConfig
from reid.interrupt import interruptible
from reid.optimise import Turn, hold, set_rates
from reid.pairs import PairSource
from reid.setup import Setup, set_up


def train(config: TrainConfig, out: Path, *, resume: bool = False, pairs: PairSource | None = None) -> State:
    """Train a network and leave checkpoints, metrics and TensorBoard logs in the folder `out`.

    Every process of a run calls it alike. resume: go on from the last checkpoint in `out`, exactly as if it had never
    stopped. pairs: batches of rendered pairs made elsewhere, in place of those of `config.data.pairs`. Returns the state at
    the end. Raises ValueError and FileNotFoundError for a configuration, data or a checkpoint that do not go together, and
    ValueError for a loss that is no number; KeyboardInterrupt, after writing a checkpoint, when interrupted.
    """
    run = set_up(config, out, resume=resume, pairs=pairs)
    state, optimise, num_steps = run.state, config.optimise, len(run.batches.kinds)
    with run.open_journal() as journal, interruptible() as interrupt:
        for epoch, step, batch in run.batches.since(state.epoch, state.step):
            turn = run.turns[state.total_steps % len(run.turns)]
            rate = set_rates(turn, optimise, epoch + step / num_steps)
            run.seed(epoch, step)
            losses = update(run, turn, batch, is_backbone_held=epoch < optimise.head_only_epochs)
            state = replace(state, step=step + 1, total_steps=state.total_steps + 1)
            journal.add(epoch, step, state.total_steps, rate, losses, batch.keys)
            if state.step == num_steps:
                state = run.score(replace(state, epoch=epoch + 1, step=0), journal)
            run.keep(state, journal, interrupt)
    return state


def update(run: Setup, turn: Turn, batch: Batch, *, is_backbone_held: bool = False) -> dict[str, Tensor]:
    """One step: a batch's losses, their gradients, and new weights but for a held backbone's. Returns the losses."""
    if run.model.backbone.training == is_backbone_held:
        run.model.backbone.train(not is_backbone_held)
    losses = run.network(batch)
    run.accelerator.backward(objective(losses, turn))
    if is_backbone_held:
        hold(run.model.backbone)
    if not batch.has_identities:
        hold(*filter(None, (getattr(run.model, name) for name in run.model.identity_layers)))
    turn.optimiser.step()
    turn.optimiser.zero_grad()
    return losses


def objective(losses: Mapping[str, Tensor], turn: Turn) -> Tensor:
    """The sum of the losses that a turn brings down. The others count nothing, but stay in the graph: processes that
    average gradients wait for every parameter's. Raises ValueError where there is nothing to bring down."""
    terms = {name: value for name, value in losses.items() if value.requires_grad}
    if not terms.keys() - turn.waiting:
        besides = "".join(f" besides {name}" for name in sorted(turn.waiting))
        raise ValueError(f"a step needs a loss{besides} with a gradient, the model gave {sorted(losses)}")
    return sum(value * float(name not in turn.waiting) for name, value in terms.items())
