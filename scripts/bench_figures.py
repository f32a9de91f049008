"""What a benchmark says: a measured number, how it is taken, and the machine it holds for."""

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number: median, lowest and highest round; target, and whether more or less is better."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    target: float | None = None
    more_is_better: bool = True

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float], **rest: Any) -> "Figure":
        return cls(name=name, unit=unit, median=statistics.median(values), low=min(values), high=max(values), **rest)

    def line(self) -> str:
        text = f"{self.name:<52}{self.median:>11,.4g} {self.unit:<10} ({self.low:,.4g} .. {self.high:,.4g})"
        if self.target is None:
            return text
        met = self.median >= self.target if self.more_is_better else self.median <= self.target
        sign = ">=" if self.more_is_better else "<="
        return f"{text}  target {sign} {self.target:,g}: {'met' if met else 'MISSED'}"


def seconds(function: Callable[[], Any], rounds: int) -> list[float]:
    """Time of every round after one that does not count."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def rates(function: Callable[[], Any], rounds: int, count: int) -> list[float]:
    return [count / time_s for time_s in seconds(function, rounds)]


def hardware() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numba", "numpy")},
    }


def peak_bytes(function: Callable[[], object]) -> int:
    """Most memory that this process held while a function ran, beyond what it held before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status_bytes("VmRSS")
    function()
    return _status_bytes("VmHWM") - before


def _status_bytes(name: str) -> int:
    return 1024 * int(re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
