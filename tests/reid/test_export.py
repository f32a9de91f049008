"""ONNX files: the same embeddings, any batch size, nothing that only training needs, and whole or not there."""

import json
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from reid import export
from reid.export import export_onnx, num_parameters
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.models.model import Model
from reid.models.pcb import PcbConfig

HEIGHT, WIDTH = 64, 32
NUM_CLASSES = 37


@pytest.fixture(scope="module")
def model() -> Model:
    """A small one with heads for training; batch norms that do something."""
    torch.manual_seed(0)
    config = PcbConfig(backbone=BackboneConfig(name="resnet18", weights="none"), num_stripes=2, embedding_dim=8)
    network = build_model(config, NUM_CLASSES, losses=LossConfig(), pretrained=False)
    with torch.no_grad():
        for _ in range(2):
            network.embed(torch.randn(8, 3, HEIGHT, WIDTH) * 2 + 1)
    return network.eval()


@pytest.fixture(scope="module")
def exported(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    assert export_onnx(model, path, height=HEIGHT, width=WIDTH, metadata={"source": "runs/r18"}) > 0
    return path


def test_onnxruntime_embeds_as_pytorch_does(model: Model, exported: Path):
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape[1:]) for each in session.get_inputs()] == [("images", [3, HEIGHT, WIDTH])]
    for size in (1, 3, 8):
        images = torch.randn(size, 3, HEIGHT, WIDTH)
        (found,) = session.run(["embeddings"], {"images": images.numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(found), model.embed(images), rtol=1e-4, atol=1e-4)


def test_training_heads_are_left_out(model: Model, exported: Path):
    proto = onnx.load(exported)
    kept = {name: p for name, p in model.named_parameters() if not name.startswith("classifiers.")}
    assert len(kept) < len(list(model.parameters()))
    # Vectors cannot be compared: those of a batch norm become the bias of the convolution or layer before it.
    matrices = [
        each for each in proto.graph.initializer if len(each.dims) > 1 and each.data_type == onnx.TensorProto.FLOAT
    ]
    num_in_matrices = sum(torch.Size(each.dims).numel() for each in matrices)
    assert num_in_matrices == sum(p.numel() for p in kept.values() if p.ndim > 1)
    assert num_in_matrices < num_parameters(proto) < sum(p.numel() for p in kept.values())
    assert not any(NUM_CLASSES in each.dims for each in proto.graph.initializer)


def test_the_file_says_what_it_takes(exported: Path):
    metadata = {each.key: each.value for each in onnx.load(exported).metadata_props}
    assert {name: json.loads(metadata[name]) for name in ("height", "width", "mean", "std")} == {
        "height": HEIGHT,
        "width": WIDTH,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert metadata["source"] == "runs/r18"
    assert metadata["lookalike_version"]


def test_a_file_that_differs_is_not_written(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    to_onnx = export._to_onnx

    def slightly_wrong(*args):
        proto = to_onnx(*args)
        weight = next(each for each in proto.graph.initializer if len(each.dims) == 4)
        values = onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(values * 1.01, weight.name))
        return proto

    monkeypatch.setattr(export, "_to_onnx", slightly_wrong)
    with pytest.raises(ValueError, match="embeddings differ by .* nothing was written"):
        export_onnx(model, tmp_path / "model.onnx", height=HEIGHT, width=WIDTH, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_the_extra_is_named(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"needs onnxruntime: pip install 'lookalike\[export\]'"):
        export_onnx(model, tmp_path / "model.onnx", height=HEIGHT, width=WIDTH, metadata={})


def test_a_model_in_training_mode_is_an_error(tmp_path: Path):
    config = PcbConfig(backbone=BackboneConfig(name="resnet18", weights="none"))
    network = build_model(config, 3, losses=LossConfig(), pretrained=False)
    with pytest.raises(ValueError, match="training mode"):
        export_onnx(network, tmp_path / "model.onnx", height=HEIGHT, width=WIDTH, metadata={})


def test_a_folder_is_no_file(model: Model, tmp_path: Path):
    with pytest.raises(ValueError, match="got the folder"):
        export_onnx(model, tmp_path, height=HEIGHT, width=WIDTH, metadata={})
