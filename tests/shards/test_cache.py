"""Tables of sets behind URLs: copied whole, once, checked, by any number of processes; then read like any folder."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from servers import HttpServer, cut_line, serve_http
from tiny_sets import NUM_SHARDS, SAMPLES_PER_SHARD, MakeTiny, build_tiny, environment, hashes
from torch.utils.data import DataLoader

from shards import ShardError, remote
from shards import cache as cache_module
from shards.cache import local_copy
from shards.table import Table

NUM_SAMPLES = NUM_SHARDS * SAMPLES_PER_SHARD
REQUESTS_PER_SHARD = 2
"""One for the size, one for the bytes."""
SMALL_BLOCK = 4096
"""Bytes, so that a tiny shard is many blocks."""


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lookalike"


@pytest.fixture
def server(own_set: Path) -> Iterator[HttpServer]:
    """Serves a set that the test may change."""
    with serve_http(own_set) as running:
        yield running


def members(table: Table) -> list[dict[str, bytes]]:
    return [table.read_members(i) for i in range(len(table))]


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shards", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_a_table_over_http_is_the_local_one(server: HttpServer, own_set: Path, cache: Path):
    served, local = Table(server.url), Table(own_set)
    assert served.folder.parent == cache
    assert local.folder == own_set
    assert served.manifest == local.manifest
    assert served.keys.tolist() == local.keys.tolist()
    assert members(served) == members(local)
    loader = DataLoader(served, batch_size=None, num_workers=2)
    assert [sample.key for sample in loader] == served.keys.tolist()


def test_a_table_over_s3(s3_url: str, finished_set: Path, tmp_path: Path):
    table = Table(s3_url, cache=tmp_path / "here")
    assert table.folder.parent == tmp_path / "here"
    copied, made = hashes(table.folder), hashes(finished_set)
    assert {name: copied[name] for name in made if name != "index.npz"} == made


def test_the_next_table_asks_for_no_shard(server: HttpServer, cache: Path):
    first = Table(server.url)
    assert server.shard_requests() == REQUESTS_PER_SHARD * NUM_SHARDS
    expected = members(Table(f"{server.url}/"))
    assert server.shard_requests() == REQUESTS_PER_SHARD * NUM_SHARDS
    assert expected == members(first)
    (first.folder / "tiny-000001.tar").unlink()
    (first.folder / "tiny-000002.tar").write_bytes(b"short")
    assert members(Table(server.url)) == expected
    assert server.shard_requests() == REQUESTS_PER_SHARD * (NUM_SHARDS + 2)


def test_a_changed_set_is_noticed(server: HttpServer, own_set: Path, cache: Path):
    old = Table(server.url)
    before = members(old)
    old.close()
    build_tiny(own_set, MakeTiny(samples_per_shard=3), seed=1, overwrite=True)
    new = Table(server.url)
    assert (len(old), len(new)) == (NUM_SAMPLES, NUM_SHARDS * 3)
    assert members(new) == members(Table(own_set))
    assert members(old) == before  # whoever still reads the old one is not disturbed


def test_processes_that_ask_at_once_copy_once(server: HttpServer, cache: Path):
    num_processes, num_asking = 3, 0
    lock, all_ask = threading.Lock(), threading.Event()

    def on_request(path: str) -> None:
        nonlocal num_asking
        with lock:
            num_asking += path == "/manifest.json"
            if num_asking == 2 * num_processes:
                all_ask.set()
        if path.endswith(".tar"):
            assert all_ask.wait(60)

    server.on_request = on_request
    code = f"from shards.table import Table; t = Table({server.url!r}); print(len([t[i] for i in range(len(t))]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(num_processes)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == [f"{NUM_SAMPLES}\n"] * num_processes
    assert server.shard_requests() == REQUESTS_PER_SHARD * NUM_SHARDS


def test_a_copy_that_was_cut_short_goes_on(server: HttpServer, cache: Path):
    server.on_request = lambda path: 403 if path.endswith("2.tar") else None
    with pytest.raises(PermissionError, match="tiny-000002.tar may not be read"):
        Table(server.url)
    (folder,) = cache.iterdir()
    assert not (folder / "manifest.json").exists()
    assert not (folder / "tiny-000002.tar").exists()
    found = {path.name for path in folder.glob("*.tar")}
    (folder / ".tmp~host~1~tiny-000002.tar").write_bytes(b"left by a process that was killed")
    server.on_request = lambda path: None
    server.requests.clear()
    Table(server.url)
    assert server.shard_requests() == REQUESTS_PER_SHARD * (NUM_SHARDS - len(found))
    assert list(folder.glob(".tmp*")) == []


@pytest.mark.parametrize("damage", ["one byte", "longer"])
def test_a_shard_of_other_bytes_is_refused(server: HttpServer, own_set: Path, cache: Path, damage: str):
    path = own_set / "tiny-000001.tar"
    data = path.read_bytes()
    path.write_bytes(data + bytes(512) if damage == "longer" else data[:20_000] + b"?" + data[20_001:])
    with pytest.raises(ShardError, match="SHA-256 differs from the manifest's") as caught:
        Table(server.url)
    assert caught.value.shard == f"{server.url}/tiny-000001.tar"
    (folder,) = cache.iterdir()
    assert [p.name for p in folder.iterdir() if "000001" in p.name or p.name == "manifest.json"] == []
    path.write_bytes(data)
    assert len(Table(server.url)) == NUM_SAMPLES


def test_a_line_that_is_cut(server: HttpServer, own_set: Path, cache: Path):
    with cut_line(server.server_port, after=20_000, times=2) as line:
        assert members(Table(line.url)) == members(Table(own_set))
        assert line.num_cut == 2
    with (
        cut_line(server.server_port, after=20_000, times=float("inf")) as line,
        pytest.raises(ConnectionError, match="at byte 0 of .* 4 tries failed"),
    ):
        local_copy(line.url, cache / "other")


def test_progress_counts_samples_and_what_was_found(server: HttpServer, cache: Path):
    reports = []
    folder = local_copy(server.url, progress=lambda *report: reports.append(report))
    assert reports == [(SAMPLES_PER_SHARD * (i + 1), 0) for i in range(NUM_SHARDS)]
    (folder / "tiny-000003.tar").unlink()
    local_copy(server.url, progress=lambda *report: reports.append(report))
    assert reports[NUM_SHARDS:] == [(NUM_SAMPLES, NUM_SAMPLES - SAMPLES_PER_SHARD)]


def test_an_interrupt_waits_for_no_shard(
    server: HttpServer, own_set: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remote, "BLOCK_BYTES", SMALL_BLOCK)
    monkeypatch.setattr(remote, "BUFFER_BYTES", SMALL_BLOCK)
    monkeypatch.setattr(cache_module, "NUM_CONNECTIONS", 2)
    interrupted = threading.Event()

    def on_request(path: str) -> None:
        if path.endswith(".tar") and "tiny-000000" not in path:
            assert interrupted.wait(60)

    def progress(done: int, found: int) -> None:
        server.requests.clear()
        threading.Timer(0.3, interrupted.set).start()
        raise KeyboardInterrupt

    server.on_request = on_request
    with pytest.raises(KeyboardInterrupt):
        local_copy(server.url, progress=progress)
    assert server.shard_requests() < (own_set / "tiny-000001.tar").stat().st_size / SMALL_BLOCK / 2
    (folder,) = cache.iterdir()
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == ["tiny-000000.tar"]


def test_a_cache_that_cannot_be_written_serves_what_it_holds(server: HttpServer, cache: Path):
    folder = Table(server.url).folder
    (folder / ".lock").unlink()
    folder.chmod(0o500)
    try:
        assert local_copy(server.url) == folder
        assert not (folder / ".lock").exists()
    finally:
        folder.chmod(0o700)


def test_info_and_sheet_of_a_url(server: HttpServer, own_set: Path, cache: Path, tmp_path: Path):
    info = run("info", server.url, "--json")
    assert info.returncode == 0, info.stderr
    assert json.loads(info.stdout)["num_samples"] == NUM_SAMPLES
    assert Path(json.loads(info.stdout)["folder"]).parent == cache
    for source, name in ((server.url, "served.png"), (own_set, "local.png")):
        assert run("sheet", source, "--num", 2, "--out", tmp_path / name).returncode == 0
    pictures = [np.array(Image.open(tmp_path / name)) for name in ("served.png", "local.png")]
    np.testing.assert_array_equal(*pictures)
    assert server.shard_requests() == REQUESTS_PER_SHARD * NUM_SHARDS


def test_commands_say_in_a_line_what_is_wrong_with_a_url(server: HttpServer, cache: Path):
    verify = run("verify", server.url)
    assert verify.returncode == 2
    assert verify.stderr.startswith(f"error: verify checks folders, got {server.url}: ")
    info = run("info", f"{server.url}/nowhere")
    assert (info.returncode, info.stderr.splitlines()[-1][:27]) == (2, "error: no manifest.json in ")
    assert "Traceback" not in info.stderr
