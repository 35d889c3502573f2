"""The end of a restore that was interrupted: what the target is, is asked of the target itself, by oid and inode."""

from __future__ import annotations

from psycopg import sql

from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetIdentity
from webapp.core.status import RestoreOutcome, RestoreTarget
from webapp.engine.pgconnect import Connection
from webapp.engine.report import Reporter
from webapp.engine.restore.databases import (
    Database,
    changed,
    drop_database,
    end_named,
    find_by_oid,
    find_database,
    set_open,
    system_identifier,
)
from webapp.engine.restore.place_kinds import place_of
from webapp.engine.restore.places import Paths
from webapp.engine.restore.trail import Trail


def end(plan: RestorePlan, trail: Trail, control: Connection, session_name: str, reporter: Reporter) -> RestoreResult:
    """Finish what was past its point of no return, undo all else, and say which. May be repeated."""
    end_named(control, session_name, reporter)
    # Killed before the oid was written down: the name carries task and fence, so it is ours.
    by_name = trail.new_oid is None
    new = find_database(control, plan.temporary_name) if by_name else find_by_oid(control, trail.new_oid or 0)
    if new is not None and new.name == plan.database and not by_name:
        return _finish(plan, trail, control, reporter)
    if new is not None and new.name != plan.temporary_name:
        raise changed(f"The restored database was renamed to {new.name!r} by somebody else.")
    _undo(plan, trail, control, new, reporter)
    message = f"{plan.database} is as it was before." if trail.old_oid is not None else "Nothing is left at the target."
    return RestoreResult(RestoreOutcome.UNTOUCHED, message=message)


def _finish(plan: RestorePlan, trail: Trail, control: Connection, reporter: Reporter) -> RestoreResult:
    if plan.target is not RestoreTarget.REPLACE:
        return RestoreResult(RestoreOutcome.CREATED, message=f"Restored {plan.database}; it had been finished.")
    finish_replacement(plan, trail, control, reporter)
    assert plan.server is not None
    place = f"{plan.server.host}:{plan.server.port}"
    kept = find_database(control, plan.kept_name)
    identity = None
    if kept is not None and kept.oid == trail.old_oid:
        identity = TargetIdentity(system_identifier(control, place), kept.oid)
    return RestoreResult(
        RestoreOutcome.REPLACED,
        kept_name=plan.kept_name if identity is not None else "",
        kept_identity=identity,
        kept_filestore=kept_files(plan, trail, reporter),
        message=f"Replaced {plan.database}; the last steps were made afterwards.",
    )


def finish_replacement(plan: RestorePlan, trail: Trail, control: Connection, reporter: Reporter) -> None:
    """After the swap: the filestore takes its path, then the new database lets people in. May be repeated."""
    assert plan.server is not None
    if trail.new_inode is not None:
        paths = Paths(trail.final_path, trail.temporary_path, trail.kept_path)
        place_of(plan.server.filestore).exchange(paths, trail.new_inode, reporter)
    statement = sql.SQL("ALTER DATABASE {} IS_TEMPLATE false ALLOW_CONNECTIONS true")
    control.execute(statement.format(sql.Identifier(plan.database)))


def kept_files(plan: RestorePlan, trail: Trail, reporter: Reporter) -> str:
    """Where the replaced filestore lies now, "" when there was none or it stayed where it is."""
    assert plan.server is not None
    if trail.new_inode is None or place_of(plan.server.filestore).inode(trail.kept_path, reporter) is None:
        return ""
    return trail.kept_path


def _undo(plan: RestorePlan, trail: Trail, control: Connection, new: Database | None, reporter: Reporter) -> None:
    """The old database lets people in again; what was made is removed."""
    old = find_by_oid(control, trail.old_oid) if trail.old_oid is not None else None
    if old is not None and trail.step in ("bar", "swap", "exchange") and old.allows_connections != trail.old_allowed:
        set_open(control, old.name, trail.old_allowed)
    if new is not None:
        drop_database(control, new, reporter)
    assert plan.server is not None
    if not trail.temporary_path:
        return
    place = place_of(plan.server.filestore)
    may_have_moved = plan.target is not RestoreTarget.REPLACE and trail.new_inode is not None
    if may_have_moved and place.inode(trail.final_path, reporter) == trail.new_inode:
        place.remove(trail.final_path, reporter)
    place.remove(trail.temporary_path, reporter)
