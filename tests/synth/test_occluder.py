"""Occluders: where they stand, how large and how far they are, and what they do to a frame's buffers."""

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from synth.background import Light, View
from synth.background.materials import Material
from synth.background.planes import Mode
from synth.background.site import Dice, Site, box, upright
from synth.occluder import OCCLUDER, Layer, ProceduralOccluders, Shadow, lay, shade_ground
from synth.occluder.planar import layer_of
from synth.occluder.procedural import KINDS, draw_kind
from tests.synth.test_background import make_light

GREY = (0.5, 0.5, 0.5)


def make_frame(
    *, height: int = 480, width: int = 640, camera_m: float = 3.5, pitch: float = 0.25, f: float = 700.0
) -> View:
    """A camera above the origin that looks along -z, down by pitch (radians)."""
    c, s = np.cos(pitch), np.sin(pitch)
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = [[1, 0, 0], [0, -c, s], [0, -s, -c]]
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ [0, camera_m, 0]
    return View(
        height=height,
        width=width,
        intrinsics=np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1]]),
        world_to_camera=extrinsics,
        person_position=np.array([0.0, 0, -10]),
        light=make_light(),
    )


def project(view: View, point: tuple[float, float, float]) -> np.ndarray:
    """x, y in pixels and depth."""
    seen = view.intrinsics @ (view.world_to_camera[:3, :3] @ point + view.world_to_camera[:3, 3])
    return np.array([*(seen[:2] / seen[2]), seen[2]])


def at(view: View, point: tuple[float, float, float], yaw: float = 0.0) -> Site:
    return Site.behind(replace(view, person_position=np.array(point)), yaw)


def draw_all(count: int = 150) -> Iterator[tuple[Layer, View]]:
    occluders, rng = ProceduralOccluders(), np.random.default_rng(1)
    for k in range(count):
        view = make_frame(camera_m=rng.uniform(2.5, 5), pitch=rng.uniform(0.1, 0.4))
        point = (rng.uniform(-3, 3), 0.0, -rng.uniform(3, 20))
        layer = occluders.draw(np.random.default_rng(k), view, point, make_light())
        if layer is not None:
            yield layer, view


def buffers(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.zeros((height, width, 3), np.float32),
        np.full((height, width), np.inf, np.float32),
        np.full((height, width, 3), 7, np.uint8),
        np.full((height, width), -1, np.int16),
    )


def make_layer(alpha: np.ndarray, colour: np.ndarray, depth: np.ndarray, row: int = 0, col: int = 0) -> Layer:
    alpha = alpha.astype(np.float32)
    return Layer(
        row=row,
        col=col,
        colour=(colour * alpha[..., None]).astype(np.float32),
        alpha=alpha,
        depth_m=depth.astype(np.float32),
        shadow=None,
        provenance="test",
    )


def test_same_generator_state_gives_the_same_bytes_in_a_worker() -> None:
    view, light, occluders = make_frame(), make_light(), ProceduralOccluders()
    sent = pickle.loads(pickle.dumps(occluders))
    seen = set()
    for seed in range(20):
        first, again = (o.draw(np.random.default_rng(seed), view, (0.3, 0, -8), light) for o in (occluders, sent))
        for name in ("colour", "alpha", "depth_m"):
            assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
        assert first.shadow.kept_off.tobytes() == again.shadow.kept_off.tobytes()
        seen.add(first.provenance)
    assert len(seen) > 6


def test_shapes_ranges_and_provenance() -> None:
    seen = set()
    for layer, view in draw_all():
        height, width = layer.alpha.shape
        assert (
            0 <= layer.row and layer.row + height <= view.height and 0 <= layer.col and layer.col + width <= view.width
        )
        assert layer.colour.shape == (height, width, 3) and layer.depth_m.shape == (height, width)
        assert {a.dtype for a in (layer.colour, layer.alpha, layer.depth_m)} == {np.dtype(np.float32)}
        assert layer.alpha.min() >= 0 and layer.alpha.max() <= 1 and layer.colour.min() >= 0 and layer.colour.max() <= 1
        assert (layer.colour[layer.alpha == 0] == 0).all()
        there = layer.depth_m[layer.alpha > 0]
        assert np.isfinite(there).all() and there.min() > 0.5
        if layer.shadow is not None:
            assert 0 <= layer.shadow.kept_off.min() and layer.shadow.kept_off.max() <= 1
        seen.add(layer.provenance)
    assert seen == {f"procedural:{kind}-v1" for kind in KINDS}


def test_shares_add_up_to_one() -> None:
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)


