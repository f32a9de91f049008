"""Which texel shows the mirrored place of the body: what a texture becomes when its person is seen in a mirror."""

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import Atlas

NORMAL_M = 0.01
"""A normal that points the other way counts as two of these: the nearest place is not taken across a thin fold of skin."""
MIRROR = np.array([-1, 1, 1], np.float32)
"""The body's left is +x, and its mid-plane x = 0."""


def mirrored_texels(atlas: Atlas) -> NDArray[np.uint16]:
    """Flat index (S, S) of the texel whose colour each texel of a body's atlas takes in the mirror.

    A covered texel takes that of the covered one nearest its mirrored place and normal on the mean body in the T-pose; the
    padding around the charts follows its nearest covered texel. Texels that the body does not use keep their own: a bag
    seen in a mirror is a bag. S is at most 256.
    """
    from scipy.spatial import cKDTree

    position, normal = atlas.points.position, NORMAL_M * atlas.points.normal
    tree = cKDTree(np.concatenate([position, normal], 1))
    other_side = tree.query(np.concatenate([position * MIRROR, normal * MIRROR], 1))[1]
    size = len(atlas.fill)
    column, row = (atlas.uv * [size, -size] + [0, size]).astype(np.int64).T
    covered = row * size + column
    own = np.arange(size * size).reshape(size, size)
    return np.where(atlas.fill >= 0, covered[other_side[atlas.fill]], own).astype(np.uint16)
