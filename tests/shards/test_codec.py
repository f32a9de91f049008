"""Fields to bytes and back, and what broken bytes say."""

import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_sets import rendered, tiny_sample

from shards import MEMBERS, Meta, Sample, ShardError
from shards.codec import (
    EncodedSample,
    check_jpeg,
    decode_fields,
    decode_meta,
    decode_sample,
    encode_jpeg,
    encode_meta,
    encode_png,
    encode_sample,
)

names = st.text(min_size=1, max_size=8)
counts = st.none() | st.integers(0, 2**40)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
keypoints = st.lists(st.tuples(numbers, numbers, st.sampled_from([0.0, 1.0, 2.0])), min_size=17, max_size=17)


def arrays(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    )


@st.composite
def metas(draw: st.DrawFn) -> Meta:
    origin = draw(st.sampled_from(["real", "rendered", "generated"]))
    annotator = st.fixed_dictionaries({"name": names, "hash": names})
    return Meta(
        origin=origin,
        dataset=draw(names),
        identity=draw(st.none() | names),
        camera_id=draw(counts),
        sequence=draw(counts),
        frame=draw(counts),
        split=draw(st.sampled_from([None, "train", "query", "gallery"])),
        keypoints=draw(st.none() | keypoints),
        box=draw(st.none() | st.tuples(numbers, numbers, st.floats(0.1, 1e6), st.floats(0.1, 1e6))),
        uv_layout=draw(names),
        rendered={**rendered(draw(st.integers(0, 9))), "more": draw(json_values)} if origin == "rendered" else None,
        generated=(
            {"source_key": draw(names), "pose_key": None, "model_hash": draw(names), "more": draw(json_values)}
            if origin == "generated"
            else None
        ),
        annotators=draw(st.none() | st.dictionaries(st.sampled_from(["iuv", "parts", "keypoints"]), annotator)),
    )


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    iuv = draw(arrays(height, width, 3))
    iuv[..., 0] %= 25
    iuv[iuv[..., 0] == 0] = draw(st.sampled_from([(0, 0, 0), (0, 255, 0)]))
    return Sample(
        key=draw(st.text("abcXYZ019_-", min_size=1, max_size=80)),
        image=draw(arrays(height, width, 3)),
        meta=draw(metas()),
        texture=draw(st.none() | arrays(256, 256, 3)),
        aligned=draw(st.none() | arrays(draw(st.integers(1, 40)), draw(st.integers(1, 40)), 3)),
        iuv=draw(st.none() | st.just(iuv)),
        parts=draw(st.none() | arrays(height, width).map(lambda a: a % 8)),
    )


@settings(max_examples=60, deadline=None)
@given(metas())
def test_meta_round_trip(meta: Meta):
    data = encode_meta(meta)
    assert decode_meta(data) == meta
    assert encode_meta(decode_meta(data)) == data


@settings(max_examples=40, deadline=None)
@given(samples())
def test_sample_round_trip(sample: Sample):
    encoded = encode_sample(sample)
    decoded = decode_sample(sample.key, encoded.members)
    assert (decoded.key, decoded.meta) == (sample.key, sample.meta)
    for field in ("texture", "iuv", "parts"):  # stored without loss
        np.testing.assert_array_equal(getattr(decoded, field), getattr(sample, field))
    for field in ("image", "aligned"):
        before, after = getattr(sample, field), getattr(decoded, field)
        assert (before is None) == (after is None)
        if before is not None:
            assert before.shape == after.shape


def test_jpeg_keeps_the_picture_and_its_channel_order():
    sample = tiny_sample(2)
    decoded = decode_sample(sample.key, encode_sample(sample).members)
    for field in ("image", "aligned"):
        difference = np.abs(getattr(decoded, field).astype(int) - getattr(sample, field))
        assert difference.max() <= 4


def test_decoded_arrays_can_be_written_and_every_field_of_a_sample_is_a_member():
    decoded = decode_sample("a", encode_sample(tiny_sample(0)).members)
    for field in ("image", "texture", "aligned", "iuv"):
        assert getattr(decoded, field).flags.writeable
    assert {field.name for field in fields(Sample)} - {"key"} == set(MEMBERS)


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("shape", [(1, 1), (5, 1, 3), (1, 7, 3), (48, 24), (48, 24, 3)])
def test_pillow_reads_every_png_without_loss(shape: tuple[int, ...], level: int):
    array = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    for picture in (array, array[:, ::-1], np.zeros(shape, np.uint8)):
        with Image.open(io.BytesIO(encode_png(picture, level=level)), formats=["PNG"]) as image:
            assert image.mode == ("RGB" if len(shape) == 3 else "L")
            np.testing.assert_array_equal(np.array(image), picture)


@pytest.mark.parametrize("array", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.uint16), np.zeros(4, np.uint8)])
def test_other_arrays_are_no_png(array: np.ndarray):
    with pytest.raises(ValueError, match="PNG is made of uint8"):
        encode_png(array)


def test_bytes_that_are_given_are_stored_as_they_are():
    sample = tiny_sample(0)
    image, texture = encode_jpeg(sample.image, quality=91), encode_png(sample.texture, level=9)
    encoded = encode_sample(sample, encoded={"image.jpg": image, "texture.png": texture})
    assert encoded.members["image.jpg"] is image
    assert encoded.members["texture.png"] is texture
    assert set(encoded.members) == {"image.jpg", "texture.png", "meta.json", "aligned.jpg", "iuv.png"}


def test_a_texture_may_be_jpeg_of_full_chroma():
    members = encode_sample(tiny_sample(0), quality=90, chroma="420", texture_codec="jpeg").members
    assert "texture.png" not in members
    assert simplejpeg.decode_jpeg_header(members["texture.jpg"])[3] == "444"
    assert simplejpeg.decode_jpeg_header(members["image.jpg"])[3] == "420"
    assert decode_sample("a", members).texture.shape == (256, 256, 3)


