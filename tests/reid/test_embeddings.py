"""Embeddings and their files: what goes in comes out, and what is wrong is named."""

import builtins
from pathlib import Path

import numpy as np
import pytest

from reid.embeddings import Embeddings, merge_queries, read_retrieval, write_embeddings, write_retrieval


def make(num: int = 5, dimensions: int = 3, **values) -> Embeddings:
    rng = np.random.default_rng(num)
    arrays = {
        "vectors": rng.standard_normal((num, dimensions)).astype(np.float32),
        "identities": np.arange(num) - 1,
        "camera_ids": np.arange(num) % 3 - 1,
        "keys": np.array([f"set/{i}" for i in range(num)]),
    }
    return Embeddings(**{**arrays, **values})


def equal(one: Embeddings, other: Embeddings) -> bool:
    names = ("vectors", "identities", "camera_ids", "keys")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def spoilt(row: int, value: float) -> np.ndarray:
    vectors = np.zeros((5, 3), dtype=np.float32)
    vectors[row, 1] = value
    return vectors


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"vectors": np.zeros((5, 3))}, "vectors must be an array of float32, got float64"),
        ({"vectors": [[0.0]]}, "got list"),
        ({"vectors": np.zeros(5, dtype=np.float32)}, r"vectors must be \(N, D\).*got shape \(5,\)"),
        ({"vectors": np.zeros((0, 3), dtype=np.float32)}, r"got shape \(0, 3\)"),
        ({"vectors": np.zeros((5, 0), dtype=np.float32)}, r"got shape \(5, 0\)"),
        ({"identities": np.arange(4)}, r"identities must be \(5,\).*got shape \(4,\)"),
        ({"identities": np.arange(5.0)}, "identities must be an array of int64, got float64"),
        ({"camera_ids": np.arange(5, dtype=np.int32)}, "camera_ids must be an array of int64, got int32"),
        ({"identities": np.array([0, 1, -2, 3, 4])}, r"identities must be >= -1, got -2 for 'set/2' \(row 2\)"),
        ({"camera_ids": np.array([0, 1, 2, 3, -7])}, r"camera_ids must be >= -1, got -7 for 'set/4'"),
        ({"keys": np.arange(5)}, "keys must be an array of str, got int64"),
        ({"vectors": spoilt(3, np.nan)}, r"NaN or infinity in 1 of 5, the first 'set/3' \(row 3\)"),
        ({"vectors": spoilt(2, -np.inf)}, r"the first 'set/2' \(row 2\)"),
    ],
)
def test_wrong_arrays_are_named(values: dict, words: str):
    with pytest.raises(ValueError, match=words):
        make(**values)


@pytest.mark.filterwarnings("error")
def test_infinities_that_cancel_are_found():
    vectors = spoilt(1, np.inf)
    vectors[4, 0] = -np.inf
    with pytest.raises(ValueError, match="in 2 of 5, the first 'set/1'"):
        make(vectors=vectors)
    make(vectors=spoilt(1, np.finfo(np.float32).max) * np.float32(1))  # large, but finite


def test_taking_and_leaving_junk():
    embeddings = make()
    assert equal(embeddings.take(np.array([2, 0])).take(np.array([1, 0])), embeddings.take(np.array([0, 2])))
    assert embeddings.without_junk().identities.tolist() == [0, 1, 2, 3]
    assert embeddings.without_junk().keys.tolist() == ["set/1", "set/2", "set/3", "set/4"]
    with pytest.raises(ValueError, match="got 5 of identity -1"):
        make(identities=np.full(5, -1)).without_junk()


def test_queries_of_one_identity_and_camera_are_averaged():
    vectors = np.arange(16, dtype=np.float32).reshape(8, 2) ** 2
    identities, cameras = np.array([5, 2, 5, 5, 2, 2, -1, -1]), np.array([1, 0, 1, 0, -1, -1, 0, 0])
    keys = np.array(list("abcdefgh"))
    merged = merge_queries(Embeddings(vectors=vectors, identities=identities, camera_ids=cameras, keys=keys))
    assert "".join(merged.keys) == "abdefgh"
    assert merged.identities.tolist() == [5, 2, 5, 2, 2, -1, -1]
    assert merged.camera_ids.tolist() == [1, 0, 0, -1, -1, 0, 0]
    np.testing.assert_array_equal(merged.vectors[0], (vectors[0] + vectors[2]) / 2)
    np.testing.assert_array_equal(merged.vectors[1:], vectors[[1, 3, 4, 5, 6, 7]])


