"""Drawing: the kernel against its torch twin, texels and light against hand-made cases, motion, shadows."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from people import WALL, Group, draw_group
from scipy.spatial.transform import Rotation
from torch import Tensor

from synth.anatomy import Anatomy
from synth.background import Background
from synth.camera import project, to_camera
from synth.dress import Dressed, undressed
from synth.generate import stand
from synth.outfit import Outfit
from synth.raster import RasterConfig, gather_fragments, rasterize
from synth.render import (
    Cameras,
    Drawn,
    draw_fragments,
    draw_person,
    screen_points,
    screen_points_twin,
    towards_cameras,
)
from synth.shade import GROUND_ALBEDO, RIM, WRAP, sample_texture, shade
from synth.shadow import cast_shadow, coarseness, darken, darken_pixels, fallen_on, shadow_matrix

CONFIG = RasterConfig()
SIZE = 16


def draw(group: Group, background: Tensor | float = 0.0, *, light: Tensor | None = None, **changes) -> Drawn:
    """The group's people again, over another background or with something changed."""
    cameras = group.cameras if light is None else dataclasses.replace(group.cameras, light=light)
    given = dict(vertices=group.vertices, normals=group.normals, dressed=group.dressed, texture=group.texture) | changes
    if not isinstance(background, Tensor):
        background = torch.full((len(given["vertices"]), cameras.height, cameras.width, 3), background)
    return draw_person(background, cameras=given.pop("cameras", cameras), config=CONFIG, **given)


def twin(group: Group, background: Tensor, config: RasterConfig) -> Drawn:
    """`draw_person` by way of fragments and torch."""
    cameras = group.cameras
    points = screen_points(group.vertices, group.normals, cameras)
    faces, size = group.dressed.faces, (cameras.height, cameras.width)
    visible = rasterize(points, faces, *size, config, double_sided=group.dressed.double_sided)
    fragments = gather_fragments(visible, points, faces)
    towards = towards_cameras(group.vertices, cameras)
    return draw_fragments(background, fragments, visible.depth, points, group.dressed, group.texture, towards, cameras)


@pytest.mark.parametrize("function", [screen_points, screen_points_twin])
def test_screen_points_are_projected_points(crowd: list[Group], function: Callable):
    group = crowd[3]
    cameras, vertices = group.cameras, group.vertices
    points = function(vertices, group.normals, cameras)
    projected = project(to_camera(vertices.double(), cameras.world_to_camera.double()), cameras.intrinsics.double())
    torch.testing.assert_close(points[..., :3].double(), projected.transpose(1, 2), atol=1e-4, rtol=1e-6)
    assert torch.equal(points[..., 4:7], group.normals.transpose(1, 2))


def test_light_rims_are_seen_from_the_middle_of_a_person(crowd: list[Group]):
    cameras, vertices = crowd[3].cameras, crowd[3].vertices
    middle = (vertices.amin(2) + vertices.amax(2)) / 2
    eye = torch.linalg.inv(cameras.world_to_camera.double())[:, :3, 3].float()
    expected = torch.nn.functional.normalize(eye - middle, dim=1)
    torch.testing.assert_close(towards_cameras(vertices, cameras), expected)


@pytest.mark.parametrize("supersampling", [1, 2, 3])
def test_the_kernel_equals_its_torch_twin(crowd: list[Group], supersampling: int):
    config = RasterConfig(supersampling=supersampling)
    for group in crowd[2 * supersampling :][:2]:
        generator = torch.Generator().manual_seed(1)
        background = torch.rand(len(group.vertices), group.cameras.height, group.cameras.width, 3, generator=generator)
        given = (background, group.vertices, group.normals, group.dressed, group.texture, group.cameras, config)
        found, expected = draw_person(*given), twin(group, background, config)
        torch.testing.assert_close(found.image, expected.image, atol=1e-5, rtol=1e-5)
        assert torch.equal(found.depth, expected.depth)
        assert torch.equal(found.iuv[..., 0], expected.iuv[..., 0])
        # u or v halfway between two codes may round either way.
        step = (found.iuv.int() - expected.iuv.int()).abs()
        assert step.max() <= 1 and (step > 0).float().mean() < 1e-4
        assert (found.image != background).any(-1).float().mean() > 0.1


