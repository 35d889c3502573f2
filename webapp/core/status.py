"""The stored words: statuses, roles, kinds and policies. Stored strings are written by hand and never change meaning."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """The five standard statuses of every task."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_WARNINGS = "completed_with_warnings"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the task."""
        return self not in (TaskStatus.PENDING, TaskStatus.RUNNING)


ACTIVE_STATUSES = (TaskStatus.PENDING, TaskStatus.RUNNING)
FINAL_STATUSES = (TaskStatus.COMPLETED, TaskStatus.COMPLETED_WITH_WARNINGS, TaskStatus.FAILED)


class TaskType(StrEnum):
    """Every kind of background work; the registry in services/tasks.py has one entry for each."""

    BACKUP = "backup"
    FAN_OUT = "fan_out"
    CONNECTION_TEST = "connection_test"
    VERIFICATION = "verification"
    RETENTION = "retention"
    RESTORE_CHECK = "restore_check"
    RESTORE = "restore"
    KEPT_REMOVAL = "kept_removal"
    DRILL = "drill"
    SELF_BACKUP = "self_backup"
    SNAPSHOT_DISCOVERY = "snapshot_discovery"
    SNAPSHOT_REMOVAL = "snapshot_removal"
    SNAPSHOT_COMPARISON = "snapshot_comparison"
    SNAPSHOT_RESTORE = "snapshot_restore"


class QueueName(StrEnum):
    """RQ queues, as `rq info` shows them."""

    DEFAULT = "default"
    BACKUPS = "backups"
    RESTORES = "restores"
    NOTIFICATIONS = "notifications"
    CLOUD = "cloud"


class VerificationStatus(StrEnum):
    """Stands beside the task's status: what a verification found."""

    NOT_RUN = "not_run"
    PASSED = "passed"
    FAILED = "failed"


class VerificationLevel(StrEnum):
    """How far a verification goes; each level contains the ones before it."""

    NONE = "none"
    INTACT = "intact"
    COMPLETE = "complete"


class StepStatus(StrEnum):
    """State of one step of a task."""

    RUNNING = "running"
    COMPLETED = "completed"
    WARNING = "warning"
    FAILED = "failed"


class ArchiveState(StrEnum):
    """Where an archive stands on disk."""

    STORED = "stored"
    QUARANTINED = "quarantined"
    TRASHED = "trashed"
    DELETING = "deleting"
    DELETED = "deleted"
    MISSING = "missing"


class ArchiveOrigin(StrEnum):
    """How an archive came into the store."""

    BACKUP = "backup"
    UPLOAD = "upload"
    RECOVERED = "recovered"
    DISCOVERED = "discovered"


class RestoreTarget(StrEnum):
    """Where a restore puts what an archive holds."""

    NEW_DATABASE = "new_database"
    REPLACE = "replace"
    ODOO = "odoo"
    FILESTORE = "filestore"
    ATTACHMENT = "attachment"
    TABLE = "table"
    DIRECTORY = "directory"

    @property
    def is_database(self) -> bool:
        """Whether a database comes into being."""
        return self in (RestoreTarget.NEW_DATABASE, RestoreTarget.REPLACE, RestoreTarget.ODOO)


class RestoreOutcome(StrEnum):
    """What a restore left at its target; «unknown» only while it runs, and when the target cannot be reached to look."""

    UNKNOWN = "unknown"
    UNTOUCHED = "untouched"
    CREATED = "created"
    REPLACED = "replaced"


class DrillPolicy(StrEnum):
    """When a job's archives are restored for practice."""

    NEVER = "never"
    EACH = "each"
    SAMPLED = "sampled"
    SCHEDULED = "scheduled"


class JobKind(StrEnum):
    """What a job does: back up, or refresh a copy of production from the newest restore point."""

    BACKUP = "backup"
    REFRESH = "refresh"


class Role(StrEnum):
    """What a user may do; each role contains the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """0 for viewer, 1 for operator, 2 for admin."""
        return list(Role).index(self)


class InstanceKind(StrEnum):
    """How an instance is reached."""

    ODOO_HTTP = "odoo_http"
    ODOO_POSTGRES = "odoo_postgres"
    POSTGRES = "postgres"
    HOST = "host"


class FilestoreKind(StrEnum):
    """Where the filestore of an *Odoo over PostgreSQL* instance lies."""

    NONE = "none"
    LOCAL = "local"
    SSH = "ssh"


class DatabaseSelection(StrEnum):
    """Which databases of an instance are meant."""

    SINGLE = "single"
    SELECTED = "selected"
    ALL = "all"


class Content(StrEnum):
    """What a run puts into its archive."""

    DATABASE_AND_FILESTORE = "database_and_filestore"
    DATABASE = "database"
    FILES = "files"


class ArchiveFormat(StrEnum):
    """Zip as Odoo writes it, PostgreSQL's custom format (database only), or a snapshot: a directory tree of a host."""

    ZIP = "zip"
    CUSTOM = "custom"
    SNAPSHOT = "snapshot"

    @property
    def suffix(self) -> str:
        """File suffix with its dot; "" for a tree."""
        return {ArchiveFormat.ZIP: ".zip", ArchiveFormat.CUSTOM: ".dump"}.get(self, "")


