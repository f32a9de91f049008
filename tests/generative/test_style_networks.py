"""Shapes, sizes and what a picture's drawing depends on; the history of drawn pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_looks import SMALL
from torch import nn

from generative.style.history import History, draw_exchange
from generative.style.networks import Discriminators, Embedding, Generator, Generators, Players, StyleNetworkConfig


def pictures(count: int, height: int = 64, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(64, 32), (32, 32), (36, 100), (256, 128)])
def test_every_size_passes_all_players(height: int, width: int):
    config = replace(SMALL, height=height, width=width, residual=False)
    given = pictures(2, height, width)
    drawn = Generators(config)(given, given.flip(0))
    assert all(one.shape == given.shape and one.dtype == torch.float32 and one.abs().max() <= 1 for one in drawn)
    scores = Discriminators(config)(given, given, given, given)
    assert all(one.shape == (2, 1, height // 8 - 2, width // 8 - 2) for one in scores)
    (embedded,) = Embedding(config)(given)
    assert embedded.shape == (2, 8)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(2))


def test_the_published_embedding_ends_in_one_place():
    layers = Embedding(StyleNetworkConfig(height=256, width=256)).layers
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == [64, 128, 256, 512]
    assert layers(torch.zeros(1, 3, 256, 256)).shape == (1, 512, 1, 1)


def test_a_patch_is_70_pixels_wide():
    """As the gradient of one score says."""
    discriminator = Discriminators(replace(SMALL, spectral_norm=True)).of_target.eval()
    given = pictures(1, 128, 128).requires_grad_()
    discriminator(given)[0, 0, 7, 7].backward()
    rows = given.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_both_ways_and_back():
    """In one pass what the generators give one by one: batches do not mix their pictures."""
    torch.manual_seed(0)
    generators, x, y = Generators(SMALL).eval(), pictures(2), pictures(2, seed=1)
    with torch.no_grad():
        drawn = generators(x, y)
        restyled, brought = generators.to_target(x), generators.to_source(y)
        expected = {
            "restyled": restyled,
            "brought": brought,
            "source_again": generators.to_source(restyled),
            "target_again": generators.to_target(brought),
            "source_same": generators.to_source(x),
            "target_same": generators.to_target(y),
        }
    assert expected.keys() == set(drawn._fields)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(drawn, name), value, atol=1e-5, rtol=0, msg=name)
    assert not torch.allclose(restyled, drawn.source_same, atol=1e-3)


def test_what_changes_is_added_to_the_picture():
    torch.manual_seed(0)
    residual, whole = (Generator(replace(SMALL, residual=residual)) for residual in (True, False))
    nn.init.zeros_(residual.to_rgb.weight)
    given = pictures(2)
    assert torch.equal(residual(given), given)
    assert not torch.allclose(whole(given), given, atol=0.1)


def test_one_layer_suffices_for_colours_and_softness():
    """Grey, at half the contrast, and blurred: what the last layer is given of the picture itself is enough."""
    network, given = Generator(SMALL), pictures(2)
    weight = nn.init.zeros_(network.to_rgb.weight)
    kernel = torch.ones(3, 3) / 9
    with torch.no_grad():
        weight[:, -3:, 2:5, 2:5] = 0.5 * kernel / 3
        weight[range(3), range(-3, 0), 3, 3] -= 1
    wanted = nn.functional.conv2d(given.mean(1, keepdim=True), kernel[None, None]) / 2
    assert torch.allclose(network(given)[:, :, 1:-1, 1:-1], wanted.expand(-1, 3, -1, -1), atol=1e-6)


def test_the_average_follows_the_way_to_the_target():
    players = Players(SMALL, 4)
    before = {name: value.clone() for name, value in players.ema.named_parameters()}
    with torch.no_grad():
        for value in players.generators.parameters():
            value += 1
    players.follow(0.75)
    for name, value in players.ema.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.25)
    assert not any(value.requires_grad for value in players.ema.parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 62}, "height must be a multiple of 4 pixels of at least 32, got 62"),
        ({"width": 28}, "width must be a multiple of 4 pixels of at least 32, got 28"),
        ({"channels": 12}, "channels must be a multiple of 8 channels, got 12"),
        ({"blocks": 0}, "needs blocks, .* got 0"),
    ],
)
def test_networks_that_cannot_be(changes: dict, words: str):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **changes)


def test_the_history_is_a_list_of_older_pictures():
    """As a loop over pictures keeps it: full after the first six, then at each exchange the old one is shown."""
    history, held, num_old = History(6, 1, 1), {}, 0
    for step in range(40):
        exchange = draw_exchange(6, 4, 3, step)
        drawn = torch.arange(4.0)[:, None, None, None].repeat(1, 3, 1, 1) + 4 * step
        shown = history.exchange(drawn, exchange)[:, 0, 0, 0].tolist()
        assert len(set(exchange.places.tolist())) == 4
        for number, place in enumerate(exchange.places.tolist()):
            new = float(4 * step + number)
            if place not in held:
                held[place] = new
                assert shown[number] == new
            elif shown[number] != new:
                assert shown[number] == held[place]
                held[place] = new
                num_old += 1
        assert sorted(held) == list(range(min(6, 4 * step + 4)))
        assert history.pictures[: len(held), 0, 0, 0].tolist() == [held[place] for place in sorted(held)]
    assert 0.35 < num_old / (39 * 4 - 2) < 0.65


def test_exchanges_are_fixed_by_seed_and_step():
    one, same, other, later = (draw_exchange(50, 8, *at) for at in ((0, 20), (0, 20), (1, 20), (0, 21)))
    assert torch.equal(one.places, same.places) and torch.equal(one.are_shown, same.are_shown)
    assert not torch.equal(one.places, other.places) and not torch.equal(one.places, later.places)
    assert np.array_equal(draw_exchange(50, 8, 0, 6).are_kept[:2], [True, True])  # 48 were there before
