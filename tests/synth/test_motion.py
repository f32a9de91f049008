"""Poses: gait, activities, limits, ground contact and recorded files."""

import dataclasses
import math
import pickle
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from synth.arms import Activity, Carries
from synth.body import JOINTS, Body, load_body, pose_body, sample_betas
from synth.gait import Gait, sample_gait
from synth.legs import Legs
from synth.motion import aligned_pose, gait_pose, heading_rotation, sample_pose, stand_on_ground
from synth.motion_files import LIMITS_DEG, MotionLibrary, clamp_to_limits, within_limits
from synth.seeding import generator

NUM_PHASES = 20
RIGHT_OF = {joint: JOINTS.index(name.replace("left", "right")) for joint, name in enumerate(JOINTS) if "left" in name}
MIRRORED = [RIGHT_OF.get(j, next((left for left, right in RIGHT_OF.items() if right == j), j)) for j in range(24)]


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def walk(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (P, V, 3) and joints (P, 24, 3) of a symmetric walk, standing on the ground, over one stride."""
    return stood(body, [gait_pose(Gait(), i / NUM_PHASES) for i in range(NUM_PHASES)])


def stood(body: Body, poses: list[np.ndarray], betas: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    shapes = torch.zeros(len(poses), 10) if betas is None else torch.from_numpy(betas)
    vertices, joints = pose_body(body, shapes, torch.from_numpy(np.stack(poses)))
    translation = stand_on_ground(vertices)[:, None]
    return (vertices + translation).numpy(), (joints + translation).numpy()


def on_joints(body: Body, *names: str) -> np.ndarray:
    """Mask (V,) of the vertices that follow one of the joints most."""
    return np.isin(body.weights.argmax(1).numpy(), [JOINTS.index(name) for name in names])


def draws(num: int, stage: str) -> list:
    """Poses over all activities and burdens."""
    activities, burdens = get_args(Activity), get_args(Carries)
    poses = []
    for i in range(num):
        rng = generator(0, i, stage)
        poses.append(sample_pose(rng, sample_gait(rng), activities[i % 6], burdens[(i // 6) % 8]))
    return poses


def test_procedural_poses_keep_to_the_limits():
    poses = np.stack([pose.pose for pose in draws(1200, "limits")] + [aligned_pose()])
    assert poses.dtype == np.float32 and poses.shape[1] == 72
    assert within_limits(poses).all()


def test_limits_find_and_clamp_a_knee_bent_backwards():
    pose = np.zeros((2, 72), np.float32)
    pose[1, 3 * JOINTS.index("right_knee")] = -0.8
    assert within_limits(pose).tolist() == [True, False]
    clamped = clamp_to_limits(pose)
    assert within_limits(clamped).all()
    assert clamped[1, 3 * JOINTS.index("right_knee")] == pytest.approx(math.radians(LIMITS_DEG["knee"][0][0]))
    assert clamped[0].tolist() == [0.0] * 72


def test_limits_are_mirrored_and_ignore_whole_turns():
    pose = np.zeros((2, 72), np.float32)
    pose[0, 3 * JOINTS.index("left_shoulder") + 2] = -1.4
    pose[1, 3 * JOINTS.index("left_shoulder") + 2] = 1.9
    right = pose.reshape(2, 24, 3)[:, MIRRORED] * np.array([1, -1, -1], np.float32)
    assert within_limits(pose).tolist() == within_limits(right.reshape(2, 72)).tolist() == [True, False]
    pose[0, 3 * JOINTS.index("left_shoulder") + 2] += 2 * math.pi
    assert within_limits(pose[0])


def test_gait_is_periodic_and_continuous():
    gait = sample_gait(generator(0, 0, "gait"))
    np.testing.assert_allclose(gait_pose(gait, 1.0), gait_pose(gait, 0.0), atol=1e-6)
    fine = np.stack([gait_pose(gait, i / 400) for i in range(401)])
    # No joint turns faster than 1,000 degrees/s at a stride per second.
    assert np.abs(np.diff(fine, axis=0)).max() * 400 < math.radians(1000)


@pytest.mark.parametrize("phase", [0.0, 0.13, 0.4, 0.77])
def test_symmetric_gait_mirrors_after_half_a_stride(phase: float):
    pose, later = gait_pose(Gait(), phase).reshape(24, 3), gait_pose(Gait(), phase + 0.5).reshape(24, 3)
    np.testing.assert_allclose(later, pose[MIRRORED] * [1, -1, -1], atol=1e-5)


def test_arms_swing_against_the_legs(walk):
    _, joints = walk
    foot = joints[:, JOINTS.index("left_ankle"), 2] - joints[:, JOINTS.index("right_ankle"), 2]
    hand = joints[:, JOINTS.index("left_wrist"), 2] - joints[:, JOINTS.index("right_wrist"), 2]
    assert np.corrcoef(foot, hand)[0, 1] < -0.9
    assert np.ptp(hand) > 0.4


def test_stance_foot_carries_and_both_touch_at_heel_strike(body: Body, walk):
    vertices, joints = walk
    left = vertices[:, on_joints(body, "left_ankle", "left_foot"), 1].min(1)
    right = vertices[:, on_joints(body, "right_ankle", "right_foot"), 1].min(1)
    stance = slice(int(0.1 * NUM_PHASES), int(0.45 * NUM_PHASES))
    assert left[stance].max() < 0.005
    assert (right[stance] > 0.003).all() and right[stance].max() < 0.08
    assert max(left[0], right[0]) < 0.02
    assert np.ptp(joints[:, 0, 1]) < 0.05


def test_stance_sole_is_flat_and_does_not_slide_sideways(body: Body, walk):
    vertices, joints = walk
    rest = body.template.numpy()
    sole = on_joints(body, "left_ankle", "left_foot") & (rest[:, 1] < rest[:, 1].min() + 0.01)
    flat = slice(int(0.1 * NUM_PHASES), int(0.4 * NUM_PHASES) + 1)
    assert vertices[flat, sole, 1].max() < 0.015
    assert np.ptp(joints[flat, JOINTS.index("left_ankle"), 0]) < 0.03


@pytest.mark.parametrize("stride_m", [1.1, 1.3, 1.45])
def test_stride_is_as_long_as_the_gait_says(body: Body, stride_m: float):
    """Heel to heel at heel strike: the rear heel is up, so it is counted back from its ball."""
    vertices, _ = stood(body, [gait_pose(Gait(stride_m=stride_m), 0.0)])
    rest = body.template.numpy()
    feet = {side: on_joints(body, f"{side}_ankle", f"{side}_foot") for side in ("left", "right")}
    heel = {side: int(np.argmin(np.where(mask, rest[:, 2] + rest[:, 1], np.inf))) for side, mask in feet.items()}
    ball = np.argmin(np.where(feet["right"], np.abs(rest[:, 2] - 0.12) + rest[:, 1], np.inf))
    rear = vertices[0, ball, 2] - (rest[ball, 2] - rest[heel["right"], 2])
    assert 2 * (vertices[0, heel["left"], 2] - rear) == pytest.approx(stride_m, rel=0.08)


def test_step_width_follows_the_skeleton(body: Body):
    """Feet come as far apart as asked on the body whose legs were named."""
    legs = Legs.of(body.rest_joints().numpy())
    assert dataclasses.astuple(legs) == pytest.approx(dataclasses.astuple(Legs()), abs=0.004)
    for width in (0.06, 0.16):
        _, joints = stood(body, [gait_pose(Gait(step_width_m=width, pelvis_list_rad=0.0, toe_out_rad=0.0), 0.25, legs)])
        ankles = joints[0, [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")], 0]
        assert ankles[0] - ankles[1] == pytest.approx(width, abs=0.02)


def test_hands_stay_outside_the_body(body: Body):
    """200 people of all shapes: no hand vertex below the skin of pelvis or legs."""
    poses = draws(200, "hands")
    betas = np.stack([sample_betas(body, generator(0, i, "hands' bodies")) for i in range(200)])
    vertices, _ = stood(body, [pose.pose for pose in poses], betas)
    faces = body.faces.numpy()
    hands = on_joints(body, *(f"{side}_{part}" for side in ("left", "right") for part in ("wrist", "hand")))
    below = on_joints(body, "pelvis", *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee")))
    gaps = []
    for each in vertices:
        normals = np.zeros_like(each)
        corners = each[faces]
        face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        for k in range(3):
            np.add.at(normals, faces[:, k], face_normals)
        distance, nearest = cKDTree(each[below]).query(each[hands])
        inward = ((each[hands] - each[below][nearest]) * normals[below][nearest]).sum(1) < 0
        # Farther off, the nearest vertex lies on the region's cut, where its normal says nothing.
        gaps.append(np.where(inward & (distance < 0.08), -distance, distance).min())
    assert min(gaps) > 0
    assert np.quantile(gaps, 0.1) > 0.025


def test_bag_hangs_plumb_from_a_straight_arm(body: Body):
    for i in range(20):
        rng = generator(0, i, "bag")
        drawn = sample_pose(rng, sample_gait(rng), "walk", "handbag_right")
        assert drawn.holds == ("swing", "straight")
        chain = ("pelvis", "spine1", "spine2", "spine3", "right_collar", "right_shoulder", "right_elbow", "right_wrist",
                 "right_hand")  # fmt: skip
        rotation = Rotation.identity()
        for name in chain:
            rotation = rotation * Rotation.from_rotvec(drawn.pose.reshape(24, 3)[JOINTS.index(name)])
        np.testing.assert_allclose(rotation.apply([-1, 0, 0]), [0, -1, 0], atol=1e-5)


def test_hands_reach_ear_and_screen(body: Body):
    seen = set()
    for i in range(40):
        rng = generator(0, i, "phone")
        drawn = sample_pose(rng, sample_gait(rng), "phone")
        for side, hold in zip(("left", "right"), drawn.holds, strict=True):
            _, joints = stood(body, [drawn.pose])
            hand, head, chest = (joints[0, JOINTS.index(name)] for name in (f"{side}_hand", "head", "spine3"))
            if hold == "ear":
                assert np.linalg.norm(hand - head) < 0.2
            if hold == "screen":
                assert hand[2] - chest[2] > 0.25 and abs(hand[1] - chest[1]) < 0.2
            seen.add(hold)
    assert {"ear", "screen"} <= seen


def test_one_arm_serves_bag_and_the_other_the_phone():
    for i in range(60):
        rng = generator(0, i, "both")
        assert sample_pose(rng, sample_gait(rng), "phone", "elbow_bag_left").holds[0] == "elbow"


def test_draws_are_determined_by_the_generator():
    first, second = (
        [sample_pose(rng, sample_gait(rng), None, "backpack") for rng in (generator(7, i, "pose") for i in range(30))]
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.pose, b.pose)
        assert (a.activity, a.phase, a.holds) == (b.activity, b.phase, b.holds)
    assert len({a.pose.tobytes() for a in first}) == 30


def test_unknown_activity_and_burden_are_refused():
    rng = generator(0, 0, "refused")
    with pytest.raises(ValueError, match="activity must be one of"):
        sample_pose(rng, Gait(), "fly")
    with pytest.raises(ValueError, match="carries must be one of"):
        sample_pose(rng, Gait(), "walk", "piano")


def test_heading_turns_the_whole_person(body: Body):
    pose = gait_pose(Gait(), 0.2)
    turned = heading_rotation(pose, math.pi / 2)
    assert not np.shares_memory(pose, turned)
    expected = Rotation.from_rotvec([0, math.pi / 2, 0]) * Rotation.from_rotvec(pose[:3])
    np.testing.assert_allclose(Rotation.from_rotvec(turned[:3]).as_matrix(), expected.as_matrix(), atol=1e-6)
    _, joints = stood(body, [heading_rotation(aligned_pose(), math.pi / 2)])
    toes = joints[0, JOINTS.index("left_foot")] - joints[0, JOINTS.index("left_ankle")]
    assert toes[0] > 0.1 and abs(toes[2]) < 0.05


def test_aligned_pose_is_symmetric_and_spread(body: Body):
    pose = aligned_pose().reshape(24, 3)
    np.testing.assert_allclose(pose, pose[MIRRORED] * [1, -1, -1], atol=1e-6)
    _, joints = stood(body, [aligned_pose()])
    assert joints[0, JOINTS.index("left_ankle"), 0] == pytest.approx(0.13, abs=0.01)
    assert joints[0, JOINTS.index("left_wrist"), 0] > 0.3


def test_ground_contact_is_per_body_and_refuses_nan():
    vertices = torch.tensor([[[0.0, -0.9, 1.0], [0.0, 0.5, 0.0]], [[0.0, 0.2, 0.0], [3.0, 0.4, 0.0]]])
    torch.testing.assert_close(stand_on_ground(vertices), torch.tensor([[0.0, 0.9, 0.0], [0.0, -0.2, 0.0]]))
    vertices[1, 0, 1] = math.nan
    with pytest.raises(ValueError, match="finite"):
        stand_on_ground(vertices)


def amass(path: Path, poses: np.ndarray | None) -> None:
    """A file as AMASS writes it; None leaves the poses out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {} if poses is None else {"poses": poses}
    np.savez(path, betas=np.zeros(16), mocap_framerate=120.0, trans=np.zeros((4, 3)), gender="neutral", **arrays)


def z_up(yaw_rad: float) -> np.ndarray:
    """The root of a person standing upright in z-up axes, turned by yaw."""
    stands = Rotation.from_rotvec([math.pi / 2, 0, 0])
    return (Rotation.from_rotvec([0, 0, yaw_rad]) * stands).as_rotvec()


@pytest.mark.parametrize("width", [72, 156, 165])
def test_amass_person_stands_upright_facing_z(body: Body, tmp_path: Path, width: int):
    poses = np.zeros((6, width))
    poses[:, :3] = [z_up(yaw) for yaw in np.linspace(-3, 3, 6)]
    poses[:, 3 * JOINTS.index("head")] = 0.3
    poses[:, 66:] = 0.7
    amass(tmp_path / "a" / "walk_poses.npz", poses)
    library = MotionLibrary.from_folder(tmp_path)
    assert library.num_frames == 6
    for i in range(8):
        drawn = library.sample_pose(generator(0, i, "amass"))
        assert drawn.activity == "recorded" and drawn.phase is None and drawn.holds is None
        np.testing.assert_allclose(drawn.pose[:3], 0, atol=1e-6)
        assert drawn.pose[3 * JOINTS.index("head")] == pytest.approx(0.3)
        # Jaw, eyes and fingers are not SMPL's hands.
        assert drawn.pose[66:].tolist() == pytest.approx([0.7 if width == 72 else 0.0] * 6)
    vertices, joints = stood(body, [drawn.pose])
    assert joints[0, JOINTS.index("head"), 1] > 1.3
    ankles = joints[0, [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")], 0]
    assert ankles[0] - ankles[1] == pytest.approx(0.18, abs=0.01)
    sole = on_joints(body, "left_ankle", "left_foot", "right_ankle", "right_foot")
    sole &= body.template.numpy()[:, 1] < body.template.numpy()[:, 1].min() + 0.01
    assert vertices[0, sole, 1].max() < 0.012


def test_lean_survives_the_removal_of_the_heading(tmp_path: Path):
    lean = Rotation.from_rotvec([0.5, 0, 0])
    root = Rotation.from_rotvec(z_up(0.0)) * Rotation.from_rotvec([0, 2.0, 0]) * lean
    amass(tmp_path / "x.npz", np.concatenate([root.as_rotvec(), np.zeros(69)])[None])
    drawn = MotionLibrary.from_folder(tmp_path).sample_pose(generator(0, 0, "lean"))
    np.testing.assert_allclose(drawn.pose[:3], [0.5, 0, 0], atol=1e-6)
    amass(tmp_path / "x.npz", np.concatenate([lean.as_rotvec(), np.zeros(69)])[None])
    drawn = MotionLibrary.from_folder(tmp_path, up="y").sample_pose(generator(0, 0, "lean"))
    np.testing.assert_allclose(drawn.pose[:3], [0.5, 0, 0], atol=1e-6)


def test_surreal_sequences_are_drawn_by_their_frames(tmp_path: Path):
    poses = {f"pose_{name}": np.zeros((frames, 72), np.float32) for name, frames in (("01_01", 30), ("02_01", 10))}
    for value, array in enumerate(poses.values()):
        array[:, :3] = z_up(1.0)
        array[:, 3 * JOINTS.index("head") + 1] = 0.2 * value
    np.savez_compressed(
        tmp_path / "smpl_data.npz", maleshapes=np.zeros((5, 10)), trans_01_01=np.zeros((30, 3)), **poses
    )
    library = pickle.loads(pickle.dumps(MotionLibrary.from_folder(tmp_path)))
    assert [(clip.key, clip.num_frames) for clip in library.clips] == [("pose_01_01", 30), ("pose_02_01", 10)]
    drawn = np.stack([library.sample_pose(generator(0, i, "surreal")).pose for i in range(200)])
    np.testing.assert_allclose(drawn[:, :3], 0, atol=1e-5)
    assert np.mean(drawn[:, 3 * JOINTS.index("head") + 1] > 0.1) == pytest.approx(0.25, abs=0.08)


def test_every_frame_can_be_drawn_and_is_read_right(tmp_path: Path):
    poses = np.zeros((7, 156))
    poses[:, 3 * JOINTS.index("neck")] = 0.1 * np.arange(7)
    amass(tmp_path / "a.npz", poses[:3])
    np.savez_compressed(tmp_path / "b.npz", poses=poses[3:].astype(np.float32))
    library = MotionLibrary.from_folder(tmp_path, up="y")
    drawn = {round(10 * float(library.sample_pose(generator(0, i, "all")).pose[3 * 12])) for i in range(80)}
    assert drawn == set(range(7))


def test_recorded_poses_are_clamped_only_on_request(tmp_path: Path):
    poses = np.zeros((4, 72))
    poses[2:, 3 * JOINTS.index("left_knee")] = -1.0
    amass(tmp_path / "a.npz", poses)
    left, clamped = (MotionLibrary.from_folder(tmp_path, up="y", clamp=clamp) for clamp in (False, True))
    assert left.share_beyond_limits(generator(0, 0, "share")) == pytest.approx(0.5, abs=0.1)
    assert clamped.share_beyond_limits(generator(0, 0, "share")) == left.share_beyond_limits(generator(0, 0, "share"))
    drawn = [
        [within_limits(each.sample_pose(generator(0, i, "c")).pose) for i in range(20)] for each in (left, clamped)
    ]
    assert not all(drawn[0]) and all(drawn[1])


def test_only_headers_are_read_to_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    amass(tmp_path / "a.npz", np.zeros((50, 156)))
    monkeypatch.setattr(np, "load", None)
    monkeypatch.setattr("synth.motion_files._read_frame", None)
    assert MotionLibrary.from_folder(tmp_path).num_frames == 50


def test_missing_and_empty_folders(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        MotionLibrary.from_folder(tmp_path / "absent")
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16))
    with pytest.raises(FileNotFoundError, match=r"no motion \.npz"):
        MotionLibrary.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (None, r"bad\.npz: key 'poses'.*missing"),
        (np.zeros((4, 66)), r"bad\.npz: key 'poses' must be .*\(4, 66\)"),
        (np.zeros(72), r"bad\.npz: key 'poses' must be 2-D .*\(72,\)"),
        (np.zeros((0, 72)), r"bad\.npz: key 'poses' must be"),
        (np.zeros((4, 72), int), r"bad\.npz: key 'poses' must be 2-D row-major floats, got .* row-major int64"),
        (
            np.asfortranarray(np.zeros((4, 72))),
            r"bad\.npz: key 'poses' must be 2-D row-major floats, got .* column-major",
        ),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, poses: np.ndarray | None, message: str):
    amass(tmp_path / "good.npz", np.zeros((4, 72)))
    amass(tmp_path / "bad.npz", poses)
    with pytest.raises(ValueError, match=message):
        MotionLibrary.from_folder(tmp_path)
    assert MotionLibrary.from_folder(tmp_path, ignore=("bad.npz",)).num_frames == 4


def test_misshapen_surreal_sequence_is_named(tmp_path: Path):
    np.savez(tmp_path / "smpl_data.npz", pose_ok=np.zeros((3, 72)), pose_wrong=np.zeros((3, 156)))
    with pytest.raises(ValueError, match=r"smpl_data\.npz: key 'pose_wrong'"):
        MotionLibrary.from_folder(tmp_path)


def test_file_that_is_no_archive_is_named(tmp_path: Path):
    (tmp_path / "broken.npz").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"broken\.npz: not a readable \.npz"):
        MotionLibrary.from_folder(tmp_path)


def test_values_that_are_not_finite_name_the_frame(tmp_path: Path):
    poses = np.zeros((1, 72))
    poses[0, 5] = np.nan
    amass(tmp_path / "nan.npz", poses)
    with pytest.raises(ValueError, match=r"nan\.npz: key 'poses', frame 0"):
        MotionLibrary.from_folder(tmp_path).sample_pose(generator(0, 0, "nan"))


def test_file_that_changed_after_indexing_is_named(tmp_path: Path):
    amass(tmp_path / "a.npz", np.zeros((400, 72)))
    library = MotionLibrary.from_folder(tmp_path)
    amass(tmp_path / "a.npz", np.zeros((1, 72)))
    with pytest.raises(ValueError, match=r"a\.npz: key 'poses' ends before frame"):
        library.sample_pose(generator(0, 0, "cut"))
