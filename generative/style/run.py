"""A trained generator that draws pictures in the target's look."""

from pathlib import Path

from generative.adversarial.run import GeneratorRun, load_generator_run
from generative.style.config import StyleConfig
from generative.style.networks import Generator

StyleRun = GeneratorRun[StyleConfig]


def load_style(folder: Path) -> StyleRun:
    """The generator of the last checkpoint of a run of `python -m generative train style`.

    Raises FileNotFoundError where there is none, ValueError where it is damaged or of another kind.
    """
    command = "python -m generative train style"
    return load_generator_run(folder, StyleConfig, lambda config: Generator(config.networks), command)