def test_occluders_are_low_in_chroma_and_neither_black_nor_white() -> None:
    colours = [layer.colour[layer.alpha > 0.9].mean(0) for layer, _ in draw_all() if (layer.alpha > 0.9).any()]
    assert np.median([np.ptp(colour) / colour.mean() for colour in colours]) < 0.35
    assert 0.05 < np.median([colour.mean() for colour in colours]) < 0.4


@pytest.mark.parametrize("distance", [4.0, 10.0, 23.0])
def test_a_metre_covers_focal_length_over_distance(distance: float) -> None:
    view = make_frame(pitch=0.0, camera_m=1.2)
    site = at(view, (0.0, 0.0, -distance))
    layer = layer_of([upright(site, 0.0, (-0.5, 0.5), (0.0, 1.0), Material.PLAIN, GREY, detail=0.0)], view, "card")
    assert layer.alpha.max(1).sum() == pytest.approx(700 / distance, abs=0.3)
    assert layer.alpha.max(0).sum() == pytest.approx(700 / distance, abs=0.3)
    assert layer.depth_m[layer.alpha > 0.5].mean() == pytest.approx(distance, rel=0.01)


@pytest.mark.parametrize("kind", ["pole", "lamp", "sign", "tree"])
def test_posts_stand_on_their_point(kind: str) -> None:
    for seed in range(12):
        view, rng = make_frame(pitch=0.2 + 0.01 * seed), np.random.default_rng(seed)
        point = (rng.uniform(-2, 2), 0.0, -rng.uniform(9, 16))
        layer = draw_kind(kind, Dice(np.random.default_rng(seed), 128), 0.7, view, point)
        x, y, z = project(view, point)
        rows, _ = np.nonzero(layer.alpha > 0.5)
        assert layer.row + rows.max() + 1 == pytest.approx(y, abs=1.01)
        foot = layer.alpha[rows.max() - 5 : rows.max() - 1].mean(0)
        middle = layer.col + (foot * (np.arange(len(foot)) + 0.5)).sum() / foot.sum()
        assert middle == pytest.approx(x, abs=0.6)
        assert layer.depth_m[rows.max()][foot > 0.5] == pytest.approx(z, rel=0.01)


def test_things_stand_on_raised_ground() -> None:
    view, point = make_frame(), (0.0, 0.4, -9.0)
    layer = draw_kind("pole", Dice(np.random.default_rng(0), 128), 0.0, view, point)
    bottom = layer.row + np.nonzero(layer.alpha.max(1) > 0.5)[0].max() + 1
    assert bottom == pytest.approx(project(view, point)[1], abs=1.01)


def test_one_sees_through_railings_and_fences() -> None:
    for kind in ("railing", "fence"):
        for seed in range(6):
            layer = draw_kind(kind, Dice(np.random.default_rng(seed), 128), 0.0, make_frame(), (0.0, 0.0, -7.0))
            assert 0.05 < layer.alpha.mean() < 0.6 and (layer.alpha < 0.3).mean() > 0.3, (kind, seed)


def box_depth(view: View, site: Site, sizes: tuple[float, float, float]) -> np.ndarray:
    """(H, W) z of a box's nearest face by intersecting each pixel's ray with all six, inf where it hits none."""
    wide, tall, deep = sizes
    y, x = np.mgrid[: view.height, : view.width] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(view.intrinsics @ view.world_to_camera[:3, :3]).T
    axes = np.array([site.across, (0, 1, 0), site.ahead])
    start, rays = np.array(site.camera), rays @ axes.T
    low, high = np.array([-wide / 2, 0, 0]), np.array([wide / 2, tall, deep])
    with np.errstate(divide="ignore"):
        first, second = (low - start) / rays, (high - start) / rays
    enter, leave = np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)


@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.6])
def test_depth_of_a_box_is_that_of_its_nearest_face(yaw: float) -> None:
    view = make_frame()
    site = at(view, (1.0, 0.0, -8.0), yaw)
    items = box(site, (0.0, 2.0), (-0.8, 0.8), (0.0, 1.5), Material.PLAIN, GREY, detail=0.0)
    layer = layer_of(items, view, "box")
    window = np.s_[layer.row : layer.row + layer.alpha.shape[0], layer.col : layer.col + layer.alpha.shape[1]]
    expected = box_depth(view, site, (1.6, 1.5, 2.0))[window]
    assert ((layer.alpha > 0.5) != np.isfinite(expected)).mean() < 0.01
    both = (layer.alpha > 0.5) & np.isfinite(expected)
    error = np.abs(layer.depth_m - np.where(both, expected, 0))[both]
    # The soft edge of one face, two pixels wide, reaches over the next, which turns away from it.
    assert np.median(error) < 1e-3 and np.percentile(error, 90) < 0.03 and error.max() < 0.3


