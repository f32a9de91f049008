"""A model's embeddings as an ONNX file, checked against PyTorch before it is there."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reid.batch import MEAN, STD
from reid.models.model import Model
from shards.manifest import package_version
from shards.writer import atomic_file

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "images", "embeddings"
TOLERANCE = 1e-4
"""Largest difference to PyTorch, over the largest absolute value of the embeddings where that is above 1."""
_CHECKED_BATCHES = (1, 2, 5)


def export_onnx(model: Model, path: Path, *, height: int, width: int, metadata: Mapping[str, str]) -> int:
    """Write what `model.embed` computes as ONNX; layers that only training needs are not in the file.

    Input `images` (B, 3, height, width) float32, RGB, normalised with ImageNet's mean and standard deviation, any B;
    output `embeddings` (B, D) float32. model: in evaluation mode, on the CPU. The file's metadata are `metadata` and
    "height", "width", "mean", "std" (JSON, of values 0..1) and "lookalike_version". Returns the number of parameters
    in the file. Raises ValueError, and leaves no file, where onnxruntime's embeddings of random images differ by more
    than TOLERANCE; ImportError without the packages of `lookalike[export]`.
    """
    _require("onnx", "onnxscript", "onnxruntime")
    if model.training:
        raise ValueError("a model in training mode embeds by what else is in the batch: call model.eval() first")
    if path.is_dir():
        raise ValueError(f"needs the name of a file to write, got the folder {path}")
    about = {"height": height, "width": width, "mean": list(MEAN), "std": list(STD)}
    proto = _to_onnx(model, height, width)
    for key, value in {**{name: json.dumps(value) for name, value in about.items()}, **metadata}.items():
        proto.metadata_props.add(key=key, value=value)
    proto.metadata_props.add(key="lookalike_version", value=package_version())
    data = proto.SerializeToString()
    _check(data, model, height, width)
    with atomic_file(path) as file:
        file.write(data)
    return num_parameters(proto)


def num_parameters(proto: "onnx.ModelProto") -> int:
    """Numbers of floating point that the file holds; batch norm is part of the convolution before it."""
    from onnx import TensorProto

    weights = [each for each in proto.graph.initializer if each.data_type == TensorProto.FLOAT]
    return sum(torch.Size(each.dims).numel() for each in weights)


class _Embedder(nn.Module):
    """`Model.embed` under the name that the exporter calls."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


def _to_onnx(model: Model, height: int, width: int) -> "onnx.ModelProto":
    program = torch.onnx.export(
        _Embedder(model).eval(),
        (torch.zeros(2, 3, height, width),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    return program.model_proto


def _check(data: bytes, model: Model, height: int, width: int) -> None:
    """Raise ValueError unless onnxruntime embeds random images as PyTorch does."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for size in _CHECKED_BATCHES:
        images = torch.randn(size, 3, height, width, generator=generator)
        with torch.inference_mode():
            expected = model.embed(images)
        (found,) = session.run([OUTPUT], {INPUT: images.numpy()})
        difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp(min=1)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the exported model's embeddings differ by {difference:.1e} from PyTorch's, more than {TOLERANCE:.0e}, on "
                f"{size} random images; nothing was written. Try another version of onnxscript or onnxruntime"
            )


def _require(*packages: str) -> None:
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(f"export needs {package}: pip install 'lookalike[export]'") from error
