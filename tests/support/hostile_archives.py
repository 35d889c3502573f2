"""The corpus of hostile archives: what attackers and broken tools put into a zip, each with what must become of it.

Every case is bytes made by code. ``REFUSED`` ones raise ArchiveError; ``HARMLESS`` ones may be unpacked, as long as nothing
lands outside; ``GROUND`` ones are honest archives that meet a prepared target.
"""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.archives import odoo_dump, odoo_manifest, python_zip, store_name
from tests.support.crafted_zip import Crafted, Piece

GOOD = b"good"
EVIL = b"evil"
GOOD_NAME = f"filestore/{store_name(GOOD)}".encode()
_LINK = 0o120777 << 16
_FOLDER = 0o040755 << 16


def _with(*pieces: Piece) -> Crafted:
    """An archive that looks like a backup, with something more in it."""
    honest = [Piece(b"dump.sql", odoo_dump([GOOD])), Piece(b"manifest.json", odoo_manifest()), Piece(GOOD_NAME, GOOD)]
    return Crafted([*honest, *pieces])


def _file(name: bytes, data: bytes = EVIL, **changes: object) -> Crafted:
    return _with(Piece(name, data, **changes))  # type: ignore[arg-type]


def _path_field(name: bytes) -> bytes:
    return struct.pack("<2HBI", 0x7075, 5 + len(name), 1, zlib.crc32(GOOD_NAME)) + name


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data, 9)[2:-4]


def _two_ends() -> bytes:
    """An archive whose comment is the end of another archive: tools that search from behind see another directory."""
    inner = _file(b"filestore/ab/inner").build()
    comment = inner[inner.rindex(b"PK\x05\x06") :]
    return _with().build()[:-22] + _end_with(_with().build()[-22:], comment)


def _end_with(end: bytes, comment: bytes) -> bytes:
    return end[:-2] + struct.pack("<H", len(comment)) + comment


def _nested(levels: int) -> bytes:
    data = bytes(100_000)
    for _ in range(levels):
        data = python_zip({f"{n}.zip": data for n in range(4)})
    return data


def _kernel(count: int) -> Crafted:
    """Many records that point at one body of zeros: the bomb without nesting."""
    body = Piece(b"filestore/00/kernel", bytes(1_000_000), method=8)
    others = [
        Piece(f"filestore/00/{n}".encode(), bytes(1_000_000), method=8, offset=0, packed_data=b"") for n in range(count)
    ]
    return Crafted([body, *others])


