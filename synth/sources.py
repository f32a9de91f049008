"""What pictures are made from besides people: backgrounds, motions, textures and occluders, built in or a user's own."""

from dataclasses import dataclass, field
from pathlib import Path

from synth.background import Backgrounds, CocoBackgrounds, ProceduralBackgrounds
from synth.body import Body
from synth.coco_files import Instances
from synth.motion_files import MotionLibrary
from synth.occluder import CocoOccluders, Occluders, ProceduralOccluders
from synth.texture_files import TextureFolder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sources:
    """Where backgrounds, motions, textures and occluders come from; None is the built-in, procedural one."""

    backgrounds: Backgrounds
    motions: MotionLibrary | None = None
    textures: TextureFolder | None = None
    occluders: Occluders = field(default_factory=ProceduralOccluders)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFolders:
    """Folders of yours to draw from, in place of the built-in procedural sources."""

    coco: Path | None = None
    """Folder of COCO images, for backgrounds and for what stands before people in scenes."""
    coco_annotations: Path | None = None
    """COCO instances JSON of these images; only crops without an annotated person are used."""
    motions: Path | None = None
    """Folder of AMASS or SURREAL/CMU .npz files."""
    textures: Path | None = None
    """Folder of square textures in the body's uv layout (SURREAL's, for the SMPL body)."""
    texture_licence: str = ""
    """Licence of these textures, recorded with every sample."""

    def open(self, *, aspect: float, occluders: bool = False) -> Sources:
        """Index the folders, for pictures of this width over height; occluders: from COCO too, where it is given.

        Raises FileNotFoundError or ValueError for what is missing or does not fit.
        """
        if (self.coco is None) != (self.coco_annotations is None):
            raise ValueError("COCO backgrounds need both --coco FOLDER and --coco-annotations JSON")
        coco = None if self.coco is None else Instances.open(self.coco, self.coco_annotations)
        return Sources(
            backgrounds=ProceduralBackgrounds() if coco is None else CocoBackgrounds.of(coco, aspect=aspect),
            motions=None if self.motions is None else MotionLibrary.from_folder(self.motions),
            textures=None if self.textures is None else TextureFolder.from_folder(self.textures, self.texture_licence),
            occluders=ProceduralOccluders() if coco is None or not occluders else CocoOccluders.of(coco),
        )

    def record(self, sources: Sources) -> dict:
        """What of the folders fixes a set's content: names and counts, not where they lie."""
        record: dict = {}
        if isinstance(sources.backgrounds, CocoBackgrounds):
            record["coco"] = {"annotations": self.coco_annotations.name, "num_images": len(sources.backgrounds.names)}
        if isinstance(sources.occluders, CocoOccluders):
            record["coco"]["num_things"] = sum(map(len, sources.occluders.things.values()))
        if sources.motions is not None:
            record["motions"] = {"folder": self.motions.name, "num_frames": sources.motions.num_frames}
        if sources.textures is not None:
            record["textures"] = {"folder": self.textures.name, "num_textures": len(sources.textures.paths)}
        return record


def licences(body: Body, sources: Sources) -> tuple[str, ...]:
    """Licences of everything that a set is made of."""
    found = [f"body: {body.licence}"]
    if sources.textures is not None:
        found.append(f"textures: {sources.textures.licence}")
    if not isinstance(sources.backgrounds, ProceduralBackgrounds):
        found.append("backgrounds: COCO images, each under its own Flickr licence")
    if isinstance(sources.occluders, CocoOccluders):
        found.append("occluders: cut from COCO images, each under its own Flickr licence")
    if sources.motions is not None:
        found.append("motions: the recordings' own licence (AMASS, SURREAL: non-commercial research)")
    return tuple(found)
