"""What the tests of converters share."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are made and checked in this process: starting another takes longer than a tiny set."""

    def run_here(function: Any, tasks: Any, **options: Any) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            yield task, function(task, lambda done: None)

    monkeypatch.setattr("shards.build.run_tasks", run_here)
    monkeypatch.setattr("shards.verify.run_tasks", run_here)
