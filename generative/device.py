"""Where networks that are used, and no longer trained, run, and how exactly."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from reid.cli import is_out_of_memory
from reid.config import Precision
from reid.setup import computes_in_bf16
from shards.workers import worker_number

Autocast = Literal["no", "fp16", "bf16"]
"""What networks compute in; labels and losses are always made in float32."""

_DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def own_device() -> torch.device:
    """The GPU of this process: of worker i the i-th, and over again; the CPU where there is none.

    Where shards are written, a shard that is made again must be the same: cuDNN is told to give the same bits each time.
    """
    torch.backends.cudnn.deterministic = True
    count = torch.cuda.device_count()
    return torch.device("cuda", worker_number() % count) if count else torch.device("cpu")


def default_workers() -> int:
    """Processes that write shards: one for each GPU, or without one for each core of this process."""
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


def autocast_of(precision: Precision) -> Autocast:
    """What a precision is on this machine; auto is bf16 where it computes in that. Raises ValueError for one it has not."""
    match precision:
        case "auto":
            return "bf16" if computes_in_bf16() else "no"
        case "fp16" if not torch.cuda.is_available():
            raise ValueError("precision fp16 needs a GPU: give bf16 or no")
    return precision


def autocast(device: torch.device, precision: Autocast) -> torch.autocast:
    """In which networks on this device compute so."""
    return torch.autocast(device.type, _DTYPES[precision], enabled=precision != "no")


@contextmanager
def in_memory_of(count: int) -> Iterator[None]:
    """In which a network is given `count` pictures at once. Raises ValueError where the device has not enough memory."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(
            f"out of memory with {count} pictures at once: give a smaller --batch-size, or fewer --workers"
        ) from error
