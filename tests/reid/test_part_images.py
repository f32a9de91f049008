"""Pictures of surfaces against loops that copy one pixel after the other, and in the mirror."""

import numpy as np
import pytest
import torch
from torch import Tensor

from reid.augment import Parameters, augment
from reid.batch import StoredBatch
from reid.dataset import InputConfig
from reid.part_images import cropped_part_images, dense_part_images
from shards.semantics import SURFACE_FLIP

HEIGHT, WIDTH = 24, 14
BOTH = pytest.mark.parametrize("part_images", [dense_part_images, cropped_part_images])


def people(count: int = 5, *, distinct: bool = False) -> tuple[Tensor, Tensor]:
    """Pictures, of which no two pixels are alike, and iuv, with every extreme of u and v; the last shows no surface, and
    something carried. distinct: no two pixels belong into one texel of 16 x 16."""
    rng = np.random.default_rng(4)
    iuv = rng.integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
    iuv[..., 0] %= 25
    iuv[0, :, ::3, 1:] = rng.choice([0, 255], (HEIGHT, 5, 2))
    iuv[1, ..., 0] = rng.integers(0, 3, (HEIGHT, WIDTH)) * 8  # most surfaces are not there
    iuv[2, ..., 1:] //= 64  # many pixels to a texel
    if distinct:
        texels = rng.permuted(np.tile(np.arange(24 * 256), (count, 1)), axis=1)[:, : HEIGHT * WIDTH]
        surface, row, column = np.unravel_index(texels.reshape(count, HEIGHT, WIDTH), (24, 16, 16))
        iuv = np.stack([surface + 1, (row * 16 + 8), column * 16 + 8], -1).astype(np.uint8)
    iuv[iuv[..., 0] == 0] = 0
    iuv[-1] = 0
    iuv[-1, 3:9, 2:5, 1] = 255
    images = torch.arange(count * HEIGHT * WIDTH * 3).view(count, HEIGHT, WIDTH, 3) + 1.0
    return images.permute(0, 3, 1, 2), torch.from_numpy(iuv)


def copied_one_by_one(images: Tensor, iuv: Tensor, size: int) -> np.ndarray:
    images, iuv = images.numpy(), iuv.numpy()
    found = np.zeros((len(images), 24, 3, size, size), np.float32)
    for b, y, x in np.ndindex(*iuv.shape[:3]):
        surface, u, v = iuv[b, y, x].tolist()
        if surface:
            row, column = min(u * size // 255, size - 1), min(v * size // 255, size - 1)
            found[b, surface - 1, :, row, column] = images[b, :, y, x]
    return found


def cropped_one_by_one(images: Tensor, iuv: Tensor, size: int) -> np.ndarray:
    images, iuv = images.numpy(), iuv.numpy()
    found = np.zeros((len(images), 24, 3, size, size), np.float32)
    for b, part in np.ndindex(len(images), 24):
        own = iuv[b, ..., 0] == part + 1
        if not own.any():
            continue
        (top, bottom), (left, right) = ((i.min(), i.max() + 1) for i in own.nonzero())
        for row, column in np.ndindex(size, size):
            y = int(top + (row + 0.5) * (bottom - top) / size)
            x = int(left + (column + 0.5) * (right - left) / size)
            if own[y, x]:
                found[b, part, :, row, column] = images[b, :, y, x]
    return found


@pytest.mark.parametrize("size", [32, 15, 4])
def test_of_several_pixels_in_a_texel_the_last_stays(size: int):
    images, iuv = people()
    found, seen = dense_part_images(images, iuv, size)
    wanted = copied_one_by_one(images, iuv, size)
    assert np.array_equal(found.numpy(), wanted)
    assert seen.tolist() == [True, True, True, True, False]
    numbers = np.unique(wanted[2])
    assert 1 < len(numbers) - 1 < 3 * (iuv[2, ..., 0] > 0).sum()  # there were collisions


@pytest.mark.parametrize("size", [32, 16, 4])
def test_crops_have_their_own_pixels_alone(size: int):
    images, iuv = people()
    found, seen = cropped_part_images(images, iuv, size)
    assert np.array_equal(found.numpy(), cropped_one_by_one(images, iuv, size))
    assert seen.tolist() == [True, True, True, True, False]


@BOTH
def test_memory_format_and_dtype_of_the_picture_do_not_matter(part_images):
    images, iuv = people()
    wanted, _ = part_images(images, iuv)
    found, _ = part_images(images.contiguous(), iuv)
    assert torch.equal(found, wanted) and found.shape == (5, 24, 3, 32, 32)
    halves, _ = part_images(images.bfloat16(), iuv)
    assert torch.equal(halves, wanted.bfloat16())


@BOTH
def test_pictures_do_not_see_each_other(part_images):
    images, iuv = people()
    together, _ = part_images(images, iuv)
    assert torch.equal(together, torch.cat([part_images(images[i : i + 1], iuv[i : i + 1])[0] for i in range(5)]))


def test_a_mirrored_picture_shows_the_mirrored_person():
    """Part i moves to the body's other side and its rows, which are U, run the other way."""
    images, iuv = people(distinct=True)
    stored = StoredBatch(
        images=(images.permute(0, 2, 3, 1) % 251).byte(),
        identities=torch.arange(5),
        origins=torch.zeros(5, dtype=torch.int64),
        camera_ids=torch.zeros(5, dtype=torch.int64),
        keys=tuple("abcde"),
        labels={"iuv": iuv},
    )
    input = InputConfig(height=HEIGHT, width=WIDTH)

    def augmented(flip: bool) -> tuple[Tensor, Tensor]:
        batch = augment(
            stored,
            input,
            Parameters(
                crop=torch.zeros(5, 2, dtype=torch.int64),
                flip=torch.full((5,), flip),
                erase=torch.tensor([[2, 3, 9, WIDTH - 3]]).expand(5, -1),  # the same in the mirror
                colour=torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(5, -1),
            ),
        )
        return dense_part_images(batch.images, batch.labels["iuv"], 16)

    (plain, seen), (mirrored, seen_mirrored) = augmented(False), augmented(True)
    assert torch.equal(mirrored[:, torch.from_numpy(SURFACE_FLIP[1:].astype(np.int64) - 1)], plain.flip(3))
    assert torch.equal(seen, seen_mirrored) and plain[:4].abs().sum(dim=(2, 3, 4)).gt(0).float().mean() > 0.9


def test_erased_pixels_are_not_copied():
    images, iuv = people()
    iuv[:, :, :7] = 0
    for part_images in (dense_part_images, cropped_part_images):
        found, _ = part_images(images, iuv)
        assert not torch.isin(found[found > 0], images[..., :7]).any()
