"""What a run needs before its first step, and what it does between steps: scores, checkpoints."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, broadcast, is_wandb_available
from torch import nn

from reid.batches import Batches
from reid.checkpoint import (
    Run,
    State,
    Which,
    checkpoint_path,
    load_run,
    save_checkpoint,
)
from reid.config import Precision, TrainConfig
from reid.dataset import Samples, open_train_set
from reid.evaluate import ScoredSet, open_scored_set, places_to_score, score
from reid.interrupt import Interrupt
from reid.journal import Journal, open_journal
from reid.loader import make_loader
from reid.models.model import Network
from reid.optimise import Turn, load_state_tensors, make_turns
from reid.pairs import PairSource, live_pairs, num_pairs, shard_pairs, uv_layout_of
from reid.run_folder import check_folder, keep_last, open_trackers
from reid.sampler import share_of_process
from reid.start import start

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """A run, ready to go on from `state`."""

    config: TrainConfig
    folder: Path
    accelerator: Accelerator
    model: Network
    network: nn.Module
    """`model` as several processes, mixed precision and the compiler wrap it."""
    turns: tuple[Turn, ...]
    batches: Batches
    scored: tuple[ScoredSet, ...]
    state: State

    def seed(self, epoch: int, step: int) -> None:
        """Fix what a model draws from torch's own generator, dropout for one, in this step on this process."""
        name = repr((self.config.seed, epoch, step, self.accelerator.process_index))
        torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1)

    @contextmanager
    def open_journal(self) -> Iterator[Journal]:
        """The journal of this run, from `state` on."""
        num_steps = len(self.batches.kinds) * self.config.optimise.epochs
        size, done = self.config.sampler.batch_size, self.state.total_steps
        with open_journal(self.accelerator, self.folder, batch_size=size, done=done, num_steps=num_steps) as journal:
            yield journal

    def score(self, state: State, journal: Journal) -> State:
        """Score the sets where it is time for that, at the end of an epoch, and keep the best checkpoint."""
        every, is_last = self.config.evaluate.every, state.epoch == self.config.optimise.epochs
        if not self.scored or not every or (state.epoch % every and not is_last):
            return state
        journal.flush()
        for buffer in self.model.buffers():  # each process has seen other pictures: the first one's are kept
            broadcast(buffer)
        self.model.eval()
        scores = {one.name: score(self.model, one, self.config, self.accelerator).to_dict() for one in self.scored}
        self.model.train()
        journal.scores(state.epoch, state.total_steps, scores)
        mean_ap = scores[self.scored[0].name]["mean_ap"]
        if state.best_mean_ap is not None and mean_ap <= state.best_mean_ap:
            return state
        state = replace(state, best_mean_ap=mean_ap)
        if self.accelerator.is_main_process:
            save_checkpoint(checkpoint_path(self.folder, "best"), self.model, state, {})
        return state

    def keep(self, state: State, journal: Journal, interrupt: Interrupt) -> None:
        """Write the last checkpoint where it is time for that. Raises KeyboardInterrupt after it where that was wanted."""
        scaler = self.accelerator.scaler
        keep_last(
            state,
            journal,
            interrupt,
            accelerator=self.accelerator,
            folder=self.folder,
            model=self.model,
            turns=self.turns,
            scaler=lambda: None if scaler is None else scaler.state_dict(),
        )


def set_up(config: TrainConfig, out: Path, *, resume: bool, pairs: PairSource | None) -> Setup:
    """Open data and network, and find out where to go on; arguments and errors as of `train.train`."""
    check_folder(out, resume=resume)
    accelerator = start_accelerator(config.precision, out)
    if config.sync_batch_norm and accelerator.device.type != "cuda":
        raise ValueError("sync-batch-norm works on GPUs alone: leave it out")
    accelerator.wait_for_everyone()  # until all have looked, nobody writes
    has_people = bool(config.data.real or config.data.rendered or config.data.generated)
    train_set = open_train_set(config.data, config.input) if has_people or not config.data.pairs else None
    state = State(
        config=config,
        class_names=() if train_set is None else train_set.class_names,
        num_samples=0 if train_set is None else len(train_set),
        num_pairs=num_pairs(config.data),
        num_processes=accelerator.num_processes,
        precision=accelerator.mixed_precision,
    )
    model, state, optimiser = start(state, out, resume=resume)
    model.to(accelerator.device, memory_format=torch.channels_last)
    network, turns = wrap(model, config, accelerator)
    if optimiser is not None:
        load_state_tensors(turns, model, optimiser)
        if accelerator.scaler is not None and state.scaler is not None:
            accelerator.scaler.load_state_dict(dict(state.scaler))
    batches = open_batches(config, train_set, model, accelerator, pairs)
    setup = Setup(
        config=config,
        folder=out,
        accelerator=accelerator,
        model=model,
        network=network,
        turns=turns,
        batches=batches,
        scored=tuple(open_scored_set(place, config, accelerator) for place in places_to_score(config))
        if config.evaluate.every
        else (),
        state=replace(state, uv_layout=batches.uv_layout),
    )
    announce(setup)
    return setup


