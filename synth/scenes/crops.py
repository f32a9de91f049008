"""The crops of a passage: who is cut out of its frames, where, and what their records tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from shards.codec import EncodedSample, encode_jpeg, encode_meta, encode_png
from shards.meta import DISTRACTOR, JUNK, Meta, Split
from synth import seeding
from synth.anatomy import Anatomy
from synth.background import Background
from synth.generate import numbers
from synth.occluder import Layer
from synth.scenes.config import SceneConfig
from synth.scenes.detect import (
    Box,
    Found,
    crop_intrinsics,
    cut_iuv,
    cut_keypoints,
    cut_picture,
    detection,
    nobody,
    part_of,
    stray,
)
from synth.scenes.frame import Frame, Posed
from synth.scenes.people import identity_name
from synth.scenes.visits import Circle, Passage


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shot:
    """Frame k of a passage, photographed: picture (H, W, 3) uint8; people passing, things before them; people found; keypoints (P, 17, 3) of all people."""

    k: int
    people: list[Posed]
    things: list[Layer]
    frame: Frame
    picture: np.ndarray
    found: list[Found]
    keypoints: np.ndarray


@dataclass(kw_only=True, slots=True)
class Crop:
    """A sample in the making: its split is known only when all cameras have been rendered."""

    key: str
    members: dict[str, bytes]
    record: dict[str, Any]
    """The fields of its `Meta` but split."""
    split: Split

    def encoded(self) -> EncodedSample:
        """The sample as it lies in a shard."""
        meta = Meta(**self.record, split=self.split)
        return EncodedSample(key=self.key, members={**self.members, "meta.json": encode_meta(meta)}, meta=meta)


def cut_crops(
    config: SceneConfig,
    anatomy: Anatomy,
    circle: Circle,
    passage: Passage,
    shots: list[Shot],
    background: Background,
) -> Iterator[Crop]:
    """The crops of a passage: everybody found, and in test what a detector finds besides."""
    rng = seeding.generator(config.seed, passage.number, "detector")
    queries = {} if circle.is_train else choose_queries(config, shots)
    for shot in shots:
        size, bodies = shot.frame.owner.shape, [one.box for one in shot.found]
        for one in shot.found:
            is_query = queries.get(one.code) == shot.k
            # Queries of Market-1501 were drawn by hand: no jitter.
            box = detection(rng, one.box, size, 0.0 if is_query else config.detector.jitter)
            if is_query and config.query == "partial":
                box = part_of(rng, box)
            split: Split = "train" if circle.is_train else "query" if is_query else "gallery"
            yield _cut_person(config, anatomy, passage, shot, one, box, background, split)
            if split != "gallery":
                continue
            if rng.random() < config.detector.junk and (half := stray(rng, one.box, size, bodies)) is not None:
                yield _cut_stray(config, passage, shot, one, half, background, JUNK)
            empty = nobody(rng, one.box[3], size, bodies) if rng.random() < config.detector.distractors else None
            if empty is not None:
                yield _cut_stray(config, passage, shot, one, empty, background, DISTRACTOR)


def choose_queries(config: SceneConfig, shots: list[Shot]) -> dict[int, int]:
    """Person's code -> number of the frame that becomes the query of this camera."""
    best: dict[int, tuple[float, int]] = {}
    sign = -1.0 if config.query == "occluded" else 1.0
    for shot in shots:
        for one in shot.found:
            best[one.code] = max(best.get(one.code, (-2.0, -1)), (sign * one.seen_share, -shot.k))
    return {code: -frame for code, (_, frame) in best.items()}


def _cut_person(
    config: SceneConfig,
    anatomy: Anatomy,
    passage: Passage,
    shot: Shot,
    one: Found,
    box: Box,
    background: Background,
    split: Split,
) -> Crop:
    track, size = shot.people[one.code].track, (config.height, config.width)
    person, look = track.person, track.person.look
    record = _record(config, passage, shot, box, background, identity_name(config.seed, person.number), person.number)
    record["keypoints"] = cut_keypoints(shot.keypoints[one.code], box, *size).tolist()
    record["uv_layout"] = anatomy.body.uv_layout
    record["rendered"] |= {
        "body": {
            "name": anatomy.body.name,
            "surface": anatomy.surface.source,
            "betas": numbers(person.betas),
            "pose": numbers(track.pose[shot.k]),
            "place": numbers(track.place[shot.k]),
        },
        "activity": track.activity,
        "yaw_rad": track.yaw_rad,
        "seen_share": one.seen_share,
        "outfit": look.record,
        "licences": {"body": anatomy.body.licence, "outfit": look.licence},
    }
    members = {
        **person.encoded,
        "image.jpg": encode_jpeg(cut_picture(shot.picture, box, *size), quality=config.quality, chroma="420"),
        "iuv.png": encode_png(cut_iuv(shot.frame, one.code, box, *size)),
    }
    key = f"{person.number:06d}-{shot_name(passage, shot.k)}"
    return Crop(key=key, members=members, record=record, split=split)


def _cut_stray(
    config: SceneConfig, passage: Passage, shot: Shot, one: Found, box: Box, background: Background, name: str
) -> Crop:
    """Junk or a distractor: a picture, and no labels of anybody."""
    number = shot.people[one.code].track.person.number
    record = _record(config, passage, shot, box, background, f"{dataset_name(config)}/{name}", number)
    picture = cut_picture(shot.picture, box, config.height, config.width)
    members = {"image.jpg": encode_jpeg(picture, quality=config.quality, chroma="420")}
    key = f"{'junk' if name == JUNK else 'nobody'}-{shot_name(passage, shot.k)}-{one.code}"
    return Crop(key=key, members=members, record=record, split="gallery")


def shot_name(passage: Passage, k: int) -> str:
    """Name of frame k of a passage, unique in a set."""
    return f"c{passage.camera.number:02d}-s{passage.sequence:05d}-f{k:04d}"


def dataset_name(config: SceneConfig) -> str:
    """Name of the set in its samples' records."""
    return f"{config.preset}-s{config.seed}"


def _record(
    config: SceneConfig, passage: Passage, shot: Shot, box: Box, background: Background, identity: str, index: int
) -> dict[str, Any]:
    """What the records of all crops of a frame tell; `rendered` may be added to."""
    camera = passage.camera
    return {
        "origin": "rendered",
        "dataset": dataset_name(config),
        "identity": identity,
        "camera_id": camera.number,
        "sequence": passage.sequence,
        "frame": shot.k,
        "box": [round(float(value), 3) for value in box],
        "rendered": {
            "seed": config.seed,
            "index": index,
            "intrinsics": crop_intrinsics(camera, box, config.height, config.width).round(4).tolist(),
            "world_to_camera": numbers(camera.world_to_camera),
            "frame": [camera.rows, camera.columns],
            "hour": passage.hour or "indoors",
            "background": background.provenance,
            "before": [thing.provenance for thing in shot.things],
            "body": None,
            "outfit": None,
            "licences": {},
        },
    }
