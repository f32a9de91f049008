"""Learn to tell people apart: real, rendered and generated shards to embeddings, scores and a report.

Reading order: `config` and `presets` say what a run is; `dataset`, `sampler`, `loader` and `augment` make batches
(`batch`); `models` turn a batch into named `losses`; `optimise` and `train` are the loop, `checkpoint` what it keeps;
`embed`, `ranking`, `rerank` and `evaluate` score; `report`, `search` and `export` use a finished run.

Conventions: images are RGB; stored ones (B, H, W, 3) uint8, the network's (B, 3, H, W) float32 with ImageNet's mean and
standard deviation taken out. Identities of a batch are classes 0..C-1, -1 for nobody known. Distances are Euclidean
where nothing else is said.
"""
