"""How loops over numbers are compiled for the CPU, and shared out between its cores."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import torch

kernel = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")
"""Decorator of a kernel that runs beside others in threads; options are those of `numba.njit`."""


def share_out(work: Callable[[int, int], object], num: int) -> None:
    """Call work(start, stop) for ranges that make up 0..num, in as many threads as torch uses.

    numba's own threads are not used: they and the processes that data loaders fork do not go together.
    """
    num_threads = torch.get_num_threads()
    num_ranges = min(num, 1 if num_threads == 1 else 4 * num_threads)  # ranges differ in cost
    bounds = [num * i // num_ranges for i in range(num_ranges + 1)] if num_ranges else []
    if num_ranges <= 1:
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
            work(start, stop)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        for done in [pool.submit(work, start, stop) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]:
            done.result()
