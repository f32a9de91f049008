"""A trained generator and how it came about. The checkpoint is that of `reid.checkpoint`, with both players in it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from generative.transfer.config import TransferConfig
from generative.transfer.networks import Generator
from reid.checkpoint import checkpoint_path, read_checkpoint


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
    path = checkpoint_path(folder, "last")
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint {path}: give the folder of a run of `python -m generative train pose-transfer`"
        )
    state, tensors, _ = read_checkpoint(path, TransferConfig)
    generator = Generator(state.config.networks).requires_grad_(False).eval()
    name = "average."
    weights = {key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)}
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the generator of their configuration: {error}") from error
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return TransferRun(generator=generator, config=state.config, hash=digest, folder=folder)
