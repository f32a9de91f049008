"""LPIPS and Inception's features, from files of weights that the tests make."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional
from torchvision.models import inception_v3

from generative.transfer.perceptual import Inception, Lpips

CHANNELS = (64, 192, 384, 256, 256)
LAYERS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
"""Layer of AlexNet's features -> channels that it gives, takes, and the side of its kernels."""


def alexnet_weights() -> dict[str, torch.Tensor]:
    """Random, and as large as they need be for pictures to differ; the classifier's are left away."""
    random = torch.Generator().manual_seed(0)
    weights = {}
    for layer, (out, given, side) in LAYERS.items():
        weights[f"features.{layer}.weight"] = torch.randn(out, given, side, side, generator=random) / (given * side)
        weights[f"features.{layer}.bias"] = torch.randn(out, generator=random) / 10
    return weights


def linear_weights() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=random) for i, c in enumerate(CHANNELS)}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    torch.save(alexnet_weights() | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "alexnet.pth")
    torch.save(linear_weights(), tmp_path / "alex.pth")
    return tmp_path / "alexnet.pth", tmp_path / "alex.pth"


def lpips_of_loops(picture: np.ndarray, other: np.ndarray) -> float:
    """Eq. 1 of Zhang et al. 2018, place by place. Both (3, H, W) in 0..1."""
    weights, maps, total = alexnet_weights(), [], 0.0
    for one in (picture, other):
        x = torch.from_numpy(one)[None].float() * 2 - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(
            3, 1, 1
        )
        found = []
        for i, (layer, stride, padding) in enumerate(((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))):
            if i in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            w, b = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
            x = functional.relu(functional.conv2d(x, w, b, stride, padding))
            found.append(x[0].numpy())
        maps.append(found)
    for i, (mine, theirs) in enumerate(zip(*maps, strict=True)):
        lin = linear_weights()[f"lin{i}.model.1.weight"].flatten().numpy()
        places = []
        for y, x in np.ndindex(mine.shape[1:]):
            a, b = (one[:, y, x] / (np.linalg.norm(one[:, y, x]) + 1e-10) for one in (mine, theirs))
            places.append((lin * (a - b) ** 2).sum())
        total += np.mean(places)
    return float(total)


def test_lpips_is_that_of_loops(files: tuple[Path, Path]):
    rng = np.random.default_rng(0)
    pictures, others = rng.random((2, 3, 48, 32)).astype(np.float32), rng.random((2, 3, 48, 32)).astype(np.float32)
    network = Lpips(*files)
    found = network(torch.from_numpy(pictures), torch.from_numpy(others))
    expected = [lpips_of_loops(a, b) for a, b in zip(pictures, others, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-4) and expected[0] > 0.01
    assert network(torch.from_numpy(pictures), torch.from_numpy(pictures)).tolist() == [0, 0]
    assert not any(one.requires_grad for one in network.parameters())
    assert network(torch.from_numpy(pictures[..., :32, :]), torch.from_numpy(others[..., :32, :])).isfinite().all()


def test_inception_gives_what_it_pools(tmp_path: Path):
    torch.manual_seed(0)
    theirs = inception_v3(weights=None, init_weights=False).eval()
    weights = {name: value for name, value in theirs.state_dict().items() if "num_batches" not in name}
    torch.save(weights, tmp_path / "inception.pth")
    network, pooled = Inception(tmp_path / "inception.pth"), []
    theirs.avgpool.register_forward_hook(lambda module, given, result: pooled.append(result.flatten(1)))
    picture = torch.rand(1, 3, 299, 299)
    with torch.no_grad():
        found = network(picture)
        theirs((picture - 0.5) / 0.5)
    assert found.shape == (1, 2048)
    torch.testing.assert_close(found, pooled[0])


def test_wrong_files_are_refused(files: tuple[Path, Path], tmp_path: Path):
    alexnet, linear = files
    with pytest.raises(FileNotFoundError, match="no file of weights .*nowhere"):
        Inception(tmp_path / "nowhere")
    for name, content in (("text.pth", b"<html>"), ("empty.pth", b""), ("cut.pth", alexnet.read_bytes()[:5000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is no file of weights, or a damaged one"):
            Lpips(tmp_path / name, linear)
    with pytest.raises(
        ValueError, match="alexnet.pth does not hold torchvision's Inception v3: .* is missing; the file is http"
    ):
        Inception(alexnet)
    with pytest.raises(ValueError, match="alex.pth does not hold torchvision's AlexNet: features.0.weight is missing"):
        Lpips(linear, alexnet)
    save_file(linear_weights() | {"lin2.model.1.weight": torch.zeros(1, 8, 1, 1)}, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"weights of LPIPS on AlexNet: lin2 is \(1, 8, 1, 1\), not \(1, 384, 1, 1\)"):
        Lpips(alexnet, tmp_path / "vgg.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="must hold tensors by name, as `state_dict` gives them, got list"):
        Inception(tmp_path / "list.pth")