REFUSED: dict[str, Crafted | bytes] = {
    # Ways out of the directory.
    "zip slip": _file(b"../evil"),
    "zip slip below filestore": _file(b"filestore/../../evil"),
    "zip slip from the inside": _file(b"filestore/ab/../../../evil"),
    "zip slip at the end": _file(b"filestore/.."),
    "zip slip by a folder": _with(Piece(b"filestore/../../evil/", b"", attributes=_FOLDER)),
    "absolute path": _file(b"/tmp/holdfast-evil"),
    "absolute path below filestore": _file(b"filestore//tmp/holdfast-evil"),
    "network path": _file(b"//host/share/evil"),
    "backslashes": _file(b"..\\..\\evil"),
    "backslashes below filestore": _file(b"filestore\\..\\..\\evil"),
    "mixed slashes": _file(b"filestore/..\\../evil"),
    "drive letter": _file(b"C:evil"),
    "drive and path": _file(b"c:/windows/evil"),
    "dot": _file(b"filestore/./evil"),
    "empty component": _file(b"filestore//evil"),
    "only a slash": _with(Piece(b"/", b"", attributes=_FOLDER)),
    # Names.
    "empty name": _file(b""),
    "NUL at the end": _file(b"filestore/ab/evil\0.txt"),
    "NUL in front of dots": _file(b"filestore/\0/../../evil"),
    "newline": _file(b"filestore/ab/e\nvil"),
    "terminal escape": _file(b"filestore/\x1b[2J\x1b]0;evil\x07"),
    "delete character": _file(b"filestore/ab/evil\x7f"),
    "name of 64 KiB": _file(b"filestore/" + b"n" * 65_500),
    "name of 64 KiB in folders": _file(b"filestore/" + b"n/" * 32_700 + b"x"),
    "name over the limit": _file(b"filestore/" + b"n" * 1_100),
    "part of 256 bytes": _file(b"filestore/ab/" + b"n" * 256),
    "folders too deep": _file(b"filestore/" + b"d/" * 100 + b"evil"),
    "name that is not UTF-8": _file(b"filestore/ab/\xff\xfe\xc0\xaf"),
    "overlong slash": _file(b"filestore/..\xc0\xaf..\xc0\xafevil"),
    "unicode path field": _with(Piece(b"filestore/ab/fine", EVIL, extra=_path_field(b"../../evil"))),
    "unicode path field on the dump": Crafted([Piece(b"dump.sql", EVIL, extra=_path_field(b"/etc/passwd"))]),
    # What a member is.
    "symbolic link": _with(Piece(b"filestore/ab/link", b"/etc/passwd", attributes=_LINK)),
    "symbolic link, then through it": _with(
        Piece(b"filestore/cd", b"/tmp", attributes=_LINK), Piece(b"filestore/cd/holdfast-evil", EVIL)
    ),
    "symbolic link as dump": Crafted([Piece(b"dump.sql", b"/etc/passwd", attributes=_LINK)]),
    "relative symbolic link": _with(Piece(b"filestore/up", b"..", attributes=_LINK)),
    "character device": _with(Piece(b"filestore/ab/null", b"", attributes=0o020666 << 16)),
    "block device": _with(Piece(b"filestore/ab/disk", b"", attributes=0o060666 << 16)),
    "pipe": _with(Piece(b"filestore/ab/pipe", b"", attributes=0o010666 << 16)),
    "socket": _with(Piece(b"filestore/ab/socket", b"", attributes=0o140666 << 16)),
    "folder with content": _with(Piece(b"filestore/ab/dir/", EVIL, attributes=_FOLDER)),
    "file with a folder's mode": _with(Piece(b"filestore/ab/dir", b"", attributes=_FOLDER)),
    "file, then a folder of its name": _with(Piece(b"filestore/xy", EVIL), Piece(b"filestore/xy/z", EVIL)),
    "folder, then a file of its name": _with(Piece(b"filestore/xy/z", EVIL), Piece(b"filestore/xy", EVIL)),
    "encrypted": _file(b"filestore/ab/evil", flags=0x0801),
    "strongly encrypted": _file(b"filestore/ab/evil", flags=0x0841),
    "masked headers": _file(b"filestore/ab/evil", flags=0x2800),
    "unknown method": _file(b"filestore/ab/evil", method=99, packed_data=b"x" * 4),
    "LZMA": _file(b"filestore/ab/evil", method=14, packed_data=b"x" * 4),
    # Twice and otherwise.
    "dump twice": Crafted([Piece(b"dump.sql", GOOD), Piece(b"dump.sql", EVIL)]),
    "attachment twice": _with(Piece(GOOD_NAME, EVIL)),
    "header names another file": _with(Piece(b"filestore/ab/fine", EVIL, local_name=b"filestore/ab/../../../evil")),
    "header has another size": _with(Piece(b"filestore/ab/fine", EVIL, local_size=1)),
    "hidden member in front": Crafted([Piece(b"filestore/ab/hidden", EVIL, listed=False), Piece(b"dump.sql", GOOD)]),
    "hidden member behind": Crafted(
        [Piece(b"dump.sql"), Piece(b"filestore/a/b"), Piece(b"hidden", EVIL, listed=False)]
    ),
    "program in front": Crafted(before=b"#!/bin/sh\nrm -rf /\n"),
    "two end records": _two_ends(),
    "end record in the comment": Crafted(comment=b"PK\x05\x06" + bytes(18)),
    "data after the end": _with().build() + b"more",
    "another archive after the end": _with().build() + _file(b"filestore/ab/second").build(),
    "directory elsewhere": Crafted(end={5: 3}),
    "more members than counted": Crafted([Piece(b"dump.sql"), Piece(b"b")], end={2: 1, 3: 1}),
    "members claimed by the million": Crafted(end={2: 65_535, 3: 65_535}),
    "a second disk": Crafted(end={0: 1}),
    "broken extra field": _with(Piece(b"filestore/ab/x", extra=b"\x01\x00\xff\xffx")),
    # Bombs.
    "bomb by ratio": _with(Piece(b"filestore/ab/bomb", EVIL, method=8, size=3 * 1024**3)),
    "bomb in the dump": Crafted([Piece(b"dump.sql", EVIL, method=8, size=2 * 1024**3)]),
    "bomb of many": Crafted([Piece(f"filestore/ab/{n}".encode(), EVIL, method=8, size=200 << 20) for n in range(12)]),
    "bomb that lies about its size": _with(
        Piece(b"filestore/ab/b", bytes(20_000_000), method=8, size=10, local_size=10)
    ),
    "bomb by overlapping": _kernel(30),
    "one body under two names": Crafted(
        [Piece(b"filestore/a/a", bytes(99), offset=0), Piece(b"filestore/a/b", offset=0)]
    ),
    "bomb too large for any disk": Crafted(
        [Piece(b"filestore/ab/b", EVIL, extra=struct.pack("<2HQ", 1, 8, 2**60), size=0xFFFFFFFF, method=8)]
    ),
    "data without end": _with(Piece(b"filestore/ab/b", EVIL, method=8, packed_data=_deflated(EVIL)[:-1], size=4)),
    "more behind the data": _with(Piece(b"filestore/ab/b", EVIL, method=8, packed_data=_deflated(EVIL) + EVIL)),
    "wrong checksum": _with(Piece(b"filestore/ab/b", EVIL, crc=1)),
}

