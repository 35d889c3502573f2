"""The look at a directory of this machine before something is restored into it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from webapp.core.errors import HoldfastError, InvalidInput, StoreError
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, TargetFacts, TargetReport
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.core.text import format_size
from webapp.engine.archive.rights import rights_of
from webapp.engine.archive.zip_reader import open_zip
from webapp.engine.disk import free_bytes
from webapp.engine.shelf import SENTINEL
from webapp.engine.snapshots.places import MARKER

RESERVE_BYTES = 64 * 1024 * 1024
# A custom-format dump is compressed; its plain text takes about this many times as much.
_UNPACKED_TIMES = 6


def look_at_ground(plan: RestorePlan, *, needed_bytes: int, may_hold_files: bool, piece: Check) -> TargetReport:
    """Directory, room, rights, and what was found about the piece; nothing is changed."""
    directory = plan.options.directory
    checks = [_directory_check(directory, may_hold_files=may_hold_files)]
    free = None
    if checks[0].state is CheckState.PASSED:
        free = free_bytes(_nearest(directory))
        checks.append(_room_check(needed_bytes, free))
    checks += [_rights_check(plan), piece]
    facts = TargetFacts(free_bytes=free, needed_bytes=needed_bytes)
    return TargetReport(tuple(checks), facts)


def unpacked_bytes(plan: RestorePlan) -> int:
    """What the archive takes when it is unpacked. Raises ArchiveError for one that cannot be opened, StoreError."""
    if plan.archive_format is ArchiveFormat.CUSTOM:
        return plan.manifest.dump_bytes or plan.manifest.size_bytes * _UNPACKED_TIMES
    with open_zip(plan.archive_path) as archive:
        return archive.plain_bytes


def archive_check(plan: RestorePlan) -> Check:
    """Does the archive open? It is verified whole when the restore begins."""
    title = "Archive opens"
    try:
        size = unpacked_bytes(plan)
    except HoldfastError as error:
        return Check("archive", title, CheckState.FAILED, error.message, hint=error.hint, code=error.code)
    return Check("archive", title, CheckState.PASSED, f"Unpacked it takes {format_size(size)}.", format_size(size))


def require_ground(directory: str, *, may_hold_files: bool) -> None:
    """Raises StoreError(target_exists …) when the directory will not do; asked again right before anything is written."""
    found = _directory_check(directory, may_hold_files=may_hold_files)
    if found.state is CheckState.FAILED:
        raise StoreError(found.detail, hint=found.hint, code=found.code, permanent=True)


def _directory_check(directory: str, *, may_hold_files: bool) -> Check:
    title = "Directory can be used"
    why, hint, code = _directory_fault(directory, may_hold_files=may_hold_files)
    if why:
        detail = f"{directory or 'No directory'}: {why}."
        return Check("directory", title, CheckState.FAILED, detail, hint=hint, code=code)
    there = os.path.isdir(directory)
    return Check("directory", title, CheckState.PASSED, f"{directory} {'is there' if there else 'will be made'}.")


def _directory_fault(directory: str, *, may_hold_files: bool) -> tuple[str, str, ErrorCode]:
    hint, code = "Give an absolute path on this machine that Holdfast may write to.", ErrorCode.INVALID_CONFIGURATION
    if not os.path.isabs(directory) or os.path.normpath(directory) != directory or "\0" in directory:
        return "an absolute path without .. is needed", hint, code
    if os.path.realpath(directory) != directory:
        return "the path leads through a link", "Give the path that the link leads to.", code
    if where := _place_of_backups(directory):
        return f"it lies in {where}", "Choose a directory outside of it.", code
    nearest = _nearest(directory)
    if nearest not in (directory, os.path.dirname(directory)):
        return f"{os.path.dirname(directory)} does not exist", "Make it first, or choose another.", code
    if not os.path.isdir(nearest):
        return "it is not a directory", hint, ErrorCode.TARGET_EXISTS
    if not os.access(nearest, os.W_OK | os.X_OK):
        return "Holdfast may not write there", hint, ErrorCode.PERMISSION_DENIED
    if nearest == directory and not may_hold_files and os.listdir(directory):
        return "it is not empty", "Nothing is ever overwritten. Choose a new or an empty one.", ErrorCode.TARGET_EXISTS
    return "", "", code


def _place_of_backups(directory: str) -> str:
    """What of ours the directory lies in, "" for nothing."""
    markers = {"an archive store": SENTINEL, "the backup root of hosts": MARKER}
    above = list(_above(directory))
    return next(
        (where for where, name in markers.items() if any(os.path.lexists(f"{one}/{name}") for one in above)), ""
    )


def _above(directory: str) -> Iterator[str]:
    while True:
        yield directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return
        directory = parent


def _nearest(directory: str) -> str:
    """The directory itself, or the first above it that exists."""
    return next(above for above in _above(directory) if os.path.lexists(above))


def _room_check(needed: int, free: int) -> Check:
    title = "Room on the disk"
    detail = f"{format_size(needed)} are needed, {format_size(free)} are free."
    if free >= needed + RESERVE_BYTES:
        return Check("disk_space", title, CheckState.PASSED, detail, format_size(free))
    hint = "Free space there, or choose a directory on another disk."
    return Check("disk_space", title, CheckState.FAILED, detail, format_size(free), hint, ErrorCode.DISK_FULL)


def _rights_check(plan: RestorePlan) -> Check:
    title = "Owner and mode"
    try:
        rights = rights_of(plan.options)
    except InvalidInput as error:
        return Check("rights", title, CheckState.FAILED, error.message, hint=error.hint, code=error.code)
    if (rights.user, rights.group) != (-1, -1) and os.geteuid() != 0:
        detail = "Only root can give files away, and Holdfast does not run as root."
        hint = "Leave the owner empty, and change it afterwards."
        return Check("rights", title, CheckState.FAILED, detail, hint=hint, code=ErrorCode.PERMISSION_DENIED)
    detail = f"Files get mode {rights.file_mode:04o}" + (
        f" and owner {plan.options.file_owner}." if plan.options.file_owner else "."
    )
    return Check("rights", title, CheckState.PASSED, detail)
