"""The two players take turns, the guider stands still, and a run goes on where it stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_pairs import SMALL, Posed, build_posed, save_guider, tiny_config

from generative.adversarial.config import AdversarialConfig
from generative.adversarial.losses import r1_penalty
from generative.adversarial.player import Player, scaler_states
from generative.cli import cli
from generative.transfer import train as loop
from generative.transfer.config import TransferConfig, TransferLossConfig
from generative.transfer.losses import guider_triplet
from generative.transfer.networks import Players
from generative.transfer.run import load_transfer
from generative.transfer.setup import Setup, set_up
from reid.checkpoint import State, checkpoint_path, read_checkpoint
from reid.journal import read_metrics
from reid.run_folder import check_scales

PEOPLE = tuple(f"tiny/{i:04d}" for i in range(4))


@pytest.fixture(autouse=True)
def one_process() -> Iterator[None]:
    """What a command leaves of Accelerate in its process is gone with it."""
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Known people, a source of poses, and a guider. Not to be changed."""
    folder = tmp_path_factory.mktemp("places")
    poses = build_posed(folder / "poses", Posed(dataset="walk", num_identities=2, extra=(None,)))
    return build_posed(folder / "people"), poses, save_guider(folder / "guider", PEOPLE)


def everything(places: tuple[str, str, str], **changes: object) -> TransferConfig:
    """All options at work."""
    settings = {
        "poses": places[1:2],
        "guider": "ce",
        "guider_run": places[2],
        "networks": replace(SMALL, spectral_norm=True),
        "losses": TransferLossConfig(r1_weight=1.0, r1_every=2),
    }
    return tiny_config(places[0], **(settings | changes))


def train(config: TransferConfig, out: Path, **options: bool) -> None:
    loop.train(config, out, **options)
    AcceleratorState._reset_state(True)


def weights(run: Setup) -> dict[str, dict[str, torch.Tensor]]:
    """Player -> its parameters, copies."""
    return {
        name: {key: value.detach().clone() for key, value in player.named_parameters()}
        for name, player in run.players.named_children()
    }


def moved(before: dict, after: dict) -> set[str]:
    """Players of which a parameter has changed."""
    return {name for name in before if any(not torch.equal(v, after[name][k]) for k, v in before[name].items())}


def test_each_step_moves_its_own_player(places: tuple[str, str, str], tmp_path: Path):
    run = set_up(everything(places), tmp_path / "run", resume=False)
    batch, at_first = run.batches.first(), weights(run)
    generated = run.generator.network(batch.appearance, batch.skeleton)
    losses = loop.update_discriminator(run, batch, generated.detach(), 0)
    assert losses.keys() == {"discriminator", "r1"}
    then = weights(run)
    assert moved(at_first, then) == {"discriminator"}
    assert all(value.grad is None for value in run.players.parameters())
    losses = loop.update_generator(run, batch, generated)
    assert losses.keys() == {"adversarial", "l1", "guider"}
    assert moved(then, weights(run)) == {"generator"}
    assert all(value.grad is None for value in run.players.parameters())
    assert all(value.requires_grad for value in run.players.discriminator.parameters())
    assert loop.update(run, batch, 1).keys() == {"discriminator", "adversarial", "l1", "guider"}
    assert moved(then, weights(run)) == {"generator", "discriminator", "ema"}


def test_the_players_want_opposite_things(places: tuple[str, str, str], tmp_path: Path):
    run = set_up(tiny_config(places[0], losses=TransferLossConfig(l1_weight=0.0)), tmp_path / "run", resume=False)
    assert run.set_rates(0.0) == 2e-4 and run.set_rates(1.5) == pytest.approx(1e-4)
    for player in (run.generator, run.discriminator):
        assert player.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)
    batch, x, s = run.batches.first(), run.batches.first().appearance, run.batches.first().skeleton

    def looks_real(pictures: torch.Tensor) -> float:
        with torch.no_grad():
            return run.players.discriminator(x, s, pictures).mean().item()

    generated = run.generator.network(x, s).detach()
    for step in range(20):
        loop.update_discriminator(run, batch, generated, step)
    assert looks_real(batch.target) > looks_real(generated) + 1e-3
    before = looks_real(generated)
    for _ in range(20):
        loop.update_generator(run, batch, run.generator.network(x, s))
    assert looks_real(run.generator.network(x, s)) > before + 1e-3


