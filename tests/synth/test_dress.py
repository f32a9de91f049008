"""Dressed meshes: well formed, outside the body, clean at their edges; cutting against a slow oracle."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from people import Group
from scipy.spatial import cKDTree

from shards.semantics import SURFACE_TO_7
from synth.accessory import patch_texels
from synth.anatomy import ANKLE, HAND, HIP, SHOULDER, WRIST, Anatomy, vertex_normals
from synth.body import NUM_JOINTS, joint_rows, pose_body
from synth.dress import NUM_FACE_KEYPOINTS, Dressed, dress, pose_dressed, undressed
from synth.mesh import SEEN_INSIDE_M, Mesh, cut, join, with_faces
from synth.motion import Gait, aligned_pose, gait_pose
from synth.outfit import Accessory, Hair, Outfit
from synth.raster import RasterConfig, rasterize
from synth.reach import ROW_M
from synth.render import screen_points

MARKERS = NUM_JOINTS + NUM_FACE_KEYPOINTS
# As in test_surface: the 7 parts of SMPL's 24 joints.
JOINT_TO_7 = np.array([2, 5, 5, 2, 6, 6, 2, 7, 7, 2, 7, 7, 1, 2, 2, 1, 3, 3, 4, 4, 4, 4, 4, 4])
CLEAN_M = 0.002


@pytest.fixture(scope="module")
def worn(anatomy: Anatomy, wardrobe: list[Outfit]) -> list[Dressed]:
    return [dress(anatomy, outfit) for outfit in wardrobe[:50]]


def plain(wardrobe: list[Outfit], *, top: str = "tshirt", lower: str = "trousers", **changes) -> Outfit:
    """Someone bald in a top and a lower garment of the given kinds and nothing else."""
    tops = [o.outer if o.outer and o.outer.kind == top else o.inner for o in wardrobe]
    upper = next(upper for upper in tops if upper.kind == top)
    upper = dataclasses.replace(upper, open_m=0.0, hood=False, vee_m=0.0)
    below = next(o.lower for o in wardrobe if o.lower.kind == lower)
    bald = Hair(colour=(0.1, 0.1, 0.1), volume_m=0.02, fall_m=0.0, wrap_rad=1.5, tied="no", bald=True, seed=0)
    given = dict(inner=upper, outer=None, lower=below, hair=bald, accessories=()) | changes
    return dataclasses.replace(wardrobe[0], **given)


def own_and_garment(dressed: Dressed) -> tuple[np.ndarray, np.ndarray]:
    """Rest vertices of the body that is left, and of all that is worn."""
    rest = dressed.rest[MARKERS:].numpy()
    return rest[: dressed.num_body], rest[dressed.num_body :]


def border(dressed: Dressed) -> np.ndarray:
    """Rest places (K, 3) of the vertices on open edges of what is worn."""
    faces = dressed.faces.numpy()
    edges, count = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], 2).reshape(-1, 2), axis=0, return_counts=True)
    vertices = np.unique(edges[count == 1])
    return dressed.rest[MARKERS:].numpy()[vertices[vertices >= dressed.num_body]]


def stand_off(anatomy: Anatomy, places: np.ndarray) -> np.ndarray:
    """Distance (K,) of places from the bare body's surface, metres, positive outside."""
    body = trimesh.Trimesh(anatomy.body.template.numpy(), anatomy.body.faces.numpy(), process=False)
    near = cKDTree(body.triangles_center).query(places)[1]
    return np.einsum("nk,nk->n", places - body.triangles_center[near], body.face_normals[near])


