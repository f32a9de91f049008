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
from synth.scenes.visits import Passage


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
    is_part: bool = False
    """Whether it shows a part of the person, cut out of a whole crop."""

    def encoded(self) -> EncodedSample:
        """The sample as it lies in a shard."""
        meta = Meta(**self.record, split=self.split)
        return EncodedSample(key=self.key, members={**self.members, "meta.json": encode_meta(meta)}, meta=meta)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cutter:
    """Cuts the crops out of the frames of one passage."""

    config: SceneConfig
    anatomy: Anatomy
    passage: Passage
    background: Background

    def crops(self, shots: list[Shot], *, is_train: bool) -> Iterator[Crop]:
        """Everybody found, and in test what a detector finds besides."""
        detector, rng = self.config.detector, seeding.generator(self.config.seed, self.passage.number, "detector")
        queries = {} if is_train else choose_queries(self.config, shots)
        for shot in shots:
            size, bodies = shot.frame.owner.shape, [one.box for one in shot.found]
            for one in shot.found:
                is_query = shot.k in queries.get(one.code, ())
                # Queries of Market-1501 were drawn by hand: no jitter.
                box = detection(rng, one.box, size, 0.0 if is_query else detector.jitter)
                is_part = is_query and self.config.query == "partial"
                if is_part:
                    box = part_of(rng, box)
                crop = self._person(shot, one, box, "train" if is_train else "query" if is_query else "gallery")
                crop.is_part = is_part
                yield crop
                if is_train or is_query:
                    continue
                if rng.random() < detector.junk and (half := stray(rng, one.box, size, bodies)) is not None:
                    yield self._stray(shot, one, half, JUNK)
                if rng.random() < detector.distractors:
                    empty = nobody(rng, one.box[3], size, bodies)
                    if empty is not None and not _shows_somebody(shot.frame, empty):
                        yield self._stray(shot, one, empty, DISTRACTOR)

    def _person(self, shot: Shot, one: Found, box: Box, split: Split) -> Crop:
        track, size, body = shot.people[one.code].track, (self.config.height, self.config.width), self.anatomy.body
        person, look = track.person, track.person.look
        record = self._record(shot, box, identity_name(self.config.seed, person.number), person.number)
        record["keypoints"] = cut_keypoints(shot.keypoints[one.code], box, *size).tolist()
        record["uv_layout"] = body.uv_layout
        record["rendered"] |= {
            "body": {
                "name": body.name,
                "surface": self.anatomy.surface.source,
                "betas": numbers(person.betas),
                "pose": numbers(track.pose[shot.k]),
                "place": numbers(track.place[shot.k]),
            },
            "activity": track.activity,
            "yaw_rad": track.yaw_rad,
            "seen_share": one.seen_share,
            "outfit": look.record,
            "licences": {"body": body.licence, "outfit": look.licence},
        }
        members = {
            **person.encoded,
            "image.jpg": self._picture(shot, box),
            "iuv.png": encode_png(cut_iuv(shot.frame, one.code, box, *size)),
        }
        return Crop(
            key=f"{person.number:06d}-{shot_name(self.passage, shot.k)}", members=members, record=record, split=split
        )

    def _stray(self, shot: Shot, one: Found, box: Box, name: str) -> Crop:
        """Junk or a distractor: a picture, and no labels of anybody."""
        number = shot.people[one.code].track.person.number
        record = self._record(shot, box, f"{dataset_name(self.config)}/{name}", number)
        key = f"{'junk' if name == JUNK else 'nobody'}-{shot_name(self.passage, shot.k)}-{one.code}"
        return Crop(key=key, members={"image.jpg": self._picture(shot, box)}, record=record, split="gallery")

    def _picture(self, shot: Shot, box: Box) -> bytes:
        picture = cut_picture(shot.picture, box, self.config.height, self.config.width)
        return encode_jpeg(picture, quality=self.config.quality, chroma="420")

    def _record(self, shot: Shot, box: Box, identity: str, index: int) -> dict[str, Any]:
        """What the records of all crops of a frame tell; `rendered` may be added to."""
        config, camera = self.config, self.passage.camera
        return {
            "origin": "rendered",
            "dataset": dataset_name(config),
            "identity": identity,
            "camera_id": camera.number,
            "sequence": self.passage.sequence,
            "frame": shot.k,
            "box": [round(float(value), 3) for value in box],
            "rendered": {
                "seed": config.seed,
                "index": index,
                "intrinsics": crop_intrinsics(camera, box, config.height, config.width).round(4).tolist(),
                "world_to_camera": numbers(camera.world_to_camera),
                "frame": [camera.rows, camera.columns],
                "hour": self.passage.hour or "indoors",
                "background": self.background.provenance,
                "before": [thing.provenance for thing in shot.things],
                "body": None,
                "outfit": None,
                "licences": {},
            },
        }


def choose_queries(config: SceneConfig, shots: list[Shot]) -> dict[int, set[int]]:
    """Person's code -> numbers of the frames that become queries of this camera."""
    shares: dict[int, dict[int, float]] = {}
    for shot in shots:
        for one in shot.found:
            shares.setdefault(one.code, {})[shot.k] = one.seen_share
    match config.query:
        case "tracklet":
            return {code: set(seen) for code, seen in shares.items()}
        case "occluded":
            return {code: {min(seen, key=seen.__getitem__)} for code, seen in shares.items()}
        case _:
            return {code: {max(seen, key=seen.__getitem__)} for code, seen in shares.items()}


def _shows_somebody(frame: Frame, box: Box) -> bool:
    """Whether people, found or not, fill more than a twentieth of a box."""
    x, y, width, height = (int(value) for value in box)
    return float((frame.owner[y : y + height + 1, x : x + width + 1] >= 0).mean()) > 0.05


def shot_name(passage: Passage, k: int) -> str:
    """Name of frame k of a passage, unique in a set."""
    return f"c{passage.camera.number:02d}-s{passage.sequence:05d}-f{k:04d}"


def dataset_name(config: SceneConfig) -> str:
    """Name of the set in its samples' records."""
    return f"{config.preset}-s{config.seed}"