def test_a_step_is_averaged_and_the_penalty_makes_up_for_its_rarity(places: tuple[str, str, str], tmp_path: Path):
    losses = TransferLossConfig(r1_weight=3.0, r1_every=4)
    run = set_up(tiny_config(places[0], losses=losses), tmp_path / "run", resume=False)
    batch, before = run.batches.first(), weights(run)
    target = batch.target.clone().requires_grad_()
    penalty = r1_penalty(run.players.discriminator(batch.appearance, batch.skeleton, target), target)
    given = [loop.update(run, batch, step) for step in (4, 5, 6, 7)]
    assert given[0]["r1"].item() == pytest.approx(12 * penalty.item(), rel=1e-4) and penalty > 0
    assert not any("r1" in one for one in given[1:])
    now = weights(run)
    loop.update(run, batch, 8)
    after, decay = weights(run), run.config.optimise.decay(8)
    for name, value in after["ema"].items():
        expected = decay * now["ema"][name] + (1 - decay) * after["generator"][name]
        torch.testing.assert_close(value, expected)
    assert moved(before, now) == {"generator", "discriminator", "ema"}


def test_the_weights_of_equation_5_count(places: tuple[str, str, str], tmp_path: Path):
    run = set_up(everything(places, networks=SMALL), tmp_path / "run", resume=False)
    batch = run.batches.first()
    generated = run.generator.network(batch.appearance, batch.skeleton).detach().requires_grad_()
    plain = replace(run, config=replace(run.config, losses=TransferLossConfig(l1_weight=1.0)))
    heavy = replace(run, config=replace(run.config, losses=TransferLossConfig(l1_weight=3.0, guider_weight=5.0)))
    one, other = (loop.update_generator(each, batch, generated) for each in (plain, heavy))
    assert other["l1"].item() == pytest.approx(3 * one["l1"].item())
    assert other["guider"].item() == pytest.approx(5 * one["guider"].item())
    assert other["adversarial"].item() == pytest.approx(one["adversarial"].item())
    assert one["l1"].item() == pytest.approx((generated - batch.target).abs().mean().item())


@pytest.mark.parametrize("form", ["ce", "triplet"])
def test_the_guider_teaches_and_does_not_learn(form: str, places: tuple[str, str, str], tmp_path: Path):
    run = set_up(everything(places, guider=form), tmp_path / "run", resume=False)
    before = {name: value.clone() for name, value in run.guider.state_dict().items()}
    batch = run.batches.first()
    generated = run.generator.network(batch.appearance, batch.skeleton)
    loss = loop.guider_loss(run, batch, generated)
    loss.backward()
    assert loss > 0 and all(value.grad.abs().max() > 0 for value in run.players.generator.parameters())
    assert all(value.grad is None for value in run.players.discriminator.parameters())
    run.generator.optimiser.zero_grad()
    for step in range(3):
        loop.update(run, batch, step)
    assert all(value.grad is None for value in run.guider.parameters())
    assert all(torch.equal(value, before[name]) for name, value in run.guider.state_dict().items())


def test_triplets_are_measured_as_the_guider_compares(places: tuple[str, str, str], tmp_path: Path):
    people, poses, _ = places
    guider = save_guider(tmp_path / "guider", PEOPLE, metric="cosine")
    run = set_up(everything((people, poses, guider), guider="triplet"), tmp_path / "run", resume=False)
    batch = run.batches.first()
    with torch.no_grad():
        generated = run.generator.network(batch.appearance, batch.skeleton)
        raw = [run.guider.features(one[: len(batch.identities)]) for one in (generated, batch.target)]
        units = [one / one.norm(dim=1, keepdim=True) for one in raw]
        loss = loop.guider_loss(run, batch, generated)
    torch.testing.assert_close(loss, guider_triplet(*units, batch.identities, margin=1.0))
    assert abs(loss - guider_triplet(*raw, batch.identities, margin=1.0)) > 1e-3


