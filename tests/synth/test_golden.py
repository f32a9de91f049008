"""Four people against committed pictures: image before the sensor, aligned, and IUV, side by side in golden/NAME.png.

After a change that is meant to show, look at what it does and write them anew:

    python -m tests.synth.test_golden
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from shards.codec import encode_png
from synth import generate, place, render
from synth.anatomy import anatomy_of
from synth.background import Light, ProceduralBackgrounds
from synth.camera import Placement
from synth.colour import linear_to_srgb, srgb_to_linear
from synth.generate import PitConfig, draw_look, render_aligned, render_scenes
from synth.motion import heading_rotation
from synth.scene import draw_scene

GOLDEN = Path(__file__).parent / "golden"
CONFIG = PitConfig(height=128, width=64, seed=0)
SUN = Light(
    sun_direction=np.array([0.48, 0.64, 0.6], np.float32),
    sun_rgb=np.array([0.8, 0.76, 0.7], np.float32),
    sky_rgb=np.array([0.3, 0.32, 0.35], np.float32),
)
# Another processor rounds otherwise and moves single pixels on an edge; a mutation moves far more.
FAR_LEVELS, FAR_SHARE, MEAN_LEVELS = 12, 0.004, 0.35
LABEL_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is drawn: the outfit and pose of sample `index`, turned and seen from a place of our choice."""

    index: int
    yaw_rad: float
    distance_m: float
    height_m: float


PEOPLE = {
    "close": Person(index=0, yaw_rad=0.2, distance_m=3.2, height_m=2.4),
    "far": Person(index=10, yaw_rad=-0.4, distance_m=14.0, height_m=4.5),
    "back": Person(index=20, yaw_rad=np.pi, distance_m=6.0, height_m=3.0),
    "side": Person(index=30, yaw_rad=np.pi / 2, distance_m=6.0, height_m=3.0),
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """image, aligned and iuv (128, 64, 3) uint8 each."""

    image: NDArray[np.uint8]
    aligned: NDArray[np.uint8]
    iuv: NDArray[np.uint8]


def draw(person: Person) -> Drawn:
    """Through the stages of `render_group`, without the sensor."""
    anatomy = anatomy_of(CONFIG.body)
    look = draw_look(CONFIG, anatomy, person.index // CONFIG.samples_per_texture, None)
    scene = draw_scene(anatomy, look.outfit, seed=0, index=person.index, camera=CONFIG.camera, motions=None)
    placement = Placement(
        height_m=person.height_m, distance_m=person.distance_m, pan_rad=0.1, tilt_rad=0.05, roll_rad=0.0,
        top_margin=0.04, bottom_margin=0.04, shift=0.0,
    )  # fmt: skip
    pose = heading_rotation(scene.pose, person.yaw_rad - scene.yaw_rad)
    scene = replace(scene, placement=placement, light=SUN, pose=pose, yaw_rad=person.yaw_rad)
    texture = torch.from_numpy(srgb_to_linear(look.texture))
    people = (CONFIG, anatomy, look.dressed, texture, [scene])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "apply_sensor", lambda images, *_: _encode(images))
        pictures = render_scenes(*people, ProceduralBackgrounds())
    return Drawn(image=pictures.images[0], aligned=render_aligned(*people)[0], iuv=pictures.iuv[0])


def _encode(images: torch.Tensor) -> NDArray[np.uint8]:
    return (linear_to_srgb(images.clamp(0, 1)) * 255 + 0.5).to(torch.uint8).numpy()


def read(name: str) -> Drawn:
    """The committed pictures of one person."""
    with Image.open(GOLDEN / f"{name}.png") as picture:
        image, aligned, iuv = np.split(np.asarray(picture), 3, axis=1)
    return Drawn(image=image, aligned=aligned, iuv=iuv)


def faults(golden: Drawn, drawn: Drawn) -> set[str]:
    """Names of the pictures that differ by more than the tolerances."""
    found = set()
    for name in ("image", "aligned"):
        difference = np.abs(getattr(golden, name).astype(int) - getattr(drawn, name)).max(-1)
        if difference.mean() > MEAN_LEVELS or (difference > FAR_LEVELS).mean() > FAR_SHARE:
            found.add(name)
    theirs, ours = golden.iuv.astype(int), drawn.iuv.astype(int)
    person = theirs.any(-1) | ours.any(-1)
    other = (theirs[..., 0] != ours[..., 0]) | (np.abs(theirs - ours)[..., 1:].max(-1) > FAR_LEVELS)
    if other.sum() > LABEL_SHARE * person.sum():
        found.add("iuv")
    return found


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", PEOPLE)
def test_pictures_are_as_committed(name: str):
    assert faults(read(name), draw(PEOPLE[name])) == set()


def shift_projection(patch: pytest.MonkeyPatch, amount_px: float = 0.5) -> None:
    """Everything half a pixel to the right, as when pixel centres are forgotten."""
    original = render.screen_points

    def shifted(*arguments):
        points = original(*arguments)
        points[..., 0] += amount_px
        return points

    patch.setattr(render, "screen_points", shifted)


def swap_uv(patch: pytest.MonkeyPatch, order: list[int]) -> None:
    original = generate.dress

    def swapped(*arguments):
        dressed = original(*arguments)
        return replace(dressed, corner=dressed.corner[..., order].contiguous())

    patch.setattr(generate, "dress", swapped)


def swap_texture_uv(patch: pytest.MonkeyPatch) -> None:
    swap_uv(patch, [1, 0, 2, 3])


def swap_surface_uv(patch: pytest.MonkeyPatch) -> None:
    swap_uv(patch, [0, 1, 3, 2])


def halve_sun(patch: pytest.MonkeyPatch) -> None:
    original = place.cameras_around

    def dimmed(vertices, placements, light, height, width):
        return original(vertices, placements, light * torch.tensor([1, 1, 1, 0.5, 0.5, 0.5, 1, 1, 1]), height, width)

    patch.setattr(place, "cameras_around", dimmed)
    patch.setattr(generate, "cameras_around", dimmed)


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize(
    ("mutate", "broken"),
    [
        (shift_projection, {"image", "aligned", "iuv"}),
        (swap_texture_uv, {"image", "aligned"}),
        (swap_surface_uv, {"iuv"}),
        (halve_sun, {"image", "aligned"}),
    ],
)
def test_the_tolerance_finds(mutate: Callable, broken: set[str], name: str, monkeypatch: pytest.MonkeyPatch):
    mutate(monkeypatch)
    assert faults(read(name), draw(PEOPLE[name])) == broken


@pytest.mark.parametrize("name", PEOPLE)
def test_the_tolerance_forgives_a_thousandth_of_a_pixel(name: str, monkeypatch: pytest.MonkeyPatch):
    shift_projection(monkeypatch, amount_px=1e-3)
    assert faults(read(name), draw(PEOPLE[name])) == set()


def write_golden() -> None:
    """Draw the committed pictures anew."""
    torch.set_num_threads(1)
    for name, person in PEOPLE.items():
        drawn = draw(person)
        data = encode_png(np.concatenate([drawn.image, drawn.aligned, drawn.iuv], 1), level=9)
        (GOLDEN / f"{name}.png").write_bytes(data)


if __name__ == "__main__":
    write_golden()
