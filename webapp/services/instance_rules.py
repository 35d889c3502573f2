"""What an instance may be: the draft that a form, the shell or the API gives, and the one place where it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from webapp.core.naming import check_database_name
from webapp.core.plans import NO_SECRET, Secret
from webapp.core.status import DatabaseSelection, FilestoreKind, InstanceKind
from webapp.services.drafts import DraftCheck
from webapp.services.host_rules import HostDraft, check_address, check_host, host_values
from webapp.services.instance_values import (
    read_certificates,
    read_databases,
    read_filestore_path,
    read_fingerprint,
    read_host_header,
    read_pg_host,
    read_tags,
    read_url,
)
from webapp.store.db import db
from webapp.store.models import Host, Instance

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SECRET_FIELDS = ("master_password", "pg_password", "ssh_private_key")
NO_NAMES: list[str] = []
_UNUSED = {
    InstanceKind.ODOO_HTTP: {"pg_password", "ssh_private_key"},
    InstanceKind.HOST: {"master_password", "pg_password"},
}


@dataclass(frozen=True, slots=True)
class InstanceDraft(HostDraft):
    """What a person typed, not yet checked; the fields of a HostDraft count for hosts only.

    Empty secrets mean «as stored»; ``clear`` names those to forget.
    """

    kind: str = InstanceKind.ODOO_HTTP.value
    name: str = ""
    customer: str = ""
    notes: str = ""
    tags: str = ""
    url: str = ""
    host_header: str = ""
    master_password: Secret = NO_SECRET
    tls_ca_pem: str = ""
    tls_fingerprint: str = ""
    allow_plain_http: bool = False
    pg_host: str = ""
    pg_port: str = "5432"
    pg_user: str = ""
    pg_password: Secret = NO_SECRET
    pg_sslmode: str = "prefer"
    pg_ssl_root_cert: str = ""
    pg_maintenance_database: str = "postgres"
    pg_through_ssh: bool = False
    filestore_kind: str = FilestoreKind.NONE.value
    filestore_path: str = ""
    ssh_host: str = ""
    ssh_port: str = "22"
    ssh_user: str = ""
    ssh_private_key: Secret = NO_SECRET
    new_ssh_key: bool = False
    database_selection: str = DatabaseSelection.SINGLE.value
    databases: tuple[str, ...] = ()
    target_age_hours: str = "26"
    clear: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class CheckedInstance:
    """A draft that passed. ``columns``: what is not secret; ``secrets``: only those that change, None to forget one.

    ``host``: the columns of the host's row, None for other kinds.
    """

    columns: dict[str, Any]
    secrets: dict[str, Secret | None]
    uses_ssh: bool
    host: dict[str, Any] | None = None


def check_draft(draft: InstanceDraft, stored_secrets: frozenset[str]) -> CheckedInstance:
    """The checked values; ``stored_secrets`` names the secrets that the row has already. Raises InvalidDraft."""
    check = DraftCheck()
    kind = check.word("kind", draft.kind, InstanceKind, label="The kind")
    columns: dict[str, Any] = {"kind": kind, **_common(check, draft)}
    host = None
    if kind is InstanceKind.HOST:
        columns |= check_address(check, draft.ssh_host, port=draft.ssh_port, user=draft.ssh_user)
        host = check_host(check, draft)
    elif kind is InstanceKind.ODOO_HTTP:
        columns |= _odoo_http(check, draft, stored_secrets) | _databases(check, draft)
    else:
        columns |= _postgres(check, draft, kind) | _databases(check, draft)
    secrets = _secrets(draft, kind)
    check.finish()
    return CheckedInstance(columns, secrets, uses_ssh=bool(columns.get("ssh_host")), host=host)


def _common(check: DraftCheck, draft: InstanceDraft) -> dict[str, Any]:
    return {
        "name": check.text("name", draft.name, label="The name", most=128, needed=True),
        "customer": check.text("customer", draft.customer, label="The customer", most=128),
        "notes": check.lines("notes", draft.notes, label="The notes", most=10_000),
        "tags": check.take("tags", read_tags, draft.tags, default=NO_NAMES),
        "target_age_hours": check.number(
            "target_age_hours", draft.target_age_hours, label="The target", low=1, high=8784
        ),
    }


def _odoo_http(check: DraftCheck, draft: InstanceDraft, stored: frozenset[str]) -> dict[str, Any]:
    url = check.take("url", read_url, draft.url, default="")
    if url.startswith("http://") and not draft.allow_plain_http:
        check.refuse(
            "allow_plain_http",
            "This address is plain HTTP, so the master password would travel unencrypted.",
            "Use https://, or tick the box if you accept that.",
        )
    if not draft.master_password and ("master_password" not in stored or "master_password" in draft.clear):
        check.refuse(
            "master_password", "The master password is missing.", "It is admin_passwd in Odoo's configuration."
        )
    return {
        "url": url,
        "allow_plain_http": draft.allow_plain_http and url.startswith("http://"),
        "host_header": check.take("host_header", read_host_header, draft.host_header, default=""),
        "tls_ca_pem": check.take("tls_ca_pem", read_certificates, draft.tls_ca_pem, default=""),
        "tls_fingerprint": check.take("tls_fingerprint", read_fingerprint, draft.tls_fingerprint, default=""),
    }


def _postgres(check: DraftCheck, draft: InstanceDraft, kind: InstanceKind) -> dict[str, Any]:
    columns = {
        "pg_host": check.take("pg_host", read_pg_host, draft.pg_host, draft.pg_through_ssh, default=""),
        "pg_port": check.number("pg_port", draft.pg_port, label="The port", low=1, high=65535),
        "pg_user": check.text("pg_user", draft.pg_user, label="The user", most=63, needed=True),
        "pg_sslmode": draft.pg_sslmode if draft.pg_sslmode in SSL_MODES else "prefer",
        "pg_ssl_root_cert": check.take("pg_ssl_root_cert", read_certificates, draft.pg_ssl_root_cert, default=""),
        "pg_maintenance_database": check.take(
            "pg_maintenance_database",
            check_database_name,
            draft.pg_maintenance_database.strip() or "postgres",
            default="",
        ),
        "pg_through_ssh": draft.pg_through_ssh,
    }
    if draft.pg_sslmode not in SSL_MODES:
        check.refuse("pg_sslmode", "TLS: choose one of the options.")
    columns |= _filestore(check, draft, kind)
    if draft.pg_through_ssh or columns["filestore_kind"] is FilestoreKind.SSH:
        columns |= check_address(check, draft.ssh_host, port=draft.ssh_port, user=draft.ssh_user)
    else:
        columns |= {"ssh_host": "", "ssh_user": "", "ssh_port": 22}
    return columns


def _filestore(check: DraftCheck, draft: InstanceDraft, kind: InstanceKind) -> dict[str, Any]:
    if kind is not InstanceKind.ODOO_POSTGRES:
        return {"filestore_kind": FilestoreKind.NONE, "filestore_path": ""}
    where = check.word("filestore_kind", draft.filestore_kind, FilestoreKind, label="The filestore")
    if where is FilestoreKind.NONE:
        return {"filestore_kind": where, "filestore_path": ""}
    path = check.take("filestore_path", read_filestore_path, draft.filestore_path, default="")
    return {"filestore_kind": where, "filestore_path": path}


def _databases(check: DraftCheck, draft: InstanceDraft) -> dict[str, Any]:
    selection = check.word("database_selection", draft.database_selection, DatabaseSelection, label="The databases")
    names = check.take("databases", read_databases, selection, draft.databases, default=NO_NAMES)
    return {"database_selection": selection, "databases": names}


def _secrets(draft: InstanceDraft, kind: InstanceKind) -> dict[str, Secret | None]:
    """The secrets that change: typed ones, and those to forget, which includes the ones that this kind has no use for."""
    unused = _UNUSED.get(kind, {"master_password"})
    changes: dict[str, Secret | None] = {}
    for name in SECRET_FIELDS:
        typed: Secret = getattr(draft, name)
        if name in unused or (name in draft.clear and not typed):
            changes[name] = None
        elif typed:
            changes[name] = typed
    return changes


def draft_of(instance: Instance) -> InstanceDraft:
    """The stored values as a draft, for the form: everything but the secrets, which no form shows."""
    host = db.session.get(Host, instance.id)
    return InstanceDraft(
        kind=instance.kind.value,
        name=instance.name,
        customer=instance.customer,
        notes=instance.notes,
        tags=", ".join(instance.tags),
        url=instance.url,
        host_header=instance.host_header,
        tls_ca_pem=instance.tls_ca_pem,
        tls_fingerprint=instance.tls_fingerprint,
        allow_plain_http=instance.allow_plain_http,
        pg_host=instance.pg_host,
        pg_port=str(instance.pg_port),
        pg_user=instance.pg_user,
        pg_sslmode=instance.pg_sslmode,
        pg_ssl_root_cert=instance.pg_ssl_root_cert,
        pg_maintenance_database=instance.pg_maintenance_database,
        pg_through_ssh=instance.pg_through_ssh,
        filestore_kind=instance.filestore_kind.value,
        filestore_path=instance.filestore_path,
        ssh_host=instance.ssh_host,
        ssh_port=str(instance.ssh_port),
        ssh_user=instance.ssh_user,
        database_selection=instance.database_selection.value,
        databases=tuple(instance.databases),
        target_age_hours=str(instance.target_age_hours),
        **(host_values(host) if host is not None else {}),
    )
