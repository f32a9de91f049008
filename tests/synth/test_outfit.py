"""Wardrobes: repeatable, hardly ever the same twice, decent, and coloured like a street."""

import collections
import colorsys
import dataclasses
import itertools
import json

import numpy as np
import pytest

from synth.anatomy import HIP, KNEE, Anatomy
from synth.dress import worn_uppers
from synth.garment import hem_y, lower_field, upper_field
from synth.outfit import Outfit, sample_outfit
from synth.palette import pick
from synth.seeding import generator
from synth.texture import paint

# Of 10^6 equally likely outfits, 4,000 draws would be all different once in 3,000 times.
MANY = 4000


@pytest.fixture(scope="module")
def many() -> list[Outfit]:
    return [sample_outfit(generator(0, index, "outfit")) for index in range(MANY)]


def cloths(outfit: Outfit) -> list:
    return [garment.cloth for garment in (outfit.inner, outfit.outer, outfit.lower) if garment]


def seen_from_afar(outfit: Outfit) -> tuple:
    """What a camera could tell apart: no seeds, colours in 8 steps, cuts in steps of 0.2, patterns by name."""

    def colour(rgb) -> tuple:
        return tuple((np.array(rgb) * 8).astype(int).tolist())

    def garment(one) -> tuple:
        return one and (
            one.kind,
            one.cloth.pattern,
            colour(one.cloth.colour),
            colour(one.cloth.second),
            round(5 * getattr(one, "hem", 0)),
        )

    carried = tuple((a.kind, a.side, colour(a.colour)) for a in outfit.accessories)
    hair = (outfit.hair.bald, outfit.hair.tied, round(outfit.hair.fall_m, 1), colour(outfit.hair.colour))
    return (
        garment(outfit.inner),
        garment(outfit.outer),
        garment(outfit.lower),
        carried,
        hair,
        colour(outfit.skin),
        colour(outfit.shoe),
    )


def test_picks_follow_their_shares():
    """As often as `rng.choice` would, for shares that do not sum to 1, and never what has none."""
    rng, shares = np.random.default_rng(0), {"a": 1.0, "b": 0.0, "c": 2.5, "d": 0.5}
    drawn = collections.Counter(pick(rng, shares) for _ in range(4000))
    assert drawn["b"] == 0
    for name in "acd":
        assert drawn[name] / 4000 == pytest.approx(shares[name] / 4, abs=0.03)


def test_the_same_seed_gives_the_same_outfit():
    for index in (0, 1, 17):
        assert sample_outfit(generator(0, index, "outfit")) == sample_outfit(generator(0, index, "outfit"))
    assert sample_outfit(generator(0, 0, "outfit")) != sample_outfit(generator(1, 0, "outfit"))


def test_there_are_more_than_a_million_outfits(many: list[Outfit]):
    assert len(set(many)) == MANY
    # Alike to the eye are fewer pairs than among a million equally likely looks: n^2 / (2 * 10^6), and some luck.
    looks = [seen_from_afar(outfit) for outfit in many]
    assert MANY - len(set(looks)) <= 14


def test_every_season_and_kind_of_garment_is_worn(many: list[Outfit]):
    count = {name: sum(name in parts(outfit) for outfit in many) for name in WORN}
    assert min(count.values()) >= 20, count
    assert {outfit.season for outfit in many} == {"summer", "mild", "winter"}
    feminine = np.mean([outfit.feminine for outfit in many])
    assert 0.47 < feminine < 0.53


WORN = (
    "tank tshirt shirt longsleeve sweater hoodie dress jacket coat down trousers leggings shorts skirt "
    "backpack shoulder_bag handbag cap plain stripe check print logo block wash tail knot long bald"
).split()


def parts(outfit: Outfit) -> set[str]:
    hair = {outfit.hair.tied, "long" if outfit.hair.fall_m > 0.1 else "", "bald" if outfit.hair.bald else ""}
    kinds = {garment.kind for garment in (outfit.inner, outfit.outer, outfit.lower, *outfit.accessories) if garment}
    return hair | kinds | {cloth.pattern for cloth in cloths(outfit)}


def test_half_of_the_people_carry_something(many: list[Outfit]):
    carried = np.mean([any(a.kind != "cap" for a in outfit.accessories) for outfit in many])
    assert 0.4 < carried < 0.6
    assert max(sum(a.kind != "cap" for a in outfit.accessories) for outfit in many) == 1, "one bag at a time"


