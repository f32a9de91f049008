"""Runs that are interrupted, repeated, spread over machines, and that fail."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sets import (
    NUM_SHARDS,
    SAMPLES_PER_SHARD,
    MakeTiny,
    build_command,
    build_tiny,
    environment,
    hashes,
    tell_number,
)

from shards import ShardError, build
from shards.build import build_set
from shards.manifest import MANIFEST, Manifest, read_complete_manifest, read_manifest
from shards.workers import WorkerError, run_tasks, worker_number
from shards.writer import create_file

DONE = {"manifest.json", *(f"tiny-{i:06d}.tar" for i in range(NUM_SHARDS))}


def start(out: Path, *options: str) -> subprocess.Popen:
    command = build_command(out, *options)
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(out: Path, name: str) -> None:
    deadline = time.monotonic() + 120
    while not any(out.glob(name)):
        assert time.monotonic() < deadline, f"{name} did not appear"
        time.sleep(0.005)


def test_workers_know_their_numbers():
    assert dict(run_tasks(tell_number, [0, 1, 2], num_workers=3)) == {0: 0, 1: 1, 2: 2}
    assert worker_number() == 0


def test_worker_counts_give_the_same_bytes(finished_set: Path, tmp_path: Path):
    manifest = build_tiny(tmp_path / "set", num_workers=1)
    assert hashes(tmp_path / "set") == hashes(finished_set)
    assert set(hashes(finished_set)) == DONE
    assert manifest == read_complete_manifest(finished_set)
    assert manifest.num_samples == NUM_SHARDS * SAMPLES_PER_SHARD


def test_killed_in_the_middle_then_the_same_command_again(finished_set: Path, tmp_path: Path):
    out = tmp_path / "set"
    run = start(out, "--nap", "0.02")
    wait_for(out, "tiny-000000.json")
    wait_for(out, ".tmp~*.tar")
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not read_manifest(out).complete
    assert set(hashes(out)) != DONE
    again = start(out)
    assert "24 of 24" in again.communicate()[1]
    assert again.returncode == 0
    assert hashes(out) == hashes(finished_set)


def test_workers_stop_when_their_parent_is_killed(tmp_path: Path):
    out = tmp_path / "set"
    run = start(out, "--nap", "0.05")
    wait_for(out, ".tmp~*.tar")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 60
    while list(out.glob(".tmp~*.tar")):  # a worker removes its file as it goes
        assert time.monotonic() < deadline, "an orphan went on writing"
        time.sleep(0.02)
    assert not list(out.glob("*.tar"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_at_once_with_whole_shards_only(finished_set: Path, tmp_path: Path, signum: int):
    out = tmp_path / "set"
    run = start(out, "--nap", "0.05")
    wait_for(out, "tiny-000000.json")
    wait_for(out, ".tmp~*.tar")
    os.kill(run.pid, signum) if signum == signal.SIGTERM else os.killpg(run.pid, signum)
    message = run.communicate(timeout=120)[1]
    assert run.returncode == 130
    assert "same command again" in message
    assert "Traceback" not in message
    assert not list(out.glob(".tmp~*"))
    whole = hashes(finished_set)
    for name, digest in hashes(out).items():
        assert not name.endswith(".tar") or digest == whole[name]
    build_tiny(out)
    assert hashes(out) == whole


def test_workers_leave_ctrl_c_to_their_parent(finished_set: Path, tmp_path: Path):
    out = tmp_path / "set"
    run = start(out, "--nap", "0.02")
    wait_for(out, ".tmp~*.tar")
    for path in out.glob(".tmp~*.tar"):
        os.kill(int(path.name.split("~")[2]), signal.SIGINT)
    assert "Traceback" not in run.communicate()[1]
    assert run.returncode == 0
    assert hashes(out) == hashes(finished_set)


def test_present_shards_are_not_made_again(own_set: Path):
    reports = []
    build_tiny(own_set, MakeTiny(refuses=(0, 1, 2, 3)), progress=lambda *report: reports.append(report))
    assert reports[-1] == (24, 24)


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
def test_a_damaged_shard_of_a_complete_set_is_made_again(finished_set: Path, own_set: Path, damage: str):
    path = own_set / "tiny-000002.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.unlink()
    if damage != "removed":
        path.write_bytes(data if damage == "flipped" else data[:-512])
    build_tiny(own_set, MakeTiny(refuses=(0, 1, 3)))
    assert hashes(own_set) == hashes(finished_set)


def test_a_shard_that_comes_out_differently_is_an_error(own_set: Path):
    (own_set / "tiny-000002.tar").unlink()
    with pytest.raises(ShardError, match=r"tiny-000002.*library versions"):
        build_tiny(own_set, MakeTiny(samples_per_shard=5))


def test_machines_that_share_a_folder(finished_set: Path, tmp_path: Path):
    out = tmp_path / "set"
    assert build_tiny(out, shard_range=(2, 4)) is None
    assert build_tiny(out, shard_range=(1, 2)) is None
    assert not read_manifest(out).complete
    assert build_tiny(out, MakeTiny(refuses=(1, 2, 3)), shard_range=(0, 1)).complete
    assert hashes(out) == hashes(finished_set)
    assert build_tiny(out, MakeTiny(refuses=(0, 1, 2, 3)), shard_range=(1, 3)).complete


def test_finishing_while_another_machine_finishes(finished_set: Path, tmp_path: Path):
    out = tmp_path / "set"
    build_tiny(out, shard_range=(0, 3))
    wanted = replace(read_complete_manifest(finished_set), complete=False, shards=())
    assert build._finish(out, wanted) is None
    # the other one has written the manifest and is half through removing the entries
    (out / "manifest.json").write_bytes((finished_set / "manifest.json").read_bytes())
    (out / "tiny-000000.json").unlink()
    assert build._finish(out, wanted).complete
    assert not list(out.glob("tiny-*.json"))


def test_two_runs_that_begin_at_once_agree_on_one_manifest(tmp_path: Path):
    mine = Manifest(name="tiny", num_shards=2, config={"seed": 0}, licences=())
    create_file(tmp_path / MANIFEST, mine.to_json().encode())
    create_file(tmp_path / MANIFEST, replace(mine, config={"seed": 1}).to_json().encode())
    assert read_manifest(tmp_path) == mine
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_another_config_is_refused_and_the_keys_named(own_set: Path):
    before = hashes(own_set)
    with pytest.raises(ShardError) as caught:
        build_tiny(own_set, seed=1, num_shards=6)
    message = str(caught.value)
    assert "config.seed: 0 -> 1" in message
    assert "num_shards: 4 -> 6" in message
    assert "height_m" not in message
    assert "another folder" in message
    assert "--overwrite" in message
    assert hashes(own_set) == before


def test_overwrite_replaces_the_set_and_nothing_else(own_set: Path):
    (own_set / "notes.txt").write_text("mine")
    (own_set / "tiny-000009.tar").write_bytes(b"of the older set")
    manifest = build_tiny(own_set, seed=1, num_shards=2, overwrite=True)
    assert set(hashes(own_set)) == {"manifest.json", "notes.txt", "tiny-000000.tar", "tiny-000001.tar"}
    assert manifest.config["seed"] == 1


def test_tars_without_a_manifest_are_not_overwritten_unasked(tmp_path: Path):
    (tmp_path / "tiny-000001.tar").write_bytes(b"somebody's work")
    with pytest.raises(ShardError, match=r"tiny-000001\.tar but no manifest"):
        build_tiny(tmp_path)
    assert (tmp_path / "tiny-000001.tar").read_bytes() == b"somebody's work"


@pytest.mark.parametrize("shard_range", [(0, 0), (3, 5), (-1, 2)])
def test_a_shard_range_outside_the_set_is_refused(tmp_path: Path, shard_range: tuple[int, int]):
    with pytest.raises(ValueError, match=r"0\.\.4"):
        build_tiny(tmp_path / "set", shard_range=shard_range)


def test_a_bad_request_changes_nothing(own_set: Path):
    before = hashes(own_set)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        build_tiny(own_set, overwrite=True, num_workers=0)
    assert hashes(own_set) == before


def test_overwriting_a_part_is_refused(own_set: Path):
    with pytest.raises(ValueError, match="other machines"):
        build_tiny(own_set, overwrite=True, shard_range=(0, 2))


def test_an_error_in_a_worker_names_the_shard_and_finished_shards_stay(finished_set: Path, tmp_path: Path):
    out = tmp_path / "set"
    with pytest.raises(ShardError, match=r"tiny-000002.*could not be made: this background has no pixels"):
        build_tiny(out, MakeTiny(fails_at=2 * SAMPLES_PER_SHARD + 3))
    assert hashes(out)["tiny-000001.tar"] == hashes(finished_set)["tiny-000001.tar"]
    assert not list(out.glob(".tmp~*"))


def test_a_defect_in_a_worker_comes_with_its_traceback(tmp_path: Path):
    with pytest.raises(WorkerError, match=r"(?s)shard 1 failed.*AssertionError: shard 1 was there") as caught:
        build_tiny(tmp_path / "set", MakeTiny(refuses=(1,)))
    assert caught.value.is_defect


def test_a_worker_that_is_killed_does_not_hang_the_run(finished_set: Path, tmp_path: Path):
    out = tmp_path / "set"
    with pytest.raises(WorkerError, match=r"shard 1.*SIGKILL.*memory") as caught:
        build_tiny(out, MakeTiny(dies_at=SAMPLES_PER_SHARD + 2))
    assert not caught.value.is_defect
    assert not list(out.glob(".tmp~*"))
    build_tiny(out)
    assert hashes(out) == hashes(finished_set)


def test_progress_counts_samples_as_they_are_made(tmp_path: Path):
    reports = []
    build_tiny(tmp_path / "set", MakeTiny(nap_s=0.03), num_workers=2, progress=lambda *r: reports.append(r))
    done = [count for count, _ in reports]
    assert done == sorted(done)
    assert done[-1] == NUM_SHARDS * SAMPLES_PER_SHARD
    assert any(count % SAMPLES_PER_SHARD for count in done)
    assert all(found == 0 for _, found in reports)


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "-a"])
def test_names_that_make_bad_files_are_refused(name: str):
    with pytest.raises(ShardError, match="name"):
        Manifest(name=name, num_shards=1, config={}, licences=())


def test_a_set_that_is_made_is_not_asked_for(finished_set: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="must not be complete"):
        build_set(tmp_path / "set", read_manifest(finished_set), MakeTiny())
    assert not (tmp_path / "set").exists()


def test_manifest_is_plain_json_with_totals(finished_set: Path):
    values = json.loads((finished_set / "manifest.json").read_text())
    assert values["complete"] is True
    assert values["totals"]["num_samples"] == 24
    assert values["totals"]["members"] == dict.fromkeys(
        ["aligned.jpg", "image.jpg", "iuv.png", "meta.json", "texture.png"], 24
    )
    assert values["totals"]["num_bytes"] == sum(path.stat().st_size for path in finished_set.glob("*.tar"))
    assert values["licences"] == ["CC0-1.0"]
    assert Manifest.from_json(json.dumps(values), where="x").totals() == values["totals"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shards": []}, "must list 4"),
        ({"colour": 1}, "colour"),
        ({"schema_version": 2}, "newer release"),
        ({"totals": {}}, "totals differ"),
        ({"num_shards": "4"}, "int >= 1"),
    ],
)
def test_a_bad_manifest_says_what_is_wrong(own_set: Path, change: dict, says: str):
    path = own_set / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ShardError, match=re.escape(says)) as caught:
        read_manifest(own_set)
    assert str(path) in str(caught.value)
