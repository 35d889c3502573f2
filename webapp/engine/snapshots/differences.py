"""What one snapshot has, has not, or has otherwise than another one of the same host: one pass over both lists."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from webapp.core.errors import ArchiveError
from webapp.core.snapshot_manifest import LIST_NAME
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.snapshots.found import read_manifest
from webapp.engine.snapshots.listing import Entry, read_list
from webapp.engine.snapshots.nodes import Kind, Real, parse_noted
from webapp.engine.snapshots.tree import look_at, opened_tree, walk

_CHECKED_EVERY = 4096


class ChangeKind(StrEnum):
    """What became of a name. Attributes: the same content with another mode, owner or time."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True)
class Change:
    """One name that differs. ``old_bytes`` and ``new_bytes`` are of files' contents; ``detail`` says what else is new."""

    change: ChangeKind
    path: str
    kind: Kind
    old_bytes: int = 0
    new_bytes: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Differences:
    """The first changes of each kind in the order of the paths' bytes, and the counts of all.

    ``added_bytes``: contents of added files; ``removed_bytes``: of removed ones; ``changed_bytes``: new contents of changed ones.
    ``by_content`` is False where the snapshots have no digests to compare, so that size and time had to do.
    """

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]
    attributes: tuple[Change, ...]
    counts: Mapping[ChangeKind, int]
    unchanged: int
    added_bytes: int
    removed_bytes: int
    changed_bytes: int
    by_content: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not any(self.counts.values())


def compare(
    old: SnapshotPlace, new: SnapshotPlace, *, first: int = 200, reporter: Reporter | None = None
) -> Differences:
    """What ``new`` has otherwise than ``old``. Directories count as changed when their mode or owner did.

    Raises NotFound when one is not on disk, ArchiveError for a list that is damaged.
    """
    reporter = reporter or SilentReporter()
    digest = _digest_of(old)
    tally = _Tally(first, by_content=bool(digest) and digest == _digest_of(new))
    for number, (before, after) in enumerate(_paired(_entries(old), _entries(new))):
        if number % _CHECKED_EVERY == 0:
            reporter.progress(number, None, "files")
            reporter.check()
        tally.take(before, after)
    return tally.result()


@dataclass(slots=True)
class _Tally:
    first: int
    by_content: bool
    changes: dict[ChangeKind, list[Change]] = field(default_factory=lambda: {kind: [] for kind in ChangeKind})
    counts: dict[ChangeKind, int] = field(default_factory=lambda: dict.fromkeys(ChangeKind, 0))
    sums: dict[ChangeKind, int] = field(default_factory=lambda: dict.fromkeys(ChangeKind, 0))
    unchanged: int = 0

    def take(self, before: Entry | None, after: Entry | None) -> None:
        """Count one name, which at least one of the two has."""
        if before is not None and after is not None:
            self._take_both(before, after)
        elif after is not None:
            self._add(ChangeKind.ADDED, after, new_bytes=_content_bytes(after))
        elif before is not None:
            self._add(ChangeKind.REMOVED, before, old_bytes=_content_bytes(before))

    def result(self) -> Differences:
        return Differences(
            added=tuple(self.changes[ChangeKind.ADDED]),
            removed=tuple(self.changes[ChangeKind.REMOVED]),
            changed=tuple(self.changes[ChangeKind.CHANGED]),
            attributes=tuple(self.changes[ChangeKind.ATTRIBUTES]),
            counts=self.counts,
            unchanged=self.unchanged,
            added_bytes=self.sums[ChangeKind.ADDED],
            removed_bytes=self.sums[ChangeKind.REMOVED],
            changed_bytes=self.sums[ChangeKind.CHANGED],
            by_content=self.by_content,
        )

    def _take_both(self, before: Entry, after: Entry) -> None:
        if before == after:
            self.unchanged += 1
            return
        was, now = _real(before), _real(after)
        kind, detail = _judge(was, now, same_content=self._same_content(before, after))
        if now.kind is not Kind.DIRECTORY and now.kind is was.kind and before.mtime != after.mtime:
            kind, detail = kind or ChangeKind.ATTRIBUTES, ", ".join(filter(None, (detail, "time")))
        if kind is None:
            self.unchanged += 1
            return
        self._add(kind, after, old_bytes=_content_bytes(before), new_bytes=_content_bytes(after), detail=detail)

    def _same_content(self, before: Entry, after: Entry) -> bool:
        if before.size != after.size:
            return False
        if self.by_content and b"-" not in (before.digest, after.digest):
            return before.digest == after.digest
        return before.mtime == after.mtime

    def _add(
        self, change: ChangeKind, entry: Entry, *, old_bytes: int = 0, new_bytes: int = 0, detail: str = ""
    ) -> None:
        self.counts[change] += 1
        self.sums[change] += old_bytes if change is ChangeKind.REMOVED else new_bytes
        if len(self.changes[change]) < self.first:
            path = "/" + os.fsdecode(entry.path)
            self.changes[change].append(Change(change, path, _real(entry).kind, old_bytes, new_bytes, detail))


