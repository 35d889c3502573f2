"""The strict load: every statement of a dump, as a role that may nothing, its heavy parts in several sessions at once.

What comes before the data runs in order. Rows are dealt to the sessions as they come, those of one table to all of them.
Then the keys are made that foreign keys refer to, in parallel; foreign keys are added without a look at the rows, which a
dump's own statement takes alone and with a lock on both tables; and they are validated beside the making of all other indexes.
Tables are unlogged: a cluster that nobody will miss needs no log of changes. But for that the catalogue says in the end what
it would after psql.
A statement of unknown shape waits for all before it, and all after it wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg

from webapp.core.errors import ArchiveError, HoldfastError
from webapp.core.status import ErrorCode
from webapp.core.text import strip_controls
from webapp.engine.archive.sql_statements import table_name
from webapp.engine.drill.cluster import Cluster, Connection
from webapp.engine.drill.crew import RowLoader, Work, WorkFailed, run_works
from webapp.engine.drill.dump_head import MOST_GATHERED_BYTES, DumpHead
from webapp.engine.drill.dump_reader import CopyBlock, DumpReader
from webapp.engine.drill.extensions import make_extensions
from webapp.engine.drill.statements import (
    Shape,
    Understood,
    created_table,
    partitioned_table,
    plain_name,
    split_key,
    understand,
)
from webapp.engine.report import Reporter

BATCH_STATEMENTS = 50
BATCH_BYTES = 256 * 1024
# https://www.postgresql.org/docs/current/errcodes-appendix.html: no room, shut down, system error, connection lost.
_NOT_THE_DUMPS_FAULT = ("53", "57P", "58", "08")
_MISSING_HERE = ("collation", "encoding", "extension", "access method")
# What a newer pg_restore or pg_dump writes at the top, and since when servers know it.
_SINCE = {b"SET transaction_timeout = 0": 17}
_CREATE_TABLE, _CREATE_UNLOGGED = b"CREATE TABLE ", b"CREATE UNLOGGED TABLE "
_PARTITIONS_LOGGED_SINCE = 18
# A session waits for its rows now and then: another takes rows meanwhile.
SPARE_SESSIONS = 1
# A key on a table of as many bytes is worth two statements.
LARGE_BYTES = 8 * 1024 * 1024
_PARALLEL_SHAPES = (Shape.INDEX, Shape.KEY, Shape.VIEW, Shape.FOREIGN_KEY, Shape.COMMENT)


@dataclass(slots=True)
class LoadReport:
    """What was done.

    Attributes:
        rows: Rows that the server says it took, per table.
        left_out: Statements about owners and rights, which a scratch database has none of.
        unproven: Kinds of statements that only a superuser may run, and which were therefore not tried.
    """

    rows: dict[str, int] = field(default_factory=dict)
    statements: int = 0
    left_out: int = 0
    unproven: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Index:
    """An index to be made; ``constraint`` is added on it afterwards, where a key was split."""

    work: Work
    unique: bool
    constraint: bytes = b""


class Loader:
    """Loads one dump into one cluster."""

    def __init__(self, cluster: Cluster, head: DumpHead, reader: DumpReader, *, jobs: int, reporter: Reporter) -> None:
        self.report = LoadReport()
        self._cluster = cluster
        self._head = head
        self._reader = reader
        self._jobs = jobs
        self._reporter = reporter
        self._stack = ExitStack()
        self._made_before: frozenset[str] = frozenset()
        self._settings: list[bytes] = []
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._partitioned: set[str] = set()
        self._tables: list[bytes] = []
        self._sessions: list[Connection] = []
        self._row_sessions: list[Connection] = []
        self._rows: list[RowLoader] = []
        self._indexes: list[_Index] = []
        self._views: list[bytes] = []
        self._foreign_keys: list[Understood] = []
        self._comments: list[bytes] = []
        self._gathered_bytes = 0
        self._began = time.monotonic()

    def load(self) -> LoadReport:
        """Everything. Raises ArchiveError when the dump does not load, HoldfastError(drill_impossible), TaskStopped."""
        try:
            with self._stack:
                self._made_before = make_extensions(self._cluster, self._head)
                self._main = self._connected()
                self._reporter.step("load", "Load")
                for item in self._head.items:
                    if isinstance(item, CopyBlock):
                        self._deal(item)
                    else:
                        self._take(understand(item))
                self._let_go()
        except WorkFailed as failed:
            raise self._judged(failed.error, failed.statement) from failed.error
        except psycopg.Error as error:
            raise self._judged(error, b"") from error
        self.report.statements = self._reader.statements
        return self.report

    # In order

    def _take(self, found: Understood) -> None:
        self._reporter.check()
        if found.shape in (Shape.RIGHTS, Shape.FOR_SUPERUSERS, Shape.EXTENSION_COMMENT, Shape.SCHEMA):
            if self._is_left_out(found):
                return
        elif found.text.startswith(b"SET default_tablespace"):
            return  # the scratch cluster has no other
        elif found.shape is Shape.SEQUENCE:
            self._add(found.text)  # touches no row, so it need not wait for any
            return
        elif found.shape in _PARALLEL_SHAPES and self._sessions and not self._is_alone(found):
            self._gather(found)
            return
        if self._busy:
            self._settle()
        if found.shape is Shape.SETTING:
            self._set(found.text)
            return
        self._add(self._unlogged(found.text))

    def _unlogged(self, text: bytes) -> bytes:
        """A table without a log; not in a database with partitioned ones where these cannot be so too (since 18)."""
        table = created_table(text)
        if not table:
            return text
        if name := partitioned_table(text):
            self._partitioned.add(name)
            if self._cluster.server.major >= _PARTITIONS_LOGGED_SINCE:
                return text
        self._tables.append(table)
        return _CREATE_UNLOGGED + text[len(_CREATE_TABLE) :]

    def _log_again(self) -> None:
        """A foreign key of a logged table must not refer to an unlogged one; nothing is in them yet."""
        tables, self._tables = self._tables, []
        if self._partitioned and self._cluster.server.major >= _PARTITIONS_LOGGED_SINCE:
            self._run_batch([b"ALTER TABLE " + name + b" SET LOGGED" for name in tables])

    def _is_alone(self, found: Understood) -> bool:
        """Before version 18 the foreign key of a partitioned table cannot be validated apart."""
        return found.shape is Shape.FOREIGN_KEY and found.table in self._partitioned

    def _is_left_out(self, found: Understood) -> bool:
        name = plain_name(found.name)
        if found.shape is Shape.EXTENSION_COMMENT:
            return name in self._made_before
        if found.shape is Shape.SCHEMA:
            return name in {self._head.extensions[one] for one in self._made_before} - {"public", "pg_catalog"}
        self.report.left_out += 1
        if found.shape is Shape.FOR_SUPERUSERS:
            self.report.unproven.append(strip_controls(found.text[:60].decode("utf-8", "replace")))
        return True

    def _set(self, text: bytes) -> None:
        if self._cluster.server.major < _SINCE.get(text, 0):
            return
        self._flush()
        self._settings.append(text)
        for session in (self._main, *self._row_sessions):
            self._execute(session, text)

    def _add(self, text: bytes) -> None:
        self._batch.append(text)
        self._batch_bytes += len(text)
        if len(self._batch) >= BATCH_STATEMENTS or self._batch_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._run_batch(batch)

    def _run_batch(self, batch: Sequence[bytes]) -> None:
        """Many statements in one message are one transaction; when it fails, one by one tells which it was."""
        for start in range(0, len(batch), BATCH_STATEMENTS):
            some = batch[start : start + BATCH_STATEMENTS]
            try:
                self._main.execute(b"\n;\n".join(some))
            except psycopg.Error:
                self._reporter.check()
                for text in some:
                    self._execute(self._main, text)

    @staticmethod
    def _execute(session: Connection, text: bytes) -> None:
        try:
            session.execute(text)
        except psycopg.Error as error:
            raise WorkFailed(text, error) from error

    # In parallel

    @property
    def _busy(self) -> bool:
        return bool(self._rows or self._gathered)

    @property
    def _gathered(self) -> bool:
        return bool(self._indexes or self._views or self._foreign_keys)

    def _connected(self) -> Connection:
        session = self._stack.enter_context(self._cluster.connect())
        for text in self._settings:
            self._execute(session, text)
        return session

    def _deal(self, block: CopyBlock) -> None:
        """Rows go to whichever session has the least to do; a row that is cut goes on in the same one."""
        if self._gathered:
            self._settle()
        self._flush()
        self._require_no_transaction()
        if not self._sessions:
            self._log_again()
            self._note_time("tables")
            self._row_sessions = [self._connected() for _ in range(self._jobs + SPARE_SESSIONS)]
            self._sessions = self._row_sessions[: self._jobs]
            self._stack.callback(self._abandon_rows)
        if not self._rows:
            self._rows = [RowLoader(session) for session in self._row_sessions]
        holder: RowLoader | None = None
        empty = True
        for piece in block.rows:
            self._reporter.check()
            empty = False
            loader = holder or min(self._rows, key=lambda one: one.waiting_bytes)
            loader.put(block, piece.data)
            holder = None if piece.ends_row else loader
        if empty:
            self._rows[0].put(block, b"")

    def _require_no_transaction(self) -> None:
        """The other sessions would wait for what an open one has locked."""
        if self._main.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            raise ArchiveError("The dump leaves a transaction open, which pg_dump never does.", permanent=True)

    def _gather(self, found: Understood) -> None:
        self._gathered_bytes += len(found.text)
        if self._gathered_bytes > MOST_GATHERED_BYTES:
            self._let_go()
        if found.shape in (Shape.COMMENT, Shape.VIEW):
            (self._comments if found.shape is Shape.COMMENT else self._views).append(found.text)
            return
        if found.shape is Shape.FOREIGN_KEY:
            self._foreign_keys.append(found)
            return
        if self._foreign_keys:
            self._settle()
        weight = self._reader.table_bytes.get(found.table, 0)
        key = split_key(found.text) if weight >= LARGE_BYTES and found.table not in self._partitioned else None
        if key is not None:
            self._indexes.append(_Index(Work(key[0], found.table, exclusive=False, weight=weight), True, key[1]))
            return
        unique = found.shape is Shape.KEY or found.text.startswith(b"CREATE UNIQUE ")
        self._indexes.append(_Index(Work(found.text, found.table, found.shape is Shape.KEY, weight), unique))

    def _let_go(self) -> None:
        """Finish everything, comments too."""
        self._settle()
        self._flush()
        comments, self._comments, self._gathered_bytes = self._comments, [], 0
        self._run_batch(comments)

    def _settle(self) -> None:
        """Finish everything that was dealt."""
        self._finish_rows()
        self._flush()
        self._require_no_transaction()
        self._make_gathered()

    def _make_gathered(self) -> None:
        """First the keys that foreign keys and views rest on; then foreign keys are validated beside the other indexes."""
        indexes, self._indexes = self._indexes, []
        views, self._views = self._views, []
        keys, self._foreign_keys = self._foreign_keys, []
        if indexes or keys:
            title = "Foreign keys" if not indexes else "Indexes and foreign keys" if keys else "Indexes"
            self._reporter.step("indexes", title, f"{len(indexes) + len(keys)}")
        referred = {table_name(found.other) for found in keys}
        first: list[_Index] = []
        others: list[_Index] = []
        for one in indexes:
            is_needed = one.unique and (views or one.work.table in referred)
            (first if is_needed else others).append(one)
        self._make(first, [])
        self._run_batch(views)
        self._run_batch([found.text + b" NOT VALID" for found in keys])
        self._make(others, self._validations(keys))
        if indexes or keys:
            self._note_time("indexes")

    def _make(self, indexes: Sequence[_Index], validations: Sequence[Work]) -> None:
        works = [*validations, *(index.work for index in indexes)]
        if indexes:
            self._share_cores(works)
        run_works(self._sessions, works, self._reporter.check)
        self._run_batch([index.constraint for index in indexes if index.constraint])

    def _abandon_rows(self) -> None:
        for loader in self._rows:
            loader.abandon()

    def _share_cores(self, works: Sequence[Work]) -> None:
        """Helpers inside one build cost more than they give where there are builds enough for all sessions."""
        most = max(work.weight for work in works)
        heavy = sum(work.weight * 4 >= most for work in works)
        helpers = 0 if heavy >= len(self._sessions) else 2
        for session in self._sessions:
            session.execute(f"SET max_parallel_maintenance_workers = {helpers}".encode())

    def _finish_rows(self) -> None:
        loaders, self._rows = self._rows, []
        for loader in loaders:
            loader.finish()
            for table, count in loader.rows.items():
                self.report.rows[table] = self.report.rows.get(table, 0) + count
        if loaders:
            self._note_time("rows")

    def _validations(self, keys: Iterable[Understood]) -> list[Work]:
        texts: dict[str, list[bytes]] = {}
        for found in keys:
            texts.setdefault(found.table, []).append(found.name)
        heads = {found.table: found.text.split(b"ADD CONSTRAINT ", 1)[0].rstrip() for found in keys}
        return [
            Work(
                heads[table] + b" " + b", ".join(b"VALIDATE CONSTRAINT " + name for name in names),
                table,
                exclusive=True,
                weight=self._reader.table_bytes.get(table, 0) * len(names),
            )
            for table, names in texts.items()
        ]

    def _note_time(self, phase: str) -> None:
        now = time.monotonic()
        self.report.seconds[phase] = round(self.report.seconds.get(phase, 0.0) + now - self._began, 2)
        self._began = now

    def _judged(self, error: psycopg.Error, statement: bytes) -> HoldfastError:
        """Whether the dump is to blame, or this machine, or that we may not."""
        self._reporter.check()
        state = error.sqlstate or ""
        if not state or state.startswith(_NOT_THE_DUMPS_FAULT):
            return self._cluster.failure(error)
        said = strip_controls(error.diag.message_primary or str(error), 300)
        shown = strip_controls(" ".join(statement[:160].decode("utf-8", "replace").split()))
        if state == "42501":
            return _impossible(f"The dump wants what only a superuser may do: {shown}: {said}.")
        if state in ("42704", "0A000") and any(word in said for word in _MISSING_HERE):
            return _impossible(f"This machine's PostgreSQL lacks what the dump needs: {said}.")
        return ArchiveError(
            f"PostgreSQL refused a statement of the dump: {said} ({state}). It begins: {shown}",
            code=ErrorCode.RESTORE_FAILED,
            permanent=True,
        )


def _impossible(message: str) -> HoldfastError:
    hint = "A drill works without a superuser's rights. Restore this archive by hand to a test server instead."
    return HoldfastError(message, hint=hint, code=ErrorCode.DRILL_IMPOSSIBLE, permanent=True)
