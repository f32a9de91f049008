"""Fields to bytes and back: JPEG by simplejpeg, PNG by libdeflate and Pillow, JSON by orjson.

The same arrays give the same bytes, on one version of these libraries.
"""

import io
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import deflate
import numpy as np
import orjson
import simplejpeg
from PIL import Image

from shards.meta import Meta
from shards.schema import EXTENSIONS, MEMBERS, Codec, Field, Sample, ShardError, check_field, check_key

MIN_QUALITY = 90
TEXTURE_QUALITY = 95
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Chroma = Literal["444", "420"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSample:
    """A sample as it lies in a shard: file extension (`image.jpg`, a key of `EXTENSIONS`) -> bytes."""

    key: str
    members: Mapping[str, bytes]
    meta: Meta | None = None
    """What `meta.json` says, where that is known without reading it; None where whoever needs it has to decode it."""

    def __post_init__(self) -> None:
        check_key(self.key)
        check_members(self.members, key=self.key)


def check_members(extensions: Collection[str], *, shard: str | None = None, key: str | None = None) -> None:
    """Raise ShardError where an extension is unknown, a required field is missing, or a field comes twice."""
    seen: dict[str, str] = {}
    for extension in extensions:
        field = EXTENSIONS.get(extension)
        if field is None:
            raise ShardError(f"unknown member; known are {list(EXTENSIONS)}", shard=shard, key=key, field=extension)
        if field in seen:
            raise ShardError(f"stored twice, as {seen[field]} and {extension}", shard=shard, key=key, field=field)
        seen[field] = extension
    for field, member in MEMBERS.items():
        if member.required and field not in seen:
            raise ShardError(f"missing member {next(iter(member.codecs))}", shard=shard, key=key, field=field)


def encode_jpeg(array: np.ndarray, *, quality: int = 95, chroma: Chroma = "444") -> bytes:
    """array (H, W, 3) uint8, RGB, as JPEG. Raises ValueError for a quality outside 90..100."""
    if not MIN_QUALITY <= quality <= 100:
        raise ValueError(f"JPEG quality must lie in {MIN_QUALITY}..100, got {quality}")
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(array), quality=quality, colorspace="RGB", colorsubsampling=chroma
    )


def check_jpeg(data: bytes) -> None:
    """Raise ValueError unless data has the header of a JPEG and its end. Pixels are not decoded, so they may be damaged."""
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise ValueError(f"not a JPEG: {error}") from error
    # A thumbnail has an end of its own, before the picture's start of scan.
    if data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN):
        raise ValueError("broken JPEG: it has no end, so it was cut short")


def encode_png(array: np.ndarray, *, level: int = 1) -> bytes:
    """array (H, W, 3) or (H, W) uint8 as PNG, without loss; raises ValueError for another array.

    level is libdeflate's, 0 to 12: the fastest that compresses is for labels, more for pictures that are kept.
    """
    if array.dtype != np.uint8 or array.ndim < 2 or array.shape[2:] not in ((), (3,)):
        raise ValueError(f"a PNG is made of uint8 (H, W, 3) or (H, W), got {array.dtype} {array.shape}")
    height, width = array.shape[:2]
    rows = array.reshape(height, -1)
    # Filter 2 of the format, "up": each row less the row above it. Trying all five for every row, as Pillow does, takes
    # longer than the compression.
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    # ISA-L takes half the time, but now and then a process of its own packs the same pixels into other bytes.
    packed = deflate.zlib_compress(filtered, level)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if array.ndim == 3 else 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", deflate.crc32(data, deflate.crc32(kind)))
        for kind, data in chunks
    )


