"""Recorded poses: AMASS and SURREAL (CMU) files by the folder, and the ranges of motion to hold them against."""

import bisect
import contextlib
import dataclasses
import fnmatch
import itertools
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synth.body import JOINTS, NUM_JOINTS
from synth.legs import OPEN_LEGS, Legs
from synth.motion import Pose
from synth.rotation import ANKLE, HIP, KNEE

# Lowest and highest x, y and z of the axis-angle vector in degrees, left side; the right side mirrors y and z. About
# the T-pose's axes: x > 0 flexes the knee and extends the hip, y < 0 bends the left elbow, z < 0 lowers the left arm.
# Ranges of motion of healthy adults after Boone & Azen 1979 and the American Academy of Orthopaedic Surgeons, the
# spine's and the neck's shared out among their joints, plus 10 degrees where rotations about two axes mix. A box of
# vectors is looser than the joint's true set: it finds broken data, it does not judge style.
LIMITS_DEG: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "hip": ((-125, 35), (-45, 50), (-35, 50)),
    "knee": ((-12, 150), (-35, 35), (-20, 20)),
    "ankle": ((-35, 60), (-30, 30), (-35, 35)),
    "foot": ((-75, 40), (-15, 15), (-15, 15)),
    "spine1": ((-20, 40), (-25, 25), (-25, 25)),
    "spine2": ((-20, 40), (-25, 25), (-25, 25)),
    "spine3": ((-20, 40), (-25, 25), (-25, 25)),
    "neck": ((-40, 45), (-45, 45), (-30, 30)),
    "head": ((-40, 45), (-45, 45), (-30, 30)),
    "collar": ((-25, 25), (-35, 25), (-25, 45)),
    "shoulder": ((-120, 120), (-140, 60), (-115, 95)),
    "elbow": ((-90, 90), (-155, 12), (-60, 60)),
    "wrist": ((-90, 90), (-45, 45), (-85, 80)),
    "hand": ((-35, 35), (-35, 35), (-95, 30)),
}
# AMASS keeps body shapes without motion under these names, one per subject.
SHAPE_FILES = ("shape.npz", "*_stagei.npz")
# SMPL's neutral mean body: its T-pose ankles stand this far from the middle (Loper et al. 2015, released model).
SMPL_ANKLE_X_M = 0.09
SMPL_LEGS = Legs(hip_half_width_m=0.07, length_m=0.775, splay_rad=0.026, bend_rad=0.10)
AMASS_WIDTHS = {72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}


def clamp_to_limits(poses: NDArray[np.float32]) -> NDArray[np.float32]:
    """Poses (..., 72), radians, each vector component brought into `LIMITS_DEG`; the root is left as it is."""
    low, high = _limits()
    return np.clip(_wrap(poses), low, high).astype(np.float32)


