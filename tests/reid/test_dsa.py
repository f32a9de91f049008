"""DSA-reID: table 1, branches as one grouped convolution, what is learnt from what, and what is left when training is over."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from reid.batch import Batch
from reid.config import differences
from reid.gradcam import grad_cam
from reid.losses import SPREAD, LossConfig, everywhere, triplet_loss
from reid.models.backbone import BackboneConfig
from reid.models.build import build_model
from reid.models.dsa import Dsa, DsaConfig
from reid.models.dsag_stream import DsagStream, merge_branches
from reid.models.residual import BlockName, ResidualBlock, convolution, residual_stage
from reid.part_images import cropped_part_images, dense_part_images
from reid.presets import PRESETS
from shards.semantics import PART_13_TO_8, PARTS_8, SURFACE_TO_13

SMALL = BackboneConfig(name="resnet18", weights="none")
LOSSES = LossConfig(identity_weight=0.5, triplet_weight=1.5, smoothing=everywhere(0.1))
NUM_CLASSES = 3


def small(**changes: object) -> DsaConfig:
    return DsaConfig(**{"backbone": SMALL, "part_size": 8, **changes})


def build(config: DsaConfig | None = None, **losses: float) -> Dsa:
    torch.manual_seed(0)
    config = config or small()
    return build_model(config, NUM_CLASSES, losses=replace(LOSSES, **losses), pretrained=True)


def make_batch() -> Batch:
    """Six pictures of three persons, two of which show no surface."""
    rng = np.random.default_rng(5)
    iuv = rng.integers(0, 256, (6, 64, 32, 3), dtype=np.uint8)
    iuv[..., 0] = rng.permuted(np.resize(np.arange(25), (6, 64 * 32)), axis=1).reshape(6, 64, 32)
    iuv[..., :20, 0] *= rng.integers(0, 2, (6, 1, 1), dtype=np.uint8)
    iuv[1:3] = 0
    return Batch(
        images=torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(1)),
        identities=torch.tensor([0, 0, 1, 1, 2, 2]),
        origins=torch.zeros(6, dtype=torch.int64),
        camera_ids=torch.zeros(6, dtype=torch.int64),
        flipped=torch.zeros(6, dtype=torch.bool),
        keys=tuple("abcdef"),
        labels={"iuv": torch.from_numpy(iuv)},
    )


def with_gradient(model: Dsa) -> set[str]:
    """Names of the submodules that a gradient has reached."""
    return {
        name
        for name, module in model.named_children()
        if any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in module.parameters())
    }


# Table 1


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def blocks(fine: int, width: int, *, shrinks: bool = False) -> int:
    """Parameters of a stage of two basic blocks: four 3x3 convolutions and the shortcut, with batch norms."""
    convolutions = 9 * width * (fine + 3 * width) + (fine * width if fine != width or shrinks else 0)
    return convolutions + 2 * width * (5 if fine != width or shrinks else 4)


def test_table_1():
    with torch.device("meta"):
        stream = DsagStream(128, 2048, {"conv5_g": 1, "conv5_l": 8})
        shapes, sizes = {}, {}
        rows = {"conv1": stream.conv1, "conv2": stream.conv2, "conv3_x": stream.conv3, "conv4_x": stream.conv4}
        rows |= {"conv5_g": stream.heads["conv5_g"], "conv5_l": stream.heads["conv5_l"]}
        for name, row in rows.items():
            sizes[name] = num_parameters(row)
            row.register_forward_hook(lambda _, args, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
        features = stream(torch.empty(2, 24, 3, 32, 32))
    assert shapes == {
        "conv1": (24 * 32, 32, 32), "conv2": (24 * 64, 32, 32), "conv3_x": (24 * 64, 16, 16),
        "conv4_x": (13 * 128, 8, 8), "conv5_g": (2048, 8, 8), "conv5_l": (8 * 256, 8, 8),
    }  # fmt: skip
    assert sizes == {
        "conv1": 24 * (5 * 5 * 3 * 32 + 2 * 32),
        "conv2": 24 * (3 * 3 * 32 * 64 + 2 * 64),
        "conv3_x": 24 * blocks(64, 64, shrinks=True),
        "conv4_x": 13 * blocks(64, 128, shrinks=True),
        "conv5_g": blocks(8 * 128, 2048),
        "conv5_l": 8 * blocks(128, 256),
    }
    assert {name: feature.shape for name, feature in features.items()} == {"conv5_g": (2, 2048), "conv5_l": (2, 2048)}
    assert num_parameters(stream) == sum(sizes.values()) == 162_025_472


def test_the_whole_picture_s_stream_at_full_size():
    with torch.device("meta"):
        model = build_model(DsaConfig(), 751, losses=LOSSES, pretrained=False).eval()
        images, iuv = torch.empty(2, 3, 256, 128), torch.empty(2, 256, 128, 3, dtype=torch.uint8)
        assert model.backbone(images).shape == (2, 1024, 16, 8)
        assert model.feature_map(images).shape == (2, 2048, 16, 8)
        assert model.heads["conv5_l"](model.backbone(images)).shape == (2, 8 * 256, 16, 8)
        assert model.embed(images).shape == model.embed_fused(images, iuv).shape == (2, 4096)
        resnet = torchvision.models.resnet50()
    assert num_parameters(model.heads["conv5_g"]) == num_parameters(resnet.layer4)
    width, inner = 256, 64
    first = 1024 * inner + 9 * inner**2 + inner * width + 1024 * width + 2 * (2 * inner + 2 * width)
    other = width * inner + 9 * inner**2 + inner * width + 2 * (2 * inner + width)
    assert num_parameters(model.heads["conv5_l"]) == 8 * (first + 2 * other)


# Branches


def one_by_one(module: nn.Module, num_branches: int, layer) -> list[nn.Module]:
    """`layer()` once for every branch, with the weights that it has in `module`."""
    twins = []
    for i in range(num_branches):
        twin = layer()
        state = module.state_dict()
        mine = {key: value if value.ndim == 0 else value.chunk(num_branches)[i] for key, value in state.items()}
        twin.load_state_dict(mine)
        twins.append(twin)
    return twins


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_grouped_is_separate(kind: BlockName, is_shared: bool):
    """In training, where batch norm looks at the batch, and their gradients too."""
    own, shared = 8, 16
    together = residual_stage(
        kind, shared if is_shared else 3 * own, 3 * 12, num_blocks=2, stride=2, branches=3, is_input_shared=is_shared
    )
    fine = shared if is_shared else own
    twins = one_by_one(together, 3, lambda: residual_stage(kind, fine, 12, num_blocks=2, stride=2))
    maps = torch.randn(4, shared if is_shared else 3 * own, 6, 5, requires_grad=True)
    inputs = [maps] * 3 if is_shared else maps.chunk(3, dim=1)
    found, wanted = together(maps), torch.cat([twin(each) for twin, each in zip(twins, inputs, strict=True)], dim=1)
    assert found.shape == (4, 36, 3, 3)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((each * weights).sum(), maps)[0] for each in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("resnet50", "bottleneck"), ("resnet18", "basic")])
def test_a_stage_is_that_of_resnet(name: str, kind: BlockName):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)().layer3
    ours = residual_stage(
        kind, theirs[0].conv1.in_channels, theirs[0].downsample[0].out_channels, num_blocks=len(theirs), stride=2
    )
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    maps = torch.randn(2, theirs[0].conv1.in_channels, 6, 4)
    torch.testing.assert_close(ours(maps), theirs(maps), rtol=1e-4, atol=1e-4)


def test_a_branch_starts_as_if_it_were_alone():
    """ResNet's initialisation: variance 2 / (kernel^2 x the branch's own output channels)."""
    for is_shared in (False, True):
        weight = convolution(64, 8 * 64, 3, branches=8, is_input_shared=is_shared)[0].weight
        assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    reference = nn.Conv2d(64, 64, 3)
    nn.init.kaiming_normal_(reference.weight, mode="fan_out", nonlinearity="relu")
    assert weight.std().item() == pytest.approx(reference.weight.std().item(), rel=0.03)


def test_a_shortcut_only_where_the_shape_changes():
    assert [isinstance(ResidualBlock("basic", 8, n, stride=s).shortcut, nn.Identity) for n, s in ((8, 1), (8, 2), (16, 1))] == [True, False, False]  # fmt: skip


def test_the_whole_stream_is_its_branches():
    """24, then 13, then 8 small networks one by one, merged by the tables."""
    torch.manual_seed(0)
    stream = DsagStream(8, 24, {"conv5_g": 1, "conv5_l": 8})
    pictures = torch.randn(3, 24, 3, 16, 16)
    first = one_by_one(stream.conv1, 24, lambda: convolution(3, 2, 5))
    second = one_by_one(stream.conv2, 24, lambda: convolution(2, 4, 3))
    third = one_by_one(stream.conv3, 24, lambda: residual_stage("basic", 4, 4, num_blocks=2, stride=2))
    fourth = one_by_one(stream.conv4, 13, lambda: residual_stage("basic", 4, 8, num_blocks=2, stride=2))
    local = one_by_one(stream.heads["conv5_l"], 8, lambda: residual_stage("basic", 8, 3, num_blocks=2))
    parts, merged = [0] * 14, [0] * 9
    for surface in range(1, 25):
        maps = functional.relu(first[surface - 1](pictures[:, surface - 1]))
        maps = third[surface - 1](functional.relu(second[surface - 1](maps)))
        parts[SURFACE_TO_13[surface]] = parts[SURFACE_TO_13[surface]] + maps
    for part in range(1, 14):
        merged[PART_13_TO_8[part]] = merged[PART_13_TO_8[part]] + fourth[part - 1](parts[part])
    found = copy.deepcopy(stream)(pictures)
    wanted = torch.cat([branch(maps).mean((2, 3)) for branch, maps in zip(local, merged[1:], strict=True)], dim=1)
    torch.testing.assert_close(found["conv5_l"], wanted, rtol=1e-3, atol=1e-4)
    whole = stream.heads["conv5_g"](torch.cat(merged[1:], dim=1)).mean((2, 3))
    torch.testing.assert_close(found["conv5_g"], whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("table", [SURFACE_TO_13, PART_13_TO_8])
def test_branches_are_merged_by_the_table(table: np.ndarray):
    maps = torch.randint(-9, 10, (2, (len(table) - 1) * 3, 4, 5)).float()
    wanted = torch.zeros(2, int(table.max()), 3, 4, 5)
    for fine in range(1, len(table)):
        wanted[:, table[fine] - 1] += maps[:, 3 * (fine - 1) : 3 * fine]
    assert torch.equal(merge_branches(maps, table.tolist()), wanted.flatten(1, 2))


# Losses


def cross_entropy(logits: Tensor, identities: Tensor) -> Tensor:
    return functional.cross_entropy(logits, identities, label_smoothing=0.1)


@pytest.mark.parametrize("guide", ["dense", "cropped", "none"])
def test_losses_by_hand(guide: str):
    """0.5 on nine heads of the picture's features, 0.8 and 1.5 on two fused features, all added up."""
    model, batch = build(small(guide=guide, fused_identity_weight=0.8)).eval(), make_batch()
    for layer in [*model.classifiers, *model.fused_classifiers]:
        nn.init.normal_(layer[2].weight)
    maps = model.backbone(batch.images)
    whole, local = (model.heads[name](maps).mean((2, 3)) for name in ("conv5_g", "conv5_l"))
    fused = [whole, local]
    if guide != "none":
        warp = dense_part_images if guide == "dense" else cropped_part_images
        guides = model.dsag_stream(warp(batch.images, batch.labels["iuv"], 8)[0])
        fused = [whole + guides["conv5_g"], local + guides["conv5_l"]]
    alone = [whole, *(local[:, 64 * i : 64 * (i + 1)] for i in range(8))]
    wanted = {
        "identity": 0.5
        * sum(cross_entropy(f(x), batch.identities) for f, x in zip(model.classifiers, alone, strict=True)),
        "fused_identity": 0.8
        * sum(cross_entropy(f(x), batch.identities) for f, x in zip(model.fused_classifiers, fused, strict=True)),
        "triplet": 1.5 * sum(triplet_loss([x], batch, LOSSES)[0] for x in fused),
        SPREAD: triplet_loss(fused, batch, LOSSES)[1],
    }
    if guide != "none":
        wanted["unseen"] = torch.tensor(2 / 6)
    found = model.losses(batch)
    assert found.keys() == wanted.keys() and found["fused_identity"] > 0.5
    assert {name for name, loss in found.items() if not loss.requires_grad} <= {SPREAD, "unseen"}
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert model.labels == (frozenset() if guide == "none" else {"iuv"})
    torch.testing.assert_close(model.embed_fused(batch.images, batch.labels["iuv"]) if guide != "none" else fused[0], torch.cat(fused, 1) if guide != "none" else whole)  # fmt: skip
    torch.testing.assert_close(model.embed(batch.images), torch.cat([whole, local], 1))


