"""Bodies: the embedded one, posing against smplx itself, licensed files and everything that can be wrong with them."""

import functools
import io
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import smplx
import torch
from scipy.spatial.transform import Rotation

from synth import skin, skin_numba
from synth.body import (
    ADULT_HEIGHT_M,
    EMBEDDED,
    JOINTS,
    NUM_JOINTS,
    Body,
    joint_rows,
    load_body,
    pose_body,
    pose_vertices,
    rest_height_m,
    sample_betas,
)

NUM_SMPL = 6890
JOINT = {name: index for index, name in enumerate(JOINTS)}


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """A made-up model as SMPL's files hold it: 6,890 vertices, pose directions, more shapes than ten, faces unsigned."""
    with np.load(EMBEDDED) as data:
        own = {key: data[key] for key in data.files}
    rng = np.random.default_rng(0)
    # The open body's first vertices; should it have fewer, copies that no face uses make up the number.
    index, shared = np.arange(NUM_SMPL) % len(own["v_template"]), min(NUM_SMPL, len(own["v_template"]))
    regressor = np.zeros((NUM_JOINTS, NUM_SMPL))
    regressor[:, :shared] = np.abs(own["J_regressor"][:, :shared]) + 1e-6
    regressor /= regressor.sum(1, keepdims=True)
    kintree = np.asarray(own["kintree_table"]).astype(np.int64).astype(np.uint32)
    kintree[0, 0] = 2**32 - 1
    return {
        # Away from the origin, as SMPL's own template is.
        "v_template": own["v_template"][index].astype(np.float64) + [0.0, -0.2, 0.03],
        "shapedirs": np.concatenate([own["shapedirs"][index], rng.normal(0, 1, (NUM_SMPL, 3, 2))], 2),
        "posedirs": rng.normal(0, 2e-3, (NUM_SMPL, 3, 207)).astype(np.float32),
        "J_regressor": regressor,
        "weights": own["weights"][index].astype(np.float64),
        "kintree_table": kintree,
        "f": own["f"][(own["f"] < shared).all(1)].astype(np.uint32),
    }


@pytest.fixture(scope="module")
def corner_uv(arrays) -> np.ndarray:
    """uv (F, 3, 2) of each face's corners, all different, so that a swapped one shows."""
    return np.random.default_rng(1).random((len(arrays["f"]), 3, 2)).round(6)


def write_obj(path: Path, faces: np.ndarray, corner_uv: np.ndarray) -> None:
    """A UV file whose faces come in another order than the model's and start at another corner."""
    rng = np.random.default_rng(2)
    lines = ["# uv"] + [f"vt {u} {v}" for u, v in corner_uv.reshape(-1, 2)]
    for face in rng.permutation(len(faces)):
        order = np.roll([0, 1, 2], rng.integers(3))
        lines.append("f " + " ".join(f"{faces[face, k] + 1}/{3 * face + k + 1}" for k in order))
    path.write_text("\n".join(lines) + "\n")


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes both as Python 2's strings, as in the files that SMPL's authors give out."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        data = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], object]:
    """Wraps an array as chumpy does; the module is gone again once the file is written (see `pickled`)."""
    package, module = ModuleType("chumpy"), ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    monkeypatch.setitem(sys.modules, "chumpy", package)
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)

    def wrap(array: np.ndarray):
        wrapped = module.Ch()
        # As chumpy's own __new__ sets them.
        wrapped.__dict__.update(x=array, _dirty_vars={"x"}, _itr=None)
        return wrapped

    return wrap