def test_drawing_leaves_its_input_alone(crowd: list[Group]):
    group = crowd[0]
    background = torch.rand(3, 256, 128, 3, generator=torch.Generator().manual_seed(0))
    kept = [t.clone() for t in (background, group.vertices, group.normals, group.texture)]
    draw(group, background)
    assert all(
        torch.equal(a, b) for a, b in zip(kept, (background, group.vertices, group.normals, group.texture), strict=True)
    )


def test_batched_equals_single(crowd: list[Group]):
    group = crowd[1]
    for k in range(3):
        one = slice(k, k + 1)
        cameras = dataclasses.replace(
            group.cameras,
            intrinsics=group.cameras.intrinsics[one],
            world_to_camera=group.cameras.world_to_camera[one],
            light=group.cameras.light[one],
        )
        alone = draw(group, WALL, vertices=group.vertices[one], normals=group.normals[one], cameras=cameras)
        torch.testing.assert_close(alone.image[0], group.drawn.image[k], atol=1e-5, rtol=1e-5)
        assert (alone.iuv[0] != group.drawn.iuv[k]).any(-1).float().mean() < 1e-4


def card(texture_size: int, *, shift_px: float = 0.0) -> tuple[Dressed, Tensor, Tensor, Cameras]:
    """An upright square card, one texel to a pixel, that fills a square picture; it may lie aside by part of a pixel.

    Returns its mesh, vertices (1, 3, 4) and normals (1, 3, 4), and cameras in even light.
    """
    reach = 1.0
    x, y = torch.tensor([-1.0, 1, 1, -1]), torch.tensor([-1.0, -1, 1, 1])
    vertices = torch.stack([x * reach, y * reach, torch.zeros(4)])[None]
    normals = torch.tensor([0.0, 0.0, 1.0])[None, :, None].repeat(1, 1, 4)
    uv = torch.stack([x / 2 + 0.5, y / 2 + 0.5], 1)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    corner = torch.cat([uv[faces.long()], uv[faces.long()]], 2)
    dressed = Dressed(
        rest=torch.zeros(33, 3), normals=torch.zeros(9, 3), weights=torch.zeros(33, 24), directions=torch.zeros(33, 3, 10),
        faces=faces, corner=corner, surface=torch.tensor([2, 2], dtype=torch.uint8),
        double_sided=torch.tensor([True, True]), num_body=4,
    )  # fmt: skip
    focal = texture_size / 2 * 4.0
    middle = texture_size / 2
    cameras = Cameras(
        intrinsics=torch.tensor([[[focal, 0, middle + shift_px], [0, focal, middle], [0, 0, 1]]]),
        world_to_camera=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 4.0], [0, 0, 0, 1]]]),
        light=torch.tensor([[0.0, 1, 0, 0, 0, 0, 1, 1, 1]]),
        height=texture_size,
        width=texture_size,
    )
    return dressed, vertices, normals, cameras


def photograph(texture: Tensor, supersampling: int = 1, *, shift_px: float = 0.0) -> tuple[Tensor, Drawn]:
    """A card with the texture, divided by the light on it: (S, S, 3) albedo."""
    dressed, vertices, normals, cameras = card(len(texture), shift_px=shift_px)
    config = RasterConfig(supersampling=supersampling)
    background = torch.zeros(1, len(texture), len(texture), 3)
    drawn = draw_person(background, vertices, normals, dressed, texture, cameras, config)
    white = draw_person(background, vertices, normals, dressed, torch.ones_like(texture), cameras, config)
    return (drawn.image / white.image.clamp_min(1e-6))[0], drawn


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_card_of_one_texel_to_a_pixel_shows_its_texture():
    """Texture rows run down the picture, columns to the right, and pixel centres meet texel centres."""
    texture = noise(SIZE, SIZE, 3)
    albedo, drawn = photograph(texture)
    torch.testing.assert_close(albedo, texture, atol=2e-5, rtol=0)
    assert (drawn.iuv[..., 0] == 2).all()
    torch.testing.assert_close(drawn.depth, torch.full((1, SIZE, SIZE), 4.0))
    # The surface's (u, v): u to the right, v up, in the middle of the pixels.
    code = ((torch.arange(SIZE) + 0.5) / SIZE * 255 + 0.5).to(torch.uint8)
    assert torch.equal(drawn.iuv[0, 3, :, 1], code) and torch.equal(drawn.iuv[0, :, 3, 2], code.flip(0))


