"""What rsync says it changes, or would: its itemised lines, understood and counted; and why it broke off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from webapp.core.errors import HoldfastError, SourceError
from webapp.core.plans import SshPlan
from webapp.core.restore_effects import Effect
from webapp.core.status import ErrorCode
from webapp.core.text import strip_controls, tail_lines
from webapp.engine.endings import Ending, ProcessFailed
from webapp.engine.snapshots.output import unescape
from webapp.engine.ssh import explain

# Before each of our lines, so that no name that rsync prints elsewhere is taken for one.
MARK = "HF "
OUT_FORMAT = f"--out-format={MARK}%i %n%L"
MOST_LINES = 1000
_LONGEST_LINE_BYTES = 64 * 1024
_LINE = re.compile(rb"HF (\*deleting +|[<>ch.][fdLDS][^ ]{9}) (.+)", re.DOTALL)
_SKIPPED = re.compile(rb'skipping non-regular file "')
_BLOCKED = re.compile(rb"cannot delete non-empty directory: (.+)")
_PROGRESS = re.compile(rb"\s*([0-9,]+)\s+[0-9]+%")
# What a forced command of authorized_keys says: Debian's rrsync, and its older versions.
_READ_ONLY = ("sending to read-only server is not allowed", "sending to read-only server not allowed")


class Item(NamedTuple):
    """One line. ``flags`` are rsync's eleven letters, see --itemize-changes in rsync(1)."""

    effect: Effect
    flags: str
    name: bytes

    @property
    def is_file(self) -> bool:
        """Whether it is about a regular file."""
        return self.flags[1:2] == "f"


@dataclass(slots=True)
class Itemised:
    """rsync's stdout, chunk by chunk.

    Attributes:
        lines: The first thousand items as a person reads them, in rsync's own words.
        counts: All items by what becomes of them.
        handled_bytes: How far rsync is, as its own progress says.
        blocked: A directory of the target with content that lies where something else is to be, "" for none.
    """

    lines: list[str] = field(default_factory=list)
    counts: dict[Effect, int] = field(default_factory=lambda: dict.fromkeys(Effect, 0))
    handled_bytes: int = 0
    blocked: str = ""
    _rest: bytes = b""

    def feed(self, chunk: bytes) -> Iterator[Item]:
        """The items that this piece of the output tells of, which are counted."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            self._rest = b""
        for line in lines:
            if found := _LINE.fullmatch(line):
                yield self._count(found[1].decode("ascii", "replace").strip(), found[2])
            elif found := _PROGRESS.match(line):
                self.handled_bytes = int(found[1].replace(b",", b""))
            elif _SKIPPED.match(line):
                self.counts[Effect.SKIPPED] += 1
            elif found := _BLOCKED.match(line):
                self.blocked = self.blocked or _readable(found[1])

    def _count(self, flags: str, name: bytes) -> Item:
        effect = _effect(flags)
        self.counts[effect] += 1
        if len(self.lines) < MOST_LINES:
            self.lines.append(f"{flags} {_readable(name)}")
        return Item(effect, flags, unescape(name))


def _effect(flags: str) -> Effect:
    if flags.startswith("*"):
        return Effect.DELETED
    if flags[2:].startswith("+++"):
        return Effect.CREATED
    return Effect.ATTRIBUTES if flags.startswith(".") else Effect.CHANGED


def _readable(name: bytes) -> str:
    """The name with its letters where all of them are letters, else as rsync escaped it."""
    try:
        text = unescape(name).decode()
    except UnicodeDecodeError:
        text = ""
    return text if text and text.isprintable() else strip_controls(name.decode("ascii", "replace"))


def explained(ssh: SshPlan | None, failed: ProcessFailed, *, doing: str, code: ErrorCode) -> HoldfastError:
    """Why rsync broke off, as an error of ``code`` unless SSH, the host's rrsync or the clock says something better.

    ``doing`` is the sentence's subject: "Restoring to web-01".
    """
    said = strip_controls(failed.stderr_tail)
    if ssh is not None:
        if any(words in said for words in _READ_ONLY):
            return _read_only(ssh)
        if found := explain(ssh, failed.stderr_tail):
            return found
    if failed.ending in (Ending.NOT_STARTED, Ending.STALLED, Ending.TIMEOUT):
        return failed
    hint = tail_lines("\n".join(line for line in said.splitlines() if line.strip()), 6, 1500)
    return SourceError(
        f"{doing} broke off: {_meaning(failed)}.", hint=hint, code=code, permanent=failed.returncode == 23
    )


# EXIT VALUES of rsync(1).
_MEANINGS = {
    1: "rsync of one of the two sides does not know the options that are needed",
    3: "rsync could not enter the directory",
    10: "the connection failed",
    11: "a file could not be written",
    12: "the connection ended in the middle, or the host does not start rsync",
    20: "rsync was asked to end",
    23: "some files could not be read or written",
    24: "files went away meanwhile",
    30: "nothing came for too long",
    35: "nothing came for too long",
    127: "the host has no rsync",
}


def _meaning(failed: ProcessFailed) -> str:
    if failed.returncode is None or failed.returncode not in _MEANINGS:
        return failed.message.rstrip(".")
    return f"{_MEANINGS[failed.returncode]} (rsync's exit code {failed.returncode})"


def _read_only(ssh: SshPlan) -> SourceError:
    line = f'restrict,command="rrsync /" {_public_key(ssh)}'
    return SourceError(
        f"{ssh.user}@{ssh.host} lets our key read alone: it is limited by «rrsync -ro».",
        hint=f"To restore there, let it write for that time: in ~/.ssh/authorized_keys replace the line of this key by: {line}",
        code=ErrorCode.PERMISSION_DENIED,
        permanent=True,
    )


def _public_key(ssh: SshPlan) -> str:
    try:
        key = serialization.load_ssh_private_key(ssh.private_key.reveal().strip().encode() + b"\n", None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "<Holdfast's public key>"
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} holdfast"
