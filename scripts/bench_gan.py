"""The part of `bench_generative.py` on training a GAN: its steps in float32 and in bf16, and the memory that they take."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from bench_figures import Figure, peak_bytes
from bench_training import take

from generative.presets import PRESETS
from generative.transfer.networks import NetworkConfig
from generative.transfer.setup import Setup, set_up
from generative.transfer.train import update
from reid.checkpoint import State, checkpoint_path, save_checkpoint
from reid.models.build import build_model
from reid.presets import PRESETS as REID_PRESETS
from shards.table import Table

LEAST_RATE = 800.0
"""Images/s on a GPU, 256 x 256, in bf16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gan:
    """A training to be measured."""

    data: Path
    """People, of whom there are pairs."""
    guider: Path | None
    """The run that guides, by cross-entropy; with it there are as many pairs of a source of poses, as the README trains."""
    networks: NetworkConfig
    precision: Literal["no", "bf16"]
    batch_size: int
    """Pairs of known people."""
    device: str
    threads: int
    rounds: int
    steps: int


def gan_training(
    data: Path,
    folder: Path,
    networks: NetworkConfig,
    *,
    backbone: str,
    rounds: int,
    steps: int,
    batch_size: int,
    device: str,
    threads: int,
) -> list[Figure]:
    """Steps of both players, batches and all, alone and guided by a network of this backbone. Each training has a process to
    itself, and with it all memory."""
    figures: list[Figure] = []
    for guider in (None, save_guider(folder / "guider", data, backbone)):
        medians: dict[str, float] = {}
        for precision in ("no", "bf16"):
            gan = Gan(
                data=data,
                guider=guider,
                networks=networks,
                precision=precision,
                batch_size=batch_size,
                device=device,
                threads=threads,
                rounds=rounds,
                steps=steps,
            )
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                times, num_bytes = pool.submit(measure, gan, folder / f"{precision}-{guider is None}").result()
            pairs = f"{batch_size} + {batch_size} pairs with guider" if guider else f"{batch_size} pairs"
            title = f"GAN step, {networks.size} x {networks.size}, {pairs}, {precision}"
            num = 2 * batch_size if guider else batch_size
            target = LEAST_RATE if device == "cuda" and precision == "bf16" else None
            medians[precision] = float(np.median(times))
            figures += [
                Figure.of(title, "ms", [1e3 * time_s for time_s in times], more_is_better=False),
                Figure.of("  of which", "images/s", [num / time_s for time_s in times], target=target),
                Figure.of("  memory, at most", "GiB", [num_bytes / 2**30], more_is_better=False),
            ]
        figures.append(Figure.of("  bf16 over float32", "x", [medians["bf16"] / medians["no"]], more_is_better=False))
    return figures


def measure(gan: Gan, folder: Path) -> tuple[list[float], int]:
    """Seconds of a step in each round, and the most bytes that the device gave at once: of the CPU beyond what the process held
    before, with what torch loads when it first computes."""
    torch.set_num_threads(gan.threads)
    times: list[float] = []

    def train() -> None:
        run = open_gan(gan, folder)
        if (where := run.accelerator.device).type != gan.device:
            raise ValueError(f"asked for {gan.device}, training takes place on {where}")
        way = own_steps(run)
        take(way, 1, where)
        times.extend(take(way, gan.steps, where) / gan.steps for _ in range(gan.rounds))

    num_bytes = peak_bytes(train)
    return times, torch.cuda.max_memory_allocated() if gan.device == "cuda" else num_bytes


def open_gan(gan: Gan, folder: Path) -> Setup:
    """A run from random weights."""
    preset = PRESETS["pose-transfer"]()
    guided = {"guider": "ce", "guider_run": str(gan.guider), "poses": (str(gan.data),)}
    config = replace(
        preset.with_sets((str(gan.data),)),
        **(guided if gan.guider else {"guider": "none"}),
        networks=gan.networks,
        optimise=replace(preset.optimise, batch_size=gan.batch_size, epochs=10_000),
        precision=gan.precision,
        pictures_every=0,
    )
    return set_up(config, folder, resume=False)


def save_guider(folder: Path, data: Path, backbone: str) -> Path:
    """A run with random weights that knows everybody in a set; returns its folder."""
    config = REID_PRESETS["pose-r-ce"]()
    config = replace(config, model=replace(config.model, backbone=replace(config.model.backbone, name=backbone)))
    names = tuple(np.unique(Table(data).identities).tolist())
    network = build_model(config.model, len(names), losses=config.losses, pretrained=False)
    folder.mkdir(parents=True)
    state = State(config=config, class_names=names, num_samples=len(names))
    save_checkpoint(checkpoint_path(folder, "last"), network, state, {})
    return folder


def own_steps(run: Setup) -> Iterator[None]:
    """Steps as the trainer takes them."""
    for number, (_, _, batch) in enumerate(run.batches.since(0)):
        update(run, batch, number)
        yield
