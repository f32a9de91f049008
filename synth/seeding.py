"""Random generators that depend on (seed, index, stage) and on nothing else."""

import hashlib

import numpy as np


def generator(seed: int, index: int, stage: str) -> np.random.Generator:
    """The generator of one stage of one sample.

    The same three values give the same stream on every machine, whatever was drawn before, so the output depends
    neither on batch size nor on the number of workers. Raises ValueError for a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be >= 0, got seed {seed} and index {index}")
    digest = int.from_bytes(hashlib.sha256(stage.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index, digest))))
