"""What the experiments share: commands of the project as they are run, and tables of what came of them."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from reid.journal import read_metrics
from reid.optimise import OptimiseConfig

Result = TypeVar("Result")


def do(package: str, *arguments: Any, jobs: int = 1) -> str:
    """What a command of the project writes, with its share of the cores where `jobs` run at a time. Raises ValueError with its
    last words where it fails."""
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    command = [sys.executable, "-m", package, *map(str, arguments)]
    sys.stderr.write(f"$ {' '.join(command[1:])}\n")
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ValueError(f"{' '.join(command[1:])} failed: {last}")
    return done.stdout


def each(task: Callable[[Any], Result], of: Sequence[Any], *, jobs: int) -> list[Result]:
    """What a task gives for each of these, done `jobs` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(task, of))


def scores_of(folder: Path) -> list[dict[str, Any]]:
    """What a run's one set was scored, with the epoch, in order of epochs."""
    _, lines = read_metrics(folder)
    return [{"epoch": line["epoch"], **next(iter(line["scores"].values()))} for line in lines]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Tables in Markdown: scores after the last epoch, mean and standard deviation over seeds; and mAP on the way, of the rows
    that tell it, those of one length together."""
    by_name = {result["row"]: result for result in results}
    lines = ["| row | mAP | rank-1 | mAP over its baseline | seeds for it |", "|---|---|---|---|---|"]
    for result in results:
        gain, wins = "-", "-"
        if result["beside"] is not None:
            # A seed draws the same batches of people for both, and without pairs the same augmentation.
            gains = [a - b for a, b in zip(result["mean_ap"], by_name[result["beside"]]["mean_ap"], strict=True)]
            gain, wins = (
                f"{spread(gains, sign='+')} over {result['beside']}",
                f"{sum(g > 0 for g in gains)} of {len(gains)}",
            )
        lines.append(f"| {result['row']} | {spread(result['mean_ap'])} | {spread(result['rank1'])} | {gain} | {wins} |")
    for epochs in dict.fromkeys(tuple(result["epochs"]) for result in results if result.get("epochs")):
        lines += ["", f"| mAP after epoch | {' | '.join(map(str, epochs))} |", "|---|" + "---|" * len(epochs)]
        lines += [
            f"| {result['row']} | {' | '.join(f'{100 * value:.1f} %' for value in result['curve'])} |"
            for result in results
            if tuple(result.get("epochs", ())) == epochs
        ]
    return "\n".join(lines)


def schedule(optimise: OptimiseConfig, epochs: int) -> tuple[Any, ...]:
    """Options of a run that is so many epochs long, whose rate falls where it does in `optimise`, counted in shares of its length."""
    milestones = [milestone * epochs / optimise.epochs for milestone in optimise.milestones]
    return "--optimise.epochs", epochs, *(("--optimise.milestones", *milestones) if milestones else ())


def spread(values: Sequence[float], *, sign: str = "") -> str:
    """Mean and standard deviation of shares, in percent."""
    return f"{100 * statistics.mean(values):{sign}.1f} ± {100 * deviation(values):.1f} %"


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample; 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
