"""The 24 surfaces: complete, connected, mirrored, charts in good shape; other bodies; DensePose's own file."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.io import savemat
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from shards.semantics import SURFACE_FLIP, SURFACE_TO_7
from synth.anatomy import build_anatomy
from synth.body import JOINTS, Body, load_body, pose_body
from synth.densepose import load_densepose_surface
from synth.surface import Surface, build_surface

HANDS, FEET, HEADS = (3, 4), (5, 6), (23, 24)
# Of SMPL's 24 joints: 1 head, 2 torso, 3 upper arm, 4 lower arm and hand, 5 upper leg, 6 lower leg, 7 foot.
JOINT_TO_7 = np.array([2, 5, 5, 2, 6, 6, 2, 7, 7, 2, 7, 7, 1, 2, 2, 1, 3, 3, 4, 4, 4, 4, 4, 4])


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def surface(body: Body) -> Surface:
    return build_surface(body)


def corners_of(body: Body) -> np.ndarray:
    return body.template.numpy().astype(float)[body.faces.numpy()]


def cross_of(body: Body) -> np.ndarray:
    corners = corners_of(body)
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def area_of(body: Body) -> np.ndarray:
    return np.linalg.norm(cross_of(body), axis=1) / 2


def uv_area(uv: np.ndarray) -> np.ndarray:
    """Signed area (F,) of each face in its chart."""
    one, two = (uv[:, 1] - uv[:, 0]).astype(float), (uv[:, 2] - uv[:, 0]).astype(float)
    return (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2


def shared_edges(faces: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(face, face, vertex, vertex) of every inner edge, by dictionary."""
    first: dict[tuple[int, int], int] = {}
    shared = []
    for face, corners in enumerate(faces.tolist()):
        for a, b in ((0, 1), (1, 2), (2, 0)):
            edge = (min(corners[a], corners[b]), max(corners[a], corners[b]))
            if edge in first:
                shared.append((first[edge], face, *edge))
            first[edge] = face
    return shared


def pieces(faces: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Connected piece (F,) of faces that share an edge and a label."""
    pairs = np.array(shared_edges(faces))[:, :2]
    pairs = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]]
    graph = sp.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(faces),) * 2)
    return connected_components(graph, directed=False)[1]


def continuous_pieces(faces: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The pieces of a chart across whose inner edges (u, v) is continuous."""
    joined = []
    for one, two, *edge in shared_edges(faces):
        at = [[uv[face][faces[face].tolist().index(vertex)] for vertex in edge] for face in (one, two)]
        if np.array_equal(*at):
            joined.append((one, two))
    graph = sp.coo_matrix((np.ones(len(joined)), np.array(joined).T), shape=(len(faces),) * 2)
    return np.unique(connected_components(graph, directed=False)[1])


def coverage(uv: np.ndarray, size: int = 64) -> np.ndarray:
    """How many faces (K, 3, 2) cover each of size x size points of the unit square."""
    grid = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(grid, grid)
    count = np.zeros((size, size), int)
    for a, b, c in uv.astype(float):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) > 1e-14:
            second = ((u - a[0]) * (c[1] - a[1]) - (v - a[1]) * (c[0] - a[0])) / area
            third = ((b[0] - a[0]) * (v - a[1]) - (b[1] - a[1]) * (u - a[0])) / area
            count += (second >= 0) & (third >= 0) & (second + third <= 1)
    return count


def test_every_face_lies_on_one_of_24_surfaces(body, surface):
    assert surface.surface.shape == (len(body.faces),) and surface.surface.dtype == np.uint8
    assert set(surface.surface.tolist()) == set(range(1, 25))
    assert surface.uv.shape == (len(body.faces), 3, 2) and surface.uv.dtype == np.float32
    assert surface.uv.min() >= 0 and surface.uv.max() <= 1
    assert surface.source == "geometric"


