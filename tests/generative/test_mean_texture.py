"""The mean of what a network draws of a set, and what it makes of its confidence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_people import HEIGHT, WIDTH, save_run

from generative.annotators import mean_texture
from generative.annotators.mean_texture import with_mean_texture
from generative.annotators.opened import open_annotator
from reid.fit import resize
from shards.manifest import read_manifest
from shards.table import Table


@pytest.mark.parametrize(("num_samples", "rows"), [(128, range(12)), (4, (0, 5, 6, 11)), (2, (0, 6))])
def test_it_is_that_of_samples_all_over_the_set(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_samples: int, rows: tuple[int, ...]
):
    monkeypatch.setattr(mean_texture, "NUM_SAMPLES", num_samples)
    monkeypatch.setattr(mean_texture, "BATCH_SIZE", 5)
    annotator, table = open_annotator(save_run(tmp_path / "run", "texture")), Table(plain)
    drawn = []
    for i in rows:
        picture = resize(table.read(i, ["image"])["image"], (HEIGHT, WIDTH))
        drawn.append(annotator.annotate(torch.from_numpy(picture.copy())[None]).values[0].numpy().astype(float))
    found = with_mean_texture(annotator, str(plain), read_manifest(plain)).mean_texture
    assert np.abs(found.numpy() - np.mean(drawn, 0)).max() < 1.01  # a level, which a batch may round otherwise
    assert np.abs(np.mean(drawn, 0) - np.mean(drawn[1:], 0)).max() > 2


def test_other_labels_have_none(plain: Path, tmp_path: Path):
    annotator = open_annotator(save_run(tmp_path / "run", "parts"))
    assert with_mean_texture(annotator, str(plain), read_manifest(plain)) is annotator


def test_who_draws_the_same_of_everybody_is_not_sure(plain: Path, tmp_path: Path):
    """Pictures labelled with others that are like them, and with others that are not."""
    annotator, table = open_annotator(save_run(tmp_path / "run", "texture")), Table(plain)
    picture = resize(table.read(0, ["image"])["image"], (HEIGHT, WIDTH))
    pictures = torch.from_numpy(picture.copy()).expand(2, -1, -1, -1)
    alone = annotator.annotate(pictures)
    assert alone.confidence.tolist() == [0, 0]
    elsewhere = replace(annotator, mean_texture=255 - alone.values[0].float())
    assert (elsewhere.annotate(pictures).confidence > 0.1).all()
