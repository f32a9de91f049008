"""Runs of pose transfer scored on rendered people: every score is that of a loop over the pairs."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from posed_people import PosedPeople, build_posed
from tiny_pairs import save_guider, save_transfer

from generative.transfer.artist import Artist
from generative.transfer.evaluate import ANSWERS, Judges, evaluate_transfer
from generative.transfer.guider import load_guider
from generative.transfer.run import load_transfer
from generative.transfer.scored_pairs import ScoreConfig, choose_pairs, known_rows, num_targets
from generative.transfer.scores import frechet_distance, mask_ssim, ssim
from reid.checkpoint import checkpoint_path
from reid.dataset import DataConfig
from reid.distances import Metric
from reid.fit import resize
from shards.build import file_sha256
from shards.errors import ShardError
from shards.manifest import MANIFEST
from shards.schema import Sample
from shards.table import Table

SIZE = (64, 32)


@dataclass(frozen=True, kw_only=True)
class RenderedPeople(PosedPeople):
    """People of whom it is known where they stand, but of the last whose mask nobody kept."""

    empty: tuple[int, ...] = ()
    """Samples whose mask shows nobody."""

    def sample(self, index: int) -> Sample:
        sample = PosedPeople.sample(self, index)
        if index == self.num_samples - 1:
            return sample
        height, width = sample.image.shape[:2]
        iuv = np.zeros((height, width, 3), np.uint8)
        if index not in self.empty:
            iuv[height // 8 : -height // 8, width // 4 : width // 2, 0] = 2
            iuv[height // 8 : -height // 8, width // 2 : -width // 4, 1] = 255  # carried
        return replace(sample, iuv=iuv)


PEOPLE = RenderedPeople(
    identities=("tiny/0000", "tiny/0001", "tiny/-1", "tiny/0", None, "tiny/0005"),
    images_each=3,
    sizes=(SIZE, (80, 48)),
    unposed=(4,),
)
"""Nine pictures of three known people; one of them in a pose that nobody knows."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table(build_posed(tmp_path_factory.mktemp("sets") / "data", PEOPLE))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    guider = Path(save_guider(folder / "guider", ("a", "b")))
    judge = Path(save_guider(folder / "judge", ("a", "b", "c")))
    provenance = f"guider {file_sha256(checkpoint_path(guider, 'last'))}, sets 0"
    run = save_transfer(folder / "run", guider="triplet", guider_run="moved", provenance=provenance)
    return {"guider": guider, "judge": judge, "run": run}


