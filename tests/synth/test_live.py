"""Live batches: those of a set against its shards' samples, those from a pool against their parts."""

import itertools
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from shards.codec import decode_sample, encode_jpeg
from synth import compose, render
from synth.background import ProceduralBackgrounds
from synth.compose import Batch, Choice, choose_parts, crop_backgrounds, draw_choice
from synth.generate import PitConfig, draw_group, render_group
from synth.live import LiveBatches, LiveConfig
from synth.pool import Pool, draw_pool
from synth.raster import Visibility
from synth.sensor_torch import photograph
from synth.sources import Sources

SOURCES = Sources(backgrounds=ProceduralBackgrounds())
PIT = PitConfig(height=128, width=64, samples_per_texture=3, seed=5)
FROM_SET = LiveConfig(pit=PIT, batch_size=4)
FROM_POOL = LiveConfig(pit=PIT, batch_size=6, pool_looks=4, looks_per_batch=3)

TENSORS = [field.name for field in fields(Batch) if field.name != "uv_layout"]


def live(config: LiveConfig, num_workers: int = 0) -> LiveBatches:
    return LiveBatches(config=config, sources=SOURCES, num_workers=num_workers)


def assert_same(one: Batch, other: Batch) -> None:
    assert one.uv_layout == other.uv_layout == "makehuman"
    for name in TENSORS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.fixture(scope="module")
def first_three() -> list[Batch]:
    return list(itertools.islice(live(FROM_SET), 3))


@pytest.fixture(scope="module")
def pooled() -> LiveBatches:
    return live(FROM_POOL)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return draw_pool(PIT, SOURCES, range(4), "cpu")


def test_batches_hold_the_samples_of_the_set_in_order(first_three: list[Batch]) -> None:
    """To the byte, once compressed: a live picture differs from the shard's by what the JPEG of the file loses."""
    per = PIT.samples_per_texture
    stored = [
        sample
        for group in range(4)
        for sample in render_group(PIT, group, range(per * group, per * group + per), SOURCES)
    ]
    for index, encoded in enumerate(stored):
        batch, k = first_three[index // 4], index % 4
        sample = decode_sample(encoded.key, encoded.members)
        assert (sample.key, batch.look[k]) == (f"{index:08d}", index // per)
        for name in ("image", "aligned"):
            found = getattr(batch, name)[k].numpy()
            assert encode_jpeg(found, quality=PIT.quality, chroma="420") == encoded.members[f"{name}.jpg"]
            step = np.abs(found.astype(int) - getattr(sample, name))
            assert step.mean() < 4
        assert np.array_equal(batch.iuv[k], sample.iuv) and np.array_equal(batch.texture[k], sample.texture)
        np.testing.assert_allclose(batch.keypoints[k], sample.meta.keypoints, atol=1e-4)


def test_a_batch_does_not_depend_on_what_was_drawn_before(first_three: list[Batch]) -> None:
    fresh = live(FROM_SET)
    assert_same(fresh.batch(2), first_three[2])
    assert_same(fresh.batch(0), first_three[0])
    assert_same(next(fresh.batches(first=1)), first_three[1])
    assert not torch.equal(first_three[0].image, first_three[1].image)


def test_batches_from_a_pool_do_not_depend_on_order_or_workers(pooled: LiveBatches) -> None:
    in_order = list(itertools.islice(pooled, 3))
    by_workers = live(FROM_POOL, num_workers=2)
    for step in (2, 0):
        assert_same(by_workers.batch(step), in_order[step])
    assert not torch.equal(in_order[0].image, in_order[1].image)
    another = live(replace(FROM_POOL, pit=replace(PIT, seed=6))).batch(0)
    assert not torch.equal(another.texture, in_order[0].texture)


def test_a_batch_from_a_pool_is_ready_to_train_on(pooled: LiveBatches, pool: Pool) -> None:
    batch = pooled.batch(7)
    for name in ("image", "aligned", "iuv"):
        array = getattr(batch, name)
        assert array.shape == (6, 128, 64, 3) and array.dtype == torch.uint8
    assert batch.texture.shape == (6, 256, 256, 3) and batch.texture.dtype == torch.uint8
    assert batch.keypoints.shape == (6, 17, 3) and batch.keypoints.dtype == torch.float32
    assert len(set(batch.look.tolist())) == 3 and batch.look.tolist() == sorted(
        batch.look.tolist(), key=batch.look.tolist().index
    )
    for k, look in enumerate(batch.look.tolist()):
        assert torch.equal(batch.texture[k], pool.texture[look])
    person = batch.iuv[..., 0] > 0
    assert (person.float().mean((1, 2)) > 0.05).all() and batch.image.float().std() > 20
    # Those with the same look are different pictures of it.
    assert (batch.image[0] != batch.image[1]).float().mean() > 0.5
    # Keypoints that are seen lie on the person, or by a pixel beside.
    near = torch.nn.functional.max_pool2d(person[:, None].float(), 7, 1, 3)[:, 0]
    for k in range(6):
        x, y = batch.keypoints[k][batch.keypoints[k, :, 2] == 2][:, :2].long().T
        assert len(x) > 3 and near[k, y, x].mean() > 0.9


def test_parts_that_belong_together_give_the_sample_of_the_set(pool: Pool) -> None:
    """A body in its own place, by its own sensor, before its whole background."""
    body = torch.tensor([3, 5, 9, 10])
    whole = torch.tensor([1.0, 0.5, 0.5, 0.7]).expand(4, -1)
    choice = Choice(look=torch.tensor([1, 3]), body=body, place=body, sensor=body, crop=whole, noise=3)
    found = draw_choice(PIT, pool, choice)
    for k, index in enumerate(body.tolist()):
        group = index // PIT.samples_per_texture
        sample = draw_group(PIT, group, range(index, index + 1), SOURCES)
        assert (found.iuv[k].numpy() != sample.pictures.iuv[0]).any(-1).mean() < 5e-3
        np.testing.assert_allclose(found.keypoints[k, :, :2], sample.pictures.keypoints[0, :, :2], atol=0.03)
        # The noise of the picture is another one.
        for ours, theirs, most in ((found.image, sample.pictures.images, 6), (found.aligned, sample.aligned, 0.2)):
            assert np.abs(ours[k].numpy().astype(int) - theirs[0]).mean() < most
        other = np.abs(found.image[k].numpy().astype(int) - found.image[k - 1].numpy())
        assert other.mean() > 15


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_pool_is_replaced_after_so_many_steps(num_workers: int) -> None:
    config = replace(FROM_POOL, pool_looks=2, looks_per_batch=2, batch_size=2, steps_per_pool=3)
    batches = live(config, num_workers)
    seen = [sorted(batches.batch(step).look.tolist()) for step in (2, 3, 0)]
    assert seen == [[0, 1], [2, 3], [0, 1]]


def test_choices_differ_from_step_to_step_and_use_all_parts(pool: Pool) -> None:
    choices = [choose_parts(pool, 5, step, 6, 3) for step in range(60)]
    for choice in choices:
        assert torch.equal(torch.div(choice.body, 3, rounding_mode="floor"), choice.look.repeat_interleave(2))
    for name, count in (("look", 4), ("body", 12), ("place", 12), ("sensor", 12)):
        assert len(torch.cat([getattr(choice, name) for choice in choices]).unique()) == count
    assert len({choice.noise for choice in choices}) == 60


def test_crops_of_backgrounds() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(10.0), indexing="ij")
    pictures = torch.stack([x, y], -1)[None]
    whole = crop_backgrounds(pictures, torch.tensor([[1.0, 0.3, 0.9, 0.5]]))
    torch.testing.assert_close(whole, pictures, atol=1e-4, rtol=0)
    mirrored = crop_backgrounds(pictures, torch.tensor([[1.0, 0.3, 0.9, 0.2]]))
    torch.testing.assert_close(mirrored, pictures.flip(2), atol=1e-4, rtol=0)
    lower_left = crop_backgrounds(pictures, torch.tensor([[0.0, 0.0, 1.0, 0.9]]))[0]
    size = torch.tensor([10, 20]) * compose.LEAST_CROP
    torch.testing.assert_close(lower_left[1:-1, 1:-1, 0], (x * 0.8 - 0.1)[1:-1, 1:-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(lower_left[1:-1, 1:-1, 1], (y * 0.8 + 20 - size[1] - 0.1)[1:-1, 1:-1], atol=1e-4, rtol=0)


def test_a_training_loops_precision_does_not_reach_the_pictures(pooled: LiveBatches) -> None:
    expected = pooled.batch(1)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = pooled.batch(1)
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"pool_looks": 4, "looks_per_batch": 5}, r"looks_per_batch must lie in 1..pool_looks = 4, got 5"),
        ({"pool_looks": 4, "looks_per_batch": 3, "batch_size": 8}, "multiple of looks_per_batch, got 8 and 3"),
    ],
)
def test_bad_config_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LiveConfig(**wrong)


