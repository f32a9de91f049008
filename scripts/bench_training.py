"""The part of `bench_reid.py` on training: whole steps with their batches, beside a plain loop in the same rounds."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torchvision
from bench_figures import Figure
from bench_loading import BATCH_SIZE, NUM_WORKERS, PEER, write_shards
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from reid.config import EvaluateConfig
from reid.dataset import DataConfig, Samples
from reid.models.backbone import BackboneConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.presets import baseline
from reid.sampler import epoch_batches
from reid.setup import Setup, set_up
from reid.train import update

NUM_IMAGES = 1024
MARGIN = 0.3


def training(
    network: Literal["resnet18", "resnet50"], *, rounds: int, steps: int, device: str, is_compiled: bool
) -> list[Figure]:
    """Images/s at 256 x 128 with 16 x 4 pictures a step, identity and triplet loss, augmentation and Adam.

    The plain loop has float32, torch's own memory layout, pictures decoded by worker processes, torchvision's transforms on
    one after another, and the losses in a few lines of PyTorch.
    """
    backbone = BackboneConfig(name=network, weights="none")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_shards(data, NUM_IMAGES)
        config = replace(
            baseline(),
            model=GlobalPoolConfig(backbone=backbone, pooling="average", embedding_dim=None),
            data=DataConfig(real=(str(data),), num_workers=NUM_WORKERS),
            evaluate=EvaluateConfig(every=0),
            compile=is_compiled,
        )
        run = set_up(config, Path(folder) / "run", resume=False, pairs=None)
        if run.accelerator.device.type != device:
            raise ValueError(f"asked for {device}, training takes place on {run.accelerator.device}")
        ways = {"ours": own_steps(run), "plain": plain_steps(run.batches.train_set, network, run.accelerator.device)}
        times: dict[str, list[float]] = {name: [] for name in ways}
        waits = [share_of_batches(run) for _ in range(rounds)]
        for number in range(rounds + 1):
            for name, way in ways.items():
                time_s = take(way, steps if number else 2, run.accelerator.device)
                if number:
                    times[name].append(time_s)
    count = steps * BATCH_SIZE
    ratios = [theirs / mine for theirs, mine in zip(times["plain"], times["ours"], strict=True)]
    target = {"target": 4000.0 if device == "cuda" else 25.0} if network == "resnet50" else {}
    name = f"training {network}, {run.accelerator.mixed_precision}, channels last"
    return [
        Figure.of(name, "images/s", [count / time_s for time_s in times["ours"]], **target),
        Figure.of("  share of a step that makes its batch", "%", [100 * w for w in waits], more_is_better=False),
        Figure.of("peer: plain loop, float32", "images/s", [count / time_s for time_s in times["plain"]]),
        Figure.of(
            "training over the plain loop",
            "x",
            ratios,
            target=25 / 8.1 if device == "cpu" and network == "resnet50" else None,
        ),
    ]


def take(way: Iterator[None], steps: int, device: torch.device) -> float:
    """Seconds of so many steps."""
    wait(device)
    start = time.perf_counter()
    for _ in itertools.islice(way, steps):
        pass
    wait(device)
    return time.perf_counter() - start


def share_of_batches(run: Setup) -> float:
    """Share of two steps, with the device at rest in between, that making their batches takes; 0..1."""
    device, batches = run.accelerator.device, run.batches.since(0)
    update(run, run.turns[0], next(batches)[2])
    wait(device)
    start, asked = time.perf_counter(), 0.0
    for _ in range(2):
        before = time.perf_counter()
        batch = next(batches)[2]
        wait(device)
        asked += time.perf_counter() - before
        update(run, run.turns[0], batch)
        wait(device)
    return asked / (time.perf_counter() - start)


def own_steps(run: Setup) -> Iterator[None]:
    """Steps as the trainer takes them."""
    for epoch, step, batch in run.batches.since(0):
        run.seed(epoch, step)
        update(run, run.turns[0], batch)
        yield


def plain_steps(samples: Samples, network: str, device: torch.device) -> Iterator[None]:
    """Steps of a straightforward loop."""
    model = getattr(torchvision.models, network)()
    first = model.layer4[0]
    (first.conv2 if network == "resnet50" else first.conv1).stride = first.downsample[0].stride = (1, 1)
    classifier = nn.Linear(model.fc.in_features, len(samples.class_names))
    model.fc = nn.Identity()
    both = nn.ModuleList([model, classifier]).to(device).train()
    optimiser = torch.optim.Adam(both.parameters(), 8e-4, weight_decay=5e-4)
    batches = [row.tolist() for row in epoch_batches(samples.classes, baseline().sampler, 0, 0)]
    loader = DataLoader(OneByOne(samples), batch_sampler=batches, num_workers=NUM_WORKERS, persistent_workers=True)
    for images, identities in itertools.chain.from_iterable(itertools.repeat(loader)):
        images, identities = images.to(device), identities.to(device)
        features = model(images)
        loss = 0.5 * functional.cross_entropy(classifier(features), identities, label_smoothing=0.1)
        loss = loss + 1.5 * hardest_triplets(features, identities)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield


class OneByOne(Dataset):
    """Decoded, resized, transformed by torchvision: (3, H, W) and class."""

    def __init__(self, samples: Samples):
        self._samples = samples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = torch.from_numpy(np.ascontiguousarray(self._samples.read(index)["image"].transpose(2, 0, 1)))
        return PEER(picture), int(self._samples.classes[index])


def hardest_triplets(features: Tensor, identities: Tensor) -> Tensor:
    """Mean hinge over all anchors."""
    distances = torch.cdist(features, features)
    same = identities[:, None] == identities[None]
    farthest = (distances * same).max(dim=1).values
    nearest = distances.masked_fill(same, float("inf")).min(dim=1).values
    return functional.relu(MARGIN + farthest - nearest).mean()


def wait(device: torch.device) -> None:
    """Until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize()
