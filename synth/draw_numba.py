"""Everything after visibility for one CPU core: the covered pixels of one picture after another.

The torch twin in `synth.render` does the same in separate steps, runs on any device, and is what tests compare this
kernel with; on a CPU it takes about ten times as long, as each step handles a few numbers per pixel.

Reading is what costs: what a pixel needs of a vertex, a corner or a texel lies side by side in fours, and
`_blend_fours` reads and weighs four numbers at once (LLVM does not find that by itself in scalar code).
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from synth.dress import Dressed
from synth.labels import LABELLED_COVERAGE
from synth.raster import SUBSAMPLE_STEPS, Visibility
from synth.shade import GROUND_ALBEDO, RIM, WRAP

STEPS = SUBSAMPLE_STEPS
F, D, U = np.float32, np.float64, np.uint64
ONE, TWO, THREE, FOUR, EIGHT = U(1), U(2), U(3), U(4), U(8)
HALF, ZERO = F(0.5), F(0)

njit = numba.njit(cache=True, nogil=True, error_model="numpy")


def draw_pixels(
    visible: Visibility,
    points: NDArray,
    dressed: Dressed,
    texture: NDArray,
    towards: NDArray,
    light: NDArray,
    image: NDArray,
    iuv: NDArray,
) -> None:
    """Shade the covered pixels into image (B, H, W, 3) linear RGB and iuv (B, H, W, 3) uint8, both in place.

    visible: what the pictures show of `dressed`, faces packed picture by picture; points (B, N, 8) as of
    `synth.render.screen_points`; texture (S, S, 4) linear RGB and any; towards (B, 3) unit, to the camera; light (B, 9)
    as in `synth.shade.shade`. All contiguous, float32 but for iuv.
    """
    batch, height, width = visible.face.shape
    # Kernels read flat arrays: numba makes views of arrays slowly, and takes long to compile them.
    faces, corner, surface = (a.numpy().reshape(-1) for a in (dressed.faces, dressed.corner, dressed.surface))
    face, sample, num_covered = (a.numpy() for a in (visible.face, visible.sample, visible.num_covered))
    pixel, weights, exposure = np.empty(height * width, np.int32), *np.empty((2, 3 * height * width), F)
    size, s = len(texture), visible.supersampling
    texels = texture.reshape(-1)
    sub_row, sub_col = np.divmod(np.arange(s * s), s)
    steps = [(place * STEPS + STEPS // 2).astype(F) for place in (sub_col, sub_row)]
    # Three short passes: the processor reads far ahead in each, which it cannot do in one long one.
    for b in range(batch):
        own, first = face[b].reshape(-1), b * len(surface)
        vertices, covered = points[b].reshape(-1), num_covered[b].reshape(-1)
        chosen = (sample[b].reshape(-1), *steps, F(s * STEPS))
        count = _locate(own, first, *chosen, height, width, vertices, faces, pixel, weights)
        _expose(pixel, count, own, first, vertices, faces, weights, towards[b], light[b], exposure)
        looks, out = (corner, surface, texels, size), (image[b].reshape(-1), iuv[b].reshape(-1))
        _colour(pixel, count, own, first, covered, F(1 / (s * s)), *looks, weights, exposure, light[b], *out)


@njit
def _locate(face, first, sample, step_x, step_y, scale, height, width, points, faces, pixel, weights):
    """List the covered pixels of one picture, and perspective-correct weights (3 H W,) of each one's chosen sample.

    The weights are those of `synth.raster.locate_samples`. step_x, step_y: where each sample of a pixel lies, in steps
    from the pixel's corner; scale: steps to a pixel. Returns the number of covered pixels.
    """
    count = U(0)
    for row in range(U(height)):
        for col in range(U(width)):
            at = row * U(width) + col
            if face[at] < 0:
                continue
            own, place = U(face[at] - first) * THREE, U(sample[at])
            a, b, c = U(faces[own]) * EIGHT, U(faces[own + ONE]) * EIGHT, U(faces[own + TWO]) * EIGHT
            x, y = F(col) * scale + step_x[place], F(row) * scale + step_y[place]
            x0, y0 = D(np.rint(points[a] * scale) - x), D(np.rint(points[a + ONE] * scale) - y)
            x1, y1 = D(np.rint(points[b] * scale) - x), D(np.rint(points[b + ONE] * scale) - y)
            x2, y2 = D(np.rint(points[c] * scale) - x), D(np.rint(points[c + ONE] * scale) - y)
            w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
            area = w0 + w1 + w2
            if area < 0:
                w0, w1, w2 = -w0, -w1, -w2
            if area == 0:
                w0, w1, w2 = 1.0, 1.0, 1.0
            # w / z, with the three divisions multiplied out.
            z0, z1, z2 = points[a + TWO], points[b + TWO], points[c + TWO]
            w0, w1, w2 = max(w0, 0.0) * (z1 * z2), max(w1, 0.0) * (z0 * z2), max(w2, 0.0) * (z0 * z1)
            whole, out = 1 / (w0 + w1 + w2), count * THREE
            weights[out], weights[out + ONE], weights[out + TWO] = F(w0 * whole), F(w1 * whole), F(w2 * whole)
            pixel[count] = at
            count += ONE
    return np.int64(count)


@njit
def _expose(pixel, count, face, first, points, faces, weights, towards, light, exposure):
    """How much sun, sky and ground light the listed pixels take, exposure (3 H W,), as `synth.shade.shade`."""
    to_x, to_y, to_z = towards[0], towards[1], towards[2]
    sun_x, sun_y, sun_z = light[0], light[1], light[2]
    for k in range(U(count)):
        own, at = U(face[U(pixel[k])] - first) * THREE, k * THREE
        normals = U(faces[own]) * EIGHT + FOUR, U(faces[own + ONE]) * EIGHT + FOUR, U(faces[own + TWO]) * EIGHT + FOUR
        x, y, z, _ = _blend_fours(points, normals, (weights[at], weights[at + ONE], weights[at + TWO]))
        facing, sunward = x * to_x + y * to_y + z * to_z, x * sun_x + y * sun_y + z * sun_z
        if facing < 0:
            facing, sunward, y = -facing, -sunward, -y
        rim = F(RIM) + F(1 - RIM) * facing
        exposure[at] = max((sunward + F(WRAP)) / F(1 + WRAP), ZERO)
        exposure[at + ONE] = rim * (HALF + HALF * y)
        exposure[at + TWO] = rim * (HALF - HALF * y)


@njit
def _colour(
    pixel, count, face, first, num_covered, share, corner, surface, texture, size, weights, exposure, light, image, iuv
):
    """Composite the listed pixels: albedo from the texture under the light that they take; labels where they count."""
    sun, sky = (light[3], light[4], light[5]), (light[6], light[7], light[8])
    albedo_y = F(GROUND_ALBEDO) * light[1]
    ground = (
        albedo_y * sun[0] + F(GROUND_ALBEDO) * sky[0],
        albedo_y * sun[1] + F(GROUND_ALBEDO) * sky[1],
        albedo_y * sun[2] + F(GROUND_ALBEDO) * sky[2],
    )
    for k in range(U(count)):
        at, own, here = U(pixel[k]), U(face[U(pixel[k])] - first), k * THREE
        corners = own * U(12), own * U(12) + FOUR, own * U(12) + EIGHT
        blend = weights[here], weights[here + ONE], weights[here + TWO]
        u, v, surface_u, surface_v = _blend_fours(corner, corners, blend)
        texels, shares = _texels(size, u, v)
        albedo = _blend_fours(texture, texels, shares)
        sunlit, from_sky, from_ground = exposure[here], exposure[here + ONE], exposure[here + TWO]
        coverage, out = F(num_covered[at]) * share, at * THREE
        for c in range(3):
            radiance = albedo[c] * (sun[c] * sunlit + sky[c] * from_sky + ground[c] * from_ground)
            image[out + U(c)] += coverage * (radiance - image[out + U(c)])
        if coverage >= LABELLED_COVERAGE:
            iuv[out] = surface[own]
            iuv[out + ONE] = np.uint8(min(max(surface_u * F(255) + HALF, ZERO), F(255)))
            iuv[out + TWO] = np.uint8(min(max(surface_v * F(255) + HALF, ZERO), F(255)))


@njit
def _texels(size, u, v):
    """Places in a flat (S, S, 4) texture of the four texels around (u, v), and their shares, for a bilinear look-up."""
    side, last = F(size), F(size - 1)
    x, y = min(max(u * side - HALF, ZERO), last), min(max(side - v * side - HALF, ZERO), last)
    column, row = min(np.int64(x), size - 2), min(np.int64(y), size - 2)
    right, down = x - F(column), y - F(row)
    left, up = F(1) - right, F(1) - down
    at, below = U(row * size + column) * FOUR, U((row + 1) * size + column) * FOUR
    return (at, at + FOUR, below, below + FOUR), (up * left, up * right, down * left, down * right)


@intrinsic
def _blend_fours(typing_context, values, starts, weights):
    """Sum of weights[k] * values[starts[k] : starts[k] + 4], a tuple of four float32.

    values (N,) float32, contiguous; starts: a tuple of uint64; weights: as many float32.
    """
    signature = types.UniTuple(types.float32, 4)(values, starts, weights)

    def codegen(context, builder, signature, arguments):
        values, starts, weights = arguments
        four = ir.VectorType(ir.FloatType(), 4)
        data = context.make_array(signature.args[0])(context, builder, values).data
        total = None
        for k in range(len(signature.args[1])):
            pointer = builder.bitcast(builder.gep(data, [builder.extract_value(starts, k)]), four.as_pointer())
            weight = builder.extract_value(weights, k)
            splat = ir.Constant(four, ir.Undefined)
            for lane in range(4):
                splat = builder.insert_element(splat, weight, ir.Constant(ir.IntType(32), lane))
            # `load` would assume that four numbers are aligned to their own size.
            part = builder.fmul(builder.load(pointer, align=4), splat)
            total = part if total is None else builder.fadd(total, part)
        lanes = [builder.extract_element(total, ir.Constant(ir.IntType(32), lane)) for lane in range(4)]
        return context.make_tuple(builder, signature.return_type, lanes)

    return signature, codegen
