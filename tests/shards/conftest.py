"""Sets that the tests share; `tiny_sets` is made importable for the worker processes too."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def finished_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete set of 4 shards x 6 samples, made by two workers. Not to be changed."""
    from tiny_sets import build_tiny

    folder = tmp_path_factory.mktemp("finished") / "set"
    build_tiny(folder, num_workers=2)
    return folder


@pytest.fixture
def own_set(finished_set: Path, tmp_path: Path) -> Path:
    """A copy of `finished_set` that the test may damage."""
    return Path(shutil.copytree(finished_set, tmp_path / "set"))
