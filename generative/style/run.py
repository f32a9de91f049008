"""A trained generator of style and how it came about."""

from dataclasses import dataclass
from pathlib import Path

from generative.adversarial.run import load_generator, read_average
from generative.style.config import StyleConfig
from generative.style.networks import Generator
from reid.checkpoint import checkpoint_path
from shards.build import file_sha256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StyleRun:
    """A generator to use."""

    generator: Generator
    """From the source's look to the target's, with the averaged weights, in evaluation mode, on the CPU, without gradients."""
    config: StyleConfig
    """As it was trained."""
    hash: str
    """SHA-256 of the checkpoint, hexadecimal."""
    folder: Path


def load_style(folder: Path) -> StyleRun:
    """The generator of the last checkpoint of a run of `python -m generative train style`.

    Raises FileNotFoundError where there is none, ValueError where it is damaged or of another kind.
    """
    config, weights = read_average(folder, StyleConfig, "python -m generative train style")
    return StyleRun(
        generator=load_generator(Generator(config.networks), weights, folder),
        config=config,
        hash=file_sha256(checkpoint_path(folder, "last")),
        folder=folder,
    )