def test_each_surface_is_one_patch_and_eyeballs_are_on_their_side(body, surface):
    faces, label = body.faces.numpy(), surface.surface
    component = pieces(faces, np.zeros(len(faces), int))
    largest = np.bincount(component).argmax()
    for number in range(1, 25):
        parts = pieces(faces, label)[(label == number) & (component == largest)]
        assert len(np.unique(parts)) == 1, number
    eyes = component != largest
    assert eyes.sum() == 88
    expected = np.where(corners_of(body)[eyes, :, 0].mean(1) > 0, 24, 23)
    assert np.array_equal(label[eyes], expected)


def test_left_and_right_mirror(body, surface):
    """The mirrored place has the flipped label and (1 - u, v)."""
    centre, area, label = corners_of(body).mean(1), area_of(body), surface.surface
    # Crossing the midline, faces of the head are not mirrored one by one.
    distance, mirrored = cKDTree(centre * [-1, 1, 1]).query(centre)
    paired = distance < 1e-3
    assert area[paired].sum() > 0.9 * area.sum()
    same = SURFACE_FLIP[label] == label[mirrored]
    assert area[paired & same].sum() > 0.995 * area[paired].sum()
    gap = np.abs(surface.uv.mean(1) * [-1, 1] + [1, 0] - surface.uv.mean(1)[mirrored]).max(1)[paired & same]
    assert np.quantile(gap, 0.95) < 0.02
    totals = np.bincount(label, area)
    assert np.allclose(totals[1:], totals[SURFACE_FLIP][1:], rtol=0.03)


@pytest.mark.parametrize(
    ("numbers", "direction"),
    [
        ((1, 7, 8, 11, 12), (0, 0, -1)),
        ((2, 9, 10, 13, 14), (0, 0, 1)),
        ((15, 16, 19, 20), (0, -1, 0)),
        ((17, 18, 21, 22), (0, 1, 0)),
        ((24,), (1, 0, 0)),
        ((23,), (-1, 0, 0)),
    ],
)
def test_halves_face_their_way(body, surface, numbers, direction):
    for number in numbers:
        cross = cross_of(body)[surface.surface == number]
        area = np.linalg.norm(cross, axis=1)
        # The trunk's border follows its bend, else the small of the back would look forward.
        assert area[cross @ direction > 0].sum() > (0.97 if number in (1, 2) else 0.85) * area.sum(), number
        assert cross.sum(0) @ direction > 0.85 * np.linalg.norm(cross.sum(0)), number


@pytest.mark.parametrize(
    ("left", "start", "end"),
    [
        (3 + 1, "left_wrist", "left_hand"),
        (5, "left_ankle", "left_foot"),
        (8, "left_hip", "left_knee"),
        (10, "left_hip", "left_knee"),
        (12, "left_knee", "left_ankle"),
        (14, "left_knee", "left_ankle"),
        (15, "left_shoulder", "left_elbow"),
        (17, "left_shoulder", "left_elbow"),
        (19, "left_elbow", "left_wrist"),
        (21, "left_elbow", "left_wrist"),
        (24, "neck", "head"),
        (1, "pelvis", "neck"),
        (2, "pelvis", "neck"),
    ],
)
def test_v_runs_from_the_trunk_outwards(body, surface, left, start, end):
    joints = body.rest_joints().numpy()
    along = joints[JOINTS.index(end)] - joints[JOINTS.index(start)]
    if left in FEET:
        along = np.array([0.0, -1.0, 0.0])
    for number in {left, int(SURFACE_FLIP[left])}:
        chosen = surface.surface == number
        direction = along * [-1, 1, 1] if number != left else along
        place = corners_of(body)[chosen].mean(1) @ direction
        assert np.corrcoef(place, surface.uv[chosen, :, 1].mean(1))[0, 1] > 0.92
        assert surface.uv[chosen, :, 1].min() < 0.03 and surface.uv[chosen, :, 1].max() > 0.97


@pytest.mark.parametrize("number", range(1, 25))
def test_charts_fill_the_square_without_folds(surface, number):
    uv = surface.uv[surface.surface == number]
    count, area = coverage(uv), uv_area(uv)
    assert (count > 0).mean() > (0.65 if number in HANDS else 0.95)
    assert (count > 1).mean() < (0.01 if number in HANDS else 0.002)
    assert (area > 0).mean() > 0.95 if number in HANDS else np.all(area > 0)


