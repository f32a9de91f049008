"""Everything after visibility for one CPU core, in one pass over the covered pixels.

The torch twin in `synth.render` does the same in separate steps, runs on any device, and is what tests compare this
kernel with; on a CPU it takes about five times as long, as each step handles a few numbers per pixel.
"""

import numba
import numpy as np

from synth.labels import LABELLED_COVERAGE
from synth.raster import SUBSAMPLE_STEPS
from synth.shade import GROUND_ALBEDO, RIM, WRAP

STEPS = SUBSAMPLE_STEPS


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_pixels(
    face, sample, num_covered, supersampling, points, faces, corner, surface, texture, towards, light, image, iuv
):
    """Shade the covered pixels into image (B, H, W, 3) linear RGB and iuv (B, H, W, 3) uint8, both in place.

    face, sample, num_covered (B, H, W) as of `synth.raster.Visibility`, faces packed picture by picture; points
    (B, N, 6) pixels, depth and normal, side by side to be read at once; faces (F, 3) of one mesh, corner (F, 3, 4),
    surface (F,); texture (S, S, 3) linear RGB; towards (B, 3) unit, to the camera; light (B, 9) as in `synth.shade.shade`.
    """
    share = np.float32(1 / (supersampling * supersampling))
    # Where each sample of a pixel lies, in steps from the pixel's corner.
    step_x, step_y = np.empty(supersampling**2, np.int64), np.empty(supersampling**2, np.int64)
    for place in range(supersampling**2):
        step_x[place] = place % supersampling * STEPS + STEPS // 2
        step_y[place] = place // supersampling * STEPS + STEPS // 2
    pixel = supersampling * STEPS
    for b in range(face.shape[0]):
        first = b * len(faces)
        for r in range(face.shape[1]):
            for c in range(face.shape[2]):
                if face[b, r, c] < 0:
                    continue
                own, place = face[b, r, c] - first, sample[b, r, c]
                i, j, k = faces[own, 0], faces[own, 1], faces[own, 2]
                at_x, at_y = np.float64(c * pixel + step_x[place]), np.float64(r * pixel + step_y[place])
                w0, w1, w2 = locate(points, b, i, j, k, np.float32(pixel), at_x, at_y)
                coverage = num_covered[b, r, c] * share
                u = w0 * corner[own, 0, 0] + w1 * corner[own, 1, 0] + w2 * corner[own, 2, 0]
                v = w0 * corner[own, 0, 1] + w1 * corner[own, 1, 1] + w2 * corner[own, 2, 1]
                sunlit, from_sky, from_ground = exposure(points, b, i, j, k, w0, w1, w2, towards, light)
                x0, y0, fx, fy = texel(texture.shape[0], u, v)
                for k in range(3):
                    top = texture[y0, x0, k] * (1 - fx) + texture[y0, x0 + 1, k] * fx
                    bottom = texture[y0 + 1, x0, k] * (1 - fx) + texture[y0 + 1, x0 + 1, k] * fx
                    albedo = top * (1 - fy) + bottom * fy
                    ground = np.float32(GROUND_ALBEDO) * (light[b, 3 + k] * light[b, 1] + light[b, 6 + k])
                    radiance = albedo * (light[b, 3 + k] * sunlit + light[b, 6 + k] * from_sky + ground * from_ground)
                    image[b, r, c, k] += coverage * (radiance - image[b, r, c, k])
                if coverage >= LABELLED_COVERAGE:
                    iuv[b, r, c, 0] = surface[own]
                    for k in range(2):
                        value = w0 * corner[own, 0, 2 + k] + w1 * corner[own, 1, 2 + k] + w2 * corner[own, 2, 2 + k]
                        iuv[b, r, c, 1 + k] = np.uint8(min(max(value * 255 + 0.5, 0.0), 255.0))


# Views of arrays cost more than the arithmetic here, hence scalars in and out.
@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def locate(points, b, i, j, k, scale, at_x, at_y):
    """Perspective-correct weights of a sample at whole steps (at_x, at_y), as `synth.raster.locate_samples`."""
    x0, y0 = np.rint(points[b, i, 0] * scale) - at_x, np.rint(points[b, i, 1] * scale) - at_y
    x1, y1 = np.rint(points[b, j, 0] * scale) - at_x, np.rint(points[b, j, 1] * scale) - at_y
    x2, y2 = np.rint(points[b, k, 0] * scale) - at_x, np.rint(points[b, k, 1] * scale) - at_y
    w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    area = w0 + w1 + w2
    if area < 0:
        w0, w1, w2 = -w0, -w1, -w2
    if area == 0:
        w0, w1, w2 = 1.0, 1.0, 1.0
    # w / z, with the three divisions multiplied out.
    z0, z1, z2 = points[b, i, 2], points[b, j, 2], points[b, k, 2]
    w0, w1, w2 = max(w0, 0.0) * (z1 * z2), max(w1, 0.0) * (z0 * z2), max(w2, 0.0) * (z0 * z1)
    whole = 1 / (w0 + w1 + w2)
    return np.float32(w0 * whole), np.float32(w1 * whole), np.float32(w2 * whole)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def texel(size, u, v):
    """First texel and shares of the next one, for a bilinear look-up as `synth.shade.sample_texture`."""
    last = np.float32(size - 1)
    x = min(max(u * size - np.float32(0.5), np.float32(0)), last)
    y = min(max((1 - v) * size - np.float32(0.5), np.float32(0)), last)
    x0, y0 = min(int(x), size - 2), min(int(y), size - 2)
    return x0, y0, np.float32(x - x0), np.float32(y - y0)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def exposure(points, b, i, j, k, w0, w1, w2, towards, light):
    """How much of sun, sky and ground light a surface point takes, as `synth.shade.shade`."""
    x = w0 * points[b, i, 3] + w1 * points[b, j, 3] + w2 * points[b, k, 3]
    y = w0 * points[b, i, 4] + w1 * points[b, j, 4] + w2 * points[b, k, 4]
    z = w0 * points[b, i, 5] + w1 * points[b, j, 5] + w2 * points[b, k, 5]
    facing = x * towards[b, 0] + y * towards[b, 1] + z * towards[b, 2]
    sunward = x * light[b, 0] + y * light[b, 1] + z * light[b, 2]
    if facing < 0:
        facing, sunward, y = -facing, -sunward, -y
    half = np.float32(0.5)
    sunlit = max((sunward + np.float32(WRAP)) / np.float32(1 + WRAP), np.float32(0))
    rim = np.float32(RIM) + np.float32(1 - RIM) * facing
    return sunlit, rim * (half + half * y), rim * (half - half * y)
