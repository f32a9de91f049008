"""The part of `bench_reid.py` on what methods cost in training: their steps beside their baselines' in the same rounds."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from bench_figures import Figure
from bench_training import own_steps, take, wait

from reid.config import EvaluateConfig
from reid.dataset import DataConfig
from reid.part_images import dense_part_images
from reid.presets import PRESETS
from reid.setup import Setup, set_up

COMPARED: Mapping[str, tuple[str, float]] = {
    "san-basic": ("baseline", 1.5),
    "san": ("baseline", 1.5),
    "dsa": ("baseline", 2.0),
    "dsa-two-branches": ("baseline", 2.0),
    "gp-ps": ("gp-r50", 1.1),
    "pcb-ps": ("pcb", 1.1),
    "mgn-ps": ("mgn", 1.1),
}
"""Preset -> the one that it is measured beside, and the most that its step may take on a GPU, times the other's."""
NUM_PART_IMAGES = 256


def methods(
    *, rounds: int, steps: int, device: str, batch_size: int | None, backbone: str, is_compiled: bool
) -> list[Figure]:
    """Time of a training step over that of its baseline, batches and all; and of part images alone.

    batch_size: of all presets, with four pictures of each person where they have any number; None: their own.
    """
    figures = [part_images(rounds=rounds, device=torch.device(device))]
    with tempfile.TemporaryDirectory() as folder:
        data = render(Path(folder) / "data")
        for baseline in dict.fromkeys(baseline for baseline, _ in COMPARED.values()):
            presets = [baseline, *(name for name, (beside, _) in COMPARED.items() if beside == baseline)]
            runs = {
                name: open_preset(
                    name, data, Path(folder) / name, batch_size=batch_size, backbone=backbone, is_compiled=is_compiled
                )
                for name in presets
            }
            if (found := runs[baseline].accelerator.device.type) != device:
                raise ValueError(f"asked for {device}, training takes place on {found}")
            figures += compare(runs, baseline, rounds=rounds, steps=steps, device=device)
    return figures


def render(folder: Path) -> str:
    """People with every label."""
    options = ["--num-identities", "48", "--train-share", "1", "--num-cameras", "4", "--seed", "1"]
    command = [sys.executable, "-m", "synth", "scene", "--out", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)
    return str(folder)


def open_preset(name: str, data: str, out: Path, *, batch_size: int | None, backbone: str, is_compiled: bool) -> Setup:
    """A run of a preset from random weights."""
    preset = PRESETS[name]()
    model = replace(preset.model, backbone=replace(preset.model.backbone, name=backbone, weights="none"))
    sampler = preset.sampler
    if batch_size is not None:
        per = None if sampler.images_per_identity is None else 4
        sampler = replace(sampler, batch_size=batch_size, images_per_identity=per)
    config = replace(
        preset,
        model=model,
        sampler=sampler,
        data=DataConfig(rendered=(data,)),
        evaluate=EvaluateConfig(every=0),
        compile=is_compiled,
    )
    return set_up(config, out, resume=False, pairs=None)


def compare(runs: Mapping[str, Setup], baseline: str, *, rounds: int, steps: int, device: str) -> list[Figure]:
    """Steps of all runs in turns."""
    ways = {name: own_steps(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            time_s = take(way, steps if number else 1, runs[name].accelerator.device)
            if number:
                times[name].append(time_s / steps)
    size, precision = runs[baseline].config.sampler.batch_size, runs[baseline].accelerator.mixed_precision
    figures = [Figure.of(f"a step of {baseline}, {size} pictures, {precision}", "s", times[baseline])]
    for name in runs:
        if name != baseline:
            ratios = [mine / theirs for mine, theirs in zip(times[name], times[baseline], strict=True)]
            target = COMPARED[name][1] if device == "cuda" else None
            figures.append(Figure.of(f"{name} over {baseline}", "x", ratios, target=target, more_is_better=False))
    return figures


def part_images(*, rounds: int, device: torch.device) -> Figure:
    """DSAP-images of 256 pictures of 256 x 128 pixels, each with a person who fills most of it."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(NUM_PART_IMAGES, 3, 256, 128, generator=generator).to(device)
    surface = torch.arange(24).repeat_interleave(8)[None, :, None].expand(NUM_PART_IMAGES, 192, 80) + 1
    iuv = torch.zeros(NUM_PART_IMAGES, 256, 128, 3, dtype=torch.uint8)
    iuv[:, 32:224, 24:104, 0] = surface
    iuv[:, 32:224, 24:104, 1:] = torch.randint(0, 256, (NUM_PART_IMAGES, 192, 80, 2), generator=generator)
    iuv = iuv.to(device)
    times = []
    for number in range(rounds + 1):
        wait(device)
        start = time.perf_counter()
        dense_part_images(images, iuv)
        wait(device)
        if number:
            times.append(1e3 * (time.perf_counter() - start))
    target = 5.0 if device.type == "cuda" else None
    return Figure.of(f"part images of {NUM_PART_IMAGES} pictures", "ms", times, target=target, more_is_better=False)
