"""A new database, filled and looked at under its temporary name, while nobody else can get in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from webapp.core.errors import SourceError
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ErrorCode, FilestoreKind
from webapp.core.text import format_count
from webapp.engine.archive.zip_reader import open_zip
from webapp.engine.evidence import Evidence
from webapp.engine.expectation import expectation_of_manifest
from webapp.engine.pgconnect import Access, Connection
from webapp.engine.pgsnapshot import count_rows
from webapp.engine.report import Reporter
from webapp.engine.restore.comparison import compare_files, compare_rows, files_found
from webapp.engine.restore.copies import make_copy
from webapp.engine.restore.databases import (
    RestoreError,
    await_true,
    end_sessions,
    restore_session,
    set_open,
)
from webapp.engine.restore.load import Loading, left_out_sentence, load
from webapp.engine.restore.place_kinds import place_of
from webapp.engine.restore.places import Paths, Place, paths_of
from webapp.engine.restore.sql_rules import ServerFacts
from webapp.engine.restore.trail import TrailKeeper

_LOGIN_SECONDS = 30
_LOADER = """
SELECT count(*) FROM pg_stat_activity WHERE datid = %s::bigint::oid AND pid <> %s AND application_name = 'holdfast'
"""
_STRANGERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datid = %s::bigint::oid AND backend_type = 'client backend' AND pid <> %s
    AND NOT (application_name = 'holdfast' AND usename = current_user)
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """What was loaded and unpacked, compared and found right."""

    checks: tuple[Check, ...]
    tables: int
    rows: int
    files: int
    new_inode: int | None


@dataclass(frozen=True, slots=True)
class Filling:
    """One database in the making. ``role`` owns what is loaded, "" for who connects; ``oid`` is the new database's."""

    plan: RestorePlan
    evidence: Evidence
    access: Access
    control: Connection
    server: ServerFacts
    oid: int
    role: str
    keeper: TrailKeeper

    def fill(self, reporter: Reporter) -> Filled:
        """Load, compare, unpack, compare, make it a copy if it is to be one. Raises HoldfastError for anything less.

        Our own session is there from the beginning, and stays; once psql has its session too, the door is shut, so that
        the first who sees the data after us is who comes after the final name was given.
        """
        with restore_session(self.access, self.plan.temporary_name, reporter) as inside:
            self._load(inside, reporter)
            reporter.step("compare", "Compare with the manifest")
            if self.role and not self.server.is_superuser:
                inside.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.role)))
            rows = count_rows(inside, reporter)
            checks = [_required(compare_rows(rows, expectation_of_manifest(self.plan.manifest), self.evidence))]
            files, inode = 0, None
            if wants_files(self.plan):
                found, files, inode = self._land(inside, reporter)
                checks.append(_required(found))
            if self.plan.options.new_identity or self.plan.options.neutralise:
                reporter.step("copy", "Make it a copy")
                checks += make_copy(inside, self.plan.options)
        for check in checks:
            reporter.log(check.detail, "good" if check.state is CheckState.PASSED else "warning")
            if check.state is CheckState.WARNING:
                reporter.warn(check.code or ErrorCode.ATTACHMENTS_MISSING, check.detail)
        return Filled(tuple(checks), len(rows), sum(rows.values()), files, inode)

    def _load(self, inside: Connection, reporter: Reporter) -> None:
        reporter.step("load", "Load the database", self.plan.temporary_name)
        pid = inside.info.backend_pid
        options = self.plan.options
        loading = Loading(
            self.plan,
            self.access,
            self.plan.temporary_name,
            self.role,
            self.server,
            whole=options.new_identity or options.neutralise,
            loader_is_in=lambda: self._shut_behind_loader(pid, reporter),
        )
        left_out = load(loading, reporter)
        if sentence := left_out_sentence(left_out):
            reporter.log(sentence)
        set_open(self.control, self.plan.temporary_name, False)
        end_sessions(self.control, self.oid, reporter, but=(pid,))

    def _shut_behind_loader(self, pid: int, reporter: Reporter) -> None:
        def is_in() -> bool:
            row = self.control.execute(_LOADER, [self.oid, pid]).fetchone()
            return row is not None and row[0] > 0

        if not await_true(is_in, reporter, _LOGIN_SECONDS):
            raise RestoreError("psql did not get a session in the new database.")
        set_open(self.control, self.plan.temporary_name, False)
        self.control.execute(_STRANGERS, [self.oid, pid])

    def _land(self, inside: Connection, reporter: Reporter) -> tuple[Check, int, int]:
        reporter.step("filestore", "Unpack the filestore")
        place, paths = place_and_paths(self.plan, reporter)
        self.keeper.before("files", **path_facts(paths))
        place.unpack(self.plan.archive_path, paths.temporary, self.plan.options, reporter)
        inode = place.inode(paths.temporary, reporter)
        if inode is None:
            raise RestoreError(f"The unpacked filestore at {paths.temporary} is gone.")
        found = files_found(place.digests(paths.temporary, reporter))
        reporter.log(f"{format_count(found.count)} files in {paths.temporary}")
        with open_zip(self.plan.archive_path) as archive:
            return compare_files(inside, found, archive.name_keys, self.evidence), found.count, inode


def wants_files(plan: RestorePlan) -> bool:
    """Whether attachments' files are put in place."""
    return plan.options.with_filestore and plan.manifest.has_filestore


def place_and_paths(plan: RestorePlan, reporter: Reporter) -> tuple[Place, Paths]:
    """Where this plan's filestore goes. Raises SourceError when the instance does not say."""
    assert plan.server is not None
    filestore = plan.server.filestore
    if filestore.kind is FilestoreKind.NONE:
        raise SourceError(
            "The archive holds a filestore, and the target's instance has no place for one.",
            hint="Set the filestore's path in the instance, or restore without the filestore.",
            code=ErrorCode.INVALID_CONFIGURATION,
            permanent=True,
        )
    place = place_of(filestore)
    itself = "{database}" not in filestore.path and place.is_filestore(filestore.path.rstrip("/") or "/", reporter)
    return place, paths_of(filestore, plan.database, plan.temporary_name, plan.kept_name, itself=itself)


def path_facts(paths: Paths) -> dict[str, Any]:
    """The paths as the trail keeps them."""
    return {"final_path": paths.final, "temporary_path": paths.temporary, "kept_path": paths.kept}


def _required(check: Check) -> Check:
    """Anything but right is an error with the exact difference."""
    if check.state is CheckState.FAILED:
        raise RestoreError(check.detail, hint=check.hint, code=check.code)
    return check
