"""Searching a gallery for a person, with a network of colours that is right about everybody in the tiny sets."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from tiny_people import People, build_people
from torch import Tensor, nn

from reid.augment import prepare
from reid.checkpoint import Run, State, checkpoint_path, save_checkpoint
from reid.cli import cli
from reid.config import EvaluateConfig, TrainConfig
from reid.fit import InputConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.models.global_pool import GlobalPoolConfig
from reid.models.model import Model
from reid.pictures import open_pictures
from reid.search import TILE, draw_matches, is_searched, search
from reid.setup import start_accelerator
from shards.console import main
from shards.table import Table

PEOPLE = People(num_identities=8, extra=("tiny/-1", "tiny/0"))
CONFIG = TrainConfig(
    model=GlobalPoolConfig(backbone=BackboneConfig(name="resnet18", weights="none")),
    input=InputConfig(height=64, width=32),
    evaluate=EvaluateConfig(batch_size=5),
)


class Colours(Model):
    """Mean colours of eight stripes of the middle: those that a person of the tiny sets wears."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.AvgPool2d((8, 12))

    def losses(self, batch):
        raise NotImplementedError

    def feature_map(self, images: Tensor) -> Tensor:
        return self.backbone(images[..., 10:22])

    def embed(self, images: Tensor) -> Tensor:
        return self.feature_map(images).flatten(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("search") / "tiny", PEOPLE)


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Precision is fixed once for a process: other tests' does not hold here, nor ours there."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def accelerator() -> Accelerator:
    return start_accelerator("no")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    state = State(config=CONFIG, class_names=("tiny/0000",), num_samples=1)
    return Run(folder=tmp_path / "run", model=Colours().eval(), state=state)


def pictures(place: str, folder: Path, rows: list[int]) -> list[Path]:
    """Samples as files."""
    table = Table(place)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{table.keys[i]}.jpg" for i in rows]
    for i, path in zip(rows, paths, strict=True):
        path.write_bytes(table.read_members(i, ("image.jpg",))["image.jpg"])
    return paths


def rows_of(place: str, **wanted: object) -> list[int]:
    """Samples of a set by identity and split."""
    table = Table(place)
    fits = [getattr(table, name) == value for name, value in wanted.items()]
    return np.flatnonzero(np.logical_and.reduce(fits)).tolist()


def embedding(path: Path) -> np.ndarray:
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))[None]
    return Colours().embed(prepare(pixels, CONFIG.input))[0].numpy()


def test_finds_the_person_in_a_gallery(place: str, run: Run, accelerator, tmp_path: Path):
    query = pictures(place, tmp_path / "q", rows_of(place, identities="tiny/0006", splits="query")[:1])
    gallery = open_pictures(place, run.config.input, accelerator.device, num_workers=0, wanted=is_searched)
    table = Table(place)
    assert sorted(gallery.keys.tolist()) == sorted(table.keys[table.splits == "gallery"].tolist())
    matches = search(run, query, gallery, 7, accelerator)
    assert [match.identity for match in matches[:4]] == ["tiny/0006"] * 4  # both cameras
    assert {match.camera_id for match in matches[:4]} == {0, 1}
    assert matches[4].identity != "tiny/0006"
    # Distances as a loop has them, in their order.
    ours = embedding(query[0])
    files = pictures(place, tmp_path / "g", rows_of(place, splits="gallery"))
    distances = {path.stem: float(np.sqrt(((embedding(path) - ours) ** 2).sum())) for path in files}
    order = sorted(distances, key=distances.get)[:7]
    assert [match.key for match in matches] == order
    # Embeddings of a batch differ in their last bits from those of pictures one by one, and so do small distances.
    expected = [distances[key] for key in order]
    np.testing.assert_allclose([match.distance for match in matches], expected, rtol=1e-4, atol=1e-4)


def test_several_pictures_are_averaged(place: str, run: Run, accelerator, tmp_path: Path):
    query = pictures(place, tmp_path / "q", rows_of(place, splits="query")[:7])  # more than a batch
    gallery = open_pictures(place, run.config.input, accelerator.device, num_workers=0, wanted=is_searched)
    (match,) = search(run, query, gallery, 1, accelerator)
    mean = np.mean([embedding(path) for path in query], axis=0)
    files = pictures(place, tmp_path / "g", rows_of(place, splits="gallery"))
    expected = min(float(np.sqrt(((embedding(path) - mean) ** 2).sum())) for path in files)
    assert match.distance == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_set_without_a_gallery_is_searched_whole_but_for_junk(run: Run, accelerator, tmp_path: Path):
    people = People(num_identities=2, splits=False, extra=("tiny/-1", "tiny/0", None))
    place = build_people(tmp_path / "whole", people)
    gallery = open_pictures(place, run.config.input, accelerator.device, num_workers=0, wanted=is_searched)
    assert len(gallery.keys) == people.num_samples - 1
    query = pictures(place, tmp_path / "q", [0])
    matches = search(run, query, gallery, 99, accelerator)
    assert len(matches) == len(gallery.keys)  # all there are, the camera of the query among them
    assert matches[0].distance == pytest.approx(0, abs=1e-2)
    assert {match.identity for match in matches} == {"tiny/0000", "tiny/0001", "tiny/0", None}


