"""What a training of pose transfer is."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from generative.adversarial.config import AdversarialRunConfig, MirroredDataConfig, check_at_least_0
from generative.transfer.networks import NetworkConfig

GuiderForm = Literal["none", "ce", "triplet"]
"""Cross-entropy is eq. 3 of Liu et al. 2018, triplet eq. 4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferLossConfig:
    """Weights of eq. 5."""

    l1_weight: float = 10.0
    """Lambda, of the mean absolute difference from the true picture, colours in -1..1."""
    guider_weight: float = 1.0
    """Beta."""
    margin: float = 1.0
    """Alpha of eq. 4, in units of distance between the guider's embeddings, unit vectors where it compares by cosine. The paper
    gives none for it; 1 is that of its guiders' own training (sec. 4.2)."""
    r1_weight: float = 0.0
    """Gamma of the penalty on the discriminator's gradient at real pictures (Mescheder et al. 2018); 0 leaves it out."""
    r1_every: int = 16
    """Steps from one such penalty to the next, each weighing so many times as much (Karras et al. 2020)."""

    def __post_init__(self) -> None:
        check_at_least_0(self, "l1_weight", "guider_weight", "margin", "r1_weight")
        if self.r1_every < 1:
            raise ValueError(f"losses.r1_every must be >= 1, got {self.r1_every}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferConfig(AdversarialRunConfig):
    """Everything that fixes the outcome of a run, but for the folder that it is written to."""

    networks: NetworkConfig = field(default_factory=NetworkConfig)
    """The players."""
    data: MirroredDataConfig = field(default_factory=MirroredDataConfig)
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

    def __post_init__(self) -> None:
        AdversarialRunConfig.__post_init__(self)  # super() does not know a class that was made anew with slots
        if self.guider == "none" and self.guider_run is not None:
            raise ValueError(
                f"without a guider none is asked: give --guider ce or triplet, or leave out {self.guider_run}"
            )
        if self.guider == "triplet" and self.optimise.batch_size < 2:
            raise ValueError("a triplet needs pictures of two people: give optimise.batch-size >= 2, got 1")

    def with_sets(self, places: tuple[str, ...]) -> Self:
        """The same, taught with these sets of known people."""
        return replace(self, data=replace(self.data, real=places))
