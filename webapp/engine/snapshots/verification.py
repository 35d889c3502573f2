"""Verification of a snapshot: manifest, list and tree are asked whether they are what was written."""

from __future__ import annotations

import os
from collections.abc import Sequence

from webapp.core.errors import InvalidInput
from webapp.core.reports import Check, CheckState, VerificationReport
from webapp.core.snapshot_manifest import FILE_NAME, LIST_NAME, SnapshotManifest
from webapp.core.snapshot_plans import SnapshotPlace
from webapp.core.status import ErrorCode, SnapshotLayout, VerificationLevel
from webapp.core.text import format_count, format_size, plural
from webapp.engine.report import Reporter
from webapp.engine.snapshots.digests import digest_of
from webapp.engine.snapshots.found import exists, read_manifest
from webapp.engine.snapshots.listing import ListTotals, file_sha256
from webapp.engine.snapshots.places import require_place
from webapp.engine.snapshots.promotion import sync_root
from webapp.engine.snapshots.records import Entry
from webapp.engine.snapshots.sampling import pick_files
from webapp.engine.snapshots.tree_check import Comparison, Paths, compare_tree

_MANIFEST_HINT = "Its files may be right all the same: compare the snapshot with its host, and make a new one."
_DAMAGE_HINT = (
    "Look for errors of this disk in the system's log. Make a new snapshot from a root on a healthy disk:"
    " snapshots that share the damaged files are damaged too."
)


def verify(
    place: SnapshotPlace, manifest_sha256: str, list_sha256: str, level: VerificationLevel, reporter: Reporter
) -> VerificationReport:
    """Every check of ``level``; the digests are those that the catalogue keeps ("" where it has none).

    Keys: snapshot_manifest, snapshot_list, snapshot_tree, then snapshot_sample (intact) or snapshot_contents (complete: every
    file is read). A snapshot that is not right is an answer, not an error. Raises InvalidInput for a plain snapshot, which has
    nothing to be compared with; StoreError, also when the root is away; TaskStopped.
    """
    require_place(place)
    if place.layout is not SnapshotLayout.OURS:
        raise InvalidInput(
            f"{place.path} was made by another tool: there is no list of its files to compare them with.",
            hint="It can be browsed and restored. Snapshots that Holdfast takes can be verified.",
        )
    if level is VerificationLevel.NONE:
        return VerificationReport(level, ())
    if not exists(place):
        missing = _failed("snapshot_tree", f"There is no tree at {place.tree}.", ErrorCode.ARCHIVE_MISSING)
        return VerificationReport(level, (missing,))
    reporter.step("look", "Look at manifest and list")
    manifest, manifest_check = _check_manifest(place, manifest_sha256)
    list_check = _check_list(place, manifest, list_sha256)
    if manifest is None or list_check.state is CheckState.FAILED:
        skipped = _answer("snapshot_tree", CheckState.SKIPPED, "There is no sound list to compare the tree with.")
        return VerificationReport(level, (manifest_check, list_check, skipped))
    return VerificationReport(level, (manifest_check, list_check, *_check_files(place, manifest, level, reporter)))


def sample(tree: str, list_path: str, totals: ListTotals | None, *, digest: str, reporter: Reporter) -> Check:
    """Up to 64 files and 32 MB, new and carried over, read back from the disk itself and compared with the list.

    Syncs the file system first, so that the page cache can be dropped. Key: snapshot_sample. Raises StoreError, TaskStopped.
    """
    sync_root(tree)
    damaged = Paths()
    read_bytes = 0
    chosen = pick_files(list_path, totals.new_sample if totals is not None else ())
    for entry in chosen:
        if _reads_back(tree, entry, digest, reporter):
            read_bytes += entry.size
        else:
            damaged.add(entry.path)
    if damaged.count:
        detail = f"{_of(damaged, len(chosen))} read back otherwise than written: {_names(damaged)}."
        return _failed("snapshot_sample", detail, ErrorCode.CORRUPT, hint=_DAMAGE_HINT)
    if not chosen:
        return _answer("snapshot_sample", CheckState.PASSED, "No file is small enough for a sample.", "0")
    files = plural(len(chosen), "file", "files")
    detail = f"{format_count(len(chosen))} {files} ({format_size(read_bytes)}) read back from disk as written."
    return _answer("snapshot_sample", CheckState.PASSED, detail, format_count(len(chosen)))


def _reads_back(tree: str, entry: Entry, digest: str, reporter: Reporter) -> bool:
    try:
        return digest_of(os.fsencode(tree) + b"/" + entry.path, digest, reporter, from_disk=True) == entry.digest
    except OSError:
        return False