def pickled(contents: object, protocol: int = 2) -> bytes:
    """Bytes of a pickle by Python 2 with numpy 1 and an old scipy."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=protocol).dump(contents)
    for name in ("chumpy", "chumpy.ch"):
        sys.modules.pop(name, None)
    data = buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    return data.replace(b"scipy.sparse._csc\n", b"scipy.sparse.csc\n")


def write_pickle(path: Path, arrays: dict, chumpy, *, protocol: int = 2) -> Path:
    contents = {
        key: chumpy(value) if key in {"v_template", "shapedirs", "weights"} else value for key, value in arrays.items()
    }
    contents["J_regressor"] = sp.csc_matrix(arrays["J_regressor"])
    contents["bs_style"] = "lbs"
    path.write_bytes(pickled(contents, protocol))
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, arrays, corner_uv) -> Path:
    """A folder with the model as .npz and its .obj. Not to be changed."""
    folder = tmp_path_factory.mktemp("smpl")
    np.savez(folder / "model.npz", **arrays)
    write_obj(folder / "uv.obj", arrays["f"].astype(np.int64), corner_uv)
    return folder


@pytest.fixture
def licensed(original: Path, tmp_path: Path) -> Path:
    """The model in a copy of the folder that the test may damage."""
    return Path(shutil.copytree(original, tmp_path / "smpl")) / "model.npz"


def smplx_forward(arrays: dict, betas: torch.Tensor, pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices and the 24 joints of smplx's own model."""
    arrays = {key: np.asarray(value) for key, value in arrays.items()}
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :10]
    arrays["kintree_table"] = arrays["kintree_table"].astype(np.int64)
    model = smplx.SMPL(
        model_path="",
        data_struct=SimpleNamespace(**arrays),
        vertex_ids=dict.fromkeys(smplx.vertex_ids.vertex_ids["smplh"], 0),
        batch_size=len(betas),
    )
    with torch.no_grad():
        out = model(betas=betas, global_orient=pose[:, :3], body_pose=pose[:, 3:])
    return out.vertices, out.joints[:, :NUM_JOINTS]


def as_arrays(body: Body) -> dict[str, np.ndarray]:
    """The open body as smplx takes it."""
    return {
        "v_template": body.template.numpy(),
        "shapedirs": body.directions[:, :, : body.num_shapes].numpy(),
        "posedirs": np.zeros((len(body.template), 3, 207), np.float32),
        "J_regressor": body.joint_regressor.numpy(),
        "weights": body.weights.numpy(),
        "kintree_table": np.stack([body.parents.numpy(), np.arange(NUM_JOINTS)]),
        "f": body.faces.numpy(),
    }


