"""Partial-REID and Partial-iLIDS by their protocols, from the folders to the scores."""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_folders import write
from tiny_people import build_people
from tiny_trainer import options

from reid.embeddings import Embeddings
from reid.ranking import RankingConfig, rank
from shards.convert.commands import Pack
from shards.table import Table

NUM_PEOPLE, NUM_WHOLE = 4, 3


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are made in this process."""

    def run_here(function: Any, tasks: Any, **options: Any) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            yield task, function(task, lambda done: None)

    monkeypatch.setattr("shards.build.run_tasks", run_here)


def partial_reid(folder: Path) -> Path:
    """Four people, two pictures of a part and three of the whole of each; as many as five in truth."""
    people = range(1, NUM_PEOPLE + 1)
    names = [f"partial_body_images/{i:03d}_{k:03d}.jpg" for i in people for k in (1, 2)]
    names += [f"whole_body_images/{i:03d}_{k:03d}.jpg" for i in people for k in range(1, NUM_WHOLE + 1)]
    write(folder / "src", *names)
    assert Pack(layout="partial-reid", src=folder / "src", dst=folder / "set").run() == 0
    return folder / "set"


def partial_ilids(folder: Path) -> Path:
    """One picture each, whose names tell of cameras: person 2 comes from one camera twice."""
    write(folder / "src", "Probe/1_c2_1.jpg", "Probe/2_c1_1.jpg", "Probe/3.jpg")
    write(folder / "src", "Gallery/1_c1_1.jpg", "Gallery/2_c1_2.jpg", "Gallery/3_c1_2.jpg")
    assert Pack(layout="partial-ilids", src=folder / "src", dst=folder / "set").run() == 0
    return folder / "set"


def test_no_match_is_left_out_for_its_camera(tmp_path: Path, tiny_cli: Callable[..., str]):
    reid, ilids = partial_reid(tmp_path / "a"), partial_ilids(tmp_path / "b")
    people, run = build_people(tmp_path / "people"), tmp_path / "run"
    tiny_cli(*options(people, run, epochs=1))
    arguments = ("evaluate", run, "--data", reid, ilids, "--json")
    scores = {protocol: json.loads(tiny_cli(*arguments, "--protocol", protocol)) for protocol in ("market", "cuhk03")}
    for found in scores.values():
        assert [found[str(place)]["num_queries"] for place in (reid, ilids)] == [2 * NUM_PEOPLE, 3]
        assert [found[str(place)]["num_queries_without_match"] for place in (reid, ilids)] == [0, 0]
        # Each is found at last among the four people drawn, and among three.
        assert found[str(ilids)]["cmc"][2] == 1.0
    assert scores["cuhk03"][str(reid)]["cmc"][NUM_PEOPLE - 1] == 1.0 > scores["market"][str(reid)]["cmc"][0]
    assert scores["cuhk03"][str(ilids)]["cmc"] == scores["market"][str(ilids)]["cmc"]  # one picture each
    assert scores["cuhk03"][str(reid)]["cmc"] != scores["market"][str(reid)]["cmc"]


def test_single_shot_is_the_mean_over_all_galleries(tmp_path: Path):
    """Of one whole picture of each person: 3^4 galleries, whose mean CMC many drawings come near to."""
    table = Table(partial_reid(tmp_path))
    vectors = np.random.default_rng(0).normal(size=(len(table), 2)).astype(np.float32)
    codes = np.unique(table.identities, return_inverse=True)[1]
    sets = {}
    for split in ("query", "gallery"):
        rows = table.splits == split
        sets[split] = Embeddings(
            vectors=vectors[rows], identities=codes[rows], camera_ids=table.camera_ids[rows], keys=table.keys[rows]
        )
    query, gallery = sets["query"], sets["gallery"]
    ranks = []
    for drawn in product(*(np.flatnonzero(gallery.identities == person) for person in range(NUM_PEOPLE))):
        distance = np.linalg.norm(query.vectors[:, None] - gallery.vectors[list(drawn)], axis=2)
        ranks.append((distance < distance[np.arange(len(query)), query.identities, None]).sum(1))
    wanted = [np.mean(np.array(ranks) <= k) for k in range(NUM_PEOPLE)]
    found = rank(query, gallery, RankingConfig(protocol="cuhk03", repeats=5000)).cmc
    np.testing.assert_allclose(found[:NUM_PEOPLE], wanted, atol=0.02)
    assert 0.05 < wanted[0] < 0.9