def test_meshes_are_well_formed(worn: list[Dressed]):
    for dressed in worn:
        rows, vertices = len(dressed.rest), len(dressed.rest) - MARKERS
        assert dressed.rest.shape == (rows, 3) and dressed.normals.shape == (rows - NUM_JOINTS, 3)
        assert dressed.weights.shape == (rows, NUM_JOINTS) and dressed.directions.shape[:2] == (rows, 3)
        for array in (dressed.rest, dressed.normals, dressed.weights, dressed.directions, dressed.corner):
            assert array.dtype == torch.float32 and array.isfinite().all()
        assert dressed.faces.dtype == torch.int32 and dressed.faces.min() >= 0
        used = np.bincount(dressed.faces.numpy().ravel(), minlength=vertices)
        assert len(used) == vertices and used.all()
        assert (dressed.weights >= 0).all()
        torch.testing.assert_close(dressed.weights.sum(1), torch.ones(rows), atol=1e-5, rtol=0)
        assert dressed.surface.dtype == torch.uint8 and dressed.surface.max() <= 24
        assert dressed.corner.shape == (len(dressed.faces), 3, 4)
        assert dressed.corner.min() >= 0 and dressed.corner.max() <= 1
        length = dressed.normals[NUM_FACE_KEYPOINTS:].norm(dim=1)
        assert (length - 1).abs().max() < 1e-3
        assert 1000 < dressed.num_body < vertices


def test_nothing_is_flung_away(anatomy: Anatomy, worn: list[Dressed]):
    """In the T-pose all that is worn lies within half a metre of the body, bags and skirts included."""
    tree = cKDTree(anatomy.body.template.numpy())
    for dressed in worn:
        assert tree.query(dressed.rest[MARKERS:].numpy())[0].max() < 0.5


def test_joints_and_face_lead_the_mesh(anatomy: Anatomy, worn: list[Dressed]):
    body = anatomy.body
    rest, weights, directions = joint_rows(body)
    for dressed in worn[:5]:
        assert torch.equal(dressed.rest[:NUM_JOINTS], rest) and torch.equal(dressed.weights[:NUM_JOINTS], weights)
        assert torch.equal(dressed.directions[:NUM_JOINTS], directions)
        assert torch.equal(dressed.rest[NUM_JOINTS:MARKERS], body.template[body.face_keypoints])


