"""Rasteriser for one CPU core.

Bodies at reID resolution have faces of a few samples each, so the cost is in starting a face, not in filling it.
The bounding box of a face is visited two rows at a time, eight columns at once: LLVM does not vectorise so short a
loop by itself, so `_cover_block` states it in vector IR, which LLVM lowers to what the CPU has (AVX, SSE, NEON).
Edge functions are integers, 32-bit for small faces and 64-bit for large ones: coverage is exact. No fast-math:
every CPU gives the same bits.
"""

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from synth.kernel import kernel, larger, part, smaller
from synth.raster import MAX_SAMPLES_FROM_ORIGIN, SUBSAMPLE_STEPS, RasterConfig, Visibility, check_vertices

COLUMNS = 8
LANES = 2 * COLUMNS
"""Samples of a block. In memory two rows lie interleaved: sample (row, column) at (row // 2 * pitch + column) * 2 + row % 2,
so that a block is one stretch, and so are the 2 x 2 samples of a pixel."""
STEPS = SUBSAMPLE_STEPS
HALF_STEP = STEPS // 2
STEP_BITS = STEPS.bit_length() - 1
# The edge functions of a face this large, and a block beyond it, fit 32 bits.
SMALL_FACE_STEPS = 64 * STEPS
ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)


def rasterize_numba(
    vertices: Tensor,
    faces: Tensor,
    double_sided: Tensor,
    height: int,
    width: int,
    config: RasterConfig,
) -> Visibility:
    """`synth.raster.rasterize` for checked faces. Works on the CPU, returns tensors on the device of `vertices`."""
    s = config.supersampling
    batch, num_vertices, num_columns = vertices.shape
    shape = (batch, height, width)
    face = np.full(shape, -1, np.int32)
    depth = np.full(shape, np.inf, np.float32)
    sample, num_covered = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    # Kernels read flat arrays: numba makes views of arrays slowly, and takes long to compile them.
    points, corners = _flat(vertices), _flat(faces)
    steps, inverse_depth = np.empty((batch, 2 * num_vertices), np.int32), np.empty((batch, num_vertices), np.float32)
    reach_px = np.float32(MAX_SAMPLES_FROM_ORIGIN / s)
    snapped = steps.reshape(-1), inverse_depth.reshape(-1)
    if not _snap(points, num_columns, s, reach_px, np.float32(config.near_m), *snapped):
        check_vertices(vertices, faces, config)
    # A block may reach past the end of a row.
    pitch = width * s + COLUMNS
    num_samples, backs = 2 * pitch * -(-height * s // 2), _flat(double_sided)
    nearest, owner = np.zeros(num_samples, np.float32), np.zeros(num_samples, np.int32)
    # Positive floats order like their bits.
    bits, pairs = nearest.view(np.int32), nearest.view(np.int64)
    for k in range(batch):
        box = _draw(steps[k], inverse_depth[k], corners, backs, height * s, width * s, nearest, owner)
        picture = (face[k].reshape(-1), depth[k].reshape(-1), sample[k].reshape(-1), num_covered[k].reshape(-1))
        _resolve_and_clear(nearest, bits, pairs, owner, box, s, pitch, width, *picture)
    face, depth, sample, num_covered = (
        torch.from_numpy(array).to(vertices.device) for array in (face, depth, sample, num_covered)
    )
    return Visibility(face=face, depth=depth, sample=sample, num_covered=num_covered, supersampling=s)


def _flat(values: Tensor) -> NDArray:
    return np.ascontiguousarray(values.detach().cpu().numpy()).reshape(-1)


@kernel
def _snap(points, num_columns, supersampling, reach_px, near_m, steps, inverse_depth):
    """Fill steps (2 V,) int32 and inverse depths (V,) float32, 1/m, of points (V * num_columns,).

    A vertex farther from the origin than reach_px along x or y, or not beyond near_m, is put at the origin: no face may
    use it. Returns whether there is none.
    """
    scale = np.float32(supersampling * STEPS)
    all_usable = True
    for v in range(np.uint64(len(inverse_depth))):
        at = v * np.uint64(num_columns)
        x, y, depth = points[at], points[at + ONE], points[at + TWO]
        usable = (abs(x) <= reach_px) & (abs(y) <= reach_px) & (depth > near_m) & (depth < np.inf)
        all_usable &= usable
        steps[v * TWO] = np.int32(np.rint(x * scale)) if usable else 0
        steps[v * TWO + ONE] = np.int32(np.rint(y * scale)) if usable else 0
        inverse_depth[v] = np.float32(1) / depth if usable else np.float32(0)
    return all_usable


@kernel
def _draw(steps, inverse_depth, faces, double_sided, num_rows, num_cols, nearest, owner):
    """Draw the faces and return the rows and columns of samples that they may have touched."""
    pitch = num_cols + COLUMNS
    top, bottom, left, right = num_rows, -1, num_cols, -1
    for f in range(np.uint64(len(double_sided))):
        corner = f * THREE
        a, b, c = np.uint64(faces[corner]), np.uint64(faces[corner + ONE]), np.uint64(faces[corner + TWO])
        xa, xb, xc = steps[a * TWO], steps[b * TWO], steps[c * TWO]
        ya, yb, yc = steps[a * TWO + ONE], steps[b * TWO + ONE], steps[c * TWO + ONE]
        x_min, x_max = smaller(xa, smaller(xb, xc)), larger(xa, larger(xb, xc))
        y_min, y_max = smaller(ya, smaller(yb, yc)), larger(ya, larger(yb, yc))
        first_col, last_col = (
            larger((x_min + HALF_STEP - 1) >> STEP_BITS, 0),
            smaller((x_max - HALF_STEP) >> STEP_BITS, num_cols - 1),
        )
        first_row, last_row = (
            larger((y_min + HALF_STEP - 1) >> STEP_BITS, 0),
            smaller((y_max - HALF_STEP) >> STEP_BITS, num_rows - 1),
        )
        # Rows count downwards: counter-clockwise is where this area is negative.
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        unseen = (area == 0) | ((area > 0) & (not double_sided[f]))
        # One test for all reasons: the processor guesses a single branch better than three.
        if (first_col > last_col) | (first_row > last_row) | unseen:
            continue
        top, bottom = smaller(top, first_row), larger(bottom, last_row)
        left, right = smaller(left, first_col), larger(right, last_col)
        first_row &= -2
        x, y = first_col * STEPS + HALF_STEP, first_row * STEPS + HALF_STEP
        corners = (xa - x, ya - y, xb - x, yb - y, xc - x, yc - y)
        depths = (inverse_depth[a], inverse_depth[b], inverse_depth[c])
        block = (first_row, last_row, first_col, last_col, pitch)
        is_small = larger(x_max - x_min, y_max - y_min) <= SMALL_FACE_STEPS
        _draw_face(corners, area, depths, block, is_small, np.int32(f), nearest, owner)
    return top, bottom, left, right


@part(forceinline=True)
def _draw_face(corners, area, depths, block, is_small, face, nearest, owner):
    """Draw one face. corners: its vertices in steps from the block's first sample; area: twice its own, signed, not 0;
    depths: the corners' inverse depths.

    The edge function opposite a corner is that corner's barycentric coordinate times the face's area. It is lowered
    by one on the edges that do not own their samples, so that >= 0 decides everywhere; `plane` undoes this for depth.
    """
    xa, ya, xb, yb, xc, yc = corners
    depth_a, depth_b, depth_c = depths
    first_row, last_row, first_col, last_col, pitch = block
    if area < 0:
        area, xb, yb, depth_b, xc, yc, depth_c = -area, xc, yc, depth_c, xb, yb, depth_b
    right_b, right_c = yc - ya, ya - yb
    down_b, down_c = xa - xc, xb - xa
    right_a, down_a = -right_b - right_c, -down_b - down_c
    lowered_a, lowered_b, lowered_c = _lowered(right_a, down_a), _lowered(right_b, down_b), _lowered(right_c, down_c)
    edge_b, edge_c = xc * ya - xa * yc, xa * yb - xb * ya
    edge_a = area - edge_b - edge_c - lowered_a
    edge_b, edge_c = edge_b - lowered_b, edge_c - lowered_c
    right_a, right_b, right_c = right_a * STEPS, right_b * STEPS, right_c * STEPS
    slope_b, slope_c = (depth_b - depth_a) / np.float32(area), (depth_c - depth_a) / np.float32(area)
    plane = (depth_a + np.float32(lowered_b) * slope_b + np.float32(lowered_c) * slope_c, slope_b, slope_c)
    down_a, down_b, down_c = down_a * STEPS, down_b * STEPS, down_c * STEPS
    # A step that is not known beforehand keeps LLVM from unrolling this loop, whose few turns are hard enough to guess.
    start, width = first_row * pitch + 2 * first_col, 2 * (last_col - first_col)
    while start <= last_row * pitch + 2 * first_col:
        a, b, c = edge_a, edge_b, edge_c
        for at in range(start, start + width + 1, LANES):
            if is_small:
                edges = (np.int32(a), np.int32(b), np.int32(c))
                rights = (np.int32(right_a), np.int32(right_b), np.int32(right_c))
                downs = (np.int32(down_a), np.int32(down_b), np.int32(down_c))
                _cover_block(nearest, owner, at, edges, rights, downs, plane, face)
            else:
                rights, downs = (right_a, right_b, right_c), (down_a, down_b, down_c)
                _cover_block(nearest, owner, at, (a, b, c), rights, downs, plane, face)
            a, b, c = a + COLUMNS * right_a, b + COLUMNS * right_b, c + COLUMNS * right_c
        edge_a, edge_b, edge_c = edge_a + 2 * down_a, edge_b + 2 * down_b, edge_c + 2 * down_c
        start += 2 * pitch


@part
def _lowered(right, down):
    """0 for an edge with the interior to its right, or below it if horizontal; 1 for the others."""
    return 1 - ((right > 0) | ((right == 0) & (down > 0)))


@intrinsic
def _cover_block(typing_context, nearest, owner, at, edges, rights, downs, plane, face):
    """Test the samples of a block and write those that the face covers and is nearest at.

    nearest (S,) float32 inverse depth and owner (S,) int32 face of every sample; at: the first of the block. edges,
    rights, downs: three edge functions at the first sample and their increase from column to column and from row to row,
    all int32 or all int64. plane: inverse depth = plane[0] + plane[1] * edges[1] + plane[2] * edges[2], float32.
    """
    signature = types.void(nearest, owner, at, edges, rights, downs, plane, face)

    def codegen(context, builder, signature, arguments):
        nearest, owner, at, edges, rights, downs, plane, face = arguments
        edge_type, float_type, face_type = (
            ir.VectorType(element, LANES)
            for element in (ir.IntType(signature.args[3].dtype.bitwidth), ir.FloatType(), ir.IntType(32))
        )

        def splat(value, vector_type):
            single = builder.insert_element(
                ir.Constant(vector_type, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
            )
            mask = ir.Constant(face_type, [0] * LANES)
            return builder.shuffle_vector(single, ir.Constant(vector_type, ir.Undefined), mask)

        def pointer(array, array_type, vector_type):
            data = context.make_array(array_type)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [at]), vector_type.as_pointer())

        columns = ir.Constant(edge_type, [lane // 2 for lane in range(LANES)])
        odd = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [lane % 2 for lane in range(LANES)])
        zero = ir.Constant(edge_type, [0] * LANES)
        edge_values = [
            builder.add(
                splat(builder.extract_value(edges, k), edge_type),
                builder.add(
                    builder.mul(splat(builder.extract_value(rights, k), edge_type), columns),
                    builder.select(odd, splat(builder.extract_value(downs, k), edge_type), zero),
                ),
            )
            for k in range(3)
        ]
        inverse_depth = splat(builder.extract_value(plane, 0), float_type)
        for k in (1, 2):
            slope = splat(builder.extract_value(plane, k), float_type)
            rise = builder.fmul(builder.sitofp(edge_values[k], float_type), slope)
            inverse_depth = builder.fadd(inverse_depth, rise)
        nearest_at = pointer(nearest, signature.args[0], float_type)
        owner_at = pointer(owner, signature.args[1], face_type)
        # `load` and `store` would assume vectors aligned to their own size.
        old_depth, old_owner = builder.load(nearest_at, align=4), builder.load(owner_at, align=4)
        # The sign of the union is set where any of the edge functions is negative.
        union = builder.or_(builder.or_(edge_values[0], edge_values[1]), edge_values[2])
        inside = builder.icmp_signed(">=", union, ir.Constant(edge_type, [0] * LANES))
        candidate = builder.select(inside, inverse_depth, ir.Constant(float_type, [0.0] * LANES))
        hit = builder.fcmp_ordered(">", candidate, old_depth)
        builder.store(builder.select(hit, candidate, old_depth), nearest_at, align=4)
        builder.store(builder.select(hit, splat(face, face_type), old_owner), owner_at, align=4)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def _resolve_and_clear(nearest, bits, pairs, owner, box, s, pitch, width, face, depth, sample, num_covered):
    """`synth.raster.resolve` for one picture within the box of samples touched, which is emptied for the next.

    bits and pairs: the memory of nearest, read as int32 and as int64.
    """
    top, bottom, left, right = box
    if top > bottom:
        return
    side, pitch = np.uint64(s), np.uint64(pitch)
    for row in range(np.uint64(top // s), np.uint64(bottom // s + 1)):
        for col in range(np.uint64(left // s), np.uint64(right // s + 1)):
            if s == 2:
                # Written out for the usual 2 x 2 samples: most pixels of a box show nothing, which is soon seen.
                corner = (row * pitch + col * TWO) * TWO
                if pairs[corner >> ONE] | pairs[(corner >> ONE) + ONE] == 0:
                    continue
                first, second = bits[corner], bits[corner + TWO]
                third, fourth = bits[corner + ONE], bits[corner + THREE]
                count = (first > 0) + (second > 0) + (third > 0) + (fourth > 0)
                best = larger(larger(first, second), larger(third, fourth))
                k = 0 if first == best else 1 if second == best else 2 if third == best else 3
                at = corner + np.uint64(k >> 1) + TWO * np.uint64(k & 1)
            else:
                best, k, count, number, at = 0, 0, 0, 0, np.uint64(0)
                for line in range(row * side, row * side + side):
                    base = (line >> ONE) * pitch * TWO + (line & ONE)
                    for place in range(base + col * side * TWO, base + (col + ONE) * side * TWO, TWO):
                        value = bits[place]
                        count += value > 0
                        if value > best:
                            best, k, at = value, number, place
                        number += 1
            if count:
                pixel = row * np.uint64(width) + col
                face[pixel] = owner[at]
                depth[pixel] = np.float32(1) / nearest[at]
                sample[pixel] = k
                num_covered[pixel] = count
    for line in range(np.uint64(top >> 1), np.uint64((bottom >> 1) + 1)):
        for at in range((line * pitch + np.uint64(left)) * TWO, (line * pitch + np.uint64(right + 1)) * TWO):
            nearest[at] = 0
