"""What a job may be: the draft that a form, the shell or the API gives, and the one place where it is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from webapp.core.cron import (
    BuilderMode,
    Cron,
    CronError,
    build,
    minimum_gap,
    parse,
    validate_zone,
)
from webapp.core.errors import InvalidInput
from webapp.core.status import (
    ArchiveFormat,
    Content,
    DatabaseSelection,
    InstanceKind,
    MissedPolicy,
    OverlapPolicy,
    VerificationLevel,
)
from webapp.services.drafts import DraftCheck
from webapp.services.host_jobs import check_host_job, refuse_host_words
from webapp.services.instance_rules import NO_NAMES
from webapp.services.instance_values import read_databases
from webapp.services.job_drafts import JobDraft, draft_of, new_draft
from webapp.services.job_keeping import check_drills, check_policy, policy_columns
from webapp.store.models import Instance

__all__ = [
    "JobDraft",
    "check_job",
    "check_policy",
    "check_timing",
    "draft_of",
    "needs_custom_format",
    "new_draft",
    "read_schedule",
    "read_time",
]

LONGEST_MINUTES = 7 * 24 * 60
MOST_SPREAD_SECONDS = 3600
FIRST_ODOO_WITH_DATABASE_ONLY_ZIP = 19
SCHEDULE_FIELDS = ("cron", "time_zone")


@dataclass(frozen=True, slots=True)
class Timing:
    """A schedule that is possible."""

    cron: Cron
    time_zone: str


def check_job(draft: JobDraft, instance: Instance, now: datetime) -> dict[str, Any]:
    """The columns of the job. Raises InvalidDraft with every field that cannot be used."""
    check = DraftCheck()
    timing = check_timing(check, draft)
    columns = {
        "name": check.text("name", draft.name, label="The job's name", most=128, needed=True),
        "enabled": draft.enabled,
        "cron": timing.cron.expression if timing else "",
        "time_zone": timing.time_zone if timing else "",
        "overlap_policy": check.word("overlap_policy", draft.overlap_policy, OverlapPolicy, label="Overlap"),
        "missed_policy": check.word("missed_policy", draft.missed_policy, MissedPolicy, label="Missed runs"),
        "verification_level": check.word(
            "verification_level", draft.verification_level, VerificationLevel, label="Verification"
        ),
        **_limits(check, draft),
    }
    policy = check_policy(check, draft)
    if policy is not None:
        columns |= policy_columns(policy)
    columns |= check_drills(check, draft)
    if instance.kind is InstanceKind.HOST:
        columns |= check_host_job(check, draft)
    else:
        columns |= _selection(check, draft, instance) | _content(check, draft, instance)
    if timing is not None:
        columns["spread_seconds"] = _spread(check, draft, timing, now)
    check.finish()
    return columns


def check_timing(check: DraftCheck, draft: JobDraft) -> Timing | None:
    """The schedule, or None with the refusals kept."""
    cron: Cron | None = None
    field = "cron" if draft.frequency == BuilderMode.CRON.value else "frequency"
    try:
        cron = read_schedule(draft)
    except InvalidInput as error:
        check.refuse(error.field or field, error.message, error.hint)
    zone = check.take("time_zone", validate_zone, draft.time_zone.strip(), default="")
    return Timing(cron, zone) if cron is not None and zone else None


def read_schedule(draft: JobDraft) -> Cron:
    """The builder's parts, or the raw expression, as one cron. Raises InvalidInput."""
    frequency = draft.frequency
    if frequency == BuilderMode.CRON.value:
        return parse(draft.cron)
    if frequency == BuilderMode.HOURLY.value:
        minute = _whole(draft.minute, "minute", "The minute", 0, 59)
        return parse(
            build(frequency, every_hours=_whole(draft.every_hours, "every_hours", "Hours", 1, 12), minute=minute)
        )
    hour, minute = read_time(draft.at)
    if frequency == BuilderMode.WEEKLY.value:
        days = tuple(_whole(day, "weekdays", "The day", 1, 7) for day in draft.weekdays)
        if not days:
            raise CronError("No day of the week is chosen.", field="weekdays", hint="Choose at least one day.")
        return parse(build(frequency, hour=hour, minute=minute, weekdays=days))
    if frequency == BuilderMode.MONTHLY.value:
        day = _whole(draft.day_of_month, "day_of_month", "The day of the month", 1, 31)
        return parse(build(frequency, hour=hour, minute=minute, day_of_month=day))
    return parse(build(frequency, hour=hour, minute=minute))