def people(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random betas (B, 10) and pose (B, 72), turned every way."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.5, (count, 72))
    pose[:, :3] = Rotation.random(count, random_state=seed).as_rotvec()
    return torch.from_numpy(rng.normal(0, 1, (count, 10)).astype(np.float32)), torch.from_numpy(pose.astype(np.float32))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_body_does_not_depend_on_the_number_of_threads(threads: Callable[[int], None]):
    found = []
    for count in (1, 2, 3):
        threads(count)
        loaded = load_body("open")
        found.append((loaded.template, loaded.rest_joints(), *joint_rows(loaded)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_rest_pose_has_smpls_axes(body: Body):
    joints, vertices = body.rest_joints().numpy(), body.template.numpy()
    assert np.abs(joints[0]).max() < 1e-6, "the pelvis is the origin"
    assert joints[JOINT["head"], 1] > 0.5 and joints[JOINT["left_ankle"], 1] < -0.6, "y points up"
    assert joints[JOINT["left_wrist"], 0] > 0.6 > -0.6 > joints[JOINT["right_wrist"], 0], "+x is the left"
    assert np.ptp(joints[[JOINT[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")], 1]) < 0.01, (
        "arms are level"
    )
    nose, left_eye, right_eye, left_ear, right_ear = vertices[body.face_keypoints.numpy()]
    assert nose[2] > joints[JOINT["head"], 2] + 0.08, "it faces +z"
    assert joints[JOINT["left_foot"], 2] > joints[JOINT["left_ankle"], 2] + 0.08
    assert left_eye[0] > 0.02 > -0.02 > right_eye[0] and left_ear[0] > left_eye[0] and right_ear[0] < right_eye[0]
    assert left_eye[1] > nose[1] and abs(nose[0]) < 0.005


def test_embedded_body_is_whole(body: Body):
    count = len(body.template)
    assert body.name == "open" and body.uv_layout == "makehuman" and "CC0" in body.licence
    assert body.template.shape == (count, 3) and body.directions.shape == (count, 3, body.num_shapes)
    assert body.weights.shape == (count, NUM_JOINTS) and body.joint_regressor.shape == (NUM_JOINTS, count)
    torch.testing.assert_close(body.weights.sum(1), torch.ones(count), atol=1e-5, rtol=0)
    torch.testing.assert_close(body.joint_regressor.sum(1), torch.ones(NUM_JOINTS), atol=1e-4, rtol=0)
    assert body.faces.unique().numel() == count, "no loose vertex"
    assert body.face_uv.shape == body.faces.shape and 0 <= body.uv.min() and body.uv.max() <= 1
    corners = body.template[body.faces]
    volume = torch.linalg.det(corners.double()).sum() / 6
    assert 0.05 < volume < 0.09, "litres of a person, faces wound outwards"
    assert body.parents.tolist()[:5] == [-1, 0, 0, 0, 1]
    assert np.linalg.norm(body.feminine_direction) == pytest.approx(1, abs=1e-4)


def test_a_face_corner_keeps_its_vertex_in_the_atlas(body: Body):
    """One uv index belongs to one vertex, so that texture and surface cannot slip against each other."""
    owner = {}
    for uv, vertex in zip(body.face_uv.ravel().tolist(), body.faces.ravel().tolist(), strict=True):
        assert owner.setdefault(uv, vertex) == vertex


@pytest.mark.parametrize(("feminine", "mean_m"), [(True, 1.65), (False, 1.76)])
def test_sampled_heights_are_adults(body: Body, feminine: bool, mean_m: float):
    rng = np.random.default_rng(3)
    betas = torch.from_numpy(np.stack([sample_betas(body, rng, feminine=feminine) for _ in range(200)]))
    height = rest_height_m(body, betas.numpy())
    assert height.min() >= ADULT_HEIGHT_M[0] and height.max() <= ADULT_HEIGHT_M[1]
    assert height.mean() == pytest.approx(mean_m, abs=0.025)
    assert 0.05 < height.std() < 0.09
    assert ((betas @ body.feminine_direction > 0) == feminine).all()


def test_sampled_shapes_are_of_either_sex_and_determined_by_the_generator(body: Body):
    draws = [np.stack([sample_betas(body, rng) for _ in range(100)]) for rng in map(np.random.default_rng, (5, 5))]
    np.testing.assert_array_equal(*draws)
    share = (draws[0] @ body.feminine_direction.numpy() > 0).mean()
    assert 0.3 < share < 0.7


def test_height_is_measured_on_the_posed_body(body: Body):
    betas = people(4)[0]
    vertices, _ = pose_body(body, betas, torch.zeros(4, 72))
    height = torch.from_numpy(rest_height_m(body, betas.numpy()))
    torch.testing.assert_close(height, vertices[:, :, 1].amax(1) - vertices[:, :, 1].amin(1))


def test_a_shape_space_without_adults_is_refused(body: Body):
    giant = replace(body, template=body.template * 2)
    with pytest.raises(ValueError, match="no adult height"):
        sample_betas(giant, np.random.default_rng(0))


def test_posing_equals_smplx(body: Body):
    betas, pose = people(6)
    expected, expected_joints = smplx_forward(as_arrays(body), betas, pose)
    vertices, joints = pose_body(body, betas, pose)
    torch.testing.assert_close(vertices, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(joints, expected_joints, atol=1e-5, rtol=0)


def test_a_body_is_posed_alike_in_any_company(body: Body):
    """To the last bit: the bytes of a sample must not depend on which others are made with it."""
    betas, pose = people(5, seed=1)
    vertices, joints = pose_body(body, betas, pose)
    for k in range(5):
        alone, alone_joints = pose_body(body, betas[k : k + 1], pose[k : k + 1])
        assert torch.equal(vertices[k], alone[0])
        assert torch.equal(joints[k], alone_joints[0])


@pytest.mark.parametrize("chain", [skin_numba.pose_joints, skin.pose_joints])
def test_the_chain_equals_smplx(body: Body, chain: Callable):
    _, pose = people(6, seed=5)
    # No turn at all, hardly any, and full turns have no axis or an unsteady one.
    pose[0] = 0
    pose[1, 3:] *= 1e-5
    pose[2, :3] = torch.tensor([0.0, 2 * np.pi, 0.0])
    rest_joints = body.rest_joints() + 0.02 * torch.randn(6, 24, 3, generator=torch.Generator().manual_seed(0))
    found = chain(pose, rest_joints, body.parents)
    rotations = smplx.lbs.batch_rodrigues(pose.double().view(-1, 3)).view(6, 24, 3, 3)
    joints, transforms = smplx.lbs.batch_rigid_transform(
        rotations, rest_joints.double(), body.parents, dtype=torch.float64
    )
    for one, other in zip(found, (rotations, transforms[:, :, :3], joints), strict=True):
        torch.testing.assert_close(one.double(), other, atol=2e-6, rtol=0)


@pytest.mark.parametrize("num_directions", [10, 217])
@pytest.mark.parametrize("num_vertices", [1, 63, 64, 200])
def test_the_skinning_kernel_equals_its_twin(num_vertices: int, num_directions: int):
    """Any weights, on many joints or on none, and any number of vertices."""
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(num_vertices))
    weights = draw(24 + num_vertices, 24).abs()
    weights[24 + num_vertices // 2 :, 3:] = 0
    weights[-1] = 0
    weights[-1, 23] = 1
    arrays = (
        *(draw(24 + num_vertices, 3), draw(num_vertices, 3), weights / weights.sum(1, keepdim=True)),
        *(0.1 * draw(24 + num_vertices, 3, num_directions), draw(3, num_directions), draw(3, 24, 3, 4)),
    )
    found = skin_numba.skin_vertices(*arrays)
    expected = skin.skin_vertices(*(array.double() for array in arrays))
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (3, 3, num_vertices)
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=0)


def test_an_outfit_after_another_is_skinned_with_its_own_arrays(body: Body):
    betas, pose = people(2)
    thin = pose_body(body, betas, pose)[0]
    wide = pose_body(replace(body, template=body.template * torch.tensor([1.1, 1.0, 1.0])), betas, pose)[0]
    assert (wide - thin).abs().max() > 0.01
    assert torch.equal(pose_body(body, betas, pose)[0], thin)


def test_turning_the_root_turns_everything(body: Body):
    betas, pose = people(3, seed=2)
    turn = Rotation.random(3, random_state=4)
    turned = pose.clone()
    turned[:, :3] = torch.from_numpy((turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec().astype(np.float32))
    rest, weights, directions = (
        torch.cat(pair) for pair in zip(joint_rows(body), (body.template, body.weights, body.directions), strict=True)
    )
    normals = torch.nn.functional.normalize(
        torch.randn(len(body.template), 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    arrays = dict(rest=rest, normals=normals, weights=weights, directions=directions)
    one, one_normals, one_joints = pose_vertices(body, betas, pose, **arrays)
    two, two_normals, two_joints = pose_vertices(body, betas, turned, **arrays)
    matrix = torch.from_numpy(turn.as_matrix().astype(np.float32))
    pelvis = one_joints[:, :1].mT
    torch.testing.assert_close(two, matrix @ (one - pelvis) + pelvis, atol=1e-5, rtol=0)
    torch.testing.assert_close(two_joints.mT, matrix @ (one_joints.mT - pelvis) + pelvis, atol=1e-5, rtol=0)
    torch.testing.assert_close(two_normals, matrix @ one_normals, atol=1e-5, rtol=0)
    rigid = (body.weights.amax(1) > 0.999).nonzero()[:, 0]
    torch.testing.assert_close(one_normals[:, :, rigid].norm(dim=1), torch.ones(3, len(rigid)), atol=2e-3, rtol=0)


def assert_is_the_model(loaded: Body, arrays: dict, corner_uv: np.ndarray) -> None:
    """The loaded body poses as smplx poses the file, but for the pelvis at the origin, and has the file's uv."""
    betas, pose = people(4, seed=3)
    vertices, joints = pose_body(loaded, betas, pose)
    expected, expected_joints = smplx_forward(arrays, betas, pose)
    shift = torch.from_numpy(arrays["J_regressor"] @ arrays["v_template"])[0].float()
    torch.testing.assert_close(vertices, expected - shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(joints, expected_joints - shift, atol=1e-5, rtol=0)
    assert loaded.rest_joints()[0].abs().max() < 1e-6
    np.testing.assert_array_equal(loaded.faces.numpy(), arrays["f"].astype(np.int64))
    np.testing.assert_allclose(loaded.uv[loaded.face_uv].numpy(), corner_uv, atol=1e-6)
    assert loaded.parents[0] == -1 and loaded.uv_layout == "smpl" and loaded.feminine_direction is None
    assert "SMPL" in loaded.licence
    # The pose directions matter: without them the vertices are elsewhere.
    flat = {**arrays, "posedirs": np.zeros_like(arrays["posedirs"])}
    assert (smplx_forward(flat, betas, pose)[0] - expected).abs().max() > 1e-3


def test_licensed_npz_poses_as_smplx(licensed: Path, arrays, corner_uv):
    assert_is_the_model(load_body(f"smpl={licensed}"), arrays, corner_uv)


@pytest.mark.parametrize("protocol", [0, 2])
def test_licensed_pickle_poses_as_smplx(licensed: Path, arrays, corner_uv, chumpy, protocol: int):
    licensed.unlink()
    path = write_pickle(licensed.with_suffix(".pkl"), arrays, chumpy, protocol=protocol)
    assert_is_the_model(load_body(f"smpl={path.parent}"), arrays, corner_uv)


def test_shapes_of_a_licensed_body_are_sampled_to_adult_heights(licensed: Path):
    loaded = load_body(f"smpl={licensed}")
    betas = np.stack([sample_betas(loaded, np.random.default_rng(k), feminine=bool(k % 2)) for k in range(20)])
    height = rest_height_m(loaded, betas)
    assert betas.shape == (20, 10)
    assert height.min() >= ADULT_HEIGHT_M[0] and height.max() <= ADULT_HEIGHT_M[1]


@pytest.mark.parametrize("spec", ["", "closed", "smpl", "smpl=", "smplx=model.npz", "OPEN"])
def test_an_unknown_body_is_refused(spec: str):
    with pytest.raises(ValueError, match="must be 'open' or 'smpl=PATH'"):
        load_body(spec)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="model.pkl does not exist"):
        load_body(f"smpl={tmp_path / 'model.pkl'}")


def test_a_densepose_file_beside_the_model_is_found(licensed: Path):
    assert load_body(f"smpl={licensed}").densepose is None
    (licensed.parent / "UV_Processed.mat").touch()
    assert load_body(f"smpl={licensed}").densepose == licensed.parent / "UV_Processed.mat"


def test_a_folder_must_hold_one_model(licensed: Path):
    licensed.with_name("other.pkl").touch()
    with pytest.raises(ValueError, match=r"need one SMPL .*model.npz.*other.pkl"):
        load_body(f"smpl={licensed.parent}")
    licensed.with_name("other.pkl").unlink()
    licensed.unlink()
    with pytest.raises(ValueError, match=r"need one SMPL"):
        load_body(f"smpl={licensed.parent}")


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"])
def test_a_missing_key_is_named(licensed: Path, arrays, key: str):
    np.savez(licensed, **{name: np.zeros(1) for name in arrays if name != key})
    with pytest.raises(ValueError, match=rf"model.npz: not an SMPL model, missing \['{key}'\]"):
        load_body(f"smpl={licensed}")


def test_another_number_of_vertices_is_refused(licensed: Path, arrays):
    np.savez(licensed, **{**arrays, "v_template": np.zeros((10475, 3)), "posedirs": np.zeros(1)})
    with pytest.raises(ValueError, match="6,890 vertices, this file has 10,475"):
        load_body(f"smpl={licensed}")


class _Bomb:
    """Calls something when unpickled."""

    def __init__(self, function: Callable, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, eval, exec, getattr, pickle.loads, np.load, smplx.SMPL])
def test_a_pickle_that_runs_code_is_refused(licensed: Path, arrays, chumpy, function: Callable):
    """The class is named, and nothing is run, wherever in the file it stands."""
    path, witness = licensed.with_suffix(".pkl"), licensed.with_name("witness")
    argument = str(witness) if function is os.mkdir else f"__import__('os').mkdir({str(witness)!r})"
    path.write_bytes(pickled({"weights": arrays["weights"], "J": _Bomb(function, argument)}))
    with pytest.raises(ValueError, match=rf"model.pkl: .*{function.__name__} is not allowed"):
        load_body(f"smpl={path}")
    assert not witness.exists()


def test_a_pickle_is_not_trusted_for_its_modules_name(licensed: Path):
    """Anything of chumpy's but its array class is refused, chumpy is not imported, and a call by that name fails."""
    path = licensed.with_suffix(".pkl")
    for data, message in (
        (b"cchumpy.ch\nsystem\n(S'true'\ntR.", "chumpy.ch.system is not allowed"),
        (b"cchumpy.ch\nCh\n(S'true'\ntR.", "not a readable SMPL pickle"),
        (b"cnumpy\nfromfile\n(S'true'\ntR.", "numpy.fromfile is not allowed"),
        (b"cscipy.sparse\nload_npz\n(S'true'\ntR.", "scipy.sparse.load_npz is not allowed"),
        (b"(lp0\n.", "holds a dict, this one a list"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            load_body(f"smpl={path}")
    assert "chumpy" not in sys.modules


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-4, 0.1, 0.5, 0.999999])
def test_a_truncated_pickle_is_named(licensed: Path, arrays, chumpy, share: float):
    path = write_pickle(licensed.with_suffix(".pkl"), {**arrays, "posedirs": np.zeros(1)}, chumpy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="model.pkl: not a readable SMPL pickle"):
        load_body(f"smpl={path}")


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.5, 0.9999])
def test_a_truncated_npz_is_named(licensed: Path, share: float):
    whole = licensed.read_bytes()
    licensed.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="model.npz: cannot be read"):
        load_body(f"smpl={licensed}")


def test_a_flipped_byte_in_an_npz_is_named(licensed: Path):
    data = bytearray(licensed.read_bytes())
    data[len(data) // 2] ^= 255
    licensed.write_bytes(data)
    with pytest.raises(ValueError, match="model.npz: cannot be read"):
        load_body(f"smpl={licensed}")


def test_an_npz_of_pickled_objects_is_refused(licensed: Path, arrays):
    np.savez(licensed, **{"J": np.array([_Bomb(os.mkdir, str(licensed.with_name("witness")))], object)})
    with pytest.raises(ValueError, match="model.npz: cannot be read as an .npz of plain arrays"):
        load_body(f"smpl={licensed}")
    assert not licensed.with_name("witness").exists()


def test_the_uv_file_must_be_one(licensed: Path, arrays, corner_uv):
    write_obj(licensed.with_name("second.obj"), arrays["f"].astype(np.int64), corner_uv)
    with pytest.raises(ValueError, match=r"one .obj.*second.obj.*uv.obj"):
        load_body(f"smpl={licensed}")
    for obj in licensed.parent.glob("*.obj"):
        obj.unlink()
    with pytest.raises(ValueError, match=r"need SMPL's UV file .* found \[\]"):
        load_body(f"smpl={licensed}")


def edit_obj(licensed: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = licensed.with_name("uv.obj")
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


@pytest.mark.parametrize("face", ["f 1/1 2/2 3/3 4/4", "f 1 2 3", "f 1//1 2//2 3//3"])
def test_an_obj_without_uv_triangles_is_named_by_line(licensed: Path, face: str):
    edit_obj(licensed, lambda lines: [*lines[:5], face, *lines[5:]])
    with pytest.raises(ValueError, match=r"uv.obj, line 6: need .*triangles written v/vt"):
        load_body(f"smpl={licensed}")


def test_an_obj_that_lacks_faces_is_refused(licensed: Path, arrays):
    edit_obj(licensed, lambda lines: lines[:-7])
    with pytest.raises(ValueError, match=f"7 of the model's {len(arrays['f'])} faces are not in it"):
        load_body(f"smpl={licensed}")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [line for line in lines if not line.startswith("vt")],
        lambda lines: ["vt 0.5 wide", *lines[1:]],
        lambda lines: ["vt 0.5", *lines[1:]],
        lambda lines: [*lines, lines[-1].replace("/", "/9")],
        lambda lines: [*lines, "f a/1 b/2 c/3"],
    ],
    ids=["no vt", "vt no number", "vt too short", "vt index too high", "f no number"],
)
def test_a_broken_obj_is_named(licensed: Path, change: Callable[[list[str]], list[str]]):
    edit_obj(licensed, change)
    with pytest.raises(ValueError, match="uv.obj"):
        load_body(f"smpl={licensed}")
