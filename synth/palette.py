"""The colours of people and their clothes, and how common each is in a street."""

import bisect
import colorsys
import itertools
from typing import TypeVar

import numpy as np

Rgb = tuple[float, float, float]
"""sRGB in [0, 1]."""
Choice = TypeVar("Choice")

# Share of garments of each colour family, hue in turns, saturation and value ranges (sRGB HSV). About one in five is
# saturated; the rest are black, greys, white, navy, beige, brown and washed blue.
FAMILIES = {
    "black": (0.19, (0.0, 1.0), (0.0, 0.25), (0.05, 0.15)),
    "grey": (0.17, (0.5, 0.7), (0.0, 0.10), (0.20, 0.62)),
    "white": (0.13, (0.05, 0.65), (0.0, 0.06), (0.74, 0.93)),
    "navy": (0.12, (0.58, 0.67), (0.35, 0.70), (0.12, 0.30)),
    "beige": (0.08, (0.06, 0.12), (0.15, 0.38), (0.45, 0.80)),
    "brown": (0.05, (0.04, 0.09), (0.35, 0.60), (0.18, 0.42)),
    "blue": (0.07, (0.55, 0.62), (0.18, 0.50), (0.35, 0.68)),
    "olive": (0.04, (0.13, 0.24), (0.20, 0.45), (0.20, 0.45)),
    "saturated": (0.27, (0.0, 1.0), (0.55, 0.90), (0.35, 0.80)),
}
LOWER_SHARES = {
    "black": 0.27,
    "grey": 0.16,
    "navy": 0.16,
    "blue": 0.24,
    "beige": 0.08,
    "brown": 0.03,
    "olive": 0.04,
    "saturated": 0.06,
}
# Melanin from light to dark, sRGB, between dermatologists' types I and VI.
SKIN_TONES = np.array(
    [
        [0.91, 0.76, 0.67],
        [0.85, 0.67, 0.55],
        [0.76, 0.57, 0.43],
        [0.60, 0.42, 0.30],
        [0.42, 0.28, 0.20],
        [0.28, 0.18, 0.13],
    ]
)
GREY_HAIR = (0.50, 0.49, 0.48)
# From black to blond, and grey, with their shares.
HAIR_COLOURS = {
    (0.07, 0.06, 0.06): 0.40,
    (0.13, 0.09, 0.07): 0.24,
    (0.22, 0.15, 0.10): 0.15,
    (0.33, 0.23, 0.14): 0.09,
    (0.55, 0.42, 0.25): 0.06,
    GREY_HAIR: 0.06,
}


def pick(rng: np.random.Generator, shares: dict[Choice, float]) -> Choice:
    """One of the keys, each as often as its share of all says."""
    # `rng.choice` takes ten times as long.
    bounds = list(itertools.accumulate(shares.values()))
    return list(shares)[bisect.bisect(bounds[:-1], rng.random() * bounds[-1])]


def colour_of_family(rng: np.random.Generator, shares: dict[str, float]) -> Rgb:
    """A colour of one of FAMILIES, drawn by these shares."""
    _, hue, saturation, value = FAMILIES[pick(rng, shares)]
    return colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))


def garment_colour(rng: np.random.Generator) -> Rgb:
    """A colour as common among clothes as in a street."""
    return colour_of_family(rng, {name: share for name, (share, *_) in FAMILIES.items()})
