"""How fast people are told apart: scoring, re-ranking, the way of pictures to the network, training, and what methods cost.

    OMP_NUM_THREADS=2 python scripts/bench_reid.py [--json] [--rounds 5] [--only ranking reranking loading training]
    OMP_NUM_THREADS=2 python scripts/bench_reid.py --only methods --batch-size 16 --steps 1
    python scripts/bench_reid.py --only loading training methods --device cuda [--compile]

Every figure is a median over rounds after a warm-up, with the lowest and highest round; peers take turns with it. A machine
that does other work meanwhile shows in them and in the load average.
"""

import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import tyro
from bench_figures import Figure, hardware
from bench_loading import loading
from bench_methods import methods
from bench_ranking import ranking, reranking
from bench_training import training

from shards.console import main, write_json, write_text

Part = Literal["ranking", "reranking", "loading", "training", "methods"]
PARTS: tuple[Part, ...] = ("ranking", "reranking", "loading", "training", "methods")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Measure scoring and training."""

    rounds: int = 5
    """Rounds that count."""
    only: tuple[Part, ...] = PARTS
    """What to measure."""
    threads: int = 2
    """Of torch and of the kernels; numpy's are set by OMP_NUM_THREADS and its like."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Of loading and training; scoring is measured on the CPU."""
    steps: int = 4
    """Training steps of a round; on a GPU 50 or more."""
    batch_size: int | None = None
    """Of the methods; None: as published, up to 128 pictures of 384 x 128."""
    compile: bool = False
    """torch.compile in training."""
    small: bool = False
    """Sizes that show that it works, and no speed."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.threads, self.steps) < 1:
            raise ValueError(
                f"needs rounds, threads and steps >= 1, got {self.rounds}, {self.threads} and {self.steps}"
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda needs a GPU that torch can use, there is none: leave out --device")

    def run(self) -> int:
        """Returns the exit code, 0 whether targets are met or not."""
        if self.device == "cpu":
            os.environ["ACCELERATE_USE_CPU"] = "true"  # also where there is a GPU
        torch.set_num_threads(self.threads)
        before = {**hardware(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "unset")}
        if self.device == "cuda":
            before["gpu"] = torch.cuda.get_device_name()
        figures: list[Figure] = []
        for part in self.only:
            sys.stderr.write(f"measuring: {part}\n")
            figures += self._measure(part)
        self._report(before, figures)
        return 0

    def _measure(self, part: Part) -> list[Figure]:
        match part:
            case "ranking":
                num_query, num_gallery, dimensions = (60, 300, 32) if self.small else (3368, 15913, 2048)
                return ranking(num_query, num_gallery, dimensions, rounds=self.rounds)
            case "reranking":
                num_query, num_gallery, dimensions = (60, 300, 32) if self.small else (1000, 5000, 2048)
                return reranking(num_query, num_gallery, dimensions, rounds=self.rounds)
            case "loading":
                return loading(64 if self.small else 1024, rounds=self.rounds, device=self.device)
            case "training":
                network = "resnet18" if self.small else "resnet50"
                return training(
                    network, rounds=self.rounds, steps=self.steps, device=self.device, is_compiled=self.compile
                )
            case "methods":
                return methods(
                    rounds=self.rounds,
                    steps=self.steps,
                    device=self.device,
                    batch_size=8 if self.small else self.batch_size,
                    backbone="resnet18" if self.small else "resnet50",
                    is_compiled=self.compile,
                )

    def _report(self, before: dict[str, Any], figures: list[Figure]) -> None:
        after, config = os.getloadavg()[0], asdict(self)
        if self.json:
            results = [asdict(figure) for figure in figures]
            write_json({"hardware": before, "load_after": after, "config": config, "results": results})
            return
        write_text("\n".join([*(f"{key}: {value}" for key, value in before.items()), f"load after: {after:.2f}"]))
        write_text(f"config: {config}\n")
        write_text("\n".join(figure.line() for figure in figures))


def cli() -> int:
    """Parse the command line and measure; returns the exit code."""
    return tyro.cli(Bench, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
