"""Visibility against a slow oracle and against geometry worked out by hand."""

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from synth.raster import RasterConfig, Visibility, gather_fragments, interpolate, locate_samples, rasterize, resolve

HEIGHT, WIDTH = 48, 40
PLAIN = RasterConfig(supersampling=1)


def picture(vertices, faces, config: RasterConfig = PLAIN, height: int = HEIGHT, width: int = WIDTH) -> Visibility:
    """One picture of one mesh."""
    faces = torch.as_tensor(np.asarray(faces), dtype=torch.int32).reshape(-1, 3)
    vertices = torch.as_tensor(np.asarray(vertices), dtype=torch.float32).reshape(1, -1, 3)
    return rasterize(vertices, faces, height, width, config)


def oracle(vertices: np.ndarray, faces: np.ndarray, height: int, width: int, s: int = 1):
    """Test every face at every sample, in float64. Returns face, depth and depth of the runner-up, (H * s, W * s)."""
    x, y = np.meshgrid(np.arange(width * s) + 0.5, np.arange(height * s) + 0.5)
    xy = np.rint(vertices[:, :2] * np.float32(s * 256)).astype(np.float64) / 256
    face = np.full(x.shape, -1)
    nearest, second = np.zeros(x.shape), np.zeros(x.shape)
    for f, corners in enumerate(faces):
        inside, inverse_depth = np.ones(x.shape, bool), np.zeros(x.shape)
        (xa, ya), (xb, yb), (xc, yc) = xy[corners]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0:
            continue
        for k in range(3):
            (x0, y0), (x1, y1) = xy[corners[(k + 1) % 3]], xy[corners[(k + 2) % 3]]
            edge = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) * np.sign(area)
            right, down = -(y1 - y0) * np.sign(area), (x1 - x0) * np.sign(area)
            owns = right > 0 or (right == 0 and down > 0)
            inside &= (edge > 0) | ((edge == 0) & owns)
            inverse_depth += edge / abs(area) / vertices[corners[k], 2]
        inverse_depth = np.where(inside, inverse_depth, 0)
        second = np.maximum(second, np.minimum(nearest, inverse_depth))
        face = np.where(inverse_depth > nearest, f, face)
        nearest = np.maximum(nearest, inverse_depth)
    with np.errstate(divide="ignore"):
        return face, 1 / nearest, 1 / second


def assert_equals_oracle(vertices: np.ndarray, faces: np.ndarray) -> None:
    visible = picture(vertices, faces)
    face, depth, second = oracle(vertices, faces, HEIGHT, WIDTH)
    tie = second < depth * (1 + 1e-5)
    assert (face >= 0).any()
    assert tie.mean() < 0.02
    np.testing.assert_array_equal(visible.face[0].numpy()[~tie], face[~tie])
    np.testing.assert_allclose(visible.depth[0].numpy(), depth, rtol=1e-5)


