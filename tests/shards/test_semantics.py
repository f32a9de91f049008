"""The tables against the words of the papers: merging is by meaning, so the names must agree."""

import numpy as np
import pytest

from shards import semantics
from shards.semantics import (
    KEYPOINT_FLIP,
    KEYPOINTS,
    LIMB_INDICES,
    LIMBS,
    PARTS_1,
    PARTS_2,
    PARTS_4,
    PARTS_7,
    PARTS_8,
    PARTS_13,
    PARTS_14,
    SURFACE_FLIP,
    SURFACES_24,
    merge,
    person_mask,
)


def groups(table: np.ndarray, names: tuple[str, ...]) -> dict[str, set[int]]:
    return {name: set(np.flatnonzero(table == label).tolist()) for label, name in enumerate(names)}


def test_14_parts_are_those_of_densepose_coco():
    assert groups(semantics.SURFACE_TO_14, PARTS_14) == {
        "background": {0},
        "torso": {1, 2},
        "right hand": {3},
        "left hand": {4},
        "left foot": {5},
        "right foot": {6},
        "upper leg right": {7, 9},
        "upper leg left": {8, 10},
        "lower leg right": {11, 13},
        "lower leg left": {12, 14},
        "upper arm left": {15, 17},
        "upper arm right": {16, 18},
        "lower arm left": {19, 21},
        "lower arm right": {20, 22},
        "head": {23, 24},
    }


def test_7_parts_fuse_sides_and_put_the_hand_to_the_lower_arm():
    assert groups(semantics.SURFACE_TO_7, PARTS_7) == {
        "background": {0},
        "head": {23, 24},
        "torso": {1, 2},
        "upper arm": {15, 16, 17, 18},
        "lower arm": {3, 4, 19, 20, 21, 22},
        "upper leg": {7, 8, 9, 10},
        "lower leg": {11, 12, 13, 14},
        "foot": {5, 6},
    }


def test_coarser_granularities_of_part_awareness():
    torso, arms, head = {1, 2}, {3, 4, *range(15, 23)}, {23, 24}
    upper_legs, lower_legs_and_feet = {7, 8, 9, 10}, {5, 6, 11, 12, 13, 14}
    assert groups(semantics.SURFACE_TO_4, PARTS_4) == {
        "background": {0},
        "head": head,
        "torso and arms": torso | arms,
        "upper legs": upper_legs,
        "lower legs and feet": lower_legs_and_feet,
    }
    assert groups(semantics.SURFACE_TO_2, PARTS_2) == {
        "background": {0},
        "upper body": head | torso | arms,
        "lower body": upper_legs | lower_legs_and_feet,
    }
    assert groups(semantics.SURFACE_TO_1, PARTS_1) == {"background": {0}, "foreground": set(range(1, 25))}


def test_dsa_merges_left_with_right_then_front_with_back():
    first = groups(semantics.SURFACE_TO_13, PARTS_13)
    assert first == {
        "background": {0},
        "torso back": {1},
        "torso front": {2},
        "hands": {3, 4},
        "feet": {5, 6},
        "upper legs back": {7, 8},
        "upper legs front": {9, 10},
        "lower legs back": {11, 12},
        "lower legs front": {13, 14},
        "upper arms inner": {15, 16},
        "upper arms outer": {17, 18},
        "lower arms inner": {19, 20},
        "lower arms outer": {21, 22},
        "head": {23, 24},
    }
    assert groups(semantics.SURFACE_TO_8, PARTS_8) == {
        "background": {0},
        "torso": {1, 2},
        "hands": {3, 4},
        "feet": {5, 6},
        "upper legs": {7, 8, 9, 10},
        "lower legs": {11, 12, 13, 14},
        "upper arms": {15, 16, 17, 18},
        "lower arms": {19, 20, 21, 22},
        "head": {23, 24},
    }


@pytest.mark.parametrize(("names", "flip"), [(SURFACES_24, SURFACE_FLIP), (KEYPOINTS, KEYPOINT_FLIP)])
def test_flip_exchanges_left_and_right_and_nothing_else(names: tuple[str, ...], flip: np.ndarray):
    for name, mirrored in zip(names, flip, strict=True):
        swapped = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
        assert names[mirrored] == swapped


def test_limbs_join_what_their_names_say():
    assert len(KEYPOINTS) == 17
    assert len(LIMBS) == 19
    assert [(KEYPOINTS[a], KEYPOINTS[b]) for a, b in LIMB_INDICES] == list(LIMBS)


def test_merge_relabels_a_map_and_refuses_labels_outside_the_table():
    labels = np.array([[0, 3], [5, 24]], np.int64)
    assert merge(labels, semantics.SURFACE_TO_7).tolist() == [[0, 4], [7, 1]]
    with pytest.raises(ValueError, match=r"\[0, 24\].*25"):
        merge(labels + 1, semantics.SURFACE_TO_7)
    with pytest.raises(ValueError, match="-1"):
        merge(labels - 1, semantics.SURFACE_TO_7)


def test_tables_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        semantics.SURFACE_TO_7[1] = 3


def test_person_mask_has_the_body_and_what_it_carries():
    iuv = np.array([[[0, 0, 0], [1, 0, 0], [0, 255, 0], [24, 255, 3]]], np.uint8)
    assert person_mask(iuv).tolist() == [[False, True, True, True]]
