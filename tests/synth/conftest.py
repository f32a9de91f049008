"""The body that the tests dress, and a crowd of people drawn once for all of them."""

import pytest
import torch
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


@pytest.fixture
def not_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of the CPU pass for those of another device: what runs there, runs here, but for the rasteriser."""
    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda self: False), raising=False)
