"""Every preset from rendered shards to scores by the real command lines, at a quarter of its size."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from tiny_people import People, build_people

from reid.cli import cli
from reid.config import TrainConfig
from reid.fit import ADDED_BY
from reid.journal import read_metrics
from reid.losses import SPREAD
from reid.models.build import ModelConfig, build_model
from reid.models.dsa import DsaConfig
from reid.models.model import Model
from reid.models.san import SanConfig
from reid.presets import PRESETS
from shards.errors import ShardError
from synth import commands as synth

SCENE = (
    "scene --num-identities 8 --num-cameras 2 --height 64 --width 32 --network.rows 192 --network.columns 256 "
    "--walk.frames 2 --walk.camera-share 1 --detector.min-rows 24"
).split()
PIT = "pit --num-samples 16 --height 64 --width 32 --samples-per-shard 8".split()
ONE_OF_EACH_MODEL = {type(PRESETS[name]().model): name for name in reversed(PRESETS)}.values()

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command line with --json in this process, to save the time of starting one; returns its report."""

    def run(*arguments: object) -> dict[str, Any]:
        AcceleratorState._reset_state(True)
        monkeypatch.setattr(sys, "argv", ["reid", *map(str, arguments), "--json"])
        assert cli() == 0
        return json.loads(capsys.readouterr().out)

    yield run
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Rendered sets: a "scene" of four people to train on and four to find, "pairs", and "plain" people without labels."""

    def run_here(function: Any, tasks: Any, **options: Any) -> Iterator[tuple[Any, Any]]:
        """In place of worker processes, which take longer to start than such sets to make."""
        for task in tasks:
            yield task, function(task, lambda done: None)

    folder = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shards.build.run_tasks", run_here)
        for name, arguments in (("scene", SCENE), ("pairs", PIT)):
            patch.setattr(sys, "argv", ["synth", *arguments, "--out", str(folder / name)])
            assert synth.cli() == 0
    build_people(folder / "plain", People(origin="rendered"))
    return {name: folder / name for name in ("scene", "pairs", "plain")}


def with_resnet18(config: ModelConfig) -> ModelConfig:
    """In place of ResNet-50, where the model allows it."""
    if config.backbone.name != "resnet50":
        return config
    try:
        return replace(config, backbone=replace(config.backbone, name="resnet18"))
    except ValueError:
        return config


def small(preset: str) -> tuple[TrainConfig, list[object]]:
    """The preset, and its command line without sets: pictures of a quarter of its height and width, and batches of two
    people, or of eight pictures of anybody."""
    config = PRESETS[preset]()
    model, size = with_resnet18(config.model), config.input
    options = ["--model.backbone.name", model.backbone.name, "--model.backbone.weights", "none"]
    options += ["--input.height", size.height // 4, "--input.width", size.width // 4]
    if size.resize is not None:
        options += ["--input.resize", *(side // 4 for side in size.resize)]
    options += ["--sampler.batch-size", 2 * (config.sampler.images_per_identity or 4), "--optimise.epochs", 1]
    options += ["--evaluate.every", 0, "--precision", "no", "--data.num-workers", 1]
    return replace(config, model=model), ["train", preset, *options]


def network(config: TrainConfig) -> Model:
    return build_model(config.model, 4, losses=config.losses, pretrained=False)


def names_of_losses(config: TrainConfig) -> set[str]:
    """What a step on known people is told of."""
    losses, model = config.losses, config.model
    names = {"identity"} if losses.identity_weight else set()
    names |= {"triplet", SPREAD} if losses.triplet_weight else set()
    match model:
        case SanConfig():
            return names | {"reconstruction"} | ({"decoder_triplet"} if model.constraint_weight else set())
        case DsaConfig():
            return names | {"fused_identity"} | ({"unseen"} if model.guide != "none" else set())
    return names | ({"parts", "parts_accuracy"} if model.part_head else set())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_trained_and_scored(preset: str, sets: dict[str, Path], tmp_path: Path, here: Run):
    config, train = small(preset)
    model, out = network(config), tmp_path / "run"
    train += ["--data.rendered", sets["scene"], "--out", out]
    if model.takes_pairs:
        train += ["--data.pairs", sets["pairs"], "--data.pairs-ratio", 1, 1]
    assert here(*train)["steps"] == (4 if model.takes_pairs else 2)
    steps, _ = read_metrics(out)
    about = {"epoch", "step", "total_steps", "learning_rate"}
    kinds = [names_of_losses(config), {"reconstruction"}] if model.takes_pairs else [names_of_losses(config)]
    assert [step.keys() - about for step in steps] == [kinds[i % len(kinds)] for i in range(len(steps))]
    scores = here("evaluate", out)[str(sets["scene"])]
    assert scores["num_queries"] - scores["num_queries_without_match"] >= 4
    assert 0 < scores["mean_ap"] <= 1 and len(scores["cmc"]) == 20 and 0 <= scores["cmc"][0] <= scores["cmc"][-1] <= 1
    if preset in ONE_OF_EACH_MODEL:
        shown = here("report", out)["scores"][str(sets["scene"])]
        assert shown == {name: scores[name] for name in shown} and "mean_ap" in shown
        assert f"{scores['mean_ap']:.1%}" in (out / "report.html").read_text(encoding="utf-8")
        exported = here("export", out, tmp_path / "model.onnx")
        assert (exported["height"], exported["width"]) == (config.input.height // 4, config.input.width // 4)
        assert (tmp_path / "model.onnx").stat().st_size > 4 * exported["num_parameters"]


def test_two_processes_learn_from_people_and_from_pairs(sets: dict[str, Path], tmp_path: Path):
    """With what a step on pairs leaves alone, and a decoder that compares people of both processes."""
    _, train = small("san")
    train += ["--data.rendered", sets["scene"], "--data.pairs", sets["pairs"], "--out", tmp_path / "run", "--json"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "reid"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    environment["ACCELERATE_USE_CPU"] = "true"
    done = subprocess.run(
        [*command, *map(str, train)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    steps, _ = read_metrics(tmp_path / "run")
    assert [("decoder_triplet" in step, "reconstruction" in step) for step in steps] == [
        (True, True),
        (False, True),
    ] * 2
    assert steps[0]["decoder_triplet"] > 0


LABELLED = [name for name in PRESETS if network(small(name)[0]).labels]


@pytest.mark.parametrize("preset", LABELLED)
def test_a_set_without_what_a_preset_learns_from_is_refused(
    preset: str, sets: dict[str, Path], tmp_path: Path, here: Run
):
    config, train = small(preset)
    model = network(config)
    (field,) = model.labels
    message = f"field {field}: {sets['plain']} has no .*, which this network needs: give rendered people, or add it with {ADDED_BY}"
    train += ["--out", tmp_path / "run"]
    people, pairs = "--data.rendered", "--data.pairs"
    for places in (
        (people, sets["plain"]),
        *([(people, sets["scene"], pairs, sets["plain"])] if model.takes_pairs else []),
    ):
        with pytest.raises(ShardError, match=message):
            here(*train, *places)
    assert not (tmp_path / "run").exists()


def test_methods_learn_from_labels():
    assert {"san", "san-basic", "san-pg", "dsa", "gp-ps", "pcb-ps", "mgn-ps"} <= set(LABELLED)


def test_a_preset_that_takes_no_pairs_refuses_them(sets: dict[str, Path], tmp_path: Path, here: Run):
    _, train = small("baseline")
    with pytest.raises(ValueError, match="GlobalPool learns from identities alone: leave out data.pairs"):
        here(*train, "--out", tmp_path / "run", "--data.rendered", sets["scene"], "--data.pairs", sets["pairs"])
