"""Who passes which camera, with whom, on what way: places and poses of everybody in every frame of a passage.

Identities come in circles, whose members meet one another and nobody else. A circle is the least that is rendered at
once, whatever the size of the shards.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth import seeding
from synth.anatomy import Anatomy
from synth.background import Light
from synth.motion import Pose, heading_rotation, sample_pose
from synth.motion_files import MotionLibrary
from synth.occluder import Layer, Occluders
from synth.scene import legs_of, sample_yaw
from synth.scenes.config import Hour, SceneConfig
from synth.scenes.network import SceneCamera
from synth.scenes.people import Person

CIRCLE = 24
"""People of a circle at most."""
APART_M = 0.6
"""Those who pass on ways of their own keep so far from each other."""
NEAREST_M = 3.0
TRIES = 12
MAX_THINGS = 2
"""That stand before each person."""
ROOM_M = (2.2, 1.1)
"""Room that a thing takes along and towards the camera's picture plane: walls are wide, and may stand askew."""
BEFORE = (0.5, 0.88)
"""Where a thing stands on the way from the camera to the person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    """People `first` up to `stop`, all of one side of the split."""

    number: int
    first: int
    stop: int
    is_train: bool

    @property
    def members(self) -> range:
        """Their numbers."""
        return range(self.first, self.stop)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Track:
    """One person's way past a camera, F frames: along (F,) metres of the way at each, 0 in its middle; place (F, 2) float32, x and z in metres; pose (F, 72) float32 with the
    heading in its root; yaw_rad, 0 towards the camera; velocity (2,) metres per second, x and z."""

    person: Person
    along: NDArray[np.float64]
    place: NDArray[np.float32]
    pose: NDArray[np.float32]
    yaw_rad: float
    velocity: NDArray[np.float32]
    activity: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Passage:
    """Some people in front of one camera at one time. number: of the passage, unique in the set; sequence: of the
    passage at its camera."""

    number: int
    sequence: int
    camera: SceneCamera
    hour: Hour | None
    backdrop: int
    tracks: Sequence[Track]


def circles(config: SceneConfig) -> list[Circle]:
    """All circles, train first."""
    found: list[Circle] = []
    for first, stop, is_train in ((0, config.num_train, True), (config.num_train, config.num_identities, False)):
        # Of about equal sizes: nobody is left to walk alone.
        ends = np.linspace(first, stop, -(-(stop - first) // CIRCLE) + 1).round().astype(int).tolist()
        for start, end in itertools.pairwise(ends):
            found.append(Circle(number=len(found), first=start, stop=end, is_train=is_train))
    return found


def cameras_of(config: SceneConfig, number: int) -> list[int]:
    """The cameras that person `number` is to pass, two at least, in ascending order."""
    rng = seeding.generator(config.seed, number, "cameras")
    order, drawn = rng.permutation(config.num_cameras), rng.random(config.num_cameras)
    count = max(int((drawn < config.walk.camera_share).sum()), 2)
    return sorted(order[:count].tolist())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Planner:
    """Draws what one camera sees of one circle."""

    config: SceneConfig
    anatomy: Anatomy
    circle: Circle
    camera: SceneCamera
    motions: MotionLibrary | None

    def passages(self, people: Sequence[Person]) -> list[Passage]:
        """The passages of those of the circle's people who pass the camera."""
        config, camera = self.config, self.camera
        here = [person for person in people if camera.number in cameras_of(config, person.number)]
        rng = seeding.generator(config.seed, self.circle.number * config.num_cameras + camera.number, "company")
        order = [here[k] for k in rng.permutation(len(here))]
        passages: list[Passage] = []
        while order:
            shares = np.array(config.walk.company)
            size = 1 + int(rng.choice(len(shares), p=shares / shares.sum()))
            company, order = order[:size], order[size:]
            sequence = self.circle.number * CIRCLE + len(passages)
            number = sequence * config.num_cameras + camera.number
            passages.append(
                Passage(
                    number=number,
                    sequence=sequence,
                    camera=camera,
                    hour=camera.hours[int(rng.integers(len(camera.hours)))] if camera.hours else None,
                    backdrop=int(rng.integers(config.network.backdrops)),
                    tracks=self._tracks(company, number),
                )
            )
        return passages

    def _tracks(self, company: Sequence[Person], number: int) -> list[Track]:
        """Ways of passage `number` that keep apart: side by side, or each their own. Who finds no room does not pass."""
        rng = seeding.generator(self.config.seed, number, "ways")
        together = rng.random() < self.config.walk.together
        tracks: list[Track] = []
        for person in company:
            leader = tracks[0] if together and tracks else None
            for attempt in range(TRIES):
                track = self._track(person, number, rng, leader, attempt)
                if all(np.linalg.norm(track.place - other.place, axis=1).min() > APART_M for other in tracks):
                    tracks.append(track)
                    break
        return tracks

    def _track(
        self, person: Person, number: int, rng: np.random.Generator, leader: Track | None, attempt: int
    ) -> Track:
        """One way: along the leader's where there is one, the further aside the more attempts have failed."""
        walk, yaw = self.config.walk, sample_yaw(rng)
        stage = (number * 1000 + person.number % CIRCLE, "motion")
        few_poses = self.circle.is_train and walk.train_poses is not None
        if few_poses:
            stage = (person.number * walk.train_poses + int(rng.integers(walk.train_poses)), "few poses")
            yaw = sample_yaw(seeding.generator(self.config.seed, stage[0], "few headings"))
        elif leader is not None:
            yaw = leader.yaw_rad + rng.normal(0, 0.06)
        speed = person.gait.stride_m * person.gait.cadence_hz
        if leader is not None and leader.velocity.any():
            speed = float(np.linalg.norm(leader.velocity))
        along = self._moments(yaw, speed, rng) if leader is None else leader.along
        poses = self._poses(person, stage, np.zeros(len(along)) if few_poses else along)
        walks = poses[0].phase is not None or self.motions is not None
        ahead = np.array([math.sin(yaw), math.cos(yaw)])
        if leader is not None:
            side = (1.0 if rng.random() < 0.5 else -1.0) * (rng.uniform(0.65, 0.95) + 0.35 * (attempt // 2))
            middle = leader.place.mean(0) + side * np.array([ahead[1], -ahead[0]]) + rng.uniform(-0.3, 0.3) * ahead
        else:
            distance_m = max(self.camera.distance_m * rng.uniform(0.78, 1.3), NEAREST_M + 1.0)
            half_m = 0.5 * self.camera.columns / self.camera.focal_px * distance_m
            middle = np.array([rng.uniform(-0.75, 0.75) * half_m, -distance_m])
        place = middle + (along[:, None] if walks else np.zeros((len(along), 1))) * ahead
        place[:, 1] = np.minimum(place[:, 1], -NEAREST_M)
        return Track(
            person=person,
            along=along,
            place=place.astype(np.float32),
            pose=np.stack([heading_rotation(pose.pose, yaw + rng.normal(0, 0.02)) for pose in poses]),
            yaw_rad=float(yaw),
            velocity=(speed * ahead if walks else np.zeros(2)).astype(np.float32),
            activity=poses[0].activity,
        )

    def _poses(self, person: Person, stage: tuple[int, str], along: NDArray[np.float64]) -> list[Pose]:
        """The pose at each of `along`, metres of the way: one activity, and one pose that moves on where they walk."""
        legs = legs_of(self.anatomy)

        def rng(k: int) -> np.random.Generator:
            return seeding.generator(self.config.seed, stage[0], stage[1] if k == 0 else f"{stage[1]} {k}")

        if self.motions is not None:
            return [self.motions.sample_pose(rng(k if along.any() else 0), legs) for k in range(len(along))]
        first = sample_pose(rng(0), person.gait, carries=person.carries, legs=legs)
        shifts = first.activity == "stand" and self.config.walk.fps is None and along.any()
        return [
            sample_pose(
                rng(k if shifts else 0),
                person.gait,
                "stand" if shifts else None,
                carries=person.carries,
                legs=legs,
                advance=distance / person.gait.stride_m,
            )
            for k, distance in enumerate(along.tolist())
        ]

    def _moments(self, yaw: float, speed: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Metres along the way (F,) at which frames are taken, ascending, 0 in its middle."""
        num, camera = self.config.walk.frames, self.camera
        if self.config.walk.fps is not None:
            return (np.arange(num) - (num - 1) / 2) * speed / self.config.walk.fps
        width_m = camera.columns / camera.focal_px * camera.distance_m
        length = min(
            0.8 * width_m / max(abs(math.sin(yaw)), 0.05), 0.5 * camera.distance_m / max(abs(math.cos(yaw)), 0.05)
        )
        return length * ((np.arange(num) + rng.uniform(0.15, 0.85, num)) / num - 0.5)


def draw_things(config: SceneConfig, occluders: Occluders, passage: Passage, light: Light) -> list[Layer]:
    """What stands before the people of a passage: on the line from the camera to where one of them is in some frame."""
    rng, camera = seeding.generator(config.seed, passage.number, "things"), passage.camera
    things: list[Layer] = []
    for track in passage.tracks:
        for _ in range(int(rng.binomial(MAX_THINGS, config.occluded))):
            x, z = track.place[int(rng.integers(len(track.place)))].tolist()
            share = rng.uniform(*BEFORE)
            point = (share * x + rng.normal(0, 0.15), 0.0, share * z)
            thing = occluders.draw(rng, camera.view(light), point, light)
            if thing is not None and not _in_the_way(point, passage.tracks):
                things.append(thing)
    return things


def _in_the_way(point: tuple[float, float, float], tracks: Sequence[Track]) -> bool:
    """Whether somebody would stand in a thing at this point of the ground."""
    places = np.concatenate([track.place for track in tracks])
    return bool(((np.abs(places - (point[0], point[2])) < ROOM_M).all(1)).any())
