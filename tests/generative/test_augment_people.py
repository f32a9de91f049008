"""Generated sets: each picture is what the generator draws of its person in its pose, and the bytes are the same again."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from posed_people import PosedPeople, build_posed, in_process
from tiny_pairs import SMALL, save_guider, save_transfer

from generative.cli import cli
from generative.device import own_device
from generative.transfer.augment import GenerateConfig, augment
from generative.transfer.data import rows_to_take_poses_from
from generative.transfer.generate import generated_key
from generative.transfer.guider import Guider, load_guider
from generative.transfer.pose_bank import PoseBank
from generative.transfer.run import load_transfer
from generative.transfer.skeleton import draw_skeletons
from reid.checkpoint import checkpoint_path, load_run, save_checkpoint
from reid.fit import resize
from reid.models.backbone import BackboneConfig
from reid.models.global_pool import GlobalPoolConfig
from shards import ShardError
from shards.codec import decode_member, encode_jpeg
from shards.table import Table
from shards.verify import verify_set

PEOPLE = PosedPeople(
    identities=("tiny/0000", "tiny/0001", "tiny/-1", "tiny/0", None, "tiny/0005"),
    sizes=((64, 32), (48, 40)),
    num_shards=3,
)
"""Six samples of known people, in the first and the last of three shards, and six of nobody known."""
POSES = PosedPeople(
    identities=(None,) * 5, split=None, name="poses", sizes=((80, 40),), unposed=(3, 4), licences=("CC-BY-4.0",), seed=1
)
"""Eight samples with a pose, two without."""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_transfer(tmp_path_factory.mktemp("run") / "transfer")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table(build_posed(tmp_path_factory.mktemp("sets") / "data", PEOPLE))


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return Table(build_posed(tmp_path_factory.mktemp("sets") / "poses", POSES))


def save_filter(folder: Path, people: tuple[str, ...]) -> Path:
    """A run that tells people apart, at random, but by what it sees."""
    model = GlobalPoolConfig(backbone=BackboneConfig(name="resnet18"), embedding_dim=None)
    save_guider(folder, people, model)
    run = load_run(folder)
    torch.nn.init.normal_(run.model.classifier.weight, std=0.1)
    torch.nn.init.zeros_(run.model.classifier.bias)
    save_checkpoint(checkpoint_path(folder, "last"), run.model, run.state, {})
    return folder


def known(table: Table) -> list[int]:
    return [i for i, name in enumerate(table.identities) if name and not name.endswith(("/-1", "/0"))]


def row_of(table: Table, key: str) -> int:
    return table.keys.tolist().index(key)


def drawn_alone(run: Path, data: Table, poses: Table, sample: dict) -> np.ndarray:
    """(S, S, 3) float 0..255: one picture, drawn for itself, before it is resized."""
    generator, size = load_transfer(run).generator, SMALL.size
    meta = sample["meta"]
    source = data.read(row_of(data, meta.generated["source_key"]), ("image",))["image"]
    pose = poses[row_of(poses, meta.generated["pose_key"])]
    height, width = pose.image.shape[:2]
    skeleton = draw_skeletons(torch.tensor([pose.meta.keypoints]), (height, width), size)
    appearance = torch.from_numpy(resize(source, (size, size))).permute(2, 0, 1)[None]
    with torch.no_grad():
        picture = generator(appearance / 127.5 - 1, skeleton / 127.5 - 1)[0]
    return ((picture.permute(1, 2, 0) + 1) * 127.5).numpy()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "index.npz"}


def test_every_picture_is_what_the_generator_draws(
    tmp_path: Path, run_folder: Path, data: Table, poses: Table, monkeypatch: pytest.MonkeyPatch
):
    in_process(monkeypatch)
    done = augment(run_folder, data, poses, tmp_path / "out", GenerateConfig(per_image=2, batch_size=5, precision="no"))
    assert (done.num_images, done.num_skipped, done.num_dropped) == (6, 6, 0)
    assert [entry.num_samples for entry in done.manifest.shards] == [6, 6], (
        "as many shards as show somebody known, of equal size"
    )
    assert done.manifest.licences == ("CC0-1.0", "CC-BY-4.0")
    out, errors, others = Table(tmp_path / "out"), [], []
    assert out.keys.tolist() == [f"{data.keys[i]}_p{n}" for i in known(data) for n in range(2)]
    assert set(out.origins) == {"generated"}
    samples = [out.read(i, ("image", "meta")) for i in range(len(out))]
    drawn = [drawn_alone(run_folder, data, poses, sample) for sample in samples]
    for number, sample in enumerate(samples):
        image, meta = sample["image"], sample["meta"]
        source = data[row_of(data, meta.generated["source_key"])]
        pose = poses[row_of(poses, meta.generated["pose_key"])]
        assert sample["key"].startswith(source.key) and image.shape == source.image.shape
        for name in ("dataset", "identity", "camera_id", "split"):
            assert getattr(meta, name) == getattr(source.meta, name)
        assert meta.generated["model_hash"] == load_transfer(run_folder).hash
        assert meta.sequence is None and meta.frame is None and meta.annotators is None
        scale = np.array([source.image.shape[1] / 40, source.image.shape[0] / 80, 1])
        assert np.allclose(meta.keypoints, np.array(pose.meta.keypoints) * scale)
        for theirs, list_ in ((drawn[number], errors), (drawn[number - 1], others)):
            wanted = resize(theirs.round().astype(np.uint8), image.shape[:2])
            stored = decode_member("image.jpg", encode_jpeg(wanted, quality=95, chroma="420"))
            list_.append(np.abs(stored.astype(float) - image).mean())
    assert max(errors) < 0.5 < 2 < min(others), (errors, others)
    for first, second in zip(samples[::2], samples[1::2], strict=True):
        assert first["meta"].generated["pose_key"] != second["meta"].generated["pose_key"]


def test_bytes_do_not_depend_on_workers_or_on_interruptions(
    tmp_path: Path, run_folder: Path, data: Table, poses: Table, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        in_process(patch)
        augment(run_folder, data, poses, tmp_path / "one", GenerateConfig())
    augment(run_folder, data, poses, tmp_path / "two", GenerateConfig(), num_workers=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    in_process(monkeypatch)
    kept = (tmp_path / "two" / "tiny_generated-000000.tar").stat().st_mtime_ns
    (tmp_path / "two" / "tiny_generated-000001.tar").unlink()
    augment(run_folder, data, poses, tmp_path / "two", GenerateConfig())
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert (tmp_path / "two" / "tiny_generated-000000.tar").stat().st_mtime_ns == kept
    for change in ({"seed": 1}, {"per_image": 1}, {"min_joints": 9}, {"height": 64, "width": 32}, {"batch_size": 8}):
        with pytest.raises(ShardError, match="another config"):
            augment(run_folder, data, poses, tmp_path / "one", GenerateConfig(**change))
    other = save_transfer(tmp_path / "other", seed=1)
    with pytest.raises(ShardError, match="another config:\n  config.model"):
        augment(other, data, poses, tmp_path / "one", GenerateConfig())
    for pair in ((data, data), (poses_of_known(tmp_path), poses)):
        with pytest.raises(ShardError, match="another config:\n  config.(data|poses)"):
            augment(run_folder, *pair, tmp_path / "one", GenerateConfig())


def poses_of_known(folder: Path) -> Table:
    return Table(build_posed(folder / "known", replace(PEOPLE, seed=3)))


def test_poses_depend_on_the_seed_and_the_source_alone(poses: Table):
    def drawn(seed: int, key: str, num: int, *, min_joints: int = 8, own: bool = False) -> list[str]:
        bank = PoseBank(table=poses, rows=np.arange(len(poses)), seed=seed, min_joints=min_joints)
        return [pose.key for pose in bank.draw(key, num, own=own)]

    assert drawn(0, "a", 5) == drawn(0, "a", 5)
    assert drawn(0, "a", 5)[:2] == drawn(0, "a", 2), "more poses come after those that fewer are"
    assert len({tuple(drawn(seed, key, 4)) for seed in range(3) for key in "abc"}) == 9
    posed = set(poses.keys[[0, 1, 2, 5, 6, 7, 8, 9]].tolist())
    assert sorted(drawn(0, "a", 8)) == sorted(posed), "no pose comes twice, and none without joints"
    assert sorted(drawn(0, "a", 8, min_joints=17)) == sorted(posed)
    counts = Counter(key for i in range(200) for key in drawn(0, str(i), 2))
    assert set(counts) == posed and max(counts.values()) < 2 * min(counts.values())
    mine = str(poses.keys[0])
    assert mine in drawn(0, mine, 8) and mine not in drawn(0, mine, 7, own=True)
    with pytest.raises(
        ValueError, match=f"sample {mine} needs 8 poses with 8 known joints or more, and 7 of 10 samples"
    ):
        drawn(0, mine, 8, own=True)


def test_nobody_is_drawn_in_the_pose_that_they_have(
    tmp_path: Path, run_folder: Path, data: Table, poses: Table, monkeypatch: pytest.MonkeyPatch
):
    in_process(monkeypatch)
    for source, num, has_own in ((data, 7, False), (poses, 8, True)):  # samples of two sets may have the same keys
        out = tmp_path / str(num)
        augment(run_folder, data, source, out, GenerateConfig(per_image=num))
        table = Table(out)
        told = [table.read(i, ("meta",))["meta"].generated for i in range(len(table))]
        assert any(one["source_key"] == one["pose_key"] for one in told) == has_own
        taken = np.isin(source.keys, [one["pose_key"] for one in told])
        assert not np.isin(source.identities[taken], ("tiny/-1", "tiny/0")).any(), "junk and distractors have no pose"


def test_poses_are_those_of_the_training_set():
    table = SimpleNamespace(
        identities=np.array(["a/1", "a/-1", "", "a/0", "a/2"]),
        splits=np.array(["train", "train", "train", "gallery", "query"]),
    )
    assert rows_to_take_poses_from(table, "here").tolist() == [0, 2]
    table.splits[:] = ""
    assert rows_to_take_poses_from(table, "here").tolist() == [0, 2, 4]


def test_a_set_without_keypoints_is_no_source_of_poses(
    tmp_path: Path, run_folder: Path, data: Table, monkeypatch: pytest.MonkeyPatch
):
    in_process(monkeypatch)
    bare = Table(build_posed(tmp_path / "bare", replace(POSES, has_keypoints=False)))
    with pytest.raises(
        ShardError, match="0 of 10 samples of .*bare have them.*add keypoints with `python -m generative poses`"
    ):
        augment(run_folder, data, bare, tmp_path / "out", GenerateConfig())


def test_who_cannot_be_generated_is_said(
    tmp_path: Path, run_folder: Path, poses: Table, monkeypatch: pytest.MonkeyPatch
):
    in_process(monkeypatch)
    small = Table(build_posed(tmp_path / "small", replace(PEOPLE, sizes=((64, 32), (31, 40)))))
    with pytest.raises(
        ShardError, match=f"key {small.keys[1]}, field image: must be at least 32 pixels high and wide, got 31 x 40"
    ):
        augment(run_folder, small, poses, tmp_path / "out", GenerateConfig())
    with pytest.raises(ValueError, match="no sample has an identity; name a labelled set"):
        augment(run_folder, poses, poses, tmp_path / "out", GenerateConfig())
    query = Table(build_posed(tmp_path / "query", replace(PEOPLE, split="query")))
    with pytest.raises(ValueError, match='no sample to learn from is of the split "train", splits are'):
        augment(run_folder, query, poses, tmp_path / "out", GenerateConfig())
    whole = Table(build_posed(tmp_path / "whole", replace(PEOPLE, split=None)))
    assert augment(run_folder, whole, poses, tmp_path / "whole-out", GenerateConfig()).num_images == 6
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        augment(tmp_path, whole, poses, tmp_path / "out", GenerateConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_image": 0}, "per_image"),
        ({"min_joints": 18}, "min_joints must lie in 1..17"),
        ({"height": 64}, "height and width are given together"),
        ({"height": 64, "width": 31}, "32 pixels at least"),
        ({"quality": 80}, "quality must lie in 90..100"),
        ({"min_confidence": 1.5}, "min_confidence must lie in 0..1"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        GenerateConfig(**settings)


def test_the_filter_keeps_whom_it_recognises(
    tmp_path: Path, run_folder: Path, data: Table, poses: Table, monkeypatch: pytest.MonkeyPatch
):
    in_process(monkeypatch)
    people = ("else/1", "tiny/0005", "tiny/0001", "tiny/0000")
    guider = save_filter(tmp_path / "guider", people)
    done = augment(
        run_folder, data, poses, tmp_path / "all", GenerateConfig(precision="no", min_confidence=0.0), filter_run=guider
    )
    assert done.num_dropped == 0
    every, chances = Table(tmp_path / "all"), {}
    network = load_guider(guider, people)
    for i in range(len(every)):
        sample = every.read(i, ("image", "meta"))
        picture = torch.from_numpy(drawn_alone(run_folder, data, poses, sample)).float().permute(2, 0, 1)[None]
        with torch.no_grad():
            (logits,) = network.logits(picture / 127.5 - 1)
        chances[sample["key"]] = logits.softmax(1)[0, people.index(sample["meta"].identity)].item()
    ranked = sorted(chances.values())
    last = [chances[key] for key in every.keys.tolist()[6:]]
    place = ranked.index(min(max(last), max(chances[key] for key in every.keys.tolist()[:6])))  # each shard keeps one
    least = (ranked[place - 1] + ranked[place]) / 2
    assert place > 1 and ranked[place] - ranked[place - 1] > 1e-4
    config = GenerateConfig(min_confidence=least, precision="no")
    done = augment(run_folder, data, poses, tmp_path / "some", config, filter_run=guider)
    some = Table(tmp_path / "some")
    assert done.num_dropped == place
    assert some.keys.tolist() == [key for key in every.keys.tolist() if chances[key] >= least]
    for key in some.keys.tolist():
        assert some.read_members(row_of(some, key)) == every.read_members(row_of(every, key))
    assert verify_set(tmp_path / "some").faults == ()
    with pytest.raises(
        ShardError, match="no generated picture of .* has a confidence of 1 or more, and .*: lower --min-confidence"
    ):
        augment(run_folder, data, poses, tmp_path / "none", GenerateConfig(min_confidence=1), filter_run=guider)
    with pytest.raises(ValueError, match="give --filter-run and --min-confidence both, or none"):
        augment(run_folder, data, poses, tmp_path / "none", config)
    with (
        monkeypatch.context() as patch,
        pytest.raises(ShardError, match="out of memory with .* pictures at once: give a"),
    ):
        patch.setattr(Guider, "logits", lambda *_: torch.empty(2**50, dtype=torch.uint8))
        augment(run_folder, data, poses, tmp_path / "little", config, filter_run=guider)
    stranger = Path(save_guider(tmp_path / "stranger", people[1:3]))
    with pytest.raises(
        ValueError, match="1 of the 3 in the data are not among them .*: give --filter-run a run that was"
    ):
        augment(run_folder, data, poses, tmp_path / "none", config, filter_run=stranger)


def test_a_checkpoint_that_changes_meanwhile_is_noticed(
    tmp_path: Path, run_folder: Path, data: Table, poses: Table, monkeypatch: pytest.MonkeyPatch
):
    in_process(monkeypatch)

    def fetch(run: Path):
        return replace(load_transfer(run), hash="0" * 64)

    monkeypatch.setattr("generative.transfer.augment.load_transfer", fetch)
    with pytest.raises(ShardError, match="the checkpoint in .*transfer has changed while it was in use"):
        augment(run_folder, data, poses, tmp_path / "out", GenerateConfig())


def test_the_command_writes_a_set(
    tmp_path: Path,
    run_folder: Path,
    data: Table,
    poses: Table,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    in_process(monkeypatch)
    common = ["generative", "augment", str(run_folder), "--data", str(data.folder), "--poses", str(poses.folder)]
    options = ["--out", str(tmp_path / "out"), "--per-image", "1", "--height", "40", "--width", "36", "--json"]
    monkeypatch.setattr(sys, "argv", [*common, *options])
    assert cli() == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "out": str(tmp_path / "out"), "num_samples": 6, "num_images": 6, "num_skipped": 6, "num_dropped": 0
    }  # fmt: skip
    sample = Table(tmp_path / "out")[0]
    assert sample.image.shape == (40, 36, 3)
    pose = poses[row_of(poses, sample.meta.generated["pose_key"])]
    assert np.allclose(sample.meta.keypoints, np.array(pose.meta.keypoints) * [36 / 40, 40 / 80, 1])


def test_pseudo_poses_say_so(tmp_path: Path, run_folder: Path, data: Table, monkeypatch: pytest.MonkeyPatch):
    in_process(monkeypatch)
    who = {"keypoints": {"name": "openpifpaf", "hash": "1"}}
    poses = Table(build_posed(tmp_path / "poses", replace(POSES, annotators=who)))
    augment(run_folder, data, poses, tmp_path / "out", GenerateConfig(per_image=1))
    assert Table(tmp_path / "out")[0].meta.annotators == who


def test_keys_are_readable_unique_and_short():
    assert generated_key("00000007_0002_c1s1", 1) == "00000007_0002_c1s1_p1"
    assert generated_key("k" * 77, 3) == "k" * 77 + "_p3"
    long = [f"{'k' * 76}{i:04d}" for i in range(50)]
    keys = {generated_key(key, number) for key in long for number in (0, 9, 10)}
    assert len(keys) == 150 and {len(key) for key in keys} == {80}
    assert all(key.startswith("k" * 60) for key in keys)


def test_each_worker_has_a_gpu(monkeypatch: pytest.MonkeyPatch):
    assert own_device() == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    found = []
    for number in (0, 1, 2, 11):
        monkeypatch.setattr("shards.workers._number", number)
        found.append(own_device().index)
    assert found == [0, 1, 0, 1]
