"""Body parts and keypoints: names, and lookup tables from finer labels to coarser ones.

Label 0 is background everywhere. A table is a read-only uint8 array indexed by label, so `table[labels]` relabels a
whole map and tables compose by indexing one with the other.

Sources: DensePose (Guler et al. 2018) for the 24 surfaces and the 14 annotated parts; Zhang et al. 2019 (DSA-reID,
section 3.2 and table 1) for 24 -> 13 -> 8; Huang et al. 2020 (part awareness, section IV-B and figure 11) for 14 -> 7
and for the coarser granularities 4, 2 and 1.

The person mask of an `iuv` map. I = 0 where no body surface is seen. Background has I = U = V = 0. What a person
wears or carries without a body surface of its own (bag, backpack, cap) has I = 0, U = 255, V = 0: it is part of the
person, and of no body part.
"""

from collections.abc import Sequence

import numpy as np

CARRIED_U = 255
"""U of a pixel of the person that shows no body surface (I = 0)."""

SURFACES_24 = (
    "background",
    "torso back",
    "torso front",
    "right hand",
    "left hand",
    "left foot",
    "right foot",
    "upper leg right back",
    "upper leg left back",
    "upper leg right front",
    "upper leg left front",
    "lower leg right back",
    "lower leg left back",
    "lower leg right front",
    "lower leg left front",
    "upper arm left inner",
    "upper arm right inner",
    "upper arm left outer",
    "upper arm right outer",
    "lower arm left inner",
    "lower arm right inner",
    "lower arm left outer",
    "lower arm right outer",
    "head right",
    "head left",
)
PARTS_14 = (
    "background",
    "torso",
    "right hand",
    "left hand",
    "left foot",
    "right foot",
    "upper leg right",
    "upper leg left",
    "lower leg right",
    "lower leg left",
    "upper arm left",
    "upper arm right",
    "lower arm left",
    "lower arm right",
    "head",
)
PARTS_7 = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg", "foot")
PARTS_4 = ("background", "head", "torso and arms", "upper legs", "lower legs and feet")
PARTS_2 = ("background", "upper body", "lower body")
PARTS_1 = ("background", "foreground")
PARTS_13 = (
    "background",
    "torso back",
    "torso front",
    "hands",
    "feet",
    "upper legs back",
    "upper legs front",
    "lower legs back",
    "lower legs front",
    "upper arms inner",
    "upper arms outer",
    "lower arms inner",
    "lower arms outer",
    "head",
)
PARTS_8 = ("background", "torso", "hands", "feet", "upper legs", "lower legs", "upper arms", "lower arms", "head")


def _table(values: Sequence[int]) -> np.ndarray:
    table = np.array(values, dtype=np.uint8)
    table.flags.writeable = False
    return table


#                        0  torso  hands  feet   upper legs  lower legs  upper arms      lower arms      head
SURFACE_TO_14 = _table([0, 1, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 8, 9, 10, 11, 10, 11, 12, 13, 12, 13, 14, 14])
PART_14_TO_7 = _table([0, 2, 4, 4, 7, 7, 5, 5, 6, 6, 3, 3, 4, 4, 1])
PART_7_TO_4 = _table([0, 1, 2, 2, 2, 3, 4, 4])
PART_4_TO_2 = _table([0, 1, 1, 2, 2])
PART_2_TO_1 = _table([0, 1, 1])
SURFACE_TO_13 = _table([0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13])
PART_13_TO_8 = _table([0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8])

SURFACE_TO_7 = _table(PART_14_TO_7[SURFACE_TO_14])
SURFACE_TO_4 = _table(PART_7_TO_4[SURFACE_TO_7])
SURFACE_TO_2 = _table(PART_4_TO_2[SURFACE_TO_4])
SURFACE_TO_1 = _table(PART_2_TO_1[SURFACE_TO_2])
SURFACE_TO_8 = _table(PART_13_TO_8[SURFACE_TO_13])

SURFACE_FLIP = _table([0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23])
"""Surface seen in a mirror. Its (u, v) are mirrored by the body's own surface map, not by this table."""

KEYPOINTS = (
    "nose",
    "left eye",
    "right eye",
    "left ear",
    "right ear",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
"""COCO-17, in COCO's order; left and right are the person's."""

KEYPOINT_FLIP = _table([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15])
"""Keypoint seen in a mirror."""

LIMBS = (
    ("left ankle", "left knee"),
    ("left knee", "left hip"),
    ("right ankle", "right knee"),
    ("right knee", "right hip"),
    ("left hip", "right hip"),
    ("left shoulder", "left hip"),
    ("right shoulder", "right hip"),
    ("left shoulder", "right shoulder"),
    ("left shoulder", "left elbow"),
    ("right shoulder", "right elbow"),
    ("left elbow", "left wrist"),
    ("right elbow", "right wrist"),
    ("left eye", "right eye"),
    ("nose", "left eye"),
    ("nose", "right eye"),
    ("left eye", "left ear"),
    ("right eye", "right ear"),
    ("left ear", "left shoulder"),
    ("right ear", "right shoulder"),
)
"""COCO's skeleton, by name."""

LIMB_INDICES = _table([[KEYPOINTS.index(start), KEYPOINTS.index(end)] for start, end in LIMBS])
"""(19, 2) uint8: `LIMBS` as indices into `KEYPOINTS`."""


def merge(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Relabel a map of fine parts as coarser ones.

    labels (...) of any integer type, each in [0, len(table) - 1]; table (K,) uint8, one of this module's.
    Returns (...) uint8. Raises ValueError where a label lies outside the table.
    """
    labels = np.asarray(labels)
    if labels.size and (labels.min() < 0 or labels.max() >= len(table)):
        raise ValueError(
            f"labels must lie in [0, {len(table) - 1}] for this table, got {int(labels.min())}..{int(labels.max())}"
        )
    return table[labels]


def person_mask(iuv: np.ndarray) -> np.ndarray:
    """Where the person is, with everything worn and carried.

    iuv (..., 3) uint8, numpy or torch. Returns (...) bool of the same kind: body surface (I > 0), or a worn or carried
    object (I = 0 and U = 255).
    """
    return (iuv[..., 0] > 0) | (iuv[..., 1] == CARRIED_U)
