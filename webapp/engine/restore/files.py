"""Targets on a disk: the filestore, one attachment, or all of an archive, in a directory of this machine.

A filestore that goes to an instance's own place is ``filestore_target``'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import re

from webapp.core.errors import ArchiveError, HoldfastError, NotFound
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetReport
from webapp.core.status import ArchiveFormat, ErrorCode, RestoreOutcome, RestoreTarget
from webapp.core.text import format_count, format_size
from webapp.engine.archive.rights import rights_of
from webapp.engine.archive.unpack import DUMP, FILESTORE, UnpackSummary, unpack_filestore, unpack_whole
from webapp.engine.archive.zip_reader import open_zip
from webapp.engine.disk import disk_error
from webapp.engine.durable import sync_directory
from webapp.engine.report import Reporter
from webapp.engine.restore import filestore_target
from webapp.engine.restore.dump_source import custom_sql, newest_tools
from webapp.engine.restore.ground import archive_check, look_at_ground, require_ground, unpacked_bytes
from webapp.engine.restore.journal import Journal
from webapp.engine.restore.landing import Landing, landing_directory, landing_file, settle_landing
from webapp.engine.restore.proof import filestore_check, require_right, require_verified

SIDE_CAR = "holdfast-manifest.json"
_ATTACHMENT = re.compile(r"[0-9a-f]{2,3}/[0-9a-f]{40}")


def check(plan: RestorePlan, reporter: Reporter) -> TargetReport:
    """See ``checks.look_at_target``."""
    if _goes_to_instance(plan):
        return filestore_target.check(plan, reporter)
    reporter.step("check", "Look at the directory", plan.options.directory)
    if plan.target is RestoreTarget.ATTACHMENT:
        found, size = _attachment_check(plan)
        return look_at_ground(plan, needed_bytes=size, may_hold_files=True, piece=found)
    found = archive_check(plan)
    size = unpacked_bytes(plan) if found.state is CheckState.PASSED else 0
    return look_at_ground(plan, needed_bytes=size, may_hold_files=False, piece=found)


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """See ``run.run``. Nothing that exists is replaced: the result appears under its name in one step, when it is whole."""
    if _goes_to_instance(plan):
        return filestore_target.run(plan, journal, reporter)
    require_verified(plan, reporter)
    single = plan.target is RestoreTarget.ATTACHMENT
    require_ground(plan.options.directory, may_hold_files=single)
    reporter.step("unpack", "Unpack", plan.options.directory)
    return _attachment(plan, journal, reporter) if single else _directory(plan, journal, reporter)


def settle(plan: RestorePlan, reporter: Reporter) -> RestoreResult:
    """See ``settle.settle``."""
    if _goes_to_instance(plan):
        return filestore_target.settle(plan, reporter)
    landing = Landing.from_json(plan.journal)
    if landing is None or settle_landing(landing) is RestoreOutcome.UNTOUCHED:
        return RestoreResult(RestoreOutcome.UNTOUCHED, message="Nothing was written.")
    single = landing.final if plan.target is RestoreTarget.ATTACHMENT else ""
    return RestoreResult(RestoreOutcome.CREATED, message=f"{landing.final} was written whole", file_path=single)


def _goes_to_instance(plan: RestorePlan) -> bool:
    return plan.target is RestoreTarget.FILESTORE and plan.server is not None


def _directory(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """The filestore alone, or dump, manifest and filestore."""
    final = plan.options.directory
    with landing_directory(plan, final, journal) as made:
        if plan.archive_format is ArchiveFormat.CUSTOM:
            summary = _unpack_custom(plan, made, reporter)
        elif plan.target is RestoreTarget.FILESTORE:
            summary = unpack_filestore(plan.archive_path, made, plan.options, reporter)
        else:
            summary = unpack_whole(plan.archive_path, made, plan.options, reporter)
        found = require_right(filestore_check(summary, plan.manifest))
        if plan.target is RestoreTarget.DIRECTORY:
            _write_side_car(plan, made)
        _give_directory(plan, made)
    message = f"Unpacked {format_count(summary.files)} files ({format_size(summary.size_bytes)}) to {final}"
    return RestoreResult(RestoreOutcome.CREATED, (found,), files=summary.files, message=message)


def _unpack_custom(plan: RestorePlan, directory: str, reporter: Reporter) -> UnpackSummary:
    """The dump as plain SQL, which says more to a person than PostgreSQL's own format."""
    path = os.path.join(directory, DUMP)
    with custom_sql(plan.archive_path, newest_tools(), reporter) as chunks:
        size = 0
        try:
            with open(path, "xb") as file:
                for chunk in chunks:
                    reporter.check()
                    size += file.write(chunk)
                    reporter.progress(size)
                file.flush()
                rights_of(plan.options).give_file(file.fileno())
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(error, f"write {path}") from error
    return UnpackSummary(1, size)


