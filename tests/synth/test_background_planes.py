"""The kernels that draw planes, against a slow oracle: every pixel on its own, in float64, a branch for every mode."""

import numpy as np
import pytest
from numpy.typing import NDArray

from synth.background import View
from synth.background.materials import Material, baked_atlas
from synth.background.planes import FAR, Plane, draw_cutout, draw_planes
from synth.background.planes_numba import LANE, NUM_LEVELS, SIZE, STAINS
from synth.background.site import DECAL, FLOOR, Item, Site, box, lying, shadow_of, upright
from synth.background.surfaces_numba import Mode
from tests.synth.test_background import make_light, make_view

BACKDROP = (0.3, 0.35, 0.4)


def pattern(material: int, level: int, s: NDArray, t: NDArray) -> NDArray[np.float64]:
    """Red, green, blue (ratios) and alpha of a level's texels at (s, t) in tiles, bilinear; (H, W, 4)."""
    texels, offsets = baked_atlas()
    size, start = SIZE >> level, material * offsets[-1] + offsets[level]
    codes = np.ascontiguousarray(texels[start : start + size * (size + 1)]).astype(np.uint32)
    image = codes.view(np.uint8).reshape(size, size + 1, 4)[:, :size].astype(float)
    x, y = s * size - 0.5, t * size - 0.5
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - column)[..., None], (y - row)[..., None]
    upper = image[row % size, column % size] * (1 - fx) + image[row % size, (column + 1) % size] * fx
    lower = image[(row + 1) % size, column % size] * (1 - fx) + image[(row + 1) % size, (column + 1) % size] * fx
    return (upper * (1 - fy) + lower * fy) / (128, 128, 128, 255)


