"""What fixes the content of a set of scenes."""

from dataclasses import dataclass, field
from typing import Literal

from synth.generate import PitConfig
from synth.raster import RasterConfig
from synth.sensor import SensorConfig

Range = tuple[float, float]
Hour = Literal["morning", "noon", "afternoon", "dusk"]
HOURS: tuple[Hour, ...] = ("morning", "noon", "afternoon", "dusk")

MAX_COMPANY = 64
"""People who pass a camera at once; ids of annotations leave room for so many to a frame."""
# A camera nearer than this to where people walk would cut most of them.
MIN_DISTANCE_M = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Ranges that each camera of the network is drawn from, once; each is (low, high), uniform."""

    rows: int = 480
    """Rows of a frame of scale 1."""
    columns: int = 640
    """Columns of a frame of scale 1."""
    scale: Range = (0.75, 1.25)
    """Resolution of a camera: frames of scale x rows by scale x columns pixels."""
    height_m: Range = (2.6, 5.0)
    """Above the ground."""
    distance_m: Range = (6.0, 13.0)
    """Along the ground, to the middle of where people walk."""
    person_rows: Range = (0.34, 0.52)
    """Share of the frame's rows that an adult fills there: the focal length follows."""
    exposure_s: Range = (0.004, 0.03)
    """Exposure time, which blurs what moves."""
    num_indoor: int = 0
    """Cameras in halls, in the even light of lamps at all hours: the last ones. COCO backgrounds are the same for all."""
    hours: tuple[Hour, ...] = ("morning", "noon", "afternoon")
    """Times of day at which the network records."""
    hours_per_camera: int = 1
    """How many of them each outdoor camera records at."""
    backdrops: int = 4
    """Pictures in each camera's own pool of backgrounds, for every time of day."""

    def __post_init__(self) -> None:
        for name in ("scale", "height_m", "distance_m", "person_rows", "exposure_s"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"network.{name} must be 0 < low <= high, got {low}..{high}")
        if self.rows < 128 or self.columns < 128:
            raise ValueError(f"network.rows and columns must be at least 128, got {self.rows} and {self.columns}")
        if self.height_m[0] < 2.0 or self.distance_m[0] < MIN_DISTANCE_M:
            raise ValueError(
                f"cameras stand 2 m high and {MIN_DISTANCE_M} m away at least, "
                f"got network.height_m {self.height_m} and network.distance_m {self.distance_m}"
            )
        if self.person_rows[1] > 0.8:
            raise ValueError(f"network.person_rows must be <= 0.8 of the frame, got {self.person_rows}")
        if not self.hours or not 1 <= self.hours_per_camera <= len(self.hours):
            raise ValueError(
                f"network.hours_per_camera must lie in 1..{len(self.hours)} (hours), got {self.hours_per_camera}"
            )
        if self.num_indoor < 0 or self.backdrops < 1:
            raise ValueError(
                f"network.num_indoor must be >= 0 and backdrops >= 1, got {self.num_indoor} and {self.backdrops}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkConfig:
    """Who passes which camera, with whom, and how often a frame of it is kept."""

    camera_share: float = 0.8
    """Probability that an identity is to pass a camera; everyone is to pass two at least."""
    frames: int = 4
    """Frames of each passage."""
    fps: float | None = None
    """Frames per second; None spreads them over the passage."""
    company: tuple[float, ...] = (0.3, 0.4, 0.2, 0.1)
    """Probability that 1, 2, 3, ... people pass at once."""
    together: float = 0.5
    """Probability that those who pass at once walk side by side, not each their own way."""
    train_poses: int | None = None
    """So many poses (headings, give or take a degree, and moments of the stride) of each identity in the train split; None:
    any."""

    def __post_init__(self) -> None:
        if not 0 < self.camera_share <= 1 or not 0 <= self.together <= 1:
            raise ValueError(
                f"walk.camera_share must lie in (0, 1], together in [0, 1], got {self.camera_share}, {self.together}"
            )
        if self.frames < 1 or (self.fps is not None and not self.fps > 0):
            raise ValueError(f"walk.frames must be >= 1 and fps > 0, got {self.frames} and {self.fps}")
        if not 1 <= len(self.company) <= MAX_COMPANY or min(self.company) < 0 or not abs(sum(self.company) - 1) < 1e-6:
            raise ValueError(
                f"walk.company must be at most {MAX_COMPANY} probabilities that add up to 1, got {self.company}"
            )
        if self.train_poses is not None and self.train_poses < 1:
            raise ValueError(f"walk.train_poses must be at least 1, got {self.train_poses}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """Where crops are cut: as by a detector, or further off, as by the one that Market-1501 was cut with (DPM)."""

    jitter: float = 0.04
    """Standard deviation of each edge of the box, as a share of the person's height."""
    min_seen: float = 0.4
    """Least share of the body that is seen, of people who are cut out."""
    min_rows: int = 60
    """Least height of a person, pixels of the frame."""
    junk: float = 0.15
    """Boxes that show half a person (junk, left out of scoring), per crop of the gallery."""
    distractors: float = 0.12
    """Boxes that show hardly anybody, per crop of the gallery."""

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= 0.1:
            raise ValueError(f"detector.jitter must lie in [0, 0.1], got {self.jitter}")
        if not 0 < self.min_seen <= 1:
            raise ValueError(f"detector.min_seen must lie in (0, 1], got {self.min_seen}")
        if self.min_rows < 16:
            raise ValueError(f"detector.min_rows must be at least 16, got {self.min_rows}")
        if not (0 <= self.junk <= 1 and 0 <= self.distractors <= 1):
            raise ValueError(f"detector.junk and distractors are shares, got {self.junk} and {self.distractors}")


Query = Literal["best", "occluded", "partial", "tracklet"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """What fixes the samples of a set of scenes."""

    preset: str = "market-like"
    """Name of the preset that the other values come from, for the record."""
    num_identities: int = 200
    """People of train and test together."""
    num_cameras: int = 6
    seed: int = 0
    """Another seed, other people and cameras."""
    train_share: float = 0.5
    """Share of the identities in the split train; the others are query and gallery."""
    height: int = 256
    """Rows of a crop."""
    width: int = 128
    """Columns of a crop."""
    body: str = "open"
    """`open`, or `smpl=PATH` for a licensed SMPL file with its UV .obj beside it."""
    occluded: float = 0.15
    """Probability that something stands before those who pass."""
    query: Query = "best"
    """What is the query of a person and camera: the crop that shows most, or least, of the body; a part of the body, cut
    out of the best crop; or all crops of the passage."""
    keep_frames: bool = False
    """Write the frames too, with COCO annotations, to OUT/frames."""
    quality: int = 95
    """JPEG quality of crops, 90..100."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    walk: WalkConfig = field(default_factory=WalkConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    sensor: SensorConfig = field(default_factory=SensorConfig)
    raster: RasterConfig = field(default_factory=RasterConfig)

    def __post_init__(self) -> None:
        if self.num_identities < 2 or self.num_cameras < 2:
            raise ValueError(
                f"re-identification needs two people and two cameras, got {self.num_identities} and {self.num_cameras}"
            )
        if self.network.num_indoor > self.num_cameras:
            raise ValueError(
                f"network.num_indoor must be at most the {self.num_cameras} cameras, got {self.network.num_indoor}"
            )
        least = round(self.network.scale[0] * self.network.rows)
        if min(least, self.network.scale[0] * self.network.columns) < 128 or self.detector.min_rows > least / 2:
            raise ValueError(
                f"the smallest frames have {least} rows: they need 128 rows and columns, and twice detector.min_rows "
                f"= {self.detector.min_rows}; give a larger network.scale, or network.rows and columns"
            )
        for name in ("train_share", "occluded"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        self.pit()

    @property
    def num_train(self) -> int:
        """Identities 0 to num_train - 1 are the train split's."""
        return round(self.train_share * self.num_identities)

    def pit(self) -> PitConfig:
        """The same people as paired image and texture: seed, body, crop size and quality. Raises ValueError for these."""
        return PitConfig(
            seed=self.seed,
            height=self.height,
            width=self.width,
            body=self.body,
            raster=self.raster,
            quality=self.quality,
        )
