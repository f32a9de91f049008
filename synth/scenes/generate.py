"""Scenes: from a configuration to the samples of a shard, one page.

A shard holds whole circles of people. A circle's samples depend on the config and the circle's number alone, whatever the
size of the shards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from shards.codec import EncodedSample
from synth import seeding
from synth.anatomy import Anatomy, anatomy_of
from synth.background import Background, Light
from synth.occluder import Layer
from synth.repeatable import one_thread
from synth.scenes.config import SceneConfig
from synth.scenes.crops import Crop, Cutter, Shot
from synth.scenes.detect import find, frame_keypoints
from synth.scenes.frame import compose, pose_track
from synth.scenes.kept_frames import KeptFrames
from synth.scenes.network import draw_backdrop, draw_cameras, expose
from synth.scenes.people import draw_identity
from synth.scenes.visits import Circle, Passage, Planner, circles, draw_things
from synth.sensor import apply_sensor
from synth.sources import Sources


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SceneShards:
    """`make_shard` of a set of scenes: circles [index * circles_per_shard, ...)."""

    config: SceneConfig
    circles_per_shard: int
    sources: Sources
    frames: Path | None
    """Folder to keep whole frames in."""

    def __call__(self, index: int) -> Iterator[EncodedSample]:
        first = index * self.circles_per_shard
        for circle in circles(self.config)[first : first + self.circles_per_shard]:
            yield from render_circle(self.config, circle, self.sources, self.frames)


def render_circle(
    config: SceneConfig, circle: Circle, sources: Sources, frames: Path | None = None
) -> Iterator[EncodedSample]:
    """All samples of a circle, camera after camera; its frames, with their labels, into a folder if one is given."""
    crops: list[Crop] = []
    kept = None if frames is None else KeptFrames(frames, config)
    with one_thread():
        anatomy = anatomy_of(config.body)
        people = [draw_identity(config, anatomy, number, sources.textures) for number in circle.members]
        for camera in draw_cameras(config):
            backdrops: dict[tuple, tuple[Background, Light]] = {}
            planner = Planner(config=config, anatomy=anatomy, circle=circle, camera=camera, motions=sources.motions)
            for passage in planner.passages(people):
                place = (passage.hour, passage.backdrop)
                if place not in backdrops:
                    backdrops[place] = draw_backdrop(config, sources.backgrounds, camera, *place)
                background, light = backdrops[place]
                things = draw_things(config, sources.occluders, passage, light)
                shots = take_shots(config, anatomy, passage, background, things, light)
                cutter = Cutter(config=config, anatomy=anatomy, passage=passage, background=background)
                crops += cutter.crops(shots, is_train=circle.is_train)
                if kept is not None:
                    kept.add(passage, shots)
    if kept is not None:
        kept.write(circle.number)
    for crop in with_matches(crops):
        yield crop.encoded()


def take_shots(
    config: SceneConfig, anatomy: Anatomy, passage: Passage, background: Background, things: list[Layer], light: Light
) -> list[Shot]:
    """The frames of a passage in which somebody is found, or all where they are kept."""
    camera = passage.camera
    people = [pose_track(anatomy, camera, track) for track in passage.tracks]
    shots = []
    for k in range(config.walk.frames):
        frame, whole = compose(background, people, things, k, camera, light, config.raster)
        found = find(frame, people, k, whole, config.detector)
        if not found and not config.keep_frames:
            continue
        rng = seeding.generator(config.seed, passage.number * config.walk.frames + k, "scene sensor")
        shots.append(
            Shot(
                k=k,
                people=people,
                things=things,
                frame=frame,
                picture=apply_sensor(torch.from_numpy(frame.image)[None], [expose(camera, light, rng)], [rng])[0],
                found=found,
                keypoints=frame_keypoints(frame, people, k, camera),
            )
        )
    return shots


def with_matches(crops: list[Crop]) -> list[Crop]:
    """Every query has a picture of its person by another camera in the gallery: where there is none, all queries of one
    camera go there, but for parts of people, which are left out."""
    cameras: dict[str, set[int]] = {}
    queries: dict[tuple[str, int], list[Crop]] = {}
    for crop in crops:
        identity, camera = crop.record["identity"], crop.record["camera_id"]
        if crop.split == "gallery":
            cameras.setdefault(identity, set()).add(camera)
        elif crop.split == "query":
            queries.setdefault((identity, camera), []).append(crop)
    dropped: set[str] = set()
    for own in list(queries):
        identity, camera = own
        if own not in queries or cameras.get(identity, set()) - {camera}:
            continue
        if queries[own][0].is_part:
            dropped |= {crop.key for crop in queries.pop(own)}
            continue
        # The last of the person's other cameras gives its queries, or this one, if there is no other.
        given = [key for key in queries if key[0] == identity and key != own][-1:] or [own]
        for crop in queries.pop(given[0]):
            crop.split = "gallery"
        cameras.setdefault(identity, set()).add(given[0][1])
    return [crop for crop in crops if crop.key not in dropped]


def samples_about(config: SceneConfig, num_people: int) -> int:
    """About how many samples so many people give: most are seen in most frames."""
    passages = max(config.walk.camera_share * config.num_cameras, 2.0)
    strays = (1 - config.train_share) * (config.detector.junk + config.detector.distractors)
    return round(0.9 * num_people * passages * config.walk.frames * (1 + strays))
