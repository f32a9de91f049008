"""Generators and choices against numpy's own."""

import hashlib

import numpy as np
import pytest

from synth.seeding import choose, generator


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (3, 2**32), (2**70 + 5, 7)])
def test_a_generator_is_numpys_for_the_three_numbers(seed: int, index: int):
    stage = int.from_bytes(hashlib.sha256(b"body").digest()[:8], "little")
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index, stage))))
    assert generator(seed, index, "body").random() == expected.random()


def test_negative_numbers_are_refused():
    for seed, index in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="seed and index must be >= 0"):
            generator(seed, index, "body")


def test_choices_are_those_of_numpy():
    shares = {"a": 0.2, "b": 0.0, "c": 0.7, "d": 0.1}
    ours, theirs = (np.random.default_rng(4) for _ in range(2))
    drawn = [choose(ours, shares) for _ in range(2000)]
    assert drawn == [str(theirs.choice(list(shares), p=list(shares.values()))) for _ in range(2000)]


def test_shares_that_fall_short_by_rounding_still_give_a_choice():
    class Last:
        def random(self) -> float:
            return 1.0 - 2.0**-53

    assert choose(Last(), {"a": 0.1, "b": 0.2, "c": 0.7 - 1e-12}) == "c"
