"""The form of the settings page."""

from __future__ import annotations

import shlex

from wtforms import BooleanField, IntegerField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, NumberRange

from webapp.core.errors import InvalidInput
from webapp.core.status import RetentionMode, VerificationLevel
from webapp.services.host_rules import MOST_BANDWIDTH_KIB
from webapp.services.settings import LONGEST_SPREAD_SECONDS, LONGEST_TRASH_DAYS, MIB, MOST_SELF_BACKUPS, AppSettings
from webapp.web.forms.base import Form

RETENTION_CHOICES = {
    RetentionMode.KEEP_LAST_N.value: "Keep the newest archives, this many",
    RetentionMode.OLDER_THAN_DAYS.value: "Delete archives older than this many days",
}
VERIFICATION_CHOICES = {
    VerificationLevel.COMPLETE.value: "Complete: nothing is missing inside",
    VerificationLevel.INTACT.value: "Intact: every byte as it was written",
    VerificationLevel.NONE.value: "None",
}
_NUMBER = InputRequired("Enter a number.")


class SettingsForm(Form):
    """Defaults of new jobs, and what the installation shares."""

    title = StringField("Name of this installation", [Length(min=1, max=60, message="Use 1 to 60 characters.")])
    time_zone = SelectField("Time zone", description="Default of new jobs, and of users who chose none.")
    retention_mode = SelectField("Retention", choices=RETENTION_CHOICES)
    retention_value = IntegerField("Archives or days", [_NUMBER, NumberRange(1, 3650)])
    verification_level = SelectField("Verification", choices=VERIFICATION_CHOICES)
    spread_seconds = IntegerField(
        "Start spread (seconds)",
        [_NUMBER, NumberRange(0, LONGEST_SPREAD_SECONDS)],
        description="New jobs start up to this much later, each by its own amount, so that they do not all start at once.",
    )
    reserve_mib = IntegerField(
        "Free space to keep (MiB)",
        [_NUMBER, NumberRange(0, 1024**3)],
        description="A backup that would leave less on the archive disk fails before it starts.",
    )
    trash_days = IntegerField(
        "Days in the trash",
        [_NUMBER, NumberRange(1, LONGEST_TRASH_DAYS)],
        description="What retention or a person deletes can be taken back for so long; it takes up its space until then.",
    )
    self_backup_cron = StringField(
        "Self-backup",
        [Length(max=200)],
        description="When Holdfast copies its own database into the archive store: five fields, as cron has them, in "
        "the time zone above. Empty for never.",
    )
    self_backup_keep = IntegerField("Copies to keep", [_NUMBER, NumberRange(1, MOST_SELF_BACKUPS)])
    backup_root = StringField(
        "Backup root",
        [Length(max=1024)],
        description="The directory of this machine below which each host has its folder. Empty for “snapshots” in the "
        "data directory. Its file system must take extended attributes and hard links.",
    )
    host_excludes = TextAreaField(
        "Never taken",
        [Length(max=50_000)],
        description="rsync patterns, one on each line. A host can add its own, or replace these.",
    )
    host_one_file_system = BooleanField("Stay on the file systems that the paths are on")
    host_bandwidth_kib = IntegerField(
        "Bandwidth (KiB per second)",
        [_NUMBER, NumberRange(0, MOST_BANDWIDTH_KIB)],
        description="0 for as fast as it goes.",
    )
    host_shrink_percent = IntegerField(
        "Emptied, when more is gone than (%)",
        [_NUMBER, NumberRange(0, 100)],
        description="A snapshot that lost more of its files than this is not kept before a person agrees. 100 turns it off.",
    )
    host_rsync_options = StringField(
        "Further rsync options",
        [Length(max=2000)],
        description="As in a shell, of those that change nothing about safety: --compress, --max-size=2G …",
    )

    @classmethod
    def of(cls, now_set: AppSettings, zones: dict[str, str]) -> SettingsForm:
        """The form filled with what is set, or with what was posted."""
        form = cls(
            data={
                "title": now_set.title,
                "time_zone": now_set.time_zone,
                "retention_mode": now_set.retention_mode.value,
                "retention_value": now_set.retention_value,
                "verification_level": now_set.verification_level.value,
                "spread_seconds": now_set.spread_seconds,
                "reserve_mib": now_set.reserve_bytes // MIB,
                "trash_days": now_set.trash_days,
                "self_backup_cron": now_set.self_backup_cron,
                "self_backup_keep": now_set.self_backup_keep,
                "backup_root": now_set.backup_root,
                "host_excludes": "\n".join(now_set.host_excludes),
                "host_one_file_system": now_set.host_one_file_system,
                "host_bandwidth_kib": now_set.host_bandwidth_kib,
                "host_shrink_percent": now_set.host_shrink_percent,
                "host_rsync_options": shlex.join(now_set.host_rsync_options),
            }
        )
        form.time_zone.choices = zones
        return form

    def values(self) -> AppSettings:
        """What was entered, after it validated."""
        return AppSettings(
            title=self.title.data,
            time_zone=self.time_zone.data,
            retention_mode=RetentionMode(self.retention_mode.data),
            retention_value=self.retention_value.data,
            verification_level=VerificationLevel(self.verification_level.data),
            spread_seconds=self.spread_seconds.data,
            reserve_bytes=self.reserve_mib.data * MIB,
            trash_days=self.trash_days.data,
            self_backup_cron=self.self_backup_cron.data or "",
            self_backup_keep=self.self_backup_keep.data,
            backup_root=(self.backup_root.data or "").strip(),
            host_excludes=tuple(line.strip() for line in (self.host_excludes.data or "").splitlines() if line.strip()),
            host_one_file_system=self.host_one_file_system.data,
            host_bandwidth_kib=self.host_bandwidth_kib.data,
            host_shrink_percent=self.host_shrink_percent.data,
            host_rsync_options=_words(self.host_rsync_options.data or ""),
        )


def _words(text: str) -> tuple[str, ...]:
    """Words as in a shell. Raises InvalidInput."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise InvalidInput("A quotation mark is not closed.", field="host_rsync_options") from None