def open_artist(run: Path) -> Artist:
    return Artist(run, load_transfer(run).hash, None, "no", torch.device("cpu"))


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    """(1, 3, H, W) in 0..1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def nearest(vector: np.ndarray, others: np.ndarray, without: int, metric: Metric) -> int:
    """One of them left out."""
    best, place = -np.inf, -1
    for i, other in enumerate(others):
        angle = vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
        nearness = angle if metric == "cosine" else -np.linalg.norm(vector - other)
        if i != without and nearness > best:
            best, place = nearness, i
    return place


@pytest.mark.parametrize("metric", get_args(Metric))
def test_scores_are_those_of_a_loop_over_the_pairs(metric: Metric, table: Table, runs: dict[str, Path], tmp_path: Path):
    judge = Path(save_guider(tmp_path / "judge", ("a", "b", "c"), metric=metric))
    artist, guider = open_artist(runs["run"]), load_guider(judge)
    config = ScoreConfig(batch_size=3)
    told: list[int] = []
    judges = Judges(
        reid=guider, lpips=lambda a, b: (a - b).square().mean((1, 2, 3)), inception=lambda a: a.mean((2, 3))
    )
    found = evaluate_transfer(artist, table, judges, config, num_shown=3, progress=told.append)
    rows = known_rows(table)
    classes = np.unique(table.identities[rows], return_inverse=True)[1]
    targets, sources = choose_pairs(classes, rows != 4, config, "here")
    assert targets.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert (found.num_pairs, found.num_people, found.num_skipped, found.size) == (8, 3, 1, SIZE)
    assert told == [3, 6, 9, 12, 15, 17]

    samples = [table[i] for i in rows.tolist()]
    real = [resize(one.image, SIZE) for one in samples]
    drawn = []
    for target, source in zip(targets, sources, strict=True):
        height, width = samples[target].image.shape[:2]
        points = torch.tensor(samples[target].meta.keypoints) * torch.tensor([32 / width, 32 / height, 1])
        given = torch.from_numpy(resize(samples[source].image, (32, 32)).copy())[None]
        picture = artist.draw(given, artist.skeletons(points[None]))[0].permute(1, 2, 0)
        drawn.append(resize(((picture + 1) * 127.5).round().byte().numpy(), SIZE))
    mean = np.mean([one.astype(float) for one in real], 0) / 255
    answers = {
        "generated": [as_tensor(one) for one in drawn],
        "copy": [as_tensor(real[i]) for i in sources],
        "mean": [torch.from_numpy(mean).permute(2, 0, 1)[None].float()] * len(targets),
    }
    with torch.no_grad():
        colours = np.concatenate([as_tensor(one).mean((2, 3)).numpy() for one in real])
        gallery = np.concatenate([guider.features(as_tensor(one) * 2 - 1).numpy() for one in real])
        for answer in ANSWERS:
            scores, pictures = found.scores[answer], answers[answer]
            truths = [as_tensor(real[i]) for i in targets]
            pairs = list(zip(pictures, truths, strict=True))
            vectors = np.concatenate([guider.features(one * 2 - 1).numpy() for one in pictures])
            hits = [
                classes[nearest(one, gallery, source, metric)] == classes[target]
                for one, source, target in zip(vectors, sources, targets, strict=True)
            ]
            mask = torch.zeros(1, *SIZE, dtype=torch.bool)
            mask[:, 8:56, 8:24] = True
            assert scores["l1"] == pytest.approx(np.mean([(a - b).abs().mean() for a, b in pairs]), abs=2e-3)
            assert scores["ssim"] == pytest.approx(np.mean([ssim(a, b) for a, b in pairs]), abs=0.02)
            inside = [mask_ssim(a, b, mask).item() for a, b in pairs[:-1]]  # nobody knows the last one's
            assert scores["mask_ssim"] == pytest.approx(np.mean(inside), abs=0.02)
            distance = frechet_distance(vectors, gallery[targets])
            assert scores["reid_frechet_distance"] == pytest.approx(distance, rel=0.02)
            assert scores["identity_kept"] == pytest.approx(np.mean(hits), abs=1e-9)
            assert scores["lpips"] == pytest.approx(np.mean([(a - b).square().mean() for a, b in pairs]), abs=2e-3)
            mine = np.concatenate([one.mean((2, 3)).numpy() for one in pictures])
            assert scores["inception_fid"] == pytest.approx(frechet_distance(mine, colours[targets]), abs=2e-4)
    assert len({found.scores[answer]["l1"] for answer in ANSWERS}) == 3
    assert [one.target_key for one in found.shown] == [samples[i].key for i in (0, 3, 8)]
    assert np.abs(found.shown[1].generated.astype(int) - drawn[3]).max() <= 2
    assert np.array_equal(found.shown[1].truth, real[3]) and np.array_equal(found.shown[1].source, real[sources[3]])


def test_a_perfect_generator_scores_perfectly(table: Table, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    artist, judges = open_artist(runs["run"]), Judges(reid=load_guider(runs["judge"]))
    truths = [resize(table[i].image, SIZE) for i in (0, 1, 2, 3, 5, 15, 16, 17)]
    answers = iter([torch.cat([as_tensor(one) for one in truths[i : i + 3]]) * 2 - 1 for i in (0, 3, 6)])
    monkeypatch.setattr(artist, "draw", lambda appearance, skeletons: next(answers))
    scores = evaluate_transfer(artist, table, judges, ScoreConfig(batch_size=3)).scores["generated"]
    assert scores["l1"] == pytest.approx(0, abs=1e-6)
    assert scores["ssim"] == pytest.approx(1, abs=1e-5) == scores["mask_ssim"]
    assert scores["reid_frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert scores["identity_kept"] == 1, "a true picture is in the gallery itself"


def test_pairs_are_of_one_person_and_the_same_again():
    classes = np.array([0, 1, 0, 2, 1, 1, 0])
    is_posed = np.array([True, True, True, True, False, True, True])
    targets, sources = choose_pairs(classes, is_posed, ScoreConfig(), "here")
    assert targets.tolist() == [0, 1, 2, 5, 6], "one has no pose, one is alone"
    assert num_targets(classes, is_posed) == 5
    assert (classes[targets] == classes[sources]).all() and (targets != sources).all()
    again = choose_pairs(classes, is_posed, ScoreConfig(), "here")
    assert np.array_equal(again, (targets, sources))
    many = [choose_pairs(classes, is_posed, ScoreConfig(seed=seed, num_pairs=2), "here") for seed in range(20)]
    assert {len(one) for one, _ in many} == {2} and len({tuple(one) for one, _ in many}) > 3
    assert set(np.concatenate([two for _, two in many])) > {4}, "whoever has no known pose can be drawn in another"
    with pytest.raises(ValueError, match="here gives 1 pairs, and scores need 2.* 8 known joints"):
        choose_pairs(classes, classes * np.arange(7) == 1, ScoreConfig(), "here")


def test_people_of_query_and_gallery_are_those_held_out(tmp_path: Path, table: Table):
    assert known_rows(table).tolist() == [0, 1, 2, 3, 4, 5, 15, 16, 17]
    assert (table.splits == "train").all()
    held_out = Table(build_posed(tmp_path / "set", replace(PEOPLE, split="gallery")))
    held_out.splits = np.where(np.arange(18) < 4, "train", held_out.splits)
    assert known_rows(held_out).tolist() == [4, 5, 15, 16, 17]
    nobody = Table(build_posed(tmp_path / "nobody", PosedPeople(identities=(None, "tiny/-1"))))
    with pytest.raises(ValueError, match="no sample has an identity"):
        known_rows(nobody)


def test_the_command(table: Table, runs: dict[str, Path], tmp_path: Path, generative_cli):
    common = ("score", runs["run"], "--data", table.folder, "--reid", runs["judge"], "--precision", "no")
    report = json.loads(generative_cli(*common, "--json"))
    assert (report["num_pairs"], report["num_people"], report["num_skipped"]) == (8, 3, 1)
    assert report["size"] == [64, 32] and report["checkpoint_sha256"] == load_transfer(runs["run"]).hash
    assert report["scores"].keys() == set(ANSWERS) and report["scores"]["copy"]["inception_fid"] is None
    sheet = tmp_path / "sheet.png"
    told = generative_cli(*common, "--num-pairs", 4, "--sheet", sheet)
    assert "4 pairs of" in told and "compared at 64 x 32; 1 pictures are no targets" in told
    assert "reid frechet distance ↓" in told and "lpips" not in told and f"pictures in {sheet}" in told
    with Image.open(sheet) as picture:
        assert picture.height > 4 * 256 and picture.width > 4 * 128


def test_what_cannot_be_scored_is_told(table: Table, runs: dict[str, Path], tmp_path: Path, generative_cli):
    def score(people: PosedPeople | None = None, *options: object, **changes: object) -> None:
        given = {"run": runs["run"], "reid": runs["judge"]} | changes
        number = len(list(tmp_path.iterdir()))
        data = table.folder if people is None else build_posed(tmp_path / str(number), people)
        generative_cli("score", given["run"], "--data", data, "--reid", given["reid"], *options)

    with pytest.raises(ShardError, match="key 0+_0000.*has no keypoints .*`python -m generative poses`"):
        score(replace(PEOPLE, has_keypoints=False))
    with pytest.raises(ShardError, match="key 0+1_.*at least 32 pixels high and wide, got 31 x 40"):
        score(replace(PEOPLE, sizes=(SIZE, (31, 40))))
    with pytest.raises(ShardError, match=r"^shard tiny-\d+\.tar.*key 0+3_.*field iuv: shows nobody"):
        score(replace(PEOPLE, empty=(3,)))
    with pytest.raises(ValueError, match="gives 0 pairs"):
        score(replace(PEOPLE, unposed=tuple(range(18))))
    with pytest.raises(ValueError, match="guider is the guider of .*run: .*give --reid another run"):
        score(reid=runs["guider"])
    drawn = build_posed(tmp_path / "drawn", PEOPLE)
    manifest = json.loads((drawn / MANIFEST).read_text())
    manifest["config"] = {"model": load_transfer(runs["run"]).hash}
    (drawn / MANIFEST).write_text(json.dumps(manifest))
    save_guider(tmp_path / "taught", ("a", "b"), data=DataConfig(real=("a",), generated=("moved", str(drawn))))
    with pytest.raises(ValueError, match=r"taught learned from .*drawn, which .*run drew, .*give --reid a run"):
        score(reid=tmp_path / "taught")
    with pytest.raises(ValueError, match="a sheet is a .png file, got sheet.jpg"):
        score(None, "--sheet", "sheet.jpg")
    with pytest.raises(FileNotFoundError, match="no checkpoint .*train pose-transfer"):
        score(run=tmp_path)
    with pytest.raises(FileNotFoundError, match="no file of weights .*alex.pth"):
        score(None, "--lpips", "alex.pth", "lin.pth")
    with pytest.raises(ValueError, match="run/last.safetensors holds a configuration"):
        score(reid=runs["run"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_pairs": 1}, "num_pairs >= 2, got 1"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"seed": -1}, "seed >= 0"),
        ({"min_joints": 0}, "min_joints must lie in 1..17"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ScoreConfig(**settings)
