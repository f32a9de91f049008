"""What a run begins from: another run's weights as far as they fit; and runs on pairs alone."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from tiny_people import People, build_people
from tiny_trainer import TinyModel, build_tiny, tiny_config
from torch import nn

from reid.checkpoint import State, checkpoint_path, load_run, read_checkpoint, save_checkpoint
from reid.dataset import DataConfig
from reid.losses import LossConfig
from reid.models.backbone import BackboneConfig
from reid.models.build import ModelConfig, build_model
from reid.models.dsa import DsaConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.models.model import Model
from reid.models.part_head import PartHeadConfig
from reid.models.pcb import PcbConfig
from reid.models.san import SanConfig
from reid.optimise import OptimiseConfig
from reid.start import start, start_from
from reid.train import train

PEOPLE = ("a/1", "a/2", "a/3", "a/4")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in ("start", "checkpoint"):
        monkeypatch.setattr(f"reid.{module}.build_model", build_tiny)
    monkeypatch.setattr(TinyModel, "identity_layers", ("classifier",))
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def state_of(people: tuple[str, ...] = PEOPLE, **changes: object) -> State:
    return State(config=tiny_config("x", **changes), class_names=people, num_samples=9)


def leave(folder: Path, model: nn.Module, which: str = "last", people: tuple[str, ...] = PEOPLE) -> Path:
    folder.mkdir(exist_ok=True)
    save_checkpoint(checkpoint_path(folder, which), model, state_of(people), {})
    return folder


def model(seed: int, num_classes: int = 4) -> TinyModel:
    torch.manual_seed(seed)
    return TinyModel(num_classes, LossConfig())


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_all_weights_of_a_run_on_the_same_people(tmp_path: Path):
    theirs, ours = model(1), model(2)
    words = start_from(ours, state_of(), leave(tmp_path / "a", theirs))
    assert same(ours, theirs)
    assert words == f"weights of {tmp_path / 'a' / 'last.safetensors'}"


@pytest.mark.parametrize("people", [("a/1", "a/2", "a/3", "a/9"), ("a/1", "a/2")])
def test_classifiers_of_other_people_are_not_taken(tmp_path: Path, people: tuple[str, ...]):
    """Even where there are as many: class 3 is somebody else."""
    theirs, ours, before = model(1), model(2, len(people)), model(2, len(people))
    words = start_from(ours, state_of(people), leave(tmp_path / "a", theirs))
    assert same(ours.backbone, theirs.backbone) and same(ours.head, theirs.head)
    assert same(ours.classifier, before.classifier)
    assert words.endswith(" (new: classifier)")


def test_the_best_checkpoint_where_there_is_one(tmp_path: Path):
    folder = leave(tmp_path / "a", model(1))
    leave(folder, model(3), "best")
    ours = model(2)
    start_from(ours, state_of(), folder)
    assert same(ours, model(3))


def test_another_backbone_is_refused(tmp_path: Path):
    theirs = model(1)
    theirs.backbone[0] = nn.Conv2d(3, 8, 3, stride=4)
    with pytest.raises(ValueError, match=r"last.safetensors has another backbone: it lacks backbone.0.weight"):
        start_from(model(2), state_of(), leave(tmp_path / "a", theirs))
    with pytest.raises(FileNotFoundError, match="no checkpoint .*nowhere"):
        start_from(model(2), state_of(), tmp_path / "nowhere")


def test_a_run_starts_from_another_and_says_so(tmp_path: Path):
    place = build_people(tmp_path / "people", People())
    leave(tmp_path / "first", model(1))
    config = tiny_config(place, start=str(tmp_path / "first"), optimise=OptimiseConfig(epochs=1, learning_rate=1e-9))
    train(config, tmp_path / "second")
    run = load_run(tmp_path / "second")
    assert run.state.provenance == f"weights of {tmp_path / 'first' / 'last.safetensors'} (new: classifier)"
    torch.testing.assert_close(run.model.backbone[0].weight, model(1).backbone[0].weight, atol=1e-6, rtol=0)


def test_layers_that_should_have_learned_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    """They crawl where they start at random; that is said, and not where they start from a run."""
    monkeypatch.setattr(TinyModel, "rate_factors", {"head": 0.0125})
    with caplog.at_level(logging.WARNING):
        start(state_of(), tmp_path / "run", resume=False)
    assert "head begins with random weights and learns at 0.0125 times the rate of other layers" in caplog.text
    caplog.clear()
    folder = leave(tmp_path / "a", model(1))
    found, now, optimiser = start(
        State(config=tiny_config("x", start=str(folder)), class_names=PEOPLE, num_samples=9),
        tmp_path / "run",
        resume=False,
    )
    assert not caplog.text and same(found, model(1)) and optimiser is None
    assert now.provenance == f"weights of {folder / 'last.safetensors'}"


def pairs_alone(place: str, **changes: object):
    return tiny_config(place, data=DataConfig(pairs=(place,), num_workers=1), **changes)


def test_a_run_on_pairs_alone(tmp_path: Path):
    """An epoch is one pass over them; nobody is told apart."""
    place = build_people(tmp_path / "pairs", People(origin="rendered", known=False, splits=False))
    state = train(pairs_alone(place), tmp_path / "run")
    assert (state.num_samples, state.num_pairs, state.class_names) == (0, 48, ())
    assert (state.epoch, state.total_steps) == (3, 3 * (48 // 8))
    assert state.best_mean_ap is None
    assert len(load_run(tmp_path / "run").model.classifier.weight) == 0


def test_a_run_on_pairs_alone_goes_on_exactly(tmp_path: Path):
    place = build_people(tmp_path / "pairs", People(origin="rendered", known=False, splits=False))
    config = pairs_alone(place, checkpoint_every=8)
    train(config, tmp_path / "whole")
    _, wanted, _ = read_checkpoint(checkpoint_path(tmp_path / "whole", "last"))
    from reid import setup

    keep = setup.Setup.keep

    class Stop(Exception):
        pass

    def keep_and_stop(self, state, *others):
        keep(self, state, *others)
        if state.total_steps == 8:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup.Setup, "keep", keep_and_stop)
        with pytest.raises(Stop):
            train(config, tmp_path / "parts")
    AcceleratorState._reset_state(True)
    train(config, tmp_path / "parts", resume=True)
    _, found, _ = read_checkpoint(checkpoint_path(tmp_path / "parts", "last"))
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_a_batch_of_pairs_leaves_classifiers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without their gradient neither weight decay nor momentum moves them."""
    place = build_people(tmp_path / "people", People())
    pairs = build_people(tmp_path / "pairs", People(origin="rendered", known=False, splits=False))
    from reid import train as loop

    step, moved = loop.update, []

    def watched(run, turn, batch, **options):
        before = [value.detach().clone() for value in run.model.classifier.parameters()]
        losses = step(run, turn, batch, **options)
        after = list(run.model.classifier.parameters())
        moved.append((batch.has_identities, not all(map(torch.equal, before, after))))
        return losses

    monkeypatch.setattr(loop, "update", watched)
    losses = TinyModel.losses

    def in_the_graph(self, batch):
        found = losses(self, batch)
        nought = 0 * sum(value.sum() for value in self.classifier.parameters())
        return found if batch.has_identities else {"length": found["length"] + nought}

    monkeypatch.setattr(TinyModel, "losses", in_the_graph)
    train(tiny_config(place, data=DataConfig(real=(place,), pairs=(pairs,), num_workers=1)), tmp_path / "run")
    assert set(moved) == {(True, True), (False, False)}


