"""Drafts that pass, to be changed one field at a time, and the same as forms of the browser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from webapp.core.plans import Secret
from webapp.services.instance_rules import InstanceDraft
from webapp.services.job_drafts import HOST_DRAFT
from webapp.services.job_rules import JobDraft

MASTER_PASSWORD = "correct horse battery staple"

ODOO_HTTP = InstanceDraft(
    kind="odoo_http",
    name="acme-prod",
    url="https://erp.acme.example",
    master_password=Secret(MASTER_PASSWORD),
    database_selection="all",
)
ODOO_POSTGRES = InstanceDraft(
    kind="odoo_postgres",
    name="globex-prod",
    pg_host="db.globex.example",
    pg_user="odoo",
    pg_password=Secret("pg " + MASTER_PASSWORD),
    filestore_kind="local",
    filestore_path="/var/lib/odoo/filestore",
    database_selection="single",
    databases=("globex",),
)
POSTGRES = InstanceDraft(
    kind="postgres", name="initech-db", pg_host="127.0.0.1", pg_user="backup", databases=("books", "stock"),
    database_selection="selected",
)  # fmt: skip
HOST = InstanceDraft(
    kind="host", name="web-01", ssh_host="web-01.example.net", ssh_user="root", paths="/etc\n/srv/www", excludes="*.tmp",
)  # fmt: skip
NIGHTLY_SNAPSHOT = replace(HOST_DRAFT, frequency="cron", cron="15 2 * * *", time_zone="Europe/Brussels")
NIGHTLY = JobDraft(name="Nightly", cron="30 2 * * *", time_zone="Europe/Brussels")

ODOO_HTTP_FORM: dict[str, Any] = {
    "kind": "odoo_http",
    "name": "acme-prod",
    "url": "https://erp.acme.example",
    "master_password": MASTER_PASSWORD,
    "database_selection": "all",
    "target_age_hours": "26",
}
NIGHTLY_FORM: dict[str, Any] = {
    "name": "Nightly",
    "enabled": "1",
    "content": "database_and_filestore",
    "format": "zip",
    "frequency": "cron",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Brussels",
    "spread_seconds": "0",
    "retention_mode": "keep_last_n",
    "retention_value": "7",
    "verification_level": "complete",
}


def changed(draft: InstanceDraft, **fields: Any) -> InstanceDraft:
    """The draft with other values."""
    return replace(draft, **fields)


def changed_job(draft: JobDraft, **fields: Any) -> JobDraft:
    """The draft with other values."""
    return replace(draft, **fields)
