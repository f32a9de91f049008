"""Cameras, and who passes them how."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from synth.anatomy import Anatomy
from synth.background import Light, ProceduralBackgrounds, View
from synth.background.materials import Material
from synth.background.procedural import compose
from synth.background.site import Dice
from synth.scenes.config import HOURS, DetectorConfig, NetworkConfig, SceneConfig, WalkConfig
from synth.scenes.network import PERSON_M, SceneCamera, draw_cameras, expose, light_at
from synth.scenes.people import Person, draw_identity
from synth.scenes.presets import PRESETS
from synth.scenes.visits import (
    APART_M,
    NEAREST_M,
    ROOM_M,
    Circle,
    Passage,
    Planner,
    cameras_of,
    circles,
    draw_things,
)

CONFIG = SceneConfig(num_identities=20, num_cameras=3, walk=WalkConfig(frames=4))


def plan(config: SceneConfig, anatomy: Anatomy, circle: Circle, camera: SceneCamera) -> Planner:
    """The planner without recorded motions."""
    return Planner(config=config, anatomy=anatomy, circle=circle, camera=camera, motions=None)


@pytest.fixture(scope="module")
def people(anatomy: Anatomy) -> list[Person]:
    return [draw_identity(CONFIG, anatomy, number, None) for number in circles(CONFIG)[0].members]


def passages(config: SceneConfig, anatomy: Anatomy, people: list[Person]) -> list[Passage]:
    """All passages of the first circle."""
    circle = circles(config)[0]
    return [p for camera in draw_cameras(config) for p in plan(config, anatomy, circle, camera).passages(people)]


def test_everybody_passes_each_of_their_cameras_once(anatomy: Anatomy, people: list[Person]):
    found = passages(CONFIG, anatomy, people)
    assert len({p.number for p in found}) == len(found)
    assert len({(p.camera.number, p.sequence) for p in found}) == len(found)
    seen = Counter((t.person.number, p.camera.number) for p in found for t in p.tracks)
    wanted = {(person.number, camera) for person in people for camera in cameras_of(CONFIG, person.number)}
    assert set(seen) <= wanted and len(seen) > 0.95 * len(wanted)  # hardly anybody finds no room
    assert set(seen.values()) == {1}


def test_ways_keep_apart_and_out_of_the_camera(anatomy: Anatomy, people: list[Person]):
    for passage in passages(CONFIG, anatomy, people):
        for i, track in enumerate(passage.tracks):
            assert (track.place[:, 1] <= -NEAREST_M).all()
            for other in passage.tracks[:i]:
                assert np.linalg.norm(track.place - other.place, axis=1).min() > APART_M


def test_sequences_walk_at_the_speed_of_their_gait(anatomy: Anatomy, people: list[Person]):
    config = replace(CONFIG, walk=WalkConfig(frames=6, fps=5.0, company=(1.0,)))
    num_walkers = 0
    for passage in passages(config, anatomy, people):
        (track,) = passage.tracks
        steps = np.diff(track.place, axis=0)
        if not np.linalg.norm(track.velocity):
            assert not steps.any() and track.activity != "walk"
            continue
        gait = track.person.gait
        np.testing.assert_allclose(np.linalg.norm(steps, axis=1), gait.stride_m * gait.cadence_hz / 5, rtol=1e-3)
        ahead = np.array([math.sin(track.yaw_rad), math.cos(track.yaw_rad)])
        np.testing.assert_allclose(steps @ ahead, np.linalg.norm(steps, axis=1), rtol=1e-3)
        knees = track.pose[:, [3 * 4, 3 * 5]]
        assert np.abs(np.diff(knees, axis=0)).max() > 0.05
        num_walkers += 1
    assert num_walkers > 10


def test_few_poses_in_train_and_many_in_test(anatomy: Anatomy):
    config = replace(CONFIG, num_cameras=6, walk=WalkConfig(frames=4, camera_share=1.0, train_poses=2))
    train, test = (c for c in circles(config))
    kinds = {}
    for circle in (train, test):
        people = [draw_identity(config, anatomy, number, None) for number in list(circle.members)[:5]]
        poses: dict[int, set] = {}
        for camera in draw_cameras(config):
            for passage in plan(config, anatomy, circle, camera).passages(people):
                for track in passage.tracks:
                    own = poses.setdefault(track.person.number, set())
                    own |= {tuple(pose[3:].round(4).tolist()) for pose in track.pose}
        kinds[circle.is_train] = [len(own) for own in poses.values()]
    assert max(kinds[True]) <= 2
    assert min(kinds[False]) >= 6


class Points:
    """Occluders that note where they were asked for, and stand everywhere."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float, float]] = []

    def draw(self, rng: np.random.Generator, view: View, point: tuple[float, float, float], light: Light) -> str:
        self.points.append(point)
        return f"thing {len(self.points) - 1}"


def test_the_heading_of_a_fixed_pose_says_nothing_of_its_stride(anatomy: Anatomy, people: list[Person]):
    config = replace(CONFIG, num_cameras=6, walk=WalkConfig(frames=1, camera_share=1.0, train_poses=40))
    knees: dict[bool, list[float]] = {True: [], False: []}
    for passage in passages(config, anatomy, people):
        for track in passage.tracks:
            if track.activity == "walk":
                knees[math.cos(track.yaw_rad) > 0].append(float(track.pose[0, 12] - track.pose[0, 15]))
    assert all(len(found) > 8 and min(found) < -0.2 and max(found) > 0.2 for found in knees.values())


