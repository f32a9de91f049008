"""`tiny_people`, `tiny_trainer` and the converters' `tiny_folders` are made importable for the tests, the first two for the
processes that they start too."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "shards" / "convert"))


@pytest.fixture
def tiny_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs a command line of `reid` in this process, with the tiny network; returns what it writes to stdout."""
    from accelerate.state import AcceleratorState
    from tiny_trainer import build_tiny

    from reid.cli import cli

    def run(*arguments: object) -> str:
        AcceleratorState._reset_state(True)
        monkeypatch.setattr(sys, "argv", ["reid", *map(str, arguments)])
        capsys.readouterr()
        assert cli() == 0
        return capsys.readouterr().out

    monkeypatch.setattr("reid.start.build_model", build_tiny)
    monkeypatch.setattr("reid.checkpoint.build_model", build_tiny)
    yield run
    AcceleratorState._reset_state(True)
