"""The experiment on semantics: its rows are what they are named, and its tables say what was scored."""

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

from experiment_rows import ROWS, SMALL  # noqa: E402
from experiment_runs import table  # noqa: E402
from experiment_semantics import POOLED, SIZES, Experiment  # noqa: E402

METHODS = ("model.", "augment.mirror_texture")
"""What a row may change of its baseline, besides the pairs."""


def config_of(name: str, size: str) -> TrainConfig:
    row, sizes = ROWS[name], SIZES[size]
    pooled = sizes.pooled if row.preset in POOLED else ()
    arguments = [row.preset, "--out", "x", "--data.rendered", "y", *pooled, *sizes.every, *sizes.rest, *row.options]
    config = (tyro.conf.AvoidSubcommands,)
    return tyro.cli(Train, args=arguments, default=Train.default(arguments), config=config).config


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ROWS)
def test_a_row_differs_from_the_one_beside_it_in_the_method_alone(name: str, size: str):
    row, config = ROWS[name], config_of(name, size)
    if row.beside is None:
        return
    changed = {line.partition(":")[0] for line in differences(config_of(row.beside, size), config)}
    assert changed or row.pairs or not row.is_taught
    assert [field for field in changed if not field.startswith(METHODS)] == []
    assert "model.backbone.name" not in changed


def test_stripes_need_tall_pictures(tmp_path: Path):
    with pytest.raises(ValueError, match="cut into stripes, for which they need --size full: pcb"):
        Experiment(out=tmp_path, rows=("pcb-ps",))


def test_no_two_rows_are_the_same():
    told = [(row.preset, row.options, row.pairs, row.is_taught) for row in ROWS.values()]
    assert len(set(told)) == len(told)


def test_tables_say_mean_spread_and_gain():
    results = [
        {"row": "a", "beside": None, "mean_ap": [0.1, 0.3], "rank1": [0.5, 0.5], "epochs": [4, 8], "curve": [0.1, 0.2]},
        {"row": "c", "beside": None, "mean_ap": [0.5, 0.5], "rank1": [1.0, 1.0], "epochs": [6], "curve": [0.5]},
        {"row": "b", "beside": "a", "mean_ap": [0.2, 0.2], "rank1": [1.0, 0.0], "epochs": [4, 8], "curve": [0.0, 0.2]},
    ]
    assert table(results).splitlines() == [
        "| row | mAP | rank-1 | mAP over its baseline | seeds for it |",
        "|---|---|---|---|---|",
        "| a | 20.0 ± 14.1 % | 50.0 ± 0.0 % | - | - |",
        "| c | 50.0 ± 0.0 % | 100.0 ± 0.0 % | - | - |",
        "| b | 20.0 ± 0.0 % | 50.0 ± 70.7 % | +0.0 ± 14.1 % over a | 1 of 2 |",
        "",
        "| mAP after epoch | 4 | 8 |",
        "|---|---|---|",
        "| a | 10.0 % | 20.0 % |",
        "| b | 0.0 % | 20.0 % |",
        "",
        "| mAP after epoch | 6 |",
        "|---|---|",
        "| c | 50.0 % |",
    ]


def run(folder: Path, *rows: str) -> list[dict]:
    command = [
        sys.executable,
        ROOT / "scripts" / "experiment_semantics.py",
        "--out",
        folder,
        "--size",
        "tiny",
        "--json",
    ]
    command += ["--seeds", "1", "--jobs", "2", "--rows", *rows]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


@pytest.mark.slow
def test_the_experiment_trains_every_row_and_goes_on(tmp_path: Path):
    results = run(tmp_path / "out", *SMALL)
    told = [result["row"] for result in results]
    assert told.pop(told.index("dsa") + 1) == "dsa, both streams"
    assert told == [name for name in ROWS if name in SMALL]
    assert all(0 < result["mean_ap"][0] <= 1 for result in results)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("last.safetensors")}
    assert len(before) == 1 + len(SMALL)  # and the one that all start from
    assert run(tmp_path / "out", *SMALL) == results
    assert {path: path.stat().st_mtime_ns for path in before} == before
