"""A rendered set, made by the real command: what it holds, and that its bytes depend on config and index alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import synth
from shards.manifest import read_manifest
from shards.schema import MEMBERS
from shards.table import Table
from synth.background import ProceduralBackgrounds
from synth.generate import PitConfig, PitShards, Sources, render_group

NUM_SAMPLES, SAMPLES_PER_SHARD, SAMPLES_PER_TEXTURE = 18, 5, 4
NUM_SHARDS = 4
"""Of 5, 5, 5 and 3 samples; the textures' groups of 4 lie across every boundary, and the last has 2 samples."""
SEED = 0
SIZES = ("--samples-per-shard", SAMPLES_PER_SHARD, "--samples-per-texture", SAMPLES_PER_TEXTURE, "--seed", SEED)
EXTENSIONS = {"image.jpg", "meta.json", "texture.png", "aligned.jpg", "iuv.png"}
MAX_WORKER_GB = 1.5
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs a command and writes the peak memory, KiB, of the largest of its processes."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A finished set and the run that made it. Not to be changed."""

    folder: Path
    run: subprocess.CompletedProcess
    peak_bytes: int

    def hashes(self) -> list[str]:
        return [entry.sha256 for entry in read_manifest(self.folder).shards]


def environment() -> dict[str, str]:
    """Of a command: the packages of this checkout, installed or not."""
    root = str(Path(synth.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def pit(out: Path, *options: object, num_samples: int = NUM_SAMPLES) -> list[str]:
    """Command line that renders a small set."""
    command = [sys.executable, "-m", "synth", "pit", "--out", out, "--num-samples", num_samples, *SIZES, *options]
    return [str(word) for word in command]


def run(command: list[str]) -> subprocess.CompletedProcess:
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def drawn_here(seed: int = SEED, *, samples_per_shard: int = NUM_SAMPLES) -> PitShards:
    """What `pit` makes, in this process."""
    config = PitConfig(num_samples=NUM_SAMPLES, samples_per_texture=SAMPLES_PER_TEXTURE, seed=seed)
    sources = Sources(backgrounds=ProceduralBackgrounds())
    return PitShards(config=config, samples_per_shard=samples_per_shard, sources=sources)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """18 samples in 4 shards by one worker."""
    folder = tmp_path_factory.mktemp("rendered")
    peak = folder / "peak"
    result = run([sys.executable, "-c", MEASURED, str(peak), *pit(folder / "pit", "--json")])
    return Rendered(folder=folder / "pit", run=result, peak_bytes=1024 * int(peak.read_text()))


@pytest.fixture(scope="module")
def table(rendered: Rendered) -> Table:
    return Table(rendered.folder)


def test_json_goes_to_stdout_and_progress_to_stderr(rendered: Rendered):
    num_bytes = sum(path.stat().st_size for path in rendered.folder.glob("*.tar"))
    assert json.loads(rendered.run.stdout) == {
        "out": str(rendered.folder),
        "complete": True,
        "num_shards": NUM_SHARDS,
        "num_samples": NUM_SAMPLES,
        "num_bytes": num_bytes,
    }
    assert rendered.run.stderr.splitlines()[-1].startswith(f"pit: {NUM_SAMPLES} of {NUM_SAMPLES} samples, ")
    assert "Warning" not in rendered.run.stderr


def test_the_set_verifies(rendered: Rendered):
    result = run([sys.executable, "-m", "shards", "verify", str(rendered.folder), "--json"])
    assert json.loads(result.stdout) == {"num_shards": NUM_SHARDS, "num_samples": NUM_SAMPLES, "faults": []}


def test_the_manifest_tells_config_and_counts(rendered: Rendered):
    manifest = read_manifest(rendered.folder)
    names = [f"pit-{i:06d}.tar" for i in range(NUM_SHARDS)]
    assert [entry.name for entry in manifest.shards] == names
    assert {path.name for path in rendered.folder.iterdir()} <= {*names, "manifest.json", "index.npz"}
    assert [entry.num_samples for entry in manifest.shards] == [5, 5, 5, 3]
    assert manifest.totals()["members"] == dict.fromkeys(EXTENSIONS, NUM_SAMPLES)
    assert manifest.totals()["origins"] == {"rendered": NUM_SAMPLES}
    assert manifest.config["seed"] == SEED
    assert manifest.config["samples_per_texture"] == SAMPLES_PER_TEXTURE
    assert manifest.config["camera"]["height_m"] == [2.0, 5.0]
    assert manifest.config["raster"]["rasterizer"] == "numba"
    assert [line for line in manifest.licences if "CC0" in line]
    assert str(rendered.folder.parent) not in manifest.to_json()


def test_every_sample_has_every_member(table: Table):
    assert table.keys.tolist() == [f"{i:08d}" for i in range(NUM_SAMPLES)]
    for i in range(NUM_SAMPLES):
        assert set(table.read_members(i)) == EXTENSIONS
        sample = table[i]
        assert sample.image.shape == sample.aligned.shape == sample.iuv.shape == (256, 128, 3)
        assert sample.texture.shape == (256, 256, 3)
        for field in ("image", "texture", "aligned"):
            assert getattr(sample, field).std() > 10, (i, field)
        person = sample.iuv[..., 0] > 0
        assert 0.05 < person.mean() < 0.7
        assert len(np.unique(sample.iuv[..., 0])) > 8
    assert {field for field, member in MEMBERS.items() if not member.required} == {"texture", "aligned", "iuv", "parts"}


def test_meta_is_complete(table: Table):
    for i in range(NUM_SAMPLES):
        meta = table.read(i, ("meta",))["meta"]
        known = meta.rendered
        assert (meta.origin, meta.dataset, meta.identity, meta.split) == ("rendered", "pit", None, None)
        assert meta.uv_layout == "makehuman"
        assert (known["seed"], known["index"]) == (SEED, i)
        assert known["outfit"]["texture"] == i // SAMPLES_PER_TEXTURE
        assert len(known["outfit"]) > 3
        assert (known["body"]["name"], len(known["body"]["pose"])) == ("open", 72)
        assert known["background"] == "procedural:street-v1"
        assert set(known["licences"]) == {"body", "outfit"}
        points = np.array(meta.keypoints)
        inside = (points[:, :2] >= 0).all(1) & (points[:, 0] < 128) & (points[:, 1] < 256)
        np.testing.assert_array_equal(points[:, 2] > 0, inside)
        assert (points[:, 2] == 2).sum() >= 5
        rotation = np.array(known["world_to_camera"])[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)


def test_a_texture_is_worn_in_other_shapes_poses_and_views(table: Table):
    samples = [table[i] for i in range(NUM_SAMPLES)]
    groups = [samples[k : k + SAMPLES_PER_TEXTURE] for k in range(0, NUM_SAMPLES, SAMPLES_PER_TEXTURE)]
    assert len({group[0].texture.tobytes() for group in groups}) == len(groups)
    for group in groups:
        assert len({sample.texture.tobytes() for sample in group}) == 1
        for field in ("image", "aligned", "iuv"):
            assert len({getattr(sample, field).tobytes() for sample in group}) == len(group), field
        for key in ("betas", "pose"):
            assert len({str(sample.meta.rendered["body"][key]) for sample in group}) == len(group), key
        assert len({str(sample.meta.rendered["world_to_camera"]) for sample in group}) == len(group)


def test_two_workers_on_ranges_of_shards_give_the_same_bytes(rendered: Rendered, tmp_path: Path):
    out = tmp_path / "pit"
    first = json.loads(run(pit(out, "--json", "--shards", 1, 4, "--workers", 2)).stdout)
    assert first == {"out": str(out), "complete": False}
    second = json.loads(run(pit(out, "--json", "--shards", 0, 1)).stdout)
    assert second == json.loads(rendered.run.stdout) | {"out": str(out)}
    for name in ("manifest.json", *(f"pit-{i:06d}.tar" for i in range(NUM_SHARDS))):
        assert (out / name).read_bytes() == (rendered.folder / name).read_bytes(), name


def test_kill_9_in_the_middle_and_a_restart_give_the_same_bytes(rendered: Rendered, tmp_path: Path):
    out, many = tmp_path / "pit", 4000
    # Far more samples than can be made before the kill; the first shards do not depend on how many follow.
    process = subprocess.Popen(
        pit(out, num_samples=many), env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not (out / "pit-000000.json").exists():
            assert process.poll() is None, "it ended before the first shard was finished"
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("*.tar") if path.with_suffix(".json").exists()}
    assert 1 <= len(finished) < many // SAMPLES_PER_SHARD
    assert not read_manifest(out).complete
    run(pit(out, "--shards", 0, max(3, len(finished) + 1), num_samples=many))
    for i in range(3):
        name = f"pit-{i:06d}.tar"
        assert (out / name).read_bytes() == (rendered.folder / name).read_bytes(), name
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "a finished shard was made again"
    assert [path.name for path in out.glob(".tmp~*")] == []


def test_samples_do_not_depend_on_the_shards_size(table: Table):
    for sample in drawn_here()(0):
        assert dict(sample.members) == table.read_members(int(sample.key)), sample.key


@pytest.mark.parametrize("index", [0, 6, NUM_SAMPLES - 1])
def test_a_sample_alone_is_the_same_as_in_its_batch(table: Table, index: int):
    here = drawn_here()
    group = index // SAMPLES_PER_TEXTURE
    (alone,) = render_group(here.config, group, range(index, index + 1), here.sources)
    assert alone.key == table.keys[index]
    assert dict(alone.members) == table.read_members(index)


def test_another_seed_gives_other_people(table: Table):
    here = drawn_here(seed=1)
    for group in range(2):
        first = group * SAMPLES_PER_TEXTURE
        (other,) = render_group(here.config, group, range(first, first + 1), here.sources)
        ours = table.read_members(first)
        assert all(other.members[extension] != ours[extension] for extension in EXTENSIONS)
        other_body, our_body = (json.loads(data["meta.json"])["rendered"] for data in (other.members, ours))
        assert (other_body["seed"], our_body["seed"]) == (1, 0)
        assert other_body["body"]["betas"] != our_body["body"]["betas"]
        assert other_body["world_to_camera"] != our_body["world_to_camera"]


def test_a_worker_fits_its_memory(rendered: Rendered):
    assert 0.1e9 < rendered.peak_bytes < MAX_WORKER_GB * 1e9
