"""What an adversarial run has before its first step, and what it does between steps: rates, pictures, checkpoints."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from generative.adversarial.config import AdversarialRunConfig
from generative.adversarial.player import Player, make_player, scaler_states, turns_of
from reid.checkpoint import State, check_same_run, checkpoint_path, load_weights, read_checkpoint
from reid.interrupt import Interrupt
from reid.journal import Journal, open_journal
from reid.models.texture_decoder import to_pixels
from reid.optimise import load_state_tensors
from reid.run_folder import keep_last

logger = logging.getLogger(__name__)

REMEDY = "A lower optimise.learning-rate, precision no or networks.spectral-norm usually helps, in a new run"


@dataclass(frozen=True, kw_only=True, eq=False)
class AdversarialRun(ABC):
    """A run, ready to go on from `state`."""

    config: AdversarialRunConfig
    folder: Path
    accelerator: Accelerator
    players: nn.Module
    """All networks, as checkpoints keep them."""
    learners: tuple[Player, ...]
    """Those that learn, in the order in which checkpoints keep their optimisers."""
    state: State

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Of an epoch."""

    @abstractmethod
    def draw(self) -> Tensor:
        """A grid of pictures (H, W, 3) uint8, for people to look at."""

    @contextmanager
    def open_journal(self) -> Iterator[Journal]:
        """The journal of this run, from `state` on."""
        optimise, done = self.config.optimise, self.state.total_steps
        num_steps = self.num_steps * optimise.epochs
        size = optimise.batch_size
        with open_journal(self.accelerator, self.folder, batch_size=size, done=done, num_steps=num_steps) as journal:
            yield journal

    def set_rates(self, epoch: float) -> float:
        """Give all optimisers the learning rate of this moment; returns it."""
        rate = self.config.optimise.rate(epoch)
        for player in self.learners:
            for group in player.optimiser.param_groups:
                group["lr"] = rate
        return rate

    def show(self, state: State) -> None:
        """Give TensorBoard the grid of `draw` where it is time for that."""
        every = self.config.pictures_every
        if not every or state.total_steps % every or not self.accelerator.is_main_process:
            return
        writer = self.accelerator.get_tracker("tensorboard", unwrap=True)
        writer.add_image("pictures", self.draw(), state.total_steps, dataformats="HWC")

    def keep(self, state: State, journal: Journal, interrupt: Interrupt) -> None:
        """Write the last checkpoint where it is time for that. Raises KeyboardInterrupt after it where that was wanted."""
        keep_last(
            state,
            journal,
            interrupt,
            accelerator=self.accelerator,
            folder=self.folder,
            model=self.players,
            turns=turns_of(self.learners),
            scaler=lambda: scaler_states(self.learners),
            remedy=REMEDY,
        )


def start(
    players: nn.Module,
    names: Sequence[str],
    state: State,
    accelerator: Accelerator,
    out: Path,
    *,
    resume: bool,
    given: str,
) -> tuple[tuple[Player, ...], State]:
    """Players on their device, with what the run in the folder `out` knows, if it goes on; and where that stands.

    names: of those of `players` that learn; state: as a run of its configuration begins, `given` in words what its provenance
    is of. Raises ValueError for a checkpoint that does not go with it.
    """
    last, optimisers = checkpoint_path(out, "last"), None
    if resume and last.is_file():
        found, weights, optimisers = read_checkpoint(last, type(state.config))
        check_same_run(found, state)
        if found.provenance != state.provenance:
            raise ValueError(
                f"{given} changed since the run began: it was {found.provenance}, it is {state.provenance}; give another --out"
            )
        load_weights(players, weights, where=last)
        state = replace(found, config=state.config)
    elif resume:
        logger.warning("%s holds no checkpoint to go on from: the run starts at the beginning", out)
    players.to(accelerator.device, memory_format=torch.channels_last)
    learners = tuple(make_player(players.get_submodule(name), state.config.optimise, accelerator) for name in names)
    if optimisers is not None:
        load_state_tensors(turns_of(learners), players, optimisers)
        for number, scaler in (state.scaler or {}).items():
            learners[int(number)].scaler.load_state_dict(scaler)
    return learners, state


def picture_grid(rows: Sequence[Tensor]) -> Tensor:
    """rows of B pictures (B, 3, H, W) in -1..1 each -> (R H, B W, 3) uint8 on the CPU, a column for each of B."""
    return torch.cat([torch.cat(list(to_pixels(row)), dim=1) for row in rows]).cpu()
