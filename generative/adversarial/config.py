"""What adversarial trainings have in common."""

import math
from dataclasses import dataclass, field

from tyro.conf import Suppress

from reid.config import Precision
from reid.dataset import DataConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredDataConfig(DataConfig):
    """How sets are read, of which none is told apart from the others by how far it is trusted."""

    real: Suppress[tuple[str, ...]] = ()
    rendered: Suppress[tuple[str, ...]] = ()
    generated: Suppress[tuple[str, ...]] = ()
    pairs: Suppress[tuple[str, ...]] = ()
    pairs_ratio: Suppress[tuple[int, int]] = (1, 1)
    flip: float = 0.5
    """Probability that a picture is mirrored, with all that belongs to it."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)  # super() does not know a class that was made anew with slots
        if not 0 <= self.flip <= 1:
            raise ValueError(f"data.flip must lie in 0..1, got {self.flip}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialConfig:
    """How all players' weights are changed: by Adam, without decay of weights."""

    epochs: int = 20
    """Passes over the known people, of style over the side that has more pictures."""
    batch_size: int = 16
    """Pictures in a step, over all processes together: of the sets under data, and as many of those under poses or target."""
    learning_rate: float = 2e-4
    """Of all players."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam."""
    decay_from: float = 0.5
    """Share of the run after which the rate falls, linearly, down to 0 at its end."""
    ema_decay: float = 0.999
    """Of the exponential moving average (EMA) of the generator's weights; less at first, so that the random start is forgotten."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"needs optimise.epochs and batch_size >= 1, got {self.epochs} and {self.batch_size}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"optimise.learning_rate must be > 0, got {self.learning_rate}")
        shares = {"betas": self.betas, "decay_from": (self.decay_from,), "ema_decay": (self.ema_decay,)}
        for name, values in shares.items():
            if not all(0 <= value < 1 or (name == "decay_from" and value == 1) for value in values):
                raise ValueError(f"optimise.{name} must lie in 0..1, got {getattr(self, name)}")

    def rate(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, which may end in the middle of one."""
        left = 1 - epoch / self.epochs
        return self.learning_rate * (1.0 if self.decay_from == 1 else min(1.0, left / (1 - self.decay_from)))

    def decay(self, step: int) -> float:
        """Of the EMA at step 0, 1, ... of the run."""
        return min(self.ema_decay, (1 + step) / (10 + step))


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialRunConfig:
    """What every adversarial training is told, besides its networks, sets and losses."""

    optimise: AdversarialConfig = field(default_factory=AdversarialConfig)
    """Optimisers and learning rates."""
    seed: int = 0
    """Of all that is drawn: weights, order, partners, flips."""
    precision: Precision = "auto"
    """Mixed precision of the networks; losses are float32. auto: fp16 or bf16 as `accelerate launch` was told, else bf16 where
    the device computes in it."""
    checkpoint_every: int = 1000
    """Steps from one checkpoint to the next; one is written at the end, too, and when the run is interrupted."""
    pictures_every: int = 500
    """Steps from one grid of pictures in TensorBoard to the next; 0: none."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.checkpoint_every < 1 or self.pictures_every < 0:
            raise ValueError(
                "needs seed >= 0, checkpoint_every >= 1 and pictures_every >= 0, got "
                f"{self.seed}, {self.checkpoint_every} and {self.pictures_every}"
            )


def check_at_least_0(config: object, *names: str) -> None:
    """Raise ValueError unless these fields of a configuration of losses are finite and >= 0."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"losses.{name} must be >= 0, got {getattr(config, name)}")
