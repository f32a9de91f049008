"""The experiments on generation: rows are what they are named, and their commands go together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from reid.commands.train import Train
from reid.config import TrainConfig, differences

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "scripts"))

import experiment_people  # noqa: E402
from experiment_annotators import table  # noqa: E402
from experiment_people import ALL_ROWS, SIZES, People, generator_table  # noqa: E402

ADDED = {"data.generated", "losses.smoothing.generated", "losses.margin.generated"}
"""What a row may change of the one beside it."""
LENGTH = {"optimise.epochs", "optimise.milestones", "evaluate.every"}


def config_of(name: str, size: str, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    told = []
    monkeypatch.setattr(experiment_people, "do", lambda package, *arguments, jobs: told.append(arguments))
    People(out=Path("out"), size=size)._train_row(SIZES[size], ALL_ROWS[name], Path("run"), 0)
    arguments = [str(each) for each in told[0][1:]]
    return tyro.cli(
        Train, args=arguments, default=Train.default(arguments), config=(tyro.conf.AvoidSubcommands,)
    ).config


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALL_ROWS)
def test_rows_differ_in_what_is_added_alone(name: str, size: str, monkeypatch: pytest.MonkeyPatch):
    row, config = ALL_ROWS[name], config_of(name, size, monkeypatch)
    assert (config.losses.triplet_weight, config.sampler.images_per_identity) == (
        (0, None) if row.alpha is None else (1, 4)
    )
    if row.beside is None:
        assert row.added is None
        return
    changed = {line.partition(":")[0] for line in differences(config_of(row.beside, size, monkeypatch), config)}
    assert changed & ADDED and changed <= ADDED | LENGTH, changed
    assert config.losses.smoothing.generated == row.epsilon and config.losses.smoothing.real == 0


@pytest.mark.parametrize("name", ALL_ROWS)
def test_rows_are_about_as_long(name: str, monkeypatch: pytest.MonkeyPatch):
    row = ALL_ROWS[name]
    alone = row.length * SIZES["small"].epochs
    pictures = config_of(name, "small", monkeypatch).optimise.epochs * (1 + (row.per_image if row.added else 0))
    assert abs(pictures / alone - 1) < 0.1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_rates_fall_alike_however_many_epochs_there_are(share: float, size: str, monkeypatch: pytest.MonkeyPatch):
    rates = set()
    for name in ALL_ROWS:
        optimise = config_of(name, size, monkeypatch).optimise
        rates.add(round(optimise.rate_factor(share * optimise.epochs), 9))
    assert len(rates) == 1 and rates.pop() < (1 if share > 0.9 else 1.1)


def test_no_two_rows_are_the_same():
    told = [(row.added, row.per_image, row.epsilon, row.alpha, row.length) for row in ALL_ROWS.values()]
    assert len(set(told)) == len(told)


def test_a_row_brings_those_that_it_is_measured_by(tmp_path: Path):
    assert People(out=tmp_path, rows=("epsilon-0",)).names == ("baseline", "transfer", "transfer-ce", "epsilon-0")
    with pytest.raises(ValueError, match="rows must be of baseline, .* got other"):
        People(out=tmp_path, rows=("other",))


def test_the_table_has_a_column_for_each_annotator():
    scores = {"mean": {"pck": 0.5, "pck_seen": None}, "as rendered": {"pck": 0.75, "pck_seen": 1.0}}
    assert table([{"label": "keypoints", "scores": scores}]).splitlines() == [
        "| label | score | mean | as rendered |",
        "|---|---|---|---|",
        "| keypoints | pck, higher is better | 0.500 | 0.750 |",
        "| keypoints | pck_seen, higher is better | - | 1.000 |",
    ]


def test_the_table_of_generators_has_what_they_must_beat():
    scores = {"generated": {"l1": 0.1, "lpips": None}, "copy": {"l1": 0.25, "lpips": None}}
    better = {**scores, "generated": {"l1": 0.05, "lpips": None}}
    assert generator_table({"none": [scores], "ce": [scores, better]}).splitlines() == [
        "| picture | l1 |",
        "|---|---|",
        "| guider none | 0.100 |",
        "| guider ce | 0.075 ± 0.035 |",
        "| copy | 0.250 |",
    ]


def run(*arguments: str | Path) -> list[dict]:
    command = [sys.executable, ROOT / "scripts" / "experiment_generative.py", *arguments, "--size", "tiny", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


@pytest.mark.slow
def test_people_are_taught_with_every_generator_and_it_goes_on(tmp_path: Path):
    rows = ("lsro", "true-poses", "transfer-triplet", "alpha-0.5", "per-image-1")
    command = ("people", "--out", tmp_path / "out", "--seeds", "1", "--jobs", "2", "--rows", *rows)
    results = run(*command)
    assert {result["row"] for result in results} == {
        *rows,
        "baseline",
        "transfer",
        "transfer-ce",
        "triplets",
        "alpha-1",
    }
    assert all(0 < result["mean_ap"][0] <= 1 for result in results)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("last.safetensors")}
    assert len(before) == 2 + 2 + 3 + len(results), "start and judge, guiders, generators, rows"
    assert run(*command) == results
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_annotators_learn_from_pictures_as_rendered_and_restyled(tmp_path: Path):
    results = run("annotators", "--out", tmp_path / "out", "--jobs", "2", "--labels", "keypoints", "parts")
    assert [result["label"] for result in results] == ["keypoints", "parts"]
    assert all(len(result["scores"]) == 5 for result in results)
