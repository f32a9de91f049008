"""What a person wears: a small specification, drawn at random like a street's wardrobes, from which all else follows.

Lengths of clothes are fractions between the wearer's own landmarks, so an outfit fits any body. Every outfit covers
torso and hips: tops reach below the waistband, lower garments at least to mid-thigh.
"""

from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from synth.palette import GREY_HAIR, HAIR_COLOURS, LOWER_SHARES, SKIN_TONES, Rgb, colour_of_family, garment_colour, pick

Pattern = Literal["plain", "stripe", "check", "print", "logo", "block", "wash"]
Season = Literal["summer", "mild", "winter"]
Side = Literal["left", "right"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloth:
    """What a garment is made of. colour, second: sRGB in [0, 1]; scale_m: the pattern's period; seed: its details."""

    colour: Rgb
    second: Rgb
    pattern: Pattern
    scale_m: float
    folds: float
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Upper:
    """A top, jacket, coat or dress.

    sleeve: 0 at the shoulder, 1 at the wrist. hem: 0 at the waist, 1 at the crotch, 2 at the knee. neck_m: radius of
    the neck hole; vee_m: depth of a V below it. ease_m: how far it stands off; cling_per_m: how fast it follows the
    body in below the chest; flare: widening per metre. open_m: half-width of the open front, 0 if closed.
    """

    kind: str
    sleeve: float
    hem: float
    neck_m: float
    vee_m: float
    ease_m: float
    cling_per_m: float
    flare: float
    sleeve_width_m: float
    open_m: float
    zip: bool
    hood: bool
    collar: bool
    cloth: Cloth


@dataclass(frozen=True, kw_only=True, slots=True)
class Lower:
    """Trousers, shorts, leggings (each leg by itself) or a skirt (`joined`).

    length: 0 at the hip, 1 at the ankle. hem_radius_m: how wide a leg ends. flare: of a skirt, widening per metre.
    """

    kind: str
    joined: bool
    length: float
    ease_m: float
    hem_radius_m: float
    flare: float
    cloth: Cloth


@dataclass(frozen=True, kw_only=True, slots=True)
class Hair:
    """volume_m: height above the scalp; fall_m: how far it hangs below the chin, 0 if it does not; wrap_rad: how far
    round to the front it hangs; tied: gathered in a tail or knot behind; bald: none."""

    colour: Rgb
    volume_m: float
    fall_m: float
    wrap_rad: float
    tied: Literal["no", "tail", "knot"]
    bald: bool
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Accessory:
    """Something worn or carried that is not cloth on the body."""

    kind: Literal["backpack", "shoulder_bag", "handbag", "cap"]
    side: Side
    size: float
    colour: Rgb
    second: Rgb
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outfit:
    """Everything that makes a person's look, apart from the shape of the body."""

    feminine: bool
    season: Season
    skin: Rgb
    lip: Rgb
    beard: float
    hair: Hair
    inner: Upper
    outer: Upper | None
    lower: Lower
    legs: Rgb
    shoe: Rgb
    sole: Rgb
    shaft_m: float
    accessories: tuple[Accessory, ...] = field(default=())

    def to_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)


def _cloth(
    rng: np.random.Generator, patterns: dict[Pattern, float], *, lower: bool = False, folds: float = 0.5
) -> Cloth:
    pattern = pick(rng, patterns)
    scale = {"stripe": (0.03, 0.11), "check": (0.04, 0.10), "print": (0.05, 0.13)}.get(pattern, (0.05, 0.12))
    return Cloth(
        colour=colour_of_family(rng, LOWER_SHARES) if lower else garment_colour(rng),
        second=garment_colour(rng),
        pattern=pattern,
        scale_m=float(rng.uniform(*scale)),
        folds=float(folds * rng.uniform(0.6, 1.4)),
        seed=int(rng.integers(2**31)),
    )