def test_half_a_pixel_aside_is_half_a_texel_aside():
    """A projection off by half a pixel cannot pass for a right one: it mixes neighbouring texels."""
    texture = noise(SIZE, SIZE, 3)
    albedo, _ = photograph(texture, shift_px=0.5)
    expected = (texture[:, :-1] + texture[:, 1:]) / 2
    torch.testing.assert_close(albedo[:, 1:], expected, atol=2e-5, rtol=0)
    assert (albedo - texture).abs().mean() > 0.1


def test_coverage_blends_with_the_background():
    """A card shifted by half a pixel covers half of the first column; its label goes with half or more."""
    dressed, vertices, normals, cameras = card(SIZE, shift_px=0.5)
    background = noise(1, SIZE, SIZE, 3)
    drawn = draw_person(background, vertices, normals, dressed, torch.zeros(4, 4, 3), cameras, CONFIG)
    torch.testing.assert_close(drawn.image[0, :, 0], background[0, :, 0] / 2)
    assert (drawn.image[0, :, 1:] == 0).all() and (drawn.iuv[0, :, 0, 0] == 2).all()
    dressed, vertices, normals, cameras = card(SIZE, shift_px=0.8)
    drawn = draw_person(
        background, vertices, normals, dressed, torch.zeros(4, 4, 3), cameras, RasterConfig(supersampling=4)
    )
    torch.testing.assert_close(drawn.image[0, :, 0], background[0, :, 0] * 0.75)
    assert (drawn.iuv[0, :, 0] == 0).all() and (drawn.iuv[0, :, 1, 0] == 2).all()
    dressed, vertices, normals, cameras = card(SIZE, shift_px=0.6)
    drawn = draw_person(
        background, vertices, normals, dressed, torch.zeros(4, 4, 3), cameras, RasterConfig(supersampling=3)
    )
    torch.testing.assert_close(drawn.image[0, :, 0], background[0, :, 0] * 2 / 3)
    assert (drawn.iuv[0, :, 0] == 0).all(), "a third is not enough"


def test_texel_centres_are_looked_up_exactly():
    texture = noise(8, 8, 3)
    row, column = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    uv = torch.stack([(column.flatten() + 0.5) / 8, 1 - (row.flatten() + 0.5) / 8], 1)
    torch.testing.assert_close(sample_texture(texture, uv), texture.reshape(-1, 3), atol=1e-6, rtol=0)


def test_look_ups_between_texels_equal_a_slow_loop():
    texture, places = noise(8, 8, 3), noise(200, 2, seed=1)
    places[:4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.999, 0.001]])
    for (u, v), found in zip(places.tolist(), sample_texture(texture, places), strict=True):
        x, y = min(max(u * 8 - 0.5, 0), 7), min(max((1 - v) * 8 - 0.5, 0), 7)
        c, r = min(int(x), 6), min(int(y), 6)
        fx, fy = x - c, y - r
        top = (1 - fx) * texture[r, c] + fx * texture[r, c + 1]
        bottom = (1 - fx) * texture[r + 1, c] + fx * texture[r + 1, c + 1]
        torch.testing.assert_close(found, (1 - fy) * top + fy * bottom, atol=1e-5, rtol=0)


def lit() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """albedo (N, 3), unit normals (N, 3), towards_camera (3,) and light (9,)."""
    normal = torch.nn.functional.normalize(noise(100, 3, seed=2) - 0.5, dim=1)
    towards = torch.nn.functional.normalize(torch.tensor([0.2, 0.4, 1.0]), dim=0)
    sun = torch.nn.functional.normalize(torch.tensor([0.5, 0.7, -0.2]), dim=0)
    return noise(100, 3), normal, towards, torch.cat([sun, torch.tensor([0.9, 0.8, 0.7, 0.3, 0.35, 0.4])])