def test_an_outfit_is_plain_json(many: list[Outfit]):
    for outfit in many[:50]:
        record = outfit.to_dict()
        assert json.loads(json.dumps(record))["lower"]["kind"] == outfit.lower.kind
        assert set(record) == {field.name for field in dataclasses.fields(Outfit)}


def test_colours_are_a_streets(many: list[Outfit]):
    """Mostly dark or muted; about one garment in five saturated (DESIGN, "What real crops look like")."""
    rgb = np.array([cloth.colour for outfit in many for cloth in cloths(outfit)])
    assert rgb.min() >= 0 and rgb.max() <= 1
    chroma, value = np.ptp(rgb, axis=1), rgb.max(1)
    hsv = np.array([colorsys.rgb_to_hsv(*colour) for colour in rgb])
    saturated = (hsv[:, 1] > 0.5) & (hsv[:, 2] > 0.33)
    assert np.mean((value < 0.35) | (chroma < 0.25)) > 0.6
    assert 0.12 < saturated.mean() < 0.28
    # Saturated ones come in every hue.
    assert np.histogram(hsv[saturated, 0], 6, (0, 1))[0].min() > 0.05 * saturated.sum()


def test_skin_runs_from_light_to_dark(many: list[Outfit]):
    luma = np.array([outfit.skin for outfit in many]) @ [0.2126, 0.7152, 0.0722]
    assert np.quantile(luma, 0.05) < 0.35 and np.quantile(luma, 0.95) > 0.68
    skin = np.array([outfit.skin for outfit in many])
    assert (skin[:, 0] > skin[:, 1]).all() and (skin[:, 1] > skin[:, 2]).all()


def private(anatomy: Anatomy) -> np.ndarray:
    """Texels (N,) that are never bare: torso below the neckline and armholes, hips, upper third of the thighs."""
    points, joints = anatomy.atlas.points, anatomy.joints
    y = points.position[:, 1]
    torso = np.isin(points.surface, (1, 2)) & (y < anatomy.armpit_y - 0.03)
    thigh = np.isin(points.surface, (7, 8, 9, 10)) & (y > joints[HIP, 1] + (joints[KNEE, 1] - joints[HIP, 1]) / 3)
    return torso | thigh


def test_torso_and_hips_are_covered(anatomy: Anatomy, wardrobe: list[Outfit]):
    where, points = private(anatomy), anatomy.atlas.points
    assert where.sum() > 5000
    for outfit in wardrobe:
        cover = [upper_field(anatomy, upper, points) for upper in worn_uppers(outfit)]
        covered = np.maximum.reduce([*cover, lower_field(anatomy, outfit.lower, points)]) > 0
        assert covered[where].all(), (outfit.inner.kind, outfit.outer and outfit.outer.kind, outfit.lower.kind)


def test_no_top_ends_above_the_waistband(anatomy: Anatomy, many: list[Outfit]):
    """Also with arms up: a hand's breadth of overlap."""
    lowest = max(hem_y(anatomy, outfit.inner.hem) for outfit in many)
    assert lowest < anatomy.waist_y - 0.02 - 0.08


def test_skin_does_not_show_on_torso_and_hips(anatomy: Anatomy, wardrobe: list[Outfit]):
    """Two people who differ in skin alone have the same texture there; it does show on the face."""
    where = private(anatomy)
    row = ((1 - anatomy.atlas.uv[:, 1]) * 256).astype(int)
    column = (anatomy.atlas.uv[:, 0] * 256).astype(int)
    for outfit in itertools.islice(wardrobe, 40):
        legs = (0.9, 0.1, 0.6) if outfit.legs == outfit.skin else outfit.legs
        other = dataclasses.replace(outfit, skin=(0.9, 0.1, 0.6), legs=legs)
        differs = (paint(anatomy, outfit) != paint(anatomy, other)).any(-1)[row, column]
        assert not differs[where].any()
        assert differs[anatomy.atlas.points.surface >= 23].mean() > 0.2


def test_outfits_look_different(anatomy: Anatomy, wardrobe: list[Outfit]):
    """Any two of 40 textures differ visibly on a twentieth of the body or more."""
    mapped = anatomy.atlas.fill >= 0
    textures = [paint(anatomy, outfit)[mapped][::9].astype(np.int16) for outfit in wardrobe[:40]]
    for one, other in itertools.combinations(textures, 2):
        assert (np.abs(one - other).max(-1) > 12).mean() > 0.05
