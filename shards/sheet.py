"""A contact sheet: each person's picture beside every label, for people to look at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shards.meta import NOBODY
from shards.schema import Sample
from shards.semantics import LIMB_INDICES, SURFACE_TO_7, SURFACES_24, merge, person_mask

TILE_HEIGHT = 256
"""Height of a picture on the sheet, pixels; widths follow their proportions."""
GAP = 4
CAPTION = 14
PAPER, INK, ABSENT = (255, 255, 255), (40, 40, 40), (232, 232, 232)
CARRIED_COLOUR = (250, 250, 250)
LEFT, RIGHT, MIDDLE = (80, 200, 255), (255, 140, 60), (120, 230, 120)

PART_COLOURS = np.array(
    [
        (0, 0, 0),
        (230, 80, 80),
        (70, 130, 230),
        (90, 200, 120),
        (240, 190, 60),
        (150, 90, 210),
        (60, 190, 200),
        (230, 120, 190),
    ],
    dtype=np.uint8,
)
"""(8, 3) uint8: colour of each of `PARTS_7`, background black."""


def draw_sheet(
    samples: Sequence[Sample], *, columns: int = 2, compact: bool = False, captions: Sequence[str] | None = None
) -> np.ndarray:
    """Draw people in a grid.

    columns: people per row. Each shows image, texture, IUV (hue by surface, shade by U and V), parts, skeleton on the
    image, and the aligned picture, a grey field where it has none; compact: the image only. captions: one text for each,
    by default key, identity and camera. Returns (H, W, 3) uint8, RGB. Raises ValueError without samples.
    """
    if not samples or columns < 1:
        raise ValueError(f"a sheet needs samples and at least one column, got {len(samples)} and {columns}")
    texts = [_caption(sample) for sample in samples] if captions is None else captions
    if len(texts) != len(samples):
        raise ValueError(f"captions must be one for each of {len(samples)} samples, got {len(texts)}")
    groups = [_group(s, text, compact) for s, text in zip(samples, texts, strict=True)]
    width, height = max(g.width for g in groups), max(g.height for g in groups)
    columns = min(columns, len(groups))
    num_rows = -(-len(groups) // columns)
    sheet = Image.new("RGB", (columns * (width + 2 * GAP) + GAP, num_rows * (height + 2 * GAP) + GAP), PAPER)
    for i, group in enumerate(groups):
        row, column = divmod(i, columns)
        sheet.paste(group, (GAP + column * (width + 2 * GAP), GAP + row * (height + 2 * GAP)))
    return np.array(sheet)


def draw_identities(rows: Sequence[tuple[str, Sequence[tuple[str, Sample]]]]) -> np.ndarray:
    """Draw one person a row.

    rows: (title, (caption, sample) for each picture of the row). Returns (H, W, 3) uint8, RGB. Raises ValueError
    without rows, or for a row without samples.
    """
    if not rows or not all(pictures for _, pictures in rows):
        raise ValueError(f"a sheet needs samples in every row, got rows of {[len(row) for _, row in rows]}")
    drawn = [(title, [_group(sample, caption, True) for caption, sample in row]) for title, row in rows]
    width = max(sum(tile.width + GAP for tile in tiles) for _, tiles in drawn)
    height = 2 * CAPTION + TILE_HEIGHT + 2 * GAP
    sheet = Image.new("RGB", (width + GAP, height * len(drawn) + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for i, (title, tiles) in enumerate(drawn):
        x, y = GAP, GAP + i * height
        draw.text((x, y), _shorten(title, draw, font, width - GAP), fill=INK, font=font)
        for tile in tiles:
            sheet.paste(tile, (x, y + CAPTION))
            x += tile.width + GAP
    return np.array(sheet)


def choose_identities(
    identities: np.ndarray, camera_ids: np.ndarray, *, num: int, per_identity: int
) -> list[list[int]]:
    """Which samples show `num` identities best: spread evenly over the identities, and over each one's cameras first.

    identities (N,) str, "" for none; camera_ids (N,) int. Junk and distractors are nobody. Returns up to `num` lists, each
    of up to `per_identity` indices of one identity, by camera and then index. Raises ValueError where nobody is named.
    """
    people = [one for one in np.unique(identities).tolist() if one and not one.endswith(NOBODY)]
    if not people:
        raise ValueError("a sheet by identity needs a set with identities, this one names no identities")
    if num < 1 or per_identity < 1:
        raise ValueError(
            f"of {len(people)} identities at least one must be shown, by at least one picture, got {num} and {per_identity}"
        )
    order = np.argsort(identities, kind="stable")
    by_name = identities[order]
    chosen = []
    for k in np.linspace(0, len(people) - 1, min(num, len(people))).astype(int):
        theirs = order[np.searchsorted(by_name, people[k]) : np.searchsorted(by_name, people[k], side="right")]
        cameras = [theirs[camera_ids[theirs] == camera] for camera in np.unique(camera_ids[theirs])]
        shares = _share([len(one) for one in cameras], per_identity)
        spread = [one[np.linspace(0, len(one) - 1, n).astype(int)] for one, n in zip(cameras, shares, strict=True)]
        chosen.append(np.concatenate(spread).tolist())
    return chosen


def _share(sizes: Sequence[int], total: int) -> list[int]:
    """How many of each, one from everywhere before a second from anywhere, `total` at most."""
    shares = [0] * len(sizes)
    while sum(shares) < min(total, sum(sizes)):
        for i, size in enumerate(sizes):
            shares[i] += shares[i] < size and sum(shares) < total
    return shares


def colour_iuv(iuv: np.ndarray) -> np.ndarray:
    """iuv (H, W, 3) uint8 as a picture (H, W, 3) uint8: hue by surface, saturation by U, brightness by V."""
    surface = iuv[..., 0].astype(np.float32)
    hue = (surface * 7 % len(SURFACES_24)) / len(SURFACES_24) * 255  # 7: neighbours in number differ in hue
    saturation, value = 255 - iuv[..., 1] * 0.5, 120 + iuv[..., 2] * 0.53
    hsv = np.stack([hue, saturation, value], axis=-1).astype(np.uint8)
    colours = np.array(Image.fromarray(hsv, "HSV").convert("RGB"))
    colours[surface == 0] = 0
    colours[person_mask(iuv) & (surface == 0)] = CARRIED_COLOUR
    return colours


def draw_skeleton(image: np.ndarray, keypoints: Sequence[Sequence[float]]) -> np.ndarray:
    """image (H, W, 3) uint8 with COCO-17 keypoints (17 x [x, y, v], pixels) drawn on it: left blue, right orange.

    Seen points are filled, hidden ones hollow; points outside the picture and their limbs are left out.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for start, end in LIMB_INDICES.tolist():
        if keypoints[start][2] > 0 and keypoints[end][2] > 0:
            sides = {_side(start), _side(end)}
            colour = sides.pop() if len(sides) == 1 else MIDDLE
            draw.line([*_pixel(keypoints[start]), *_pixel(keypoints[end])], fill=colour, width=2)
    for i, point in enumerate(keypoints):
        if point[2] > 0:
            x, y = _pixel(point)
            fill = _side(i) if point[2] == 2 else None
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], outline=_side(i), fill=fill)
    return np.array(picture)


