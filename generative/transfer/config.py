"""What a training of pose transfer is."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from tyro.conf import Suppress

from generative.transfer.networks import NetworkConfig
from reid.config import Precision
from reid.dataset import DataConfig

GuiderForm = Literal["none", "ce", "triplet"]
"""Cross-entropy is eq. 3 of Liu et al. 2018, triplet eq. 4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferDataConfig(DataConfig):
    """Sets with keypoints, whatever their samples' origin: of known people under `real`, and others to take poses from."""

    real: Suppress[tuple[str, ...]] = ()
    rendered: Suppress[tuple[str, ...]] = ()
    generated: Suppress[tuple[str, ...]] = ()
    pairs: Suppress[tuple[str, ...]] = ()
    pairs_ratio: Suppress[tuple[int, int]] = (1, 1)
    flip: float = 0.5
    """Probability that a pair is mirrored, both pictures and the skeleton."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)  # super() does not know a class that was made anew with slots
        if not 0 <= self.flip <= 1:
            raise ValueError(f"data.flip must lie in 0..1, got {self.flip}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferLossConfig:
    """Weights of eq. 5."""

    l1_weight: float = 10.0
    """Lambda, of the mean absolute difference from the true picture, colours in -1..1."""
    guider_weight: float = 1.0
    """Beta."""
    margin: float = 1.0
    """Alpha of eq. 4, in units of distance between the guider's features. The paper gives none for it; 1 is that of its
    guiders' own training (sec. 4.2)."""
    r1_weight: float = 0.0
    """Gamma of the penalty on the discriminator's gradient at real pictures (Mescheder et al. 2018); 0 leaves it out."""
    r1_every: int = 16
    """Steps from one such penalty to the next, each weighing so many times as much (Karras et al. 2020)."""

    def __post_init__(self) -> None:
        for name in ("l1_weight", "guider_weight", "margin", "r1_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"losses.{name} must be >= 0, got {getattr(self, name)}")
        if self.r1_every < 1:
            raise ValueError(f"losses.r1_every must be >= 1, got {self.r1_every}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialConfig:
    """How both players' weights are changed: by Adam, without decay of weights."""

    epochs: int = 20
    """Passes over the sets of known people."""
    batch_size: int = 16
    """Pairs of known people in a step, over all processes together; as many of the source of poses come besides."""
    learning_rate: float = 2e-4
    """Of both players."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam."""
    decay_from: float = 0.5
    """Share of the run after which the rate falls, linearly, down to 0 at its end."""
    average: float = 0.999
    """Decay of the average of the generator's weights; less at first, so that the random start is forgotten."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"needs optimise.epochs and batch_size >= 1, got {self.epochs} and {self.batch_size}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"optimise.learning_rate must be > 0, got {self.learning_rate}")
        shares = {"betas": self.betas, "decay_from": (self.decay_from,), "average": (self.average,)}
        for name, values in shares.items():
            if not all(0 <= value < 1 or (name == "decay_from" and value == 1) for value in values):
                raise ValueError(f"optimise.{name} must lie in 0..1, got {getattr(self, name)}")

    def rate(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, which may end in the middle of one."""
        left = 1 - epoch / self.epochs
        return self.learning_rate * (1.0 if self.decay_from == 1 else min(1.0, left / (1 - self.decay_from)))

    def decay(self, step: int) -> float:
        """Of the average at step 0, 1, ... of the run."""
        return min(self.average, (1 + step) / (10 + step))


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferConfig:
    """Everything that fixes the outcome of a run, but for the folder that it is written to."""

    networks: NetworkConfig = field(default_factory=NetworkConfig)
    """The players."""
    data: TransferDataConfig = field(default_factory=TransferDataConfig)
    """The sets of known people, and how sets are read."""
    poses: tuple[str, ...] = ()
    """Folders or URLs of sets that are rich in poses. Their people are drawn too, but the guider is not asked about them."""
    guider: GuiderForm = "ce"
    """What the guider asks of a generated picture: to be classified as its person, or to be nearer to that person's real
    pictures than to generated ones of others."""
    guider_run: str | None = None
    """Folder of the run of `python -m reid train` whose network is the guider."""
    losses: TransferLossConfig = field(default_factory=TransferLossConfig)
    """What the generator is taught by."""
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
        if self.guider == "triplet" and self.optimise.batch_size < 2:
            raise ValueError("a triplet needs pictures of two people: give optimise.batch-size >= 2, got 1")

    def with_sets(self, places: tuple[str, ...]) -> Self:
        """The same, taught with these sets of known people."""
        return replace(self, data=replace(self.data, real=places))
