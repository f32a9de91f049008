"""The files that licensed SMPL models come in, read without running what is in them."""

import io
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_npz(path: Path) -> dict:
    """Every array of an .npz. Raises ValueError where it is not one of plain arrays."""
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


def read_pickle(path: Path) -> dict:
    """SMPL's own .pkl, chumpy and sparse arrays made plain. Raises ValueError for anything else."""
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


def read_uv_obj(path: Path, faces: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
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
