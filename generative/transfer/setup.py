"""What a run of pose transfer needs before its first step: sets, guider, players."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from generative.adversarial.player import Player
from generative.adversarial.setup import AdversarialRun, picture_grid, start
from generative.sets import contents_of
from generative.transfer.config import TransferConfig
from generative.transfer.data import open_people, open_poses
from generative.transfer.guider import Guider, load_guider
from generative.transfer.networks import Players
from generative.transfer.pairs import PairBatches, TransferBatch
from reid.checkpoint import State, which_checkpoint
from reid.loader import make_loader
from reid.run_folder import check_folder, open_trackers
from reid.setup import start_accelerator
from shards.build import file_sha256

logger = logging.getLogger(__name__)

SHOWN = 8
"""Pairs in a grid of pictures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup(AdversarialRun):
    """A run, ready to go on from `state`."""

    config: TransferConfig
    players: Players
    guider: Guider | None
    batches: PairBatches
    shown: TransferBatch
    """The pairs that are drawn again and again, for people to look at."""

    @property
    def num_steps(self) -> int:
        return self.batches.num_steps

    @property
    def discriminator(self) -> Player:
        """That learns eq. 1."""
        return self.learners[0]

    @property
    def generator(self) -> Player:
        """That learns eq. 5."""
        return self.learners[1]

    @torch.no_grad()
    def draw(self) -> Tensor:
        """(4 S, SHOWN S, 3) uint8: appearance, skeleton, what the averaged generator makes of both, and truth; a column for
        each pair."""
        shown = self.shown
        with self.accelerator.autocast():
            generated = self.players.ema(shown.appearance, shown.skeleton)
        return picture_grid([shown.appearance, shown.skeleton, generated, shown.target])


def set_up(config: TransferConfig, out: Path, *, resume: bool) -> Setup:
    """Open sets, guider and players, and find out where to go on; arguments and errors as of `train.train`."""
    check_folder(out, resume=resume)
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
        precision=accelerator.mixed_precision,
        provenance=f"guider {_guider_hash(config)}, sets {contents_of(sets)}",
    )
    guider = open_guider(config, state.class_names, accelerator)
    torch.manual_seed(config.seed)
    players = Players(config.networks)
    names = ("discriminator", "generator")
    learners, state = start(
        players, names, state, accelerator, out, resume=resume, given="the guider, or what the sets hold, has"
    )
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
        learners=learners,
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
    known = class_names if config.guider == "ce" else None
    remedy = "cross-entropy needs a guider that was trained on the same people; train one, or give --guider triplet"
    guider = load_guider(Path(config.guider_run), known, remedy=remedy)
    return guider.to(accelerator.device, memory_format=torch.channels_last)


def announce(setup: Setup) -> None:
    """Write `config.json` into the run's folder, open the trackers, and say what is trained on what."""
    config, accelerator, state = setup.config, setup.accelerator, setup.state
    open_trackers(accelerator, setup.folder, config, state.total_steps)
    if not accelerator.is_main_process:
        return
    logger.warning(
        "pose transfer from epoch %d, step %d: %s pictures of %s people, %s to take poses from, guider %s, %s steps an epoch, "
        "%d process(es) on %s, precision %s",
        state.epoch,
        state.step,
        f"{state.num_samples:,}",
        f"{len(state.class_names):,}",
        f"{state.num_pairs:,}",
        config.guider if setup.guider is None else f"{config.guider} of {config.guider_run}",
        f"{setup.num_steps:,}",
        accelerator.num_processes,
        accelerator.device,
        accelerator.mixed_precision,
    )


def _guider_hash(config: TransferConfig) -> str:
    """SHA-256 of the guider's checkpoint."""
    if config.guider == "none":
        return "none"
    path = which_checkpoint(Path(config.guider_run))
    # Of one that is not there `load_guider` will say so.
    return file_sha256(path) if path.is_file() else str(path)


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