_TOP_PATTERNS: dict[Pattern, float] = {
    "plain": 0.5,
    "stripe": 0.12,
    "check": 0.07,
    "print": 0.06,
    "logo": 0.17,
    "block": 0.08,
}
_COAT_PATTERNS: dict[Pattern, float] = {"plain": 0.86, "block": 0.08, "check": 0.02, "logo": 0.04}


def _upper(rng: np.random.Generator, kind: str, **given) -> Upper:
    """A top of the kind's usual cut, with what is `given` in place of the default."""
    u = rng.uniform
    plain = {"vee_m": 0.0, "open_m": 0.0, "zip": False, "hood": False, "collar": False, "flare": 0.0}
    cut = {
        "tank": dict(sleeve=-0.02, hem=u(0.75, 1.1), neck_m=u(0.09, 0.11), ease_m=0.008, cling_per_m=2.0, sleeve_width_m=0.06),
        "tshirt": dict(sleeve=u(0.28, 0.48), hem=u(0.85, 1.25), neck_m=u(0.075, 0.09), ease_m=u(0.008, 0.018), cling_per_m=u(0.2, 2.0), sleeve_width_m=u(0.065, 0.085)),
        "longsleeve": dict(sleeve=u(0.92, 1.0), hem=u(0.85, 1.2), neck_m=u(0.07, 0.085), ease_m=u(0.008, 0.016), cling_per_m=u(0.4, 2.0), sleeve_width_m=u(0.05, 0.06)),
        "shirt": dict(sleeve=rng.choice([0.4, 0.65, 0.98]), hem=u(0.95, 1.3), neck_m=0.07, ease_m=u(0.012, 0.02), cling_per_m=u(0.2, 1.0), sleeve_width_m=u(0.058, 0.07), collar=True, zip=True),
        "sweater": dict(sleeve=u(0.96, 1.03), hem=u(0.8, 1.1), neck_m=u(0.068, 0.08), ease_m=u(0.016, 0.026), cling_per_m=u(0.1, 0.8), sleeve_width_m=u(0.06, 0.072)),
        "hoodie": dict(sleeve=u(0.97, 1.03), hem=u(0.85, 1.1), neck_m=0.07, ease_m=u(0.02, 0.03), cling_per_m=u(0.0, 0.6), sleeve_width_m=u(0.065, 0.08), hood=True, zip=bool(rng.integers(2))),
        "jacket": dict(sleeve=u(0.99, 1.05), hem=u(0.75, 1.15), neck_m=0.066, ease_m=u(0.028, 0.042), cling_per_m=u(0.0, 0.5), sleeve_width_m=u(0.072, 0.09), collar=True, zip=True, hood=rng.random() < 0.3),
        "coat": dict(sleeve=u(1.0, 1.06), hem=u(1.3, 2.0), neck_m=0.066, ease_m=u(0.03, 0.042), cling_per_m=u(0.0, 0.4), sleeve_width_m=u(0.072, 0.085), collar=True, zip=True, flare=u(0.0, 0.12), hood=rng.random() < 0.3),
        "down": dict(sleeve=u(1.0, 1.05), hem=rng.choice([u(0.8, 1.1), u(1.4, 2.1)]), neck_m=0.062, ease_m=u(0.045, 0.06), cling_per_m=u(0.0, 0.3), sleeve_width_m=u(0.09, 0.105), zip=True, hood=rng.random() < 0.6),
        "dress": dict(sleeve=rng.choice([-0.02, 0.35, 0.6, 0.98]), hem=u(1.6, 2.3), neck_m=u(0.075, 0.095), ease_m=0.008, cling_per_m=u(0.8, 2.2), sleeve_width_m=0.06, flare=u(0.1, 0.35)),
    }[kind]  # fmt: skip
    return Upper(**{**plain, **cut, "kind": kind, **given})


