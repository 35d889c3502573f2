"""The form of the settings page."""

from __future__ import annotations

from wtforms import IntegerField, SelectField, StringField
from wtforms.validators import InputRequired, Length, NumberRange

from webapp.core.status import RetentionMode, VerificationLevel
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
        )
