"""The convolutional networks under the models: their layers, with the last reduction of size left out, and weights."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torchvision
from torch import nn

from reid.models.osnet import osnet_layers
from reid.models.weights import load_file, load_imagenet

BackboneName = Literal["resnet50", "resnet18", "mobilenetv2", "densenet121", "densenet169", "osnet"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """The network that makes a feature map of an image."""

    name: BackboneName = "resnet50"
    """Of torchvision, but OSNet x1.0."""
    weights: str = "auto"
    """What training starts from: "imagenet" (torchvision's IMAGENET1K_V1), "auto" (the same where its server can be
    reached, else random, which the run says), "none" (random), or a state dict in torchvision's (OSNet's) own names:
    FILE.pth or FILE.safetensors."""

    def __post_init__(self) -> None:
        if self.weights == "imagenet" and self.name == "osnet":
            raise ValueError(
                "torchvision has no ImageNet weights of osnet: give its authors' file, --model.backbone.weights FILE.pth"
            )
        if not (self.weights in ("auto", "imagenet", "none") or self.weights.endswith((".pth", ".safetensors"))):
            raise ValueError(
                f'weights must be "auto", "imagenet", "none", a .pth or a .safetensors file, got {self.weights!r}'
            )


class Backbone(nn.Sequential):
    """Images (B, 3, H, W), normalised -> maps (B, `num_channels`, H / 16, W / 16), rounded up."""

    num_channels: int
    """Of the maps."""
    provenance: str
    """Which weights it started from, in words."""

    def __init__(self, layers: "OrderedDict[str, nn.Module]", *, num_channels: int):
        super().__init__(layers)
        self.num_channels = num_channels
        self.provenance = "random initialisation"


def build_backbone(config: BackboneConfig, *, pretrained: bool) -> Backbone:
    """The network, with the weights that `config` names; with random ones where not `pretrained`.

    pretrained: False where all weights will come from a checkpoint. Raises FileNotFoundError or ValueError for weights
    that are not there or do not fit.
    """
    backbone = _layers(config.name)
    if pretrained:
        match config.weights:
            case "none":
                pass
            case "auto" | "imagenet" if config.name == "osnet":
                backbone.provenance = "random initialisation (torchvision has no weights of osnet: give a file)"
            case "auto" | "imagenet":
                load_imagenet(backbone, config.name, required=config.weights == "imagenet")
            case path:
                load_file(backbone, path)
    return backbone


def _layers(name: BackboneName) -> Backbone:
    """Without classifier and with an output stride of 16: deep maps keep twice the height and width (Huang et al. 2020,
    sec. IV-C1; Sun et al. 2018). Layers are called as in torchvision, so that its weights fit."""
    match name:
        case "resnet50" | "resnet18":
            network = getattr(torchvision.models, name)()
            first = network.layer4[0]
            for convolution in (first.conv1, first.conv2, first.downsample[0]):
                convolution.stride = (1, 1)
            num_channels = network.fc.in_features
            return Backbone(
                OrderedDict((n, layer) for n, layer in network.named_children() if n not in ("avgpool", "fc")),
                num_channels=num_channels,
            )
        case "mobilenetv2":
            network = torchvision.models.mobilenet_v2()
            strided = [m for m in network.features.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
            strided[-1].stride = (1, 1)
            return Backbone(OrderedDict(features=network.features), num_channels=network.last_channel)
        case "densenet121" | "densenet169":
            network = getattr(torchvision.models, name)()
            network.features.transition3.pool = nn.Identity()
            return Backbone(
                OrderedDict(features=network.features, relu=nn.ReLU(inplace=True)),
                num_channels=network.classifier.in_features,
            )
        case "osnet":
            return Backbone(osnet_layers(), num_channels=512)