def test_which_loss_teaches_what():
    both = {"backbone", "heads", "dsag_stream"}
    reached = {"identity": {"backbone", "heads", "classifiers"}, "fused_identity": both | {"fused_classifiers"}, "triplet": both}  # fmt: skip
    model = build()
    for layer in [*model.classifiers, *model.fused_classifiers]:
        nn.init.normal_(layer[2].weight)
    for name, wanted in reached.items():
        model.zero_grad()
        model(make_batch())[name].backward()
        assert with_gradient(model) == wanted


@pytest.mark.parametrize(
    ("branches", "guide", "fusion"),
    [
        *itertools.product(["both", "global", "local"], ["dense", "none"], ["add"]),
        ("both", "cropped", "add"),
        ("both", "dense", "concatenate"),
        ("local", "cropped", "concatenate"),
        ("global", "none", "concatenate"),
    ],
)
def test_every_variant_takes_a_step(branches: str, guide: str, fusion: str):
    model = build(small(branches=branches, guide=guide, fusion=fusion))
    losses = model(make_batch())
    sum(loss for loss in losses.values() if loss.requires_grad).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    torch.optim.SGD(model.parameters(), 1e-3).step()
    assert sum(loss for loss in model(make_batch()).values()).isfinite()
    model.eval()
    images = make_batch().images
    width = {"both": 1024, "global": 512, "local": 512}[branches]
    assert model.embed(images).shape == (6, width)
    assert grad_cam(model, images).shape == (6, 4, 2)
    parts = model.embedding_parts()
    wanted = {"both": ["global", *PARTS_8[1:]], "global": [], "local": [*PARTS_8[1:]]}[branches]
    assert list(parts) == wanted and sum(parts.values()) == (width if parts else 0)


