"""The part of `bench_reid.py` on the way of pictures to a network: decoding, batches from memory and from worker processes,
augmentation.

Pictures are 128 x 64 JPEGs, resized to 256 x 128; batches are of 64. The peers do the same with pad-crop, flip,
normalisation and erasing: torchvision's transforms (v2) on one decoded picture after another, and for the colours kornia's
ColorJitter on the batch. All take turns in every round, so that ratios hold on a machine that does other work too.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kornia.augmentation
import numpy as np
import torch
from bench_figures import Figure
from PIL import Image
from torchvision.transforms import v2

from reid.augment import AugmentConfig, augment, change_colour, draw_parameters
from reid.batch import MEAN, STD, StoredBatch
from reid.dataset import DataConfig, Samples, open_train_set
from reid.fit import InputConfig
from reid.loader import Loader, MemoryLoader, WorkerLoader
from shards import Meta, Sample
from shards.codec import EncodedSample, encode_sample
from shards.manifest import MANIFEST, Manifest, shard_name
from shards.writer import write_shard

BATCH_SIZE = 64
NUM_DIFFERENT = 48
NUM_WORKERS = 2
INPUT = InputConfig()
AUGMENT = AugmentConfig()
COLOURS = AugmentConfig(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
PEER = v2.Compose(
    [
        v2.Pad(AUGMENT.pad),
        v2.RandomCrop((INPUT.height, INPUT.width)),
        v2.RandomHorizontalFlip(AUGMENT.flip),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
        v2.RandomErasing(AUGMENT.erase, (0.02, 0.4), (0.3, 3.33)),
    ]
)


def loading(num_images: int, *, rounds: int, device: str) -> list[Figure]:
    """Decoding, batches and augmentation, to a device."""
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), num_images)
        train_set = open_train_set(DataConfig(real=(folder,)), INPUT)
        return measure(train_set, rounds=rounds, device=torch.device(device))


def write_shards(folder: Path, num: int) -> None:
    """Smooth, noisy pictures of 16 each of num / 16 people."""
    entry = write_shard(folder / shard_name("bench", 0), make_samples(num), index=0)
    config = {"images": num}
    manifest = Manifest(
        name="bench", num_shards=1, config=config, licences=("CC0-1.0",), complete=True, shards=(entry,)
    )
    (folder / MANIFEST).write_text(manifest.to_json())


def make_samples(num: int) -> Iterator[EncodedSample]:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(NUM_DIFFERENT):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8))
        smooth = np.array(coarse.resize((64, 128), Image.Resampling.BICUBIC)).astype(int)
        pictures.append((smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8))
    for i in range(num):
        meta = Meta(origin="real", dataset="bench", identity=f"bench/{i // 16:05d}", camera_id=i % 6, split="train")
        yield encode_sample(Sample(key=f"{i:08d}", image=pictures[i % NUM_DIFFERENT], meta=meta))


def measure(train_set: Samples, *, rounds: int, device: torch.device) -> list[Figure]:
    """All in turns, the first round left out."""
    rows = np.arange(len(train_set) // BATCH_SIZE * BATCH_SIZE).reshape(-1, BATCH_SIZE)
    memory = MemoryLoader(train_set, device, device, NUM_WORKERS)
    workers = WorkerLoader(train_set, device, NUM_WORKERS)
    batch = next(memory.batches(rows))
    rng = np.random.default_rng(0)
    iuv = torch.from_numpy(rng.integers(0, 25, batch.images.shape, dtype=np.uint8)).to(device)
    with_iuv = StoredBatch(**{name: getattr(batch, name) for name in NAMES}, labels={"iuv": iuv})
    jitter = kornia.augmentation.ColorJitter(0.2, 0.2, 0.2, 0.1)
    colours = draw_parameters(COLOURS, INPUT, BATCH_SIZE, seed=0, step=0).colour
    pictures = batch.images.permute(0, 3, 1, 2).float() / 255
    one_by_one = [image.permute(2, 0, 1).contiguous() for image in batch.images.cpu()]
    ways: dict[str, Callable[[], object]] = {
        "decode": lambda: [train_set.read(i) for i in range(len(rows) * BATCH_SIZE)],
        "memory": lambda: drain(memory, rows),
        "workers": lambda: drain(workers, rows),
        "augment": lambda: augmented(batch, AUGMENT),
        "augment, iuv": lambda: augmented(with_iuv, AUGMENT),
        "augment, colours": lambda: augmented(batch, COLOURS),
        "torchvision": lambda: torch.stack([PEER(picture) for picture in one_by_one]),
        "colours": lambda: change_colour(batch.images, batch.images, colours),
        "kornia": lambda: jitter(pictures),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            wait(device)
            start = time.perf_counter()
            way()
            wait(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return figures_of(times, rows.size)


NAMES = ("images", "identities", "origins", "camera_ids", "keys")


def figures_of(times: dict[str, list[float]], num_images: int) -> list[Figure]:
    def rates(name: str) -> list[float]:
        return [num_images / time_s for time_s in times[name]]

    def ms(name: str) -> list[float]:
        return [1e3 * time_s for time_s in times[name]]

    def ratios(peer: str, ours: str) -> list[float]:
        return [theirs / mine for theirs, mine in zip(times[peer], times[ours], strict=True)]

    less = {"unit": "ms", "more_is_better": False}
    return [
        Figure.of("decode and resize, one thread", "images/s", rates("decode")),
        Figure.of("batches from worker processes", "images/s", rates("workers")),
        Figure.of("batches from memory", "images/s", rates("memory")),
        Figure.of("augment 64", values=ms("augment"), **less),
        Figure.of("  with iuv", values=ms("augment, iuv"), **less),
        Figure.of("  with colours", values=ms("augment, colours"), **less),
        Figure.of("peer: torchvision v2, one by one on the CPU", values=ms("torchvision"), **less),
        Figure.of("augment over torchvision", "x", ratios("torchvision", "augment")),
        Figure.of("colours of 64", values=ms("colours"), **less),
        Figure.of("peer: kornia ColorJitter", values=ms("kornia"), **less),
        Figure.of("colours over kornia", "x", ratios("kornia", "colours")),
    ]


def drain(loader: Loader, rows: np.ndarray) -> None:
    for _ in loader.batches(rows):
        pass


def augmented(batch: StoredBatch, config: AugmentConfig) -> torch.Tensor:
    return augment(batch, INPUT, draw_parameters(config, INPUT, BATCH_SIZE, seed=0, step=0)).images


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
