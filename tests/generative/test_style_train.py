"""Every player learns its own part, and a run goes on where it stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_looks import HEIGHT, SMALL, SOURCE, WIDTH, build_looks, tiny_config
from tiny_people import build_people

from generative.adversarial.config import AdversarialConfig
from generative.annotators.opened import open_annotator
from generative.style import train as loop
from generative.style.batches import StyleBatch
from generative.style.config import StyleConfig, StyleLossConfig
from generative.style.losses import similarity_loss
from generative.style.run import load_style
from generative.style.setup import Setup, set_up
from generative.transfer.run import load_transfer
from reid.checkpoint import checkpoint_path, read_checkpoint
from reid.journal import read_metrics

LEARNERS = {"generators", "discriminators", "embedding"}


@pytest.fixture(autouse=True)
def one_process() -> Iterator[None]:
    """What a run leaves of Accelerate in its process is gone with it."""
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Source and target. Not to be changed."""
    return build_looks(tmp_path_factory.mktemp("looks"))


def train(config: StyleConfig, out: Path, **options: bool) -> None:
    loop.train(config, out, **options)
    AcceleratorState._reset_state(True)


def weights(run: Setup) -> dict[str, dict[str, torch.Tensor]]:
    """Player -> its parameters and buffers, copies."""
    return {
        name: {key: value.detach().clone() for key, value in player.state_dict().items()}
        for name, player in run.players.named_children()
    }


def moved(before: dict, after: dict) -> set[str]:
    """Players of which a number has changed."""
    return {name for name in before if any(not torch.equal(v, after[name][k]) for k, v in before[name].items())}


def drawn_by(run: Setup, batch: StyleBatch) -> loop.Drawn:
    return run.generators.network(batch.source, batch.target)


def detached(drawn: loop.Drawn) -> loop.Drawn:
    return loop.Drawn(*(one.detach() for one in drawn))


def test_each_step_moves_its_own_player(places: tuple[str, str], tmp_path: Path):
    run = set_up(tiny_config(*places), tmp_path / "run", resume=False)
    batch = run.batches.first()
    drawn = drawn_by(run, batch)
    steps = (
        (lambda: loop.update_discriminators(run, batch, detached(drawn), 0), {"discriminators", "restyled", "brought"}),
        (lambda: loop.update_embedding(run, batch, detached(drawn)), {"embedding"}),
        (lambda: loop.update_generators(run, batch, drawn), {"generators"}),
    )
    for step, expected in steps:
        before = weights(run)
        step()
        assert moved(before, weights(run)) == expected
        assert all(value.grad is None for value in run.players.parameters())
        assert all(value.requires_grad for name in LEARNERS for value in getattr(run.players, name).parameters())
    before = weights(run)
    losses = loop.update(run, batch, 1)
    assert moved(before, weights(run)) == {*before}
    assert set(losses) == {
        "discriminator", "source_discriminator", "embedding", "adversarial", "source_adversarial", "cycle", "same",
        "similarity",
    }  # fmt: skip


def test_without_the_similarity_term_it_is_cyclegan(places: tuple[str, str], tmp_path: Path):
    config = tiny_config(*places, losses=StyleLossConfig(contrastive_weight=0.0), history=0)
    run = set_up(config, tmp_path / "run", resume=False)
    before = weights(run)
    losses = loop.update(run, run.batches.first(), 0)
    assert moved(before, weights(run)) == {"generators", "discriminators", "ema"}
    assert not {"similarity", "embedding"} & losses.keys()


