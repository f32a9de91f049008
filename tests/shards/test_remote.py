"""Streams over HTTP and S3: what a local set gives, whatever happens to the line, or an error in words."""

import logging
import math
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from servers import HttpServer, cut_line, serve_http
from tiny_sets import NUM_SHARDS, SAMPLES_PER_SHARD, build_tiny, environment
from torch.utils.data import DataLoader

from shards import Sample, ShardError, remote
from shards.stream import stream

NUM_SAMPLES = NUM_SHARDS * SAMPLES_PER_SHARD
ALL = [f"{i:06d}" for i in range(NUM_SAMPLES)]
SMALL_BLOCK = 4096
"""Bytes, so that a tiny shard is many blocks."""
NUM_TRIES = 4


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAYS_S", (0.0,) * (NUM_TRIES - 1))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", SMALL_BLOCK)
    monkeypatch.setattr(remote, "BUFFER_BYTES", SMALL_BLOCK)


@pytest.fixture(params=[True, False], ids=["ranges", "no ranges"])
def server(finished_set: Path, request: pytest.FixtureRequest) -> Iterator[HttpServer]:
    with serve_http(finished_set, ranges=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def expected(finished_set: Path) -> list[Sample]:
    return list(stream(finished_set))


def assert_same(found: list[Sample], expected: list[Sample]) -> None:
    assert [sample.key for sample in found] == [sample.key for sample in expected]
    for first, second in zip(found, expected, strict=True):
        assert first.meta == second.meta
        for field in ("image", "texture", "aligned", "iuv"):
            np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


def test_http_gives_what_the_folder_gives(server: HttpServer, expected: list[Sample], small_blocks: None):
    source = stream(server.url)
    assert source.num_samples == NUM_SAMPLES
    assert_same(list(source), expected)
    pattern = f"{server.url}/tiny-{{000001..000002}}.tar"
    keys = [sample["key"] for sample in stream(pattern, fields=["meta"])]
    assert keys == ALL[SAMPLES_PER_SHARD : 3 * SAMPLES_PER_SHARD]


def test_s3_gives_what_the_folder_gives(s3_url: str, expected: list[Sample], small_blocks: None):
    assert_same(list(stream(s3_url)), expected)


def test_a_shard_comes_block_by_block(finished_set: Path, small_blocks: None):
    num_bytes = (finished_set / "tiny-000000.tar").stat().st_size
    with serve_http(finished_set) as server:
        samples = iter(stream(server.url))
        next(samples)
        num_requests = server.shard_requests()
        assert 1 <= num_requests - 1 < num_bytes / SMALL_BLOCK / 3  # one asks for the size
        next(samples)
        assert server.shard_requests() > num_requests


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_read_over_a_line_that_is_cut(
    finished_set: Path, server: HttpServer, small_blocks: None, num_workers: int
):
    def keys(source) -> list[str]:
        loader = DataLoader(
            stream(source, fields=["image"], shuffle_buffer=8, seed=1), batch_size=None, num_workers=num_workers
        )
        return [sample["key"] for sample in loader]

    with cut_line(server.server_port, after=9_000, times=2) as line:
        assert keys(line.url) == keys(finished_set)
        assert line.num_cut == 2


@pytest.mark.parametrize("after", [100, 2_500, 5_000, 9_000, 20_000, 45_000])
def test_a_cut_neither_loses_nor_repeats_a_sample(
    server: HttpServer, expected: list[Sample], small_blocks: None, after: int
):
    with cut_line(server.server_port, after=after, times=1) as line:
        assert_same(list(stream(line.url)), expected)
        assert line.num_cut == 1


def test_a_cut_is_logged(finished_set: Path, small_blocks: None, caplog: pytest.LogCaptureFixture):
    with (
        serve_http(finished_set) as server,
        cut_line(server.server_port, after=9_000, times=1) as line,
        caplog.at_level(logging.WARNING, logger="shards"),
    ):
        list(stream(line.url))
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{line.url}/tiny-000000.tar cannot be read at byte ")
    assert "trying again in 0 s" in record.getMessage()


def test_an_s3_line_that_is_cut(
    s3_url: str, s3_port: int, expected: list[Sample], small_blocks: None, monkeypatch: pytest.MonkeyPatch
):
    with cut_line(s3_port, after=5_000, times=3) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        assert_same(list(stream(s3_url)), expected)
        assert line.num_cut == 3


def test_tries_are_counted_anew_after_progress(finished_set: Path, expected: list[Sample], small_blocks: None):
    with serve_http(finished_set) as server, cut_line(server.server_port, after=12_000, times=math.inf) as line:
        assert_same(list(stream(line.url)), expected)
        assert line.num_cut > 2 * NUM_TRIES


def test_a_line_that_never_holds_is_an_error_and_no_skipped_sample(server: HttpServer):
    with cut_line(server.server_port, after=20_000, times=math.inf) as line:
        with pytest.raises(ConnectionError) as caught:
            list(stream(line.url, max_bad_samples=100))
        assert line.num_cut == NUM_TRIES
    message = str(caught.value)
    assert message.startswith(f"{line.url}/tiny-000000.tar cannot be read at byte 0 of ")
    assert f"{NUM_TRIES} tries failed" in message
    assert "run the same command again" in message


def test_without_ranges_the_error_names_the_byte_reached(finished_set: Path, small_blocks: None):
    with (
        serve_http(finished_set, ranges=False) as server,
        cut_line(server.server_port, after=30_000, times=math.inf) as line,
        pytest.raises(ConnectionError, match=r"tiny-000000.tar cannot be read at byte [1-9][\d,]+ of .*, 4 tries"),
    ):
        list(stream(line.url))


def test_a_shard_that_ends_early_is_an_error(own_set: Path):
    path = own_set / "tiny-000002.tar"
    path.write_bytes(path.read_bytes()[:30_000])
    with serve_http(own_set) as server, pytest.raises(ConnectionError, match=r"byte 30,000 of .*EOFError: it ends"):
        list(stream(server.url))


@pytest.mark.parametrize(
    ("status", "error", "says", "num_tries"),
    [
        (404, FileNotFoundError, "tiny-000001.tar is not there", 1),
        (401, PermissionError, "tiny-000001.tar may not be read .*401.* keys or the password", 1),
        (403, PermissionError, "tiny-000001.tar may not be read .*403", 1),
        (400, OSError, "tiny-000001.tar cannot be read: the server refuses", 1),
        (429, ConnectionError, "tiny-000001.tar cannot be read at byte 0 of .* 4 tries failed.*429", NUM_TRIES),
        (503, ConnectionError, "tiny-000001.tar cannot be read at byte 0 of .* 4 tries failed.*503", NUM_TRIES),
    ],
)
def test_what_a_server_answers_is_told(
    server: HttpServer, status: int, error: type[OSError], says: str, num_tries: int
):
    server.on_request = lambda path: status if path.endswith("1.tar") else None
    with pytest.raises(error, match=says):
        list(stream(server.url))
    assert server.requests.count(("HEAD", "/tiny-000001.tar")) == num_tries


def test_an_overloaded_server_is_asked_again(server: HttpServer, expected: list[Sample]):
    statuses = {"/manifest.json": [503, 503], "/tiny-000003.tar": [500, 429, 503]}
    server.on_request = lambda path: statuses[path].pop() if statuses.get(path) else None
    assert_same(list(stream(server.url)), expected)
    assert statuses == {"/manifest.json": [], "/tiny-000003.tar": []}


def test_nobody_answers(finished_set: Path):
    with serve_http(finished_set) as server:
        url = server.url
    with pytest.raises(ConnectionError, match="manifest.json cannot be read at byte 0, 4 tries failed.*Cannot connect"):
        stream(url)


def test_a_server_that_falls_silent_is_asked_again(
    server: HttpServer, expected: list[Sample], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.1)
    silence, over = ["GET"], threading.Event()

    def on_request(path: str) -> None:
        if path.endswith("2.tar") and server.requests[-1][0] in silence:
            silence.clear()
            over.wait(60)

    server.on_request = on_request
    assert_same(list(stream(server.url)), expected)
    assert silence == []
    over.set()


def test_a_set_that_is_not_there_or_not_complete(tmp_path: Path, s3_url: str):
    build_tiny(tmp_path / "begun", shard_range=(0, 1))
    with serve_http(tmp_path) as server:
        with pytest.raises(FileNotFoundError, match="no manifest.json in http.*/nowhere: not a folder of shards"):
            stream(f"{server.url}/nowhere")
        with pytest.raises(ShardError, match=r"http.*/begun is not complete"):
            stream(f"{server.url}/begun")
    for url in ("s3://people/nowhere", "s3://no-bucket/set"):
        with pytest.raises(FileNotFoundError, match=f"no manifest.json in {url}"):
            stream(url)
    with pytest.raises(FileNotFoundError, match="s3://people/set/tiny-000009.tar is not there"):
        list(stream(f"{s3_url}/tiny-000009.tar"))


def test_s3_without_keys_or_with_wrong_ones(s3_url: str, s3_port: int, monkeypatch: pytest.MonkeyPatch):
    def check_keys_after(num_requests: bytes) -> None:
        url = f"http://127.0.0.1:{s3_port}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, num_requests, headers)).close()

    check_keys_after(b"0")
    try:
        with pytest.raises(PermissionError, match=r"s3://people/set/manifest.json may not be read \(Forbidden\)"):
            stream(s3_url)
    finally:
        check_keys_after(b"inf")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(PermissionError, match="may not be read .*AWS_SECRET_ACCESS_KEY.*check the keys"):
        stream(s3_url)


def test_a_scheme_that_nobody_reads():
    with pytest.raises(ValueError, match="cannot read people://set/manifest.json: Protocol not known"):
        stream("people://set")


@pytest.mark.parametrize(("package", "url"), [("aiohttp", "https://host/set"), ("s3fs", "s3://people/set")])
def test_a_missing_package_is_named_with_what_installs_it(package: str, url: str):
    code = f"""
import sys
sys.modules["{package}"] = None
sys.argv = ["shards", "info", "{url}"]
from shards.__main__ import cli, main
main(cli)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: a package to read {url}/manifest.json is missing: ")
    assert "pip install 'lookalike[remote]'" in last
