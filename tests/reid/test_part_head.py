"""Part awareness: the loss against a slow loop and in two processes, the head's shapes, labels, and the models that have it."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reid.augment import AugmentConfig, augment, draw_parameters
from reid.batch import Batch, StoredBatch
from reid.dataset import InputConfig
from reid.gather import num_processes, total
from reid.gradcam import grad_cam
from reid.losses import SPREAD, LossConfig
from reid.models.backbone import BackboneConfig, build_backbone
from reid.models.build import ModelConfig, build_model
from reid.models.global_pool import GlobalPoolConfig
from reid.models.mgn import MgnConfig
from reid.models.part_head import PartAware, PartHead, PartHeadConfig, part_loss
from reid.models.pcb import PcbConfig
from reid.optimise import OptimiseConfig, make_turns
from reid.train import objective
from shards.semantics import PARTS_1, PARTS_2, PARTS_4, PARTS_7
from shards.sheet import PART_COLOURS

ROOT = Path(__file__).parents[2]
SMALL = BackboneConfig(name="resnet18", weights="none")
HEAD = PartHeadConfig(weight=0.5)
CONFIGS = {
    "global pool": GlobalPoolConfig(backbone=SMALL, part_head=HEAD),
    "no embedding": GlobalPoolConfig(backbone=SMALL, embedding_dim=None, neck=True, part_head=HEAD),
    "pcb": PcbConfig(backbone=SMALL, part_head=HEAD),
    "mgn": MgnConfig(backbone=SMALL, part_head=HEAD),
}


def build(config: ModelConfig, **losses: float) -> PartAware:
    torch.manual_seed(0)
    return build_model(config, 4, losses=LossConfig(**losses), pretrained=False)


def make_batch(size: int = 6, *, height: int = 96, width: int = 32) -> Batch:
    """People without feet in the first half, with labels in blocks of 8 x 8 pixels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 3, height, width, generator=generator)
    parts = torch.randint(8, (size, height // 8, width // 8), generator=generator, dtype=torch.uint8)
    parts[: size // 2][parts[: size // 2] == 7] = 0
    return Batch(
        images=images,
        identities=(torch.arange(size) // 2),
        origins=torch.zeros(size, dtype=torch.int64),
        camera_ids=torch.zeros(size, dtype=torch.int64),
        flipped=torch.zeros(size, dtype=torch.bool),
        keys=tuple("abcdefghijklmnop"[:size]),
        labels={"parts": parts.repeat_interleave(8, 1).repeat_interleave(8, 2)},
    )


def slow_loss(logits: Tensor, targets: Tensor) -> float:
    """Eq. 8-9, place by place."""
    sums, counts = {}, {}
    for image, labels in zip(logits.double().tolist(), targets.tolist(), strict=True):
        for h, row in enumerate(labels):
            for w, s in enumerate(row):
                values = [channel[h][w] for channel in image]
                probability = math.exp(values[s]) / sum(math.exp(value) for value in values)
                sums[s] = sums.get(s, 0.0) - math.log(probability)
                counts[s] = counts.get(s, 0) + 1
    return sum(sums[s] / counts[s] for s in sums) / len(sums)


@pytest.mark.parametrize("absent", [(), (0,), (2, 7), tuple(range(1, 8))])
def test_loss_equals_a_slow_loop(absent: tuple[int, ...]):
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(3, 8, 6, 4, generator=generator)
    # Most of it background: an average over places would be another number.
    targets = torch.randint(-10, 8, (3, 6, 4), generator=generator).clamp(min=0)
    there = next(s for s in range(8) if s not in absent)
    for s in absent:
        targets[targets == s] = there
    assert set(targets.unique().tolist()) == set(range(8)) - set(absent)
    loss = part_loss(logits, targets)
    assert loss.item() == pytest.approx(slow_loss(logits, targets), rel=1e-5)
    naive = nn.functional.cross_entropy(logits, targets).item()
    assert len(absent) == 7 or abs(loss.item() - naive) > 0.01


def test_loss_is_float32_under_autocast():
    logits, targets = torch.randn(2, 8, 4, 4).bfloat16(), torch.randint(8, (2, 4, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = part_loss(logits, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow_loss(logits.float(), targets), rel=1e-5)


@pytest.mark.parametrize(
    ("structure", "factor", "num_parameters"),
    [
        ("a", 1, 2048 * 8 + 8),
        ("b", 1, 2048 * 256 * 9 + 2 * 256 + 256 * 8 + 8),
        ("c", 2, 2048 * 256 * 9 + 2 * 256 + 256 * 8 + 8),
        ("d", 4, 2048 * 256 * 9 + 2 * 256 + 256 * 256 * 9 + 2 * 256 + 256 * 8 + 8),
    ],
)
def test_structures(structure: str, factor: int, num_parameters: int):
    torch.manual_seed(0)
    head = PartHead(PartHeadConfig(structure=structure), 2048)
    assert sum(parameter.numel() for parameter in head.parameters()) == num_parameters
    for name, parameter in head.named_parameters():
        if parameter.ndim == 4:
            tolerance = 5 / math.sqrt(parameter.numel())  # in standard deviations
            assert abs(parameter.mean().item()) < 1e-3 * tolerance, name
            assert parameter.std().item() == pytest.approx(1e-3, rel=tolerance), name
        else:
            assert set(parameter.unique().tolist()) <= ({1.0} if name.endswith("weight") else {0.0}), name
    with torch.inference_mode():
        assert head(torch.randn(2, 2048, 3, 2)).shape == (2, 8, 3 * factor, 2 * factor)


def test_a_full_size_picture_has_48_x_16_places():
    """384 x 128 -> 24 x 8 of ResNet-50 at stride 16 -> 48 x 16."""
    backbone, head = build_backbone(BackboneConfig(weights="none"), pretrained=False), PartHead(HEAD, 2048)
    with torch.inference_mode():
        maps = backbone.eval()(torch.zeros(1, 3, 384, 128))
        assert maps.shape == (1, 2048, 24, 8)
        assert head(maps).shape == (1, 8, 48, 16)


MERGED = {
    7: PARTS_7,
    4: ("background", "head", *("torso and arms",) * 3, "upper legs", *("lower legs and feet",) * 2),
    2: ("background", *("upper body",) * 4, *("lower body",) * 3),
    1: ("background", *("foreground",) * 7),
}
"""Granularity -> what each of the seven parts becomes (fig. 11)."""


@pytest.mark.parametrize(("granularity", "names"), [(7, PARTS_7), (4, PARTS_4), (2, PARTS_2), (1, PARTS_1)])
@pytest.mark.parametrize("size", [(12, 4), (5, 3)])
def test_targets_are_the_merged_labels_at_the_centres(granularity: int, names: tuple[str, ...], size: tuple[int, int]):
    parts = torch.randint(8, (2, 48, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    head = PartHead(PartHeadConfig(granularity=granularity), 4)
    found = head.targets(parts, size)
    assert found.shape == (2, *size) and found.dtype == torch.int64
    assert head(torch.zeros(1, 4, 2, 2)).shape[1] == len(names)
    for b, row, column in np.ndindex(2, *size):
        y, x = (int((i + 0.5) * large / small) for i, large, small in zip((row, column), (48, 16), size, strict=True))
        assert names[found[b, row, column]] == MERGED[granularity][parts[b, y, x]]


def test_labels_go_where_pixels_go_and_are_background_where_those_are_erased():
    """A picture whose grey tells the part, padded, cropped, mirrored and erased."""
    size, input = 16, InputConfig(height=64, width=32)
    parts = torch.randint(8, (size, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    parts = parts.repeat_interleave(8, 1).repeat_interleave(4, 2)
    grey = 10 + 30 * parts
    nothing = torch.zeros(size, dtype=torch.int64)
    stored = StoredBatch(
        images=grey[..., None].expand(-1, -1, -1, 3).contiguous(), identities=nothing, origins=nothing,
        camera_ids=nothing, keys=("",) * size, labels={"parts": parts},
    )  # fmt: skip
    drawn = draw_parameters(AugmentConfig(pad=6, flip=0.5, erase=0.5), input, size, seed=0, step=0)
    batch = augment(stored, input, drawn)
    assert 0 < batch.flipped.sum() < size
    red = ((batch.images[:, 0] * 0.229 + 0.485) * 255).round()
    is_gone = (batch.images == 0).all(1)
    assert torch.equal(batch.labels["parts"][~is_gone], ((red - 10) / 30)[~is_gone].to(torch.uint8))
    assert set(batch.labels["parts"][is_gone].tolist()) == {0}
    (erased,) = [i for i in range(size) if drawn.erase[i, 2] > 0][:1]
    top, left, bottom, right = drawn.erase[erased].tolist()
    assert is_gone[erased, top:bottom, left:right].all() and (right - left) * (bottom - top) > 30
    targets = PartHead(HEAD, 4).targets(batch.labels["parts"], (8, 4))
    assert torch.equal(targets, batch.labels["parts"][:, 4::8, 4::8].long())


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_of_models(name: str):
    """Under their names, from one pass through the backbone; the part loss teaches head and backbone alone."""
    model, batch = build(CONFIGS[name]), make_batch()
    assert model.labels == {"parts"} and build(replace(CONFIGS[name], part_head=None)).labels == frozenset()
    passes = []
    model.backbone.register_forward_hook(lambda *arguments: passes.append(arguments))
    losses = model(batch)
    assert set(losses) == {"identity", "triplet", SPREAD, "parts", "parts_accuracy"}
    assert len(passes) == 1 and not losses["parts_accuracy"].requires_grad
    named = dict(model.named_parameters())
    learning = {key: value for key, value in named.items() if value.requires_grad}
    gradients = torch.autograd.grad(losses["parts"], list(learning.values()), retain_graph=True, allow_unused=True)
    taught = {key for key, gradient in zip(learning, gradients, strict=True) if gradient is not None}
    assert taught == {key for key in named if key.startswith(("backbone.", "part_head."))}
    sizes = {key: gradient.abs().max() for key, gradient in zip(learning, gradients, strict=True) if key in taught}
    assert min(sizes.values()) > 0
    del losses["parts"]
    others = torch.autograd.grad(
        sum(one for one in losses.values() if one.requires_grad), list(model.part_head.parameters()), allow_unused=True
    )
    assert all(gradient is None for gradient in others)


@pytest.mark.parametrize("name", CONFIGS)
def test_part_losses_are_weighted_means_over_branches(name: str):
    model, batch = build(CONFIGS[name]).eval(), make_batch()
    if name == "mgn":
        for branch in model.backbone.branches:
            nn.init.normal_(branch[1][-1].bn2.bias)  # they start alike
    for parameter in model.part_head.parameters():
        nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        maps = model.backbone(batch.images)
        branches = maps if name == "mgn" else [maps]
        logits = [model.part_head(each) for each in branches]
        found = model.losses(batch)
    assert [tuple(each.shape) for each in logits] == [(6, 8, 12, 4)] * (3 if name == "mgn" else 1)
    targets = batch.labels["parts"][:, 4::8, 4::8].long()
    losses = [slow_loss(each, targets) for each in logits]
    assert name != "mgn" or max(losses) - min(losses) > 0.001
    assert found["parts"].item() == pytest.approx(0.5 * np.mean(losses), rel=1e-4)
    right = [(each.argmax(1) == targets).float().mean().item() for each in logits]
    assert found["parts_accuracy"].item() == pytest.approx(np.mean(right), abs=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stripped_model_is_its_stripped_baseline(name: str):
    model, baseline = build(CONFIGS[name]).eval(), build(replace(CONFIGS[name], part_head=None)).eval()
    images = make_batch().images
    with torch.inference_mode():
        before = model.embed(images)
        assert model.drawings(images)["parts"].shape == (6, 96, 32, 3)
        model.strip(), baseline.strip()
        assert torch.equal(model.embed(images), before) and torch.equal(baseline.embed(images), before)
        assert model.drawings(images) == {} == baseline.drawings(images)
    weights, others = model.state_dict(), baseline.state_dict()
    assert weights.keys() == others.keys() and not any(key.startswith(("part", "class")) for key in weights)
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert model.labels == frozenset()


@pytest.mark.parametrize("name", CONFIGS)
def test_drawings_are_the_likeliest_parts_in_their_colours(name: str):
    """Of MGN the second branch, which `feature_map` is; and Grad-CAM finds its way past the head."""
    model, images = build(CONFIGS[name]).eval(), make_batch().images
    for parameter in model.part_head.parameters():
        nn.init.normal_(parameter, std=0.1)
    if name == "mgn":
        nn.init.normal_(model.backbone.branches[1][1][-1].bn2.bias)
    with torch.inference_mode():
        maps = model.backbone(images)
        classes = model.part_head(maps[1] if name == "mgn" else maps).argmax(1)
        drawn = model.drawings(images)["parts"]
    assert drawn.dtype == torch.uint8 and len(classes.unique()) > 2
    for b, y, x in np.ndindex(6, 96, 32):
        if y % 8 in (0, 7) and x % 8 in (0, 7):
            assert drawn[b, y, x].tolist() == PART_COLOURS[classes[b, y // 8, x // 8]].tolist()
    assert grad_cam(model, images[:2]).shape == (2, 6, 2)


@pytest.mark.parametrize(("granularity", "first"), [(7, range(8)), (4, (0, 1, 2, 5, 6)), (2, (0, 1, 5)), (1, (0, 1))])
def test_merged_parts_have_the_colour_of_their_first(granularity: int, first: tuple[int, ...]):
    head = PartHead(PartHeadConfig(structure="a", granularity=granularity), granularity + 1)
    with torch.no_grad():
        head.layers[0].weight.copy_(torch.eye(granularity + 1)[..., None, None])
    maps = torch.eye(granularity + 1)[..., None, None]  # picture i is all of class i
    assert head.draw(maps, (1, 1))[:, 0, 0].tolist() == PART_COLOURS[list(first)].tolist()
    assert len(np.unique(PART_COLOURS, axis=0)) == 8


def test_parts_are_taught_in_both_turns_of_mgn():
    model = build(CONFIGS["mgn"])
    losses = model(make_batch())
    turns = make_turns(model, OptimiseConfig(optimiser="sgd", learning_rate=0.1, triplet_learning_rate=0.01))
    for turn, own in zip(turns, ("identity", "triplet"), strict=True):
        assert objective(losses, turn).item() == pytest.approx((losses[own] + losses["parts"]).item())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structure": "e"}, "part_head.structure must be one of a, b, c, d, got 'e'"),
        ({"granularity": 3}, "part_head.granularity must be one of 7, 4, 2, 1, got 3"),
        ({"weight": 0.0}, "part_head.weight must be > 0, got 0"),
        ({"weight": math.inf}, "part_head.weight must be > 0, got inf"),
    ],
)
def test_impossible_settings(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        PartHeadConfig(**settings)


class Segmenter(nn.Module):
    """No batch norm: it would see other batches in two processes than in one."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 5, 8, stride=8), PartHead(PartHeadConfig(structure="a"), 5)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.head.losses([self.convolution(batch.images)], batch.labels["parts"])


def learn(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Losses by name, and gradients by the parameter's name."""
    losses = network(batch)
    losses["parts"].backward()
    gradients = {name.removeprefix("module."): one.grad for name, one in network.named_parameters()}
    return {name: loss.detach() for name, loss in losses.items()} | gradients


def work(out: Path) -> None:
    """What each of two processes does: its half of the batch, of which the first has no foot."""
    torch.distributed.init_process_group("gloo")
    rank, batch = torch.distributed.get_rank(), make_batch()
    half = replace(
        batch,
        images=batch.images[3 * rank : 3 * rank + 3],
        labels={"parts": batch.labels["parts"][3 * rank : 3 * rank + 3]},
    )
    result = learn(nn.parallel.DistributedDataParallel(Segmenter()), half)
    counted = torch.tensor([rank + 1, 5])
    result |= {"total": total(counted), "counted": counted, "processes": torch.tensor(num_processes())}
    torch.save(result, out / f"{rank}.pth")
    torch.distributed.destroy_process_group()


def test_two_processes_with_half_the_batch_learn_what_one_learns(tmp_path: Path):
    batch = make_batch()
    assert 7 not in batch.labels["parts"][:3] and 7 in batch.labels["parts"][3:]
    whole = learn(Segmenter(), batch)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path)], env=environment, check=True, capture_output=True, timeout=120)
    halves = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    for rank, half in enumerate(halves):
        assert half["total"].tolist() == [3, 10] and half["counted"].tolist() == [rank + 1, 5]
        assert half["processes"] == 2
    for name, expected in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert abs(halves[0]["parts"] - halves[1]["parts"]) > 0.01
    alone = torch.tensor([4, 2])
    assert total(alone) is alone and num_processes() == 1


if __name__ == "__main__":
    work(Path(sys.argv[1]))
