"""What a picture must be for a network to learn or draw anybody from it."""

MIN_SIDE = 32
"""Pixels of a picture's shorter side."""
MIN_JOINTS = 8
"""Of the 17, those that must be known for a skeleton to be a pose."""