HARMLESS: dict[str, Crafted | bytes] = {
    "names that nobody asked for": _with(
        Piece(b"etc/passwd", EVIL), Piece(b".bashrc", EVIL), Piece(b"wp-config.php", EVIL)
    ),
    "folders of their own": _with(Piece(b"filestore/", b"", attributes=_FOLDER), Piece(b"x/", b"", attributes=_FOLDER)),
    "marks of the garbage collection": _with(Piece(b"filestore/checklist/ab/ab", b"")),
    "names that differ by case": _with(Piece(b"filestore/ab/Evil", EVIL), Piece(b"filestore/ab/eVIL", EVIL)),
    "a dump that differs by case": _with(Piece(b"DUMP.SQL", EVIL)),
    "names that differ by normal form": _with(
        Piece("filestore/ab/é".encode(), EVIL), Piece("filestore/ab/e\u0301".encode(), EVIL)
    ),
    "reversed writing": _file("filestore/ab/\u202egpj.exe".encode()),
    "names of Windows devices": _with(Piece(b"filestore/CON", EVIL), Piece(b"filestore/ab/nul.txt", EVIL)),
    "leading dashes and dots": _with(
        Piece(b"filestore/-rf", EVIL), Piece(b"filestore/...", EVIL), Piece(b"filestore/~", EVIL)
    ),
    "shell's words": _file(b"filestore/ab/$(touch evil);`id`|'\""),
    "a part of 255 bytes": _file(b"filestore/ab/" + b"n" * 255),
    "modes with setuid": _with(Piece(b"filestore/ab/setuid", EVIL, attributes=0o106777 << 16)),
    "archives in archives": _with(Piece(b"filestore/ab/nested.zip", _nested(3))),
    "a content that its name does not promise": _with(Piece(b"filestore/ab/ab" + b"0" * 38, EVIL)),
    "an expanding file within measure": _with(Piece(b"filestore/ab/zeros", bytes(8_000_000), method=8)),
    "a comment": Crafted(_with().pieces, comment=b"../../evil"),
    "cp437 name": _file(b"filestore/ab/\x80\x81", flags=0),
}


@dataclass(frozen=True)
class Ground:
    """What lies at the target before, made by ``prepare(target, outside)``; the honest archive then must not pass."""

    prepare: Callable[[Path, Path], None]


def _replace_target(target: Path, outside: Path) -> None:
    target.rmdir()
    target.symlink_to(outside)


def _folder_link(target: Path, outside: Path) -> None:
    (target / store_name(GOOD)[:2]).symlink_to(outside)


def _file_link(target: Path, outside: Path) -> None:
    path = target / store_name(GOOD)
    path.parent.mkdir()
    path.symlink_to(outside / "new")


def _dangling_folder(target: Path, outside: Path) -> None:
    (target / store_name(GOOD)[:2]).symlink_to(outside / "not-there")


def _file_there(target: Path, outside: Path) -> None:
    path = target / store_name(GOOD)
    path.parent.mkdir()
    path.write_bytes(b"mine")


def _hard_link(target: Path, outside: Path) -> None:
    path = target / store_name(GOOD)
    path.parent.mkdir()
    os.link(outside / "canary", path)


def _pipe_there(target: Path, outside: Path) -> None:
    path = target / store_name(GOOD)
    path.parent.mkdir()
    os.mkfifo(path)


def _socket_there(target: Path, outside: Path) -> None:
    path = target / store_name(GOOD)
    path.parent.mkdir()
    here = os.getcwd()
    os.chdir(path.parent)  # A socket's whole path may have 107 bytes only.
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _file_as_folder(target: Path, outside: Path) -> None:
    (target / store_name(GOOD)[:2]).write_bytes(b"mine")


def _folder_as_file(target: Path, outside: Path) -> None:
    (target / store_name(GOOD)).mkdir(parents=True)


GROUND: dict[str, Ground] = {
    "the target is a link": Ground(_replace_target),
    "a folder is a link": Ground(_folder_link),
    "a folder is a dangling link": Ground(_dangling_folder),
    "a file is a link": Ground(_file_link),
    "a file is there": Ground(_file_there),
    "a file is a hard link": Ground(_hard_link),
    "a file is a pipe": Ground(_pipe_there),
    "a file is a socket": Ground(_socket_there),
    "a folder is a file": Ground(_file_as_folder),
    "a file is a folder": Ground(_folder_as_file),
}


def honest() -> bytes:
    """What a prepared ground meets."""
    return _with().build()


def bytes_of(case: Crafted | bytes) -> bytes:
    """The case's archive."""
    return case if isinstance(case, bytes) else case.build()
