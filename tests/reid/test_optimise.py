"""Learning rates against slow formulas, groups of parameters, optimisers that take turns, and what they remember."""

import math

import pytest
import torch
from tiny_people import People, build_people
from tiny_trainer import TinyModel, build_tiny, tiny_config
from torch import nn

from reid.losses import LossConfig
from reid.optimise import OptimiseConfig, load_state_tensors, make_turns, set_rates, state_tensors
from reid.presets import baseline
from reid.train import objective, train


def tiny() -> TinyModel:
    torch.manual_seed(0)
    return TinyModel(4, LossConfig())


def step(model: nn.Module, turn, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    turn.optimiser.step()


def test_steps_after_a_warm_up():
    """DSA-reID's: 8e-6 to 8e-4 in 20 epochs, halved every 40."""
    config = baseline().optimise
    assert config.learning_rate * config.rate_factor(0) == pytest.approx(8e-6)
    for epoch in (1, 7.5, 19.99):
        assert config.rate_factor(epoch) == pytest.approx(0.01 + 0.99 * epoch / 20)
    for epoch in (20, 39.9, 40, 79, 80, 200, 319.9):
        wanted = 1.0
        for milestone in (40, 80, 120, 160, 200, 240, 280):
            if epoch >= milestone:
                wanted /= 2
        assert config.rate_factor(epoch) == pytest.approx(wanted)


def test_milestones_within_the_warm_up_count():
    config = OptimiseConfig(epochs=9, warmup_epochs=4, warmup_factor=0.2, milestones=(2, 3), gamma=0.1)
    assert config.rate_factor(1) == pytest.approx(0.4)
    assert config.rate_factor(2) == pytest.approx(0.06)
    assert config.rate_factor(3.5) == pytest.approx(0.9 * 0.01)


def test_cosine():
    config = OptimiseConfig(epochs=250, warmup_epochs=0, decay="cosine")
    for epoch, wanted in ((0, 1), (125, 0.5), (62.5, 0.5 + math.sqrt(0.125)), (250, 0)):
        assert config.rate_factor(epoch) == pytest.approx(wanted, abs=1e-12)
    warm = OptimiseConfig(epochs=250, warmup_epochs=10, warmup_factor=0.1, decay="cosine")
    assert warm.rate_factor(5) == pytest.approx(0.55 * config.rate_factor(5))
    assert warm.rate_factor(10) == config.rate_factor(10)


@pytest.mark.parametrize("kind", ["sgd", "adam", "amsgrad"])
def test_groups_are_complete_disjoint_and_have_their_rates(kind: str):
    model = tiny()
    config = OptimiseConfig(
        optimiser=kind,
        epochs=4,
        learning_rate=0.02,
        backbone_factor=0.5,
        momentum=0.8,
        warmup_epochs=0,
        milestones=(2,),
    )
    (turn,) = make_turns(model, config)
    groups = turn.optimiser.param_groups
    assert [set(group["params"]) for group in groups] == [
        set(model.backbone.parameters()),
        {*model.head.parameters(), *model.classifier.parameters()},
    ]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert all(group["weight_decay"] == 5e-4 for group in groups)
    for epoch, rate in ((0.0, 0.02), (3.3, 0.002)):
        assert set_rates(turn, config, epoch) == pytest.approx(rate)
        assert [group["lr"] for group in groups] == pytest.approx([rate / 2, rate])
    match kind:
        case "sgd":
            assert isinstance(turn.optimiser, torch.optim.SGD) and groups[1]["momentum"] == 0.8
        case _:
            assert isinstance(turn.optimiser, torch.optim.Adam) and groups[1]["amsgrad"] == (kind == "amsgrad")


def test_a_step_is_that_of_sgd():
    """v = 0.9 v + g + wd w; w = w - rate v, with half the rate in the backbone."""
    model = tiny()
    config = OptimiseConfig(optimiser="sgd", epochs=4, learning_rate=0.1, backbone_factor=0.5, warmup_epochs=0)
    (turn,) = make_turns(model, config)
    set_rates(turn, config, 0)
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    speeds = {name: torch.zeros_like(value) for name, value in weights.items()}
    for seed in (1, 2):
        step(model, turn, seed)
        for name, parameter in model.named_parameters():
            speeds[name] = 0.9 * speeds[name] + parameter.grad + 5e-4 * weights[name]
            weights[name] = weights[name] - (0.05 if name.startswith("backbone") else 0.1) * speeds[name]
            torch.testing.assert_close(parameter.detach(), weights[name])


def test_two_losses_take_turns_with_an_optimiser_each():
    model = tiny()
    config = OptimiseConfig(optimiser="sgd", learning_rate=0.1, triplet_learning_rate=0.01, epochs=4, warmup_epochs=0)
    turns = make_turns(model, config)
    assert [(turn.waiting, turn.learning_rate) for turn in turns] == [({"triplet"}, 0.1), ({"identity"}, 0.01)]
    assert [set_rates(turn, config, 0) for turn in turns] == [0.1, 0.01]
    step(model, turns[0], 0)
    assert turns[0].optimiser.state and not turns[1].optimiser.state
    values = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in (("identity", 2.0), ("triplet", 3.0), ("parts", 5.0))
    }
    watched = {"spread": torch.tensor(9.0)}
    for turn, gradients in zip(turns, ((1, 0, 1), (0, 1, 1)), strict=True):
        total = objective(values | watched, turn)
        assert torch.autograd.grad(total, list(values.values())) == gradients
        assert total == sum(v * g for v, g in zip((2, 3, 5), gradients, strict=True))
    (both,) = make_turns(model, OptimiseConfig())
    assert objective(values | watched, both) == 10
    with pytest.raises(
        ValueError,
        match=r"a step needs a loss besides identity with a gradient, the model gave \['identity', 'spread'\]",
    ):
        objective({"identity": values["identity"]} | watched, turns[1])