class SnapshotLayout(StrEnum):
    """Ours: the tree in ``data`` beside its list and manifest. Plain: a tree that something else made, found on disk."""

    OURS = "ours"
    PLAIN = "plain"


class SnapshotTarget(StrEnum):
    """Where a restore puts what a snapshot holds: on its host, on another one, or in a directory of this machine."""

    HOST = "host"
    OTHER_HOST = "other_host"
    DIRECTORY = "directory"


class OverlapPolicy(StrEnum):
    """What happens when a job is due while its former run still works."""

    SKIP = "skip"
    QUEUE = "queue"
    PARALLEL = "parallel"


class MissedPolicy(StrEnum):
    """What happens to slots that passed while Holdfast was down."""

    CATCH_UP = "catch_up"
    SKIP = "skip"


class RetentionMode(StrEnum):
    """The two simple retention modes, and rules that are combined."""

    KEEP_LAST_N = "keep_last_n"
    OLDER_THAN_DAYS = "older_than_days"
    RULES = "rules"


class SlotState(StrEnum):
    """What became of one scheduled time of a job."""

    OPEN = "open"
    FANNED_OUT = "fanned_out"
    SKIPPED = "skipped"
    MISSED = "missed"


class ErrorCode(StrEnum):
    """Why a task failed or was left with a warning; the word that docs, filters and tests use."""

    # Outcomes of our own making
    CANCELLED = "cancelled"
    WORKER_LOST = "worker_lost"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    SKIPPED_OVERLAP = "skipped_overlap"
    LEASE_LOST = "lease_lost"
    INTERNAL = "internal"
    INVALID_CONFIGURATION = "invalid_configuration"
    SECRET_UNREADABLE = "secret_unreadable"
    # Reaching the source
    DNS_FAILED = "dns_failed"
    CONNECTION_FAILED = "connection_failed"
    CONNECTION_LOST = "connection_lost"
    TLS_FAILED = "tls_failed"
    PLAIN_HTTP_REFUSED = "plain_http_refused"
    ADDRESS_REFUSED = "address_refused"
    REDIRECTED = "redirected"
    HTTP_ERROR = "http_error"
    STALLED = "stalled"
    TOO_LARGE = "too_large"
    # Odoo
    AUTH_FAILED = "auth_failed"
    INSECURE_MASTER_PASSWORD = "insecure_master_password"
    DATABASE_MANAGER_DISABLED = "database_manager_disabled"
    DATABASE_NOT_FOUND = "database_not_found"
    NOT_A_BACKUP = "not_a_backup"
    SOURCE_BACKUP_FAILED = "source_backup_failed"
    # PostgreSQL and filestore
    CLIENT_TOO_OLD = "client_too_old"
    CLIENT_MISSING = "client_missing"
    PERMISSION_DENIED = "permission_denied"
    LOCK_TIMEOUT = "lock_timeout"
    DUMP_FAILED = "dump_failed"
    FILESTORE_UNREADABLE = "filestore_unreadable"
    SSH_FAILED = "ssh_failed"
    HOST_KEY_MISMATCH = "host_key_mismatch"
    # Hosts
    RSYNC_FAILED = "rsync_failed"
    FILES_UNREADABLE = "files_unreadable"
    SOURCE_EMPTIED = "source_emptied"
    # Archive and disk
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    HOSTILE_ARCHIVE = "hostile_archive"
    INCOMPLETE = "incomplete"
    DISK_FULL = "disk_full"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_ERROR = "store_error"
    ARCHIVE_MISSING = "archive_missing"
    # Restore and drill
    TARGET_EXISTS = "target_exists"
    TARGET_CHANGED = "target_changed"
    TARGET_BUSY = "target_busy"
    TARGET_TOO_OLD = "target_too_old"
    EXTENSION_MISSING = "extension_missing"
    RESTORE_FAILED = "restore_failed"
    RESTORE_DIFFERS = "restore_differs"
    NEUTRALISE_FAILED = "neutralise_failed"
    SAFETY_BACKUP_FAILED = "safety_backup_failed"
    DRILL_FAILED = "drill_failed"
    DRILL_IMPOSSIBLE = "drill_impossible"
    # Warnings
    ATTACHMENTS_MISSING = "attachments_missing"
    SIZE_COLLAPSED = "size_collapsed"
    ROWS_COLLAPSED = "rows_collapsed"
    FILESTORE_UNLOCKED = "filestore_unlocked"
    NO_DATABASES = "no_databases"
    RETENTION_HELD = "retention_held"
    RETENTION_FROZEN = "retention_frozen"
    CONTENT_CHANGED = "content_changed"
    FILES_VANISHED = "files_vanished"
    HOST_DIFFERS = "host_differs"
    NEW_ADMINISTRATORS = "new_administrators"
