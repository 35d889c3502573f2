"""Forms of an instance: what the browser sent becomes a draft; fields that no form has are ignored and said in the log."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from werkzeug.datastructures import MultiDict

from webapp.core.errors import InvalidInput
from webapp.core.plans import Secret
from webapp.core.status import InstanceKind
from webapp.services.instance_rules import SECRET_FIELDS, InstanceDraft

logger = logging.getLogger(__name__)

Form = MultiDict[str, str]

KIND_WORDS = {
    InstanceKind.ODOO_POSTGRES: (
        "Odoo over PostgreSQL",
        "pg_dump and the filestore: fastest, and nothing is asked of Odoo.",
    ),
    InstanceKind.ODOO_HTTP: ("Odoo over HTTP", "The database manager and its master password: no other access needed."),
    InstanceKind.POSTGRES: ("PostgreSQL", "A database server without Odoo."),
    InstanceKind.HOST: (
        "Host",
        "Files of any machine, pulled by rsync over SSH into snapshots that share what did not change.",
    ),
}
TEXT_FIELDS = [
    "name",
    "customer",
    "notes",
    "tags",
    "url",
    "host_header",
    "tls_ca_pem",
    "tls_fingerprint",
    "pg_host",
    "pg_port",
    "pg_user",
    "pg_sslmode",
    "pg_ssl_root_cert",
    "pg_maintenance_database",
    "filestore_kind",
    "filestore_path",
    "ssh_host",
    "ssh_port",
    "ssh_user",
    "database_selection",
    "target_age_hours",
]
HOST_FIELDS = [
    "paths",
    "includes",
    "excludes",
    "one_file_system",
    "bandwidth_kib",
    "rsync_options",
    "shrink_percent",
    "sentinel_files",
    "accepted_errors",
    "backup_root",
    "directory",
]
TEXT_FIELDS += HOST_FIELDS
TICKS = ("allow_plain_http", "pg_through_ssh", "new_ssh_key", "own_excludes_only", "own_rsync_options")
KNOWN = frozenset({"csrf_token", "kind", "version", "databases", "clear", "then", *TEXT_FIELDS, *TICKS, *SECRET_FIELDS})
PAUSE_HOURS = (1, 4, 24, 72, 168, 720)


def read_instance(form: Form, kind: str) -> InstanceDraft:
    """The draft. Secrets are taken as they are, so that spaces at their ends count; line ends of a key do not matter."""
    warn_of_unknown(form, KNOWN)
    texts = {name: form[name] for name in TEXT_FIELDS if name in form}
    ticks = {name: form.get(name) == "1" for name in TICKS}
    secrets = {name: Secret(form.get(name, "")) for name in SECRET_FIELDS}
    return InstanceDraft(
        kind=kind,
        databases=read_names(form),
        clear=frozenset(form.getlist("clear")) & frozenset(SECRET_FIELDS),
        **texts,  # type: ignore[arg-type]
        **ticks,  # type: ignore[arg-type]
        **secrets,  # type: ignore[arg-type]
    )


def read_names(form: Form) -> tuple[str, ...]:
    """Database names from ticks and from the lines of a text field."""
    return tuple(line for value in form.getlist("databases") for line in value.replace("\r\n", "\n").split("\n"))


def read_version(form: Form) -> int:
    """The version that the form was made from; 0 (which is never current) when it is missing or no number."""
    text = form.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def read_until(form: Form, now: datetime, *, needed: bool = False) -> datetime | None:
    """The end of a pause or mute, from a number of hours; "" means no end."""
    text = form.get("hours", "")
    if not text and not needed:
        return None
    if text not in {str(hours) for hours in PAUSE_HOURS}:
        raise InvalidInput("Choose how long.", field="hours")
    return now + timedelta(hours=int(text))


def warn_of_unknown(form: Form, known: frozenset[str]) -> None:
    """Say which fields were ignored: somebody may be trying to set what no form offers."""
    unknown = sorted(set(form) - known)
    if unknown:
        logger.warning("ignored form fields: %s", ", ".join(repr(name[:40]) for name in unknown[:10]))
