"""How near labels come to the truth: sums over batches, and the scores that follow from them.

Every function that measures gives sums that may be added up over batches; `conclude` makes scores of them. Colours, u and v
are in 0..1.
"""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from reid.fit import Label
from shards.semantics import PARTS_7

Sums = dict[str, Tensor]
"""Name of a score -> (2,) float64: what it is the mean of, summed, and how many that were; for parts "confusion" -> (8, 8)
float64: pixels of each true part (row) that are labelled as each part (column)."""
Scores = Mapping[str, float | None]
"""Name -> score; None where there was nothing to score."""

ALPHA = 0.1
"""Of PCK: how far a keypoint may lie from its place, as a share of the longer side of the box around the person's keypoints."""
HIGHER_IS_BETTER: Mapping[Label, Mapping[str, bool]] = {
    "texture": {
        "l1_visible": False,
        "l1_hidden": False,
        "l1": False,
        "ssim_visible": True,
        "ssim_hidden": True,
        "ssim": True,
    },
    "iuv": {"surface_accuracy": True, "surface_accuracy_on_body": True, "uv_error": False},
    "parts": {"pixel_accuracy": True, "mean_iou": True},
    "keypoints": {"pck": True, "pck_seen": True},
}
"""Label -> its scores, as they are listed, and which way each is better."""
WINDOW, SIGMA = 11, 1.5
"""Side of SSIM's Gaussian window and its standard deviation, pixels."""
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def texture_sums(predicted: Tensor, truth: Tensor, used: Tensor, visible: Tensor | None) -> Sums:
    """Mean absolute difference and structural similarity, over visible and over hidden texels apart.

    predicted, truth (B, 256, 256, 3) uint8; used (256, 256) bool: texels of the body; visible (B, 256, 256) bool: those that
    the picture shows, None where nobody knows, which gives scores of all used texels alone.
    """
    colours = [textures.permute(0, 3, 1, 2).float() / 255 for textures in (predicted, truth)]
    maps = {"l1": (colours[0] - colours[1]).abs().mean(1), "ssim": ssim_map(*colours)}
    sums = {name: _mean_of(values, used.expand(len(truth), -1, -1)) for name, values in maps.items()}
    if visible is not None:
        for name, values in maps.items():
            sums[f"{name}_visible"] = _mean_of(values, used & visible)
            sums[f"{name}_hidden"] = _mean_of(values, used & ~visible)
    return sums


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity around each pixel: a, b (B, C, H, W) float in 0..1 -> (B, H, W), at most 1, mean over channels.

    Wang et al. 2004, sec. III-B: window 11, Gaussian of 1.5 pixels, K1 0.01, K2 0.03; beyond the border the picture is
    reflected.
    """
    mean_a, mean_b = _blur(a), _blur(b)
    # In float32 a variance of nearly nothing may come out below 0, which the constants outweigh.
    variance_a, variance_b = _blur(a * a) - mean_a * mean_a, _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    return (likeness / ((mean_a**2 + mean_b**2 + _SSIM_C1) * (variance_a + variance_b + _SSIM_C2))).mean(1)


def iuv_sums(predicted: Tensor, truth: Tensor) -> Sums:
    """Share of pixels with the right surface, of all and of those on the body, and the mean distance in (u, v) on the body
    where the surface is right. predicted, truth (B, H, W, 3) uint8; what is carried is background."""
    right, on_body = predicted[..., 0] == truth[..., 0], truth[..., 0] > 0
    distance = (predicted[..., 1:].float() - truth[..., 1:].float()).div(255).square().sum(-1).sqrt()
    return {
        "surface_accuracy": _mean_of(right, torch.ones_like(right)),
        "surface_accuracy_on_body": _mean_of(right, on_body),
        "uv_error": _mean_of(distance, right & on_body),
    }


def parts_sums(predicted: Tensor, truth: Tensor) -> Sums:
    """predicted, truth (B, H, W) uint8 in 0..7 -> "confusion"."""
    size = len(PARTS_7)
    pairs = truth.flatten().long() * size + predicted.flatten().long()
    return {"confusion": torch.bincount(pairs, minlength=size * size).view(size, size).double()}


def keypoint_sums(predicted: Tensor, truth: Tensor) -> Sums:
    """PCK@0.1: the share of keypoints that lie within ALPHA of the box's longer side of their true place.

    predicted, truth (B, 17, 3) float32 x, y and v in pixels of the pictures themselves. The box is the tightest around the
    person's true keypoints with v > 0, which are those that count, in "pck_seen" those with v = 2 alone; one that was not
    found (v = 0) is wrong. People with a single keypoint have no box and are left out. Source: Yang & Ramanan 2013, "Articulated
    human detection with flexible mixtures of parts", sec. 6.1 (Andriluka et al. 2014 take the head's size in place of the box's).
    """
    known = truth[..., 2] > 0
    places = truth[..., :2]
    low = places.masked_fill(~known[..., None], torch.inf).amin(1)
    high = places.masked_fill(~known[..., None], -torch.inf).amax(1)
    side = (high - low).amax(1)
    counted = known & (side > 0)[:, None]
    near = (predicted[..., :2] - places).square().sum(-1).sqrt() <= ALPHA * side[:, None]
    right = near & (predicted[..., 2] > 0)
    return {"pck": _mean_of(right, counted), "pck_seen": _mean_of(right, counted & (truth[..., 2] == 2))}


def add(sums: Sums, more: Sums) -> Sums:
    """Sums of both; either may be empty."""
    return {name: sums.get(name, 0) + more.get(name, 0) for name in sums | more}


def conclude(sums: Sums) -> Scores:
    """Scores of all that was summed up.

    Of a confusion, the share of pixels that are right, and the mean over parts, background among them, that occur in truth or
    labels, of intersection over union.
    """
    scores: dict[str, float | None] = {}
    for name, value in sums.items():
        if name == "confusion":
            right, union = value.diag(), value.sum(0) + value.sum(1) - value.diag()
            scores["pixel_accuracy"] = (right.sum() / value.sum()).item()
            scores["mean_iou"] = (right / union)[union > 0].mean().item()
        else:
            total, count = value.tolist()
            scores[name] = total / count if count else None
    return scores


def _mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """(2,) float64: the sum of values where they count, and how many do; both (...), of one shape."""
    # where, not times: of what does not count nothing is asked, not even to be a number
    return torch.stack([torch.where(counted, values, 0).sum(dtype=torch.float64), counted.sum(dtype=torch.float64)])


def _blur(pictures: Tensor) -> Tensor:
    """(B, C, H, W) float32, by the window of SSIM."""
    weights, channels = _window(pictures.device), pictures.shape[1]
    padded = functional.pad(pictures, [WINDOW // 2] * 4, mode="reflect")
    down = functional.conv2d(padded, weights.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    return functional.conv2d(down, weights.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)


@functools.cache
def _window(device: torch.device) -> Tensor:
    """(11,) float32, of sum 1."""
    with torch.inference_mode(False):
        away = torch.arange(WINDOW, device=device) - WINDOW // 2
        return (-(away**2) / (2 * SIGMA**2)).softmax(0)
