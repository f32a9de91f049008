"""Render people: python -m synth pit|scene|preview|export-person."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from shards.build import MakeShard, build_set
from shards.codec import decode_sample, encode_png
from shards.console import progress_bar, write_json, write_text
from shards.manifest import Manifest, read_manifest
from shards.sheet import draw_sheet
from shards.writer import atomic_file
from synth.body import load_body
from synth.generate import PitConfig, PitShards, render_group
from synth.scenes.config import SceneConfig
from synth.scenes.generate import SceneShards, samples_about
from synth.scenes.kept_frames import join_annotations, remove_frames
from synth.scenes.presets import PRESETS
from synth.scenes.visits import CIRCLE, circles
from synth.sources import SourceFolders, Sources, licences


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """Where a set goes, and who makes how much of it at once."""

    out: Path
    """Folder of the shards; running the same command again goes on where it stopped."""
    samples_per_shard: int = 1000
    """Size of a shard; scenes keep people who meet together, so theirs is about that."""
    workers: int = 1
    """Processes; the bytes do not depend on them."""
    shards: tuple[int, int] | None = None
    """Make only shards START up to STOP here, others elsewhere."""
    overwrite: bool = False
    """Remove the set in the folder, shards that this command finished among them, and begin anew."""
    json: bool = False
    """Write JSON to stdout."""

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ValueError(f"--samples-per-shard must be at least 1, got {self.samples_per_shard}")
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.workers}")

    def write(self, wanted: Manifest, make_shard: MakeShard, num_samples: Callable[[int, int], int]) -> int:
        """Make the set, or the shards asked for, and report; num_samples(start, stop): of these shards, about.

        Returns the exit code.
        """
        first, stop = self.shards or (0, wanted.num_shards)
        with progress_bar(wanted.name, num_samples(first, stop)) as progress:
            manifest = build_set(
                self.out,
                wanted,
                make_shard,
                num_workers=self.workers,
                overwrite=self.overwrite,
                shard_range=self.shards,
                progress=progress,
            )
        report = {"out": str(self.out), "complete": manifest is not None}
        if manifest is not None:
            report |= {
                "num_shards": manifest.num_shards,
                "num_samples": manifest.num_samples,
                "num_bytes": sum(entry.num_bytes for entry in manifest.shards),
            }
        if self.json:
            write_json(report)
        elif manifest is None:
            write_text(
                f"shards {first} to {stop - 1} of {wanted.num_shards} are in {self.out}; others are still missing"
            )
        else:
            write_text(f"{manifest.num_samples:,} samples in {manifest.num_shards:,} shards in {self.out}")
        return 0


def _manifest(
    name: str, num_shards: int, config: PitConfig | SceneConfig, folders: SourceFolders, sources: Sources, **size: int
) -> Manifest:
    """What a set is."""
    body = load_body(config.body)
    device = config.device if isinstance(config, PitConfig) else "cpu"
    record = {
        **asdict(replace(config, raster=config.raster.on(device))),
        "command": name,
        "body": body.name,  # where its file lies is no matter of the set
        "sources": folders.record(sources),
        **size,
    }
    if device == "cpu":
        record.pop("device", None)  # as in sets from before there was a choice
    return Manifest(name=name, num_shards=num_shards, config=record, licences=licences(body, sources))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pit:
    """Render a Paired-Image-Texture set: picture, texture, IUV, keypoints and aligned picture of every sample."""

    writing: Annotated[Writing, tyro.conf.arg(name="")]
    config: Annotated[PitConfig, tyro.conf.arg(name="")] = field(default_factory=PitConfig)
    sources: Annotated[SourceFolders, tyro.conf.arg(name="")] = field(default_factory=SourceFolders)

    def run(self) -> int:
        """Returns the exit code."""
        sources = self.sources.open(aspect=self.config.width / self.config.height)
        size, total = self.writing.samples_per_shard, self.config.num_samples
        wanted = _manifest("pit", -(-total // size), self.config, self.sources, sources, samples_per_shard=size)
        make_shard = PitShards(config=self.config, samples_per_shard=size, sources=sources)
        return self.writing.write(wanted, make_shard, lambda first, stop: min(stop * size, total) - first * size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Render people who walk past the cameras of a network: reID crops with all labels, train, query and gallery."""

    writing: Annotated[Writing, tyro.conf.arg(name="")]
    config: Annotated[SceneConfig, tyro.conf.arg(name="")] = field(default_factory=SceneConfig)
    sources: Annotated[SourceFolders, tyro.conf.arg(name="")] = field(default_factory=SourceFolders)

    def run(self) -> int:
        """Returns the exit code."""
        network = self.config.network
        sources = self.sources.open(aspect=network.columns / network.rows, occluders=True)
        per_circle = samples_about(self.config, CIRCLE)
        each = max(round(self.writing.samples_per_shard / per_circle), 1)
        num_circles = len(circles(self.config))
        wanted = _manifest("scene", -(-num_circles // each), self.config, self.sources, sources, circles_per_shard=each)
        self._check(sources)
        make_shard = SceneShards(
            config=self.config,
            circles_per_shard=each,
            sources=sources,
            frames=self.writing.out / "frames" if self.config.keep_frames else None,
        )
        people = [len(circle.members) for circle in circles(self.config)]
        if self.writing.overwrite and self.writing.shards is None:
            remove_frames(self.writing.out / "frames")
        code = self.writing.write(
            wanted,
            make_shard,
            lambda first, stop: samples_about(self.config, sum(people[first * each : stop * each])),
        )
        if make_shard.frames is not None and read_manifest(self.writing.out).complete:
            join_annotations(make_shard.frames, self.config)
        return code

    def _check(self, sources: Sources) -> None:
        """Raise ValueError for sources that do not go with the config."""
        if sources.motions is not None and self.config.walk.fps is not None:
            raise ValueError(
                "recorded poses are drawn one by one and make no sequence: leave out --motions or --walk.fps"
            )
        if sources.textures is not None and len(sources.textures.paths) < self.config.num_identities:
            raise ValueError(
                f"{self.config.num_identities} identities need as many textures, the folder has "
                f"{len(sources.textures.paths)}: give more, or fewer --num-identities"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """Draw a contact sheet of what `pit` would render with the same options, before a long run."""

    out: Path = Path("preview.png")
    """Picture to write."""
    num: int = 12
    """People on it, each with a texture of their own."""
    columns: int = 3
    """People per row."""
    compact: bool = False
    """Pictures only, without the labels."""
    config: Annotated[PitConfig, tyro.conf.arg(name="")] = field(default_factory=PitConfig)
    sources: Annotated[SourceFolders, tyro.conf.arg(name="")] = field(default_factory=SourceFolders)
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.num < 1 or self.columns < 1:
            raise ValueError(f"--num and --columns must be at least 1, got {self.num} and {self.columns}")
        if self.out.suffix != ".png":
            raise ValueError(f"contact sheets are written as .png, got {self.out.name!r}")
        sources = self.sources.open(aspect=self.config.width / self.config.height)
        samples, per = [], self.config.samples_per_texture
        with progress_bar("preview", self.num) as progress:
            for group in range(self.num):
                for encoded in render_group(self.config, group, range(group * per, group * per + 1), sources):
                    samples.append(decode_sample(encoded.key, encoded.members, shard="preview"))
                progress(len(samples), 0)
        sheet = draw_sheet(samples, columns=self.columns, compact=self.compact)
        with atomic_file(self.out) as file:
            file.write(encode_png(sheet, level=6))
        if self.json:
            write_json({"out": str(self.out), "keys": [s.key for s in samples]})
        else:
            write_text(f"{len(samples)} people in {self.out}")
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportPerson:
    """Write one textured person as .glb for any 3D viewer."""

    out: Path
    """File to write, ending in .glb."""
    index: int = 0
    """Which sample's person."""
    config: Annotated[PitConfig, tyro.conf.arg(name="")] = field(default_factory=PitConfig)
    sources: Annotated[SourceFolders, tyro.conf.arg(name="")] = field(default_factory=SourceFolders)
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        # trimesh takes most of a second to import, in every worker of the other commands too.
        from synth.export import export_person

        sources = self.sources.open(aspect=self.config.width / self.config.height)
        export_person(self.config, self.index, sources, self.out)
        num_bytes = self.out.stat().st_size
        if self.json:
            write_json({"out": str(self.out), "num_bytes": num_bytes})
        else:
            write_text(f"{self.out}: {num_bytes:,} bytes")
        return 0


def commands(arguments: Sequence[str]) -> Any:
    """The type that the command line is parsed by; a preset among the arguments gives `scene` its defaults.

    Raises ValueError for an unknown preset.
    """
    preset = SceneConfig().preset
    for argument, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.partition("=")[0] == "--preset":
            preset = argument.partition("=")[2] or value
    if preset not in PRESETS:
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    scene = Scene(writing=Writing(out=tyro.MISSING), config=PRESETS[preset]())
    return (
        Annotated[Pit, tyro.conf.subcommand("pit")]
        | Annotated[Scene, tyro.conf.subcommand("scene", default=scene)]
        | Annotated[Preview, tyro.conf.subcommand("preview")]
        | Annotated[ExportPerson, tyro.conf.subcommand("export-person")]
    )


def cli() -> int:
    """Parse the command line and run the command; returns the exit code."""
    return tyro.cli(commands(sys.argv[1:]), prog="python -m synth", description=__doc__).run()