def test_clothes_do_not_move_joints_and_face(anatomy: Anatomy, worn: list[Dressed]):
    rng = np.random.default_rng(0)
    betas = torch.from_numpy(rng.normal(0, 1, (3, 10)).astype(np.float32))
    pose = torch.from_numpy(np.stack([gait_pose(Gait(), phase) for phase in (0.1, 0.4, 0.8)]))
    bare, joints = pose_body(anatomy.body, betas, pose)
    vertices, normals, dressed_joints, face = pose_dressed(anatomy, worn[0], betas, pose)
    torch.testing.assert_close(dressed_joints, joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(face, bare[:, anatomy.body.face_keypoints], atol=1e-5, rtol=0)
    for k in range(3):
        alone = pose_dressed(anatomy, worn[0], betas[k : k + 1], pose[k : k + 1])
        torch.testing.assert_close(vertices[k], alone[0][0], atol=1e-5, rtol=0)
        torch.testing.assert_close(normals[k], alone[1][0], atol=1e-5, rtol=0)


def test_the_undressed_are_the_body(anatomy: Anatomy):
    dressed, body = undressed(anatomy), anatomy.body
    betas, pose = torch.full((1, 10), 0.5), torch.from_numpy(aligned_pose())[None]
    torch.testing.assert_close(
        pose_dressed(anatomy, dressed, betas, pose)[0].mT, pose_body(body, betas, pose)[0], atol=1e-5, rtol=0
    )
    assert torch.equal(dressed.faces.long(), body.faces) and dressed.num_body == len(body.template)
    np.testing.assert_array_equal(dressed.surface.numpy(), anatomy.surface.surface)
    np.testing.assert_array_equal(dressed.corner[..., 2:].numpy(), anatomy.surface.uv)
    torch.testing.assert_close(dressed.corner[..., :2], body.uv[body.face_uv])


def test_dressing_depends_on_nothing_but_the_outfit(anatomy: Anatomy, wardrobe: list[Outfit], worn: list[Dressed]):
    for k in (3, 1, 8):
        again = dress(anatomy, wardrobe[k])
        for field in dataclasses.fields(Dressed):
            one, other = getattr(worn[k], field.name), getattr(again, field.name)
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, field.name


@pytest.mark.parametrize("top", ["tshirt", "sweater", "hoodie", "jacket", "coat", "down"])
def test_cloth_lies_outside_the_body(anatomy: Anatomy, wardrobe: list[Outfit], top: str):
    outfit = plain(wardrobe, top=top)
    _, garment = own_and_garment(dress(anatomy, outfit))
    distance = stand_off(anatomy, garment)
    assert np.mean(distance > 0) > 0.98
    assert distance.mean() > 0.8 * min(outfit.inner.ease_m, outfit.lower.ease_m)


def test_thicker_tops_stand_further_off(anatomy: Anatomy, wardrobe: list[Outfit]):
    distance = {}
    for top in ("tshirt", "coat", "down"):
        _, garment = own_and_garment(dress(anatomy, plain(wardrobe, top=top)))
        chest = (garment[:, 1] > anatomy.waist_y) & (np.abs(garment[:, 0]) < 0.15) & (garment[:, 1] < anatomy.armpit_y)
        distance[top] = stand_off(anatomy, garment[chest]).mean()
    assert distance["tshirt"] > 0.005
    assert distance["coat"] > distance["tshirt"] + 0.01
    assert distance["down"] > distance["coat"] + 0.005


def assert_ring(places: np.ndarray, axis: int, across: tuple[int, int]) -> None:
    """Places on a closed ring: level along one axis, all around in the two others."""
    assert len(places) >= 12
    assert np.ptp(places[:, axis]) < CLEAN_M
    middle = (places[:, across].max(0) + places[:, across].min(0)) / 2
    angle = np.sort(np.arctan2(*(places[:, across] - middle).T))
    assert np.diff(angle, append=angle[0] + 2 * np.pi).max() < 1.3


@pytest.mark.parametrize("top", ["tshirt", "longsleeve", "shirt", "sweater", "jacket", "down"])
@pytest.mark.parametrize("side", [1, -1])
def test_a_sleeve_ends_in_a_clean_ring(anatomy: Anatomy, wardrobe: list[Outfit], top: str, side: int):
    outfit = plain(wardrobe, top=top)
    edge = border(dress(anatomy, outfit))
    along = side * edge[:, 0]
    ring = edge[along > along.max() - 0.02]
    assert_ring(ring, 0, (1, 2))
    shoulder, wrist = anatomy.joints[[SHOULDER, WRIST], 0]
    expected = shoulder + 0.01 + outfit.inner.sleeve * (wrist - shoulder)
    assert np.abs(ring[:, 0]).mean() == pytest.approx(expected, abs=CLEAN_M)


@pytest.mark.parametrize("lower", ["trousers", "shorts"])
@pytest.mark.parametrize("side", [1, -1])
def test_a_leg_ends_in_a_clean_ring(anatomy: Anatomy, wardrobe: list[Outfit], lower: str, side: int):
    outfit = plain(wardrobe, lower=lower)
    edge = border(dress(anatomy, outfit))
    edge = edge[side * edge[:, 0] > 0]
    ring = edge[edge[:, 1] < edge[:, 1].min() + 0.02]
    assert_ring(ring, 1, (0, 2))
    hip, ankle = anatomy.joints[[HIP, ANKLE], 1]
    assert ring[:, 1].mean() == pytest.approx(hip + outfit.lower.length * (ankle - hip), abs=CLEAN_M)


@pytest.mark.parametrize("top", ["tshirt", "coat", "dress"])
def test_a_hem_ends_in_a_clean_ring(anatomy: Anatomy, wardrobe: list[Outfit], top: str):
    outfit = plain(wardrobe, top=top, lower="leggings")
    outfit = dataclasses.replace(outfit, lower=dataclasses.replace(outfit.lower, ease_m=0.004))
    edge = border(dress(anatomy, outfit))
    assert_ring(edge[edge[:, 1] < edge[:, 1].min() + 0.02], 1, (0, 2))


def test_a_skirt_ends_in_a_clean_ring(anatomy: Anatomy, wardrobe: list[Outfit]):
    edge = border(dress(anatomy, plain(wardrobe, lower="skirt")))
    assert_ring(edge[edge[:, 1] < edge[:, 1].min() + 0.02], 1, (0, 2))


def test_a_longer_hem_reaches_lower(anatomy: Anatomy, wardrobe: list[Outfit]):
    outfit = plain(wardrobe, top="coat", lower="leggings")
    bottoms = []
    for hem in (0.5, 1.0, 1.5, 2.0):
        upper = dataclasses.replace(outfit.inner, hem=hem)
        edge = border(dress(anatomy, dataclasses.replace(outfit, inner=upper)))
        bottoms.append(edge[:, 1].min())
    knee = anatomy.joints[4, 1]
    assert bottoms[1] == pytest.approx(anatomy.crotch_y, abs=CLEAN_M) and bottoms[3] == pytest.approx(knee, abs=CLEAN_M)
    assert bottoms == sorted(bottoms, reverse=True)


def test_faces_under_cloth_are_left_out(anatomy: Anatomy, wardrobe: list[Outfit]):
    """Nothing of the body is left that could show through the middle of a coat; hands, head and feet stay."""
    dressed = dress(anatomy, plain(wardrobe, top="coat"))
    own, _ = own_and_garment(dressed)
    trunk = (np.abs(own[:, 0]) < 0.1) & (own[:, 1] > anatomy.crotch_y + 0.05) & (own[:, 1] < anatomy.armpit_y)
    forearm = (np.abs(own[:, 0]) > 0.5) & (np.abs(own[:, 0]) < 0.6)
    assert not trunk.any() and not forearm.any()
    assert (own[:, 1] > anatomy.neck_y + 0.1).sum() > 300 and (np.abs(own[:, 0]) > 0.75).sum() > 100


def test_an_open_coat_leaves_the_shirt_to_see(anatomy: Anatomy, wardrobe: list[Outfit]):
    shirt = plain(wardrobe).inner
    coat = plain(wardrobe, top="coat").inner
    count = {
        open_m: len(dress(anatomy, plain(wardrobe, inner=shirt, outer=dataclasses.replace(coat, open_m=open_m))).faces)
        for open_m in (0.0, 0.08)
    }
    closed = dress(anatomy, plain(wardrobe, inner=coat))
    assert count[0.0] == len(closed.faces), "a closed coat hides all of the shirt"
    assert count[0.08] > count[0.0]


def test_cloth_is_labelled_as_the_body_beneath(anatomy: Anatomy, worn: list[Dressed]):
    """The texel at a corner's texture uv lies on the face's surface, at the corner's surface uv, and carries its bone."""
    atlas = anatomy.atlas
    tree = cKDTree(atlas.uv)
    same, parts = [], []
    for dressed in worn[:12]:
        cloth = (dressed.faces.min(1).values >= dressed.num_body) & (dressed.surface > 0)
        corner, surface = dressed.corner[cloth].numpy().reshape(-1, 4), np.repeat(dressed.surface[cloth].numpy(), 3)
        found = tree.query(corner[:, :2])[1]
        alike = (atlas.points.surface[found] == surface) & (
            np.abs(atlas.surface_uv[found] - corner[:, 2:]).max(1) < 0.06
        )
        same.append(alike.mean())
        bone = dressed.weights[MARKERS:][dressed.faces[cloth].long()].mean(1).argmax(1).numpy()
        parts.append((JOINT_TO_7[bone] == SURFACE_TO_7[dressed.surface[cloth].numpy()]).mean())
    assert min(same) > 0.92
    assert min(parts) > 0.7 and np.mean(parts) > 0.85


def accessory(kind: str, side: str = "left") -> Accessory:
    return Accessory(kind=kind, side=side, size=1.0, colour=(0.8, 0.2, 0.2), second=(0.2, 0.2, 0.8), seed=1)


def carried(anatomy: Anatomy, wardrobe: list[Outfit], *accessories: Accessory) -> tuple[Dressed, np.ndarray]:
    """Someone with accessories, and the rest places of the vertices on no body surface."""
    dressed = dress(anatomy, plain(wardrobe, accessories=accessories))
    return dressed, dressed.rest[MARKERS:].numpy()[dressed.faces[dressed.surface == 0].long().unique().numpy()]


def test_who_carries_nothing_is_all_body(anatomy: Anatomy, wardrobe: list[Outfit]):
    assert (carried(anatomy, wardrobe)[0].surface > 0).all()


@pytest.mark.parametrize("kind", ["backpack", "shoulder_bag", "handbag", "cap"])
def test_what_is_carried_is_marked(anatomy: Anatomy, wardrobe: list[Outfit], kind: str):
    """No surface, u = 1, and texture uv inside rectangles that the body leaves free."""
    dressed, places = carried(anatomy, wardrobe, accessory(kind))
    corner = dressed.corner[dressed.surface == 0].numpy().reshape(-1, 4)
    assert len(places) > 50 and (corner[:, 2] == 1).all() and (corner[:, 3] == 0).all()
    size = len(anatomy.atlas.fill)
    allowed = np.zeros((size, size), bool)
    for patch in ("cap", "trim") if kind == "cap" else ("bag", "trim"):
        allowed[patch_texels(anatomy, patch)] = True
    assert anatomy.atlas.free[allowed].all()
    # All four texels of a bilinear look-up belong to the patch.
    x, y = corner[:, 0] * size - 0.5, (1 - corner[:, 1]) * size - 0.5
    for column in (np.floor(x + 1e-3), np.ceil(x - 1e-3)):
        for row in (np.floor(y + 1e-3), np.ceil(y - 1e-3)):
            assert allowed[row.astype(int), column.astype(int)].all()


def test_things_are_where_they_belong(anatomy: Anatomy, wardrobe: list[Outfit]):
    trunk_z = anatomy.trunk.centre[:, 1].mean()
    _, pack = carried(anatomy, wardrobe, accessory("backpack"))
    assert np.quantile(pack[:, 2], 0.3) < trunk_z - 0.15, "on the back"
    assert pack[:, 2].max() > trunk_z + 0.05, "its straps come to the front"
    assert anatomy.crotch_y < pack[:, 1].min() and pack[:, 1].max() < anatomy.neck_y + 0.06
    for side, sign in (("left", 1), ("right", -1)):
        _, bag = carried(anatomy, wardrobe, accessory("handbag", side))
        assert (sign * bag[:, 0] > anatomy.joints[HAND, 0] - 0.05).all()
        _, bag = carried(anatomy, wardrobe, accessory("shoulder_bag", side))
        low = bag[bag[:, 1] < anatomy.joints[HIP, 1] + 0.05]
        assert (sign * low[:, 0] > 0.05).all(), "the bag hangs at its side"
        high = bag[bag[:, 1].argmax()]
        assert sign * high[0] < -0.05, "the strap lies on the other shoulder"
    _, cap = carried(anatomy, wardrobe, accessory("cap"))
    assert cap[:, 1].min() > anatomy.joints[15, 1] and cap[:, 1].max() > anatomy.crown_y


def test_bags_keep_their_shape(anatomy: Anatomy, wardrobe: list[Outfit]):
    """A handbag is rigid: no pose and no body changes the distances within it."""
    dressed, _ = carried(anatomy, wardrobe, accessory("handbag"))
    index = dressed.faces[dressed.surface == 0].long().unique()
    betas = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (2, 10)).astype(np.float32))
    pose = torch.from_numpy(np.stack([aligned_pose(), gait_pose(Gait(), 0.3)]))
    posed = pose_dressed(anatomy, dressed, betas, pose)[0][:, :, index].mT
    expected = torch.cdist(dressed.rest[MARKERS:][index], dressed.rest[MARKERS:][index])
    torch.testing.assert_close(torch.cdist(posed, posed), expected.expand(2, -1, -1), atol=2e-3, rtol=0)


