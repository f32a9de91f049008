"""From a configuration to a model."""

from reid.losses import LossConfig
from reid.models.backbone import build_backbone
from reid.models.dsa import Dsa, DsaConfig
from reid.models.global_pool import GlobalPool, GlobalPoolConfig
from reid.models.mgn import Mgn, MgnConfig
from reid.models.model import Model
from reid.models.pcb import Pcb, PcbConfig
from reid.models.san import San, SanConfig

ModelConfig = GlobalPoolConfig | PcbConfig | MgnConfig | SanConfig | DsaConfig


def build_model(config: ModelConfig, num_classes: int, *, losses: LossConfig, pretrained: bool) -> Model:
    """The model that `config` describes, in training mode.

    num_classes: identities to be told apart in training, which may be 0 for a SAN that only reconstructs; pretrained: load the
    backbone's weights, which is not needed where all weights will come from a checkpoint.
    """
    may_know_nobody = isinstance(config, SanConfig) and not (
        losses.identity_weight or losses.triplet_weight or config.constraint_weight
    )
    if num_classes < 1 and not may_know_nobody:
        raise ValueError(
            f"{type(config).__name__} learns from identities, got none: name a set of known people under data.real, "
            "data.rendered or data.generated"
        )
    backbone = build_backbone(config.backbone, pretrained=pretrained)
    match config:
        case GlobalPoolConfig():
            return GlobalPool(config, backbone, num_classes, losses=losses)
        case PcbConfig():
            return Pcb(config, backbone, num_classes, losses=losses)
        case MgnConfig():
            return Mgn(config, backbone, num_classes, losses=losses)
        case DsaConfig():
            return Dsa(config, backbone, num_classes, losses=losses)
        case SanConfig():
            return San(config, backbone, num_classes, losses=losses)