def test_the_nearer_of_two_cards_hides_the_other() -> None:
    view = make_frame(pitch=0.0, camera_m=1.0)
    site = at(view, (0.0, 0.0, -8.0))
    red, green = (0.5, 0.0, 0.0), (0.0, 0.5, 0.0)
    behind = upright(site, 1.0, (-1.0, 1.0), (0.0, 1.5), Material.PLAIN, green, detail=0.0)
    before = upright(site, 0.0, (-0.4, 0.4), (0.0, 1.0), Material.PLAIN, red, detail=0.0)
    for items in ([behind, before], [before, behind]):
        layer = layer_of(items, view, "cards")
        row, middle = len(layer.alpha) - 30, layer.alpha.shape[1] // 2
        assert layer.colour[row, middle, 0] > 0.1 and layer.colour[row, middle, 1] == 0
        assert layer.depth_m[row, [middle, middle - 60]] == pytest.approx([8, 9], rel=1e-3)


def test_a_row_of_posts_has_a_depth_for_each() -> None:
    view = make_frame()
    site = at(view, (0.0, 0.0, -8.0), 0.9)
    places = [site.at(1.5 * k, 0.0, 0.0) for k in (-1, 0, 1)]
    items = [upright(site, 0.0, (1.5 * k - 0.1, 1.5 * k + 0.1), (0, 1), Material.PLAIN, GREY, mode=Mode.POST, to_camera=True)
             for k in (-1, 0, 1)]  # fmt: skip
    layer = layer_of(items, view, "posts")
    for place in places:
        x, y, z = project(view, place)
        assert layer.depth_m[int(y) - 4 - layer.row, int(x) - layer.col] == pytest.approx(z, rel=0.02)


def test_a_clipped_layer_is_part_of_the_whole() -> None:
    whole = make_frame(height=720, width=1280)
    for left, top, point in ((500, 0, (-1.0, 0, -8.0)), (0, 300, (0.0, 0, -8.0)), (640, 200, (0.1, 0.0, -6.0))):
        shifted = whole.intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        view = replace(whole, height=330, width=300, intrinsics=shifted)
        for kind in KINDS:
            a, b = (draw_kind(kind, Dice(np.random.default_rng(3), 128), 0.7, v, point) for v in (whole, view))
            full = np.zeros((720, 1280))
            full[a.row : a.row + a.alpha.shape[0], a.col : a.col + a.alpha.shape[1]] = a.alpha
            part = np.zeros((330, 300))
            if b is not None:
                part[b.row : b.row + b.alpha.shape[0], b.col : b.col + b.alpha.shape[1]] = b.alpha
            # Mip levels are chosen for a run of pixels, which clipping shortens.
            assert np.abs(part - full[top : top + 330, left : left + 300]).mean() < 0.004, kind


@pytest.mark.parametrize("point", [(30.0, 0.0, -8.0), (-30.0, 0.0, -8.0), (0.0, 0.0, 9.0), (0.0, 0.0, -2.0)])
def test_nothing_comes_of_a_point_out_of_sight(point: tuple[float, float, float]) -> None:
    for kind in ("bollards", "planter", "bin"):
        assert draw_kind(kind, Dice(np.random.default_rng(0), 128), 0.0, make_frame(), point) is None, kind


def test_a_wall_that_passes_the_camera_is_drawn() -> None:
    view = make_frame()
    site = at(view, (0.5, 0.0, -4.0), 0.0)
    plane = upright(site, 0.0, (0.0, 0.1), (0.0, 2.0), Material.PLAIN, GREY)[1]
    along = plane._replace(u_axis=(0.0, 0.0, 1.0), extent=(-6.0, 6.0, 0.0, 2.0))
    layer = layer_of([(0.0, along)], view, "wall")
    assert layer.alpha.shape == (480, 640) and layer.alpha[-1, 420] == 1 and layer.depth_m[-1].min() > 0


def test_light_falls_on_occluders() -> None:
    view, point = make_frame(), (0.0, 0.0, -7.0)
    bright, half, red = (
        Light(sun_direction=np.array([0.36, 0.8, 0.48]), sun_rgb=k * np.array(tint), sky_rgb=k * np.array(tint))
        for k, tint in ((0.5, (1, 1, 1)), (0.25, (1, 1, 1)), (0.5, (1, 0, 0)))
    )
    first, second, third = (
        ProceduralOccluders().draw(np.random.default_rng(2), view, point, light).colour for light in (bright, half, red)
    )
    assert first.max() > 0.05 and np.abs(first - 2 * second).max() < 1e-5
    assert third[..., 1:].max() == 0 and (third[..., 0] == first[..., 0]).all()


