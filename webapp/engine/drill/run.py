"""A restore drill from its first step to its last answer.

1. The archive is read once, from its first byte to its last: for its digest, its members, and the dump that is loaded.
2. The dump's head says which server and which extensions it needs; a cluster is made for it, in a cage.
3. Every statement is loaded, strictly. 4. Questions are asked. 5. Nothing is left behind, whatever happened.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from webapp.core.errors import ArchiveError, HoldfastError
from webapp.core.reports import Check, CheckState
from webapp.core.restore_plans import DrillPlan, DrillReport
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.core.text import format_count, format_duration, format_size, plural
from webapp.engine import checks
from webapp.engine.archive.dump_scan import DumpSummary
from webapp.engine.drill import odoo, questions
from webapp.engine.drill.boot import check_boot
from webapp.engine.drill.cage import Strength
from webapp.engine.drill.cluster import (
    Cluster,
    Connection,
    create_database,
    new_name,
    open_cluster,
    room_in,
    scratch_cage,
)
from webapp.engine.drill.contents import Contents
from webapp.engine.drill.crew import WorkFailed
from webapp.engine.drill.dump_head import DumpHead, read_head
from webapp.engine.drill.dump_reader import DumpReader
from webapp.engine.drill.load import Loader, LoadReport
from webapp.engine.drill.programs import choose_server
from webapp.engine.evidence import ATTACHMENT_TABLE, Evidence
from webapp.engine.expectation import expectation_of_manifest
from webapp.engine.pgtools import PgTools
from webapp.engine.report import Reporter

__all__ = ["run"]

# A database with its indexes is about as large as its plain dump; as much again for the log of changes and sorting.
NEEDED_PER_DUMP_BYTE = 2
_CAGE_WORDS = {
    Strength.FULL: "an unprivileged user without network, its own processes and a read-only system",
    Strength.USER: "our own user without network and with its own processes",
    Strength.PLAIN: "an unprivileged user only: the kernel gives us no namespaces",
}


def run(plan: DrillPlan, reporter: Reporter) -> DrillReport:
    """Restore the archive into a throw-away cluster, ask, and tell.

    An archive that does not load is an answer, not an error. Raises HoldfastError(drill_impossible) when this machine cannot
    hold the drill, StoreError when the archive's disk refuses, TaskStopped.
    """
    drill = _Drill(plan, reporter)
    reporter.step("prepare", "Prepare")
    with Contents(plan, reporter) as contents:
        restored = drill.restore(contents)
        if not restored:
            contents.give_up_dump()
            drill.conclude(contents.evidence(), attachments=False)
    return drill.report()


@dataclass(slots=True)
class _Drill:
    """One drill under way; ``found`` gathers the answers."""

    plan: DrillPlan
    reporter: Reporter
    found: list[Check] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    load_seconds: float = 0.0

    def restore(self, contents: Contents) -> bool:
        """Load and ask. False when the archive does not load: the answer says why."""
        try:
            with ExitStack() as stack:
                reader = DumpReader(stack.enter_context(self._dump(contents)))
                head = read_head(reader)
                cluster = stack.enter_context(self._cluster(reader, head))
                loaded = self._load(cluster, head, reader)
                self._ask(cluster, contents, loaded)
        except ArchiveError as error:
            self.load_seconds = self.load_seconds or time.monotonic() - self.began
            hint = error.hint or "Do not rely on this restore point; run a new backup and look at its drill."
            code = ErrorCode.DRILL_FAILED
            self.found.append(
                Check("drill_load", "Strict load", CheckState.FAILED, error.message, hint=hint, code=code)
            )
            return False
        return True

    @contextmanager
    def _dump(self, contents: Contents) -> Iterator[Iterator[bytes]]:
        """The plain dump; pg_restore, which unpacks a custom one, works in a cage too."""
        plan = self.plan
        if plan.archive_format is ArchiveFormat.ZIP:
            yield contents.dump()
            return
        server = choose_server(_major_of(plan, "pg_dump"), ())
        with scratch_cage(server, plan.directory, new_name(plan.task_id, plan.fence)) as cage:
            argv = [server.program("pg_restore"), "--no-owner", "--no-privileges", "--file=-"]
            yield contents.packed_dump(cage.argv(argv))

    @contextmanager
    def _cluster(self, reader: DumpReader, head: DumpHead) -> Iterator[Cluster]:
        plan = self.plan
        server = choose_server(max(reader.majors, default=_major_of(plan, "postgresql")), head.extensions)
        self._require_room()
        with open_cluster(
            server,
            plan.directory,
            new_name(plan.task_id, plan.fence),
            database=_database_name(plan.manifest.database),
            reserve_bytes=plan.reserve_bytes,
            reporter=self.reporter,
        ) as cluster:
            self._describe(cluster, server.tools)
            try:
                create_database(cluster, head.encoding)
                yield cluster
            except psycopg.Error as error:
                self.reporter.check()
                raise cluster.failure(error) from error

    def _require_room(self) -> None:
        needed = self.plan.manifest.dump_bytes * NEEDED_PER_DUMP_BYTE + self.plan.reserve_bytes
        free = room_in(self.plan.directory)
        if free < needed:
            raise HoldfastError(
                f"{self.plan.directory} has {format_size(free)} free; the drill may take {format_size(needed)}.",
                hint="Free space there, or set HOLDFAST_DRILL_DIR to a directory on a larger disk.",
                code=ErrorCode.DRILL_IMPOSSIBLE,
            )

    def _describe(self, cluster: Cluster, tools: PgTools) -> None:
        cage = cluster.cage
        self.facts |= {"server": tools.version, "cage": cage.strength.value, "database": cluster.database}
        self.reporter.log(f"PostgreSQL {tools.version} in a cage: {_CAGE_WORDS[cage.strength]}")

    def _load(self, cluster: Cluster, head: DumpHead, reader: DumpReader) -> LoadReport:
        loaded = Loader(cluster, head, reader, jobs=self.plan.jobs, reporter=self.reporter).load()
        self.load_seconds = time.monotonic() - self.began
        if not reader.complete:
            raise ArchiveError("The dump lacks the last line that pg_dump writes: it was cut off.")
        statements = format_count(loaded.statements)
        detail = f"All {statements} statements were taken by PostgreSQL {cluster.server.tools.version}, in "
        detail += f"{format_duration(self.load_seconds)}, by a role that may nothing but own its database."
        if loaded.left_out:
            number = format_count(loaded.left_out)
            detail += f" {number} about owners, rights and replication were left out, as a scratch database has none."
        self.found.append(Check("drill_load", "Strict load", CheckState.PASSED, detail, statements))
        if loaded.unproven:
            hint = "Only a superuser may make them, and a drill has none."
            shown = "; ".join(loaded.unproven[:5])
            self.found.append(Check("drill_unproven", "Not tried", CheckState.WARNING, shown, hint=hint))
        self.facts |= {"statements": loaded.statements, "phases": loaded.seconds}
        return loaded

    def _ask(self, cluster: Cluster, contents: Contents, loaded: LoadReport) -> None:
        plan, manifest = self.plan, self.plan.manifest
        self.reporter.step("ask", "Questions")
        try:
            with ExitStack() as stack:
                sessions = [stack.enter_context(questions.asking(cluster)) for _ in range(plan.jobs)]
                counts = questions.count_all(sessions, self.reporter)
                self.facts |= {"tables": len(counts.counts), "rows": counts.total}
                self.found.append(questions.check_rows(counts, manifest.table_rows, loaded.rows))
                self.found.append(questions.check_constraints(sessions[0]))
                self.found.append(questions.check_sequences(sessions[0]))
                if manifest.is_odoo:
                    self.found += self._ask_odoo(sessions[0], contents)
        except (WorkFailed, psycopg.Error) as error:
            self.reporter.check()
            cause = error.error if isinstance(error, WorkFailed) else error
            if not cause.sqlstate:
                raise cluster.failure(cause) from error
            self.found.append(
                questions.failed("drill_questions", "Questions", f"The database does not answer: {cause}")
            )
        self.reporter.step("read", "Archive")
        self.conclude(contents.evidence(), attachments=manifest.is_odoo and manifest.has_filestore)
        self.found += questions.ask_own(cluster, plan.questions)
        if plan.boot_command:
            self.reporter.step("boot", "Boot")
            self.found.append(check_boot(cluster, plan.boot_command, self.reporter))

    def _ask_odoo(self, session: Connection, contents: Contents) -> list[Check]:
        if self.plan.manifest.has_filestore:
            odoo.read_attachments(session, contents.ledger, self.reporter)
        return odoo.check_odoo(session, self.plan.manifest, self.plan.taken_at)

    def conclude(self, evidence: Evidence, *, attachments: bool) -> None:
        """What reading the whole archive found; first in the report, since everything else rests on it."""
        expectation = expectation_of_manifest(self.plan.manifest)
        first = [checks.check_digest(evidence, expectation)]
        if self.plan.archive_format is ArchiveFormat.ZIP or evidence.damage is not None:
            first.append(checks.check_members(evidence, expectation))
        self.found[:0] = first
        if attachments and evidence.damage is None:
            evidence.dump = DumpSummary(picked={ATTACHMENT_TABLE})
            self.found.append(checks.check_attachments(evidence, expectation))
            self.facts["files"] = evidence.attachments.expected if evidence.attachments else 0

    def report(self) -> DrillReport:
        """The answers, with how far the archive got."""
        seconds = time.monotonic() - self.began
        self.facts["level"] = _level(self.found)
        failed = [check for check in self.found if check.state is CheckState.FAILED]
        if failed:
            number = len(failed)
            said = f"{number} {plural(number, 'answer is', 'answers are')} wrong after {format_duration(seconds)}."
            self.reporter.log(said, "error")
        else:
            self.reporter.log(f"Restored and questioned in {format_duration(seconds)}.", "good")
        return DrillReport(tuple(self.found), seconds, self.load_seconds, self.facts)


def _level(found: list[Check]) -> str:
    """How far it got: each word contains the ones before it."""
    states = {check.key: check.state for check in found}
    reached = "nothing"
    for level, keys in (
        ("loaded", ("archive_digest", "drill_load")),
        ("equal", ("drill_rows", "drill_constraints", "drill_sequences")),
        ("usable", ("odoo_modules", "odoo_users", "odoo_version", "attachments")),
        ("booted", ("boot",)),
    ):
        asked = [states[key] for key in keys if key in states]
        if level == "usable" and not asked:
            continue
        if not asked or CheckState.FAILED in asked or (level == "booted" and CheckState.PASSED not in asked):
            break
        reached = level
    return reached


def _major_of(plan: DrillPlan, program: str) -> int:
    """The version of server or pg_dump that the manifest tells, where the dump itself does not."""
    text = plan.manifest.versions.get(program, "0").split(".", 1)[0]
    return int(text) if text.isdigit() else 0


def _database_name(wanted: str) -> str:
    """The database's own name, which its functions may ask for; another where PostgreSQL reads more into it."""
    usable = re.fullmatch(r"\w[\w .-]{0,62}", wanted, re.ASCII) is not None
    return wanted if usable and wanted not in ("postgres", "template0", "template1") else "drill"
