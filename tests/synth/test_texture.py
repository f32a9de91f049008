"""Painted textures: edges at texel precision, no seams, nothing unpainted in reach; textures from a folder."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from synth.accessory import patch_texels
from synth.anatomy import ANKLE, HIP, SHOULDER, WRIST, Anatomy
from synth.canvas import Dye, canvas_of, develop, lay, value_noise
from synth.dress import dress
from synth.face import features_of
from synth.outfit import Accessory, Cloth, Hair, Lower, Outfit, Upper
from synth.shade import sample_texture
from synth.texture import paint
from synth.texture_files import TextureFolder

# Red, green and blue stay in their own channels whatever light and dark is painted over them.
SKIN, TOP, TROUSERS = (0.8, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 0.8)
ARMS, TRUNK, LEGS = (15, 16, 17, 18, 19, 20, 21, 22), (1, 2), (7, 8, 9, 10, 11, 12, 13, 14)


def cloth(colour=TOP, *, pattern: str = "plain", second=(0.8, 0.8, 0.8), scale_m: float = 0.1) -> Cloth:
    return Cloth(colour=colour, second=second, pattern=pattern, scale_m=scale_m, folds=0.0, seed=5)


def top(**changes) -> Upper:
    given = dict(
        kind="tshirt", sleeve=0.4, hem=1.0, neck_m=0.08, vee_m=0.0, ease_m=0.012, cling_per_m=1.0, flare=0.0,
        sleeve_width_m=0.07, open_m=0.0, zip=False, hood=False, collar=False, cloth=cloth(),
    )  # fmt: skip
    return Upper(**given | changes)


def trousers(**changes) -> Lower:
    given = dict(
        kind="trousers", joined=False, length=0.6, ease_m=0.012, hem_radius_m=0.08, flare=0.0, cloth=cloth(TROUSERS)
    )
    return Lower(**given | changes)


@pytest.fixture
def simple(wardrobe: list[Outfit]) -> Outfit:
    """Red skin, green T-shirt, blue trousers, bald, in black shoes."""
    hair = Hair(colour=(0.0, 0.0, 0.0), volume_m=0.0, fall_m=0.0, wrap_rad=1.5, tied="no", bald=True, seed=0)
    return dataclasses.replace(
        wardrobe[0], skin=SKIN, legs=SKIN, lip=SKIN, beard=0.0, hair=hair, inner=top(), outer=None, lower=trousers(),
        shoe=(0.0, 0.0, 0.0), sole=(0.0, 0.0, 0.0), shaft_m=0.0, accessories=(),
    )  # fmt: skip


def texels(anatomy: Anatomy, square: np.ndarray) -> np.ndarray:
    """Colours (N, 3) in [0, 1] of the atlas's texels."""
    size = len(square)
    row, column = (1 - anatomy.atlas.uv[:, 1]) * size, anatomy.atlas.uv[:, 0] * size
    return square[row.astype(int), column.astype(int)] / 255


def assert_edge(distance: np.ndarray, share: np.ndarray, texel_m: np.ndarray) -> None:
    """Cloth is pure up to its edge (distance 0, metres) and fades out over the one texel beyond it."""
    assert (share[distance > 0] > 0.99).all()
    assert (share[distance < -texel_m] < 0.01).all()
    ramp = (distance < 0) & (distance > -texel_m)
    assert ramp.sum() > 30
    # A tenth of a texel: an edge half a texel off, or one that is not anti-aliased, is far from it.
    assert np.abs(share - distance / texel_m - 1)[ramp].max() < 0.1


@pytest.mark.parametrize("sleeve", [0.3, 0.47, 0.85])
def test_a_sleeve_ends_where_it_says_to_a_texel(anatomy: Anatomy, simple: Outfit, sleeve: float):
    colours = texels(anatomy, paint(anatomy, dataclasses.replace(simple, inner=top(sleeve=sleeve))))
    points, joints = anatomy.atlas.points, anatomy.joints
    end = joints[SHOULDER, 0] + 0.01 + sleeve * (joints[WRIST, 0] - joints[SHOULDER, 0])
    x = np.abs(points.position[:, 0])
    arm = np.isin(points.surface, ARMS) & (np.abs(x - end) < 0.06)
    # Within the edge a seam darkens the cloth: there the missing red of the skin tells.
    share = np.where(x < end, 1 - colours[:, 0] / SKIN[0], colours[:, 1] / TOP[1])
    assert_edge((end - x)[arm], share[arm], anatomy.atlas.texel_m[arm])