def look_up(plane: Plane, lod: NDArray, u: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:
    """Pattern (H, W, 4) and stains (H, W) of a plane whose rows have the levels lod (H, 1)."""
    blend = np.clip((lod - np.floor(lod) - 0.35) / 0.3, 0, 1)
    s, t = u / plane.tile_m + plane.shift[0], v / plane.tile_m + plane.shift[1]
    found, stains = np.zeros((*u.shape, 4)), np.zeros(u.shape)
    for level in range(NUM_LEVELS):
        share = (np.floor(lod) == level) * (1 - blend) + (np.floor(lod) + 1 == level) * blend
        found += share[..., None] * pattern(plane.material, level, s, t)
        nearest = np.floor(lod) + (blend == 1)
        s_stain, t_stain = u * STAINS / plane.tile_m + plane.shift[0], v * STAINS / plane.tile_m + plane.shift[1]
        here = np.maximum(nearest - 2, 2) == level
        stains += here * pattern(0, level, s_stain, t_stain)[..., 0]
    return found, stains


def shape(plane: Plane, facing: float, along: float, u: NDArray, v: NDArray, alpha: NDArray) -> tuple[NDArray, ...]:
    """Coverage by the pattern, and the shares of sun and sky, by the plane's mode."""
    u0, u1, v0, v1 = plane.extent
    side, height = 2 * (u - u0) / (u1 - u0) - 1, (v - v0) / (v1 - v0)
    match Mode(plane.mode):
        case Mode.BUSH:
            inside = (0.25 - side**2 - height**3 + 1.2 * alpha) * 8 / (1 + 2 * plane.blur)
            sun = 0.25 + 0.4 * along * side + 0.45 * facing + 0.2 * height
            return np.clip(inside, 0, 1), np.maximum(sun, 0), 0.35 + 0.65 * height
        case Mode.POST:
            front = np.sqrt(np.maximum(1 - side**2, 0))
            return alpha, np.maximum(along * side + facing * front, 0), 0.6 + 0.4 * front
        case _:
            return alpha, np.full(u.shape, max(facing, 0.0)), np.ones(u.shape)


def draw_slowly(planes: list[Plane], view: View) -> tuple[NDArray, NDArray]:
    """Image (H, W, 3) and ground (H, W)."""
    projection = view.intrinsics @ view.world_to_camera[:3]
    y, x = np.mgrid[: view.height, : view.width] + 0.5
    clear, sunlit, ground = (np.full(x.shape, value) for value in (1.0, 1.0, 0.0))
    image = np.zeros((*x.shape, 3))
    direction, sun_rgb, sky_rgb = view.light.sun_direction, view.light.sun_rgb, view.light.sky_rgb
    for plane in planes:
        axes = np.array([plane.u_axis, plane.v_axis, plane.origin])
        homography = np.linalg.inv(projection[:, :3] @ axes.T + np.outer(projection[:, 3], (0, 0, 1)))
        uw, vw, w = np.einsum("ij,jhw->ihw", homography, np.stack([x, y, np.ones_like(x)]))
        visible, w = w > 1e-4, np.maximum(w, 1e-4)
        u, v = uw / w, vw / w
        # How u and v change along x and y.
        steps = [[(homography[i, j] - value * homography[2, j]) / w for j in (0, 1)] for i, value in enumerate((u, v))]
        cover = visible * plane.opacity
        u0, u1, v0, v1 = plane.extent
        middle = np.zeros((view.height, 1))
        for value, (low, high), (dx, dy) in zip((u, v), ((u0, u1), (v0, v1)), steps, strict=True):
            width = np.maximum(np.hypot(dx, dy) * (1 + plane.blur), plane.edge_m)
            cover = cover * np.clip(np.minimum(value - low, high - value) / width + 0.5, 0, 1)
        columns = np.arange(view.width)
        middle = (cover * columns).sum(1) / np.maximum(cover.sum(1), 1e-9)
        (ux, uy), (vx, vy) = ([step[np.arange(view.height), middle.astype(int)] for step in pair] for pair in steps)
        lod = 0.25 * np.log2((ux**2 + vx**2) * (uy**2 + vy**2)) + np.log2(SIZE / plane.tile_m) + plane.blur
        found, stains = look_up(plane, np.clip(lod, 0, NUM_LEVELS - 1.001)[:, None], u, v)
        if plane.detail == 0:
            found[..., 3] = 1
        normal = np.cross(plane.u_axis, plane.v_axis)
        normal *= np.sign((view.camera_position - plane.origin) @ normal) / np.linalg.norm(normal)
        part, sun, sky = shape(plane, normal @ direction, plane.u_axis @ direction, u, v, found[..., 3])
        weight = cover * part
        if plane.mode == Mode.SHADOW:
            sunlit = sunlit * (1 - weight)
            continue
        weight = weight * clear
        clear = clear - weight
        ground += weight * (plane.mode == Mode.GROUND)
        weight = weight * (1 - plane.grime * (1 - np.clip(2.5 * (v - v0), 0, 1)) ** 2)
        weight = weight * (1 + plane.macro * (stains - 1))
        up = 0.5 + 0.5 * normal[1]
        diffuse = up * sky_rgb + (1 - up) * 0.2 * (sun_rgb * direction[1] + sky_rgb)
        incident = (sun * sunlit)[..., None] * sun_rgb + sky[..., None] * diffuse
        incident = (1 - plane.glow) * incident + plane.glow * (sky_rgb + 0.3 * sun_rgb)
        albedo = np.array(plane.tint) * np.maximum(1 + plane.detail * (found[..., :3] - 1), 0)
        image += weight[..., None] * albedo * incident
    return np.clip(image + clear[..., None] * BACKDROP, 0, 1), ground


def street(site: Site) -> dict[str, list[Item]]:
    """Scenes that between them use every mode and every property of a plane; each stands on plain ground."""
    grey, everywhere = (0.4, 0.35, 0.3), (-FAR, FAR)
    floor = lying(site, FLOOR, everywhere, everywhere, Material.PLAIN, grey, detail=0.0)
    left, right = site.span_at(2.0)
    middle = 0.5 * (left + right)
    across = (left + 0.3 * (right - left), left + 0.8 * (right - left))
    post = upright(
        site, 2.0, (middle - 0.2, middle + 0.2), (0.0, 1.5), Material.BARK, grey, mode=Mode.POST, to_camera=True
    )
    fence = upright(site, 1.5, across, (0.1, 1.2), Material.BARS, grey, opacity=0.8)
    tiles = {"macro": 0.6, "detail": 0.9, "shift": (0.3, 0.7)}
    bush = {"mode": Mode.BUSH, "tile_m": 1.2, "grime": 0.6, "blur": 0.4}
    return {
        "ground": [lying(site, FLOOR, everywhere, everywhere, Material.SLABS, grey, **tiles)],
        "wall": [
            upright(site, 3.0, everywhere, (0.0, FAR), Material.BRICK, grey, macro=0.3, grime=0.5, blur=0.7), floor
        ],
        "glass": [upright(site, 2.5, everywhere, (0.0, FAR), Material.SHOP, grey, glow=0.7), floor],
        "bush": [upright(site, 2.0, across, (0.0, 1.4), Material.FOLIAGE, grey, **bush), floor],
        "post": [post, floor],
        "shadows": [
            fence, floor, shadow_of(site, fence, 0.9),
            lying(site, DECAL + 1, everywhere, (0.5, FAR), Material.DAPPLE, grey, mode=Mode.SHADOW, edge_m=1.0),
        ],
    }  # fmt: skip


@pytest.mark.parametrize("scene", ["ground", "wall", "glass", "bush", "post", "shadows"])
@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_every_mode_agrees_with_the_oracle(scene: str, yaw: float) -> None:
    light = make_light(direction=tuple(np.array([0.3, 0.7, 0.55]) / np.linalg.norm([0.3, 0.7, 0.55])))
    view = make_view(azimuth=0.4, light=light)
    planes = [plane for _, plane in sorted(street(Site.behind(view, yaw))[scene], key=lambda item: item[0])]
    image, ground = draw_planes(planes, view, baked_atlas(), BACKDROP)
    expected, expected_ground = draw_slowly(planes, view)
    assert np.abs(ground - expected_ground).mean() < 2e-3
    error = np.abs(image - expected)
    # Weights of texels are in steps of 1/16 and codes round down. Half a texel of shift fails every scene.
    assert error.mean() < 3e-3
    assert np.quantile(error, 0.999) < 0.02


def test_a_picture_wider_than_the_scratch_has_no_seam() -> None:
    width = 2 * LANE + 40
    view = make_view(height=64, width=width)
    planes = [plane for _, plane in sorted(street(Site.behind(view, 0.4))["wall"], key=lambda item: item[0])]
    image, ground = draw_planes(planes, view, baked_atlas(), BACKDROP)
    expected, expected_ground = draw_slowly(planes, view)
    assert image.shape == (64, width, 3) and ground.shape == (64, width)
    for seam in (LANE, 2 * LANE):
        columns = slice(seam - 2, seam + 2)
        assert np.abs(ground - expected_ground)[:, columns].max() < 0.15
        assert np.abs(image - expected)[:, columns].mean() < 2e-3


def test_a_cutout_over_a_backdrop_is_the_picture() -> None:
    view = make_view(width=300)
    site = Site.behind(view, 0.3)
    grey, green = (0.4, 0.4, 0.4), (0.1, 0.2, 0.1)
    items = [
        *box(site, (0.0, 0.5), (-0.4, 0.3), (0.0, 0.8), Material.BRICK, grey, grime=0.4),
        upright(site, 1.0, (-1.0, 1.0), (0.0, 1.1), Material.RAILS, grey),
        upright(site, 2.0, (-0.5, 1.5), (0.0, 1.5), Material.FOLIAGE, green, mode=Mode.BUSH),
        upright(site, 0.2, (0.5, 0.6), (0.0, 2.0), Material.BARK, grey, mode=Mode.POST, to_camera=True),
    ]
    planes = [plane for _, plane in sorted(items, key=lambda item: item[0])]
    backdrop = (0.3, 0.1, 0.5)
    image, _ = draw_planes(planes, view, baked_atlas(), backdrop)
    colour, alpha, depth = draw_cutout(planes, view, baked_atlas())
    assert np.abs(colour + (1 - alpha[..., None]) * np.array(backdrop) - image).max() < 1e-5
    assert 0.1 < (alpha > 0.5).mean() < 0.9 and ((alpha > 0) <= np.isfinite(depth)).all()
