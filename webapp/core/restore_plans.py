"""Plans of restores and drills, and what the engine answers: plain frozen values without rows or requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from webapp.core.manifest import Manifest
from webapp.core.plans import OdooHttpPlan, PostgresPlan
from webapp.core.reports import Check, CheckState
from webapp.core.status import ArchiveFormat, RestoreOutcome, RestoreTarget


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What a person chooses.

    Attributes:
        with_filestore: Put the attachments' files in place too.
        new_identity: A copy: new ``database.uuid``, secret and creation date.
        neutralise: Mail servers, scheduled actions, payment providers … are disabled before anybody can connect.
        owner: Role that owns the restored database; "" is who owns the one that is replaced, else who Holdfast connects as.
        jobs: Parallel jobs of ``pg_restore``.
        piece: One attachment's name ("ab/abcd…") or one table ("public.res_partner"); "" for targets that take no piece.
        directory: Absolute path on the worker's machine for targets that end in a directory.
        file_owner: "user:group" or "uid:gid" of restored files; "" leaves them to whoever writes them.
        file_mode: Octal mode of restored files ("640"); "" is 0640 for files and 0750 for directories.
        keep_days: How long the replaced database is kept; 0 until a person removes it.
        compare_after: Through Odoo: take a backup of the result and compare it. A neutralised one is always looked into.
    """

    with_filestore: bool = True
    new_identity: bool = False
    neutralise: bool = False
    owner: str = ""
    jobs: int = 2
    piece: str = ""
    directory: str = ""
    file_owner: str = ""
    file_mode: str = ""
    keep_days: int = 7
    compare_after: bool = True

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse; unknown fields are ignored, missing ones have their default."""
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})


@dataclass(frozen=True, slots=True)
class TargetIdentity:
    """Which database on which server: looked at in the check, asked again right before the target is touched.

    Attributes:
        system_identifier: Of the cluster (pg_control_system), as text; the Odoo's normalised URL for target *odoo*.
        database_oid: Of the database that is there, None when there is none.
    """

    system_identifier: str
    database_oid: int | None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self | None:
        """The inverse; None for an empty mapping."""
        if not data:
            return None
        return cls(str(data["system_identifier"]), data["database_oid"])


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What was found at a target.

    Attributes:
        connections: Who is connected and would be dropped: "odoo from 10.0.0.4 (3)".
        database_bytes: Size of the database that is there, None without one.
        free_bytes: Free space where the restored filestore will lie; None when it cannot be told.
        needed_bytes: What the restore will take, as far as it is known.
        server_version: "15.18", or Odoo's version.
    """

    identity: TargetIdentity | None = None
    connections: tuple[str, ...] = ()
    database_bytes: int | None = None
    free_bytes: int | None = None
    needed_bytes: int = 0
    server_version: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data = asdict(self)
        data["connections"] = list(self.connections)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse."""
        values = dict(data)
        values["identity"] = TargetIdentity.from_json(values.get("identity") or {})
        values["connections"] = tuple(values.get("connections", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class TargetReport:
    """The checks of a target before the restore, and the facts. A failed check forbids it, a warning is shown."""

    checks: tuple[Check, ...]
    facts: TargetFacts = TargetFacts()

    @property
    def allowed(self) -> bool:
        """Whether the restore may begin."""
        return bool(self.checks) and all(check.state is not CheckState.FAILED for check in self.checks)


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """One restore. Exactly one of ``server`` (databases, filestore beside it) and ``odoo`` is set where the target needs it.

    Attributes:
        fence: Of this claim; part of every temporary name, so that a worker believed dead collides with nobody.
        archive_path: Absolute path of the archive's file, on this machine.
        manifest: The side-car; ``size_bytes`` and ``sha256`` in it are the catalogue's, which know best.
        database: Name of the target database (databases and filestore).
        server: Where the database goes, with the filestore's place in ``server.filestore``.
        temporary_name: The database is loaded under this name ("prod__restoring_418_1"), also the filestore's.
        kept_name: What a replaced database is renamed to ("prod__before_20261122_023004").
        identity: From the check; None when the check could not tell (a directory).
        journal: What an attempt before this one wrote down; empty at the first.
    """

    task_id: int
    fence: int
    archive_path: str
    archive_format: ArchiveFormat
    manifest: Manifest
    target: RestoreTarget
    options: RestoreOptions
    database: str = ""
    server: PostgresPlan | None = None
    odoo: OdooHttpPlan | None = None
    temporary_name: str = ""
    kept_name: str = ""
    identity: TargetIdentity | None = None
    journal: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did.

    Attributes:
        outcome: What the target is now.
        checks: Rows per table, attachments, post-conditions, with their evidence.
        tables: Tables compared; ``rows`` and ``files`` likewise.
        kept_name: The replaced database's new name, "" when none was replaced.
        kept_identity: Its identity.
        kept_filestore: Where the replaced filestore lies now, "" when none was.
        message: One sentence for people: "Restored acme_test: 1,204 tables, 38,977 files".
        file_path: Absolute path of the one file that an attachment or a table was written to, "" for other targets.
    """

    outcome: RestoreOutcome
    checks: tuple[Check, ...] = ()
    tables: int = 0
    rows: int = 0
    files: int = 0
    kept_name: str = ""
    kept_identity: TargetIdentity | None = None
    kept_filestore: str = ""
    message: str = ""
    file_path: str = ""


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """A query of the user's and the answer it must give (the first column of the first row, as text)."""

    query: str
    expected: str


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """One restore drill.

    Attributes:
        directory: Where throw-away clusters may be made; on a disk with room.
        questions: The job's own questions.
        boot_command: Starts a real Odoo against the restored database and exits with 0; empty: not tried.
        taken_at: When the archive was taken (ISO 8601).
        reserve_bytes: Free space that must remain on the directory's disk; below it the drill is given up.
    """

    task_id: int
    fence: int
    archive_path: str
    archive_format: ArchiveFormat
    manifest: Manifest
    directory: str
    taken_at: str
    questions: tuple[OwnQuestion, ...] = ()
    boot_command: tuple[str, ...] = ()
    jobs: int = 2
    reserve_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DrillReport:
    """The answers of one drill, in the order of the questions.

    Attributes:
        seconds: From the first step to the last answer, cluster creation included: the measured restore time.
        load_seconds: Of them, making the cluster and loading.
        facts: Numbers for people: tables, rows, files, server version, how the cage was built.
    """

    checks: tuple[Check, ...]
    seconds: float
    load_seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether questions were asked and none was answered wrongly."""
        return bool(self.checks) and all(check.state is not CheckState.FAILED for check in self.checks)
