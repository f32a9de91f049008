"""Where each face of a mesh lies to the edge that it is to be cut along, for one CPU core."""

import numpy as np

from synth.kernel import kernel

ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)


@kernel
def sort_faces(faces, field, seen, num_inside, least):
    """Fill num_inside (F,) int8, corners where field (N,) float32 is > 0, and least (F,) float32, its least at a corner.

    faces (3 F,) int32. num_inside is 0 for a face without any corner that is seen (N,) bool.
    """
    for f in range(np.uint64(len(num_inside))):
        a, b, c = np.uint64(faces[f * THREE]), np.uint64(faces[f * THREE + ONE]), np.uint64(faces[f * THREE + TWO])
        at_a, at_b, at_c = field[a], field[b], field[c]
        inside = np.int8(at_a > 0) + np.int8(at_b > 0) + np.int8(at_c > 0)
        num_inside[f] = inside if seen[a] | seen[b] | seen[c] else 0
        smaller = at_a if at_a < at_b else at_b
        least[f] = smaller if smaller < at_c else at_c
