"""What the training of an annotator is: a run of `reid.train` on sets whose identities nobody asks for."""

from dataclasses import dataclass, field, replace
from typing import Self

from tyro.conf import Suppress

from generative.annotators.iuv import IuvConfig
from generative.annotators.keypoints import KeypointsConfig
from generative.annotators.parts import PartsConfig
from generative.drawable import MIN_SIDE
from reid.config import EvaluateConfig, TrainConfig
from reid.dataset import DataConfig
from reid.fit import InputConfig
from reid.losses import LossConfig
from reid.models.san import SanConfig

NO_IDENTITIES = LossConfig(identity_weight=0.0, triplet_weight=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetsConfig(DataConfig):
    """Sets that have the label to be learned, as `DataConfig.pairs`."""

    real: Suppress[tuple[str, ...]] = ()
    rendered: Suppress[tuple[str, ...]] = ()
    generated: Suppress[tuple[str, ...]] = ()
    pairs: Suppress[tuple[str, ...]] = ()
    pairs_ratio: Suppress[tuple[int, int]] = (1, 1)
    memory_gib: Suppress[float] = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatorTrainConfig(TrainConfig):
    """Everything that fixes the outcome of an annotator's training."""

    model: SanConfig | IuvConfig | PartsConfig | KeypointsConfig
    """The network."""
    data: SetsConfig = field(default_factory=SetsConfig)
    """The sets it is taught with."""
    input: InputConfig = field(default_factory=lambda: InputConfig(min_side=MIN_SIDE))
    """What it is given, and its size in pixels."""
    losses: Suppress[LossConfig] = NO_IDENTITIES
    evaluate: Suppress[EvaluateConfig] = field(default_factory=lambda: EvaluateConfig(every=0))

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)  # super() does not know a class that was made anew with slots
        if self.model.needs_identities(self.losses):
            raise ValueError("an annotator learns nobody's identity: set model.constraint-weight 0")

    def with_sets(self, places: tuple[str, ...]) -> Self:
        """The same, taught with these sets."""
        return replace(self, data=replace(self.data, pairs=places))
