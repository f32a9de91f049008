"""Rasteriser for one CPU core.

Bodies at reID resolution have faces of a few samples each, so the cost is in starting a face, not in filling it.
The bounding box of a face is visited a row at a time, eight samples at once: LLVM does not vectorise so short a
loop by itself, so `_cover_eight` states it in vector IR, which LLVM lowers to what the CPU has (AVX, SSE, NEON).
Edge functions are integers, 32-bit for small faces and 64-bit for large ones: coverage is exact. No fast-math:
every CPU gives the same bits.
"""

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from synth.raster import SUBSAMPLE_STEPS, Visibility

LANES = 8
STEPS = SUBSAMPLE_STEPS
HALF_STEP = STEPS // 2
# The edge functions of a face this large, and eight samples beyond it, fit 32 bits.
SMALL_FACE_STEPS = 64 * STEPS


def rasterize_numba(
    vertices: Tensor, faces: Tensor, first_face: Tensor, height: int, width: int, supersampling: int
) -> Visibility:
    """`synth.raster.rasterize` for checked input. Works on the CPU, returns tensors on the device of `vertices`."""
    shape = (len(first_face) - 1, height, width)
    face = np.full(shape, -1, np.int32)
    depth = np.full(shape, np.inf, np.float32)
    sample, num_covered = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    _rasterize_batch(
        *(np.ascontiguousarray(array.detach().cpu().numpy()) for array in (vertices, faces, first_face)),
        supersampling,
        face,
        depth,
        sample,
        num_covered,
    )
    face, depth, sample, num_covered = (
        torch.from_numpy(array).to(vertices.device) for array in (face, depth, sample, num_covered)
    )
    return Visibility(face=face, depth=depth, sample=sample, num_covered=num_covered, supersampling=supersampling)


@njit(cache=True, nogil=True)
def _rasterize_batch(vertices, faces, first_face, supersampling, face, depth, sample, num_covered):
    """Fill the (B, H, W) outputs, which come in as empty pictures."""
    num_images, height, width = face.shape
    steps, inverse_depth = _snap(vertices, supersampling)
    # A block of eight samples may reach past the end of a row.
    shape = (height * supersampling, width * supersampling + LANES)
    nearest = np.zeros(shape, np.float32)
    owner = np.zeros(shape, np.int32)
    for image in range(num_images):
        box = _draw(steps, inverse_depth, faces, first_face[image], first_face[image + 1], nearest, owner)
        _resolve_and_clear(
            nearest, owner, box, supersampling, face[image], depth[image], sample[image], num_covered[image]
        )


@njit(cache=True, nogil=True)
def _snap(vertices, supersampling):
    """Vertices as (V, 2) int32 steps and (V,) float32 inverse depths, 1/m."""
    steps = np.empty((vertices.shape[0], 2), np.int32)
    inverse_depth = np.empty(vertices.shape[0], np.float32)
    scale = np.float32(supersampling * STEPS)
    for v in range(vertices.shape[0]):
        steps[v, 0] = np.int32(np.rint(vertices[v, 0] * scale))
        steps[v, 1] = np.int32(np.rint(vertices[v, 1] * scale))
        inverse_depth[v] = np.float32(1) / vertices[v, 2]
    return steps, inverse_depth