@pytest.mark.parametrize("number", range(1, 25))
def test_charts_stretch_evenly(body, surface, number):
    chosen = surface.surface == number
    corners, uv = corners_of(body)[chosen], surface.uv[chosen].astype(float)
    x = corners[:, 1] - corners[:, 0]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.cross(cross_of(body)[chosen], x)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    sides = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], 1)
    flat = np.stack([(sides * x[:, None]).sum(2), (sides * y[:, None]).sum(2)], 2)
    steps = np.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], 1)
    gradient = np.linalg.svd(np.linalg.solve(flat, steps), compute_uv=False)[:, 0]
    # Heel and crown, where a side of the square turns, stretch most.
    assert gradient.max() < (5.5 if number in (*FEET, *HEADS) else 2.9) * np.median(gradient)


def test_uv_is_continuous_but_for_the_cuts(body, surface):
    """Across an edge inside a surface both faces agree, except along a hand's outline and under a foot."""
    faces, label, uv = body.faces.numpy(), surface.surface, surface.uv
    normal = cross_of(body) / np.linalg.norm(cross_of(body), axis=1, keepdims=True)
    torn = {number: [] for number in range(1, 25)}
    for one, two, *edge in shared_edges(faces):
        if label[one] == label[two]:
            at = [[uv[face][faces[face].tolist().index(vertex)] for vertex in edge] for face in (one, two)]
            if not np.array_equal(*at):
                torn[int(label[one])].append((one, two))
    for number, pairs in torn.items():
        pairs = np.array(pairs, int).reshape(-1, 2)
        if number in FEET:
            assert 10 < len(pairs) < 40
            assert np.all((normal[pairs[:, 0]] + normal[pairs[:, 1]]) @ [0, -1, -1] > 0)
        elif number in HANDS:
            # The cut parts back from palm, nothing else: hardly ever two faces that look the same way.
            assert np.mean(normal[pairs[:, 0], 1] * normal[pairs[:, 1], 1] < 0.1) > 0.9
            assert len(continuous_pieces(faces[label == number], uv[label == number])) <= 2
        else:
            assert len(pairs) == 0, number


def test_the_thumb_is_in_the_middle_of_the_hands_chart(body, surface):
    corners = corners_of(body)
    for number in HANDS:
        chosen = surface.surface == number
        front = corners[chosen, :, 2] > np.quantile(corners[chosen, :, 2], 0.97)
        assert np.abs(surface.uv[chosen][front][:, 0] - 0.5).max() < 0.15


def test_a_stray_weight_makes_no_island(body, surface):
    weights = body.weights.clone()
    crown = (body.template[:, 1] > body.template[:, 1].max() - 0.03).nonzero()[:, 0]
    weights[crown] = torch.nn.functional.one_hot(torch.tensor(0), 24).float()
    label = build_surface(replace(body, weights=weights)).surface
    assert np.isin(label[corners_of(body)[:, :, 1].mean(1) > float(body.template[:, 1].max()) - 0.05], HEADS).all()


def test_parts_agree_with_the_skinning_weights(body, surface):
    weights, area = body.weights.numpy()[body.faces.numpy()].mean(1), area_of(body)
    by_weights = np.stack([weights[:, part == JOINT_TO_7].sum(1) for part in range(8)], 1).argmax(1)
    by_surface = SURFACE_TO_7[surface.surface]
    assert area[by_weights == by_surface].sum() > 0.97 * area.sum()
    for part in range(1, 8):
        both, either = (by_weights == part) & (by_surface == part), (by_weights == part) | (by_surface == part)
        assert area[both].sum() > 0.92 * area[either].sum(), part


