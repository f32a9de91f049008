"""From a feature map to one of finer places: deconvolutions, as Xiao et al. 2018 ("Simple Baselines") put on a ResNet."""

from torch import nn

WIDTH = 256


def deconvolutions(in_channels: int, num_layers: int) -> nn.Sequential:
    """(B, in_channels, h, w) -> (B, 256, h * 2 ** num_layers, w * 2 ** num_layers): 4x4, stride 2, batch norm and ReLU each."""
    layers: list[nn.Module] = []
    for i in range(num_layers):
        layer = nn.ConvTranspose2d(WIDTH if i else in_channels, WIDTH, 4, 2, padding=1, bias=False)
        nn.init.normal_(layer.weight, std=0.001)
        layers += [layer, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