def _side(keypoint: int) -> tuple[int, int, int]:
    if keypoint == 0:
        return MIDDLE
    return LEFT if keypoint % 2 else RIGHT


def _pixel(point: Sequence[float]) -> tuple[float, float]:
    return point[0] - 0.5, point[1] - 0.5  # PIL counts from the centre of the first pixel


def _caption(sample: Sample) -> str:
    meta = sample.meta
    parts = [sample.key, meta.origin]
    if meta.identity is not None:
        parts.append(f"id {meta.identity}")
    if meta.camera_id is not None:
        parts.append(f"camera {meta.camera_id}")
    return "  ".join(parts)


def _group(sample: Sample, caption: str, compact: bool) -> Image.Image:
    tiles = [("image", sample.image)]
    if not compact:
        parts = sample.parts
        if parts is None and sample.iuv is not None:
            parts = merge(sample.iuv[..., 0], SURFACE_TO_7)
        keypoints = sample.meta.keypoints
        tiles += [
            ("texture", sample.texture),
            ("iuv", None if sample.iuv is None else colour_iuv(sample.iuv)),
            ("parts", None if parts is None else PART_COLOURS[parts]),
            ("skeleton", None if keypoints is None else draw_skeleton(sample.image, keypoints)),
            ("aligned", sample.aligned),
        ]
    pictures = [(name, _fit(array, sample.image.shape)) for name, array in tiles]
    width = sum(picture.width + GAP for _, picture in pictures) - GAP
    group = Image.new("RGB", (width, TILE_HEIGHT + CAPTION * (1 if compact else 2)), PAPER)
    draw, font = ImageDraw.Draw(group), ImageFont.load_default(size=10)
    x, top = 0, CAPTION * (1 if compact else 2)
    draw.text((0, 0), _shorten(caption, draw, font, width), fill=INK, font=font)
    for name, picture in pictures:
        if not compact:
            draw.text((x, CAPTION), name, fill=INK, font=font)
        group.paste(picture, (x, top))
        x += picture.width + GAP
    return group


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, width: int) -> str:
    while text and draw.textlength(text, font=font) > width:
        text = text[:-1]
    return text


def _fit(array: np.ndarray | None, like: tuple[int, ...]) -> Image.Image:
    if array is None:
        return Image.new("RGB", (round(TILE_HEIGHT * like[1] / like[0]), TILE_HEIGHT), ABSENT)
    picture = Image.fromarray(array)
    if picture.height == TILE_HEIGHT:
        return picture
    size = (max(1, round(TILE_HEIGHT * picture.width / picture.height)), TILE_HEIGHT)
    return picture.resize(size, Image.Resampling.BILINEAR)
