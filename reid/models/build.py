"""From a configuration to a model."""

from reid.losses import LossConfig
from reid.models.backbone import build_backbone
from reid.models.dsa import DsaConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.models.model import ModelConfig, Network
from reid.models.pcb import PcbConfig
from reid.models.san import SanConfig

ReidModelConfig = GlobalPoolConfig | PcbConfig | MgnConfig | SanConfig | DsaConfig


def build_model(config: ModelConfig, num_classes: int, *, losses: LossConfig, pretrained: bool) -> Network:
    """The network that `config` describes, in training mode.

    num_classes: identities to be told apart in training, which may be 0 for one that learns something else alone; pretrained:
    load the backbone's weights, which is not needed where all weights will come from a checkpoint. Raises ValueError for a
    network that learns from identities and has none.
    """
    if num_classes < 1 and config.needs_identities(losses):
        raise ValueError(
            f"{type(config).__name__} learns from identities, got none: name a set of known people under data.real, "
            "data.rendered or data.generated"
        )
    return config.build(build_backbone(config.backbone, pretrained=pretrained), num_classes, losses=losses)
