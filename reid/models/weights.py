"""Pretrained weights of backbones: torchvision's, or those of a file."""

import os
import re
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import safetensors.torch
import torch
import torch.distributed
import torchvision
from torch import Tensor, nn

PROBE_TIMEOUT_S = 3.0
"""How long the server of weights may take to answer, seconds."""
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def load_imagenet(backbone: nn.Module, name: str, *, required: bool) -> None:
    """Load torchvision's ImageNet weights, IMAGENET1K_V1, into `backbone` and say so in `backbone.provenance`.

    name: a `BackboneName` but "osnet". The main process of each machine downloads the file, if it is not in torch.hub's
    cache; all processes call this together. Where neither is to be had the weights stay as they are and `provenance`
    says why, or, if `required`, ValueError is raised.
    """
    url = _imagenet_url(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    # Also the others look only after the main process is done: what is in the cache then decides for all.
    if not path.exists() and int(os.environ.get("LOCAL_RANK", 0)) == 0 and _answers(url):
        torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True, weights_only=True)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        load_state(backbone, state, source=str(path))
        backbone.provenance = f"ImageNet weights of torchvision ({path.name})"
        return
    reason = f"{urlsplit(url).hostname} cannot be reached, and {path} is not there"
    if required:
        raise ValueError(
            f"no ImageNet weights: {reason}. Copy the file there, or give it: --model.backbone.weights FILE.pth"
        )
    backbone.provenance = f"random initialisation ({reason})"


def load_file(backbone: nn.Module, path: str) -> None:
    """Load the state dict in a .pth or .safetensors file into `backbone` and say so in `backbone.provenance`.

    Raises FileNotFoundError, or ValueError where the file holds something else or does not fit.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file of weights {path}")
    try:
        if path.endswith(".safetensors"):
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by what is wrong with the file
        raise ValueError(f"{path} is no state dict that can be loaded safely: {error}") from error
    load_state(backbone, state, source=path)
    backbone.provenance = f"weights of {path}"


def load_state(backbone: nn.Module, state: dict[str, Tensor], *, source: str) -> None:
    """Load a state dict in torchvision's (OSNet's) names, with or without classifier, "state_dict" around it and
    "module." before names.

    Raises ValueError that names some of what is missing, left over or of another shape.
    """
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{source} must hold a state dict, names and tensors: save model.state_dict()")
    state = {_OLD_DENSENET.sub(r"\1\2", name.removeprefix("module.")): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if not name.startswith(("fc.", "classifier."))}
    wanted = {name: value for name, value in backbone.state_dict().items()}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}  # old files have none
    shapes = [
        f"{name} {tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    faults = {
        "lacks": sorted(wanted.keys() - state.keys() - counters),
        "has besides": sorted(state.keys() - wanted.keys()),
        "has": shapes,
    }
    if any(faults.values()):
        told = "; ".join(f"{what} {_some(names)}" for what, names in faults.items() if names)
        raise ValueError(f"{source} does not fit the backbone: it {told}. Choose the backbone that it was made for")
    backbone.load_state_dict(state, strict=False)


def _imagenet_url(name: str) -> str:
    builder = "mobilenet_v2" if name == "mobilenetv2" else name
    return torchvision.models.get_model_weights(builder)["IMAGENET1K_V1"].url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:  # no network, no name, no answer in time, or refused
        return False


def _some(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
