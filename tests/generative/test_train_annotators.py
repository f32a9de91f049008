"""Every annotator is trained from its command line, and what it leaves is used."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from labelled_people import HEIGHT, WIDTH, LabelledPeople
from tiny_people import People, build_people

from generative.annotators.opened import open_annotator
from generative.presets import PRESETS
from reid.config import EvaluateConfig
from reid.dataset import DataConfig
from reid.fit import InputConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.presets import san
from reid.sampler import SamplerConfig
from reid.setup import open_batches
from reid.train import train
from shards.errors import ShardError

SMALL = (
    f"--input.height {HEIGHT} --input.width {WIDTH} --model.backbone.name resnet18 --model.backbone.weights none "
    "--sampler.batch-size 6 --optimise.epochs 1 --optimise.milestones 1 --augment.pad 4 --precision no --data.num-workers 0"
).split()
LOSSES = {
    "texture": {"reconstruction"},
    "iuv": {"surface", "uv", "surface_accuracy"},
    "parts": {"parts", "parts_accuracy"},
    "keypoints": {"heatmaps"},
}
SHAPES = {
    "texture": (1, 256, 256, 3),
    "iuv": (1, HEIGHT, WIDTH, 3),
    "parts": (1, HEIGHT, WIDTH),
    "keypoints": (1, 17, 3),
}


@pytest.mark.parametrize("label", list(LOSSES))
def test_two_steps(labelled: Path, tmp_path: Path, generative_cli, label: str):
    out = tmp_path / "run"
    told = generative_cli("train", label, "--data", labelled, "--out", out, *SMALL)
    assert told == f"2 steps: {out}; use it with `python -m generative annotate {out}`\n"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["total_steps"] for line in lines] == [1, 2]
    assert LOSSES[label] <= lines[0].keys() and lines[0] != lines[1]
    annotator = open_annotator(out)
    assert annotator.label == label and annotator.config.data.pairs == (str(labelled),)
    assert annotator.uv_layout == ("makehuman" if label == "texture" else None)
    found = annotator.annotate(torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8))
    assert found.values.shape == SHAPES[label] and found.confidence.shape == (1,)
    if label == "texture":
        _check_that_san_starts_from(out, tmp_path)


def _check_that_san_starts_from(run: Path, tmp_path: Path) -> None:
    place = build_people(tmp_path / "known", People(labels=frozenset({"texture"})))
    config = san()
    config = replace(
        config,
        model=replace(config.model, backbone=BackboneConfig(name="resnet18", weights="none"), decoder_rate_factor=1e-9),
        data=DataConfig(real=(place,), num_workers=1),
        input=InputConfig(height=HEIGHT, width=WIDTH),
        sampler=SamplerConfig(batch_size=8, images_per_identity=2),
        optimise=replace(config.optimise, epochs=1, warmup_epochs=0),
        evaluate=EvaluateConfig(every=0),
        start=str(run),
        precision="no",
    )
    state = train(config, tmp_path / "san")
    assert state.provenance == f"weights of {run / 'last.safetensors'} (new: classifier)"


def test_a_set_without_the_label_is_refused(plain: Path, tmp_path: Path, generative_cli):
    with pytest.raises(ShardError, match="no parts.png or iuv.png"):
        generative_cli("train", "parts", "--data", plain, "--out", tmp_path / "parts", *SMALL)
    with pytest.raises(ShardError, match="no keypoints in meta.json"):
        generative_cli("train", "keypoints", "--data", plain, "--out", tmp_path / "keypoints", *SMALL)


@pytest.mark.parametrize("label", list(LOSSES))
def test_small_pictures_and_no_sets_are_refused(label: str, tmp_path: Path, generative_cli):
    people = LabelledPeople(height=64, width=31, labels=frozenset({"iuv", "texture"}), has_keypoints=True)
    place = build_people(tmp_path / "small", people)
    with pytest.raises(
        ShardError, match="shard .*tar, key .*, field image: must be at least 32 pixels high and wide, got 64 x 31"
    ):
        generative_cli("train", label, "--data", place, "--out", tmp_path / "run", *SMALL)
    with pytest.raises(ValueError, match="name at least one folder or URL of shards under --data"):
        generative_cli("train", label, "--out", tmp_path / "run", *SMALL, "--data")


def test_two_processes(labelled: Path, tmp_path: Path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "generative")
    command = [
        sys.executable,
        *torchrun,
        "train",
        "iuv",
        "--data",
        str(labelled),
        "--out",
        str(tmp_path / "run"),
        *SMALL,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["total_steps"] for line in lines] == [1, 2] and lines[0]["uv"] > 0
    assert open_annotator(tmp_path / "run").label == "iuv"


def test_processes_that_do_not_share_a_batch(labelled: Path):
    config = PRESETS["iuv"]()
    config = replace(config, data=replace(config.data, pairs=(str(labelled),)))
    backbone = BackboneConfig(name="resnet18", weights="none")
    model = build_model(replace(config.model, backbone=backbone), 0, losses=config.losses, pretrained=False)
    three = SimpleNamespace(num_processes=3, process_index=0, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 32"):
        open_batches(config, None, model, three, None)


def test_what_writes_shards_is_one_process_of_a_launcher(
    labelled: Path, tmp_path: Path, generative_cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="this command is one process, which starts others with --workers, got 2"):
        generative_cli("annotate", tmp_path / "run", "--data", labelled, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_annotator_asks_for_nobodys_identity(labelled: Path, tmp_path: Path, generative_cli):
    with pytest.raises((ValueError, SystemExit)):
        generative_cli(
            "train", "texture", "--data", labelled, "--out", tmp_path / "run", *SMALL, "--model.constraint-weight", "1"
        )
    assert not (tmp_path / "run" / "last.safetensors").exists()
