"""Self-backups: Holdfast's own database and its sealed keys, copied into the archive store once a day, and on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.core.actors import Actor
from webapp.core.cron import next_after, parse
from webapp.core.errors import HoldfastError, InvalidInput, StoreError
from webapp.core.plans import PostgresPlan, Secret
from webapp.core.reports import Check, CheckState
from webapp.core.status import ErrorCode, TaskType
from webapp.core.text import format_ago, format_size
from webapp.engine.self_backup import (
    SelfBackupPlan,
    SelfCopy,
    drop_old_self_backups,
    list_self_backups,
    self_backup_name,
    write_self_backup,
)
from webapp.engine.version import own_version
from webapp.services import audit
from webapp.services.execution import Outcome, execute
from webapp.services.reporting import TaskReporter
from webapp.services.settings import get_settings
from webapp.services.store import the_shelf
from webapp.services.tasks import add, find_active, get_task, ring
from webapp.services.wiring import wired
from webapp.store.db import db, release, writing
from webapp.store.models import SelfBackup, Setting
from webapp.store.revision import applied_revision

CURSOR = "self_backup_cursor"
SCHEDULED = "scheduled"
TIME_LIMIT_SECONDS = 3600
KEEP_KEY_HINT = (
    "Set HOLDFAST_SELF_BACKUP_PASSPHRASE to seal the keys into each copy, or keep vault.key in a place of its own: "
    "without it stored passwords must be entered again."
)
# A daily copy that failed twice in a row is worth a word.
OLD_AFTER = timedelta(hours=50)


def request_due(now: datetime) -> SelfBackup | None:
    """Ask for the self-backup whose time has come, once per slot whoever asks; several missed ones are one.

    A new installation starts to count at its first call.
    """
    if not _is_due(now):
        return None
    with writing() as session:
        cursor = session.scalar(sa.select(Setting).where(Setting.key == CURSOR).with_for_update())
        if cursor is None:
            session.add(Setting(key=CURSOR, value=now.isoformat(), updated_at=now))
            return None
        if not _is_due(now):
            return None
        cursor.value, cursor.updated_at = now.isoformat(), now
        task = find_active(SelfBackup) or _added(session, SCHEDULED, now)
    ring([task.id])
    return task


def _is_due(now: datetime) -> bool:
    settings = get_settings()
    if not settings.self_backup_cron:
        return False
    cursor = db.session.scalar(sa.select(Setting.value).where(Setting.key == CURSOR))
    try:
        since = datetime.fromisoformat(cursor) if cursor is not None else None
    except (TypeError, ValueError):
        since = None
    if since is None or since > now + timedelta(days=1):  # a clock that was far ahead; count from now again
        return True
    return next_after(parse(settings.self_backup_cron), settings.time_zone, since) <= now


def request_self_backup(*, actor: Actor, now: datetime) -> SelfBackup:
    """Ask for one now; one that is on its way is answered instead."""
    with writing() as session:
        task = find_active(SelfBackup)
        if task is None:
            task = _added(session, actor.triggered_by, now)
            audit.record(actor, "self_backup.requested", subject_kind="task", subject_id=task.id, now=now)
    ring([task.id])
    return task


def _added(session: Session, triggered_by: str, now: datetime) -> SelfBackup:
    task = SelfBackup(
        type=TaskType.SELF_BACKUP,
        title="Holdfast's own database",
        triggered_by=triggered_by,
        max_attempts=3,
        retry_delay_seconds=300,
        time_limit_seconds=TIME_LIMIT_SECONDS,
    )
    add(task, now=now)
    session.flush()
    return task


def execute_self_backup(task_id: int, *, clock: Callable[[], datetime]) -> None:
    """Execute a SelfBackup task."""
    execute(task_id, lambda i, reporter: _back_up(i, reporter, clock), clock=clock)


def _back_up(task_id: int, reporter: TaskReporter, clock: Callable[[], datetime]) -> Outcome:
    plan = _plan(task_id, clock())
    keep = get_settings().self_backup_keep
    release()
    if plan.server is not None:
        reporter.hide(plan.server.password.reveal())
    copy = write_self_backup(plan, reporter)
    size = copy.manifest.size_bytes
    reporter.log(f"{format_size(size)} in {copy.name}, SHA-256 {copy.manifest.sha256}", "good")
    if not plan.sealed_keys:
        reporter.log(f"The vault's keys are not in it. {KEEP_KEY_HINT}", "info")
    for name in drop_old_self_backups(plan.store_directory, keep):
        reporter.log(f"Deleted {name}: {keep} are kept")
    return Outcome(
        values={
            "relative_path": f"self/{copy.name}/{copy.manifest.file_name}",
            "size_bytes": size,
            "sha256": copy.manifest.sha256,
            "details": {"rows": sum(copy.manifest.rows.values()), "keys": bool(plan.sealed_keys)},
        }
    )


def _plan(task_id: int, now: datetime) -> SelfBackupPlan:
    wiring, fence = wired(), get_task(task_id).fence
    sealed = wiring.vault.seal_keys(wiring.self_backup_passphrase) if wiring.self_backup_passphrase else ""
    return SelfBackupPlan(
        store_directory=the_shelf().root,
        task_id=task_id,
        fence=fence,
        name=self_backup_name(now.astimezone(UTC).strftime("%Y%m%d-%H%M%S"), task_id, fence),
        taken_at=now.isoformat(timespec="seconds"),
        revision=applied_revision() or "",
        holdfast_version=own_version(),
        key_id=wiring.vault.key_ids[0],
        sealed_keys=sealed,
        **database_place(),
    )


def database_place() -> dict[str, Any]:
    """Where the app's own database is, as a plan says it: ``sqlite_path``, or ``server`` and ``database``."""
    url = db.engine.url
    if db.engine.dialect.name == "sqlite":
        if not url.database or url.database == ":memory:":
            raise InvalidInput("The database lives in memory only; there is nothing to copy.")
        return {"sqlite_path": url.database}
    query = url.query
    host = url.host or query.get("host") or "localhost"
    root_cert = query.get("sslrootcert")
    server = PostgresPlan(
        host=str(host),
        port=url.port or int(str(query.get("port", "5432"))),
        user=url.username or "",
        password=Secret(url.password or ""),
        sslmode=str(query.get("sslmode", "prefer")),
        ssl_root_cert_pem=_text_of(str(root_cert)) if root_cert and root_cert != "system" else "",
        maintenance_database=url.database or "",
        is_odoo=False,
    )
    return {"server": server, "database": url.database or ""}


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The certificate file of DATABASE_URL, {path}, cannot be read.") from error