def test_long_hair_hangs_and_bald_heads_are_bare(anatomy: Anatomy, wardrobe: list[Outfit]):
    bald = plain(wardrobe)
    short = dataclasses.replace(bald, hair=dataclasses.replace(bald.hair, bald=False))
    crown = {o: own_and_garment(dress(anatomy, o))[0][:, 1].max() for o in (bald, short)}
    assert crown[bald] == pytest.approx(float(anatomy.body.template[:, 1].max()), abs=1e-5)
    assert crown[short] == pytest.approx(crown[bald] + bald.hair.volume_m, abs=0.005)
    counts = []
    for fall_m in (0.1, 0.3):
        long = dataclasses.replace(short, hair=dataclasses.replace(short.hair, fall_m=fall_m))
        dressed = dress(anatomy, long)
        hair = own_and_garment(dressed)[1][-200:]
        assert hair[:, 1].min() == pytest.approx(anatomy.joints[15, 1] - 0.02 - fall_m, abs=0.04)
        assert hair[:, 2].min() < anatomy.trunk.centre[:, 1].mean() - 0.05, "it falls over the back"
        counts.append(len(dressed.faces))
    assert counts[0] < counts[1]


def piece(seed: int) -> tuple[Mesh, np.ndarray, np.ndarray]:
    """A crumpled sheet whose attributes are linear in the place on the flat sheet, a field on it, and the sheet's plane.

    Returns the mesh, field (N,), and the linear maps' matrix (2, 24 + 3 * 10).
    """
    rng = np.random.default_rng(seed)
    side = 12
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    flat = np.stack([x, y], -1).reshape(-1, 2) + rng.uniform(-0.3, 0.3, (side * side, 2))
    a = (x[:-1, :-1] * side + y[:-1, :-1]).ravel()
    faces = np.concatenate([np.stack([a, a + side, a + 1], 1), np.stack([a + 1, a + side, a + side + 1], 1)])
    faces = np.take_along_axis(faces, (rng.integers(3, size=(len(faces), 1)) + np.arange(3)) % 3, 1)
    matrix = rng.normal(0, 1, (2, NUM_JOINTS + 30))
    linear = flat @ matrix
    rest = np.concatenate([flat, np.zeros((len(flat), 1))], 1)
    mesh = Mesh(
        rest=rest.astype(np.float32),
        weights=linear[:, :NUM_JOINTS].astype(np.float32),
        directions=linear[:, NUM_JOINTS:].reshape(-1, 3, 10).astype(np.float32),
        faces=faces.astype(np.int32),
        corner=linear[:, :4][faces].astype(np.float32),
        surface=rng.integers(1, 25, len(faces)).astype(np.uint8),
        double_sided=rng.random(len(faces)) < 0.5,
    )
    return mesh, rng.normal(0, 1, len(flat)).astype(np.float32), matrix


