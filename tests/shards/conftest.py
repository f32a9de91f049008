"""Sets that the tests share; `tiny_sets` is made importable for the worker processes too."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
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


@pytest.fixture(scope="session")
def s3_port(finished_set: Path) -> Iterator[int]:
    """Of an S3 server that holds `finished_set`."""
    from servers import serve_s3

    with serve_s3(finished_set) as port:
        yield port


@pytest.fixture
def s3_url(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where `finished_set` lies on that server, with an environment in which it can be read."""
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # those of other tests know other servers
    return "s3://people/set"
