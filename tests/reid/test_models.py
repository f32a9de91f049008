"""Models: shapes, what they embed, what they learn from, and which layers are pretrained."""

import pytest
import torch
from torch import Tensor, nn

from reid.batch import UNKNOWN, Batch
from reid.losses import SPREAD, LossConfig, everywhere, smoothed_cross_entropy
from reid.models.backbone import BackboneConfig
from reid.models.build import ModelConfig, build_model
from reid.models.dsa import DsaConfig
from reid.models.global_pool import GlobalPoolConfig
from reid.models.heads import pool_stripes
from reid.models.mgn import MgnConfig
from reid.models.model import Model
from reid.models.part_head import PartHeadConfig
from reid.models.pcb import PcbConfig
from reid.models.san import SanConfig

SMALL = BackboneConfig(name="resnet18", weights="none")
CONFIGS = {
    "global pool": GlobalPoolConfig(backbone=SMALL),
    "average": GlobalPoolConfig(backbone=SMALL, pooling="average", embedding_dim=None),
    "neck": GlobalPoolConfig(backbone=SMALL, embedding_dim=None, neck=True),
    "two layers": GlobalPoolConfig(backbone=SMALL, embedding_dim=None, classifier_layers=2),
    "pcb": PcbConfig(backbone=SMALL),
    "mgn": MgnConfig(backbone=SMALL),
}
DIMENSIONS = {"global pool": 512, "average": 512, "neck": 512, "two layers": 512, "pcb": 1536, "mgn": 2048}


METHODS = {
    "part head": GlobalPoolConfig(backbone=SMALL, part_head=PartHeadConfig()),
    "san": SanConfig(backbone=SMALL),
    "dsa": DsaConfig(backbone=SMALL, part_size=8),
    "dsa, neck": DsaConfig(backbone=SMALL, part_size=8, neck=True),
    "san, neck": SanConfig(backbone=SMALL, neck=True),
}
"""With more than identity classifiers that training alone needs."""


def build(config: ModelConfig, **losses) -> Model:
    torch.manual_seed(0)
    return build_model(config, 4, losses=LossConfig(**losses), pretrained=True)


def make_batch(identities: tuple[int, ...] = (0, 0, 1, 1, 2, 2)) -> Batch:
    size = len(identities)
    generator = torch.Generator().manual_seed(1)
    return Batch(
        images=torch.randn(size, 3, 96, 32, generator=generator).contiguous(memory_format=torch.channels_last),
        identities=torch.tensor(identities),
        origins=torch.arange(size) % 3,
        camera_ids=torch.zeros(size, dtype=torch.int64),
        flipped=torch.zeros(size, dtype=torch.bool),
        keys=tuple(str(i) for i in range(size)),
    )


def backward(losses: dict[str, Tensor]) -> None:
    sum(loss for loss in losses.values() if loss.requires_grad).backward()


