"""What an instance may be: the draft that a form, the shell or the API gives, and the one place where it is checked."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from webapp.core.errors import InvalidInput
from webapp.core.naming import check_database_name
from webapp.core.plans import NO_SECRET, Secret
from webapp.core.status import DatabaseSelection, FilestoreKind, InstanceKind
from webapp.core.urls import normalise_url
from webapp.services.drafts import DraftCheck
from webapp.store.models import Instance

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SECRET_FIELDS = ("master_password", "pg_password", "ssh_private_key")
MOST_DATABASES = 200
MOST_TAGS = 20
NO_NAMES: list[str] = []
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_HOST_HEADER = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?", re.ASCII)
_SSH_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", re.ASCII)
_TAG = re.compile(r"[^\W_][\w.+-]{0,31}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class InstanceDraft:
    """What a person typed, not yet checked. Empty secrets mean «as stored»; ``clear`` names those to forget."""

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
    """A draft that passed. ``columns``: what is not secret; ``secrets``: only those that change, None to forget one."""

    columns: dict[str, Any]
    secrets: dict[str, Secret | None]
    uses_ssh: bool


def check_draft(draft: InstanceDraft, stored_secrets: frozenset[str]) -> CheckedInstance:
    """The checked values; ``stored_secrets`` names the secrets that the row has already. Raises InvalidDraft."""
    check = DraftCheck()
    kind = check.word("kind", draft.kind, InstanceKind, label="The kind")
    columns: dict[str, Any] = {"kind": kind, **_common(check, draft)}
    if kind is InstanceKind.ODOO_HTTP:
        columns |= _odoo_http(check, draft, stored_secrets)
    else:
        columns |= _postgres(check, draft, kind)
    columns |= _databases(check, draft)
    secrets = _secrets(draft, kind)
    check.finish()
    return CheckedInstance(columns, secrets, uses_ssh=bool(columns.get("ssh_host")))


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
        columns |= _ssh(check, draft)
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


def _ssh(check: DraftCheck, draft: InstanceDraft) -> dict[str, Any]:
    return {
        "ssh_host": check.take("ssh_host", read_host, draft.ssh_host, default=""),
        "ssh_port": check.number("ssh_port", draft.ssh_port, label="The SSH port", low=1, high=65535),
        "ssh_user": check.take("ssh_user", read_ssh_user, draft.ssh_user, default=""),
    }


def _databases(check: DraftCheck, draft: InstanceDraft) -> dict[str, Any]:
    selection = check.word("database_selection", draft.database_selection, DatabaseSelection, label="The databases")
    names = check.take("databases", read_databases, selection, draft.databases, default=NO_NAMES)
    return {"database_selection": selection, "databases": names}


def _secrets(draft: InstanceDraft, kind: InstanceKind) -> dict[str, Secret | None]:
    """The secrets that change: typed ones, and those to forget, which includes the ones that this kind has no use for."""
    unused = {"pg_password", "ssh_private_key"} if kind is InstanceKind.ODOO_HTTP else {"master_password"}
    changes: dict[str, Secret | None] = {}
    for name in SECRET_FIELDS:
        typed: Secret = getattr(draft, name)
        if name in unused or (name in draft.clear and not typed):
            changes[name] = None
        elif typed:
            changes[name] = typed
    return changes


# Reading single values: each answers the clean value or raises InvalidInput


def read_tags(text: str) -> list[str]:
    """Tags separated by commas or spaces, in lower case, each once, in the order typed."""
    tags = list(dict.fromkeys(part.lower() for part in re.split(r"[,\s]+", text.strip()) if part))
    if len(tags) > MOST_TAGS:
        raise InvalidInput(f"There are more than {MOST_TAGS} tags.")
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise InvalidInput(
                f"«{tag[:40]}» cannot be a tag.", hint="Use letters, digits, dots and hyphens; at most 32."
            )
    return tags


def read_url(text: str) -> str:
    """scheme://host[:port], however it was typed."""
    return normalise_url(text).url


def read_host(text: str) -> str:
    """A host name or an IP address, without scheme, user or port."""
    host = text.strip()
    if not host:
        raise InvalidInput("The host is missing.")
    if len(host) <= 255 and (_HOST.fullmatch(host) or _is_address(host)):
        return host
    raise InvalidInput(
        f"«{host[:60]}» is not a host name.", hint="Write the name or address alone, without port or path."
    )