def areas(triangles: np.ndarray) -> np.ndarray:
    """Signed (F,) of triangles (F, 3, 2)."""
    one, two = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2


def clipped_area(triangle: np.ndarray, field: np.ndarray) -> float:
    """Area of the part of a triangle (3, 2) where the linear interpolation of field (3,) is positive, by clipping."""
    polygon = []
    for k in range(3):
        here, after = field[k], field[(k + 1) % 3]
        if here > 0:
            polygon.append(triangle[k])
        if (here > 0) != (after > 0):
            polygon.append(triangle[k] + here / (here - after) * (triangle[(k + 1) % 3] - triangle[k]))
    area = 0.0
    for one, other in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        area += (one[0] * other[1] - one[1] * other[0]) / 2
    return abs(area)


@pytest.mark.parametrize("seed", range(4))
def test_cut_keeps_the_positive_area_of_every_surface(seed: int):
    mesh, field, _ = piece(seed)
    flat = mesh.rest[:, :2].astype(float)
    expected = np.zeros(25)
    for face, surface in zip(mesh.faces, mesh.surface, strict=True):
        expected[surface] += clipped_area(flat[face], field[face])
    kept = join([cut(mesh, field)])
    found = areas(kept.rest[:, :2][kept.faces].astype(float)) * np.sign(areas(flat[mesh.faces])[0])
    assert (found > -1e-6).all(), "faces keep their winding"
    np.testing.assert_allclose(np.bincount(kept.surface, found, 25), expected, atol=1e-4)
    assert 0.2 < found.sum() / np.abs(areas(flat[mesh.faces])).sum() < 0.8


