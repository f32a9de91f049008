"""Procedural backgrounds: perspective, order, light, and what a caller may rely on."""

import pickle

import numpy as np
import pytest

from synth.background import Light, ProceduralBackgrounds, View
from synth.background.materials import Material, baked_atlas
from synth.background.planes import FAR, Plane, draw_planes
from synth.background.planes_numba import NUM_LEVELS, SIZE
from synth.background.site import FLOOR, Site, lying, shadow_of, upright
from synth.background.surfaces_numba import Mode

BACKDROP = (0.0, 0.0, 0.0)


def make_light(
    *, sun: float = 0.6, sky: float = 0.4, direction: tuple[float, float, float] = (0.36, 0.8, 0.48)
) -> Light:
    return Light(sun_direction=np.array(direction), sun_rgb=np.full(3, sun), sky_rgb=np.full(3, sky))


def make_view(
    *,
    height: int = 256,
    width: int = 128,
    camera_m: float = 3.5,
    distance_m: float = 8.0,
    azimuth: float = 0.7,
    position: tuple[float, float, float] = (1.0, 0.0, -2.0),
    light: Light | None = None,
) -> View:
    """A camera that looks at a person of 1.7 m, who fills 0.86 of the rows."""
    person = np.array(position)
    eye = person + [distance_m * np.sin(azimuth), camera_m, distance_m * np.cos(azimuth)]
    forward = person + [0, 0.85, 0] - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation, -rotation @ eye
    feet, head = (rotation @ (person + [0, y, 0] - eye) for y in (0.0, 1.7))
    focal = 0.86 * height / (feet[1] / feet[2] - head[1] / head[2])
    middle = focal * 0.5 * (feet[1] / feet[2] + head[1] / head[2])
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2 - middle], [0, 0, 1]])
    return View(
        height=height,
        width=width,
        intrinsics=intrinsics,
        world_to_camera=extrinsics,
        person_position=person,
        light=light or make_light(),
    )


def project(view: View, point: tuple[float, float, float]) -> np.ndarray:
    camera = view.world_to_camera[:3, :3] @ point + view.world_to_camera[:3, 3]
    pixel = view.intrinsics @ camera
    return pixel[:2] / pixel[2]


def draw(view: View, *items: tuple[float, Plane]) -> tuple[np.ndarray, np.ndarray]:
    return draw_planes([plane for _, plane in sorted(items, key=lambda item: item[0])], view, baked_atlas(), BACKDROP)


def flat(
    site: Site, lateral: tuple[float, float], distance: tuple[float, float], *, key: float = FLOOR
) -> tuple[float, Plane]:
    return lying(site, key, lateral, distance, Material.PLAIN, (0.5, 0.5, 0.5), detail=0.0)