SMALL = BackboneConfig(name="resnet18", weights="none")


def network(config: ModelConfig, seed: int) -> Model:
    torch.manual_seed(seed)
    nobody = isinstance(config, SanConfig) and not config.constraint_weight
    losses = LossConfig(identity_weight=0, triplet_weight=0) if nobody else LossConfig()
    return build_model(config, 0 if nobody else 4, losses=losses, pretrained=False)


@pytest.fixture(scope="module")
def texture_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """A SAN-PG."""
    model = network(SanConfig(backbone=SMALL, constraint_weight=0.0), 1)
    return leave(tmp_path_factory.mktemp("pg") / "run", model, people=()), model


@pytest.mark.parametrize(
    ("config", "new"),
    [
        (GlobalPoolConfig(backbone=SMALL), "classifier, embedding"),
        (SanConfig(backbone=SMALL), "classifier"),
        (DsaConfig(backbone=SMALL), "classifiers, dsag_stream, fused_classifiers, heads"),
        (PcbConfig(backbone=SMALL, part_head=PartHeadConfig()), "classifiers, embeddings, part_head"),
        (MgnConfig(backbone=SMALL), "classifiers, embeddings, reductions"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_model_starts_from_the_encoder_of_another(texture_run: tuple[Path, Model], config: ModelConfig, new: str):
    folder, theirs = texture_run
    ours = network(config, 2)
    assert start_from(ours, state_of(), folder) == f"weights of {folder / 'last.safetensors'} (new: {new})"
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        found, wanted = ours.eval().backbone(images), theirs.eval().backbone(images)
        if isinstance(config, DsaConfig):  # conv5_x is not its backbone's
            wanted = nn.Sequential(*list(theirs.backbone)[:-1])(images)
    for maps in found if isinstance(found, list) else [found]:
        torch.testing.assert_close(maps, wanted)


def test_a_decoder_that_has_learned_to_draw_something_else(texture_run: tuple[Path, Model], tmp_path: Path, caplog):
    config = SanConfig(backbone=SMALL, constraint_weight=0.0)
    theirs = State(config=tiny_config("x", model=config), class_names=(), num_samples=9)
    (tmp_path / "pg").mkdir()
    save_checkpoint(checkpoint_path(tmp_path / "pg", "last"), texture_run[1], theirs, {})
    ours = replace(config, reconstruct="input")
    with caplog.at_level(logging.WARNING):
        start_from(network(ours, 2), state_of((), model=ours), tmp_path / "pg")
    assert "has learned to draw texture, this run's draws input" in caplog.text
