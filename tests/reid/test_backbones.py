"""Backbones: sizes, weights, and where the weights come from."""

import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from reid.models import weights
from reid.models.backbone import BackboneConfig, build_backbone

NUM_PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "mobilenetv2": 3_504_872 - 1_281_000,
    "densenet121": 7_978_856 - 1_025_000,
    "densenet169": 14_149_480 - 1_665_000,
}
"""As torchvision's documentation has them, less the classifier of 1000 classes."""


def untrained(name: str) -> nn.Module:
    return build_backbone(BackboneConfig(name=name, weights="none"), pretrained=True)


@pytest.mark.parametrize("name", [*NUM_PARAMETERS, "osnet"])
def test_maps_are_a_sixteenth_of_the_image(name: str):
    backbone = untrained(name).eval()
    with torch.inference_mode():
        maps = backbone(torch.randn(1, 3, 256, 128).contiguous(memory_format=torch.channels_last))
    assert maps.shape == (1, backbone.num_channels, 16, 8)
    assert maps.min() >= 0
    if name in NUM_PARAMETERS:
        assert sum(parameter.numel() for parameter in backbone.parameters()) == NUM_PARAMETERS[name]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv2", "densenet121"])
def test_layers_up_to_the_changed_one_compute_what_torchvision_does(name: str):
    """At an image so small that the stride no longer matters, all layers do."""
    backbone, original = (
        untrained(name).eval(),
        torchvision.models.get_model("mobilenet_v2" if name == "mobilenetv2" else name),
    )
    weights.load_state(backbone, original.state_dict(), source="torchvision")
    image = torch.randn(1, 3, 16, 16)
    seen = {}
    last = [layer for layer in original.modules() if isinstance(layer, nn.AdaptiveAvgPool2d)]
    if name.startswith("resnet"):
        last[0].register_forward_hook(lambda layer, args, output: seen.update(maps=args[0]))
    else:
        original.features.register_forward_hook(lambda layer, args, output: seen.update(maps=output))
    if name == "densenet121":
        original.features.transition3.pool = nn.Identity()  # 1x1 cannot be halved
    with torch.inference_mode():
        original.eval()(image)
        torch.testing.assert_close(backbone(image), seen["maps"].relu())


def test_mobilenet_loses_its_last_stride_only():
    backbone, original = untrained("mobilenetv2").eval(), torchvision.models.mobilenet_v2().eval()
    weights.load_state(backbone, original.state_dict(), source="torchvision")
    image = torch.randn(1, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.features[:14](image), original.features[:14](image))
        torch.testing.assert_close(backbone.features[:15](image)[:, :, ::2, ::2], original.features[:15](image))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_local_file(tmp_path: Path, suffix: str, wrapped: bool):
    state = torchvision.models.resnet18().state_dict()
    if wrapped:
        state = {f"module.{name}": value for name, value in state.items() if not name.startswith("fc.")}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state} if wrapped else state, path)
    else:
        safetensors.torch.save_file(state, path)
    backbone = build_backbone(BackboneConfig(name="resnet18", weights=str(path)), pretrained=True)
    prefix = "module." if wrapped else ""
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[prefix + name]), name
    assert backbone.provenance == f"weights of {path}"


def test_old_densenet_names():
    backbone = untrained("densenet121")
    state = torchvision.models.densenet121().state_dict()
    old = {}
    for name, value in state.items():
        for part in ("norm", "conv"):
            for number in "12":
                if "denselayer" in name:
                    name = name.replace(f".{part}{number}.", f".{part}.{number}.")
        if not name.endswith("num_batches_tracked"):
            old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    weights.load_state(backbone, old, source="old")
    for name, value in backbone.named_parameters():
        assert torch.equal(value, state[name])


def test_a_file_of_another_network_is_named(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(
        ValueError, match=r"other.pth does not fit the backbone: it lacks conv1\.bn\.bias, .* and \d+ more"
    ):
        build_backbone(BackboneConfig(name="osnet", weights=str(path)), pretrained=True)
    wrong_shape = {name: value[:1] if name == "conv1.weight" else value for name, value in torch.load(path).items()}
    with pytest.raises(ValueError, match=r"it has conv1.weight \(1, 3, 7, 7\) instead of \(64, 3, 7, 7\)\. Choose"):
        weights.load_state(untrained("resnet18"), wrong_shape, source=str(path))


def test_a_file_that_is_no_state_dict(tmp_path: Path):
    garbage, listed = tmp_path / "garbage.pth", tmp_path / "list.pth"
    garbage.write_bytes(b"no")
    torch.save([1, 2], listed)
    for path, message in ((garbage, "cannot|no state dict"), (listed, "must hold a state dict")):
        with pytest.raises(ValueError, match=message):
            build_backbone(BackboneConfig(name="resnet18", weights=str(path)), pretrained=True)
    with pytest.raises(FileNotFoundError, match="nothing.pth"):
        build_backbone(BackboneConfig(name="resnet18", weights=str(tmp_path / "nothing.pth")), pretrained=True)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network; torch.hub's cache of weights, empty."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_without_network_auto_says_random_and_imagenet_is_an_error(offline: Path):
    backbone = build_backbone(BackboneConfig(name="resnet18"), pretrained=True)
    assert backbone.provenance.startswith("random initialisation (download.pytorch.org cannot be reached")
    with pytest.raises(
        ValueError, match=r"no ImageNet weights: download.pytorch.org .* --model.backbone.weights FILE.pth"
    ):
        build_backbone(BackboneConfig(name="resnet18", weights="imagenet"), pretrained=True)


@pytest.mark.parametrize("choice", ["auto", "imagenet"])
def test_cached_weights_need_no_network(offline: Path, choice: str):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, offline / "resnet18-f37072fd.pth")
    backbone = build_backbone(BackboneConfig(name="resnet18", weights=choice), pretrained=True)
    assert torch.equal(backbone.conv1.weight, state["conv1.weight"])
    assert backbone.provenance == "ImageNet weights of torchvision (resnet18-f37072fd.pth)"


def test_only_the_main_process_of_a_machine_asks(offline: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(weights, "_answers", lambda url: bool(asked.append(url)))
    for rank, expected in (("1", 0), ("0", 1)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        build_backbone(BackboneConfig(name="resnet18"), pretrained=True)
        assert len(asked) == expected


def test_weights_of_a_checkpoint_are_not_fetched(offline: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "_answers", lambda url: pytest.fail("asked"))
    build_backbone(BackboneConfig(name="resnet18", weights="imagenet"), pretrained=False)


def test_every_backbone_of_torchvision_has_imagenet_weights():
    for name in NUM_PARAMETERS:
        assert weights._imagenet_url(name).startswith("https://download.pytorch.org/models/")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "osnet", "weights": "imagenet"}, "no ImageNet weights of osnet"),
        ({"weights": "imagnet"}, "got 'imagnet'"),
    ],
)
def test_impossible_settings(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**settings)