def test_shading_equals_a_slow_loop():
    albedo, normal, towards, light = lit()
    found = shade(albedo, normal, towards, light)
    sun, sun_rgb, sky_rgb = (light[k : k + 3].double().numpy() for k in (0, 3, 6))
    for n in range(100):
        outward = normal[n].double().numpy()
        if outward @ towards.double().numpy() < 0:
            outward = -outward
        facing = outward @ towards.double().numpy()
        for c in range(3):
            direct = sun_rgb[c] * max(0.0, (outward @ sun + WRAP) / (1 + WRAP))
            rim = RIM + (1 - RIM) * facing
            ground = GROUND_ALBEDO * (sun_rgb[c] * sun[1] + sky_rgb[c])
            indirect = rim * (sky_rgb[c] * (1 + outward[1]) / 2 + ground * (1 - outward[1]) / 2)
            assert found[n, c].item() == pytest.approx(albedo[n, c].item() * (direct + indirect), abs=1e-5)


def test_light_adds_up_and_never_makes_energy():
    albedo, normal, towards, light = lit()
    whole = shade(albedo, normal, towards, light)
    sun, sky = light.clone(), light.clone()
    sun[6:], sky[3:6] = 0, 0
    torch.testing.assert_close(whole, shade(albedo, normal, towards, sun) + shade(albedo, normal, towards, sky))
    assert (shade(albedo, normal, towards, sky) <= albedo * light[6:] * 1.0001).all()
    assert (whole <= albedo * (light[3:6] + light[6:] + GROUND_ALBEDO * light[3:6]) * 1.0001).all()
    assert (whole >= 0).all() and (shade(albedo, normal, towards, 0 * light) == 0).all()
    torch.testing.assert_close(shade(albedo / 2, normal, towards, light), whole / 2)
    torch.testing.assert_close(shade(albedo, -normal, towards, light), whole)
    facing_sun = shade(torch.ones(1, 3), light[None, :3], light[:3], light)
    assert (facing_sun > light[3:6]).all() and (facing_sun <= light[3:6] + light[6:] + 0.3).all()


def test_the_sun_lights_the_side_it_stands_on(crowd: list[Group]):
    """A white person in low sun from their camera's right is brighter on the right."""
    group = crowd[2]
    right = group.cameras.world_to_camera[:, 0, :3]
    light = torch.cat(
        [
            torch.nn.functional.normalize(right + torch.tensor([0.0, 0.2, 0.0]), dim=1),
            torch.tensor([[1.0, 1, 1, 0.1, 0.1, 0.1]]).expand(3, 6),
        ],
        1,
    )
    image = draw(group, light=light, texture=torch.ones_like(group.texture)).image.mean(-1)
    for k in range(3):
        columns = torch.nonzero(group.coverage[k] == 1)[:, 1]
        half = columns.float().median()
        column = torch.arange(128)[None].expand(256, -1)
        full = group.coverage[k] == 1
        assert image[k][full & (column > half)].mean() > 1.5 * image[k][full & (column < half)].mean()


def test_moving_person_camera_and_sun_together_changes_nothing(crowd: list[Group]):
    group = crowd[3]
    turn = torch.from_numpy(Rotation.from_euler("y", 1.1).as_matrix().astype(np.float32))
    away = torch.tensor([3.0, 0.0, -7.0])
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, away
    light = group.cameras.light.clone()
    light[:, :3] = light[:, :3] @ turn.T
    extrinsics = (group.cameras.world_to_camera.double() @ torch.linalg.inv(motion.double())).float()
    cameras = dataclasses.replace(group.cameras, world_to_camera=extrinsics, light=light)
    moved = draw(
        group, WALL, vertices=turn @ group.vertices + away[:, None], normals=turn @ group.normals, cameras=cameras
    )
    # Where an edge snaps to the other side of a sample, a pixel may differ.
    differs = (moved.image - group.drawn.image).abs().amax(-1) > 2e-3
    assert differs.float().mean() < 2e-3
    assert (moved.iuv != group.drawn.iuv).any(-1).float().mean() < 5e-3
    # Without the sun's turn it is another picture.
    assert not torch.allclose(
        draw(group, WALL, vertices=turn @ group.vertices + away[:, None], normals=group.normals, cameras=cameras).image,
        group.drawn.image, atol=0.02,
    )  # fmt: skip


