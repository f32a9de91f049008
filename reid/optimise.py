"""Optimisers and their learning rates, as functions of the epoch alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer

from reid.models.model import Network


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiseConfig:
    """How weights are changed. Rates are those of the whole batch: they do not depend on the number of processes."""

    optimiser: Literal["sgd", "adam", "amsgrad"] = "adam"
    """SGD has `momentum`, Adam and AMSGrad torch's betas."""
    epochs: int = 320
    """Length of the run."""
    learning_rate: float = 8e-4
    """Of layers that came without pretrained weights, after the warm-up."""
    backbone_factor: float = 1.0
    """Times `learning_rate`: that of the layers that came with weights."""
    triplet_learning_rate: float | None = None
    """Identity and triplet loss take turns from step to step, the latter with this rate and an optimiser of its own (MGN in
    Part awareness, sec. IV-C3); None: they are added up. Any other loss is added to both: eq. 1 there adds the part loss to
    the reID loss, which at each step is the one whose turn it is."""
    weight_decay: float = 5e-4
    """Of all parameters."""
    momentum: float = 0.9
    """Of SGD."""
    warmup_epochs: float = 20
    """Epochs in which the rate grows linearly."""
    warmup_factor: float = 0.01
    """Where it starts, times the full rate."""
    decay: Literal["steps", "cosine"] = "steps"
    """steps: times `gamma` at every milestone; cosine: down to 0 at the end."""
    milestones: tuple[float, ...] = ()
    """Epochs."""
    gamma: float = 0.1
    """Factor at a milestone."""
    head_only_epochs: int = 0
    """Epochs at the start in which the layers with pretrained weights stay as they are, batch norm's statistics too."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"optimise.epochs must be at least 1, got {self.epochs}")
        rates = (self.learning_rate, self.triplet_learning_rate, self.backbone_factor, self.warmup_factor, self.gamma)
        if not all(rate is None or 0 < rate < math.inf for rate in rates):
            raise ValueError(f"learning rates and their factors must be > 0, got {rates}")
        if min(self.weight_decay, self.momentum, self.warmup_epochs, self.head_only_epochs) < 0 or self.momentum >= 1:
            raise ValueError(
                "needs weight_decay, warmup_epochs and head_only_epochs >= 0 and momentum in 0..1, got "
                f"{self.weight_decay}, {self.warmup_epochs}, {self.head_only_epochs} and {self.momentum}"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"optimise.milestones must rise, got {self.milestones}")

    def rate_factor(self, epoch: float) -> float:
        """What every learning rate is multiplied by after `epoch` epochs, which may end in the middle of one."""
        warmup = 1.0
        if epoch < self.warmup_epochs:
            warmup = self.warmup_factor + (1 - self.warmup_factor) * epoch / self.warmup_epochs
        match self.decay:
            case "steps":
                return warmup * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
            case "cosine":
                return warmup * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """An optimiser and what it is for."""

    optimiser: Optimizer
    learning_rate: float
    """Of new layers, before `OptimiseConfig.rate_factor`."""
    waiting: frozenset[str]
    """Names of the losses whose turn it is not; it brings down all others."""


def make_turns(model: Network, config: OptimiseConfig) -> tuple[Turn, ...]:
    """The optimisers that take turns from step to step; one, unless `triplet_learning_rate` is given."""
    if config.triplet_learning_rate is None:
        return (Turn(optimiser=_optimiser(model, config), learning_rate=config.learning_rate, waiting=frozenset()),)
    rates = {"identity": config.learning_rate, "triplet": config.triplet_learning_rate}
    return tuple(
        Turn(optimiser=_optimiser(model, config), learning_rate=rate, waiting=frozenset(rates) - {name})
        for name, rate in rates.items()
    )


def _optimiser(model: Network, config: OptimiseConfig) -> Optimizer:
    factors = {"backbone": config.backbone_factor, **model.rate_factors}
    groups = [{"params": list(model.get_submodule(name).parameters()), "factor": f} for name, f in factors.items()]
    known = {parameter for group in groups for parameter in group["params"]}
    groups.append({"params": [one for one in model.parameters() if one not in known], "factor": 1.0})
    groups = [group for group in groups if group["params"]]
    match config.optimiser:
        case "sgd":
            return torch.optim.SGD(
                groups, config.learning_rate, config.momentum, weight_decay=config.weight_decay, fused=True
            )
        case "adam" | "amsgrad":
            return torch.optim.Adam(
                groups,
                config.learning_rate,
                weight_decay=config.weight_decay,
                amsgrad=config.optimiser == "amsgrad",
                fused=True,
            )


def set_rates(turn: Turn, config: OptimiseConfig, epoch: float) -> float:
    """Give an optimiser the learning rates of this moment; returns that of new layers."""
    rate = turn.learning_rate * config.rate_factor(epoch)
    for group in turn.optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    return rate


def hold(*modules: nn.Module) -> None:
    """Let the next step pass over these layers: without a gradient there is neither momentum nor decay of weights."""
    for module in modules:
        for parameter in module.parameters():
            parameter.grad = None


def state_tensors(turns: Sequence[Turn], model: Network) -> dict[str, torch.Tensor]:
    """What the optimisers remember, `TURN.PARAMETER/NAME` -> tensor."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{number}.{names[parameter]}/{entry}": value
        for number, turn in enumerate(turns)
        for parameter, state in turn.optimiser.state.items()
        for entry, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def load_state_tensors(turns: Sequence[Turn], model: Network, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `state_tensors`; tensors go to where the parameters lie."""
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        place, _, entry = name.rpartition("/")
        number, _, parameter = place.partition(".")
        owner = parameters[parameter]
        state = turns[int(number)].optimiser.state[owner]
        state[entry] = torch.empty_like(owner).copy_(value) if value.shape == owner.shape else value.to(owner.device)
