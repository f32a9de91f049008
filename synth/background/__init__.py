"""Backgrounds: procedural streets in the camera's perspective, or crops of a user's COCO images."""

from synth.background.coco import CocoBackgrounds
from synth.background.procedural import ProceduralBackgrounds
from synth.background.view import Background, Backgrounds, Light, View

__all__ = ["Background", "Backgrounds", "CocoBackgrounds", "Light", "ProceduralBackgrounds", "View"]
