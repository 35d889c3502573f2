"""One snapshot of a host, from the first question to a promoted tree."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from webapp.core.manifest import verification_summary
from webapp.core.reports import Check, CheckState, VerificationReport
from webapp.core.snapshot_manifest import LIST_NAME, SnapshotManifest
from webapp.core.snapshot_plans import SnapshotPlace, SnapshotPlan, SnapshotResult
from webapp.core.status import ErrorCode, SnapshotLayout, VerificationLevel
from webapp.core.text import format_count, format_duration, format_size, plural
from webapp.engine.disk import disk_error
from webapp.engine.report import Reporter
from webapp.engine.snapshots.command import SECLUDED
from webapp.engine.snapshots.early_sync import syncing
from webapp.engine.snapshots.found import read_manifest
from webapp.engine.snapshots.guard import require_source
from webapp.engine.snapshots.listing import BaseList, ListTotals, write_list
from webapp.engine.snapshots.partials import Begun, begin
from webapp.engine.snapshots.places import DATA, DIGESTS_LOG, host_lock, open_root
from webapp.engine.snapshots.promotion import promote, sync_partial, write_manifest
from webapp.engine.snapshots.transfer import Transfer, Ways, pull
from webapp.engine.snapshots.verification import sample
from webapp.engine.version import own_version


@dataclass(frozen=True, slots=True)
class _Base:
    """What to share files with. ``manifest`` is None where it cannot be read: then only rsync makes use of the tree."""

    place: SnapshotPlace
    manifest: SnapshotManifest | None

    @property
    def digest(self) -> str:
        """The kind of the digests in its list."""
        return self.manifest.digest if self.manifest else ""

    @property
    def listed(self) -> BaseList | None:
        """Its list."""
        if self.manifest is None:
            return None
        return BaseList(f"{self.place.path}/{LIST_NAME}", self.manifest.digest, self.manifest.list_sha256)


@dataclass(frozen=True, slots=True)
class _Brought:
    """A tree that is complete and listed, not yet promoted."""

    path: str
    base: _Base | None
    transfer: Transfer
    totals: ListTotals


def take(plan: SnapshotPlan, reporter: Reporter) -> SnapshotResult:
    """Pull, list, guard, verify and promote one snapshot.

    1. Prepare: the root carries its marker (whoever knows that a root is new has made it), the host's directory is ours alone,
    what a dead run left is taken over. 2. rsync brings the trees into ``.partial/<run>``. 3. The list, with a digest of every
    file. 4. The guard. 5. Verify. 6. Manifest, syncs, one rename. A verification that failed is in the report, and the
    snapshot is promoted all the same: it is what there is, and its status keeps it from being a base or counting.

    Raises SourceError, StoreError or TaskStopped; then nothing was promoted, and what came stays for the next attempt.
    """
    reporter.step("prepare", "Prepare", "Backup root and free space")
    root = open_root(plan.root)
    plan = replace(plan, root=root.path)
    reporter.log(f"{format_size(root.free_bytes)} free in the backup root")
    with host_lock(plan.root, plan.directory):
        begun = begin(plan, reporter)
        with syncing(begun.path):
            brought = _bring(plan, begun, reporter)
        report = _verify(brought, reporter)
        return _promote(plan, brought, report, reporter)


def _bring(plan: SnapshotPlan, begun: Begun, reporter: Reporter) -> _Brought:
    base = _find_base(plan, reporter)
    data, log = f"{begun.path}/{DATA}", f"{begun.path}/{DIGESTS_LOG}"
    reporter.step("transfer", "Transfer", f"rsync from {plan.host.ssh.host}")
    ways = Ways(
        digest=base.digest if base else "",
        reread=begun.reread,
        # Of a host that did not take it then, it is not asked again.
        secluded=SECLUDED in base.manifest.options if base and base.manifest else plan.secluded,
        reserve_bytes=plan.reserve_bytes,
    )
    try:
        with open(log, "wb") as digests:
            tree = base.place.tree if base else None
            transfer = pull(plan.host, data, tree, digests=digests, reporter=reporter, ways=ways)
    except OSError as error:
        raise disk_error(error, f"write {log}") from error
    _tell(transfer, reporter)
    reporter.step("list", "List", "Every file with its digest")
    totals = write_list(
        data,
        base.listed if base else None,
        log,
        f"{begun.path}/{LIST_NAME}",
        digest=transfer.digest,
        watched=plan.host.paths,
        reporter=reporter,
    )
    others = plural(totals.other_count, "link, device or pipe", "links, devices and pipes")
    reporter.log(
        f"{format_count(totals.file_count)} files and {format_count(totals.other_count)} {others},"
        f" {format_size(totals.total_bytes)}; {format_count(totals.new_files)} new or changed, {format_size(totals.new_bytes)}"
    )
    require_source(plan, data, totals)
    return _Brought(begun.path, base, transfer, totals)


def _find_base(plan: SnapshotPlan, reporter: Reporter) -> _Base | None:
    if plan.base is None:
        reporter.log("There is no snapshot to share files with yet: everything is brought")
        return None
    if not os.path.isdir(plan.base.tree):
        reporter.log(f"The snapshot {plan.base.name} is not there any more: everything is brought", "warning")
        return None
    manifest = read_manifest(plan.base)[0] if plan.base.layout is SnapshotLayout.OURS else None
    if manifest is None:
        reporter.log(
            f"{plan.base.name} has no manifest of use: its files are shared, and nothing is compared", "warning"
        )
    reporter.log(f"Unchanged files are shared with {plan.base.name}")
    return _Base(plan.base, manifest)


def _tell(transfer: Transfer, reporter: Reporter) -> None:
    for code, message in transfer.warnings:
        reporter.warn(code, message)
    took = format_duration(transfer.transfer_seconds)
    files = plural(transfer.transferred_files, "file", "files")
    received = format_size(transfer.transferred_bytes)
    reporter.log(f"{format_count(transfer.transferred_files)} {files} came, {received} over the wire, in {took}")


def _verify(brought: _Brought, reporter: Reporter) -> VerificationReport:
    reporter.step("verify", "Verify", "A sample is read back from disk")
    sync_partial(brought.path)  # The sample is read from the disk; what could not be written spoils the whole tree.
    data = f"{brought.path}/{DATA}"
    digest = brought.transfer.digest
    read = sample(data, f"{brought.path}/{LIST_NAME}", brought.totals, digest=digest, reporter=reporter)
    checks = (_check_transfer(brought.transfer), _check_tree(brought), read)
    for check in checks:
        reporter.log(f"{check.title}: {check.detail}", check.state.log_level)
    return VerificationReport(VerificationLevel.INTACT, checks)


def _check_transfer(transfer: Transfer) -> Check:
    count = format_count(transfer.transferred_files)
    return Check(
        key="snapshot_transfer",
        title="Every file arrived whole",
        state=CheckState.PASSED,
        detail=f"rsync compared a {transfer.digest} of each file that came with the host's; the list keeps it.",
        value=count,
        level=VerificationLevel.INTACT,
    )


def _check_tree(brought: _Brought) -> Check:
    """Is all in the tree that the host named? What vanished or may be unreadable is known by number."""
    totals, transfer = brought.totals, brought.transfer
    present = totals.file_count + totals.other_count
    named = transfer.listed or 0
    lost = named - present
    if not 0 <= lost <= transfer.vanished + transfer.unreadable:
        return Check(
            key="snapshot_tree",
            title="Every file is there",
            state=CheckState.FAILED,
            detail=f"The host named {format_count(named)} files and links; the tree holds {format_count(present)}.",
            hint="Something else may have written below the backup root. Run again, and look at the disk.",
            code=ErrorCode.INCOMPLETE,
            value=format_count(present),
            level=VerificationLevel.INTACT,
        )
    shared = totals.file_count + totals.other_count - totals.new_files
    return Check(
        key="snapshot_tree",
        title="Every file is there",
        state=CheckState.PASSED,
        detail=(
            f"As many as the host named: {format_count(totals.file_count)} files,"
            f" {format_count(totals.other_count)} {plural(totals.other_count, 'link', 'links')} and the like,"
            f" {format_count(totals.directory_count)} directories;"
            f" {format_count(max(shared, 0))} are shared with the base."
        ),
        value=format_count(totals.file_count),
        level=VerificationLevel.INTACT,
    )


def _promote(plan: SnapshotPlan, brought: _Brought, report: VerificationReport, reporter: Reporter) -> SnapshotResult:
    reporter.step("store", "Store", "One rename, durable")
    reporter.check()
    # From here on the task is not asked to stop any more: the tree is complete, and promoting it takes a moment.
    manifest = _manifest(plan, brought, report)
    sha256 = write_manifest(plan.root, plan.directory, plan.run_id, manifest)
    promote(plan.root, plan.directory, plan.run_id, plan.name)
    warnings: tuple[tuple[ErrorCode, str], ...] = brought.transfer.warnings
    return SnapshotResult(plan.place, manifest, sha256, report, warnings)


def _manifest(plan: SnapshotPlan, brought: _Brought, report: VerificationReport) -> SnapshotManifest:
    transfer, totals = brought.transfer, brought.totals
    return SnapshotManifest(
        run_id=plan.run_id,
        fence=plan.fence,
        attempt=plan.attempt,
        job_id=plan.job_id,
        instance_id=plan.instance_id,
        instance_uid=plan.instance_uid,
        instance_name=plan.instance_name,
        name=plan.name,
        base=brought.base.place.name if brought.base else "",
        paths=plan.host.paths,
        digest=transfer.digest,
        list_sha256=totals.list_sha256,
        list_bytes=totals.list_bytes,
        started_at=plan.started_at.isoformat(),
        completed_at=datetime.now(UTC).isoformat(),
        holdfast_version=own_version(),
        file_count=totals.file_count,
        directory_count=totals.directory_count,
        other_count=totals.other_count,
        total_bytes=totals.total_bytes,
        new_files=totals.new_files,
        new_bytes=totals.new_bytes,
        gone_files=totals.gone_files,
        transferred_bytes=transfer.transferred_bytes,
        transfer_seconds=round(transfer.transfer_seconds, 3),
        vanished=transfer.vanished,
        unreadable=transfer.unreadable,
        unreadable_paths=transfer.unreadable_paths,
        options=transfer.options,
        versions=transfer.versions,
        warnings=tuple({"code": code.value, "message": message} for code, message in transfer.warnings),
        verification=verification_summary(report),
        labels=dict(plan.labels),
    )