def soup(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """300 triangles of a kind. Returns vertices (900, 3) float32 and faces (300, 3)."""
    random = np.random.default_rng(seed)
    center = random.uniform([-5, -5], [WIDTH + 5, HEIGHT + 5], (300, 1, 2))
    size = {"tiny": 1.5, "middle": 8, "huge": 400, "on samples": 6, "sliver": 12, "degenerate": 8}[kind]
    xy = center + random.uniform(-size, size, (300, 3, 2))
    if kind == "on samples":
        xy = np.floor(xy) + 0.5
    if kind == "sliver":
        xy[:, 2] = xy[:, 0] + (xy[:, 1] - xy[:, 0]) * 1.3 + random.uniform(-0.02, 0.02, (300, 2))
    if kind == "degenerate":
        xy[::3, 2] = xy[::3, 1]
        xy[1::3, 1] = xy[1::3, 0] + [3.0, 0.0]
        xy[1::3, 2] = xy[1::3, 0] + [6.0, 0.0]
    depth = random.uniform(1, 9, (300, 3, 1))
    return np.concatenate([xy, depth], -1).reshape(-1, 3).astype(np.float32), np.arange(900).reshape(300, 3)


def sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball 4 m in front of the camera, projected. Returns vertices (V, 3) float32 and faces (F, 3)."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=1.0)
    x, y, z = (mesh.vertices + [0.05, 0.1, 4.0]).T
    return np.stack([60 * x / z + WIDTH / 2, 60 * y / z + HEIGHT / 2, z], 1).astype(np.float32), mesh.faces


def quad(left: float, top: float, right: float, bottom: float, depth: float = 2.0) -> tuple[list, list]:
    corners = [(left, top, depth), (right, top, depth), (right, bottom, depth), (left, bottom, depth)]
    return corners, [(0, 1, 2), (0, 2, 3)]


@pytest.mark.parametrize("kind", ["tiny", "middle", "huge", "on samples", "sliver", "degenerate"])
@pytest.mark.parametrize("seed", [0, 1])
def test_soup_equals_oracle(kind: str, seed: int) -> None:
    assert_equals_oracle(*soup(kind, seed))


@pytest.mark.parametrize("subdivisions", [1, 3, 4])
def test_mesh_equals_oracle(subdivisions: int) -> None:
    assert_equals_oracle(*sphere(subdivisions))


def test_face_far_larger_than_the_picture() -> None:
    vertices = np.array([[-60000, -50000, 2], [60000, -50000, 3], [100, 60000, 4]], np.float32)
    assert_equals_oracle(vertices, np.array([[0, 1, 2]]))


def test_vertices_are_placed_to_half_a_pixel() -> None:
    covered = picture(*quad(2.3, 3.3, 5.3, 7.3)).face[0] >= 0
    expected = torch.zeros_like(covered)
    expected[3:7, 2:5] = True
    assert torch.equal(covered, expected)


@pytest.mark.parametrize("step", [1.0, 2.5, 7.3])
@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_faces_of_a_plane_share_no_sample_and_miss_none(step: float, jitter: float) -> None:
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(-10, WIDTH + 10, step) + 0.5, np.arange(-10, HEIGHT + 10, step) + 0.5)
    xy = np.stack([x, y], -1) + random.uniform(-jitter, jitter, (*x.shape, 2)) * step
    vertices = torch.tensor(np.concatenate([xy, np.full((*x.shape, 1), 2.0)], -1).reshape(-1, 3), dtype=torch.float32)
    a = (np.arange(x.shape[0] - 1)[:, None] * x.shape[1] + np.arange(x.shape[1] - 1)).ravel()
    b, c, d = a + 1, a + x.shape[1], a + x.shape[1] + 1
    faces = torch.tensor(np.concatenate([np.stack([a, b, c], 1), np.stack([d, b, c], 1)]))
    # Every face in a picture of its own, so that none can hide another.
    alone = rasterize(vertices[faces], torch.tensor([[0, 1, 2]]).int(), HEIGHT, WIDTH, PLAIN)
    assert (alone.num_covered.sum(0) == 1).all()


def test_nearest_face_wins_in_any_order() -> None:
    near, far = quad(5, 5, 25, 25, depth=2.0), quad(15, 15, 35, 35, depth=3.0)
    vertices = near[0] + far[0]
    turned = [(a + 4, b + 4, c + 4) for a, b, c in far[1]]
    first, last = picture(vertices, near[1] + turned), picture(vertices, turned + near[1])
    assert torch.equal(first.depth, last.depth)
    assert (first.depth[0, 5:25, 5:25] == 2).all()
    assert (first.depth[0, 25:35, 25:35] == 3).all()


def test_of_equal_depths_the_lowest_face_wins() -> None:
    vertices, faces = quad(5, 5, 25, 25)
    visible = picture(vertices, faces + faces[::-1])
    assert set(visible.face.unique().tolist()) == {-1, 0, 1}


def test_both_sides_are_drawn() -> None:
    vertices, faces = soup("middle", 0)
    front, back = picture(vertices, faces), picture(vertices, np.flip(faces, 1).copy())
    assert torch.equal(front.face, back.face)


