"""Layers over the buffers of a frame, for one CPU core: occluders, and people drawn alone."""

import numpy as np
from numpy.typing import NDArray

from synth.kernel import kernel
from synth.labels import LABELLED_COVERAGE
from synth.occluder.layer import Layer, Shadow

OCCLUDER = -2
"""Owner of pixels that show an occluder."""

# Compiled into the kernel.
LABELLED = np.float32(LABELLED_COVERAGE)
U = np.uint64
THREE = U(3)


def lay(
    layer: Layer,
    image: NDArray[np.float32],
    depth: NDArray[np.float32],
    iuv: NDArray[np.uint8],
    owner: NDArray[np.int16],
    *,
    code: int = OCCLUDER,
    labels: NDArray[np.uint8] | None = None,
) -> None:
    """Composite a layer over the buffers of its frame, in place, wherever it is nearer than what is there.

    image (H, W, 3) linear RGB; depth (H, W) metres along the camera's z, inf where nobody is; iuv (H, W, 3); owner
    (H, W) index of who is seen, -1 background; all contiguous. Where the layer covers at least half of a pixel, owner
    becomes `code`, iuv the layer's labels (h, w, 3) uint8, by default 0, and depth its own; elsewhere it changes the
    colour alone. Lay the farthest layer first: soft edges leave no depth to test against. Raises ValueError if shapes, types or the layer's window do not fit.
    """
    frame = depth.shape
    _check(
        {
            "image": (image, (*frame, 3), np.float32),
            "depth": (depth, frame, np.float32),
            "iuv": (iuv, (*frame, 3), np.uint8),
            "owner": (owner, frame, np.int16),
        }
    )
    height, width = layer.alpha.shape
    _check_window(layer.row, layer.col, (height, width), frame)
    _lay(
        *(a.reshape(-1) for a in (layer.colour, layer.alpha, layer.depth_m)),
        (np.zeros((height, width, 3), np.uint8) if labels is None else labels).reshape(-1),
        *(U(layer.row), U(layer.col), U(width), U(frame[1]), np.int16(code)),
        *(a.reshape(-1) for a in (image, depth, iuv, owner)),
    )


def shade_ground(shadow: Shadow, image: NDArray[np.float32], ground: NDArray[np.float32]) -> None:
    """Darken image (H, W, 3), linear RGB, in place where it shows ground (H, W), in [0, 1], before people are drawn.

    Both contiguous float32. Raises ValueError if shapes, types or the shadow's window do not fit.
    """
    _check({"image": (image, (*ground.shape, 3), np.float32), "ground": (ground, ground.shape, np.float32)})
    height, width = shadow.kept_off.shape
    _check_window(shadow.row, shadow.col, (height, width), ground.shape)
    window = U(shadow.row), U(shadow.col), U(width), U(ground.shape[1])
    _shade(shadow.kept_off.reshape(-1), *window, image.reshape(-1), ground.reshape(-1))


@kernel
def _lay(colour, alpha, layer_depth, labels, row, col, width, frame_width, code, image, depth, iuv, owner):
    for at in range(U(len(alpha))):
        if alpha[at] > 0:
            down = at // width
            pixel = (row + down) * frame_width + col + (at - down * width)
            if layer_depth[at] < depth[pixel]:
                clear = np.float32(1) - alpha[at]
                labelled = alpha[at] >= LABELLED
                for channel in range(THREE):
                    place = pixel * THREE + channel
                    image[place] = image[place] * clear + colour[at * THREE + channel]
                    if labelled:
                        iuv[place] = labels[at * THREE + channel]
                if labelled:
                    depth[pixel] = layer_depth[at]
                    owner[pixel] = code


@kernel
def _shade(kept_off, row, col, width, frame_width, image, ground):
    for at in range(U(len(kept_off))):
        down = at // width
        pixel = (row + down) * frame_width + col + (at - down * width)
        light = np.float32(1) - kept_off[at] * ground[pixel]
        for channel in range(THREE):
            image[pixel * THREE + channel] *= light


def _check(wanted: dict[str, tuple[NDArray, tuple[int, ...], type]]) -> None:
    for name, (array, shape, dtype) in wanted.items():
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise ValueError(
                f"{name} must be contiguous {shape} {np.dtype(dtype)}, as the frame, got {array.shape} {array.dtype}"
            )


def _check_window(row: int, col: int, size: tuple[int, int], frame: tuple[int, ...]) -> None:
    if row < 0 or col < 0 or row + size[0] > frame[0] or col + size[1] > frame[1]:
        raise ValueError(
            f"a window of {size} at row {row}, column {col} reaches out of a frame of {frame}; "
            "draw the layer with the view of this frame"
        )
