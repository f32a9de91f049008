"""Render people: python -m synth pit|preview|export-person."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from shards.build import build_set
from shards.codec import decode_sample, encode_png
from shards.console import progress_bar, write_json, write_text
from shards.manifest import Manifest
from shards.sheet import draw_sheet
from shards.writer import atomic_file
from synth.background import CocoBackgrounds, ProceduralBackgrounds
from synth.body import Body, load_body
from synth.generate import PitConfig, PitShards, Sources, render_group
from synth.motion_files import MotionLibrary
from synth.texture_files import TextureFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFolders:
    """Folders of yours to draw from, in place of the built-in procedural sources."""

    coco: Path | None = None
    """Folder of COCO images, for backgrounds."""
    coco_annotations: Path | None = None
    """COCO instances JSON of these images; only crops without an annotated person are used."""
    motions: Path | None = None
    """Folder of AMASS or SURREAL/CMU .npz files."""
    textures: Path | None = None
    """Folder of square textures in the body's uv layout (SURREAL's, for the SMPL body)."""
    texture_licence: str = ""
    """Licence of these textures, recorded with every sample."""

    def open(self, config: PitConfig) -> Sources:
        """Index the folders for pictures of the config's size. Raises FileNotFoundError or ValueError for what is missing or does not fit."""
        if (self.coco is None) != (self.coco_annotations is None):
            raise ValueError("COCO backgrounds need both --coco FOLDER and --coco-annotations JSON")
        backgrounds = (
            ProceduralBackgrounds()
            if self.coco is None
            else CocoBackgrounds.open(self.coco, self.coco_annotations, aspect=config.width / config.height)
        )
        return Sources(
            backgrounds=backgrounds,
            motions=None if self.motions is None else MotionLibrary.from_folder(self.motions),
            textures=None if self.textures is None else TextureFolder.from_folder(self.textures, self.texture_licence),
        )

    def record(self, sources: Sources) -> dict:
        """What of the folders fixes a set's content: names and counts, not where they lie."""
        record: dict = {}
        if isinstance(sources.backgrounds, CocoBackgrounds):
            record["coco"] = {"annotations": self.coco_annotations.name, "num_images": len(sources.backgrounds.names)}
        if sources.motions is not None:
            record["motions"] = {"folder": self.motions.name, "num_frames": sources.motions.num_frames}
        if sources.textures is not None:
            record["textures"] = {"folder": self.textures.name, "num_textures": len(sources.textures.paths)}
        return record


@dataclass(frozen=True, kw_only=True, slots=True)
class Pit:
    """Render a Paired-Image-Texture set: picture, texture, IUV, keypoints and aligned picture of every sample."""

    out: Path
    """Folder of the shards; running the same command again goes on where it stopped."""
    config: Annotated[PitConfig, tyro.conf.arg(name="")] = field(default_factory=PitConfig)
    sources: Annotated[SourceFolders, tyro.conf.arg(name="")] = field(default_factory=SourceFolders)
    samples_per_shard: int = 1000
    """Size of a shard."""
    workers: int = 1
    """Processes; the bytes do not depend on them."""
    shards: tuple[int, int] | None = None
    """Make only shards START up to STOP here, others elsewhere."""
    overwrite: bool = False
    """Remove a set that lies in the folder."""
    json: bool = False
    """Write JSON to stdout."""

    def run(self) -> int:
        """Returns the exit code."""
        if self.samples_per_shard < 1:
            raise ValueError(f"--samples-per-shard must be at least 1, got {self.samples_per_shard}")
        sources = self.sources.open(self.config)
        num_shards = -(-self.config.num_samples // self.samples_per_shard)
        make_shard = PitShards(config=self.config, samples_per_shard=self.samples_per_shard, sources=sources)
        wanted = self.manifest(num_shards, sources)
        first, stop = self.shards or (0, num_shards)
        here = min(stop * self.samples_per_shard, self.config.num_samples) - first * self.samples_per_shard
        with progress_bar("pit", here) as progress:
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
                "num_shards": num_shards,
                "num_samples": manifest.num_samples,
                "num_bytes": sum(entry.num_bytes for entry in manifest.shards),
            }
        if self.json:
            write_json(report)
        elif manifest is None:
            write_text(f"shards {first} to {stop - 1} of {num_shards} are in {self.out}; others are still missing")
        else:
            write_text(f"{manifest.num_samples:,} samples in {num_shards:,} shards in {self.out}")
        return 0

    def manifest(self, num_shards: int, sources: Sources) -> Manifest:
        """What the set is."""
        body = load_body(self.config.body)
        resolved = asdict(replace(self.config, raster=self.config.raster.on(self.config.device)))
        if self.config.device == "cpu":
            del resolved["device"]  # as in sets from before there was a choice
        config = {
            **resolved,
            "command": "pit",
            "body": body.name,  # where its file lies is no matter of the set
            "sources": self.sources.record(sources),
            "samples_per_shard": self.samples_per_shard,
        }
        return Manifest(name="pit", num_shards=num_shards, config=config, licences=licences(body, sources))


def licences(body: Body, sources: Sources) -> tuple[str, ...]:
    """Licences of everything that the set is made of."""
    found = [f"body: {body.licence}"]
    if sources.textures is not None:
        found.append(f"textures: {sources.textures.licence}")
    if not isinstance(sources.backgrounds, ProceduralBackgrounds):
        found.append("backgrounds: COCO images, each under its own Flickr licence")
    if sources.motions is not None:
        found.append("motions: the recordings' own licence (AMASS, SURREAL: non-commercial research)")
    return tuple(found)


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
        sources, samples, per = self.sources.open(self.config), [], self.config.samples_per_texture
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

        export_person(self.config, self.index, self.sources.open(self.config), self.out)
        num_bytes = self.out.stat().st_size
        if self.json:
            write_json({"out": str(self.out), "num_bytes": num_bytes})
        else:
            write_text(f"{self.out}: {num_bytes:,} bytes")
        return 0


Command = (
    Annotated[Pit, tyro.conf.subcommand("pit")]
    | Annotated[Preview, tyro.conf.subcommand("preview")]
    | Annotated[ExportPerson, tyro.conf.subcommand("export-person")]
)


def cli() -> int:
    """Parse the command line and run the command; returns the exit code."""
    return tyro.cli(Command, prog="python -m synth", description=__doc__).run()
