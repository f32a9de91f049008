"""What a run of pose transfer needs before its first step, and what it does between steps: pictures, checkpoints."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from generative.transfer.config import TransferConfig
from generative.transfer.data import open_people, open_poses
from generative.transfer.guider import Guider, load_guider
from generative.transfer.networks import Players
from generative.transfer.pairs import PairBatches, TransferBatch
from reid.checkpoint import (
    State,
    check_same_run,
    checkpoint_path,
    load_weights,
    read_checkpoint,
    save_checkpoint,
    which_checkpoint,
)
from reid.config import flat, to_dict
from reid.interrupt import Interrupt
from reid.journal import Journal, open_journal
from reid.loader import make_loader
from reid.models.texture_decoder import to_pixels
from reid.optimise import Turn, load_state_tensors, state_tensors
from reid.setup import start_accelerator
from shards.writer import atomic_file

logger = logging.getLogger(__name__)

SHOWN = 8
"""Pairs in a grid of pictures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Player:
    """A network and its optimiser."""

    network: nn.Module
    """As several processes wrap it."""
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Of fp16, one for each player: where the gradients of one overflow, the other's step is as good as it was."""

    def step(self, loss: Tensor) -> None:
        """Take the gradients of a loss, and new weights."""
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """A run, ready to go on from `state`."""

    config: TransferConfig
    folder: Path
    accelerator: Accelerator
    players: Players
    generator: Player
    discriminator: Player
    guider: Guider | None
    batches: PairBatches
    shown: TransferBatch
    """The pairs that are drawn again and again, for people to look at."""
    state: State

    @contextmanager
    def open_journal(self) -> Iterator[Journal]:
        """The journal of this run, from `state` on."""
        num_steps, size = self.batches.num_steps * self.config.optimise.epochs, self.config.optimise.batch_size
        done = self.state.total_steps
        with open_journal(self.accelerator, self.folder, batch_size=size, done=done, num_steps=num_steps) as journal:
            yield journal

    def set_rates(self, epoch: float) -> float:
        """Give both optimisers the learning rate of this moment; returns it."""
        rate = self.config.optimise.rate(epoch)
        for player in (self.generator, self.discriminator):
            for group in player.optimiser.param_groups:
                group["lr"] = rate
        return rate

    def show(self, state: State) -> None:
        """Draw a grid where it is time for that: appearance, skeleton, what the averaged generator makes of both, and truth."""
        every = self.config.pictures_every
        if not every or state.total_steps % every or not self.accelerator.is_main_process:
            return
        writer = self.accelerator.get_tracker("tensorboard", unwrap=True)
        writer.add_image("pictures", self.draw(), state.total_steps, dataformats="HWC")

    @torch.no_grad()
    def draw(self) -> Tensor:
        """(4 S, SHOWN S, 3) uint8: a row for each thing that `show` names, a column for each pair."""
        shown = self.shown
        with self.accelerator.autocast():
            generated = self.players.average(shown.appearance, shown.skeleton)
        rows = [to_pixels(row) for row in (shown.appearance, shown.skeleton, generated, shown.target)]
        return torch.cat([torch.cat(list(row), dim=1) for row in rows]).cpu()

    def keep(self, state: State, journal: Journal, interrupt: Interrupt) -> None:
        """Write the last checkpoint where it is time for that. Raises KeyboardInterrupt after it where that was wanted."""
        is_stopped = interrupt.agreed(self.accelerator, state.total_steps)
        is_end = state.epoch == self.config.optimise.epochs
        if not (is_stopped or is_end or state.total_steps % self.config.checkpoint_every == 0):
            return
        journal.flush()  # which refuses losses that are no numbers, before a good checkpoint is replaced
        self._check_weights(state)
        if self.accelerator.is_main_process:
            state = replace(state, scaler=_scalers(self.discriminator, self.generator))
            tensors = state_tensors(_turns(self.discriminator, self.generator), self.players)
            save_checkpoint(checkpoint_path(self.folder, "last"), self.players, state, tensors)
        if is_stopped and not is_end:
            raise KeyboardInterrupt(f"stopped at epoch {state.epoch}, step {state.step}: --resume goes on from there")

    def _check_weights(self, state: State) -> None:
        """A loss may be a number and its gradient none. Raises ValueError where that got into the weights."""
        for name, value in self.players.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(
                    f"{name} is no number after epoch {state.epoch}, step {state.step}, though the losses are. The last good "
                    "checkpoint is kept. A lower optimise.learning-rate, precision no or networks.spectral-norm usually helps"
                )


