"""What the report says of a network with parts: the scores of each alone, and what the network was taught to draw."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from accelerate.state import AcceleratorState
from tiny_people import People, build_people
from torch import nn

from reid.checkpoint import Run, State
from reid.config import EvaluateConfig, TrainConfig
from reid.dataset import DataConfig, InputConfig
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import ModelConfig, build_model
from reid.models.global_pool import GlobalPoolConfig
from reid.models.part_head import PartHeadConfig
from reid.models.pcb import PcbConfig
from reid.ranking import RankingConfig, rank
from reid.report.drawings import drawings
from reid.report.found import Found, find
from reid.report.page import render_page
from reid.report.part_scores import part_scores
from reid.report.pictures import as_pixels, draw
from reid.report.section import NUM_QUERIES, make_section
from reid.setup import start_accelerator

SMALL = BackboneConfig(name="resnet18", weights="none")
TWO_STRIPES = PcbConfig(backbone=SMALL, num_stripes=2, embedding_dim=16, part_head=PartHeadConfig())


@pytest.fixture(scope="module", autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Precision is fixed once for a process: other tests' does not hold here, nor ours there."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("parts") / "set", People(num_identities=10, num_cameras=3))


def find_with(model_config: ModelConfig, place: str) -> Found:
    """By an untrained network, which draws several parts."""
    config = TrainConfig(
        model=model_config,
        data=DataConfig(real=(place,), num_workers=0),
        input=InputConfig(height=64, width=32),
        evaluate=EvaluateConfig(flip=True),
    )
    torch.manual_seed(0)
    model = build_model(config.model, 2, losses=LossConfig(), pretrained=False).eval()
    if model.part_head is not None:
        for parameter in model.part_head.parameters():
            nn.init.normal_(parameter, std=0.1)
    state = State(config=config, class_names=("a", "b"), num_samples=8)
    return find(Run(folder=Path("run"), model=model, state=state), place, start_accelerator("no"))


@pytest.fixture(scope="module")
def found(place: str) -> Found:
    """With embeddings whose second half tells more of who it is."""
    found = find_with(TWO_STRIPES, place)
    rng, people = np.random.default_rng(0), np.random.default_rng(1).normal(size=(100, 32))
    query, gallery = (
        replace(
            one,
            vectors=(rng.normal(size=(len(one), 32)) + people[one.identities] * np.repeat([0.2, 1], 16)).astype(
                np.float32
            ),
        )
        for one in (found.query, found.gallery)
    )
    return replace(found, query=query, gallery=gallery, scores=rank(query, gallery, found.ranking))


def slow_scores(found: Found, part: slice) -> tuple[float, float]:
    """Rank-1 and mAP by these columns, query by query."""
    first, precisions = [], []
    for vector, identity, camera in zip(
        found.query.vectors[:, part], found.query.identities, found.query.camera_ids, strict=True
    ):
        places = []
        for other, its_identity, its_camera in zip(
            found.gallery.vectors[:, part], found.gallery.identities, found.gallery.camera_ids, strict=True
        ):
            if (identity, camera) != (its_identity, its_camera):
                places.append((np.linalg.norm(vector - other), identity == its_identity))
        right = [is_right for _, is_right in sorted(places)]
        first.append(right[0])
        precisions.append(np.mean([sum(right[: k + 1]) / (k + 1) for k in range(len(right)) if right[k]]))
    return float(np.mean(first)), float(np.mean(precisions))


def test_part_scores_equal_a_slow_ranking(found: Found):
    matrix = part_scores(found)
    assert (matrix.corner, matrix.columns) == ("part", ("rank-1", "mAP"))
    wanted = {"stripe 1": slice(0, 16), "stripe 2": slice(16, 32), "all of them": slice(0, 32)}
    assert [name for name, _ in matrix.rows] == list(wanted)
    shown = [[cell.text for cell in cells] for _, cells in matrix.rows]
    assert shown == [[f"{100 * value:.1f}" for value in slow_scores(found, part)] for part in wanted.values()]
    assert len({tuple(texts) for texts in shown}) == 3
    values = np.array(shown, np.float64)
    assert (values[0] < values[1]).all()
    for column in range(2):  # each column has colours of its own, from the smallest to the largest
        order = values[:, column].argsort()
        backgrounds = [matrix.rows[row][1][column].background for row in order]
        assert (backgrounds[0], backgrounds[-1]) == ("rgb(243, 247, 245)", "rgb(12, 66, 55)")


def test_a_part_that_a_picture_lacks_has_no_cosine(found: Found):
    query = replace(found.query, vectors=found.query.vectors.copy())
    query.vectors[3, :16] = 0
    lacking = replace(found, query=query)
    assert None not in [cell for _, cells in part_scores(lacking).rows for cell in cells]
    cosine = replace(lacking, ranking=RankingConfig(metric="cosine"))
    assert [name for name, cells in part_scores(cosine).rows if cells == (None, None)] == ["stripe 1"]


def test_drawings_stand_beside_their_pictures(found: Found):
    for shown, query in zip(drawings(found, [4, 0]), [4, 0], strict=True):
        images = found.images(found.scored.query, [query])
        assert shown.key == found.query.keys[query]
        wanted = (as_pixels(images)[0], found.run.model.drawings(images)["parts"][0].numpy())
        assert len(np.unique(wanted[1].reshape(-1, 3), axis=0)) > 1
        for picture, pixels, what in zip(shown.pictures, wanted, ("query", "parts"), strict=True):
            assert picture.label == what and shown.key in picture.alt
            assert picture.uri == draw(pixels, 176, alt="", label="").uri
        jpeg = base64.b64decode(shown.pictures[1].uri.partition(",")[2])
        assert simplejpeg.decode_jpeg(jpeg).shape == (176, 88, 3)


def test_sections_on_the_page(found: Found, place: str):
    section = make_section(found, place)
    assert len(section.drawings) == NUM_QUERIES and len(section.likenesses) == NUM_QUERIES
    assert section.parts.title == "Similarity of parts" and section.parts.columns == ("1", "2")
    page = render_page(found.run, [], [section])
    for title in ("What it was taught to draw", "What each part finds alone", "all of them"):
        assert page.count(title) == 1
    assert len(re.findall(r'alt="parts of query \S+, as drawn"', page)) == NUM_QUERIES
    assert len(page) < 600_000


def test_of_a_model_with_neither_nothing_is_shown(place: str):
    found = find_with(GlobalPoolConfig(backbone=SMALL), place)
    assert part_scores(found) is None and drawings(found, [0]) == []
    page = render_page(found.run, [], [make_section(found, place)])
    assert "taught to draw" not in page and "finds alone" not in page
