"""What a training of style is."""

from dataclasses import dataclass, field, replace
from typing import Self

from tyro.conf import Suppress

from generative.adversarial.config import AdversarialConfig, AdversarialRunConfig, MirroredDataConfig, check_at_least_0
from generative.style.networks import StyleNetworkConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleLossConfig:
    """Weights of the losses beside the adversarial one (Deng et al. 2018, sec. 3.3)."""

    cycle_weight: float = 10.0
    """Lambda 1, of what is lost on the way there and back."""
    identity_weight: float = 5.0
    """Lambda 2, of what a generator does to pictures that have the look already."""
    contrastive_weight: float = 2.0
    """Lambda 3, of the term that keeps people who they are; 0 leaves its network out, and CycleGAN is left."""
    margin: float = 2.0
    """m, how far apart, of at most 2, pictures of two people are wanted."""

    def __post_init__(self) -> None:
        check_at_least_0(self, "cycle_weight", "identity_weight", "contrastive_weight", "margin")
        if self.margin > 2:
            raise ValueError(f"losses.margin is of points on a sphere, at most 2 apart, got {self.margin}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleConfig(AdversarialRunConfig):
    """Everything that fixes the outcome of a run, but for the folder that it is written to."""

    networks: StyleNetworkConfig = field(default_factory=StyleNetworkConfig)
    """The players."""
    data: MirroredDataConfig = field(default_factory=MirroredDataConfig)
    """How sets are read."""
    source: Suppress[tuple[str, ...]] = ()
    """Folders or URLs of the sets whose look is to change."""
    target: tuple[str, ...] = ()
    """Folders or URLs of the sets that have the look wanted. Nothing but their pictures is used."""
    losses: StyleLossConfig = field(default_factory=StyleLossConfig)
    """What the generators are taught by."""
    optimise: AdversarialConfig = field(default_factory=lambda: AdversarialConfig(epochs=5, batch_size=8))
    """Optimisers and learning rates. An epoch shows every picture of the larger side once."""
    history: int = 50
    """Pictures that each generator drew in earlier steps, shown to the discriminators in place of half of its new ones; 0: none."""

    def __post_init__(self) -> None:
        AdversarialRunConfig.__post_init__(self)
        if self.history < 0 or 0 < self.history < self.optimise.batch_size:
            raise ValueError(
                f"history holds a batch of {self.optimise.batch_size} pictures at least, or 0, got {self.history}"
            )

    def with_sets(self, places: tuple[str, ...]) -> Self:
        """The same, of these sets."""
        return replace(self, source=places)