def within_limits(poses: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether poses (..., 72), radians, keep to `LIMITS_DEG` at every joint: (...) bool. The root may turn freely."""
    low, high = _limits()
    wrapped = _wrap(poses)
    return ((wrapped >= low - 1e-6) & (wrapped <= high + 1e-6)).all(-1)


def _limits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = np.full((NUM_JOINTS, 3, 2), (-np.inf, np.inf))
    for index, joint in enumerate(JOINTS[1:], 1):
        side, _, name = joint.rpartition("_")
        bounds[index] = np.radians(LIMITS_DEG[name])
        if side == "right":
            bounds[index, 1:] = -bounds[index, 1:, ::-1]
    return bounds[..., 0].ravel(), bounds[..., 1].ravel()


def _wrap(poses: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same rotations with every axis-angle vector no longer than pi."""
    vectors = np.asarray(poses, np.float64).reshape(*np.shape(poses)[:-1], NUM_JOINTS, 3)
    angles = np.linalg.norm(vectors, axis=-1, keepdims=True)
    wrapped = (angles + math.pi) % (2 * math.pi) - math.pi
    return np.where(angles > math.pi, vectors * wrapped / np.maximum(angles, 1e-12), vectors).reshape(np.shape(poses))


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One recorded sequence: the .npz file, the array's key in it, how many frames and values per frame it has.

    dtype: the values' (numpy string); offset: the first value's byte, counted in the file where the array is stored
    plainly (as numpy.savez does) and in the unpacked array where it is compressed.
    """

    path: Path
    key: str
    num_frames: int
    width: int
    dtype: str
    offset: int
    compressed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionLibrary:
    """All sequences below a folder, indexed from the files' headers; poses are read one at a time, when drawn.

    ends: running total of the clips' frames. up: the recordings' vertical axis, z in AMASS and SURREAL. With clamp,
    poses are brought into `LIMITS_DEG`; without, they are left as recorded and `share_beyond_limits` tells how many
    are outside. Holds no open file and no frames, so it can be sent to worker processes. Files that
    numpy.savez_compressed wrote are unpacked up to the drawn frame each time, some milliseconds; saving them again with
    numpy.savez makes a draw a single read.
    """

    clips: tuple[Clip, ...]
    ends: tuple[int, ...]
    up: Literal["y", "z"] = "z"
    clamp: bool = False

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        up: Literal["y", "z"] = "z",
        clamp: bool = False,
        ignore: tuple[str, ...] = SHAPE_FILES,
    ) -> "MotionLibrary":
        """Indexes every .npz below folder, in sorted order, save those whose name matches a pattern of ignore.

        AMASS: `poses` (T, 72, 156 or 165). SURREAL's smpl_data.npz: `pose_<sequence>` (T, 72) each. Their other arrays
        (betas, trans, frame rate) are not needed. Only headers are read. Raises FileNotFoundError if the folder is
        missing or holds no such file, ValueError naming file and key for an array that is missing or misshapen.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"motion folder {folder} does not exist; name the folder of unpacked .npz files")
        paths = sorted(p for p in folder.rglob("*.npz") if not any(fnmatch.fnmatch(p.name, i) for i in ignore))
        if not paths:
            raise FileNotFoundError(
                f"{folder} holds no motion .npz (names like {ignore} do not count); unpack AMASS archives or SURREAL's "
                "smpl_data.npz there"
            )
        clips = tuple(clip for path in paths for clip in _index(path))
        return cls(clips=clips, ends=tuple(itertools.accumulate(c.num_frames for c in clips)), up=up, clamp=clamp)

    @property
    def num_frames(self) -> int:
        return self.ends[-1]

    def sample_pose(self, rng: np.random.Generator, legs: Legs = OPEN_LEGS) -> Pose:
        """One frame, all frames equally likely, its heading removed: a person upright in the recording faces +z.

        legs: of the body that is to take the pose; its feet come as far apart as SMPL's did in the recording.
        Raises ValueError naming file, key and frame for values that are not finite or a file cut short.
        """
        return Pose(pose=self._draw(rng, legs), activity="recorded", phase=None, holds=None)

    def share_beyond_limits(self, rng: np.random.Generator, num_samples: int = 200) -> float:
        """Share in [0, 1] of num_samples frames, as recorded, that leave `LIMITS_DEG` at some joint."""
        raw = dataclasses.replace(self, clamp=False)
        return 1.0 - float(within_limits(np.stack([raw._draw(rng, SMPL_LEGS) for _ in range(num_samples)])).mean())

    def _draw(self, rng: np.random.Generator, legs: Legs) -> NDArray[np.float32]:
        index = int(rng.integers(self.num_frames))
        which = bisect.bisect_right(self.ends, index)
        clip = self.clips[which]
        frame = index - self.ends[which] + clip.num_frames
        # SMPL-H and SMPL-X agree with SMPL on root and 21 joints; what follows are jaw, eyes and fingers.
        pose = np.zeros(3 * NUM_JOINTS)
        known = 3 * NUM_JOINTS if clip.width == 3 * NUM_JOINTS else 3 * 22
        pose[:known] = _read_frame(clip, frame)[:known]
        pose[:3] = _upright(pose[:3], self.up)
        pose = _fit_legs(pose, legs).astype(np.float32)
        return clamp_to_limits(pose) if self.clamp else pose