# Looking


def list_copies() -> Sequence[SelfCopy]:
    """The copies in the store, the newest first. Raises StoreError."""
    return list_self_backups(the_shelf().root)


def taken_at(copy: SelfCopy) -> datetime:
    """When a copy was taken."""
    found = datetime.fromisoformat(copy.manifest.taken_at)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def check_newest(now: datetime) -> Check:
    """How old the newest copy is, as ``holdfast doctor`` asks it. Never raises for an outage: that is an answer."""
    key, title = "self_backup", "Self-backup"
    try:
        copies = list_copies()
    except HoldfastError as error:
        return Check(key, title, CheckState.SKIPPED, error.message)
    if not get_settings().self_backup_cron:
        hint = "Choose a time on the settings page."
        return Check(key, title, CheckState.WARNING, "It is switched off.", hint=hint)
    if not copies:
        hint = "It comes by itself once a day; run holdfast self-backup now for the first."
        return Check(key, title, CheckState.WARNING, "There is none yet.", hint=hint)
    return _judged(key, title, copies[0], now)


def _judged(key: str, title: str, newest: SelfCopy, now: datetime) -> Check:
    age, said = now - taken_at(newest), format_ago(taken_at(newest), now)
    if age > OLD_AFTER:
        hint = "Look at the self-backups among the tasks: holdfast tasks list."
        return Check(key, title, CheckState.WARNING, f"The newest was taken {said}.", hint=hint)
    if not newest.manifest.keys_sha256:
        return Check(key, title, CheckState.PASSED, f"{said}, without the vault's keys. {KEEP_KEY_HINT}", said)
    return Check(key, title, CheckState.PASSED, value=f"{said}, keys sealed")


def find_copy(name_or_path: str) -> SelfCopy:
    """The copy of that name in the store, "newest", or the one at a path. Raises StoreError, InvalidInput."""
    copies = list_copies()
    if name_or_path == "newest" and copies:
        return copies[0]
    for copy in copies:
        if copy.name == name_or_path:
            return copy
    raise StoreError(f"There is no self-backup {name_or_path!r} in the store.", code=ErrorCode.ARCHIVE_MISSING)
