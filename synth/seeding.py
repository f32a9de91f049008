"""Random generators that depend on (seed, index, stage) and on nothing else, and a draw that numpy is slow at."""

import functools
import hashlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")


def generator(seed: int, index: int, stage: str) -> np.random.Generator:
    """The generator of one stage of one sample.

    The same three values give the same stream on every machine, whatever was drawn before, so the output depends
    neither on batch size nor on the number of workers. Raises ValueError for a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be >= 0, got seed {seed} and index {index}")
    entropy = np.array([*_words(seed), *_words(index), *_stage_words(stage)], np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


@functools.lru_cache(maxsize=64)
def _stage_words(stage: str) -> list[int]:
    return _words(int.from_bytes(hashlib.sha256(stage.encode()).digest()[:8], "little"))


def _words(number: int) -> list[int]:
    """Digits of a number >= 0 to the base 2 ** 32, lowest first, as numpy's SeedSequence splits it, more slowly."""
    words = [number & 0xFFFFFFFF]
    while number := number >> 32:
        words.append(number & 0xFFFFFFFF)
    return words


def choose(rng: np.random.Generator, shares: Mapping[Choice, float]) -> Choice:
    """One of the keys, each as likely as its share; shares add up to 1."""
    left = rng.random()
    for key, share in shares.items():
        left -= share
        if left < 0:
            return key
    return key
