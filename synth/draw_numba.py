"""Everything after visibility for one CPU core: the covered pixels of one picture after another.

The torch twin in `synth.render` does the same in separate steps, runs on any device, and is what tests compare this
kernel with; on a CPU it takes about ten times as long, as each step handles a few numbers per pixel.

Pixels are drawn a block at a time, in short loops. Those that read vertices, corners and texels, in fours that lie side
by side, do little else, and an earlier loop has asked for what they read: waiting for memory would take longer than all
the rest. Those that reckon read and write rows of numbers, which LLVM turns into vector instructions.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from synth.dress import Dressed
from synth.kernel import kernel, larger, part, prefetch, smaller
from synth.labels import LABELLED_COVERAGE
from synth.raster import SUBSAMPLE_STEPS, Visibility
from synth.shade import GROUND_ALBEDO, RIM, WRAP

STEPS = SUBSAMPLE_STEPS
F, D, N, U = np.float32, np.float64, np.int32, np.uint64
ONE, TWO, THREE, FOUR, EIGHT, TWELVE = U(1), U(2), U(3), U(4), U(8), U(12)
HALF, ZERO, LAST_CODE = F(0.5), F(0), F(255)

# Rows of one array, of known distance, so that LLVM need not ask what overlaps.
BLOCK = 528
"""Pixels at a time: what is known of them stays in the first-level cache. Not a power of two, for whose multiples that
cache has only a few places."""
X, Y, WEIGHTS, SUNLIT, FROM_SKY, FROM_GROUND = (U(k * BLOCK) for k in (0, 1, 2, 5, 6, 7))
"""Rows of numbers: place of the sample in steps; weights of the corners; light that falls on it. Then room for more."""
FIRST, SECOND, THIRD = (U(k * BLOCK) for k in (8, 11, 14))
PIXEL, FACE, CORNERS = (U(k * BLOCK) for k in (0, 1, 2))
"""Rows of places: pixel in the picture, face in the mesh; where the face's three vertices begin."""
NEXT, OTHER = U(BLOCK), U(2 * BLOCK)
"""From row to row."""


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

    visible: what the pictures show of `dressed`; points (B, N, 8) as of
    `synth.render.screen_points`; texture (S, S, 4) linear RGB and any; towards (B, 3) unit, to the camera; light (B, 9)
    as in `synth.shade.shade`. All contiguous, float32 but for iuv.
    """
    batch, _, width = visible.face.shape
    # Kernels read flat arrays: numba makes views of arrays slowly, and takes long to compile them.
    faces, corner, surface = (a.numpy().reshape(-1) for a in (dressed.faces, dressed.corner, dressed.surface))
    seen = [a.numpy().reshape(batch, -1) for a in (visible.face, visible.sample, visible.num_covered)]
    texels, s = texture.reshape(-1), visible.supersampling
    sub_row, sub_col = np.divmod(np.arange(s * s), s)
    steps = [(place * STEPS + STEPS // 2).astype(F) for place in (sub_col, sub_row)]
    per_pixel, share = F(s * STEPS), F(1 / (s * s))
    work, places = np.empty(17 * BLOCK, F), np.empty(5 * BLOCK, N)
    for b in range(batch):
        face, sample, num_covered = (a[b] for a in seen)
        _draw(
            *(face, sample, num_covered, *steps, per_pixel, share, width),
            *(points[b].reshape(-1), faces, corner, surface, texels, len(texture), towards[b], light[b]),
            *(work, places, image[b].reshape(-1), iuv[b].reshape(-1)),
        )


@kernel
def _draw(
    face, sample, num_covered, step_x, step_y, per_pixel, share, width,
    points, faces, corner, surface, texture, size, towards, light,
    work, places, image, iuv,
):  # fmt: skip
    """Draw one picture of `width` columns.

    step_x, step_y: where each sample of a pixel lies, in steps from the pixel's corner; per_pixel: steps to a pixel;
    share: of a pixel, what one sample covers. work and places are room to work in.
    """
    for start in range(U(0), U(len(face)), U(BLOCK)):
        stop = smaller(start + U(BLOCK), U(len(face)))
        count = _gather(
            face, sample, step_x, step_y, per_pixel, U(width), points, faces, corner, start, stop, work, places
        )
        if count:
            _weigh(count, per_pixel, work)
            _expose(count, points, towards, light, work, places)
            _look_up(count, corner, texture, size, work, places)
            _composite(count, num_covered, share, surface, light, work, places, image, iuv)


@part
def _gather(face, sample, step_x, step_y, per_pixel, width, points, faces, corner, start, stop, work, places):
    """List the covered pixels from start to stop, with what `_weigh` needs of them; returns how many there are."""
    count = U(0)
    row = start // width
    col = start - row * width
    for at in range(start, stop):
        if face[at] >= 0:
            own, place = U(face[at]), U(sample[at])
            places[PIXEL + count], places[FACE + count] = at, own
            work[X + count] = F(col) * per_pixel + step_x[place]
            work[Y + count] = F(row) * per_pixel + step_y[place]
            prefetch(faces, own * THREE)
            prefetch(corner, own * TWELVE)
            prefetch(corner, own * TWELVE + EIGHT)
            count += ONE
        col += ONE
        if col == width:
            col = U(0)
            row += ONE
    for k in range(count):
        own = U(places[FACE + k]) * THREE
        for c in range(THREE):
            vertex = U(faces[own + c]) * EIGHT
            places[CORNERS + c * NEXT + k] = vertex
            prefetch(points, vertex)
    for k in range(count):
        for c in range(THREE):
            vertex, row_of = U(places[CORNERS + c * NEXT + k]), FIRST + c * (THREE * NEXT) + k
            work[row_of] = points[vertex]
            work[row_of + NEXT] = points[vertex + ONE]
            work[row_of + OTHER] = points[vertex + TWO]
    return count


@part
def _weigh(count, per_pixel, work):
    """Perspective-correct weights of the corners at each sample: those of `synth.raster.locate_samples`."""
    for k in range(count):
        x, y = work[X + k], work[Y + k]
        x0 = D(np.rint(work[FIRST + k] * per_pixel) - x)
        y0 = D(np.rint(work[FIRST + NEXT + k] * per_pixel) - y)
        x1 = D(np.rint(work[SECOND + k] * per_pixel) - x)
        y1 = D(np.rint(work[SECOND + NEXT + k] * per_pixel) - y)
        x2 = D(np.rint(work[THIRD + k] * per_pixel) - x)
        y2 = D(np.rint(work[THIRD + NEXT + k] * per_pixel) - y)
        w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
        area = w0 + w1 + w2
        sign = -1.0 if area < 0 else 1.0
        flat = 1.0 if area == 0 else 0.0
        # w / z, with the three divisions multiplied out.
        z0, z1, z2 = D(work[FIRST + OTHER + k]), D(work[SECOND + OTHER + k]), D(work[THIRD + OTHER + k])
        w0 = larger(sign * w0, flat) * (z1 * z2)
        w1 = larger(sign * w1, flat) * (z0 * z2)
        w2 = larger(sign * w2, flat) * (z0 * z1)
        whole = 1 / (w0 + w1 + w2)
        work[WEIGHTS + k], work[WEIGHTS + NEXT + k], work[WEIGHTS + OTHER + k] = (
            F(w0 * whole),
            F(w1 * whole),
            F(w2 * whole),
        )


@part
def _expose(count, points, towards, light, work, places):
    """How much sun, sky and ground light each pixel takes, as `synth.shade.shade`."""
    to_x, to_y, to_z = towards[0], towards[1], towards[2]
    sun_x, sun_y, sun_z = light[0], light[1], light[2]
    for k in range(count):
        a, b, c = U(places[CORNERS + k]), U(places[CORNERS + NEXT + k]), U(places[CORNERS + OTHER + k])
        weights = work[WEIGHTS + k], work[WEIGHTS + NEXT + k], work[WEIGHTS + OTHER + k]
        x, y, z, _ = _blend_fours(points, (a + FOUR, b + FOUR, c + FOUR), weights)
        work[FIRST + k], work[FIRST + NEXT + k], work[FIRST + OTHER + k] = x, y, z
    for k in range(count):
        x, y, z = work[FIRST + k], work[FIRST + NEXT + k], work[FIRST + OTHER + k]
        facing, sunward = x * to_x + y * to_y + z * to_z, x * sun_x + y * sun_y + z * sun_z
        sign = F(-1) if facing < 0 else F(1)
        rim = F(RIM) + F(1 - RIM) * (sign * facing)
        work[SUNLIT + k] = larger((sign * sunward + F(WRAP)) / F(1 + WRAP), ZERO)
        work[FROM_SKY + k] = rim * (HALF + HALF * (sign * y))
        work[FROM_GROUND + k] = rim * (HALF - HALF * (sign * y))


@part
def _look_up(count, corner, texture, size, work, places):
    """Fill FIRST with albedo from a flat (S, S, 4) texture, bilinear, and SECOND with surface u, v as codes."""
    side, last, span = F(size), F(size - 1), N(size)
    for k in range(count):
        at = U(places[FACE + k]) * TWELVE
        weights = work[WEIGHTS + k], work[WEIGHTS + NEXT + k], work[WEIGHTS + OTHER + k]
        u, v, surface_u, surface_v = _blend_fours(corner, (at, at + FOUR, at + EIGHT), weights)
        work[THIRD + k], work[THIRD + NEXT + k] = u, v
        work[SECOND + k], work[SECOND + NEXT + k] = surface_u, surface_v
    for k in range(count):
        x = smaller(larger(work[THIRD + k] * side - HALF, ZERO), last)
        y = smaller(larger(side - work[THIRD + NEXT + k] * side - HALF, ZERO), last)
        column, row = smaller(N(x), span - N(2)), smaller(N(y), span - N(2))
        places[CORNERS + k] = (row * span + column) * N(4)
        work[THIRD + k], work[THIRD + NEXT + k] = x - F(column), y - F(row)
        work[SECOND + k] = smaller(larger(work[SECOND + k] * LAST_CODE + HALF, ZERO), LAST_CODE)
        work[SECOND + NEXT + k] = smaller(larger(work[SECOND + NEXT + k] * LAST_CODE + HALF, ZERO), LAST_CODE)
    for k in range(count):
        prefetch(texture, U(places[CORNERS + k]))
        prefetch(texture, U(places[CORNERS + k]) + U(size) * FOUR)
    for k in range(count):
        at, below = U(places[CORNERS + k]), U(places[CORNERS + k]) + U(size) * FOUR
        right, down = work[THIRD + k], work[THIRD + NEXT + k]
        left, up = F(1) - right, F(1) - down
        shares = (up * left, up * right, down * left, down * right)
        red, green, blue, _ = _blend_fours(texture, (at, at + FOUR, below, below + FOUR), shares)
        work[FIRST + k], work[FIRST + NEXT + k], work[FIRST + OTHER + k] = red, green, blue


@part
def _composite(count, num_covered, share, surface, light, work, places, image, iuv):
    """Lay the albedo under the light that it takes over the picture; labels where they count."""
    for channel in range(THREE):
        sun, sky, row = light[THREE + channel], light[U(6) + channel], FIRST + channel * NEXT
        ground = F(GROUND_ALBEDO) * (light[ONE] * sun + sky)
        for k in range(count):
            work[row + k] *= sun * work[SUNLIT + k] + sky * work[FROM_SKY + k] + ground * work[FROM_GROUND + k]
    for k in range(count):
        at = U(places[PIXEL + k])
        out, coverage = at * THREE, F(num_covered[at]) * share
        for channel in range(THREE):
            image[out + channel] += coverage * (work[FIRST + channel * NEXT + k] - image[out + channel])
        if coverage >= LABELLED_COVERAGE:
            iuv[out] = surface[U(places[FACE + k])]
            iuv[out + ONE] = np.uint8(work[SECOND + k])
            iuv[out + TWO] = np.uint8(work[SECOND + NEXT + k])


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
