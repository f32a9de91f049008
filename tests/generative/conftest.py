"""`tiny_people` of the tests of `reid` is made importable, for the processes that tests start too; sets and command lines that
the tests share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "reid"))


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 2 shards x 6 samples with iuv, texture and keypoints. Not to be changed."""
    from labelled_people import LabelledPeople
    from tiny_people import build_people

    folder = tmp_path_factory.mktemp("labelled") / "set"
    build_people(folder, LabelledPeople(labels=frozenset({"iuv", "texture"}), has_keypoints=True))
    return folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures without labels but aligned ones. Not to be changed."""
    from labelled_people import LabelledPeople
    from tiny_people import build_people

    folder = tmp_path_factory.mktemp("plain") / "set"
    build_people(folder, LabelledPeople(labels=frozenset({"aligned"})))
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are made in this process: to start others takes seconds."""
    from labelled_people import run_here

    monkeypatch.setattr("shards.build.run_tasks", run_here)


@pytest.fixture
def generative_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs a command line of `generative` in this process; returns what it writes to stdout."""
    from accelerate.state import AcceleratorState

    from generative.cli import cli

    def run(*arguments: object) -> str:
        AcceleratorState._reset_state(True)
        monkeypatch.setattr(sys, "argv", ["generative", *map(str, arguments)])
        capsys.readouterr()
        assert cli() == 0
        return capsys.readouterr().out

    yield run
    AcceleratorState._reset_state(True)
