"""Skeletons drawn in batches are those that a loop over limbs and pixels draws."""

import math

import numpy as np
import pytest
import torch
from posed_people import standing

from generative.transfer.skeleton import LIMBS, LINES_PER_SIDE, draw_skeletons
from shards.semantics import KEYPOINT_FLIP, KEYPOINTS

PICTURE = (64, 32)
SIZE = 32


def random_people(num: int = 4, *, seed: int = 0) -> torch.Tensor:
    """(num, 17, 3) float32: joints anywhere in the picture and a little beyond, a fifth of them missing."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-3, PICTURE[1] + 3, (num, 17)), rng.uniform(-3, PICTURE[0] + 3, (num, 17))
    return torch.from_numpy(np.stack([x, y, rng.choice([0, 1, 2], (num, 17), p=[0.2, 0.2, 0.6])], -1)).float()


def drawn_by_loop(keypoints: np.ndarray, picture: tuple[int, int], size: int) -> np.ndarray:
    """(3, size, size) uint8: one person, pixel by pixel."""
    points = {
        name: (x * size / picture[1], y * size / picture[0])
        for name, (x, y, v) in zip(KEYPOINTS, keypoints.astype(np.float64), strict=True)
        if v
    }
    if "left shoulder" in points and "right shoulder" in points:
        (ax, ay), (bx, by) = points["left shoulder"], points["right shoulder"]
        points["neck"] = (ax + bx) / 2, (ay + by) / 2
    drawn = np.zeros((3, size, size), np.uint8)
    for start, end, colour in LIMBS:
        if start in points and end in points:
            for row in range(size):
                for column in range(size):
                    if distance((column + 0.5, row + 0.5), points[start], points[end]) <= size / LINES_PER_SIDE / 2:
                        drawn[:, row, column] = colour
    return drawn


def distance(point: tuple, start: tuple, end: tuple) -> float:
    """From a point to a segment: to the foot of the perpendicular where that lies on it, else to the nearer end."""
    length = math.dist(start, end)
    if length == 0:
        return math.dist(point, start)
    along = sum((p - a) * (b - a) for p, a, b in zip(point, start, end, strict=True)) / length
    if along <= 0:
        return math.dist(point, start)
    if along >= length:
        return math.dist(point, end)
    return math.sqrt(max(math.dist(point, start) ** 2 - along**2, 0))


@pytest.mark.parametrize("seed", range(3))
def test_pictures_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch, seed: int):
    monkeypatch.setattr("generative.transfer.skeleton.LINES_PER_SIDE", 8)
    monkeypatch.setitem(drawn_by_loop.__globals__, "LINES_PER_SIDE", 8)  # lines of several pixels
    people = random_people(seed=seed)
    people[0, :, :2] = people[0, :1, :2]  # limbs without length
    drawn = draw_skeletons(people, PICTURE, SIZE)
    assert drawn.shape == (4, 3, SIZE, SIZE) and drawn.dtype == torch.uint8
    expected = np.stack([drawn_by_loop(person, PICTURE, SIZE) for person in people.numpy()])
    differing = (drawn.numpy() != expected).any(1).sum()
    assert differing <= 2, "but for pixels that lie on an edge to the last bit"
    assert (expected > 0).any(1).mean() > 0.2


def test_a_person_alone_and_in_a_batch_is_the_same():
    people = random_people(5)
    together = draw_skeletons(people, PICTURE)
    assert together.shape == (5, 3, 256, 256)
    assert torch.equal(together, torch.cat([draw_skeletons(person[None], PICTURE) for person in people]))


def test_coordinates_are_those_of_the_picture():
    """The same person in a picture of twice the height and thrice the width is drawn alike."""
    people = random_people()
    larger = people * torch.tensor([3.0, 2.0, 1.0])
    assert torch.equal(
        draw_skeletons(people, PICTURE, SIZE), draw_skeletons(larger, (2 * PICTURE[0], 3 * PICTURE[1]), SIZE)
    )


def test_nobody_is_black_and_a_missing_joint_takes_its_limbs_along():
    people = torch.from_numpy(standing()[None])
    assert not draw_skeletons(people * torch.tensor([1.0, 1, 0]), PICTURE, SIZE).any()
    people[0, KEYPOINTS.index("left shoulder"), 2] = 0
    seen = {tuple(colour) for colour in draw_skeletons(people, PICTURE).permute(0, 2, 3, 1).flatten(0, 2).tolist()}
    for start, end, colour in LIMBS:
        has_both = not {start, end} & {"left shoulder", "neck"}
        assert (colour in seen) == has_both, (start, end)


def test_left_and_right_have_colours_of_their_own():
    assert len({colour for *_, colour in LIMBS}) == len(LIMBS)
    people = torch.from_numpy(standing()[None])
    swapped = people[:, torch.from_numpy(KEYPOINT_FLIP.astype(np.int64))]
    assert not torch.equal(draw_skeletons(people, PICTURE), draw_skeletons(swapped, PICTURE))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"keypoints must be \(B, 17, 3\), got \(2, 18, 3\)"):
        draw_skeletons(torch.zeros(2, 18, 3), PICTURE)
    with pytest.raises(ValueError, match="at least 1"):
        draw_skeletons(torch.zeros(2, 17, 3), (0, 32))