def test_supersampling_does_not_move_the_person(crowd: list[Group]):
    """Silhouettes at 1 and 4 samples have the same middle to a twentieth of a pixel."""
    group = crowd[4]
    background = torch.full((3, 256, 128, 3), WALL)
    middles = []
    for s in (1, 4):
        given = (group.vertices, group.normals, group.dressed, torch.zeros_like(group.texture), group.cameras)
        left = draw_person(background, *given, RasterConfig(supersampling=s)).image[..., 0] / WALL
        middles.append(centre(1 - left))
    torch.testing.assert_close(middles[0], middles[1], atol=0.05, rtol=0)


def centre(cover: Tensor) -> Tensor:
    """Middle (B, 2) of coverage (B, H, W), pixels."""
    total = cover.sum((1, 2))
    x = (cover.sum(1) * (torch.arange(cover.shape[2]) + 0.5)).sum(1) / total
    y = (cover.sum(2) * (torch.arange(cover.shape[1]) + 0.5)).sum(1) / total
    return torch.stack([x, y], 1)


@pytest.fixture(scope="module")
def sunlit(anatomy: Anatomy, wardrobe: list[Outfit]) -> Group:
    """Three people in low sun from behind, who throw long shadows towards the camera, seen wide."""
    group = draw_group(anatomy, wardrobe[5], range(60, 63))
    light = torch.zeros(3, 9)
    light[:, :3] = torch.nn.functional.normalize(
        torch.tensor([[0.5, 1.0, -0.6], [-0.5, 1.0, -0.6], [0.1, 1.0, -0.9]]), dim=1
    )
    light[:, 3:6], light[:, 6:] = 0.9, 0.1
    intrinsics = group.cameras.intrinsics.clone()
    intrinsics[:, :2] *= 0.6
    intrinsics[:, 0, 2] += 26
    intrinsics[:, 1, 2] += 20
    return dataclasses.replace(group, cameras=dataclasses.replace(group.cameras, light=light, intrinsics=intrinsics))


def shadow(group: Group, background: Tensor, ground: Tensor, vertices: Tensor | None = None) -> Tensor:
    vertices = group.vertices if vertices is None else vertices
    pairs = zip(background.numpy(), ground.numpy(), strict=True)
    behind = [Background(image=image, ground=mask, provenance="test") for image, mask in pairs]
    return cast_shadow(behind, vertices, group.cameras)


def test_shadows_only_darken_and_only_the_ground(sunlit: Group):
    background, ground = noise(3, 256, 128, 3) + 0.1, noise(3, 256, 128, seed=1)
    ground[:, :100] = 0
    kept = background.clone()
    shaded = shadow(sunlit, background, ground)
    assert torch.equal(background, kept), "the input is left alone"
    ratio = shaded / background
    assert (ratio <= 1 + 1e-6).all() and (ratio >= 0).all()
    assert (ratio[:, :100] == 1).all()
    assert (ratio < 0.7).any((1, 2, 3)).all()
    # In proportion to how much of a pixel is ground, and alike in all colours.
    full = 1 - shadow(sunlit, torch.ones_like(background), torch.ones_like(ground))
    torch.testing.assert_close(1 - ratio, full * ground[..., None], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "shrink"), [((64, 32), 1), ((64, 32), 4), ((66, 37), 4), ((67, 40), 5)])