def views(count: int) -> list[View]:
    rng = np.random.default_rng(5)
    return [
        make_view(camera_m=rng.uniform(2, 5), distance_m=rng.uniform(3, 15), azimuth=rng.uniform(0, 6.2))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def backgrounds() -> ProceduralBackgrounds:
    return ProceduralBackgrounds()


def test_same_generator_state_gives_the_same_bytes(backgrounds: ProceduralBackgrounds) -> None:
    view = make_view()
    first = backgrounds.draw(np.random.default_rng(3), view)
    np.random.seed(1)
    again = pickle.loads(pickle.dumps(backgrounds)).draw(np.random.default_rng(3), view)
    other = backgrounds.draw(np.random.default_rng(4), view)
    assert first.image.tobytes() == again.image.tobytes() and first.ground.tobytes() == again.ground.tobytes()
    assert np.abs(first.image - other.image).mean() > 0.01


def test_shapes_ranges_and_provenance(backgrounds: ProceduralBackgrounds) -> None:
    for k, view in enumerate(views(40)):
        background = backgrounds.draw(np.random.default_rng(k), view)
        assert background.image.shape == (256, 128, 3) and background.image.dtype == np.float32
        assert background.ground.shape == (256, 128) and background.ground.dtype == np.float32
        assert background.image.min() >= 0 and background.image.max() <= 1
        assert background.ground.min() >= 0 and background.ground.max() <= 1 + 1e-5
        assert background.provenance == "procedural:street-v1"
        assert 0.02 < background.image.mean() < 0.8


def test_backgrounds_are_low_in_chroma_and_rich_in_detail(backgrounds: ProceduralBackgrounds) -> None:
    images = [backgrounds.draw(np.random.default_rng(k), view).image for k, view in enumerate(views(40))]
    chroma = [np.ptp(image.mean((0, 1))) / image.mean() for image in images]
    detail = [np.abs(np.diff(image.mean(2), axis=1)).mean() / image.mean() for image in images]
    assert np.median(chroma) < 0.35
    assert np.median(detail) > 0.01


def test_nothing_stands_before_the_person(backgrounds: ProceduralBackgrounds) -> None:
    for k, view in enumerate(views(60)):
        feet = int(project(view, view.person_position)[1])
        ground = backgrounds.draw(np.random.default_rng(k), view).ground
        assert ground[feet:].min() > 0.98, k


def test_nothing_stands_nearer_than_the_clearance() -> None:
    backgrounds = ProceduralBackgrounds(clearance_m=2.0, max_yaw_rad=0.0)
    for k, view in enumerate(views(60)):
        # A fence's foot reaches 0.1 m to the front.
        row = int(project(view, Site.behind(view, 0.0).at(0.0, 0.0, 1.85))[1]) + 1
        ground = backgrounds.draw(np.random.default_rng(k), view).ground
        assert ground[max(row, 0) :].min() > 0.98, k


def test_any_picture_size(backgrounds: ProceduralBackgrounds) -> None:
    for height, width in ((64, 32), (384, 128), (97, 61)):
        image = backgrounds.draw(np.random.default_rng(0), make_view(height=height, width=width)).image
        assert image.shape == (height, width, 3) and np.isfinite(image).all()


@pytest.mark.parametrize("yaw", [-0.5, 0.0, 0.6])
@pytest.mark.parametrize("distance", [0.5, 2.0, 6.0])
def test_a_line_on_the_ground_lies_on_its_projected_row(yaw: float, distance: float) -> None:
    view = make_view()
    site = Site.behind(view, yaw)
    _, ground = draw(view, flat(site, (-FAR, FAR), (-FAR, distance)))
    left, right = site.span_at(distance)
    for share in (0.25, 0.5, 0.75):
        lateral = left + share * (right - left)
        x, y = project(view, site.at(lateral, 0.0, distance))
        if 4 < y < 252:
            # Ground below the line, nothing above: the sum of coverage is the line's height over the bottom row.
            column = ground[:, int(x)]
            slope = project(view, site.at(lateral + 0.05, 0.0, distance)) - (x, y)
            expected = y + (int(x) + 0.5 - x) * slope[1] / slope[0]
            assert 256 - column.sum() == pytest.approx(expected, abs=0.2)


def test_distance_at_inverts_the_projection() -> None:
    for view in views(10):
        site = Site.behind(view, 0.0)
        for fraction in (0.3, 0.6, 0.9):
            reached = site.distance_at(fraction)
            lateral = site.camera[0] + site.drift * (reached - site.camera[2])
            assert project(view, site.at(lateral, 0.0, reached))[1] == pytest.approx(256 * fraction, abs=1e-6)


def test_a_tilted_card_covers_what_rays_hit() -> None:
    """Against a slow oracle: 8 x 8 rays per pixel through a card that is turned against the picture."""
    view = make_view(azimuth=0.2)
    site = Site.behind(view, 0.5)
    middle = sum(site.span_at(1.5)) / 2
    _, plane = upright(
        site, 1.5, (middle - 0.45, middle + 0.3), (0.2, 1.3), Material.PLAIN, (0.5, 0.5, 0.5), detail=0.0
    )
    _, drawn = draw_planes([plane._replace(mode=int(Mode.GROUND))], view, baked_atlas(), BACKDROP)
    fine = (np.arange(8) + 0.5) / 8
    x = (np.arange(128)[:, None] + fine).ravel()
    y = (np.arange(256)[:, None] + fine).ravel()
    pixels = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], -1)
    rotation, eye = view.world_to_camera[:3, :3], view.camera_position
    rays = pixels @ np.linalg.inv(view.intrinsics).T @ rotation
    normal = np.cross(plane.u_axis, plane.v_axis)
    reach = ((plane.origin - eye) @ normal) / (rays @ normal)
    hits = eye + reach[..., None] * rays - plane.origin
    u, v = hits @ plane.u_axis, hits @ plane.v_axis
    u0, u1, v0, v1 = plane.extent
    inside = (u > u0) & (u < u1) & (v > v0) & (v < v1) & (reach > 0)
    expected = inside.reshape(256, 8, 128, 8).mean((1, 3))
    assert 2000 < expected.sum() and expected[0].sum() == expected[:, 0].sum() == 0
    assert drawn.sum() == pytest.approx(expected.sum(), rel=2e-3)
    # Half a pixel of shift would leave 0.5 along two edges.
    assert np.abs(drawn - expected).max() < 0.25
    assert np.abs(drawn - expected)[expected > 0].mean() < 0.01


