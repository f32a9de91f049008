"""Tiling patterns: asphalt, paving, brick, foliage, fences, silhouettes.

A pattern is (SIZE, SIZE, 4) float32: RGB as a ratio around 1, and alpha in [0, 1]; row 0 is v = 0, the bottom.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth.background.planes_numba import SIZE

Grid = NDArray[np.float32]


def opaque(value: Grid, colour: Grid | None = None) -> Grid:
    rgb = np.repeat(value[..., None], 3, axis=-1) if colour is None else value[..., None] * colour
    return np.concatenate([np.clip(rgb, 0, 1.99), np.ones_like(rgb[..., :1])], axis=-1).astype(np.float32)


def _cutout(value: Grid, alpha: Grid) -> Grid:
    image = opaque(value)
    image[..., 3] = np.clip(alpha, 0, 1)
    return image


def noise(rng: np.random.Generator, exponent: float, *, stretch: float = 1.0, low_hz: float = 0.0) -> Grid:
    """Tiling noise of unit variance whose amplitude falls as frequency ** -exponent; stretched along v."""
    fy = np.fft.fftfreq(SIZE)[:, None] * SIZE * stretch
    fx = np.fft.rfftfreq(SIZE)[None] * SIZE
    frequency = np.hypot(fy, fx)
    gain = np.where(frequency > low_hz, np.maximum(frequency, 1) ** -exponent, 0)
    gain[0, 0] = 0
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE), np.float32)) * gain.astype(np.float32)
    field = np.fft.irfft2(spectrum, (SIZE, SIZE))
    return field / field.std()


def _blur(image: Grid, sigma: float) -> Grid:
    """Wrap-around Gaussian blur of the first two axes, sigma in 1/512 of a tile."""
    fy, fx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]
    gain = np.exp(-2 * (np.pi * sigma * SIZE / 512) ** 2 * (fy**2 + fx**2))
    gain = gain.astype(np.float32).reshape(gain.shape + (1,) * (image.ndim - 2))
    spectrum = np.fft.rfft2(image, axes=(0, 1)) * gain
    return np.fft.irfft2(spectrum, (SIZE, SIZE), axes=(0, 1))


def _uv() -> tuple[Grid, Grid]:
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    return axis[None].repeat(SIZE, 0), axis[:, None].repeat(SIZE, 1)


def _hues(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Grid:
    """(*shape, 3) factors around 1, mostly along warm to cool: stone and paint vary so, rarely towards magenta."""
    warm = strength * rng.standard_normal((*shape, 1))
    other = 0.3 * strength * rng.standard_normal((*shape, 1))
    return (1 + warm * (1.0, 0.1, -1.0) + other * (-0.5, 0.5, -0.5)).astype(np.float32)


def _step(distance: Grid, softness: float = 1.0 / SIZE) -> Grid:
    """1 where distance > 0, anti-aliased over about a texel; distances in tiles."""
    return np.clip(distance / softness + 0.5, 0, 1)


def _cells(rng: np.random.Generator, count: int) -> tuple[Grid, Grid, NDArray[np.int64]]:
    """Tiling Voronoi cells of a jittered count x count grid: nearest, second distance (in cells), and cell index."""
    jitter = rng.uniform(0.1, 0.9, (count, count, 2)).astype(np.float32)
    place = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE * count
    cell = place.astype(np.int64)
    nearest = np.full((SIZE, SIZE), 81.0, np.float32)
    second, index = nearest.copy(), np.zeros((SIZE, SIZE), np.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row, column = ((cell + step) % count for step in (dy, dx))
            point = jitter[row[:, None], column]
            squared = (point[..., 0] + (cell + dx - place)) ** 2 + (point[..., 1] + (cell + dy - place)[:, None]) ** 2
            squared = squared.astype(np.float32)
            index = np.where(squared < nearest, row[:, None] * count + column, index)
            second = np.minimum(second, np.maximum(nearest, squared))
            nearest = np.minimum(nearest, squared)
    return np.sqrt(nearest), np.sqrt(second), index


def cracks(rng: np.random.Generator, count: int) -> Grid:
    """Thin wandering lines along the borders of a few cells, broken by noise."""
    nearest, second, _ = _cells(rng, count)
    width = 0.012 * (1 + 0.5 * noise(rng, 1.0))
    return _step(width - (second - nearest), 0.015) * _step(noise(rng, 1.5), 0.5)


def asphalt(rng: np.random.Generator) -> Grid:
    stones = noise(rng, 0.0)
    speckle = 0.10 * _blur(stones, 0.7) / 0.4 + 0.16 * np.maximum(stones - 1.6, 0)
    return opaque(1 + speckle * 0.8 + 0.05 * noise(rng, 1.3) - 0.2 * cracks(rng, 3))


def masonry(
    rng: np.random.Generator,
    *,
    rows: int,
    columns: int,
    shift: float,
    joint: float,
    tone: float,
    grain: float,
    bright_joint: bool = False,
) -> Grid:
    """Units in courses: every unit has its tone and a slight hue, joints are darker (mortar may be lighter)."""
    u, v = _uv()
    course = (v * rows).astype(np.int64)
    x = u * columns + shift * (course % 2)
    unit = np.floor(x).astype(np.int64) % columns
    edge_u = np.minimum(x - np.floor(x), 1 - (x - np.floor(x))) / columns
    edge_v = np.minimum(v * rows - course, 1 - (v * rows - course)) / rows
    ragged = joint / 2 * (1 + 0.35 * noise(rng, 0.9))
    body = _step(np.minimum(edge_u, edge_v) - ragged, 2.5 / SIZE)
    tones = (1 + tone * rng.standard_normal((rows, columns)))[course, unit].astype(np.float32)
    hue = _hues(rng, (rows, columns), 0.3 * tone)[course, unit]
    surface = tones + grain * 0.7 * noise(rng, 0.3) + grain * noise(rng, 1.2)
    # Light from above catches the upper edge of each unit.
    bevel = 0.06 * (_step(0.02 - np.abs(edge_v - joint), 0.02))
    mortar = (1.25 if bright_joint else 0.55) + 0.12 * noise(rng, 0.6)
    return opaque(body * (surface + bevel) + (1 - body) * mortar, body[..., None] * (hue - 1) + 1)


def cobbles(rng: np.random.Generator) -> Grid:
    nearest, second, index = _cells(rng, 14)
    tones = rng.uniform(0.75, 1.25, 14 * 14).astype(np.float32)[index]
    gap = _step(second - nearest - 0.14, 0.12)
    dome = 1.1 - 0.35 * nearest**2
    return opaque(gap * tones * dome * (1 + 0.06 * noise(rng, 0.4)) + (1 - gap) * 0.4)


def gravel(rng: np.random.Generator) -> Grid:
    nearest, _, index = _cells(rng, 60)
    tones = rng.uniform(0.6, 1.35, 3600).astype(np.float32)[index]
    return opaque(tones * (1.15 - 0.6 * nearest) * (1 + 0.1 * noise(rng, 1.2)))


def grass(rng: np.random.Generator) -> Grid:
    blades = 0.24 * noise(rng, 0.5, stretch=2.0) + 0.14 * noise(rng, 0.3)
    patches = noise(rng, 1.5)
    dry = np.clip(patches, 0, 2)[..., None] * np.array([0.14, 0.04, -0.08], np.float32)
    return opaque(1 + blades + 0.12 * patches, 1 + dry.astype(np.float32))


def plaster(rng: np.random.Generator) -> Grid:
    streaks = np.maximum(noise(rng, 1.1, stretch=15.0), 0) * 0.05
    return opaque(1 + 0.03 * noise(rng, 0.5) + 0.05 * noise(rng, 1.5) - streaks)


def corrugated(rng: np.random.Generator) -> Grid:
    """Slats of a roller shutter or trapezoid metal: a repeated light and dark profile along v."""
    _, v = _uv()
    phase = (v * 16) % 1
    profile = 0.85 + 0.3 * np.clip(np.sin(2 * np.pi * phase) * 1.5, -1, 1) - 0.35 * _step(0.1 - phase, 0.05)
    return opaque(profile * (1 + 0.05 * noise(rng, 1.3)))


def wood(rng: np.random.Generator) -> Grid:
    """Vertical boards with grain."""
    u, _ = _uv()
    board = (u * 10).astype(np.int64)
    edge = np.abs(u * 10 - board - 0.5)
    tones = rng.uniform(0.8, 1.2, 10).astype(np.float32)[board]
    return opaque(tones * (1 + 0.1 * noise(rng, 0.9, stretch=20.0)) * (1 - 0.55 * _step(edge - 0.46, 0.03)))


def _rectangles(rng: np.random.Generator, count: int, size: tuple[float, float], bias: float = 1.0) -> Grid:
    """Opaque rectangles of random tone and slight hue thrown over a tile, wrapping around: things out of focus."""
    image = np.ones((SIZE, SIZE, 3), np.float32)
    for _ in range(count):
        width, height = rng.uniform(size[0], size[1], 2) * SIZE
        column, row = rng.integers(0, SIZE, 2)
        columns = np.arange(column, column + int(width * bias) + 1) % SIZE
        rows = np.arange(row, row + int(height) + 1) % SIZE
        tone = rng.uniform(0.25, 1.7) * _hues(rng, (), 0.13)
        image[np.ix_(rows, columns)] = np.maximum(tone, 0.05)
    return image


def curtain_glass(rng: np.random.Generator) -> Grid:
    """Panes between mullions: dim interior plus a reflected street, different in each pane."""
    u, v = _uv()
    scene = _blur(_rectangles(rng, 90, (0.03, 0.3), bias=0.5), 7)
    sky = np.clip(0.5 + 0.3 * noise(rng, 2.1), 0, 2)[..., None] * np.array([0.9, 1.0, 1.12], np.float32)
    pane = (v * 2).astype(np.int64) * 3 + (u * 3).astype(np.int64)
    mix = rng.uniform(0.2, 0.8, 6).astype(np.float32)[pane][..., None]
    colour = mix * scene + (1 - mix) * sky
    edge = np.minimum(np.abs(u * 3 - np.round(u * 3)) / 3, np.abs(v * 2 - np.round(v * 2)) / 2)
    frame = _step(0.009 - edge, 3 / SIZE)[..., None]
    return opaque(np.ones_like(u), (1 - frame) * colour * 0.8 + frame * 1.25)


def shop_window(rng: np.random.Generator) -> Grid:
    """A lit interior behind glass: shelves and goods out of focus, lamps, dark lower part, frame."""
    u, v = _uv()
    goods = _blur(_rectangles(rng, 170, (0.02, 0.16)), 3.5)
    dim = (0.25 + 0.75 * np.clip(_blur(noise(rng, 1.2), 8) * 0.8 + 0.5 + 0.5 * (v - 0.5), 0, 1))[..., None]
    reflection = np.clip(0.12 + 0.1 * noise(rng, 2.0), 0, 1)[..., None] * np.array([0.9, 1.0, 1.1], np.float32)
    lamps = np.zeros((SIZE, SIZE, 3), np.float32)
    for column in rng.integers(0, SIZE, 6):
        lamps[int(0.82 * SIZE) : int(0.86 * SIZE), column : column + SIZE // 20] = (6, 5.4, 4.6)
    colour = goods * dim * 0.75 + reflection + _blur(lamps, 5)
    edge = np.minimum(np.abs(u * 2 - np.round(u * 2)) / 2, np.minimum(v, 1 - v))
    frame = _step(0.011 - edge, 3 / SIZE)[..., None]
    return opaque(np.ones_like(u), (1 - frame) * colour + frame * 0.35)


def foliage(rng: np.random.Generator) -> Grid:
    """Leaves in clumps: dark hollows, lit leaf faces of varied hue; alpha is a soft noise that frays outlines."""
    _, _, large = _cells(rng, 34)
    near, _, small = _cells(rng, 64)
    leaf = rng.uniform(0.55, 1.5, 64 * 64).astype(np.float32)[small] * (1.2 - 0.55 * near)
    under = rng.uniform(0.25, 1.0, 34 * 34).astype(np.float32)[large]
    clump = np.clip(0.55 + 0.5 * noise(rng, 1.25, low_hz=2), 0, 1)
    value = clump * leaf + (1 - clump) * under * 0.45
    hue = _hues(rng, (64 * 64,), 0.12)[small]
    image = opaque(value, hue)
    image[..., 3] = np.clip(0.5 + 0.2 * noise(rng, 0.9, low_hz=3), 0, 1)
    return image


def clutter(rng: np.random.Generator) -> Grid:
    """The far end of a street: building blocks with window rows, dark gaps, green, all soft."""
    scene = _rectangles(rng, 60, (0.05, 0.3), bias=0.6)
    windows = _rectangles(rng, 260, (0.008, 0.035))
    mask = _step(noise(rng, 1.0) - 0.4, 0.1)[..., None]
    green = np.clip(noise(rng, 1.2), 0, 1.2)[..., None] * np.array([0.24, 0.36, 0.16], np.float32)
    colour = scene * (1 - mask) + windows * mask
    hide = np.clip(noise(rng, 1.6) - 0.2, 0, 1)[..., None]
    return opaque(np.ones((SIZE, SIZE), np.float32), _blur(colour * (1 - hide) + green * hide, 1.5))


def bars(rng: np.random.Generator) -> Grid:
    """Upright bars every 0.11 m."""
    u, _ = _uv()
    phase = np.abs((u * 14) % 1 - 0.5) / 14
    return _cutout(1.15 - 18 * phase + 0.05 * noise(rng, 0.8), _step(0.0055 - phase, 1.5 / SIZE))


def mesh() -> Grid:
    """Welded wire: 5 x 20 cm meshes."""
    u, v = _uv()
    wire_u, wire_v = np.abs((u * 16) % 1 - 0.5) / 16, np.abs((v * 4) % 1 - 0.5) / 4
    return _cutout(np.ones_like(u), np.maximum(_step(0.0035 - wire_u), _step(0.0045 - wire_v)))


def rails(rng: np.random.Generator) -> Grid:
    """A pipe railing one tile high: hand rail, two lower rails and a post per tile, lit from above."""
    u, v = _uv()
    alpha, value = np.zeros_like(u), np.ones_like(u)
    for height, radius in ((0.94, 0.026), (0.55, 0.018), (0.18, 0.018)):
        distance = v - height
        alpha = np.maximum(alpha, _step(radius - np.abs(distance), 1.5 / SIZE))
        value = np.where(np.abs(distance) < radius, 1 + 0.45 * distance / radius, value)
    post = np.abs(u - 0.5)
    on_post = (post < 0.025) & (v < 0.95)
    value = np.where(on_post, 1.15 - (post / 0.025) ** 2 * 0.5, value)
    alpha = np.maximum(alpha, _step(0.025 - post, 1.5 / SIZE) * (v < 0.95))
    return _cutout(value + 0.05 * noise(rng, 0.8), alpha)


def litter(rng: np.random.Generator) -> Grid:
    """Fallen leaves and scraps, far apart and in drifts."""
    near, _, index = _cells(rng, 72)
    present = (rng.random(72 * 72) < 0.5).astype(np.float32)[index]
    drift = _step(noise(rng, 1.3) - 0.7, 0.8)
    radius = rng.uniform(0.1, 0.36, 72 * 72).astype(np.float32)[index]
    tones = rng.uniform(0.5, 1.4, 72 * 72).astype(np.float32)[index]
    return _cutout(tones, present * drift * _step(radius - near, 0.15))


def dapple(rng: np.random.Generator) -> Grid:
    """Shade of a crown: alpha is how much sun is held back, with round bright spots (images of the sun)."""
    cover = _step(_blur(noise(rng, 0.6, low_hz=3), 5) / 0.25 + 0.25, 0.5)
    branches = _step(0.16 - np.abs(noise(rng, 1.7)), 0.06)
    return _cutout(np.ones_like(cover), _blur(np.maximum(cover, branches), 1.5))


def car(rng: np.random.Generator) -> Grid:
    """A car's side, 4.6 m to a tile, standing on v = 0: body of ratio 1, dark glass, wheels, shadowed sill."""
    u, v = _uv()
    x, y = u * 4.6 - 2.3, v * 4.6
    belt = 0.92 - 0.02 * x**2
    roof = 1.42 - 0.16 * np.abs(x + 0.15) ** 2.6 / 1.6
    nose = 2.12 - 0.35 * np.maximum(y - 0.6, 0) - 0.5 * np.maximum(0.35 - y, 0)
    lower = np.minimum(np.minimum(belt - y, y - 0.2), nose - np.abs(x))
    body = np.maximum(lower, np.minimum(roof - y, y - 0.5))
    glass = np.minimum(np.minimum(roof - 0.1 - y, y - belt + 0.02), 0.05 + np.abs(np.abs(x - 0.05) - 0.02) * 2)
    value = 0.72 + 0.33 * np.clip((y - 0.3) / 0.7, 0, 1) + 0.25 * np.exp(-(((y - 0.78) / 0.05) ** 2))
    for seam in (-0.95, 0.12, 1.05):
        value = value * (1 - 0.6 * _step(0.012 - np.abs(x - seam), 0.012) * (y < belt))
    value = np.where(glass > 0, 0.14 + 0.4 * np.clip((y - 0.95) / 0.5, 0, 1) ** 2 + 0.04 * noise(rng, 1.8), value)
    value = np.where(y < 0.32, 0.25, value)
    alpha = _step(body, 0.02)
    for axle in (-1.35, 1.35):
        radius = np.hypot(x - axle, y - 0.32)
        tyre = 0.08 + 0.9 * _step(0.21 - radius, 0.01) * (0.55 + 0.4 * np.cos(5 * np.arctan2(y - 0.32, x - axle)))
        value = np.where(radius < 0.38, np.where(radius < 0.32, tyre, 0.05), value)
        alpha = np.maximum(alpha, _step(0.32 - radius, 0.02))
    # A texel is 2 cm of car: without this its edges show as stairs.
    return _cutout(_blur(value, 1.8), _blur(alpha, 1.4))


