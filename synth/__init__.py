"""Synthetic people: from a body, a motion, an outfit, a camera and a background to labelled shards.

Conventions, here once for the whole package:

- Metres, seconds, radians. World axes as SMPL's: y up, the ground is y = 0; a person at rest faces +z, +x is their left.
- Cameras are OpenCV's: x right, y down, z forward. `world_to_camera` (4, 4) maps world to camera coordinates,
  `intrinsics` (3, 3) camera coordinates to pixels. Pixel centres lie at +0.5: the first pixel covers [0, 1).
- uv coordinates are as in an OBJ file: u right, v up, both in [0, 1]; row r of an (S, S) texture has v = 1 - (r + 0.5) / S.
- Colour is linear RGB float in [0, 1] until the sensor encodes it; textures are stored as 8-bit sRGB.
- Randomness comes from `synth.seeding.generator(seed, index, stage)` and from nowhere else.

The stages in their order: config -> scene -> body -> raster -> shade -> sensor -> labels -> shard.
"""