def test_what_is_near_hides_what_is_far() -> None:
    view = make_view()
    site = Site.behind(view, 0.0)
    near = upright(site, 1.0, (-0.2, 0.2), (0.0, 1.0), Material.PLAIN, (0.8, 0.0, 0.0), detail=0.0)
    far = upright(site, 2.0, (-FAR, FAR), (0.0, FAR), Material.PLAIN, (0.0, 0.8, 0.0), detail=0.0)
    image, ground = draw(view, far, near, flat(site, (-FAR, FAR), (-FAR, FAR)))
    x, y = project(view, site.at(0.0, 0.5, 1.0)).astype(int)
    assert image[y, x, 0] > 0.1 and image[y, x, 1] == 0
    x, y = project(view, site.at(0.45, 0.8, 2.0)).astype(int)
    assert image[y, x, 1] > 0.1 and image[y, x, 0] == 0 and ground[y, x] == 0
    x, y = project(view, site.at(0.0, 0.0, 0.3)).astype(int)
    assert ground[y, x] == pytest.approx(1, abs=1e-3)


def test_ground_takes_the_light_of_sun_and_sky() -> None:
    light = make_light(sun=0.5, sky=0.3)
    view = make_view(light=light)
    image, _ = draw(view, flat(Site.behind(view, 0.0), (-FAR, FAR), (-FAR, FAR)))
    assert image[200, 64] == pytest.approx(0.5 * (0.5 * light.sun_direction[1] + 0.3), rel=1e-4)


def test_a_shadow_falls_away_from_the_sun_and_needs_one() -> None:
    direction = np.array([0.5, 0.7, -0.2]) / np.linalg.norm([0.5, 0.7, -0.2])
    for sun in (0.6, 0.0):
        view = make_view(light=make_light(sun=sun, direction=tuple(direction)))
        site = Site.behind(view, 0.0)
        card = upright(site, 1.0, (-0.2, 0.2), (0.0, 0.8), Material.PLAIN, (0.5, 0.5, 0.5), detail=0.0)
        floor = flat(site, (-FAR, FAR), (-FAR, FAR))
        lit, _ = draw(view, floor)
        shaded, _ = draw(view, floor, shadow_of(site, card))
        foot, middle = np.array(site.at(0.0, 0.4, 1.0)), 0.4 / direction[1]
        x, y = project(view, foot - middle * direction).astype(int)
        share = shaded[y, x, 0] / lit[y, x, 0]
        assert share == pytest.approx(0.4 / (0.4 + sun * direction[1]), abs=0.02)
        away = project(view, np.array(site.at(0.0, 0.0, 1.0)) + 0.5 * direction * [1, 0, 1]).astype(int)
        assert shaded[away[1], away[0], 0] == lit[away[1], away[0], 0]


def level_of(material: Material, level: int) -> np.ndarray:
    """(S, S, 4) red, green, blue and alpha of a level of a pattern, 0..255."""
    texels, offsets = baked_atlas()
    size, start = SIZE >> level, int(material) * offsets[-1] + offsets[level]
    codes = texels[start : start + size * (size + 1)].astype(np.uint32).view(np.uint8)
    return codes.reshape(size, size + 1, 4)[:, :size].astype(float)


def test_patterns_tile_without_a_seam() -> None:
    for material in set(Material) - {Material.CAR, Material.BICYCLE, Material.SHOP, Material.RAILS}:
        red = level_of(material, 0)[..., 0]
        seam = np.abs(red[:, 0] - red[:, -1]).mean()
        inside = np.abs(np.diff(red, axis=1)).mean(0)
        assert seam <= inside.max() * 1.05, material


def test_texels_come_with_their_right_neighbours() -> None:
    texels, _ = baked_atlas()
    row = texels[:SIZE]
    assert (row >> np.uint64(32) == np.roll(row & np.uint64(0xFFFFFFFF), -1)).all()


def test_patterns_keep_their_mean_over_mip_levels() -> None:
    for material in (Material.ASPHALT, Material.BRICK, Material.GRASS, Material.CLUTTER):
        means = [level_of(material, level).mean((0, 1)) for level in range(NUM_LEVELS)]
        assert np.ptp(means, axis=0).max() < 1.5, material


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_to_camera": np.eye(4)}, "above the ground"),
        ({"intrinsics": np.eye(4)}, "intrinsics must have shape"),
        ({"height": 4}, "at least 8 pixels"),
    ],
)
def test_a_wrong_view_is_refused(change: dict, message: str) -> None:
    view = make_view()
    fields = {name: getattr(view, name) for name in view.__slots__} | change
    with pytest.raises(ValueError, match=message):
        View(**fields)


@pytest.mark.parametrize("direction", [(0.0, 2.0, 0.0), (0.6, -0.8, 0.0)])
def test_a_wrong_sun_is_refused(direction: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="unit vector with y > 0"):
        make_light(direction=direction)


def test_wrong_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="max_yaw_rad"):
        ProceduralBackgrounds(max_yaw_rad=2.0)
    with pytest.raises(ValueError, match="clearance_m"):
        ProceduralBackgrounds(clearance_m=0.0)


def test_a_camera_right_above_the_person_is_refused(backgrounds: ProceduralBackgrounds) -> None:
    with pytest.raises(ValueError, match="right above"):
        backgrounds.draw(np.random.default_rng(0), make_view(distance_m=1e-5))