def test_things_stand_between_the_camera_and_people_and_nobody_in_them(anatomy: Anatomy, people: list[Person]):
    config, num_kept, num_left_out = replace(CONFIG, occluded=1.0), 0, 0
    for passage in passages(config, anatomy, people):
        light, occluders = light_at(config, passage.camera, passage.hour), Points()
        things = draw_things(config, occluders, passage, light)
        places = np.concatenate([track.place for track in passage.tracks])
        for number, (x, y, z) in enumerate(occluders.points):
            near = (np.abs(places - (x, z)) < ROOM_M).all(1).any()
            assert y == 0 and places[:, 1].min() < z < 0
            assert (f"thing {number}" in things) != near
            num_kept, num_left_out = num_kept + (not near), num_left_out + near
        assert draw_things(replace(config, occluded=0.0), occluders, passage, light) == []
    assert num_kept > 20 and num_left_out > 5


def test_cameras_see_people_at_the_size_they_are_made_for():
    config = replace(CONFIG, num_cameras=40)
    for camera in draw_cameras(config):
        feet, head = (camera.world_to_camera @ (0.0, y, -camera.distance_m, 1.0) for y in (0.0, PERSON_M))
        rows = [(camera.intrinsics @ p[:3] / p[2])[1] for p in (feet, head)]
        share = (rows[0] - rows[1]) / camera.rows
        low, high = config.network.person_rows
        assert low * 0.8 < share < high * 1.05
        assert 0 < rows[1] < rows[0] < camera.rows
        assert camera.rows % 2 == camera.columns % 2 == 0
        assert config.network.scale[0] * 480 - 2 <= camera.rows <= config.network.scale[1] * 480 + 2


def test_cameras_are_theirs_alone():
    few, many = draw_cameras(replace(CONFIG, num_cameras=2)), draw_cameras(replace(CONFIG, num_cameras=5))
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.world_to_camera, b.world_to_camera)
        assert a.sensor == b.sensor
    assert len({c.sensor for c in many}) == 5
    assert not any(np.array_equal(a.world_to_camera, b.world_to_camera) for a in many for b in many if a is not b)


def test_cameras_in_lamplight_have_no_hours():
    config = PRESETS["msmt-like"]()
    cameras = draw_cameras(config)
    assert all(c.hours == HOURS for c in cameras[:12]) and all(c.hours == () for c in cameras[12:])
    one_hour = draw_cameras(replace(config, network=replace(config.network, hours_per_camera=1)))
    assert all(len(c.hours) == 1 for c in one_hour[:12])
    assert len({c.hours for c in one_hour[:12]}) > 1


def test_halls_have_walls_and_no_greenery():
    config = PRESETS["msmt-like"]()
    for camera in (draw_cameras(config)[0], draw_cameras(config)[-1]):
        view = camera.view(light_at(config, camera, camera.hours[0] if camera.hours else None))
        assert view.indoors == (not camera.hours)
        planes = [compose(Dice(np.random.default_rng(k)), view, ProceduralBackgrounds()) for k in range(30)]
        green = [
            any(plane.material in (Material.FOLIAGE, Material.BARK, Material.CAR) for plane in one) for one in planes
        ]
        assert any(green) != view.indoors


def test_dusk_is_darker_and_exposure_makes_up_for_part_of_it():
    config = replace(CONFIG, network=NetworkConfig(hours=HOURS, hours_per_camera=4))
    camera = draw_cameras(config)[0]
    noon, dusk = (light_at(config, camera, hour) for hour in ("noon", "dusk"))

    def brightness(light: Light) -> float:
        return float(np.mean(light.sun_rgb * light.sun_direction[1] + light.sky_rgb))

    assert brightness(dusk) < 0.45 * brightness(noon)
    by_day, at_dusk = (expose(camera, light, np.random.default_rng(0)) for light in (noon, dusk))
    gain = at_dusk.exposure_ev - by_day.exposure_ev
    assert 0.5 < gain < math.log2(brightness(noon) / brightness(dusk))
    assert at_dusk.shot_noise > 1.5 * by_day.shot_noise


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SceneConfig(num_identities=1), "two people"),
        (lambda: SceneConfig(num_cameras=1), "two cameras"),
        (lambda: SceneConfig(num_cameras=2, network=NetworkConfig(num_indoor=3)), "num_indoor"),
        (lambda: SceneConfig(occluded=1.5), "occluded"),
        (lambda: SceneConfig(quality=20), "quality"),
        (lambda: SceneConfig(detector=DetectorConfig(min_rows=200)), "min_rows"),
        (lambda: SceneConfig(network=NetworkConfig(rows=140, columns=140)), "128 rows"),
        (lambda: WalkConfig(company=(float("nan"), 1.0)), "add up to 1"),
        (lambda: NetworkConfig(scale=(2.0, 1.0)), "scale"),
        (lambda: NetworkConfig(distance_m=(1.0, 3.0)), "4.0 m away"),
        (lambda: NetworkConfig(hours_per_camera=5), "hours_per_camera"),
        (lambda: WalkConfig(company=(0.5, 0.4)), "add up to 1"),
        (lambda: WalkConfig(fps=0.0), "fps"),
        (lambda: WalkConfig(train_poses=0), "train_poses"),
        (lambda: DetectorConfig(jitter=0.5), "jitter"),
        (lambda: DetectorConfig(min_seen=0.0), "min_seen"),
    ],
)
def test_values_that_make_no_scene_are_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
