"""Small people with keypoints, for the tests of poses and of what is made from them."""

import numpy as np

STANDING = (
    (16, 9), (17, 8), (15, 8), (19, 9), (13, 9),
    (21, 16), (11, 16), (24, 25), (8, 25), (25, 33), (7, 33),
    (19, 33), (13, 33), (20, 45), (12, 45), (20, 57), (12, 57),
)  # fmt: skip
"""(x, y) of COCO's 17 joints of a person who faces the camera, in a picture 64 high and 32 wide."""


def standing(*, height: int = 64, width: int = 32, v: float = 2.0) -> np.ndarray:
    """(17, 3) float32: that person in a picture of another size."""
    points = np.array(STANDING, np.float32) * np.array([width / 32, height / 64], np.float32)
    return np.concatenate([points, np.full((17, 1), v, np.float32)], 1)
