"""Plans: everything the engine needs to know for one task, as plain frozen values without rows or requests.

Secrets travel in ``Secret`` so that no repr, log or traceback shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from webapp.core.status import ArchiveFormat, Content, FilestoreKind, VerificationLevel

SEALED_PREFIX = "sealed1:"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that is never shown; ``reveal()`` is the one way to read it."""

    _value: str

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


NO_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """How a server's identity is checked.

    Attributes:
        ca_pem: Own certificate authority in PEM, or "" for the system's.
        fingerprint: SHA-256 of the server's certificate, 64 lower-case hex digits, or "" (then the chain is checked).
        allow_plain_http: The admin agreed to send the master password unencrypted.
    """

    ca_pem: str = ""
    fingerprint: str = ""
    allow_plain_http: bool = False


@dataclass(frozen=True, slots=True)
class OdooHttpPlan:
    """An Odoo reached by ``/web/database/*``. ``url`` is normalised: scheme://host[:port], no path."""

    url: str
    master_password: Secret
    host_header: str = ""
    tls: TlsPlan = TlsPlan()


@dataclass(frozen=True, slots=True)
class SshPlan:
    """A host reached by SSH. ``host_key`` is one ``known_hosts``-style "type base64" pair pinned at enrolment, or ""."""

    host: str
    user: str
    private_key: Secret
    host_key: str
    port: int = 22


@dataclass(frozen=True, slots=True)
class FilestorePlan:
    """Where the filestore lies. ``path`` may hold ``{database}``; without it ``<path>/<database>``, then ``<path>``."""

    kind: FilestoreKind
    path: str = ""
    ssh: SshPlan | None = None


@dataclass(frozen=True, slots=True)
class PostgresPlan:
    """A PostgreSQL server. ``tunnel`` reaches it through SSH (host and port are then seen from there)."""

    host: str
    port: int
    user: str
    password: Secret
    sslmode: str = "prefer"
    ssl_root_cert_pem: str = ""
    maintenance_database: str = "postgres"
    filestore: FilestorePlan = FilestorePlan(FilestoreKind.NONE)
    tunnel: SshPlan | None = None
    is_odoo: bool = True
    lock_wait_seconds: int = 60


SourcePlan = OdooHttpPlan | PostgresPlan


@dataclass(frozen=True, slots=True)
class Previous:
    """What the newest verified archive of the same database and content held, for comparison."""

    size_bytes: int
    row_total: int | None
    attachment_count: int | None
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """One backup of one database.

    Attributes:
        store_directory: Root of the archive store, absolute.
        instance_directory: Name of the instance's folder below the root (e.g. "7-acme-prod").
        expected_bytes: Size of the previous archive, for the free-space check; 0 when unknown.
        reserve_bytes: Free space that must remain on the store's disk.
        largest_bytes: A body larger than this is refused.
        compression_threads: Threads for deflate.
        labels: What the side-car manifest keeps for people: job and instance names, trigger.
    """

    run_id: int
    fence: int
    attempt: int
    instance_id: int
    instance_name: str
    instance_directory: str
    job_id: int | None
    database: str
    content: Content
    format: ArchiveFormat
    source: SourcePlan
    store_directory: str
    started_at: datetime
    verification: VerificationLevel = VerificationLevel.COMPLETE
    previous: Previous | None = None
    expected_bytes: int = 0
    reserve_bytes: int = 256 * 1024 * 1024
    largest_bytes: int = 4 * 1024**4
    compression_threads: int = 2
    labels: Mapping[str, str] = field(default_factory=dict)
