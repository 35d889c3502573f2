"""Targets *new database* and *replace*: filled under a temporary name, then given its own in one transaction.

The steps, each written down before it is made (``Trail``):

1. *create*, *load*, *files*: everything comes into being under names that carry the task and its fence. Nobody sees it.
2. New database: *place*: the filestore is moved to its path, then the database gets its name and lets people in. That
   commit is the point of no return; before it all is undone.
3. Replace: *bar*: nobody can connect to the old database any more, and who is in it is sent away. *swap*: both renames in
   one transaction, which is the point of no return. *exchange*: the old filestore moves aside, the new one takes its
   path. Only then does the new database let people in. The old one stays as it is, under its kept name, shut.

``ending`` finishes or undoes this after a kill at any point.
"""

from __future__ import annotations

from dataclasses import dataclass

from webapp.core.errors import HoldfastError
from webapp.core.restore_plans import RestorePlan, RestoreResult, TargetIdentity
from webapp.core.status import ErrorCode, RestoreOutcome, RestoreTarget
from webapp.core.text import format_count
from webapp.engine.evidence import Evidence
from webapp.engine.pgconnect import Access, Connection, open_access
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.restore.databases import (
    Database,
    NewDatabase,
    Renaming,
    RestoreError,
    changed,
    create_database,
    end_sessions,
    find_database,
    identity_of,
    inherit_settings,
    rename_together,
    restore_session,
    set_open,
)
from webapp.engine.restore.dump_source import read_head
from webapp.engine.restore.ending import end, finish_replacement, kept_files
from webapp.engine.restore.filling import Filled, Filling, place_and_paths, wants_files
from webapp.engine.restore.journal import Journal, is_anothers
from webapp.engine.restore.places import Paths, Place
from webapp.engine.restore.proof import prove, seal_of
from webapp.engine.restore.sql_rules import facts_of
from webapp.engine.restore.trail import Trail, TrailKeeper


def session_name(plan: RestorePlan) -> str:
    """What our session is called on the server, so that whoever comes after us can end it."""
    return f"holdfast restore {plan.task_id}-{plan.fence}"


def run(plan: RestorePlan, journal: Journal, reporter: Reporter) -> RestoreResult:
    """Restore, whole or not at all. Raises HoldfastError when the target is as it was before.

    A step that fails after the point of no return is finished, not undone. Only when our lease is lost all is left to
    who has it now.
    """
    seal = seal_of(plan.archive_path)
    _, evidence = prove(plan, reporter)
    keeper = TrailKeeper(journal)
    try:
        return _Restoring(plan, evidence, seal, keeper, reporter).restore()
    except HoldfastError as error:
        if not keeper.trail.step or is_anothers(error):
            raise
        result = _put_right(plan, keeper.trail, reporter)
        if result is None or result.outcome is RestoreOutcome.UNTOUCHED:
            raise
        return result


def _put_right(plan: RestorePlan, trail: Trail, reporter: Reporter) -> RestoreResult | None:
    """Finish or undo at once; None when that is not possible now."""
    try:
        return settle_trail(plan, trail, SilentReporter())
    except HoldfastError as error:
        reporter.log(f"The target could not be put right yet: {error.message}", "error")
        return None


def settle_trail(plan: RestorePlan, trail: Trail, reporter: Reporter) -> RestoreResult:
    """What became of an attempt that wrote this down: finished, or undone."""
    if not trail.step:
        return RestoreResult(RestoreOutcome.UNTOUCHED, message="Nothing had been begun at the target.")
    assert plan.server is not None
    with (
        open_access(plan.server, reporter) as access,
        restore_session(access, plan.server.maintenance_database, reporter, "holdfast settle") as control,
    ):
        return end(plan, trail, control, session_name(plan), reporter)


