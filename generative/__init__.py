"""Generative augmentation: learns from shards, writes shards.

Annotators learn what the renderer knows of people (texture, iuv, parts, keypoints) and write it onto pictures of others;
`transfer` gives people other poses, `style` another camera's look. What comes out is an ordinary set of shards.
"""