@pytest.mark.parametrize("form", ["ce", "triplet"])
def test_the_guider_sees_nothing_of_the_source_of_poses(
    form: str, places: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = set_up(everything(places, guider=form), tmp_path / "run", resume=False)
    batch = run.batches.first()
    assert len(batch.target) == 8 and len(batch.identities) == 4
    generated = run.generator.network(batch.appearance, batch.skeleton).detach().requires_grad_()
    seen, prepare = [], run.guider.prepare
    monkeypatch.setattr(run.guider, "prepare", lambda pictures: seen.append(pictures) or prepare(pictures))
    loop.guider_loss(run, batch, generated).backward()
    assert torch.equal(seen[0], generated[:4])
    assert [len(pictures) for pictures in seen] == ([4] if form == "ce" else [4, 4])
    assert all(torch.equal(pictures, batch.target[:4]) for pictures in seen[1:])
    assert generated.grad[:4].abs().max() > 0 and generated.grad[4:].abs().max() == 0


def test_the_source_of_poses_teaches_the_generator(places: tuple[str, str, str], tmp_path: Path):
    run = set_up(everything(places), tmp_path / "run", resume=False)
    batch = run.batches.first()
    generated = run.generator.network(batch.appearance, batch.skeleton).detach().requires_grad_()
    loop.update_generator(run, batch, generated)
    assert (generated.grad.flatten(1).abs().amax(dim=1) > 0).all()


def test_a_run_goes_on_exactly_where_it_stopped(
    places: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, update = everything(places), loop.update
    train(config, tmp_path / "whole")

    def interrupted(run: Setup, batch: object, step: int) -> dict[str, torch.Tensor]:
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
    assert one.keys() == other.keys() and any(name.startswith("optimiser.1.") for name in one)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_what_ends_a_run_reaches_its_workers_and_is_the_runs_to_answer(places: tuple[str, str, str], tmp_path: Path):
    """Ctrl-C, or what ends jobs, goes to all processes of a group, of which those that decode must live on until the run has
    stopped: here a little later."""
    more = "--data.memory-gib 0 --data.num-workers 2 --optimise.epochs 1000 --pictures-every 0".split()
    command = [sys.executable, "-m", "generative", *options(places, tmp_path / "run"), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_steps(num: int) -> None:
        while len(read_metrics(tmp_path / "run")[0]) < num:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)

    wait_for_steps(1)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    assert len(children) == 4, "two for the people, two for the poses"
    for i, child in enumerate(children):
        os.kill(int(child), (signal.SIGINT, signal.SIGTERM)[i % 2])
    wait_for_steps(len(read_metrics(tmp_path / "run")[0]) + 40)
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate(timeout=120)
    assert run.returncode == 130 and out == "" and "--resume goes on from there" in errors.splitlines()[-1], errors
    state, _, _ = read_checkpoint(checkpoint_path(tmp_path / "run", "last"), TransferConfig)
    assert state.total_steps == read_metrics(tmp_path / "run")[0][-1]["total_steps"]


def test_a_precision_that_is_another_machines_is_refused(
    places: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tiny_config(places[0], precision="auto")
    monkeypatch.setattr("reid.setup.computes_in_bf16", lambda: True)
    train(config, tmp_path / "run")
    AcceleratorState._reset_state(True)
    monkeypatch.setattr("reid.setup.computes_in_bf16", lambda: False)
    with pytest.raises(ValueError, match="computed in precision bf16, and would go on in no, which auto is here: give"):
        train(config, tmp_path / "run", resume=True)
    AcceleratorState._reset_state(True)
    train(replace(config, precision="bf16"), tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="computed in precision bf16, and would go on in no: give --precision bf16"):
        train(replace(config, precision="no"), tmp_path / "run", resume=True)


def test_a_scale_of_nothing_ends_a_run_before_its_checkpoint(
    places: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("generative.adversarial.setup.scaler_states", lambda players: {"1": {"scale": 2.0**-30}})
    with pytest.raises(
        ValueError, match="gradients are no numbers up to epoch .*spectral-norm usually helps, in a new run"
    ):
        train(tiny_config(places[0]), tmp_path / "run")
    assert not checkpoint_path(tmp_path / "run", "last").exists()


def test_gradients_that_are_never_numbers_end_a_scaled_run():
    network = torch.nn.Linear(2, 1)
    player = Player(
        network=network,
        optimiser=torch.optim.Adam(network.parameters(), fused=True),
        scaler=torch.amp.GradScaler("cpu"),
    )
    state = State(config=TransferConfig(), class_names=(), num_samples=0)

    def steps(num: int, loss: Callable[[torch.Tensor], torch.Tensor]) -> State:
        for _ in range(num):
            player.step(loss(network(torch.ones(1, 2)).sum()))
        return replace(state, scaler=scaler_states((player,)))

    before = network.weight.detach().clone()
    check_scales(steps(2, torch.square))
    assert not torch.equal(network.weight, before) and network.weight.isfinite().all()
    before = network.weight.detach().clone()
    check_scales(steps(20, lambda value: (value * 0).square().sqrt()))  # finite, with no finite gradient
    with pytest.raises(ValueError, match="gradients are no numbers up to epoch 0, step 0, though the losses are: fp16"):
        check_scales(steps(25, lambda value: (value * 0).square().sqrt()))
    assert torch.equal(network.weight, before)


def test_what_does_not_go_together_is_refused(places: tuple[str, str, str], tmp_path: Path):
    people, _, guider = places
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    alone = build_posed(tmp_path / "alone", Posed(num_identities=1))
    others = build_posed(tmp_path / "others", Posed(dataset="else"))
    for config, out, words in (
        (tiny_config(people), "full", "is not empty: give --resume"),
        (tiny_config(people, guider="ce"), "a", "give --guider-run RUN of `python -m reid train`, or --guider none"),
        (tiny_config(alone, guider="ce", guider_run=guider), "b", "the data show 1: give --guider none"),
        (tiny_config(others, guider="ce", guider_run=guider), "c", "4 of the 4 in the data are not among them"),
        (tiny_config(people, guider="ce", guider_run=str(tmp_path)), "d", "no checkpoint .*python -m reid train"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            train(config, tmp_path / out)
        AcceleratorState._reset_state(True)
        assert out == "full" or not (tmp_path / out).exists()


def test_a_run_goes_on_as_it_was(tmp_path: Path):
    people, guider = build_posed(tmp_path / "people"), save_guider(tmp_path / "guider", PEOPLE)
    config = tiny_config(people, guider="ce", guider_run=guider, optimise=AdversarialConfig(epochs=1, batch_size=8))
    train(config, tmp_path / "run")

    def refused(config: TransferConfig, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            train(config, tmp_path / "run", resume=True)
        AcceleratorState._reset_state(True)

    refused(replace(config, seed=1), "the checkpoint is of another configuration, seed: 0, not 1")
    path = checkpoint_path(Path(guider), "last")
    path.rename(tmp_path / "old")
    checkpoint_path(Path(save_guider(tmp_path / "new", (*PEOPLE, "tiny/9999"))), "last").rename(path)
    refused(config, "the guider, or what the sets hold, has changed since the run began")
    (tmp_path / "old").rename(path)
    shutil.rmtree(people)
    build_posed(Path(people), Posed(split="train"))
    refused(config, "the guider, or what the sets hold, has changed since the run began")
    shutil.rmtree(people)
    build_posed(Path(people), Posed(images_per_identity=4))
    refused(config, "the training data have changed: 16 samples of 4 identities")


@pytest.mark.parametrize(
    ("player", "is_loss_fine", "words"),
    [
        ("discriminator", False, "loss is no number at epoch 0, step 2: discriminator nan"),
        ("discriminator", True, "loss is no number at epoch 0, step 2: discriminator 0.0, adversarial nan"),
        ("generator", False, "loss is no number at epoch 0, step 2: discriminator .*, adversarial nan"),
        ("generator", True, "generator.* is no number after epoch 1, step 0, though the losses are"),
    ],
)
def test_no_number_in_either_player_ends_the_run(
    player: str,
    is_loss_fine: bool,
    words: str,
    places: tuple[str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """A loss may be a number and its gradient none; the generator then is told so by the discriminator, but not at once."""
    calls, name = [], f"{player}_loss"
    loss = getattr(loop, name)

    def broken(*logits: torch.Tensor) -> torch.Tensor:
        calls.append(logits)
        if len(calls) < 3:
            return loss(*logits)
        return (logits[0] * 0).square().sum().sqrt() if is_loss_fine else loss(*logits) * torch.nan

    monkeypatch.setattr(loop, name, broken)
    config = replace(tiny_config(places[0]), checkpoint_every=1)
    with pytest.raises(ValueError, match=words):
        train(config, tmp_path / "run")
    state, tensors, _ = read_checkpoint(checkpoint_path(tmp_path / "run", "last"), TransferConfig)
    assert state.total_steps == 2
    assert all(value.isfinite().all() for value in tensors.values())
    load_transfer(tmp_path / "run")


def test_pictures_are_drawn_on_the_way(places: tuple[str, str, str], tmp_path: Path):
    config = everything(places, guider="none", guider_run=None, pictures_every=2)
    run = set_up(config, tmp_path / "one", resume=False)
    grid = run.draw()
    shown, size = run.shown, config.networks.size
    assert grid.dtype == torch.uint8 and grid.shape == (4 * size, 8 * size, 3)
    assert len(shown.identities) == 4 and len(shown.keys) == 8
    for row, given in ((0, shown.appearance), (1, shown.skeleton), (3, shown.target)):
        drawn = torch.stack(grid[row * size : (row + 1) * size].split(size, dim=1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(drawn / 127.5 - 1, given, atol=1e-2, rtol=0)
    AcceleratorState._reset_state(True)
    train(config, tmp_path / "run")
    events = EventAccumulator(str(next((tmp_path / "run" / "tensorboard").rglob("events*")).parent))
    events.Reload()
    assert [event.step for event in events.Images("pictures")] == [2, 4, 6]
    assert {"discriminator", "adversarial", "l1", "learning_rate"} <= {*events.Tags()["scalars"]}


def test_bf16_computes_the_networks_and_not_the_losses(places: tuple[str, str, str], tmp_path: Path):
    run = set_up(everything(places, precision="bf16"), tmp_path / "run", resume=False)
    batch, kinds = run.batches.first(), []
    for player in (run.players.generator.to_rgb[1], run.players.discriminator.layers[4]):
        player.register_forward_hook(lambda module, given, made: kinds.append(made.dtype))
    losses = loop.update(run, batch, 0)
    # Generator and discriminator; R1's float32 pass; the discriminator for the generator.
    assert kinds == [torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    assert all(value.dtype == torch.float32 for value in run.players.parameters())


def options(places: tuple[str, str, str], out: Path) -> list[str]:
    return (
        f"train pose-transfer --data {places[0]} --poses {places[1]} --guider triplet --guider-run {places[2]} --out {out} "
        "--networks.size 32 --networks.width 8 --networks.discriminator-width 8 --optimise.epochs 1 --optimise.batch-size 4 "
        "--networks.spectral-norm --losses.r1-weight 1 --losses.r1-every 2 --precision no --data.num-workers 1 --pictures-every 2 --json"
    ).split()


def test_two_processes_give_what_one_gives(places: tuple[str, str, str], tmp_path: Path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, *torchrun, "-m", "generative", *options(places, tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"out": str(tmp_path / "two"), "steps": 3}
    run_here(options(places, tmp_path / "one"))
    one, two = (read_metrics(tmp_path / name)[0] for name in ("one", "two"))
    assert len(one) == len(two) == 3 and "r1" in one[0] and one[0]["guider"] > 0
    for line, other in zip(one, two, strict=True):
        assert line == pytest.approx(other, rel=1e-3)
    one, two = (load_file(checkpoint_path(tmp_path / name, "last")) for name in ("one", "two"))
    for name in Players(replace(SMALL, spectral_norm=True)).state_dict():
        # Adam's steps are about the rate, whatever the gradient: three of them, but for signs that rounding decides.
        gap = (one[f"model.{name}"] - two[f"model.{name}"]).abs()
        assert gap.max() < 7 * 2e-4 and gap.mean() < 2e-5, name


def run_here(arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["generative", *arguments])
        assert cli() == 0


def test_the_command_line_on_rendered_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scene = (
        "--num-identities 6 --num-cameras 2 --height 64 --width 32 --network.rows 192 --network.columns 256 --walk.frames 2 "
        "--detector.min-rows 24 --samples-per-shard 40"
    ).split()
    command = [sys.executable, "-m", "synth", "scene", "--out", str(tmp_path / "scene"), *scene]
    subprocess.run(command, check=True, capture_output=True)
    place = str(tmp_path / "scene")
    arguments = options((place, place, place), tmp_path / "run")
    arguments[arguments.index("triplet")] = "none"
    at = arguments.index("--guider-run")
    del arguments[at : at + 2]
    arguments[arguments.index("--networks.size") + 1] = "64"
    capsys.readouterr()
    run_here(arguments)
    report = json.loads(capsys.readouterr().out)
    assert report == {"out": str(tmp_path / "run"), "steps": len(read_metrics(tmp_path / "run")[0])}
    assert report["steps"] >= 2
    run = load_transfer(tmp_path / "run")
    assert run.config.data.real == run.config.poses == (place,)
    assert run.generator(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)