def _write_side_car(plan: RestorePlan, directory: str) -> None:
    """What Holdfast knows of the archive, beside what the archive holds."""
    try:
        with open(os.path.join(directory, SIDE_CAR), "x", encoding="utf-8", errors="replace") as file:
            json.dump(plan.manifest.as_json(), file, indent=1, ensure_ascii=False)
            file.flush()
            rights_of(plan.options).give_file(file.fileno())
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, f"write {SIDE_CAR}") from error


def _give_directory(plan: RestorePlan, directory: str) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            rights_of(plan.options).give_folder(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(directory)
    except OSError as error:
        raise disk_error(error, f"set owner and mode of {directory}") from error


def _attachment_check(plan: RestorePlan) -> tuple[Check, int]:
    """Is the attachment in the archive, and how large is it?"""
    title, name = "Attachment is in the archive", plan.options.piece
    if not _ATTACHMENT.fullmatch(name):
        detail = f"{name[:80]!r} is not the name of an attachment's file."
        hint = "It is the store_fname of the attachment: two digits, a slash, and its SHA-1."
        return Check("piece", title, CheckState.FAILED, detail, hint=hint, code=ErrorCode.INVALID_CONFIGURATION), 0
    try:
        with open_zip(plan.archive_path) as archive:
            size = archive.get_member(FILESTORE + name).size
    except HoldfastError as error:
        message = f"The archive holds no file {name}." if isinstance(error, NotFound) else error.message
        return Check("piece", title, CheckState.FAILED, message, hint=error.hint, code=ErrorCode.INCOMPLETE), 0
    return Check("piece", title, CheckState.PASSED, f"{name} is there.", format_size(size)), size


def _attachment(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """One file, under its SHA-1 as name."""
    name = plan.options.piece
    if not _ATTACHMENT.fullmatch(name):
        raise ArchiveError(f"{name[:80]!r} is not the name of an attachment's file.", permanent=True)
    final = os.path.join(plan.options.directory, name.rpartition("/")[2])
    with open_zip(plan.archive_path) as archive:
        member = archive.get_member(FILESTORE + name)
        with landing_file(plan, final, journal) as descriptor:
            digest = hashlib.sha1(usedforsecurity=False)
            for chunk in archive.stream(member):
                reporter.check()
                digest.update(chunk)
                _write(descriptor, chunk, final)
            wrong = digest.hexdigest() != name.rpartition("/")[2]
            summary = UnpackSummary(1, member.size, int(wrong), (name,) if wrong else ())
            found = require_right(filestore_check(summary, plan.manifest))
            rights_of(plan.options).give_file(descriptor)
    message = f"Wrote {name} ({format_size(member.size)}) to {final}"
    return RestoreResult(RestoreOutcome.CREATED, (found,), files=1, message=message, file_path=final)


def _write(descriptor: int, chunk: bytes, final: str) -> None:
    view = memoryview(chunk)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise disk_error(error, f"write {final}") from error
