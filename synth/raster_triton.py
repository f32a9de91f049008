"""Rasteriser for a CUDA device, and for the CPU where TRITON_INTERPRET=1 was set before triton was imported.

Bodies at reID resolution have faces of a few samples each. A program takes a block of faces and walks all their bounding
boxes at once, a tile of samples of each at a time; most boxes fit one tile. Samples are one 64-bit number each, inverse
depth above and face below, so that one atomic maximum keeps the nearest face, of equals the lowest, in whatever order
programs run: the same picture every time.

The arithmetic is `synth.raster_numba`'s, step by step and without fused multiplication: the same faces, the same depths.
Nothing is read back: the host runs ahead of the device.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from synth.raster import SUBSAMPLE_STEPS, RasterConfig, Visibility, check_vertices, snap, usable_vertices

STEPS = tl.constexpr(SUBSAMPLE_STEPS)
HALF_STEP = tl.constexpr(SUBSAMPLE_STEPS // 2)
STEP_BITS = tl.constexpr(SUBSAMPLE_STEPS.bit_length() - 1)
LAST_FACE = tl.constexpr(2**31 - 1)
FACES, TILE, PIXELS = 32, 4, 256
"""Faces of a program, rows and columns of a tile, pixels of a program that resolves samples. Not yet tuned on a GPU."""


def rasterize_triton(
    vertices: Tensor, faces: Tensor, double_sided: Tensor, height: int, width: int, config: RasterConfig
) -> Visibility:
    """`synth.raster.rasterize` for checked faces (M, F, 3) and double_sided (M, F).

    Raises ValueError for a mesh on the CPU without TRITON_INTERPRET=1. On a CUDA device a vertex that does not lie where
    it must stops the program by a device-side assertion, which the next call that waits for the device reports.
    """
    s, device = config.supersampling, vertices.device
    if vertices.is_cpu and not triton.knobs.runtime.interpret:
        raise ValueError(
            "the triton rasteriser draws on a CUDA device, got vertices on the CPU; take rasterizer numba there, or set "
            "TRITON_INTERPRET=1 before Python starts to run its kernels slowly on the CPU"
        )
    usable = usable_vertices(vertices, config)
    _check(vertices, faces, usable, config)
    batch, num_vertices, _ = vertices.shape
    meshes, num_faces, _ = faces.shape
    steps = torch.where(usable[..., None], snap(vertices[..., :2], s), 0).int()
    inverse_depth = torch.where(usable, vertices[..., 2], 1).reciprocal_()
    samples = torch.zeros((batch, height * s, width * s), dtype=torch.int64, device=device)
    face = torch.empty((batch, height, width), dtype=torch.int32, device=device)
    depth = torch.empty((batch, height, width), dtype=torch.float32, device=device)
    sample, num_covered = (torch.empty_like(face, dtype=torch.uint8) for _ in range(2))
    if batch and num_faces:
        _draw[triton.cdiv(num_faces, FACES), batch](
            steps, inverse_depth, faces.contiguous(), double_sided.contiguous(), samples,
            num_vertices, num_faces, batch // meshes, height * s, width * s,
            FACES=FACES, TILE=TILE, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
    if batch:
        _resolve[triton.cdiv(height * width, PIXELS), batch](
            samples, face, depth, sample, num_covered, height * width, width,
            SIDE=s, PIXELS=PIXELS, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
    return Visibility(face=face, depth=depth, sample=sample, num_covered=num_covered, supersampling=s)


def _check(vertices: Tensor, faces: Tensor, usable: Tensor, config: RasterConfig) -> None:
    """That every corner of a face is usable: raised here on the CPU, asserted on the device elsewhere."""
    if not faces.numel() or not len(vertices):
        return
    per_mesh = usable.view(len(faces), -1, usable.shape[1]).all(1)
    whole = per_mesh.gather(1, faces.flatten(1).long()).all()
    if vertices.is_cuda:
        torch._assert_async(whole, "every corner of a face must lie deeper than near_m and near the picture")
    elif not whole:
        for mesh, own in zip(faces, vertices.view(len(faces), -1, *vertices.shape[1:]), strict=True):
            check_vertices(own, mesh, config)


@triton.jit
def _draw(
    steps, inverse_depth, faces, double_sided, samples, num_vertices, num_faces, pictures_per_mesh, num_rows, num_cols,
    FACES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Draw FACES faces of one picture into samples (B, num_rows, num_cols) int64.

    steps (B, V, 2) int32, inverse_depth (B, V), faces (M, F, 3) int32, double_sided (M, F). The edge function opposite a
    corner is lowered by one on the edges that do not own their samples, so that >= 0 decides everywhere.
    """
    picture = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0) * FACES + tl.arange(0, FACES)
    exists = number < num_faces
    at = picture // pictures_per_mesh * num_faces + number
    a = picture * num_vertices + tl.load(faces + at * 3, mask=exists, other=0)
    b = picture * num_vertices + tl.load(faces + at * 3 + 1, mask=exists, other=0)
    c = picture * num_vertices + tl.load(faces + at * 3 + 2, mask=exists, other=0)
    both_sides = tl.load(double_sided + at, mask=exists, other=0) != 0
    xa, ya = _place(steps, a, exists)
    xb, yb = _place(steps, b, exists)
    xc, yc = _place(steps, c, exists)
    first_col = tl.maximum((tl.minimum(xa, tl.minimum(xb, xc)) + HALF_STEP - 1) >> STEP_BITS, 0)
    first_row = tl.maximum((tl.minimum(ya, tl.minimum(yb, yc)) + HALF_STEP - 1) >> STEP_BITS, 0)
    last_col = tl.minimum((tl.maximum(xa, tl.maximum(xb, xc)) - HALF_STEP) >> STEP_BITS, num_cols - 1)
    last_row = tl.minimum((tl.maximum(ya, tl.maximum(yb, yc)) - HALF_STEP) >> STEP_BITS, num_rows - 1)
    # Rows count downwards: counter-clockwise is where this area is negative.
    area = (xb - xa).to(tl.int64) * (yc - ya) - (xc - xa).to(tl.int64) * (yb - ya)
    seen = (first_col <= last_col) & (first_row <= last_row) & ((area < 0) | ((area > 0) & both_sides))

    turned = area < 0
    area = tl.where(seen, tl.abs(area), 1)
    b, c = tl.where(turned, c, b), tl.where(turned, b, c)
    xb, xc = tl.where(turned, xc, xb), tl.where(turned, xb, xc)
    yb, yc = tl.where(turned, yc, yb), tl.where(turned, yb, yc)
    right_b, right_c = yc - ya, ya - yb
    down_b, down_c = xa - xc, xb - xa
    right_a, down_a = -right_b - right_c, -down_b - down_c
    lowered_a, lowered_b, lowered_c = _lowered(right_a, down_a), _lowered(right_b, down_b), _lowered(right_c, down_c)
    x, y = first_col * STEPS + HALF_STEP, first_row * STEPS + HALF_STEP
    edge_b = (xc - x).to(tl.int64) * (ya - y) - (xa - x).to(tl.int64) * (yc - y)
    edge_c = (xa - x).to(tl.int64) * (yb - y) - (xb - x).to(tl.int64) * (ya - y)
    edge_a = area - edge_b - edge_c - lowered_a
    edge_b, edge_c = edge_b - lowered_b, edge_c - lowered_c
    depth_a = tl.load(inverse_depth + a, mask=seen, other=1.0)
    slope_b = tl.div_rn(tl.load(inverse_depth + b, mask=seen, other=1.0) - depth_a, area.to(tl.float32))
    slope_c = tl.div_rn(tl.load(inverse_depth + c, mask=seen, other=1.0) - depth_a, area.to(tl.float32))
    plane = depth_a + lowered_b.to(tl.float32) * slope_b + lowered_c.to(tl.float32) * slope_c

    tiles_across = tl.where(seen, (last_col - first_col) // TILE + 1, 1)
    num_tiles = tl.where(seen, tiles_across * ((last_row - first_row) // TILE + 1), 0)
    place = tl.arange(0, TILE * TILE)[None, :]
    behind = (number ^ LAST_FACE)[:, None].to(tl.int64)
    tile, most = 0, tl.max(num_tiles, 0)
    while tile < most:
        down = (tile // tiles_across * TILE)[:, None] + place // TILE
        right = (tile % tiles_across * TILE)[:, None] + place % TILE
        row, col = first_row[:, None] + down, first_col[:, None] + right
        # Further on than a face has tiles, rows lie below its last.
        inside = seen[:, None] & (row <= last_row[:, None]) & (col <= last_col[:, None])
        down, right = down.to(tl.int64) * STEPS, right.to(tl.int64) * STEPS
        value_a = edge_a[:, None] + right * right_a[:, None] + down * down_a[:, None]
        value_b = edge_b[:, None] + right * right_b[:, None] + down * down_b[:, None]
        value_c = edge_c[:, None] + right * right_c[:, None] + down * down_c[:, None]
        nearness = (
            plane[:, None] + value_b.to(tl.float32) * slope_b[:, None] + value_c.to(tl.float32) * slope_c[:, None]
        )
        hit = inside & ((value_a | value_b | value_c) >= 0) & (nearness > 0)
        # Positive floats order like their bits.
        key = (nearness.to(tl.int32, bitcast=True).to(tl.int64) << 32) | behind
        tl.atomic_max(samples + (picture * num_rows + row) * num_cols + col, key, mask=hit, sem="relaxed")
        tile += 1


@triton.jit
def _place(steps, vertex, exists):
    """x and y of a vertex, in steps."""
    return tl.load(steps + vertex * 2, mask=exists, other=0), tl.load(steps + vertex * 2 + 1, mask=exists, other=0)


@triton.jit
def _lowered(right, down):
    """0 for an edge with the interior to its right, or below it if horizontal; 1 for the others."""
    return 1 - ((right > 0) | ((right == 0) & (down > 0))).to(tl.int64)


@triton.jit
def _resolve(
    samples, face, depth, sample, num_covered, num_pixels, width, SIDE: tl.constexpr, PIXELS: tl.constexpr
):  # fmt: skip
    """`synth.raster.resolve` of samples (B, H * SIDE, W * SIDE) into pixels (B, H, W): the nearest, of equals the first."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    exists = pixel < num_pixels
    row, col = pixel // width, pixel % width
    before = tl.program_id(1).to(tl.int64) * num_pixels
    samples += before * (SIDE * SIDE)
    nearest = tl.zeros((PIXELS,), tl.int64)
    chosen, count = tl.zeros((PIXELS,), tl.int32), tl.zeros((PIXELS,), tl.int32)
    for k in tl.static_range(SIDE * SIDE):
        at = (row * SIDE + k // SIDE) * (width * SIDE) + col * SIDE + k % SIDE
        found = tl.load(samples + at, mask=exists, other=0)
        nearer = (found >> 32) > (nearest >> 32)
        nearest, chosen = tl.where(nearer, found, nearest), tl.where(nearer, k, chosen)
        count += (found > 0).to(tl.int32)
    covered = count > 0
    closeness = (nearest >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    away = tl.div_rn(tl.full((PIXELS,), 1.0, tl.float32), tl.where(covered, closeness, 1.0))
    pixel += before
    tl.store(face + pixel, tl.where(covered, (nearest & LAST_FACE).to(tl.int32) ^ LAST_FACE, -1), mask=exists)
    tl.store(depth + pixel, tl.where(covered, away, float("inf")), mask=exists)
    tl.store(sample + pixel, chosen.to(tl.uint8), mask=exists)
    tl.store(num_covered + pixel, count.to(tl.uint8), mask=exists)
