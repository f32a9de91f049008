"""The command that scores other people's embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from reid.commands.score import Score
from reid.embeddings import read_retrieval, write_retrieval
from reid.ranking import RankingConfig, rank

ROOT = Path(__file__).parents[2]
ORACLE = ROOT / "tests" / "reid" / "oracles" / "retrieval_b.npz"
KEYS = ["cmc", "mean_ap", "mean_inp", "num_queries", "num_queries_without_match", "seconds"]


def score(capsys: pytest.CaptureFixture, *args: str) -> str:
    assert tyro.cli(Score, args=[*args]).run() == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "reranked_"])
def test_json_is_that_of_the_oracle(capsys: pytest.CaptureFixture, prefix: str):
    found = json.loads(score(capsys, str(ORACLE), "--json", *(["--rerank"] if prefix else [])))
    with np.load(ORACLE) as expected:
        np.testing.assert_allclose(found["cmc"], expected[prefix + "cmc"], atol=1e-6)
        assert found["mean_ap"] == pytest.approx(float(expected[prefix + "mean_ap"]), abs=1e-6)
    assert list(found) == KEYS
    assert (found["num_queries"], found["num_queries_without_match"]) == (100, 1)
    assert 0 < found["mean_inp"] < found["mean_ap"]
    assert found["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        (["--metric", "cosine"], RankingConfig(metric="cosine")),
        (["--protocol", "cuhk03"], RankingConfig(protocol="cuhk03")),
        (["--multi-query"], RankingConfig(multi_query=True)),
    ],
)
def test_options_are_heeded(capsys: pytest.CaptureFixture, arguments: list[str], config: RankingConfig):
    query, gallery = read_retrieval(ORACLE)
    found = json.loads(score(capsys, str(ORACLE), "--json", *arguments))
    del found["seconds"]
    assert found == rank(query, gallery, config).to_dict() != rank(query, gallery).to_dict()


def test_junk_takes_no_part_in_reranking(capsys: pytest.CaptureFixture, tmp_path: Path):
    query, gallery = read_retrieval(ORACLE)
    junk = gallery.take(np.arange(80))
    junk.identities[:] = -1
    names = ("vectors", "identities", "camera_ids", "keys")
    more = {name: np.concatenate((getattr(gallery, name), getattr(junk, name))) for name in names}
    write_retrieval(tmp_path / "a.npz", query, type(gallery)(**more))
    found, expected = (
        json.loads(score(capsys, str(path), "--json", "--rerank")) for path in (tmp_path / "a.npz", ORACLE)
    )
    assert found | {"seconds": 0} == expected | {"seconds": 0}


def test_a_short_gallery_still_has_twenty_ranks(capsys: pytest.CaptureFixture, tmp_path: Path):
    query, gallery = read_retrieval(ORACLE)
    write_retrieval(tmp_path / "a.npz", query, gallery.take(np.arange(7)))
    cmc = json.loads(score(capsys, str(tmp_path / "a.npz"), "--json"))["cmc"]
    assert len(cmc) == 20
    assert set(cmc[6:]) == {1.0}


def test_people_get_a_table(capsys: pytest.CaptureFixture):
    lines = score(capsys, str(ORACLE)).splitlines()
    assert [line.split() for line in lines[:6]] == [
        ["rank-1", "12.12%"],
        ["rank-5", "30.30%"],
        ["rank-10", "42.42%"],
        ["rank-20", "59.60%"],
        ["mAP", "13.24%"],
        ["mINP", "7.03%"],
    ]
    assert lines[6].startswith("99 queries scored, 1 without a match left out, ")


@pytest.mark.parametrize(("device", "message"), [("cuda", "needs a GPU"), ("tpu", "must be cpu, cuda or cuda:NUMBER")])
def test_a_device_that_is_not_there(capsys, monkeypatch: pytest.MonkeyPatch, device: str, message: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        score(capsys, str(ORACLE), "--device", device)
