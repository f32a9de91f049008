"""The stages of a sensor for one CPU core, each one pass over a picture.

A picture of H x W pixels is (3 H W,) float32, red, green and blue of one pixel after the other: loops over whole rows
are what a compiler makes fastest, and flat arrays with unsigned indices compile in half the time of others.
`synth.sensor` calls the stages in their order.
"""

import math

import numpy as np

from synth.kernel import kernel, larger, smaller

TONE_CODES = 8192
"""Linear light is cut into so many levels before the tone curve: a fifth of an 8-bit step in the darkest tones."""
F, U = np.float32, np.uint64


@kernel(fastmath=True)
def blur(source, height, step, rows, columns, line, out):
    """Symmetric blur of source (H W step,), `step` values per pixel, into out; beyond its ends a line goes on as it ended.

    rows (R + 1,), columns (C + 1,): weight of a pixel itself, of its neighbours at distance 1, and so on; line is scratch
    for a row of W + 2 C pixels.
    """
    length, widest = len(source) // height, step * (len(columns) - 1)
    margin = U(widest)
    before, end = margin - U(1), margin + U(length)
    for row in range(height):
        here = U(row * length)
        for x in range(U(length)):
            line[margin + x] = rows[0] * source[here + x]
        for k in range(1, len(rows)):
            above, below, weight = U(larger(row - k, 0) * length), U(smaller(row + k, height - 1) * length), rows[k]
            for x in range(U(length)):
                line[margin + x] += weight * (source[above + x] + source[below + x])
        for x in range(margin):
            line[before - x] = line[before - x + U(step)]
            line[end + x] = line[end + x - U(step)]
        for x in range(U(length)):
            out[here + x] = columns[0] * line[margin + x]
        for k in range(1, len(columns)):
            # The bound is never met, but without it LLVM tests for overlaps once for all k, in vain, and drops vectors.
            reach, weight = U(smaller(step * k, widest)), columns[k]
            left, right = margin - reach, margin + reach
            for x in range(U(length)):
                out[here + x] += weight * (line[left + x] + line[right + x])


@kernel(fastmath=True)
def resample(source, height, rows, columns, line, out):
    """Apply bands of diagonals to source (3 H W,), into out.

    rows ((2 R + 1) H,), columns ((2 C + 1) 3 W,), a diagonal after the other: element i of diagonal k is the weight in
    output i of the pixel k - R (or C) further on; 0 for those beyond the ends. line: scratch for W + 2 C pixels.
    """
    length = len(source) // height
    reach, reach_across = len(rows) // height // 2, len(columns) // length // 2
    margin = U(3 * reach_across)
    for x in range(margin):
        line[x] = line[margin + U(length) + x] = 0
    for row in range(height):
        here = U(row * length)
        for x in range(U(length)):
            line[margin + x] = out[here + x] = 0
        for k in range(larger(0, reach - row), smaller(2 * reach + 1, height + reach - row)):
            weight, other = rows[k * height + row], U((row + k - reach) * length)
            for x in range(U(length)):
                line[margin + x] += weight * source[other + x]
        for k in range(2 * reach_across + 1):
            diagonal, first = U(k * length), U(3 * k)
            for x in range(U(length)):
                out[here + x] += columns[diagonal + x] * line[first + x]


@kernel(fastmath=True)
def add_noise(picture, codes, quantiles, shot, read, line):
    """picture (3 H W,) += sqrt(shot * picture + read) * deviate, in place.

    codes (3 H W,) uint8 are the deviates' places in quantiles (256,); shot, read (3 W,); line (3 W,) is scratch.
    """
    for row in range(0, len(picture), len(shot)):
        here = U(row)
        for x in range(U(len(shot))):
            line[x] = quantiles[codes[here + x]]
        for x in range(U(len(shot))):
            light = picture[here + x]
            picture[here + x] = light + math.sqrt(shot[x] * larger(light, F(0)) + read[x]) * line[x]


@kernel(fastmath=True)
def encode(picture, tones, veil, levels, green):
    """Linear picture (3 H W,) to the nearest of tones (TONE_CODES,), in place; green (H W,) is filled with that channel.

    levels: scratch, uint16, for a stretch of whole pixels.
    """
    top = F(TONE_CODES - 1)
    for start in range(0, len(picture), len(levels)):
        here = U(start)
        for x in range(U(len(levels))):
            levels[x] = smaller(larger((picture[here + x] + veil) * top + F(0.5), F(0)), top)
        for x in range(U(len(levels))):
            picture[here + x] = tones[levels[x]]
    for pixel in range(U(len(green))):
        green[pixel] = picture[U(3) * pixel + U(1)]


@kernel(fastmath=True)
def sharpen(picture, green, blurred, strength, rims, out):
    """out (3 H W,) uint8 = picture (3 H W,) + strength * (green - blurred), (H W,) both, for every channel.

    rims: scratch of 3 W + 2 zeros; every third is written.
    """
    width = U((len(rims) - 2) // 3)
    for row in range(U(len(green)) // width):
        # A rim stands at a pixel's green, between zeros: the sum of three neighbours brings it to red and blue too.
        first = row * width
        for column in range(width):
            rims[U(3) * column + U(2)] = strength * (green[first + column] - blurred[first + column])
        first *= U(3)
        for x in range(U(3) * width):
            value = picture[first + x] + rims[x] + rims[x + U(1)] + rims[x + U(2)] + F(0.5)
            out[first + x] = smaller(larger(value, F(0)), F(255))