def start_accelerator(precision: Precision = "auto", out: Path | None = None) -> Accelerator:
    """Processes, device and precision; with `out`, trackers that write there.

    Raises ValueError for a precision that the device has not.
    """
    chosen: str = precision
    if precision == "auto":
        # `accelerate launch` says "no" where nobody said anything, so that is no wish.
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        chosen = asked if asked != "no" else "bf16" if computes_in_bf16() else "no"
    if chosen == "fp16" and not torch.cuda.is_available():
        raise ValueError("precision fp16 needs a GPU: give bf16 or no")
    trackers = None if out is None else ["tensorboard", *(["wandb"] if is_wandb_available() else [])]
    logs = ProjectConfiguration(project_dir=out, logging_dir=None if out is None else str(out / "tensorboard"))
    accelerator = Accelerator(mixed_precision=chosen, log_with=trackers, project_config=logs)
    if not accelerator.is_main_process:
        for package in ("reid", "generative"):
            logging.getLogger(package).setLevel(logging.ERROR)  # what is told, is told once
    return accelerator


def open_run(folder: Path, which: Which | None = None, precision: Precision | None = None) -> tuple[Run, Accelerator]:
    """A finished run, its network on the device; precision: by default as it was trained. Errors as of `load_run`."""
    run = load_run(folder, which)
    accelerator = start_accelerator(precision or run.config.precision)
    run.model.to(accelerator.device, memory_format=torch.channels_last)
    return run, accelerator


def check_alone(accelerator: Accelerator) -> None:
    """Raise ValueError for a command that one process does, started with several."""
    if accelerator.num_processes > 1:
        raise ValueError(
            f"this command is done by one process, got {accelerator.num_processes}: start it with python -m reid"
        )


def computes_in_bf16() -> bool:
    """Whether this machine's GPU, or without one its CPU, has instructions for bf16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def wrap(model: Network, config: TrainConfig, accelerator: Accelerator) -> tuple[nn.Module, tuple[Turn, ...]]:
    """The network as it is stepped, and its optimisers."""
    network: nn.Module = model
    if config.sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    turns = make_turns(model, config.optimise)
    if config.compile:
        network = torch.compile(network)
    network = accelerator.prepare(network)
    return network.train(), tuple(replace(turn, optimiser=accelerator.prepare(turn.optimiser)) for turn in turns)


def open_batches(
    config: TrainConfig, train_set: Samples | None, model: Network, accelerator: Accelerator, pairs: PairSource | None
) -> Batches:
    """The batches of this process. Raises ValueError for pairs that the model has no use for."""
    wants_pairs = pairs is not None or bool(config.data.pairs)
    if wants_pairs and not model.takes_pairs:
        raise ValueError(f"{type(model).__name__} learns from identities alone: leave out data.pairs")
    if wants_pairs and config.optimise.triplet_learning_rate is not None:
        raise ValueError(
            "steps on pairs have no part in the turns of identity and triplet loss: leave out data.pairs, or "
            "optimise.triplet-learning-rate"
        )
    train_set = None if train_set is None else train_set.with_labels(model.labels)
    size = share_of_process(config.sampler.batch_size, accelerator.num_processes)
    uv_layout = None if train_set is None else train_set.uv_layout
    if uv_layout is None and config.data.pairs and "texture" in model.labels:
        uv_layout = uv_layout_of(config.data)
    if pairs is not None:
        pairs = live_pairs(pairs, config.input, model.labels, accelerator.device)
    elif config.data.pairs:
        pairs = shard_pairs(
            config.data,
            config.input,
            model.labels,
            size,
            accelerator.device,
            seed=config.seed,
        )
    return Batches(
        config=config,
        train_set=train_set,
        loader=None if train_set is None else make_loader(train_set, config.data, accelerator.device),
        pairs=pairs,
        uv_layout=uv_layout,
        pair_steps=0 if train_set is not None else num_pairs(config.data) // config.sampler.batch_size,
        process=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )


def announce(setup: Setup) -> None:
    """Write `config.json` into the run's folder, open the trackers, and say what is trained on what, from what."""
    config, accelerator, state = setup.config, setup.accelerator, setup.state
    num_steps = len(setup.batches.kinds)  # before anything is written: batches that cannot be made are refused here
    open_trackers(accelerator, setup.folder, config, state.total_steps)
    if not accelerator.is_main_process:
        return
    logger.warning(
        "%s from %s, epoch %d, step %d: %s samples of %s identities, %s pairs, %s steps an epoch, %d process(es) on %s, "
        "precision %s; scored on %s",
        type(setup.model).__name__,
        state.provenance,
        state.epoch,
        state.step,
        f"{state.num_samples:,}",
        f"{len(state.class_names):,}",
        f"{state.num_pairs:,}",
        f"{num_steps:,}",
        accelerator.num_processes,
        accelerator.device,
        accelerator.mixed_precision,
        ", ".join(one.name for one in setup.scored) or "nothing",
    )