def test_shadows_darken_the_ground_beside_the_foot_alone() -> None:
    point = (0.0, 0.0, -8.0)
    view = replace(make_frame(), light=make_light(sun=0.8, sky=0.2, direction=(0.64, 0.6, 0.48)))
    shadow = draw_kind("bin", Dice(np.random.default_rng(8), 128), 0.0, view, point).shadow
    image, ground = np.ones((480, 640, 3), np.float32), np.zeros((480, 640), np.float32)
    shade_ground(shadow, image, ground)
    assert (image == 1).all()
    ground[:, :330] = 1
    shade_ground(shadow, image, ground)
    assert (image[:, 330:] == 1).all() and 0 <= image.min() < 0.6
    # The sun stands on the right: the shadow lies to the left of the foot.
    rows, cols = np.nonzero(image[..., 0] < 0.75)
    x, y, _ = project(view, point)
    assert cols.min() < x - 15 and abs(np.median(rows) - y) < 40


def test_layers_are_laid_like_a_sort_of_every_pixel() -> None:
    rng = np.random.default_rng(0)
    height, width = 20, 30
    image, depth, iuv, owner = buffers(height, width)
    people = rng.random((height, width)) < 0.5
    depth[people] = rng.uniform(2, 9, people.sum())
    image[people], owner[people] = 0.9, 3
    layers = [
        make_layer(
            rng.random((12, 17)) < 0.6, rng.random((12, 17, 3)), rng.uniform(2, 9, (12, 17)), *rng.integers(0, 8, 2)
        )
        for _ in range(5)
    ]
    expected = [a.copy() for a in (image, depth, iuv, owner)]
    for row in range(height):
        for col in range(width):
            found = [(depth[row, col], None, None)]
            for layer in layers:
                r, c = row - layer.row, col - layer.col
                if 0 <= r < 12 and 0 <= c < 17 and layer.alpha[r, c] == 1:
                    found.append((layer.depth_m[r, c], layer, (r, c)))
            nearest, layer, place = min(found, key=lambda one: one[0])
            if layer is not None:
                expected[0][row, col], expected[1][row, col] = layer.colour[place], nearest
                expected[2][row, col], expected[3][row, col] = 0, OCCLUDER
    for layer in layers:
        lay(layer, image, depth, iuv, owner)
    for got, want in zip((image, depth, iuv, owner), expected, strict=True):
        assert (got == want).all()
    assert (owner == OCCLUDER).any() and (owner == 3).any() and (owner == -1).any()


def test_soft_edges_blend_colours_and_keep_labels() -> None:
    alpha = np.array([[0.0, 0.3, 0.49, 0.5, 0.8, 1.0]])
    image, depth, iuv, owner = buffers(1, 6)
    image[:], depth[:], owner[:] = 0.5, 6.0, 2
    lay(make_layer(alpha, np.full((1, 6, 3), 0.2), np.full((1, 6), 4.0)), image, depth, iuv, owner)
    assert image[0, :, 1] == pytest.approx(0.5 * (1 - alpha[0]) + 0.2 * alpha[0])
    labelled = alpha[0] >= 0.5
    assert (owner[0] == np.where(labelled, OCCLUDER, 2)).all() and (depth[0] == np.where(labelled, 4, 6)).all()
    assert (iuv[0] == np.where(labelled, 0, 7)[:, None]).all()


def test_a_layer_behind_people_changes_nothing() -> None:
    image, depth, iuv, owner = buffers(4, 4)
    depth[:] = 3.0
    lay(make_layer(np.ones((4, 4)), np.ones((4, 4, 3)), np.full((4, 4), 3.0)), image, depth, iuv, owner)
    assert image.max() == 0 and (owner == -1).all() and (depth == 3).all()


def test_buffers_that_do_not_fit_are_refused() -> None:
    layer = make_layer(np.ones((4, 4)), np.ones((4, 4, 3)), np.ones((4, 4)), row=2)
    image, depth, iuv, owner = buffers(5, 5)
    with pytest.raises(ValueError, match=r"window of \(4, 4\) at row 2, column 0 reaches out of a frame of \(5, 5\)"):
        lay(layer, image, depth, iuv, owner)
    image, depth, iuv, owner = buffers(6, 6)
    with pytest.raises(ValueError, match=r"owner must be contiguous \(6, 6\) int16"):
        lay(layer, image, depth, iuv, owner.astype(np.int32))
    with pytest.raises(ValueError, match=r"image must be contiguous \(6, 6, 3\) float32"):
        lay(layer, image[::-1], depth, iuv, owner)
    with pytest.raises(ValueError, match="reaches out of a frame"):
        shade_ground(Shadow(row=0, col=3, kept_off=np.ones((4, 4), np.float32)), image, depth)


def test_a_wild_turn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_yaw_rad must lie in \[0, 1.2\], got 2"):
        ProceduralOccluders(max_yaw_rad=2)