def _fit_legs(pose: NDArray[np.float64], legs: Legs) -> NDArray[np.float64]:
    """The pose (72,) of SMPL's legs on other legs: turned in or out at the hip, shank and sole as recorded."""
    from scipy.spatial.transform import Rotation

    vectors = pose.reshape(NUM_JOINTS, 3).copy()
    lean = legs.lean_out_rad(SMPL_ANKLE_X_M) - legs.splay_rad
    lean -= SMPL_LEGS.lean_out_rad(SMPL_ANKLE_X_M) - SMPL_LEGS.splay_rad
    hips, knees, ankles = [HIP, HIP + 1], [KNEE, KNEE + 1], [ANKLE, ANKLE + 1]
    turn = Rotation.from_rotvec([[0.0, 0.0, lean], [0.0, 0.0, -lean]])
    back = turn.inv()
    vectors[hips] = (Rotation.from_rotvec(vectors[hips]) * turn).as_rotvec()
    vectors[knees] = (back * Rotation.from_rotvec(vectors[knees]) * turn).as_rotvec()
    vectors[ankles] = (back * Rotation.from_rotvec(vectors[ankles])).as_rotvec()
    return vectors.reshape(-1)


def _upright(root: NDArray[np.float64], up: Literal["y", "z"]) -> NDArray[np.float64]:
    """A root rotation (3,) axis-angle in y-up axes, without its turn about the vertical (swing of swing-twist)."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_rotvec(root)
    if up == "z":
        rotation = Rotation.from_rotvec([-math.pi / 2, 0.0, 0.0]) * rotation
    _, y, _, w = rotation.as_quat().tolist()
    return (Rotation.from_rotvec([0.0, -2 * math.atan2(y, w), 0.0]) * rotation).as_rotvec()


def _index(path: Path) -> list[Clip]:
    """The clips of one file. Raises ValueError naming file and key."""
    remedy = f"remove it, or ignore it by name (ignore=({path.name!r},))"
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            wanted = ["poses"] if "poses" in keys else [key for key in keys if key.startswith("pose_")]
            if not wanted:
                raise ValueError(f"{path}: key 'poses' (AMASS) or 'pose_*' (SURREAL) is missing, has {keys}; {remedy}")
            clips = [_read_header(archive, path, key) for key in wanted]
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{path}: not a readable .npz ({error}); download it again, or {remedy}") from error
    widths = AMASS_WIDTHS if wanted == ["poses"] else {72: "SMPL"}
    for clip in clips:
        if clip.num_frames < 1 or clip.width not in widths:
            shape = (clip.num_frames, clip.width)
            raise ValueError(
                f"{path}: key {clip.key!r} must be (frames, one of {sorted(widths)}), got {shape}; {remedy}"
            )
    return clips


def _read_header(archive: zipfile.ZipFile, path: Path, key: str) -> Clip:
    """What one array of an .npz says of itself."""
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read(stream)
        except ValueError as error:
            raise ValueError(
                f"{path}: key {key!r} is not an array ({error}); save it again with numpy.savez"
            ) from error
        offset = stream.tell()
    if fortran_order or dtype.kind != "f" or len(shape) != 2:
        order = "column-major" if fortran_order else "row-major"
        raise ValueError(
            f"{path}: key {key!r} must be 2-D row-major floats, got {shape} {order} {dtype}; save it again so"
        )
    compressed = info.compress_type != zipfile.ZIP_STORED
    if not compressed:
        # The member's own header, unlike the archive's index, says how long it is itself (APPNOTE 4.3.7).
        with path.open("rb") as file:
            file.seek(info.header_offset + 26)
            offset += info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
    num_frames, width = shape
    return Clip(
        path=path,
        key=key,
        num_frames=num_frames,
        width=width,
        dtype=dtype.str,
        offset=offset,
        compressed=compressed,
    )


def _read_frame(clip: Clip, frame: int) -> NDArray[np.float64]:
    """Values (width,) of one frame, without reading what follows it in the file."""
    row = clip.width * np.dtype(clip.dtype).itemsize
    try:
        with contextlib.ExitStack() as stack:
            if clip.compressed:
                archive = stack.enter_context(zipfile.ZipFile(clip.path))
                stream = stack.enter_context(archive.open(f"{clip.key}.npy"))
            else:
                stream = stack.enter_context(clip.path.open("rb"))
            stream.seek(clip.offset + frame * row)
            data = stream.read(row)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
        raise ValueError(f"{clip.path}: key {clip.key!r} cannot be read at frame {frame} ({error})") from error
    if len(data) < row:
        raise ValueError(f"{clip.path}: key {clip.key!r} ends before frame {frame}; download the file again")
    values = np.frombuffer(data, clip.dtype).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{clip.path}: key {clip.key!r}, frame {frame} holds values that are not finite; remove the file"
        )
    return values