@njit(cache=True, nogil=True)
def _draw(steps, inverse_depth, faces, first, last, nearest, owner):
    """Draw faces first..last - 1 and return the rows and columns of samples that they may have touched."""
    num_rows, pitch = nearest.shape
    num_cols = pitch - LANES
    nearest, owner = nearest.ravel(), owner.ravel()
    top, bottom, left, right = num_rows, -1, num_cols, -1
    # Unsigned indices spare numba's test for negative ones, here half of the time of a face without samples.
    for f in range(np.uint64(first), np.uint64(last)):
        a, b, c = np.uint32(faces[f, 0]), np.uint32(faces[f, 1]), np.uint32(faces[f, 2])
        xa, ya, xb, yb, xc, yc = steps[a, 0], steps[a, 1], steps[b, 0], steps[b, 1], steps[c, 0], steps[c, 1]
        x_min, x_max = min(xa, min(xb, xc)), max(xa, max(xb, xc))
        y_min, y_max = min(ya, min(yb, yc)), max(ya, max(yb, yc))
        first_col, last_col = max((x_min + HALF_STEP - 1) // STEPS, 0), min((x_max - HALF_STEP) // STEPS, num_cols - 1)
        first_row, last_row = max((y_min + HALF_STEP - 1) // STEPS, 0), min((y_max - HALF_STEP) // STEPS, num_rows - 1)
        if first_col > last_col or first_row > last_row:
            continue
        top, bottom = min(top, first_row), max(bottom, last_row)
        left, right = min(left, first_col), max(right, last_col)
        x, y = first_col * STEPS + HALF_STEP, first_row * STEPS + HALF_STEP
        corners = (xa - x, ya - y, xb - x, yb - y, xc - x, yc - y)
        depths = (inverse_depth[a], inverse_depth[b], inverse_depth[c])
        block = (first_row, last_row, first_col, last_col, pitch)
        is_small = max(x_max - x_min, y_max - y_min) <= SMALL_FACE_STEPS
        _draw_face(corners, depths, block, is_small, np.int32(f), nearest, owner)
    return top, bottom, left, right


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_face(corners, depths, block, is_small, face, nearest, owner):
    """Draw one face. corners: its vertices in steps from the block's first sample; depths: their inverse depths.

    The edge function opposite a corner is that corner's barycentric coordinate times the face's area. It is lowered
    by one on the edges that do not own their samples, so that >= 0 decides everywhere; `base` undoes this for depth.
    """
    xa, ya, xb, yb, xc, yc = corners
    first_row, last_row, first_col, last_col, pitch = block
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    if area == 0:
        return
    sign = 1 if area > 0 else -1
    right_a, right_b, right_c = sign * (yb - yc), sign * (yc - ya), sign * (ya - yb)
    down_a, down_b, down_c = sign * (xc - xb), sign * (xa - xc), sign * (xb - xa)
    lowered_a, lowered_b, lowered_c = _lowered(right_a, down_a), _lowered(right_b, down_b), _lowered(right_c, down_c)
    edge_a = sign * (xb * yc - xc * yb) - lowered_a
    edge_b = sign * (xc * ya - xa * yc) - lowered_b
    edge_c = sign * (xa * yb - xb * ya) - lowered_c
    right_a, right_b, right_c = right_a * STEPS, right_b * STEPS, right_c * STEPS
    inverse_area = np.float32(1) / np.float32(sign * area)
    slope_b, slope_c = (depths[1] - depths[0]) * inverse_area, (depths[2] - depths[0]) * inverse_area
    base = depths[0] + np.float32(lowered_b) * slope_b + np.float32(lowered_c) * slope_c
    plane = (base, slope_b, slope_c)
    for row in range(first_row, last_row + 1):
        for col in range(first_col, last_col + 1, LANES):
            skip = col - first_col
            a, b, c = edge_a + skip * right_a, edge_b + skip * right_b, edge_c + skip * right_c
            at = row * pitch + col
            if is_small:
                edges = (np.int32(a), np.int32(b), np.int32(c))
                rights = (np.int32(right_a), np.int32(right_b), np.int32(right_c))
                _cover_eight(nearest, owner, at, edges, rights, plane, face)
            else:
                _cover_eight(nearest, owner, at, (a, b, c), (right_a, right_b, right_c), plane, face)
        edge_a, edge_b, edge_c = edge_a + down_a * STEPS, edge_b + down_b * STEPS, edge_c + down_c * STEPS


@njit(cache=True, nogil=True)
def _lowered(right, down):
    """0 for an edge with the interior to its right, or below it if horizontal; 1 for the others."""
    return 1 - ((right > 0) | ((right == 0) & (down > 0)))


@intrinsic
def _cover_eight(typing_context, nearest, owner, at, edges, rights, plane, face):
    """Test eight samples of a row and write those that the face covers and is nearest at.

    nearest (S,) float32 inverse depth and owner (S,) int32 face of every sample; at: the first of the eight.
    edges, rights: three edge functions at the first sample and their increase from sample to sample, all int32 or
    all int64. plane: inverse depth = plane[0] + plane[1] * edges[1] + plane[2] * edges[2], float32.
    """
    signature = types.void(nearest, owner, at, edges, rights, plane, face)

    def codegen(context, builder, signature, arguments):
        nearest, owner, at, edges, rights, plane, face = arguments
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

        lanes = ir.Constant(edge_type, list(range(LANES)))
        edge_values = [
            builder.add(
                splat(builder.extract_value(edges, k), edge_type),
                builder.mul(splat(builder.extract_value(rights, k), edge_type), lanes),
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
        hit = builder.and_(inside, builder.fcmp_ordered(">", inverse_depth, old_depth))
        builder.store(builder.select(hit, inverse_depth, old_depth), nearest_at, align=4)
        builder.store(builder.select(hit, splat(face, face_type), old_owner), owner_at, align=4)
        return context.get_dummy_value()

    return signature, codegen


@njit(cache=True, nogil=True, error_model="numpy")
def _resolve_and_clear(nearest, owner, box, s, face, depth, sample, num_covered):
    """`synth.raster.resolve` for one picture within the box of samples touched, which is emptied for the next."""
    top, bottom, left, right = box
    if top > bottom:
        return
    for row in range(np.uint64(top // s), np.uint64(bottom // s + 1)):
        for col in range(np.uint64(left // s), np.uint64(right // s + 1)):
            best, best_sample, count = np.float32(0), 0, 0
            for k in range(s * s):
                inverse_depth = nearest[row * s + k // s, col * s + k % s]
                count += inverse_depth > 0
                if inverse_depth > best:
                    best, best_sample = inverse_depth, k
            if count:
                face[row, col] = owner[row * s + best_sample // s, col * s + best_sample % s]
                depth[row, col] = np.float32(1) / best
                sample[row, col] = best_sample
                num_covered[row, col] = count
    nearest[top : bottom + 1, left : right + 1 + LANES] = 0
