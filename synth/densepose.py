"""DensePose's own surfaces, read from its `UV_Processed.mat` for the licensed SMPL body."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from synth.body import Body
from synth.chart import Floats, Ints
from synth.surface import Surface

MAX_FACES_WITHOUT_SURFACE = 13
"""DensePose's file lacks 2 of SMPL's 13,776 faces, one on each big toe. More than 0.1 % means another topology."""


def load_densepose_surface(body: Body, mat: Path) -> Surface:
    """DensePose's own surfaces from `UV_Processed.mat`, for the licensed SMPL body.

    The file's 7,829 vertices are SMPL's 6,890, doubled along the charts' borders (`All_vertices`, from 1 on); its faces
    are matched to `body.faces` by their vertices. It lacks a face on each big toe: such faces take label and (u, v)
    from their neighbours. Raises FileNotFoundError for a missing file and ValueError for one that is not DensePose's
    or has another topology than the body. Source: Guler et al. 2018, section 2.1, and the data released with it.
    """
    numbers, corners, corner_uv = _read_mat(mat)
    faces = body.faces.numpy()
    num_vertices = len(body.template)
    if corners.min() < 0 or corners.max() >= num_vertices:
        raise ValueError(
            f"{mat}: refers to vertex {corners.max() + 1:,}, body {body.name!r} has {num_vertices:,}; "
            f"the file goes with SMPL (6,890 vertices), use build_surface for other bodies"
        )
    row = dict(zip(map(frozenset, corners.tolist()), range(len(corners)), strict=True))
    match = np.array([row.get(frozenset(face), -1) for face in faces.tolist()])
    known = match >= 0
    if np.sum(~known) > MAX_FACES_WITHOUT_SURFACE or len(np.unique(match[known])) != len(corners):
        raise ValueError(
            f"{mat}: {known.sum():,} of its {len(corners):,} faces are among the {len(faces):,} of body {body.name!r}; "
            f"the topologies differ, use build_surface for this body"
        )
    surface, uv = np.zeros(len(faces), np.uint8), np.zeros((len(faces), 3, 2))
    surface[known] = numbers[match[known]]
    order, mat_order = np.argsort(faces[known], 1), np.argsort(corners[match[known]], 1)
    placed = np.empty((known.sum(), 3, 2))
    np.put_along_axis(placed, order[..., None], np.take_along_axis(corner_uv[match[known]], mat_order[..., None], 1), 1)
    uv[known] = placed
    for face in np.flatnonzero(~known):
        surface[face], uv[face] = _from_neighbours(faces, surface, uv, face)
    return Surface(surface=surface, uv=uv.astype(np.float32), source="UV_Processed.mat")


def _read_mat(mat: Path) -> tuple[Ints, Ints, Floats]:
    """Surface (K,), SMPL vertices from 0 on (K, 3) and uv (K, 3, 2) of DensePose's K faces."""
    if not mat.is_file():
        raise FileNotFoundError(f"{mat} does not exist; DensePose's UV_Processed.mat comes with its UV data")
    try:
        data = loadmat(mat)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise ValueError(f"{mat}: cannot be read as a MATLAB file ({error})") from error
    keys = ("All_Faces", "All_FaceIndices", "All_U_norm", "All_V_norm", "All_vertices")
    if missing := [key for key in keys if key not in data]:
        raise ValueError(f"{mat}: not DensePose's UV_Processed.mat, missing {missing}")
    faces = data["All_Faces"].astype(np.int64) - 1
    numbers, vertices = (data[key].ravel().astype(np.int64) for key in ("All_FaceIndices", "All_vertices"))
    u, v = (data[key].ravel().astype(np.float64) for key in ("All_U_norm", "All_V_norm"))
    if faces.shape != (len(numbers), 3) or not len(u) == len(v) == len(vertices) or not len(numbers):
        raise ValueError(
            f"{mat}: need one surface per face and one u, v and vertex per vertex, got faces {faces.shape}, "
            f"{len(numbers)} surfaces, {len(u)} u, {len(v)} v, {len(vertices)} vertices"
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"{mat}: All_Faces must lie in 1..{len(vertices)}, got {faces.min() + 1}..{faces.max() + 1}")
    if set(np.unique(numbers)) != set(range(1, 25)):
        raise ValueError(f"{mat}: All_FaceIndices must hold each of 1..24, got {np.unique(numbers).tolist()}")
    uv = np.stack([u, v], 1)
    if not (uv.min() >= 0 and uv.max() <= 1):
        raise ValueError(f"{mat}: U and V must lie in [0, 1], got {uv.min()}..{uv.max()}")
    return numbers, vertices[faces] - 1, uv[faces]


def _from_neighbours(faces: Ints, surface: NDArray[np.uint8], uv: Floats, face: int) -> tuple[int, Floats]:
    """Label and (u, v) (3, 2) of a face that has none: its corners' commonest label, and their mean (u, v) on it."""
    at_corner = [np.nonzero((faces == vertex) & (surface > 0)[:, None]) for vertex in faces[face]]
    number = np.bincount(np.concatenate([surface[rows] for rows, _ in at_corner])).argmax()
    on_it = [uv[rows, slots][surface[rows] == number] for rows, slots in at_corner]
    middle = np.concatenate(on_it).mean(0)
    return int(number), np.stack([found.mean(0) if len(found) else middle for found in on_it])
