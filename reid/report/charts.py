"""Charts as the page draws them: paths in a square that the browser stretches, and labels beside them that it does not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

SIZE = 1000
"""Width and height of the square that paths lie in, y downwards."""
MAX_POINTS = 240
"""Of a curve: beyond it, each point is the mean of several, so that the page of a long run stays small."""
SMOOTH_OVER = 20
"""A smooth curve is the mean over this part of all points."""
NUM_COLOURS = 6
DOTS = 40
"""Points up to which each is marked."""


class Tick(NamedTuple):
    """A label beside a chart."""

    place: float
    """0..100, from the left or from below."""
    label: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curve:
    """Values to be drawn."""

    name: str
    x: np.ndarray
    """(N,) float, ascending."""
    y: np.ndarray
    """(N,) float, finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """A curve as SVG draws it."""

    data: str
    kind: Literal["line", "faint", "area", "dots"]
    colour: int
    """0..NUM_COLOURS - 1."""


class Entry(NamedTuple):
    """A line of the legend."""

    name: str
    value: str
    colour: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """What the template needs to draw one."""

    title: str
    x_name: str
    paths: tuple[Path, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    legend: tuple[Entry, ...]


class Cell(NamedTuple):
    """Of a matrix."""

    text: str
    background: str
    """`rgb(r, g, b)`."""
    ink: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """A table whose cells are coloured by their values."""

    title: str
    corner: str
    """What rows and columns are."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


def line_chart(
    title: str, curves: Sequence[Curve], *, x_name: str, percent: bool = False, smooth: bool = False, area: bool = False
) -> Chart:
    """Curves in one chart, their last values in the legend.

    percent: values 0..1 are labelled so, and the chart begins at 0; smooth: draw each faintly, and its moving mean above
    it; area: fill the ground below each. Raises ValueError without curves.
    """
    if not curves or not all(len(curve.x) for curve in curves):
        raise ValueError(f"a chart needs curves with points, got {[len(curve.x) for curve in curves]} points")
    means = [fewer(curve, MAX_POINTS) for curve in curves]
    x_low, x_high = (f(float(f(curve.x)) for curve in means) for f in (min, max))
    y_low, y_high = (f(float(f(curve.y)) for curve in means) for f in (min, max))
    x_scale, y_scale = ticks(x_low, x_high), ticks(0.0 if percent or area else y_low, y_high)
    box = (x_low, x_high if x_high > x_low else x_low + 1, y_scale[0], y_scale[-1])
    paths: list[Path] = []
    for number, curve in enumerate(means):
        colour, data = number % NUM_COLOURS, path_data(curve, box)
        window = len(curve.x) // SMOOTH_OVER if smooth else 0
        if area:
            paths.append(Path(data=f"{data}V{SIZE}H0Z", kind="area", colour=colour))
        paths.append(Path(data=data, kind="faint" if window > 1 else "line", colour=colour))
        if window > 1:
            smoothed = Curve(name=curve.name, x=curve.x, y=moving_mean(curve.y, window))
            paths.append(Path(data=path_data(smoothed, box), kind="line", colour=colour))
        if len(curve.x) <= DOTS and not smooth and not area:
            paths.append(Path(data=path_data(curve, box, dots=True), kind="dots", colour=colour))
    return Chart(
        title=title,
        x_name=x_name,
        paths=tuple(paths),
        x_ticks=_labels([value for value in x_scale if x_low <= value <= x_high], box[0], box[1]),
        y_ticks=_labels(y_scale, box[2], box[3], percent=percent),
        legend=tuple(
            Entry(curve.name, "" if area else _label(float(curve.y[-1]), percent=percent), i % NUM_COLOURS)
            for i, curve in enumerate(curves)
        ),
    )


def fewer(curve: Curve, num: int) -> Curve:
    """`curve`, or where it has more points than `num`, the means of `num` groups of neighbours."""
    if len(curve.x) <= num:
        return curve
    first = np.arange(num) * len(curve.x) // num
    counts = np.diff(first, append=len(curve.x))
    return Curve(
        name=curve.name, x=np.add.reduceat(curve.x, first) / counts, y=np.add.reduceat(curve.y, first) / counts
    )


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """values (N,) -> (N,): each the mean of those up to window // 2 away, of fewer at the ends."""
    sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    place = np.arange(len(values))
    low, high = (place - window // 2).clip(0), (place + window // 2 + 1).clip(max=len(values))
    return (sums[high] - sums[low]) / (high - low)


def path_data(curve: Curve, box: tuple[float, float, float, float], *, dots: bool = False) -> str:
    """The `d` of an SVG path. box: smallest and largest x and y of the square."""
    x_low, x_high, y_low, y_high = box
    across = (curve.x - x_low) / (x_high - x_low) * SIZE
    down = (y_high - curve.y) / (y_high - y_low) * SIZE
    points = [f"{x:g} {y:g}" for x, y in zip(across.round(1).tolist(), down.round(1).tolist(), strict=True)]
    # A line of no length with round ends is a dot, which stays round where the square is stretched.
    return "".join(f"M{point}h0" for point in points) if dots else "M" + "L".join(points)


def ticks(low: float, high: float, num: int = 4) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `num` steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _labels(values: Sequence[float], low: float, high: float, *, percent: bool = False) -> tuple[Tick, ...]:
    return tuple(Tick(round((value - low) / (high - low) * 100, 2), _label(value, percent=percent)) for value in values)


def _label(value: float, *, percent: bool = False) -> str:
    if percent:
        return f"{100 * value:.3g}%"
    if 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.4g}"


RAMP = np.array([[243, 247, 245], [146, 205, 187], [47, 143, 120], [12, 66, 55]])
"""(4, 3): colours of the smallest to the largest value of a matrix."""


def colour_cell(value: float, low: float, high: float, *, text: str, title: str = "") -> Cell:
    """A cell with the colour that `value` has between `low` and `high`, and black or white ink, which is read best on it."""
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
    place = share * (len(RAMP) - 1)
    red, green, blue = (round(float(np.interp(place, range(len(RAMP)), channel))) for channel in RAMP.T)
    # Of WCAG 2.2: where black and white have the same contrast.
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    is_light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179
    ink = "rgb(0, 0, 0)" if is_light else "rgb(255, 255, 255)"
    return Cell(text, f"rgb({red}, {green}, {blue})", ink, title)