def test_borders_are_clean_rings(body, surface):
    """Round an elbow or knee the border is hardly longer than the limb is round; an argmax of weights gives teeth."""
    faces, vertices = body.faces.numpy(), body.template.numpy()
    weights = body.weights.numpy()[faces].mean(1)
    by_weights = np.stack([weights[:, part == JOINT_TO_7].sum(1) for part in range(8)], 1).argmax(1)

    def border_m(label: np.ndarray) -> float:
        edges = [edge for one, two, *edge in shared_edges(faces) if label[one] != label[two]]
        return sum(float(np.linalg.norm(vertices[a] - vertices[b])) for a, b in edges)

    assert border_m(SURFACE_TO_7[surface.surface]) < 0.85 * border_m(by_weights)


def test_it_is_deterministic(body, surface):
    again = build_surface(body)
    assert np.array_equal(again.surface, surface.surface) and np.array_equal(again.uv, surface.uv)


def test_labels_follow_shuffled_vertices_and_faces_and_scale(body, surface):
    rng = np.random.default_rng(0)
    vertex_order, face_order = rng.permutation(len(body.template)), rng.permutation(len(body.faces))
    new_index = np.argsort(vertex_order)
    shuffled = replace(
        body,
        template=1.1 * body.template[vertex_order],
        weights=body.weights[vertex_order],
        joint_regressor=body.joint_regressor[:, vertex_order],
        faces=torch.from_numpy(new_index[body.faces.numpy()[face_order]]),
    )
    result = build_surface(shuffled)
    same = result.surface == surface.surface[face_order]
    assert same.mean() > 0.99
    assert np.quantile(np.abs(result.uv - surface.uv[face_order])[same], 0.99) < 0.02


def test_another_person_has_the_same_places(body, surface):
    betas = torch.zeros(1, 10)
    betas[0, :3] = torch.tensor([1.5, -1.5, 1.0])
    other = replace(body, template=pose_body(body, betas, torch.zeros(1, 72))[0][0])
    result = build_surface(other)
    same = result.surface == surface.surface
    assert area_of(other)[same].sum() > 0.97 * area_of(other).sum()
    assert np.median(np.abs(result.uv - surface.uv)[same]) < 0.03