def test_a_folder_of_pictures_without_the_query(place: str, run: Run, accelerator, tmp_path: Path):
    folder = tmp_path / "folder"
    paths = pictures(place, folder / "a", rows_of(place, identities="tiny/0001"))
    paths += pictures(place, folder / "b", rows_of(place, identities="tiny/0002"))
    gallery = open_pictures(str(folder), run.config.input, accelerator.device, without=paths[:1])
    matches = search(run, paths[:1], gallery, 5, accelerator)
    assert sorted(match.key for match in matches) == sorted(str(path.relative_to(folder)) for path in paths[1:6])
    assert (matches[0].identity, matches[0].camera_id) == (None, None)


def test_the_drawing_shows_query_and_matches_in_their_places(place: str, run: Run, accelerator, tmp_path: Path):
    query = pictures(place, tmp_path / "q", rows_of(place, splits="query")[:3])
    gallery = open_pictures(place, run.config.input, accelerator.device, num_workers=0, wanted=is_searched)
    matches = search(run, query, gallery, 12, accelerator)
    drawing = np.array(draw_matches(query, matches, gallery)).astype(int)
    table = Table(place)
    stored = {str(table.keys[i]): table[i].image for i in range(len(table))}
    rows = 256 + 3 * 15 + 8
    assert drawing.shape == (3 * rows + 8, 11 * (128 + 8) + 24, 3)

    def tile(row: int, left: int) -> np.ndarray:
        return drawing[8 + row * rows :][: TILE.height, left : left + TILE.width]

    def scaled(pixels: np.ndarray) -> np.ndarray:
        return np.array(Image.fromarray(pixels).resize((TILE.width, TILE.height), Image.Resampling.BILINEAR)).astype(
            int
        )

    for row, path in enumerate(query):
        assert np.abs(tile(row, 8) - scaled(np.array(Image.open(path)))).mean() < 3
    for number, match in enumerate(matches):
        left = 128 + 4 * 8 + number % 10 * (128 + 8)
        assert np.abs(tile(number // 10, left) - scaled(stored[match.key])).mean() < 3
        below = drawing[8 + number // 10 * rows + TILE.height :][: 3 * 15, left : left + TILE.width]
        assert (below < 128).any()  # words


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a checkpoint that the command line can read."""
    folder = tmp_path_factory.mktemp("untrained") / "run"
    model = build_model(CONFIG.model, 1, losses=CONFIG.losses, pretrained=False)
    state = State(config=CONFIG, class_names=("tiny/0000",), num_samples=1)
    save_checkpoint(checkpoint_path(folder, "last"), model, state, {})
    return folder


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of `python -m reid search`, in this process."""
    monkeypatch.setattr(sys, "argv", ["reid", "search", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main(cli)
    return stopped.value.code


def test_command(place: str, untrained: Path, tmp_path: Path, monkeypatch, capsys):
    query = pictures(place, tmp_path / "q", rows_of(place, splits="query")[:2])
    arguments = (untrained, *query, "--gallery", place, "--workers", 0, "--num", 4)
    assert command(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "distance", "identity", "camera", "picture"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert lines[5] == f"4 of 16 pictures, by the mean of 2 embeddings; drawn in {untrained / 'search.png'}"
    assert Image.open(untrained / "search.png").format == "PNG"
    assert command(monkeypatch, *arguments, "--out", tmp_path / "deep" / "found.jpg", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metric"] == "euclidean"
    assert [match["key"] for match in result["matches"]] == [line.split()[-1] for line in lines[1:5]]
    assert Image.open(tmp_path / "deep" / "found.jpg").format == "JPEG"


def test_command_says_what_is_wrong(place: str, untrained: Path, tmp_path: Path, monkeypatch, capsys):
    (query,) = pictures(place, tmp_path / "q", [0])
    text, empty, alone = tmp_path / "text.jpg", tmp_path / "empty", tmp_path / "alone"
    text.write_text("no picture")
    empty.mkdir()
    alone.mkdir()
    shutil.copy(query, alone / "only.jpg")
    junk = build_people(tmp_path / "junk", People(num_identities=0, num_shards=1, splits=False, extra=("tiny/-1",)))
    for arguments, message in (
        (("--gallery", place), "a search goes by at least one picture of a person, got none"),
        ((tmp_path / "none.jpg", "--gallery", place), f"found no file {tmp_path / 'none.jpg'}"),
        ((text, "--gallery", place), f"{text} is no picture, or a damaged one"),
        ((query, "--gallery", tmp_path / "nowhere"), f"found no folder {tmp_path / 'nowhere'}"),
        ((query, "--gallery", empty), f"no pictures (.jpg, .jpeg, .png, .bmp, .webp) in {empty}"),
        ((alone / "only.jpg", "--gallery", alone), f"{alone} must hold pictures besides the query, it has none"),
        ((query, "--gallery", junk), f"{junk} must hold pictures that are no junk"),
        ((query, "--gallery", place, "--num", 0), "needs at least one match to find"),
        ((query, "--gallery", place, "--out", "found.gif"), "a drawing is a .png or .jpg file, got --out found.gif"),
    ):
        assert command(monkeypatch, untrained, *arguments) == 2
        assert message in capsys.readouterr().err