def test_the_weights_of_the_objective_count(places: tuple[str, str], tmp_path: Path):
    run = set_up(tiny_config(*places), tmp_path / "run", resume=False)
    batch = run.batches.first()
    drawn = loop.Drawn(*(one.requires_grad_() for one in detached(drawn_by(run, batch))))
    with torch.no_grad():
        embedded = run.players.embedding(batch.source, batch.target, drawn.restyled, drawn.brought)
        scores = (
            run.players.discriminators.of_target(drawn.restyled),
            run.players.discriminators.of_source(drawn.brought),
        )
    one, heavy = (
        loop.update_generators(replace(run, config=replace(run.config, losses=losses)), batch, drawn)
        for losses in (
            StyleLossConfig(cycle_weight=1, identity_weight=1, contrastive_weight=1, margin=1.5),
            StyleLossConfig(cycle_weight=2, identity_weight=3, contrastive_weight=4, margin=1.5),
        )
    )
    expected = {
        "adversarial": (scores[0] - 1).square().mean(),
        "source_adversarial": (scores[1] - 1).square().mean(),
        "cycle": (drawn.source_again - batch.source).abs().mean() + (drawn.target_again - batch.target).abs().mean(),
        "same": (drawn.source_same - batch.source).abs().mean() + (drawn.target_same - batch.target).abs().mean(),
        "similarity": similarity_loss(*embedded, 1.5),
    }
    factors = {"cycle": 2, "same": 3, "similarity": 4}
    for name, value in expected.items():
        assert one[name].item() == pytest.approx(value.item(), rel=1e-4)
        assert heavy[name].item() == pytest.approx(factors.get(name, 1) * value.item(), rel=1e-4)
    assert all(picture.grad.abs().max() > 0 for picture in drawn)


def test_players_want_opposite_things(places: tuple[str, str], tmp_path: Path):
    config = tiny_config(*places, losses=StyleLossConfig(cycle_weight=0, identity_weight=0, contrastive_weight=0))
    run = set_up(config, tmp_path / "run", resume=False)
    assert run.set_rates(0.0) == 2e-4 and run.set_rates(1.5) == pytest.approx(1e-4)
    rates = [group["lr"] for one in run.learners for group in one.optimiser.param_groups]
    assert rates == pytest.approx([1e-4] * 3)
    batch = run.batches.first()

    def gap() -> float:
        with torch.no_grad():
            real, fake = run.players.discriminators.of_target(torch.cat([batch.target, drawn.restyled])).chunk(2)
        return (real.mean() - fake.mean()).item()

    drawn = detached(drawn_by(run, batch))
    before = gap()
    for _ in range(20):
        loop.update_discriminators(replace(run, config=replace(config, history=0)), batch, drawn, 0)
    learned = gap()
    assert learned > before + 0.05
    for _ in range(20):
        loop.update_generators(run, batch, drawn_by(run, batch))
    drawn = detached(drawn_by(run, batch))
    assert gap() < learned - 0.05


