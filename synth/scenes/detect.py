"""From a frame to crops: boxes as a detector gives them, and picture and labels of what they hold."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from synth.camera import project, to_camera
from synth.kernel import kernel
from synth.labels import visibility
from synth.scenes.config import DetectorConfig
from synth.scenes.frame import Frame, Posed
from synth.scenes.network import SceneCamera

Box = tuple[float, float, float, float]
"""x, y, width, height in the frame, pixels."""

ASPECTS = (0.42, 0.58)
"""Of width and height: a detector's box of a person is neither narrower nor wider."""
GOOD_IOU, JUNK_IOU = 0.55, 0.22
"""Overlap with the person's box above which a box is good, and above which it is still junk (Zheng et al. 2015)."""
TRIES = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A person in a frame: code, their number in `Frame.owner`; box, tight around all of them and cut at the frame's
    edge; seen_share, of their pixels, in and out of the frame, those that show."""

    code: int
    box: Box
    seen_share: float


def find(frame: Frame, people: list[Posed], k: int, whole: list[int], config: DetectorConfig) -> list[Found]:
    """The people of frame k of whom enough is seen; whole: pixels that each would cover alone."""
    rows, columns = frame.owner.shape
    found = []
    for code, posed in enumerate(people):
        left, top, right, bottom = posed.reach[k].tolist()
        x0, y0, x1, y1 = max(left, 0.0), max(top, 0.0), min(right, float(columns)), min(bottom, float(rows))
        if y1 - y0 < config.min_rows or x1 - x0 < 2 or not whole[code]:
            continue
        here = frame.owner[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]
        share = float(np.count_nonzero(here == code)) / whole[code]
        if share >= config.min_seen:
            found.append(Found(code=code, box=(x0, y0, x1 - x0, y1 - y0), seen_share=round(min(share, 1.0), 4)))
    return found


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def detection(rng: np.random.Generator, body: Box, size: tuple[int, int], jitter: float) -> Box:
    """A detector's box of the person with the tight box `body`, within a frame of size (rows, columns).

    jitter: standard deviation of every edge, as a share of the height; the box overlaps the person's all the same.
    """
    upright = _upright(body)
    for attempt in range(TRIES):
        left, top, right, bottom = rng.normal(0, jitter * (1 - attempt / TRIES) * body[3], 4)
        moved = (upright[0] + left, upright[1] + top, upright[2] + right - left, upright[3] + bottom - top)
        box = _shaped(moved, size)
        if box is not None and overlap(box, body) >= GOOD_IOU * overlap(_shaped(upright, size) or body, body):
            return box
    return _shaped(upright, size) or body


def stray(rng: np.random.Generator, body: Box, size: tuple[int, int], others: list[Box]) -> Box | None:
    """A box that shows half the person, as a detector gives it now and then; None where none was found."""
    upright = _upright(body)
    for _ in range(TRIES):
        scale = np.exp(rng.normal(0, 0.25))
        middle = np.array([upright[0] + upright[2] / 2, upright[1] + upright[3] / 2])
        middle += rng.uniform(-0.6, 0.6, 2) * (upright[2], upright[3])
        width, height = scale * upright[2], scale * upright[3]
        box = _shaped((middle[0] - width / 2, middle[1] - height / 2, width, height), size)
        if box is None or not JUNK_IOU < overlap(box, upright) < GOOD_IOU:
            continue
        if all(overlap(box, _upright(other)) < GOOD_IOU for other in others):
            return box
    return None


def nobody(rng: np.random.Generator, height: float, size: tuple[int, int], others: list[Box]) -> Box | None:
    """A box of about `height` that shows hardly anything of anybody; None where there is no room."""
    for _ in range(TRIES):
        tall = height * np.exp(rng.normal(0, 0.3))
        box = (rng.uniform(0, size[1] - tall / 2), rng.uniform(0, max(size[0] - tall, 1.0)), tall * 0.45, tall)
        inside = box[0] + box[2] <= size[1] and box[3] <= size[0] - box[1]
        if inside and all(overlap(box, _upright(other)) < 0.1 for other in others):
            return box
    return None


def part_of(rng: np.random.Generator, box: Box) -> Box:
    """A box that shows the upper, the lower, the left or the right part of what `box` shows (as Partial-REID)."""
    x, y, width, height = box
    share = rng.uniform(0.4, 0.7)
    match int(rng.choice(4, p=(0.45, 0.25, 0.15, 0.15))):
        case 0:
            return x, y, width, share * height
        case 1:
            return x, y + (1 - share) * height, width, share * height
        case 2:
            return x, y, share * width, height
        case _:
            return x + (1 - share) * width, y, share * width, height


def _upright(body: Box) -> Box:
    """The person's box with a little room, and no narrower than a detector gives it."""
    x, y, width, height = body
    wide, tall = max(1.08 * width, ASPECTS[0] * height), 1.04 * height
    return x - (wide - width) / 2, y - (tall - height) / 2, wide, tall