def _lower(rng: np.random.Generator, season: Season, feminine: bool, long_top: bool) -> Lower:
    u = rng.uniform
    trousers, shorts, skirt = {
        "summer": (0.45, 0.25, 0.30) if feminine else (0.56, 0.32, 0.12),
        "mild": (0.82, 0.04, 0.14) if feminine else (0.93, 0.05, 0.02),
        "winter": (0.92, 0.0, 0.08) if feminine else (1.0, 0.0, 0.0),
    }[season]
    kind = pick(rng, {"trousers": trousers, "shorts": shorts, "skirt": skirt})
    if kind == "skirt" and (long_top or not feminine):
        kind = "trousers"
    patterns: dict[Pattern, float] = {"plain": 0.6, "wash": 0.36, "stripe": 0.04}
    if kind == "trousers":
        tight = rng.random() < (0.45 if feminine else 0.12)
        return Lower(
            kind="leggings" if tight else "trousers",
            joined=False,
            length=float(u(0.9, 1.02)),
            ease_m=0.005 if tight else float(u(0.010, 0.02)),
            hem_radius_m=0.05 if tight else float(u(0.058, 0.084) if rng.random() < 0.85 else u(0.088, 0.11)),
            flare=0.0,
            cloth=_cloth(rng, patterns, lower=True),
        )
    if kind == "shorts":
        cloth = _cloth(rng, {"plain": 0.7, "wash": 0.2, "check": 0.1}, lower=True)
        radius = float(u(0.09, 0.13))
        return Lower(
            kind=kind,
            joined=False,
            length=float(u(0.42, 0.56)),
            ease_m=0.015,
            hem_radius_m=radius,
            flare=0.0,
            cloth=cloth,
        )
    cloth = _cloth(rng, {"plain": 0.7, "print": 0.12, "check": 0.1, "stripe": 0.08}, lower=rng.random() < 0.6)
    return Lower(
        kind=kind,
        joined=True,
        length=float(u(0.36, 0.85)),
        ease_m=0.01,
        hem_radius_m=0.0,
        flare=float(u(0.05, 0.32)),
        cloth=cloth,
    )


def _hair(rng: np.random.Generator, feminine: bool, age_grey: bool) -> Hair:
    colour = np.array(GREY_HAIR if age_grey else pick(rng, HAIR_COLOURS)) * rng.uniform(0.8, 1.25)
    long = rng.random() < (0.78 if feminine else 0.05)
    tied = pick(rng, {"no": 0.66, "tail": 0.24, "knot": 0.10}) if long else "no"
    return Hair(
        colour=tuple(float(c) for c in np.clip(colour, 0.03, 0.9)),
        volume_m=float(rng.uniform(0.012, 0.03) if not tied == "no" or not long else rng.uniform(0.018, 0.035)),
        fall_m=float(rng.uniform(0.03, 0.34)) if long and tied == "no" else 0.0,
        wrap_rad=float(rng.uniform(1.4, 2.2)),
        tied=tied,
        bald=bool(not feminine and rng.random() < 0.07),
        seed=int(rng.integers(2**31)),
    )


