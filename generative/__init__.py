"""Generative augmentation: learns from shards, writes shards. Nothing here yet."""