@dataclass(frozen=True, slots=True)
class _Restoring:
    plan: RestorePlan
    evidence: Evidence
    seal: tuple[int, ...]
    keeper: TrailKeeper
    reporter: Reporter

    def restore(self) -> RestoreResult:
        assert self.plan.server is not None
        self.reporter.step("connect", "Connect to the target")
        with (
            open_access(self.plan.server, self.reporter) as access,
            restore_session(
                access, self.plan.server.maintenance_database, self.reporter, session_name(self.plan)
            ) as control,
        ):
            old = self._require_target(access, control)
            filled = self._fill(access, control, old)
            if old is None:
                return self._name(control, filled)
            return self._replace(access, control, old, filled)

    def _require_target(self, access: Access, control: Connection) -> Database | None:
        """The database to replace; that the target is the one confirmed is asked here and again before the swap."""
        plan = self.plan
        now = identity_of(control, access.place, plan.database)
        if plan.identity is not None and now.system_identifier != plan.identity.system_identifier:
            raise changed(f"The server at {access.place} is not the one that was looked at.")
        old = find_database(control, plan.database)
        if plan.target is RestoreTarget.NEW_DATABASE:
            if old is not None:
                raise _taken(plan.database)
        elif old is None:
            raise changed(f"There is no database {plan.database!r} to replace.")
        elif plan.identity is not None and plan.identity.database_oid != old.oid:
            raise changed(f"Database {plan.database!r} is not the one that was looked at: it was made anew since.")
        for name in (plan.temporary_name, plan.kept_name if old is not None else ""):
            if name and find_database(control, name) is not None:
                raise _taken(name)
        return old

    def _fill(self, access: Access, control: Connection, old: Database | None) -> Filled:
        plan = self.plan
        connected = control.info.user
        owner = plan.options.owner or (old.owner if old is not None else connected)
        wanted = _shape(plan, old, owner, control, self.reporter)
        if wants_files(plan):
            self._require_free_paths(old)
        self.keeper.before("create", old_oid=old.oid if old is not None else None)
        oid = create_database(control, wanted)
        self.keeper.before("load", new_oid=oid)
        role = owner if owner != connected else ""
        filling = Filling(plan, self.evidence, access, control, facts_of(control), oid, role, self.keeper)
        filled = filling.fill(self.reporter)
        if seal_of(plan.archive_path) != self.seal:
            raise RestoreError("The archive's file was changed while it was being restored.", code=ErrorCode.CORRUPT)
        return filled

    def _require_free_paths(self, old: Database | None) -> None:
        place, paths = place_and_paths(self.plan, self.reporter)
        for path in (paths.temporary, paths.kept if old is not None else paths.final):
            if path and place.inode(path, self.reporter) is not None:
                raise RestoreError(
                    f"There is a directory {path} already.",
                    hint="It may be left from a database dropped outside Odoo. Move it away, or choose another name.",
                    code=ErrorCode.TARGET_EXISTS,
                )

    def _name(self, control: Connection, filled: Filled) -> RestoreResult:
        plan = self.plan
        self.reporter.step("place", "Give it its name", plan.database)
        trail = self.keeper.before("place", new_inode=filled.new_inode)
        assert trail.new_oid is not None
        if trail.new_inode is not None:
            place, paths = self._place()
            place.exchange(Paths(paths.final, paths.temporary, ""), trail.new_inode, self.reporter)
        rename_together(control, [Renaming(trail.new_oid, plan.temporary_name, plan.database, opened=True)])
        return _result(plan, filled, RestoreOutcome.CREATED)

    def _replace(self, access: Access, control: Connection, old: Database, filled: Filled) -> RestoreResult:
        plan = self.plan
        self.reporter.step("swap", "Replace the database", f"The old one is kept as {plan.kept_name}")
        refused = inherit_settings(control, old, plan.temporary_name)
        if refused:
            self.reporter.log(
                f"Settings of the old database that this role may not make: {', '.join(refused)}.", "warning"
            )
        trail = self.keeper.before("bar", old_allowed=old.allows_connections, new_inode=filled.new_inode)
        assert trail.new_oid is not None
        set_open(control, plan.database, False)
        end_sessions(control, old.oid, self.reporter)
        now = identity_of(control, access.place, plan.database)
        if now.database_oid != old.oid:
            raise changed(f"Database {plan.database!r} is no longer the one that was looked at.")
        trail = self.keeper.before("swap")
        renamings = [
            Renaming(old.oid, plan.database, plan.kept_name),
            Renaming(trail.new_oid or 0, plan.temporary_name, plan.database),
        ]
        rename_together(control, renamings)
        trail = self.keeper.before("exchange")
        finish_replacement(plan, trail, control, self.reporter)
        kept = TargetIdentity(now.system_identifier, old.oid)
        return _result(plan, filled, RestoreOutcome.REPLACED, kept, kept_files(plan, trail, self.reporter))

    def _place(self) -> tuple[Place, Paths]:
        """The place and paths that were written down when the files were unpacked."""
        place, _ = place_and_paths(self.plan, self.reporter)
        trail = self.keeper.trail
        return place, Paths(trail.final_path, trail.temporary_path, trail.kept_path)


def _shape(plan: RestorePlan, old: Database | None, owner: str, control: Connection, reporter: Reporter) -> NewDatabase:
    """Odoo's own shape for a new database (collation C); that of the one which is replaced where encodings agree."""
    encoding = read_head(plan.archive_path, plan.archive_format, reporter).encoding
    if old is not None and old.encoding.upper() == encoding.upper():
        return NewDatabase(plan.temporary_name, owner, old.encoding, old.collate, old.ctype)
    template = find_database(control, "template0")
    # A server's own character types may belong to another encoding; C goes with every one.
    fits = template is None or template.encoding.upper() == encoding.upper()
    return NewDatabase(plan.temporary_name, owner, encoding, ctype="" if fits else "C")


def _taken(name: str) -> RestoreError:
    return RestoreError(
        f"There is a database {name!r} already.",
        hint="Choose another name, or restore as a replacement.",
        code=ErrorCode.TARGET_EXISTS,
    )


def _result(
    plan: RestorePlan,
    filled: Filled,
    outcome: RestoreOutcome,
    kept: TargetIdentity | None = None,
    kept_path: str = "",
) -> RestoreResult:
    files = f", {format_count(filled.files)} files" if filled.new_inode is not None else ""
    verb = "Replaced" if outcome is RestoreOutcome.REPLACED else "Restored"
    return RestoreResult(
        outcome,
        filled.checks,
        filled.tables,
        filled.rows,
        filled.files,
        kept_name=plan.kept_name if kept is not None else "",
        kept_identity=kept,
        kept_filestore=kept_path,
        message=f"{verb} {plan.database}: {format_count(filled.tables)} tables, {format_count(filled.rows)} rows{files}.",
    )