@pytest.mark.parametrize("kind", ["sgd", "adam", "amsgrad"])
def test_what_optimisers_remember_survives(kind: str):
    config = OptimiseConfig(optimiser=kind, triplet_learning_rate=0.01, learning_rate=0.1, epochs=4, warmup_epochs=0)
    models = [tiny(), tiny()]
    first, second = (make_turns(model, config) for model in models)
    for seed, turn in enumerate((*first, *first, first[0])):
        step(models[0], turn, seed)
    models[1].load_state_dict(models[0].state_dict())
    tensors = state_tensors(first, models[0])
    entries = {"sgd": 1, "adam": 3, "amsgrad": 4}[kind]
    assert len(tensors) == 2 * entries * len(list(models[0].parameters()))
    load_state_tensors(second, models[1], {name: value.clone() for name, value in tensors.items()})
    for seed, (one, two) in enumerate(zip((*first, *first), (*second, *second), strict=True), start=9):
        step(models[0], one, seed)
        step(models[1], two, seed)
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_backbone_is_held_at_first(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Also its batch norm; afterwards it learns."""

    def build(*args, **kwargs) -> TinyModel:
        model = build_tiny(*args, **kwargs)
        model.backbone.insert(1, nn.BatchNorm2d(8))
        built.append((model, {name: value.clone() for name, value in model.state_dict().items()}))
        return model

    built: list[tuple[TinyModel, dict[str, torch.Tensor]]] = []
    monkeypatch.setattr("reid.start.build_model", build)
    place = build_people(tmp_path / "set", People())
    for epochs in (2, 3):
        optimise = OptimiseConfig(epochs=epochs, learning_rate=1e-2, warmup_epochs=0, head_only_epochs=2)
        train(tiny_config(place, optimise=optimise), tmp_path / str(epochs))
        model, before = built[-1]
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        of_backbone = {name for name in before if name.startswith("backbone.")}
        assert changed == before.keys() - of_backbone if epochs == 2 else changed == before.keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning rates and their factors must be > 0"),
        ({"momentum": 1.0}, "momentum in 0..1"),
        ({"milestones": (3, 2)}, r"milestones must rise, got \(3, 2\)"),
    ],
)
def test_what_cannot_be(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        OptimiseConfig(**fields)
