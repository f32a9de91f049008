"""The texture annotator can learn what it is shown: 32 rendered pairs, by heart."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from generative.annotators.opened import open_annotator
from generative.presets import texture
from reid.augment import AugmentConfig
from reid.batch import normalise
from reid.fit import InputConfig, fit
from reid.models.backbone import BackboneConfig
from reid.models.texture_decoder import to_signed
from reid.sampler import SamplerConfig
from reid.train import train
from shards.stream import stream

NUM_PAIRS = 32


@pytest.mark.slow
def test_it_learns_32_pairs_by_heart(tmp_path: Path):
    """L1 below a fifth of what the mean texture of these very pairs has, at the small size that the network draws here. Ten pairs
    share a texture, as in the sets that it is trained on."""
    place = str(tmp_path / "pairs")
    options = f"--num-samples {NUM_PAIRS} --height 64 --width 32".split()
    command = [sys.executable, "-m", "synth", "pit", "--out", place, *options]
    subprocess.run(command, check=True, capture_output=True)
    config = texture().with_sets((place,))
    config = replace(
        config,
        model=replace(
            config.model, backbone=BackboneConfig(name="resnet18", weights="none"), last_upsampling="bilinear"
        ),
        data=replace(config.data, num_workers=0),
        input=InputConfig(height=64, width=32),
        sampler=SamplerConfig(batch_size=8, images_per_identity=None),
        augment=AugmentConfig(pad=0, flip=0.0, erase=0.0),
        optimise=replace(config.optimise, epochs=240, learning_rate=2e-3, decay="cosine"),
        precision="no",
    )
    train(config, tmp_path / "run")
    annotator = open_annotator(tmp_path / "run", precision="no")
    pairs = [fit(one, annotator.input, ["texture"]) for one in stream(place, fields=["image", "texture"])]
    images, textures = (torch.stack([torch.from_numpy(one[name]) for one in pairs]) for name in ("image", "texture"))
    with torch.inference_mode():
        drawn = annotator.network.drawings(normalise(images))["texture"].float() / 127.5 - 1
    truth = to_signed(textures.permute(0, 3, 1, 2) / 255, drawn.shape[1:3]).permute(0, 2, 3, 1)
    mean, mine = ((truth - one).abs().mean().item() for one in (truth.mean(0), drawn))
    assert len(pairs) == NUM_PAIRS and mean > 0.1
    assert mine < mean / 5
