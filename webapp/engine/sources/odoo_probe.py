"""*Test connection* for Odoo over HTTP: each question by itself, from name to database, without the master password."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from webapp.core.errors import HoldfastError
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode
from webapp.engine.answers import Answer, asked, check_of, find_addresses, good, reached
from webapp.engine.connections import Target, connect, secured
from webapp.engine.report import Reporter
from webapp.engine.sources.odoo_answers import DISABLED_HINT, FILTER_HINT
from webapp.engine.sources.odoo_client import OdooClient, require_safe
from webapp.engine.tls import PeerCertificate, unchecked_certificate

_SOON_DAYS = 14
_TITLES = {
    "dns": "Host name",
    "tcp": "Connection",
    "tls": "Encryption",
    "odoo": "Odoo answers",
    "database_manager": "Database manager",
    "master_password": "Master password is set",
    "database_list": "Database list",
    "database_known": "Database found",
    "temporary_space": "Temporary space at Odoo",
}


@dataclass(slots=True)
class _Probe:
    client: OdooClient
    database: str | None
    reporter: Reporter
    target: Target
    databases: list[str] = field(default_factory=list)

    def dns(self) -> Answer:
        return find_addresses(self.target.host, self.target.port)

    def tcp(self) -> Answer:
        with connect(self.target, timeout_seconds=self.client.limits.connect_seconds) as connection:
            peer = str(connection.getpeername()[0])
        return reached(peer, self.target.port)

    def tls(self) -> Answer:
        if self.target.scheme == "http":
            detail = "Plain http: the master password would travel unencrypted, as an admin allowed."
            return CheckState.WARNING, detail, "none", "Put Odoo behind https.", ErrorCode.PLAIN_HTTP_REFUSED
        connection = connect(self.target, timeout_seconds=self.client.limits.connect_seconds)
        try:
            wrapped, certificate = secured(connection, self.target)
        except HoldfastError as error:
            return CheckState.FAILED, f"{error.message} {self._shown()}".strip(), "refused", error.hint, error.code
        wrapped.close()
        return _judge(certificate, datetime.now(UTC))

    def _shown(self) -> str:
        """What the refused certificate is, so that an admin can compare and pin it."""
        connection = connect(self.target, timeout_seconds=self.client.limits.connect_seconds)
        certificate = unchecked_certificate(connection, self.target.server_name)
        return f"It shows {_words(certificate)}" if certificate else ""

    def odoo(self) -> Answer:
        version = self.client.version(self.reporter)
        if version is None:
            hint = "Let Holdfast reach /web/webclient/version_info; without it, database-only zips are not offered."
            return CheckState.WARNING, "Odoo does not tell its version.", "unknown", hint, ErrorCode.HTTP_ERROR
        how = "with real error statuses" if version.major >= 20 else "which reports failures in pages with status 200"
        return good(f"Odoo {version.text} answers, {how}; Holdfast reads both.", version.text)

    def database_manager(self) -> Answer:
        if self.client.manager(self.reporter).disabled:
            return CheckState.FAILED, "list_db is off.", "disabled", DISABLED_HINT, ErrorCode.DATABASE_MANAGER_DISABLED
        return good("The page /web/database/manager is reachable.", "enabled")

    def master_password(self) -> Answer:
        require_safe(self.client.manager(self.reporter))
        return good(
            "Odoo's default is not in use. The password itself is tried by the first backup, never by this test.", "set"
        )

    def database_list(self) -> Answer:
        self.databases = self.client.databases(self.reporter)
        if not self.databases:
            detail = f"Odoo shows no database for the Host header {self.target.host_header}."
            return CheckState.WARNING, detail, "0", FILTER_HINT, ErrorCode.NO_DATABASES
        return good(
            f"Odoo shows {', '.join(self.databases[:10])}{' …' if len(self.databases) > 10 else ''}.",
            str(len(self.databases)),
        )

    def database_known(self) -> Answer:
        if self.database is None:
            return CheckState.SKIPPED, "No database was named.", "", "", None
        if self.database in self.databases:
            return good(f"{self.database} is in the list.", self.database)
        detail = f"{self.database} is not in the list that Odoo shows for the Host header {self.target.host_header}."
        return CheckState.FAILED, detail, "missing", FILTER_HINT, ErrorCode.DATABASE_NOT_FOUND

    def temporary_space(self) -> Answer:
        detail = "Odoo copies the filestore, writes the dump and packs both in its temporary directory before it sends."
        return (
            CheckState.SKIPPED,
            detail,
            "not measurable",
            "Keep twice the filestore free in /tmp of Odoo's machine; for large databases Odoo over PostgreSQL needs "
            "none of it.",
            None,
        )


def probe(client: OdooClient, database: str | None, reporter: Reporter) -> list[Check]:
    """All checks in order; after a failure on the way to Odoo the later ones are skipped. Raises TaskStopped only."""
    try:
        target = client.target()
    except HoldfastError as error:
        key = "tls" if error.code is ErrorCode.PLAIN_HTTP_REFUSED else "dns"
        failed = check_of(key, _TITLES, (CheckState.FAILED, error.message, "refused", error.hint, error.code))
        return [failed if name == key else check_of(name, _TITLES, None) for name in _TITLES]
    questions = _Probe(client, database, reporter, target)
    checks: list[Check] = []
    blocked: set[str] = set()
    for key, title in _TITLES.items():
        reporter.check()
        reporter.step(key, title)
        checks.append(check_of(key, _TITLES, None if key in blocked else asked(getattr(questions, key))))
        if checks[-1].state is CheckState.FAILED:
            blocked |= _blocked_by(key)
    return checks


def _blocked_by(key: str) -> set[str]:
    """What cannot be asked once ``key`` failed."""
    later = list(_TITLES)[list(_TITLES).index(key) + 1 :]
    if key in ("dns", "tcp", "tls", "odoo"):
        return set(later)
    return {"database_manager": {"master_password"}, "database_list": {"database_known"}}.get(key, set())


def _words(certificate: PeerCertificate) -> str:
    return (
        f"{certificate.subject}, issued by {certificate.issuer}, valid until {certificate.not_after:%Y-%m-%d}, SHA-256 "
        f"{certificate.fingerprint}."
    )


def _judge(certificate: PeerCertificate | None, now: datetime) -> Answer:
    if certificate is None:
        return CheckState.WARNING, "The server showed no certificate.", "", "", ErrorCode.TLS_FAILED
    days = (certificate.not_after - now).days
    if days < _SOON_DAYS:
        hint = "Renew the certificate on the server; backups stop when it expires, unless its fingerprint is pinned."
        return CheckState.WARNING, _words(certificate), f"{days} days left", hint, ErrorCode.TLS_FAILED
    return good(_words(certificate), f"{days} days left")
