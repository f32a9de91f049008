"""What a run leaves in its folder besides its journal: its configuration, and a last checkpoint whose weights are numbers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from reid.checkpoint import State, checkpoint_path, save_checkpoint
from reid.config import TrainConfig, flat, to_dict
from reid.interrupt import Interrupt
from reid.journal import Journal
from reid.optimise import Turn, state_tensors
from shards.writer import atomic_file

REMEDY = "A lower learning rate or precision no usually helps, in a new run"
"""Against weights that are no numbers."""
LEAST_SCALE = 2.0**-24
"""Of fp16's losses: with less, the largest number of fp16 would be a gradient of a million millions."""


def check_folder(out: Path, *, resume: bool) -> None:
    """Raise ValueError for a folder that holds something, unless a run goes on in it."""
    if not resume and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: give --resume to go on with the run in it, or another --out")


def open_trackers(accelerator: Accelerator, folder: Path, config: TrainConfig, done: int) -> None:
    """Write `config.json` into a run's folder, and open the trackers after `done` steps. All processes call it together."""
    settings = {
        name: value if isinstance(value, (int, float, str, bool)) else json.dumps(value)
        for name, value in flat(config).items()
    }
    logs = {"tensorboard": {"purge_step": done}, "wandb": {"dir": str(folder)}}
    accelerator.init_trackers("lookalike", settings, logs)
    if accelerator.is_main_process:
        with atomic_file(folder / "config.json") as file:
            file.write(json.dumps(to_dict(config), indent=1).encode())


def keep_last(
    state: State,
    journal: Journal,
    interrupt: Interrupt,
    *,
    accelerator: Accelerator,
    folder: Path,
    model: nn.Module,
    turns: Sequence[Turn],
    scaler: Callable[[], Mapping[str, Any] | None],
    remedy: str = REMEDY,
) -> None:
    """Write the last checkpoint where it is time for that. All processes call it after every step.

    model, turns: whose tensors are kept; scaler: what fp16's loss scaling remembers, one's or by name that of several, not asked
    between checkpoints, as it waits for the device. Raises ValueError for losses, gradients and weights that are no numbers,
    before a good checkpoint is replaced; after it KeyboardInterrupt, where that was wanted.
    """
    is_stopped = interrupt.agreed(accelerator, state.total_steps)
    is_end = state.epoch == state.config.optimise.epochs
    if not (is_stopped or is_end or state.total_steps % state.config.checkpoint_every == 0):
        return
    journal.flush()
    check_weights(model, state, remedy)
    state = replace(state, scaler=scaler())
    check_scales(state, remedy)
    if accelerator.is_main_process:
        save_checkpoint(checkpoint_path(folder, "last"), model, state, state_tensors(turns, model))
    if is_stopped and not is_end:
        raise KeyboardInterrupt(f"stopped at epoch {state.epoch}, step {state.step}: --resume goes on from there")


def check_weights(model: nn.Module, state: State, remedy: str = REMEDY) -> None:
    """A loss may be a number and its gradient none. Raises ValueError where that got into the weights."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"{name} is no number after epoch {state.epoch}, step {state.step}, though the losses are. The last good "
                f"checkpoint is kept. {remedy}"
            )


def check_scales(state: State, remedy: str = REMEDY) -> None:
    """Loss scaling passes over steps whose gradients are no numbers, each time with half the scale. Raises ValueError where it
    has come to pass over all."""
    scalers = state.scaler or {}
    for each in [scalers] if "scale" in scalers else scalers.values():
        if each and each["scale"] < LEAST_SCALE:
            raise ValueError(
                f"gradients are no numbers up to epoch {state.epoch}, step {state.step}, though the losses are: fp16's loss scaling "
                f"passes over all steps. The last good checkpoint is kept. {remedy}"
            )
