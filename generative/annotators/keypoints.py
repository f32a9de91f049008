"""Where the 17 keypoints of COCO are: heatmaps (Xiao et al. 2018, "Simple Baselines for Human Pose Estimation")."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from generative.annotators.annotator import Annotation, Annotator, AnnotatorConfig
from generative.annotators.upsample import WIDTH, deconvolutions
from reid.batch import Batch
from reid.losses import LossConfig
from reid.models.backbone import Backbone, BackboneConfig
from shards.semantics import KEYPOINTS

NUM_DECONVOLUTIONS = 2
"""From a sixteenth of the picture's height and width to a fourth."""
SIGMA = 2.0
"""Of the bump that a heatmap has at its keypoint, in places of the heatmap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeypointsConfig(AnnotatorConfig):
    """One heatmap for each keypoint, of a fourth of the picture's height and width."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    threshold: float = 0.3
    """A keypoint whose heatmap is nowhere as high is not seen: v is 0. A bump is 1 high."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")

    def build(self, backbone: Backbone, num_classes: int, *, losses: LossConfig) -> "Keypoints":
        return Keypoints(self, backbone)


class Keypoints(Annotator):
    """Squared difference from heatmaps with a bump of height 1 at each keypoint of the picture, seen or hidden, and without one
    where the keypoint lies outside, nothing being asked where it is unknown; the mean over places and pictures, summed over
    keypoints."""

    label = "keypoints"

    def __init__(self, config: KeypointsConfig, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self._threshold = config.threshold
        self.upsample = deconvolutions(backbone.num_channels, NUM_DECONVOLUTIONS)
        self.to_heatmaps = nn.Conv2d(WIDTH, len(KEYPOINTS), 1)
        nn.init.normal_(self.to_heatmaps.weight, std=0.001)
        nn.init.zeros_(self.to_heatmaps.bias)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        heatmaps = self._heatmaps(batch.images)
        points = batch.labels["keypoints"]
        target = draw_heatmaps(points, batch.images.shape[2:], heatmaps.shape[2:])
        is_known = (points[..., 2] >= 0)[..., None, None]
        return {"heatmaps": ((heatmaps - target).square() * is_known).mean((0, 2, 3)).sum()}

    def annotate(self, images: Tensor) -> Annotation:
        """v is 2 for keypoints that were found and 0 for others. Confidence is the mean height of all heatmaps' peaks."""
        points, height = read_heatmaps(self._heatmaps(images), images.shape[2:])
        seen = height >= self._threshold
        values = torch.cat([points * seen[..., None], 2.0 * seen[..., None]], 2)
        return Annotation(values=values, confidence=height.clamp(0, 1).mean(1))

    def _heatmaps(self, images: Tensor) -> Tensor:
        """(B, 17, h, w) float32."""
        return self.to_heatmaps(self.upsample(self.backbone(images))).float()


def draw_heatmaps(points: Tensor, picture: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """points (B, 17, 3) float32 x, y and v in pictures (height, width) -> (B, 17, *size) float32: a bump of height 1 and
    deviation SIGMA places around each point, nothing where v is 0 or less."""
    y, x = ((torch.arange(n, device=points.device) + 0.5) for n in size)
    across = x - points[..., :1] * (size[1] / picture[1])
    down = y - points[..., 1:2] * (size[0] / picture[0])
    bumps = [(-(off**2) / (2 * SIGMA**2)).exp() for off in (down, across)]
    return bumps[0][..., :, None] * bumps[1][..., None, :] * (points[..., 2] > 0)[..., None, None]


def read_heatmaps(heatmaps: Tensor, picture: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Peaks of heatmaps (B, K, h, w): (B, K, 2) float32 x and y in pictures (height, width), and (B, K) how high they are.

    Between places a peak is sought where the parabola through its logarithm and its neighbours' has its top, which is exact
    for a Gaussian; at a border, and where that says nothing, the place's centre is taken.
    """
    height, width = heatmaps.shape[2:]
    peak, place = heatmaps.flatten(2).max(2)
    row, column = place // width, place % width
    logs = heatmaps.clamp(min=1e-6).log().flatten(2)
    x = column + 0.5 + _top(logs, place, column, width, 1)
    y = row + 0.5 + _top(logs, place, row, height, width)
    return torch.stack([x * (picture[1] / width), y * (picture[0] / height)], 2), peak


def _top(logs: Tensor, place: Tensor, position: Tensor, size: int, stride: int) -> Tensor:
    """How far from a peak's centre the parabola through it and its two neighbours has its top: (B, K) in -0.5..0.5."""
    inside = (position > 0) & (position < size - 1)
    before, here, after = (logs.gather(2, (place + step * stride * inside)[..., None])[..., 0] for step in (-1, 0, 1))
    bend = 2 * here - before - after
    return torch.where(inside & (bend > 0), (after - before) / (2 * bend.clamp(min=1e-6)), 0).clamp(-0.5, 0.5)