@pytest.mark.parametrize("seed", range(4))
def test_cut_interpolates_every_attribute_linearly(seed: int):
    mesh, field, matrix = piece(seed)
    kept = join([cut(mesh, field)])
    linear = kept.rest[:, :2].astype(float) @ matrix
    np.testing.assert_allclose(kept.weights, linear[:, :NUM_JOINTS], atol=1e-4)
    np.testing.assert_allclose(kept.directions.reshape(-1, 30), linear[:, NUM_JOINTS:], atol=1e-4)
    np.testing.assert_allclose(kept.corner, linear[kept.faces][..., :4], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_cut_leaves_no_cracks_and_runs_along_the_zero(seed: int):
    """New vertices are shared by the faces on both sides of an edge; each lies on an old edge, where the field is 0."""
    mesh, field, _ = piece(seed)
    kept = join([cut(mesh, field)])
    edges, count = np.unique(
        np.sort(kept.faces[:, [[0, 1], [1, 2], [2, 0]]], 2).reshape(-1, 2), axis=0, return_counts=True
    )
    assert count.max() <= 2
    assert (np.bincount(edges[count == 1].ravel())[np.unique(edges[count == 1])] % 2 == 0).all(), "the border is closed"
    crossed, ends = set(), np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]], 2).reshape(-1, 2)
    for a, b in ends.tolist():
        if (field[a] > 0) != (field[b] > 0):
            crossed.add((a, b))
    assert len(kept.rest) == len(crossed) + len(np.unique(mesh.faces[(field[mesh.faces] > 0)]))
    places = [mesh.rest[a] + field[a] / (field[a] - field[b]) * (mesh.rest[b] - mesh.rest[a]) for a, b in crossed]
    assert cKDTree(kept.rest).query(np.array(places))[0].max() < 1e-4


