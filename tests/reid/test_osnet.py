"""OSNet against the counts that follow from its paper's table 1, and a block written out."""

import torch
from torch import Tensor
from torch.nn import functional

from reid.models.backbone import BackboneConfig, build_backbone
from reid.models.osnet import OmniScaleBlock


def count_parameters() -> int:
    """Table 1, layer by layer: 1x1 and 7x7 convolutions without bias, batch norm after each, 10 lite 3x3 in a block."""

    def convolution(inputs: int, outputs: int, area: int = 1) -> int:
        return inputs * outputs * area + 2 * outputs

    def block(inputs: int, outputs: int) -> int:
        width = outputs // 4
        lite = width * width + 9 * width + 2 * width
        gate = 2 * width * (width // 16) + width // 16 + width
        shortcut = convolution(inputs, outputs) if inputs != outputs else 0
        return convolution(inputs, width) + (1 + 2 + 3 + 4) * lite + gate + convolution(width, outputs) + shortcut

    total = convolution(3, 64, 49)
    for inputs, outputs in ((64, 256), (256, 384), (384, 512)):
        total += block(inputs, outputs) + block(outputs, outputs)
    return total + convolution(256, 256) + convolution(384, 384) + convolution(512, 512)


def test_number_of_parameters():
    backbone = build_backbone(BackboneConfig(name="osnet", weights="none"), pretrained=True)
    num_parameters = sum(parameter.numel() for parameter in backbone.parameters())
    assert num_parameters == count_parameters()
    fully_connected = 512 * 512 + 512 + 2 * 512
    assert round((num_parameters + fully_connected) / 1e6, 1) == 2.2, "the paper's figure, with its last layer"


def test_names_are_those_of_the_published_weights():
    names = build_backbone(BackboneConfig(name="osnet", weights="none"), pretrained=True).state_dict().keys()
    assert {
        "conv1.conv.weight",
        "conv1.bn.running_mean",
        "conv2.0.conv1.conv.weight",
        "conv2.0.conv2a.conv1.weight",
        "conv2.0.conv2d.3.conv2.weight",
        "conv2.1.gate.fc1.bias",
        "conv3.0.downsample.bn.weight",
        "conv3.2.0.conv.weight",
        "conv5.bn.bias",
    } <= names


def test_a_block_equals_its_equations():
    torch.manual_seed(0)
    block = OmniScaleBlock(16, 64).eval()
    state = {name: value for name, value in block.state_dict().items()}
    maps = torch.randn(2, 16, 6, 4)

    def bn(x: Tensor, name: str) -> Tensor:
        return x / (1 + 1e-5) ** 0.5 * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    def lite(x: Tensor, name: str) -> Tensor:
        pointwise = functional.conv2d(x, state[f"{name}.conv1.weight"])
        return bn(
            functional.conv2d(pointwise, state[f"{name}.conv2.weight"], padding=1, groups=16), f"{name}.bn"
        ).relu()

    def gate(x: Tensor) -> Tensor:
        hidden = (x.mean((2, 3)) @ state["gate.fc1.weight"][:, :, 0, 0].T + state["gate.fc1.bias"]).relu()
        weight = (hidden @ state["gate.fc2.weight"][:, :, 0, 0].T + state["gate.fc2.bias"]).sigmoid()
        return x * weight[:, :, None, None]

    narrow = bn(functional.conv2d(maps, state["conv1.conv.weight"]), "conv1.bn").relu()
    total = torch.zeros_like(narrow)
    for stream, depth in (("conv2a", 1), ("conv2b", 2), ("conv2c", 3), ("conv2d", 4)):
        x = narrow
        for i in range(depth):
            x = lite(x, stream if depth == 1 else f"{stream}.{i}")
        total += gate(x)
    residual = bn(functional.conv2d(total, state["conv3.conv.weight"]), "conv3.bn")
    shortcut = bn(functional.conv2d(maps, state["downsample.conv.weight"]), "downsample.bn")
    torch.testing.assert_close(block(maps), (residual + shortcut).relu())