@pytest.mark.parametrize("config", (CONFIGS | METHODS).values(), ids=[*CONFIGS, *METHODS])
def test_what_training_alone_needs_can_be_taken_out(config: ModelConfig):
    """Embeddings stay the same; what is left is what was said to be."""
    model = build(config).eval()
    images, before, num_kept = make_batch().images, sum(p.numel() for p in model.parameters()), model.num_kept
    with torch.inference_mode():
        embeddings = model.embed(images)
        assert torch.equal(model.strip().embed(images), embeddings)
    assert before > num_kept == model.num_kept == sum(parameter.numel() for parameter in model.parameters())
    assert [name for name in model.training_only if getattr(model, name) is not None] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_do_not_depend_on_the_batch(name: str):
    model = build(CONFIGS[name]).eval()
    images = make_batch().images
    with torch.inference_mode():
        embeddings = model.embed(images)
        singles = torch.cat([model.embed(image[None]) for image in images])
        assert model.feature_map(images).shape == (6, 512, 6, 2)
    assert embeddings.shape == (6, DIMENSIONS[name])
    assert embeddings.std(dim=0).max() > 0
    torch.testing.assert_close(embeddings, singles, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_every_parameter(name: str):
    model = build(CONFIGS[name])
    losses = model(make_batch())
    assert set(losses) == {"identity", "triplet", SPREAD}
    backward(losses)
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            is_before_batch_norm = "reductions" not in parameter_name and parameter_name.endswith("0.bias")
            assert is_before_batch_norm or parameter.grad.abs().max() > 0, parameter_name
    frozen = [parameter_name for parameter_name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == (["neck.bias"] if name == "neck" else [])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_backbone_holds_what_is_pretrained_and_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch):
    marked = set()

    def mark(config: BackboneConfig, *, pretrained: bool) -> nn.Module:
        backbone = build_backbone(config, pretrained=pretrained)
        with torch.no_grad():
            for parameter in backbone.parameters():
                marked.add(value := 1000.0 + len(marked))
                parameter.fill_(value)
        return backbone

    from reid.models import build as module

    build_backbone = module.build_backbone
    monkeypatch.setattr(module, "build_backbone", mark)
    model = build(CONFIGS[name])
    found = {parameter.flatten()[0].item() for parameter in model.backbone.parameters()}
    assert found == marked
    inside = {id(parameter) for parameter in model.backbone.parameters()}
    for parameter in model.parameters():
        assert (id(parameter) in inside) == (parameter.flatten()[0].item() in marked)
    assert model.backbone.provenance == "random initialisation"


@pytest.mark.parametrize("name", CONFIGS)
def test_unknown_identities_are_an_error(name: str):
    with pytest.raises(ValueError, match=r"needs classes 0\.\.3, got -1"):
        build(CONFIGS[name])(make_batch((0, 0, 1, UNKNOWN)))


@pytest.mark.parametrize("name", ["global pool", "pcb"])
def test_without_identity_loss_there_is_no_classifier(name: str):
    model = build(CONFIGS[name], identity_weight=0)
    backward(model(make_batch()))
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["neck", "mgn"])
def test_layers_that_only_the_identity_loss_teaches_want_it(name: str):
    with pytest.raises(ValueError, match="identity_weight must be > 0, got 0"):
        build(CONFIGS[name], identity_weight=0)