def test_fusion_by_a_layer_has_both_streams_before_it():
    model, batch = build(small(fusion="concatenate")).eval(), make_batch()
    guides = model.dsag_stream(dense_part_images(batch.images, batch.labels["iuv"], 8)[0])
    features = model.embed(batch.images).chunk(2, dim=1)
    wanted = [
        model.fusions[n](torch.cat([f, guides[n]], 1)) for n, f in zip(("conv5_g", "conv5_l"), features, strict=True)
    ]
    torch.testing.assert_close(model.embed_fused(batch.images, batch.labels["iuv"]), torch.cat(wanted, 1))


def test_persons_whom_nobody_sees_do_not_stop_training():
    batch = make_batch()
    nobody = replace(batch, labels={"iuv": torch.zeros_like(batch.labels["iuv"])})
    model = build()
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    for each in (nobody, batch, nobody):
        losses = model(each)
        sum(loss for loss in losses.values() if loss.requires_grad).backward()
        optimiser.step()
        optimiser.zero_grad()
        assert losses["unseen"].item() == pytest.approx(1.0 if each is nobody else 2 / 6)
    assert all(value.isfinite().all() for value in model.state_dict().values())


# What is left


def test_stripped_it_is_its_baseline():
    """Same weights from the same seed, and in the end the same number of them."""
    model, baseline = build(), build(small(guide="none"))
    images = make_batch().images
    before = model.eval().embed(images)
    assert torch.equal(before, baseline.eval().embed(images))
    assert model.strip() is model and torch.equal(model.embed(images), before)
    assert {name for name, child in model.named_children() if child is not None} == {"backbone", "heads", "necks"}
    assert num_parameters(model) == num_parameters(baseline.strip())
    with pytest.raises(ValueError, match="need the second stream"):
        model.embed_fused(images, make_batch().labels["iuv"])


