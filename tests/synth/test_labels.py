"""Labels agree with the pixels: keypoints with parts, IUV with texture and skinning, mask with what was drawn."""

import dataclasses

import numpy as np
import torch
from people import WALL, Group
from scipy.spatial import cKDTree
from torch import Tensor

from shards.semantics import CARRIED_U, KEYPOINTS, PARTS_7, SURFACE_FLIP, SURFACE_TO_7, person_mask
from synth.anatomy import Anatomy
from synth.camera import to_camera
from synth.dress import Dressed, pose_dressed, undressed
from synth.generate import PitConfig, place_cameras, stand
from synth.labels import COVER_M, coco_keypoints, visibility
from synth.raster import RasterConfig
from synth.render import Drawn, draw_person

HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG, FOOT = range(1, 8)
ALLOWED = {
    "nose": {HEAD}, "eye": {HEAD}, "ear": {HEAD}, "shoulder": {TORSO, UPPER_ARM}, "elbow": {UPPER_ARM, LOWER_ARM},
    "wrist": {LOWER_ARM}, "hip": {TORSO, UPPER_LEG}, "knee": {UPPER_LEG, LOWER_LEG}, "ankle": {LOWER_LEG, FOOT},
}  # fmt: skip
# As in test_surface.
JOINT_TO_7 = np.array([2, 5, 5, 2, 6, 6, 2, 7, 7, 2, 7, 7, 1, 2, 2, 1, 3, 3, 4, 4, 4, 4, 4, 4])


def redraw(group: Group, background: float = WALL, **changes) -> Drawn:
    """The group again with something changed."""
    given = dict(vertices=group.vertices, normals=group.normals, dressed=group.dressed, texture=group.texture)
    given |= dict(cameras=group.cameras, config=RasterConfig()) | changes
    cameras = given["cameras"]
    return draw_person(torch.full((len(given["vertices"]), cameras.height, cameras.width, 3), background), **given)


def at_keypoints(group: Group, picture: Tensor) -> Tensor:
    """Values (B, 17, ...) of the pixels (B, H, W, ...) that keypoints lie in."""
    x, y = group.projected[..., 0].long().clamp(0, 127), group.projected[..., 1].long().clamp(0, 255)
    return picture[torch.arange(len(picture))[:, None], y, x]


def bare(group: Group, anatomy: Anatomy) -> tuple[Dressed, Tensor, Tensor]:
    """The group's people without clothes: mesh, vertices, normals."""
    dressed = undressed(anatomy)
    vertices, normals, _, _ = stand(anatomy, dressed, group.scenes, [scene.pose for scene in group.scenes])
    return dressed, vertices, normals


def test_visible_keypoints_lie_on_their_part(crowd: list[Group]):
    """Over 100 people, 95 % of each kind; the rest is cloth or hair that hangs down from elsewhere.

    What is carried may lie over them; on the outline, as a nose seen from the side, the part may start a pixel on.
    """
    hits: dict[str, list[bool]] = {name: [] for name in ALLOWED}
    for group in crowd:
        part, mask = SURFACE_TO_7[group.drawn.iuv[..., 0].numpy()], person_mask(group.drawn.iuv).numpy()
        for b, k in torch.nonzero(group.seen == 2).tolist():
            column, row = (int(x) for x in group.projected[b, k, :2])
            name = KEYPOINTS[k].split()[-1]
            around = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
            if part[b, row, column]:
                hits[name].append(part[b, row, column] in ALLOWED[name])
            elif not mask[b, row, column]:
                hits[name].append(bool(np.isin(part[b][around], list(ALLOWED[name])).any()))
    share = {name: float(np.mean(found)) for name, found in hits.items()}
    assert sum(map(len, hits.values())) > 600 and min(map(len, hits.values())) > 30
    assert min(share.values()) > 0.95, share


def test_visible_limbs_are_the_right_side(crowd: list[Group]):
    """A visible left wrist, knee or ankle is on a left surface: sides are not swapped anywhere between SMPL and COCO."""
    left = np.isin(np.arange(25), (4, 5, 8, 10, 12, 14, 15, 17, 19, 21))
    right = np.isin(np.arange(25), (3, 6, 7, 9, 11, 13, 16, 18, 20, 22))
    good = []
    for group in crowd:
        surface = at_keypoints(group, group.drawn.iuv[..., 0]).numpy()
        for k in (9, 10, 13, 14, 15, 16):
            own, other = (left, right) if "left" in KEYPOINTS[k] else (right, left)
            chosen = (group.seen[:, k] == 2).numpy() & (own | other)[surface[:, k]]
            good += own[surface[chosen, k]].tolist()
    # The far ankle shows past the near one now and then.
    assert len(good) > 200 and np.mean(good) > 0.95


