"""How far a body reaches from the axes of trunk, arm and leg, as a table of rows and angles that cloth hangs on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

ROW_M = 0.02
NUM_ANGLES = 48


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reach:
    """How far flesh reaches from an axis: radius (R, A) metres at rows `start + ROW_M * r` along it and angles.

    centre (R, 2): where the axis runs in the two other coordinates. Angle a of A is at (a + 0.5) / A of a turn - pi.
    """

    start: float
    centre: NDArray[np.float32]
    radius: NDArray[np.float32]

    def rows(self) -> NDArray[np.float32]:
        return self.start + ROW_M * np.arange(len(self.centre), dtype=np.float32)

    def polar(self, along: NDArray, across: NDArray) -> tuple[NDArray, NDArray]:
        """Radius (N,) and angle (N,) about the axis of points at `along` (N,) with other coordinates `across` (N, 2)."""
        row = (along - self.start) / ROW_M
        grid = np.arange(len(self.centre))
        offset = across - np.stack([np.interp(row, grid, self.centre[:, k]) for k in range(2)], 1)
        return np.hypot(offset[:, 0], offset[:, 1]), np.arctan2(offset[:, 0], offset[:, 1])

    def at(self, table: NDArray, along: NDArray, angle: NDArray) -> NDArray[np.float32]:
        """Bilinear look-up (N,) of a (R, A) table at rows `along` (N,) and angles (N,), wrapping around."""
        index, share = self._cells(along, angle)
        return np.einsum("nk,nk->n", table.ravel()[index], share)

    def reader(self, along: NDArray, angle: NDArray) -> csr_matrix:
        """The same for many tables at the same places: `reader @ table.ravel()` is `at(table, along, angle)`."""
        index, share = self._cells(along, angle)
        ends = np.arange(0, index.size + 1, 4)
        return csr_matrix((share.ravel(), index.ravel(), ends), (len(index), self.radius.size))

    def _cells(self, along: NDArray, angle: NDArray) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Where (N, 4) in a flat table the four cells around a place lie, and the share (N, 4) of each."""
        row = np.clip((along - self.start) / ROW_M, 0, len(self.radius) - 1.001)
        column = (angle + np.pi) / (2 * np.pi) * NUM_ANGLES - 0.5
        r0, c0 = np.floor(row).astype(np.int32), np.floor(column).astype(np.int32)
        fr, fc = row - r0, column - c0
        left, right = r0 * NUM_ANGLES + c0 % NUM_ANGLES, r0 * NUM_ANGLES + (c0 + 1) % NUM_ANGLES
        index = np.stack([left, right, left + NUM_ANGLES, right + NUM_ANGLES], 1)
        share = np.stack([(1 - fr) * (1 - fc), (1 - fr) * fc, fr * (1 - fc), fr * fc], 1)
        return index, share.astype(np.float32)


def measure_reach(points: NDArray, *, hull: bool, mid_line: bool) -> Reach:
    """Reach of points (N, 3) = (along, first, second across) about an axis through their cross-sections' middles."""
    from scipy import ndimage

    start = float(points[:, 0].min())
    row = ((points[:, 0] - start) / ROW_M + 0.5).astype(int)
    num_rows = row.max() + 1
    centre = np.zeros((num_rows, 2), np.float32)
    for r in range(num_rows):
        across = points[np.abs(row - r) <= 1, 1:]
        centre[r] = (across.min(0) + across.max(0)) / 2
    if mid_line:
        centre[:, 0] = 0
    centre = ndimage.gaussian_filter1d(centre, 2.0, axis=0, mode="nearest")
    offset = points[:, 1:] - centre[row]
    angle = np.arctan2(offset[:, 0], offset[:, 1])
    column = ((angle + np.pi) / (2 * np.pi) * NUM_ANGLES).astype(int) % NUM_ANGLES
    radius = np.zeros((num_rows, NUM_ANGLES), np.float32)
    np.maximum.at(radius, (row, column), np.hypot(offset[:, 0], offset[:, 1]))
    radius = _fill_round(radius)
    if hull:
        radius = _hull_radius(radius)
    return Reach(
        start=start, centre=centre, radius=ndimage.gaussian_filter(radius, (1.0, 1.0), mode=("nearest", "wrap"))
    )


def _fill_round(radius: NDArray) -> NDArray:
    """Angles that no point fell into take their neighbours' values, around the turn."""
    filled = radius.copy()
    grid = np.arange(NUM_ANGLES)
    for r, line in enumerate(radius):
        known = np.nonzero(line)[0]
        around = np.concatenate([known - NUM_ANGLES, known, known + NUM_ANGLES])
        filled[r] = np.interp(grid, around, np.tile(line[known], 3))
    return filled


def _hull_radius(radius: NDArray) -> NDArray[np.float32]:
    """Radii (R, A) of the convex hulls of the polygons with the given radii (R, A), seen from their centres."""
    angle = (np.arange(NUM_ANGLES) + 0.5) / NUM_ANGLES * 2 * np.pi
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    hull = radius.astype(np.float64).copy()
    for step in range(2, NUM_ANGLES // 2):
        x2, y2 = np.roll(x, -step, 1), np.roll(y, -step, 1)
        chord = x * y2 - y * x2
        for between in range(1, step):
            direction = np.roll(angle, -between)
            across = np.cos(direction) * (y2 - y) - np.sin(direction) * (x2 - x)
            hit = np.where(np.abs(across) > 1e-9, chord / np.where(np.abs(across) > 1e-9, across, 1), 0)
            np.maximum(hull, np.roll(hit, between, 1), out=hull)
    return hull.astype(np.float32)
