"""*Test connection* for PostgreSQL: each question by itself, from the SSH host to a file of the filestore. Read only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from webapp.core.plans import PostgresPlan, SshPlan
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.engine.answers import Answer, asked, check_of, find_addresses, good, knock
from webapp.engine.pgconnect import Access, Connection, open_access, require_usable, session
from webapp.engine.pgtools import PgTools, choose, version_text
from webapp.engine.report import Reporter
from webapp.engine.sources.filestore import needs_filestore
from webapp.engine.sources.postgres_questions import DatabaseQuestions, FilestoreQuestions
from webapp.engine.ssh import run_remote

_TITLES: Mapping[str, str] = {
    "ssh": "SSH host",
    "dns": "Host name",
    "tcp": "Connection",
    "login": "Login",
    "tls": "Encryption",
    "postgresql_version": "Server version",
    "pg_dump": "Client tools fit the server",
    "readable": "Every table readable",
    "row_security": "Row-level security",
    "locks": "No blocking locks",
    "odoo_version": "Odoo",
    "vacuum": "Odoo's vacuum can be held off",
    "filestore": "Filestore readable",
    "filestore_space": "Space at the source",
}
_BEFORE_LOGIN = ("ssh", "dns", "tcp", "login")
_FILESTORE = ("filestore", "filestore_space")
_OF_ODOO = ("odoo_version", "vacuum", *_FILESTORE)


def probe(
    plan: PostgresPlan, database: str | None, reporter: Reporter, *, tools: Sequence[PgTools] | None = None
) -> list[Check]:
    """All checks in order; after a failure on the way in, the later ones are skipped. Raises TaskStopped only."""
    run = _Run(reporter)
    asked = _Way(plan, reporter)
    for key in ("ssh", "dns", "tcp") if asked.hosts else ("dns", "tcp"):
        run.ask(key, getattr(asked, key))
    with ExitStack() as stack:
        connection = run.connect(lambda: stack.enter_context(_connected(plan, database, reporter)))
        if connection is not None:
            _ask_inside(run, plan, connection, database, tools)
    return run.checks()


def _ask_inside(
    run: _Run, plan: PostgresPlan, connection: Connection, database: str | None, tools: Sequence[PgTools] | None
) -> None:
    run.ask("tls", lambda: _tls(plan, connection))
    run.ask("postgresql_version", lambda: _server_version(connection))
    run.ask("pg_dump", lambda: _client_version(connection, tools))
    if database is None:
        return
    questions = DatabaseQuestions(connection, plan, database)
    for key in ("readable", "row_security", "locks", "odoo_version", "vacuum"):
        if plan.is_odoo or key not in _OF_ODOO:
            run.ask(key, getattr(questions, key))
    if plan.is_odoo and needs_filestore(plan.filestore):
        files = FilestoreQuestions(questions, run.reporter)
        run.ask("filestore", files.readable)
        run.ask("filestore_space", files.space)


@contextmanager
def _connected(plan: PostgresPlan, database: str | None, reporter: Reporter) -> Iterator[Connection]:
    with (
        open_access(plan, reporter) as access,
        session(access, _first_database(access, database), reporter) as connection,
    ):
        yield connection


def _first_database(access: Access, database: str | None) -> str:
    return database or access.plan.maintenance_database


class _Run:
    """The answers so far, and whether there is a way in."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._answers: dict[str, Answer] = {}
        self._blocked = False

    def ask(self, key: str, question: Callable[[], Answer]) -> None:
        """Ask, unless an earlier failure makes it pointless."""
        if self._blocked:
            return
        self.reporter.check()
        self.reporter.step(key, _TITLES[key])
        self._answers[key] = asked(question)
        self._blocked = key in _BEFORE_LOGIN and self._answers[key][0] is CheckState.FAILED

    def connect(self, enter: Callable[[], Connection]) -> Connection | None:
        """The question whether we may log in; its answer is kept, and the session handed on."""
        opened: list[Connection] = []

        def login() -> Answer:
            connection = enter()
            opened.append(connection)
            return good(f"Logged in as {connection.info.user}.", connection.info.user)

        self.ask("login", login)
        return opened[0] if opened else None

    def checks(self) -> list[Check]:
        """Every check that was asked; after a failure on the way in also the others, skipped and saying why."""
        keys = [key for key in _TITLES if key in self._answers or (self._blocked and key != "ssh")]
        return [check_of(key, _TITLES, self._answers.get(key)) for key in keys]


class _Way:
    """The questions on the way to the server."""

    def __init__(self, plan: PostgresPlan, reporter: Reporter) -> None:
        self._plan = plan
        self._reporter = reporter

    @property
    def hosts(self) -> list[SshPlan]:
        """The SSH hosts on the way; often none."""
        return [host for host in (self._plan.tunnel, self._plan.filestore.ssh) if host is not None]

    def ssh(self) -> Answer:
        hosts = self.hosts
        for host in dict.fromkeys(_login(host) for host in hosts):
            plan = next(one for one in hosts if _login(one) == host)
            # "restrict" in authorized_keys still allows a command; a tunnel also needs port-forwarding there.
            run_remote(plan, ["true"], reporter=self._reporter)
        names = ", ".join(dict.fromkeys(_login(host) for host in hosts))
        return good(f"{names}: the confirmed host, and it lets us in.", names)

    def dns(self) -> Answer:
        require_usable(self._plan)
        if self._by_other_means():
            return CheckState.SKIPPED, self._by_other_means(), "", "", None
        return find_addresses(self._plan.host, self._plan.port)

    def tcp(self) -> Answer:
        if self._by_other_means():
            return CheckState.SKIPPED, self._by_other_means(), "", "", None
        hint = "Check the port, listen_addresses of the server, and firewalls in between."
        return knock(self._plan.host, self._plan.port, hint=hint)

    def _by_other_means(self) -> str:
        if self._plan.tunnel is not None:
            return f"{self._plan.host} is reached through {self._plan.tunnel.host}."
        return "A Unix socket is used." if self._plan.host.startswith("/") else ""


def _login(host: SshPlan) -> str:
    return f"{host.user}@{host.host}:{host.port}"


def _tls(plan: PostgresPlan, connection: Connection) -> Answer:
    if plan.tunnel is not None:
        return good("The connection runs inside SSH.", "SSH")
    if connection.pgconn.ssl_in_use:
        row = connection.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        version = str(row[0]) if row and row[0] else "TLS"
        if plan.sslmode.startswith("verify"):
            return good(f"{version}; the server's certificate was checked.", version)
        hint = "Use verify-full with the server's certificate authority, so that nobody can pose as the server."
        detail = f"{version}, but the server's certificate is not checked."
        return CheckState.WARNING, detail, version, hint, ErrorCode.TLS_FAILED
    if plan.host.startswith("/") or plan.host in ("localhost", "127.0.0.1", "::1"):
        return good("Not encrypted, and never leaves this machine.", "local")
    hint = "Turn on ssl at the server and use verify-full, or reach it through SSH."
    return CheckState.WARNING, "Data travels unencrypted.", "none", hint, ErrorCode.TLS_FAILED


def _server_version(connection: Connection) -> Answer:
    version = version_text(connection.info.server_version)
    return good(f"PostgreSQL {version}.", version)


def _client_version(connection: Connection, tools: Sequence[PgTools] | None) -> Answer:
    found = choose(connection.info.server_version, tools)
    return good(f"pg_dump {found.version} in {found.directory}.", found.version)
