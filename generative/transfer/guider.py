"""The guider: a network that tells people apart and does not change, asked who a generated picture shows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid.batch import MEAN, STD, on_device
from reid.checkpoint import load_run, which_checkpoint
from reid.distances import Metric
from reid.fit import InputConfig
from reid.models.model import Model


class Guider(nn.Module):
    """R of Liu et al. 2018, sec. 3.2.2. Its weights get no gradient, and its batch norms' means stay what they are: it is in
    evaluation mode for good. Gradients go through it to the pictures."""

    def __init__(self, model: Model, input: InputConfig, metric: Metric, classes: Sequence[int]):
        """metric: by which its embeddings are compared; classes: of the run's identities, in their order, the model's own."""
        super().__init__()
        self.model, self.input, self.metric = model.requires_grad_(False), input, metric
        self.register_buffer("classes", torch.tensor(classes, dtype=torch.int64))
        self.eval()

    def train(self, mode: bool = True) -> "Guider":
        """Stays in evaluation mode."""
        return super().train(False)

    def features(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, S, S) float in -1..1 -> (B, D) float32, their embeddings."""
        return self.model.embed(self.prepare(pictures)).float()

    def points(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, S, S) float in -1..1 -> (B, D) float32, R(i) of eq. 4: embeddings whose Euclidean distances are in the
        order of the model's own, thus unit vectors where it compares by cosine. Taken as they are, embeddings of a batch norm lie
        about the root of 2 D apart, whoever they show, beside which a margin of 1 is nothing."""
        features = self.features(pictures)
        return functional.normalize(features) if self.metric == "cosine" else features

    def logits(self, pictures: Tensor) -> list[Tensor]:
        """pictures (B, 3, S, S) float in -1..1 -> (B, C) float32 of each of the model's classifiers, which see a part of the
        embedding each."""
        classifiers = _classifiers(self.model)
        embeddings = self.model.embed(self.prepare(pictures))
        widths = list(self.model.embedding_parts().values()) if len(classifiers) > 1 else [embeddings.shape[1]]
        parts = embeddings.split(widths, dim=1)
        return [classify(part).float() for classify, part in zip(classifiers, parts, strict=True)]

    def prepare(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, S, S) float in -1..1 -> (B, 3, H, W) float32 as the model is evaluated on pictures: resized as
        `fit.fit` does it, their centre, normalised. Differentiable."""
        pictures = pictures.float()
        if pictures.shape[2:] != self.input.stored:
            pictures = functional.interpolate(pictures, self.input.stored, mode="bilinear", antialias=True)
        height, width = self.input.height, self.input.width
        top, left = (pictures.shape[2] - height) // 2, (pictures.shape[3] - width) // 2
        pictures = pictures[:, :, top : top + height, left : left + width]
        mean, std = (on_device(values, pictures.device).view(3, 1, 1) for values in (MEAN, STD))
        return ((pictures + 1) / 2 - mean) / std


def load_guider(
    folder: Path, class_names: Sequence[str] | None = None, *, remedy: str = "give the run of another network"
) -> Guider:
    """What a run of `python -m reid train` has become, to be shown pictures; class_names: the people that `logits` are asked
    about, None where embeddings are enough.

    Raises FileNotFoundError, and ValueError for a network that is given textures, and, with class_names and ending in `remedy`,
    for one that has no classifier or does not know all of these people.
    """
    run = load_run(folder)
    if run.config.input.picture != "image":
        raise ValueError(
            f"{folder} was trained on textures, and is to be shown pictures: give the run of another network"
        )
    if class_names is None:
        return Guider(run.model, run.config.input, run.config.evaluate.metric, ())
    if not _classifiers(run.model):
        raise ValueError(f"{folder} has no classifier, for it was trained without identity loss: {remedy}")
    known = {name: number for number, name in enumerate(run.state.class_names)}
    if missing := [name for name in class_names if name not in known]:
        raise ValueError(
            f"{which_checkpoint(folder)} was trained on {len(known):,} identities, and {len(missing):,} of the "
            f"{len(class_names):,} in the data are not among them ({', '.join(missing[:3])}{', ...' if missing[3:] else ''}): {remedy}"
        )
    classes = [known[name] for name in class_names]
    return Guider(run.model, run.config.input, run.config.evaluate.metric, classes)


def _classifiers(model: Model) -> list[nn.Module]:
    """Each of its part of the embedding, in the order of `embedding_parts`."""
    if (one := getattr(model, "classifier", None)) is not None:
        return [one]
    return list(getattr(model, "classifiers", ()))
