"""Draw the pictures of README.md: python scripts/readme_pictures.py."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from PIL import Image

from shards.codec import decode_sample
from shards.console import main, write_text
from shards.schema import Sample
from shards.sheet import draw_sheet
from shards.writer import atomic_file
from synth.background import ProceduralBackgrounds
from synth.generate import PitConfig, render_group
from synth.scenes.config import SceneConfig
from synth.scenes.generate import render_circle
from synth.scenes.people import identity_name
from synth.scenes.visits import circles
from synth.sources import Sources

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Three pictures: people in two rows, one of them with every label, and people before several cameras."""

    out: Path = ROOT / ".readme"
    """Folder of the pictures."""
    seed: int = 3
    """Another seed, other people."""
    columns: int = 6
    """People per row."""
    labelled: int = 8
    """Which of them is shown with every label."""

    def run(self) -> int:
        """Returns the exit code."""
        if not 0 <= self.labelled < 2 * self.columns:
            raise ValueError(f"labelled must lie in 0..{2 * self.columns - 1}, got {self.labelled}")
        people = draw_people(self.seed, 2 * self.columns)
        crowd = Image.fromarray(draw_sheet(people, columns=self.columns, compact=True))
        crowd = crowd.resize((crowd.width * 2 // 3, crowd.height * 2 // 3), Image.Resampling.LANCZOS)
        labels = Image.fromarray(draw_sheet([people[self.labelled]]))
        pictures = {
            "people.jpg": (crowd, {"quality": 85}),
            "labels.jpg": (labels, {"quality": 85, "subsampling": 0}),
            "scenes.jpg": (draw_network(self.seed), {"quality": 70}),
        }
        for name, (picture, options) in pictures.items():
            with atomic_file(self.out / name) as file:
                picture.save(file, "JPEG", **options)
            write_text(f"{self.out / name}: {(self.out / name).stat().st_size:,} bytes")
        return 0


def draw_people(seed: int, num_people: int) -> list[Sample]:
    """Samples 0 to num_people - 1, each in clothes of their own."""
    config, sources = PitConfig(seed=seed, samples_per_texture=1), Sources(backgrounds=ProceduralBackgrounds())
    encoded = [one for i in range(num_people) for one in render_group(config, i, range(i, i + 1), sources)]
    return [decode_sample(one.key, one.members) for one in encoded]


def draw_network(seed: int, num_people: int = 3, num_views: int = 10) -> Image.Image:
    """A row for each of some people, as the cameras of a network saw them one after the other."""
    config = replace(SceneConfig(), seed=seed, num_identities=12, train_share=0.0)
    sources = Sources(backgrounds=ProceduralBackgrounds())
    encoded = [one for circle in circles(config) for one in render_circle(config, circle, sources)]
    rows = []
    for number in range(num_people):
        views = [one for one in encoded if one.meta.identity == identity_name(seed, number)]
        views = [views[i * (len(views) - 1) // (num_views - 1)] for i in range(num_views)]
        rows += [decode_sample(one.key, one.members) for one in views]
    captions = [f"camera {sample.meta.camera_id}" for sample in rows]
    sheet = Image.fromarray(draw_sheet(rows, columns=num_views, compact=True, captions=captions))
    return sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)


def cli() -> int:
    """Parse the command line and draw; returns the exit code."""
    return tyro.cli(Pictures, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
