"""Sets that stand for a kind of data; every value can be set on the command line."""

from collections.abc import Callable, Mapping

from synth.scenes.config import HOURS, DetectorConfig, NetworkConfig, SceneConfig, WalkConfig


def market_like() -> SceneConfig:
    """Six cameras on one campus, each at its own time of one day, cut out by a loose detector (Zheng et al. 2015)."""
    return SceneConfig()


def msmt_like() -> SceneConfig:
    """Fifteen cameras, three of them indoors, four times of day, cut out by a tight detector (Wei et al. 2018)."""
    return SceneConfig(
        preset="msmt-like",
        num_cameras=15,
        network=NetworkConfig(num_indoor=3, hours=HOURS, hours_per_camera=4, distance_m=(5.0, 16.0)),
        walk=WalkConfig(camera_share=0.5, frames=4),
        detector=DetectorConfig(jitter=0.02, junk=0.0, distractors=0.0),
    )


def pose_poor() -> SceneConfig:
    """Few poses of each identity in train, many in test: what a generator of poses has to make up for."""
    return SceneConfig(preset="pose-poor", walk=WalkConfig(train_poses=2))


def occluded() -> SceneConfig:
    """Things stand before most people; the queries are the most hidden ones (as Occluded-DukeMTMC, Miao et al. 2019)."""
    return SceneConfig(
        preset="occluded", occluded=0.85, query="occluded", detector=DetectorConfig(min_seen=0.25, jitter=0.03)
    )


def partial() -> SceneConfig:
    """Whole people in the gallery, parts of people as queries (as Partial-REID, Zheng et al. 2015)."""
    return SceneConfig(
        preset="partial",
        occluded=0.0,
        query="partial",
        detector=DetectorConfig(min_seen=0.9, jitter=0.02, junk=0.0, distractors=0.0),
    )


def tracklets() -> SceneConfig:
    """Sequences of frames of every passage (as MARS, Zheng et al. 2016)."""
    return SceneConfig(
        preset="tracklets",
        query="tracklet",
        walk=WalkConfig(frames=16, fps=8.0),
        detector=DetectorConfig(junk=0.0, distractors=0.0),
    )


PRESETS: Mapping[str, Callable[[], SceneConfig]] = {
    preset().preset: preset for preset in (market_like, msmt_like, pose_poor, occluded, partial, tracklets)
}
"""Name -> config."""
