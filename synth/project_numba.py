"""World points to picture points for one CPU core, in one pass; their torch twins are
`synth.render.screen_points_twin` and `synth.camera.outline_twin`."""

import numba
import numpy as np

ONE, TWO, THREE, EIGHT = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(8)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def project_points(vertices, normals, camera, points):
    """Fill points (8 N,) with what `synth.render.screen_points` returns of one person.

    vertices, normals (3 N,) world, metres, x of all, y of all, z of all; camera (21,): rows of world_to_camera, then
    the diagonal and the last column of the intrinsics; all float32 and contiguous. Returns the sums of the least and the
    largest x, y and z.
    """
    num = np.uint64(len(vertices)) // THREE
    low_x = low_y = low_z = np.float32(np.inf)
    high_x = high_y = high_z = np.float32(-np.inf)
    for n in range(num):
        x, y, z, at = vertices[n], vertices[num + n], vertices[num + num + n], n * EIGHT
        low_x, low_y, low_z = min(low_x, x), min(low_y, y), min(low_z, z)
        high_x, high_y, high_z = max(high_x, x), max(high_y, y), max(high_z, z)
        depth = camera[8] * x + camera[9] * y + camera[10] * z + camera[11]
        points[at] = (camera[0] * x + camera[1] * y + camera[2] * z + camera[3]) / depth * camera[16] + camera[19]
        points[at + ONE] = (camera[4] * x + camera[5] * y + camera[6] * z + camera[7]) / depth * camera[17] + camera[20]
        points[at + TWO] = depth
        points[at + THREE] = 1
        for axis in range(THREE):
            points[at + np.uint64(4) + axis] = normals[axis * num + n]
        points[at + np.uint64(7)] = 0
    return low_x + high_x, low_y + high_y, low_z + high_z


@numba.njit(cache=True, nogil=True, error_model="numpy")
def reach(points, camera):
    """`synth.camera.outline` of one person: points (3 N,) world, metres, camera (16,) rows of world_to_camera, float32."""
    num = np.uint64(len(points)) // THREE
    left = top = np.float32(np.inf)
    right = bottom = np.float32(-np.inf)
    for n in range(num):
        x, y, z = points[n], points[num + n], points[num + num + n]
        closeness = np.float32(1) / (camera[8] * x + camera[9] * y + camera[10] * z + camera[11])
        across = (camera[0] * x + camera[1] * y + camera[2] * z + camera[3]) * closeness
        down = (camera[4] * x + camera[5] * y + camera[6] * z + camera[7]) * closeness
        left, right = min(left, across), max(right, across)
        top, bottom = min(top, down), max(bottom, down)
    return left, top, right, bottom