def test_retrieval_round_trip(tmp_path: Path):
    query, gallery = make(4), make(7)
    write_retrieval(tmp_path / "new" / "a.npz", query, gallery)
    read = read_retrieval(tmp_path / "new" / "a.npz")
    assert equal(read[0], query) and equal(read[1], gallery)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.npz"]


def arrays() -> dict[str, np.ndarray]:
    """As another tool may write them."""
    return {
        "query_embeddings": np.ones((2, 3), dtype=np.float16),
        "query_identities": np.array([0, 1], dtype=np.int32),
        "query_cameras": np.array([0, 1], dtype=np.uint8),
        "gallery_embeddings": np.ones((4, 3)),
        "gallery_identities": np.array([0, 1, -1, 2]),
        "gallery_cameras": np.array([0, 1, -1, 2]),
        "cmc": np.ones(20),
    }


def test_other_number_types_are_read(tmp_path: Path):
    np.savez(tmp_path / "a.npz", **arrays())
    query, gallery = read_retrieval(tmp_path / "a.npz")
    assert (query.vectors.dtype, gallery.vectors.dtype, query.camera_ids.dtype) == (np.float32, np.float32, np.int64)
    assert query.keys.tolist() == ["query 0", "query 1"]
    assert len(set(gallery.keys)) == 4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gallery_cameras": None}, "gallery: gallery_cameras is missing; these there are: gallery_embeddings, "),
        ({"query_embeddings": None}, "query: query_embeddings is missing"),
        ({"query_embeddings": np.ones((2, 3), dtype=int)}, "query_embeddings must be an array of floating, got int64"),
        ({"query_embeddings": np.ones(2)}, r"query_embeddings must be \(N, D\), got shape \(2,\)"),
        ({"query_identities": np.array(["a", "b"])}, "query_identities must be an array of integer, got <U1"),
        ({"query_identities": np.ones((2, 1), dtype=int)}, r"query_identities must be \(N,\), got shape \(2, 1\)"),
        ({"gallery_identities": np.arange(3)}, "gallery_identities must be as many as gallery_embeddings, got 3 and 4"),
        ({"gallery_keys": np.arange(4)}, "gallery_keys must be an array of str, got int64"),
        ({"gallery_embeddings": np.full((4, 3), 1e300)}, "gallery: embeddings must be finite, .* in 4 of 4"),
        ({"gallery_embeddings": np.ones((4, 5))}, "same number of columns, got 3 and 5"),
        ({"query_identities": np.array([{}, {}])}, "must be an .npz file of plain arrays"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, values: dict, words: str):
    path = tmp_path / "a.npz"
    np.savez(path, **{name: value for name, value in {**arrays(), **values}.items() if value is not None})
    with pytest.raises(ValueError, match=words) as error:
        read_retrieval(path)
    assert str(path) in str(error.value)


def test_what_is_no_such_file_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"a\.npz"):
        read_retrieval(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **arrays())
    data = (tmp_path / "a.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.ones(3))
    damaged = data[:200] + b"?" * 8 + data[208:]
    others = {"cut.npz": data[:-300], "text.npz": b"identity,camera\n", "empty.npz": b"", "damaged.npz": damaged}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for name in (*others, "one.npy"):
        with pytest.raises(ValueError, match="must be an .npz file of plain arrays") as error:
            read_retrieval(tmp_path / name)
        assert name in str(error.value)


def test_embeddings_are_written_to_npz_and_parquet(tmp_path: Path):
    from pyarrow import parquet

    embeddings, names, splits = make(3), ["ann", "", "bob"], ["query", "gallery", ""]
    for name in ("a.npz", "a.parquet"):
        write_embeddings(tmp_path / name, embeddings, names, splits=splits)
    table = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        found = {name: file[name].tolist() for name in file.files}
    expected = {
        "embeddings": embeddings.vectors.tolist(),
        "identities": names,
        "cameras": [-1, 0, 1],
        "keys": ["set/0", "set/1", "set/2"],
        "splits": splits,
    }
    assert found == expected
    assert table == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.parquet"]


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="identities must be as many as the embeddings, got 2 and 3"):
        write_embeddings(tmp_path / "a.npz", make(3), ["a", "b"])
    with pytest.raises(ValueError, match="to .npz or .parquet, got '.csv'"):
        write_embeddings(tmp_path / "a.csv", make(3), ["a", "b", "c"])
    import_module = builtins.__import__

    def without_pyarrow(name: str, *rest):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return import_module(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(ImportError, match=r"pip install 'lookalike\[parquet\]'"):
        write_embeddings(tmp_path / "a.parquet", make(3), ["a", "b", "c"])
    assert list(tmp_path.iterdir()) == []
