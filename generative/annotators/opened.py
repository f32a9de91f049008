"""A trained annotator, ready to label pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from generative.annotators.annotator import Annotation, Annotator
from generative.annotators.config import AnnotatorTrainConfig
from generative.annotators.texture import annotate_textures
from generative.device import Autocast, autocast, autocast_of, in_memory_of
from reid.batch import normalise
from reid.checkpoint import load_run, which_checkpoint
from reid.config import Precision
from reid.fit import InputConfig, Label
from reid.models.build import build_model
from reid.models.model import Network
from reid.models.san import San
from shards.build import file_sha256
from shards.uv_mirror import mirror_table


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenAnnotator:
    """A network on its device, and what is known of it."""

    folder: Path
    """Of its run."""
    network: Network
    """In evaluation mode: an `Annotator`, or a `San` that draws textures."""
    config: AnnotatorTrainConfig
    """As it was trained."""
    label: Label
    """What it draws."""
    name: str
    """What `Meta.annotators` calls it."""
    hash: str
    """SHA-256 of its checkpoint file, hexadecimal."""
    uv_layout: str | None
    """Of the textures that it draws; None of other labels."""
    precision: Autocast
    device: torch.device
    mean_texture: Tensor | None = None
    """(256, 256, 3) float32, 0..255: what it draws on average, beside which its confidence is told; None: the mean of the
    pictures that are labelled together."""

    @property
    def input(self) -> InputConfig:
        """What the network is given: whole pictures, also where training cropped them out of larger ones."""
        return replace(self.config.input, resize=None)

    @torch.inference_mode()
    def annotate(self, pictures: Tensor) -> Annotation:
        """pictures (B, H, W, 3) uint8, RGB, of the size of `input`, on any device -> their labels, on this one's.

        Raises ValueError where the device has not enough memory.
        """
        with in_memory_of(len(pictures)), autocast(self.device, self.precision):
            images = normalise(pictures.to(self.device))
            if self.uv_layout is not None:
                mirrored = self.config.augment.mirror_texture
                return annotate_textures(self.network, images, self.uv_layout, self.mean_texture, mirrored=mirrored)
            return self.network.annotate(images)


def open_annotator(
    folder: Path, *, precision: Precision | None = None, device: torch.device | None = None
) -> OpenAnnotator:
    """The annotator of a run of `python -m generative train`, by default on the first GPU where there is one.

    precision: by default as it was trained. Raises FileNotFoundError where there is no run, ValueError for a run that
    labels nothing: a SAN that draws something else than textures, or whose textures are of no known layout.
    """
    if not (path := which_checkpoint(folder)).is_file():
        raise FileNotFoundError(
            f"no checkpoint {path}: give the folder of a run of `python -m generative train ANNOTATOR`, of "
            "texture, iuv, parts or keypoints"
        )
    run = load_run(folder, kind=AnnotatorTrainConfig)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    label, uv_layout = _label_of(run.model, folder), None
    if run.config.input.picture != "image":
        raise ValueError(f"{folder} was given each person's {run.config.input.picture}: it cannot label pictures")
    if label == "texture":
        uv_layout = run.state.uv_layout
        if uv_layout is None:
            raise ValueError(
                f"{folder} does not tell the uv layout of the textures that it draws: train it on sets whose meta names one, "
                "as those of `python -m synth pit` do"
            )
        if run.config.augment.mirror_texture:
            mirror_table(uv_layout)
    return OpenAnnotator(
        folder=folder,
        network=run.model.to(device, memory_format=torch.channels_last),
        config=run.config,
        label=label,
        name=f"{type(run.model).__name__} {run.config.model.backbone.name}",
        hash=file_sha256(which_checkpoint(folder)),
        uv_layout=uv_layout,
        precision=autocast_of(precision or run.config.precision),
        device=device,
    )


def untrained(annotator: OpenAnnotator) -> OpenAnnotator:
    """The same network with random weights, drawn from the seed of its run."""
    config = annotator.config
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(config.seed)
        network = build_model(config.model, 0, losses=config.losses, pretrained=False)
    network = network.eval().to(annotator.device, memory_format=torch.channels_last)
    return replace(annotator, network=network, mean_texture=None)


def _label_of(network: Network, folder: Path) -> Label:
    match network:
        case Annotator():
            return network.label
        case San() if network.labels == {"texture"}:
            return "texture"
    drawn = ", ".join(sorted(network.labels)) or "the picture itself"
    raise ValueError(
        f"{folder} is a {type(network).__name__} that draws {drawn}, which is no label: give a run of `python -m generative "
        "train texture`, iuv, parts or keypoints"
    )