def test_cut_of_all_and_nothing():
    mesh, field, _ = piece(0)
    whole, nothing = cut(mesh, np.abs(field) + 1), cut(mesh, -np.abs(field))
    np.testing.assert_array_equal(whole.faces, mesh.faces)
    np.testing.assert_array_equal(whole.corner, mesh.corner)
    assert len(nothing.faces) == len(nothing.corner) == len(nothing.surface) == 0


def test_cut_through_vertices_makes_nothing_strange():
    """Where the field is exactly 0 at vertices, as a hem on a row of them."""
    mesh, _, _ = piece(1)
    field = np.tile(np.arange(12, dtype=np.float32) - 5, (12, 1)).ravel()
    kept = join([cut(mesh, field)])
    flat = mesh.rest[:, :2].astype(float)
    expected = sum(clipped_area(flat[face], field[face]) for face in mesh.faces)
    found = np.abs(areas(kept.rest[:, :2][kept.faces].astype(float))).sum()
    assert found == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(kept.rest).all()


def test_join_keeps_the_pieces_apart_and_drops_loose_vertices():
    pieces = [cut(*piece(0)[:2]), cut(*piece(1)[:2])]
    (first, second), both = (join([one]) for one in pieces), join(pieces)
    assert np.array_equal(np.unique(both.faces), np.arange(len(both.rest)))
    np.testing.assert_array_equal(both.rest[both.faces][: len(first.faces)], first.rest[first.faces])
    np.testing.assert_array_equal(both.rest[both.faces][len(first.faces) :], second.rest[second.faces])
    np.testing.assert_array_equal(both.weights[both.faces][len(first.faces) :], second.weights[second.faces])
    np.testing.assert_array_equal(both.surface, np.concatenate([first.surface, second.surface]))
    np.testing.assert_array_equal(both.corner, np.concatenate([first.corner, second.corner]))


def test_join_puts_what_leads_first():
    """Markers have no faces, keep all their rows, and shift no face."""
    kept, ahead = cut(*piece(0)[:2]), with_faces(piece(1)[0], np.zeros(len(piece(1)[0].faces), bool))
    alone, led = join([kept]), join([kept], ahead=ahead)
    for name in ("rest", "weights", "directions"):
        rows = np.concatenate([getattr(ahead, name), getattr(alone, name)])
        np.testing.assert_array_equal(getattr(led, name), rows)
    np.testing.assert_array_equal(led.faces, alone.faces)