def test_its_layers_have_names_that_exporters_can_write():
    """They make Python of them, which knows words of its own, such as "global"."""
    model = build(small(guide="none")).eval()

    class Embedder(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            return self.model.embed(images)

    images = make_batch().images
    exported = torch.export.export(Embedder(), (images,)).module()
    torch.testing.assert_close(exported(images), model.embed(images))


def test_the_baseline_differs_in_nothing_else():
    assert differences(PRESETS["dsa-two-branches"](), PRESETS["dsa"]()) == ['model.guide: "dense", not "none"']
    changed = {line.partition(".")[0] for line in differences(PRESETS["baseline"](), PRESETS["dsa"]())}
    assert changed == {"model"}


def test_only_conv1_to_conv4_start_from_pretrained_weights():
    from reid.models.backbone import build_backbone

    torch.manual_seed(0)
    resnet = build_backbone(SMALL, pretrained=True)
    pretrained = {name: value.clone() for name, value in resnet.state_dict().items()}
    resnet.provenance = "a file"
    model = Dsa(small(), resnet, 3, losses=LOSSES)
    kept = model.backbone.state_dict()
    assert kept.keys() == {name for name in pretrained if not name.startswith("layer4")}
    assert all(torch.equal(value, pretrained[name]) for name, value in kept.items())
    last = {parameter.data_ptr() for parameter in resnet.layer4.parameters()}
    assert not last & {parameter.data_ptr() for parameter in model.parameters()}
    assert model.backbone.provenance == "a file"


def test_what_has_no_loss_is_not_there():
    model = build(identity_weight=0)
    assert num_parameters(model.classifiers) == 0
    model = build(small(fused_identity_weight=0))
    assert num_parameters(model.fused_classifiers) == 0 and "fused_identity" not in model(make_batch())
    with pytest.raises(ValueError, match="the second stream learns from the fused features' losses alone"):
        build(small(fused_identity_weight=0), triplet_weight=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": BackboneConfig(name="osnet")}, "branches inside a ResNet: .*, got osnet"),
        ({"part_size": 30}, "part_size must be a multiple of 4, got 30"),
        ({"fused_identity_weight": -1}, "fused_identity_weight must be >= 0, got -1"),
    ],
)
def test_configurations_that_make_no_sense(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DsaConfig(**changes)


def test_necks_stand_before_what_is_classified_and_compared_and_after_the_triplets():
    """Each feature is normalised by channel, whichever part it is of."""
    model, batch = build(small(neck=True)), make_batch()
    assert not any(neck.bias.requires_grad for neck in (*model.necks.values(), *model.fused_necks.values()))
    features = model._features(batch.images)
    normal = {name: functional.batch_norm(each, None, None, training=True) for name, each in features.items()}
    torch.testing.assert_close(model.embed(batch.images), torch.cat(list(normal.values()), 1))
    other = build(small())
    other.load_state_dict(model.state_dict(), strict=False)  # all but necks, and the biases that only this one has
    plain, found = other.losses(batch), model.losses(batch)
    torch.testing.assert_close(found["triplet"], plain["triplet"])
    assert found["identity"] != plain["identity"] and found["fused_identity"] != plain["fused_identity"]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (gradient,) = torch.autograd.grad(
                sum(found[n] for n in ("identity", "triplet", "fused_identity")), parameter, retain_graph=True
            )
            assert gradient.isfinite().all(), name
