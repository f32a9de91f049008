"""How fast people are drawn, on one core and with two workers, and how that compares with pyrender.

    python scripts/bench_synth.py [--json] [--rounds 7] [--only raster shade stages set start peer]

Every figure is a median over rounds after a warm-up, with the lowest and highest round. A machine that does other work
meanwhile shows in them and in the load average.
"""

import contextlib
import multiprocessing
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from shards.build import build_set
from shards.console import main, write_json, write_text
from shards.writer import write_shard
from synth import generate
from synth.anatomy import anatomy_of
from synth.background import Background, ProceduralBackgrounds, View
from synth.camera import Placement, project, to_camera
from synth.colour import srgb_to_linear
from synth.dress import Dressed
from synth.generate import PitConfig, PitShards, Sources, draw_look, place_cameras, stand
from synth.raster import RasterConfig, rasterize
from synth.render import Cameras, draw_person, pack, pack_faces
from synth.scene import draw_scene

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "LP_NUM_THREADS": "0",  # Mesa draws in the calling thread: the peer has one core too
}
BATCH = 10
"""Pictures drawn at once: those of one texture, as `pit` does."""

Part = Literal["raster", "shade", "stages", "set", "start", "peer"]
PARTS: tuple[Part, ...] = ("raster", "shade", "stages", "set", "start", "peer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number: median, lowest and highest round; target, and whether more or less is better."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    target: float | None = None
    more_is_better: bool = True

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float], **rest: Any) -> "Figure":
        return cls(name=name, unit=unit, median=statistics.median(values), low=min(values), high=max(values), **rest)

    def line(self) -> str:
        text = f"{self.name:<52}{self.median:>11,.4g} {self.unit:<10} ({self.low:,.4g} .. {self.high:,.4g})"
        if self.target is None:
            return text
        met = self.median >= self.target if self.more_is_better else self.median <= self.target
        sign = ">=" if self.more_is_better else "<="
        return f"{text}  target {sign} {self.target:,g}: {'met' if met else 'MISSED'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Measure the rendering of people."""

    rounds: int = 7
    """Rounds of what takes well under a second; what takes seconds has three, or fewer if this is less."""
    outfits: int = 6
    """Outfits of ten poses each in every round."""
    set_samples: int = 600
    """Samples per worker of the sets written to disk, in three shards."""
    only: tuple[Part, ...] = PARTS
    """What to measure."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.outfits) < 1 or self.set_samples < 30:
            raise ValueError(
                "needs rounds >= 1, outfits >= 1 and set_samples >= 30, "
                f"got {self.rounds}, {self.outfits} and {self.set_samples}"
            )

    def run(self) -> int:
        """Returns the exit code, 0 whether targets are met or not."""
        torch.set_num_threads(1)
        few = min(self.rounds, 3)
        before = hardware()
        groups = standing_groups(self.outfits) if {"raster", "shade", "peer"} & set(self.only) else []
        figures: list[Figure] = []
        for part in self.only:
            sys.stderr.write(f"measuring: {part}\n")
            match part:
                case "raster":
                    figures += raster_alone(groups, self.rounds)
                case "shade":
                    figures += raster_and_shade(groups, self.rounds)
                case "stages":
                    figures += stages(self.outfits, self.rounds)
                case "set":
                    figures += sets_on_disk(self.set_samples, few)
                case "start":
                    figures += first_sample(few)
                case "peer":
                    figures += against_pyrender(groups, self.rounds)
        after = os.getloadavg()[0]
        if self.json:
            results = [asdict(figure) for figure in figures]
            write_json({"hardware": before, "load_after": after, "config": asdict(self), "results": results})
        else:
            write_text("\n".join([*(f"{key}: {value}" for key, value in before.items()), f"load after: {after:.2f}"]))
            write_text(f"config: {asdict(self)}\n")
            write_text("\n".join(figure.line() for figure in figures))
        return 0


def hardware() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numba", "numpy")},
    }


def seconds(function: Callable[[], Any], rounds: int) -> list[float]:
    """Time of every round after one that does not count."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def rates(function: Callable[[], Any], rounds: int, count: int) -> list[float]:
    return [count / time_s for time_s in seconds(function, rounds)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Ten posed people in one outfit; as the arguments of `draw_person`."""

    vertices: torch.Tensor
    normals: torch.Tensor
    dressed: Dressed
    texture: torch.Tensor
    encoded: np.ndarray
    """(256, 256, 3) uint8, the texture as it is in a file."""
    cameras: Cameras
    wall: torch.Tensor


def standing_groups(num_outfits: int) -> list[Group]:
    """People of seed 0, 80 % of 256 rows high, in pictures of 256 x 128, six metres away."""
    config, anatomy, groups = PitConfig(), anatomy_of("open"), []
    place = Placement(
        height_m=3.0, distance_m=6.0, pan_rad=0.0, tilt_rad=0.0, roll_rad=0.0,
        top_margin=0.125, bottom_margin=0.125, shift=0.0,
    )  # fmt: skip
    for number in range(num_outfits):
        look = draw_look(config, anatomy, number, None)
        scenes = [
            replace(
                draw_scene(anatomy, look.outfit, seed=0, index=BATCH * number + k, camera=config.camera, motions=None),
                placement=place,
            )
            for k in range(BATCH)
        ]
        vertices, normals, _, _ = stand(anatomy, look.dressed, scenes, [scene.pose for scene in scenes])
        groups.append(
            Group(
                vertices=vertices,
                normals=normals,
                dressed=look.dressed,
                texture=torch.from_numpy(srgb_to_linear(look.texture)),
                encoded=look.texture,
                cameras=place_cameras(config, vertices, scenes),
                wall=torch.full((BATCH, config.height, config.width, 3), 0.3),
            )
        )
    return groups


def draw_group(group: Group, supersampling: int) -> torch.Tensor:
    """Linear pictures (10, 256, 128, 3)."""
    config = RasterConfig(supersampling=supersampling)
    people = (group.vertices, group.normals, group.dressed, group.texture, group.cameras)
    return draw_person(group.wall, *people, config).image


def raster_alone(groups: list[Group], rounds: int) -> list[Figure]:
    """Projected vertices in, visibility out."""
    figures = []
    for supersampling in (1, RasterConfig().supersampling):
        config, inputs = RasterConfig(supersampling=supersampling), []
        for group in groups:
            camera = to_camera(group.vertices, group.cameras.world_to_camera)
            packed = pack(project(camera, group.cameras.intrinsics))
            inputs.append((packed, *pack_faces(group.dressed.faces, BATCH, group.vertices.shape[2])))

        def draw(inputs=inputs, config=config) -> None:
            for arrays in inputs:
                rasterize(*arrays, 256, 128, config)

        values = rates(draw, rounds, BATCH * len(groups))
        target = 2000 if supersampling == 1 else None
        name = f"rasterise, {supersampling} x {supersampling} samples per pixel"
        figures.append(Figure.of(name, "images/s", values, target=target))
    return figures


def raster_and_shade(groups: list[Group], rounds: int) -> list[Figure]:
    """Posed vertices in, shaded picture with IUV out."""
    figures = []
    for supersampling in (1, RasterConfig().supersampling):
        values = rates(lambda s=supersampling: [draw_group(group, s) for group in groups], rounds, BATCH * len(groups))
        name = f"project, rasterise, shade, {supersampling} x {supersampling}"
        figures.append(Figure.of(name, "images/s", values, target=800))
    return figures


class Clock:
    """Time spent in each of several nested stages, without what the stages inside it take."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, stage: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - start
                self.spent[stage] += whole - self._inner.pop()
                self._inner[-1] += whole

        return call


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TimedBackgrounds:
    clock: Clock
    backgrounds: ProceduralBackgrounds

    def draw(self, rng: np.random.Generator, view: View) -> Background:
        return self.clock.timed("background", self.backgrounds.draw)(rng, view)


STAGES: Mapping[str, str] = {
    "sample_outfit": "outfit: choose",
    "dress": "outfit: dress",
    "paint": "outfit: paint texture",
    "srgb_to_linear": "outfit: texture to linear",
    "draw_scene": "scene",
    "stand": "pose body and clothes, twice",
    "_cameras": "cameras, twice",
    "cast_shadow": "shadow on the ground",
    "draw_person": "rasterise and shade, twice",
    "apply_sensor": "sensor",
    "linear_to_srgb": "aligned to sRGB",
    "visibility": "keypoints seen",
    "describe": "meta",
    "encode_png": "outfit: encode texture",
    "encode_sample": "encode",
}
"""Function that `synth.generate` calls -> stage. Image and aligned picture are two drawings per sample."""


@contextlib.contextmanager
def clocked(clock: Clock) -> Iterator[None]:
    """`synth.generate` with its stages timed."""
    originals = {name: getattr(generate, name) for name in STAGES}
    for name, stage in STAGES.items():
        setattr(generate, name, clock.timed(stage, originals[name]))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(generate, name, function)


def stages(num_outfits: int, rounds: int) -> list[Figure]:
    """Milliseconds per sample, written to disk, in this process."""
    count, totals, spent = BATCH * num_outfits, [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            clock = Clock()
            sources = Sources(backgrounds=TimedBackgrounds(clock=clock, backgrounds=ProceduralBackgrounds()))
            config = PitConfig(num_samples=(rounds + 1) * count)
            make = PitShards(config=config, samples_per_shard=count, sources=sources)
            with clocked(clock):
                write = clock.timed("tar, hash, disk, rest", write_shard)
                start = time.perf_counter()
                write(Path(folder) / f"stages-{number:06d}.tar", make(number))
                totals.append(1e3 * (time.perf_counter() - start) / count)
            spent.append({stage: 1e3 * time_s / count for stage, time_s in clock.spent.items()})
    figures = [
        Figure.of(f"  {stage}", "ms/sample", [one.get(stage, 0.0) for one in spent[1:]], more_is_better=False)
        for stage in ("background", *STAGES.values(), "tar, hash, disk, rest")
    ]
    figures.sort(key=lambda figure: -figure.median)
    whole = Figure.of("one sample, all stages, this process", "ms/sample", totals[1:], more_is_better=False)
    return [whole, *figures]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRun:
    """One set written to disk. peak_bytes: of the largest worker; cpu_rate: samples per second of a worker's own time,
    which tells the speed of a core that is shared with others."""

    rate: float
    cpu_rate: float
    peak_bytes: int
    sample_bytes: float


def sets_on_disk(num_samples: int, rounds: int) -> list[Figure]:
    """PIT sets by one and by two workers, alternately."""
    one, two = [], []
    for _ in range(rounds):
        one.append(one_set(num_samples, num_samples // 3, 1))
        two.append(one_set(2 * num_samples, num_samples // 3, 2))
    ratios = [b.rate / a.rate for a, b in zip(one, two, strict=True)]
    peaks = [run.peak_bytes / 1e9 for run in one + two]
    return [
        Figure.of("PIT set on disk, 1 worker", "samples/s", [run.rate for run in one], target=150),
        Figure.of("PIT set on disk, 2 workers", "samples/s", [run.rate for run in two]),
        Figure.of("2 workers over 1", "x", ratios, target=1.8),
        Figure.of("1 worker, per second of its CPU time", "samples/s", [run.cpu_rate for run in one], target=150),
        Figure.of("2 workers, per second of their CPU time", "samples/s", [run.cpu_rate for run in two]),
        Figure.of("peak memory of a worker", "GB", peaks, target=1.5, more_is_better=False),
        Figure.of("size of a sample", "MB", [run.sample_bytes / 1e6 for run in one], more_is_better=False),
    ]


def one_set(num_samples: int, samples_per_shard: int, num_workers: int) -> SetRun:
    """Speed while between a tenth and nine tenths of the samples were made.

    The start of the workers, and the time when one has nothing left to do, are thereby left out.
    """
    marks: list[tuple[float, float, int]] = []
    peaks = [0]

    def watch(done: int, found: int) -> None:
        workers = [child.pid for child in multiprocessing.active_children()]
        if 0.1 * num_samples <= done <= 0.9 * num_samples:
            marks.append((time.perf_counter(), sum(map(cpu_seconds, workers)), done))
        peaks.extend(map(peak_bytes, workers))

    config = PitConfig(num_samples=num_samples)
    sources = Sources(backgrounds=ProceduralBackgrounds())
    with tempfile.TemporaryDirectory() as folder:
        manifest = build_set(
            Path(folder),
            name="bench",
            num_shards=-(-num_samples // samples_per_shard),
            make_shard=PitShards(config=config, samples_per_shard=samples_per_shard, sources=sources),
            config=asdict(config),
            licences=(),
            num_workers=num_workers,
            progress=watch,
        )
    if len({done for *_, done in marks}) < 2:
        raise ValueError(f"{num_samples} samples are made too fast to be timed; give more --set-samples")
    # A count is told at most ten times a second: time runs from when it is first heard.
    first, last = marks[0], next(mark for mark in marks if mark[2] == marks[-1][2])
    time_s, cpu_s, made = (b - a for a, b in zip(first, last, strict=True))
    return SetRun(
        rate=made / time_s,
        cpu_rate=made / cpu_s,
        peak_bytes=max(peaks),
        sample_bytes=sum(entry.num_bytes for entry in manifest.shards) / num_samples,
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; raises OSError where /proc is missing."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Largest resident size of a process so far; 0 where the system does not tell or the process is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def first_sample(rounds: int) -> list[Figure]:
    """From the start of `python -m synth pit` to the first sample on disk; after an install kernels are compiled."""
    again = [start_to_first_sample(None) for _ in range(rounds + 1)][1:]
    fresh = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            fresh.append(start_to_first_sample(cache))
    return [
        Figure.of("start to first sample, after installing", "s", fresh, target=15, more_is_better=False),
        Figure.of("start to first sample, later", "s", again, target=15, more_is_better=False),
    ]


def start_to_first_sample(cache: str | None) -> float:
    """Seconds; cache: an empty folder for compiled kernels, or None for the usual one."""
    root = str(Path(generate.__file__).parents[1])
    extra = {} if cache is None else {"NUMBA_CACHE_DIR": cache}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **extra}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pit"
        command = [sys.executable, "-m", "synth", "pit", "--out", str(out), "--samples-per-shard", "1"]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            while not (out / "pit-000000.tar").exists():
                if process.poll() is not None:
                    raise ValueError(f"the command failed: {process.stderr.read()}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def against_pyrender(groups: list[Group], rounds: int) -> list[Figure]:
    """pyrender (EGL) draws the same people, RGB only, one sample per pixel, with one renderer for all pictures."""
    from synth.raster_pyrender import import_pyrender

    pyrender = import_pyrender()
    count = BATCH * len(groups)
    renderer = pyrender.OffscreenRenderer(128, 256)
    try:
        ready = [peer_scene(pyrender, group, k) for group in groups for k in range(BATCH)]
        drawn = [peer_picture(pyrender, renderer, scene) for scene in ready]
        check_same_people(groups, drawn)
        theirs = rates(lambda: [peer_picture(pyrender, renderer, scene) for scene in ready], rounds, count)

        def from_vertices() -> None:
            for group in groups:
                for k in range(BATCH):
                    peer_picture(pyrender, renderer, peer_scene(pyrender, group, k))

        uploading = rates(from_vertices, min(rounds, 3), count)
    finally:
        renderer.delete()
    ours = rates(lambda: [draw_group(group, 1) for group in groups], rounds, count)
    figures = [
        Figure.of("ours: posed vertices to picture and IUV, 1 x 1", "images/s", ours),
        Figure.of("pyrender: posed vertices to picture", "images/s", uploading),
        Figure.of("pyrender: meshes already in OpenGL", "images/s", theirs),
    ]
    median = statistics.median(ours)
    return [
        *figures,
        Figure.of(
            "ours over pyrender, posed vertices to picture", "x", [median / rate for rate in uploading], target=5
        ),
        Figure.of("ours over pyrender with meshes already there", "x", [median / rate for rate in theirs], target=5),
    ]


def peer_scene(pyrender: Any, group: Group, k: int) -> Any:
    """Person k of a group as a textured mesh, vertices split at the texture's seams, before the same camera and sun."""
    import trimesh
    from PIL import Image

    dressed, light = group.dressed, group.cameras.light[k].numpy()
    corners = dressed.faces.reshape(-1)
    vertices = group.vertices[k].T[corners].numpy()
    normals = group.normals[k].T[corners].numpy()
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(group.encoded), metallicFactor=0.0, roughnessFactor=1.0
    )
    visual = trimesh.visual.TextureVisuals(uv=dressed.corner[..., :2].reshape(-1, 2).numpy(), material=material)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    mesh = trimesh.Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)
    scene = pyrender.Scene(ambient_light=light[6:9], bg_color=[0.3, 0.3, 0.3])
    scene.add(pyrender.Mesh.from_trimesh(mesh, smooth=True))
    k_matrix = group.cameras.intrinsics[k].numpy()
    camera = pyrender.IntrinsicsCamera(
        k_matrix[0, 0], k_matrix[1, 1], k_matrix[0, 2], k_matrix[1, 2], znear=0.1, zfar=50.0
    )
    to_opengl = np.diag([1.0, -1.0, -1.0, 1.0])
    camera_to_world = np.linalg.inv(group.cameras.world_to_camera[k].double().numpy()) @ to_opengl
    scene.add(camera, pose=camera_to_world)
    scene.add(pyrender.DirectionalLight(color=light[3:6], intensity=3.0), pose=camera_to_world)
    return scene


def peer_picture(pyrender: Any, renderer: Any, scene: Any) -> np.ndarray:
    """(256, 128, 3) uint8."""
    return renderer.render(scene, flags=pyrender.RenderFlags.SKIP_CULL_FACES)[0]


def check_same_people(groups: list[Group], drawn: list[np.ndarray]) -> None:
    """Raise ValueError unless pyrender's people cover the pixels that ours cover."""
    for number, group in enumerate(groups):
        wall = group.wall.numpy()
        ours = np.abs(draw_group(group, 1).numpy() - wall).max(-1) > 1e-4
        for k in range(BATCH):
            picture = drawn[BATCH * number + k].astype(int)
            theirs = np.abs(picture - picture[0, 0]).max(-1) > 1
            differing = (ours[k] != theirs).sum() / ours[k].sum()
            if differing > 0.1:
                raise ValueError(f"pyrender's picture of person {BATCH * number + k} differs in {differing:.0%} of it")


def cli() -> int:
    """Parse the command line and measure; returns the exit code."""
    return tyro.cli(Bench, description=__doc__).run()


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # Libraries read these when they are loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    main(cli)
