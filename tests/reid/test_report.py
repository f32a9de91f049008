"""The report of a tiny run: what it says against slow loops, and the page in a browser."""

import base64
import html
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from accelerate.state import AcceleratorState
from test_scripts import browse, check_shown, luminance
from tiny_people import People, build_people

from reid.batch import normalise
from reid.checkpoint import State, checkpoint_path, load_run, save_checkpoint
from reid.cli import cli
from reid.config import EvaluateConfig, TrainConfig
from reid.dataset import DataConfig
from reid.fit import InputConfig
from reid.gradcam import grad_cam
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.models.global_pool import GlobalPoolConfig
from reid.models.model import Model
from reid.models.pcb import PcbConfig
from reid.optimise import OptimiseConfig
from reid.ranking import rank
from reid.report.attention import NUM_STRIPES, likenesses, part_matrix, part_similarity
from reid.report.charts import Curve, colour_cell, fewer, line_chart, moving_mean, path_data, ticks
from reid.report.found import Found, find
from reid.report.history import history
from reid.report.pictures import HEAT, Picture, as_pixels, draw, lay_heat
from reid.report.rank_lists import hardest_queries, rank_lists, spread_queries
from reid.report.section import make_section, set_sizes
from reid.sampler import SamplerConfig
from reid.setup import start_accelerator
from reid.train import train
from shards.console import main
from shards.table import Table

PEOPLE = People(num_identities=10, num_cameras=3, height=64, width=32)
"""Five people to train on, five to search for in three cameras: 15 queries, 30 pictures in the gallery."""
RESNET = BackboneConfig(name="resnet18", weights="none")


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Precision is fixed once for a process: other tests' does not hold here, nor ours there."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("report") / "tiny<set>", PEOPLE)


@pytest.fixture(scope="module")
def config(place: str) -> TrainConfig:
    return TrainConfig(
        model=GlobalPoolConfig(backbone=RESNET, pooling="average", embedding_dim=None, neck=True),
        data=DataConfig(real=(place,), num_workers=0),
        input=InputConfig(height=64, width=32),
        sampler=SamplerConfig(batch_size=20, images_per_identity=4),
        optimise=OptimiseConfig(epochs=1, warmup_epochs=0, learning_rate=1e-3),
        evaluate=EvaluateConfig(every=1, metric="cosine", batch_size=16),
        precision="no",
    )


