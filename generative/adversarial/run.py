"""What a finished run is used for: the moving average of its generator. The checkpoint is that of `reid.checkpoint`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from generative.adversarial.config import AdversarialRunConfig
from reid.checkpoint import checkpoint_path, read_checkpoint
from shards.build import file_sha256

Config = TypeVar("Config", bound=AdversarialRunConfig)
_EMA = "ema."


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GeneratorRun(Generic[Config]):
    """A generator to use, and how it came about."""

    generator: nn.Module
    """With the averaged weights, in evaluation mode, on the CPU, without gradients."""
    config: Config
    """As it was trained."""
    hash: str
    """SHA-256 of the checkpoint, hexadecimal."""
    folder: Path
    provenance: str
    """What it was taught with, as of `State`."""


def load_generator_run(
    folder: Path, kind: type[Config], make: Callable[[Config], nn.Module], command: str
) -> GeneratorRun[Config]:
    """The generator of the last checkpoint of a run; kind: of its configuration, of which `make` makes the network; command: what
    trains such runs.

    Raises FileNotFoundError where there is none, ValueError where it is damaged or of another kind.
    """
    path = checkpoint_path(folder, "last")
    remedy = f"give the folder of a run of `{command}`"
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}: {remedy}")
    try:
        state, tensors, _ = read_checkpoint(path, kind)
    except ValueError as error:
        raise ValueError(f"{error}; {remedy}") from error
    weights = {name.removeprefix(_EMA): value for name, value in tensors.items() if name.startswith(_EMA)}
    generator = make(state.config)
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the generator of their configuration: {error}") from error
    return GeneratorRun(
        generator=generator.requires_grad_(False).eval(),
        config=state.config,
        hash=file_sha256(path),
        folder=folder,
        provenance=state.provenance,
    )