def test_discriminators_are_shown_what_was_drawn_before(
    places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = set_up(tiny_config(*places), tmp_path / "run", resume=False)
    batch, shown = run.batches.first(), []
    forward = run.players.discriminators.forward
    monkeypatch.setattr(run.players.discriminators, "forward", lambda *given: shown.append(given) or forward(*given))
    drawn = [
        loop.Drawn(*(torch.full_like(batch.source, 0.01 * step + 0.001 * side) for side in range(6)))
        for step in range(8)
    ]
    for step, one in enumerate(drawn):
        loop.update_discriminators(run, batch, one, step)
    assert all(
        torch.equal(target, batch.target) and torch.equal(source, batch.source) for target, _, source, _ in shown
    )
    assert torch.equal(shown[0][1], drawn[0].restyled) and torch.equal(shown[0][3], drawn[0].brought)
    for which, side in ((1, 0), (3, 1)):
        values = {round(value, 4) for given in shown for value in given[which][:, 0, 0, 0].tolist()}
        assert values <= {round(0.01 * step + 0.001 * side, 4) for step in range(8)}  # none of the other generator's
        late = [round(value, 4) for value in shown[7][which][:, 0, 0, 0].tolist()]
        assert set(late) != {round(0.07 + 0.001 * side, 4)}


def test_a_run_goes_on_exactly_where_it_stopped(
    places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, update = tiny_config(*places, networks=replace(SMALL, spectral_norm=True)), loop.update
    train(config, tmp_path / "whole")

    def interrupted(run: Setup, batch: StyleBatch, step: int) -> dict[str, torch.Tensor]:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return update(run, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "update", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped at epoch 1, step 1: --resume goes on from there"):
            train(config, tmp_path / "parts")
    AcceleratorState._reset_state(True)
    assert read_metrics(tmp_path / "parts")[0][-1]["total_steps"] == 4
    train(config, tmp_path / "parts", resume=True)
    one, other = (load_file(checkpoint_path(tmp_path / name, "last")) for name in ("whole", "parts"))
    assert one.keys() == other.keys() and any(name.startswith("optimiser.2.generators.") for name in one)
    assert one["model.restyled.pictures"].abs().amax(dim=(1, 2, 3)).min() > 0
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_a_run_goes_on_as_it_was(tmp_path: Path):
    source, target = build_looks(tmp_path)
    config = tiny_config(source, target, optimise=AdversarialConfig(epochs=1, batch_size=6))
    train(config, tmp_path / "run")

    def refused(config: StyleConfig, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            train(config, tmp_path / "run", resume=True)
        AcceleratorState._reset_state(True)

    refused(replace(config, seed=1), "the checkpoint is of another configuration, seed: 0, not 1")
    for people, words in (
        (replace(SOURCE, seed=1), "what the sets hold has changed since the run began"),
        (replace(SOURCE, num_identities=3), "the training data have changed: 28 samples"),
    ):
        shutil.rmtree(source)
        build_people(Path(source), people)
        refused(config, words)
    with pytest.raises(ValueError, match="is not empty: give --resume"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "is_loss_fine", "words"),
    [
        ("least_squares_discriminator_loss", False, "loss is no number at epoch 0, step 2: discriminator nan"),
        ("similarity_loss", False, "loss is no number at epoch 0, step 2: .*embedding nan"),
        ("least_squares_generator_loss", False, "loss is no number at epoch 0, step 2: .*adversarial nan"),
        (
            "least_squares_generator_loss",
            True,
            "generators.* is no number after epoch 1, step 0, though the losses are",
        ),
    ],
)
def test_no_number_in_any_player_ends_the_run(
    name: str, is_loss_fine: bool, words: str, places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A loss may be a number and its gradient none."""
    steps, loss, update = [], getattr(loop, name), loop.update

    def broken(*given: object) -> torch.Tensor:
        if len(steps) < 3:
            return loss(*given)
        return (given[0] * 0).square().sum().sqrt() if is_loss_fine else loss(*given) * torch.nan

    monkeypatch.setattr(loop, name, broken)
    monkeypatch.setattr(loop, "update", lambda *given: steps.append(1) or update(*given))
    with pytest.raises(ValueError, match=words):
        train(replace(tiny_config(*places), checkpoint_every=1), tmp_path / "run")
    state, tensors, _ = read_checkpoint(checkpoint_path(tmp_path / "run", "last"), StyleConfig)
    assert state.total_steps == 2
    assert all(value.isfinite().all() for value in tensors.values())
    load_style(tmp_path / "run")


def test_pictures_are_drawn_on_the_way(places: tuple[str, str], tmp_path: Path):
    run = set_up(tiny_config(*places), tmp_path / "one", resume=False)
    with torch.no_grad():  # that the averaged generator is shown
        run.players.ema.to_rgb.weight.zero_()
        run.players.ema.to_rgb.bias.fill_(0.5)
    grid = run.draw()
    assert grid.dtype == torch.uint8 and grid.shape == (4 * HEIGHT, 4 * WIDTH, 3)
    for row, given in ((0, run.shown.source), (1, (run.shown.source + 0.5).clamp(max=1)), (3, run.shown.target)):
        drawn = torch.stack(grid[row * HEIGHT : (row + 1) * HEIGHT].split(WIDTH, dim=1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(drawn / 127.5 - 1, given, atol=1e-2, rtol=0)
    AcceleratorState._reset_state(True)
    train(tiny_config(*places, pictures_every=3), tmp_path / "run")
    events = EventAccumulator(str(next((tmp_path / "run" / "tensorboard").rglob("events*")).parent))
    events.Reload()
    assert [event.step for event in events.Images("pictures")] == [3, 6]


def test_half_precision_is_for_networks_alone(places: tuple[str, str], tmp_path: Path):
    run = set_up(tiny_config(*places, precision="bf16"), tmp_path / "run", resume=False)
    seen = []
    for module in (run.players.generators.to_target.layers[0], run.players.discriminators.of_target.layers[0]):
        module.register_forward_hook(lambda module, given, found: seen.append(found.dtype))
    losses = loop.update(run, run.batches.first(), 0)
    assert set(seen) == {torch.bfloat16} and len(seen) >= 2
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    assert all(value.dtype == torch.float32 for value in run.players.parameters())


def test_another_kind_of_run_is_told(places: tuple[str, str], tmp_path: Path):
    train(tiny_config(*places, optimise=AdversarialConfig(epochs=1, batch_size=6)), tmp_path / "style")
    for load, command in ((load_transfer, "pose-transfer"), (open_annotator, None)):
        words = "it is of another kind or version.* has no .*source, target" + (
            f".*train {command}`" if command else ""
        )
        with pytest.raises(ValueError, match=words) as caught:
            load(tmp_path / "style")
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no checkpoint .*python -m generative train style"):
        load_style(tmp_path)


def test_the_command_line(places: tuple[str, str], tmp_path: Path, generative_cli):
    """As users type it, and then as they go on."""
    options = ["--networks.height", 32, "--networks.width", 32, "--networks.channels", 8, "--networks.blocks", 1]
    options += ["--networks.discriminator-channels", 8, "--optimise.epochs", 1, "--optimise.batch-size", 6, "--json"]
    command = ["train", "style", "--data", places[0], "--target", places[1], "--out", tmp_path / "run", *options]
    assert json.loads(generative_cli(*command))["steps"] == 2
    assert json.loads(generative_cli(*command, "--resume"))["steps"] == 2
    run = load_style(tmp_path / "run")
    assert run.config.source == places[:1] and run.config.target == places[1:]
    assert run.generator(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    assert not run.generator.training and not any(value.requires_grad for value in run.generator.parameters())
    told = generative_cli(*command[:-1], "--resume")
    assert f"use it with `python -m generative restyle {tmp_path / 'run'}`" in told


@pytest.mark.slow
def test_two_processes_learn_what_one_does(places: tuple[str, str], tmp_path: Path):
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    options = ["--networks.height", 32, "--networks.width", 32, "--networks.channels", 8, "--networks.blocks", 1]
    options += ["--networks.discriminator-channels", 8, "--optimise.epochs", 2, "--optimise.batch-size", 4]
    options += ["--history", 6, "--precision", "no", "--json"]
    for number in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2] if number > 1 else []
        command = [sys.executable, *launcher, "-m", "generative", "train", "style", "--data", places[0]]
        command += ["--target", places[1], "--out", tmp_path / str(number), *options]
        done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["steps"] == 6
    one, two = (read_metrics(tmp_path / name)[0] for name in "12")
    assert [line["total_steps"] for line in one] == [1, 2, 3, 4, 5, 6]
    for line, other in zip(one, two, strict=True):
        assert line == pytest.approx(other, abs=2e-4)
    first, second = (load_file(checkpoint_path(tmp_path / name, "last")) for name in "12")
    for name in ("restyled", "brought"):
        torch.testing.assert_close(
            first[f"model.{name}.pictures"], second[f"model.{name}.pictures"], atol=2e-3, rtol=0, msg=name
        )
