"""The loop: going on exactly where it stopped, and what it does about bad input and bad luck."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tiny_people import People, build_people, damage
from tiny_trainer import HEIGHT, WIDTH, TinyModel, build_tiny, options, tiny_config
from torch import Tensor

from reid.augment import AugmentConfig
from reid.batches import Batches
from reid.checkpoint import load_run, read_checkpoint
from reid.config import EvaluateConfig, TrainConfig
from reid.dataset import DataConfig, open_train_set
from reid.journal import Journal, read_metrics
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.optimise import OptimiseConfig
from reid.pairs import interleave
from reid.sampler import SamplerConfig
from reid.train import train
from shards import ShardError
from shards.manifest import MANIFEST

TINY_TRAINER = Path(__file__).with_name("tiny_trainer.py")
NUM_STEPS = 3
"""Of an epoch of `tiny_config` without pairs."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("people") / "a", People())


@pytest.fixture(scope="module")
def pairs_place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_people(tmp_path_factory.mktemp("pairs") / "a", People(origin="rendered", num_identities=4, seed=1))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tiny network wherever a test does not ask for another, and no state left by other tests' accelerators."""
    use(monkeypatch, build_tiny)
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def use(monkeypatch: pytest.MonkeyPatch, build: Callable[..., torch.nn.Module]) -> None:
    monkeypatch.setattr("reid.start.build_model", build)
    monkeypatch.setattr("reid.checkpoint.build_model", build)


def stop_after(monkeypatch: pytest.MonkeyPatch, total_steps: int) -> None:
    """Ctrl-C in that step."""
    add = Journal.add

    def add_and_interrupt(self, epoch, step, taken, *others):
        add(self, epoch, step, taken, *others)
        if taken == total_steps:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Journal, "add", add_and_interrupt)


def assert_resumes_exactly(config: TrainConfig, folder: Path, stops: tuple[int, ...], pairs: Callable | None = None):
    """Losses, rates and scores of every step, and the tensors at the end, are those of a run that never stopped."""
    whole = train(config, folder / "whole", pairs=pairs)
    for total_steps in stops:
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, total_steps)
            with pytest.raises(KeyboardInterrupt, match="--resume goes on from there"):
                train(config, folder / "parts", resume=total_steps > stops[0], pairs=pairs)
        stopped, _, _ = read_checkpoint(folder / "parts" / "last.safetensors")
        assert stopped.total_steps == total_steps
    parts = train(config, folder / "parts", resume=True, pairs=pairs)
    assert parts == whole
    assert read_metrics(folder / "parts") == read_metrics(folder / "whole")
    for path in (folder / "whole").glob("*.safetensors"):
        one, two = load_file(folder / "parts" / path.name), load_file(path)
        assert one.keys() == two.keys() and len(one) > 0
        assert [name for name in one if not torch.equal(one[name], two[name])] == []


def mixed(place: str, pairs_place: str, memory_gib: float) -> TrainConfig:
    data = DataConfig(real=(place,), pairs=(pairs_place,), pairs_ratio=(1, 2), num_workers=1, memory_gib=memory_gib)
    return tiny_config(place, data=data)


