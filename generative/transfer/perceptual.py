"""Networks that pictures are compared by, from weight files that the user has: none is loaded from elsewhere.

LPIPS (Zhang et al. 2018) is AlexNet's maps, weighted. Its two files are torchvision's `alexnet-owt-7be5be79.pth` and
`lpips/weights/v0.1/alex.pth` of the authors' package. The Inception of FID (Heusel et al. 2017) is torchvision's
`inception_v3_google-0cc3c7bd.pth`: published distances are mostly by other weights of 2015, with which these do not compare.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import alexnet, inception_v3

from reid.batch import on_device

ALEXNET = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
LINEAR = "https://github.com/richzhang/PerceptualSimilarity/blob/master/lpips/weights/v0.1/alex.pth"
INCEPTION = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
INCEPTION_SIDE = 299
"""Pixels that its pictures are high and wide."""

_RELUS = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
"""Layer of AlexNet whose maps are compared -> their channels."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_COUNTER = "num_batches_tracked"
"""Of batch norms, which older files do not have and evaluation does not ask for."""


class Lpips(nn.Module):
    """How different two pictures look: eq. 1 of Zhang et al. 2018, v0.1 on AlexNet. 0 for the same picture."""

    def __init__(self, backbone: Path, linear: Path):
        """backbone: weights of AlexNet; linear: those of the maps' channels. Errors as of `load_inception`."""
        super().__init__()
        with torch.device("meta"):
            self.features = alexnet(weights=None).features[: max(_RELUS) + 1]
        _load(
            self.features, _read(backbone), prefix="features.", what="torchvision's AlexNet", path=backbone, url=ALEXNET
        )
        weights = nn.ParameterDict({f"lin{i}": torch.empty(1, c, 1, 1) for i, c in enumerate(_RELUS.values())})
        found = {name.replace(".model.1.weight", ""): value for name, value in _read(linear).items()}
        _load(weights, found, prefix="", what="the weights of LPIPS on AlexNet", path=linear, url=LINEAR)
        self.weights = weights
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        """Both (B, 3, H, W) float32 in 0..1, 32 pixels at least in height and width; returns (B,)."""
        count = len(pictures)
        shift, scale = (on_device(values, pictures.device).view(3, 1, 1) for values in (_SHIFT, _SCALE))
        maps = (torch.cat([pictures, others]) * 2 - 1 - shift) / scale
        total, weights = pictures.new_zeros(count), iter(self.weights.values())
        for i, layer in enumerate(self.features):
            maps = layer(maps)
            if i in _RELUS:
                unit = maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)
                gap = (unit[:count] - unit[count:]).square()
                total = total + (gap * next(weights)).sum(1).mean((1, 2))
        return total


class Inception(nn.Module):
    """Inception v3's 2,048 pooled features, between whose distributions FID is the distance."""

    def __init__(self, path: Path):
        """path: torchvision's weights. Raises FileNotFoundError, and ValueError for a file that holds no weights, or others."""
        super().__init__()
        with torch.device("meta"):
            self.network = inception_v3(weights=None, aux_logits=False, init_weights=False)
            self.network.fc = nn.Identity()
        _load(self.network, _read(path), prefix="", what="torchvision's Inception v3", path=path, url=INCEPTION)
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, H, W) float32 in 0..1, stretched to a square -> (B, 2048) float32."""
        size = (INCEPTION_SIDE, INCEPTION_SIDE)
        return self.network(functional.interpolate(pictures, size, mode="bilinear", antialias=True) * 2 - 1)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name, of a file of torch or of safetensors."""
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zip and torch, which have no base of their own
        raise ValueError(f"{path} is no file of weights, or a damaged one: {error}".splitlines()[0]) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} must hold tensors by name, as `state_dict` gives them, got {type(found).__name__}")
    return found


def _load(network: nn.Module, found: Mapping[str, Tensor], *, prefix: str, what: str, path: Path, url: str) -> None:
    """Give a network its weights of a file, which may hold more."""
    weights = {}
    for name, wanted in network.state_dict().items():
        value = found.get(prefix + name)
        if value is None and name.endswith(_COUNTER):
            value = torch.zeros((), dtype=torch.int64)
        if value is None or value.shape != wanted.shape:
            got = "is missing" if value is None else f"is {tuple(value.shape)}, not {tuple(wanted.shape)}"
            raise ValueError(f"{path} does not hold {what}: {prefix}{name} {got}; the file is {url}")
        weights[name] = value.to(wanted.dtype)
    network.load_state_dict(weights, assign=True)
