"""What all tests need of the process they run in."""

import os
import signal
from pathlib import Path

import pytest

LONGEST = "test_scripts.py"
"""Its demo takes longer than any other file."""

# A shell starts background jobs deaf to Ctrl-C, and so would be the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # The processes that share the cores wait for each other's threads many times longer than one thread takes.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # In numba's cache two processes that compile a kernel for different types at once can take each other's place.
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / f"numba-{worker}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: what else there is to do keeps the other processes busy meanwhile."""
    items.sort(key=lambda item: item.path.name != LONGEST)
