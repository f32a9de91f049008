"""How fast live batches are rendered that stay on a device: each stage, beside what moving its bytes alone would take."""

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from bench_figures import Figure, hardware

from synth.background import ProceduralBackgrounds
from synth.compose import (
    choose_parts,
    draw_aligned,
    draw_choice,
    draw_posed,
    label_keypoints,
    lay_ground,
    pose_people,
    take_picture,
)
from synth.generate import PitConfig
from synth.pool import draw_pool
from synth.raster import RasterConfig, gather_fragments, rasterize
from synth.render import draw_fragments, screen_points_twin, towards_cameras
from synth.repeatable import full_precision
from synth.sources import Sources

LOOKS = 16
"""Looks of a pool and of every batch."""
COPY_BYTES = {"cpu": 1 << 27, "cuda": 1 << 31}
"""Size of the array whose copy tells the bandwidth of memory; far more than any cache holds."""

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """A stage and the least that it must move: everything it needs read once, everything it gives written once."""

    name: str
    function: Callable[[], Any]
    num_bytes: int


def device_hardware(device: Device) -> dict[str, Any]:
    """What the figures depend on."""
    if device == "cpu" or not torch.cuda.is_available():
        return {**hardware(), "gpu": "none used: these are figures of a CPU, not of a GPU"}
    properties = torch.cuda.get_device_properties(0)
    return {
        **hardware(),
        "gpu": properties.name,
        "gpu memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "cuda": torch.version.cuda,
        "pytorch3d": "measured" if importlib.util.find_spec("pytorch3d") else "not installed",
    }


def times_s(function: Callable[[], Any], device: Device, rounds: int) -> list[float]:
    """Time of every round after two that do not count, by the device's own clock where it has one."""
    for _ in range(2):
        function()
    found = []
    for _ in range(rounds):
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            function()
            end.record()
            torch.cuda.synchronize()
            found.append(start.elapsed_time(end) / 1e3)
        else:
            begin = time.perf_counter()
            function()
            found.append(time.perf_counter() - begin)
    return found


