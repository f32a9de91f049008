"""SAN: table 8 line by line, equation 1 against a loop, and what each kind of batch teaches and leaves alone."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from reid.batch import MEAN, STD, UNKNOWN, Batch
from reid.constraints import draw_triplets, triplet_constraint
from reid.losses import SPREAD, LossConfig, reid_losses
from reid.models.backbone import BackboneConfig, build_backbone
from reid.models.build import build_model
from reid.models.global_pool import GlobalPoolConfig
from reid.models.san import San, SanConfig
from reid.models.texture_decoder import TextureDecoder, to_pixels
from reid.optimise import OptimiseConfig, make_turns
from reid.presets import PRESETS
from reid.train import update

SMALL = BackboneConfig(name="resnet18", weights="none")
LOSSES = LossConfig(identity_weight=0.5, triplet_weight=1.5)
NO_IDENTITIES = LossConfig(identity_weight=0.0, triplet_weight=0.0)
HEIGHT, WIDTH = 64, 32
MAP = (HEIGHT // 16, WIDTH // 16)


def build(*, losses: LossConfig = LOSSES, num_classes: int = 3, **options) -> San:
    torch.manual_seed(0)
    config = SanConfig(backbone=options.pop("backbone", SMALL), **options)
    return build_model(config, num_classes, losses=losses, pretrained=True)


def make_batch(identities: tuple[int, ...] = (0, 0, 1, 1, 2, 2), *, seed: int = 1) -> Batch:
    """Of noise, as are texture and aligned picture."""
    size, generator = len(identities), torch.Generator().manual_seed(seed)

    def noise(height: int, width: int) -> Tensor:
        return torch.randint(0, 256, (size, height, width, 3), generator=generator, dtype=torch.uint8)

    return Batch(
        images=torch.randn(size, 3, HEIGHT, WIDTH, generator=generator).contiguous(memory_format=torch.channels_last),
        identities=torch.tensor(identities),
        origins=torch.zeros(size, dtype=torch.int64),
        camera_ids=torch.zeros(size, dtype=torch.int64),
        flipped=torch.zeros(size, dtype=torch.bool),
        keys=tuple(map(str, range(size))),
        has_identities=UNKNOWN not in identities,
        labels={"texture": noise(256, 256), "aligned": noise(HEIGHT, WIDTH)},
    )


def pairs() -> Batch:
    return make_batch((UNKNOWN,) * 6, seed=2)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("last", "width", "total"), [("bilinear", 8, 11_122_395), ("shuffle", 2, 11_121_513)])
def test_every_line_of_table_8(last: str, width: int, total: int):
    """At 256 x 128 on ResNet-50, whose maps are 16 x 8 of 2048 channels."""
    decoder = TextureDecoder(2048, last_upsampling=last).eval()
    lines = (decoder.shrink, *decoder.blocks, decoder.to_rgb)
    seen = []
    for line in lines:
        line.register_forward_hook(lambda line, args, output: seen.append(tuple(output.shape[1:])))
    with torch.inference_mode():
        picture, features = decoder(torch.randn(1, 2048, 16, 8))
    assert seen == [(512, 16, 8), (128, 32, 16), (32, 64, 32), (8, 128, 64), (width, 256, 128), (3, 256, 128)]
    assert [tuple(each.shape[1:]) for each in features] == seen[:4]
    assert tuple(picture.shape) == (1, 3, 256, 128)
    pointwise = 2048 * 512 + 2 * 512
    blocks = [2 * (2 * 9 * width**2 + 4 * width) for width in (512, 128, 32, 8)]
    assert [count(line) for line in lines] == [pointwise, *blocks, 7 * 7 * width * 3 + 3]
    encoder = count(build_backbone(BackboneConfig(weights="none"), pretrained=False))
    assert (count(decoder), encoder) == (total, 23_508_032)
    assert 0.32 < total / (total + encoder) < 0.33


@pytest.mark.parametrize(("channels", "size"), [(512, (1, 1)), (1280, (3, 2))])
def test_a_decoder_works_on_any_map(channels: int, size: tuple[int, int]):
    decoder = TextureDecoder(channels)
    picture, _ = decoder(torch.randn(2, channels, *size))
    assert tuple(picture.shape) == (2, 3, 16 * size[0], 16 * size[1])
    assert -1 <= picture.min() < -0.1 and 0.1 < picture.max() <= 1
    picture.square().mean().backward()
    assert [name for name, parameter in decoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_skips_are_added_to_what_three_blocks_are_given(name: str):
    model = build(backbone=BackboneConfig(name=name, weights="none"), encoder_skips=True).eval()
    channels = [model.backbone.num_channels // times for times in (2, 4, 8)]
    assert [(skip[0].in_channels, skip[0].out_channels) for skip in model.decoder.skips] == [
        *zip(channels, (512, 128, 32), strict=True)
    ]
    images, stages, given = make_batch().images, {}, []
    for stage in ("layer1", "layer2", "layer3"):
        layer = model.backbone.get_submodule(stage)
        layer.register_forward_hook(lambda layer, args, output, stage=stage: stages.update({stage: output}))
    for block in model.decoder.blocks:
        block.register_forward_pre_hook(lambda block, args: given.append(args[0]))
    with torch.inference_mode():
        maps, skips = model._encode(images)
        assert torch.equal(maps, model.backbone(images))
        _, features = model.decoder(maps, skips)
        for i, stage in enumerate(("layer3", "layer2", "layer1")):
            convolution, norm, relu = model.decoder.skips[i]
            torch.testing.assert_close(given[i], features[i] + relu(norm(convolution(stages[stage]))))
        assert torch.equal(given[3], features[3])
        assert all(each.min() >= 0 and each.max() > 0 for each in features)
    with pytest.raises(ValueError, match=r"multiples of 16 pixels, got \(64, 40\)"):
        model.drawings(torch.randn(1, 3, 64, 40))


def slow_constraint(maps: Tensor, positives: list[int], negatives: list[int], margin: float) -> float:
    """Equation 1, place by place; images whose positive is -1 count nothing."""
    count, _, height, width = maps.shape
    hinges = []
    for a in range(count):
        if positives[a] < 0 or negatives[a] < 0:
            continue
        total = {"positive": 0.0, "negative": 0.0}
        for i in range(height):
            for j in range(width):
                for which, other in (("positive", positives[a]), ("negative", negatives[a])):
                    total[which] += (maps[a, :, i, j] - maps[other, :, i, j]).norm().item() ** 2 / (height * width)
        hinges.append(max(total["positive"] - total["negative"] + margin, 0.0))
    return math.fsum(hinges) / len(hinges) if hinges else 0.0


@pytest.mark.parametrize("pooled", [False, True])
def test_equation_1(pooled: bool):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(7, 5, 3, 2, generator=generator) / 3
    identities = torch.tensor([0, 0, 1, 1, 1, 2, 0])  # the sixth has no positive
    triplets = draw_triplets(identities, identities)
    assert triplets.valid.tolist() == [True] * 5 + [False, True]
    positives = triplets.positives.where(triplets.valid, -1).tolist()
    compared = maps.mean((2, 3), keepdim=True) if pooled else maps
    for margin in (0.3, 2.0):
        expected = slow_constraint(compared, positives, triplets.negatives.tolist(), margin)
        assert expected > 0
        found = triplet_constraint(maps, maps, triplets, margin, pooled=pooled)
        assert found.item() == pytest.approx(expected, rel=1e-5)
        # Of 5 channels: the mean of squares is the sum of those of maps shrunk by the root of 5.
        expected = slow_constraint(compared / 5**0.5, positives, triplets.negatives.tolist(), margin)
        found = triplet_constraint(maps, maps, triplets, margin, pooled=pooled, mean=True)
        assert found.item() == pytest.approx(expected, rel=1e-5)


def test_constraints_of_a_batch_without_triplets_are_nothing():
    maps = torch.randn(3, 4, 2, 2, requires_grad=True)
    for identities in ((0, 1, 2), (5, 5, 5)):
        triplets = draw_triplets(*[torch.tensor(identities)] * 2)
        assert not triplets.valid.any()
        loss = triplet_constraint(maps, maps, triplets, 0.3)
        loss.backward()
        assert loss == 0 and not maps.grad.any()


def test_positives_and_negatives_are_drawn_evenly():
    """Never the image itself, always of the right identity, each as often as any other, and independently."""
    identities = torch.tensor([0, 1, 0, 0, 1, 2, 2])
    torch.manual_seed(0)
    num, drawn = 2000, torch.zeros(2, 7, 7)
    together = torch.zeros(7, 7)
    for _ in range(num):
        triplets = draw_triplets(identities, identities)
        drawn[0, range(7), triplets.positives] += 1
        drawn[1, range(7), triplets.negatives] += 1
        together[triplets.positives[0], triplets.negatives[0]] += 1
    same = identities[:, None] == identities
    allowed = torch.stack([same & ~torch.eye(7, dtype=torch.bool), ~same])
    expected = allowed / allowed.sum(2, keepdim=True)
    assert not drawn[~allowed].any()
    assert (drawn / num - expected).abs().max() < 0.05
    assert (together / num - expected[0, 0][:, None] * expected[1, 0]).abs().max() < 0.04


def test_distances_are_sums_or_means_over_channels():
    """From the same draw; of a margin of 0 the blocks' losses are those of 512, 128 and 32 channels."""
    batch, losses = make_batch((0, 0, 0, 1, 1, 1)), {}
    for distance in ("sum", "mean"):
        model = build(constraint_distance=distance, constraint_margin=0.0, constraint_blocks=(1,))
        torch.manual_seed(1)
        losses[distance] = model(batch)["decoder_triplet"]
    torch.testing.assert_close(losses["sum"], 512 * losses["mean"])