def _check_manifest(place: SnapshotPlace, expected: str) -> tuple[SnapshotManifest | None, Check]:
    manifest, digest, problem = read_manifest(place)
    key = "snapshot_manifest"
    if manifest is None:
        detail = f"{FILE_NAME} is of no use: {problem}."
        return None, _failed(key, detail, ErrorCode.CORRUPT, hint=_MANIFEST_HINT)
    if expected and digest != expected:
        detail = f"The SHA-256 of {FILE_NAME} is {digest}; {expected} was written."
        return manifest, _failed(key, detail, ErrorCode.CORRUPT, hint=_MANIFEST_HINT)
    known = "It is the one that was written." if expected else "It can be read; its digest is not in the catalogue."
    return manifest, _answer(key, CheckState.PASSED, known)


def _check_list(place: SnapshotPlace, manifest: SnapshotManifest | None, expected: str) -> Check:
    key = "snapshot_list"
    found = file_sha256(os.path.join(place.path, LIST_NAME))
    wanted = [expected] if expected else []
    if manifest is not None:
        wanted.append(manifest.list_sha256)
    if not found:
        return _failed(key, f"{LIST_NAME} is missing.", ErrorCode.INCOMPLETE, hint=_MANIFEST_HINT)
    if any(each != found for each in wanted):
        detail = f"The SHA-256 of {LIST_NAME} is {found}; {next(w for w in wanted if w != found)} was written."
        return _failed(key, detail, ErrorCode.CORRUPT, hint=_MANIFEST_HINT)
    if not wanted:
        return _answer(key, CheckState.SKIPPED, "Its digest is not known.")
    return _answer(key, CheckState.PASSED, "It is the one that was written.")


def _check_files(
    place: SnapshotPlace, manifest: SnapshotManifest, level: VerificationLevel, reporter: Reporter
) -> Sequence[Check]:
    list_path = os.path.join(place.path, LIST_NAME)
    whole = level is VerificationLevel.COMPLETE
    title = "Read every file" if whole else "Compare the tree with its list"
    reporter.step("read", title, f"{format_size(manifest.total_bytes)}" if whole else "")
    found = compare_tree(
        place.tree,
        list_path,
        digest=manifest.digest if whole else None,
        reporter=reporter,
        total_bytes=manifest.total_bytes,
    )
    tree = _judge_tree(found, manifest)
    if whole:
        return (tree, _judge_contents(found))
    return (tree, sample(place.tree, list_path, None, digest=manifest.digest, reporter=reporter))


def _judge_tree(found: Comparison, manifest: SnapshotManifest) -> Check:
    faults = [
        f"{format_count(paths.count)} {what}: {_names(paths)}"
        for paths, what in (
            (found.missing, plural(found.missing.count, "entry is missing", "entries are missing")),
            (found.extra, plural(found.extra.count, "entry is not in the list", "entries are not in the list")),
            (found.altered, plural(found.altered.count, "entry was altered", "entries were altered")),
        )
        if paths.count
    ]
    if faults:
        code = ErrorCode.INCOMPLETE if found.missing.count else ErrorCode.CORRUPT
        return _failed("snapshot_tree", "; ".join(faults) + ".", code, hint=_DAMAGE_HINT)
    written = manifest.file_count + manifest.directory_count + manifest.other_count
    if found.entries != written:
        detail = f"The tree has {format_count(found.entries)} entries; {format_count(written)} were written."
        return _failed("snapshot_tree", detail, ErrorCode.INCOMPLETE)
    detail = "Every file and directory is there with its size, time, mode and owner, and nothing else."
    return _answer("snapshot_tree", CheckState.PASSED, detail, format_count(found.entries))


def _judge_contents(found: Comparison) -> Check:
    if found.damaged.count:
        detail = f"{_of(found.damaged, found.files)} read otherwise than written: {_names(found.damaged)}."
        return _failed("snapshot_contents", detail, ErrorCode.CORRUPT, hint=_DAMAGE_HINT)
    detail = f"{format_count(found.files)} {plural(found.files, 'file', 'files')} read from disk from beginning to end."
    return _answer("snapshot_contents", CheckState.PASSED, detail, format_size(found.read_bytes))


_TITLES = {
    "snapshot_manifest": "Manifest unchanged",
    "snapshot_list": "List of files unchanged",
    "snapshot_tree": "Tree complete",
    "snapshot_sample": "Sample read back",
    "snapshot_contents": "Every file unchanged",
}


def _level(key: str) -> VerificationLevel:
    return VerificationLevel.COMPLETE if key == "snapshot_contents" else VerificationLevel.INTACT


def _answer(key: str, state: CheckState, detail: str, value: str = "") -> Check:
    return Check(key, _TITLES[key], state, detail, value, level=_level(key))


def _failed(key: str, detail: str, code: ErrorCode, *, hint: str = "") -> Check:
    return Check(key, _TITLES[key], CheckState.FAILED, detail, hint=hint, code=code, level=_level(key))


def _of(paths: Paths, total: int) -> str:
    return f"{format_count(paths.count)} of {format_count(total)} {plural(total, 'file', 'files')}"


def _names(paths: Paths) -> str:
    more = paths.count - len(paths.first)
    return ", ".join(paths.first) + (f" and {format_count(more)} more" if more else "")
