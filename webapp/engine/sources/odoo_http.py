"""Odoo over HTTP: the backup that ``/web/database/backup`` makes, taken only when nothing about it is missing.

Odoo answers failures with pages and status 200, sends no length, and takes any password as its new master password
while that is still the default. So: the manager page is read first and must show that a master password is set; the
master password goes to the named host only; what is taken must begin as an archive and, being a zip, end as one.

What *content* and *format* mean here (Odoo makes no other combination):

- database and filestore, zip: ``backup_format=zip``;
- database only, custom: ``backup_format=dump`` (PostgreSQL's custom format);
- database only, zip: ``backup_format=zip`` with ``filestore=false``, which Odoo knows from 19.0 on;
- database and filestore, custom: impossible, refused.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from webapp.core.errors import InvalidInput, SourceError
from webapp.core.plans import BackupPlan, OdooHttpPlan
from webapp.core.reports import Check, SourceFacts
from webapp.core.status import ArchiveFormat, Content, ErrorCode
from webapp.engine.http import USUAL_LIMITS, HttpLimits, Response, truncated
from webapp.engine.report import Reporter, SilentReporter
from webapp.engine.sources.base import Sink
from webapp.engine.sources.odoo_answers import PAGE_BYTES, SLOW_HINT, refusal
from webapp.engine.sources.odoo_client import OdooClient, OdooVersion, require_safe
from webapp.engine.sources.odoo_probe import probe
from webapp.engine.sources.zip_tail import ZipTail

_MAGIC = {ArchiveFormat.ZIP: b"PK\x03\x04", ArchiveFormat.CUSTOM: b"PGDMP"}
_ODOO_FORMAT = {ArchiveFormat.ZIP: "zip", ArchiveFormat.CUSTOM: "dump"}
_FILESTORE_FIELD_SINCE = 19
_GIB = 1024**3
_NEAR = 16 * 1024**2


class OdooHttpSource:
    """Reads one Odoo through its database manager. See ``Source`` for the promises."""

    def __init__(self, plan: OdooHttpPlan, *, limits: HttpLimits = USUAL_LIMITS) -> None:
        self._client = OdooClient(plan, limits)

    def list_databases(self) -> list[str]:
        """Names that Odoo shows for this Host header, sorted. Raises SourceError."""
        return self._client.databases(SilentReporter())

    def probe(self, database: str | None, reporter: Reporter) -> list[Check]:
        """See ``Source.probe``; the master password is not sent."""
        return probe(self._client, database, reporter)

    def write_archive(self, plan: BackupPlan, sink: Sink, reporter: Reporter) -> SourceFacts:
        """See ``Source.write_archive``.

        1. Read the version and refuse what Odoo cannot make. 2. Read the manager page; go on only if a master password
        is set. 3. Ask for the backup. 4. Pass its bytes on, and look at its beginning and, being a zip, its end.

        A custom-format archive says nowhere how long it is: only a full parse tells whether it is whole.
        """
        _refuse_impossible(plan)
        reporter.step("connect", "Ask Odoo", self._client.target().place)
        version = self._client.version(reporter)
        fields = backup_fields(plan, version)
        require_safe(self._client.manager(reporter))
        reporter.step("dump", "Odoo makes the backup", plan.database)
        reporter.progress(0, None, message="Waiting for the first byte")
        asked_at, began = datetime.now(UTC), time.monotonic()
        with self._client.backup(fields, reporter, largest_bytes=plan.largest_bytes) as response:
            tail = self._receive(response, plan.format, sink, reporter)
        problem = tail.problem() if plan.format is ArchiveFormat.ZIP else ""
        if problem:
            hint = truncation_hint(tail.size, time.monotonic() - began)
            raise truncated(f"The backup is cut off after {tail.size:,} bytes: {problem}.", hint)
        return SourceFacts(snapshot_at=asked_at.isoformat(), versions={"odoo": version.text} if version else {})

    def _receive(self, response: Response, kind: ArchiveFormat, sink: Sink, reporter: Reporter) -> ZipTail:
        tail = ZipTail()
        for block in response.chunks():
            if not tail.size:
                self._require_archive(response, kind, block)
                reporter.step("receive", "Receive the archive")
            sink.write(block)
            tail.feed(block)
            reporter.progress(tail.size, response.expected_bytes)
        if not tail.size:
            self._require_archive(response, kind, memoryview(b""))
        return tail

    def _require_archive(self, response: Response, kind: ArchiveFormat, first: memoryview) -> None:
        """Neither status nor content type is believed alone: the bytes must begin as the format asked for does."""
        magic = _MAGIC[kind]
        beginning = bytes(first[: len(magic)])
        if response.status != 200:
            raise self._refusal(response, first)
        if beginning == magic:
            return
        if not beginning and kind is ArchiveFormat.CUSTOM:
            raise SourceError(
                "Odoo sent an empty dump: pg_dump failed inside Odoo, which does not notice.",
                hint=(
                    "Odoo's log at this time tells why pg_dump failed. Does the database exist under exactly this name?"
                ),
                code=ErrorCode.SOURCE_BACKUP_FAILED,
            )
        if beginning and magic.startswith(beginning):
            raise truncated(f"The backup is cut off after {len(beginning)} bytes.", truncation_hint(len(beginning), 0))
        raise self._refusal(response, first)

    def _refusal(self, response: Response, first: memoryview) -> SourceError:
        return refusal(response.status, response.headers, bytes(first[:PAGE_BYTES]), self._client.plan.master_password)


def _refuse_impossible(plan: BackupPlan) -> None:
    if plan.format is ArchiveFormat.CUSTOM and plan.content is not Content.DATABASE:
        raise InvalidInput(
            "PostgreSQL's custom format holds no filestore.",
            field="format",
            hint="Choose the zip format, or database only as content.",
        )


def backup_fields(plan: BackupPlan, version: OdooVersion | None) -> dict[str, str]:
    """The form of a backup without the master password. Raises InvalidInput for what this Odoo cannot make."""
    fields = {"name": plan.database, "backup_format": _ODOO_FORMAT[plan.format]}
    if plan.format is ArchiveFormat.CUSTOM:
        return fields
    knows_field = version is not None and version.major >= _FILESTORE_FIELD_SINCE
    if knows_field:
        fields["filestore"] = "true" if plan.content is Content.DATABASE_AND_FILESTORE else "false"
    elif plan.content is Content.DATABASE:
        shown = f"Odoo {version.text}" if version else "An Odoo of unknown version"
        raise InvalidInput(
            f"{shown} makes no zip of the database alone (19.0 and later do).",
            field="format",
            hint="Choose the custom format for database only, or keep the filestore in the zip.",
        )
    return fields


def truncation_hint(size: int, seconds: float) -> str:
    """What probably cut a body off after so many bytes and seconds."""
    if abs(size - _GIB) < _NEAR:
        return (
            "Cut at 1 GiB: nginx stops there by default. Set proxy_max_temp_file_size 0 and proxy_buffering off for "
            "/web/database/, and raise proxy_read_timeout."
        )
    if seconds >= 55:
        return f"It ended after {seconds:,.0f} seconds. {SLOW_HINT}"
    return (
        "Odoo or its proxy ended the connection: see Odoo's log for limit_time_real, limit_memory_hard or a socket "
        "timeout (ODOO_HTTP_SOCKET_TIMEOUT), and nginx's for proxy_max_temp_file_size and proxy_read_timeout."
    )