def _shaped(box: Box, size: tuple[int, int]) -> Box | None:
    """A box cut at the frame's edge, then made as wide as a detector's: what is cut off below does not make it short."""
    clipped = _clip(box, size)
    if clipped is None:
        return None
    x, y, width, height = clipped
    wide = min(max(width, ASPECTS[0] * height), ASPECTS[1] * height)
    return _clip((min(max(x + (width - wide) / 2, 0.0), max(size[1] - wide, 0.0)), y, wide, height), size)


def _clip(box: Box, size: tuple[int, int]) -> Box | None:
    x0, y0 = max(box[0], 0.0), max(box[1], 0.0)
    x1, y1 = min(box[0] + box[2], float(size[1])), min(box[1] + box[3], float(size[0]))
    return (x0, y0, x1 - x0, y1 - y0) if x1 - x0 >= 4 and y1 - y0 >= 8 else None


def cut_picture(picture: NDArray[np.uint8], box: Box, height: int, width: int) -> NDArray[np.uint8]:
    """What a box holds of a picture (H, W, 3), (height, width, 3) uint8."""
    # Pillow copies what it is given: the window alone.
    left, top = max(int(box[0]) - 2, 0), max(int(box[1]) - 2, 0)
    part = picture[top : int(box[1] + box[3]) + 3, left : int(box[0] + box[2]) + 3]
    edges = (box[0] - left, box[1] - top, box[0] + box[2] - left, box[1] + box[3] - top)
    return np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BILINEAR, box=edges))


def cut_iuv(frame: Frame, code: int, box: Box, height: int, width: int) -> NDArray[np.uint8]:
    """IUV of one person in a box, (height, width, 3) uint8: each pixel that of the frame at its middle."""
    rows, columns = frame_pixels(box, height, width, frame.owner.shape)
    out = np.empty((height, width, 3), np.uint8)
    _take(frame.owner.reshape(-1), frame.iuv.reshape(-1), frame.owner.shape[1], rows, columns, code, out.reshape(-1))
    return out


@kernel
def _take(owner, iuv, frame_width, rows, columns, code, out):
    """The values of iuv (3 H W,) at rows and columns into out, 0 where `owner` (H W,) is not `code`."""
    at = 0
    for row in rows:
        for col in columns:
            place = row * frame_width + col
            mine = owner[place] == code
            for channel in range(3):
                out[at] = iuv[3 * place + channel] if mine else 0
                at += 1


def frame_pixels(
    box: Box, height: int, width: int, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (height,) and columns (width,) of the frame in which the middles of a crop's pixels lie."""
    rows = (box[1] + (np.arange(height) + 0.5) * box[3] / height).astype(np.int64)
    columns = (box[0] + (np.arange(width) + 0.5) * box[2] / width).astype(np.int64)
    return rows.clip(0, size[0] - 1), columns.clip(0, size[1] - 1)


def crop_intrinsics(camera: SceneCamera, box: Box, height: int, width: int) -> NDArray[np.float64]:
    """(3, 3) camera coordinates to pixels of the crop."""
    across, down = width / box[2], height / box[3]
    k_matrix = camera.intrinsics.astype(np.float64)
    return np.array(
        [
            [k_matrix[0, 0] * across, 0, (k_matrix[0, 2] - box[0]) * across],
            [0, k_matrix[1, 1] * down, (k_matrix[1, 2] - box[1]) * down],
            [0, 0, 1],
        ]
    )


def frame_keypoints(frame: Frame, people: list[Posed], k: int, camera: SceneCamera) -> NDArray[np.float64]:
    """COCO-17 of everybody in frame k, (P, 17, 3): x, y in pixels of the frame, v as of `synth.labels.visibility`."""
    places = torch.stack([posed.keypoints[k] for posed in people]).transpose(1, 2)
    extrinsics = torch.from_numpy(camera.world_to_camera).expand(len(people), 4, 4)
    intrinsics = torch.from_numpy(camera.intrinsics).expand(len(people), 3, 3)
    points = project(to_camera(places, extrinsics), intrinsics).transpose(1, 2)
    depth = torch.from_numpy(frame.depth).expand(len(people), -1, -1)
    return torch.cat([points[..., :2], visibility(points, depth)[..., None]], -1).double().numpy()


def cut_keypoints(keypoints: NDArray[np.float64], box: Box, height: int, width: int) -> NDArray[np.float64]:
    """Keypoints (17, 3) of the frame in pixels of a crop; v = 0 outside it."""
    x = ((keypoints[:, 0] - box[0]) * width / box[2]).round(2)
    y = ((keypoints[:, 1] - box[1]) * height / box[3]).round(2)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.stack([x, y, np.where(inside, keypoints[:, 2], 0)], 1)
