"""What stands on a feature map: pooling in stripes, embedding layers, identity classifiers."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional


def pool_stripes(maps: Tensor, num_stripes: int, *, average: bool = False) -> Tensor:
    """The largest value (mean, if `average`) of every channel in each of equally high horizontal stripes.

    maps (B, C, h, w) -> (B, num_stripes, C), from top to bottom. Raises ValueError where h cannot be divided so.
    """
    height, width = maps.shape[2:]
    if height % num_stripes:
        raise ValueError(
            f"{num_stripes} stripes need a feature map whose height they divide, got {height} rows: make the height of "
            f"the images a multiple of {16 * num_stripes}"
        )
    pool = functional.avg_pool2d if average else functional.max_pool2d
    return pool(maps, (height // num_stripes, width)).flatten(2).transpose(1, 2)


def embedding_layer(in_features: int, out_features: int) -> nn.Sequential:
    """FC, BN, ReLU (Huang et al. 2020, fig. 4: Em#): (B, in_features) -> (B, out_features)."""
    return nn.Sequential(linear(in_features, out_features), nn.BatchNorm1d(out_features), nn.ReLU(inplace=True))


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A layer between features, Kaiming-initialised."""
    layer = nn.Linear(in_features, out_features)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    nn.init.zeros_(layer.bias)
    return layer


def neck(num_features: int) -> nn.BatchNorm1d:
    """Between the feature in the triplet loss and the one to classify and compare; it does not shift (Luo et al. 2019)."""
    layer = nn.BatchNorm1d(num_features)
    layer.bias.requires_grad_(False)
    return layer


def classifier(in_features: int, num_classes: int, *, bias: bool = True, num_layers: Literal[1, 2] = 1) -> nn.Module:
    """Logits of identities, nearly equal at first: weights N(0, 0.001). The first of two layers is as wide as the feature."""
    layer = nn.Linear(in_features, num_classes, bias=bias)
    nn.init.normal_(layer.weight, std=0.001)
    if bias:
        nn.init.zeros_(layer.bias)
    if num_layers == 1:
        return layer
    return nn.Sequential(linear(in_features, in_features), nn.ReLU(inplace=True), layer)
