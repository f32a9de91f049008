"""How fast scenes are rendered, everything written: what `bench_synth.py` measures of them."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench_figures import Figure

from shards.writer import write_shard
from synth.background import ProceduralBackgrounds
from synth.scenes.generate import SceneShards
from synth.scenes.presets import market_like
from synth.scenes.visits import CIRCLE, circles
from synth.sources import Sources


def scenes_on_disk(rounds: int) -> list[Figure]:
    """Shards of `market-like` in this process, one circle of people each, half of them of the train split."""
    config = replace(market_like(), num_identities=2 * CIRCLE * rounds)
    make_shard = SceneShards(
        config=config, circles_per_shard=1, sources=Sources(backgrounds=ProceduralBackgrounds()), frames=None
    )
    rates, cpu_rates, sizes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in [0, *range(len(circles(config)))]:  # the first once more, as a warm-up
            start, cpu_start = time.perf_counter(), time.process_time()
            entry = write_shard(Path(folder) / "scene.tar", make_shard(index))
            rates.append(entry.num_samples / (time.perf_counter() - start))
            cpu_rates.append(entry.num_samples / (time.process_time() - cpu_start))
            sizes.append(entry.num_bytes / entry.num_samples / 1e6)
    return [
        Figure.of("scenes on disk, 1 core", "crops/s", rates[1:], target=80),
        Figure.of("scenes, per second of CPU time", "crops/s", cpu_rates[1:], target=80),
        Figure.of("size of a crop with its labels", "MB", sizes[1:], more_is_better=False),
    ]
