"""Files and folders of a snapshot as one stream, tar or zip, in bounded memory."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from webapp.core.errors import ArchiveError
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode
from webapp.engine.archive.compression import Deflater, crc32, rechunk
from webapp.engine.archive.zip_format import (
    DEFLATED,
    STORED,
    Entry,
    central_header,
    descriptor_64,
    dos_time,
    end_records,
    local_header,
)
from webapp.engine.snapshots.nodes import Kind, Node, shown
from webapp.engine.snapshots.tree import (
    chosen_parts,
    look_at,
    open_beneath,
    opened_directory,
    opened_tree,
    unreadable,
    walk,
)

PIECE_BYTES = 256 * 1024
_BLOCK = tarfile.BLOCKSIZE
_TAR_TYPES = {Kind.FILE: tarfile.REGTYPE, Kind.DIRECTORY: tarfile.DIRTYPE, Kind.SYMLINK: tarfile.SYMTYPE}
_ZIP_TYPES = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}
_DOS_DIRECTORY = 0x10
# What a name in a zip may not hold: a program elsewhere could take it for a separator, a drive or a line's end.
_NOT_IN_ZIP = re.compile(r"[\x00-\x1f\x7f\\\udc80-\udcff]|(?<=^[A-Za-z]):")


def tar_stream(place: SnapshotPlace, paths: Sequence[str]) -> Iterator[bytes]:
    """The chosen paths and all below them as a tar, with real modes, owners, times and symlinks; () is all of it.

    Names are as on the host, without the leading slash. Devices, fifos and sockets are left out, and each name of a hard-linked
    file has its content. NotFound is raised at once; a file that cannot be read whole ends the stream with an error, so that no
    download looks finished that is not.
    """
    return rechunk(_tar(place, chosen_parts(place, paths)), PIECE_BYTES)


def zip_stream(place: SnapshotPlace, paths: Sequence[str]) -> Iterator[bytes]:
    """The same as a zip, with modes, times (UTC) and symlinks as zip files know them, and without owners.

    What a name in a zip may not hold (controls, backslashes, bytes that are not UTF-8) is written as %5C.
    """
    return rechunk(_zip(place, chosen_parts(place, paths)), PIECE_BYTES)


class _Member(NamedTuple):
    """``parent`` is open until the next member is asked for."""

    node: Node
    parent: int
    name: bytes


def _members(place: SnapshotPlace, chosen: list[list[bytes]]) -> Iterator[_Member]:
    with opened_tree(place) as root:
        for parts in chosen:
            above = parts[:-1]
            path = b"/" + b"/".join(parts)
            with opened_directory(root, above) as parent:
                node = look_at(parent, parts[-1] if parts else b".", path, layout=place.layout)
                if parts and node.kind in _TAR_TYPES:
                    yield _Member(node, parent, parts[-1])
            if not node.is_directory:
                continue
            for walked in walk(root, parts):
                below = look_at(walked.parent, walked.name, b"/" + walked.path, layout=place.layout)
                if below.kind in _TAR_TYPES:
                    yield _Member(below, walked.parent, walked.name)


def _tar(place: SnapshotPlace, chosen: list[list[bytes]]) -> Iterator[bytes]:
    for member in _members(place, chosen):
        node = member.node
        info = tarfile.TarInfo(node.path.lstrip("/"))
        info.type = _TAR_TYPES[node.kind]
        info.mode, info.uid, info.gid = node.mode, node.uid, node.gid
        info.mtime, info.linkname, info.size = node.mtime_ns // 10**9, node.target, node.size_bytes
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if node.is_file:
            yield from _content(member)
            yield bytes(-node.size_bytes % _BLOCK)
    yield bytes(2 * _BLOCK)


def _zip(place: SnapshotPlace, chosen: list[list[bytes]]) -> Iterator[bytes]:
    offset = members = 0
    with tempfile.TemporaryFile() as directory:  # On disk: a million members take 100 MB.
        for member in _members(place, chosen):
            started_at = offset
            for piece in _zip_member(member, directory, started_at):
                offset += len(piece)
                yield piece
            members += 1
        size = directory.tell()
        directory.seek(0)
        while piece := directory.read(PIECE_BYTES):
            yield piece
        yield end_records(members, size, offset)


def _zip_member(member: _Member, directory: IO[bytes], started_at: int) -> Iterator[bytes]:
    node = member.node
    stamp = dos_time(node.modified_at)
    name = _zip_name(node)
    attributes = (_ZIP_TYPES[node.kind] | node.mode) << 16 | (_DOS_DIRECTORY if node.is_directory else 0)
    if node.is_file:
        yield local_header(Entry(name, DEFLATED, 0, 0, 0, streamed=True), stamp)
        crc = packed = 0
        deflater = Deflater()
        for piece in _content(member):
            crc = crc32(piece, crc)
            deflated = deflater.feed(piece)
            packed += len(deflated)
            yield deflated
        rest = deflater.finish()
        yield rest
        entry = Entry(name, DEFLATED, crc, packed + len(rest), node.size_bytes, streamed=True)
        yield descriptor_64(entry)
    else:
        content = os.fsencode(node.target)
        entry = Entry(name, STORED, crc32(content), len(content), len(content), streamed=False)
        yield local_header(entry, stamp) + content
    directory.write(central_header(entry, started_at, stamp, attributes=attributes))


def _zip_name(node: Node) -> bytes:
    name = _NOT_IN_ZIP.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in os.fsencode(match[0])), node.path.lstrip("/")
    )
    return (name + "/" if node.is_directory else name).encode()


def _content(member: _Member) -> Iterator[bytes]:
    """Exactly as many bytes as were announced, or an error."""
    path, left = member.node.path, member.node.size_bytes
    with os.fdopen(open_beneath(member.parent, member.name, path), "rb", buffering=0) as file:
        while left:
            try:
                piece = file.read(min(PIECE_BYTES, left))
            except OSError as error:
                raise unreadable(path, error) from error
            if not piece:
                raise ArchiveError(f"{shown(path)} is shorter than it was a moment ago.", code=ErrorCode.TRUNCATED)
            left -= len(piece)
            yield piece
