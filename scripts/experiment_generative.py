"""What generation is worth, on rendered people: annotators before and after a change of style, and people in generated poses.

    python scripts/experiment_generative.py annotators --out out/annotators --jobs 2   # two cores, an hour
    python scripts/experiment_generative.py people --out out/people --jobs 2   # two cores, an hour

With `--size full` on a GPU at the papers' settings. The same command goes on where it stopped.
"""

import tyro
from experiment_annotators import Annotators
from experiment_people import People

from shards.console import main


def cli() -> int:
    """Parse the command line and run the experiment; returns the exit code."""
    return tyro.cli(Annotators | People, description=__doc__).run()


if __name__ == "__main__":
    main(cli)
