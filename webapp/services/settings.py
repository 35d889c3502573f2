"""Settings that admins change in the browser. What the environment decides is webapp/settings.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from webapp.core.actors import Actor
from webapp.core.cron import parse, validate_zone
from webapp.core.errors import InvalidInput
from webapp.core.rsync_options import check_options, check_pattern
from webapp.core.status import RetentionMode, VerificationLevel
from webapp.core.text import strip_controls
from webapp.services import audit
from webapp.services.drafts import DraftCheck
from webapp.services.host_rules import MOST_BANDWIDTH_KIB, NO_OPTIONS, check_lines, read_root
from webapp.store.db import db, writing
from webapp.store.models import Setting

MIB = 1024 * 1024
LONGEST_SPREAD_SECONDS = 3600
LARGEST_RESERVE_BYTES = 1024**5
MOST_SELF_BACKUPS = 365
LONGEST_TRASH_DAYS = 90
# What the kernel makes up, what is gone at the next start, other machines' disks; the mount points themselves are kept.
USUAL_EXCLUDES = ("/proc/*", "/sys/*", "/dev/*", "/run/*", "/tmp/*", "/mnt/*", "/media/*", "/lost+found/", "/swapfile")  # noqa: S108 (patterns, not our files)


@dataclass(frozen=True, slots=True)
class AppSettings:
    """Defaults for new jobs, and what the whole installation shares.

    Attributes:
        title: What this installation is called, in the page head.
        time_zone: Default of new jobs, and of users without a choice of their own.
        retention_mode: Default of new jobs, with ``retention_value`` archives or days.
        verification_level: Default of new jobs.
        spread_seconds: Default start spread of new jobs.
        reserve_bytes: Free space that must remain on the archive disk.
        self_backup_cron: When Holdfast copies its own database into the archive store, in ``time_zone``; "" for never.
        self_backup_keep: How many of those copies are kept.
        trash_days: How long what retention or a person deletes can still be taken back.
        backup_root: Below which directory hosts' snapshots lie; "" for ``snapshots`` in the data directory.
        host_excludes: What no host's snapshot takes (rsync patterns), unless a host says otherwise.
        host_one_file_system: Default of hosts: stay on the file systems that the paths are on.
        host_bandwidth_kib: Default of hosts: at most so many KiB per second; 0 for no limit.
        host_rsync_options: Default of hosts: further rsync options, of those that are allowed.
        host_shrink_percent: Default of hosts: more files gone than this share is taken for an emptied source.
    """

    title: str = "Holdfast"
    time_zone: str = "UTC"
    retention_mode: RetentionMode = RetentionMode.KEEP_LAST_N
    retention_value: int = 7
    verification_level: VerificationLevel = VerificationLevel.COMPLETE
    spread_seconds: int = 0
    reserve_bytes: int = 256 * MIB
    trash_days: int = 3
    self_backup_cron: str = "15 1 * * *"
    self_backup_keep: int = 14
    backup_root: str = ""
    host_excludes: tuple[str, ...] = USUAL_EXCLUDES
    host_one_file_system: bool = False
    host_bandwidth_kib: int = 0
    host_rsync_options: tuple[str, ...] = ()
    host_shrink_percent: int = 50


def get_settings() -> AppSettings:
    """The settings in force; what nobody set has its default, and a stored value that no longer fits is ignored."""
    stored = {row.key: row.value for row in db.session.scalars(sa.select(Setting))}
    found = AppSettings()
    for field in fields(AppSettings):
        if field.name in stored:
            found = _with(found, field.name, stored[field.name])
    return found


def change_settings(wanted: AppSettings, *, actor: Actor, now: datetime) -> AppSettings:
    """Store all settings; only what differs is written and recorded. Raises InvalidInput with its field."""
    clean = check_settings(wanted)
    with writing() as session:
        found = audit.changes(_plain(get_settings()), _plain(clean))
        for key in found:
            session.merge(Setting(key=key, value=_plain(clean)[key], updated_at=now))
        if found:
            audit.record(actor, "settings.changed", subject_kind="settings", details=found, now=now)
    return clean


def check_settings(wanted: AppSettings) -> AppSettings:
    """The settings as they would be stored. Raises InvalidInput with its field."""
    title = strip_controls(wanted.title).strip()
    if not 1 <= len(title) <= 60:
        raise InvalidInput("The name has 1 to 60 characters.", field="title")
    try:
        validate_zone(wanted.time_zone)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="time_zone", hint=error.hint) from None
    wanted = _checked_for_hosts(wanted)
    cron = wanted.self_backup_cron.strip()
    try:
        if cron:
            parse(cron)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="self_backup_cron", hint=error.hint) from None
    for name, low, high in (
        ("retention_value", 1, 3650),
        ("spread_seconds", 0, LONGEST_SPREAD_SECONDS),
        ("reserve_bytes", 0, LARGEST_RESERVE_BYTES),
        ("trash_days", 1, LONGEST_TRASH_DAYS),
        ("self_backup_keep", 1, MOST_SELF_BACKUPS),
        ("host_bandwidth_kib", 0, MOST_BANDWIDTH_KIB),
        ("host_shrink_percent", 0, 100),
    ):
        if not low <= getattr(wanted, name) <= high:
            raise InvalidInput(f"Choose a number from {low} to {high}.", field=name)
    return replace(wanted, title=title, self_backup_cron=cron)


def _checked_for_hosts(wanted: AppSettings) -> AppSettings:
    """The fields that are the defaults of hosts, under their own names where they are refused."""
    check = DraftCheck()
    clean = replace(
        wanted,
        backup_root=check.take("backup_root", read_root, wanted.backup_root, default=""),
        host_excludes=tuple(check_lines(check, "host_excludes", "\n".join(wanted.host_excludes), check_pattern)),
        host_rsync_options=check.take(
            "host_rsync_options", check_options, wanted.host_rsync_options, default=NO_OPTIONS
        ),
    )
    check.finish()
    return clean


def _with(found: AppSettings, key: str, value: Any) -> AppSettings:
    kind = type(getattr(found, key))
    try:
        if kind is tuple and not isinstance(value, list):
            raise TypeError("a list is wanted")
        return check_settings(replace(found, **{key: kind(value)}))
    except (InvalidInput, ValueError, TypeError):
        return found


def _plain(settings: AppSettings) -> dict[str, Any]:
    return {key: value.value if hasattr(value, "value") else value for key, value in asdict(settings).items()}
