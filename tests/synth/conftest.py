"""The body that the tests dress, and a crowd of people drawn once for all of them."""

import pytest
from people import Group, draw_group

from synth import seeding
from synth.anatomy import Anatomy, anatomy_of
from synth.outfit import Outfit, sample_outfit


@pytest.fixture(scope="session")
def anatomy() -> Anatomy:
    """Of the embedded body. Not to be changed."""
    return anatomy_of("open")


@pytest.fixture(scope="session")
def wardrobe() -> list[Outfit]:
    """300 outfits."""
    return [sample_outfit(seeding.generator(7, index, "outfit")) for index in range(300)]


@pytest.fixture(scope="session")
def crowd(anatomy: Anatomy, wardrobe: list[Outfit]) -> list[Group]:
    """100 people in 34 outfits, three of each. Not to be changed."""
    return [draw_group(anatomy, outfit, range(3 * k, min(3 * k + 3, 100))) for k, outfit in enumerate(wardrobe[:34])]