def test_darkening_equals_its_torch_twin(size: tuple[int, int], shrink: int):
    background, ground = noise(2, *size, 3), noise(2, *size, seed=1)
    kept_off = noise(2, -(-size[0] // shrink), -(-size[1] // shrink), seed=2)
    image = torch.empty_like(background)
    darken_pixels(*(a.numpy() for a in (background, ground, kept_off)), shrink, image.numpy())
    torch.testing.assert_close(image, darken(background, ground, kept_off, shrink), atol=1e-6, rtol=0)


@pytest.mark.parametrize("times", [1, 3])
def test_shadows_of_vertices_cover_what_those_of_faces_do(crowd: list[Group], times: int):
    """In pictures of any resolution: no holes where vertices lie apart, no rim too much where a pixel holds one."""
    ours, theirs = [], []
    for group in crowd[:20]:
        cameras = dataclasses.replace(
            group.cameras,
            intrinsics=group.cameras.intrinsics * torch.tensor([times, times, 1.0])[:, None],
            height=256 * times,
            width=128 * times,
        )
        fallen = to_camera(group.vertices, cameras.world_to_camera @ shadow_matrix(cameras.light[:, :3]))
        fallen[:, 2].clamp_(min=0.3)
        points = project(fallen, cameras.intrinsics).transpose(1, 2)
        size = cameras.height, cameras.width
        faces = rasterize(points, group.dressed.faces, *size, RasterConfig(supersampling=1)).face >= 0
        coarse = torch.nn.functional.avg_pool2d(faces[:, None].float(), coarseness(cameras))[:, 0]
        ours.append(fallen_on(group.vertices, cameras).flatten(1))
        theirs.append(coarse.flatten(1))
    ours, theirs = torch.cat(ours), torch.cat(theirs)
    assert (theirs.sum(1) > 50).sum() > 30
    assert 0.93 < ours.sum() / theirs.sum() < 1.07
    assert ours[theirs == 1].mean() > 0.93
    assert (ours - theirs).abs().sum() / theirs.sum() < 0.2


def test_nobody_throws_no_shadow(sunlit: Group):
    background, ground = noise(3, 256, 128, 3), torch.ones(3, 256, 128)
    behind = sunlit.vertices + torch.tensor([0.0, 0.0, -40.0])[:, None]
    aside = behind + torch.tensor([60.0, 0.0, 0.0])[:, None]
    torch.testing.assert_close(shadow(sunlit, background, ground, aside), background)


def test_a_closed_sky_gives_a_faint_shadow(sunlit: Group):
    ones, ground = torch.ones(3, 256, 128, 3), torch.ones(3, 256, 128)
    light = sunlit.cameras.light.clone()
    light[:, 3:6], light[:, 6:] = 0, 0.6
    overcast = dataclasses.replace(sunlit, cameras=dataclasses.replace(sunlit.cameras, light=light))
    assert 0.5 < shadow(overcast, ones, ground).min() < 0.9
    assert shadow(sunlit, ones, ground).min() < 0.3


def test_shadows_lie_where_rays_to_the_sun_meet_the_person(sunlit: Group):
    """A slow oracle: from the ground under a pixel towards the sun, against every face."""
    kept_off = 1 - shadow(sunlit, torch.ones(3, 256, 128, 3), torch.ones(3, 256, 128))[..., 0]
    for b in range(3):
        camera = sunlit.cameras.world_to_camera[b].double().numpy()
        intrinsics = sunlit.cameras.intrinsics[b].double().numpy()
        eye = -camera[:3, :3].T @ camera[:3, 3]
        deep, light = torch.nonzero(kept_off[b] > 0.85 * kept_off[b].max()), torch.nonzero(kept_off[b] < 0.02)
        corners = sunlit.vertices[b].T.double().numpy()[sunlit.dressed.faces.numpy()]
        hits = []
        for pixels in (deep, light):
            chosen = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:40]].numpy()
            rays = np.linalg.inv(intrinsics) @ np.stack([chosen[:, 1] + 0.5, chosen[:, 0] + 0.5, np.ones(len(chosen))])
            rays = (camera[:3, :3].T @ rays).T
            down = rays[:, 1] < -1e-6
            ground = eye - rays[down] * (eye[1] / rays[down, 1])[:, None]
            hits.append(
                np.mean([meets(place, sunlit.cameras.light[b, :3].double().numpy(), corners) for place in ground])
            )
        assert hits[0] > 0.9 and hits[1] < 0.05


