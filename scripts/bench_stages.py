"""Where the time of a sample goes: `synth.generate` with a clock around each of its stages."""

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from bench_figures import Figure

from shards.writer import write_shard
from synth import colour_numba, generate
from synth.background import Background, ProceduralBackgrounds, View
from synth.generate import PitConfig, PitShards, Sources


class Clock:
    """Time spent in each of several nested stages, without what the stages inside it take."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, stage: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - start
                self.spent[stage] += whole - self._inner.pop()
                self._inner[-1] += whole

        return call


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TimedBackgrounds:
    clock: Clock
    backgrounds: ProceduralBackgrounds

    def draw(self, rng: np.random.Generator, view: View) -> Background:
        return self.clock.timed("background", self.backgrounds.draw)(rng, view)


STAGES: Mapping[tuple[ModuleType, str], str] = {
    (generate, "sample_outfit"): "outfit: choose",
    (generate, "dress"): "outfit: dress",
    (generate, "paint"): "outfit: paint texture",
    (generate, "srgb_to_linear"): "outfit: texture to linear",
    (generate, "draw_scene"): "scene",
    (generate, "stand"): "pose body and clothes, twice",
    (generate, "place_cameras"): "cameras",
    (generate, "cameras_around"): "cameras of aligned pictures",
    (generate, "cast_shadow"): "shadow on the ground",
    (generate, "draw_person"): "rasterise and shade, twice",
    (generate, "apply_sensor"): "sensor",
    (colour_numba, "encode_srgb"): "aligned to sRGB",
    (generate, "visibility"): "keypoints seen",
    (generate, "describe"): "meta",
    (generate, "encode_png"): "outfit: encode texture",
    (generate, "encode_sample"): "encode",
}
"""Function, where `synth.generate` finds it -> stage. Image and aligned picture are two drawings per sample."""


@contextlib.contextmanager
def clocked(clock: Clock) -> Iterator[None]:
    """`synth.generate` with its stages timed."""
    originals = {(module, name): getattr(module, name) for module, name in STAGES}
    for (module, name), stage in STAGES.items():
        setattr(module, name, clock.timed(stage, originals[module, name]))
    try:
        yield
    finally:
        for (module, name), function in originals.items():
            setattr(module, name, function)


def stages(num_samples: int, rounds: int) -> list[Figure]:
    """Milliseconds per sample, written to disk, in this process."""
    totals, spent = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            clock = Clock()
            sources = Sources(backgrounds=TimedBackgrounds(clock=clock, backgrounds=ProceduralBackgrounds()))
            config = PitConfig(num_samples=(rounds + 1) * num_samples)
            make = PitShards(config=config, samples_per_shard=num_samples, sources=sources)
            with clocked(clock):
                write = clock.timed("tar, hash, disk, rest", write_shard)
                start = time.perf_counter()
                write(Path(folder) / f"stages-{number:06d}.tar", make(number))
                totals.append(1e3 * (time.perf_counter() - start) / num_samples)
            spent.append({stage: 1e3 * time_s / num_samples for stage, time_s in clock.spent.items()})
    figures = [
        Figure.of(f"  {stage}", "ms/sample", [one.get(stage, 0.0) for one in spent[1:]], more_is_better=False)
        for stage in ("background", *STAGES.values(), "tar, hash, disk, rest")
    ]
    figures.sort(key=lambda figure: -figure.median)
    whole = Figure.of("one sample, all stages, this process", "ms/sample", totals[1:], more_is_better=False)
    return [whole, *figures]