def test_the_neck_stands_between_the_triplet_and_the_classifier():
    model = build(CONFIGS["neck"])
    seen = {}
    model.classifier.register_forward_hook(lambda layer, args, output: seen.update(classified=args[0]))
    batch = make_batch()
    model(batch)
    assert torch.equal(seen["classified"], model.embed(batch.images))
    pooled = model.feature_map(batch.images).amax((2, 3))
    standardised = (pooled - pooled.mean(0)) / (pooled.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(seen["classified"], standardised, rtol=1e-3, atol=1e-3)
    assert model.classifier.bias is None


def test_pcb_sums_six_cross_entropies_over_stripes():
    model = build(CONFIGS["pcb"], triplet_weight=0).eval()
    for embedding in model.embeddings:
        nn.init.normal_(embedding[1].bias)
    batch = make_batch()
    maps = model.feature_map(batch.images)
    epsilon = torch.tensor([0.0, 0.0, 0.4]).repeat(2)
    expected, embedded = 0.0, []
    for i in range(6):
        stripe = maps[:, :, i : i + 1].amax((2, 3))
        embedded.append(model.embeddings[i](stripe))
        expected += smoothed_cross_entropy(model.classifiers[i](embedded[-1]), batch.identities, epsilon).mean().item()
    assert model(batch)["identity"].item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(model.embed(batch.images), torch.cat(embedded, 1))
    assert model.part_features(batch.images).shape == (6, 6, 512)
    torch.testing.assert_close(model.part_features(batch.images)[:, 2], maps[:, :, 2].amax(2))


def test_mgn_has_eight_heads_and_three_triplets():
    model = build(CONFIGS["mgn"], margin=everywhere(0.1)).eval()
    for branch in model.backbone.branches:
        nn.init.normal_(branch[1][-1].bn2.bias)  # they start alike
    batch = make_batch()
    whole, halves, thirds = model.backbone(batch.images)
    features = [
        reduce(maps.amax((2, 3))) for reduce, maps in zip(model.reductions, (whole, halves, thirds), strict=True)
    ]
    stripes = [halves[:, :, :3], halves[:, :, 3:], thirds[:, :, :2], thirds[:, :, 2:4], thirds[:, :, 4:]]
    features += [embed(maps.amax((2, 3))) for embed, maps in zip(model.embeddings, stripes, strict=True)]
    torch.testing.assert_close(model.embed(batch.images), torch.cat(features, 1))
    assert [tuple(feature.shape) for feature in features] == [(6, 256)] * 8

    epsilon = torch.tensor([0.0, 0.0, 0.4]).repeat(2)
    heads = [
        smoothed_cross_entropy(classify(feature), batch.identities, epsilon).mean()
        for classify, feature in zip(model.classifiers, features, strict=True)
    ]
    losses = model(batch)
    assert losses["identity"].item() == pytest.approx(sum(heads).item() / 8, rel=1e-5)
    others = [model.classifiers[0].weight, *(embedding[0].weight for embedding in model.embeddings)]
    reductions = [reduce.weight for reduce in model.reductions]
    gradients = torch.autograd.grad(losses["triplet"], reductions + others, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False] * 3 + [True] * 6
    assert model.part_features(batch.images).shape == (6, 3, 512)


def test_mgn_branches_start_alike_and_part():
    model = build(CONFIGS["mgn"])
    whole, halves, thirds = model.eval().backbone(make_batch().images)
    assert torch.equal(whole, halves)
    assert torch.equal(whole, thirds)
    assert len({id(branch[1][0].conv1.weight) for branch in model.backbone.branches}) == 3
    counted = sum(parameter.numel() for parameter in model.backbone.parameters())
    assert counted == 683_072 + 2_099_712 - 1_180_672 + 3 * (1_180_672 + 8_393_728), (
        "stem and conv4_1; three of the rest"
    )


def test_models_without_parts_say_so():
    assert build(CONFIGS["global pool"]).part_features(make_batch().images) is None


@pytest.mark.parametrize("average", [False, True])
def test_stripes_are_pooled_from_top_to_bottom(average: bool):
    maps = torch.randn(2, 5, 6, 3).contiguous(memory_format=torch.channels_last)
    parts = [maps[:, :, 2 * i : 2 * i + 2] for i in range(3)]
    expected = torch.stack([part.mean((2, 3)) if average else part.amax((2, 3)) for part in parts], 1)
    torch.testing.assert_close(pool_stripes(maps, 3, average=average), expected)
    with pytest.raises(
        ValueError, match="4 stripes need .* got 6 rows: make the height of the images a multiple of 64"
    ):
        pool_stripes(maps, 4)


def test_a_bf16_step_in_channels_last():
    model = build(CONFIGS["mgn"]).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(make_batch())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    backward(losses)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GlobalPoolConfig(neck=True), "a neck takes the place"),
        (lambda: GlobalPoolConfig(embedding_dim=0), "embedding_dim must be >= 1"),
        (lambda: PcbConfig(num_stripes=0), "num_stripes must be >= 1"),
        (lambda: MgnConfig(backbone=BackboneConfig(name="osnet")), "inside a ResNet: .*got osnet"),
        (lambda: build(CONFIGS["mgn"], identity_weight=0), "identity_weight must be > 0"),
        (
            lambda: build_model(CONFIGS["pcb"], 0, losses=LossConfig(), pretrained=False),
            "PcbConfig learns from identities, got none",
        ),
    ],
)
def test_impossible_settings(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