def bicycle() -> Grid:
    """A bicycle's side, 2 m to a tile, standing on v = 0: two wheels, frame, bars, saddle."""
    u, v = _uv()
    x, y = u * 2 - 1, v * 2
    alpha = np.zeros_like(u)
    for axle in (-0.52, 0.52):
        radius = np.hypot(x - axle, y - 0.34)
        alpha = np.maximum(alpha, _step(0.02 - np.abs(radius - 0.32), 0.008))
        spokes = _step(0.15 - np.abs(np.sin(9 * np.arctan2(y - 0.34, x - axle))), 0.2) * (radius < 0.32)
        alpha = np.maximum(alpha, 0.25 * spokes)
    tubes = [(-0.52, 0.34, -0.05, 0.3), (-0.05, 0.3, 0.36, 0.72), (-0.2, 0.76, 0.36, 0.74), (-0.05, 0.3, -0.22, 0.88)]
    tubes += [(-0.52, 0.34, -0.18, 0.72), (0.52, 0.34, 0.34, 0.95), (0.34, 0.95, 0.2, 1.0), (-0.34, 0.9, -0.1, 0.92)]
    for x0, y0, x1, y1 in tubes:
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        t = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
        alpha = np.maximum(alpha, _step(0.022 - np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)), 0.01))
    return _cutout(np.ones_like(u), alpha)
