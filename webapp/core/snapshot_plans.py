"""Plans and results of hosts' snapshots: what the engine needs and answers, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from webapp.core.plans import SshPlan
from webapp.core.reports import VerificationReport
from webapp.core.snapshot_manifest import SnapshotManifest
from webapp.core.status import ErrorCode, SnapshotLayout, SnapshotTarget

# What a host's runs, archives and locks are filed under where an Odoo has the name of a database.
FILES = "files"


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A host whose trees are pulled.

    Attributes:
        paths: Absolute directories or files of the host, at least one; ("/",) for all of it.
        includes: rsync include patterns, which come before the excludes.
        excludes: rsync exclude patterns, the settings' own among them.
        bandwidth_kib: KiB per second, 0 for no limit.
        options: Further rsync options, checked by ``core/rsync_options.py``.
        sentinel_files: Absolute paths that must be in the snapshot, or it is not promoted.
        accepted_errors: Absolute paths (fnmatch) that may stay unreadable: then exit 23 is a warning.
    """

    ssh: SshPlan
    paths: tuple[str, ...]
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    one_file_system: bool = False
    bandwidth_kib: int = 0
    options: tuple[str, ...] = ()
    sentinel_files: tuple[str, ...] = ()
    accepted_errors: tuple[str, ...] = ()
    timeout_seconds: int = 600


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """Where one snapshot lies: ``<root>/<directory>/<name>``; ``data`` in it is the tree, unless the layout is plain."""

    root: str
    directory: str
    name: str
    layout: SnapshotLayout = SnapshotLayout.OURS

    @property
    def path(self) -> str:
        """The snapshot's own directory."""
        return f"{self.root}/{self.directory}/{self.name}"

    @property
    def tree(self) -> str:
        """The host's tree."""
        return f"{self.path}/data" if self.layout is SnapshotLayout.OURS else self.path


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """One snapshot of one host.

    Attributes:
        name: The name it gets when it is promoted, from ``started_at``: 20261122T021500Z.
        base: The snapshot to share unchanged files with, None for the first; one that is gone is no error.
        shrink_percent: More gone than this share of the base's files is taken for an emptied source; None: do not look.
        secluded: False when the host is known not to take ``--secluded-args``; asking it in vain costs a connection.
        resume_from: Ids of dead runs of this host whose unfinished trees may be taken over, the newest first.
        labels: What the manifest keeps for people: job and instance names, trigger.
    """

    run_id: int
    fence: int
    attempt: int
    instance_id: int
    instance_uid: str
    instance_name: str
    job_id: int | None
    host: HostPlan
    root: str
    directory: str
    name: str
    started_at: datetime
    base: SnapshotPlace | None = None
    shrink_percent: int | None = 50
    secluded: bool = True
    resume_from: tuple[int, ...] = ()
    reserve_bytes: int = 256 * 1024 * 1024
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> SnapshotPlace:
        """Where it will lie."""
        return SnapshotPlace(self.root, self.directory, self.name)


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """A promoted snapshot, durable, before the database knows of it. ``warnings``: (code, sentence) pairs."""

    place: SnapshotPlace
    manifest: SnapshotManifest
    manifest_sha256: str
    report: VerificationReport
    warnings: tuple[tuple[ErrorCode, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """A snapshot that lies on disk. ``manifest`` is None for a plain one, and for one whose manifest is damaged.

    ``problem`` says why it cannot be taken in, "" when it can. ``taken_at`` is from the manifest, or from the name.
    """

    place: SnapshotPlace
    taken_at: datetime
    manifest: SnapshotManifest | None = None
    manifest_sha256: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FileRestorePlan:
    """Files of a snapshot, put somewhere. ``paths`` are inside the tree ("/etc/hosts"); () is all of it.

    Files land at ``target_path`` + their path in the snapshot ("/" puts them back where they were). ``ssh`` is None for a
    directory of this machine. ``delete_others`` also removes what the snapshot has not, below the chosen directories.
    """

    task_id: int
    place: SnapshotPlace
    paths: tuple[str, ...]
    target: SnapshotTarget
    target_path: str
    ssh: SshPlan | None
    delete_others: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class FileRestoreResult:
    """What changed, or would: itemised lines as rsync writes them (the first thousand), and counts by kind."""

    changes: tuple[str, ...]
    counts: Mapping[str, int]
    warnings: tuple[tuple[ErrorCode, str], ...] = ()