def _judge(was: Real, now: Real, *, same_content: bool) -> tuple[ChangeKind | None, str]:
    if was.kind is not now.kind:
        old, new = was.kind.value.replace("_", " "), now.kind.value.replace("_", " ")
        return ChangeKind.CHANGED, f"{old} → {new}"
    told = []
    if was.permissions != now.permissions:
        told.append(f"mode {was.permissions:04o} → {now.permissions:04o}")
    if (was.uid, was.gid) != (now.uid, now.gid):
        told.append(f"owner {was.uid}:{was.gid} → {now.uid}:{now.gid}")
    if now.kind in (Kind.FILE, Kind.SYMLINK) and not same_content:
        return ChangeKind.CHANGED, ", ".join(told)
    if was.device != now.device:
        return ChangeKind.CHANGED, "device {}:{} → {}:{}".format(*was.device, *now.device)
    return (ChangeKind.ATTRIBUTES if told else None), ", ".join(told)


def _real(entry: Entry) -> Real:
    on_disk = (stat.S_IFDIR if entry.type == b"d" else stat.S_IFREG) | int(entry.mode, 8)
    noted = parse_noted(entry.noted.replace(b";", b" "), on_disk) if entry.noted != b"-" else None
    return noted or Real(on_disk, int(entry.uid), int(entry.gid), (0, 0))


def _content_bytes(entry: Entry) -> int:
    return entry.size if _real(entry).kind is Kind.FILE else 0


def _paired(old: Iterator[Entry], new: Iterator[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before.path < after.path):
            yield before, None
            before = next(old, None)
        elif before is None or after.path < before.path:
            yield None, after
            after = next(new, None)
        else:
            yield before, after
            before, after = next(old, None), next(new, None)


def _entries(place: SnapshotPlace) -> Iterator[Entry]:
    """What is in the snapshot, in the order of the paths' bytes, which is checked: a pairing of anything else is nonsense."""
    with opened_tree(place):
        if place.layout is SnapshotLayout.OURS and not os.path.exists(f"{place.path}/{LIST_NAME}"):
            raise ArchiveError(f"The snapshot {place.name} has lost its list.", code=ErrorCode.CORRUPT)
    last = b""
    found = read_list(f"{place.path}/{LIST_NAME}") if place.layout is SnapshotLayout.OURS else _looked_at(place)
    for entry in found:
        if entry.path in (b"", b"."):
            continue
        if entry.path <= last:
            raise ArchiveError(f"The list of the snapshot {place.name} is not in order.", code=ErrorCode.CORRUPT)
        last = entry.path
        yield entry


def _looked_at(place: SnapshotPlace) -> Iterator[Entry]:
    """The entries of a tree that has no list: each is looked at."""
    with opened_tree(place) as root:
        for walked in walk(root, [], by_path=True):
            node = look_at(walked.parent, walked.name, walked.path, layout=place.layout)
            seconds, rest = divmod(node.mtime_ns, 10**9)
            yield Entry(
                type=b"d" if node.is_directory else b"f",
                mode=b"%o" % node.mode,
                uid=b"%d" % node.uid,
                gid=b"%d" % node.gid,
                size=len(os.fsencode(node.target)) if node.kind is Kind.SYMLINK else node.size_bytes,
                mtime=b"%d.%09d0" % (seconds, rest),
                inode=b"0",
                noted=b"%o;%d,%d;%d:%d" % (node.type_bits | node.mode, *node.device, node.uid, node.gid),
                digest=b"-",
                path=walked.path,
            )


def _digest_of(place: SnapshotPlace) -> str:
    """The kind of digests in its list, "" when there are none or nothing says."""
    if place.layout is not SnapshotLayout.OURS:
        return ""
    manifest, _, _ = read_manifest(place)
    return manifest.digest if manifest is not None else ""
