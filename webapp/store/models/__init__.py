"""The tables, by noun. Import models from here."""

from webapp.store.models.archives import Archive
from webapp.store.models.audit import AuditEvent
from webapp.store.models.instances import Instance
from webapp.store.models.jobs import Job, Slot
from webapp.store.models.restores import Drill, KeptDatabase, KeptRemoval, Restore, RestoreCheck, SelfBackup
from webapp.store.models.settings import Beat, Setting
from webapp.store.models.snapshots import (
    Host,
    SnapshotComparison,
    SnapshotDiscovery,
    SnapshotRecord,
    SnapshotRemoval,
    SnapshotRestore,
)
from webapp.store.models.tasks import (
    ConnectionTest,
    FanOut,
    RetentionTask,
    Run,
    TargetLock,
    Task,
    TaskLog,
    TaskStep,
    Verification,
)
from webapp.store.models.users import Throttle, User, UserSession

__all__ = [
    "Archive",
    "AuditEvent",
    "Beat",
    "ConnectionTest",
    "Drill",
    "FanOut",
    "Host",
    "Instance",
    "Job",
    "KeptDatabase",
    "KeptRemoval",
    "Restore",
    "RestoreCheck",
    "RetentionTask",
    "Run",
    "SelfBackup",
    "Setting",
    "Slot",
    "SnapshotComparison",
    "SnapshotDiscovery",
    "SnapshotRecord",
    "SnapshotRemoval",
    "SnapshotRestore",
    "TargetLock",
    "Task",
    "TaskLog",
    "TaskStep",
    "Throttle",
    "User",
    "UserSession",
    "Verification",
]
