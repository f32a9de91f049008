"""The per-pixel work that follows visibility, for one CPU core: locate samples on their faces, interpolate.

Each kernel has a torch twin in `synth.raster`, which runs on other devices and which tests compare it with. In torch
these few operations on three numbers a pixel cost more than drawing the triangles.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def count_covered(face):
    """Number of covered pixels of face (B, H, W) int32."""
    total = 0
    for value in face.flat:
        total += value >= 0
    return total


@numba.njit(cache=True, nogil=True)
def gather_covered(face, sample, num_covered, vertices, faces, supersampling, steps, image, row, col, own, weights, depth, coverage):
    """Fill the N-long outputs of `synth.raster.gather_fragments`, in order of (image, row, col)."""
    n = 0
    scale = np.float32(supersampling * steps)
    num_images, height, width = face.shape
    for b in range(num_images):
        for r in range(height):
            for c in range(width):
                f = face[b, r, c]
                if f < 0:
                    continue
                image[n], row[n], col[n], own[n] = b, r, c, f
                coverage[n] = num_covered[b, r, c] / np.float32(supersampling * supersampling)
                s = sample[b, r, c]
                at_x = (c * supersampling + s % supersampling) * steps + steps // 2
                at_y = (r * supersampling + s // supersampling) * steps + steps // 2
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                x0, y0 = np.rint(vertices[i, 0] * scale) - at_x, np.rint(vertices[i, 1] * scale) - at_y
                x1, y1 = np.rint(vertices[j, 0] * scale) - at_x, np.rint(vertices[j, 1] * scale) - at_y
                x2, y2 = np.rint(vertices[k, 0] * scale) - at_x, np.rint(vertices[k, 1] * scale) - at_y
                w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
                area = w0 + w1 + w2
                if area < 0:
                    w0, w1, w2 = -w0, -w1, -w2
                if area == 0:
                    w0, w1, w2 = 1.0, 1.0, 1.0
                w0, w1, w2 = max(w0, 0.0), max(w1, 0.0), max(w2, 0.0)
                total = w0 + w1 + w2
                w0 = w0 / total / vertices[i, 2]
                w1 = w1 / total / vertices[j, 2]
                w2 = w2 / total / vertices[k, 2]
                inverse = w0 + w1 + w2
                weights[n, 0], weights[n, 1], weights[n, 2] = w0 / inverse, w1 / inverse, w2 / inverse
                depth[n] = 1 / inverse
                n += 1


@numba.njit(cache=True, nogil=True)
def interpolate_rows(weights, table, index, out):
    """out[n] = sum over k of weights[n, k] * table[index[n, k]], for weights (N, 3), table (M, C), index (N, 3)."""
    for n in range(len(out)):
        i, j, k = index[n, 0], index[n, 1], index[n, 2]
        for c in range(table.shape[1]):
            out[n, c] = weights[n, 0] * table[i, c] + weights[n, 1] * table[j, c] + weights[n, 2] * table[k, c]
