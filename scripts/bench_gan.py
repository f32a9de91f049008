"""The part of `bench_generative.py` on training a GAN: its steps in float32 and in bf16, and the memory that they take."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from accelerate.state import AcceleratorState
from bench_figures import Figure
from bench_training import take

from generative.presets import PRESETS
from generative.transfer.networks import NetworkConfig
from generative.transfer.setup import Setup, set_up
from generative.transfer.train import update

LEAST_RATE = 800.0
"""Images/s on a GPU, 256 x 256, in bf16."""


def gan_training(
    data: Path, folder: Path, networks: NetworkConfig, *, rounds: int, steps: int, batch_size: int, device: str
) -> list[Figure]:
    """Steps of both players, batches and all, in float32 and in bf16; without a guider."""
    figures: list[Figure] = []
    medians: dict[str, float] = {}
    for precision in ("no", "bf16"):
        run = open_gan(data, folder / precision, networks, precision, batch_size)
        if (where := run.accelerator.device).type != device:
            raise ValueError(f"asked for {device}, training takes place on {where}")
        times, memory_gib = measure(run, rounds, steps)
        del run  # the next has the memory to itself
        target = LEAST_RATE if device == "cuda" and precision == "bf16" else None
        title = f"GAN step, {networks.size} x {networks.size}, batch {batch_size}, {precision}"
        figures.append(Figure.of(title, "ms", [1e3 * time_s for time_s in times], more_is_better=False))
        medians[precision] = figures[-1].median
        figures.append(Figure.of("  of which", "images/s", [batch_size / time_s for time_s in times], target=target))
        if memory_gib is not None:
            figures.append(Figure.of("  memory, at most", "GiB", [memory_gib], more_is_better=False))
    ratio = medians["bf16"] / medians["no"]
    return [*figures, Figure.of("GAN step, bf16 over float32", "x", [ratio], more_is_better=False)]


def measure(run: Setup, rounds: int, steps: int) -> tuple[list[float], float | None]:
    """Seconds of a step in each round, and the most memory that a GPU gave at once, GiB."""
    way, device = own_steps(run), run.accelerator.device
    take(way, 1, device)
    if device.type != "cuda":
        return [take(way, steps, device) / steps for _ in range(rounds)], None
    torch.cuda.reset_peak_memory_stats()
    times = [take(way, steps, device) / steps for _ in range(rounds)]
    return times, torch.cuda.max_memory_allocated() / 2**30


def open_gan(
    data: Path, folder: Path, networks: NetworkConfig, precision: Literal["no", "bf16"], batch_size: int
) -> Setup:
    """A run from random weights."""
    AcceleratorState._reset_state(True)  # it knows one precision at a time
    preset = PRESETS["pose-transfer"]()
    config = replace(
        preset.with_sets((str(data),)),
        guider="none",
        networks=networks,
        optimise=replace(preset.optimise, batch_size=batch_size, epochs=10_000),
        precision=precision,
        pictures_every=0,
    )
    return set_up(config, folder, resume=False)


def own_steps(run: Setup) -> Iterator[None]:
    """Steps as the trainer takes them."""
    for number, (_, _, batch) in enumerate(run.batches.since(0)):
        update(run, batch, number)
        yield