def test_a_step_draws_what_its_seed_says():
    model, batch = build(), make_batch((0, 0, 0, 1, 1, 1))
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(model(batch)["decoder_triplet"].item())
    assert found[0] == found[1] != found[2]


def shrink(length: int, to: int) -> Tensor:
    """(to, length) float64: how much each new pixel has of each old one, bilinear with a filter as wide as it shrinks."""
    centres = (torch.arange(to, dtype=torch.float64) + 0.5) * length / to
    away = (torch.arange(length, dtype=torch.float64) + 0.5 - centres[:, None]).abs() * to / length
    weights = (1 - away).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize("pooled", [False, True])
def test_the_losses_of_known_people(pooled: bool):
    """Those of GlobalPool, L1 to the texture shrunk to -1..1, and the sum of equation 1 over blocks, each weighted."""
    options = {
        "reconstruction_weight": 2.0,
        "constraint_weight": 3.0,
        "constraint_blocks": (1, 3, 4),
        "pooled_constraints": pooled,
    }
    model, batch = build(**options).eval(), make_batch()
    torch.manual_seed(5)
    losses = model(batch)
    assert list(losses) == ["identity", "triplet", SPREAD, "reconstruction", "decoder_triplet"]
    embedded = model.embed(batch.images)
    wanted = reid_losses(batch, LOSSES, logits=[model.classifier(embedded)], embeddings=[embedded])
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value)

    picture, features = model.decoder(model.feature_map(batch.images))
    rows, columns = shrink(256, HEIGHT), shrink(256, WIDTH)
    texture = torch.einsum("hr,brsc,ws->bchw", rows, batch.labels["texture"].double(), columns) / 127.5 - 1
    difference = (picture.double() - texture).abs().sum().item() / (6 * 3 * HEIGHT * WIDTH)
    assert losses["reconstruction"].item() == pytest.approx(2 * difference, rel=1e-5)

    torch.manual_seed(5)
    drawn = draw_triplets(batch.identities, batch.identities)
    positives, negatives = drawn.positives.tolist(), drawn.negatives.tolist()
    compared = [features[i].detach() for i in (0, 2, 3)]
    if pooled:
        compared = [maps.mean((2, 3), keepdim=True) for maps in compared]
    blocks = [slow_constraint(maps, positives, negatives, 0.3) for maps in compared]
    assert losses["decoder_triplet"].item() == pytest.approx(3 * sum(blocks), rel=1e-4)


