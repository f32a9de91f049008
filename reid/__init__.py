"""Training and evaluation of person re-identification models on shards. Nothing here yet."""
