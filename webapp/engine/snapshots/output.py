"""What rsync writes while it pulls, understood: files that came, how far it is, and what it complains about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from webapp.engine.snapshots.command import LINE_MARK

MAX_LINE_BYTES = 64 * 1024
# So many paths are kept, because what rsync could not read is taken out of the tree again.
MAX_COMPLAINTS = 50_000
_MARK = LINE_MARK.encode()
# %i (11 characters), %C (32 hexadecimal digits), %l, %n, as the command's --out-format has them.
_FILE = re.compile(rb"HF [>ch]f\S{9,12} ([0-9a-f]{32}) ([0-9]+) (.+)", re.DOTALL)
_ESCAPED = re.compile(rb"\\#([0-7]{3})")
_PROGRESS = re.compile(rb"\s*([0-9,]+)\s+[0-9]+%.*?(?:(ir|to)-chk=([0-9]+)/([0-9]+)\))?\s*$")
_NEGOTIATED = re.compile(rb"(?:Client negotiated|Client|Server) checksum: ([a-z0-9]+)")
_PROTOCOL = re.compile(rb"Protocol versions: remote=([0-9]+)")
# "Number of files: 106,051 (reg: 100,000, dir: 6,051)"; zero of a kind is left out.
_LISTED = re.compile(rb"Number of files: ([0-9,]+)(?: \((.*)\))?")
_DIRECTORIES = re.compile(rb"dir: ([0-9,]+)")
_STATS = re.compile(rb"(Total bytes received|Number of regular files transferred): ([0-9,]+)")


class Arrived(NamedTuple):
    """A file whose bytes came from the host; ``path`` relative to the tree."""

    path: bytes
    size: int
    digest: bytes


@dataclass(slots=True)
class Progress:
    """How far rsync is: bytes of the files it has dealt with, entries looked at, and entries known (None: still growing)."""

    handled_bytes: int = 0
    looked_at: int = 0
    known: int | None = None


def unescape(name: bytes) -> bytes:
    r"""A name as it is, from the form in which rsync prints it: other bytes than plain ones are «\#» and three octal digits."""
    if b"\\#" not in name:
        return name
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), name)


@dataclass(slots=True)
class Output:
    """rsync's stdout, chunk by chunk.

    Attributes:
        progress: How far it is.
        digest: The kind of digest that both sides agreed on, "" before they did.
        protocol: The protocol that the host's rsync speaks, 0 before it said.
        received_bytes: What came over the wire, from the closing statistics.
        files: Files that were transferred.
        listed: Files, links and the like (no directories) that the host named, from the statistics; None before these.
    """

    progress: Progress = field(default_factory=Progress)
    digest: str = ""
    protocol: int = 0
    received_bytes: int = 0
    files: int = 0
    listed: int | None = None
    _rest: bytes = b""

    def feed(self, chunk: bytes) -> Iterator[Arrived]:
        """The files that this piece of the output tells of."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b""
        how_far = b""  # There is one such line for each file; only the last of them is looked at.
        for line in lines:
            if line.startswith(_MARK):
                if arrived := _arrived(line):
                    self.files += 1
                    yield arrived
            elif b"%" in line:
                how_far = line
            elif line:
                self._take(line)
        if how_far:
            self._take(how_far)

    def _take(self, line: bytes) -> None:
        if found := _PROGRESS.match(line):
            self.progress.handled_bytes = _number(found[1])
            if found[4] is not None:
                known = int(found[4])
                self.progress.looked_at = known - int(found[3])
                self.progress.known = known if found[2] == b"to" else None
        elif found := _NEGOTIATED.search(line):
            self.digest = found[1].decode()
        elif found := _PROTOCOL.search(line):
            self.protocol = int(found[1])
        elif found := _LISTED.match(line):
            directories = _DIRECTORIES.search(found[2] or b"")
            self.listed = _number(found[1]) - (_number(directories[1]) if directories else 0)
        elif (found := _STATS.match(line)) and found[1] == b"Total bytes received":
            self.received_bytes = _number(found[2])


def _arrived(line: bytes) -> Arrived | None:
    found = _FILE.fullmatch(line)
    return None if found is None else Arrived(unescape(found[3]), int(found[2]), found[1])


def _number(text: bytes) -> int:
    return int(text.replace(b",", b""))


CHANGING = "it kept changing while it was read"


class Complaint(StrEnum):
    """Of what kind a line on rsync's stderr is."""

    VANISHED = "vanished"
    HOST = "host"
    LOCAL = "local"
    OTHER = "other"


