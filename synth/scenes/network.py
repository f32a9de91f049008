"""The cameras of a network: where each stands and what it is, the same for as long as the network records."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synth import seeding
from synth.background import Background, Backgrounds, Light, View
from synth.camera import AIM_HEIGHT_M
from synth.scene import CLEAR_SKY, CLOSED_SKY, SKY_IN_SHADE, SUNLIGHT
from synth.scenes.config import HOURS, Hour, SceneConfig
from synth.seeding import choose
from synth.sensor import SensorParams, sample_sensor

PERSON_M = 1.7
"""Height that focal lengths are reckoned with."""
FAR_END = 1.5
"""What is built stands behind this many times the distance to the middle of where people walk."""
LAMPLIGHT, EVENING_SKY = np.array([1.04, 1.0, 0.93]), np.array([0.9, 0.96, 1.1])
SUN_ELEVATION_DEG: dict[Hour, tuple[float, float]] = {"morning": (18, 32), "noon": (48, 65), "afternoon": (28, 45)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SceneCamera:
    """One camera. intrinsics (3, 3) and world_to_camera (4, 4) float32, OpenCV axes, metres; it stands at (0, height, 0)
    and looks along -z; heading_rad turns its world against the compass, by which the sun goes; hours, none in lamplight."""

    number: int
    rows: int
    columns: int
    intrinsics: NDArray[np.float32]
    world_to_camera: NDArray[np.float32]
    distance_m: float
    heading_rad: float
    sensor: SensorParams
    exposure_s: float
    hours: tuple[Hour, ...]

    @property
    def focal_px(self) -> float:
        """Focal length, pixels."""
        return float(self.intrinsics[0, 0])

    def view(self, light: Light) -> View:
        """The whole frame, before which nothing stands."""
        return View(
            height=self.rows,
            width=self.columns,
            intrinsics=self.intrinsics,
            world_to_camera=self.world_to_camera,
            person_position=np.array([0.0, 0.0, -FAR_END * self.distance_m], np.float32),
            light=light,
            indoors=not self.hours,
        )


def draw_cameras(config: SceneConfig) -> list[SceneCamera]:
    """The network's cameras; each depends on the seed and its own number alone, and on whether it is indoors."""
    first_indoor = config.num_cameras - config.network.num_indoor
    return [_draw_camera(config, number, indoor=number >= first_indoor) for number in range(config.num_cameras)]


def _draw_camera(config: SceneConfig, number: int, *, indoor: bool) -> SceneCamera:
    network, rng = config.network, seeding.generator(config.seed, number, "network")
    scale, height_m = rng.uniform(*network.scale), rng.uniform(*network.height_m)
    # Even, as chroma is recorded in pairs of pixels.
    rows = 2 * round(scale * network.rows / 2)
    columns = 2 * round(rows * network.columns / network.rows / 2)
    distance_m = rng.uniform(*network.distance_m)
    focal = rng.uniform(*network.person_rows) * rows * math.hypot(distance_m, height_m) / PERSON_M
    pitch = math.atan2(height_m - AIM_HEIGHT_M, distance_m) + rng.normal(0, 0.015)
    roll = rng.normal(0, 0.012)
    level, sink, c, s = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
    right, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, -level, sink])
    matrix = np.eye(4)
    matrix[:3, :3] = c * right + s * down, c * down - s * right, (0.0, -sink, -level)
    matrix[:3, 3] = -matrix[:3, :3] @ (0.0, height_m, 0.0)
    hours = rng.permutation(len(network.hours))[: network.hours_per_camera]
    sensor = replace(sample_sensor(rng, config.sensor), motion_px=0.0, resolution=1.0)
    return SceneCamera(
        number=number,
        rows=rows,
        columns=columns,
        intrinsics=np.array([[focal, 0, columns / 2], [0, focal, rows / 2], [0, 0, 1]], np.float32),
        world_to_camera=matrix.astype(np.float32),
        distance_m=distance_m,
        heading_rad=rng.uniform(0, 2 * math.pi),
        sensor=sensor,
        exposure_s=rng.uniform(*network.exposure_s),
        hours=() if indoor else tuple(network.hours[k] for k in sorted(hours)),
    )


def light_at(config: SceneConfig, camera: SceneCamera, hour: Hour | None) -> Light:
    """The light before a camera: sun and weather are the whole network's, at each time of day; None is indoors."""
    if hour is None:
        rng = seeding.generator(config.seed, camera.number, "lamps")
        lamps = rng.uniform(0.4, 0.65) * LAMPLIGHT ** rng.uniform(-1.0, 2.0)
        return _light((0.3, 1.35), 0.25 * lamps, 0.75 * lamps)
    rng = seeding.generator(config.seed, HOURS.index(hour), "weather")
    weather = choose(rng, {"sun": 0.45, "cloud": 0.55})
    azimuth, strength, sky = rng.uniform(0, 2 * math.pi), rng.uniform(0.65, 1.0), rng.uniform(0.0, 1.0)
    if hour == "dusk":
        return _light((azimuth, 1.35), np.zeros(3), (0.1 + 0.12 * sky) * EVENING_SKY)
    low, high = SUN_ELEVATION_DEG[hour]
    elevation = math.radians(rng.uniform(low, high))
    # Every third camera or so lies in the shade of a building.
    if weather == "sun" and seeding.generator(config.seed, camera.number, "shade").random() < 0.3:
        return _light((azimuth, 1.35), np.zeros(3), (0.42 + 0.2 * sky) * SKY_IN_SHADE)
    if weather == "cloud":
        return _light((azimuth, 1.35), 0.12 * strength * np.ones(3), (0.55 + 0.25 * sky) * CLOSED_SKY)
    warm = SUNLIGHT ** (1.0 if hour == "noon" else 2.0)
    return _light((azimuth + camera.heading_rad, elevation), strength * warm, (0.26 + 0.16 * sky) * CLEAR_SKY)


def _light(towards: tuple[float, float], sun: NDArray, sky: NDArray) -> Light:
    azimuth, elevation = towards
    across = math.cos(elevation)
    direction = np.array([across * math.sin(azimuth), math.sin(elevation), across * math.cos(azimuth)], np.float32)
    return Light(sun_direction=direction, sun_rgb=sun.astype(np.float32), sky_rgb=sky.astype(np.float32))


def expose(camera: SceneCamera, light: Light, rng: np.random.Generator) -> SensorParams:
    """The camera's sensor in this light: automatic exposure makes up for most of what is missing, at a cost in noise."""
    brightness = float(np.mean(light.sun_rgb * light.sun_direction[1] + light.sky_rgb))
    # Bright light is measured on the ground, which is darker than the sky: little is taken back.
    gain_ev = math.log2(0.75 / brightness) * (0.8 if brightness < 0.75 else 0.3)
    noise = 2 ** max(gain_ev, 0.0)
    return replace(
        camera.sensor,
        exposure_ev=camera.sensor.exposure_ev + gain_ev + rng.normal(0, 0.07),
        shot_noise=camera.sensor.shot_noise * noise,
        read_noise=camera.sensor.read_noise * noise,
    )


def draw_backdrop(
    config: SceneConfig, backgrounds: Backgrounds, camera: SceneCamera, hour: Hour | None, variant: int
) -> tuple[Background, Light]:
    """Picture `variant` of the camera's own pool at that time of day, and its light."""
    light = light_at(config, camera, hour)
    rng = seeding.generator(config.seed, camera.number * config.network.backdrops + variant, "backdrop")
    return backgrounds.draw(rng, camera.view(light)), light
