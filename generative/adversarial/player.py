"""A network and its optimiser: one side of the game."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from generative.adversarial.config import AdversarialConfig
from reid.optimise import Turn


@dataclass(frozen=True, kw_only=True, eq=False)
class Player:
    """A network and its optimiser."""

    network: nn.Module
    """As several processes wrap it."""
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Of fp16, one for each player: where the gradients of one overflow, the other's step is as good as it was."""

    def step(self, loss: Tensor) -> None:
        """Take the gradients of a loss, and new weights."""
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()


def make_player(network: nn.Module, config: AdversarialConfig, accelerator: Accelerator) -> Player:
    """A player whose network lies on its device."""
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate, config.betas, fused=True)
    scaler = torch.amp.GradScaler(accelerator.device.type, enabled=accelerator.mixed_precision == "fp16")
    if accelerator.num_processes > 1:
        # Not by Accelerator.prepare, which would put R1 under autocast too. Spectral norm's vectors follow from the weights.
        devices = [accelerator.device] if accelerator.device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)
    return Player(network=network, optimiser=optimiser, scaler=scaler)


def turns_of(players: Sequence[Player]) -> tuple[Turn, ...]:
    """As `reid.optimise` keeps optimisers."""
    return tuple(Turn(optimiser=player.optimiser, learning_rate=0.0, waiting=frozenset()) for player in players)


def scaler_states(players: Sequence[Player]) -> dict[str, dict] | None:
    """What their scalers remember, None where nothing is scaled. Waits for the device."""
    states = {str(number): player.scaler.state_dict() for number, player in enumerate(players)}
    return states if any(states.values()) else None


@contextmanager
def held(network: nn.Module) -> Iterator[nn.Module]:
    """A network that takes part in the graph made meanwhile, and whose weights get no gradient of it."""
    network.requires_grad_(False)
    try:
        yield network
    finally:
        network.requires_grad_(True)
