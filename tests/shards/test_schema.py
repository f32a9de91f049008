"""What `Meta` and `Sample` refuse, and how they say it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_sets import HEIGHT, WIDTH, rendered, tiny_sample

from shards import SCHEMA_VERSION, Meta, Sample, ShardError
from shards.codec import decode_meta, encode_meta
from shards.meta import plain

REAL = Meta(origin="real", dataset="market1501")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("origin", "drawn"),
        ("dataset", ""),
        ("identity", ""),
        ("identity", 7),
        ("camera_id", -1),
        ("camera_id", "c1"),
        ("camera_id", True),
        ("frame", 1.0),
        ("split", "test"),
        ("keypoints", [[0, 0, 2]] * 16),
        ("keypoints", [[0, 0, 3]] * 17),
        ("keypoints", [[0, float("nan"), 2]] * 17),
        ("keypoints", 5),
        ("box", [0, 0, 10]),
        ("box", [0, 0, 0, 5]),
        ("uv_layout", ""),
        ("annotators", {"iuv": {"name": "dense"}}),
        ("annotators", {"image": {"name": "dense", "hash": "0"}}),
        ("annotators", ["iuv"]),
        ("annotators", {"iuv": {"name": "dense", "hash": "0", "confidence": 1.01}}),
        ("annotators", {"iuv": {"name": "dense", "hash": "0", "confidence": -0.01}}),
        ("annotators", {"iuv": {"name": "dense", "hash": "0", "confidence": 1}}),
        ("annotators", {"iuv": {"name": "dense", "hash": "0", "confidence": "sure"}}),
        ("annotators", {"iuv": {"name": "dense", "confidence": 0.5}}),
        ("annotators", {"iuv": {"name": "dense", "hash": "0", "sure": 0.5}}),
        ("rendered", {"seed": 0}),
        ("generated", {"source_key": "a", "pose_key": "b", "model_hash": "c"}),
        ("schema_version", SCHEMA_VERSION + 1),
        ("schema_version", True),
    ],
)
def test_meta_names_the_field_that_is_wrong(field: str, value: object):
    with pytest.raises(ShardError) as caught:
        replace(REAL, **{field: value})
    assert caught.value.field == f"meta.{field}"


@pytest.mark.parametrize("confidence", [{}, {"confidence": 0.0}, {"confidence": 0.25}, {"confidence": 1.0}])
def test_an_annotator_may_tell_its_confidence(confidence: dict[str, float]):
    who = {"iuv": {"name": "dense", "hash": "0", **confidence}}
    meta = replace(REAL, annotators=who)
    assert decode_meta(encode_meta(meta)).annotators == who


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "0"),
        ("index", -1),
        ("intrinsics", np.eye(4)),
        ("world_to_camera", np.eye(3)),
        ("body", {"betas": {1, 2}}),
        ("outfit", {"scale": float("inf")}),
        ("background", {3: "three"}),
    ],
)
def test_provenance_of_a_rendered_sample_is_checked(name: str, value: object):
    good = Meta(origin="rendered", dataset="pit", rendered=rendered(3))
    assert good.rendered["world_to_camera"][3] == [0.0, 0.0, 0.0, 1.0]
    with pytest.raises(ShardError) as caught:
        Meta(origin="rendered", dataset="pit", rendered={**rendered(3), name: value})
    assert caught.value.field == "meta.rendered"


def test_provenance_belongs_to_its_origin():
    with pytest.raises(ShardError, match='only for, origin "rendered"'):
        Meta(origin="rendered", dataset="pit")
    with pytest.raises(ShardError, match='only for, origin "generated"'):
        Meta(origin="generated", dataset="pit")


def test_from_dict_is_strict():
    values = REAL.to_dict()
    with pytest.raises(ShardError, match=r"meta\.colour: unknown"):
        Meta.from_dict({**values, "colour": 1})
    with pytest.raises(ShardError, match=r"meta\.camera_id: missing"):
        Meta.from_dict({name: value for name, value in values.items() if name != "camera_id"})
    with pytest.raises(ShardError, match="newer release"):
        Meta.from_dict({**values, "schema_version": SCHEMA_VERSION + 1, "colour": 1})
    with pytest.raises(ShardError, match="JSON object"):
        Meta.from_dict([])


def test_meta_does_not_share_the_callers_dict():
    provenance = rendered(1)
    meta = Meta(origin="rendered", dataset="pit", rendered=provenance)
    provenance["outfit"]["top"] = "shirt"
    assert meta.rendered["outfit"] == {"top": "coat"}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("image", None, "uint8"),
        ("image", np.zeros((HEIGHT, WIDTH, 3), np.float32), "float32"),
        ("image", np.zeros((HEIGHT, WIDTH), np.uint8), "shape"),
        ("image", np.zeros((0, WIDTH, 3), np.uint8), "shape"),
        ("texture", np.zeros((128, 256, 3), np.uint8), "shape"),
        ("aligned", np.zeros((HEIGHT, WIDTH, 4), np.uint8), "shape"),
        ("iuv", np.full((HEIGHT, WIDTH, 3), 25, np.uint8), "0..24, got 25"),
        ("iuv", np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8), "height and width"),
        ("parts", np.full((HEIGHT, WIDTH), 8, np.uint8), "0..7, got 8"),
        ("parts", np.zeros((HEIGHT, WIDTH, 1), np.uint8), "shape"),
        ("meta", {}, "Meta"),
    ],
)
def test_sample_names_key_and_field(field: str, value: object, says: str):
    with pytest.raises(ShardError, match=says) as caught:
        replace(tiny_sample(0), **{field: value})
    assert (caught.value.key, caught.value.field) == ("000000", field)


@pytest.mark.parametrize(("u", "v", "good"), [(0, 0, True), (255, 0, True), (254, 0, False), (255, 1, False)])
def test_uv_without_surface_is_background_or_carried(u: int, v: int, *, good: bool):
    iuv = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    iuv[3, 5, 1:] = u, v
    if good:
        replace(tiny_sample(0), iuv=iuv)
    else:
        with pytest.raises(ShardError, match="row 3, column 5"):
            replace(tiny_sample(0), iuv=iuv)


def test_a_texture_needs_its_layout():
    sample = tiny_sample(0)
    with pytest.raises(ShardError, match=r"meta\.uv_layout"):
        replace(sample, meta=replace(sample.meta, uv_layout=None))


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "é", "a" * 81, "a b", None, "__x__\n"])
def test_keys_that_a_tar_or_webdataset_would_misread_are_refused(key: object):
    with pytest.raises(ShardError, match="a key is"):
        Sample(key=key, image=np.zeros((2, 2, 3), np.uint8), meta=REAL)


def test_meta_is_json():
    assert json.loads(json.dumps(tiny_sample(0).meta.to_dict()))["keypoints"][0][2] in (0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([0.5, -1.5], [0.5, -1.5]),
        ((0.5, 1), [0.5, 1]),
        ([1e308, 1e308], [1e308, 1e308]),  # their sum is not finite, they are
        ([np.float64(0.5), np.float32(0.25)], [0.5, 0.25]),
        ([True, 2, None, "a"], [True, 2, None, "a"]),
        (np.float64([[1, 2]]), [[1.0, 2.0]]),
        ([np.int64(3), np.bool_(True)], [3, True]),
        ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ([], []),
    ],
)
def test_plain_keeps_values_and_turns_numpys_into_pythons(value: object, expected: list):
    got = plain(value)
    assert repr(got) == repr(expected)  # the types too
    assert got is not value


@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan"), np.float32("nan"), 2**63, {1}])
@pytest.mark.parametrize("row", [[0.5], [1e308, 1e308], [float("inf")], [1], []])
def test_plain_names_the_place_of_what_is_no_json(row: list, wrong: object):
    first = next((i for i, item in enumerate(row) if item == float("inf")), len(row))
    with pytest.raises(ValueError, match=rf"^pose\[1\]\[{first}\] must be"):
        plain([[0.25], [*row, wrong]], "pose")
    with pytest.raises(ValueError, match=r"^pose\.yaw_rad must be"):
        plain({"yaw_rad": wrong}, "pose")
