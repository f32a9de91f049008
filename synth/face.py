"""The bare body's colours: skin with its unevenness, face, beard and scalp."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.anatomy import HEAD, Anatomy
from synth.canvas import Canvas, Colours, Dye, canvas_of, lay, noise, plain
from synth.garment import hair_field, smoothstep
from synth.outfit import Hair, Outfit

EYEBALL, PUPIL = (0.80, 0.78, 0.76), (0.10, 0.07, 0.05)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Features:
    """Where beard and features of the face lie, placed from the body's own face keypoints.

    beard_index (K,) texels and beard (K,) how dense it grows there; index (M,) texels of the features, skin (M,) how
    much of what is there stays visible, shares (7, M) of each feature's colour, in the order of `_colours`.
    """

    beard_index: NDArray[np.int64]
    beard: NDArray[np.float32]
    index: NDArray[np.int64]
    skin: NDArray[np.float32]
    shares: NDArray[np.float32]


def paint_skin(anatomy: Anatomy, outfit: Outfit) -> Colours:
    """Skin, face and hair on the scalp of all texels."""
    canvas, seed = canvas_of(anatomy, "all"), outfit.hair.seed
    uneven = 1 + 0.05 * noise(canvas, 9, seed) + 0.02 * noise(canvas, 60, seed)
    colour = np.stack([uneven * channel for channel in outfit.skin])
    features, palette = features_of(anatomy), _colours(outfit)
    if outfit.beard > 0:
        stubble = 0.5 * np.array(outfit.hair.colour, np.float32) + 0.25 * np.array(outfit.skin, np.float32)
        below = colour[:, features.beard_index]
        density = np.minimum(outfit.beard * 0.8 * features.beard, 0.85)
        colour[:, features.beard_index] = below + density * (stubble[:, None] - below)
    # Not a product of matrices, which may round otherwise on another number of threads.
    marks = np.einsum("fc,fm->cm", palette, features.shares)
    colour[:, features.index] = features.skin * colour[:, features.index] + marks
    if not outfit.hair.bald:
        scalp = canvas_of(anatomy, "scalp")
        lay(colour, scalp, scalp.edge(hair_field(anatomy, scalp.points)), strands(anatomy, scalp, outfit.hair))
    return colour


def _colours(outfit: Outfit) -> NDArray[np.float32]:
    """Of the features (7, 3): eye socket, eyeball, pupil, brow, nostril, lips, the line between them."""
    skin, hair, lip = np.array(outfit.skin), np.array(outfit.hair.colour), np.array(outfit.lip)
    rows = [skin * 0.80, EYEBALL, PUPIL, 0.6 * hair + 0.1 * skin, skin * 0.6, lip, lip * 0.6]
    return np.array(rows, np.float32)


@functools.lru_cache(maxsize=4)
def features_of(anatomy: Anatomy) -> Features:
    """The features of a body's face."""
    head = canvas_of(anatomy, "head")
    nose, left_eye = anatomy.vertices.position[anatomy.body.face_keypoints.numpy()[:2]]
    x, y, z, neck = head.x, head.y, head.points.position[:, 2], anatomy.joints[HEAD]
    drop = left_eye[1] - nose[1]
    mouth_y = nose[1] - 0.75 * drop
    beard = smoothstep(nose[1] - 0.25 * drop, mouth_y, y) * (z > neck[2]) * (y > neck[1] - 0.06)
    front = head.points.normal[:, 2] > 0.1
    alphas = front * np.stack(
        [
            ellipse(x - left_eye[0], y - left_eye[1] - 0.002, 0.024, 0.016),
            ellipse(x - left_eye[0], y - left_eye[1], 0.015, 0.0075),
            ellipse(x - left_eye[0], y - left_eye[1], 0.0075, 0.008),
            ellipse(x - left_eye[0], y - left_eye[1] - 0.023, 0.021, 0.005),
            ellipse(x - 0.008, y - nose[1] + 0.012, 0.006, 0.004),
            ellipse(x, y - mouth_y, 0.025, 0.0085),
            ellipse(x, y - mouth_y, 0.022, 0.0022),
        ]
    )
    marked, bearded = np.nonzero(alphas.any(0))[0], np.nonzero(beard)[0]
    # Each feature hides its share of those before it.
    left = np.cumprod(1 - alphas[::-1, marked], axis=0)[::-1]
    visible = alphas[:, marked] * np.concatenate([left[1:], np.ones_like(left[:1])])
    return Features(
        beard_index=head.index[bearded],
        beard=beard[bearded],
        index=head.index[marked],
        skin=left[0].astype(np.float32),
        shares=visible.astype(np.float32),
    )


def ellipse(x: NDArray, y: NDArray, rx: float, ry: float) -> NDArray[np.float32]:
    """1 inside an ellipse around the origin, 0 outside, with a soft edge."""
    return smoothstep(1.35, 0.65, np.hypot(x / rx, y / ry)).astype(np.float32)


def strands(anatomy: Anatomy, canvas: Canvas, hair: Hair) -> Dye:
    """Hair that runs down; lighter and darker strands side by side, lightest on the crown."""
    light = 0.25 * noise(canvas, (90, 7, 90), hair.seed) + 0.12 * noise(canvas, (30, 5, 30), hair.seed + 1)
    light += _sheen(anatomy, canvas)
    return plain(hair.colour, light)


@functools.lru_cache(maxsize=8)
def _sheen(anatomy: Anatomy, canvas: Canvas) -> NDArray[np.float32]:
    return 1 + 0.25 * smoothstep(anatomy.joints[HEAD, 1] + 0.05, anatomy.crown_y, canvas.y)
