"""Pairs show one person twice, and skeleton, picture and mirror image go together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from posed_people import standing
from tiny_pairs import Posed, build_posed, tiny_config

from generative.adversarial.config import AdversarialConfig, MirroredDataConfig
from generative.transfer.config import TransferConfig
from generative.transfer.data import open_people, open_poses
from generative.transfer.pairs import PairBatches, draw_pairs, make_triplets
from generative.transfer.skeleton import draw_skeletons
from reid.batch import StoredBatch
from reid.loader import make_loader
from shards.errors import ShardError
from shards.semantics import KEYPOINT_FLIP

CLASSES = np.array([0, 1, 0, 2, 1, 0, 1, 1])


def test_pairs_are_of_one_person_and_two_pictures():
    pairs = draw_pairs(CLASSES, 50, 4, 0.3, np.random.default_rng(0))
    assert (CLASSES[pairs.targets] == CLASSES[pairs.appearances]).all()
    assert ((pairs.targets == pairs.appearances) == (CLASSES[pairs.targets] == 2)).all()
    for target in range(8):
        others = {i for i in range(8) if CLASSES[i] == CLASSES[target] and i != target} or {target}
        assert set(pairs.appearances[pairs.targets == target].tolist()) == others
    assert 0.2 < pairs.flips.mean() < 0.4


def test_every_picture_is_drawn_before_any_comes_again():
    pairs = draw_pairs(CLASSES, 4, 4, 0.5, np.random.default_rng(0))
    for half in pairs.targets[:2], pairs.targets[2:]:
        assert sorted(half.flatten().tolist()) == list(range(8))
    assert sorted(draw_pairs(CLASSES, 1, 3, 0.5, np.random.default_rng(0)).targets.shape) == [1, 3]


def stored(size: int = 32) -> StoredBatch:
    """Two targets and their appearances, four different pictures."""
    keypoints = torch.from_numpy(np.stack([standing(height=size, width=size)] * 4))
    keypoints[1, :, 0] += 3
    keypoints[0, 5, 2] = 0
    return StoredBatch(
        images=torch.randint(0, 256, (4, size, size, 3), dtype=torch.uint8),
        identities=torch.tensor([5, 6, 5, 6]),
        origins=torch.zeros(4, dtype=torch.int64),
        camera_ids=torch.zeros(4, dtype=torch.int64),
        keys=("a", "b", "c", "d"),
        labels={"keypoints": keypoints},
    )


@pytest.mark.parametrize("flip", [(False, False), (True, False), (True, True)])
def test_pictures_and_skeleton_are_mirrored_together(flip: tuple[bool, bool]):
    batch = stored()
    made = make_triplets(batch, torch.tensor(flip), torch.tensor([False, False]))
    for i, is_flipped in enumerate(flip):
        for given, number in ((made.target, i), (made.appearance, i + 2)):
            image = batch.images[number].numpy()[:, :: -1 if is_flipped else 1]
            np.testing.assert_allclose(given[i].permute(1, 2, 0).numpy(), image / 127.5 - 1.0, atol=1e-6)
        points = batch.labels["keypoints"][i].clone()
        if is_flipped:
            points[:, 0] = 32 - points[:, 0]
            points = points[KEYPOINT_FLIP.tolist()]
        expected = draw_skeletons(points[None], (32, 32), 32)[0].float() / 127.5 - 1
        torch.testing.assert_close(made.skeleton[i], expected)
    assert made.identities.tolist() == [5, 6] and made.keys == ("a", "b")


def test_a_picture_beside_itself_is_mirrored():
    batch = stored()
    plain = make_triplets(batch, torch.tensor([False, True]), torch.tensor([False, False]))
    made = make_triplets(batch, torch.tensor([False, True]), torch.tensor([True, True]))
    assert torch.equal(made.target, plain.target) and torch.equal(made.skeleton, plain.skeleton)
    assert torch.equal(made.appearance, plain.appearance.flip(3))


def open_batches(place: str, poses: str | None = None, *, process: int = 0, num_processes: int = 1) -> PairBatches:
    config: TransferConfig = tiny_config(place, poses=() if poses is None else (poses,))
    sets = [open_people(config.data.real, config.data, 32)]
    sets += [open_poses(config.poses, config.data, 32)] if poses else []
    loaders = [make_loader(one, config.data, torch.device("cpu")) for one in sets]
    return PairBatches(config=config, sets=sets, loaders=loaders, process=process, num_processes=num_processes)


def test_the_source_of_poses_comes_besides(tmp_path: Path):
    place = build_posed(tmp_path / "a")
    poses = build_posed(tmp_path / "b", Posed(dataset="walk", num_identities=1, extra=(None, None)))
    batches = list(open_batches(place, poses).since(0))
    assert [(epoch, step) for epoch, step, _ in batches] == [(e, s) for e in range(2) for s in range(3)]
    for _, _, batch in batches:
        assert batch.target.shape == (8, 3, 32, 32) and len(batch.identities) == 4
        assert [key.startswith(place) for key in batch.keys] == [True] * 4 + [False] * 4
    known = [key for _, _, batch in batches[:3] for key in batch.keys[:4]]
    assert len(set(known)) == 12


def test_batches_go_on_from_any_step_in_any_number_of_processes(tmp_path: Path):
    place, poses = build_posed(tmp_path / "a"), build_posed(tmp_path / "b", Posed(dataset="walk"))
    whole = list(open_batches(place, poses).since(0))
    late = list(open_batches(place, poses).since(1, 1))
    halves = [list(open_batches(place, poses, process=i, num_processes=2).since(0)) for i in range(2)]
    assert len(late) == 2
    for (*at, batch), (*place_of, other) in zip(whole[4:], late, strict=True):
        assert at == place_of and batch.keys == other.keys
        assert torch.equal(batch.appearance, other.appearance) and torch.equal(batch.skeleton, other.skeleton)
    for (_, _, batch), (_, _, one), (_, _, two) in zip(whole, *halves, strict=True):
        assert batch.keys == (*one.keys[:2], *two.keys[:2], *one.keys[2:], *two.keys[2:])
        assert torch.equal(batch.target[:2], one.target[:2]) and torch.equal(batch.appearance[6:], two.appearance[2:])
        assert batch.identities.tolist() == one.identities.tolist() + two.identities.tolist()
    assert whole[0][2].keys != whole[3][2].keys


def test_the_first_batch_is_that_of_step_0(tmp_path: Path):
    batches = open_batches(build_posed(tmp_path / "a"))
    first = batches.first()
    _, _, batch = next(batches.since(0))
    assert first.keys == batch.keys and torch.equal(first.target, batch.target)


def test_batches_that_do_not_divide_are_refused(tmp_path: Path):
    batches = open_batches(build_posed(tmp_path / "a"), num_processes=3)
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 4"):
        next(batches.since(0))


def test_who_is_known_is_taught_and_anybody_but_junk_lends_a_pose(tmp_path: Path):
    posed = Posed(num_identities=2, images_per_identity=2, extra=(None, "tiny/-1", "tiny/0", None))
    place, config = build_posed(tmp_path / "a", posed), MirroredDataConfig()
    people = open_people((place,), config, 32)
    assert people.class_names == ("tiny/0000", "tiny/0001") and people.classes.tolist() == [0, 0, 1, 1]
    poses = open_poses((place,), config, 32)
    assert len(poses) == 6 and len(poses.class_names) == 4
    assert np.unique(poses.classes, return_counts=True)[1].tolist() == [1, 1, 2, 2]
    both = open_people((place, build_posed(tmp_path / "b", Posed(num_identities=1))), config, 32)
    assert both.class_names == ("tiny/0000", "tiny/0001") and len(both) == 7  # one name is one person


def test_sets_that_teach_nothing_are_refused(tmp_path: Path):
    config = MirroredDataConfig()
    with pytest.raises(ValueError, match="name at least one set of known people with keypoints under data"):
        open_people((), config, 32)
    place = build_posed(tmp_path / "a", Posed(unposed=tuple(range(12))))
    commands = "has no keypoints .*`python -m generative poses` or `python -m generative annotate`"
    with pytest.raises(ShardError, match=commands):
        open_people((place,), config, 32)
    with pytest.raises(ShardError, match=commands):
        open_poses((place,), config, 32)
    place = build_posed(tmp_path / "b", Posed(num_identities=0, extra=(None, None)))
    with pytest.raises(ValueError, match="no sample has an identity.*name a labelled set, and this one under poses"):
        open_people((place,), config, 32)
    place = build_posed(tmp_path / "c", Posed(split="gallery"))
    with pytest.raises(ValueError, match="no sample to learn from is of the split \"train\", splits are .'gallery'"):
        open_people((place,), config, 32)


def test_a_sample_without_keypoints_is_told(tmp_path: Path):
    place = build_posed(tmp_path / "a", Posed(unposed=(7,)))
    with pytest.raises(ShardError, match="has no keypoints in meta.json.*python -m generative annotate"):
        open_batches(place)


def test_a_picture_that_is_too_small_is_told_or_skipped(tmp_path: Path):
    config, place = MirroredDataConfig(num_workers=0), build_posed(tmp_path / "a", Posed(small=(5,)))
    people = open_people((place,), config, 32)
    with pytest.raises(
        ShardError, match="key 000005, field image: must be at least 32 pixels high and wide, got 64 x 31"
    ):
        people.read(5)
    people.read(4)
    forgiving = open_people((place,), replace(config, max_bad_samples=1), 32)
    assert forgiving.read_good(5)[0] in (3, 4), "another of the same person"


def test_samples_without_a_pose_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config, place = MirroredDataConfig(num_workers=0), build_posed(tmp_path / "a", Posed(unknown=(5, 7)))
    for opened in (open_people((place,), config, 32), open_poses((place,), config, 32)):
        assert [key[-1] for key in opened.keys.tolist()] == list("01234689") + ["0", "1"]
    assert "2 of 12 samples are left out: fewer than 8 keypoints are known" in caplog.text
    nobody = build_posed(tmp_path / "b", Posed(unknown=tuple(range(12))))
    with pytest.raises(ValueError, match="no sample has 8 of the 17 keypoints"):
        open_people((nobody,), config, 32)


def test_numbers_that_mean_nothing_are_refused():
    for changes, words in (
        ({"learning_rate": 0.0}, "optimise.learning_rate must be > 0"),
        ({"betas": (0.5, 1.0)}, "optimise.betas must lie in 0..1"),
        ({"decay_from": 1.5}, "optimise.decay_from must lie in 0..1"),
        ({"ema_decay": -0.1}, "optimise.ema_decay must lie in 0..1"),
        ({"epochs": 0}, "needs optimise.epochs and batch_size >= 1"),
    ):
        with pytest.raises(ValueError, match=words):
            AdversarialConfig(**changes)
    with pytest.raises(ValueError, match="data.flip must lie in 0..1, got 2"):
        MirroredDataConfig(flip=2.0)
    with pytest.raises(ValueError, match="a triplet needs pictures of two people"):
        replace(tiny_config("set"), guider="triplet", optimise=AdversarialConfig(batch_size=1))


def test_the_rate_falls_in_the_second_half_and_the_average_slows_down():
    optimise = AdversarialConfig(epochs=10, learning_rate=2e-4)
    assert [optimise.rate(e) for e in (0, 5, 7.5, 10)] == pytest.approx([2e-4, 2e-4, 1e-4, 0])
    assert replace(optimise, decay_from=1.0).rate(9.9) == 2e-4
    assert [optimise.decay(step) for step in (0, 8, 10**6)] == pytest.approx([0.1, 0.5, 0.999])
