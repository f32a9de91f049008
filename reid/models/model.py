"""What a method is to the trainer: a network with `losses(batch)`; to everybody else, a model with `embed(images)`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from torch import Tensor, nn

from reid.batch import Batch
from reid.fit import Label
from reid.losses import LossConfig
from reid.models.backbone import Backbone, BackboneConfig


class ModelConfig(ABC):
    """Describes a network; a frozen dataclass."""

    __slots__ = ()
    backbone: BackboneConfig
    """The layers that may come with weights."""

    @abstractmethod
    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Network":
        """The network on its backbone; num_classes: identities to be told apart in training."""

    def needs_identities(self, losses: LossConfig) -> bool:
        """Whether there is nothing to learn where nobody is known."""
        return True

    def needs_triplets(self, losses: LossConfig) -> bool:
        """Whether batches must hold several pictures of each person."""
        return losses.triplet_weight > 0

    def is_trained_on(self, height: int, width: int) -> bool:
        """Whether the network can be trained on pictures of this size."""
        return True


class Network(nn.Module, ABC):
    """Layers, those among them that training alone needs, and what they are trained on."""

    backbone: nn.Module
    """The layers that came with pretrained weights; they have a learning rate of their own."""
    labels: frozenset[Label] = frozenset()
    """Fields that `losses` reads from `Batch.labels`, as the model is configured; the data loader decodes these."""
    takes_pairs: bool = False
    """Whether `losses` knows what to do with a batch of rendered pairs, whose identities are unknown."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Names of the submodules that `losses` alone needs; each may be None."""
    identity_layers: tuple[str, ...] = ()
    """Names of the submodules that tell identities apart; each may be None. They are of no use to other people, and a batch
    of pairs leaves them as they are, though their parameters stand in its losses' graph, times 0: processes wait for every
    gradient."""
    rate_factors: Mapping[str, float] = {}
    """Submodule -> its learning rate, times that of new layers."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalars: those with a gradient are losses, already weighted, whose sum is minimised; detached ones are
        only watched. All processes of a run give the same names at the same step."""

    def translate(self, name: str) -> Sequence[str]:
        """What the weights called `name` in a run of another kind of model are called in this one: themselves, or, of layers
        that it has several times, more."""
        return [name]

    @property
    def num_kept(self) -> int:
        """Parameters that are left when it is stripped."""
        stripped = tuple(f"{name}." for name in self.training_only)
        return sum(value.numel() for name, value in self.named_parameters() if not name.startswith(stripped))

    def strip(self) -> Self:
        """Take out, for good, what `losses` alone needs: embeddings stay the same. Returns the model."""
        for name in self.training_only:
            setattr(self, name, None)
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`losses`, by the name that wrappers for several processes and compilers know."""
        return self.losses(batch)


class Model(Network):
    """A network that tells people apart."""

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) normalised -> (B, C, h, w): the deepest map that still knows places, for Grad-CAM and part
        similarity."""

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) normalised -> (B, D) embeddings to be compared, of the mode (train or eval) that it is in."""

    def embedding_parts(self) -> Mapping[str, int]:
        """Name -> width of the features that an embedding consists of, in their order; the widths add up to D. Empty where
        it is one feature."""
        return {}

    def part_features(self, images: Tensor) -> Tensor | None:
        """images (B, 3, H, W) normalised -> (B, P, C): features of parts of the body, from top to bottom, pooled from the
        deepest map that the parts share (Huang et al. 2020, sec. IV-E). None of a model that knows no parts."""
        return None

    def drawings(self, images: Tensor) -> Mapping[str, Tensor]:
        """What training taught the network to draw of images (B, 3, H, W) normalised: name -> (B, h, w, 3) uint8, RGB. Empty
        of one that was taught no such thing."""
        return {}