def test_steps_count_from_0() -> None:
    with pytest.raises(ValueError, match="steps count from 0, got -1"):
        live(FROM_SET).batch(-1)


def on_meta(value: object) -> object:
    """Tensors, and those in dataclasses, as shapes without numbers: whatever reads one back, or mixes it with one of the
    CPU, fails."""
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if is_dataclass(value):
        return replace(value, **{f.name: on_meta(getattr(value, f.name)) for f in fields(value)})
    return value


def test_nothing_is_read_back_from_the_device(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the rasteriser's kernels, whose launch needs a GPU, all of a batch."""

    def rasterize(vertices, faces, height, width, config, *, double_sided) -> Visibility:
        assert vertices.shape[0] == 6 and faces.shape[:2] == double_sided.shape == pool.dressed.faces[:3].shape[:2]
        shape = (6, height, width)
        face, depth = (torch.empty(shape, dtype=kind, device="meta") for kind in (torch.int32, torch.float32))
        sample, num_covered = (torch.empty(shape, dtype=torch.uint8, device="meta") for _ in range(2))
        return Visibility(face=face, depth=depth, sample=sample, num_covered=num_covered, supersampling=2)

    def take_picture(pool, choice, drawn) -> torch.Tensor:
        codes = torch.empty(drawn.image.shape, dtype=torch.uint8, device="meta")
        return photograph(drawn.image, pool.sensors.select(choice.sensor), codes)

    monkeypatch.setattr(render, "rasterize", rasterize)
    monkeypatch.setattr(compose, "take_picture", take_picture)
    choice = choose_parts(on_meta(pool), 5, 0, 6, 3)
    batch = draw_choice(PIT, on_meta(pool), choice)
    for name in TENSORS:
        assert getattr(batch, name).is_meta, name
    assert batch.image.shape == batch.aligned.shape == batch.iuv.shape == (6, 128, 64, 3)
