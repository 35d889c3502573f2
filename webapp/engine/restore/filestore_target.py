"""A filestore alone, put to the place where an instance keeps the one of a database; what was there is kept beside it."""

from __future__ import annotations

from webapp.core.errors import HoldfastError, InvalidInput, TaskStopped
from webapp.core.plans import FilestorePlan
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetFacts, TargetReport
from webapp.core.status import ErrorCode, RestoreOutcome
from webapp.core.text import format_size
from webapp.engine.archive.unpack import UnpackSummary
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.restore.comparison import files_found
from webapp.engine.restore.ground import RESERVE_BYTES, archive_check, unpacked_bytes
from webapp.engine.restore.journal import Journal, is_anothers
from webapp.engine.restore.place_kinds import place_of
from webapp.engine.restore.places import Paths, Place, paths_of
from webapp.engine.restore.proof import filestore_check, require_right, require_verified
from webapp.engine.restore.trail import Trail, TrailKeeper


def check(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """See ``checks.look_at_target``."""
    reporter.step("check", "Look at the filestore", plan.database)
    opened = archive_check(plan)
    needed = unpacked_bytes(plan) if opened.state is CheckState.PASSED else 0
    try:
        place, paths = _where(plan, reporter)
        checks = [_writable_check(place, paths, reporter), _occupied_check(place, paths, reporter)]
        free = place.free_bytes(paths.parent, reporter)
    except TaskStopped:
        raise
    except HoldfastError as error:
        failed = Check(
            "filestore", "Filestore reached", CheckState.FAILED, error.message, hint=error.hint, code=error.code
        )
        return TargetReport((opened, failed), TargetFacts(needed_bytes=needed))
    checks.append(_room_check(needed, free))
    return TargetReport((opened, *checks), TargetFacts(free_bytes=free, needed_bytes=needed))


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """See ``run.run``.

    1. Verify the archive. 2. Unpack beside the place. 3. Read it all back and compare each SHA-1 with its name. 4. Move:
    what was there to ``kept_name``, the new one to its place.
    """
    require_verified(plan, reporter)
    place, paths = _where(plan, reporter)
    occupied = place.inode(paths.final, reporter) is not None
    paths = paths if occupied else Paths(paths.final, paths.temporary, "")
    keeper = TrailKeeper(journal)
    try:
        reporter.step("unpack", "Unpack the filestore", paths.temporary)
        keeper.before("files", final_path=paths.final, temporary_path=paths.temporary, kept_path=paths.kept)
        place.unpack(plan.archive_path, paths.temporary, plan.options, reporter)
        found, files = _compare(plan, place, paths, reporter)
        reporter.step("swap", "Put in place", paths.final)
        inode = place.inode(paths.temporary, reporter)
        assert inode is not None  # it was just unpacked
        keeper.before("exchange", new_inode=inode)
        place.exchange(paths, inode, reporter)
    except BaseException as error:
        if not is_anothers(error):
            _undo(place, keeper.trail, SilentReporter())  # A task that was stopped must be able to clear up.
        raise
    return _result(plan, keeper.trail, (found,), files)


def settle(plan: RestorePlan, reporter: Reporter) -> RestoreResult:
    """See ``settle.settle``: begun to move is moved to the end, anything before is taken away."""
    trail = Trail.from_json(plan.journal)
    if not trail.temporary_path:
        return RestoreResult(RestoreOutcome.UNTOUCHED, message="Nothing was written.")
    place = place_of(_filestore(plan))
    paths = Paths(trail.final_path, trail.temporary_path, trail.kept_path)
    if trail.step == "exchange" and trail.new_inode is not None:
        where = {place.inode(path, reporter) for path in (paths.final, paths.temporary)}
        if trail.new_inode in where:
            place.exchange(paths, trail.new_inode, reporter)
            return _result(plan, trail, (), 0)
    place.remove(paths.temporary, reporter)
    return RestoreResult(RestoreOutcome.UNTOUCHED, message="The filestore is as it was.")


def _filestore(plan: RestorePlan) -> FilestorePlan:
    if plan.server is None:
        raise InvalidInput("No instance was named whose filestore this is.")
    return plan.server.filestore


def _where(plan: RestorePlan, reporter: Reporter) -> tuple[Place, Paths]:
    filestore = _filestore(plan)
    place = place_of(filestore)
    itself = "{database}" not in filestore.path and place.is_filestore(filestore.path, reporter)
    return place, paths_of(filestore, plan.database, plan.temporary_name, plan.kept_name, itself=itself)


def _compare(plan: RestorePlan, place: Place, paths: Paths, reporter: Reporter) -> tuple[Check, int]:
    reporter.step("compare", "Compare the files with their names")
    found = files_found(place.digests(paths.temporary, reporter))
    names = tuple(f"{key:016x}…" for key in found.altered)
    summary = UnpackSummary(found.count, plan.manifest.filestore_bytes, len(found.altered), names[:5])
    return require_right(filestore_check(summary, plan.manifest)), found.count


def _undo(place: Place, trail: Trail, reporter: Reporter) -> None:
    """The place is as it was: the old files back where they were, of the new ones nothing left."""
    if not trail.temporary_path:
        return
    paths = Paths(trail.final_path, trail.temporary_path, trail.kept_path)
    if trail.step == "exchange":
        moved = bool(paths.kept) and place.inode(paths.final, reporter) is None
        if moved and (old := place.inode(paths.kept, reporter)) is not None:
            place.exchange(Paths(paths.final, paths.kept, ""), old, reporter)
        elif place.inode(paths.final, reporter) == trail.new_inode:
            return  # It is in place; what failed came after.
    place.remove(paths.temporary, reporter)


def _result(plan: RestorePlan, trail: Trail, checks: tuple[Check, ...], files: int) -> RestoreResult:
    replaced = bool(trail.kept_path)
    message = f"The filestore of {plan.database} lies at {trail.final_path}"
    return RestoreResult(
        outcome=RestoreOutcome.REPLACED if replaced else RestoreOutcome.CREATED,
        checks=checks,
        files=files,
        kept_filestore=trail.kept_path,
        message=message + (f"; what was there before is {trail.kept_path}" if replaced else ""),
    )


def _writable_check(place: Place, paths: Paths, reporter: Reporter) -> Check:
    title = "Filestore can be written"
    why = place.why_not_writable(paths.parent, reporter)
    if not why:
        return Check("filestore", title, CheckState.PASSED, f"Files will lie at {paths.final}.")
    hint = "Check the instance's filestore path and the rights there."
    return Check("filestore", title, CheckState.FAILED, f"{why}.", hint=hint, code=ErrorCode.PERMISSION_DENIED)


def _occupied_check(place: Place, paths: Paths, reporter: Reporter) -> Check:
    title = "What is there now"
    if place.inode(paths.final, reporter) is None:
        return Check("filestore_before", title, CheckState.PASSED, "Nothing lies there yet.")
    if not paths.kept:
        detail = f"{paths.final} is there already."
        return Check("filestore_before", title, CheckState.FAILED, detail, code=ErrorCode.TARGET_EXISTS)
    detail = f"{paths.final} is replaced; what it holds now is kept as {paths.kept}."
    hint = "Stop Odoo meanwhile: attachments that it writes in between are only in the kept ones."
    return Check("filestore_before", title, CheckState.WARNING, detail, hint=hint)


def _room_check(needed: int, free: int | None) -> Check:
    title = "Room on the disk"
    if free is None:
        return Check("disk_space", title, CheckState.SKIPPED, "How much is free there cannot be told.")
    detail = f"{format_size(needed)} are needed at most, {format_size(free)} are free."
    if free >= needed + RESERVE_BYTES:
        return Check("disk_space", title, CheckState.PASSED, detail, format_size(free))
    hint = "Free space there first."
    return Check("disk_space", title, CheckState.FAILED, detail, format_size(free), hint, ErrorCode.DISK_FULL)
