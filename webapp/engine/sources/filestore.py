"""The filestore: content-addressed files named by SHA-1, read by name only, never by walking a directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from webapp.core.errors import SourceError
from webapp.core.plans import FilestorePlan
from webapp.core.reports import SourceFacts
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.core.text import format_count, plural
from webapp.engine.archive.zip_writer import MemberResult, MemberState, ZipWriter
from webapp.engine.report import Reporter

MEMBER_PREFIX = "filestore/"
KEPT_NAMES = 1000
SAMPLE_BYTES = 16 * 1024 * 1024
# Two hex digits since Odoo 8, three before; files written then keep their names.
_STORED_NAME = re.compile(r"[0-9a-f]{2,3}/[0-9a-f]{40}")
_FOLDER = re.compile(r"[0-9a-f]{2,3}")


@dataclass(slots=True)
class Tally:
    """What became of the files that the snapshot refers to."""

    asked: int = 0
    packed: int = 0
    packed_bytes: int = 0
    missing: int = 0
    unreadable: int = 0
    foreign: int = 0
    altered: int = 0
    altered_names: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    example: str = ""

    def take(self, result: MemberResult) -> None:
        """Count one finished member; members that are not of the filestore are passed over."""
        if not result.name.startswith(MEMBER_PREFIX):
            return
        if result.state in (MemberState.WRITTEN, MemberState.MISMATCH):
            self.packed += 1
            self.packed_bytes += result.size
        name = result.name.removeprefix(MEMBER_PREFIX)
        if result.state is MemberState.MISSING:
            self.lose(name)
        elif result.state is MemberState.UNREADABLE:
            self.lose(name, unreadable=result.detail or "not readable")
        elif result.state is MemberState.MISMATCH:
            self.altered += 1
            if len(self.altered_names) < KEPT_NAMES:
                self.altered_names.append(name)
            self.example = self.example or f"{name}: {result.detail}"

    def lose(self, name: str, *, unreadable: str = "", foreign: bool = False) -> None:
        """A file that the archive will not hold."""
        if foreign:
            self.foreign += 1
        elif unreadable:
            self.unreadable += 1
            self.example = self.example or f"{name}: {unreadable}"
        else:
            self.missing += 1
        if len(self.names) < KEPT_NAMES:
            self.names.append(name)

    @property
    def lost(self) -> int:
        """Files referred to and not packed."""
        return self.missing + self.unreadable + self.foreign

    def usable(self, names: Iterator[str]) -> Iterator[str]:
        """The names that are those of Odoo's filestore; all others are counted and never opened."""
        for name in names:
            self.asked += 1
            if _STORED_NAME.fullmatch(name):
                yield name
            else:
                self.lose(name, foreign=True)

    def sentences(self) -> Iterator[str]:
        """What the operator should know about it."""
        of = f"of {format_count(self.asked)} attachment files"
        if self.missing:
            yield f"{format_count(self.missing)} {of} {plural(self.missing, 'is', 'are')} missing from the filestore."
        if self.unreadable:
            yield f"{format_count(self.unreadable)} {of} could not be read, e.g. {self.example}."
        if self.foreign:
            yield f"{format_count(self.foreign)} {of} are kept elsewhere, not in the filestore, e.g. {self._foreign_example()!r}."
        if self.altered:
            yield f"{format_count(self.altered)} {of} do not have the content their name promises, e.g. {self.example}."

    def facts(self, facts: SourceFacts) -> dict[str, object]:
        """The fields of ``facts`` that this tally fills in."""
        return {
            "missing_attachments": tuple(self.names),
            "missing_attachment_count": self.lost,
            "mismatched_attachments": tuple(self.altered_names),
            "mismatched_attachment_count": self.altered,
            "filestore_bytes": self.packed_bytes,
            "warnings": (*facts.warnings, *((ErrorCode.ATTACHMENTS_MISSING, line) for line in self.sentences())),
        }

    def _foreign_example(self) -> str:
        return next((name[:80] for name in self.names if not _STORED_NAME.fullmatch(name)), "")