@pytest.mark.parametrize("length", [0.4, 0.7])
def test_a_trouser_leg_ends_where_it_says_to_a_texel(anatomy: Anatomy, simple: Outfit, length: float):
    colours = texels(anatomy, paint(anatomy, dataclasses.replace(simple, lower=trousers(length=length))))
    points, joints = anatomy.atlas.points, anatomy.joints
    end = joints[HIP, 1] + length * (joints[ANKLE, 1] - joints[HIP, 1])
    y = points.position[:, 1]
    leg = np.isin(points.surface, LEGS) & (np.abs(y - end) < 0.08)
    share = np.where(y > end, 1 - colours[:, 0] / SKIN[0], colours[:, 2] / TROUSERS[2])
    assert_edge((y - end)[leg], share[leg], anatomy.atlas.texel_m[leg])


def test_the_top_lies_over_the_trousers(anatomy: Anatomy, simple: Outfit):
    colours, points = texels(anatomy, paint(anatomy, simple)), anatomy.atlas.points
    y, trunk = points.position[:, 1], np.isin(points.surface, TRUNK)
    overlap = trunk & (y > anatomy.crotch_y + 0.02) & (y < anatomy.waist_y - 0.05)
    assert (colours[overlap, 1] > 0.4).all() and (colours[overlap, 2] == 0).all()
    assert (colours[(y < anatomy.crotch_y - 0.02) & np.isin(points.surface, (7, 8, 9, 10)) & (y > -0.3), 2] > 0.4).all()


def test_an_open_jacket_shows_the_shirt(anatomy: Anatomy, simple: Outfit):
    jacket = top(kind="jacket", sleeve=1.0, hem=1.1, neck_m=0.066, open_m=0.06, cloth=cloth(TROUSERS))
    colours = texels(anatomy, paint(anatomy, dataclasses.replace(simple, outer=jacket)))
    position, trunk = anatomy.atlas.points.position, np.isin(anatomy.atlas.points.surface, TRUNK)
    band = trunk & (position[:, 1] > anatomy.waist_y) & (position[:, 1] < anatomy.armpit_y)
    middle = band & (np.abs(position[:, 0]) < 0.02)
    front = middle & (position[:, 2] > 0.05)
    back = middle & (position[:, 2] < -0.05)
    assert (colours[front, 1] > 0.4).all() and (colours[back, 2] > 0.4).all()
    assert (colours[band & (np.abs(position[:, 0]) > 0.12), 2] > 0.4).all()


def seams(anatomy: Anatomy, surfaces: tuple[int, ...]) -> np.ndarray:
    """uv (K, 2, 2) of the middles of edges whose two faces lie apart in the atlas, on both sides of the seam."""
    body = anatomy.body
    faces, uv = body.faces.numpy(), body.uv.numpy()[body.face_uv.numpy()]
    first, found = {}, []
    for face in np.flatnonzero(np.isin(anatomy.surface.surface, surfaces)):
        for k in range(3):
            order = sorted((k, (k + 1) % 3), key=lambda corner: faces[face, corner])
            edge = tuple(faces[face, order])
            here = uv[face, order].mean(0)
            if edge in first and np.abs(first[edge] - here).max() > 0.004:
                found.append((first[edge], here))
            first.setdefault(edge, here)
    return np.array(found)


