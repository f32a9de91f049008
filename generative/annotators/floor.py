"""The mean predictor: the one label that, said of everybody, is nearest to a set's own. Whoever learned anything beats it."""

import torch
from torch import Tensor
from torch.nn import functional

from generative.annotators.scores import Sums
from reid.fit import Label
from shards.semantics import PARTS_7, SURFACES_24


def floor_sums(label: Label, truth: Tensor) -> Sums:
    """What the mean predictor of a set is made of, summed over a batch of its true labels; see `scores.add`.

    truth: as `Annotation.values`, keypoints in shares of the picture's width and height.
    """
    count = torch.tensor(float(len(truth)), dtype=torch.float64, device=truth.device)
    match label:
        case "texture":
            return {"count": count, "total": truth.sum(0, dtype=torch.float64)}
        case "parts":
            return {"counts": functional.one_hot(truth.long(), len(PARTS_7)).sum(0)}
        case "iuv":
            at = functional.one_hot(truth[..., 0].long(), len(SURFACES_24))
            uv = torch.einsum("bhwc,bhwk->hwck", at.float(), truth[..., 1:].float())
            return {"counts": at.sum(0), "uv": uv.double()}
        case "keypoints":
            known = truth[..., 2:] > 0
            return {"counts": known.sum(0), "total": (truth[..., :2] * known).sum(0, dtype=torch.float64)}
    raise ValueError(f"a mean predictor is of texture, iuv, parts or keypoints, got {label}")


def floor_of(label: Label, sums: Sums) -> Tensor:
    """The mean predictor: the mean texture (256, 256, 3) uint8; the commonest part of each pixel (H, W) uint8; its commonest
    surface with the mean (u, v) of that (H, W, 3) uint8; the mean place of each keypoint (17, 3) float32, in shares of the
    picture's width and height, v 2."""
    match label:
        case "texture":
            return (sums["total"] / sums["count"]).round().to(torch.uint8)
        case "parts":
            return sums["counts"].argmax(-1).to(torch.uint8)
        case "iuv":
            most, surface = sums["counts"].max(-1, keepdim=True)
            uv = sums["uv"].gather(2, surface[..., None].expand(-1, -1, -1, 2))[:, :, 0] / most
            return torch.cat([surface, (uv.round() * (surface > 0)).long()], -1).to(torch.uint8)
    places = sums["total"] / sums["counts"].clamp(min=1)
    return torch.cat([places.float(), torch.full_like(places[:, :1], 2).float()], 1)