def meets(start: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> bool:
    """Whether a ray meets any of the triangles (F, 3, 3). Source: Moeller and Trumbore 1997."""
    return bool(np.isfinite(ray_distances(start, direction, corners)).any())


def ray_distances(start: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance (F,) along the ray, in lengths of direction, to each triangle; inf where it misses."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(direction, two)
    det = (one * across).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = start - corners[:, 0]
        u = (offset * across).sum(1) / det
        turned = np.cross(offset, one)
        v = turned @ direction / det
        distance = (two * turned).sum(1) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    return np.where(hit, distance, np.inf)


def test_depth_is_where_rays_meet_the_person(crowd: list[Group]):
    """The depth of a pixel at one sample is the nearest crossing of the ray through its centre."""
    group = crowd[6]
    drawn = draw_person(
        torch.zeros(3, 256, 128, 3), group.vertices, group.normals, group.dressed, group.texture, group.cameras,
        RasterConfig(supersampling=1),
    )  # fmt: skip
    camera = to_camera(group.vertices, group.cameras.world_to_camera)
    rng = np.random.default_rng(0)
    for b in range(3):
        corners = camera[b].T.double().numpy()[group.dressed.faces.numpy()]
        inverse = np.linalg.inv(group.cameras.intrinsics[b].double().numpy())
        rows, columns = np.nonzero(group.coverage[b].numpy() > 0)
        for k in rng.choice(len(rows), 40, replace=False):
            ray = inverse @ [columns[k] + 0.5, rows[k] + 0.5, 1.0]
            nearest = ray_distances(np.zeros(3), ray, corners).min()
            found = drawn.depth[b, rows[k], columns[k]].item()
            assert (
                (np.isinf(nearest) and np.isinf(found))
                or abs(nearest - found) < 2e-3
                or at_an_edge(drawn.depth[b], rows[k], columns[k])
            )


def at_an_edge(depth: Tensor, row: int, column: int) -> bool:
    """Whether the depth jumps, or ends, beside a pixel."""
    around = depth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return bool(around.isinf().any() or around.max() - around.min() > 0.02)


def test_shadows_fall_along_the_sun_onto_the_ground():
    points = noise(2, 3, 50) * 2
    sun = torch.nn.functional.normalize(torch.tensor([[0.3, 0.8, 0.1], [-0.6, 0.4, 0.5]]), dim=1)
    fallen = to_camera(points, shadow_matrix(sun))
    assert fallen[:, 1].abs().max() < 1e-6
    along = torch.nn.functional.normalize(points - fallen, dim=1)
    torch.testing.assert_close((along * sun[:, :, None]).sum(1), torch.ones(2, 50), atol=1e-4, rtol=0)


def test_a_bare_body_in_a_white_texture_is_white_all_over(anatomy: Anatomy, crowd: list[Group]):
    """In sky light alone no covered pixel is darker than rim and ground light make it: no holes, no stray normals."""
    group, dressed = crowd[0], undressed(anatomy)
    vertices, normals, _, _ = stand(anatomy, dressed, group.scenes, [scene.pose for scene in group.scenes])
    light = torch.tensor([[0.0, 1, 0, 0, 0, 0, 1, 1, 1]]).expand(3, 9)
    drawn = draw(
        group, vertices=vertices, normals=normals, dressed=dressed, texture=torch.ones(256, 256, 3), light=light
    )
    inside = (drawn.iuv[..., 0] > 0) & drawn.depth.isfinite()
    left = draw(
        group, WALL, vertices=vertices, normals=normals, dressed=dressed, texture=torch.ones(256, 256, 3), light=light
    )
    whole = inside & ((left.image - drawn.image).amax(-1) < 1e-4)
    assert whole.float().mean() > 0.1
    assert drawn.image[whole].min() > 0.9 * RIM * GROUND_ALBEDO and drawn.image[whole].max() < 1.02
