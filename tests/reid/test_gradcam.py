"""Grad-CAM against its definition, by finite differences, and on every model."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reid.gradcam import feature_layer, grad_cam
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import ModelConfig, build_model
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.models.model import Model
from reid.models.pcb import PcbConfig


class Tiny(Model):
    """A convolution, and a head on its map."""

    def __init__(self, convolution: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = convolution, head

    def losses(self, batch):
        raise NotImplementedError

    def feature_map(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def embed(self, images: Tensor) -> Tensor:
        return self.head(self.feature_map(images))


class Pool(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


@pytest.fixture
def tiny() -> Tiny:
    """Not linear behind its map, so that the gradient differs from place to place."""
    torch.manual_seed(3)
    head = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Tanh(), nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3))
    return Tiny(nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU()), head).double().eval()


def slow_grad_cam(model: Tiny, image: Tensor, likeness) -> np.ndarray:
    """Of one image (3, H, W), by central differences in every element of the map."""
    maps = model.feature_map(image[None]).detach()
    _, channels, height, width = maps.shape
    found, step = np.zeros((height, width)), 1e-5
    for c in range(channels):
        slopes = []
        for i in range(height):
            for j in range(width):
                values = []
                for sign in (1, -1):
                    moved = maps.clone()
                    moved[0, c, i, j] += sign * step
                    values.append(float(likeness(model.head(moved)[0])))
                slopes.append((values[0] - values[1]) / (2 * step))
        found += np.mean(slopes) * maps[0, c].numpy()
    found = np.maximum(found, 0)
    return found / found.max() if found.max() > 0 else found


def cosine_with(target: Tensor):
    return lambda vector: (vector @ target) / (vector.norm() * target.norm())


@torch.no_grad()
def test_equals_its_definition(tiny: Tiny):
    images, targets = torch.randn(5, 3, 8, 12).double(), torch.randn(5, 3).double()
    expected = [slow_grad_cam(tiny, image, cosine_with(target)) for image, target in zip(images, targets, strict=True)]
    found = grad_cam(tiny, images, targets)
    assert found.shape == (5, 2, 3) and not found.requires_grad
    assert sum(one.max() > 0 for one in expected) >= 3
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # The scale of a target says nothing, and images do not see each other.
    np.testing.assert_allclose(grad_cam(tiny, images[1:2], 7 * targets[1:2])[0], expected[1], atol=1e-6)


@torch.no_grad()
def test_without_a_target_it_is_of_the_norm(tiny: Tiny):
    images = torch.randn(4, 3, 8, 12).double()
    expected = [slow_grad_cam(tiny, image, lambda vector: vector.norm()) for image in images]
    np.testing.assert_allclose(grad_cam(tiny, images), expected, atol=1e-6)


def test_lights_up_where_the_model_looks():
    """A model of colours: red of each 4 x 4 square, then blue."""
    convolution = nn.Conv2d(3, 2, 4, stride=4, bias=False)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0] = convolution.weight[1, 2] = 1 / 16
    model = Tiny(nn.Sequential(convolution), Pool()).eval()
    image = torch.zeros(1, 3, 16, 16)
    image[0, 0, :4, 4:8] = 1  # red above
    image[0, 2, 12:, 8:12] = 1  # blue below
    red, blue = (grad_cam(model, image, torch.tensor([target]))[0] for target in ([1.0, 0.0], [0.0, 1.0]))
    assert red.nonzero().tolist() == [[0, 1]] and red[0, 1] == 1
    assert blue.nonzero().tolist() == [[3, 2]] and blue[3, 2] == 1


def test_nothing_that_speaks_for_it_is_a_map_of_zeros():
    model = Tiny(nn.Sequential(nn.Conv2d(3, 2, 4, stride=4)), Pool()).eval()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert grad_cam(model, torch.randn(2, 3, 8, 8), torch.ones(2, 2)).tolist() == [[[0, 0], [0, 0]]] * 2


RESNET = BackboneConfig(name="resnet18", weights="none")


@pytest.mark.parametrize(
    "config",
    [
        GlobalPoolConfig(backbone=RESNET, pooling="average", embedding_dim=None, neck=True),
        GlobalPoolConfig(backbone=BackboneConfig(name="densenet121", weights="none")),
        GlobalPoolConfig(backbone=BackboneConfig(name="mobilenetv2", weights="none")),
        GlobalPoolConfig(backbone=BackboneConfig(name="osnet", weights="none")),
        PcbConfig(backbone=RESNET),
        MgnConfig(backbone=RESNET),
    ],
    ids=lambda config: f"{type(config).__name__}-{config.backbone.name}",
)
def test_works_on_every_model(config: ModelConfig):
    torch.manual_seed(0)
    model = build_model(config, 3, losses=LossConfig(), pretrained=False).eval()
    model.requires_grad_(False)
    images, num_hooks = torch.randn(2, 3, 96, 48), sum(len(module._forward_hooks) for module in model.modules())
    with torch.no_grad():
        expected, targets = model.feature_map(images), model.embed(torch.randn(2, 3, 96, 48))
    found = grad_cam(model, images, targets)
    assert found.shape == (2, *expected.shape[2:])
    assert found.amin() >= 0
    assert found.amax((1, 2)).tolist() == [1, 1]
    assert not images.requires_grad
    assert sum(len(module._forward_hooks) for module in model.modules()) == num_hooks
    if isinstance(config, MgnConfig):
        assert feature_layer(model, images) is model.backbone.branches[1]


def test_gradients_of_parameters_are_left_alone(tiny: Tiny):
    grad_cam(tiny, torch.randn(1, 3, 8, 12).double(), torch.randn(1, 3).double())
    assert {parameter.grad for parameter in tiny.parameters()} == {None}


def test_what_cannot_be_looked_at_is_refused(tiny: Tiny):
    images = torch.randn(1, 3, 8, 12).double()
    with pytest.raises(ValueError, match=r"targets must be \(1, 3\) like the embeddings, got \(1, 4\)"):
        grad_cam(tiny, images, torch.randn(1, 4).double())
    with pytest.raises(ValueError, match="evaluation mode"):
        grad_cam(tiny.train(), images)

    class Changed(Tiny):
        def feature_map(self, images: Tensor) -> Tensor:
            return self.backbone(images) + 1

    class Twice(Tiny):
        def embed(self, images: Tensor) -> Tensor:
            return self.head(self.backbone(images) + self.backbone(images.flip(3)))

    with pytest.raises(ValueError, match="`feature_map` of Changed must return what one of its modules gives"):
        grad_cam(Changed(tiny.backbone, tiny.head).eval(), images)
    with pytest.raises(ValueError, match="`embed` of Twice must pass once through its feature map, got 2 times"):
        grad_cam(Twice(tiny.backbone, tiny.head).eval(), images)