@pytest.mark.parametrize("seed", range(4))
def test_cut_leaves_out_faces_that_nobody_sees(seed: int):
    """The same as cutting only the faces with a vertex in sight."""
    mesh, field, _ = piece(seed)
    seen = np.random.default_rng(seed).random(len(field)) < 0.3
    found, expected = cut(mesh, field, seen), cut(with_faces(mesh, seen[mesh.faces].any(1)), field)
    for name in ("faces", "corner", "surface", "double_sided", "ends", "share"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert 0 < len(found.faces) < len(cut(mesh, field).faces)


def test_what_lies_near_a_cut_edge_is_seen_from_both_sides():
    """And so is what was before; the parts of a cut face are like the whole."""
    mesh, field, _ = piece(0)
    field *= 0.3
    # Each face a surface of its own, which its parts keep.
    found = cut(dataclasses.replace(mesh, surface=np.arange(len(mesh.faces), dtype=np.uint8)), field)
    source = found.surface
    expected = mesh.double_sided[source] | (field[mesh.faces[source]].min(1) < SEEN_INSIDE_M)
    np.testing.assert_array_equal(found.double_sided, expected)
    assert 0.1 < (expected & ~mesh.double_sided[source]).mean() and not expected.all()


def test_nobody_sees_the_backs_that_are_left_out(crowd: list[Group]):
    """With all backs drawn, the crowd shows the same faces but for a pixel in a thousand, and nobody much else."""
    shares = []
    for group in crowd:
        dressed = group.dressed
        assert not dressed.double_sided.all()
        points = screen_points(group.vertices, group.normals, group.cameras)
        size = group.cameras.height, group.cameras.width
        some = rasterize(points, dressed.faces, *size, RasterConfig(), double_sided=dressed.double_sided).face
        every = rasterize(points, dressed.faces, *size, RasterConfig()).face
        shares.append(((every != some).sum() / (every >= 0).sum()).item())
    assert np.mean(shares) < 0.001 and max(shares) < 0.003


def test_the_inside_of_an_open_front_is_drawn(anatomy: Anatomy, wardrobe: list[Outfit]):
    """An open garment adds no face that is seen from one side alone."""

    def single_sided(outfit: Outfit) -> int:
        dressed = dress(anatomy, outfit)
        worn = dressed.faces.amax(1) >= dressed.num_body
        return int((worn & ~dressed.double_sided).sum())

    opened = [outfit for outfit in wardrobe[:60] if outfit.outer and outfit.outer.open_m > 0]
    assert len(opened) > 5
    for outfit in opened:
        alone = single_sided(dataclasses.replace(outfit, outer=None))
        assert single_sided(outfit) <= alone
        closed = dataclasses.replace(outfit, inner=outfit.outer, outer=None)
        assert single_sided(dataclasses.replace(closed, inner=dataclasses.replace(outfit.outer, open_m=0.0))) > 300


def test_a_piece_is_cut_once():
    mesh, field, _ = piece(0)
    with pytest.raises(ValueError, match="join it first"):
        cut(cut(mesh, field), field)


def test_normals_are_the_area_weighted_means_of_the_faces():
    """Against an accumulation in double precision; a vertex in no face has none."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(0, 1, (60, 3)).astype(np.float32)
    faces = rng.integers(0, 59, (200, 3)).astype(np.int32)
    expected = np.zeros((60, 3))
    for face in faces:
        a, b, c = vertices[face].astype(float)
        for vertex in face:
            expected[vertex] += np.cross(b - a, c - a)
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(vertex_normals(vertices, faces), expected, atol=1e-4)
    assert (expected[59] == 0).all()


def test_radius_tables_are_read_bilinearly(anatomy: Anatomy):
    """Against one place at a time: linear between rows, and around the turn; the ends of the axis hold on."""
    rng, trunk = np.random.default_rng(0), anatomy.trunk
    rows, angles = trunk.radius.shape
    table = rng.random((rows, angles)).astype(np.float32)
    along, angle = trunk.start + rng.uniform(-0.1, 0.1 + ROW_M * rows, 200), rng.uniform(-np.pi, np.pi, 200)
    expected = []
    for row, column in zip((along - trunk.start) / ROW_M, (angle + np.pi) / (2 * np.pi) * angles - 0.5, strict=True):
        row = min(max(row, 0), rows - 1.001)
        around = [np.interp(column % angles, np.arange(angles + 1), [*line, line[0]]) for line in table]
        expected.append(np.interp(row, np.arange(rows), around))
    np.testing.assert_allclose(trunk.at(table, along, angle), expected, atol=1e-5)
    np.testing.assert_allclose(trunk.reader(along, angle) @ table.ravel(), expected, atol=1e-5)