class Filestore(Protocol):
    """One place where the files of one database lie."""

    def locate(self, reporter: Reporter) -> str:
        """The directory in use. Raises SourceError(filestore_unreadable) when there is none that can be read."""

    def copy(self, names: Iterator[str], writer: ZipWriter, tally: Tally, reporter: Reporter) -> None:
        """Pack every named file, in order; what is missing is told to the tally, not raised."""

    def read(self, name: str, reporter: Reporter) -> bytes | None:
        """The content of one small file (at most 16 MiB of it), or None when it cannot be read."""

    def free_bytes(self, reporter: Reporter) -> int | None:
        """Free space where the files lie, or None."""


@dataclass(frozen=True, slots=True)
class LocalFilestore:
    """A filestore that this machine can read."""

    plan: FilestorePlan
    database: str

    def locate(self, reporter: Reporter) -> str:
        """See Filestore."""
        for candidate in candidates(self.plan, self.database):
            if os.path.isdir(candidate.path) and (not candidate.shared or _holds_folders(candidate.path)):
                if not os.access(candidate.path, os.R_OK | os.X_OK):
                    raise unreadable_directory(candidate.path, "it is not readable for this user")
                return candidate.path
        raise unreadable_directory(candidates(self.plan, self.database)[0].path, "there is no such directory")

    def copy(self, names: Iterator[str], writer: ZipWriter, tally: Tally, reporter: Reporter) -> None:
        """See Filestore. The writer opens files without following links."""
        directory = self.locate(reporter)
        for name in names:
            writer.add_path(MEMBER_PREFIX + name, f"{directory}/{name}", sha1=sha1_of(name))

    def read(self, name: str, reporter: Reporter) -> bytes | None:
        """See Filestore."""
        try:
            descriptor = os.open(f"{self.locate(reporter)}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with open(descriptor, "rb") as file:
            return file.read(SAMPLE_BYTES)

    def free_bytes(self, reporter: Reporter) -> int | None:
        """See Filestore."""
        facts = os.statvfs(self.locate(reporter))
        return facts.f_bavail * facts.f_frsize


@dataclass(frozen=True, slots=True)
class Candidate:
    """A directory to try. ``shared``: it may as well be the parent of filestores, so its content must show what it is."""

    path: str
    shared: bool


def candidates(plan: FilestorePlan, database: str) -> list[Candidate]:
    """Where the files of the database may lie, in the order to try. Raises SourceError for what cannot be a path."""
    if not PurePosixPath(plan.path).is_absolute() or re.search(r"[\x00-\x1f]", plan.path):
        raise unreadable_directory(plan.path, "an absolute path is needed")
    if "/" in database or "\0" in database or database in ("", ".", ".."):
        raise unreadable_directory(plan.path, f"database name {database[:63]!r} cannot be the name of a directory")
    if "{database}" in plan.path:
        return [Candidate(plan.path.replace("{database}", database), shared=False)]
    base = plan.path.rstrip("/")
    return [Candidate(f"{base}/{database}", shared=False), Candidate(base or "/", shared=True)]


def unreadable_directory(path: str, why: str) -> SourceError:
    """The error for a filestore that is not there."""
    return SourceError(
        f"The filestore {path[:200]!r} cannot be used: {why}.",
        hint="It is <data_dir>/filestore/<database> of Odoo; check path, mount and permissions.",
        code=ErrorCode.FILESTORE_UNREADABLE,
        permanent=True,
    )


def sha1_of(name: str) -> str:
    """The digest that a stored name promises."""
    return name.rpartition("/")[2]


def needs_filestore(plan: FilestorePlan) -> bool:
    """Whether the plan says where files lie."""
    return plan.kind is not FilestoreKind.NONE


def _holds_folders(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(_FOLDER.fullmatch(entry.name) for entry in entries)
    except PermissionError:
        return True  # Said better by the caller's own look at the permissions.