def test_gradients_reach_every_parameter():
    for options in ({"encoder_skips": True}, {"reconstruct": "input", "constraint_weight": 0.0}):
        model = build(**options)
        losses = model(make_batch())
        assert ("decoder_triplet" in losses) == ("constraint_weight" not in options)
        sum(loss for loss in losses.values() if loss.requires_grad).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), name


def test_constraints_teach_encoder_and_decoder_but_not_the_classifier():
    model = build(constraint_blocks=(1, 2))
    names = [name for name, _ in model.named_parameters()]
    loss = model(make_batch())["decoder_triplet"]
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    reached = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None and gradient.any()}
    later = ("decoder.blocks.1.", "decoder.blocks.2.", "decoder.blocks.3.", "decoder.to_rgb.")
    assert reached == {name for name in names if not name.startswith(("classifier.", *later))}


def test_pairs_teach_reconstruction_alone():
    model = build()
    losses = model(pairs())
    assert list(losses) == ["reconstruction"]
    losses["reconstruction"].backward()
    for name, parameter in model.named_parameters():
        # All have a gradient, for which several processes wait; the classifier's is nothing.
        assert parameter.grad.any() == (not name.startswith("classifier.")), name


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_step_with_pairs_leaves_the_classifier_as_it_is(optimiser: str):
    """Momentum and decay of weights would move it without a gradient."""
    model = build()
    optimise = OptimiseConfig(optimiser=optimiser, learning_rate=0.01, weight_decay=0.1, momentum=0.9)
    (turn,) = make_turns(model, optimise)
    run = SimpleNamespace(model=model, network=model, accelerator=SimpleNamespace(backward=Tensor.backward))

    def moved(batch: Batch) -> set[str]:
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        update(run, turn, batch)
        return {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}

    assert moved(make_batch()) == {"backbone", "classifier", "decoder"}
    assert moved(pairs()) == {"backbone", "decoder"}
    assert moved(make_batch()) == {"backbone", "classifier", "decoder"}