def read_pg_host(text: str, through_ssh: bool) -> str:
    """A host, or the directory of a Unix socket on this machine."""
    host = text.strip()
    if host.startswith("/"):
        if through_ssh:
            raise InvalidInput("A Unix socket cannot be reached through SSH.", hint="Write 127.0.0.1 instead.")
        return read_path(host)
    return read_host(host)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def read_host_header(text: str) -> str:
    """A Host header: a name, and a port where needed."""
    header = text.strip()
    if header and not (len(header) <= 255 and _HOST_HEADER.fullmatch(header)):
        raise InvalidInput(
            f"«{header[:60]}» is not a host name.", hint="Write it as erp.example.com or erp.example.com:8069."
        )
    return header


def read_ssh_user(text: str) -> str:
    """A user name as SSH takes it."""
    user = text.strip()
    if not user:
        raise InvalidInput("The SSH user is missing.")
    if len(user) > 64 or not _SSH_USER.fullmatch(user):
        raise InvalidInput(f"«{user[:60]}» is not a user name.")
    return user


def read_path(text: str) -> str:
    """An absolute path that stays where it says."""
    path = text.strip()
    if not path.startswith("/"):
        raise InvalidInput("The path must be absolute.", hint="It begins with /.")
    if len(path) > 1024 or _CONTROLS.search(path):
        raise InvalidInput("The path holds characters that do not belong there, or is too long.")
    if ".." in path.split("/"):
        raise InvalidInput("The path must not hold «..».")
    return path if path == "/" else path.rstrip("/")


def read_filestore_path(text: str) -> str:
    """An absolute path in which the only brace is ``{database}``."""
    path = read_path(text)
    if re.search(r"[{}]", path.replace("{database}", "")):
        raise InvalidInput("The path holds braces that mean nothing.", hint="Only {database} is replaced.")
    return path


def read_certificates(text: str) -> str:
    """The certificates of a PEM text and nothing else; "" for none. A private key is refused, so it is never stored."""
    if not text.strip():
        return ""
    if "PRIVATE KEY" in text:
        raise InvalidInput("This text holds a private key.", hint="Paste certificates only. Consider that key exposed.")
    if len(text) > 100_000:
        raise InvalidInput("The certificates are longer than 100,000 characters.")
    try:
        found = x509.load_pem_x509_certificates(text.strip().encode())
    except ValueError:
        raise InvalidInput(
            "This is not a certificate in PEM form.", hint="It begins with -----BEGIN CERTIFICATE-----."
        ) from None
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)


def read_fingerprint(text: str) -> str:
    """SHA-256 of a certificate: 64 lower-case hex digits, however it was copied; "" for none."""
    clean = re.sub(r"^sha-?256( fingerprint)?\s*[:=]\s*", "", text.strip(), flags=re.IGNORECASE)
    digits = re.sub(r"[:\s]", "", clean).lower()
    if digits and not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InvalidInput(
            "The fingerprint is not a SHA-256 of 64 hex digits.",
            hint="openssl x509 -noout -fingerprint -sha256 -in server.pem prints it.",
        )
    return digits


def read_databases(selection: DatabaseSelection, names: tuple[str, ...]) -> list[str]:
    """The names that go with a selection: exactly one, at least one, or none."""
    clean = list(dict.fromkeys(name for name in (line.strip("\r\n") for line in names) if name.strip()))
    if selection is DatabaseSelection.ALL:
        return []
    if not clean:
        raise InvalidInput("No database is named.", hint="Write its name, or choose «All».")
    if selection is DatabaseSelection.SINGLE and len(clean) > 1:
        raise InvalidInput("More than one database is named.", hint="Choose «Selected» for several.")
    if len(clean) > MOST_DATABASES:
        raise InvalidInput(f"More than {MOST_DATABASES} databases are named.", hint="Choose «All».")
    return [check_database_name(name) for name in clean]


def draft_of(instance: Instance) -> InstanceDraft:
    """The stored values as a draft, for the form: everything but the secrets, which no form shows."""
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
    )