def encode_meta(meta: Meta) -> bytes:
    """`meta.json`: UTF-8, sorted keys, no spaces. Raises ShardError for a text that has no UTF-8."""
    try:
        return orjson.dumps(meta.to_dict(), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise ShardError(f"not JSON: {error}", field="meta") from error


def encode_sample(
    sample: Sample,
    *,
    quality: int = 95,
    chroma: Chroma = "420",
    texture_codec: Literal["png", "jpeg"] = "png",
    encoded: Mapping[str, bytes] | None = None,
) -> EncodedSample:
    """A sample as bytes.

    quality and chroma (by default at half resolution, as cameras store it) are for `image` and `aligned`; a JPEG texture
    has quality 95 or more and full chroma. `encoded` (file extension -> bytes) is stored as given, in place of encoding
    that field: a texture shared by several samples is encoded once, a JPEG that came from a camera is not encoded again.
    Raises ValueError for a quality below 90.
    """
    members = dict(encoded or {})
    given = {EXTENSIONS.get(extension) for extension in members}
    for field, member in MEMBERS.items():
        value = getattr(sample, field)
        if value is None or field in given:
            continue
        extension, codec = next(iter(member.codecs.items()))
        if field == "texture" and texture_codec == "jpeg":
            extension, codec = "texture.jpg", "jpeg"
        match codec:
            case "json":
                members[extension] = encode_meta(value)
            case "png":
                members[extension] = encode_png(value)
            case "jpeg" if field == "texture":
                members[extension] = encode_jpeg(value, quality=max(quality, TEXTURE_QUALITY))
            case "jpeg":
                members[extension] = encode_jpeg(value, quality=quality, chroma=chroma)
    return EncodedSample(key=sample.key, members=members, meta=None if "meta" in given else sample.meta)


def decode_meta(data: bytes, *, shard: str | None = None, key: str | None = None) -> Meta:
    """The inverse of `encode_meta`. Raises ShardError naming the field of meta that is wrong."""
    try:
        return Meta.from_dict(orjson.loads(data))
    except ShardError as error:
        raise ShardError(error.rule, shard=shard, key=key, field=error.field) from error
    except (ValueError, RecursionError) as error:
        raise ShardError(f"not JSON: {error}", shard=shard, key=key, field="meta") from error


def decode_member(
    extension: str, data: bytes, *, shard: str | None = None, key: str | None = None
) -> np.ndarray | Meta:
    """One member: `Meta`, or a writable uint8 array as `MEMBERS` says. Raises ShardError where it does not decode."""
    field = EXTENSIONS[extension]
    codec: Codec = MEMBERS[field].codecs[extension]
    match codec:
        case "json":
            return decode_meta(data, shard=shard, key=key)
        case "jpeg":
            try:
                array = simplejpeg.decode_jpeg(data, colorspace="RGB")
            except ValueError as error:
                raise ShardError(f"broken JPEG: {error}", shard=shard, key=key, field=field) from error
        case "png":
            array = _decode_png(data, "L" if len(MEMBERS[field].shape) == 2 else "RGB", shard, key, field)
    check_field(field, array, shard=shard, key=key)
    return array


def _decode_png(data: bytes, mode: str, shard: str | None, key: str | None, field: Field) -> np.ndarray:
    try:
        _check_png_chunks(data)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            got = image.mode
            array = np.array(image)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ShardError(f"broken PNG: {error}", shard=shard, key=key, field=field) from error
    if got != mode:
        raise ShardError(f"PNG mode must be {mode}, got {got}", shard=shard, key=key, field=field)
    return array


def _check_png_chunks(data: bytes) -> None:
    """Pillow neither checks the CRC of pixel data nor misses a lost end, so many a changed byte would pass for a label."""
    position = len(_PNG_SIGNATURE)
    if not data.startswith(_PNG_SIGNATURE):
        raise ValueError("no PNG signature")
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        (crc32,) = struct.unpack_from(">I", data, end)
        if deflate.crc32(memoryview(data)[position + 4 : end]) != crc32:
            raise ValueError(f"CRC of chunk {kind.decode('latin-1')} at byte {position} differs")
        position = end + 4


def decode_fields(
    key: str, members: Mapping[str, bytes], fields: Collection[Field], *, shard: str | None = None
) -> dict[str, Any]:
    """Chosen fields of a sample: {"key": key, field: array or Meta, ...}, None for an optional field it has not.

    Raises ShardError, naming shard, key and field, where a field is required but missing, or does not decode.
    """
    values: dict[str, Any] = {"key": key, **dict.fromkeys(fields)}
    for extension, data in members.items():
        if EXTENSIONS.get(extension) in values:
            values[EXTENSIONS[extension]] = decode_member(extension, data, shard=shard, key=key)
    for field in fields:
        if values[field] is None and MEMBERS[field].required:
            raise ShardError("missing member", shard=shard, key=key, field=field)
    return values


def decode_sample(key: str, members: Mapping[str, bytes], *, shard: str | None = None) -> Sample:
    """The inverse of `encode_sample`; `members` is file extension -> bytes.

    Raises ShardError, naming shard, key and field, where a member is unknown, missing, or does not decode.
    """
    check_members(members, shard=shard, key=key)
    values = decode_fields(key, members, list(MEMBERS), shard=shard)
    try:
        return Sample(**values)
    except ShardError as error:
        raise ShardError(error.rule, shard=shard, key=key, field=error.field) from error