def test_the_decoder_has_a_rate_of_its_own():
    model = build(decoder_rate_factor=0.25)
    (turn,) = make_turns(model, OptimiseConfig(backbone_factor=0.5))
    factors = {id(one): group["factor"] for group in turn.optimiser.param_groups for one in group["params"]}
    wanted = {"backbone": 0.5, "decoder": 0.25, "classifier": 1.0}
    assert {name: factors[id(p)] for name, p in model.named_parameters()} == {
        name: wanted[name.split(".")[0]] for name, _ in model.named_parameters()
    }


def test_what_is_drawn():
    """In table 2's three ways; the picture that the network was given is that of the batch, erased parts and all."""
    batch = make_batch()
    for what, labels in (("texture", {"texture"}), ("aligned", {"aligned"}), ("input", set())):
        model = build(reconstruct=what).eval()
        assert model.labels == labels
        ((name, drawn),) = model.drawings(batch.images).items()
        assert (name, drawn.dtype, tuple(drawn.shape)) == (what, torch.uint8, (6, HEIGHT, WIDTH, 3))
        picture, _ = model.decoder(model.feature_map(batch.images))
        torch.testing.assert_close(drawn / 127.5 - 1, picture.permute(0, 2, 3, 1), atol=0.5 / 127.5 + 1e-6, rtol=0)
        target = model._target(batch, picture)
        match what:
            case "texture":
                assert target.shape == picture.shape
            case "aligned":
                assert torch.equal(to_pixels(target), batch.labels["aligned"])
            case "input":
                mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
                torch.testing.assert_close((target / 2 + 0.5 - mean) / std, batch.images, atol=1e-5, rtol=1e-5)
    assert to_pixels(torch.tensor([-1.0, 1.0, 0.5]).expand(1, 3, 1, 3))[0, 0, :, 0].tolist() == [0, 255, 191]


