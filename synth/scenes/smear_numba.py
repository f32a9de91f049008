"""Motion blur of one drawn person, for one CPU core."""

import numpy as np

from synth.kernel import kernel, larger, smaller

F = np.float32


@kernel
def smear(values, width, step, length, line, out):
    """Box blur along rows of `width` pixels of `step` values by `length` >= 1 pixels (a real number), into out; beyond
    the ends there is nothing. line: scratch for a row."""
    half = (length - F(1)) * F(0.5)
    whole = int(half)
    rest, share = half - F(whole), F(1) / length
    stride = width * step
    for start in range(0, len(values), stride):
        for x in range(stride):
            line[x] = F(0)
        for shift in range(-whole - 1, whole + 2):
            weight = share * (rest if abs(shift) > whole else F(1))
            for x in range(larger(0, -shift), smaller(width, width - shift)):
                for c in range(step):
                    line[x * step + c] += weight * values[start + (x + shift) * step + c]
        for x in range(stride):
            out[start + x] = line[x]