def read_time(text: str) -> tuple[int, int]:
    """Hour and minute of «02:30» or «02:30:00»."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)(:00)?", text.strip(), re.ASCII)
    if match is None:
        raise InvalidInput("The time is not one that a clock shows.", field="at", hint="Write it as 02:30.")
    return int(match[1]), int(match[2])


def needs_custom_format(instance: Instance) -> bool:
    """Whether «database only» means the custom format: Odoo before 19 cannot leave the filestore out of its zip."""
    return instance.kind is InstanceKind.ODOO_HTTP and _major(instance.odoo_version) < FIRST_ODOO_WITH_DATABASE_ONLY_ZIP


def _major(version: str) -> int:
    match = re.match(r"(?:saas~)?(\d+)", version)
    return int(match[1]) if match else 0


def _limits(check: DraftCheck, draft: JobDraft) -> dict[str, int]:
    minutes = check.number(
        "time_limit_minutes", draft.time_limit_minutes, label="The time limit in minutes", low=1, high=LONGEST_MINUTES
    )
    delay = check.number(
        "retry_delay_minutes", draft.retry_delay_minutes, label="The wait in minutes", low=1, high=1440
    )
    retries = check.number("retries", draft.retries, label="The number of retries", low=0, high=10)
    return {"time_limit_seconds": minutes * 60, "retries": retries, "retry_delay_seconds": delay * 60}


def _selection(check: DraftCheck, draft: JobDraft, instance: Instance) -> dict[str, Any]:
    """The job's own databases lie within what the instance means; "" leaves the choice to the instance."""
    if not draft.database_selection:
        return {"database_selection": None, "databases": []}
    selection = check.word("database_selection", draft.database_selection, DatabaseSelection, label="The databases")
    names = check.take("databases", read_databases, selection, draft.databases, default=NO_NAMES)
    limited = instance.database_selection is not DatabaseSelection.ALL
    if limited and selection is DatabaseSelection.ALL:
        check.refuse(
            "database_selection",
            "The instance is limited to named databases, so a job cannot back up all.",
            "Change the instance's databases first, or choose «As the instance says».",
        )
    strangers = [name for name in names if limited and name not in instance.databases]
    if strangers:
        check.refuse(
            "databases",
            f"Not among the instance's databases: {', '.join(strangers[:5])}.",
            f"They are: {', '.join(instance.databases[:10])}.",
        )
    return {"database_selection": selection, "databases": names}


def _content(check: DraftCheck, draft: JobDraft, instance: Instance) -> dict[str, Any]:
    content = check.word("content", draft.content, Content, label="The content")
    archive_format = check.word("format", draft.format, ArchiveFormat, label="The format")
    refuse_host_words(check, content, archive_format)
    if instance.kind is InstanceKind.POSTGRES and content is not Content.DATABASE:
        check.refuse("content", "This instance has no filestore.", "Choose «Database only».")
    if archive_format is ArchiveFormat.CUSTOM and content is not Content.DATABASE:
        check.refuse("format", "PostgreSQL's custom format holds a database only, no filestore.", "Choose the zip.")
    if archive_format is ArchiveFormat.ZIP and content is Content.DATABASE and needs_custom_format(instance):
        check.refuse(
            "format",
            "Odoo before 19 always puts the filestore into its zip.",
            "Choose PostgreSQL's custom format for a backup of the database only.",
        )
    return {"content": content, "format": archive_format, "paths": [], "rides_with_id": None}


def _spread(check: DraftCheck, draft: JobDraft, timing: Timing, now: datetime) -> int:
    seconds = check.number(
        "spread_seconds", draft.spread_seconds, label="The spread in seconds", low=0, high=MOST_SPREAD_SECONDS
    )
    if not seconds:
        return 0
    gap = minimum_gap(timing.cron, timing.time_zone, now)
    if timedelta(seconds=seconds) >= gap:
        minutes = int(gap.total_seconds() // 60)
        check.refuse("spread_seconds", f"The spread must be shorter than the time between two runs, {minutes} min.")
    return seconds


def _whole(text: str, field: str, label: str, low: int, high: int) -> int:
    clean = text.strip()
    if clean.isascii() and clean.isdigit() and len(clean) < 12 and low <= int(clean) <= high:
        return int(clean)
    raise InvalidInput(f"{label} must be a whole number from {low} to {high}.", field=field)
