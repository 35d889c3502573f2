"""Loading a dump into an empty database: psql on filtered SQL in one transaction, or pg_restore with parallel jobs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from webapp.core.errors import ArchiveError
from webapp.core.restore_plans import RestorePlan
from webapp.core.status import ArchiveFormat, ErrorCode
from webapp.core.text import strip_controls
from webapp.engine.pgconnect import Access
from webapp.engine.pgerrors import restore_failure
from webapp.engine.pgtools import PgTools, choose, server_major
from webapp.engine.process import ProcessFailed, clean_environment, run, stream
from webapp.engine.report import Reporter
from webapp.engine.restore.dump_source import custom_sql, newest_tools, zip_sql
from webapp.engine.restore.sql_filter import DumpFilter
from webapp.engine.restore.sql_rules import ServerFacts, StatementRules
from webapp.engine.secret_files import secret_file

# psql says nothing while a large table or index is made; a cancelled task ends it all the same.
IDLE_SECONDS = 24 * 3600.0
_LIST_SECONDS = 600.0
# Since these minor versions psql can be told to refuse its own commands: PostgreSQL's release notes, CVE-2025-8714.
_RESTRICT_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
# What pg_restore leaves out by its own options, so that a dump with these can still be restored by parallel jobs.
_PG_RESTORE_CAN = {"owners", "tablespaces", "subscriptions and publications", "comments on extensions"}
_COMMENTS_LEFT_OUT = re.compile(r";.* COMMENT - (?:EXTENSION|SCHEMA public\b)")


@dataclass(frozen=True, slots=True)
class Loading:
    """What is loaded where.

    Attributes:
        database: The new, empty one.
        role: Who owns what is loaded; "" is who connects.
        server: What the server knows.
        whole: All in one transaction is asked for, so that nobody sees a part.
        loader_is_in: Called once psql was started, before it gets any data; returns when psql has its session.
    """

    plan: RestorePlan
    access: Access
    database: str
    role: str
    server: ServerFacts
    whole: bool
    loader_is_in: Callable[[], None]


def load(loading: Loading, reporter: Reporter) -> dict[str, int]:
    """Load the archive's dump; what was left out on purpose, by kind. Raises HoldfastError; some of it may be loaded then.

    A custom-format archive goes through parallel jobs of pg_restore, unless the whole must come in one transaction, or
    something must be left out that pg_restore cannot leave out.
    """
    path = loading.plan.archive_path
    if loading.plan.archive_format is ArchiveFormat.ZIP:
        with zip_sql(path) as (chunks, size):
            return _load_sql(loading, chunks, size, reporter)
    tools = _reader(path, loading.server.version_num)
    rules = StatementRules(loading.server)
    with custom_sql(path, tools, reporter, schema_only=True) as chunks:
        for _ in DumpFilter(rules).filtered(chunks):
            reporter.check()
    same_major = tools.major == server_major(loading.server.version_num)
    if not loading.whole and same_major and set(rules.left_out) <= _PG_RESTORE_CAN:
        _load_in_parallel(loading, tools, reporter)
        return dict(rules.left_out)
    with custom_sql(path, tools, reporter) as chunks:
        return _load_sql(loading, chunks, 0, reporter)


def _reader(path: str, server_version_num: int) -> PgTools:
    """A pg_restore that reads the archive, of the server's major version where that one can."""
    fitting = choose(server_version_num)
    argv = [fitting.program("pg_restore"), "--list", path]
    finished = run(argv, env=clean_environment(), timeout_seconds=_LIST_SECONDS)
    return fitting if finished.returncode == 0 else newest_tools()


def _load_sql(loading: Loading, chunks: Iterator[bytes], size: int, reporter: Reporter) -> dict[str, int]:
    tools = choose(loading.server.version_num)
    rules = StatementRules(loading.server)
    argv = [tools.program("psql"), "-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1"]
    argv += ["--single-transaction", "--output=/dev/null", "--file=-"]
    sql = DumpFilter(rules).filtered(_counted(chunks, size, reporter))
    fed = _fed(loading, tools, sql)
    try:
        environment = loading.access.environment(loading.database)
        with stream(argv, env=environment, reporter=reporter, stdin=fed, idle_seconds=IDLE_SECONDS) as said:
            for _ in said:
                reporter.check()
    except ProcessFailed as failed:
        raise restore_failure(failed, loading.database) from failed
    return dict(rules.left_out)


def _fed(loading: Loading, tools: PgTools, sql: Iterable[bytes]) -> Iterator[bytes]:
    """What psql reads: first our own words, then the dump."""
    loading.loader_is_in()
    if _can_restrict(tools):
        # The filter lets no command of psql pass; this makes psql refuse them as well. Nobody can know the key.
        yield f"\\restrict {secrets.token_hex(32)}\n".encode()
    if loading.role:
        quoted = loading.role.replace('"', '""')
        yield f'SET ROLE "{quoted}";\n'.encode()
    yield from sql


def _can_restrict(tools: PgTools) -> bool:
    minor = int(tools.version.split(".")[1]) if "." in tools.version else 0
    return tools.major > max(_RESTRICT_SINCE) or minor >= _RESTRICT_SINCE.get(tools.major, 1_000_000)


def _counted(chunks: Iterator[bytes], size: int, reporter: Reporter) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        reporter.check()
        yield chunk
        done += len(chunk)
        reporter.progress(done, size or None)


def _load_in_parallel(loading: Loading, tools: PgTools, reporter: Reporter) -> None:
    path = loading.plan.archive_path
    listed = run([tools.program("pg_restore"), "--list", path], env=clean_environment(), timeout_seconds=_LIST_SECONDS)
    if listed.returncode != 0:
        raise ArchiveError("pg_restore could not read the archive's list of contents.", code=ErrorCode.CORRUPT)
    lines = listed.stdout.decode("utf-8", "replace").splitlines()
    wanted = "".join(f"{line}\n" for line in lines if not _COMMENTS_LEFT_OUT.search(line))
    quoted = loading.database.replace("\\", "\\\\").replace("'", "\\'")
    with secret_file(wanted) as list_file:
        argv = [tools.program("pg_restore"), "--exit-on-error", "--no-owner", "--no-password", "--no-tablespaces"]
        argv += ["--no-publications", "--no-subscriptions", f"--jobs={max(1, loading.plan.options.jobs)}"]
        argv += [f"--use-list={list_file}", f"--dbname=dbname='{quoted}'"]
        argv += [*([f"--role={loading.role}"] if loading.role else []), path]
        try:
            environment = loading.access.environment(loading.database)
            with stream(argv, env=environment, reporter=reporter, idle_seconds=IDLE_SECONDS) as said:
                for _ in said:
                    reporter.check()
        except ProcessFailed as failed:
            raise restore_failure(failed, loading.database) from failed


def left_out_sentence(left_out: dict[str, int]) -> str:
    """For the log: "Left out: owners (12), settings that the server does not know (1).", or ""."""
    parts = [f"{strip_controls(kind)} ({count})" for kind, count in sorted(left_out.items())]
    return f"Left out: {', '.join(parts)}." if parts else ""