def bandwidth(device: Device, rounds: int) -> list[float]:
    """Bytes a second, read and written, of a large copy."""
    source = torch.empty(COPY_BYTES[device], dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    return [2 * len(source) / time_s for time_s in times_s(lambda: target.copy_(source), device, rounds)]


def live_stages(device: Device, batch_size: int, size: tuple[int, int], rounds: int) -> list[Figure]:
    """Milliseconds a batch of each stage, over the time that its bytes alone take, and samples a second."""
    config = PitConfig(device=device, height=size[0], width=size[1], samples_per_texture=4)
    pool = draw_pool(config, Sources(backgrounds=ProceduralBackgrounds()), range(LOOKS), device)
    with full_precision(device):
        stages = all_stages(config, pool, batch_size)
        per_s = bandwidth(device, rounds)
        figures = [Figure.of("memory bandwidth of a large copy", "GB/s", [rate / 1e9 for rate in per_s])]
        core = [0.0] * rounds
        for stage in stages:
            spent = times_s(stage.function, device, rounds)
            figures += stage_figures(stage, spent, statistics.median(per_s))
            if stage.name in CORE:
                core = [a + b for a, b in zip(core, spent, strict=True)]
        figures += against_pytorch3d(config, pool, batch_size, rounds)
    whole = times_s(lambda: draw_choice(config, pool, choose_parts(pool, 0, 1, batch_size, LOOKS)), device, rounds)
    name = "body, raster, shade, labels, on the device"
    return [
        *figures,
        Figure.of(name, "samples/s", [batch_size / time_s for time_s in core], target=TARGETS.get(device)),
        Figure.of("whole batches, with sensor and aligned picture", "samples/s", [batch_size / t for t in whole]),
    ]


TARGETS = {"cuda": 20_000}
CORE = ("body", "rasterise", "shade, IUV", "keypoints")
"""Target in samples a second, of these stages together."""


def all_stages(config: PitConfig, pool: Any, batch_size: int) -> list[Stage]:
    """The stages of `synth.compose.draw_choice`, each on what the one before gave."""
    choice = choose_parts(pool, 0, 0, batch_size, LOOKS)
    people, linear = pool.dressed.select(choice.look), pool.texture.index_select(0, choice.look).float() / 255
    posed = pose_people(config, pool, choice, people)
    cameras, faces = posed.cameras, people.faces
    points = screen_points_twin(posed.vertices, posed.normals, cameras)
    visible = rasterize_points(config.raster, points, people, cameras)
    ground = lay_ground(pool, choice, posed)
    drawn = draw_posed(config, ground, posed, people, linear)
    towards = towards_cameras(posed.vertices, cameras)

    def project_and_rasterise() -> Any:
        return rasterize_points(
            config.raster, screen_points_twin(posed.vertices, posed.normals, cameras), people, cameras
        )

    def shade() -> Any:
        fragments = gather_fragments(visible, points, faces, everywhere=True)
        return draw_fragments(ground, fragments, visible.depth, points, people, linear, towards, cameras)

    body = sum(num_bytes(getattr(people, name)) for name in ("rest", "normals", "weights", "directions"))
    mesh = num_bytes(faces) + num_bytes(people.double_sided)
    buffers = sum(map(num_bytes, (visible.face, visible.depth, visible.sample, visible.num_covered)))
    attributes = num_bytes(people.corner) + num_bytes(people.surface) + num_bytes(linear)
    pictures, moved = num_bytes(drawn.image), num_bytes(posed.vertices) + num_bytes(posed.normals)
    codes = pictures // 4
    return [
        Stage(name="body", function=lambda: pose_people(config, pool, choice, people), num_bytes=body + moved),
        Stage(name="rasterise", function=project_and_rasterise, num_bytes=moved + mesh + buffers),
        Stage(
            name="shade, IUV",
            function=shade,
            num_bytes=num_bytes(points) + num_bytes(faces) + buffers + attributes + 2 * pictures + num_bytes(drawn.iuv),
        ),
        Stage(
            name="keypoints",
            function=lambda: label_keypoints(posed, drawn),
            num_bytes=num_bytes(posed.joints) + batch_size * 17 * 16,
        ),
        Stage(
            name="background, shadow",
            function=lambda: lay_ground(pool, choice, posed),
            num_bytes=pictures // 6 * 4 + pictures + num_bytes(posed.vertices),
        ),
        Stage(name="sensor", function=lambda: take_picture(pool, choice, drawn), num_bytes=pictures + 2 * codes),
        Stage(
            name="aligned picture",
            function=lambda: draw_aligned(config, pool, choice, people, linear),
            num_bytes=body + mesh + attributes + codes,
        ),
    ]


def rasterize_points(raster: RasterConfig, points: torch.Tensor, people: Any, cameras: Any) -> Any:
    return rasterize(points, people.faces, cameras.height, cameras.width, raster, double_sided=people.double_sided)


def stage_figures(stage: Stage, spent: list[float], per_s: float) -> list[Figure]:
    """Time, bytes, and time over the least that these bytes take."""
    limit_s = stage.num_bytes / per_s
    return [
        Figure.of(f"  {stage.name}", "ms/batch", [1e3 * time_s for time_s in spent], more_is_better=False),
        Figure.of(f"  {stage.name}: bytes it must move", "MB/batch", [stage.num_bytes / 1e6], more_is_better=False),
        Figure.of(
            f"  {stage.name}: over its memory-traffic limit", "x", [t / limit_s for t in spent], more_is_better=False
        ),
    ]


def num_bytes(values: torch.Tensor) -> int:
    return values.numel() * values.element_size()


def against_pytorch3d(config: PitConfig, pool: Any, batch_size: int, rounds: int) -> list[Figure]:
    """The same vertices to the same buffers by PyTorch3D; nothing where it is not installed."""
    if importlib.util.find_spec("pytorch3d") is None:
        return []
    choice = choose_parts(pool, 0, 0, batch_size, LOOKS)
    people = pool.dressed.select(choice.look)
    posed = pose_people(config, pool, choice, people)
    points = screen_points_twin(posed.vertices, posed.normals, posed.cameras)
    spent = {}
    for name in (config.raster.on(config.device).rasterizer, "pytorch3d"):
        raster = replace(config.raster, rasterizer=name)
        spent[name] = times_s(
            lambda raster=raster: rasterize_points(raster, points, people, posed.cameras), config.device, rounds
        )
    ours, theirs = spent.values()
    return [
        *(
            Figure.of(f"visibility by {name}", "ms/batch", [1e3 * t for t in times], more_is_better=False)
            for name, times in spent.items()
        ),
        Figure.of("ours over pytorch3d", "x", [b / a for a, b in zip(ours, theirs, strict=True)]),
    ]
