"""A trained generator that draws people in poses."""

from pathlib import Path

from generative.adversarial.run import GeneratorRun, load_generator_run
from generative.transfer.config import TransferConfig
from generative.transfer.networks import Generator

TransferRun = GeneratorRun[TransferConfig]


def load_transfer(folder: Path) -> TransferRun:
    """The generator of the last checkpoint of a run of `python -m generative train pose-transfer`.

    Raises FileNotFoundError where there is none, ValueError where it is damaged or of another kind.
    """
    command = "python -m generative train pose-transfer"
    return load_generator_run(folder, TransferConfig, lambda config: Generator(config.networks), command)