def test_without_identities_it_is_the_network_of_pseudo_ground_truth():
    """And SAN takes over all of its weights."""
    teacher = build(losses=NO_IDENTITIES, num_classes=0, constraint_weight=0.0)
    assert teacher.classifier is None and teacher.identity_layers == ()
    for batch in (pairs(), make_batch()):
        losses = teacher(batch)
        assert list(losses) == ["reconstruction"]
        teacher.zero_grad()
        losses["reconstruction"].backward()
        assert all(parameter.grad.any() for parameter in teacher.parameters())
    found = build().load_state_dict(teacher.state_dict(), strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["classifier.weight", "classifier.bias"], [])
    with pytest.raises(ValueError, match="SanConfig learns from identities, got none"):
        build(num_classes=0)


def test_without_the_decoder_it_is_the_baseline():
    """The same network from the same seed, as large and with the same embeddings, before and after stripping."""
    model = build()
    torch.manual_seed(0)
    config = GlobalPoolConfig(backbone=SMALL, pooling="average", embedding_dim=None)
    baseline = build_model(config, 3, losses=LOSSES, pretrained=True)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("decoder.")}
    assert kept.keys() == baseline.state_dict().keys()
    assert all(torch.equal(value, kept[name]) for name, value in baseline.state_dict().items())
    images = make_batch().images
    with torch.inference_mode():
        before = model.eval().embed(images)
        after = model.strip().embed(images)
        assert torch.equal(before, after) and torch.equal(after, baseline.eval().strip().embed(images))
    assert before.shape == (6, 512) and before.std() > 0
    assert count(model) == count(baseline) == count(baseline.backbone)
    assert model.drawings(images) == {}


def test_a_bf16_step_in_channels_last():
    model = build().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(make_batch())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(loss for loss in losses.values() if loss.requires_grad).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reconstruction_weight": 0.0}, "must be > 0, got 0.0 and 0.0125; the preset baseline"),
        ({"decoder_rate_factor": math.inf}, "must be > 0, got 1.0 and inf"),
        ({"constraint_weight": -1.0}, "must be >= 0, got -1.0"),
        ({"constraint_margin": math.nan}, "must be >= 0, got 1.0 and nan"),
        ({"constraint_blocks": (0, 1)}, r"some of 1, 2, 3, 4, each once, got \(0, 1\)"),
        ({"constraint_blocks": (2, 2)}, "each once"),
        ({"constraint_blocks": ()}, "for no constraints set constraint_weight 0"),
        ({"encoder_skips": True, "backbone": BackboneConfig(name="osnet")}, "layers of a ResNet, got osnet"),
    ],
)
def test_impossible_settings(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SanConfig(**options)
    assert SanConfig(constraint_weight=0.0, constraint_blocks=()).constraint_blocks == ()


def test_triplets_of_the_decoder_need_people_who_meet():
    """All shuffled, hardly anybody meets oneself in a batch."""
    config = PRESETS["san-pg"]()
    with pytest.raises(ValueError, match="a triplet needs two pictures of one person and one of another"):
        replace(config, model=replace(config.model, constraint_weight=1.0))


def test_skips_need_sizes_that_the_encoder_halves_evenly():
    """Refused before a run leaves anything behind."""
    config = PRESETS["san"]()
    skipping = replace(config, model=replace(config.model, encoder_skips=True))
    with pytest.raises(ValueError, match="model.encoder-skips need pictures of multiples of 16 pixels, got 250 x 128"):
        replace(skipping, input=replace(config.input, height=250))
