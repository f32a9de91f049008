"""World points to picture points for one CPU core, in one pass; their torch twins are
`synth.render.screen_points_twin` and `synth.camera.outline_twin`."""

import numpy as np

from synth.kernel import kernel, larger, smaller

ONE, TWO, THREE, EIGHT = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(8)
WIDE = 64
"""Points at a time: each has least and largest values of its own, as LLVM would not vectorise one for all."""
LEFT, TOP, RIGHT, BOTTOM = (np.uint64(k * WIDE) for k in range(4))


@kernel
def project_points(vertices, normals, camera, points):
    """Fill points (8 N,) with what `synth.render.screen_points` returns of one person.

    vertices, normals (3 N,) world, metres, x of all, y of all, z of all; camera (21,): rows of world_to_camera, then
    the diagonal and the last column of the intrinsics; all float32 and contiguous.
    """
    num = np.uint64(len(vertices)) // THREE
    for n in range(num):
        x, y, z, at = vertices[n], vertices[num + n], vertices[num + num + n], n * EIGHT
        depth = camera[8] * x + camera[9] * y + camera[10] * z + camera[11]
        points[at] = (camera[0] * x + camera[1] * y + camera[2] * z + camera[3]) / depth * camera[16] + camera[19]
        points[at + ONE] = (camera[4] * x + camera[5] * y + camera[6] * z + camera[7]) / depth * camera[17] + camera[20]
        points[at + TWO] = depth
        points[at + THREE] = 1
        for axis in range(THREE):
            points[at + np.uint64(4) + axis] = normals[axis * num + n]
        points[at + np.uint64(7)] = 0


@kernel
def reach(points, camera, work):
    """`synth.camera.outline` of one person: points (3 N,) world, metres, camera (16,) rows of world_to_camera, float32.

    work (4 * WIDE,) is room to work in.
    """
    num = np.uint64(len(points)) // THREE
    for v in range(LEFT, RIGHT):
        work[v], work[RIGHT + v] = np.inf, -np.inf
    for start in range(np.uint64(0), num, np.uint64(WIDE)):
        for v in range(smaller(np.uint64(WIDE), num - start)):
            x, y, z = points[start + v], points[num + start + v], points[num + num + start + v]
            closeness = np.float32(1) / (camera[8] * x + camera[9] * y + camera[10] * z + camera[11])
            across = (camera[0] * x + camera[1] * y + camera[2] * z + camera[3]) * closeness
            down = (camera[4] * x + camera[5] * y + camera[6] * z + camera[7]) * closeness
            work[LEFT + v], work[RIGHT + v] = smaller(work[LEFT + v], across), larger(work[RIGHT + v], across)
            work[TOP + v], work[BOTTOM + v] = smaller(work[TOP + v], down), larger(work[BOTTOM + v], down)
    for v in range(np.uint64(1), np.uint64(WIDE)):
        work[LEFT], work[RIGHT] = smaller(work[LEFT], work[LEFT + v]), larger(work[RIGHT], work[RIGHT + v])
        work[TOP], work[BOTTOM] = smaller(work[TOP], work[TOP + v]), larger(work[BOTTOM], work[BOTTOM + v])
    return work[LEFT], work[TOP], work[RIGHT], work[BOTTOM]