@pytest.mark.parametrize("surfaces", [TRUNK, ARMS, LEGS], ids=["trunk", "arms", "legs"])
@pytest.mark.parametrize("pattern", ["plain", "stripe"])
def test_a_stripe_runs_on_across_the_seams(anatomy: Anatomy, simple: Outfit, surfaces: tuple[int, ...], pattern: str):
    """Colours on both sides of every seam of the atlas are nearly the same, though texels lie far apart."""
    dyed = cloth((0.1, 0.1, 0.1), pattern=pattern, second=(0.9, 0.9, 0.9))
    outfit = dataclasses.replace(simple, inner=top(sleeve=1.0, cloth=dyed), lower=trousers(length=1.0, cloth=dyed))
    texture = torch.from_numpy(paint(anatomy, outfit).astype(np.float32) / 255)
    places = torch.from_numpy(seams(anatomy, surfaces).astype(np.float32))
    assert len(places) > 20
    one, other = (sample_texture(texture, places[:, side]) for side in (0, 1))
    jump = (one - other).abs().amax(1)
    assert jump.mean() < 0.08 and (jump > 0.6).float().mean() < 0.01
    if pattern == "stripe":
        unrelated = (one - other.roll(len(places) // 3, 0)).abs().amax(1)
        assert one.std() > 0.15 and unrelated.mean() > 2.5 * jump.mean(), "the seam crosses dark and light stripes"


def test_stripes_are_level_and_as_wide_as_they_say(anatomy: Anatomy, simple: Outfit):
    """Whatever the atlas does, a stripe's colour is a function of the height alone, of the right period."""
    dyed = cloth((0.1, 0.1, 0.1), pattern="stripe", second=(0.9, 0.9, 0.9), scale_m=0.08)
    colours = texels(anatomy, paint(anatomy, dataclasses.replace(simple, inner=top(cloth=dyed))))[:, 0]
    points = anatomy.atlas.points
    y = points.position[:, 1]
    band = (
        np.isin(points.surface, TRUNK)
        & (y > anatomy.waist_y)
        & (y < anatomy.armpit_y)
        & (np.abs(points.position[:, 0]) < 0.12)
    )
    phase = (y[band] / 0.08) % 1.0
    light = np.array([np.median(colours[band][(phase * 20).astype(int) == k]) for k in range(20)])
    assert light.min() < 0.15 and light.max() > 0.85
    clear = np.abs(light[(phase * 20).astype(int)] - 0.5) > 0.38
    assert clear.mean() > 0.6
    assert (np.abs(colours[band] - light[(phase * 20).astype(int)])[clear] < 0.2).mean() > 0.95


def covered(anatomy: Anatomy, outfit: Outfit) -> np.ndarray:
    """Texels (S, S) of the body with its padding and of what is carried."""
    mapped = anatomy.atlas.fill >= 0
    for accessory in outfit.accessories:
        for patch in ("cap", "trim") if accessory.kind == "cap" else ("bag", "trim"):
            mapped[patch_texels(anatomy, patch)] = True
    return mapped


def bright(outfit: Outfit) -> Outfit:
    """The outfit in pale colours, so that black means unpainted."""
    pale = (0.9, 0.85, 0.8)

    def dyed(garment):
        colours = dict(colour=pale, second=pale)
        return garment and dataclasses.replace(garment, cloth=dataclasses.replace(garment.cloth, folds=0.0, **colours))

    carried = tuple(dataclasses.replace(a, colour=pale, second=pale) for a in outfit.accessories)
    return dataclasses.replace(
        outfit, skin=pale, legs=pale, shoe=pale, sole=pale, hair=dataclasses.replace(outfit.hair, colour=pale),
        inner=dyed(outfit.inner), outer=dyed(outfit.outer), lower=dyed(outfit.lower), accessories=carried,
    )  # fmt: skip


def test_black_where_nothing_is_mapped_and_nowhere_else(anatomy: Anatomy, wardrobe: list[Outfit]):
    for outfit in map(bright, wardrobe[:10]):
        square = paint(anatomy, outfit)
        assert square.shape == (256, 256, 3) and square.dtype == np.uint8
        mapped = covered(anatomy, outfit)
        assert (square[~mapped] == 0).all()
        assert (square[mapped].max(1) > 40).mean() > 0.999


def test_no_look_up_reaches_unpainted_texels(anatomy: Anatomy, wardrobe: list[Outfit]):
    """Bilinear samples anywhere on any face of a dressed person mix painted texels alone."""
    rng = np.random.default_rng(0)
    for outfit in wardrobe[:10]:
        painted = torch.from_numpy((paint(anatomy, bright(outfit)).max(-1) > 0).astype(np.float32))[..., None].expand(
            -1, -1, 3
        )
        corner = dress(anatomy, outfit).corner[..., :2]
        weights = torch.from_numpy(rng.dirichlet([0.4] * 3, (4, len(corner))).astype(np.float32))
        places = torch.einsum("pfk,fkc->pfc", weights, corner).reshape(-1, 2)
        assert (sample_texture(painted, places) > 0.999).all(1).float().mean() > 0.9995


def test_the_padding_repeats_the_border(anatomy: Anatomy, wardrobe: list[Outfit]):
    """Each texel within four of the body has the colour of its nearest mapped one."""
    square, fill = paint(anatomy, dataclasses.replace(wardrobe[1], accessories=())), anatomy.atlas.fill
    own = np.zeros(fill.shape, bool)
    row = ((1 - anatomy.atlas.uv[:, 1]) * 256).astype(int)
    column = (anatomy.atlas.uv[:, 0] * 256).astype(int)
    own[row, column] = True
    r, c = np.nonzero(own)
    checked = 0
    for i, j in np.argwhere((fill >= 0) & ~own)[::37]:
        distance = np.hypot(r - i, c - j)
        nearest = np.flatnonzero(distance == distance.min())
        assert distance.min() <= 4
        assert (square[i, j] == square[r[nearest], c[nearest]]).all(1).any()
        checked += 1
    assert checked > 50
    far = np.argwhere(fill < 0)[::97]
    assert all(np.hypot(r - i, c - j).min() > 4 for i, j in far)


def test_painting_is_repeatable_in_any_order(anatomy: Anatomy, wardrobe: list[Outfit]):
    forwards = [paint(anatomy, outfit) for outfit in wardrobe[:6]]
    backwards = [paint(anatomy, outfit) for outfit in wardrobe[5::-1]][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one, other)


def test_carried_things_have_their_own_colours(anatomy: Anatomy, simple: Outfit):
    """A bag changes its rectangles and no texel of the body."""
    bag = Accessory(kind="backpack", side="left", size=1.0, colour=(0.9, 0.1, 0.1), second=(0.1, 0.1, 0.9), seed=3)
    without, with_bag = paint(anatomy, simple), paint(anatomy, dataclasses.replace(simple, accessories=(bag,)))
    changed = (without != with_bag).any(-1)
    assert not changed[anatomy.atlas.fill >= 0].any()
    rows, columns = patch_texels(anatomy, "bag")
    assert changed[rows, columns].all()
    assert with_bag[rows, columns].reshape(-1, 3).mean(0).argmax() == 0, "red"


def test_a_face_has_eyes_mouth_and_hair(anatomy: Anatomy, wardrobe: list[Outfit]):
    """Dark pupils at the keypoints, red lips below the nose, hair on the crown, skin on the cheeks."""
    outfit = dataclasses.replace(
        wardrobe[0], skin=(0.85, 0.67, 0.55), lip=(0.8, 0.3, 0.3), beard=0.0, accessories=(),
        hair=Hair(colour=(0.1, 0.3, 0.1), volume_m=0.02, fall_m=0.0, wrap_rad=1.5, tied="no", bald=False, seed=1),
    )  # fmt: skip
    front = (anatomy.atlas.points.normal[:, 2] > 0.3) | (anatomy.atlas.points.position[:, 1] > anatomy.crown_y - 0.03)
    colours, position = texels(anatomy, paint(anatomy, outfit))[front], anatomy.atlas.points.position[front]
    nose, left_eye, right_eye = anatomy.vertices.position[anatomy.body.face_keypoints.numpy()[:3]]

    def at(place: np.ndarray, count: int = 3) -> np.ndarray:
        return colours[np.linalg.norm(position - place, axis=1).argsort()[:count]].mean(0)

    cheek = at(nose + [0.045, 0.0, -0.03])
    assert np.abs(cheek - outfit.skin).max() < 0.12
    assert at(left_eye).sum() < 0.75 * cheek.sum() and at(right_eye).sum() < 0.75 * cheek.sum()
    mouth = at(nose - [0.0, 0.75 * (left_eye[1] - nose[1]), 0.01])
    assert mouth[0] / mouth[1] > 1.2 * cheek[0] / cheek[1]
    crown = colours[position[:, 1] > anatomy.crown_y - 0.03]
    assert (crown[:, 1] > crown[:, 0]).mean() > 0.95


def test_laying_colour_is_blending(anatomy: Anatomy):
    """Against arrays in double precision; texels off the canvas keep their colour."""
    rng, canvas = np.random.default_rng(0), canvas_of(anatomy, "feet")
    colour, count = rng.random((3, len(anatomy.atlas.points)), np.float32), len(canvas.index)
    mix, light = rng.random(count, np.float32), rng.uniform(0.5, 1.5, count).astype(np.float32)
    alpha = np.clip(rng.uniform(-0.5, 1.5, count), 0, 1).astype(np.float32)
    first, second = np.array((0.2, 0.5, 0.9)), np.array((0.7, 0.1, 0.3))
    expected = colour.astype(float)
    above = (first[:, None] + mix * (second - first)[:, None]) * light
    expected[:, canvas.index] += alpha * (above - expected[:, canvas.index])
    lay(colour, canvas, alpha, Dye(first=tuple(first), second=tuple(second), mix=mix, light=light))
    np.testing.assert_allclose(colour, expected, atol=1e-6)


def test_noise_is_a_hash_at_whole_places_and_smooth_between():
    """Against one place at a time in plain Python; on both sides of 0, and in cells far from it."""
    places = np.random.default_rng(0).uniform(-150, 150, (200, 3)).astype(np.float32)
    for seed in (1, 6):
        expected = [slow_noise(place.tolist(), seed) for place in places]
        np.testing.assert_allclose(value_noise(np.ascontiguousarray(places.T), seed), expected, atol=1e-5)
        assert np.std(expected) > 0.1


def slow_noise(place: list[float], seed: int) -> float:
    """The hashes of the eight corners around a place (3), each weighted by smooth steps along the axes."""
    total = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        value, weight = seed, 1.0
        for coordinate, up in zip(place, corner, strict=True):
            value = ((value ^ (math.floor(coordinate) + up + 1000)) * 0x9E3779B1) % 2**32
            value ^= value >> 15
            step = coordinate - math.floor(coordinate)
            step = step * step * (3 - 2 * step)
            weight *= step if up else 1 - step
        total += weight * (value % 2**16) / 65535
    return total


def test_an_edge_fades_over_the_texel_beyond_it(anatomy: Anatomy):
    canvas = canvas_of(anatomy, "feet")
    for texels, alpha in ((-1.5, 0.0), (-0.75, 0.25), (-0.25, 0.75), (0.0, 1.0), (3.0, 1.0)):
        np.testing.assert_allclose(canvas.edge(texels * canvas.texel_m), alpha, atol=1e-6)


def test_colours_are_rounded_into_the_square(anatomy: Anatomy):
    """To the nearest of 256, clipped, wherever the atlas has the texel; black elsewhere."""
    rng, fill = np.random.default_rng(0), anatomy.atlas.fill
    colour = rng.uniform(-0.3, 1.3, (3, len(anatomy.atlas.points))).astype(np.float32)
    expected = np.where(fill[..., None] >= 0, colour.T.astype(float)[fill].clip(0, 1) * 255, 0)
    square = develop(colour, fill)
    assert square.dtype == np.uint8 and square.shape == (*fill.shape, 3)
    assert np.abs(square - expected).max() < 0.501
    assert (square[fill < 0] == 0).all()


def test_features_are_laid_one_over_the_other(anatomy: Anatomy):
    """All shares at once give what seven ellipses give that are blended one after the other onto the face."""
    rng, points, features = np.random.default_rng(0), anatomy.atlas.points, features_of(anatomy)
    nose, left_eye = anatomy.vertices.position[anatomy.body.face_keypoints.numpy()[:2]]
    x, y = np.abs(points.position[:, 0]), points.position[:, 1]
    mouth_y, eye_x, eye_y = nose[1] - 0.75 * (left_eye[1] - nose[1]), left_eye[0], left_eye[1]
    centres = [(eye_x, eye_y + 0.002), (eye_x, eye_y), (eye_x, eye_y), (eye_x, eye_y + 0.023)]
    centres += [(0.008, nose[1] - 0.012), (0.0, mouth_y), (0.0, mouth_y)]
    radii = [(0.024, 0.016), (0.015, 0.0075), (0.0075, 0.008), (0.021, 0.005), (0.006, 0.004)]
    radii += [(0.025, 0.0085), (0.022, 0.0022)]
    front = np.isin(points.surface, (23, 24)) & (points.normal[:, 2] > 0.1)
    palette, colour = rng.random((7, 3)), rng.random((3, len(points)))
    expected = colour.copy()
    for (cx, cy), (rx, ry), paint_colour in zip(centres, radii, palette, strict=True):
        t = np.clip((1.35 - np.hypot((x - cx) / rx, (y - cy) / ry)) / 0.7, 0, 1)
        expected += front * t * t * (3 - 2 * t) * (paint_colour[:, None] - expected)
    colour[:, features.index] = features.skin * colour[:, features.index] + palette.T @ features.shares
    np.testing.assert_allclose(colour, expected, atol=1e-4)
    assert np.abs(features.shares).max(1).min() > 0.5, "each feature shows somewhere"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three textures, two of them larger than needed."""
    rng = np.random.default_rng(0)
    (tmp_path / "women").mkdir()
    for name, size in (("b.png", 256), ("a.jpg", 512), ("women/c.JPG", 1024)):
        small = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(small).resize((size, size), Image.Resampling.NEAREST).save(tmp_path / name)
    (tmp_path / "readme.txt").write_text("not a picture")
    return tmp_path


def test_a_folder_of_textures_is_indexed_and_drawn(folder: Path):
    textures = TextureFolder.from_folder(folder, "CC0")
    assert [path.name for path in textures.paths] == ["a.jpg", "b.png", "c.JPG"] and textures.licence == "CC0"
    names = set()
    for seed in range(20):
        square, name = textures.read(np.random.default_rng(seed))
        again, same = textures.read(np.random.default_rng(seed))
        assert square.shape == (256, 256, 3) and square.dtype == np.uint8 and name == same
        np.testing.assert_array_equal(square, again)
        names.add(name)
    assert names == {"a.jpg", "b.png", "c.JPG"}


def test_a_large_texture_is_reduced_by_averaging(tmp_path: Path):
    large = np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    square, _ = TextureFolder.from_folder(tmp_path, "CC0").read(np.random.default_rng(0))
    expected = large.reshape(256, 2, 256, 2, 3).mean((1, 3))
    assert np.abs(square - expected).max() <= 1


@pytest.mark.parametrize("size", [(256, 255), (512, 256), (128, 128), (255, 255)])
def test_a_texture_of_odd_size_is_named(folder: Path, size: tuple[int, int]):
    Image.new("RGB", size).save(folder / "odd.png")
    with pytest.raises(ValueError, match=rf"odd.png is {size[0]} x {size[1]}.*square and at least 256"):
        TextureFolder.from_folder(folder, "CC0")


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0"])
def test_an_unreadable_texture_is_named(folder: Path, data: bytes):
    (folder / "broken.jpg").write_bytes(data)
    with pytest.raises(ValueError, match="broken.jpg cannot be read"):
        TextureFolder.from_folder(folder, "CC0")


@pytest.mark.parametrize("name", ["a.jpg", "b.png"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_truncated_texture_is_named_when_drawn(folder: Path, name: str, share: float):
    """The header is whole, so it is indexed; reading it must not give a half-grey person."""
    for path in folder.rglob("*.*"):
        if path.name != name:
            path.unlink()
    path = folder / name
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    textures = TextureFolder.from_folder(folder, "CC0")
    with pytest.raises(ValueError, match=f"{name} cannot be decoded"):
        textures.read(np.random.default_rng(0))


def test_a_texture_that_is_gone_is_named(folder: Path):
    textures = TextureFolder.from_folder(folder, "CC0")
    for path in textures.paths:
        path.unlink()
    with pytest.raises(ValueError, match="cannot be decoded"):
        textures.read(np.random.default_rng(0))


def test_missing_and_empty_folders_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        TextureFolder.from_folder(tmp_path / "nowhere", "CC0")
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(FileNotFoundError, match="holds no .jpg or .png"):
        TextureFolder.from_folder(tmp_path, "CC0")


def test_textures_need_their_licence(folder: Path):
    with pytest.raises(ValueError, match="--texture-licence"):
        TextureFolder.from_folder(folder, "")
