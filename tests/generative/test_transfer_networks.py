"""What the players of pose transfer are, and that a run's generator comes back from its folder."""

import hashlib
from pathlib import Path

import pytest
import torch
from tiny_pairs import SMALL, save_guider, tiny_config
from torch import nn

from generative.transfer.networks import Discriminator, Generator, NetworkConfig, Players
from generative.transfer.run import load_transfer
from reid.checkpoint import State, checkpoint_path, save_checkpoint


def pictures(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def players(config: NetworkConfig = SMALL) -> Players:
    torch.manual_seed(3)
    made = Players(config)
    for layer in made.modules():  # weights of 0.02 let little through so few channels
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight)
    return made


@pytest.mark.parametrize("size", [32, 64, 128])
def test_sizes_follow_from_the_configuration(size: int):
    config = NetworkConfig(size=size, width=8, discriminator_width=8)
    made = players(config)
    x = pictures(2, size)
    generated = made.generator(x, x)
    assert generated.shape == x.shape and generated.abs().max() <= 1
    maps = made.generator.appearance_encoder(x)
    assert [one.shape[2] for one in maps] == [size // 2**i for i in range(1, len(maps) + 1)] and maps[-1].shape[2] == 1
    assert made.discriminator(x, x, generated).shape == (2, 1, size // 8 - 2, size // 8 - 2)


def test_full_size_has_the_widths_of_pix2pix():
    assert NetworkConfig().widths == (64, 128, 256, 512, 512, 512, 512, 512)
    with torch.device("meta"):
        discriminator, generator = Discriminator(NetworkConfig()), Generator(NetworkConfig())
        assert discriminator(*[torch.empty(1, 3, 256, 256)] * 3).shape == (1, 1, 30, 30)
        assert generator(*[torch.empty(1, 3, 256, 256)] * 2).shape == (1, 3, 256, 256)


def test_a_patch_is_of_70_pixels():
    discriminator = players(NetworkConfig(size=128, width=8, discriminator_width=8, spectral_norm=True)).discriminator
    x = pictures(1, 128).requires_grad_()
    discriminator(x, x, x)[0, 0, 7, 7].backward()
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0]
    assert rows[-1] - rows[0] + 1 == 70


@pytest.mark.parametrize("name", ["appearance_encoder", "skeleton_encoder"])
def test_every_level_is_given_maps_of_both_encoders(name: str):
    generator = players().generator
    for level, layer in enumerate(generator.get_submodule(name).layers):
        found = []
        hooks = [layer.register_forward_hook(lambda *at, found=found: found.append(at[2]))]
        for deeper in generator.get_submodule(name).layers[level + 1 :]:  # not by way of the levels below
            hooks.append(deeper.register_forward_pre_hook(lambda module, given: (given[0].detach(),)))
        generated = generator(pictures(1, 32), pictures(1, 32, 1))
        (gradient,) = torch.autograd.grad(generated.square().sum(), found)
        assert gradient.abs().max() > 0, level
        for hook in hooks:
            hook.remove()


def test_encoders_have_one_shape_and_weights_of_their_own():
    generator = players().generator
    one, other = generator.appearance_encoder, generator.skeleton_encoder
    assert [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]
    assert not {id(p) for p in one.parameters()} & {id(p) for p in other.parameters()}
    x, s = pictures(1, 32), pictures(1, 32, 1)
    assert (generator(x, s) - generator(s, x)).abs().max() > 1e-3


def test_a_picture_does_not_depend_on_its_batch_nor_on_training():
    made = players()
    x, s = pictures(4, 32), pictures(4, 32, 1)
    together = made.generator(x, s)
    alone = torch.cat([made.generator(x[i : i + 1], s[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.eval().generator(x, s), together, atol=1e-5, rtol=0)
    assert not list(made.generator.buffers())


def test_the_average_is_that_of_a_loop():
    made = players()
    made.ema.load_state_dict(made.generator.state_dict())
    expected = {name: value.clone() for name, value in made.generator.named_parameters()}
    for step, decay in enumerate((0.1, 0.5, 0.9)):
        with torch.no_grad():
            for value in made.generator.parameters():
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(step)))
        for name, value in made.generator.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()
        made.follow(decay)
    for name, value in made.ema.named_parameters():
        torch.testing.assert_close(value, expected[name])
        assert not value.requires_grad


def test_spectral_norm_bounds_every_layer():
    made = players(NetworkConfig(size=32, width=8, discriminator_width=8, spectral_norm=True))
    for _ in range(30):
        made.discriminator(*[pictures(1, 32)] * 3)
    layers = [each for each in made.discriminator.modules() if isinstance(each, nn.Conv2d)]
    norms = [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2).item() for layer in layers]
    assert len(norms) == 5 and norms == pytest.approx([1.0] * 5, abs=0.02)
    assert not any(isinstance(each, nn.GroupNorm) for each in made.discriminator.modules())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 96}, "size must be a power of two of at least 32, got 96"),
        ({"size": 16}, "size must be a power of two of at least 32, got 16"),
        ({"width": 20}, "width must be a multiple of 8 channels, got 20"),
        ({"discriminator_width": 0}, "discriminator_width must be a multiple of 8 channels, got 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(changes: dict, words: str):
    with pytest.raises(ValueError, match=words):
        NetworkConfig(**changes)


def test_the_averaged_generator_comes_back(tmp_path: Path):
    made, config = players(), tiny_config("set")
    with torch.no_grad():
        made.ema.to_rgb[1].bias.add_(0.1)
    path = checkpoint_path(tmp_path, "last")
    save_checkpoint(path, made, State(config=config, class_names=("a",), num_samples=1), {})
    run = load_transfer(tmp_path)
    assert run.config == config and run.folder == tmp_path
    assert run.hash == hashlib.sha256(path.read_bytes()).hexdigest()
    x, s = pictures(2, 32), pictures(2, 32, 1)
    torch.testing.assert_close(run.generator(x, s), made.ema(x, s), atol=0, rtol=0)
    assert not run.generator.training and not any(each.requires_grad for each in run.generator.parameters())


def test_folders_without_a_generator_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .*python -m generative train pose-transfer"):
        load_transfer(tmp_path)
    with pytest.raises(ValueError, match="its network is a GlobalPoolConfig, not what TransferConfig describes"):
        load_transfer(Path(save_guider(tmp_path / "run", ("a",))))
    path = checkpoint_path(tmp_path, "last")
    other = Players(NetworkConfig(size=32, width=16, discriminator_width=8))
    save_checkpoint(path, other, State(config=tiny_config("set"), class_names=("a",), num_samples=1), {})
    with pytest.raises(ValueError, match="do not fit the generator of their configuration"):
        load_transfer(tmp_path)