def set_up(config: TransferConfig, out: Path, *, resume: bool) -> Setup:
    """Open sets, guider and players, and find out where to go on; arguments and errors as of `train.train`."""
    if not resume and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: give --resume to go on with the run in it, or another --out")
    if config.guider != "none" and config.guider_run is None:
        raise ValueError("a guider is a trained run: give --guider-run RUN of `python -m reid train`, or --guider none")
    accelerator = start_accelerator(config.precision, out)
    accelerator.wait_for_everyone()  # until all have looked, nobody writes
    sets = [open_people(config.data.real, config.data, config.networks.size)]
    if config.poses:
        sets.append(open_poses(config.poses, config.data, config.networks.size))
    state = State(
        config=config,
        class_names=sets[0].class_names,
        num_samples=len(sets[0]),
        num_pairs=len(sets[1]) if config.poses else 0,
        provenance=_provenance(config),
    )
    guider = open_guider(config, state.class_names, accelerator)
    torch.manual_seed(config.seed)
    players = Players(config.networks)
    state, optimisers = _start(players, state, out, resume=resume)
    players.to(accelerator.device, memory_format=torch.channels_last)
    discriminator, generator = (
        _player(each, config, accelerator) for each in (players.discriminator, players.generator)
    )
    if optimisers is not None:
        load_state_tensors(_turns(discriminator, generator), players, optimisers)
        for player, scaler in zip((discriminator, generator), (state.scaler or {}).values(), strict=False):
            player.scaler.load_state_dict(scaler)
    batches = PairBatches(
        config=config,
        sets=sets,
        loaders=[make_loader(one, config.data, accelerator.device) for one in sets],
        process=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    setup = Setup(
        config=config,
        folder=out,
        accelerator=accelerator,
        players=players,
        generator=generator,
        discriminator=discriminator,
        guider=guider,
        batches=batches,
        shown=_some(batches.first(), SHOWN),
        state=state,
    )
    announce(setup)
    return setup


def open_guider(config: TransferConfig, class_names: tuple[str, ...], accelerator: Accelerator) -> Guider | None:
    """The guider on the device, None where there is none. Errors as of `load_guider`, and ValueError where there is nobody to
    be told apart."""
    if config.guider == "none":
        return None
    if len(class_names) < 2:
        raise ValueError(f"a guider tells people apart, and the data show {len(class_names)}: give --guider none")
    guider = load_guider(Path(config.guider_run), config.guider, class_names)
    return guider.to(accelerator.device, memory_format=torch.channels_last)


def announce(setup: Setup) -> None:
    """Write `config.json` into the run's folder, open the trackers, and say what is trained on what."""
    config, accelerator, state = setup.config, setup.accelerator, setup.state
    settings = {
        name: value if isinstance(value, (int, float, str, bool)) else json.dumps(value)
        for name, value in flat(config).items()
    }
    logs = {"tensorboard": {"purge_step": state.total_steps}, "wandb": {"dir": str(setup.folder)}}
    accelerator.init_trackers("lookalike", settings, logs)
    if not accelerator.is_main_process:
        return
    with atomic_file(setup.folder / "config.json") as file:
        file.write(json.dumps(to_dict(config), indent=1).encode())
    logger.warning(
        "pose transfer from epoch %d, step %d: %s pictures of %s people, %s to take poses from, guider %s, %s steps an epoch, "
        "%d process(es) on %s, precision %s",
        state.epoch,
        state.step,
        f"{state.num_samples:,}",
        f"{len(state.class_names):,}",
        f"{state.num_pairs:,}",
        config.guider if setup.guider is None else f"{config.guider} of {config.guider_run}",
        f"{setup.batches.num_steps:,}",
        accelerator.num_processes,
        accelerator.device,
        accelerator.mixed_precision,
    )


def _start(players: Players, state: State, out: Path, *, resume: bool) -> tuple[State, dict[str, Tensor] | None]:
    """Give the players the weights of the run in the folder `out`, if it goes on; where it stands, and what its optimisers
    remember (None at its beginning)."""
    last = checkpoint_path(out, "last")
    if not resume or not last.is_file():
        if resume:
            logger.warning("%s holds no checkpoint to go on from: the run starts at the beginning", out)
        return state, None
    found, weights, optimisers = read_checkpoint(last, TransferConfig)
    check_same_run(found, state)
    if found.provenance != state.provenance:
        raise ValueError(
            f"the guider has changed since the run began: it was {found.provenance}, it is {state.provenance}; give another --out"
        )
    load_weights(players, weights, where=last)
    return replace(found, config=state.config), optimisers


def _provenance(config: TransferConfig) -> str:
    """What the guider is, in a word."""
    if config.guider == "none":
        return "none"
    path = which_checkpoint(Path(config.guider_run))
    if not path.is_file():
        return str(path)  # of which `load_guider` will say that it is not there
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _player(network: nn.Module, config: TransferConfig, accelerator: Accelerator) -> Player:
    optimise = config.optimise
    optimiser = torch.optim.Adam(network.parameters(), optimise.learning_rate, optimise.betas, fused=True)
    scaler = torch.amp.GradScaler(accelerator.device.type, enabled=accelerator.mixed_precision == "fp16")
    if accelerator.num_processes > 1:
        # Not by Accelerator.prepare, which would put R1 under autocast too. Spectral norm's vectors follow from the weights.
        devices = [accelerator.device] if accelerator.device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)
    return Player(network=network, optimiser=optimiser, scaler=scaler)


def _turns(*players: Player) -> tuple[Turn, ...]:
    """As `reid.optimise` keeps optimisers."""
    return tuple(Turn(optimiser=player.optimiser, learning_rate=0.0, waiting=frozenset()) for player in players)


def _scalers(*players: Player) -> dict[str, dict] | None:
    states = {str(number): player.scaler.state_dict() for number, player in enumerate(players)}
    return states if any(states.values()) else None


def _some(batch: TransferBatch, count: int) -> TransferBatch:
    """Up to `count` pairs, half of them of the source of poses where there is one."""
    num_known, size = len(batch.identities), len(batch.keys)
    num_poses = min(size - num_known, count // 2)
    chosen = [*range(min(num_known, count - num_poses)), *range(num_known, num_known + num_poses)]
    rows = torch.tensor(chosen, device=batch.target.device)
    return TransferBatch(
        appearance=batch.appearance[rows],
        skeleton=batch.skeleton[rows],
        target=batch.target[rows],
        identities=batch.identities[: len(chosen) - num_poses],
        keys=tuple(batch.keys[i] for i in chosen),
    )
