"""Settings of torch under which the same numbers go in and come out, whatever the program around sets for itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: sums that are split between threads round differently, and bytes may not depend on that."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def full_precision(device: torch.device | str) -> Iterator[None]:
    """Products in single precision and no gradients: a training loop may allow TF32 or half precision for its network,
    but a body 10 m away would be off by centimetres."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