def _accessories(rng: np.random.Generator, feminine: bool) -> tuple[Accessory, ...]:
    """About half of the people carry something; one in fourteen wears a cap."""
    chance = rng.random()
    carried = None
    if chance < 0.26:
        carried = "backpack"
    elif chance < 0.26 + (0.2 if feminine else 0.12):
        carried = "shoulder_bag"
    elif chance < 0.46 + (0.1 if feminine else 0.0):
        carried = "handbag"
    kinds = [carried] if carried else []
    if rng.random() < 0.07:
        kinds.append("cap")
    return tuple(
        Accessory(
            kind=kind,
            side=str(rng.choice(["left", "right"])),
            size=float(rng.uniform(0.8, 1.2)),
            colour=garment_colour(rng),
            second=garment_colour(rng),
            seed=int(rng.integers(2**31)),
        )
        for kind in kinds
    )


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Draw one outfit; its continuous colours and cuts make repeats practically impossible."""
    feminine = bool(rng.integers(2))
    season: Season = pick(rng, {"summer": 0.42, "mild": 0.33, "winter": 0.25})
    tone = rng.beta(1.3, 1.8) * (len(SKIN_TONES) - 1)
    lighter = min(int(tone), len(SKIN_TONES) - 2)
    skin = SKIN_TONES[lighter] + (tone - lighter) * (SKIN_TONES[lighter + 1] - SKIN_TONES[lighter])
    skin = skin * rng.uniform(0.94, 1.06)
    inner, outer = _tops(rng, season, feminine)
    long_top = max(inner.hem, outer.hem if outer else 0) > 1.3
    lower = _lower(rng, season, feminine, long_top)
    if inner.kind == "dress":
        cloth = lower.cloth
        lower = Lower(kind="shorts", joined=False, length=0.3, ease_m=0.004, hem_radius_m=0.0, flare=0.0, cloth=cloth)
    tights = season != "summer" or rng.random() < 0.2
    legs = (
        colour_of_family(rng, {"black": 0.8, "grey": 0.1, "beige": 0.1})
        if feminine and tights
        else tuple(skin.tolist())
    )
    shoe = colour_of_family(
        rng, {"black": 0.42, "white": 0.25, "grey": 0.12, "brown": 0.1, "navy": 0.05, "saturated": 0.06}
    )
    pale_sole = rng.random() < 0.5
    return Outfit(
        feminine=feminine,
        season=season,
        skin=tuple(np.clip(skin, 0, 1).tolist()),
        lip=tuple(np.clip(skin * [0.88, 0.62, 0.62], 0, 1).tolist()),
        beard=0.0 if feminine else float(max(0.0, rng.normal(0.1, 0.3))),
        hair=_hair(rng, feminine, bool(rng.random() < 0.1)),
        inner=inner,
        outer=outer,
        lower=lower,
        legs=legs,
        shoe=shoe,
        sole=(0.85, 0.85, 0.83) if pale_sole else tuple(0.6 * c for c in shoe),
        shaft_m=pick(rng, {0.0: 0.45, 0.02: 0.3, 0.09: 0.15, 0.2: 0.1}) if season != "summer" else 0.0,
        accessories=_accessories(rng, feminine),
    )


def _tops(rng: np.random.Generator, season: Season, feminine: bool) -> tuple[Upper, Upper | None]:
    """The top worn on the body and, by season, what is worn over it."""
    patterned = _cloth(rng, _TOP_PATTERNS, folds=0.7)
    kinds = {
        "summer": {"tshirt": 0.66, "shirt": 0.14, "longsleeve": 0.1, "tank": 0.04, "dress": 0.06},
        "mild": {"tshirt": 0.16, "shirt": 0.22, "longsleeve": 0.2, "sweater": 0.2, "hoodie": 0.18, "dress": 0.04},
        "winter": {"shirt": 0.2, "sweater": 0.4, "hoodie": 0.2, "longsleeve": 0.2},
    }[season]
    kind = pick(rng, kinds)
    if kind in {"dress", "tank"} and not feminine:
        kind = "tshirt"
    inner = _upper(rng, kind, cloth=patterned, **({"vee_m": rng.uniform(0.03, 0.09)} if rng.random() < 0.25 else {}))
    if rng.random() > {"summer": 0.05, "mild": 0.42, "winter": 0.96}[season]:
        return inner, None
    outer_kinds = (
        {"jacket": 0.36, "coat": 0.34, "down": 0.3}
        if season == "winter"
        else {"jacket": 0.7, "hoodie": 0.2, "coat": 0.1}
    )
    outer = _upper(
        rng,
        pick(rng, outer_kinds),
        cloth=_cloth(rng, _COAT_PATTERNS, folds=0.9),
        open_m=float(rng.uniform(0.02, 0.09)) if rng.random() < 0.45 else 0.0,
    )
    if kind == "dress" and outer.hem > 1.2:
        inner = _upper(rng, "sweater", cloth=patterned)
    return inner, outer
