"""Occluders: what stands between camera and people, procedural or cut from a user's COCO images."""

from synth.occluder.coco import CocoOccluders
from synth.occluder.lay_numba import OCCLUDER, lay, shade_ground
from synth.occluder.layer import Layer, Occluders, Shadow
from synth.occluder.procedural import ProceduralOccluders

__all__ = ["OCCLUDER", "CocoOccluders", "Layer", "Occluders", "ProceduralOccluders", "Shadow", "lay", "shade_ground"]