def test_a_finer_mesh_has_the_same_places(body, surface):
    faces, num_vertices = body.faces.numpy(), len(body.template)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], 2)
    unique, middle = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
    (a, b, c), (ab, bc, ca) = faces.T, num_vertices + middle.reshape(-1, 3).T
    children = np.stack([np.stack(child, 1) for child in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1)
    finer = replace(
        body,
        template=torch.cat([body.template, body.template[unique].mean(1)]),
        weights=torch.cat([body.weights, body.weights[unique].mean(1)]),
        joint_regressor=torch.nn.functional.pad(body.joint_regressor, (0, len(unique))),
        faces=torch.from_numpy(children.reshape(-1, 3)),
    )
    result = build_surface(finer)
    parent = np.repeat(np.arange(len(faces)), 4)
    same = result.surface == surface.surface[parent]
    assert area_of(finer)[same].sum() > 0.96 * area_of(finer).sum()
    gap = np.abs(result.uv.mean(1) - surface.uv.mean(1)[parent])[same]
    assert np.median(gap) < 0.03
    unfolded = ~np.isin(result.surface, HANDS)
    assert np.all(uv_area(result.uv)[unfolded] > 0)


def test_weights_that_are_not_skinning_are_refused(body):
    rigid = torch.nn.functional.one_hot(torch.zeros(len(body.template), dtype=torch.long), 24).float()
    with pytest.raises(ValueError, match="weights do not fade in around neck"):
        build_surface(replace(body, weights=rigid))
    with pytest.raises(ValueError, match="T-pose"):
        build_surface(replace(body, template=body.template[:, [1, 0, 2]], weights=body.weights))


def mat_of(body: Body, surface: Surface, drop: int = 2) -> dict[str, np.ndarray]:
    """A file like DensePose's: vertices doubled where label or uv differ, faces in another order, counted from 1."""
    rng = np.random.default_rng(0)
    faces = body.faces.numpy()
    # Faces inside a chart are dropped, as on DensePose's toes: there all neighbours agree on a vertex's (u, v).
    low, high = np.full((len(body.template), 2), np.inf), np.full((len(body.template), 2), -np.inf)
    np.minimum.at(low, faces, surface.uv)
    np.maximum.at(high, faces, surface.uv)
    inner = np.flatnonzero((low == high).all(1)[faces].all(1))
    kept = np.setdiff1d(np.arange(len(faces)), rng.permutation(inner)[:drop])
    kept = rng.permutation(kept)
    turned = np.stack([rng.permutation(3) for _ in kept])
    vertex = np.take_along_axis(faces[kept], turned, 1)
    uv = np.take_along_axis(surface.uv[kept], turned[..., None], 1)
    number = np.repeat(surface.surface[kept], 3)
    rows = np.column_stack([vertex.ravel(), number, uv.reshape(-1, 2)])
    unique, index = np.unique(rows, axis=0, return_inverse=True)
    return {
        "All_Faces": index.reshape(-1, 3) + 1,
        "All_FaceIndices": surface.surface[kept][:, None],
        "All_U_norm": unique[:, 2:3],
        "All_V_norm": unique[:, 3:4],
        "All_vertices": (unique[:, 0].astype(np.uint32) + 1)[None],
    }


def test_densepose_file_is_read_back(body, surface, tmp_path: Path):
    data = mat_of(body, surface)
    savemat(tmp_path / "UV_Processed.mat", data)
    result = load_densepose_surface(body, tmp_path / "UV_Processed.mat")
    assert result.source == "UV_Processed.mat" and result.surface.dtype == np.uint8 and result.uv.dtype == np.float32
    assert np.array_equal(result.surface, surface.surface)
    # Two faces were missing from the file; their corners are their neighbours'.
    assert np.allclose(result.uv, surface.uv, atol=1e-6)


def test_a_body_with_a_densepose_file_is_labelled_by_it(body, surface, tmp_path: Path):
    savemat(tmp_path / "UV_Processed.mat", mat_of(body, surface))
    given = dataclasses.replace(body, densepose=tmp_path / "UV_Processed.mat")
    assert build_anatomy(given).surface.source == "UV_Processed.mat"
    assert build_anatomy(body).surface.source == "geometric"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("All_U_norm"), r"missing \['All_U_norm'\]"),
        (lambda d: d.update(All_FaceIndices=d["All_FaceIndices"] + 1), "each of 1..24"),
        (lambda d: d.update(All_U_norm=d["All_U_norm"] * 1.5), r"lie in \[0, 1\]"),
        (lambda d: d.update(All_V_norm=d["All_V_norm"][1:]), "one u, v and vertex per vertex"),
        (lambda d: d.update(All_Faces=d["All_Faces"] + 1), "All_Faces must lie in"),
        (lambda d: d.update(All_vertices=d["All_vertices"] + 1), r"refers to vertex \d,\d01"),
        (lambda d: d.update(All_vertices=d["All_vertices"][:, ::-1]), "topologies differ"),
    ],
)
def test_a_wrong_densepose_file_is_refused(body, surface, tmp_path: Path, change, message):
    data = mat_of(body, surface)
    change(data)
    savemat(tmp_path / "UV_Processed.mat", data)
    with pytest.raises(ValueError, match=message) as error:
        load_densepose_surface(body, tmp_path / "UV_Processed.mat")
    assert "UV_Processed.mat" in str(error.value)


def test_a_densepose_file_that_lacks_many_faces_is_refused(body, surface, tmp_path: Path):
    savemat(tmp_path / "UV_Processed.mat", mat_of(body, surface, drop=14))
    with pytest.raises(ValueError, match="topologies differ"):
        load_densepose_surface(body, tmp_path / "UV_Processed.mat")


def test_missing_and_unreadable_densepose_files_are_named(body, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"absent\.mat"):
        load_densepose_surface(body, tmp_path / "absent.mat")
    (tmp_path / "broken.mat").write_bytes(b"not a matrix" * 40)
    with pytest.raises(ValueError, match=r"broken\.mat: cannot be read"):
        load_densepose_surface(body, tmp_path / "broken.mat")
