"""JPEG without the file against libjpeg with one."""

import io

import numpy as np
import pytest
import simplejpeg
import torch
from people import Group
from PIL import Image

from synth.colour import linear_to_srgb
from synth.jpeg import compress


def exactly(image: np.ndarray, quality: int) -> np.ndarray:
    """By libjpeg's exact transform, as Pillow takes it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file)).astype(int)


def quickly(image: np.ndarray, quality: int) -> np.ndarray:
    """By the fast one, as the sensor for CPUs does."""
    data = simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420")
    return simplejpeg.decode_jpeg(data).astype(int)


@pytest.fixture(scope="module")
def images(crowd: list[Group]) -> torch.Tensor:
    """Three people and a coloured noise, (4, 256, 128, 3)."""
    people = (linear_to_srgb(crowd[2].drawn.image.clamp(max=1)) * 255).to(torch.uint8)
    noise = torch.randint(60, 200, (1, 256, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.cat([people, noise])


@pytest.mark.parametrize("quality", [35, 50, 75, 95])
@pytest.mark.parametrize("size", [(256, 128), (250, 118)])
def test_it_is_what_libjpeg_gives(images: torch.Tensor, quality: int, size: tuple[int, int]):
    images = images[:, : size[0], : size[1]].contiguous()
    found = compress(images, torch.full((4,), quality)).numpy().astype(int)
    exact, quick = (np.stack([through(image, quality) for image in images.numpy()]) for through in (exactly, quickly))
    step, loss = np.abs(found - exact), np.abs(images.numpy() - exact)
    assert step.mean() < 0.6 and np.median(step) == 0
    assert loss.mean() > 5 * step.mean()
    # No farther from the fast transform than the exact one is.
    assert np.abs(found - quick).mean() < 1.1 * np.abs(exact - quick).mean() + 0.1


def test_every_picture_has_its_own_quality(images: torch.Tensor):
    together = compress(images, torch.tensor([95, 0, 40, 40]))
    assert torch.equal(together[1], images[1]), "0 leaves a picture as it is"
    for k, quality in enumerate((95, 0, 40, 40)):
        assert torch.equal(together[k], compress(images[k : k + 1], torch.tensor([quality]))[0])
    assert (together[2] != images[2]).float().mean() > (together[0] != images[0]).float().mean()
