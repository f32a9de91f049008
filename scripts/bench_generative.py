"""How fast labels and people are drawn, from shards to shards, beside the networks alone; and what training a GAN takes.

    OMP_NUM_THREADS=2 python scripts/bench_generative.py [--json] [--rounds 5] [--only annotate augment gan]
    python scripts/bench_generative.py --device cuda --num-images 4096 --steps 50

Every figure is a median over rounds after a warm-up, with the lowest and highest round. Networks have random weights. Shards are
made in this process, as a worker makes them: reading, decoding, drawing, encoding and writing, but not the start of a worker,
which takes seconds once. The bare network, in the same rounds, has its input in memory, and gives its pictures to nobody.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from bench_figures import Figure, hardware
from bench_gan import gan_training
from bench_methods import render
from bench_training import wait

from generative.annotators.annotate import AnnotateShards
from generative.annotators.mean_texture import with_mean_texture
from generative.annotators.opened import OpenAnnotator, open_annotator
from generative.annotators.texture import annotate_textures
from generative.device import autocast, autocast_of
from generative.presets import PRESETS
from generative.transfer.artist import own_artist
from generative.transfer.augment import known_people
from generative.transfer.generate import GenerateShard
from generative.transfer.networks import NetworkConfig, Players
from generative.transfer.pose_bank import PoseBank
from generative.transfer.run import load_transfer
from reid.batch import normalise
from reid.checkpoint import State, checkpoint_path, save_checkpoint
from reid.fit import InputConfig
from reid.models.build import build_model
from shards.codec import EncodedSample
from shards.console import main, write_json, write_text
from shards.manifest import MANIFEST, Manifest, read_manifest, shard_name
from shards.table import Table
from shards.writer import write_shard

Part = Literal["annotate", "augment", "gan"]
PARTS: tuple[Part, ...] = ("annotate", "augment", "gan")
LABELS = ("texture", "iuv", "parts", "keypoints")
LEAST_SHARE = 0.8
"""Of the bare network's speed, that shards are to be made at."""
LEAST_RATE = 2000.0
"""Pictures generated a second on a GPU, 256 x 256."""
PER_IMAGE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Measure what generates."""

    rounds: int = 5
    """Rounds that count."""
    only: tuple[Part, ...] = PARTS
    """What to measure."""
    labels: tuple[Literal["texture", "iuv", "parts", "keypoints"], ...] = LABELS
    """Whose annotators are measured."""
    threads: int = 2
    """Of torch; numpy's are set by OMP_NUM_THREADS and its like."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks run."""
    num_images: int = 32
    """Pictures of a round; on a GPU thousands."""
    batch_size: int = 16
    """Pictures that are labelled, drawn or learned from at once; on a GPU 64."""
    steps: int = 2
    """GAN training steps of a round; on a GPU 50 or more."""
    small: bool = False
    """Networks that show that it works, and no speed."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.threads, self.num_images, self.batch_size, self.steps) < 1:
            raise ValueError("needs rounds, threads, num_images, batch_size and steps >= 1")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda needs a GPU that torch can use, there is none: leave out --device")

    def run(self) -> int:
        """Returns the exit code, 0 whether targets are met or not."""
        if self.device == "cpu":
            os.environ["ACCELERATE_USE_CPU"] = "true"  # also where there is a GPU
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(self.threads)
        before = {**hardware(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "unset")}
        if self.device == "cuda":
            before["gpu"] = torch.cuda.get_device_name()
        figures: list[Figure] = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sys.stderr.write("rendering people\n")
            data = some_of(render(folder / "all"), folder / "data", self.num_images)
            for part in self.only:
                sys.stderr.write(f"measuring: {part}\n")
                match part:
                    case "annotate":
                        for label in self.labels:
                            figures += annotating(self, data, label, folder / label)
                    case "augment":
                        figures += augmenting(self, data, folder / "transfer")
                    case "gan":
                        figures += gan_training(
                            data,
                            folder / "gan",
                            network_config(self),
                            backbone="resnet18" if self.small else "resnet50",
                            rounds=self.rounds,
                            steps=self.steps,
                            batch_size=self.batch_size,
                            device=self.device,
                            threads=self.threads,
                        )
        self._report(before, figures)
        return 0

    def _report(self, before: dict[str, Any], figures: list[Figure]) -> None:
        after, config = os.getloadavg()[0], asdict(self)
        if self.json:
            results = [asdict(figure) for figure in figures]
            write_json({"hardware": before, "load_after": after, "config": config, "results": results})
            return
        write_text("\n".join([*(f"{key}: {value}" for key, value in before.items()), f"load after: {after:.2f}"]))
        write_text(f"config: {config}\n")
        write_text("\n".join(figure.line() for figure in figures))


def some_of(place: str, out: Path, num: int) -> Path:
    """A set of one shard with the first pictures of known people in the split "train", over again where they are too few."""
    table = Table(place)
    rows = np.resize(np.concatenate(known_people(table)[0]), num)
    out.mkdir()

    def samples() -> Iterator[EncodedSample]:
        for number, i in enumerate(rows.tolist()):
            meta = table.read(i, ("meta",))["meta"]
            yield EncodedSample(key=f"{number:08d}", members=table.read_members(i), meta=meta)

    entry = write_shard(out / shard_name("bench", 0), samples(), index=0)
    licences = table.manifest.licences
    manifest = Manifest(name="bench", num_shards=1, config={}, licences=licences, complete=True, shards=(entry,))
    (out / MANIFEST).write_text(manifest.to_json())
    return out


def annotating(bench: Bench, data: Path, label: str, folder: Path) -> list[Figure]:
    """A shard labelled and written, beside the network alone."""
    config = PRESETS[label]()
    if bench.small:
        model = replace(config.model, backbone=replace(config.model.backbone, name="resnet18"))
        config = replace(config, model=model, input=InputConfig(height=64, width=32))
    network = build_model(config.model, 0, losses=config.losses, pretrained=False)
    layout = "makehuman" if label == "texture" else None
    folder.mkdir()
    state = State(config=config, class_names=(), num_samples=0, uv_layout=layout)
    save_checkpoint(checkpoint_path(folder, "last"), network, state, {})
    source = read_manifest(data)
    annotator = with_mean_texture(open_annotator(folder), str(data), source)
    maker = AnnotateShards(
        folder=folder,
        hash=annotator.hash,
        precision=annotator.precision,
        place=str(data),
        shards=source.shards,
        batch_size=bench.batch_size,
        replace=True,
        mean_texture=annotator.mean_texture,
    )
    title = f"annotate {label}, {config.input.height} x {config.input.width}, {annotator.precision}"
    return beside(bench, title, lambda: written(maker, folder), labelling(bench, annotator))


def labelling(bench: Bench, annotator: OpenAnnotator) -> Callable[[], None]:
    """The network on pictures that are ready."""
    shape = (bench.batch_size, annotator.input.height, annotator.input.width, 3)
    images = normalise(torch.randint(0, 256, shape, dtype=torch.uint8, device=annotator.device))

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(-(-bench.num_images // bench.batch_size)):
            with autocast(annotator.device, annotator.precision):
                if annotator.label == "texture":
                    annotate_textures(annotator.network, images, annotator.uv_layout, annotator.mean_texture)
                else:
                    annotator.network.annotate(images)
        wait(annotator.device)

    return forward


def augmenting(bench: Bench, data: Path, folder: Path) -> list[Figure]:
    """A shard of generated pictures drawn and written, beside the generator alone."""
    config = PRESETS["pose-transfer"]()
    config = replace(config, guider="none", networks=network_config(bench))
    folder.mkdir()
    state = State(config=config, class_names=(), num_samples=0)
    save_checkpoint(checkpoint_path(folder, "last"), Players(config.networks), state, {})
    table, precision = Table(data), autocast_of("auto")
    run = load_transfer(folder)
    num = -(-bench.num_images // PER_IMAGE)
    maker = GenerateShard(
        run=folder,
        run_hash=run.hash,
        data=table,
        rows=(np.arange(num),),
        bank=PoseBank(table=table, rows=np.arange(len(table)), seed=0, min_joints=8),
        is_own=True,
        per_image=PER_IMAGE,
        size=None,
        batch_size=bench.batch_size,
        precision=precision,
        quality=95,
        filter=None,
    )
    artist = own_artist(folder, run.hash, None, precision)
    size, device = artist.size, artist.device
    given = torch.rand(2, bench.batch_size, 3, size, size, device=device) * 2 - 1
    generator = run.generator.to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(-(-bench.num_images // bench.batch_size)):
            with autocast(device, precision):
                generator(*given)
        wait(device)

    title = f"augment, {size} x {size}, {precision}"
    target = LEAST_RATE if bench.device == "cuda" else None
    return beside(bench, title, lambda: written(maker, folder), forward, target=target)


def written(maker: Callable[[int], Iterator[EncodedSample]], folder: Path) -> None:
    """A shard made and written, as a worker does it."""
    write_shard(folder / "made.tar", maker(0), index=0)


def beside(
    bench: Bench, title: str, whole: Callable[[], None], bare: Callable[[], None], *, target: float | None = None
) -> list[Figure]:
    """Images/s of the whole and of the network alone, in turns."""
    times: dict[str, list[float]] = {"whole": [], "bare": []}
    for number in range(bench.rounds + 1):
        for name, function in (("whole", whole), ("bare", bare)):
            start = time.perf_counter()
            function()
            if number:
                times[name].append(time.perf_counter() - start)
    count = bench.num_images
    shares = [b / a for a, b in zip(times["whole"], times["bare"], strict=True)]
    return [
        Figure.of(title, "images/s", [count / time_s for time_s in times["whole"]], target=target),
        Figure.of("  the network alone", "images/s", [count / time_s for time_s in times["bare"]]),
        Figure.of("  share of that speed", "x", shares, target=LEAST_SHARE),
    ]


def network_config(bench: Bench) -> NetworkConfig:
    return NetworkConfig(size=64, width=8, discriminator_width=8) if bench.small else NetworkConfig()


def cli() -> int:
    """Parse the command line and measure; returns the exit code."""
    return tyro.cli(Bench, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
