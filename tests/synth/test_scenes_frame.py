"""One frame of a scene against slow oracles: who hides whom, shadows, motion blur, boxes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from synth.anatomy import Anatomy
from synth.background import Background, Light, ProceduralBackgrounds
from synth.camera import project, to_camera
from synth.raster import RasterConfig, rasterize
from synth.scenes.config import DetectorConfig, NetworkConfig, SceneConfig, WalkConfig
from synth.scenes.crops import Shot
from synth.scenes.detect import (
    ASPECTS,
    Box,
    cut_iuv,
    cut_picture,
    detection,
    find,
    nobody,
    overlap,
    part_of,
    stray,
)
from synth.scenes.frame import NOBODY, Frame, Posed, compose, draw_alone, light_vector, pose_track
from synth.scenes.generate import take_shots
from synth.scenes.network import SceneCamera, draw_backdrop, draw_cameras
from synth.scenes.people import draw_identity
from synth.scenes.smear_numba import smear
from synth.scenes.visits import Circle, Passage, Planner, Track, circles

CONFIG = SceneConfig(
    keep_frames=True,
    num_identities=6,
    num_cameras=2,
    network=NetworkConfig(rows=240, columns=320, scale=(1.0, 1.0), exposure_s=(1e-6, 2e-6)),
    walk=WalkConfig(frames=1, camera_share=1.0, company=(0.0, 0.0, 1.0)),
)
SUN = Light(
    sun_direction=np.array([0.6, 0.64, 0.48], np.float32),
    sun_rgb=np.full(3, 0.8, np.float32),
    sky_rgb=np.full(3, 0.3, np.float32),
)


def plan(config: SceneConfig, anatomy: Anatomy, circle: Circle, camera: SceneCamera) -> Planner:
    """The planner without recorded motions."""
    return Planner(config=config, anatomy=anatomy, circle=circle, camera=camera, motions=None)


@pytest.fixture(scope="module")
def passage(anatomy: Anatomy) -> Passage:
    """Three people one behind the other, half a metre apart, so that limbs interlock."""
    circle = circles(CONFIG)[0]
    people = [draw_identity(CONFIG, anatomy, number, None) for number in circle.members]
    camera = draw_cameras(CONFIG)[0]
    passage = plan(CONFIG, anatomy, circle, camera).passages(people)[0]
    assert len(passage.tracks) == 3
    moved = [
        replace(track, place=np.array([[0.12 * i - 0.2, -camera.distance_m - 0.3 * i]], np.float32))
        for i, track in enumerate(passage.tracks)
    ]
    return replace(passage, tracks=moved)


@pytest.fixture(scope="module")
def people(anatomy: Anatomy, passage: Passage) -> list[Posed]:
    return [pose_track(anatomy, passage.camera, track) for track in passage.tracks]


def grey(camera: SceneCamera) -> Background:
    """A grey floor everywhere."""
    shape = (camera.rows, camera.columns)
    return Background(image=np.full((*shape, 3), 0.3, np.float32), ground=np.ones(shape, np.float32), provenance="grey")


def all_at_once(people: list[Posed], camera: SceneCamera) -> tuple[np.ndarray, np.ndarray]:
    """Owner and depth (H, W) of one mesh of everybody, one sample per pixel."""
    points, faces, first, ends = [], [], 0, [0]
    for posed in people:
        extrinsics, intrinsics = (torch.from_numpy(a)[None] for a in (camera.world_to_camera, camera.intrinsics))
        points.append(project(to_camera(posed.vertices[:1], extrinsics), intrinsics)[0].T)
        faces.append(posed.track.person.look.dressed.faces + first)
        first += len(points[-1])
        ends.append(ends[-1] + len(faces[-1]))
    visible = rasterize(
        torch.cat(points)[None].contiguous(),
        torch.cat(faces),
        camera.rows,
        camera.columns,
        RasterConfig(supersampling=1),
    )
    face = visible.face[0].numpy()
    return np.where(face < 0, NOBODY, np.searchsorted(ends, face, side="right") - 1), visible.depth[0].numpy()


def test_who_hides_whom_is_decided_by_depth_at_every_pixel(passage: Passage, people: list[Posed]):
    frame, _ = compose(grey(passage.camera), people, [], 0, passage.camera, SUN, CONFIG.raster)
    owner, depth = all_at_once(people, passage.camera)
    inside = (owner != NOBODY) & (frame.owner != NOBODY)
    assert {0, 1, 2} <= set(np.unique(owner[inside]))
    # One sample per pixel against four: outlines differ.
    assert (frame.owner == owner)[inside].mean() > 0.985
    assert np.median(np.abs(frame.depth[inside] - depth[inside])) < 0.005
    backwards, _ = compose(grey(passage.camera), people[::-1], [], 0, passage.camera, SUN, CONFIG.raster)
    assert (np.where(backwards.owner >= 0, 2 - backwards.owner, backwards.owner) == frame.owner).mean() > 0.999


def test_labels_are_of_whoever_is_in_front(passage: Passage, people: list[Posed]):
    frame, whole = compose(grey(passage.camera), people, [], 0, passage.camera, SUN, CONFIG.raster)
    assert not frame.iuv[frame.owner == NOBODY].any()
    rays = light_vector(SUN)
    for code, posed in enumerate(people):
        alone = draw_alone(posed, 0, passage.camera, rays, CONFIG.raster)
        layer = alone.layer
        mine = frame.owner[layer.row :, layer.col :][: layer.alpha.shape[0], : layer.alpha.shape[1]] == code
        window = frame.iuv[layer.row :, layer.col :][: layer.alpha.shape[0], : layer.alpha.shape[1]]
        np.testing.assert_array_equal(window[mine], alone.iuv[mine])
        assert mine.sum() == (frame.owner == code).sum() <= whole[code] == alone.num_pixels


def test_soft_edges_blend_with_whoever_is_behind(passage: Passage, people: list[Posed]):
    """Every pixel composited by itself, the farthest first."""
    background = replace(
        grey(passage.camera), ground=np.zeros((passage.camera.rows, passage.camera.columns), np.float32)
    )
    frame, _ = compose(background, people, [], 0, passage.camera, SUN, CONFIG.raster)
    shape = frame.depth.shape
    depth, alpha = np.full((3, *shape), np.inf, np.float32), np.zeros((3, *shape), np.float32)
    colour = np.zeros((3, *shape, 3), np.float32)
    for i, posed in enumerate(people):
        layer = draw_alone(posed, 0, passage.camera, light_vector(SUN), CONFIG.raster).layer
        at = np.s_[i, layer.row : layer.row + layer.alpha.shape[0], layer.col : layer.col + layer.alpha.shape[1]]
        depth[at], alpha[at], colour[at] = layer.depth_m, layer.alpha, layer.colour
    expected = background.image.copy()
    for row, col in np.argwhere(alpha.any(0)):
        for i in np.argsort(-depth[:, row, col], kind="stable"):
            expected[row, col] = expected[row, col] * (1 - alpha[i, row, col]) + colour[i, row, col]
    edges = ((alpha > 0) & (alpha < 1)).any(0) & (alpha == 1).any(0)
    assert edges.sum() > 100
    assert (np.abs(frame.image - expected)[edges].max(-1) < 1e-3).mean() > 0.93


def test_a_shadow_begins_at_the_feet_and_leads_away_from_the_sun(passage: Passage, people: list[Posed]):
    camera = passage.camera
    background = grey(camera)
    frame, _ = compose(background, people[:1], [], 0, camera, SUN, CONFIG.raster)
    dark = (frame.image[..., 0] < 0.27) & (frame.owner == NOBODY)
    x, z = people[0].track.place[0].tolist()
    ground = np.array([[x - 0.6 * t, 0.0, z - 0.48 * t, 1.0] for t in np.linspace(0.25, 2.2, 12)])
    along = (camera.world_to_camera @ ground.T)[:3]
    pixels = (camera.intrinsics @ along / along[2])[:2].T.astype(int)
    inside = [(c, r) for c, r in pixels.tolist() if 0 <= r < camera.rows and 0 <= c < camera.columns]
    free = [dark[r, c] for c, r in inside if frame.owner[r, c] == NOBODY]
    assert len(free) >= 4 and np.mean(free) > 0.7
    assert dark.mean() < 0.2


def test_motion_blur_is_a_box_along_the_row():
    rng = np.random.default_rng(0)
    values = rng.random((4, 30, 3), dtype=np.float32)
    values[:, :8] = values[:, -8:] = 0
    for length in (1.0, 2.0, 3.5, 6.2):
        out, half = np.empty_like(values), (length - 1) / 2
        smear(values.reshape(-1), 30, 3, np.float32(length), np.empty(90, np.float32), out.reshape(-1))
        reach = np.arange(-8, 9)
        taps = np.clip(half + 1 - np.abs(reach), 0, 1) / length
        expected = sum(w * np.roll(values, k, 1) for k, w in zip(reach, taps, strict=True))
        np.testing.assert_allclose(out, expected, atol=1e-5)
        np.testing.assert_allclose(out.sum((1, 2)), values.sum((1, 2)), rtol=1e-4)


def test_who_walks_across_is_blurred_and_keeps_sharp_labels(passage: Passage, people: list[Posed]):
    camera = replace(passage.camera, exposure_s=0.1)
    still, moving = (
        replace(people[0], track=replace(people[0].track, velocity=np.array(v, np.float32))) for v in ((0, 0), (1.4, 0))
    )
    rays = light_vector(SUN)
    sharp, blurred = (draw_alone(posed, 0, camera, rays, CONFIG.raster) for posed in (still, moving))
    assert abs(blurred.num_pixels / sharp.num_pixels - 1) < 0.1
    assert np.ptp(np.nonzero(blurred.layer.alpha)[1]) > np.ptp(np.nonzero(sharp.layer.alpha)[1]) + 4
    assert abs(blurred.layer.alpha.sum() / sharp.layer.alpha.sum() - 1) < 0.02
    labels = [drawing.iuv[drawing.iuv.any((1, 2))] for drawing in (sharp, blurred)]
    assert [(d.iuv[..., 0] > 0).sum() for d in (sharp, blurred)][0] == (labels[1][..., 0] > 0).sum()


def test_people_are_found_by_what_is_seen_of_them(passage: Passage, people: list[Posed]):
    frame, whole = compose(grey(passage.camera), people, [], 0, passage.camera, SUN, CONFIG.raster)
    found = find(frame, people, 0, whole, DetectorConfig(min_seen=0.01, min_rows=16))
    for one in found:
        rows, columns = np.nonzero(frame.owner == one.code)
        assert one.seen_share == pytest.approx(len(rows) / whole[one.code], abs=1e-3)
        x, y, w, h = one.box
        assert x - 1 <= columns.min() and columns.max() <= x + w + 1 and y - 1 <= rows.min() and rows.max() <= y + h + 1
    least = min(one.seen_share for one in found)
    assert least < 0.9
    picky = find(frame, people, 0, whole, DetectorConfig(min_seen=least + 0.01, min_rows=16))
    assert len(picky) < len(found)


def test_boxes_keep_to_their_kinds():
    rng, size = np.random.default_rng(0), (480, 640)
    num_stray = num_nobody = 0
    for _ in range(300):
        height = rng.uniform(80, 300)
        body: Box = (rng.uniform(0, 500), rng.uniform(0, 470 - height), height * rng.uniform(0.4, 0.5), height)
        box = detection(rng, body, size, 0.04)
        assert 0 <= box[0] and 0 <= box[1] and box[0] + box[2] <= 640.001 and box[1] + box[3] <= 480.001
        assert ASPECTS[0] - 0.03 <= box[2] / box[3] <= ASPECTS[1] + 0.01
        assert overlap(box, body) > 0.4
        exact = detection(rng, body, size, 0.0)
        assert exact == detection(rng, body, size, 0.0)
        part = part_of(rng, exact)
        assert overlap(part, exact) == pytest.approx(part[2] * part[3] / (exact[2] * exact[3]))
        assert 0.39 < overlap(part, exact) < 0.71
        if (half := stray(rng, body, size, [body])) is not None:
            num_stray += 1
            assert 0.1 < overlap(half, body) < 0.65
        if (empty := nobody(rng, height, size, [body])) is not None:
            num_nobody += 1
            assert overlap(empty, body) < 0.15
    assert num_stray > 250 and num_nobody > 250


def test_jitter_moves_boxes():
    rng, body = np.random.default_rng(1), (200.0, 100.0, 70.0, 200.0)
    spread = [
        np.std([detection(rng, body, (480, 640), jitter) for _ in range(300)], axis=0) / 200 for jitter in (0.02, 0.06)
    ]
    assert (spread[1] > 2 * spread[0]).all()
    assert 0.015 < spread[0][1] < 0.025


def test_crops_are_cut_at_the_box():
    rng = np.random.default_rng(2)
    frame = Frame.over(np.zeros((60, 80, 3), np.float32))
    frame.owner[10:50, 20:40] = 1
    frame.owner[30:40, 25:60] = 0
    frame.iuv[...] = rng.integers(0, 200, frame.iuv.shape)
    box = (20.0, 10.0, 20.0, 40.0)
    exact = cut_iuv(frame, 1, box, 40, 20)
    mine = frame.owner[10:50, 20:40] == 1
    np.testing.assert_array_equal(exact, np.where(mine[..., None], frame.iuv[10:50, 20:40], 0))
    picture = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(cut_picture(picture, box, 40, 20), picture[10:50, 20:40])
    double = cut_iuv(frame, 1, box, 80, 40)
    np.testing.assert_array_equal(double, exact.repeat(2, 0).repeat(2, 1))


def test_shots_follow_the_generator_of_their_passage(anatomy: Anatomy, passage: Passage):
    background, light = draw_backdrop(CONFIG, ProceduralBackgrounds(), passage.camera, passage.hour, 0)
    shots: list[list[Shot]] = [take_shots(CONFIG, anatomy, passage, background, [], light) for _ in range(2)]
    np.testing.assert_array_equal(shots[0][0].picture, shots[1][0].picture)
    other = take_shots(CONFIG, anatomy, replace(passage, number=passage.number + 1), background, [], light)
    assert (other[0].picture != shots[0][0].picture).mean() > 0.2


def test_a_track_without_anybody_in_the_picture(anatomy: Anatomy, passage: Passage):
    far = [replace(track, place=np.array([[40.0, -12.0]], np.float32)) for track in passage.tracks]
    people: list[Posed] = [pose_track(anatomy, passage.camera, track) for track in far]
    tracks: list[Track] = [posed.track for posed in people]
    assert len(tracks) == 3
    frame, whole = compose(grey(passage.camera), people, [], 0, passage.camera, SUN, CONFIG.raster)
    assert (frame.owner == NOBODY).all() and min(whole) > 0
    assert find(frame, people, 0, whole, CONFIG.detector) == []