@pytest.mark.parametrize("rasterizer", ["numba", "pyrender"])
def test_backs_are_left_out_where_told(rasterizer: str) -> None:
    vertices, faces = (torch.from_numpy(np.array(a)) for a in sphere(3))
    faces, config = faces.int(), RasterConfig(rasterizer=rasterizer)

    def drawn(faces: Tensor, double_sided: Tensor | None) -> Visibility:
        return rasterize(vertices[None], faces, HEIGHT, WIDTH, config, double_sided=double_sided)

    none, both = torch.zeros(len(faces), dtype=torch.bool), drawn(faces, None)
    assert torch.equal(drawn(faces, none).face, both.face), "nobody sees a ball from within"
    # A ball at 4 m shows its nearest 0.25 m. Turned inside out, it shows the rest; with two sides in the left half
    # alone, that half's near side as well.
    turned, depth = faces.flip(1), vertices[faces.long(), 2].mean(1)
    shown = drawn(turned, none).face
    assert (shown >= 0).sum() > 300 and depth[shown[shown >= 0].long()].min() > 3.74
    left = vertices[faces.long(), 0].mean(1) < WIDTH / 2
    shown = drawn(turned, left).face
    near = shown[shown >= 0].long()[depth[shown[shown >= 0].long()] < 3.74]
    assert len(near) > 150 and left[near].all()


