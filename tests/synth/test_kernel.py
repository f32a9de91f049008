"""Minimum and maximum of kernels."""

import numba
import numpy as np
import pytest

from synth.kernel import larger, smaller

NUMBERS = [np.int32(-3), np.int64(5), np.uint64(7), np.uint64(2**63), np.float32(0.5), np.float64(-2.5)]


@numba.njit
def both(a, b):
    return smaller(a, b), larger(a, b)


@pytest.mark.parametrize("a", NUMBERS, ids=repr)
@pytest.mark.parametrize("b", NUMBERS, ids=repr)
def test_extremes_are_those_of_the_type_that_holds_both(a: np.generic, b: np.generic):
    wide = numba.np.numpy_support.as_dtype(numba.core.typing.Context().unify_types(*map(numba.typeof, (a, b))))
    x, y = wide.type(a), wide.type(b)
    assert both(a, b) == (min(x, y), max(x, y))


def test_of_equals_and_against_nan_the_second_is_taken():
    """As the plain comparisons do."""
    assert both(np.float32(2), np.float32(2)) == (2, 2)
    assert both(np.nan, 1.0) == (1, 1) and np.isnan(both(1.0, np.nan)).all()
