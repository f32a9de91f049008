"""Draw the pictures of README.md: python scripts/readme_pictures.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image

from shards.codec import decode_sample
from shards.console import main, write_text
from shards.schema import Sample
from shards.sheet import draw_sheet
from shards.writer import atomic_file
from synth.background import ProceduralBackgrounds
from synth.generate import PitConfig, Sources, render_group

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Two pictures: people in two rows, and one of them with every label."""

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
        # Small enough for a page, by size and by palette; smooth labels would show a palette's steps.
        crowd = crowd.resize((crowd.width * 4 // 5, crowd.height * 4 // 5), Image.Resampling.LANCZOS)
        crowd = crowd.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
        pictures = {"people.png": crowd, "labels.png": Image.fromarray(draw_sheet([people[self.labelled]]))}
        for name, picture in pictures.items():
            with atomic_file(self.out / name) as file:
                picture.save(file, format="PNG", optimize=True)
            write_text(f"{self.out / name}: {(self.out / name).stat().st_size:,} bytes")
        return 0


def draw_people(seed: int, num_people: int) -> list[Sample]:
    """Samples 0 to num_people - 1, each in clothes of their own."""
    config, sources = PitConfig(seed=seed, samples_per_texture=1), Sources(backgrounds=ProceduralBackgrounds())
    encoded = [one for i in range(num_people) for one in render_group(config, i, range(i, i + 1), sources)]
    return [decode_sample(one.key, one.members) for one in encoded]


def cli() -> int:
    """Parse the command line and draw; returns the exit code."""
    return tyro.cli(Pictures, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