@pytest.mark.parametrize("s", [1, 2, 3])
def test_fragments_lie_where_their_ray_meets_the_plane(s: int) -> None:
    focal, normal, distance = 30.0, np.array([0.3, 0.5, -0.8]), -2.4
    rays = np.array([[-1.2, -1.0, 1], [1.1, -0.9, 1], [1.0, 1.3, 1], [-1.1, 1.0, 1]]) / [2, 2, 1]
    points = rays * (distance / (rays @ normal))[:, None]
    center = np.array([WIDTH / 2, HEIGHT / 2])
    projected = np.concatenate([points[:, :2] / points[:, 2:] * focal + center, points[:, 2:]], 1)
    vertices, faces = torch.tensor(projected, dtype=torch.float32)[None], torch.tensor([[0, 1, 2], [0, 2, 3]]).int()
    visible = rasterize(vertices, faces, HEIGHT, WIDTH, RasterConfig(supersampling=s))
    fragments = gather_fragments(visible, vertices, faces)
    corner_points = torch.tensor(points, dtype=torch.float32)[faces.long()]
    got = interpolate(fragments, corner_points[fragments.face]).numpy()

    sample = visible.sample[0, fragments.row, fragments.col].numpy()
    x = fragments.col.numpy() + (sample % s + 0.5) / s
    y = fragments.row.numpy() + (sample // s + 0.5) / s
    ray = np.stack([(x - center[0]) / focal, (y - center[1]) / focal, np.ones_like(x)], 1)
    expected = ray * (distance / (ray @ normal))[:, None]
    assert len(got) > 300
    # Vertices move by up to 1/512 of the distance between samples when they snap; weights linear on the screen
    # would be 0.3 m off, half a pixel 0.05 m.
    np.testing.assert_allclose(got, expected, atol=2e-3)
    np.testing.assert_allclose(fragments.depth, expected[:, 2], atol=2e-3)
    np.testing.assert_allclose(fragments.depth, visible.depth[0, fragments.row, fragments.col], rtol=1e-5)
    np.testing.assert_allclose(fragments.barycentric.sum(1), 1, atol=1e-6)


def test_values_may_jump_between_faces() -> None:
    vertices, faces = quad(5, 5, 25, 25)
    vertices, faces = torch.tensor(vertices), torch.tensor(faces).int()
    fragments = gather_fragments(picture(vertices, faces), vertices[None], faces)
    corner_values = torch.tensor([[[1.0]] * 3, [[7.0]] * 3])
    got = interpolate(fragments, corner_values[fragments.face])[:, 0]
    torch.testing.assert_close(got, torch.where(fragments.face == 0, 1.0, 7.0))


def test_fragments_are_the_covered_pixels_in_order() -> None:
    vertices, faces = views(sphere(2)[0]), torch.as_tensor(sphere(2)[1]).int()
    visible = rasterize(vertices, faces, HEIGHT, WIDTH, RasterConfig(supersampling=2))
    fragments = gather_fragments(visible, vertices, faces)
    at = torch.nonzero(visible.face >= 0)
    assert torch.equal(torch.stack([fragments.image, fragments.row, fragments.col], 1), at)
    assert torch.equal(fragments.face, visible.face[tuple(at.T)].long())
    assert torch.equal(fragments.coverage, visible.num_covered[tuple(at.T)] / 4)
    assert (fragments.barycentric >= 0).all()


@pytest.mark.parametrize(("s", "expected"), [(1, [1.0, 1, 1]), (2, [0.5, 1, 0.5]), (4, [0.75, 1, 0.5])])
def test_coverage_of_a_straight_edge(s: int, expected: list[float]) -> None:
    # Columns 3 to 5: the first is covered from 0.3 on, the last up to 0.55.
    visible = picture(*quad(3.3, -5, 5.55, HEIGHT + 5), RasterConfig(supersampling=s))
    coverage = visible.num_covered[0] / (s * s)
    torch.testing.assert_close(coverage[:, 3:6], torch.tensor(expected).expand(HEIGHT, 3))
    assert (coverage[:, :3] == 0).all() and (coverage[:, 6:] == 0).all()


@pytest.mark.parametrize("s", [2, 3])
@pytest.mark.parametrize("kind", ["tiny", "middle", "huge"])
def test_pixels_are_the_resolved_samples(s: int, kind: str) -> None:
    vertices, faces = soup(kind, 3)
    visible = picture(vertices, faces, RasterConfig(supersampling=s))
    face, depth, second = (torch.tensor(values)[None] for values in oracle(vertices, faces, HEIGHT, WIDTH, s))
    expected = resolve(face.int(), depth.float(), s)
    in_pixel = torch.stack([depth, second], -1).view(HEIGHT, s, WIDTH, s, 2).transpose(1, 2).flatten(2)
    first_two = in_pixel.sort(-1).values[None, ..., :2]
    tie = first_two[..., 1] < first_two[..., 0] * (1 + 1e-5)
    assert tie.float().mean() < 0.02
    assert torch.equal(visible.face[~tie], expected.face[~tie])
    assert torch.equal(visible.sample[~tie], expected.sample[~tie])
    assert torch.equal(visible.num_covered, expected.num_covered)
    torch.testing.assert_close(visible.depth, expected.depth, rtol=1e-5, atol=0)


def test_resolve_takes_the_nearest_sample_and_of_equals_the_first() -> None:
    none = torch.inf
    face = torch.tensor([[[-1, 4, 7, 8], [5, -1, 9, 6]]], dtype=torch.int32)
    depth = torch.tensor([[[none, 3.0, 2.0, 1.5], [2.5, none, 1.5, 4.0]]])
    resolved = resolve(face, depth, 2)
    assert resolved.face.tolist() == [[[5, 8]]]
    assert resolved.sample.tolist() == [[[2, 1]]]
    assert resolved.depth.tolist() == [[[2.5, 1.5]]]
    assert resolved.num_covered.tolist() == [[[2, 4]]]


def views(vertices: np.ndarray) -> Tensor:
    """The mesh as five pictures see it: as it is, nearer, aside, turned over, and not at all. (5, V, 3)."""
    moves = [((1, 1, 1), (0, 0, 0)), ((1, 1, 0.5), (0, 0, 0)), ((1, 1, 1), (9.3, -4.2, 1)), ((-1, 1, 1), (WIDTH, 0, 0))]
    seen = [vertices * scale + shift for scale, shift in [*moves, ((1, 1, 1), (900, 0, 0))]]
    return torch.tensor(np.stack(seen), dtype=torch.float32)


@pytest.mark.parametrize("s", [1, 2])
@pytest.mark.parametrize("mesh", [soup("middle", 0), soup("tiny", 1), sphere(3)])
def test_batched_equals_single(mesh: tuple[np.ndarray, np.ndarray], s: int) -> None:
    vertices, faces, config = views(mesh[0]), torch.as_tensor(mesh[1]).int(), RasterConfig(supersampling=s)
    batch = rasterize(vertices, faces, HEIGHT, WIDTH, config)
    for image in range(5):
        single = picture(vertices[image], faces, config)
        for name in ("face", "depth", "sample", "num_covered"):
            assert torch.equal(getattr(batch, name)[image], getattr(single, name)[0])
    assert (batch.face[:4] >= 0).any((1, 2)).all() and (batch.face[4] == -1).all()


@pytest.mark.parametrize(
    ("vertices", "faces"),
    [([], []), ([(1, 1, 1), (9, 1, 1), (1, 9, 1)], []), quad(-30, 5, -10, 20), quad(5, HEIGHT + 1, 9, HEIGHT + 9)],
    ids=["no vertices", "no faces", "left of the picture", "below the picture"],
)
def test_nothing_to_see(vertices: list, faces: list) -> None:
    visible = picture(vertices, faces, RasterConfig(supersampling=2))
    assert (visible.face == -1).all() and torch.isinf(visible.depth).all()
    assert (visible.num_covered == 0).all() and (visible.sample == 0).all()
    vertices = torch.tensor(vertices, dtype=torch.float32).reshape(1, -1, 3)
    fragments = gather_fragments(visible, vertices, torch.tensor(faces, dtype=torch.int32).reshape(-1, 3))
    assert fragments.barycentric.shape == (0, 3) and len(fragments.coverage) == 0


def test_empty_batch() -> None:
    visible = rasterize(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]).int(), HEIGHT, WIDTH, PLAIN)
    assert visible.face.shape == (0, HEIGHT, WIDTH)


