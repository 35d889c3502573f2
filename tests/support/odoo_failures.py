"""The scripted failures of an Odoo and of what stands before it, one a line: used at the source and for whole backups."""
# ruff: noqa: E501 - the table reads best with one failure a line

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import http_faults as faults
from tests.support import odoo_pages as pages
from tests.support.http_faults import Answer, Sender
from tests.support.odoo_like import HTML, JSON, OdooLike
from tests.support.odoo_runs import backup_plan, custom
from tests.support.odoo_zip import odoo_zip
from webapp.core.plans import Secret
from webapp.core.status import ErrorCode

OCTETS = (("Content-Type", "application/octet-stream"),)
GOOD = odoo_zip("prod")
PDF = b"%PDF-1.7\n" + b"x" * 5000


@dataclass(frozen=True)
class Failure:
    """One row of the table: a server, perhaps an answer in place of its own, and the code that must come of it."""

    id: str
    code: ErrorCode
    server: dict[str, Any] = field(default_factory=dict)
    backup: Sender | None = None
    instead: Answer | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    posted: bool = True  # Whether the master password may have been posted.


def _to(location: str, status: int) -> Answer:
    return Answer(status, (("Location", location),))


E = ErrorCode
ELSEWHERE = "http://127.0.0.2:9/web/database/backup"
WRONG = {"master_password": Secret("not it")}
FAILURES = [
    # Odoo says no (F01, F10), in every version
    *(Failure(f"wrong password {v}", E.AUTH_FAILED, {"version": v}, source=WRONG) for v in ("15.0", "16.0", "17.0", "18.0", "19.0", "dev")),
    *(Failure(f"wrong password, custom, {v}", E.AUTH_FAILED, {"version": v}, plan=custom(), source=WRONG) for v in ("17.0", "dev")),
    *(Failure(f"list_db off {v}", E.DATABASE_MANAGER_DISABLED, {"version": v, "list_db": False}, posted=False) for v in ("17.0", "18.0", "dev")),
    *(Failure(f"unknown database {v}", E.DATABASE_NOT_FOUND, {"version": v}, plan={"database": "nope"}) for v in ("18.0", "19.0", "dev")),
    Failure("unknown database 17, zip", E.SOURCE_BACKUP_FAILED, {"version": "17.0"}, plan={"database": "nope"}),
    Failure("unknown database 17, custom", E.SOURCE_BACKUP_FAILED, {"version": "17.0"}, plan=custom(database="nope")),
    Failure("dbfilter hides it", E.DATABASE_NOT_FOUND, {"dbfilter": "^%d$"}),
    Failure("dbfilter, other host header", E.DATABASE_NOT_FOUND, {"dbfilter": "^%d$"}, source={"host_header": "test.example.com"}),
    Failure("pg_dump fails, zip", E.SOURCE_BACKUP_FAILED, {"backup_error": "Command 'pg_dump' returned non-zero exit status 1."}),
    Failure("pg_dump fails, dev", E.SOURCE_BACKUP_FAILED, {"version": "dev", "backup_error": "pg_dump: error: connection lost"}),
    Failure("pg_dump fails, custom, empty", E.SOURCE_BACKUP_FAILED, {"backup_error": "boom"}, plan=custom()),
    Failure("disk full at odoo", E.SOURCE_BACKUP_FAILED, {"backup_error": "[Errno 28] No space left on device"}),
    # The default master password (F09): nothing may be posted
    *(Failure(f"insecure default {v}", E.INSECURE_MASTER_PASSWORD, {"version": v, "master_password": "admin"}, posted=False) for v in ("15.0", "17.0", "18.0", "dev")),
    Failure("insecure, no database shown", E.INSECURE_MASTER_PASSWORD, {"master_password": "admin", "dbfilter": "^%d$"}, posted=False),
    Failure("insecure, and admin is ours", E.INSECURE_MASTER_PASSWORD, {"master_password": "admin"}, source={"master_password": Secret("admin")}, posted=False),
    # Something else answers (F02)
    Failure("login page", E.NOT_A_BACKUP, instead=Answer(200, HTML, pages.LOGIN)),
    Failure("maintenance page", E.NOT_A_BACKUP, instead=Answer(200, HTML, pages.MAINTENANCE)),
    Failure("firewall page", E.NOT_A_BACKUP, instead=Answer(200, HTML, pages.WAF)),
    Failure("captive portal", E.NOT_A_BACKUP, instead=Answer(200, HTML, pages.CAPTIVE)),
    Failure("json", E.NOT_A_BACKUP, instead=Answer(200, JSON, pages.ERROR_JSON)),
    Failure("plain text", E.NOT_A_BACKUP, instead=Answer(200, (("Content-Type", "text/plain"),), b"OK")),
    Failure("html called a zip", E.NOT_A_BACKUP, instead=Answer(200, (("Content-Type", "application/zip"),), pages.LOGIN)),
    Failure("pdf", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, PDF)),
    Failure("no content type", E.NOT_A_BACKUP, instead=Answer(200, (), b"\x00" * 4096)),
    Failure("empty body", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, b"")),
    Failure("no content, 204", E.HTTP_ERROR, instead=Answer(204)),
    Failure("part, 206", E.HTTP_ERROR, instead=Answer(206, OCTETS, GOOD)),
    Failure("compressed by a proxy", E.NOT_A_BACKUP, instead=Answer(200, (*OCTETS, ("Content-Encoding", "gzip")), b"\x1f\x8b\x08" + GOOD)),
    Failure("custom dump for a zip", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, b"PGDMP\x01\x0e" + b"x" * 500)),
    Failure("zip for a custom dump", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, GOOD), plan=custom()),
    Failure("sql for a custom dump", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, b"--\n-- PostgreSQL database dump\n"), plan=custom()),
    Failure("empty zip", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, b"PK\x05\x06" + bytes(18))),
    Failure("zip after a banner", E.NOT_A_BACKUP, instead=Answer(200, OCTETS, b"\n" + GOOD)),
    # Statuses of proxies
    *(Failure(f"status {s}", E.HTTP_ERROR, instead=Answer(s, HTML, b"<h1>No</h1>")) for s in (400, 401, 403, 404, 405, 407, 413, 421, 429)),
    *(Failure(f"status {s}", E.HTTP_ERROR, instead=Answer(s, HTML, pages.NGINX_504)) for s in (500, 502, 503, 504, 520)),
    Failure("error status with a zip", E.HTTP_ERROR, instead=Answer(500, OCTETS, GOOD)),
    # Redirects (F10)
    *(Failure(f"redirect {s}", E.REDIRECTED, instead=_to(ELSEWHERE, s)) for s in (301, 302, 303, 307, 308)),
    Failure("redirect to login", E.REDIRECTED, instead=_to("/web/login", 303)),
    Failure("redirect nowhere", E.REDIRECTED, instead=Answer(302)),
    Failure("redirect with a zip", E.REDIRECTED, instead=Answer(307, (("Location", ELSEWHERE),), GOOD)),
    # Bodies that are less than whole (F03, F04)
    Failure("cut, prefork", E.TRUNCATED, backup=faults.cut(2000)),
    Failure("cut in the magic", E.TRUNCATED, backup=faults.cut(3)),
    Failure("cut before the last byte", E.TRUNCATED, backup=faults.cut(len(GOOD) - 1)),
    Failure("cut before the end record", E.TRUNCATED, backup=faults.cut(len(GOOD) - 22)),
    Failure("short content-length", E.TRUNCATED, backup=faults.short_length(2000)),
    Failure("content-length of a half", E.TRUNCATED, backup=faults.nonsense_length),
    Failure("unterminated chunks", E.TRUNCATED, backup=faults.unterminated_chunks(2000)),
    Failure("unterminated, yet all bytes", E.TRUNCATED, backup=faults.unterminated_chunks(len(GOOD))),
    Failure("broken chunk", E.TRUNCATED, backup=faults.broken_chunk),
    Failure("nonsense chunk size", E.TRUNCATED, backup=faults.nonsense_chunk_size),
    Failure("reset", E.CONNECTION_LOST, backup=faults.reset(2000)),
    Failure("junk after the end", E.TRUNCATED, instead=Answer(200, OCTETS, GOOD + b"<!-- proxy -->")),
    Failure("two zips glued", E.TRUNCATED, instead=Answer(200, OCTETS, GOOD[:1000] + GOOD)),
    Failure("custom, short content-length", E.TRUNCATED, backup=faults.short_length(100), plan=custom()),
    Failure("custom, cut in the magic", E.TRUNCATED, backup=faults.cut(3), plan=custom()),
    Failure("custom, unterminated chunks", E.TRUNCATED, backup=faults.unterminated_chunks(4096), plan=custom()),
    # Silence, trickles, floods (F04, F14)
    Failure("no answer", E.STALLED, backup=faults.silent),
    Failure("stall in the body", E.STALLED, backup=faults.stall(2000)),
    Failure("stall before the end", E.STALLED, backup=faults.stall(len(GOOD))),
    Failure("drip", E.STALLED, backup=faults.drip(0.05)),
    Failure("endless", E.TOO_LARGE, backup=faults.endless, plan={"largest_bytes": 4 * 1024**2}),
    Failure("larger than allowed", E.TOO_LARGE, plan={"largest_bytes": 1000}),
    # Not HTTP
    Failure("empty reply", E.CONNECTION_LOST, backup=faults.empty_reply),
    Failure("reset instead of an answer", E.CONNECTION_LOST, backup=faults.reset_reply),
    Failure("garbage", E.HTTP_ERROR, backup=faults.garbage),
    Failure("half a head", E.HTTP_ERROR, backup=faults.half_head),
    Failure("huge head", E.HTTP_ERROR, backup=faults.huge_head),
    Failure("a thousand headers", E.HTTP_ERROR, backup=faults.many_headers),
    # What Odoo cannot make, or we will not do
    Failure("custom with filestore", E.INVALID_CONFIGURATION, plan={**custom(), "content": backup_plan(OdooLike()).content}, posted=False),
    Failure("zip without filestore, 18", E.INVALID_CONFIGURATION, plan={"content": custom()["content"]}, posted=False),
    Failure("url with a user", E.INVALID_CONFIGURATION, source={"url": "http://bob:x@127.0.0.1:1"}, posted=False),
    Failure("other scheme", E.INVALID_CONFIGURATION, source={"url": "gopher://127.0.0.1:1"}, posted=False),
    Failure("line break in the host header", E.INVALID_CONFIGURATION, source={"host_header": "a\r\nX-Evil: 1"}, posted=False),
    Failure("nobody listens", E.CONNECTION_FAILED, source={"url": "http://127.0.0.1:1"}, posted=False),
    Failure("no such name", E.DNS_FAILED, source={"url": "http://odoo.invalid"}, posted=False),
    Failure("metadata address", E.ADDRESS_REFUSED, source={"url": "http://169.254.169.254"}, posted=False),
    Failure("metadata address in v6", E.ADDRESS_REFUSED, source={"url": "http://[::ffff:169.254.169.254]"}, posted=False),
]  # fmt: skip


@contextmanager
def failing_server(failure: Failure) -> Iterator[OdooLike]:
    """A server that fails as the row says."""
    with OdooLike(**failure.server) as odoo:
        odoo.backup = faults.instead(failure.instead) if failure.instead else failure.backup
        yield odoo
