"""What a test needs to take a backup from the Odoo-like server: plans and short limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.odoo_like import OdooLike
from webapp.core.plans import BackupPlan, OdooHttpPlan, Secret, TlsPlan
from webapp.core.status import ArchiveFormat, Content
from webapp.engine.http import HttpLimits
from webapp.engine.sources.odoo_http import OdooHttpSource

PASSWORD = "correct horse"
PLAIN = TlsPlan(allow_plain_http=True)
# Short enough for tests that wait for a limit, long enough for a busy machine.
IMPATIENT = HttpLimits(
    connect_seconds=5, first_byte_seconds=0.6, idle_seconds=0.6, slowest_bytes_per_second=200, slow_window_seconds=0.5
)


def http_plan(odoo: OdooLike, **changes: Any) -> OdooHttpPlan:
    """A plan that reaches the server, with some of its values changed."""
    values: dict[str, Any] = {"url": odoo.url, "master_password": Secret(PASSWORD), "tls": PLAIN, **changes}
    return OdooHttpPlan(**values)


def source_for(odoo: OdooLike, *, limits: HttpLimits = IMPATIENT, **changes: Any) -> OdooHttpSource:
    """A source that reads the server."""
    return OdooHttpSource(http_plan(odoo, **changes), limits=limits)


def backup_plan(odoo: OdooLike, **changes: Any) -> BackupPlan:
    """One backup of ``prod`` as a zip with its filestore, with some values changed."""
    values: dict[str, Any] = {
        "run_id": 1,
        "fence": 1,
        "attempt": 1,
        "instance_id": 1,
        "instance_name": "Acme",
        "instance_directory": "1-acme",
        "job_id": None,
        "database": "prod",
        "content": Content.DATABASE_AND_FILESTORE,
        "format": ArchiveFormat.ZIP,
        "source": http_plan(odoo),
        "store_directory": "/nonexistent",
        "started_at": datetime(2026, 11, 22, 5, 30, tzinfo=UTC),
        **changes,
    }
    return BackupPlan(**values)


def custom(**changes: Any) -> dict[str, Any]:
    """Changes for a database-only custom dump."""
    return {"content": Content.DATABASE, "format": ArchiveFormat.CUSTOM, **changes}