_VANISHED = re.compile(rb'(?:file|directory) has vanished: "(.*)"')
# Written by the rsync of this machine: [receiver] and [generator] are its two halves.
_LOCAL = re.compile(rb"rsync: \[(?:receiver|generator|Receiver)\] (?!.*failed verification)(.*)", re.DOTALL)
# «rsync: [sender] send_files failed to open "/x": Permission denied (13)»; «[sender]» came with rsync 3.2.3.
_OF_PATH = re.compile(rb'rsync: (?:\[\w+\] )?(\w+)\W.*?"(/.*)".*?: (.*?)(?: \([0-9]+\))?$', re.DOTALL)
# rrsync (rsync 3.4.2 and newer) lets rsync see the directory it is limited to through an open descriptor.
_PINNED = re.compile(rb"/proc/self/fd/[0-9]+(?:/\.)?(?=/.)")
# ENODATA is rsync's own word for a file that ended before its size. It spoils that file's checksum, so that the file is read a
# second time; where that fails as well, an ERROR line follows (fileio.c, sender.c and receiver.c of rsync 3.5.0).
_CUT_SHORT = re.compile(rb"rsync: (?:\[\w+\] )?read errors mapping .*: No data available")
_UNVERIFIED = re.compile(rb"ERROR: (.+) failed verification -- update (?:discarded|retained|put into partial)")
_ENDING = re.compile(
    rb"rsync error: |rsync: connection unexpectedly closed|IO error encountered|WARNING: .* \(will try"
)


@dataclass(slots=True)
class Complaints:
    """rsync's stderr, line by line; called from the thread that reads it, read when rsync has ended.

    Attributes:
        vanished: Files that were gone when rsync came to them.
        cut_short: Files that became shorter while they were read (a log was truncated), and which rsync then read again.
        unreadable: Paths of the host that it could not read, as the host names them, with its reason; each once, the first ones.
        unreadable_count: All of these lines.
        unnamed: Complaints that name no path of the host, the first few: never to be accepted.
        local: What this machine's disk refused, the first few.
    """

    vanished: int = 0
    cut_short: int = 0
    unreadable: dict[bytes, str] = field(default_factory=dict)
    unreadable_count: int = 0
    unnamed: list[str] = field(default_factory=list)
    local: list[str] = field(default_factory=list)

    def take(self, line: bytes) -> Complaint:
        """Count one line."""
        line = line.rstrip(b"\r")
        if not line.strip() or _ENDING.match(line):
            return Complaint.OTHER
        if _VANISHED.search(line):
            self.vanished += 1
            return Complaint.VANISHED
        if _CUT_SHORT.match(line):
            self.cut_short += 1
            return Complaint.HOST
        if found := _LOCAL.match(line):
            _keep(self.local, found[1])
            return Complaint.LOCAL
        if found := _OF_PATH.match(line):
            self._add(_as_asked(unescape(found[2])), found[3].decode("ascii", "replace"))
            return Complaint.HOST
        if found := _UNVERIFIED.match(line):
            self._add(b"/" + unescape(found[1].strip(b'"')).lstrip(b"/"), CHANGING)
            return Complaint.HOST
        if line.startswith(b"rsync"):
            _keep(self.unnamed, line)
        return Complaint.OTHER

    def _add(self, path: bytes, reason: str) -> None:
        self.unreadable_count += 1
        if len(self.unreadable) < MAX_COMPLAINTS:
            self.unreadable.setdefault(path, reason)


def _as_asked(path: bytes) -> bytes:
    """The path in the words in which it was asked for."""
    pinned = _PINNED.match(path)
    return path[pinned.end() :] if pinned else path


def _keep(kept: list[str], line: bytes) -> None:
    if len(kept) < 20:
        # The reason is at the end, behind a path that may be as long as paths can be.
        kept.append((line if len(line) <= 1000 else line[:700] + b"..." + line[-297:]).decode("utf-8", "replace"))
