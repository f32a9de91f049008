"""Where keypoints come from for sets that have none: other programs' files, and other programs."""

ADDED_BY = "`python -m generative poses` or `python -m generative annotate`"
"""The commands that add keypoints to a set."""