def test_quality_below_90_is_refused():
    with pytest.raises(ValueError, match=r"90\.\.100, got 89"):
        encode_sample(tiny_sample(0), quality=89)


def broken_members() -> dict[str, tuple[str, bytes | None, str]]:
    """What is done -> (member, its bytes, what the error must say)."""
    good = encode_sample(tiny_sample(0)).members
    meta = json.loads(good["meta.json"])
    palette, wide = io.BytesIO(), tiny_sample(0).iuv.repeat(2, axis=1)
    Image.new("P", (24, 48)).save(palette, "PNG")
    cut = {extension: data[: len(data) - 20] for extension, data in good.items()}
    flipped = bytearray(good["iuv.png"])
    flipped[len(flipped) // 2] ^= 4
    return {
        "jpeg cut": ("image.jpg", cut["image.jpg"], "broken JPEG"),
        "jpeg cut by its last byte": ("image.jpg", good["image.jpg"][:-1], "broken JPEG"),
        "jpeg empty": ("aligned.jpg", b"", "broken JPEG"),
        "png cut": ("iuv.png", cut["iuv.png"], "broken PNG"),
        "png flipped": ("iuv.png", bytes(flipped), "broken PNG"),
        "png is a jpeg": ("texture.png", good["image.jpg"], "broken PNG"),
        "png of a palette": ("iuv.png", palette.getvalue(), "mode must be RGB, got P"),
        "png grey where colour": ("texture.png", encode_png(np.zeros((256, 256), np.uint8)), "must be RGB, got L"),
        "iuv too wide": ("iuv.png", encode_png(wide), "height and width"),
        "texture too small": ("texture.png", encode_png(np.zeros((8, 8, 3), np.uint8)), "shape"),
        "json cut": ("meta.json", cut["meta.json"], "not JSON"),
        "json of another kind": ("meta.json", b"[]", "JSON object"),
        "json not utf-8": ("meta.json", b'{"a": "\xff"}', "not JSON"),
        "json too deep": ("meta.json", b"[" * 2000 + b"]" * 2000, "not JSON"),
        "json deep": (
            "meta.json",
            good["meta.json"].replace(b'"seed":', b'"more":' + b"[" * 900 + b"]" * 900 + b',"seed":'),
            "not JSON",
        ),
        "json with a number too long": (
            "meta.json",
            good["meta.json"].replace(b'"seed":', b'"seed":1' + b"0" * 30),
            "seed",
        ),
        "json with a bad value": ("meta.json", json.dumps({**meta, "split": "test"}).encode(), "train"),
        "unknown member": ("depth.png", b"", "unknown member"),
        "image missing": ("image.jpg", None, "missing member"),
        "two textures": ("texture.jpg", good["image.jpg"], "stored twice"),
    }


@pytest.mark.parametrize("what", broken_members())
def test_broken_members_name_shard_key_and_field(what: str):
    extension, data, says = broken_members()[what]
    members = dict(encode_sample(tiny_sample(0)).members)
    members[extension] = data
    if data is None:
        del members[extension]
    with pytest.raises(ShardError, match=says) as caught:
        decode_sample("000000", members, shard="tiny-000003.tar")
    assert caught.value.shard == "tiny-000003.tar"
    assert caught.value.key == "000000"
    assert caught.value.field.split(".")[0] == extension.split(".")[0]


def test_a_text_without_utf_8_is_refused():
    with pytest.raises(ShardError, match="surrogates") as caught:
        encode_meta(replace(tiny_sample(0).meta, dataset="\ud800"))
    assert caught.value.field == "meta"


def test_pictures_are_stored_as_cameras_do():
    """Chroma at half resolution unless asked for in full."""
    sample = tiny_sample(0)
    for found, chroma in ((encode_sample(sample), "420"), (encode_sample(sample, chroma="444"), "444")):
        assert simplejpeg.decode_jpeg_header(found.members["image.jpg"])[3] == chroma
        assert simplejpeg.decode_jpeg_header(found.members["aligned.jpg"])[3] == chroma


def test_chosen_fields_are_decoded_and_no_others():
    members = {**encode_sample(tiny_sample(0)).members, "image.jpg": b"broken"}
    values = decode_fields("a", members, ["iuv", "parts"])
    assert set(values) == {"key", "iuv", "parts"}
    assert values["parts"] is None
    np.testing.assert_array_equal(values["iuv"], tiny_sample(0).iuv)
    with pytest.raises(ShardError, match="missing"):
        decode_fields("a", {"iuv.png": members["iuv.png"]}, ["meta"])


def test_an_encoded_sample_is_complete():
    with pytest.raises(ShardError, match="field image: missing"):
        EncodedSample(key="a", members={"meta.json": encode_meta(tiny_sample(0).meta)})


def test_equal_meta_has_equal_bytes_whatever_the_order_of_its_keys():
    meta = tiny_sample(0).meta
    turned = replace(meta, rendered=dict(reversed(meta.rendered.items())))
    assert encode_meta(turned) == encode_meta(meta)


def test_whole_jpegs():
    whole = encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8))
    check_jpeg(whole)
    check_jpeg(whole + b"\0\0 trailing")
    check_jpeg(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    thumbnail = b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    check_jpeg(whole[:2] + thumbnail + whole[2:])
    for broken in (whole[:-2], whole[:2] + thumbnail + whole[2:-40], whole[: whole.index(b"\xff\xda")]):
        with pytest.raises(ValueError, match="cut short|not a JPEG"):
            check_jpeg(broken)
