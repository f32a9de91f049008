"""The annotators' networks and losses against slow loops."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled_people import HEIGHT, WIDTH, small_config, talkative
from torch import Tensor

from generative.annotators import iuv as iuv_module
from generative.annotators.iuv import at_surface, uv_loss
from generative.annotators.keypoints import SIGMA, draw_heatmaps, read_heatmaps
from generative.annotators.parts import PositionAttention, dilate
from generative.annotators.texture import annotate_textures
from reid.batch import Batch
from reid.models.backbone import BackboneConfig, build_backbone
from reid.models.model import Network
from shards.uv_mirror import mirror_table
from shards.uv_surface import surface_table


def build(label: str) -> Network:
    return talkative(small_config(label))


def batch_of(images: Tensor, **labels: Tensor) -> Batch:
    unknown = torch.full((len(images),), -1)
    return Batch(
        images=images,
        identities=unknown,
        origins=torch.ones_like(unknown),
        camera_ids=unknown,
        flipped=torch.zeros(len(images), dtype=torch.bool),
        keys=tuple(f"a/{i}" for i in range(len(images))),
        has_identities=False,
        labels=labels,
    )


def some_images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def random_iuv(count: int, height: int, width: int) -> Tensor:
    iuv = torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(2))
    iuv[..., 0] %= 25
    iuv[iuv[..., 0] == 0] = torch.tensor([0, 255, 0])  # carried
    return iuv.to(torch.uint8)


def smooth_l1(difference: float, beta: float) -> float:
    away = abs(difference)
    return away * away / (2 * beta) if away < beta else away - beta / 2


def test_uv_is_learned_where_the_true_surface_is():
    uv = torch.rand(2, 48, 5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    iuv = random_iuv(2, 5, 4)
    surface, target = iuv[..., 0].long(), iuv[..., 1:].permute(0, 3, 1, 2) / 255
    terms, touched = [], torch.zeros(uv.shape, dtype=torch.bool)
    for b, y, x in np.ndindex(2, 5, 4):
        if here := int(surface[b, y, x]):
            for axis in (0, 1):
                channel = 2 * (here - 1) + axis
                touched[b, channel, y, x] = True
                terms.append(smooth_l1((uv.detach()[b, channel, y, x] - target[b, axis, y, x]).item(), 0.05))
                assert at_surface(uv, surface)[b, axis, y, x] == uv[b, channel, y, x]
    loss = uv_loss(uv, surface, target)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    loss.backward()
    assert ((uv.grad != 0) == touched).all()


def test_the_uv_loss_of_two_processes_is_that_of_one(monkeypatch: pytest.MonkeyPatch):
    uv, target = torch.rand(2, 48, 6, 4), torch.rand(2, 2, 6, 4)
    surface = random_iuv(2, 6, 4)[..., 0].long()
    surface[0, 1:] = 0  # one of them shows little
    whole = uv_loss(uv, surface, target)
    count = (surface > 0).sum()
    monkeypatch.setattr(iuv_module, "total", lambda tensor: count)
    monkeypatch.setattr(iuv_module, "num_processes", lambda: 2)
    halves = [uv_loss(uv[i : i + 1], surface[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_no_surface_no_uv_loss():
    uv, surface = torch.rand(1, 48, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long)
    assert uv_loss(uv, surface, torch.rand(1, 2, 3, 3)).item() == 0


def test_losses_of_iuv():
    network, images, iuv = build("iuv").eval(), some_images(), random_iuv(2, HEIGHT, WIDTH)
    losses = network.losses(batch_of(images, iuv=iuv))
    logits, uv = network._maps(images)
    assert logits.shape == (2, 25, HEIGHT, WIDTH) and uv.shape == (2, 48, HEIGHT, WIDTH)
    log_probability = logits.double().log_softmax(1)
    surface = iuv[..., 0].long()
    by_pixel = [-log_probability[b, surface[b, y, x], y, x] for b, y, x in np.ndindex(2, HEIGHT, WIDTH)]
    assert losses["surface"].item() == pytest.approx(sum(by_pixel).item() / len(by_pixel), rel=1e-4)
    target = iuv[..., 1:].permute(0, 3, 1, 2) / 255
    assert losses["uv"].item() == pytest.approx(4 * uv_loss(uv, surface, target).item(), rel=1e-5)
    assert losses["surface"].requires_grad and losses["uv"].requires_grad
    assert not losses["surface_accuracy"].requires_grad


@torch.inference_mode()
def test_iuv_as_it_is_written():
    network, images = build("iuv").eval(), some_images()
    found = network.annotate(images)
    logits, uv = network._maps(images)
    probabilities = logits.softmax(1)
    assert found.values.shape == (2, HEIGHT, WIDTH, 3) and found.values.dtype == torch.uint8
    for b in range(2):
        sure = []
        for y, x in np.ndindex(HEIGHT, WIDTH):
            surface = int(probabilities[b, :, y, x].argmax())
            u = v = 0
            if surface:
                u, v = (min(max(round(255 * uv[b, 2 * surface - 2 + axis, y, x].item()), 0), 255) for axis in (0, 1))
                sure.append(probabilities[b, surface, y, x].item())
            assert np.abs(found.values[b, y, x].numpy().astype(int) - (surface, u, v)).max() <= (1 if surface else 0)
        assert 0 < len(sure) < HEIGHT * WIDTH
        assert found.confidence[b].item() == pytest.approx(np.mean(sure), rel=1e-4)


def test_parts():
    network, images = build("parts").eval(), some_images()
    target = torch.randint(0, 8, (2, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    losses = network.losses(batch_of(images, parts=target))
    with torch.inference_mode():
        logits, found = network._logits(images), network.annotate(images)
    probabilities = logits.double().softmax(1)
    by_pixel = [-probabilities[b, int(target[b, y, x]), y, x].log() for b, y, x in np.ndindex(2, HEIGHT, WIDTH)]
    assert losses["parts"].item() == pytest.approx(sum(by_pixel).item() / len(by_pixel), rel=1e-4)
    assert (found.values == logits.argmax(1)).all() and found.values.dtype == torch.uint8
    assert losses["parts_accuracy"].item() == pytest.approx((found.values == target).float().mean().item(), rel=1e-6)
    for b in range(2):
        chosen = found.values[b].long()
        sure = [probabilities[b, int(chosen[y, x]), y, x].item() for y, x in np.ndindex(*chosen.shape) if chosen[y, x]]
        assert found.confidence[b].item() == pytest.approx(np.mean(sure), rel=1e-4)


def test_position_attention():
    torch.manual_seed(0)
    attention, maps = PositionAttention(16), torch.randn(2, 16, 3, 4)
    assert torch.equal(attention(maps), maps)  # at first it gives what it gets
    torch.nn.init.constant_(attention.weight, 0.7)
    query, key, value = (layer(maps).flatten(2).double() for layer in (attention.query, attention.key, attention.value))
    wanted = maps.double().flatten(2).clone()
    for b in range(2):
        for i in range(12):
            energy = torch.stack([query[b, :, i] @ key[b, :, j] for j in range(12)])
            share = energy.exp() / energy.exp().sum()
            wanted[b, :, i] += 0.7 * sum(share[j] * value[b, :, j] for j in range(12))
    torch.testing.assert_close(attention(maps).double().flatten(2), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "dilations"), [("resnet18", [2, 4]), ("resnet50", [2, 4, 8])])
def test_dilation_keeps_the_weights_and_the_size_of_the_third_layer(name: str, dilations: list[int]):
    torch.manual_seed(0)
    backbone, config = build_backbone(BackboneConfig(name=name), pretrained=False).eval(), BackboneConfig(name=name)
    dilated = build_backbone(config, pretrained=False).eval()
    dilated.load_state_dict(backbone.state_dict())
    assert dilate(dilated) is dilated
    for (one, value), (other, kept) in zip(backbone.state_dict().items(), dilated.state_dict().items(), strict=True):
        assert one == other and torch.equal(value, kept)
    with torch.inference_mode():
        maps, spread = (some_images(1),) * 2
        for (layer, before), after in zip(backbone.named_children(), dilated.children(), strict=True):
            maps, spread = before(maps), after(spread)
            if layer == "layer2":
                assert torch.equal(maps, spread)
            if layer == "layer3":  # at every second place, what it said before
                assert spread.shape[2:] == (HEIGHT // 8, WIDTH // 8)
                torch.testing.assert_close(spread[:, :, ::2, ::2], maps, rtol=1e-3, atol=1e-4)
        assert spread.shape[2:] == (HEIGHT // 8, WIDTH // 8)
    for block, dilation in zip(dilated.layer4, dilations, strict=True):
        found = {
            layer.dilation
            for layer in block.modules()
            if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3)
        }
        assert found == {(dilation, dilation)}


def test_parts_need_a_resnet():
    with pytest.raises(ValueError, match="need a ResNet"):
        type(small_config("parts").model)(backbone=BackboneConfig(name="osnet"))


def test_heatmaps_have_a_bump_at_each_keypoint():
    points = torch.tensor([[[10.0, 20.0, 2], [31.5, 3.0, 1], [5.0, 5.0, 0]]])
    maps = draw_heatmaps(points, (64, 32), (16, 8))
    assert maps.shape == (1, 3, 16, 8)
    for k, y, x in np.ndindex(3, 16, 8):
        px, py, v = points[0, k].tolist()
        squared = (x + 0.5 - px * 8 / 32) ** 2 + (y + 0.5 - py * 16 / 64) ** 2
        wanted = math.exp(-squared / (2 * SIGMA**2)) if v else 0.0
        assert maps[0, k, y, x].item() == pytest.approx(wanted, abs=1e-6)


def test_what_is_drawn_is_read():
    """Exactly within the map; at its border to half a place."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform(0, 1, (200, 17, 2)).astype(np.float32)) * torch.tensor([48.0, 128.0])
    maps = draw_heatmaps(torch.cat([points, torch.full((200, 17, 1), 2.0)], 2), (128, 48), (32, 12))
    read, height = read_heatmaps(maps, (128, 48))
    away = (read - points).abs()
    inner = ((points > 4) & (points < torch.tensor([44.0, 124.0]))).all(-1)
    assert inner.float().mean() > 0.7 and away[inner].max() < 0.01
    assert away.max() <= 2.001
    assert height.min() > 0.9 and height.max() <= 1


