"""What a run of style needs before its first step: two looks and the players."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generative.adversarial.player import Player
from generative.adversarial.setup import AdversarialRun, picture_grid, start
from generative.sets import contents_of
from generative.style.batches import StyleBatch, StyleBatches
from generative.style.config import StyleConfig
from generative.style.data import open_looks
from generative.style.networks import Players
from reid.checkpoint import State
from reid.loader import make_loader
from reid.run_folder import check_folder, open_trackers
from reid.setup import start_accelerator

logger = logging.getLogger(__name__)

SHOWN = 8
"""Pictures of each look in a grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup(AdversarialRun):
    """A run, ready to go on from `state`."""

    config: StyleConfig
    players: Players
    batches: StyleBatches
    shown: StyleBatch
    """The pictures that are drawn again and again, for people to look at."""

    @property
    def num_steps(self) -> int:
        return self.batches.num_steps

    @property
    def discriminators(self) -> Player:
        """Of both looks."""
        return self.learners[0]

    @property
    def embedding(self) -> Player:
        """That says who is who."""
        return self.learners[1]

    @property
    def generators(self) -> Player:
        """Of both ways."""
        return self.learners[2]

    @torch.no_grad()
    def draw(self) -> Tensor:
        """(4 H, SHOWN W, 3) uint8: source pictures, what the averaged generator makes of them, the way back from there, and
        target pictures, which are others."""
        with self.accelerator.autocast():
            restyled = self.players.ema(self.shown.source)
            again = self.players.generators.to_source(restyled)
        return picture_grid([self.shown.source, restyled, again, self.shown.target])


def set_up(config: StyleConfig, out: Path, *, resume: bool) -> Setup:
    """Open sets and players, and find out where to go on; arguments and errors as of `train.train`."""
    check_folder(out, resume=resume)
    accelerator = start_accelerator(config.precision, out)
    accelerator.wait_for_everyone()  # until all have looked, nobody writes
    sides = open_looks(config)
    state = State(
        config=config,
        class_names=(),
        num_samples=sum(map(len, sides)),
        precision=accelerator.mixed_precision,
        provenance=contents_of(sides),
    )
    torch.manual_seed(config.seed)
    players = Players(config.networks, config.history)
    names = ("discriminators", "embedding", "generators")
    learners, state = start(players, names, state, accelerator, out, resume=resume, given="what the sets hold has")
    batches = StyleBatches(
        config=config,
        sides=sides,
        loaders=[make_loader(side, config.data, accelerator.device) for side in sides],
        process=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    first = batches.first()
    setup = Setup(
        config=config,
        folder=out,
        accelerator=accelerator,
        players=players,
        learners=learners,
        batches=batches,
        shown=StyleBatch(source=first.source[:SHOWN], target=first.target[:SHOWN], keys=()),
        state=state,
    )
    announce(setup)
    return setup


def announce(setup: Setup) -> None:
    """Write `config.json` into the run's folder, open the trackers, and say what is trained on what."""
    accelerator, state = setup.accelerator, setup.state
    open_trackers(accelerator, setup.folder, setup.config, state.total_steps)
    if not accelerator.is_main_process:
        return
    logger.warning(
        "style from epoch %d, step %d: %s pictures to the look of %s, %s steps an epoch, %d process(es) on %s, precision %s",
        state.epoch,
        state.step,
        *(f"{len(side):,}" for side in setup.batches.sides),
        f"{setup.num_steps:,}",
        accelerator.num_processes,
        accelerator.device,
        accelerator.mixed_precision,
    )
