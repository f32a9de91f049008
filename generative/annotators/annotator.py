"""What an annotator is: a network that draws one label of a picture, and says how sure it is."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reid.fit import Label
from reid.losses import LossConfig
from reid.models.model import ModelConfig, Network


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Annotation:
    """Labels of B pictures."""

    values: Tensor
    """As `reid.batch.StoredBatch.labels` has them: "iuv" (B, H, W, 3), "parts" (B, H, W) and "texture" (B, 256, 256, 3) uint8,
    H and W those of the pictures; "keypoints" (B, 17, 3) float32, x and y in pixels of the pictures, centres at +0.5."""
    confidence: Tensor
    """(B,) float32, 0..1."""


class AnnotatorConfig(ModelConfig):
    """Describes an annotator; a frozen dataclass."""

    __slots__ = ()

    def needs_identities(self, losses: LossConfig) -> bool:
        return False


class Annotator(Network):
    """Learns `label` from batches whose identities nobody asks for."""

    label: ClassVar[Label]
    takes_pairs = True

    @property
    def labels(self) -> frozenset[Label]:
        return frozenset({self.label})

    @abstractmethod
    def annotate(self, images: Tensor) -> Annotation:
        """images (B, 3, H, W) normalised, of the size that it was trained on -> what they show."""
