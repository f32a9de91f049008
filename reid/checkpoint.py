"""What a run leaves on disk: one file of tensors with what they mean, whole or not there at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor

from reid.config import TrainConfig, differences, from_dict, to_dict
from reid.models.build import build_model
from reid.models.model import Network
from shards.manifest import package_version
from shards.writer import atomic_file

Which = Literal["best", "last"]
NO_MATTER = (
    "checkpoint_every:",
    "pictures_every:",
    "compile:",
    "precision:",  # what it came to does: `State.precision`
    "data.memory_gib:",
    "data.max_bad_samples:",
    "evaluate.batch_size:",
)
"""Fields that may be given anew to a run that goes on: its outcome does not depend on them, but for rounding."""
_FORMAT = 2
_MODEL, _OPTIMISER = "model.", "optimiser."


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where a run stands, besides its tensors."""

    config: TrainConfig
    class_names: tuple[str, ...]
    """Identity of every class, in the order of the classifier."""
    num_samples: int
    """Training samples of known people; with `class_names` and `num_pairs`, what tells that the data are still the same."""
    num_pairs: int = 0
    """Samples that are learned from besides: rendered pairs, or pictures that poses are taken from."""
    num_processes: int = 1
    """That pairs are divided among."""
    precision: str = "no"
    """Mixed precision that "auto" came to on the machine of the run: no, fp16 or bf16."""
    epoch: int = 0
    step: int = 0
    """Steps taken in that epoch."""
    total_steps: int = 0
    """Steps taken since the start."""
    best_mean_ap: float | None = None
    """Of the first set that is scored."""
    scaler: Mapping[str, Any] | None = None
    """Of fp16's loss scaling."""
    uv_layout: str | None = None
    """Of the textures that were learned."""
    provenance: str = ""
    """What else the run came from, that is not in its configuration: hashes of the weights it started with, of the network that
    guides it, of its sets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A trained network and how it came about."""

    folder: Path
    model: Network
    """In evaluation mode."""
    state: State

    @property
    def config(self) -> TrainConfig:
        """As it was trained."""
        return self.state.config


def checkpoint_path(folder: Path, which: Which) -> Path:
    """Where a run keeps its best, or its last, checkpoint."""
    return folder / f"{which}.safetensors"


def which_checkpoint(folder: Path, which: Which | None = None) -> Path:
    """The checkpoint of a run that is used: the one asked for, else the best where there is one, else the last."""
    if which is None:
        which = "best" if checkpoint_path(folder, "best").is_file() else "last"
    return checkpoint_path(folder, which)


def save_checkpoint(path: Path, model: Network, state: State, optimiser: Mapping[str, Tensor]) -> None:
    """Write tensors and state; a file that was there is replaced once the new one is whole.

    optimiser: as `optimise.state_tensors` gives it, empty where the run will not go on from here.
    """
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    tensors |= {_OPTIMISER + name: value for name, value in optimiser.items()}
    fields = {name: getattr(state, name) for name in State.__dataclass_fields__}
    about = fields | {"config": to_dict(state.config), "format": _FORMAT, "version": package_version()}
    data = save(
        {name: value.detach().contiguous() for name, value in tensors.items()}, {"lookalike": json.dumps(about)}
    )
    with atomic_file(path) as file:
        file.write(data)


def read_checkpoint(
    path: Path, kind: type[TrainConfig] = TrainConfig
) -> tuple[State, dict[str, Tensor], dict[str, Tensor]]:
    """State, tensors of the model and tensors of the optimisers, of a run whose configuration is of a kind.

    Raises FileNotFoundError, and ValueError for a file that is none of ours, damaged, of a newer version or of another kind.
    """
    about, tensors = _read(path)
    config = from_dict(about.pop("config"), where=str(path), kind=kind)
    state = State(config=config, class_names=tuple(about.pop("class_names")), **about)
    return state, _under(_MODEL, tensors), _under(_OPTIMISER, tensors)


def read_weights(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """What `State` is made of, as JSON values, and the tensors of the model, of a run of any kind; errors as of
    `read_checkpoint`."""
    about, tensors = _read(path)
    return about, _under(_MODEL, tensors)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}: give the folder of a run of `python -m reid train`")
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["lookalike"])
        tensors = load_file(path)
        number, version = about.pop("format"), about.pop("version")
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no checkpoint of lookalike, or it is damaged: {error}") from error
    if number != _FORMAT or about.keys() != State.__dataclass_fields__.keys():
        raise ValueError(f"{path} was written by lookalike {version}, whose format this version does not read")
    return about, tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_run(folder: Path, which: Which | None = None, kind: type[TrainConfig] = TrainConfig) -> Run:
    """A run's network, to use it: the best checkpoint where there is one, else the last, or the one asked for.

    Raises FileNotFoundError where there is none, ValueError where it does not fit or is of another kind.
    """
    path = which_checkpoint(folder, which)
    state, weights, _ = read_checkpoint(path, kind)
    model = build_model(state.config.model, len(state.class_names), losses=state.config.losses, pretrained=False)
    load_weights(model, weights, where=path)
    return Run(folder=folder, model=model.eval(), state=state)


def load_weights(model: Network, weights: Mapping[str, Tensor], *, where: Path) -> None:
    """Give a network the weights of a checkpoint. Raises ValueError where names or shapes differ."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {where} do not fit the network of their configuration: {error}") from error


def check_same_run(found: State, wanted: State) -> None:
    """Raise ValueError unless the run that left `found` can go on as `wanted`: the same configuration and people."""
    # Who decodes matters to what is streamed, and not to what is read by number.
    no_matter = NO_MATTER if wanted.config.data.pairs else (*NO_MATTER, "data.num_workers:")
    if changed := [one for one in differences(wanted.config, found.config) if not one.startswith(no_matter)]:
        raise ValueError(
            f"the checkpoint is of another configuration, {'; '.join(changed)}: give the options that the run was started "
            "with, or another --out"
        )
    if wanted.precision != found.precision:
        why = ", which auto is here" if wanted.config.precision == "auto" else ""
        raise ValueError(
            f"the run computed in precision {found.precision}, and would go on in {wanted.precision}{why}: give --precision "
            f"{found.precision}, or another --out"
        )
    sizes = [(one.num_samples, len(one.class_names), one.num_pairs) for one in (wanted, found)]
    if sizes[0] != sizes[1] or wanted.class_names != found.class_names:
        now, then = ("{:,} samples of {:,} identities and {:,} pairs".format(*size) for size in sizes)
        raise ValueError(f"the training data have changed: {now}, the checkpoint is of {then}; give another --out")
    if wanted.num_pairs and wanted.num_processes != found.num_processes:
        raise ValueError(
            f"each process has its own share of the pairs: go on with {found.num_processes} processes, not "
            f"{wanted.num_processes}, or give another --out"
        )