def test_sample_outside_its_face_is_drawn_to_the_border() -> None:
    vertices = torch.tensor([[[2.0, 2.0, 1.0], [6.0, 2.0, 1.0], [2.0, 6.0, 1.0]]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 1]]).int()
    zero = torch.tensor([0, 0])
    weights, depth = locate_samples(vertices, faces, zero, torch.tensor([0, 1]), zero + 3, zero + 1, 1)
    torch.testing.assert_close(weights, torch.tensor([[2 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 1 / 3]]))
    torch.testing.assert_close(depth, torch.ones(2))


@pytest.mark.parametrize("depth", [0.1, 0.0, -1.0, torch.nan, torch.inf])
def test_corner_without_a_usable_depth_is_refused(depth: float) -> None:
    vertices, faces = quad(5, 5, 25, 25)
    vertices[2] = (25, 25, depth)
    with pytest.raises(ValueError, match="vertex 2 of picture 0 at x 25 px, y 25 px, depth"):
        picture(vertices, faces, RasterConfig(near_m=0.1))


def test_corner_too_far_aside_is_refused() -> None:
    vertices, faces = quad(5, 5, 40000, 25)
    picture(vertices, faces, RasterConfig(supersampling=1))
    with pytest.raises(ValueError, match="within 32768 px"):
        picture(vertices, faces, RasterConfig(supersampling=2))


def test_vertex_of_no_face_may_lie_anywhere() -> None:
    vertices, faces = quad(5, 5, 25, 25)
    stray = picture([*vertices, (torch.nan, 1e30, -1.0)], faces)
    assert torch.equal(stray.face, picture(vertices, faces).face)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": torch.ones(1, 3, 3).double()}, "vertices must be"),
        ({"vertices": torch.ones(3, 3)}, "vertices must be"),
        ({"faces": torch.tensor([[0, 1, 2]])}, "faces must be"),
        ({"faces": torch.tensor([[0, 1, 3]]).int()}, "index the 3 vertices given, got 0..3"),
        ({"faces": torch.tensor([[0, 1, -1]]).int()}, "index the 3 vertices given, got -1..1"),
        ({"double_sided": torch.ones(2, dtype=torch.bool)}, r"double_sided must be \(1,\) bool"),
        ({"height": 0}, "at least one pixel"),
        ({"config": RasterConfig(rasterizer="opengl")}, "rasterizer must be"),
    ],
)
def test_bad_input_is_refused(changes: dict, message: str) -> None:
    good = {
        "vertices": torch.ones(1, 3, 3),
        "faces": torch.tensor([[0, 1, 2]]).int(),
        "height": HEIGHT,
        "width": WIDTH,
        "config": PLAIN,
    }
    rasterize(**good)
    with pytest.raises(ValueError, match=message):
        rasterize(**good | changes)


@pytest.mark.parametrize("wrong", [{"supersampling": 0}, {"supersampling": 9}, {"near_m": 0.0}])
def test_bad_config_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RasterConfig(**wrong)