def test_resuming_is_exact(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the middle of an epoch, at the end of one, and twice; with dropout, Adam and colour."""
    use(monkeypatch, lambda config, num, *, losses, pretrained: TinyModel(num, losses, dropout=0.5))
    augment = AugmentConfig(pad=2, brightness=0.2, hue=0.1)
    assert_resumes_exactly(tiny_config(place, augment=augment), tmp_path, (2, 3, 7))
    steps, scores = read_metrics(tmp_path / "parts")
    assert [line["total_steps"] for line in steps] == [*range(1, 10)]
    assert [(line["epoch"], line["step"]) for line in steps] == [(e, s) for e in range(3) for s in range(NUM_STEPS)]
    assert [line["epoch"] for line in scores] == [1, 2, 3]
    assert [line["learning_rate"] for line in steps[:3]] == pytest.approx([1e-4, 3.4e-3, 6.7e-3])
    assert len({line["identity"] for line in steps}) == 9


def test_resuming_with_batch_norm_is_exact(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real ResNet-18, whose convolutions lie in memory with channels last."""
    monkeypatch.undo()
    model = GlobalPoolConfig(backbone=BackboneConfig(name="resnet18", weights="none"), embedding_dim=None, neck=True)
    optimise = OptimiseConfig(epochs=2, optimiser="amsgrad", warmup_epochs=0, learning_rate=1e-3)
    sampler = SamplerConfig(batch_size=8, images_per_identity=None)
    losses = LossConfig(triplet_weight=0.0)
    evaluate = EvaluateConfig(every=0)
    config = tiny_config(place, model=model, optimise=optimise, sampler=sampler, losses=losses, evaluate=evaluate)
    assert_resumes_exactly(config, tmp_path, (4,))


def test_resuming_with_two_turns_is_exact(place: str, tmp_path: Path):
    optimise = OptimiseConfig(
        epochs=3, optimiser="sgd", warmup_epochs=1, learning_rate=0.1, triplet_learning_rate=0.01, head_only_epochs=1
    )
    assert_resumes_exactly(tiny_config(place, optimise=optimise), tmp_path, (1, 4))
    steps, _ = read_metrics(tmp_path / "whole")
    assert [line["learning_rate"] for line in steps[-4:]] == [0.01, 0.1, 0.01, 0.1]


@pytest.mark.parametrize("memory_gib", [0, 1])
def test_resuming_with_pairs_from_shards_is_exact(place: str, pairs_place: str, tmp_path: Path, memory_gib: float):
    """One batch of people, two of pairs, from memory and from worker processes."""
    assert_resumes_exactly(mixed(place, pairs_place, memory_gib), tmp_path, (2, 9, 13))
    steps, _ = read_metrics(tmp_path / "whole")
    assert ["length" in line for line in steps] == 9 * [False, True, True]


def live(first: int, size: int = 8) -> Iterator[SimpleNamespace]:
    number = first
    while True:
        generator = torch.Generator().manual_seed(number)
        image = torch.randint(0, 256, (size, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8)
        yield SimpleNamespace(image=image)
        number += 1


def test_resuming_with_live_pairs_is_exact(place: str, tmp_path: Path):
    assert_resumes_exactly(tiny_config(place), tmp_path, (5,), pairs=live)
    steps, _ = read_metrics(tmp_path / "whole")
    assert ["length" in line for line in steps] == 9 * [False, True]


def test_live_pairs_of_another_batch_size(place: str, tmp_path: Path):
    with pytest.raises(ValueError, match="must have sampler.batch-size / processes = 8 pictures, the source gives 6"):
        train(tiny_config(place), tmp_path / "run", pairs=lambda first: live(first, size=6))


def test_pairs_have_no_part_in_turns(place: str, tmp_path: Path):
    config = tiny_config(place, optimise=OptimiseConfig(epochs=1, triplet_learning_rate=0.1))
    with pytest.raises(ValueError, match="steps on pairs have no part in the turns of identity and triplet loss"):
        train(config, tmp_path / "run", pairs=live)


def test_pairs_for_a_model_that_has_no_use_for_them(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TinyModel, "takes_pairs", False)
    with pytest.raises(ValueError, match="TinyModel learns from identities alone: leave out data.pairs"):
        train(tiny_config(place), tmp_path / "run", pairs=live)


@pytest.mark.parametrize("ratio", [(3, 1), (2, 1), (1, 1), (1, 2), (1, 3), (3, 2)])
def test_an_epoch_passes_once_over_the_people(place: str, ratio: tuple[int, int]):
    config = tiny_config(place, data=DataConfig(real=(place,), pairs_ratio=ratio))
    train_set = open_train_set(config.data, config.input)
    kinds = Batches(config=config, train_set=train_set, loader=None, pairs=live).kinds
    assert kinds.count("reid") == NUM_STEPS
    assert list(kinds) == [interleave(ratio, step) for step in range(len(kinds))]
    assert interleave(ratio, len(kinds)) == "reid"


# What is interrupted or killed


def start(place: str, out: Path, *more: str, sign: str = "metrics.jsonl", step_s: float = 0) -> subprocess.Popen:
    """Train in a process of its own; returns once the file `sign` is there."""
    environment = {**os.environ, "TINY_STEP_S": str(step_s), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(TINY_TRAINER), *options(place, out, epochs=400), *more]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not (out / sign).exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    return process


def test_an_interrupted_run_says_how_to_go_on(place: str, tmp_path: Path):
    """By Ctrl-C, or by what ends jobs."""
    with ThreadPoolExecutor(2) as pool:  # each takes seconds to begin
        runs = [
            (tmp_path / number.name, number, pool.submit(start, place, tmp_path / number.name, step_s=0.05))
            for number in (signal.SIGINT, signal.SIGTERM)
        ]
    for folder, number, started in runs:
        started.result().send_signal(number)
        out, err = started.result().communicate(timeout=120)
        assert started.result().returncode == 130 and out == ""
        state, _, _ = read_checkpoint(folder / "last.safetensors")
        assert f"stopped at epoch {state.epoch}, step {state.step}: --resume goes on from there" in err.splitlines()[-1]
        assert "run the same command again" not in err and "Traceback" not in err
        steps, _ = read_metrics(folder)
        assert steps[-1]["total_steps"] == state.total_steps


def test_a_killed_run_goes_on_from_a_whole_checkpoint(place: str, tmp_path: Path):
    """At any moment: while it steps, or writes."""
    more = ("--checkpoint-every", "1", "--evaluate.every", "0")
    process = start(place, tmp_path / "run", *more, sign="last.safetensors")
    process.kill()
    process.communicate()
    state, weights, optimiser = read_checkpoint(tmp_path / "run" / "last.safetensors")
    assert state.total_steps >= 1 and weights and optimiser
    (tmp_path / "run" / "metrics.jsonl").open("a").write('{"epoch": 1, "st')  # a line that was being written
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, state.total_steps + 4)
        with pytest.raises(KeyboardInterrupt):
            train(state.config, tmp_path / "run", resume=True)
    steps, _ = read_metrics(tmp_path / "run")
    assert [line["total_steps"] for line in steps] == [*range(1, state.total_steps + 5)]


def test_what_was_written_after_the_checkpoint_is_written_anew(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A crash at step 26, when losses are written to step 25, and the checkpoint is of step 15."""
    config = tiny_config(
        place,
        optimise=OptimiseConfig(epochs=9, warmup_epochs=0),
        checkpoint_every=15,
        evaluate=EvaluateConfig(every=0),
    )
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        add = Journal.add

        def add_and_crash(self, epoch, step, taken, *others):
            add(self, epoch, step, taken, *others)
            if taken == 26:
                raise RuntimeError("no power")

        patch.setattr(Journal, "add", add_and_crash)
        with pytest.raises(RuntimeError, match="no power"):
            train(config, tmp_path / "parts")
    assert read_metrics(tmp_path / "parts")[0][-1]["total_steps"] == 25
    assert read_checkpoint(tmp_path / "parts" / "last.safetensors")[0].total_steps == 15
    train(config, tmp_path / "parts", resume=True)
    assert read_metrics(tmp_path / "parts") == read_metrics(tmp_path / "whole")


# Losses that are no numbers, and embeddings that are all the same


class Poisoned(TinyModel):
    """From the fifth step on its loss is no number, or its gradient alone."""

    what = "loss"
    num_steps = 0

    def losses(self, batch):
        self.num_steps += self.training
        losses = super().losses(batch)
        if self.num_steps >= 5:
            zero = (0 * self.classifier.bias).sum()
            losses["identity"] = losses["identity"] + (torch.nan if self.what == "loss" else (zero * zero).sqrt())
        return losses


def poison(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(Poisoned, "what", what)
    use(monkeypatch, lambda config, num, *, losses, pretrained: Poisoned(num, losses))


def last_good(folder: Path) -> int:
    state, weights, optimiser = read_checkpoint(folder / "last.safetensors")
    assert all(tensor.isfinite().all() for tensor in (*weights.values(), *optimiser.values()))
    return state.total_steps


@pytest.mark.parametrize("every", [2, 3])
def test_a_loss_that_is_no_number_stops_the_run(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
):
    poison(monkeypatch, "loss")
    with pytest.raises(ValueError, match="loss is no number at epoch 1, step 1: identity nan, triplet") as caught:
        train(tiny_config(place, checkpoint_every=every), tmp_path / "run")
    config = tiny_config(place)
    people = open_train_set(config.data, config.input)
    batches = Batches(config=config, train_set=people, loader=None, pairs=None)
    keys = people.keys[batches._rows(1)[1]].tolist()
    assert str(caught.value).endswith("look at the batch: " + ", ".join(keys))
    assert "lower learning rate" in str(caught.value)
    assert last_good(tmp_path / "run") == {2: 4, 3: 3}[every]


@pytest.mark.parametrize("every", [1, 3])
def test_weights_that_are_no_numbers_are_not_kept(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
):
    """Of the fifth step the loss is a number and its gradient none: with the checkpoint of that very step, or later."""
    poison(monkeypatch, "gradient")
    with pytest.raises(ValueError, match="is no number .*The last good checkpoint is kept"):
        train(tiny_config(place, checkpoint_every=every), tmp_path / "run")
    assert last_good(tmp_path / "run") == {1: 4, 3: 3}[every]


def test_a_collapse_is_said_once(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    class Collapsed(TinyModel):
        def embed(self, images: Tensor) -> Tensor:
            return super().embed(images) * 0 + 1

    config = tiny_config(place, checkpoint_every=2, evaluate=EvaluateConfig(every=0))
    train(config, tmp_path / "good")
    assert "collapsed" not in caplog.text
    use(monkeypatch, lambda config, num, *, losses, pretrained: Collapsed(num, losses))
    train(config, tmp_path / "bad")
    assert caplog.text.count("the embeddings have collapsed") == 1
    assert "Usual remedies: a lower learning rate" in caplog.text


# Folders and checkpoints of other runs


def test_a_folder_in_use_is_left_alone(place: str, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty: give --resume to go on with the run in it, or another --out"):
        train(tiny_config(place), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resuming_nothing_is_said(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert train(tiny_config(place), tmp_path / "run", resume=True).total_steps == 9
    assert "holds no checkpoint to go on from: the run starts at the beginning" in caplog.text


def test_a_finished_run_is_not_trained_again(place: str, tmp_path: Path):
    state = train(tiny_config(place), tmp_path / "run")
    before = read_metrics(tmp_path / "run")
    assert train(tiny_config(place), tmp_path / "run", resume=True) == state
    assert read_metrics(tmp_path / "run") == before


def test_another_configuration_or_other_data(place: str, tmp_path: Path):
    config = tiny_config(place, optimise=OptimiseConfig(epochs=1))
    train(config, tmp_path / "run")
    with pytest.raises(
        ValueError, match="another configuration, optimise.epochs: 1, not 2; seed: 0, not 1: give the op"
    ):
        train(tiny_config(place, optimise=OptimiseConfig(epochs=2), seed=1), tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r'model.type: "GlobalPoolConfig", not "MgnConfig"'):
        train(tiny_config(place, optimise=config.optimise, model=MgnConfig()), tmp_path / "run", resume=True)
    moved = Path(place).rename(Path(place).with_name("elsewhere"))
    try:
        build_people(Path(place), People(num_identities=10))
        message = "data have changed: 30 samples of 5 identities and 0 pairs, the checkpoint is of 24 samples of 4 identities and 0 pairs; "
        with pytest.raises(ValueError, match=message):
            train(config, tmp_path / "run", resume=True)
    finally:
        Path(place).rename(Path(place).with_name("other"))
        moved.rename(place)


def test_the_best_checkpoint_is_the_best(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures = iter((0.3, 0.6, 0.5))
    scores = SimpleNamespace(to_dict=lambda: {"mean_ap": next(figures), "mean_inp": 0.0, "cmc": [0.0]})
    monkeypatch.setattr("reid.setup.score", lambda *args: scores)
    state = train(tiny_config(place), tmp_path / "run")
    assert state.best_mean_ap == 0.6
    best, last = load_run(tmp_path / "run"), load_run(tmp_path / "run", "last")
    assert (best.state.epoch, best.state.best_mean_ap, last.state.epoch) == (2, 0.6, 3)
    assert not torch.equal(best.model.classifier.weight, last.model.classifier.weight)
    assert not best.model.training


# Bad data


def nothing_written(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_a_corrupt_sample_is_named_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    place = build_people(tmp_path / "set", People())
    damage(Path(place), ["000007"])
    with pytest.raises(ShardError, match="shard tiny-000001.tar, key 000007, field image"):
        train(tiny_config(place), tmp_path / "run")
    assert nothing_written(tmp_path / "run")
    data = DataConfig(real=(place,), num_workers=1, max_bad_samples=1)
    assert train(tiny_config(place, data=data), tmp_path / "run").total_steps == 9
    assert caplog.text.count("skipped bad sample 1 of at most 1") == 1 and "key 000007" in caplog.text


def test_one_picture_of_a_person_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    place = build_people(tmp_path / "set", People(extra=("tiny/lonely",)))
    train(tiny_config(place), tmp_path / "run")
    assert caplog.text.count("1 of 5 identities have fewer than 2 images: theirs come several times in a batch") == 1


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (
            SamplerConfig(batch_size=10, images_per_identity=2),
            "needs 5 identities, the sets have 4: use a smaller batch",
        ),
        (SamplerConfig(batch_size=25, images_per_identity=None), "a batch of 25 needs as many samples, got 24"),
    ],
)
def test_too_few_people_are_told_before_anything_is_written(
    place: str, tmp_path: Path, sampler: SamplerConfig, message: str
):
    losses = LossConfig(triplet_weight=float(sampler.images_per_identity is not None))
    with pytest.raises(ValueError, match=message):
        train(tiny_config(place, sampler=sampler, losses=losses), tmp_path / "run")
    assert nothing_written(tmp_path / "run")


def test_a_batch_that_processes_cannot_share(place: str):
    config = tiny_config(place)
    train_set = open_train_set(config.data, config.input)
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 8"):
        _ = Batches(config=config, train_set=train_set, loader=None, pairs=None, num_processes=3).kinds


def test_sets_that_cannot_be_trained_on(place: str, tmp_path: Path):
    nameless = build_people(tmp_path / "nameless", People(known=False))
    with pytest.raises(ValueError, match="nameless: no sample has an identity"):
        train(tiny_config(nameless), tmp_path / "run")
    newer = Path(build_people(tmp_path / "newer", People()))
    manifest = json.loads((newer / MANIFEST).read_text())
    (newer / MANIFEST).write_text(json.dumps(manifest | {"schema_version": manifest["schema_version"] + 1}))
    with pytest.raises(ShardError, match="reads schema version 1, got 2; a newer one needs a newer release"):
        train(tiny_config(str(newer)), tmp_path / "run")
    with pytest.raises(ValueError, match="nothing to train on: name at least one set"):
        train(tiny_config(place, data=DataConfig()), tmp_path / "run")
    with pytest.raises(FileNotFoundError):
        train(tiny_config(str(tmp_path / "nowhere")), tmp_path / "run")
    assert nothing_written(tmp_path / "run")


def test_sets_that_cannot_be_scored_are_told_at_the_start(place: str, tmp_path: Path):
    alone = build_people(tmp_path / "alone", People(num_cameras=1))
    for sets, message in (((alone,), "nothing can be found"), ((str(tmp_path / "nowhere"),), "nowhere")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            train(tiny_config(place, evaluate=EvaluateConfig(sets=sets, every=1)), tmp_path / "run")
        assert nothing_written(tmp_path / "run")


def test_sets_of_one_name_are_scored_apart(place: str, tmp_path: Path):
    other = build_people(tmp_path / "other" / Path(place).name, People(seed=5))
    evaluate = EvaluateConfig(sets=(place, other), every=3)
    train(tiny_config(place, evaluate=evaluate), tmp_path / "run")
    (scores,) = (line["scores"] for line in read_metrics(tmp_path / "run")[1])
    assert list(scores) == [place, other] and scores[place] != scores[other]


def test_what_a_run_says(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        train(tiny_config(place), tmp_path / "run")
    assert (
        "TinyModel from random initialisation, epoch 0, step 0: 24 samples of 4 identities, 0 pairs, 3 steps an epoch"
        in caplog.text
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["precision"] == "no"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "best.safetensors", "config.json", "last.safetensors", "metrics.jsonl", "tensorboard",
    }  # fmt: skip