def test_keypoints_are_named_joints(anatomy: Anatomy):
    """COCO's order from SMPL's joints, by hand."""
    joints, face = (
        torch.arange(24.0)[None, :, None].expand(1, 24, 3),
        100 + torch.arange(5.0)[None, :, None].expand(1, 5, 3),
    )
    places = coco_keypoints(joints, face)[0, :, 0].tolist()
    assert places == [100, 101, 102, 103, 104, 16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8]
    rest = coco_keypoints(anatomy.body.rest_joints()[None], anatomy.body.template[anatomy.body.face_keypoints][None])[0]
    for k, name in enumerate(KEYPOINTS):
        if name != "nose":
            assert (rest[k, 0] > 0) == name.startswith("left"), name


def crossings(start: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Where a ray crosses triangles (F, 3, 3), in lengths of direction."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(direction, two)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset, det = start - corners[:, 0], (one * across).sum(1)
        u, turned = (offset * across).sum(1) / det, np.cross(offset, one)
        v, distance = turned @ direction / det, (two * turned).sum(1) / det
        return distance[(u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)]


def test_hidden_keypoints_are_behind_something_and_visible_ones_are_not(crowd: list[Group]):
    """A slow oracle: the ray to the keypoint itself against every face, without the rasteriser's depth."""
    agree = []
    for group in crowd[:12]:
        camera = to_camera(group.vertices, group.cameras.world_to_camera)
        for b in range(len(camera)):
            corners = camera[b].T.double().numpy()[group.dressed.faces.numpy()]
            focal, middle = group.cameras.intrinsics[b, 0, 0].item(), group.cameras.intrinsics[b, :2, 2].numpy()
            for k in torch.nonzero(group.seen[b] > 0)[:, 0].tolist():
                x, y, z = group.projected[b, k].double().tolist()
                place = np.array([(x - middle[0]) / focal * z, (y - middle[1]) / focal * z, z])
                found = crossings(np.zeros(3), place, corners) * z
                nearest = found.min() if len(found) else np.inf
                hidden = nearest < z - COVER_M[k]
                agree.append(hidden == (group.seen[b, k] == 1).item())
    assert len(agree) > 400 and np.mean(agree) > 0.97
    assert 0.1 < np.mean([(group.seen == 1).float().mean() for group in crowd]) < 0.5


def test_visibility_by_hand():
    """Pixel [0, 1) is the first; outside by any amount is 0; nearer by more than the cover hides."""
    depth = torch.full((1, 4, 6), torch.inf)
    depth[0, 1, 2] = 5.0
    places = torch.zeros(1, 17, 3)
    places[0, :, 2] = 5.0
    places[0, :8, :2] = torch.tensor(
        [[-0.01, 1], [0, 0], [5.99, 3.99], [6.0, 1], [2, 4.0], [2.0, 1.0], [2.99, 1.99], [3.0, 1.5]]
    )
    assert visibility(places, depth)[0, :8].tolist() == [0, 2, 2, 0, 0, 2, 2, 2]
    for k, cover in enumerate(COVER_M):
        places[0, k] = torch.tensor([2.5, 1.5, 5.0 + cover + 0.01])
        assert visibility(places, depth)[0, k] == 1
        places[0, k, 2] = 5.0 + cover - 0.01
        assert visibility(places, depth)[0, k] == 2


def test_the_mask_is_what_differs_from_the_empty_background(crowd: list[Group]):
    """A pixel is the person's exactly if at least half of it is covered; beyond coverage nothing is touched."""
    for group in crowd:
        mask = person_mask(group.drawn.iuv)
        assert torch.equal(mask, group.coverage >= 0.5)
        touched = (group.drawn.image != WALL).any(-1)
        assert torch.equal(touched, group.drawn.depth.isfinite())
        assert (touched | ~mask).all()
        boundary = touched & ~mask
        assert boundary.sum() < 0.12 * mask.sum() and (group.coverage[boundary] < 0.5).all()
        assert (group.drawn.iuv[~mask] == 0).all()


def test_what_is_carried_is_in_the_mask_and_on_no_part(crowd: list[Group]):
    """The mask grows by what is carried, and only by that."""
    carriers = [group for group in crowd if (group.dressed.surface == 0).any()]
    assert len(carriers) > 8
    for group in carriers:
        iuv = group.drawn.iuv
        carried = (iuv[..., 0] == 0) & (iuv[..., 1] == CARRIED_U)
        own = group.dressed.surface > 0
        without = dataclasses.replace(
            group.dressed,
            faces=group.dressed.faces[own],
            corner=group.dressed.corner[own],
            surface=group.dressed.surface[own],
            double_sided=group.dressed.double_sided[own],
        )
        body = redraw(group, dressed=without).iuv
        assert (body[..., 0] > 0)[(iuv[..., 0] > 0)].float().mean() > 0.995
        assert person_mask(iuv)[body[..., 0] > 0].all()
        gone = person_mask(iuv) & (body[..., 0] == 0)
        assert carried[gone].float().mean() > 0.9 or gone.sum() < 30
        assert (iuv[carried][:, 2] == 0).all()
    assert sum(((g.drawn.iuv[..., 0] == 0) & (g.drawn.iuv[..., 1] == CARRIED_U)).any().item() for g in carriers) > 8


def albedo_of(group: Group, texture: Tensor, **changes) -> Tensor:
    """Colours (B, H, W, 3) before shading, where pixels are wholly covered: the picture divided by a white person's."""
    drawn = redraw(group, 0.0, texture=texture, **changes).image
    white = redraw(group, 0.0, texture=torch.ones_like(texture), **changes).image
    return drawn / white.clamp_min(1e-6)


def place_texture(anatomy: Anatomy) -> Tensor:
    """Each texel's place on the body, metres, in place of its colour."""
    fill, position = anatomy.atlas.fill, anatomy.atlas.points.position
    return torch.from_numpy(np.where((fill >= 0)[..., None], position[np.maximum(fill, 0)], 0).astype(np.float32))


def read_back(anatomy: Anatomy, iuv: np.ndarray) -> np.ndarray:
    """Texel (N,) that labels (N, 3) name, by the nearest (u, v) of the surface."""
    found = np.full(len(iuv), -1)
    for surface in range(1, 25):
        texels = np.flatnonzero(anatomy.atlas.points.surface == surface)
        mine = iuv[:, 0] == surface
        if mine.any():
            found[mine] = texels[cKDTree(anatomy.atlas.surface_uv[texels]).query(iuv[mine, 1:] / 255)[1]]
    return found


def test_iuv_leads_back_to_the_place_that_gave_the_colour(anatomy: Anatomy, crowd: list[Group]):
    """A texture of places on the body: the picture says where each pixel's colour is from, and IUV says the same."""
    texture, position = place_texture(anatomy), anatomy.atlas.points.position
    offs = []
    for group in crowd[:8]:
        found = albedo_of(group, texture)
        sure = (group.coverage > 0.999) & (group.drawn.iuv[..., 0] > 0)
        texel = read_back(anatomy, group.drawn.iuv[sure].numpy())
        offs.append(np.linalg.norm(found[sure].numpy() - position[texel], axis=1))
    off = np.concatenate(offs)
    assert len(off) > 40_000
    assert np.median(off) < 0.008, "less than a texel, and 8 bits of u and v"
    assert (off < 0.03).mean() > 0.95


def test_iuv_leads_back_to_the_painted_colour(anatomy: Anatomy, crowd: list[Group]):
    """The same for real textures: albedo in the picture against the colour of the texel that IUV names."""
    close = []
    for group in crowd[:8]:
        row = ((1 - anatomy.atlas.uv[:, 1]) * 256).astype(int)
        colours = group.texture.numpy()[row, (anatomy.atlas.uv[:, 0] * 256).astype(int)]
        found = albedo_of(group, group.texture)
        sure = (group.coverage > 0.999) & (group.drawn.iuv[..., 0] > 0)
        texel = read_back(anatomy, group.drawn.iuv[sure].numpy())
        close.append(np.abs(found[sure].numpy() - colours[texel]).max(1))
    assert (np.concatenate(close) < 0.08).mean() > 0.9
    # Another person's texture does not fit.
    assert np.median(np.concatenate(close)) < 0.01


def test_parts_equal_the_skinnings_parts_on_bare_bodies(anatomy: Anatomy, crowd: list[Group]):
    """The joint that carries most of a pixel's weight, drawn as colours, against the part by IUV."""
    equal = []
    for group in crowd[:6]:
        dressed, vertices, normals = bare(group, anatomy)
        drawn = redraw(group, dressed=dressed, vertices=vertices, normals=normals)
        weights = anatomy.body.weights.numpy()[dressed.faces.numpy()].mean(1)
        by_joint = np.stack([weights[:, part == JOINT_TO_7].sum(1) for part in range(8)], 1).argmax(1)
        flat = dataclasses.replace(dressed, surface=torch.from_numpy(by_joint.astype(np.uint8)))
        expected = redraw(group, dressed=flat, vertices=vertices, normals=normals).iuv[..., 0].numpy()
        part = SURFACE_TO_7[drawn.iuv[..., 0].numpy()]
        assert ((part > 0) == (expected > 0)).all()
        inside = part > 0
        equal.append((part == expected)[inside])
        for number in range(1, 8):
            both, either = (part == number) & (expected == number), (part == number) | (expected == number)
            assert both.sum() > 0.75 * either.sum(), PARTS_7[number]
    assert np.concatenate(equal).mean() > 0.95


def test_dressed_pixels_keep_the_bodys_part(anatomy: Anatomy, crowd: list[Group]):
    """Where dressed and bare silhouettes overlap, clothes, hair and shoes are labelled as the body beneath them."""
    same = []
    for group in crowd[:8]:
        dressed, vertices, normals = bare(group, anatomy)
        naked = redraw(group, dressed=dressed, vertices=vertices, normals=normals).iuv[..., 0].numpy()
        worn = group.drawn.iuv[..., 0].numpy()
        both = (naked > 0) & (worn > 0)
        same.append((SURFACE_TO_7[naked] == SURFACE_TO_7[worn])[both])
    assert np.concatenate(same).mean() > 0.85


def test_a_mirrored_person_has_mirrored_labels(anatomy: Anatomy, crowd: list[Group]):
    """Mirror body, pose and camera: the picture's mirror image has surfaces flipped, u reversed, v as before."""
    dressed = undressed(anatomy)
    symmetric = dataclasses.replace(dressed, directions=torch.zeros_like(dressed.directions))
    group = crowd[5]
    count = len(group.scenes)
    order = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
    pose = torch.from_numpy(np.stack([scene.pose for scene in group.scenes])).reshape(count, 24, 3)
    mirrored = (pose[:, order] * torch.tensor([1.0, -1, -1])).reshape(count, 72)
    scenes = [
        dataclasses.replace(
            s,
            placement=dataclasses.replace(
                s.placement, pan_rad=-s.placement.pan_rad, roll_rad=-s.placement.roll_rad, shift=-s.placement.shift
            ),
        )
        for s in group.scenes
    ]
    pictures = []
    for poses, seen_by in ((pose.reshape(count, 72), group.scenes), (mirrored, scenes)):
        vertices, normals, _, _ = pose_dressed(anatomy, symmetric, torch.zeros(count, 10), poses)
        cameras = place_cameras(PitConfig(), vertices, seen_by)
        pictures.append(
            redraw(group, vertices=vertices, normals=normals, dressed=symmetric, cameras=cameras).iuv.numpy()
        )
    straight, mirror = pictures[0], pictures[1][:, :, ::-1]
    mask = (straight[..., 0] > 0) & (mirror[..., 0] > 0)
    assert mask.sum() > 0.97 * ((straight[..., 0] > 0) | (mirror[..., 0] > 0)).sum()
    flipped = SURFACE_FLIP[mirror[..., 0]] == straight[..., 0]
    assert flipped[mask].mean() > 0.96
    same = mask & flipped
    u = np.abs(255 - mirror[..., 1].astype(int) - straight[..., 1])[same]
    v = np.abs(mirror[..., 2].astype(int) - straight[..., 2])[same]
    assert np.median(u) <= 3 and np.median(v) <= 3
    assert (u < 20).mean() > 0.93 and (v < 20).mean() > 0.93


def test_labels_do_not_depend_on_colours_and_light(crowd: list[Group]):
    group = crowd[7]
    cameras = dataclasses.replace(group.cameras, light=torch.rand(3, 9, generator=torch.Generator().manual_seed(0)))
    other = redraw(group, 0.0, texture=1 - group.texture, cameras=cameras)
    assert torch.equal(other.iuv, group.drawn.iuv) and torch.equal(other.depth, group.drawn.depth)