@pytest.fixture(scope="module")
def folder(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a finished run. Not to be changed."""
    AcceleratorState._reset_state(reset_partial_state=True)
    folder = tmp_path_factory.mktemp("runs") / "tiny & small"
    assert train(config, folder).total_steps <= 4
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path, place: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets on one page: the run's own, and the same people with nobodies."""
    other = build_people(
        tmp_path_factory.mktemp("other") / "nobodies", replace(PEOPLE, num_identities=4, seed=5, num_cameras=2)
    )
    out = folder.parent / "page.html"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert command(monkeypatch, folder, "--data", place, other, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def found(folder: Path, place: str) -> Found:
    AcceleratorState._reset_state(reset_partial_state=True)
    return find(load_run(folder), place, start_accelerator("no"))


@pytest.fixture
def noisy(found: Found) -> Found:
    """With embeddings that tell little of who it is."""
    rng, size = np.random.default_rng(4), found.query.vectors.shape[1]
    people = np.pad(0.1 * rng.normal(size=(100, 12)), ((0, 0), (0, size - 12)))
    query, gallery = (
        replace(one, vectors=people[one.identities].astype(np.float32)) for one in (found.query, found.gallery)
    )
    for one in (query, gallery):
        one.vectors[:, :12] += rng.normal(size=(len(one), 12))
    return replace(found, query=query, gallery=gallery, scores=rank(query, gallery, found.ranking))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of `python -m reid report`, in this process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(sys, "argv", ["reid", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main(cli)
    return stopped.value.code


class Tags(HTMLParser):
    """Tags of a page, each with its attributes."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def decoded(picture: Picture) -> np.ndarray:
    """(H, W, 3) int."""
    return simplejpeg.decode_jpeg(base64.b64decode(picture.uri.partition(",")[2])).astype(int)


def ranking(found: Found, q: int) -> list[tuple[int, float]]:
    """Gallery pictures and distances of a query by the protocol, the nearest first: one by one."""
    ours, places = found.query.vectors[q].astype(np.float64), []
    for i, vector in enumerate(found.gallery.vectors.astype(np.float64)):
        same = found.gallery.identities[i] == found.query.identities[q]
        if same and found.gallery.camera_ids[i] == found.query.camera_ids[q]:
            continue
        cosine = ours @ vector / np.linalg.norm(ours) / np.linalg.norm(vector)
        places.append((1 - cosine, i))
    return [(i, distance) for distance, i in sorted(places)]


def average_precision(found: Found, q: int) -> float:
    right = [found.gallery.identities[i] == found.query.identities[q] for i, _ in ranking(found, q)]
    return float(np.mean([sum(right[: k + 1]) / (k + 1) for k in range(len(right)) if right[k]]))


def test_page_stands_alone(page: Path):
    text, tags = page.read_text(encoding="utf-8"), Tags(page).tags
    addresses = [values[name] for _, values in tags for name in ("src", "href", "srcset") if name in values]
    assert [one[:40] for one in addresses if not one.startswith(("data:", "#set"))] == []
    assert {tag for tag, _ in tags} & {"script", "iframe", "object", "embed", "video", "link"} == {"link"}
    assert re.findall(r"url\(|@import", text) == []
    pictures = [values for tag, values in tags if tag == "img"]
    assert 6 * 11 + 6 * 11 + 6 * 4 <= len(pictures)
    assert all(len(values["alt"]) > 10 for values in pictures)
    assert {values.get("class") for values in pictures} == {None, "query", "right", "wrong"}
    assert len(text) < 1_000_000
    assert text.count("<section id=") == 2


def test_page_says_what_the_run_was(page: Path, folder: Path, place: str, found: Found):
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "<h1>tiny &amp; small</h1>" in page.read_text(encoding="utf-8")
    assert "tiny&lt;set&gt;" in page.read_text(encoding="utf-8")
    for words in (
        "random initialisation",
        "optimise.learning_rate",
        "0.001",
        "GlobalPool with",
        place,
        "45 pictures of 5",
    ):
        assert words in text
    scores = found.scores
    row = re.search(rf"<tr><td><code>{re.escape(place)}</code></td>(.*?)</tr>", text, re.DOTALL).group(1)
    cells = re.findall(r">([\d.,]+)%?</td>", row)
    wanted = (scores.mean_ap, scores.mean_inp, *(scores.cmc[k - 1] for k in (1, 5, 10, 20)))
    assert cells == [*(f"{100 * value:.1f}" for value in wanted), "15", "0"]


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 500)])
def test_page_in_a_browser(page: Path, tmp_path: Path, dark: bool, width: int):
    seen, console = browse(page, tmp_path, dark=dark, width=width)
    assert console == []
    assert len(seen["pictures"]) > 150
    check_shown(seen, dark=dark)


def test_rank_lists_equal_a_slow_ranking(noisy: Found):
    by_precision = sorted(range(15), key=lambda q: -average_precision(noisy, q))
    values = [average_precision(noisy, q) for q in by_precision]
    spread, hardest = spread_queries(noisy, 3), hardest_queries(noisy, 4)
    assert [average_precision(noisy, q) for q in spread] == pytest.approx([values[k] for k in (2, 7, 12)])
    assert [average_precision(noisy, q) for q in hardest] == pytest.approx(values[::-1][:4])
    assert len(spread_queries(noisy, 99)) == len(set(spread_queries(noisy, 99))) == 15
    num_far = 0
    for q, shown in zip(range(15), rank_lists(noisy, range(15)), strict=True):
        wanted = ranking(noisy, q)
        right = [k for k, (i, _) in enumerate(wanted, 1) if noisy.gallery.identities[i] == noisy.query.identities[q]]
        assert shown.key == noisy.query.keys[q]
        assert f"{average_precision(noisy, q):.1%}" in shown.says and shown.says.endswith(f"at rank {right[0]}")
        assert len(shown.found) == 10
        for k, (picture, (i, distance)) in enumerate(zip(shown.found, wanted, strict=False), 1):
            mark, camera = "right" if k in right else "wrong", f"camera {noisy.gallery.camera_ids[i]}"
            assert picture.alt == f"Rank {k}, {mark}: {noisy.gallery.keys[i]}, {camera}"
            sign, place, _, shown_distance, *shown_camera = picture.label.split()
            assert (sign, place, " ".join(shown_camera)) == ("✓" if k in right else "✗", f"{k}", camera)
            assert float(shown_distance) == pytest.approx(distance, rel=0.01)
            assert picture.mark == mark
        if right[0] > 10:
            num_far += 1
            i = wanted[right[0] - 1][0]
            assert shown.first_match.alt.startswith(f"Rank {right[0]}, right: {noisy.gallery.keys[i]}, ")
        else:
            assert shown.first_match is None
    assert 0 < num_far < 15


def test_pictures_are_those_that_are_named(noisy: Found, place: str):
    table = Table(place)
    row_of = {str(key): row for row, key in enumerate(table.keys)}
    for shown in rank_lists(noisy, [0, 14]):
        for picture in (shown.query, *shown.found):
            key = re.search(r"\d{6}", picture.alt).group()
            wanted = draw(table[row_of[key]].image, picture.height, alt="", label="")
            np.testing.assert_array_equal(decoded(picture), decoded(wanted), picture.alt)


def test_sizes_count_nobodies(tmp_path: Path, folder: Path):
    place = build_people(tmp_path / "few", replace(PEOPLE, num_identities=4))
    found = find(load_run(folder), place, start_accelerator("no"))
    sizes = dict(set_sizes(found))
    assert sizes == {
        "query pictures": 6,
        "query people": 2,
        "gallery pictures": 12,
        "distractors": 0,
        "junk, left out": 0,
        "cameras": 3,
    }
    gallery = replace(found.gallery, identities=np.array([-1, -1, 77, *found.gallery.identities[3:]]))
    sizes = dict(set_sizes(replace(found, gallery=gallery)))
    assert (sizes["gallery pictures"], sizes["distractors"], sizes["junk, left out"]) == (12, 1, 2)


def test_camera_pairs_and_histogram_of_a_section(noisy: Found, place: str):
    section = make_section(noisy, place)
    rank1, mean_ap = section.cameras
    assert (rank1.columns, [label for label, _ in rank1.rows]) == (("0", "1", "2"), ["0", "1", "2"])
    assert [label for label, cells in mean_ap.rows for cell in cells if cell is None] == ["0", "1", "2"]
    for camera, (_, cells) in enumerate(rank1.rows):
        for other in {0, 1, 2} - {camera}:
            is_first = []
            for q in np.flatnonzero(noisy.query.camera_ids == camera):
                there = [i for i, _ in ranking(noisy, q) if noisy.gallery.camera_ids[i] == other]
                is_first.append(noisy.gallery.identities[there[0]] == noisy.query.identities[q])
            assert cells[other].text == f"{100 * np.mean(is_first):.0f}"
            assert cells[other].title == "5 queries"
    assert len({cell.text for _, cells in rank1.rows for cell in cells if cell}) > 2
    cmc, histogram = section.charts
    assert cmc.legend[0].value == f"{100 * noisy.scores.cmc[-1]:.3g}%"
    assert [entry.name for entry in histogram.legend] == ["same person, other camera", "different people"]
    assert [len(one) for one in (section.rank_lists, section.hardest, section.likenesses)] == [6, 6, 6]


def test_likenesses_are_of_a_query_and_its_nearest_match(noisy: Found):
    for q, shown in zip((0, 9), likenesses(noisy, [0, 9]), strict=True):
        right = [i for i, _ in ranking(noisy, q) if noisy.gallery.identities[i] == noisy.query.identities[q]]
        query, heated_query, match, heated_match = shown.pictures
        assert (query.alt, match.alt) == (f"Query {noisy.query.keys[q]}", f"Match {noisy.gallery.keys[right[0]]}")
        for picture, heated, part, row, target in (
            (query, heated_query, noisy.scored.query, q, noisy.gallery.vectors[right[0]]),
            (match, heated_match, noisy.scored.gallery, right[0], noisy.query.vectors[q]),
        ):
            image = noisy.images(part, [row])
            heat = grad_cam(noisy.run.model, image, torch.from_numpy(target)[None])[0].numpy()
            for shown, pixels in ((picture, as_pixels(image)[0]), (heated, lay_heat(as_pixels(image)[0], heat))):
                wanted = decoded(draw(pixels, shown.height, alt="", label=""))
                assert np.abs(decoded(shown) - wanted).mean() < 0.5


@pytest.mark.parametrize(
    "config", [PcbConfig(backbone=RESNET), GlobalPoolConfig(backbone=RESNET)], ids=["own", "stripes"]
)
def test_part_similarity_equals_a_slow_loop(config):
    torch.manual_seed(1)
    model = build_model(config, 3, losses=LossConfig(), pretrained=False).eval()
    images = torch.randn(2, 3, 192 if isinstance(config, PcbConfig) else 128, 32)
    with torch.no_grad():
        maps = model.feature_map(images).numpy()
    # Twelve rows in six stripes, eight in six of one or two rows.
    bounds = [0, 2, 4, 6, 8, 10, 12] if isinstance(config, PcbConfig) else [0, 2, 4, 5, 6, 7, 8]
    found = part_similarity(model, images)
    assert found.shape == (2, NUM_STRIPES, NUM_STRIPES)
    for b in range(2):
        parts = [maps[b, :, low:high].max((1, 2)) for low, high in zip(bounds, bounds[1:], strict=False)]
        for i, one in enumerate(parts):
            for j, other in enumerate(parts):
                cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
                assert found[b, i, j] == pytest.approx(cosine, abs=1e-5)


def test_part_matrix_is_the_mean_over_all_pictures(found: Found, monkeypatch: pytest.MonkeyPatch):
    assert part_matrix(found).columns == ("1", "2", "3", "4")  # the map of a picture of 64 pixels has no more rows
    seen: list[torch.Tensor] = []

    def similarity(model: Model, images: torch.Tensor) -> torch.Tensor:
        """The number of the picture at one place, 1 elsewhere."""
        numbers = torch.arange(len(seen), len(seen) + len(images))
        seen.extend(images)
        found = torch.ones(len(images), 2, 2)
        found[:, 0, 1] = -numbers
        return found

    monkeypatch.setattr("reid.report.attention.part_similarity", similarity)
    matrix = part_matrix(found)
    parts = [(part, row) for part in (found.scored.query, found.scored.gallery) for row in range(len(part.rows))]
    assert len(seen) == len(parts) == 45
    assert all(
        torch.equal(image, found.images(*one)[0]) for image, one in zip(seen, ((p, [r]) for p, r in parts), strict=True)
    )
    assert (matrix.title, matrix.corner, matrix.columns) == ("Similarity of stripes", "stripe", ("1", "2"))
    assert [[cell.text for cell in cells] for _, cells in matrix.rows] == [["1.00", "-22.00"], ["1.00", "1.00"]]
    assert matrix.rows[0][1][1].background == colour_cell(0, 0, 1, text="").background
    assert matrix.rows[1][1][1].background == colour_cell(1, 0, 1, text="").background


def steps(num: int) -> list[dict]:
    """Lines as a journal writes them; the pair loss comes at every third step."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(num):
        losses = {"identity": 5 + rng.normal(), "triplet": math.exp(-i / num)} | ({"rec": 0.5} if i % 3 == 0 else {})
        lines.append(
            {"epoch": 0, "step": i, "total_steps": i + 1, "learning_rate": 0.1 if i % 2 == 0 else 0.01} | losses
        )
    return lines


def write_metrics(folder: Path, lines: list[dict]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_history_of_a_long_run_stays_small(tmp_path: Path, config: TrainConfig):
    scores = [
        {"epoch": e, "total_steps": 6500 * e, "scores": {"a": {"mean_ap": e / 20, "cmc": [e / 10, 1.0]}}}
        for e in (1, 2)
    ]
    write_metrics(tmp_path, [*steps(65_000), *scores])
    charts = history(tmp_path, config)
    assert [chart.title for chart in charts] == ["identity", "triplet", "rec", "learning rate", "mAP", "rank-1"]
    assert sum(len(path.data) for chart in charts for path in chart.paths) < 40_000
    assert charts[1].legend[0].value == "0.3679"
    assert [chart.legend[0].value for chart in charts[4:]] == ["10%", "20%"]
    assert "60k" in [tick.label for tick in charts[0].x_ticks]


def test_rates_of_optimisers_that_take_turns_are_apart(tmp_path: Path, config: TrainConfig):
    write_metrics(tmp_path, steps(10))
    turns = replace(config, optimise=replace(config.optimise, triplet_learning_rate=0.01))
    one, other = history(tmp_path, turns)[3].legend
    assert (one.name, one.value, other.name, other.value) == ("identity's turn", "0.1", "triplet's turn", "0.01")


def test_fewer_points_are_means_of_neighbours():
    rng = np.random.default_rng(1)
    curve = Curve(name="", x=np.arange(1000.0), y=rng.random(1000))
    small = fewer(curve, 37)
    first = [i * 1000 // 37 for i in range(38)]
    wanted = [curve.y[a:b].mean() for a, b in zip(first, first[1:], strict=False)]
    np.testing.assert_allclose(small.y, wanted)
    np.testing.assert_allclose(small.x, [curve.x[a:b].mean() for a, b in zip(first, first[1:], strict=False)])
    assert fewer(curve, 1000) is curve


@pytest.mark.parametrize("window", [1, 2, 5, 60])
def test_moving_mean_equals_a_slow_loop(window: int):
    values = np.random.default_rng(2).random(23)
    wanted = [values[max(0, i - window // 2) : i + window // 2 + 1].mean() for i in range(23)]
    np.testing.assert_allclose(moving_mean(values, window), wanted)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 0.42, [0, 0.2, 0.4, 0.6]),
        (4.561, 4.608, [4.56, 4.58, 4.6, 4.62]),
        (1, 65_000, [0, 20_000, 40_000, 60_000, 80_000]),
        (2.69e-7, 1.3e-4, [0, 5e-5, 1e-4, 1.5e-4]),
        (-3, 7, [-5, 0, 5, 10]),
        (2, 2, [2, 2.5, 3, 3.5, 4]),
        (0, 0, [0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_reach_around(low: float, high: float, wanted: list[float]):
    assert ticks(low, high) == pytest.approx(wanted)


def test_paths_lie_where_their_values_are():
    curve = Curve(name="", x=np.array([1.0, 2.0, 5.0]), y=np.array([0.0, 3.0, 4.0]))
    assert path_data(curve, (1, 5, 0, 4)) == "M0 1000L250 250L1000 0"
    assert path_data(curve, (1, 5, 0, 4), dots=True) == "M0 1000h0M250 250h0M1000 0h0"
    chart = line_chart("t", [replace(curve, name="a"), replace(curve, name="b", y=curve.y / 2)], x_name="x")
    assert [(path.kind, path.colour) for path in chart.paths] == [("line", 0), ("dots", 0), ("line", 1), ("dots", 1)]
    assert [(tick.place, tick.label) for tick in chart.y_ticks] == [
        (0, "0"),
        (25, "1"),
        (50, "2"),
        (75, "3"),
        (100, "4"),
    ]
    assert [(entry.name, entry.value) for entry in chart.legend] == [("a", "4"), ("b", "2")]
    alone = line_chart("t", [Curve(name="a", x=np.array([3.0]), y=np.array([0.00015]))], x_name="x")
    assert (alone.paths[-1].kind, alone.legend[0].value) == ("dots", "1.5e-4")
    with pytest.raises(ValueError, match="a chart needs curves with points"):
        line_chart("t", [], x_name="x")


@pytest.mark.parametrize("value", np.linspace(0, 1, 11).tolist())
def test_cells_can_be_read(value: float):
    cell = colour_cell(value, 0, 1, text="x")
    low, high = sorted((luminance(cell.ink), luminance(cell.background)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_heat_lies_where_the_map_is_hot():
    pixels = np.full((64, 32, 3), 100, np.uint8)
    heat = np.zeros((4, 2), np.float32)
    heat[3, 1] = 1
    laid = lay_heat(pixels, heat).astype(int)
    np.testing.assert_allclose(laid[-1, -1], 0.45 * 100 + 0.55 * HEAT[-1], atol=1)
    np.testing.assert_allclose(laid[0, 0], 0.45 * 100 + 0.55 * HEAT[0], atol=1)
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8))
    np.testing.assert_array_equal(as_pixels(normalise(stored)), stored)
    wide = draw(np.zeros((50, 200, 3), np.uint8), 100, alt="wide", label="")
    assert (wide.width, wide.height) == (100, 25)


def test_command(folder: Path, place: str, found: Found, monkeypatch, capsys):
    assert command(monkeypatch, folder, "--json", "--checkpoint", "last") == 0
    result = json.loads(capsys.readouterr().out)
    out = folder / "report.html"
    assert result == {"out": str(out), "bytes": out.stat().st_size, "scores": result["scores"]}
    assert result["scores"][place]["mean_ap"] == pytest.approx(found.scores.mean_ap, abs=0.05)
    assert command(monkeypatch, folder, "--curves-only", "--out", folder.parent / "curves.html") == 0
    page = (folder.parent / "curves.html").read_text(encoding="utf-8")
    assert "How it went" in page and "<img" not in page
    assert command(monkeypatch, folder, "--curves-only", "--data", place) == 2
    assert "--curves-only leaves the sets out" in capsys.readouterr().err


def test_a_run_without_sets_or_history_has_its_configuration(tmp_path: Path, config: TrainConfig, monkeypatch, capsys):
    bare = replace(config, data=DataConfig())
    model = build_model(bare.model, 2, losses=bare.losses, pretrained=False)
    state = State(config=bare, class_names=("a", "b"), num_samples=8)
    save_checkpoint(checkpoint_path(tmp_path / "run", "last"), model, state, {})
    assert command(monkeypatch, tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Configuration" in page and "How it went" not in page and "Scores" not in page


def test_nothing_is_written_where_a_set_cannot_be_searched(tmp_path: Path, folder: Path, monkeypatch, capsys):
    place = build_people(tmp_path / "whole", replace(PEOPLE, num_identities=2, splits=False))
    assert command(monkeypatch, folder, "--data", place, "--out", tmp_path / "r.html") == 2
    assert "has no samples of split query" in capsys.readouterr().err
    assert command(monkeypatch, tmp_path / "none") == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
