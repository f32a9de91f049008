"""What a finished run is used for: the average of its generator. The checkpoint is that of `reid.checkpoint`."""

from pathlib import Path
from typing import TypeVar

from torch import nn

from generative.adversarial.config import AdversarialRunConfig
from reid.checkpoint import checkpoint_path, read_checkpoint

Config = TypeVar("Config", bound=AdversarialRunConfig)
_AVERAGE = "average."


def read_average(folder: Path, kind: type[Config], command: str) -> tuple[Config, dict]:
    """Configuration and averaged weights of the last checkpoint of a run; kind: of its configuration, command: what trains it.

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
    weights = {name.removeprefix(_AVERAGE): value for name, value in tensors.items() if name.startswith(_AVERAGE)}
    return state.config, weights


def load_generator(generator: nn.Module, weights: dict, folder: Path) -> nn.Module:
    """The generator with averaged weights, in evaluation mode, without gradients. Raises ValueError where they do not fit."""
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights in {checkpoint_path(folder, 'last')} do not fit the generator of their configuration: {error}"
        ) from error
    return generator.requires_grad_(False).eval()