def test_flat_heatmaps_are_read_too():
    read, height = read_heatmaps(torch.zeros(1, 17, 8, 4), (32, 16))
    assert read.isfinite().all() and (height == 0).all()


def test_keypoints_are_learned_and_written():
    network, images = build("keypoints").eval(), some_images(3)
    heatmaps = network._heatmaps(images)
    assert heatmaps.shape == (3, 17, HEIGHT // 4, WIDTH // 4)
    points = torch.rand(3, 17, 3, generator=torch.Generator().manual_seed(4)) * torch.tensor([WIDTH, HEIGHT, 3.0])
    points[..., 2] = points[..., 2].floor()
    points[0, :5, 2] = -1  # unknown: nothing is asked of their heatmaps
    assert (points[..., 2] == 0).any()
    target = draw_heatmaps(points, (HEIGHT, WIDTH), (HEIGHT // 4, WIDTH // 4))
    target[0, :5] = heatmaps[0, :5].detach()
    wanted = sum(((heatmaps[:, k] - target[:, k]) ** 2).mean() for k in range(17))
    loss = network.losses(batch_of(images, keypoints=points))["heatmaps"]
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    with torch.inference_mode():
        found = network.annotate(images)
    places, height = read_heatmaps(heatmaps, (HEIGHT, WIDTH))
    for b, k in np.ndindex(3, 17):
        peak = heatmaps[b, k].max().item()
        wanted = [*places[b, k].tolist(), 2.0] if peak >= 0.3 else [0.0, 0.0, 0.0]
        assert found.values[b, k].tolist() == pytest.approx(wanted, abs=1e-4)
    assert 0 < (found.values[..., 2] == 0).float().mean() < 1
    assert found.confidence.tolist() == pytest.approx(height.clamp(0, 1).mean(1).tolist(), rel=1e-5)


def test_textures_are_averaged_with_the_mirror_images():
    """Of a network that draws the picture itself into the texture's corner, brighter the further down."""

    def drawings(images: Tensor) -> dict[str, Tensor]:
        textures = torch.zeros(len(images), 256, 256, 3)
        textures[:, 100:164, 100:132] = images.permute(0, 2, 3, 1)
        return {"texture": textures.to(torch.uint8)}

    images = torch.randint(0, 256, (2, 3, 64, 32), generator=torch.Generator().manual_seed(0)).float()
    network, grey = SimpleNamespace(drawings=drawings), torch.full((256, 256, 3), 128.0)
    found = annotate_textures(network, images, "makehuman")
    on_body, backs = surface_table("makehuman")[..., 0] > 0, []
    straight, mirrored = (drawings(one)["texture"].numpy().astype(float) for one in (images, images.flip(3)))
    table = mirror_table("makehuman")
    for b in range(2):
        back = np.zeros((256, 256, 3))
        for y, x in np.ndindex(256, 256):
            back[y, x] = mirrored[b, table[y, x] // 256, table[y, x] % 256]
        mean = (straight[b] + back) / 2
        assert np.abs(found.values[b].numpy() - mean).max() <= 0.5
        backs.append(back)
    both = [(s + b) / 2 for s, b in zip(straight, backs, strict=True)]
    gaps = [np.abs(s - b)[on_body].mean() for s, b in zip(straight, backs, strict=True)]
    for mean, told in ((None, found), (grey, annotate_textures(network, images, "makehuman", grey))):
        expected = np.mean(both, 0) if mean is None else mean.numpy()
        own = [np.abs(one - expected)[on_body].mean() for one in both]
        wanted = [max(0.0, 1 - gap / special) for gap, special in zip(gaps, own, strict=True)]
        assert told.confidence.tolist() == pytest.approx(wanted, abs=1e-4)
    assert 0 < told.confidence[0] < 1 and (told.confidence > found.confidence).all()
    kept = annotate_textures(network, images, "smpl", mirrored=False)
    assert np.abs(kept.values.numpy() - (straight + mirrored) / 2).max() <= 0.5, "taught one texture for both looks"


def test_textures_are_brought_to_their_size():
    def drawings(images: Tensor) -> dict[str, Tensor]:
        return {"texture": torch.full((len(images), 64, 32, 3), 77, dtype=torch.uint8)}

    found = annotate_textures(SimpleNamespace(drawings=drawings), torch.zeros(1, 3, 64, 32), "makehuman")
    assert found.values.shape == (1, 256, 256, 3) and (found.values == 77).all()
    assert found.confidence.item() == 0, "what is said of everybody says nothing of anybody"
