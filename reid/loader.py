"""Batches of a training set on the device: from memory where the decoded set fits, else from worker processes.

Both ways give the same batches for the same rows of sample numbers, so a run goes on from any step.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reid.batch import StoredBatch
from reid.dataset import DataConfig, Samples
from reid.fit import Label
from reid.interrupt import leave_to_parent
from shards.console import progress_bar
from shards.errors import ShardError

logger = logging.getLogger(__name__)

DEVICE_SHARE = 0.5
"""A set is kept on a GPU if it takes no more than this share of the memory that is free there: a network needs the rest."""
PREFETCH = 4
"""Batches that each worker process decodes ahead."""


class Loader(Protocol):
    """Where batches come from."""

    def batches(self, rows: np.ndarray) -> Iterator[StoredBatch]:
        """rows (steps, B) int64, numbers of samples -> a batch on the device for each row, in their order.

        One iterator at a time. Raises ShardError naming shard and key of a sample that does not decode.
        """


def make_loader(train_set: Samples, config: DataConfig, device: torch.device, *, may_lie_on_gpu: bool = True) -> Loader:
    """A loader of `train_set` for `device`: with all of it in memory, on a GPU if it may and there is room, where it fits
    into config.memory_gib, else with config.num_workers processes that decode."""
    num_bytes = len(train_set) * sum(math.prod(shape) for shape in train_set.shapes().values())
    gib = num_bytes / 2**30
    if gib > config.memory_gib:
        logger.info("%.2f GiB of pictures exceed memory_gib = %g: decoded batch by batch", gib, config.memory_gib)
        return WorkerLoader(train_set, device, config.num_workers)
    fits_device = (
        may_lie_on_gpu and device.type == "cuda" and num_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
    )
    storage = device if fits_device else torch.device("cpu")
    logger.info("%.2f GiB of pictures are kept in memory on %s", gib, storage)
    return MemoryLoader(train_set, device, storage, config.num_workers)


class MemoryLoader:
    """All samples decoded once, batches by indexing."""

    def __init__(self, train_set: Samples, device: torch.device, storage: torch.device, num_threads: int):
        """storage: where the decoded set lies, the device itself or the CPU."""
        self._train_set, self._device, self._storage = train_set, device, storage
        self._arrays, read = _decode_all(train_set, storage, max(1, num_threads))
        self._about = _About(train_set, device)
        self._read = read

    def batches(self, rows: np.ndarray) -> Iterator[StoredBatch]:
        places = _to_device(torch.from_numpy(np.ascontiguousarray(rows)), self._storage)
        for step, row in enumerate(rows):
            arrays = {field: array.index_select(0, places[step]) for field, array in self._arrays.items()}
            arrays = {field: _to_device(array, self._device) for field, array in arrays.items()}
            yield self._about.batch(self._read[row], arrays)


class WorkerLoader:
    """Worker processes that decode batch by batch, ahead of the training; 0 decodes here. They live as long as it does."""

    def __init__(self, train_set: Samples, device: torch.device, num_workers: int):
        self._device, self._about = device, _About(train_set, device)
        self._rows = _Rows()
        self._loader = DataLoader(
            _Decoded(train_set),
            batch_sampler=self._rows,
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            persistent_workers=num_workers > 0,
            worker_init_fn=leave_to_parent,
            prefetch_factor=PREFETCH if num_workers else None,
        )

    def batches(self, rows: np.ndarray) -> Iterator[StoredBatch]:
        self._rows.rows = rows
        for read, arrays in map(whole, self._loader):
            arrays = {field: array.to(self._device, non_blocking=True) for field, array in arrays.items()}
            yield self._about.batch(np.array(read), arrays)


class _About:
    """What is known of samples without decoding them, on the device."""

    def __init__(self, train_set: Samples, device: torch.device):
        self._keys, self._device, self._uv_layout = train_set.keys, device, train_set.uv_layout
        self._columns = torch.from_numpy(np.stack([train_set.classes, train_set.origins, train_set.camera_ids]))
        self._columns = self._columns.to(device)

    def batch(self, read: np.ndarray, arrays: Mapping[Label, Tensor]) -> StoredBatch:
        """read (B,) int64, numbers of the samples whose arrays these are."""
        identities, origins, camera_ids = self._columns[:, _to_device(torch.from_numpy(read), self._device)]
        return StoredBatch(
            images=arrays["image"],
            identities=identities,
            origins=origins,
            camera_ids=camera_ids,
            keys=tuple(self._keys[read].tolist()),
            labels={field: array for field, array in arrays.items() if field != "image"},
            uv_layout=self._uv_layout,
        )


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Without waiting for the device: from page-locked memory."""
    if tensor.device == device or device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _decode_all(train_set: Samples, storage: torch.device, num_threads: int) -> tuple[dict[Label, Tensor], np.ndarray]:
    """Label -> (N, ...) on `storage`, and (N,) int64, the samples read: others for bad ones."""
    size = len(train_set)
    arrays = {
        field: torch.empty((size, *shape), dtype=torch.float32 if field == "keypoints" else torch.uint8, device=storage)
        for field, shape in train_set.shapes().items()
    }
    read = np.empty(size, np.int64)

    def decode(index: int) -> None:
        read[index], sample = train_set.read_good(index)
        for field, array in sample.items():
            arrays[field][index].copy_(torch.from_numpy(array))

    first_process = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    bar = progress_bar("decode", size, unit="images") if first_process else nullcontext(lambda done: None)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as pool, bar as report:
        try:
            for done, _ in enumerate(pool.map(decode, range(size)), start=1):
                report(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return arrays, read


class _Decoded(Dataset):
    def __init__(self, train_set: Samples):
        self._train_set = train_set

    def __getitem__(self, index: int) -> tuple[int, dict[Label, np.ndarray]] | ShardError:
        try:
            return self._train_set.read_good(index)
        except ShardError as error:
            return error


class _Rows:
    """The batch sampler of a DataLoader whose workers outlive an epoch."""

    rows: np.ndarray

    def __iter__(self) -> Iterator[list[int]]:
        return (row.tolist() for row in self.rows)


Named = tuple[list[Any], dict[Label, Tensor]]
"""Numbers or keys of B samples, and their arrays (B, ...)."""


def collate(samples: list[tuple[Any, dict[Label, np.ndarray]] | ShardError]) -> Named | ShardError:
    """(name, arrays) of each sample as one batch; the error instead where one could not be read. It comes home as a value
    because a DataLoader would turn it into a text with its worker's traceback."""
    for sample in samples:
        if isinstance(sample, ShardError):
            return sample
    names, arrays = zip(*samples, strict=True)
    return list(names), {field: torch.from_numpy(np.stack([one[field] for one in arrays])) for field in arrays[0]}


def whole(batch: Named | ShardError) -> Named:
    """What `collate` gave, or its error raised."""
    if isinstance(batch, ShardError):
        raise batch
    return batch
