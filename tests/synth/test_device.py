"""People drawn by torch alone, as on a CUDA device, against those drawn by the kernels for CPUs."""

import numpy as np
import pytest
import torch
from people import Group, draw_group

from synth import generate
from synth.anatomy import Anatomy
from synth.background import ProceduralBackgrounds
from synth.commands import _manifest
from synth.dress import pose_dressed, stack_dressed
from synth.generate import PitConfig
from synth.outfit import Outfit
from synth.raster import RasterConfig
from synth.render import Cameras, draw_person_twin
from synth.sources import SourceFolders, Sources

CONFIG = PitConfig(height=128, width=64)


@pytest.fixture(scope="module")
def by_kernels() -> generate.Group:
    return drawn()


def drawn() -> generate.Group:
    return generate.draw_group(CONFIG, 3, range(30, 34), Sources(backgrounds=ProceduralBackgrounds()))


@pytest.mark.usefixtures("not_cpu")
def test_a_group_drawn_by_torch_is_the_one_drawn_by_kernels(by_kernels: generate.Group) -> None:
    found = drawn()
    for ours, theirs in ((found.pictures.images, by_kernels.pictures.images), (found.aligned, by_kernels.aligned)):
        step = np.abs(ours.astype(int) - theirs)
        # Where an edge snaps to the other side of a sample, a pixel differs, and its neighbours by the blur.
        assert step.mean() < 1.0 and np.median(step) <= 1 and step.max() > 0
        assert np.quantile(step, 0.99) < 8
    assert (found.pictures.iuv != by_kernels.pictures.iuv).any(-1).mean() < 5e-3
    np.testing.assert_allclose(found.pictures.keypoints[..., :2], by_kernels.pictures.keypoints[..., :2], atol=0.02)
    assert (found.pictures.keypoints[..., 2] == by_kernels.pictures.keypoints[..., 2]).mean() > 0.98
    np.testing.assert_allclose(found.pictures.intrinsics, by_kernels.pictures.intrinsics, rtol=1e-5, atol=1e-4)
    assert found.pictures.backgrounds == by_kernels.pictures.backgrounds


@pytest.fixture(scope="module")
def groups(anatomy: Anatomy, wardrobe: list[Outfit]) -> list[Group]:
    """Two people each in three outfits, with different numbers of vertices and faces."""
    return [draw_group(anatomy, wardrobe[k], range(2 * k, 2 * k + 2)) for k in (0, 4, 9)]


def joined(groups: list[Group], name: str) -> torch.Tensor:
    return torch.cat([getattr(group.cameras, name) for group in groups])


def test_several_people_at_once_are_each_as_alone(anatomy: Anatomy, groups: list[Group]) -> None:
    stack = stack_dressed([group.dressed for group in groups])
    assert len({len(group.dressed.faces) for group in groups}) == 3
    scenes = [scene for group in groups for scene in group.scenes]
    betas, pose = (torch.from_numpy(np.stack([getattr(s, name) for s in scenes])) for name in ("betas", "pose"))
    vertices, normals, joints, face = generate.stand(anatomy, stack, scenes, [scene.pose for scene in scenes])
    texture = torch.stack([group.texture for group in groups])
    cameras = Cameras(
        intrinsics=joined(groups, "intrinsics"),
        world_to_camera=joined(groups, "world_to_camera"),
        light=joined(groups, "light"),
        height=256,
        width=128,
    )
    wall = torch.full((6, 256, 128, 3), 64.0)
    found = draw_person_twin(wall, vertices, normals, stack, texture, cameras, RasterConfig())
    for k, group in enumerate(groups):
        pair = slice(2 * k, 2 * k + 2)
        # Filled up, but by vertices that lie among the person's own.
        torch.testing.assert_close(vertices[pair].amax(2), group.vertices.amax(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(vertices[pair].amin(2), group.vertices.amin(2), atol=1e-5, rtol=0)
        far = (found.image[pair] - group.drawn.image).abs().amax(-1) > 2e-3
        assert far.float().mean() < 2e-3
        assert (found.iuv[pair] != group.drawn.iuv).any(-1).float().mean() < 2e-3
        alone = pose_dressed(anatomy, group.dressed, betas[pair], pose[pair])
        place = joints[pair] - alone[2]
        torch.testing.assert_close(place, place[:, :1].expand_as(place), atol=1e-5, rtol=0)


def test_some_of_a_stack(groups: list[Group]) -> None:
    stack = stack_dressed([group.dressed for group in groups])
    two = stack.select(torch.tensor([2, 0]))
    assert torch.equal(two.faces, stack.faces[[2, 0]]) and torch.equal(two.rest, stack.rest[[2, 0]])
    assert two.num_body == stack.num_body == max(group.dressed.num_body for group in groups)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda needs a CUDA GPU and torch built for it, found none"):
        PitConfig(device="cuda")


def test_the_manifest_names_a_device_other_than_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(backgrounds=ProceduralBackgrounds())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    configs = [
        _manifest("pit", 1, PitConfig(device=device), SourceFolders(), sources).config for device in ("cpu", "cuda")
    ]
    assert "device" not in configs[0], "as in sets from before there was a choice"
    assert configs[1]["device"] == "cuda"
    assert [config["raster"]["rasterizer"] for config in configs] == ["numba", "triton"]
