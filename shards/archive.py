"""The tar inside a shard: the layout of a member, and reading it back strictly.

A shard is a plain POSIX ustar file, so `tar` and webdataset read it. Three things are fixed, for bytes that depend on
nothing but the content and for reads that notice every changed byte: times, owners and modes are constant; the header's
free-text owner name holds the CRC-32 of the content (`crc32-0a1b2c3d`); the file ends right after the two zero blocks
that mark the end. A member is named `KEY.EXTENSION` (`000042.image.jpg`).
"""

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import deflate

from shards.errors import ShardError

BLOCK = 512
END = bytes(2 * BLOCK)
CRC_PREFIX = "crc32-"
_USTAR = struct.Struct("100s 8s 8s 8s 12s 12s 8s 1s 100s 8s 32s 32s 8s 8s 155s 12x")
"""Name, mode, uid, gid, size, mtime, checksum, type, link, magic and version, owner, group, device numbers, prefix."""
_OCTAL_0 = b"0000000\0"
MAX_BYTES = 8**11 - 1
"""What the header has digits for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedMember:
    """One file of a shard."""

    key: str
    extension: str
    offset: int
    """Where its content begins in the tar, bytes."""
    size: int
    """Bytes."""
    crc32: int | None
    """CRC-32 of the content as written; None in a tar that another tool wrote."""
    data: bytes | None
    """Its content, where it was asked for."""
    padding_is_zero: bool
    """Whether the bytes after the content are what they must be; True where the content was skipped."""

    def fault(self) -> str | None:
        """What is wrong with the content, or None."""
        if self.data is not None and self.crc32 is not None and deflate.crc32(self.data) != self.crc32:
            return "bytes differ from those written (CRC-32); make or copy the shard again"
        if not self.padding_is_zero:
            return "padding after the content is not zero; make or copy the shard again"
        return None


def archive_member(name: str, data: bytes) -> bytes:
    """Header, content and padding of one member, as they lie in the tar. Raises ValueError for a name that does not fit."""
    encoded = name.encode("ascii")
    if len(encoded) > 100:
        raise ValueError(f"a member's name has at most 100 characters, got {len(encoded)}: {name}")
    if len(data) > MAX_BYTES:
        raise ValueError(f"a member has at most {MAX_BYTES:,} bytes, got {len(data):,}: {name}")
    owner = b"%s%08x" % (CRC_PREFIX.encode(), deflate.crc32(data))
    # `tarfile` makes the same block, at twelve times the cost. The checksum is that of a header with blanks for it.
    header = _USTAR.pack(
        encoded, b"0000644\0", _OCTAL_0, _OCTAL_0, b"%011o\0" % len(data), b"00000000000\0", b" " * 8, b"0", b"",
        b"ustar\x0000", owner, b"", b"", b"", b"",
    )  # fmt: skip
    return b"".join((header[:148], b"%06o\0 " % sum(header), header[156:], data, bytes(-len(data) % BLOCK)))


def iter_members(
    file: BinaryIO, *, shard: str, extensions: Collection[str] | None = None, skip: bool = True
) -> Iterator[ArchivedMember]:
    """Members of a shard, in order.

    file is read from its start; extensions: whose content to read (all by default); the others are jumped over when
    `skip`, which needs a file that seeks, or read and dropped. Content is not checked: see `ArchivedMember.fault`.
    Raises ShardError where the tar is cut short, a header is damaged, or a member is not a regular ustar file.
    """
    offset, last = 0, "the start"
    while (header := file.read(BLOCK)) != bytes(BLOCK):
        if len(header) < BLOCK:
            raise ShardError(f"cut short after {last}, at byte {offset}: no end mark; make it again", shard=shard)
        key, extension, size, crc32 = _parse_header(header, shard, offset, last)
        last, stored = f"{key}.{extension}", size + -size % BLOCK
        wanted = extensions is None or extension in extensions
        if wanted or not skip:
            content = file.read(stored)
            if len(content) < stored:
                raise ShardError(
                    f"cut short: {len(content)} of {size} bytes; make the shard again",
                    shard=shard,
                    key=key,
                    field=extension,
                )
        else:
            file.seek(stored, 1)
        yield ArchivedMember(
            key=key,
            extension=extension,
            offset=offset + BLOCK,
            size=size,
            crc32=crc32,
            data=content[:size] if wanted else None,
            padding_is_zero=not wanted or not any(content[size:]),
        )
        offset += BLOCK + stored
    if (rest := file.read(BLOCK)) != bytes(BLOCK):
        state = "damaged" if len(rest) == BLOCK else "cut short"
        raise ShardError(f"end mark {state} after {last}, at byte {offset}; make the shard again", shard=shard)
    while rest := file.read(1 << 20):
        if any(rest):
            raise ShardError(f"bytes after the end mark, after {last}; make the shard again", shard=shard)


def _parse_header(header: bytes, shard: str, offset: int, last: str) -> tuple[str, str, int, int | None]:
    """(key, extension, size, CRC-32) of a ustar header; `tarfile` does the same at four times the cost."""
    try:
        if header[148:156] != b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * ord(" ")):
            raise ValueError("checksum differs")
        name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:136].strip(b"\0 "), 8)
        owner = header[265:297].rstrip(b"\0").decode("ascii")
        crc32 = int(owner.removeprefix(CRC_PREFIX), 16) if owner.startswith(CRC_PREFIX) else None
    except ValueError as error:
        raise ShardError(
            f"damaged member header at byte {offset}, after {last} ({error}); make the shard again", shard=shard
        ) from error
    key, _, extension = name.partition(".")
    is_regular_file = header[156:157] in (b"0", b"\0") and header[257:262] == b"ustar" and not any(header[345:500])
    if not is_regular_file or not key or not extension:
        raise ShardError(f"member {name!r} at byte {offset} is not a plain ustar file named KEY.EXTENSION", shard=shard)
    return key, extension, size, crc32


def iter_samples(
    file: BinaryIO, *, shard: str, extensions: Collection[str] | None = None, skip: bool = True
) -> Iterator[tuple[str, dict[str, ArchivedMember]]]:
    """(key, extension -> member) of every sample of a shard; arguments and errors as for `iter_members`.

    Raises ShardError also where a member comes twice. Contents are not checked: see `contents`.
    """
    current: str | None = None
    members: dict[str, ArchivedMember] = {}
    for member in iter_members(file, shard=shard, extensions=extensions, skip=skip):
        if member.key != current:
            if current is not None:
                yield current, members
            current, members = member.key, {}
        if member.extension in members:
            raise ShardError("stored twice", shard=shard, key=member.key, field=member.extension)
        members[member.extension] = member
    if current is not None:
        yield current, members


def contents(key: str, members: Mapping[str, ArchivedMember], *, shard: str) -> dict[str, bytes]:
    """Extension -> bytes of the members of a sample that were read. Raises ShardError where bytes were changed."""
    for extension, member in members.items():
        if (fault := member.fault()) is not None:
            raise ShardError(fault, shard=shard, key=key, field=extension)
    return {extension: member.data for extension, member in members.items() if member.data is not None}
