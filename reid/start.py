"""What a run begins from: its own last checkpoint, the weights of another run, or pretrained ones."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from reid.checkpoint import (
    State,
    check_same_run,
    checkpoint_path,
    load_weights,
    read_checkpoint,
    read_weights,
    which_checkpoint,
)
from reid.models.build import build_model
from reid.models.model import Network

logger = logging.getLogger(__name__)

LITTLE = 0.1
"""Layers that learn at less than this times the rate of new ones are meant to have learned before."""


def start(state: State, out: Path, *, resume: bool) -> tuple[Network, State, Mapping[str, Tensor] | None]:
    """The network of the run in the folder `out`, where that stands, and what its optimisers remember (None at its beginning).

    state: as a run of its configuration begins. Raises ValueError and FileNotFoundError for a checkpoint, a run to start
    from or a file of weights that does not go with it.
    """
    config, last = state.config, checkpoint_path(out, "last")
    if resume and not last.is_file():
        logger.warning("%s holds no checkpoint to go on from: the run starts at the beginning", out)
    goes_on = resume and last.is_file()
    if goes_on:
        found, weights, optimiser = read_checkpoint(last, type(config))
        check_same_run(found, state)
        state = replace(found, config=config)
    torch.manual_seed(config.seed)
    model = build_model(
        config.model, len(state.class_names), losses=config.losses, pretrained=not goes_on and config.start is None
    )
    if goes_on:
        load_weights(model, weights, where=last)
        return model, state, optimiser
    if config.start is None:
        provenance = model.backbone.provenance
        _warn_of_random_weights(model, state, provenance)
    else:
        provenance = start_from(model, state, Path(config.start))
    return model, replace(state, provenance=provenance), None


def start_from(model: Network, state: State, folder: Path) -> str:
    """Give the network of a run in `state` the weights of the run in `folder` that have the same names and shapes, and say so
    in words.

    What tells identities apart (`Network.identity_layers`) is taken over where the people are the same. Raises
    FileNotFoundError without a checkpoint, ValueError where the backbone's weights are not all there.
    """
    path = which_checkpoint(folder)
    found, theirs = read_weights(path)
    weights = {ours: value for name, value in theirs.items() for ours in model.translate(name)}
    wanted = model.state_dict()
    others = (
        () if tuple(found["class_names"]) == state.class_names else tuple(f"{name}." for name in model.identity_layers)
    )
    fitting = {
        name: weights[name]
        for name, value in wanted.items()
        if name in weights and weights[name].shape == value.shape and not name.startswith(others)
    }
    if missing := [name for name in wanted if name.startswith("backbone.") and name not in fitting]:
        raise ValueError(
            f"{path} has another backbone: it lacks {missing[0]}, or has it in another shape, and {len(missing) - 1} more. "
            "Start from a run with the same model.backbone.name, of MGN only another MGN"
        )
    drawn = [found["config"]["model"].get("reconstruct"), getattr(state.config.model, "reconstruct", None)]
    if None not in drawn and drawn[0] != drawn[1]:
        logger.warning("the decoder of %s has learned to draw %s, this run's draws %s", path, *drawn)
    model.load_state_dict(fitting, strict=False)
    new = sorted({name.partition(".")[0] for name in wanted.keys() - fitting.keys()})
    return f"weights of {path}" + (f" (new: {', '.join(new)})" if new else "")


def _warn_of_random_weights(model: Network, state: State, provenance: str) -> None:
    optimise = state.config.optimise
    if optimise.head_only_epochs and provenance.startswith("random"):
        logger.warning(
            "the backbone's weights are random and stay so for %d epochs: give --model.backbone.weights FILE, or "
            "--optimise.head-only-epochs 0",
            optimise.head_only_epochs,
        )
    for name, factor in model.rate_factors.items():
        if factor < LITTLE:
            logger.warning(
                "%s begins with random weights and learns at %g times the rate of other layers, as if it had learned "
                "before: give --start RUN",
                name,
                factor,
            )
