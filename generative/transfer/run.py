"""A trained generator and how it came about. The checkpoint is that of `reid.checkpoint`, with both players in it."""

from dataclasses import dataclass
from pathlib import Path

from generative.adversarial.run import load_generator, read_average
from generative.transfer.config import TransferConfig
from generative.transfer.networks import Generator
from reid.checkpoint import checkpoint_path
from shards.build import file_sha256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransferRun:
    """A generator to use."""

    generator: Generator
    """With the averaged weights, in evaluation mode, on the CPU, without gradients."""
    config: TransferConfig
    """As it was trained."""
    hash: str
    """SHA-256 of the checkpoint, hexadecimal."""
    folder: Path


def load_transfer(folder: Path) -> TransferRun:
    """The generator of the last checkpoint of a run of `python -m generative train pose-transfer`.

    Raises FileNotFoundError where there is none, ValueError where it is damaged or of another kind.
    """
    config, weights = read_average(folder, TransferConfig, "python -m generative train pose-transfer")
    return TransferRun(
        generator=load_generator(Generator(config.networks), weights, folder),
        config=config,
        hash=file_sha256(checkpoint_path(folder, "last")),
        folder=folder,
    )
