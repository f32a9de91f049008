"""The real command line in two processes gives what it gives in one, and ends as one."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_people import People, build_people
from tiny_trainer import options
from torch.testing import assert_close

from reid.checkpoint import read_checkpoint
from reid.journal import read_metrics

HERE = Path(__file__).parent
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def launch(processes: int, *arguments: str, step_s: float = 0) -> subprocess.Popen:
    """`python -m reid` with the tiny network, in so many processes."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
        "TINY_STEP_S": str(step_s),
        "PYTHONPATH": str(HERE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, *(TORCHRUN if processes > 1 else ()), str(HERE / "tiny_trainer.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """With 15 queries and 15 in the gallery, which two processes cannot share evenly."""
    people = People(num_identities=10, num_cameras=3, images_per_camera=2)
    return build_people(tmp_path_factory.mktemp("people") / "a", people)


@pytest.fixture(scope="module")
def runs(place: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, str]]:
    """Number of processes -> folder and stdout of two epochs in them, at the same time. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    started = {n: launch(n, *options(place, folder / str(n), epochs=2), "--json") for n in (1, 2)}
    return {n: (folder / str(n), finish(process)[0]) for n, process in started.items()}


def test_losses_and_weights_are_those_of_one_process(runs: dict[int, tuple[Path, str]]):
    (one, _), (two, _) = (read_metrics(runs[n][0]) for n in (1, 2))
    assert len(one) == len(two) >= 6
    for line, other in zip(one, two, strict=True):
        assert line == pytest.approx(other, abs=1e-5)
    assert len({line["triplet"] for line in one}) == len(one)
    weights, others = (load_file(runs[n][0] / "last.safetensors") for n in (1, 2))
    model = [name for name in weights if name.startswith("model.")]
    assert model and weights.keys() == others.keys()
    for name in weights.keys() - {"model.mean"}:  # of a process's own part of the batch
        assert_close(others[name], weights[name], atol=1e-5, rtol=0, msg=name)


def test_only_the_first_process_writes(runs: dict[int, tuple[Path, str]]):
    for folder, out in runs.values():
        report = json.loads(out)  # one, not one of each process
        assert report["steps"] == len(read_metrics(folder)[0])
        names = {path.name for path in folder.iterdir()}
        assert names == {"best.safetensors", "config.json", "last.safetensors", "metrics.jsonl", "tensorboard"}
        assert len(list((folder / "tensorboard" / "lookalike").glob("events.*"))) == 1


def test_evaluation_in_two_processes(runs: dict[int, tuple[Path, str]], place: str):
    """Scores the checkpoint as one does, and as training in two did."""
    folder, _ = runs[2]
    started = [launch(n, "evaluate", str(folder), "--checkpoint", "last", "--json") for n in (1, 2)]
    found = [json.loads(finish(process)[0])[place] for process in started]
    found.append(read_metrics(folder)[1][-1]["scores"][place])
    for scores in found:
        assert scores["cmc"] == pytest.approx(found[0]["cmc"], abs=1e-5)
        for name in ("mean_ap", "mean_inp", "num_queries"):
            assert scores[name] == pytest.approx(found[0][name], abs=1e-5)
    assert found[0]["num_queries"] == 15 and found[0]["mean_ap"] < 1


@pytest.mark.parametrize("whom", [pytest.param("launcher", marks=pytest.mark.slow), "second"])
def test_an_interrupt_ends_both(place: str, tmp_path: Path, whom: str):
    """Of the launcher, which passes it on, or of one process alone; a second one would not wait for the checkpoint."""
    out = tmp_path / "run"
    process = launch(2, *options(place, out, epochs=400), step_s=0.05)
    try:
        deadline = time.monotonic() + 180
        while not (out / "metrics.jsonl").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        children = _children(process.pid)
        assert len(children) == 2
        os.kill(process.pid if whom == "launcher" else children[1], signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    state, _, _ = read_checkpoint(out / "last.safetensors")
    assert re.search(rf"stopped at epoch {state.epoch}, step {state.step}: --resume goes on from there", err)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert read_metrics(out)[0][-1]["total_steps"] == state.total_steps


def _children(pid: int) -> list[int]:
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
